//! Element-wise functions without weights: relu and its relatives, sigmoid, tanh and so on. Keras `Activation`, `ReLU`,
//! `LeakyReLU`, `ELU`.

use binesh_kernels::{Activation, Cx, activation};

use crate::operator::{At, Keeps, Operator, ReluRule};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = function(x)`, each value on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Activate {
    /// The function; its documentation has the definition and the derivative at kinks.
    pub function: Activation,
}

impl Operator for Activate {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        activation::forward(cx, self.function, inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let (x, y, dx) = (at.input(0).data(), at.output().data(), dx.data());
        let rectifier = matches!(self.function, Activation::Relu { .. });
        match at.rule {
            ReluRule::Guided if rectifier => {
                let positive: Vec<f32> = dy.data().iter().map(|d| d.max(0.0)).collect();
                activation::backward(cx, self.function, x, y, &positive, dx);
            }
            ReluRule::Deconv if rectifier => dx.iter_mut().zip(dy.data()).for_each(|(dx, dy)| *dx += dy.max(0.0)),
            _ => activation::backward(cx, self.function, x, y, dy.data(), dx),
        }
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::InputsAndOutput
    }
}
