//! Batch and layer normalisation over the last axis.

use crate::Cx;
use crate::reduce::{map_sum_rows, sum_lanes, sum_rows};
use crate::threads::GRAIN;

/// `y = x * scale + shift` with one factor and one offset per channel: batch normalisation in inference mode, where
/// `scale = gamma / sqrt(variance + eps)` and `shift = beta - mean * scale`.
///
/// # Shapes
/// `x`, `y: [rows, C]`; `scale`, `shift: [C]`
pub fn scale_shift(cx: Cx<'_>, c: usize, x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    check_rows(c, x.len());
    assert!(scale.len() == c && shift.len() == c, "one scale and shift per channel");
    with_rows([scale, shift], |[scale, shift]| scale_shift_rows(cx, x, scale, shift, y));
}

/// Calls `f` with two rows of factors. The few channels of a picture would leave most of each vector empty: several pixels
/// make a row then, of which the last may be shorter.
fn with_rows(values: [&[f32]; 2], f: impl FnOnce([&[f32]; 2])) {
    let c = values[0].len();
    if c >= FEW {
        return f(values);
    }
    let mut rows = [[0.0; FEW * TOGETHER]; 2];
    for (row, values) in rows.iter_mut().zip(values) {
        row.chunks_exact_mut(c).for_each(|row| row.copy_from_slice(values));
    }
    f(rows.each_ref().map(|row| &row[..c * TOGETHER]));
}

/// Fewer channels than this are taken for [`TOGETHER`] pixels at a time.
const FEW: usize = 16;
const TOGETHER: usize = 8;

fn scale_shift_rows(cx: Cx<'_>, x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
    let chunk = rows_chunk(scale.len());
    cx.threads.run_chunks(y, chunk, |i, y| {
        cx.isa.vectorize(|| {
            for (y, x) in y.chunks_mut(scale.len()).zip(x[i * chunk..].chunks(scale.len())) {
                for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                    *y = x * scale + shift;
                }
            }
        });
    });
}

/// `y = (x - mean) * scale`, as it stands: a mean folded into an offset would take digits with it where it is far from zero.
///
/// # Shapes
/// `x`, `y: [rows, C]`; `mean`, `scale: [C]`
pub fn standardize(cx: Cx<'_>, c: usize, x: &[f32], mean: &[f32], scale: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    check_rows(c, x.len());
    assert!(mean.len() == c && scale.len() == c, "one mean and scale per channel");
    with_rows([mean, scale], |[mean, scale]| {
        let chunk = rows_chunk(mean.len());
        cx.threads.run_chunks(y, chunk, |i, y| {
            cx.isa.vectorize(|| {
                for (y, x) in y.chunks_mut(mean.len()).zip(x[i * chunk..].chunks(mean.len())) {
                    for (((y, x), mean), scale) in y.iter_mut().zip(x).zip(mean).zip(scale) {
                        *y = (x - mean) * scale;
                    }
                }
            });
        });
    });
}

/// `y = y * scale + shift`, as [`scale_shift`].
///
/// # Shapes
/// `y: [rows, C]`; `scale`, `shift: [C]`
pub fn scale_shift_in_place(cx: Cx<'_>, c: usize, scale: &[f32], shift: &[f32], y: &mut [f32]) {
    check_rows(c, y.len());
    assert!(scale.len() == c && shift.len() == c, "one scale and shift per channel");
    with_rows([scale, shift], |[scale, shift]| {
        cx.threads.run_chunks(y, rows_chunk(scale.len()), |_, y| {
            cx.isa.vectorize(|| {
                for y in y.chunks_mut(scale.len()) {
                    y.iter_mut()
                        .zip(scale)
                        .zip(shift)
                        .for_each(|((y, scale), shift)| *y = *y * scale + shift);
                }
            });
        });
    });
}

/// `x *= scale`, one factor per channel: the gradient of [`scale_shift`] where nothing else adds to it.
///
/// # Shapes
/// `x: [rows, C]`; `scale: [C]`
pub fn scale_in_place(cx: Cx<'_>, c: usize, scale: &[f32], x: &mut [f32]) {
    check_rows(c, x.len());
    assert_eq!(scale.len(), c, "one scale per channel");
    cx.threads.run_chunks(x, rows_chunk(c), |_, x| {
        cx.isa.vectorize(|| {
            for x in x.chunks_exact_mut(c) {
                x.iter_mut().zip(scale).for_each(|(x, scale)| *x *= scale);
            }
        });
    });
}

/// Gradients that [`batch_norm_backward`] adds to, where they are wanted.
#[derive(Debug, Default)]
pub struct BatchNormGradients<'a> {
    /// `[rows, C]`
    pub dx: Option<&'a mut [f32]>,
    /// `[C]`
    pub dgamma: Option<&'a mut [f32]>,
    /// `[C]`
    pub dbeta: Option<&'a mut [f32]>,
}

/// Backward pass of `y = gamma * (x - mean) * inv_std + beta` with constant statistics (inference mode):
/// `dx += gamma * inv_std * dy`, `dgamma += sum of dy * (x - mean) * inv_std`, `dbeta += sum of dy`.
///
/// # Shapes
/// `x`, `dy: [rows, C]`; `mean`, `inv_std = 1 / sqrt(variance + eps)`, `gamma: [C]`
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_backward(
    cx: Cx<'_>,
    c: usize,
    x: &[f32],
    mean: &[f32],
    inv_std: &[f32],
    gamma: &[f32],
    dy: &[f32],
    gradients: BatchNormGradients<'_>,
) {
    check_rows(c, dy.len());
    assert_eq!(x.len(), dy.len(), "x and dy differ in length");
    assert!(mean.len() == c && inv_std.len() == c && gamma.len() == c, "one statistic per channel");
    if let Some(dx) = gradients.dx {
        assert_eq!(dx.len(), dy.len(), "dx length");
        let scale: Vec<f32> = gamma.iter().zip(inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
        let chunk = rows_chunk(c);
        cx.threads.run_chunks(dx, chunk, |i, dx| {
            cx.isa.vectorize(|| {
                for (dx, dy) in dx.chunks_exact_mut(c).zip(dy[i * chunk..].chunks_exact(c)) {
                    dx.iter_mut().zip(dy).zip(&scale).for_each(|((dx, dy), scale)| *dx += scale * dy);
                }
            });
        });
    }
    if let Some(dgamma) = gradients.dgamma {
        map_sum_rows(cx, c, dy.len(), dgamma, |at, sum| {
            let (x, dy, n) = (&x[at..], &dy[at..], sum.len());
            let first = at % c;
            for i in 0..n {
                sum[i] += dy[i] * ((x[i] - mean[first + i]) * inv_std[first + i]);
            }
        });
    }
    if let Some(dbeta) = gradients.dbeta {
        sum_rows(cx, c, dy, dbeta);
    }
}

/// Mean and (biased) variance of each channel over all rows: what batch normalisation divides by in training.
///
/// # Shapes
/// `x: [rows, C]`, at least one row; `mean`, `variance: [C]`
pub fn batch_moments(cx: Cx<'_>, c: usize, x: &[f32], mean: &mut [f32], variance: &mut [f32]) {
    check_rows(c, x.len());
    assert!(mean.len() == c && variance.len() == c, "one mean and variance per channel");
    let rows = (x.len() / c.max(1)) as f32;
    mean.fill(0.0);
    sum_rows(cx, c, x, mean);
    mean.iter_mut().for_each(|mean| *mean /= rows);
    variance.fill(0.0);
    let mean = &*mean;
    map_sum_rows(cx, c, x.len(), variance, |at, sum| {
        let mean = &mean[at % c..];
        for ((sum, x), mean) in sum.iter_mut().zip(&x[at..]).zip(mean) {
            *sum += (x - mean) * (x - mean);
        }
    });
    variance.iter_mut().for_each(|variance| *variance /= rows);
}

/// Backward pass of `y = gamma * z + beta` with `z = (x - mean) * inv_std` where mean and variance are those of x
/// ([`batch_moments`]): `dx += gamma * inv_std * (dy - mean(dy) - z * mean(dy z))`, means over rows; `dgamma` and
/// `dbeta` as in [`batch_norm_backward`].
///
/// # Shapes
/// As [`batch_norm_backward`].
#[allow(clippy::too_many_arguments)]
pub fn batch_norm_training_backward(
    cx: Cx<'_>,
    c: usize,
    x: &[f32],
    mean: &[f32],
    inv_std: &[f32],
    gamma: &[f32],
    dy: &[f32],
    gradients: BatchNormGradients<'_>,
) {
    let (mut sum_dy, mut sum_dyz) = (vec![0.0; c], vec![0.0; c]);
    let sums = BatchNormGradients { dx: None, dgamma: Some(&mut sum_dyz), dbeta: Some(&mut sum_dy) };
    batch_norm_backward(cx, c, x, mean, inv_std, gamma, dy, sums);
    if let Some(dx) = gradients.dx {
        assert_eq!(dx.len(), dy.len(), "dx length");
        let rows = (dy.len() / c.max(1)) as f32;
        // dx += a dy + b (x - mean) + s
        let a: Vec<f32> = gamma.iter().zip(inv_std).map(|(gamma, inv_std)| gamma * inv_std).collect();
        let b: Vec<f32> = (0..c).map(|c| -a[c] * inv_std[c] * (sum_dyz[c] / rows)).collect();
        let s: Vec<f32> = (0..c).map(|c| -a[c] * (sum_dy[c] / rows)).collect();
        let chunk = rows_chunk(c);
        cx.threads.run_chunks(dx, chunk, |i, dx| {
            cx.isa.vectorize(|| {
                let rows = x[i * chunk..].chunks_exact(c).zip(dy[i * chunk..].chunks_exact(c));
                for (dx, (x, dy)) in dx.chunks_exact_mut(c).zip(rows) {
                    for i in 0..c {
                        dx[i] += a[i] * dy[i] + b[i] * (x[i] - mean[i]) + s[i];
                    }
                }
            });
        });
    }
    let add = |to: &mut [f32], sum: &[f32]| to.iter_mut().zip(sum).for_each(|(to, sum)| *to += sum);
    if let Some(dgamma) = gradients.dgamma {
        add(dgamma, &sum_dyz);
    }
    if let Some(dbeta) = gradients.dbeta {
        add(dbeta, &sum_dy);
    }
}

/// `y = gamma * (x - mean) / sqrt(variance + eps) + beta`, with the mean and the (biased) variance of each row
/// (Ba et al. 2016, arXiv:1607.06450; Keras `LayerNormalization`). Absent `gamma` is 1, absent `beta` 0.
///
/// # Shapes
/// `x`, `y: [rows, C]`; `gamma`, `beta: [C]`
pub fn layer_norm_forward(
    cx: Cx<'_>,
    c: usize,
    x: &[f32],
    gamma: Option<&[f32]>,
    beta: Option<&[f32]>,
    eps: f32,
    y: &mut [f32],
) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    check_rows(c, x.len());
    assert!(
        gamma.is_none_or(|g| g.len() == c) && beta.is_none_or(|b| b.len() == c),
        "one gamma and beta per channel"
    );
    let chunk = rows_chunk(c);
    cx.threads.run_chunks(y, chunk, |i, y| {
        cx.isa.vectorize(|| {
            for (y, x) in y.chunks_exact_mut(c).zip(x[i * chunk..].chunks_exact(c)) {
                let (mean, inv_std) = moments(x, eps);
                y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * inv_std);
                if let Some(gamma) = gamma {
                    y.iter_mut().zip(gamma).for_each(|(y, gamma)| *y *= gamma);
                }
                if let Some(beta) = beta {
                    y.iter_mut().zip(beta).for_each(|(y, beta)| *y += beta);
                }
            }
        });
    });
}

/// Adds the gradients of [`layer_norm_forward`] to those that are wanted (`dbeta` without needing `beta`).
///
/// # Shapes
/// As [`layer_norm_forward`]; `dy`, `dx: [rows, C]`; `dgamma`, `dbeta: [C]`
pub fn layer_norm_backward(
    cx: Cx<'_>,
    c: usize,
    x: &[f32],
    gamma: Option<&[f32]>,
    eps: f32,
    dy: &[f32],
    gradients: BatchNormGradients<'_>,
) {
    check_rows(c, dy.len());
    assert_eq!(x.len(), dy.len(), "x and dy differ in length");
    assert!(gamma.is_none_or(|g| g.len() == c), "one gamma per channel");
    if let Some(dx) = gradients.dx {
        assert_eq!(dx.len(), dy.len(), "dx length");
        let chunk = rows_chunk(c);
        cx.threads.run_chunks(dx, chunk, |i, dx| {
            cx.isa.vectorize(|| {
                let rows = x[i * chunk..].chunks_exact(c).zip(dy[i * chunk..].chunks_exact(c));
                for (dx, (x, dy)) in dx.chunks_exact_mut(c).zip(rows) {
                    layer_norm_row(x, gamma, eps, dy, dx);
                }
            });
        });
    }
    if let Some(dgamma) = gradients.dgamma {
        let statistics: Vec<_> = x.chunks_exact(c.max(1)).map(|x| moments(x, eps)).collect();
        map_sum_rows(cx, c, dy.len(), dgamma, |at, sum| {
            let (mean, inv_std) = statistics[at / c];
            for ((sum, x), dy) in sum.iter_mut().zip(&x[at..]).zip(&dy[at..]) {
                *sum += dy * ((x - mean) * inv_std);
            }
        });
    }
    if let Some(dbeta) = gradients.dbeta {
        sum_rows(cx, c, dy, dbeta);
    }
}

/// With `z = (x - mean) * inv_std` and `g = gamma * dy`: `dx += inv_std * (g - mean(g) - z * mean(g z))`.
#[inline(always)]
fn layer_norm_row(x: &[f32], gamma: Option<&[f32]>, eps: f32, dy: &[f32], dx: &mut [f32]) {
    let (mean, inv_std) = moments(x, eps);
    let g = |i: usize| gamma.map_or(1.0, |gamma| gamma[i]) * dy[i];
    let z = |i: usize| (x[i] - mean) * inv_std;
    let n = x.len() as f32;
    let mean_g = sum_lanes(x.len(), g) / n;
    let mean_gz = sum_lanes(x.len(), |i| g(i) * z(i)) / n;
    for (i, dx) in dx.iter_mut().enumerate() {
        *dx += inv_std * (g(i) - mean_g - z(i) * mean_gz);
    }
}

/// Mean and `1 / sqrt(variance + eps)` of a row.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = sum_lanes(x.len(), |i| x[i]) / n;
    let variance = sum_lanes(x.len(), |i| (x[i] - mean) * (x[i] - mean)) / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// Values in a task of whole rows.
pub(crate) fn rows_chunk(c: usize) -> usize {
    (GRAIN / c.max(1)).max(1) * c.max(1)
}

pub(crate) fn check_rows(c: usize, len: usize) {
    assert!(len == 0 || (c > 0 && len.is_multiple_of(c)), "whole rows of {c} values");
}
