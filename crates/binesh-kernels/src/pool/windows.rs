//! The loops of pooling, on vectors of channels.

use std::ops::Range;

use super::{Pool, Taps};
use crate::Cx;
use crate::isa::Isa;
use crate::simd::{Kernel, Simd, load_part, store_part};
use crate::threads::{GRAIN, SharedMut};

/// Channels of a task of a backward pass: one cache line.
const CHANNELS: usize = 16;

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
    let image = g.h * g.w * g.c;
    // A window costs as much as the values it reads.
    let rows_per_task = (GRAIN / (row_len * g.kh * g.kw).max(1)).max(1);
    cx.threads.run_chunks(y, rows_per_task * row_len, |task, y| {
        for (i, y) in y.chunks_exact_mut(row_len).enumerate() {
            let row = task * rows_per_task + i;
            let x = &x[row / g.ho * image..][..image];
            for (ox, y) in y.chunks_exact_mut(g.c).enumerate() {
                let (taps, factor) = (g.taps(row % g.ho, ox), 1.0 / g.count(row % g.ho, ox));
                cx.isa.dispatch(Window { mode, x, taps, factor, y });
            }
        }
    });
}

/// One window, over all channels.
struct Window<'a> {
    mode: Mode,
    /// One image.
    x: &'a [f32],
    taps: Taps,
    factor: f32,
    y: &'a mut [f32],
}

impl Kernel for Window<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { mode, x, taps, factor, y } = self;
        let [rows, columns] = taps.counts;
        for (i, y) in y.chunks_mut(S::LANES).enumerate() {
            let from = i * S::LANES;
            let sum = match mode {
                Mode::Max => {
                    let mut max = s.splat(f32::NEG_INFINITY);
                    for row in 0..rows {
                        for column in 0..columns {
                            let tap = taps.first + row * taps.steps[0] + column * taps.steps[1];
                            let v = load_part(s, &x[tap + from..][..y.len()]);
                            // Where the maximum is NaN it stays; where `v` is, `max` gives it.
                            max = s.select(s.less_or_equal(max, max), s.max(max, v), max);
                        }
                    }
                    max
                }
                Mode::Average => {
                    let mut sum = s.splat(0.0);
                    for row in 0..rows {
                        for column in 0..columns {
                            let tap = taps.first + row * taps.steps[0] + column * taps.steps[1];
                            sum = s.add(sum, load_part(s, &x[tap + from..][..y.len()]));
                        }
                    }
                    s.mul(sum, s.splat(factor))
                }
            };
            store_part(s, sum, y);
        }
    }
}

/// `dx += `, for some channels of one image per task, window by window. `xy` is `x` and `y` for the maximum.
pub(super) fn backward(cx: Cx<'_>, g: &Pool, xy: Option<(&[f32], &[f32])>, dy: &[f32], dx: &mut [f32]) {
    if dx.is_empty() {
        return;
    }
    let parts = g.c.div_ceil(CHANNELS);
    let small = dy.len() * g.kh * g.kw < GRAIN;
    let shared = SharedMut::new(dx);
    let task = |i: usize| {
        let (n, part) = (i / parts, i % parts);
        let channels = part * CHANNELS..((part + 1) * CHANNELS).min(g.c);
        let mut taps = Vec::new();
        for oy in 0..g.ho {
            for ox in 0..g.wo {
                g.taps(oy, ox).list(&mut taps);
                let at = ((n * g.ho + oy) * g.wo + ox) * g.c;
                spread(cx.isa, g, n, channels.clone(), &taps, 1.0 / g.count(oy, ox), at, xy, dy, shared);
            }
        }
    };
    if small { (0..g.n * parts).for_each(task) } else { cx.threads.run(g.n * parts, task) }
}

#[allow(clippy::too_many_arguments)]
fn spread(
    isa: Isa,
    g: &Pool,
    n: usize,
    channels: Range<usize>,
    taps: &[usize],
    factor: f32,
    at: usize,
    xy: Option<(&[f32], &[f32])>,
    dy: &[f32],
    dx: SharedMut,
) {
    let image = n * g.h * g.w * g.c;
    let of_window = at + channels.start..at + channels.end;
    let (x, y) = xy.map_or((None, None), |(x, y)| (Some(x), Some(&y[of_window.clone()])));
    isa.dispatch(Spread { x, y, dy: &dy[of_window], dx, first: image + channels.start, taps, factor });
}

/// One window and some channels.
struct Spread<'a> {
    x: Option<&'a [f32]>,
    /// The maxima.
    y: Option<&'a [f32]>,
    dy: &'a [f32],
    dx: SharedMut,
    /// What `taps` count from.
    first: usize,
    taps: &'a [usize],
    factor: f32,
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let zero = s.splat(0.0);
        for c in (0..self.dy.len()).step_by(S::LANES) {
            let width = (self.dy.len() - c).min(S::LANES);
            let mut left = load_part(s, &self.dy[c..][..width]);
            for &tap in self.taps {
                let at = self.first + tap + c;
                // SAFETY: tasks cover different images or channels of `dx`, so nobody else uses these.
                let dx = unsafe { self.dx.slice(at, width) };
                let given = match (self.x, self.y) {
                    (Some(x), Some(y)) => {
                        let (x, y) = (load_part(s, &x[at..][..width]), load_part(s, &y[c..][..width]));
                        // The maximum itself, or NaN: the first takes all, nothing is left for the others.
                        let (largest, number) = (s.less_or_equal(y, x), s.less_or_equal(x, x));
                        let hit = s.select(number, s.select(largest, left, zero), left);
                        left = s.select(number, s.select(largest, zero, left), zero);
                        hit
                    }
                    _ => s.mul(left, s.splat(self.factor)),
                };
                let sum = s.add(load_part(s, dx), given);
                store_part(s, sum, dx);
            }
        }
    }
}
