//! Gradients of weights: `dw[r, c] += sum over m of a[m, r] * dy[m, c]`, where row `m` of `a` is what the filter sees at
//! output position `m`, all taps side by side.

use std::ops::Range;

use crate::Cx;
use crate::isa::Isa;
use crate::simd::{Kernel, Simd};
use crate::threads::SharedMut;
use crate::tile::{PADDING, PANEL, PARALLEL_MACS, Place, Places, ROWS};

/// Positions summed before a tile is added to `dw`. With `MAX_ROWS` and `MAX_COLUMNS` it keeps both copies
/// (100 KB and 128 KB) in the second-level cache.
const MAX_POSITIONS: usize = 128;
const MAX_ROWS: usize = 32 * ROWS;
const MAX_COLUMNS: usize = 16 * PANEL;

/// The sum of products. `locate(place, group, taps)` is that of the forward pass: it writes the offset into `x` at each
/// tap, or [`PADDING`], and returns the offset in `dy`.
///
/// `dw: [taps * depth, groups * width]`
pub(crate) struct Outer<'a, L> {
    pub(crate) places: Places,
    pub(crate) x: &'a [f32],
    pub(crate) dy: &'a [f32],
    pub(crate) groups: usize,
    pub(crate) taps: usize,
    /// Values read at each tap.
    pub(crate) depth: usize,
    /// Output channels of a group.
    pub(crate) width: usize,
    pub(crate) locate: L,
}

impl<L: Fn(Place, usize, &mut [usize]) -> usize + Sync> Outer<'_, L> {
    pub(crate) fn run(&self, cx: Cx<'_>, dw: &mut [f32]) {
        let (m, rows) = (self.places.count(), self.taps * self.depth);
        assert_eq!(dw.len(), rows * self.groups * self.width, "dw length");
        if m == 0 || dw.is_empty() {
            return;
        }
        let parallel = dw.len() * m >= PARALLEL_MACS && cx.threads.count() > 1;
        let wanted = if parallel { cx.threads.count() * 4 } else { 1 };
        let column_parts = self.width.div_ceil(MAX_COLUMNS);
        let columns = self.width.div_ceil(PANEL).div_ceil(column_parts) * PANEL;
        let column_parts = self.width.div_ceil(columns);
        let row_parts = wanted.div_ceil(self.groups * column_parts).max(rows.div_ceil(MAX_ROWS));
        let rows_per = rows.div_ceil(ROWS).div_ceil(row_parts) * ROWS;
        let row_parts = rows.div_ceil(rows_per);
        let dw = SharedMut::new(dw);
        let task = |i: usize| {
            let (column, row, group) =
                (i % column_parts, i / column_parts % row_parts, i / column_parts / row_parts);
            let columns = column * columns..((column + 1) * columns).min(self.width);
            let rows = row * rows_per..((row + 1) * rows_per).min(rows);
            self.part(cx.isa, group, rows, columns, dw);
        };
        let tasks = self.groups * row_parts * column_parts;
        if parallel { cx.threads.run(tasks, task) } else { (0..tasks).for_each(task) }
    }

    /// Some rows and columns of `dw`, over all positions.
    fn part(&self, isa: Isa, group: usize, rows: Range<usize>, columns: Range<usize>, dw: SharedMut) {
        let m = self.places.count();
        let blocks = m.div_ceil(MAX_POSITIONS);
        let positions = m.div_ceil(blocks);
        // An odd number of cache lines between rows, so that a column of `a` spreads over all cache sets.
        let stride = (rows.len().div_ceil(16) | 1) * 16;
        let panels = columns.len().div_ceil(PANEL);
        let mut a = vec![0.0; positions * stride];
        let mut b = vec![0.0; panels * positions * PANEL];
        let mut offsets = vec![PADDING; self.taps];
        let across = self.groups * self.width;
        let first = rows.start * across + group * self.width + columns.start;
        for start in (0..m).step_by(positions) {
            let count = positions.min(m - start);
            self.places.each(start..start + count, |i, place| {
                let at = (self.locate)(place, group, &mut offsets);
                self.copy_seen(&offsets, rows.clone(), &mut a[i * stride..][..stride]);
                let (whole, rest) = self.dy[at + columns.start..at + columns.end].as_chunks::<PANEL>();
                for (panel, dy) in whole.iter().enumerate() {
                    b[(panel * count + i) * PANEL..][..PANEL].copy_from_slice(dy);
                }
                if !rest.is_empty() {
                    b[(whole.len() * count + i) * PANEL..][..rest.len()].copy_from_slice(rest);
                }
            });
            let [rows, columns] = [rows.len(), columns.len()];
            isa.dispatch(Block { rows, columns, count, a: &a, stride, b: &b, dw, first, across });
        }
    }

    /// The values with numbers `rows` of those that the filter sees at the `offsets` of its taps.
    fn copy_seen(&self, offsets: &[usize], rows: Range<usize>, a: &mut [f32]) {
        let depth = self.depth;
        for (tap, &offset) in offsets.iter().enumerate().skip(rows.start / depth) {
            let from = (tap * depth).max(rows.start);
            let to = ((tap + 1) * depth).min(rows.end);
            if from >= to {
                break;
            }
            let a = &mut a[from - rows.start..to - rows.start];
            if offset == PADDING {
                a.fill(0.0);
            } else {
                a.copy_from_slice(&self.x[offset + from - tap * depth..][..to - from]);
            }
        }
    }
}

/// `dw[r, c] += sum over i < count of a[i, r] * b[i, c]`.
pub(crate) struct Block<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) count: usize,
    /// `[count][stride]`
    pub(crate) a: &'a [f32],
    pub(crate) stride: usize,
    /// `[panels][count][PANEL]`
    pub(crate) b: &'a [f32],
    pub(crate) dw: SharedMut,
    /// Place of the first value in `dw`, and from one row to the next.
    pub(crate) first: usize,
    pub(crate) across: usize,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for row in (0..self.rows).step_by(ROWS) {
            for panel in 0..self.columns.div_ceil(PANEL) {
                match self.rows - row {
                    1 => self.tile::<S, 1>(s, row, panel),
                    2 => self.tile::<S, 2>(s, row, panel),
                    3 => self.tile::<S, 3>(s, row, panel),
                    4 => self.tile::<S, 4>(s, row, panel),
                    5 => self.tile::<S, 5>(s, row, panel),
                    _ => self.tile::<S, 6>(s, row, panel),
                }
            }
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn tile<S: Simd, const R: usize>(&self, s: S, row: usize, panel: usize) {
        let b = &self.b[panel * self.count * PANEL..][..self.count * PANEL];
        let sums = products::<S, R>(s, &self.a[row..], self.stride, b);
        let width = (self.columns - panel * PANEL).min(PANEL);
        for (r, sums) in sums.iter().enumerate() {
            let at = self.first + (row + r) * self.across + panel * PANEL;
            // SAFETY: parts cover different rows, columns or groups of `dw`, so nobody else uses these.
            let dw = unsafe { self.dw.slice(at, width) };
            if width == PANEL {
                s.store_slice(s.add(s.load_slice(dw), sums[0]), dw);
                s.store_slice(s.add(s.load_slice(&dw[8..]), sums[1]), &mut dw[8..]);
            } else {
                let mut all = [0.0; PANEL];
                s.store_slice(sums[0], &mut all);
                s.store_slice(sums[1], &mut all[8..]);
                dw.iter_mut().zip(&all).for_each(|(dw, sum)| *dw += sum);
            }
        }
    }
}

#[inline(always)]
fn products<S: Simd, const R: usize>(s: S, a: &[f32], stride: usize, b: &[f32]) -> [[S::V; 2]; R] {
    const { assert!(2 * S::LANES == PANEL) }
    let count = b.len() / PANEL;
    assert!(count > 0 && a.len() >= (count - 1) * stride + R);
    let mut sums = [[s.splat(0.0); 2]; R];
    let (mut a, mut b) = (a.as_ptr(), b.as_ptr());
    for _ in 0..count {
        // SAFETY: `b` has PANEL values for each step; row i of `a` begins at `i * stride` and `R` values follow, as
        // asserted. The pointers are advanced without being read beyond the last step.
        unsafe {
            let (b0, b1) = (s.load(b), s.load(b.add(S::LANES)));
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = s.splat(*a.add(r));
                *sums = [s.mul_add(a, b0, sums[0]), s.mul_add(a, b1, sums[1])];
            }
            b = b.add(PANEL);
        }
        a = a.wrapping_add(stride);
    }
    sums
}
