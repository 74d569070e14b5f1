//! Gradient clipping: Keras's `clipvalue`, `clipnorm` and `global_clipnorm`.

use serde::{Deserialize, Serialize};

/// How large a gradient may be. Written in a configuration as `{ norm = 1.0 }`, and so on.
///
/// Formulas of `keras/src/optimizers/base_optimizer.py`, `_clip_gradients`. As there, a norm that is not finite makes
/// the gradients it scales NaN instead of hiding an overflow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clip {
    /// `clipvalue`: every element to `-limit..=limit`.
    Value(f32),
    /// `clipnorm`: the gradient of each parameter is shrunk to at most this L2 norm.
    Norm(f32),
    /// `global_clipnorm`: all gradients are shrunk by one factor, so that together they have at most this L2 norm.
    GlobalNorm(f32),
}

/// A gradient and what clipping does to it, element by element: `(value * scale)` limited to `-limit..=limit`.
///
/// So nothing is copied: the optimizer applies both while it reads. A plain slice is a gradient that is not clipped.
#[derive(Clone, Copy, Debug)]
pub struct Gradient<'a> {
    values: &'a [f32],
    scale: f32,
    limit: f32,
}

impl<'a> From<&'a [f32]> for Gradient<'a> {
    fn from(values: &'a [f32]) -> Self {
        Gradient { values, scale: 1.0, limit: f32::INFINITY }
    }
}

impl<'a> Gradient<'a> {
    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The elements, clipped.
    pub fn iter(&self) -> impl Iterator<Item = f32> + use<'a> {
        let Gradient { values, scale, limit } = *self;
        values.iter().map(move |&value| (value * scale).clamp(-limit, limit))
    }

    /// Writes the elements from `start` on, clipped, into `to`.
    pub(super) fn write(&self, start: usize, to: &mut [f32]) {
        let values = &self.values[start..start + to.len()];
        for (to, &value) in to.iter_mut().zip(values) {
            *to = (value * self.scale).clamp(-self.limit, self.limit);
        }
    }
}

impl Clip {
    /// The gradients of all trainable parameters, clipped; in the order given.
    pub fn apply<'a>(&self, gradients: &[&'a [f32]]) -> Vec<Gradient<'a>> {
        let scaled = |values: &'a [f32], scale: f32| Gradient { scale, ..Gradient::from(values) };
        match *self {
            Clip::Value(limit) => {
                gradients.iter().map(|&values| Gradient { limit, ..Gradient::from(values) }).collect()
            }
            Clip::Norm(most) => {
                let scale = |values| shrink(square_sum(values), most);
                gradients.iter().map(|&values| scaled(values, scale(values))).collect()
            }
            Clip::GlobalNorm(most) => {
                let scale = shrink(gradients.iter().map(|values| square_sum(values)).sum(), most);
                gradients.iter().map(|&values| scaled(values, scale)).collect()
            }
        }
    }
}

/// The L2 norm of everything in `gradients`, before clipping: worth plotting, and what `GlobalNorm` compares with.
pub fn global_norm(gradients: &[&[f32]]) -> f32 {
    gradients.iter().map(|values| square_sum(values)).sum::<f64>().sqrt() as f32
}

/// In f64: a sum over millions of squares keeps six digits in f32 only if it is summed in a tree.
fn square_sum(values: &[f32]) -> f64 {
    values.iter().map(|&v| f64::from(v) * f64::from(v)).sum()
}

/// The factor that brings a norm down to `most`; exactly 1 below it.
fn shrink(square_sum: f64, most: f32) -> f32 {
    let norm = square_sum.sqrt();
    if !norm.is_finite() {
        f32::NAN
    } else if norm <= f64::from(most) {
        1.0
    } else {
        (f64::from(most) / norm) as f32
    }
}
