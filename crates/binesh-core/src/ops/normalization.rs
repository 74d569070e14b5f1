//! Standardisation with statistics of the training data. Keras `Normalization`.

use binesh_kernels::{Cx, norm, with_scratch};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = (x - mean) / max(sqrt(variance), 1e-7)` per channel, or `y = x * max(sqrt(variance), 1e-7) + mean` when inverted.
/// Statistics are constants: they have no gradient.
///
/// # Shapes
/// x `[..., C]`, mean `[C]`, variance `[C]` -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// Keras's `invert`.
    pub invert: bool,
}

/// `keras.config.epsilon()`.
const EPSILON: f32 = 1e-7;

impl Normalization {
    /// Calls `f` with the factor per channel.
    fn with_scale(&self, variance: &[f32], f: impl FnOnce(&[f32])) {
        with_scratch(variance.len(), |scale| {
            for (scale, variance) in scale.iter_mut().zip(variance) {
                let deviation = variance.sqrt().max(EPSILON);
                *scale = if self.invert { deviation } else { 1.0 / deviation };
            }
            f(scale);
        });
    }
}

impl Operator for Normalization {
    fn name(&self) -> &'static str {
        "normalization"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        3..=3
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let channels = inputs[0].channels()?;
        for weight in &inputs[1..] {
            super::check_per_channel("statistic", weight, channels)?;
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let (x, mean) = (inputs[0].data(), inputs[1].data());
        self.with_scale(inputs[2].data(), |scale| {
            if self.invert {
                return norm::scale_shift(cx, scale.len(), x, scale, mean, output.into_data());
            }
            norm::standardize(cx, scale.len(), x, mean, scale, output.into_data());
        });
    }

    fn backward(&self, _cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        self.with_scale(at.input(2).data(), |scale| {
            for (dx, dy) in dx.data().chunks_exact_mut(scale.len()).zip(dy.data().chunks_exact(scale.len())) {
                dx.iter_mut().zip(dy).zip(scale).for_each(|((dx, dy), scale)| *dx += dy * scale);
            }
        });
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Weights
    }

    fn constant_inputs(&self) -> usize {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn typical() {
        op(Normalization { invert: false }).input([2, 3, 5, 3]).weight([3]).statistic([3]).check();
    }

    #[test]
    fn inverted() {
        op(Normalization { invert: true }).input([2, 3, 5, 3]).weight([3]).statistic([3]).check();
    }

    /// Keras divides by `max(sqrt(variance), epsilon)`, so no variance does not divide by zero.
    #[test]
    fn no_variance() {
        let flat = op(Normalization { invert: false }).input([1, 1]).values(&[2.0]);
        flat.weight([1]).values(&[1.0]).weight([1]).values(&[0.0]).equals(&[1e7]).check();
    }

    #[test]
    fn rejects() {
        op(Normalization { invert: false })
            .input([2, 5])
            .weight([5])
            .weight([1])
            .rejects("the statistic has shape [1] but there are 5 channels");
    }
}
