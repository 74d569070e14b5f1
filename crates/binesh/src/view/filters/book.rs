//! The book's recipe (Chollet, Deep Learning with Python, 5.4.2): 40 steps from gray noise, each as long as the gradient's
//! root mean square makes it one.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, Lens, pixels};
use crate::image::Picture;

/// Length of a step.
const STEP: f32 = 1.0;

/// The listing `generate_pattern`. The text calls the gradient's norm L2; the code takes the root mean square.
pub(crate) struct Book {
    size: [usize; 2],
    /// `[H, W, C]`, values around 128.
    picture: Vec<f32>,
    lens: Lens,
}

impl Book {
    /// `np.random.random((1, size, size, 3)) * 20 + 128.`
    pub(crate) fn new(size: [usize; 2], lens: Lens, random: &mut ChaCha8Rng) -> Book {
        let values = size[0] * size[1] * lens.channels();
        let picture = (0..values).map(|_| random.random::<f32>() * 20.0 + 128.0).collect();
        Book::from(size, lens, picture)
    }

    pub(crate) fn from(size: [usize; 2], lens: Lens, picture: Vec<f32>) -> Book {
        Book { size, picture, lens }
    }

    #[cfg(test)]
    pub(crate) fn values(&self) -> &[f32] {
        &self.picture
    }
}

impl Canvas for Book {
    fn show(&mut self, x: &mut [f32]) {
        self.still(x);
    }

    fn learn(&mut self, dx: &[f32]) {
        let d = self.lens.back(dx);
        let mean = d.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>() / d.len() as f64;
        let length = mean.sqrt() as f32 + 1e-5;
        self.picture.iter_mut().zip(d).for_each(|(x, d)| *x -= d / length * STEP);
    }

    fn still(&self, x: &mut [f32]) {
        self.lens.show(&self.picture, x);
    }

    fn picture(&self) -> Picture {
        pixels(self.size, self.lens.channels(), deprocess(&self.picture))
    }
}

/// The listing `deprocess_image`: mean 0.5, standard deviation 0.1, cut off and cut down to bytes.
pub(crate) fn deprocess(x: &[f32]) -> Vec<u8> {
    let n = x.len() as f64;
    let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
    let std = (x.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n).sqrt();
    let byte = |v: &f32| ((f64::from(*v) - mean) / (std + 1e-5) * 0.1 + 0.5).clamp(0.0, 1.0) * 255.0;
    x.iter().map(|v| byte(v) as u8).collect()
}
