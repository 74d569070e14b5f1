//! Lucid's recipe (`optvis/render.py`, Olah, Mordvintsev and Schubert 2017, "Feature Visualization"): Adam on the spectrum of
//! a picture that is shifted, scaled and turned before each step.

use std::sync::Arc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::canvas::{Canvas, Lens, pixels};
use super::spectrum::{Spectrum, to_rgb, to_rgb_back};
use super::warp::{Draw, Warp, chain};
use crate::image::Picture;

/// Standard deviation of the spectrum at the start.
const START: f32 = 0.01;
/// Adam's, as `torch.optim.Adam` has them: Lucent's.
const RATE: f64 = 0.05;
const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;

/// A picture that learns.
pub(crate) struct Lucid {
    /// Of the picture.
    size: [usize; 2],
    /// Of the network's input.
    network: [usize; 2],
    lens: Lens,
    transform: Arc<Spectrum>,
    /// `[C, H, W / 2 + 1, 2]`
    spectrum: Vec<f32>,
    adam: Adam,
    draws: Draws,
    /// Of the last `show`: the picture, and what was done to it.
    shown: Option<(Vec<f32>, Vec<Warp>)>,
}

/// Where random numbers come from.
pub(crate) enum Draws {
    Random(Box<ChaCha8Rng>),
    #[cfg(test)]
    Given(std::collections::VecDeque<Draw>),
}

impl Lucid {
    pub(crate) fn new(
        transform: Arc<Spectrum>,
        [size, network]: [[usize; 2]; 2],
        lens: Lens,
        mut random: ChaCha8Rng,
    ) -> Lucid {
        let spectrum = (0..transform.len()).map(|_| START * normal(&mut random)).collect();
        Lucid::from(transform, [size, network], lens, spectrum, Draws::Random(Box::new(random)))
    }

    pub(crate) fn from(
        transform: Arc<Spectrum>,
        [size, network]: [[usize; 2]; 2],
        lens: Lens,
        spectrum: Vec<f32>,
        draws: Draws,
    ) -> Lucid {
        let adam = Adam::new(spectrum.len());
        Lucid { size, network, lens, transform, spectrum, adam, draws, shown: None }
    }

    /// `[H, W, C]`, 0 to 1.
    pub(crate) fn rgb(&self) -> Vec<f32> {
        let mut rgb = self.transform.picture(&self.spectrum);
        to_rgb(&mut rgb, self.lens.channels());
        rgb
    }

    fn put(&self, picture: &[f32], x: &mut [f32]) {
        let values: Vec<f32> = picture.iter().map(|v| 255.0 * v).collect();
        self.lens.show(&values, x);
    }
}

impl Canvas for Lucid {
    fn show(&mut self, x: &mut [f32]) {
        let rgb = self.rgb();
        let draw = match &mut self.draws {
            Draws::Random(random) => Draw::random(random),
            #[cfg(test)]
            Draws::Given(draws) => draws.pop_front().expect("a draw for each step"),
        };
        let (warps, c) = (chain(&draw, self.size, self.network), self.lens.channels());
        let mut picture = warps[0].forward(&rgb, c);
        for warp in &warps[1..] {
            picture = warp.forward(&picture, c);
        }
        self.put(&picture, x);
        self.shown = Some((rgb, warps));
    }

    fn learn(&mut self, dx: &[f32]) {
        let Some((rgb, warps)) = self.shown.take() else { return };
        let c = self.lens.channels();
        let mut d = self.lens.back(dx);
        d.iter_mut().for_each(|d| *d *= 255.0);
        for warp in warps.iter().rev() {
            d = warp.backward(&d, c);
        }
        to_rgb_back(&rgb, &mut d, c);
        let d = self.transform.back(&d);
        self.adam.step(&mut self.spectrum, &d);
    }

    fn still(&self, x: &mut [f32]) {
        let picture = Warp::resize(self.size, self.network).forward(&self.rgb(), self.lens.channels());
        self.put(&picture, x);
    }

    fn picture(&self) -> Picture {
        let bytes = self.rgb().iter().map(|v| (v * 255.0) as u8).collect();
        pixels(self.size, self.lens.channels(), bytes)
    }
}

/// Box and Muller's.
fn normal(random: &mut ChaCha8Rng) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    (radius * (std::f64::consts::TAU * random.random::<f64>()).cos()) as f32
}

/// Kingma and Ba 2014, arXiv:1412.6980; the small number stands outside the root, where `torch.optim.Adam` has it.
pub(crate) struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    steps: i32,
}

impl Adam {
    pub(crate) fn new(values: usize) -> Adam {
        Adam { mean: vec![0.0; values], square: vec![0.0; values], steps: 0 }
    }

    pub(crate) fn step(&mut self, values: &mut [f32], d: &[f32]) {
        self.steps += 1;
        let [first, second] = BETAS.map(|beta| beta as f32);
        let [mean, square] = BETAS.map(|beta| 1.0 - beta.powi(self.steps));
        let (rate, root) = ((RATE / mean) as f32, square.sqrt() as f32);
        let state = self.mean.iter_mut().zip(&mut self.square);
        for ((value, d), (mean, square)) in values.iter_mut().zip(d).zip(state) {
            *mean = first * *mean + (1.0 - BETAS[0]) as f32 * d;
            *square = second * *square + (1.0 - BETAS[1]) as f32 * d * d;
            *value -= rate * *mean / (square.sqrt() / root + EPSILON as f32);
        }
    }
}
