//! A weight. Its value lives in [`crate::Params`].

use binesh_kernels::Cx;

use crate::operator::{At, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// A named weight of this shape.
///
/// # Shapes
/// y `shape`.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Extents.
    pub shape: Shape,
    /// False for weights that no optimizer moves, such as moving statistics.
    pub trainable: bool,
}

impl Operator for Param {
    fn name(&self) -> &'static str {
        "param"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(self.shape.clone())
    }

    fn forward(&self, _cx: Cx<'_>, _inputs: &[View<'_>], _output: ViewMut<'_>) {
        unreachable!("a plan reads weights from `Params`, it does not compute them");
    }

    fn backward(&self, _cx: Cx<'_>, _at: &At<'_>, _dy: View<'_>, _dx: &mut [Option<ViewMut<'_>>]) {
        unreachable!("a weight has no inputs to be differentiated by");
    }
}
