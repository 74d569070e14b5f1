//! Sums and means over axes.

use crate::Cx;
use crate::threads::GRAIN;

/// Rows added up in one partial sum before it is added to the total: keeps the rounding error of sums over
/// hundreds of thousands of positions near that of a few hundred.
const BLOCK: usize = 128;

/// `y += ` the sum of the rows of `x`: the gradient of a bias.
///
/// # Shapes
/// `x: [rows, C]`, `y: [C]`
pub fn sum_rows(cx: Cx<'_>, c: usize, x: &[f32], y: &mut [f32]) {
    map_sum_rows(cx, c, x.len(), y, |at, sum| {
        let row = &x[at..][..sum.len()];
        sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    });
}

/// `y[c] += ` the sum over rows of what `add(offset, sums)` adds, where `offset` is that of the row's first wanted
/// value in a `[rows, C]` array of `len` values and `sums` covers some of its columns.
pub(crate) fn map_sum_rows(
    cx: Cx<'_>,
    c: usize,
    len: usize,
    y: &mut [f32],
    add: impl Fn(usize, &mut [f32]) + Sync,
) {
    assert_eq!(y.len(), c, "length of the sums");
    if c == 0 {
        return;
    }
    assert_eq!(len % c, 0, "whole rows");
    let rows = len / c;
    let columns =
        if len < GRAIN { c } else { (c.div_ceil(cx.threads.count())).next_multiple_of(16).min(512) };
    cx.threads.run_chunks(y, columns, |part, y| {
        cx.isa.vectorize(|| {
            let mut sums = vec![0.0; y.len()];
            for block in (0..rows).step_by(BLOCK) {
                sums.fill(0.0);
                for row in block..(block + BLOCK).min(rows) {
                    add(row * c + part * columns, &mut sums);
                }
                y.iter_mut().zip(&sums).for_each(|(y, sum)| *y += sum);
            }
        });
    });
}

/// The sum of `term(0)` to `term(n - 1)`, as sixteen sums side by side: vectors, and a smaller rounding error.
#[inline(always)]
pub(crate) fn sum_lanes(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0.0; 16];
    let whole = n / 16 * 16;
    for first in (0..whole).step_by(16) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += term(first + i);
        }
    }
    let rest: f32 = (whole..n).map(term).sum();
    sums.iter().sum::<f32>() + rest
}

/// `y = scale * ` the sum of `x` over the axes where `reduced` is true. `scale` is 1 for a sum,
/// `1 / count` for a mean.
///
/// # Shapes
/// `x: shape`; `y: shape` without the reduced axes (or with length 1 there; the order of values is the same).
pub fn forward(cx: Cx<'_>, x: &[f32], shape: &[usize], reduced: &[bool], scale: f32, y: &mut [f32]) {
    let axes = Axes::new(shape, reduced, x.len(), y.len());
    let inner = axes.inner;
    if axes.inner_reduced {
        cx.threads.run_chunks(y, (GRAIN / inner.max(1)).max(1), |i, y| {
            let first = i * (GRAIN / inner.max(1)).max(1);
            for (j, y) in y.iter_mut().enumerate() {
                let rows = axes.rows_of(first + j);
                let sum: f32 = rows.map(|row| sum_lanes(inner, |i| x[row * inner + i])).sum();
                *y = sum * scale;
            }
        });
    } else {
        cx.threads.run_chunks(y, inner.max(1), |i, y| {
            y.fill(0.0);
            for row in axes.rows_of(i) {
                y.iter_mut().zip(&x[row * inner..]).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y *= scale);
        });
    }
}

/// `dx += scale * dy`, repeated over the reduced axes: the gradient of [`forward`].
///
/// # Shapes
/// As [`forward`]: `dx: shape`, `dy: ` like its `y`.
pub fn backward(cx: Cx<'_>, dy: &[f32], shape: &[usize], reduced: &[bool], scale: f32, dx: &mut [f32]) {
    let axes = Axes::new(shape, reduced, dx.len(), dy.len());
    let inner = axes.inner;
    cx.threads.run_chunks(dx, inner.max(1), |row, dx| {
        let kept = axes.kept_of(row);
        if axes.inner_reduced {
            dx.iter_mut().for_each(|dx| *dx += scale * dy[kept]);
        } else {
            dx.iter_mut().zip(&dy[kept * inner..]).for_each(|(dx, dy)| *dx += scale * dy);
        }
    });
}

/// A reduction seen as rows of the innermost run of axes that are all reduced or all kept.
struct Axes<'a> {
    /// Axes before that run, and whether each is reduced.
    outer: &'a [usize],
    reduced: &'a [bool],
    inner: usize,
    inner_reduced: bool,
}

impl<'a> Axes<'a> {
    fn new(shape: &'a [usize], reduced: &'a [bool], x_len: usize, y_len: usize) -> Self {
        assert_eq!(shape.len(), reduced.len(), "one flag per axis");
        assert_eq!(x_len, shape.iter().product(), "x length");
        let kept = shape.iter().zip(reduced).filter(|(_, r)| !**r).map(|(d, _)| d).product::<usize>();
        assert_eq!(y_len, kept, "y length");
        let inner_reduced = reduced.last().copied().unwrap_or(false);
        let split = reduced.iter().rposition(|&r| r != inner_reduced).map_or(0, |i| i + 1);
        let inner = shape[split..].iter().product();
        Self { outer: &shape[..split], reduced: &reduced[..split], inner, inner_reduced }
    }

    fn outer(&self) -> impl DoubleEndedIterator<Item = (usize, bool)> + '_ {
        self.outer.iter().copied().zip(self.reduced.iter().copied())
    }

    /// The rows added into kept index `kept`, in order.
    fn rows_of(&self, kept: usize) -> impl Iterator<Item = usize> + '_ {
        let count: usize = self.outer().filter(|(_, reduced)| *reduced).map(|(dim, _)| dim).product();
        (0..count).map(move |sum| {
            let (mut kept, mut sum, mut row, mut stride) = (kept, sum, 0, 1);
            for (dim, reduced) in self.outer().rev() {
                let index = if reduced { &mut sum } else { &mut kept };
                row += *index % dim * stride;
                *index /= dim;
                stride *= dim;
            }
            row
        })
    }

    /// The kept index of row `row`.
    fn kept_of(&self, mut row: usize) -> usize {
        let (mut kept, mut stride) = (0, 1);
        for (dim, reduced) in self.outer().rev() {
            if !reduced {
                kept += row % dim * stride;
                stride *= dim;
            }
            row /= dim;
        }
        kept
    }
}
