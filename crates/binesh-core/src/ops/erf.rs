//! The error function. ONNX `Erf`, torch `erf`; exporters write a GELU with it.

use binesh_kernels::{Cx, erf};

use crate::operator::{At, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = 2 / sqrt(pi) * integral of e^(-t^2) from 0 to x`, each value on its own.
///
/// # Shapes
/// x any -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct Erf;

impl Operator for Erf {
    fn name(&self) -> &'static str {
        "erf"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        erf::forward(cx, inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        erf::backward(cx, at.input(0).data(), dy.data(), dx.data());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn both_signs() {
        op(Erf).input([2, 3, 5, 7]).within(-3.0, 3.0).check();
    }

    /// Abramowitz and Stegun, table 7.1.
    #[test]
    fn table() {
        op(Erf).input([3]).values(&[0.0, 0.5, 1.0]).equals(&[0.0, 0.520_499_9, 0.842_700_8]).check();
    }

    #[test]
    fn rejects() {
        op(Erf).input([2, 0]).rejects("[2, 0] holds no values");
    }
}
