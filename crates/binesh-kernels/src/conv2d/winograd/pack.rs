//! Kernels as the products read them.

use std::ops::Range;

use super::{LANES, MOST_PRODUCTS, transform};
use crate::scratch::{Scratch, lines};
use crate::simd::{Kernel, Simd};
use crate::tile::{PANEL, Transpose};
use crate::{Cx, Isa, Tile};

/// A transformed kernel.
#[derive(Clone, Debug)]
pub(in crate::conv2d) struct Weights {
    data: Vec<f32>,
    tile: Tile,
    shape: [usize; 2],
}

impl Weights {
    /// From `w: [3, 3, Cin, Cout]`; `scale` multiplies output channels.
    pub(in crate::conv2d) fn pack(
        cx: Cx<'_>,
        tile: Tile,
        shape: [usize; 2],
        w: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        let mut data = vec![0.0; packed_len(tile, shape)];
        Source::Forward { w, scale }.pack(cx, tile, shape, &mut data);
        Self { data, tile, shape }
    }

    /// From `w: [3, 3, Cin, Cout]`, for the gradient of the input, whose convolution has the shape `[Cout, Cin]`.
    pub(in crate::conv2d) fn pack_turned(cx: Cx<'_>, tile: Tile, shape: [usize; 2], w: &[f32]) -> Self {
        let mut data = vec![0.0; packed_len(tile, shape)];
        Source::Turned { w }.pack(cx, tile, shape, &mut data);
        Self { data, tile, shape }
    }

    pub(in crate::conv2d) fn tile(&self) -> Tile {
        self.tile
    }

    /// `[Cin, Cout]`
    pub(in crate::conv2d) fn shape(&self) -> [usize; 2] {
        self.shape
    }

    pub(in crate::conv2d) fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }

    pub(super) fn panels(&self) -> Panels<'_> {
        Panels { data: &self.data, tile: self.tile, depth: self.shape[0] }
    }
}

/// Some of a transformed kernel: for each 16 output channels and each product `[Cin][16]`, zero where there are fewer.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [f32],
    pub(super) tile: Tile,
    /// Input channels.
    pub(super) depth: usize,
}

impl<'a> Panels<'a> {
    pub(super) fn panel(&self, panel: usize, product: usize) -> &'a [f32] {
        let len = self.depth * PANEL;
        &self.data[(panel * self.tile.products() + product) * len..][..len]
    }
}

/// Values of a transformed kernel `[Cin, Cout]`.
pub(super) fn packed_len(tile: Tile, [cin, cout]: [usize; 2]) -> usize {
    tile.products() * cin * cout.next_multiple_of(PANEL)
}

/// The kernel that a call is given.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    /// All of it packed.
    Packed(Panels<'a>),
    /// To be packed by whoever needs a part, which then is still in the cache.
    Raw(Tile, Source<'a>),
}

impl<'a> Given<'a> {
    pub(super) fn tile(self) -> Tile {
        match self {
            Given::Packed(Panels { tile, .. }) | Given::Raw(tile, _) => tile,
        }
    }

    /// Working memory that [`Given::panels`] needs for as many.
    pub(super) fn lines(self, [depth, _]: [usize; 2], panels: usize) -> usize {
        match self {
            Given::Packed(_) => 0,
            Given::Raw(tile, _) => lines::<f32>(panels * tile.products() * depth * PANEL),
        }
    }

    /// Some panels.
    pub(super) fn panels<'b>(
        self,
        isa: Isa,
        shape: [usize; 2],
        panels: Range<usize>,
        mut scratch: Scratch<'b>,
    ) -> Panels<'b>
    where
        'a: 'b,
    {
        let ([depth, _], tile) = (shape, self.tile());
        let len = tile.products() * depth * PANEL;
        let data = match self {
            Given::Packed(all) => &all.data[panels.start * len..panels.end * len],
            Given::Raw(_, source) => {
                let data = scratch.take(panels.len() * len);
                for (panel, to) in panels.zip(data.chunks_exact_mut(len)) {
                    source.pack_panel(isa, tile, shape, panel, to);
                }
                data
            }
        };
        Panels { data, tile, depth }
    }
}

/// Where the nine weights of a pair of channels are.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// `w: [3, 3, Cin, Cout]`, `scale: [Cout]`
    Forward { w: &'a [f32], scale: Option<&'a [f32]> },
    /// `w: [3, 3, Cout, Cin]` of the convolution whose input's gradient this one is: turned around, and its channels
    /// exchanged.
    Turned { w: &'a [f32] },
}

impl Source<'_> {
    /// All panels.
    pub(super) fn pack(self, cx: Cx<'_>, tile: Tile, shape: [usize; 2], data: &mut [f32]) {
        let len = tile.products() * shape[0] * PANEL;
        cx.threads.run_chunks(data, len, |panel, to| self.pack_panel(cx.isa, tile, shape, panel, to));
    }

    fn pack_panel(self, isa: Isa, tile: Tile, [cin, cout]: [usize; 2], panel: usize, to: &mut [f32]) {
        let first = panel * PANEL;
        isa.dispatch(Pack { tile, cin, cout, source: self, first, width: PANEL.min(cout - first), to });
    }
}

/// One panel.
struct Pack<'a> {
    tile: Tile,
    cin: usize,
    cout: usize,
    source: Source<'a>,
    /// First output channel, and how many.
    first: usize,
    width: usize,
    /// `[products, Cin, PANEL]`
    to: &'a mut [f32],
}

/// Input channels packed at a time: what is written to each product are then whole cache lines.
const AT_ONCE: usize = 8;

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut taps = [[0.0; AT_ONCE * PANEL]; 9];
        let mut packed = [[0.0; AT_ONCE * PANEL]; MOST_PRODUCTS];
        for first in (0..self.cin).step_by(AT_ONCE) {
            let count = AT_ONCE.min(self.cin - first);
            match self.source {
                Source::Forward { w, scale } => self.copy(w, scale, first, count, &mut taps),
                Source::Turned { w } => self.copy_turned(s, w, first, count, &mut taps),
            }
            for at in (0..count * PANEL).step_by(LANES) {
                let mut g = [s.splat(0.0); 9];
                for (g, tap) in g.iter_mut().zip(&taps) {
                    *g = s.load_slice(&tap[at..]);
                }
                match self.tile {
                    Tile::Two => store(s, transform::kernel_of_two(s, g), &mut packed, at),
                    Tile::Four => store(s, transform::kernel_of_four(s, g), &mut packed, at),
                }
            }
            for (product, packed) in packed[..self.tile.products()].iter().enumerate() {
                self.to[(product * self.cin + first) * PANEL..][..count * PANEL]
                    .copy_from_slice(&packed[..count * PANEL]);
            }
        }
    }
}

/// A vector of each product, to `at`.
#[inline(always)]
fn store<S: Simd, const N: usize>(s: S, u: [S::V; N], packed: &mut [[f32; AT_ONCE * PANEL]], at: usize) {
    for (u, packed) in u.into_iter().zip(packed) {
        s.store_slice(u, &mut packed[at..]);
    }
}

impl Pack<'_> {
    /// The weights of `count` input channels: `taps: [9, AT_ONCE, PANEL]`.
    #[inline(always)]
    fn copy(
        &self,
        w: &[f32],
        scale: Option<&[f32]>,
        first: usize,
        count: usize,
        taps: &mut [[f32; AT_ONCE * PANEL]; 9],
    ) {
        for (tap, taps) in taps.iter_mut().enumerate() {
            for (k, to) in taps.chunks_exact_mut(PANEL).take(count).enumerate() {
                let to = &mut to[..self.width];
                let row = (tap * self.cin + first + k) * self.cout + self.first;
                to.copy_from_slice(&w[row..][..self.width]);
                if let Some(scale) = scale {
                    to.iter_mut().zip(&scale[self.first..]).for_each(|(w, s)| *w *= s);
                }
            }
        }
    }

    #[inline(always)]
    fn copy_turned<S: Simd>(
        &self,
        s: S,
        w: &[f32],
        first: usize,
        count: usize,
        taps: &mut [[f32; AT_ONCE * PANEL]; 9],
    ) {
        for (tap, taps) in taps.iter_mut().rev().enumerate() {
            for half in (0..self.width).step_by(8) {
                let channels = (self.width - half).min(8);
                let mut rows = [w; 8];
                for (c, row) in rows.iter_mut().enumerate() {
                    let channel = self.first + half + c.min(channels - 1);
                    *row = &w[(tap * self.cout + channel) * self.cin + first..][..count];
                }
                Transpose { rows, count: channels, to: &mut taps[half..] }.run(s);
            }
        }
    }
}
