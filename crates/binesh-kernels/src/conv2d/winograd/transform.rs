//! The transforms of F(4x4, 3x3) over the points 0, 1/sqrt 2, -1/sqrt 2, sqrt 2, -sqrt 2, infinity, which lose fewer
//! digits than 0, 1, -1, 2, -2, infinity, and of F(2x2, 3x3) over 0, 1, -1, infinity. One vector of channels at a time; each
//! transform is applied to the columns of a tile, then to its rows.

#![allow(clippy::needless_range_loop)] // Constant indices keep lines in registers, and name what is where.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use super::{MOST_PRODUCTS, Tile};
use crate::simd::Simd;

/// Outputs along the edge of the larger tile, inputs, and products.
pub(super) const TILE: usize = Tile::Four.outputs();
const EDGE: usize = Tile::Four.edge();
pub(super) const PRODUCTS: usize = Tile::Four.products();

/// The transform of a piece of the input.
pub(super) trait Input {
    /// `B^T d B`: what the products read of a piece of the input. `from` leads to one vector of each of its pixels, and
    /// product `i` goes to `to + i * plane`.
    ///
    /// # Safety
    /// `LANES` values can be read at `at` after each of `from`, as many as there are products, and written to each place
    /// that is written to.
    unsafe fn input<S: Simd>(s: S, from: &[*const f32; MOST_PRODUCTS], at: usize, to: *mut f32, plane: usize);
}

/// F(2x2, 3x3)
pub(super) struct Two;

/// F(4x4, 3x3)
pub(super) struct Four;

impl Input for Two {
    #[inline(always)]
    unsafe fn input<S: Simd>(
        s: S,
        from: &[*const f32; MOST_PRODUCTS],
        at: usize,
        to: *mut f32,
        plane: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { to_products::<S, Two, 4, 4>(s, from, at, to, plane) }
    }
}

impl Input for Four {
    #[inline(always)]
    unsafe fn input<S: Simd>(
        s: S,
        from: &[*const f32; MOST_PRODUCTS],
        at: usize,
        to: *mut f32,
        plane: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { to_products::<S, Four, EDGE, EDGE>(s, from, at, to, plane) }
    }
}

/// The transform of a line of `N` values to `M`. Not a closure: those are not inlined into code for an instruction set.
trait Line<const N: usize, const M: usize> {
    fn transform<S: Simd>(s: S, d: [S::V; N]) -> [S::V; M];
}

struct OutputGradients;

/// One side's transform of the columns of a tile of `N x N`, then of its rows.
///
/// # Safety
/// As [`Input::input`].
#[inline(always)]
unsafe fn to_products<S: Simd, L: Line<N, M>, const N: usize, const M: usize>(
    s: S,
    from: &[*const f32],
    at: usize,
    to: *mut f32,
    plane: usize,
) {
    let mut columns = [[s.splat(0.0); N]; M];
    for x in 0..N {
        let mut d = [s.splat(0.0); N];
        for y in 0..N {
            // SAFETY: the caller's promise.
            d[y] = unsafe { s.load(from[y * N + x].add(at)) };
        }
        let column = L::transform(s, d);
        for y in 0..M {
            columns[y][x] = column[y];
        }
    }
    for y in 0..M {
        let row = L::transform(s, columns[y]);
        for x in 0..M {
            // SAFETY: the caller's promise.
            unsafe { s.store(row[x], to.add((y * M + x) * plane)) };
        }
    }
}

impl Line<4, 4> for Two {
    #[inline(always)]
    fn transform<S: Simd>(s: S, d: [S::V; 4]) -> [S::V; 4] {
        [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[1], d[3])]
    }
}

impl Line<EDGE, EDGE> for Four {
    #[inline(always)]
    fn transform<S: Simd>(s: S, d: [S::V; EDGE]) -> [S::V; EDGE] {
        let (near, far) = (s.splat(FRAC_1_SQRT_2), s.splat(SQRT_2));
        let (minus_near, minus_far) = (s.splat(-FRAC_1_SQRT_2), s.splat(-SQRT_2));
        let sides = s.splat(-2.5);
        let even = [s.mul_add(s.splat(-2.0), d[2], d[4]), s.mul_add(s.splat(-0.5), d[2], d[4])];
        let odd = [s.mul_add(s.splat(-2.0), d[1], d[3]), s.mul_add(s.splat(-0.5), d[1], d[3])];
        [
            s.mul_add(sides, d[2], s.add(d[0], d[4])),
            s.mul_add(near, odd[0], even[0]),
            s.mul_add(minus_near, odd[0], even[0]),
            s.mul_add(far, odd[1], even[1]),
            s.mul_add(minus_far, odd[1], even[1]),
            s.mul_add(sides, d[3], s.add(d[1], d[5])),
        ]
    }
}

/// `A^T m A`: the 2x2 outputs of a tile. Product `i` is read at `from + i * plane`.
///
/// # Safety
/// `LANES` values can be read at each place that is read.
#[inline(always)]
pub(super) unsafe fn output_of_two<S: Simd>(s: S, from: *const f32, plane: usize) -> [[S::V; 2]; 2] {
    let mut columns = [[s.splat(0.0); 4]; 2];
    for x in 0..4 {
        let mut m = [s.splat(0.0); 4];
        for y in 0..4 {
            // SAFETY: the caller's promise.
            m[y] = unsafe { s.load(from.add((y * 4 + x) * plane)) };
        }
        let column = two_line(s, m);
        for y in 0..2 {
            columns[y][x] = column[y];
        }
    }
    [two_line(s, columns[0]), two_line(s, columns[1])]
}

#[inline(always)]
fn two_line<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 2] {
    [s.add(m[0], s.add(m[1], m[2])), s.sub(s.sub(m[1], m[2]), m[3])]
}

/// The 4x4 outputs of a tile, as [`output_of_two`].
///
/// # Safety
/// As [`output_of_two`].
#[inline(always)]
pub(super) unsafe fn output_of_four<S: Simd>(s: S, from: *const f32, plane: usize) -> [[S::V; TILE]; TILE] {
    let mut columns = [[s.splat(0.0); EDGE]; TILE];
    for x in 0..EDGE {
        let mut m = [s.splat(0.0); EDGE];
        for y in 0..EDGE {
            // SAFETY: the caller's promise.
            m[y] = unsafe { s.load(from.add((y * EDGE + x) * plane)) };
        }
        let column = output_line(s, m);
        for y in 0..TILE {
            columns[y][x] = column[y];
        }
    }
    let [a, b, c, d] = columns;
    [output_line(s, a), output_line(s, b), output_line(s, c), output_line(s, d)]
}

#[inline(always)]
fn output_line<S: Simd>(s: S, m: [S::V; EDGE]) -> [S::V; TILE] {
    let (sum, difference) = ([s.add(m[1], m[2]), s.add(m[3], m[4])], [s.sub(m[1], m[2]), s.sub(m[3], m[4])]);
    let two = s.splat(2.0);
    [
        s.add(m[0], s.add(sum[0], sum[1])),
        s.mul(s.splat(FRAC_1_SQRT_2), s.mul_add(two, difference[1], difference[0])),
        s.mul_add(two, sum[1], s.mul(s.splat(0.5), sum[0])),
        s.mul_add(s.splat(FRAC_1_SQRT_2 / 2.0), s.mul_add(s.splat(8.0), difference[1], difference[0]), m[5]),
    ]
}

/// `G g G^T`: what the products read of a 3x3 kernel.
#[inline(always)]
pub(super) fn kernel_of_two<S: Simd>(s: S, g: [S::V; 9]) -> [S::V; 16] {
    let mut columns = [[g[0]; 3]; 4];
    for x in 0..3 {
        let column = kernel_line_of_two(s, [g[x], g[3 + x], g[6 + x]]);
        for y in 0..4 {
            columns[y][x] = column[y];
        }
    }
    let mut out = [g[0]; 16];
    for y in 0..4 {
        out[y * 4..][..4].copy_from_slice(&kernel_line_of_two(s, columns[y]));
    }
    out
}

#[inline(always)]
fn kernel_line_of_two<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; 4] {
    let half = s.splat(0.5);
    let ends = s.add(g[0], g[2]);
    [g[0], s.mul(half, s.add(ends, g[1])), s.mul(half, s.sub(ends, g[1])), g[2]]
}

/// The same for the larger tile.
#[inline(always)]
pub(super) fn kernel_of_four<S: Simd>(s: S, g: [S::V; 9]) -> [S::V; PRODUCTS] {
    let mut columns = [g[0]; EDGE * 3];
    for x in 0..3 {
        let column = kernel_line(s, [g[x], g[3 + x], g[6 + x]]);
        for y in 0..EDGE {
            columns[y * 3 + x] = column[y];
        }
    }
    let mut out = [g[0]; PRODUCTS];
    for y in 0..EDGE {
        let row = kernel_line(s, [columns[y * 3], columns[y * 3 + 1], columns[y * 3 + 2]]);
        out[y * EDGE..][..EDGE].copy_from_slice(&row);
    }
    out
}

#[inline(always)]
fn kernel_line<S: Simd>(s: S, g: [S::V; 3]) -> [S::V; EDGE] {
    let near = s.mul(s.splat(-2.0 / 3.0), s.mul_add(s.splat(0.5), g[2], g[0]));
    let far = s.mul(s.splat(1.0 / 6.0), s.mul_add(s.splat(2.0), g[2], g[0]));
    let (near_odd, far_odd) = (s.splat(SQRT_2 / 3.0), s.splat(SQRT_2 / 6.0));
    let (minus_near_odd, minus_far_odd) = (s.splat(-SQRT_2 / 3.0), s.splat(-SQRT_2 / 6.0));
    [
        g[0],
        s.mul_add(minus_near_odd, g[1], near),
        s.mul_add(near_odd, g[1], near),
        s.mul_add(far_odd, g[1], far),
        s.mul_add(minus_far_odd, g[1], far),
        g[2],
    ]
}

/// `A dy A^T`: what the gradients of the products read of those of a tile's outputs. `from` leads to one vector of each,
/// and product `i` goes to `to + i * plane`.
///
/// # Safety
/// As [`Input::input`].
#[inline(always)]
pub(super) unsafe fn output_gradient<S: Simd>(
    s: S,
    from: &[*const f32; TILE * TILE],
    at: usize,
    to: *mut f32,
    plane: usize,
) {
    // SAFETY: the caller's promise.
    unsafe { to_products::<S, OutputGradients, TILE, EDGE>(s, from, at, to, plane) }
}

impl Line<TILE, EDGE> for OutputGradients {
    #[inline(always)]
    fn transform<S: Simd>(s: S, d: [S::V; TILE]) -> [S::V; EDGE] {
        let (half, two) = (s.splat(0.5), s.splat(2.0));
        let even = [s.mul_add(half, d[2], d[0]), s.mul_add(two, d[2], d[0])];
        let odd = [s.mul_add(half, d[3], d[1]), s.mul_add(two, d[3], d[1])];
        [
            d[0],
            s.mul_add(s.splat(FRAC_1_SQRT_2), odd[0], even[0]),
            s.mul_add(s.splat(-FRAC_1_SQRT_2), odd[0], even[0]),
            s.mul_add(s.splat(SQRT_2), odd[1], even[1]),
            s.mul_add(s.splat(-SQRT_2), odd[1], even[1]),
            d[3],
        ]
    }
}

/// `G^T u G`: the gradient of a 3x3 kernel from that of the transformed one, product `i` of which is read at
/// `from + i * plane`.
///
/// # Safety
/// As [`output_of_two`].
#[inline(always)]
pub(super) unsafe fn kernel_gradient<S: Simd>(s: S, from: *const f32, plane: usize) -> [S::V; 9] {
    let mut columns = [[s.splat(0.0); EDGE]; 3];
    for x in 0..EDGE {
        let mut u = [s.splat(0.0); EDGE];
        for y in 0..EDGE {
            // SAFETY: the caller's promise.
            u[y] = unsafe { s.load(from.add((y * EDGE + x) * plane)) };
        }
        let column = kernel_gradient_line(s, u);
        for y in 0..3 {
            columns[y][x] = column[y];
        }
    }
    let mut taps = [s.splat(0.0); 9];
    for y in 0..3 {
        taps[3 * y..][..3].copy_from_slice(&kernel_gradient_line(s, columns[y]));
    }
    taps
}

#[inline(always)]
fn kernel_gradient_line<S: Simd>(s: S, u: [S::V; EDGE]) -> [S::V; 3] {
    let (near, far) = (s.add(u[1], u[2]), s.add(u[3], u[4]));
    let (near_odd, far_odd) = (s.sub(u[2], u[1]), s.sub(u[3], u[4]));
    [
        s.mul_add(s.splat(1.0 / 6.0), far, s.mul_add(s.splat(-2.0 / 3.0), near, u[0])),
        s.mul(s.splat(SQRT_2 / 3.0), s.mul_add(s.splat(0.5), far_odd, near_odd)),
        s.mul_add(s.splat(1.0 / 3.0), s.sub(far, near), u[5]),
    ]
}
