//! The gradient of a depthwise kernel: for each tap and channel, a dot product of `dy` with the input shifted.

use super::Depthwise;
use crate::Cx;
use crate::simd::{Kernel, Simd, load_part, store_part};
use crate::threads::SharedMut;
use crate::tile::PARALLEL_MACS;

/// Channels of a task: one cache line.
const CHANNELS: usize = 16;

/// `dw += `, for a multiplier of 1.
pub(super) fn run(cx: Cx<'_>, g: &Depthwise, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let shared = SharedMut::new(dw);
    let task = |i: usize| {
        let first = i * CHANNELS;
        let width = CHANNELS.min(g.c - first);
        cx.isa.dispatch(Channels { g, x, dy, dw: shared, first, width });
    };
    let tasks = g.c.div_ceil(CHANNELS);
    if g.y_len() * g.kh * g.kw >= PARALLEL_MACS {
        cx.threads.run(tasks, task)
    } else {
        (0..tasks).for_each(task)
    }
}

/// The channels `first..first + width`.
struct Channels<'a> {
    g: &'a Depthwise,
    x: &'a [f32],
    dy: &'a [f32],
    dw: SharedMut,
    first: usize,
    width: usize,
}

impl Kernel for Channels<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { g, first, width, .. } = self;
        let (rows, columns) = (g.rows(), g.columns());
        // For each column of the filter: the output columns that see it inside, and the input column of the first.
        let spans: Vec<_> = (0..g.kw)
            .map(|kx| {
                let inside: Vec<_> = (0..g.wo).filter(|&ox| columns.position(ox, kx).is_some()).collect();
                let first = inside.first().copied().unwrap_or(0);
                (first, inside.len(), columns.position(first, kx).unwrap_or(0))
            })
            .collect();
        let mut sums = vec![0.0; g.kh * g.kw * width];
        for n in 0..g.n {
            for oy in 0..g.ho {
                for ky in rows.taps_inside(oy) {
                    let Some(iy) = rows.position(oy, ky) else { continue };
                    for (kx, &(ox, count, ix)) in spans.iter().enumerate().filter(|(_, span)| span.1 > 0) {
                        let x = &self.x[((n * g.h + iy) * g.w + ix) * g.c + first..];
                        let dy = &self.dy[((n * g.ho + oy) * g.wo + ox) * g.c + first..];
                        let sums = &mut sums[(ky * g.kw + kx) * width..][..width];
                        if width == CHANNELS {
                            dots(s, x, g.stride[1] * g.c, dy, g.c, count, sums);
                        } else {
                            dots_of_part(s, x, g.stride[1] * g.c, dy, g.c, count, sums);
                        }
                    }
                }
            }
        }
        for (tap, sums) in sums.chunks_exact(width).enumerate() {
            // SAFETY: tasks cover different channels.
            let dw = unsafe { self.dw.slice(tap * g.c + first, width) };
            dw.iter_mut().zip(sums).for_each(|(dw, sum)| *dw += sum);
        }
    }
}

/// `sums[c] += sum over i < count of x[i * x_step + c] * dy[i * dy_step + c]` for [`CHANNELS`] channels. Four positions
/// at a time go to sums of their own, because one sum would wait four cycles for each addition.
#[inline(always)]
fn dots<S: Simd>(s: S, x: &[f32], x_step: usize, dy: &[f32], dy_step: usize, count: usize, sums: &mut [f32]) {
    const { assert!(2 * S::LANES == CHANNELS) }
    assert!(x.len() >= (count - 1) * x_step + CHANNELS && dy.len() >= (count - 1) * dy_step + CHANNELS);
    let mut partial = [[s.splat(0.0); 2]; 4];
    let whole = count / 4 * 4;
    for first in (0..whole).step_by(4) {
        for (i, sums) in partial.iter_mut().enumerate() {
            // SAFETY: position first + i < count holds CHANNELS values at its step, as asserted.
            *sums = unsafe {
                let (x, dy) = (x.as_ptr().add((first + i) * x_step), dy.as_ptr().add((first + i) * dy_step));
                add_products(s, x, dy, *sums)
            };
        }
    }
    for i in whole..count {
        // SAFETY: position i < count holds CHANNELS values at its step, as asserted.
        partial[0] =
            unsafe { add_products(s, x.as_ptr().add(i * x_step), dy.as_ptr().add(i * dy_step), partial[0]) };
    }
    for v in 0..2 {
        let [a, b, c, d] = [partial[0][v], partial[1][v], partial[2][v], partial[3][v]];
        let sums = &mut sums[v * S::LANES..];
        let total = s.add(s.load_slice(sums), s.add(s.add(a, b), s.add(c, d)));
        s.store_slice(total, sums);
    }
}

/// # Safety
/// [`CHANNELS`] values may be read from `x` and `dy`.
#[inline(always)]
unsafe fn add_products<S: Simd>(s: S, x: *const f32, dy: *const f32, sums: [S::V; 2]) -> [S::V; 2] {
    // SAFETY: as promised.
    unsafe {
        let low = s.mul_add(s.load(x), s.load(dy), sums[0]);
        [low, s.mul_add(s.load(x.add(S::LANES)), s.load(dy.add(S::LANES)), sums[1])]
    }
}

/// The same for fewer channels.
#[inline(always)]
fn dots_of_part<S: Simd>(
    s: S,
    x: &[f32],
    x_step: usize,
    dy: &[f32],
    dy_step: usize,
    count: usize,
    sums: &mut [f32],
) {
    for (v, sums) in sums.chunks_mut(S::LANES).enumerate() {
        let mut row = s.splat(0.0);
        for i in 0..count {
            let x = load_part(s, &x[i * x_step + v * S::LANES..][..sums.len()]);
            let dy = load_part(s, &dy[i * dy_step + v * S::LANES..][..sums.len()]);
            row = s.mul_add(x, dy, row);
        }
        let total = s.add(load_part(s, sums), row);
        store_part(s, total, sums);
    }
}
