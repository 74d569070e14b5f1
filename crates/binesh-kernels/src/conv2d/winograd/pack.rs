//! Kernels as the products read them.

use super::{LANES, PRODUCTS, transform};
use crate::Cx;
use crate::simd::{Kernel, Simd, load_part};
use crate::tile::PANEL;

/// A transformed kernel: for each 16 output channels and each product `[Cin][16]`, zero where there are fewer.
#[derive(Clone, Debug)]
pub(in crate::conv2d) struct Weights {
    data: Vec<f32>,
    cin: usize,
    cout: usize,
}

impl Weights {
    /// From `w: [9, Cin, Cout]`; `scale` multiplies output channels.
    pub(in crate::conv2d) fn pack(
        cx: Cx<'_>,
        [cin, cout]: [usize; 2],
        w: &[f32],
        scale: Option<&[f32]>,
    ) -> Self {
        Self::from_taps(cx, [cin, cout], w, scale, [0, 1, 2, 3, 4, 5, 6, 7, 8])
    }

    /// From `w: [9, Cin, Cout]`, with the taps in reverse order.
    pub(in crate::conv2d) fn pack_reversed(cx: Cx<'_>, [cin, cout]: [usize; 2], w: &[f32]) -> Self {
        Self::from_taps(cx, [cin, cout], w, None, [8, 7, 6, 5, 4, 3, 2, 1, 0])
    }

    fn from_taps(
        cx: Cx<'_>,
        [cin, cout]: [usize; 2],
        w: &[f32],
        scale: Option<&[f32]>,
        taps: [usize; 9],
    ) -> Self {
        let panel = PRODUCTS * cin * PANEL;
        let mut data = vec![0.0; cout.div_ceil(PANEL) * panel];
        cx.threads.run_chunks(&mut data, panel.max(1), |i, to| {
            cx.isa.dispatch(Pack { cin, cout, w, scale, taps, first: i * PANEL, to });
        });
        Self { data, cin, cout }
    }

    /// `[Cin, Cout]`
    pub(in crate::conv2d) fn shape(&self) -> [usize; 2] {
        [self.cin, self.cout]
    }

    pub(in crate::conv2d) fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }

    pub(super) fn panels(&self) -> usize {
        self.cout.div_ceil(PANEL)
    }

    pub(super) fn panel(&self, panel: usize, product: usize) -> &[f32] {
        let len = self.cin * PANEL;
        &self.data[(panel * PRODUCTS + product) * len..][..len]
    }
}

/// One panel.
struct Pack<'a> {
    cin: usize,
    cout: usize,
    /// `[9, Cin, Cout]`
    w: &'a [f32],
    scale: Option<&'a [f32]>,
    /// Which of the nine is read as which.
    taps: [usize; 9],
    /// First output channel.
    first: usize,
    /// `[PRODUCTS, Cin, PANEL]`
    to: &'a mut [f32],
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { cin, cout, w, scale, taps, first, to } = self;
        let width = PANEL.min(cout - first);
        for k in 0..cin {
            for half in (0..width).step_by(LANES) {
                let channels = first + half..first + width.min(half + LANES);
                let mut g = [s.splat(0.0); 9];
                for (g, tap) in g.iter_mut().zip(taps) {
                    *g = load_part(s, &w[(tap * cin + k) * cout..][channels.clone()]);
                }
                if let Some(scale) = scale {
                    let scale = load_part(s, &scale[channels]);
                    for g in &mut g {
                        *g = s.mul(*g, scale);
                    }
                }
                for (product, u) in transform::kernel(s, g).into_iter().enumerate() {
                    s.store_slice(u, &mut to[(product * cin + k) * PANEL + half..]);
                }
            }
        }
    }
}
