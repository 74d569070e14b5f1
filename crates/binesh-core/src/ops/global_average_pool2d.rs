//! Global average pooling. Keras `GlobalAveragePooling2D`.

use binesh_kernels::{Cx, pool};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The mean of each channel over the whole map.
///
/// # Shapes
/// x `[N, H, W, C]` -> y `[N, C]`, or `[N, 1, 1, C]` with `keepdims`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePool2d {
    /// Keep height and width as axes of extent 1.
    pub keepdims: bool,
}

impl Operator for GlobalAveragePool2d {
    fn name(&self) -> &'static str {
        "global_average_pool2d"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        super::global_pool_shape(inputs[0], self.keepdims)
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let [n, hw, c] = super::maps(inputs[0].shape());
        pool::global_average_forward(cx, n, hw, c, inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let [n, hw, c] = super::maps(at.input_shape(0));
        pool::global_average_backward(cx, n, hw, c, dy.data(), dx.data(), at.write(0));
    }

    fn overwrites(&self, _i: usize) -> bool {
        true
    }

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
        op(GlobalAveragePool2d { keepdims: false }).input([3, 7, 5, 9]).check();
    }

    #[test]
    fn keeps_axes() {
        op(GlobalAveragePool2d { keepdims: true }).input([2, 3, 1, 17]).check();
    }

    #[test]
    fn rejects() {
        let pool = || op(GlobalAveragePool2d { keepdims: false });
        pool().input([2, 0, 3, 4]).rejects("[2, 0, 3, 4] holds no values");
        pool().input([2, 3]).rejects("expected the axes [N, H, W, C] but the input is [2, 3]");
    }
}
