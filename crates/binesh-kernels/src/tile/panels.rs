//! Weights in the order the register tile reads them.

use super::PANEL;
use crate::Cx;
use crate::simd::{Kernel, Simd};

/// Weights in panels: for each group, for each 16 of its output channels, `[taps * depth][16]`, zero where there
/// are fewer.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    data: Vec<f32>,
    pub(crate) groups: usize,
    /// Filter taps.
    pub(crate) taps: usize,
    /// Values read at each tap.
    pub(crate) depth: usize,
    /// Output channels of a group.
    pub(crate) width: usize,
}

impl Panels {
    /// `fill(group, tap, k, first, row)` writes the weights of the group's output channels `first..first + row.len()`.
    pub(crate) fn pack(
        cx: Cx<'_>,
        [groups, taps, depth, width]: [usize; 4],
        fill: impl Fn(usize, usize, usize, usize, &mut [f32]) + Sync,
    ) -> Self {
        let (per_group, panel_len) = (width.div_ceil(PANEL), taps * depth * PANEL);
        let mut data = vec![0.0; groups * per_group * panel_len];
        cx.threads.run_chunks(&mut data, panel_len.max(1), |i, panel| {
            let (group, first) = (i / per_group, i % per_group * PANEL);
            for (i, row) in panel.chunks_exact_mut(PANEL).enumerate() {
                fill(group, i / depth, i % depth, first, &mut row[..PANEL.min(width - first)]);
            }
        });
        Self { data, groups, taps, depth, width }
    }

    /// Packs weights that lie the other way around: `start(group, tap, c)` is where the `depth` weights of the group's
    /// output channel `c` begin in `w`.
    pub(crate) fn pack_transposed(
        cx: Cx<'_>,
        [groups, taps, depth, width]: [usize; 4],
        w: &[f32],
        start: impl Fn(usize, usize, usize) -> usize + Sync,
    ) -> Self {
        let (per_group, panel_len) = (width.div_ceil(PANEL), taps * depth * PANEL);
        let mut data = vec![0.0; groups * per_group * panel_len];
        cx.threads.run_chunks(&mut data, panel_len, |i, panel| {
            let (group, first) = (i / per_group, i % per_group * PANEL);
            for (tap, panel) in panel.chunks_exact_mut(depth * PANEL).enumerate() {
                for half in (0..PANEL.min(width - first)).step_by(8) {
                    let count = (width - first - half).min(8);
                    let rows = std::array::from_fn(|c| {
                        let c = first + half + c.min(count - 1);
                        &w[start(group, tap, c)..][..depth]
                    });
                    cx.isa.dispatch(Transpose { rows, count, to: &mut panel[half..] });
                }
            }
        });
        Self { data, groups, taps, depth, width }
    }

    /// Bytes of panels of this shape.
    pub(crate) fn bytes_of([groups, taps, depth, width]: [usize; 4]) -> u64 {
        let values = groups * width.next_multiple_of(PANEL) * taps * depth;
        (values * size_of::<f32>()) as u64
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }

    pub(crate) fn per_group(&self) -> usize {
        self.width.div_ceil(PANEL)
    }

    pub(super) fn panel(&self, group: usize, panel: usize) -> &[f32] {
        let len = self.taps * self.depth * PANEL;
        &self.data[(group * self.per_group() + panel) * len..][..len]
    }
}

/// `to[k * PANEL + c] = rows[c][k]` for the first `count` of eight rows.
pub(crate) struct Transpose<'a> {
    pub(crate) rows: [&'a [f32]; 8],
    pub(crate) count: usize,
    pub(crate) to: &'a mut [f32],
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, count, to } = self;
        let depth = rows[0].len();
        let whole = if count == 8 { depth / 8 * 8 } else { 0 };
        for k in (0..whole).step_by(8) {
            let mut block = [s.splat(0.0); 8];
            for (v, row) in block.iter_mut().zip(rows) {
                *v = s.load_slice(&row[k..]);
            }
            for (i, v) in s.transpose(block).into_iter().enumerate() {
                s.store_slice(v, &mut to[(k + i) * PANEL..]);
            }
        }
        for k in whole..depth {
            for (to, row) in to[k * PANEL..][..count].iter_mut().zip(rows) {
                *to = row[k];
            }
        }
    }
}
