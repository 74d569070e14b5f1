//! The sum over axes. `tf.reduce_sum`, `keras.ops.sum`, ONNX `ReduceSum`.

use binesh_kernels::{Cx, reduce};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The sum over these axes.
///
/// # Shapes
/// y is x without the axes, or with extent 1 there with `keepdims`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceSum {
    /// Axes, counted from the end when negative.
    pub axes: Vec<i64>,
    /// Keep the axes with extent 1.
    pub keepdims: bool,
}

impl Operator for ReduceSum {
    fn name(&self) -> &'static str {
        "reduce_sum"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        super::reduced_shape(inputs[0], &self.axes, self.keepdims)
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let shape = inputs[0].shape();
        let reduced = super::reduced(shape, &self.axes).expect("`infer` accepted this shape");
        reduce::forward(cx, inputs[0].data(), shape.dims(), &reduced, 1.0, output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let shape = at.input_shape(0);
        let reduced = super::reduced(shape, &self.axes).expect("`infer` accepted this shape");
        reduce::backward(cx, dy.data(), shape.dims(), &reduced, 1.0, dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn sum(axes: &[i64], keepdims: bool) -> ReduceSum {
        ReduceSum { axes: axes.to_vec(), keepdims }
    }

    #[test]
    fn some_axes() {
        op(sum(&[1, 2], false)).input([2, 3, 5, 7]).check();
        op(sum(&[-1], true)).input([2, 3, 5]).check();
        op(sum(&[0, 2], false)).input([2, 3, 5]).check();
        op(sum(&[0, 1], false)).input([2, 2]).values(&[1.0, 2.0, 3.0, 4.0]).equals(&[10.0]).check();
    }

    #[test]
    fn rejects() {
        op(sum(&[2], false)).input([2, 3]).rejects("axis 2 is out of range for the input [2, 3]");
    }
}
