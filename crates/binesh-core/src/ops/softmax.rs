//! Softmax over the last axis. Keras `Softmax`, `softmax` activation.

use binesh_kernels::{Cx, softmax};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = exp(x - max) / sum(exp(x - max))` over each row.
///
/// # Shapes
/// x `[..., C]` -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct Softmax;

impl Operator for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        inputs[0].channels()?;
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let c = inputs[0].shape().channels().expect("`infer` accepted this shape");
        softmax::forward(cx, c, inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let c = dy.shape().channels().expect("`infer` accepted this shape");
        softmax::backward(cx, c, at.output().data(), dy.data(), dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Output
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn typical() {
        op(Softmax).input([3, 10]).within(-4.0, 4.0).check();
    }

    #[test]
    fn over_the_last_of_many_axes() {
        op(Softmax).input([2, 3, 5, 7]).check();
        op(Softmax).input([1, 1]).equals(&[1.0]).check();
    }

    #[test]
    fn large_values_do_not_overflow() {
        let x = op(Softmax).input([1, 2]).values(&[500.0, 500.0]);
        x.equals(&[0.5, 0.5]).check();
    }

    #[test]
    fn rejects() {
        op(Softmax).input([2, 0]).rejects("[2, 0] holds no values");
        op(Softmax).input([]).rejects("a scalar has no channel axis");
    }
}
