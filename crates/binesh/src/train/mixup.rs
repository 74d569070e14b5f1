//! MixUp: training on mixtures of two examples.

use std::f64::consts::TAU;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// MixUp of Zhang et al. 2018, arXiv:1710.09412: `x = l x_i + (1 - l) x_j`, targets alike, with `l` from
/// Beta(alpha, alpha), one per batch, and `j` from a permutation of the batch, as in the authors' code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MixUp {
    /// The smaller, the rarer are even mixtures; .2 to .4 is usual. Above 0.
    pub alpha: f64,
}

/// What one batch is mixed with.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Share of each example's own values, at least a half: the other half of the distribution names the partners the
    /// other way round. So an example keeps its class, and accuracy means something.
    pub own: f32,
    /// For each example, whose values are mixed in.
    pub partners: Vec<usize>,
}

impl MixUp {
    /// Draws for a batch of this size.
    pub fn draw(&self, examples: usize, rng: &mut impl Rng) -> Mixture {
        let (a, b) = (log_gamma(self.alpha, rng), log_gamma(self.alpha, rng));
        // A / (A + B) from logarithms: for a small alpha both underflow.
        let share = 1.0 / (1.0 + (b - a).exp());
        let mut partners: Vec<usize> = (0..examples).collect();
        for last in (1..examples).rev() {
            partners.swap(last, rng.random_range(0..=last));
        }
        Mixture { own: share.max(1.0 - share) as f32, partners }
    }
}

impl Mixture {
    /// The batch mixed: inputs, cached activations or targets alike.
    ///
    /// # Shapes
    /// `values` is `[N, ...]`, N as many as there are partners; so is the result.
    ///
    /// # Panics
    /// If the length is no multiple of N.
    pub fn apply(&self, values: &[f32]) -> Vec<f32> {
        let examples = self.partners.len();
        assert!(examples > 0 && values.len().is_multiple_of(examples), "whole examples");
        let len = values.len() / examples;
        let mut mixed = Vec::with_capacity(values.len());
        for (example, &partner) in self.partners.iter().enumerate() {
            let (own, other) = (&values[example * len..][..len], &values[partner * len..][..len]);
            mixed.extend(own.iter().zip(other).map(|(x, y)| self.own * x + (1.0 - self.own) * y));
        }
        mixed
    }
}

/// The logarithm of a draw from Gamma(alpha, 1): Marsaglia and Tsang 2000, "A simple method for generating gamma
/// variables", below 1 by their boost. `rand_distr` would do it too, at the price of a dependency for these lines.
fn log_gamma(alpha: f64, rng: &mut impl Rng) -> f64 {
    if alpha < 1.0 {
        return log_gamma(alpha + 1.0, rng) + uniform(rng).ln() / alpha;
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && uniform(rng).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln();
        }
    }
}

/// Box and Muller.
fn normal(rng: &mut impl Rng) -> f64 {
    let (radius, turn) = (uniform(rng), uniform(rng));
    (-2.0 * radius.ln()).sqrt() * (TAU * turn).cos()
}

/// Above 0, up to 1: it has a logarithm.
fn uniform(rng: &mut impl Rng) -> f64 {
    1.0 - rng.random::<f64>()
}
