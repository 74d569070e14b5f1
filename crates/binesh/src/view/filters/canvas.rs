//! A picture that learns, and how its values become the network's input.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::image::{Picture, Preprocess, affine};

/// What a recipe makes of a picture between two runs of the network.
pub(crate) trait Canvas: Send {
    /// What the network is shown next, `[H, W, C]` of its input.
    fn show(&mut self, x: &mut [f32]);

    /// Takes a step, given the gradient by what was shown of a loss that is to fall.
    fn learn(&mut self, dx: &[f32]);

    /// The picture as the network should see it: nothing random is done to it.
    fn still(&self, x: &mut [f32]);

    /// The picture as people should see it.
    fn picture(&self) -> Picture;
}

/// From the picture's values 0..=255 to the network's input: `factor * value + offset`, channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lens {
    /// Per channel of the input: the picture's channel, factor and offset.
    channels: Vec<(usize, f32, f32)>,
}

impl Lens {
    /// As pictures are prepared for the network.
    pub(crate) fn new(preprocess: &Preprocess) -> Lens {
        Lens { channels: affine(preprocess) }
    }

    /// As the book does it: where a network's input has the picture's own unit, the picture is the input, without the mean
    /// taken off and in the network's order of channels.
    pub(crate) fn book(preprocess: &Preprocess) -> Lens {
        let lens = Lens::new(preprocess);
        match lens.channels.iter().all(|(_, factor, _)| *factor == 1.0) {
            true => Lens { channels: (0..lens.channels.len()).map(|k| (k, 1.0, 0.0)).collect() },
            false => lens,
        }
    }

    pub(crate) fn channels(&self) -> usize {
        self.channels.len()
    }

    /// True when the network is shown the picture's own values.
    pub(crate) fn is_identity(&self) -> bool {
        self.channels.iter().enumerate().all(|(k, channel)| *channel == (k, 1.0, 0.0))
    }

    /// # Shapes
    /// picture and x: `[.., C]`
    pub(crate) fn show(&self, picture: &[f32], x: &mut [f32]) {
        let c = self.channels();
        for (x, from) in x.chunks_exact_mut(c).zip(picture.chunks_exact(c)) {
            for (x, &(source, factor, offset)) in x.iter_mut().zip(&self.channels) {
                *x = factor * from[source] + offset;
            }
        }
    }

    /// From the gradient by the network's input to that by the picture's values.
    pub(crate) fn back(&self, dx: &[f32]) -> Vec<f32> {
        let c = self.channels();
        let mut d = vec![0.0; dx.len()];
        for (d, dx) in d.chunks_exact_mut(c).zip(dx.chunks_exact(c)) {
            for (dx, &(source, factor, _)) in dx.iter().zip(&self.channels) {
                d[source] += factor * dx;
            }
        }
        d
    }

    /// Pixels of any value, each as likely as the others.
    pub(crate) fn noise(&self, random: &mut ChaCha8Rng, x: &mut [f32]) {
        let picture: Vec<f32> = (0..x.len()).map(|_| 255.0 * random.random::<f32>()).collect();
        self.show(&picture, x);
    }
}

/// 8-bit pixels `[H, W, C]`, gray or RGB.
pub(crate) fn pixels([h, w]: [usize; 2], channels: usize, bytes: Vec<u8>) -> Picture {
    let picture = if channels == 1 { Picture::gray(h, w, bytes) } else { Picture::rgb(h, w, bytes) };
    picture.expect("a byte for each value of a picture that is not empty")
}
