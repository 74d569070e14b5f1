//! Axes reordered. Keras `Permute`, ONNX `Transpose`.

use binesh_kernels::{Cx, layout};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// Axis `i` of y is axis `axes[i]` of x, the batch axis included.
///
/// # Shapes
/// x any -> y, extent `i` that of axis `axes[i]` of x.
#[derive(Clone, Debug, PartialEq)]
pub struct Permute {
    /// A permutation of `0..rank`.
    pub axes: Vec<usize>,
}

impl Operator for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let x = inputs[0];
        let mut sorted = self.axes.clone();
        sorted.sort();
        if !sorted.into_iter().eq(0..x.rank()) {
            return Err(ShapeError::new(format!("{:?} is not an order of the axes of {x}", self.axes)));
        }
        Ok(self.axes.iter().map(|&axis| x.dims()[axis]).collect::<Vec<usize>>().into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        layout::permute(cx, inputs[0].data(), inputs[0].shape().dims(), &self.axes, output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, _at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let mut inverse = vec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            inverse[from] = to;
        }
        let mut back = vec![0.0; dy.data().len()];
        layout::permute(cx, dy.data(), dy.shape().dims(), &inverse, &mut back);
        dx.data().iter_mut().zip(&back).for_each(|(dx, back)| *dx += back);
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn axes(axes: &[usize]) -> Permute {
        Permute { axes: axes.to_vec() }
    }

    #[test]
    fn channels_first_and_back() {
        op(axes(&[0, 3, 1, 2])).input([2, 3, 5, 7]).check();
        op(axes(&[0, 2, 3, 1])).input([2, 7, 3, 5]).check();
    }

    #[test]
    fn other_orders() {
        op(axes(&[1, 0])).input([3, 5]).check();
        op(axes(&[0, 2, 1])).input([2, 33, 17]).check();
        op(axes(&[3, 1, 0, 2])).input([2, 3, 4, 5]).check();
        op(axes(&[0, 1, 2])).input([2, 3, 4]).check();
        op(axes(&[])).input([]).check();
    }

    #[test]
    fn rejects() {
        op(axes(&[0, 1])).input([2, 3, 4]).rejects("[0, 1] is not an order of the axes of [2, 3, 4]");
        op(axes(&[0, 0])).input([2, 3]).rejects("[0, 0] is not an order of the axes of [2, 3]");
        op(axes(&[0, 2])).input([2, 3]).rejects("[0, 2] is not an order of the axes of [2, 3]");
    }
}
