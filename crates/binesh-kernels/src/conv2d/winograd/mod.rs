//! 3x3 convolution of stride 1 by Winograd's minimal filtering. F(4x4, 3x3): a tile of 4x4 outputs takes 36
//! multiplications for each pair of channels instead of 144. F(2x2, 3x3): 2x2 outputs take 16 instead of 36, with less than
//! half of the weights, so it is for small maps and few pictures, and loses no digits. Lavin and Gray 2015,
//! arXiv:1509.09308, equation 8: `Y = A^T [(G g G^T) * (B^T d B)] A`, where the element-wise product, summed over input
//! channels, is a matrix product for each of the 36 or 16.
//!
//! Tiles are independent of each other and each of their sums runs over the input channels in order, so that a result
//! depends neither on the threads nor on the batch.

mod kernel_gradient;
mod pack;
mod transform;

use std::ops::Range;

use super::{Conv2d, Pass};
use crate::scratch::{self, Scratch, lines, with_scratch};
use crate::simd::{Kernel, Simd, load_part, store_part};
use crate::threads::SharedMut;
use crate::tile::{PANEL, Place, Places, ROWS, Store, limits, products};
use crate::{Algorithm, Costs, Cx, Epilogue, Isa, Tile, Winograd, Work, Write, activation};
pub(super) use kernel_gradient::backward_kernel;
pub(super) use pack::Weights;
use pack::{Given, Panels, Source, packed_len};

impl Tile {
    /// Outputs along an edge.
    const fn outputs(self) -> usize {
        match self {
            Tile::Two => 2,
            Tile::Four => 4,
        }
    }

    /// Inputs along the edge of what a tile sees.
    const fn edge(self) -> usize {
        self.outputs() + 2
    }

    /// Products for each tile and pair of channels.
    const fn products(self) -> usize {
        self.edge() * self.edge()
    }

    /// The tiles of the convolution's output.
    fn places(self, g: &Conv2d) -> Places {
        let [height, width] = [g.ho, g.wo].map(|extent| extent.div_ceil(self.outputs()));
        Places { images: g.n, height, width }
    }
}

/// Of the larger tile.
const MOST_PRODUCTS: usize = Tile::Four.products();

/// Channels of a vector.
const LANES: usize = 8;

/// Fewer channels than this on either side leave too little between the transforms.
const FEW_CHANNELS: usize = 16;

/// Tiles that one thread takes from input to output, if their part of the work is large enough.
const BLOCK_TILES: usize = 24;

/// Up to this many weights are read again for each block of tiles; more only once for many.
const BLOCK_WEIGHTS: usize = MOST_PRODUCTS * 128 * 128;

/// Transformed values of the input that are held at once when threads share them: 8 MB.
const SHARED_VALUES: usize = 2 << 20;

/// Panels whose products are formed before they are transformed to outputs.
const PANELS_AT_ONCE: usize = 4;

/// Whether the convolution is of the kind.
pub(super) fn is_defined(g: &Conv2d) -> bool {
    // No more than what turns into padding again in the gradient of the input.
    let small = g.pad.iter().all(|&pad| pad <= 2);
    let dense = g.groups == 1 && g.cin > 0 && g.cout > 0;
    [g.kh, g.kw] == [3, 3] && g.stride == [1, 1] && g.dilation == [1, 1] && dense && small
}

/// The choice between Winograd's tiles and the direct sum (`None`), the only one. It does not depend on the threads.
pub(super) fn choice(cx: Cx<'_>, g: &Conv2d, pass: Pass) -> Option<Tile> {
    // The gradient of the kernel has its own transforms, of the larger tile alone.
    let possible = |tile: &Tile| is_defined(g) && (pass != Pass::Kernel || *tile == Tile::Four);
    match cx.winograd {
        Winograd::Never => None,
        Winograd::WherePossible(tile) => Some(tile).filter(possible),
        Winograd::WhereFaster => {
            fastest(cx.costs, g, pass, [Tile::Four, Tile::Two].into_iter().filter(possible))
        }
        Winograd::WhereExact => fastest(cx.costs, g, pass, [Tile::Two].into_iter().filter(possible)),
    }
}

fn fastest(costs: &Costs, g: &Conv2d, pass: Pass, tiles: impl Iterator<Item = Tile>) -> Option<Tile> {
    if g.cin.min(g.cout) < FEW_CHANNELS {
        return None;
    }
    let pairs = (g.cin * g.cout) as f64;
    let [direct, winograd] = match pass {
        Pass::Forward | Pass::InputPacked => [costs.forward_direct_weight, costs.forward_winograd_weight],
        Pass::Input => [costs.input_direct_weight, costs.input_winograd_weight],
        Pass::Kernel => [costs.kernel_direct_weight, costs.kernel_winograd_weight],
    };
    let cost = |tile: Tile| multiplications(costs, g, tile) + pairs * tile.products() as f64 * winograd;
    let direct = g.macs() as f64 + pairs * 9.0 * direct;
    let best = tiles.map(|tile| (tile, cost(tile))).min_by(|a, b| a.1.total_cmp(&b.1));
    best.filter(|(_, cost)| *cost < direct).map(|(tile, _)| tile)
}

/// What the convolution, or either of its gradients, takes.
pub(super) fn work(costs: &Costs, g: &Conv2d, tile: Tile) -> Work {
    let weight_bytes = (packed_len(tile, [g.cin, g.cout]) * size_of::<f32>()) as u64;
    Work {
        algorithm: Algorithm::Winograd(tile),
        products: multiplications(costs, g, tile) as u64,
        weight_bytes,
    }
}

/// Multiplications of whole register tiles, and what the transforms cost.
fn multiplications(costs: &Costs, g: &Conv2d, tile: Tile) -> f64 {
    let tiles = tile.places(g).count();
    let products = tile.products() as f64;
    let multiplied = (g.cin * g.cout) as f64 * products * tiles.next_multiple_of(ROWS) as f64;
    let transform = costs.winograd_transform * products / MOST_PRODUCTS as f64;
    multiplied + (tiles * (g.cin + g.cout)) as f64 * transform
}

/// The convolution of `dy` with the kernel turned around.
pub(super) fn backward_input(
    cx: Cx<'_>,
    g: &Conv2d,
    tile: Tile,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    let around = turned(g);
    let (shape, source) = ([around.cin, around.cout], Source::Turned { w });
    if !in_blocks(cx, &around, tile) {
        return run(cx, &around, dy, Given::Raw(tile, source), dx, write.into());
    }
    with_scratch(packed_len(tile, shape), |data| {
        source.pack(cx, tile, shape, data);
        run(cx, &around, dy, Given::Packed(Panels { data, tile, depth: around.cin }), dx, write.into());
    });
}

/// [`backward_input`] with a kernel from [`Weights::pack_turned`].
pub(super) fn backward_input_packed(
    cx: Cx<'_>,
    g: &Conv2d,
    dy: &[f32],
    weights: &Weights,
    dx: &mut [f32],
    write: Write,
) {
    run(cx, &turned(g), dy, Given::Packed(weights.panels()), dx, write.into());
}

/// The convolution of `dy` that gives the gradient of the input.
fn turned(g: &Conv2d) -> Conv2d {
    let pad = g.pad.map(|pad| 2 - pad);
    Conv2d { h: g.ho, w: g.wo, cin: g.cout, ho: g.h, wo: g.w, cout: g.cin, pad, ..*g }
}

/// `y = activation(x * kernel + bias + residual)`
///
/// # Shapes
/// See [`Conv2d`].
pub(super) fn forward(
    cx: Cx<'_>,
    g: &Conv2d,
    x: &[f32],
    weights: &Weights,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    run(cx, g, x, Given::Packed(weights.panels()), y, Store::Replace(*epilogue));
}

fn run(cx: Cx<'_>, g: &Conv2d, x: &[f32], weights: Given<'_>, y: &mut [f32], store: Store<'_>) {
    if y.is_empty() {
        return;
    }
    with_scratch(g.cin, |zeros| {
        zeros.fill(0.0);
        let tile = weights.tile();
        let input = Input { isa: cx.isa, g, tile, x, zeros, stride: g.cin.next_multiple_of(LANES) };
        let job = Job { input, tiles: tile.places(g), weights, store, y: SharedMut::new(y) };
        if in_blocks(cx, g, tile) { job.blocks(cx) } else { job.shared(cx) }
    });
}

/// Whether each thread takes tiles from input to output: there are enough for all, and few weights to be read again for
/// each block.
fn in_blocks(cx: Cx<'_>, g: &Conv2d, tile: Tile) -> bool {
    let (blocks, threads) = (tile.places(g).count().div_ceil(BLOCK_TILES), cx.threads.count());
    packed_len(tile, [g.cin, g.cout]) <= BLOCK_WEIGHTS && (threads == 1 || blocks >= 4 * threads)
}

struct Job<'a> {
    input: Input<'a>,
    tiles: Places,
    weights: Given<'a>,
    store: Store<'a>,
    y: SharedMut,
}

impl Job<'_> {
    /// Each thread takes some tiles from input to output.
    fn blocks(&self, cx: Cx<'_>) {
        let (count, panels) = (self.tiles.count(), self.panels());
        let block = count.div_ceil(count.div_ceil(BLOCK_TILES).next_multiple_of(cx.threads.count()));
        let columns = panels.min(PANELS_AT_ONCE);
        let need = lines::<f32>(self.transformed_len(block)) + self.multiply_lines(block, columns);
        scratch::run(Some(cx.threads), count.div_ceil(block), need, |i, mut scratch| {
            let tiles = part(&(0..count), block, i);
            let v = scratch.take(self.transformed_len(tiles.len()));
            self.input.transform(&tiles, &tiles, SharedMut::new(v));
            for panels in parts(0..panels, columns) {
                self.multiply(v, &tiles, &tiles, panels, scratch.again());
            }
        });
    }

    /// All tiles, as many at a time as are to be held: the threads share first the transform of the input, then the
    /// products and the transform to outputs.
    fn shared(&self, cx: Cx<'_>) {
        let (count, threads, panels) = (self.tiles.count(), cx.threads.count(), self.panels());
        let most = (SHARED_VALUES / self.transformed_len(1)).max(BLOCK_TILES);
        let held = count.div_ceil(count.div_ceil(most));
        with_scratch(self.transformed_len(held), |v| {
            for held in parts(0..count, held) {
                let shared = SharedMut::new(v);
                let rows = held.len().div_ceil(4 * threads);
                let transform = |i| self.input.transform(&part(&held, rows, i), &held, shared);
                cx.threads.run(held.len().div_ceil(rows), transform);
                let columns = panels.div_ceil(2 * threads).min(PANELS_AT_ONCE);
                let across = panels.div_ceil(columns);
                let rows = held.len().div_ceil(ROWS).div_ceil((2 * threads).div_ceil(across)) * ROWS;
                let down = held.len().div_ceil(rows);
                let need = self.multiply_lines(rows.min(held.len()), columns);
                scratch::run(Some(cx.threads), down * across, need, |i, scratch| {
                    let panels = part(&(0..panels), columns, i / down);
                    self.multiply(v, &part(&held, rows, i % down), &held, panels, scratch);
                });
            }
        });
    }

    fn panels(&self) -> usize {
        self.input.g.cout.div_ceil(PANEL)
    }

    fn transformed_len(&self, tiles: usize) -> usize {
        self.input.tile.products() * tiles * self.input.stride
    }

    /// Working memory of [`Job::multiply`] for as many tiles and panels.
    fn multiply_lines(&self, tiles: usize, panels: usize) -> usize {
        lines::<f32>(self.input.tile.products() * tiles * panels * PANEL)
            + self.weights.lines([self.input.g.cin, self.input.g.cout], panels)
    }

    /// The outputs of `tiles` in the channels of `panels`.
    fn multiply(
        &self,
        v: &[f32],
        tiles: &Range<usize>,
        held: &Range<usize>,
        panels: Range<usize>,
        mut scratch: Scratch<'_>,
    ) {
        let Input { isa, g, tile, stride, .. } = self.input;
        let (rows, width) = (tiles.len(), panels.len() * PANEL);
        let first = panels.start * PANEL;
        let channels = width.min(g.cout - first);
        let m = scratch.take::<f32>(tile.products() * rows * width);
        let (v, plane) = (&v[(tiles.start - held.start) * stride..], held.len() * stride);
        let weights = self.weights.panels(isa, [g.cin, g.cout], panels.clone(), scratch);
        isa.dispatch(Products { v, stride, plane, rows, weights, panels: panels.len(), m });
        let m = &*m;
        self.tiles.each(tiles.clone(), |i, place| {
            let m = &m[i * width..];
            isa.dispatch(Output { job: self, m, plane: rows * width, place, first, channels });
        });
    }
}

/// What is transformed.
struct Input<'a> {
    isa: Isa,
    g: &'a Conv2d,
    tile: Tile,
    x: &'a [f32],
    /// Stands for every pixel of the padding.
    zeros: &'a [f32],
    /// From one row of transformed values to the next.
    stride: usize,
}

impl Input<'_> {
    /// Writes the transformed input of `some` tiles to `v: [products, held, stride]`.
    fn transform(&self, some: &Range<usize>, held: &Range<usize>, v: SharedMut) {
        let plane = held.len() * self.stride;
        self.tile.places(self.g).each(some.clone(), |i, place| {
            let at = (some.start + i - held.start) * self.stride;
            let to = v.address(at, (self.tile.products() - 1) * plane + self.stride);
            let from = self.seen(place);
            self.isa.dispatch(Transform { tile: self.tile, from, cin: self.g.cin, to, plane });
        });
    }

    /// The pixels that a tile sees, as many as it has products: each leads to `Cin` values.
    fn seen(&self, [n, ty, tx]: Place) -> [*const f32; MOST_PRODUCTS] {
        let Conv2d { h, w, cin, pad, .. } = *self.g;
        let (outputs, edge) = (self.tile.outputs(), self.tile.edge());
        let mut from = [self.zeros.as_ptr(); MOST_PRODUCTS];
        for (y, from) in from.chunks_exact_mut(edge).take(edge).enumerate() {
            let iy = (ty * outputs + y).wrapping_sub(pad[0]);
            for (x, from) in from.iter_mut().enumerate() {
                let ix = (tx * outputs + x).wrapping_sub(pad[1]);
                if iy < h && ix < w {
                    *from = self.x[((n * h + iy) * w + ix) * cin..][..cin].as_ptr();
                }
            }
        }
        from
    }
}

/// `range` in parts of `len`; the last may be shorter.
fn parts(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(len).map(move |start| start..end.min(start + len))
}

/// Part `i` of [`parts`].
fn part(range: &Range<usize>, len: usize, i: usize) -> Range<usize> {
    range.start + i * len..range.end.min(range.start + (i + 1) * len)
}

/// The last `count` values, from `start` on, of each of some pixels; then zeros.
///
/// # Safety
/// Each pointer leads to `start + count` values, and `count` is less than [`LANES`].
#[inline(always)]
unsafe fn rest<const N: usize>(from: &[*const f32; N], start: usize, count: usize) -> [[f32; LANES]; N] {
    let mut rest = [[0.0; LANES]; N];
    for (rest, from) in rest.iter_mut().zip(from) {
        // SAFETY: the caller's promise.
        rest[..count].copy_from_slice(unsafe { std::slice::from_raw_parts(from.add(start), count) });
    }
    rest
}

/// One tile of the input.
struct Transform {
    tile: Tile,
    /// Each leads to `cin` values.
    from: [*const f32; MOST_PRODUCTS],
    cin: usize,
    /// For each product, `plane` apart, `cin` values rounded up to whole vectors.
    to: *mut f32,
    plane: usize,
}

impl Kernel for Transform {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        const { assert!(S::LANES == LANES) }
        // SAFETY: the caller's promise.
        unsafe {
            match self.tile {
                Tile::Two => self.each_vector::<S, transform::Two>(s),
                Tile::Four => self.each_vector::<S, transform::Four>(s),
            }
        }
    }
}

impl Transform {
    /// # Safety
    /// The tile is `T`'s; `from` and `to` are as their fields say.
    #[inline(always)]
    unsafe fn each_vector<S: Simd, T: transform::Input>(self, s: S) {
        let Self { from, cin, to, plane, .. } = self;
        let whole = cin / LANES * LANES;
        for c in (0..whole).step_by(LANES) {
            // SAFETY: `c + LANES <= cin`.
            unsafe { T::input(s, &from, c, to.add(c), plane) };
        }
        if whole < cin {
            // SAFETY: `cin` values from each pointer.
            let rest = unsafe { rest(&from, whole, cin - whole) };
            let starts = rest.each_ref().map(|values| values.as_ptr());
            // SAFETY: each pointer leads to a vector; there is room for a whole one after `whole` values.
            unsafe { T::input(s, &starts, 0, to.add(whole), plane) };
        }
    }
}

/// The products of some tiles with some panels.
struct Products<'a> {
    /// For each product, `plane` apart: `rows` rows, `stride` apart.
    v: &'a [f32],
    stride: usize,
    plane: usize,
    rows: usize,
    weights: Panels<'a>,
    panels: usize,
    /// `[products, rows, panels, PANEL]`
    m: &'a mut [f32],
}

impl Kernel for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { v, stride, plane, rows, weights, panels, m } = self;
        let (depth, width) = (weights.depth, panels * PANEL);
        for product in 0..weights.tile.products() {
            for panel in 0..panels {
                let b = weights.panel(panel, product);
                for row in (0..rows).step_by(ROWS) {
                    let count = ROWS.min(rows - row);
                    let mut a = [v.as_ptr(); ROWS];
                    for (r, a) in a[..count].iter_mut().enumerate() {
                        *a = v[product * plane + (row + r) * stride..][..depth].as_ptr();
                    }
                    let to = &mut m[(product * rows + row) * width + panel * PANEL..];
                    // SAFETY: the first `count` pointers lead to `depth` values.
                    unsafe { products(s, &a, count, b, to, width) };
                }
            }
        }
    }
}

/// The outputs of one tile.
struct Output<'a> {
    job: &'a Job<'a>,
    /// For each product, `plane` apart: `channels` values rounded up to whole vectors.
    m: &'a [f32],
    plane: usize,
    place: Place,
    /// First output channel, and how many.
    first: usize,
    channels: usize,
}

impl Kernel for Output<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { job, m, plane, channels, .. } = self;
        assert!(m.len() >= (job.input.tile.products() - 1) * plane + channels.next_multiple_of(LANES));
        for c in (0..channels).step_by(LANES) {
            let count = LANES.min(channels - c);
            // SAFETY: a vector at `c` of each plane is inside `m`, as asserted.
            unsafe {
                let m = m.as_ptr().add(c);
                match job.input.tile {
                    Tile::Two => self.store_tile(s, &transform::output_of_two(s, m, plane), c, count),
                    Tile::Four => self.store_tile(s, &transform::output_of_four(s, m, plane), c, count),
                }
            }
        }
        let ([height, width], at, g) = (self.extent(), self.start(), job.input.g);
        let Store::Replace(Epilogue { activation, .. }) = job.store else { return };
        if let (_, _, Some(f)) = limits(s, activation) {
            for y in 0..height {
                for x in 0..width {
                    // SAFETY: as in `store`.
                    let y = unsafe { job.y.slice(at + (y * g.wo + x) * g.cout, channels) };
                    activation::in_place(job.input.isa, f, y);
                }
            }
        }
    }
}

impl Output<'_> {
    /// Rows and columns of the tile that the output has.
    #[inline(always)]
    fn extent(&self) -> [usize; 2] {
        let (Input { g, tile, .. }, [_, ty, tx]) = (&self.job.input, self.place);
        let outputs = tile.outputs();
        [outputs.min(g.ho - ty * outputs), outputs.min(g.wo - tx * outputs)]
    }

    /// Where its first channel of its first pixel is in the output.
    #[inline(always)]
    fn start(&self) -> usize {
        let (Input { g, tile, .. }, [n, ty, tx]) = (&self.job.input, self.place);
        ((n * g.ho + ty * tile.outputs()) * g.wo + tx * tile.outputs()) * g.cout + self.first
    }

    /// `count` channels, from the tile's channel `c` on.
    #[inline(always)]
    fn store_tile<S: Simd, const N: usize>(&self, s: S, tile: &[[S::V; N]; N], c: usize, count: usize) {
        let ([height, width], at, g) = (self.extent(), self.start(), self.job.input.g);
        for (y, row) in tile[..height].iter().enumerate() {
            for (x, &sum) in row[..width].iter().enumerate() {
                self.store(s, sum, at + (y * g.wo + x) * g.cout + c, self.first + c, count);
            }
        }
    }

    /// Finishes `count` channels from `channel` on, all but activations that are no limits.
    #[inline(always)]
    fn store<S: Simd>(&self, s: S, sum: S::V, at: usize, channel: usize, count: usize) {
        // SAFETY: tiles and panels do not overlap in `y`, and one task has each.
        let y = unsafe { self.job.y.slice(at, count) };
        let mut sum = sum;
        match &self.job.store {
            Store::Add => sum = s.add(load_part(s, y), sum),
            Store::Replace(Epilogue { bias, residual, activation }) => {
                if let Some(bias) = bias {
                    sum = s.add(sum, load_part(s, &bias[channel..channel + count]));
                }
                if let Some(residual) = residual {
                    sum = s.add(sum, load_part(s, &residual[at..at + count]));
                }
                let (low, high, _) = limits(s, *activation);
                sum = s.min(high, s.max(low, sum));
            }
        }
        store_part(s, sum, y);
    }
}
