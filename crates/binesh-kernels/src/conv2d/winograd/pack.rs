//! Kernels as the products read them.

use super::{LANES, PRODUCTS, transform};
use crate::Cx;
use crate::simd::{Kernel, Simd};
use crate::tile::{PANEL, Transpose};

/// A transformed kernel: for each 16 output channels and each product `[Cin][16]`, zero where there are fewer.
#[derive(Clone, Debug)]
pub(in crate::conv2d) struct Weights {
    data: Vec<f32>,
    cin: usize,
    cout: usize,
}

impl Weights {
    /// From `w: [3, 3, Cin, Cout]`; `scale` multiplies output channels.
    pub(in crate::conv2d) fn pack(
        cx: Cx<'_>,
        [cin, cout]: [usize; 2],
        w: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        let mut data = vec![0.0; packed_len([cin, cout])];
        pack(cx, [cin, cout], Source::Forward { w, scale }, &mut data);
        Self { data, cin, cout }
    }

    pub(super) fn view(&self) -> WeightsView<'_> {
        WeightsView { data: &self.data, cin: self.cin, cout: self.cout }
    }

    /// `[Cin, Cout]`
    pub(in crate::conv2d) fn shape(&self) -> [usize; 2] {
        [self.cin, self.cout]
    }

    pub(in crate::conv2d) fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }
}

/// [`Weights`] in borrowed memory.
#[derive(Clone, Copy)]
pub(super) struct WeightsView<'a> {
    data: &'a [f32],
    pub(super) cin: usize,
    pub(super) cout: usize,
}

impl<'a> WeightsView<'a> {
    /// The kernel of the gradient of the input, from `w: [3, 3, Cout, Cin]` of the convolution: turned around, and its
    /// channels exchanged. Packed into `data`, of [`packed_len`].
    pub(super) fn pack_turned(cx: Cx<'_>, [cin, cout]: [usize; 2], w: &[f32], data: &'a mut [f32]) -> Self {
        pack(cx, [cin, cout], Source::Turned { w }, data);
        Self { data, cin, cout }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.data)
    }

    pub(super) fn panels(&self) -> usize {
        self.cout.div_ceil(PANEL)
    }

    pub(super) fn panel(&self, panel: usize, product: usize) -> &'a [f32] {
        let len = self.cin * PANEL;
        &self.data[(panel * PRODUCTS + product) * len..][..len]
    }
}

/// Values of a transformed kernel.
pub(super) fn packed_len([cin, cout]: [usize; 2]) -> usize {
    PRODUCTS * cin * cout.next_multiple_of(PANEL)
}

fn pack(cx: Cx<'_>, [cin, cout]: [usize; 2], source: Source<'_>, data: &mut [f32]) {
    cx.threads.run_chunks(data, (PRODUCTS * cin * PANEL).max(1), |i, to| {
        let first = i * PANEL;
        cx.isa.dispatch(Pack { cin, cout, source, first, width: PANEL.min(cout - first), to });
    });
}

/// Where the nine weights of a pair of channels are.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// `w: [9, Cin, Cout]`, `scale: [Cout]`
    Forward { w: &'a [f32], scale: Option<&'a [f32]> },
    /// `w: [9, Cout, Cin]`, in reverse.
    Turned { w: &'a [f32] },
}

/// One panel.
struct Pack<'a> {
    cin: usize,
    cout: usize,
    source: Source<'a>,
    /// First output channel, and how many.
    first: usize,
    width: usize,
    /// `[PRODUCTS, Cin, PANEL]`
    to: &'a mut [f32],
}

/// Input channels packed at a time: what is written to each product are then whole cache lines.
const AT_ONCE: usize = 8;

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut taps = [[0.0; AT_ONCE * PANEL]; 9];
        let mut packed = [[0.0; AT_ONCE * PANEL]; PRODUCTS];
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
                for (u, packed) in transform::kernel(s, g).into_iter().zip(&mut packed) {
                    s.store_slice(u, &mut packed[at..]);
                }
            }
            for (product, packed) in packed.iter().enumerate() {
                self.to[(product * self.cin + first) * PANEL..][..count * PANEL]
                    .copy_from_slice(&packed[..count * PANEL]);
            }
        }
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
