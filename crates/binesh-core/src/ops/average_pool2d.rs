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
        pool::average_backward(cx, &self.placed(at.input_shape(0)), dy.data(), dx.data(), at.write(0));
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
    use crate::Padding;
    use crate::check::op;

    fn pool(size: usize, stride: usize, padding: Padding) -> AveragePool2d {
        AveragePool2d { window: Window::square(size, stride, padding), count_include_pad: false }
    }

    #[test]
    fn densenet_transition() {
        op(pool(2, 2, Padding::Valid)).input([2, 6, 8, 5]).check();
    }

    #[test]
    fn inception_branch_counts_real_values_only() {
        op(pool(3, 1, Padding::Same)).input([2, 5, 7, 3]).check();
        op(pool(3, 3, Padding::Same)).input([1, 1, 1, 1]).values(&[6.0]).equals(&[6.0]).check();
    }

    #[test]
    fn torch_counts_the_padding() {
        let padding = Padding::Explicit([[1, 1], [1, 1]]);
        let torch = AveragePool2d { count_include_pad: true, ..pool(3, 1, padding) };
        op(torch.clone()).input([2, 5, 7, 3]).check();
        op(torch).input([1, 1, 1, 1]).values(&[9.0]).equals(&[1.0]).check();
    }

    #[test]
    fn odd_sizes_strides_and_asymmetric_padding() {
        for count_include_pad in [false, true] {
            let padding = Padding::Explicit([[0, 2], [1, 0]]);
            let window = Window { size: [3, 2], stride: [2, 3], dilation: [1, 2], padding };
            op(AveragePool2d { window, count_include_pad }).input([3, 7, 9, 4]).check();
        }
    }

    #[test]
    fn stride_larger_than_window() {
        op(pool(2, 3, Padding::Valid)).input([1, 9, 7, 2]).check();
    }

    #[test]
    fn rejects() {
        let valid = op(pool(5, 1, Padding::Valid));
        valid.input([1, 4, 9, 1]).rejects("window 5x5 is larger than the 4x9 input");
        op(pool(2, 1, Padding::Explicit([[0, 0], [0, 2]])))
            .input([1, 4, 4, 1])
            .rejects("the padding [[0, 0], [0, 2]] is not smaller than the window");
    }
}
