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
        pool::max_backward(cx, &self.placed(x.shape()), x.data(), y.data(), dy.data(), dx.data(), at.write(0));
    }

    fn overwrites(&self, _i: usize) -> bool {
        true
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::InputsAndOutput
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Padding;
    use crate::check::op;
    use crate::operator::ReluRule;

    fn pool(size: usize, stride: usize, padding: Padding) -> MaxPool2d {
        MaxPool2d { window: Window::square(size, stride, padding) }
    }

    #[test]
    fn vgg() {
        op(pool(2, 2, Padding::Valid)).input([2, 6, 8, 3]).distinct().check();
    }

    #[test]
    fn resnet_stem() {
        op(pool(3, 2, Padding::Same)).input([2, 17, 19, 5]).distinct().check();
        op(pool(3, 2, Padding::Explicit([[1, 1], [1, 1]]))).input([2, 16, 14, 5]).distinct().check();
    }

    #[test]
    fn stride_larger_than_window() {
        op(pool(2, 3, Padding::Valid)).input([1, 9, 7, 2]).distinct().check();
    }

    #[test]
    fn overlapping_odd_rectangle() {
        let window = Window { size: [3, 1], stride: [1, 2], dilation: [1, 1], padding: Padding::Same };
        op(MaxPool2d { window }).input([3, 5, 7, 9]).distinct().check();
    }

    #[test]
    fn asymmetric_padding_and_dilation() {
        let padding = Padding::Explicit([[0, 2], [3, 1]]);
        let window = Window { size: [2, 3], stride: [2, 1], dilation: [3, 2], padding };
        op(MaxPool2d { window }).input([2, 8, 9, 4]).distinct().check();
    }

    #[test]
    fn negative_values_beat_the_padding() {
        op(pool(3, 3, Padding::Same)).input([1, 1, 1, 2]).values(&[-5.0, -7.0]).equals(&[-5.0, -7.0]).check();
    }

    #[test]
    fn ties_go_to_the_first_in_scan_order() {
        let tied = op(pool(2, 2, Padding::Valid)).input([1, 2, 2, 1]).values(&[1.0, 3.0, 3.0, 3.0]);
        assert_eq!(tied.gradients(&[5.0], ReluRule::Exact), [[0.0, 5.0, 0.0, 0.0]]);
    }

    #[test]
    fn rejects() {
        let valid = |size| op(pool(size, 1, Padding::Valid));
        valid(9).input([1, 4, 4, 1]).rejects("window 9x9 is larger than the 4x4 input");
        valid(0).input([1, 4, 4, 1]).rejects("window size, stride and dilation must be at least 1");
        valid(2).input([4, 4]).rejects("expected the axes [N, H, W, C] but the input is [4, 4]");
        op(pool(2, 1, Padding::Explicit([[2, 0], [0, 0]])))
            .input([1, 4, 4, 1])
            .rejects("the padding [[2, 0], [0, 0]] is not smaller than the window");
    }
}
