//! Average pooling. Keras `AveragePooling2D`, ONNX `AveragePool`, torch `AvgPool2d`.

use binesh_kernels::{Cx, pool};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError, Window};
use crate::tensor::{View, ViewMut};

/// The mean of each window.
///
/// # Shapes
/// x `[N, H, W, C]` -> y `[N, Ho, Wo, C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePool2d {
    /// Window.
    pub window: Window,
    /// Divide by the window's full size also where it reaches into the padding (torch's default; Keras and
    /// TensorFlow divide by the number of real values).
    pub count_include_pad: bool,
}

impl AveragePool2d {
    fn placed(&self, x: &Shape) -> pool::Pool {
        super::pool_geometry(&self.window, self.count_include_pad, x).expect("`infer` accepted this shape")
    }
}

impl Operator for AveragePool2d {
    fn name(&self) -> &'static str {
        "average_pool2d"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = super::pool_geometry(&self.window, self.count_include_pad, inputs[0])?;
        Ok([g.n, g.ho, g.wo, g.c].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        pool::average_forward(cx, &self.placed(inputs[0].shape()), inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        pool::average_backward(cx, &self.placed(at.input_shape(0)), dy.data(), dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}
