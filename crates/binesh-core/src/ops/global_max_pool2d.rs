//! Global max pooling. Keras `GlobalMaxPooling2D`.

use binesh_kernels::{Cx, pool};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The largest value of each channel over the whole map.
///
/// # Shapes
/// x `[N, H, W, C]` -> y `[N, C]`, or `[N, 1, 1, C]` with `keepdims`.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalMaxPool2d {
    /// Keep height and width as axes of extent 1.
    pub keepdims: bool,
}

impl Operator for GlobalMaxPool2d {
    fn name(&self) -> &'static str {
        "global_max_pool2d"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        super::global_pool_shape(inputs[0], self.keepdims)
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let [n, hw, c] = super::maps(inputs[0].shape());
        pool::global_max_forward(cx, n, hw, c, inputs[0].data(), output.into_data());
    }

    /// Ties go to the first maximum in scan order.
    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let (x, y) = (at.input(0), at.output());
        let [n, hw, c] = super::maps(x.shape());
        pool::global_max_backward(cx, n, hw, c, x.data(), y.data(), dy.data(), dx.data(), at.write(0));
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
    use crate::check::op;
    use crate::operator::ReluRule;

    #[test]
    fn typical() {
        op(GlobalMaxPool2d { keepdims: false }).input([3, 7, 5, 9]).distinct().check();
    }

    #[test]
    fn keeps_axes() {
        op(GlobalMaxPool2d { keepdims: true }).input([2, 3, 1, 17]).distinct().check();
    }

    #[test]
    fn ties_go_to_the_first_in_scan_order() {
        let tied = op(GlobalMaxPool2d { keepdims: false }).input([1, 2, 2, 1]).values(&[0.0, 2.0, 2.0, 1.0]);
        assert_eq!(tied.gradients(&[5.0], ReluRule::Exact), [[0.0, 5.0, 0.0, 0.0]]);
    }

    #[test]
    fn rejects() {
        let pool = op(GlobalMaxPool2d { keepdims: false });
        pool.input([2, 3, 0, 4]).rejects("[2, 3, 0, 4] holds no values");
    }
}
