//! The input itself: what augmentation, noise and regularisation layers are when a network is used.

use binesh_kernels::Cx;

use crate::operator::{At, Keeps, Operator, Overlay};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = x`.
///
/// # Shapes
/// x any -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity;

impl Operator for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(inputs[0].clone())
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
    fn any_rank() {
        op(Identity).input([2, 3, 5, 4]).check();
        op(Identity).input([]).check();
    }

    #[test]
    fn rejects() {
        op(Identity).input([2]).input([2]).rejects("layer `y` (identity): takes 1 input but was given 2");
    }
}
