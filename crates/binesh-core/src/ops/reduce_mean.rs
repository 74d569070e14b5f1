//! The mean over axes. `tf.reduce_mean`, `keras.ops.mean`, ONNX `ReduceMean`.

use binesh_kernels::{Cx, reduce};

use crate::Few;
use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The mean over these axes.
///
/// # Shapes
/// y is x without the axes, or with extent 1 there with `keepdims`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceMean {
    /// Axes, counted from the end when negative.
    pub axes: Vec<i64>,
    /// Keep the axes with extent 1.
    pub keepdims: bool,
}

impl ReduceMean {
    /// Per axis of x, whether it is reduced; and the factor 1 / count.
    fn reduced(&self, x: &Shape) -> Result<(Few<bool>, f32), ShapeError> {
        let reduced = super::reduced(x, &self.axes)?;
        let count: usize = x.dims().iter().zip(&reduced).filter(|(_, r)| **r).map(|(d, _)| d).product();
        Ok((reduced, 1.0 / count as f32))
    }
}

impl Operator for ReduceMean {
    fn name(&self) -> &'static str {
        "reduce_mean"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        super::reduced_shape(inputs[0], &self.axes, self.keepdims)
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let shape = inputs[0].shape();
        let (reduced, scale) = self.reduced(shape).expect("`infer` accepted this shape");
        reduce::forward(cx, inputs[0].data(), shape.dims(), &reduced, scale, output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let shape = at.input_shape(0);
        let (reduced, scale) = self.reduced(shape).expect("`infer` accepted this shape");
        reduce::backward(cx, dy.data(), shape.dims(), &reduced, scale, dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn mean(axes: &[i64], keepdims: bool) -> ReduceMean {
        ReduceMean { axes: axes.to_vec(), keepdims }
    }

    #[test]
    fn over_space() {
        op(mean(&[1, 2], false)).input([2, 3, 5, 7]).check();
        op(mean(&[1, 2], true)).input([2, 3, 5, 7]).check();
    }

    #[test]
    fn other_axes() {
        op(mean(&[-1], false)).input([2, 3, 5]).check();
        op(mean(&[0, -1], true)).input([2, 3, 5]).check();
        op(mean(&[1], false)).input([4, 3]).check();
        op(mean(&[0, 1, 2], false)).input([2, 3, 5]).check();
        op(mean(&[], false)).input([2, 3]).check();
    }

    #[test]
    fn rejects() {
        op(mean(&[4], false)).input([2, 3]).rejects("axis 4 is out of range for the input [2, 3]");
        op(mean(&[1], false)).input([2, 0]).rejects("[2, 0] holds no values");
    }
}
