//! Rectifier with learned slopes (He et al. 2015, arXiv:1502.01852; Keras `PReLU`).

use crate::Cx;
use crate::binary::checked_loops;

/// `y = x` if `x > 0`, else `alpha * x`.
///
/// # Shapes
/// `x`, `y: x_shape`; `alpha: alpha_shape`, which broadcasts to `x_shape` (Keras: `[H, W, C]`, with 1 for shared axes).
pub fn forward(
    cx: Cx<'_>,
    x: &[f32],
    x_shape: &[usize],
    alpha: &[f32],
    alpha_shape: &[usize],
    y: &mut [f32],
) {
    let loops = checked_loops([x.len(), alpha.len(), y.len()], x_shape, alpha_shape, x_shape);
    loops.map(cx, x, alpha, y, |x, alpha| if x > 0.0 { x } else { alpha * x });
}

/// Adds the gradients with respect to `x` and `alpha`. As in Keras, that of `x` is 0 where `x` is 0.
///
/// # Shapes
/// As [`forward`]; `dy`, `dx: x_shape`, `dalpha: alpha_shape`.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    cx: Cx<'_>,
    x: &[f32],
    x_shape: &[usize],
    alpha: &[f32],
    alpha_shape: &[usize],
    dy: &[f32],
    dx: Option<&mut [f32]>,
    dalpha: Option<&mut [f32]>,
) {
    let loops = checked_loops([x.len(), alpha.len(), dy.len()], x_shape, alpha_shape, x_shape);
    if let Some(dx) = dx {
        assert_eq!(dx.len(), x.len(), "dx length");
        let slope = |x: f32, alpha: f32| {
            let negative = if x < 0.0 { alpha } else { 0.0 };
            if x > 0.0 { 1.0 } else { negative }
        };
        loops.accumulate(cx, 0, [x, alpha, dy], dx, slope);
    }
    if let Some(dalpha) = dalpha {
        assert_eq!(dalpha.len(), alpha.len(), "dalpha length");
        loops.accumulate(cx, 1, [x, alpha, dy], dalpha, |x, _| if x < 0.0 { x } else { 0.0 });
    }
}
