//! The loops of pooling, on vectors of channels.

use std::ops::Range;

use super::{Pool, Taps};
use crate::simd::{Kernel, Simd, load_part, store_part};
use crate::threads::{GRAIN, SharedMut};
use crate::{Cx, Write};

#[derive(Clone, Copy)]
pub(super) enum Mode {
    Max,
    Average,
}

/// `y` from `x`.
pub(super) fn forward(cx: Cx<'_>, g: &Pool, mode: Mode, x: &[f32], y: &mut [f32]) {
    let row_len = g.wo * g.c;
    if y.is_empty() {
        return;
    }
    // A window costs as much as the values it reads.
    let rows_per_task = (GRAIN / (row_len * g.kh * g.kw).max(1)).max(1);
    cx.threads.run_chunks(y, rows_per_task * row_len, |task, y| {
        cx.isa.dispatch(Rows { g, mode, x, first: task * rows_per_task, y });
    });
}

/// Some rows of `y`, counted through all images.
struct Rows<'a> {
    g: &'a Pool,
    mode: Mode,
    x: &'a [f32],
    first: usize,
    y: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { g, mode, x, first, y } = self;
        let image = g.h * g.w * g.c;
        for (row, y) in (first..).zip(y.chunks_exact_mut(g.wo * g.c)) {
            let x = &x[row / g.ho * image..][..image];
            for (ox, y) in y.chunks_exact_mut(g.c).enumerate() {
                let taps = g.taps(row % g.ho, ox);
                match mode {
                    Mode::Max => window(s, Max, x, taps, y),
                    Mode::Average => window(s, Average(1.0 / g.count(row % g.ho, ox)), x, taps, y),
                }
            }
        }
    }
}

/// How the values of a window become one.
trait Fold: Copy {
    fn start<S: Simd>(self, s: S) -> S::V;
    fn more<S: Simd>(self, s: S, so_far: S::V, v: S::V) -> S::V;
    fn end<S: Simd>(self, s: S, all: S::V) -> S::V;
}

#[derive(Clone, Copy)]
struct Max;

impl Fold for Max {
    #[inline(always)]
    fn start<S: Simd>(self, s: S) -> S::V {
        s.splat(f32::NEG_INFINITY)
    }

    #[inline(always)]
    fn more<S: Simd>(self, s: S, so_far: S::V, v: S::V) -> S::V {
        // Where the maximum is NaN it stays; where `v` is, `max` gives it.
        s.select(s.less_or_equal(so_far, so_far), s.max(so_far, v), so_far)
    }

    #[inline(always)]
    fn end<S: Simd>(self, _s: S, all: S::V) -> S::V {
        all
    }
}

/// With the factor of the sum.
#[derive(Clone, Copy)]
struct Average(f32);

impl Fold for Average {
    #[inline(always)]
    fn start<S: Simd>(self, s: S) -> S::V {
        s.splat(0.0)
    }

    #[inline(always)]
    fn more<S: Simd>(self, s: S, so_far: S::V, v: S::V) -> S::V {
        s.add(so_far, v)
    }

    #[inline(always)]
    fn end<S: Simd>(self, s: S, all: S::V) -> S::V {
        s.mul(all, s.splat(self.0))
    }
}

/// Vectors of channels that are folded together: while one waits for its sum or comparison, the others go on.
const TOGETHER: usize = 4;

/// One window over all channels of an image.
#[inline(always)]
fn window<S: Simd, F: Fold>(s: S, fold: F, x: &[f32], taps: Taps, y: &mut [f32]) {
    let ([rows, columns], [down, across]) = (taps.counts, taps.steps);
    if rows == 0 || columns == 0 {
        let none = fold.end(s, fold.start(s));
        return y.chunks_mut(S::LANES).for_each(|y| store_part(s, none, y));
    }
    let x = &x[taps.first..][..(rows - 1) * down + (columns - 1) * across + y.len()];
    let mut from = 0;
    let mut groups = y.chunks_exact_mut(TOGETHER * S::LANES);
    for y in &mut groups {
        let mut all = [fold.start(s); TOGETHER];
        for row in 0..rows {
            for column in 0..columns {
                let tap = row * down + column * across + from;
                for (i, all) in all.iter_mut().enumerate() {
                    // SAFETY: the last tap's values end with `x`, as sliced above.
                    *all = fold.more(s, *all, unsafe { s.load(x.as_ptr().add(tap + i * S::LANES)) });
                }
            }
        }
        for (y, all) in y.chunks_exact_mut(S::LANES).zip(all) {
            s.store_slice(fold.end(s, all), y);
        }
        from += TOGETHER * S::LANES;
    }
    for y in groups.into_remainder().chunks_mut(S::LANES) {
        let mut all = fold.start(s);
        for row in 0..rows {
            for column in 0..columns {
                all = fold.more(s, all, load_part(s, &x[row * down + column * across + from..][..y.len()]));
            }
        }
        store_part(s, fold.end(s, all), y);
        from += y.len();
    }
}

/// A band of rows of `dx` for each task, window by window. `xy` is `x` and `y` for the maximum.
pub(super) fn backward(
    cx: Cx<'_>,
    g: &Pool,
    xy: Option<(&[f32], &[f32])>,
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    let row_len = g.w * g.c;
    if dx.is_empty() {
        return;
    }
    // Windows across the border of two bands are looked at for each: few of all if a band has several rows of them.
    let height = (GRAIN / row_len).max(g.stride[0].saturating_mul(4)).min(g.h);
    let bands = g.h.div_ceil(height);
    let shared = SharedMut::new(dx);
    let task = |i: usize| {
        let (n, first) = (i / bands, i % bands * height);
        let rows = first..(first + height).min(g.h);
        // SAFETY: bands do not overlap, and each is one task's.
        let dx = unsafe { shared.slice((n * g.h + first) * row_len, rows.len() * row_len) };
        if write == Write::Replace {
            dx.fill(0.0);
        }
        let xy = xy.map(|(x, y)| (&x[n * g.h * row_len..][..g.h * row_len], y));
        cx.isa.dispatch(Band { g, xy, dy, n, rows, dx });
    };
    let small = dy.len().saturating_mul(g.kh).saturating_mul(g.kw) < GRAIN;
    if small { (0..g.n * bands).for_each(task) } else { cx.threads.run(g.n * bands, task) }
}

/// What the windows of image `n` give to some of its rows.
struct Band<'a> {
    g: &'a Pool,
    /// The image, and the maxima of all.
    xy: Option<(&'a [f32], &'a [f32])>,
    dy: &'a [f32],
    n: usize,
    rows: Range<usize>,
    dx: &'a mut [f32],
}

impl Kernel for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { g, xy, dy, n, rows, dx } = self;
        let [first, end] = [rows.start, rows.end].map(|row| row * g.w * g.c);
        let mut taps = Vec::new();
        for oy in g.windows_over(&rows) {
            for ox in 0..g.wo {
                g.taps(oy, ox).list(&mut taps);
                let before = taps.partition_point(|&tap| tap < first);
                let own = taps.partition_point(|&tap| tap < end);
                let (before, own) = (&taps[..before], &taps[before..own]);
                let at = ((n * g.ho + oy) * g.wo + ox) * g.c;
                let dy = &dy[at..][..g.c];
                match xy {
                    Some((x, y)) => give_to_largest(s, x, &y[at..][..g.c], dy, before, own, first, dx),
                    None => give_to_all(s, 1.0 / g.count(oy, ox), dy, own, first, dx),
                }
            }
        }
    }
}

/// The window's `dy` to the position of its maximum, if that is one of the `own`, in `dx` which begins at `first`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn give_to_largest<S: Simd>(
    s: S,
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    before: &[usize],
    own: &[usize],
    first: usize,
    dx: &mut [f32],
) {
    let zero = s.splat(0.0);
    for c in (0..dy.len()).step_by(S::LANES) {
        let width = (dy.len() - c).min(S::LANES);
        let y = load_part(s, &y[c..][..width]);
        let mut left = load_part(s, &dy[c..][..width]);
        for &tap in before {
            let x = load_part(s, &x[tap + c..][..width]);
            left = s.select(is_largest(s, x, y), zero, left);
        }
        for &tap in own {
            let largest = is_largest(s, load_part(s, &x[tap + c..][..width]), y);
            let dx = &mut dx[tap - first + c..][..width];
            let sum = s.add(load_part(s, dx), s.select(largest, left, zero));
            store_part(s, sum, dx);
            left = s.select(largest, zero, left);
        }
    }
}

/// The maximum itself, or NaN.
#[inline(always)]
fn is_largest<S: Simd>(s: S, x: S::V, y: S::V) -> S::V {
    let number = s.less_or_equal(x, x);
    s.select(number, s.less_or_equal(y, x), s.less_or_equal(s.splat(0.0), s.splat(0.0)))
}

/// Equal parts of the window's `dy`.
#[inline(always)]
fn give_to_all<S: Simd>(s: S, factor: f32, dy: &[f32], own: &[usize], first: usize, dx: &mut [f32]) {
    for c in (0..dy.len()).step_by(S::LANES) {
        let width = (dy.len() - c).min(S::LANES);
        let part = s.mul(load_part(s, &dy[c..][..width]), s.splat(factor));
        for &tap in own {
            let dx = &mut dx[tap - first + c..][..width];
            let sum = s.add(load_part(s, dx), part);
            store_part(s, sum, dx);
        }
    }
}
