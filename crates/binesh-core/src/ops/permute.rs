//! Axes reordered. Keras `Permute`, ONNX `Transpose`.

use binesh_kernels::{Cx, layout};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// Axis `i` of y is axis `axes[i]` of x, the batch axis included.
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
