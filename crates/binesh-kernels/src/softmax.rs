//! Softmax over the last axis.

use crate::norm::{check_rows, rows_chunk};
use crate::reduce::sum_lanes;
use crate::{Activation, Cx, activation};

/// `y[i] = e^(x[i] - m) / sum of e^(x[j] - m)` in each row, where `m` is the row's maximum.
///
/// # Shapes
/// `x`, `y: [rows, C]`
pub fn forward(cx: Cx<'_>, c: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    check_rows(c, x.len());
    let chunk = rows_chunk(c);
    cx.threads.run_chunks(y, chunk, |i, y| {
        for (y, x) in y.chunks_exact_mut(c).zip(x[i * chunk..].chunks_exact(c)) {
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = x - max);
            activation::in_place(cx.isa, Activation::Exp, y);
            let factor = 1.0 / sum_lanes(y.len(), |i| y[i]);
            y.iter_mut().for_each(|y| *y *= factor);
        }
    });
}

/// `dx += y * (dy - sum of dy y)` in each row, where `y` is the result of [`forward`].
///
/// # Shapes
/// `y`, `dy`, `dx: [rows, C]`
pub fn backward(cx: Cx<'_>, c: usize, y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(y.len() == dx.len() && dy.len() == dx.len(), "slices differ in length");
    check_rows(c, dx.len());
    let chunk = rows_chunk(c);
    cx.threads.run_chunks(dx, chunk, |i, dx| {
        cx.isa.vectorize(|| {
            let rows = y[i * chunk..].chunks_exact(c).zip(dy[i * chunk..].chunks_exact(c));
            for (dx, (y, dy)) in dx.chunks_exact_mut(c).zip(rows) {
                let dot = sum_lanes(y.len(), |i| y[i] * dy[i]);
                dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx += y * (dy - dot));
            }
        });
    });
}
