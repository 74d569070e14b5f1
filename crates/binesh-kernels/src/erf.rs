//! The error function.

use crate::Cx;
use crate::threads::GRAIN;

/// `y = erf(x)`, each value on its own.
///
/// # Shapes
/// `x` and `y` are of the same length.
pub fn forward(cx: Cx<'_>, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "y length");
    cx.threads.run_chunks(y, GRAIN, |chunk, y| {
        y.iter_mut().zip(&x[chunk * GRAIN..]).for_each(|(y, &x)| *y = libm::erff(x));
    });
}

/// `dx += dy * 2 / sqrt(pi) * e^(-x^2)`.
///
/// # Shapes
/// All of the same length.
pub fn backward(cx: Cx<'_>, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dx.len() && dy.len() == dx.len(), "gradient length");
    cx.threads.run_chunks(dx, GRAIN, |chunk, dx| {
        let from = chunk * GRAIN;
        for ((dx, x), dy) in dx.iter_mut().zip(&x[from..]).zip(&dy[from..]) {
            *dx += dy * std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp();
        }
    });
}
