//! The largest value over axes. `tf.reduce_max`, `torch.amax`, ONNX `ReduceMax`.

use binesh_kernels::{Cx, extremum};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The largest value over these axes. Values that tie share the gradient, as in TensorFlow and torch.
///
/// # Shapes
/// y is x without the axes, or with extent 1 there with `keepdims`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceMax {
    /// Axes, counted from the end when negative.
    pub axes: Vec<i64>,
    /// Keep the axes with extent 1.
    pub keepdims: bool,
}

impl Operator for ReduceMax {
    fn name(&self) -> &'static str {
        "reduce_max"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        super::reduced_shape(inputs[0], &self.axes, self.keepdims)
    }

    fn forward(&self, _cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let shape = inputs[0].shape();
        let reduced = super::reduced(shape, &self.axes).expect("`infer` accepted this shape");
        extremum::max_forward(inputs[0].data(), shape.dims(), &reduced, output.into_data());
    }

    fn backward(&self, _cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let (x, y) = (at.input(0), at.output());
        let reduced = super::reduced(x.shape(), &self.axes).expect("`infer` accepted this shape");
        extremum::max_backward(x.data(), x.shape().dims(), &reduced, y.data(), dy.data(), dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::InputsAndOutput
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReluRule;
    use crate::check::op;

    fn max(axes: &[i64], keepdims: bool) -> ReduceMax {
        ReduceMax { axes: axes.to_vec(), keepdims }
    }

    #[test]
    fn some_axes() {
        op(max(&[1, 2], false)).input([2, 3, 5, 7]).distinct().check();
        op(max(&[-1], true)).input([2, 3, 5]).distinct().check();
        op(max(&[0, 2], false)).input([2, 3, 5]).distinct().check();
        op(max(&[], true)).input([2, 3]).distinct().check();
        op(max(&[1], false)).input([2, 2]).values(&[1.0, 2.0, 4.0, -3.0]).equals(&[2.0, 4.0]).check();
    }

    #[test]
    fn ties_share_the_gradient() {
        let case = op(max(&[0], false)).input([4]).values(&[3.0, 1.0, 3.0, 2.0]);
        assert_eq!(case.gradients(&[1.0], ReluRule::Exact), [[0.5, 0.0, 0.5, 0.0]]);
    }

    #[test]
    fn rejects() {
        op(max(&[2], false)).input([2, 3]).rejects("axis 2 is out of range for the input [2, 3]");
    }
}
