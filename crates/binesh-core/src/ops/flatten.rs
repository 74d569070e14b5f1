//! All axes but the first made one. Keras `Flatten`, ONNX `Flatten`.

use binesh_kernels::Cx;

use crate::operator::{At, Keeps, Operator, Overlay};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The same values in the same order.
///
/// # Shapes
/// x `[N, ...]` -> y `[N, product of the rest]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Flatten;

impl Operator for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (n, rest) = inputs[0].dims().split_first().ok_or_else(|| ShapeError::new("a scalar has no batch axis"))?;
        Ok([*n, rest.iter().product()].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        super::pass(cx, inputs, output);
    }

    fn overlay(&self) -> Overlay {
        Overlay::Equal
    }

    fn backward(&self, _cx: Cx<'_>, _at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        super::pass_back(dy, dx);
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn backward_in_place(&self, _cx: Cx<'_>, _at: &At<'_>, _d: &mut [f32]) {}

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn typical() {
        op(Flatten).input([2, 3, 5, 4]).check();
        op(Flatten).input([3]).check();
    }

    #[test]
    fn rejects() {
        op(Flatten).input([]).rejects("a scalar has no batch axis");
    }
}
