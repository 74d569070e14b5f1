//! A tile of rows against the panels that stay in the second-level cache: where there are few input channels the sums of
//! a tile take hardly longer than what is around them, so that is done once for all panels. What the next tile reads and
//! writes is fetched meanwhile: 128 to 128 channels at 147 px took 17 % longer without.

use std::ops::Range;

use super::{Block, PANEL, ROWS, Store, accumulate, limits};
use crate::activation::{self, Activation};
use crate::simd::Simd;

/// What is the same for all tiles of a block whose outputs are replaced.
pub(super) struct Plain<'a, V> {
    bias: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    low: V,
    high: V,
    /// What is left of the activation when the values are within `low..=high`.
    later: Option<Activation>,
}

impl<'a, V: Copy> Plain<'a, V> {
    /// `None` where an epilogue is not of the kind.
    #[inline(always)]
    pub(super) fn of<S: Simd<V = V>>(s: S, block: &Block<'a>) -> Option<Self> {
        let Store::Replace(epilogue) = block.store else { return None };
        let (low, high, later) = limits(s, epilogue.activation);
        Some(Self { bias: epilogue.bias, residual: epilogue.residual, low, high, later })
    }

    /// Finishes a tile in all of the panels that are whole; gives the first that is left.
    ///
    /// # Safety
    /// The block's table leads to `depth` values for every tap and row, and nobody else uses its outputs meanwhile.
    #[inline(always)]
    pub(super) unsafe fn run<S: Simd<V = V>>(
        &self,
        s: S,
        block: &Block<'_>,
        tile: usize,
        panels: Range<usize>,
    ) -> usize {
        // SAFETY: passed on.
        unsafe {
            match block.outputs.len() - tile * ROWS {
                6.. => self.rows::<S, 6>(s, block, tile, panels),
                5 => self.rows::<S, 5>(s, block, tile, panels),
                4 => self.rows::<S, 4>(s, block, tile, panels),
                3 => self.rows::<S, 3>(s, block, tile, panels),
                2 => self.rows::<S, 2>(s, block, tile, panels),
                _ => self.rows::<S, 1>(s, block, tile, panels),
            }
        }
    }

    /// # Safety
    /// As [`Plain::run`], and the tile has `R` rows.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Constant indices, as in `Tile::rows`.
    unsafe fn rows<S: Simd<V = V>, const R: usize>(
        &self,
        s: S,
        block: &Block<'_>,
        tile: usize,
        panels: Range<usize>,
    ) -> usize {
        let all = block.all;
        let end = panels.end.min(all.width / PANEL);
        let first = panels.start;
        if end <= first {
            return first;
        }
        let rows = &block.table[tile * all.taps * ROWS..][..all.taps * ROWS];
        let (from, len) = (first * PANEL, (end - first) * PANEL);
        let outputs = &block.outputs[tile * ROWS..][..R];
        let mut y = [std::ptr::null_mut(); R];
        let mut residual = [std::ptr::null(); R];
        for r in 0..R {
            y[r] = block.y.address(outputs[r] + from, len);
            if let Some(all) = self.residual {
                residual[r] = all[outputs[r] + from..][..len].as_ptr();
            }
        }
        let outputs_ahead = &block.outputs[tile * ROWS + R..];
        let outputs_ahead = &outputs_ahead[..outputs_ahead.len().min(ROWS)];
        // Where there are several taps, most of the next tile's rows were read for this one.
        let rows_ahead = if all.taps == 1 { block.table.get((tile + 1) * ROWS..) } else { None };
        let rows_ahead = rows_ahead.map_or(&[][..], |rows| &rows[..rows.len().min(ROWS)]);
        let bias = self.bias.map(|bias| bias[block.group * all.width + from..][..len].as_ptr());
        for panel in first..end {
            let at = (panel - first) * PANEL;
            for &output in outputs_ahead {
                s.prefetch(block.y.at(output + from + at));
                if let Some(all) = self.residual {
                    s.prefetch(all.as_ptr().wrapping_add(output + from + at));
                }
            }
            if at < all.depth {
                rows_ahead.iter().for_each(|row| s.prefetch(row.wrapping_add(at)));
            }
            // SAFETY: the table's promise; `at + PANEL <= len` for the bias, and for each row of the residual and of the
            // output, as sliced above. Outputs of different rows and panels do not overlap, and this task owns them.
            unsafe {
                let mut sums = accumulate::<S, R, 2>(s, rows, all.depth, all.panel(block.group, panel));
                if let Some(bias) = bias {
                    let bias = [s.load(bias.add(at)), s.load(bias.add(at + S::LANES))];
                    for r in 0..R {
                        sums[r] = [s.add(sums[r][0], bias[0]), s.add(sums[r][1], bias[1])];
                    }
                }
                if self.residual.is_some() {
                    for r in 0..R {
                        let more = residual[r].add(at);
                        sums[r] =
                            [s.add(sums[r][0], s.load(more)), s.add(sums[r][1], s.load(more.add(S::LANES)))];
                    }
                }
                for r in 0..R {
                    let y = y[r].add(at);
                    s.store(s.min(self.high, s.max(self.low, sums[r][0])), y);
                    s.store(s.min(self.high, s.max(self.low, sums[r][1])), y.add(S::LANES));
                }
            }
        }
        if let Some(f) = self.later {
            // SAFETY: as above; the rows of the tile are written, and nobody reads them yet.
            let row = |r: usize, rows: usize| unsafe { block.y.slice(outputs[r] + from, rows * len) };
            if outputs[R - 1] == outputs[0] + (R - 1) * len {
                activation::in_place(block.isa, f, row(0, R));
            } else {
                (0..R).for_each(|r| activation::in_place(block.isa, f, row(r, 1)));
            }
        }
        end
    }
}
