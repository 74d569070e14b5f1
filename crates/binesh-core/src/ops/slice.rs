//! A stretch of one axis. NumPy's `x[:, start:end:step]`, Keras `SlicingOpLambda` and `GetItem`, ONNX `Slice`.

use binesh_kernels::{Cx, layout};

use crate::Few;
use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// Python's slice rules along one axis: negative positions count from the end, positions are clamped.
///
/// # Shapes
/// y is like x but along `axis`.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Axis, counted from the end when negative.
    pub axis: i64,
    /// First position; `None` for the beginning (for the end when the step is negative).
    pub start: Option<i64>,
    /// Position after the last; `None` for all.
    pub end: Option<i64>,
    /// Step, not 0.
    pub step: i64,
}

impl Slice {
    /// Axis, first position and number of positions.
    fn resolve(&self, x: &Shape) -> Result<(usize, usize, usize), ShapeError> {
        let axis = x.axis(self.axis)?;
        let n = x.dims()[axis] as i64;
        if self.step == 0 || self.step == i64::MIN {
            return Err(ShapeError::new("a slice needs a step other than 0"));
        }
        let (low, high) = if self.step > 0 { (0, n) } else { (-1, n - 1) };
        let clamp = |at: i64| if at < 0 { at.saturating_add(n) } else { at }.clamp(low, high);
        let start = self.start.map_or(if self.step > 0 { low } else { high }, clamp);
        let end = self.end.map_or(if self.step > 0 { high } else { low }, clamp);
        let span = if self.step > 0 { end - start } else { start - end };
        if span <= 0 {
            return Err(ShapeError::new(format!("the slice takes nothing of axis {axis} of {x}")));
        }
        Ok((axis, start as usize, (span as u64).div_ceil(self.step.unsigned_abs()) as usize))
    }

    /// First positions and steps of all axes.
    fn strides(&self, x: &Shape) -> (Few<usize>, Few<isize>) {
        let (axis, start, _) = self.resolve(x).expect("`infer` accepted this shape");
        let (mut begin, mut step) = (Few::from_elem(0, x.rank()), Few::from_elem(1, x.rank()));
        begin[axis] = start;
        // A step beyond the axis takes one position, as a step of its length does.
        let n = x.dims()[axis] as i64;
        step[axis] = self.step.clamp(-n, n) as isize;
        (begin, step)
    }
}

impl Operator for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (axis, _, count) = self.resolve(inputs[0])?;
        let mut dims = inputs[0].dims().to_vec();
        dims[axis] = count;
        Ok(dims.into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], mut output: ViewMut<'_>) {
        let (x, y_shape) = (inputs[0], output.shape());
        let (begin, step) = self.strides(x.shape());
        let dims = x.shape().dims();
        layout::strided_slice_forward(cx, x.data(), dims, &begin, &step, output.data(), y_shape.dims());
    }

    fn backward(&self, _cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let x_shape = at.input_shape(0);
        let (begin, step) = self.strides(x_shape);
        layout::strided_slice_backward(dy.data(), dy.shape().dims(), x_shape.dims(), &begin, &step, dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn slice(axis: i64, start: Option<i64>, end: Option<i64>, step: i64) -> Slice {
        Slice { axis, start, end, step }
    }

    #[test]
    fn channels() {
        op(slice(-1, Some(1), Some(4), 1)).input([2, 3, 5, 7]).check();
        op(slice(3, Some(-2), None, 1)).input([2, 3, 5, 7]).check();
    }

    #[test]
    fn every_second_row() {
        op(slice(1, None, None, 2)).input([2, 7, 3]).check();
        op(slice(1, Some(1), None, 3)).input([2, 7, 3]).check();
    }

    #[test]
    fn backwards() {
        op(slice(-1, None, None, -1)).input([2, 3, 3]).check();
        op(slice(1, Some(5), Some(0), -2)).input([2, 7, 3]).check();
    }

    #[test]
    fn positions_are_clamped() {
        op(slice(0, Some(-99), Some(99), 1)).input([3]).values(&[1.0, 2.0, 3.0]).equals(&[1.0, 2.0, 3.0]).check();
        op(slice(0, Some(99), Some(-99), -1)).input([3]).values(&[1.0, 2.0, 3.0]).equals(&[3.0, 2.0, 1.0]).check();
    }

    #[test]
    fn steps_beyond_the_axis() {
        op(slice(1, Some(1), None, 1 << 62)).input([2, 3]).check();
        op(slice(1, Some(1), None, -(1 << 62))).input([2, 3]).check();
    }

    #[test]
    fn rejects() {
        op(slice(1, None, None, 0)).input([2, 3]).rejects("a slice needs a step other than 0");
        op(slice(1, Some(2), Some(1), 1))
            .input([2, 3])
            .rejects("the slice takes nothing of axis 1 of [2, 3]");
        op(slice(-3, None, None, 1)).input([2, 3]).rejects("axis -3 is out of range for the input [2, 3]");
    }
}
