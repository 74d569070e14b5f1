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
        match inputs[0].channels()? {
            0 => Err(ShapeError::new("softmax over no values")),
            _ => Ok(inputs[0].clone()),
        }
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
