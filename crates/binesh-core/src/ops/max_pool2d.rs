//! Max pooling. Keras `MaxPooling2D`, ONNX `MaxPool`, torch `MaxPool2d`.

use binesh_kernels::{Cx, pool};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError, Window};
use crate::tensor::{View, ViewMut};

/// The largest value of each window; padding never wins (counts as minus infinity).
///
/// # Shapes
/// x `[N, H, W, C]` -> y `[N, Ho, Wo, C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool2d {
    /// Window.
    pub window: Window,
}

impl MaxPool2d {
    fn placed(&self, x: &Shape) -> pool::Pool {
        super::pool_geometry(&self.window, false, x).expect("`infer` accepted this shape")
    }
}

impl Operator for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = super::pool_geometry(&self.window, false, inputs[0])?;
        Ok([g.n, g.ho, g.wo, g.c].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        pool::max_forward(cx, &self.placed(inputs[0].shape()), inputs[0].data(), output.into_data());
    }

    /// Ties go to the first maximum in scan order, as in TensorFlow and PyTorch on a CPU.
    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let (x, y) = (at.input(0), at.output());
        pool::max_backward(cx, &self.placed(x.shape()), x.data(), y.data(), dy.data(), dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::InputsAndOutput
    }
}
