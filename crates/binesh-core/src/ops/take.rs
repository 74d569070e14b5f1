//! Positions of one axis picked from a list. NumPy `take`, ONNX `Gather` with a constant list, and with it `Pad`,
//! `Expand`, `Tile` and `Resize` to the nearest.

use binesh_kernels::{Cx, take};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y[.., i, ..] = x[.., positions[i], ..]`, or `fill` where there is no position. The fill is a constant.
///
/// # Shapes
/// y is like x but along `axis`, where it has as many positions as the list.
#[derive(Clone, Debug, PartialEq)]
pub struct Take {
    /// Axis, counted from the end when negative.
    pub axis: i64,
    /// Positions along it; repeated ones are repeated.
    pub positions: Vec<Option<usize>>,
    /// The value where there is none.
    pub fill: f32,
}

impl Take {
    fn geometry(&self, x: &Shape) -> Result<(usize, take::Take), ShapeError> {
        let axis = x.axis(self.axis)?;
        let extent = x.dims()[axis];
        if let Some(outside) = self.positions.iter().flatten().find(|&&at| at >= extent) {
            return Err(ShapeError::new(format!("position {outside} is outside axis {axis} of {x}")));
        }
        let product = |dims: &[usize]| dims.iter().product();
        let (outer, inner) = (product(&x.dims()[..axis]), product(&x.dims()[axis + 1..]));
        Ok((axis, take::Take { outer, extent, inner }))
    }

    fn placed(&self, x: &Shape) -> take::Take {
        self.geometry(x).expect("`infer` accepted this shape").1
    }
}

impl Operator for Take {
    fn name(&self) -> &'static str {
        "take"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (axis, _) = self.geometry(inputs[0])?;
        let mut dims = inputs[0].dims().to_vec();
        dims[axis] = self.positions.len();
        Ok(dims.into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let geometry = self.placed(inputs[0].shape());
        take::forward(cx, &geometry, &self.positions, self.fill, inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        take::backward(cx, &self.placed(at.input_shape(0)), &self.positions, dy.data(), dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn take(axis: i64, positions: &[usize]) -> Take {
        Take { axis, positions: positions.iter().copied().map(Some).collect(), fill: 0.0 }
    }

    #[test]
    fn some_and_some_twice() {
        op(take(1, &[2, 0, 2, 1])).input([2, 3, 5]).check();
        op(take(-1, &[4, 4, 0])).input([2, 3, 5]).check();
        op(take(0, &[1])).input([2, 3]).check();
    }

    #[test]
    fn repeated_throughout() {
        op(take(1, &[0; 7])).input([2, 1, 3]).check();
    }

    #[test]
    fn a_border_of_a_constant() {
        let positions = vec![None, Some(0), Some(1), None, None];
        op(Take { axis: 1, positions, fill: -2.5 })
            .input([1, 2])
            .values(&[3.0, 4.0])
            .equals(&[-2.5, 3.0, 4.0, -2.5, -2.5])
            .check();
    }

    #[test]
    fn rejects() {
        op(take(1, &[0, 3])).input([2, 3]).rejects("position 3 is outside axis 1 of [2, 3]");
        op(take(2, &[0])).input([2, 3]).rejects("axis 2 is out of range for the input [2, 3]");
        op(take(1, &[])).input([2, 3]).rejects("[2, 0] holds no values");
    }
}
