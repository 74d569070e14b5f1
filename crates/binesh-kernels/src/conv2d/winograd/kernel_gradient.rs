//! The gradient of the kernel by the adjoint of the forward pass: with `V` the transformed input and `Z = A dy A^T`, the
//! gradient of the transformed kernel is `V^T Z` for each product, and `G^T (V^T Z) G` that of the kernel.

use std::ops::Range;

use super::transform::{self, PRODUCTS, TILE};
use super::{BLOCK_TILES, Input, LANES, SHARED_VALUES, parts, rest};
use crate::conv2d::Conv2d;
use crate::outer;
use crate::scratch::with_scratch;
use crate::simd::{Kernel, Simd, load_part, store_part};
use crate::threads::SharedMut;
use crate::tile::{PANEL, Place};
use crate::{Cx, Isa, Tile};

/// Input and output channels of a task: all its products take 442 KB.
const ROWS: usize = 48;
const COLUMNS: usize = 64;

/// `dw += ` the sum over output positions of what the filter saw times `dy`. The batches of tiles do not depend on the
/// threads, so neither does the order of additions.
///
/// # Shapes
/// `x: [N, H, W, Cin]`, `dy: [N, Ho, Wo, Cout]`, `dw: [3, 3, Cin, Cout]`
pub(in crate::conv2d) fn backward_kernel(cx: Cx<'_>, g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let count = Tile::Four.places(g).count();
    if count == 0 || dw.is_empty() {
        return;
    }
    let zeros = vec![0.0; g.cin.max(g.cout)];
    // An odd number of cache lines between rows, so that a column spreads over all cache sets.
    let stride = (g.cin.div_ceil(16) | 1) * 16;
    let width = g.cout.next_multiple_of(PANEL);
    let input = Input { isa: cx.isa, g, tile: Tile::Four, x, zeros: &zeros, stride };
    let output = OutputGradient { isa: cx.isa, g, dy, zeros: &zeros, width };
    let most = (2 * SHARED_VALUES / (PRODUCTS * (stride + width))).max(BLOCK_TILES);
    let held = count.div_ceil(count.div_ceil(most));
    let dw = SharedMut::new(dw);
    with_scratch(PRODUCTS * held * (stride + width), |values| {
        for held in parts(0..count, held) {
            let (v, z) = values.split_at_mut(PRODUCTS * held.len() * stride);
            let (to_v, to_z) = (SharedMut::new(v), SharedMut::new(z));
            let rows: Vec<_> = parts(held.clone(), held.len().div_ceil(4 * cx.threads.count())).collect();
            cx.threads.run(rows.len(), |i| {
                input.transform(&rows[i], &held, to_v);
                output.transform(&rows[i], &held, to_z);
            });
            let (rows, columns) = (g.cin.div_ceil(ROWS), g.cout.div_ceil(COLUMNS));
            cx.threads.run(rows * columns, |i| {
                let (row, column) = (i % rows * ROWS, i / rows * COLUMNS);
                let rows = row..g.cin.min(row + ROWS);
                let columns = column..g.cout.min(column + COLUMNS);
                Part { isa: cx.isa, g, v, stride, z, count: held.len(), rows, columns, dw }.run();
            });
        }
    });
}

/// `Z` of the tiles.
struct OutputGradient<'a> {
    isa: Isa,
    g: &'a Conv2d,
    dy: &'a [f32],
    zeros: &'a [f32],
    /// Output channels in whole panels.
    width: usize,
}

impl OutputGradient<'_> {
    /// Writes that of `tiles` to `z: [PRODUCTS, panels, held, PANEL]`.
    fn transform(&self, some: &Range<usize>, held: &Range<usize>, z: SharedMut) {
        let (panel, plane) = (held.len() * PANEL, held.len() * self.width);
        Tile::Four.places(self.g).each(some.clone(), |i, place| {
            let at = (some.start + i - held.start) * PANEL;
            let to = z.address(at, PRODUCTS * plane - at);
            self.isa.dispatch(Spread { from: self.tile(place), cout: self.g.cout, to, panel, plane });
        });
    }

    /// The gradients of a tile's outputs: each leads to `Cout` values.
    fn tile(&self, [n, ty, tx]: Place) -> [*const f32; TILE * TILE] {
        let Conv2d { ho, wo, cout, .. } = *self.g;
        let mut from = [self.zeros.as_ptr(); TILE * TILE];
        for (y, from) in from.chunks_exact_mut(TILE).enumerate() {
            for (x, from) in from.iter_mut().enumerate() {
                let (oy, ox) = (ty * TILE + y, tx * TILE + x);
                if oy < ho && ox < wo {
                    *from = self.dy[((n * ho + oy) * wo + ox) * cout..][..cout].as_ptr();
                }
            }
        }
        from
    }
}

/// `Z` of one tile.
struct Spread {
    /// Each leads to `cout` values.
    from: [*const f32; TILE * TILE],
    cout: usize,
    /// For each product, `plane` apart, and each panel, `panel` apart, [`PANEL`] values.
    to: *mut f32,
    panel: usize,
    plane: usize,
}

impl Kernel for Spread {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { from, cout, to, panel, plane } = self;
        let whole = cout / LANES * LANES;
        for c in (0..whole).step_by(LANES) {
            // SAFETY: `c + LANES <= cout`, and each panel has room for whole vectors.
            unsafe { transform::output_gradient(s, &from, c, to.add(c / PANEL * panel + c % PANEL), plane) };
        }
        if whole < cout {
            // SAFETY: `cout` values from each pointer.
            let rest = unsafe { rest(&from, whole, cout - whole) };
            let starts = rest.each_ref().map(|values| values.as_ptr());
            // SAFETY: each pointer leads to a vector; the last panel has room for whole ones.
            unsafe {
                let to = to.add(whole / PANEL * panel + whole % PANEL);
                transform::output_gradient(s, &starts, 0, to, plane);
            }
        }
    }
}

/// Some input channels times some output channels.
struct Part<'a> {
    isa: Isa,
    g: &'a Conv2d,
    /// `[PRODUCTS, count, stride]`
    v: &'a [f32],
    stride: usize,
    /// `[PRODUCTS, panels, count, PANEL]`
    z: &'a [f32],
    /// Tiles.
    count: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    dw: SharedMut,
}

impl Part<'_> {
    fn run(self) {
        let (rows, columns) = (self.rows.len(), self.columns.len());
        let across = columns.next_multiple_of(PANEL);
        with_scratch(PRODUCTS * rows * across, |du| {
            du.fill(0.0);
            let sums = SharedMut::new(du);
            for product in 0..PRODUCTS {
                let a = &self.v[product * self.count * self.stride..][..self.count * self.stride];
                let width = self.g.cout.next_multiple_of(PANEL);
                let b = &self.z[(product * width + self.columns.start) * self.count..];
                self.isa.dispatch(outer::Block {
                    rows,
                    columns,
                    count: self.count,
                    a: &a[self.rows.start..],
                    stride: self.stride,
                    b,
                    dw: sums,
                    first: product * rows * across,
                    across,
                });
            }
            self.isa.dispatch(Gather { part: &self, du, across });
        });
    }
}

/// `dw += G^T dU G` for a part.
struct Gather<'a> {
    part: &'a Part<'a>,
    /// `[PRODUCTS, rows, across]`
    du: &'a [f32],
    across: usize,
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { part: Part { g, rows, columns, dw, .. }, du, across } = self;
        let plane = rows.len() * across;
        assert!(du.len() >= PRODUCTS * plane && across >= columns.len().next_multiple_of(LANES));
        for r in 0..rows.len() {
            for c in (0..columns.len()).step_by(LANES) {
                // SAFETY: a vector at `c` of row `r` is inside each plane, as asserted.
                let taps = unsafe { transform::kernel_gradient(s, du.as_ptr().add(r * across + c), plane) };
                for (tap, &sum) in taps.iter().enumerate() {
                    let at = (tap * g.cin + rows.start + r) * g.cout + columns.start + c;
                    // SAFETY: parts do not overlap in `dw`, and one task has each.
                    let dw = unsafe { dw.slice(at, LANES.min(columns.len() - c)) };
                    let sum = s.add(load_part(s, dw), sum);
                    store_part(s, sum, dw);
                }
            }
        }
    }
}
