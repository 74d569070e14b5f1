//! A value that is part of the graph itself. ONNX `Constant`, or the `127.5` of `x / 127.5`.

use binesh_kernels::Cx;

use crate::operator::{At, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{Tensor, View, ViewMut};

/// This value, always.
///
/// # Shapes
/// y like the value.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The value.
    pub value: Tensor,
}

impl Operator for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(self.value.shape().clone())
    }

    fn forward(&self, _cx: Cx<'_>, _inputs: &[View<'_>], mut output: ViewMut<'_>) {
        output.data().copy_from_slice(self.value.data());
    }

    fn backward(&self, _cx: Cx<'_>, _at: &At<'_>, _dy: View<'_>, _dx: &mut [Option<ViewMut<'_>>]) {
        unreachable!("a constant has no inputs to be differentiated by");
    }
}
