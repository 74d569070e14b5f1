//! A map without its border. Keras `Cropping2D`.

use binesh_kernels::{Cx, layout};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The map without these rows and columns.
///
/// # Shapes
/// x `[N, top + H + bottom, left + W + right, C]` -> y `[N, H, W, C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Crop2d {
    /// Rows above and below.
    pub rows: [usize; 2],
    /// Columns left and right.
    pub columns: [usize; 2],
}

impl Crop2d {
    fn border(&self, x: &Shape) -> Result<layout::Border, ShapeError> {
        let [n, outer_h, outer_w, c] = x.axes("N, H, W, C")?;
        let inside = |outer: usize, cut: [usize; 2]| {
            let left = outer.checked_sub(cut[0]).and_then(|rest| rest.checked_sub(cut[1]));
            left.filter(|&rest| rest > 0).ok_or_else(|| ShapeError::new(format!("cropping leaves nothing of {x}")))
        };
        let (h, w) = (inside(outer_h, self.rows)?, inside(outer_w, self.columns)?);
        Ok(layout::Border { n, h, w, c, rows: self.rows, columns: self.columns })
    }
}

impl Operator for Crop2d {
    fn name(&self) -> &'static str {
        "crop2d"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = self.border(inputs[0])?;
        Ok([g.n, g.h, g.w, g.c].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let g = self.border(inputs[0].shape()).expect("`infer` accepted this shape");
        layout::crop2d(cx, &g, inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let g = self.border(at.input_shape(0)).expect("`infer` accepted this shape");
        layout::crop2d_backward(cx, &g, dy.data(), dx.data());
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn asymmetric() {
        op(Crop2d { rows: [1, 2], columns: [0, 3] }).input([2, 7, 5, 3]).check();
        op(Crop2d { rows: [0, 0], columns: [2, 0] }).input([2, 4, 5, 9]).check();
    }

    #[test]
    fn rejects() {
        let crop = |rows, columns| op(Crop2d { rows, columns }).input([1, 4, 4, 1]);
        crop([2, 2], [0, 0]).rejects("cropping leaves nothing of [1, 4, 4, 1]");
        crop([0, 0], [usize::MAX, 1]).rejects("cropping leaves nothing of [1, 4, 4, 1]");
    }
}
