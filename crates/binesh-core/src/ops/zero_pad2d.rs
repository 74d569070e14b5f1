//! Zeros around a map. Keras `ZeroPadding2D`, ONNX `Pad`.

use binesh_kernels::{Cx, layout};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{MAX_ELEMENTS, Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The map with a border of zeros.
///
/// # Shapes
/// x `[N, H, W, C]` -> y `[N, top + H + bottom, left + W + right, C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ZeroPad2d {
    /// Rows above and below.
    pub rows: [usize; 2],
    /// Columns left and right.
    pub columns: [usize; 2],
}

impl ZeroPad2d {
    fn border(&self, x: &Shape) -> Result<layout::Border, ShapeError> {
        let [n, h, w, c] = x.axes("N, H, W, C")?;
        if self.rows.iter().chain(&self.columns).any(|&pad| pad >= MAX_ELEMENTS) {
            return Err(ShapeError::new("padding is too large"));
        }
        Ok(layout::Border { n, h, w, c, rows: self.rows, columns: self.columns })
    }
}

impl Operator for ZeroPad2d {
    fn name(&self) -> &'static str {
        "zero_pad2d"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = self.border(inputs[0])?;
        let ([top, bottom], [left, right]) = (g.rows, g.columns);
        Ok([g.n, top + g.h + bottom, left + g.w + right, g.c].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let g = self.border(inputs[0].shape()).expect("`infer` accepted this shape");
        layout::pad2d(cx, &g, 0.0, inputs[0].data(), output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let g = self.border(at.input_shape(0)).expect("`infer` accepted this shape");
        layout::pad2d_backward(cx, &g, dy.data(), dx.data(), at.write(0));
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
    use crate::check::op;

    #[test]
    fn asymmetric() {
        op(ZeroPad2d { rows: [0, 1], columns: [3, 2] }).input([2, 4, 5, 3]).check();
        op(ZeroPad2d { rows: [2, 0], columns: [0, 0] }).input([1, 1, 1, 17]).check();
    }

    #[test]
    fn rejects() {
        let pad = |pad| op(ZeroPad2d { rows: [pad, 0], columns: [0, 0] });
        pad(usize::MAX).input([1, 4, 4, 1]).rejects("padding is too large");
        pad(1).input([4, 4]).rejects("expected the axes [N, H, W, C] but the input is [4, 4]");
    }
}
