//! Moving values without computing: transposing, padding, cropping, slicing, and copying blocks.

use crate::copy::copy;
use crate::threads::GRAIN;
use crate::window::product;
use crate::{Cx, PerAxis, Write};

/// `y = x` with its axes reordered: axis `i` of `y` is axis `perm[i]` of `x`. The gradient is the permutation by
/// the inverse.
///
/// # Shapes
/// `x: shape`, `y: shape[perm[0]], shape[perm[1]], ...`
pub fn permute(cx: Cx<'_>, x: &[f32], shape: &[usize], perm: &[usize], y: &mut [f32]) {
    let rank = shape.len();
    let mut seen = PerAxis::from_elem(false, rank);
    assert_eq!(perm.len(), rank, "one axis number per axis");
    for &axis in perm {
        assert!(!std::mem::replace(&mut seen[axis], true), "axis {axis} appears twice");
    }
    let steps = row_major_steps(shape);
    let dims: PerAxis<_> = perm.iter().map(|&axis| shape[axis]).collect();
    let steps: PerAxis<_> = perm.iter().map(|&axis| steps[axis] as isize).collect();
    assert_eq!(x.len(), shape.iter().product(), "x length");
    assert_eq!(y.len(), x.len(), "y length");
    gather(cx, x, 0, &dims, &steps, y);
}

/// `y = x[begin[0] + i * step[0], begin[1] + j * step[1], ...]`; steps may be negative.
///
/// # Shapes
/// `x: shape`, `y: y_shape`
pub fn strided_slice_forward(
    cx: Cx<'_>,
    x: &[f32],
    shape: &[usize],
    begin: &[usize],
    step: &[isize],
    y: &mut [f32],
    y_shape: &[usize],
) {
    let (start, steps) = slice_steps(x.len(), shape, begin, step, y.len(), y_shape);
    gather(cx, x, start, y_shape, &steps, y);
}

/// `dx += ` the gradient of [`strided_slice_forward`].
///
/// # Shapes
/// `dy: y_shape`, `dx: shape`
pub fn strided_slice_backward(
    dy: &[f32],
    y_shape: &[usize],
    shape: &[usize],
    begin: &[usize],
    step: &[isize],
    dx: &mut [f32],
) {
    let (start, steps) = slice_steps(dx.len(), shape, begin, step, dy.len(), y_shape);
    for (i, dy) in dy.iter().enumerate() {
        dx[offset(i, start, y_shape, &steps)] += dy;
    }
}

fn slice_steps(
    x_len: usize,
    shape: &[usize],
    begin: &[usize],
    step: &[isize],
    y_len: usize,
    y_shape: &[usize],
) -> (usize, PerAxis<isize>) {
    let rank = shape.len();
    assert!(
        begin.len() == rank && step.len() == rank && y_shape.len() == rank,
        "one begin and step per axis"
    );
    assert_eq!(x_len, shape.iter().product(), "x length");
    assert_eq!(y_len, y_shape.iter().product(), "y length");
    for axis in 0..rank {
        let last = begin[axis] as isize + (y_shape[axis] as isize - 1).max(0) * step[axis];
        let inside = begin[axis] < shape[axis] && (0..shape[axis] as isize).contains(&last);
        assert!(y_len == 0 || inside, "slice outside axis {axis}");
    }
    let strides = row_major_steps(shape);
    let start = if y_len == 0 { 0 } else { begin.iter().zip(&strides).map(|(b, s)| b * s).sum() };
    (start, step.iter().zip(&strides).map(|(step, stride)| step * *stride as isize).collect())
}

/// `y[i, j, ...] = x[start + i * steps[0] + j * steps[1] + ...]`, where every index is inside `x`.
fn gather(cx: Cx<'_>, x: &[f32], start: usize, dims: &[usize], steps: &[isize], y: &mut [f32]) {
    let inner = dims.last().copied().unwrap_or(1).max(1);
    let step = steps.last().copied().unwrap_or(1);
    let chunk = (GRAIN / inner).max(1) * inner;
    cx.threads.run_chunks(y, chunk, |i, y| {
        for (row, y) in y.chunks_exact_mut(inner).enumerate() {
            let first = offset(i * chunk + row * inner, start, dims, steps);
            if step == 1 {
                y.copy_from_slice(&x[first..][..inner]);
            } else {
                for (j, y) in y.iter_mut().enumerate() {
                    *y = x[(first as isize + j as isize * step) as usize];
                }
            }
        }
    });
}

/// Position of the `i`-th value (row-major over `dims`).
fn offset(mut i: usize, start: usize, dims: &[usize], steps: &[isize]) -> usize {
    let mut at = start as isize;
    for (&dim, &step) in dims.iter().zip(steps).rev() {
        at += (i % dim) as isize * step;
        i /= dim;
    }
    at as usize
}

fn row_major_steps(shape: &[usize]) -> PerAxis<usize> {
    let mut steps = PerAxis::from_elem(1, shape.len());
    for axis in (1..shape.len()).rev() {
        steps[axis - 1] = steps[axis] * shape[axis];
    }
    steps
}

/// A smaller map at a place in a larger one, for padding and cropping.
///
/// # Shapes
/// inner: `[N, H, W, C]`; outer: `[N, top + H + bottom, left + W + right, C]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Border {
    pub n: usize,
    /// Height of the inner map.
    pub h: usize,
    /// Width of the inner map.
    pub w: usize,
    pub c: usize,
    /// Rows above and below.
    pub rows: [usize; 2],
    /// Columns left and right.
    pub columns: [usize; 2],
}

impl Border {
    fn outer(&self) -> [usize; 2] {
        [self.rows[0] + self.h + self.rows[1], self.columns[0] + self.w + self.columns[1]]
    }

    fn check(&self, inner: usize, outer: usize) {
        let [h, w] = self.outer();
        assert_eq!(inner, product([self.n, self.h, self.w, self.c]), "length of the inner map");
        assert_eq!(outer, product([self.n, h, w, self.c]), "length of the outer map");
    }

    /// Where inner row `row` (over all images) begins in the outer map.
    fn start(&self, row: usize) -> usize {
        let [h, w] = self.outer();
        ((row / self.h * h + self.rows[0] + row % self.h) * w + self.columns[0]) * self.c
    }
}

/// The inner map with `value` around it.
///
/// # Shapes
/// `x`: inner, `y`: outer of [`Border`].
pub fn pad2d(cx: Cx<'_>, geom: &Border, value: f32, x: &[f32], y: &mut [f32]) {
    geom.check(x.len(), y.len());
    let g = *geom;
    let ([h, w], row_len) = (g.outer(), g.w * g.c);
    cx.threads.run_chunks(y, (w * g.c).max(1), |row, y| {
        let (n, oy) = (row / h, row % h);
        y.fill(value);
        if (g.rows[0]..g.rows[0] + g.h).contains(&oy) {
            let x = &x[(n * g.h + oy - g.rows[0]) * row_len..][..row_len];
            copy(cx.isa, x, &mut y[g.columns[0] * g.c..][..row_len]);
        }
    });
}

/// Writes the inner part of `dy` to `dx`: the gradient of [`pad2d`].
///
/// # Shapes
/// `dy`: outer, `dx`: inner of [`Border`].
pub fn pad2d_backward(cx: Cx<'_>, geom: &Border, dy: &[f32], dx: &mut [f32], write: Write) {
    geom.check(dx.len(), dy.len());
    let row_len = (geom.w * geom.c).max(1);
    cx.threads.run_chunks(dx, row_len, |row, dx| {
        write.put(dx, dy[geom.start(row)..].iter().copied());
    });
}

/// `y = x`, any length.
pub fn copy_all(cx: Cx<'_>, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    cx.threads.run_chunks(y, GRAIN, |i, y| copy(cx.isa, &x[i * GRAIN..][..y.len()], y));
}

/// The inner part of the outer map.
///
/// # Shapes
/// `x`: outer, `y`: inner of [`Border`].
pub fn crop2d(cx: Cx<'_>, geom: &Border, x: &[f32], y: &mut [f32]) {
    geom.check(y.len(), x.len());
    let row_len = (geom.w * geom.c).max(1);
    cx.threads.run_chunks(y, row_len, |row, y| copy(cx.isa, &x[geom.start(row)..][..row_len], y));
}

/// `dx += dy` inside the border: the gradient of [`crop2d`].
///
/// # Shapes
/// `dy`: inner, `dx`: outer of [`Border`].
pub fn crop2d_backward(cx: Cx<'_>, geom: &Border, dy: &[f32], dx: &mut [f32]) {
    geom.check(dy.len(), dx.len());
    let g = *geom;
    let ([h, w], row_len) = (g.outer(), g.w * g.c);
    cx.threads.run_chunks(dx, (w * g.c).max(1), |row, dx| {
        let (n, oy) = (row / h, row % h);
        if (g.rows[0]..g.rows[0] + g.h).contains(&oy) {
            let dy = &dy[(n * g.h + oy - g.rows[0]) * row_len..][..row_len];
            dx[g.columns[0] * g.c..][..row_len].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
        }
    });
}

/// Where a block of equally long rows lies in an array: row `i` is `offset + i * stride ..` for `len` values.
/// Concatenation along an axis copies such blocks: `len` is the product of that axis and those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// First value of the first row.
    pub offset: usize,
    /// From one row to the next, in values; at least `len`.
    pub stride: usize,
}

impl Rows {
    fn check(&self, rows: usize, len: usize, total: usize) {
        let end = rows
            .checked_sub(1)
            .and_then(|n| n.checked_mul(self.stride)?.checked_add(self.offset)?.checked_add(len));
        assert!(rows == 0 || end.is_some_and(|end| end <= total), "rows outside the array");
        assert!(rows <= 1 || self.stride >= len, "rows overlap");
    }
}

/// Copies `rows` rows of `len` values from `from` in `x` to `to` in `y`; the rest of `y` is left alone.
///
/// # Shapes
/// See [`Rows`].
#[allow(clippy::too_many_arguments)]
pub fn copy_rows(cx: Cx<'_>, rows: usize, len: usize, x: &[f32], from: Rows, y: &mut [f32], to: Rows) {
    each_row(cx, rows, len, x, from, y, to, |x, y| copy(cx.isa, x, y));
}

/// Adds the rows instead of copying them: the gradient of [`copy_rows`] with the sides exchanged, where it is to be added.
///
/// # Shapes
/// See [`Rows`].
#[allow(clippy::too_many_arguments)]
pub fn add_rows(cx: Cx<'_>, rows: usize, len: usize, x: &[f32], from: Rows, y: &mut [f32], to: Rows) {
    each_row(cx, rows, len, x, from, y, to, |x, y| y.iter_mut().zip(x).for_each(|(y, x)| *y += x));
}

#[allow(clippy::too_many_arguments)]
fn each_row(
    cx: Cx<'_>,
    rows: usize,
    len: usize,
    x: &[f32],
    from: Rows,
    y: &mut [f32],
    to: Rows,
    f: impl Fn(&[f32], &mut [f32]) + Sync,
) {
    from.check(rows, len, x.len());
    to.check(rows, len, y.len());
    if rows == 0 || len == 0 {
        return;
    }
    let per_task = (GRAIN / len).max(1);
    let y = &mut y[to.offset..to.offset + (rows - 1) * to.stride + len];
    let stride = if rows == 1 { len } else { to.stride };
    cx.threads.run_chunks(y, per_task * stride, |i, y| {
        for (j, y) in y.chunks_mut(stride).enumerate() {
            let at = from.offset + (i * per_task + j) * from.stride;
            f(&x[at..][..len], &mut y[..len]);
        }
    });
}
