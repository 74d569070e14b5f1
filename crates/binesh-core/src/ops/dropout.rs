//! Dropout (Srivastava et al. 2014). Keras `Dropout`.

use binesh_kernels::Cx;

use crate::operator::{At, Keeps, Operator, Overlay};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = x`; where a plan says that it is active ([`crate::Training`]), `y = x * mask` with a mask from outside.
///
/// # Shapes
/// x any -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    /// Share of the values that training drops.
    pub rate: f32,
}

impl Operator for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
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
    fn passes_everything_on() {
        op(Dropout { rate: 0.5 }).input([2, 3, 5]).check();
    }

    #[test]
    fn rejects() {
        op(Dropout { rate: 0.5 }).rejects("layer `y` (dropout): takes 1 input but was given 0");
    }
}
