//! A map enlarged by whole factors. Keras `UpSampling2D`.

use binesh_kernels::{Cx, resize};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// How values between the old ones are made, both with half-pixel centres as `tf.image.resize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// Values are repeated.
    Nearest,
    /// Linear between neighbours; the border is repeated.
    Bilinear,
}

/// The map enlarged.
///
/// # Shapes
/// x `[N, H, W, C]` -> y `[N, H * factors[0], W * factors[1], C]`.
#[derive(Clone, Debug, PartialEq)]
pub struct UpSampling2d {
    /// Vertical, horizontal.
    pub factors: [usize; 2],
    /// Values in between.
    pub interpolation: Interpolation,
}

impl UpSampling2d {
    fn geometry(&self, x: &Shape) -> Result<resize::Resize, ShapeError> {
        let [n, h, w, c] = x.axes("N, H, W, C")?;
        let grow = |extent: usize, factor: usize| {
            extent.checked_mul(factor).filter(|&v| v > 0).ok_or_else(|| ShapeError::new("bad up-sampling factor"))
        };
        Ok(resize::Resize { n, h, w, c, ho: grow(h, self.factors[0])?, wo: grow(w, self.factors[1])? })
    }
}

impl Operator for UpSampling2d {
    fn name(&self) -> &'static str {
        "up_sampling2d"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = self.geometry(inputs[0])?;
        Ok([g.n, g.ho, g.wo, g.c].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let g = self.geometry(inputs[0].shape()).expect("`infer` accepted this shape");
        let (x, y) = (inputs[0].data(), output.into_data());
        match self.interpolation {
            Interpolation::Nearest => resize::nearest_forward(cx, &g, x, y),
            Interpolation::Bilinear => resize::bilinear_forward(cx, &g, x, y),
        }
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let g = self.geometry(at.input_shape(0)).expect("`infer` accepted this shape");
        match self.interpolation {
            Interpolation::Nearest => resize::nearest_backward(cx, &g, dy.data(), dx.data()),
            Interpolation::Bilinear => resize::bilinear_backward(cx, &g, dy.data(), dx.data()),
        }
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn up(factors: [usize; 2], interpolation: Interpolation) -> UpSampling2d {
        UpSampling2d { factors, interpolation }
    }

    #[test]
    fn nearest() {
        op(up([2, 2], Interpolation::Nearest)).input([2, 3, 5, 3]).check();
        op(up([3, 1], Interpolation::Nearest)).input([1, 2, 3, 9]).check();
    }

    #[test]
    fn bilinear() {
        op(up([2, 2], Interpolation::Bilinear)).input([2, 3, 5, 3]).check();
        op(up([1, 3], Interpolation::Bilinear)).input([2, 3, 5, 3]).check();
        op(up([5, 4], Interpolation::Bilinear)).input([1, 1, 2, 9]).check();
    }

    #[test]
    fn rejects() {
        op(up([0, 1], Interpolation::Nearest)).input([1, 4, 4, 1]).rejects("bad up-sampling factor");
        op(up([usize::MAX, 1], Interpolation::Nearest)).input([1, 4, 4, 1]).rejects("bad up-sampling factor");
    }
}
