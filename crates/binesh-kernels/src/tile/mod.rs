//! The register tile under convolution and dense layers: 6 rows by 16 output channels. And [`Rows`], the loops around it.
//!
//! Rows of the left operand are read where they lie, through a table of row pointers per filter tap; a pointer into
//! the padding goes to a buffer of zeros, so the inner loop knows neither padding nor stride. Weights are packed
//! once in panels of 16 output channels.
//!
//! Every output is summed in the order tap, input channel, whatever the tile it falls in: one picture gives the same
//! bits alone as within a batch.

mod panels;
mod strip;

use std::ops::Range;

pub(crate) use panels::{Panels, Transpose};

use crate::isa::Isa;
use crate::scratch::{self, Scratch, lines, with_scratch};
use crate::simd::{Kernel, Simd};
use crate::threads::SharedMut;
use crate::{Activation, Cx, Epilogue, Write, activation};

/// Output channels of a panel: two vectors.
pub(crate) const PANEL: usize = 16;

/// Rows of a tile. 6 rows of two vectors are 12 accumulators; with two vectors of weights and one broadcast value
/// that is 15 of the 16 registers.
pub(crate) const ROWS: usize = 6;

/// Most rows of a block, the unit of work. All weights are read once for each block, mostly from memory: at 96 rows a
/// layer of 100 rows read them twice, and 1536 to 2048 channels ran at 154 GFLOP/s instead of 172 (two threads).
const BLOCK_ROWS: usize = 34 * ROWS;

/// Row pointers of a block, which share the first-level cache with what they lead to.
const BLOCK_POINTERS: usize = 2048;

/// Bytes of weights that stay in the second-level cache while all rows of a block pass over them.
const CACHED_WEIGHTS: usize = 280 * 1024;

/// How far ahead of the sums weights are fetched, in steps of [`PANEL`] values, a cache line each. The processor fetches
/// ahead itself, but not into the next page. 64 instead of 24 gains less; none
/// loses 3 to 8 % where weights are cold. A single row reads too fast for it: it loses 14 % with it.
const AHEAD: usize = 24;

/// Multiply-adds worth handing to another thread, which costs about ten microseconds.
pub(crate) const PARALLEL_MACS: usize = 1 << 20;

/// Where an offset would lie in the padding.
pub(crate) const PADDING: usize = usize::MAX;

/// Whether the result replaces what is in `y`, through an epilogue, or is added to it.
#[derive(Clone, Copy)]
pub(crate) enum Store<'a> {
    Replace(Epilogue<'a>),
    Add,
}

impl From<Write> for Store<'_> {
    fn from(write: Write) -> Self {
        match write {
            Write::Add => Store::Add,
            Write::Replace => Store::Replace(Epilogue::default()),
        }
    }
}

/// The rows of a product: places in maps, counted through columns, then rows, then images.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

/// (image, row, column)
pub(crate) type Place = [usize; 3];

impl Places {
    /// `m` rows that have no further structure.
    pub(crate) fn flat(m: usize) -> Self {
        Self { images: 1, height: 1, width: m }
    }

    pub(crate) fn count(&self) -> usize {
        self.images * self.height * self.width
    }

    /// The places with numbers `range`, in order: the first of each stretch within some `columns` of a row, with its
    /// length, the others one by one.
    #[inline(always)]
    fn stretches(&self, range: Range<usize>, columns: &Range<usize>, mut f: impl FnMut(usize, Place, usize)) {
        if range.is_empty() {
            return;
        }
        let m = range.start;
        let [mut n, mut y, mut x] =
            [m / self.width / self.height, m / self.width % self.height, m % self.width];
        let mut i = 0;
        while i < range.len() {
            let count = if columns.contains(&x) { (columns.end - x).min(range.len() - i) } else { 1 };
            f(i, [n, y, x], count);
            (i, x) = (i + count, x + count);
            if x == self.width {
                (x, y) = (0, y + 1);
                if y == self.height {
                    (y, n) = (0, n + 1);
                }
            }
        }
    }

    /// The places with numbers `range`, in order. Divides once, where a division for each would cost more than the
    /// products of a thin layer.
    #[inline(always)]
    pub(crate) fn each(&self, range: Range<usize>, mut f: impl FnMut(usize, Place)) {
        if range.is_empty() {
            return;
        }
        let m = range.start;
        let [mut n, mut y, mut x] =
            [m / self.width / self.height, m / self.width % self.height, m % self.width];
        for i in 0..range.len() {
            f(i, [n, y, x]);
            x += 1;
            if x == self.width {
                (x, y) = (0, y + 1);
                if y == self.height {
                    (y, n) = (0, n + 1);
                }
            }
        }
    }
}

/// Columns of a row of places in which the next place is a step further, in `x` at every tap and in `y`.
#[derive(Clone)]
pub(crate) struct Steps {
    pub(crate) columns: Range<usize>,
    pub(crate) x: usize,
    pub(crate) y: usize,
}

impl Steps {
    /// Rows of `x` and `y` one after the other, of these lengths, for [`Places::flat`].
    pub(crate) fn flat(m: usize, x: usize, y: usize) -> Self {
        Self { columns: 0..m, x, y }
    }
}

/// `y[out(m) + c] = sum over taps t and depth k of x[in(m, t) + k] * panel[t, k, c]` for every place `m`.
///
/// `locate(place, group, taps)` writes the offset into `x` of a place at each tap, or [`PADDING`], and returns its
/// offset in `y`; offsets of different (place, group) must be at least `width` apart. It is asked once for each stretch of
/// places that lie a step apart.
pub(crate) struct Rows<'a, L> {
    pub(crate) places: Places,
    pub(crate) steps: Steps,
    pub(crate) x: &'a [f32],
    pub(crate) panels: &'a Panels,
    pub(crate) locate: L,
    pub(crate) store: Store<'a>,
}

impl<L: Fn(Place, usize, &mut [usize]) -> usize + Sync> Rows<'_, L> {
    /// # Safety
    /// `locate` gives output offsets whose ranges of `width` values do not overlap.
    pub(crate) unsafe fn run(&self, cx: Cx<'_>, y: &mut [f32]) {
        let Self { places, panels, .. } = *self;
        let m = places.count();
        if m == 0 || y.is_empty() {
            return;
        }
        let macs = m * panels.groups * panels.width * panels.taps * panels.depth;
        let threads = if macs >= PARALLEL_MACS { cx.threads.count() } else { 1 };
        let parallel = threads > 1;
        let Split { block_rows, per_split } = Split::of(m, panels, threads);
        let blocks = m.div_ceil(block_rows);
        let per_group = panels.per_group();
        let splits = per_group.div_ceil(per_split);
        let y = SharedMut::new(y);
        let tasks = splits * blocks * panels.groups;
        let entries = block_rows * panels.taps;
        let need = lines::<*const f32>(entries) + lines::<usize>(block_rows) + lines::<usize>(panels.taps);
        with_scratch(panels.depth, |zeros| {
            zeros.fill(0.0);
            let zeros = &*zeros;
            scratch::run(parallel.then_some(cx.threads), tasks, need, |i, scratch| {
                let (split, block, group) = (i % splits, i / splits % blocks, i / splits / blocks);
                let rows = block * block_rows..((block + 1) * block_rows).min(m);
                let panels = split * per_split..((split + 1) * per_split).min(per_group);
                self.block(cx.isa, zeros, scratch, group, rows, panels, y);
            });
        });
    }

    #[expect(clippy::too_many_arguments, reason = "what a task is, and what it works with")]
    fn block(
        &self,
        isa: Isa,
        zeros: &[f32],
        mut scratch: Scratch<'_>,
        group: usize,
        rows: Range<usize>,
        panels: Range<usize>,
        y: SharedMut,
    ) {
        let Panels { taps, depth, .. } = *self.panels;
        let tiles = rows.len().div_ceil(ROWS);
        let table = scratch.take::<*const f32>(tiles * taps * ROWS);
        let outputs = scratch.take::<usize>(rows.len());
        let offsets = scratch.take::<usize>(taps);
        table.fill(zeros.as_ptr());
        self.places.stretches(rows, &self.steps.columns, |i, place, count| {
            let output = (self.locate)(place, group, offsets);
            for (j, to) in outputs[i..i + count].iter_mut().enumerate() {
                *to = output + j * self.steps.y;
            }
            for (tap, &offset) in offsets.iter().enumerate() {
                if offset == PADDING {
                    continue;
                }
                let mut from = self.x[offset..][..(count - 1) * self.steps.x + depth].as_ptr();
                let (mut at, mut row) = ((i / ROWS * taps + tap) * ROWS, i % ROWS);
                for _ in 0..count {
                    table[at + row] = from;
                    from = from.wrapping_add(self.steps.x);
                    row += 1;
                    if row == ROWS {
                        (at, row) = (at + taps * ROWS, 0);
                    }
                }
            }
        });
        let all = self.panels;
        isa.dispatch(Block { isa, table, outputs, all, group, panels, store: self.store, y });
    }
}

/// How the work is cut into tasks: rows of a block, and panels of a task.
struct Split {
    block_rows: usize,
    per_split: usize,
}

impl Split {
    /// The cut by which `threads` are expected to finish first. A task takes a step for each tile of each of its panels, one
    /// for fetching each panel and one for fetching each tile; for a quarter of the last task the others wait.
    fn of(m: usize, panels: &Panels, threads: usize) -> Self {
        let (tiles, per_group) = (m.div_ceil(ROWS), panels.per_group());
        let most = (BLOCK_POINTERS / panels.taps / ROWS).clamp(16, BLOCK_ROWS / ROWS);
        let fewest = tiles.div_ceil(most);
        if threads == 1 {
            return Self { block_rows: tiles.div_ceil(fewest) * ROWS, per_split: per_group };
        }
        let mut best = (usize::MAX, Self { block_rows: ROWS, per_split: 1 });
        for blocks in fewest..(fewest + 8).min(tiles + 1) {
            let block_tiles = tiles.div_ceil(blocks);
            for splits in 1..=per_group.min(threads * 4) {
                let per_split = per_group.div_ceil(splits);
                let tasks = tiles.div_ceil(block_tiles) * per_group.div_ceil(per_split) * panels.groups;
                let steps = per_split * (block_tiles + 1) + block_tiles;
                let cost = (tasks.div_ceil(threads) * 4 + 1) * steps;
                if cost < best.0 {
                    best = (cost, Self { block_rows: block_tiles * ROWS, per_split });
                }
            }
        }
        best.1
    }
}

/// Some rows times some panels. Not generic over how the rows were found, so that it is compiled once per set.
pub(crate) struct Block<'a> {
    pub(crate) isa: Isa,
    /// `[tiles][taps][ROWS]`: each leads to `depth` values of `x` or of zeros.
    pub(crate) table: &'a [*const f32],
    /// Where each row begins in `y`.
    pub(crate) outputs: &'a [usize],
    pub(crate) all: &'a Panels,
    pub(crate) group: usize,
    pub(crate) panels: Range<usize>,
    pub(crate) store: Store<'a>,
    pub(crate) y: SharedMut,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let tiles = self.outputs.len().div_ceil(ROWS);
        // SAFETY: the table points at `depth` values of `x` or of zeros for every tap and row; output ranges do not
        // overlap (promised to `Rows::run`), and each is written by one task.
        unsafe {
            let plain = strip::Plain::of(s, &self);
            let cached = (CACHED_WEIGHTS / size_of_val(self.all.panel(self.group, 0)).max(1)).max(1);
            // Turns of equal size rather than full ones and a rest.
            let count = self.panels.len();
            let turn = count.div_ceil(count.div_ceil(cached).max(1)).max(1);
            for first in self.panels.clone().step_by(turn) {
                let panels = first..self.panels.end.min(first + turn);
                for tile in 0..tiles {
                    let done = match &plain {
                        Some(plain) => plain.run(s, &self, tile, panels.clone()),
                        None => panels.start,
                    };
                    for panel in done..panels.end {
                        self.tile(panel, tile).run(s);
                    }
                }
            }
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn tile(&self, panel: usize, tile: usize) -> Tile<'_> {
        let Self { all, outputs, .. } = *self;
        Tile {
            isa: self.isa,
            rows: &self.table[tile * all.taps * ROWS..][..all.taps * ROWS],
            depth: all.depth,
            panel: all.panel(self.group, panel),
            outputs: &outputs[tile * ROWS..outputs.len().min((tile + 1) * ROWS)],
            next: &outputs[outputs.len().min((tile + 1) * ROWS)..outputs.len().min((tile + 2) * ROWS)],
            first: panel * PANEL,
            channel: self.group * all.width + panel * PANEL,
            width: (all.width - panel * PANEL).min(PANEL),
            store: self.store,
            y: self.y,
        }
    }
}

/// Up to [`ROWS`] rows of one panel.
struct Tile<'a> {
    isa: Isa,
    /// `[taps][ROWS]`
    rows: &'a [*const f32],
    depth: usize,
    panel: &'a [f32],
    /// Where each row begins in `y`, before `first` is added.
    outputs: &'a [usize],
    /// The same for the tile after this one, whose output is fetched while this one is computed.
    next: &'a [usize],
    /// First output channel within the group, and overall.
    first: usize,
    channel: usize,
    /// Output channels, at most [`PANEL`].
    width: usize,
    store: Store<'a>,
    y: SharedMut,
}

impl Tile<'_> {
    /// # Safety
    /// Each pointer of `rows` leads to `depth` values, and nobody else uses the output ranges meanwhile.
    #[inline(always)]
    unsafe fn run<S: Simd>(&self, s: S) {
        // SAFETY: passed on.
        unsafe {
            match self.outputs.len() {
                6 => self.rows::<S, 6>(s),
                5 => self.rows::<S, 5>(s),
                4 => self.rows::<S, 4>(s),
                3 => self.rows::<S, 3>(s),
                2 => self.rows::<S, 2>(s),
                _ => self.rows::<S, 1>(s),
            }
        }
    }

    /// # Safety
    /// As [`Tile::run`], and there are `R` outputs.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Constant indices: see below.
    unsafe fn rows<S: Simd, const R: usize>(&self, s: S) {
        if self.width == PANEL {
            for &output in self.next {
                s.prefetch(self.y.at(output + self.first));
            }
        }
        if self.width == PANEL / 2
            && let Store::Replace(epilogue) = &self.store
        {
            // SAFETY: passed on.
            return unsafe { self.rows_of_half_panel::<S, R>(s, epilogue) };
        }
        // SAFETY: passed on; the panel holds `PANEL` weights for every tap and depth.
        let sums = unsafe { accumulate::<S, R, 2>(s, self.rows, self.depth, self.panel) };
        // `sums` is only ever indexed by constants: an array that is indexed by a variable anywhere is kept out of
        // registers everywhere.
        if let Store::Replace(epilogue @ Epilogue { residual: None, .. }) = &self.store
            && self.width == PANEL
            && let (bias, low, high, None) = self.finish(s, epilogue)
        {
            for r in 0..R {
                // SAFETY: rows of different outputs do not overlap, and this task owns them.
                let y = unsafe { self.y.slice(self.outputs[r] + self.first, PANEL) };
                s.store_slice(s.min(high, s.max(low, s.add(sums[r][0], bias[0]))), y);
                s.store_slice(s.min(high, s.max(low, s.add(sums[r][1], bias[1]))), &mut y[8..]);
            }
            return;
        }
        let mut stored = [[0.0; PANEL]; R];
        for r in 0..R {
            s.store_slice(sums[r][0], &mut stored[r]);
            s.store_slice(sums[r][1], &mut stored[r][8..]);
        }
        match &self.store {
            Store::Replace(epilogue) if self.width == PANEL => {
                self.rows_of_whole_panel(s, epilogue, &mut stored)
            }
            Store::Add if self.width == PANEL => self.add_rows_of_whole_panel(s, &stored),
            _ => self.rows_of_partial_panel(&stored),
        }
    }

    /// Half of the products: a last panel is often of eight channels.
    ///
    /// # Safety
    /// As [`Tile::rows`].
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Constant indices, as in `Tile::rows`.
    unsafe fn rows_of_half_panel<S: Simd, const R: usize>(&self, s: S, epilogue: &Epilogue<'_>) {
        // SAFETY: passed on.
        let sums = unsafe { accumulate::<S, R, 1>(s, self.rows, self.depth, self.panel) };
        let (low, high, later) = limits(s, epilogue.activation);
        let bias =
            epilogue.bias.map_or(s.splat(0.0), |bias| s.load_slice(&bias[self.channel..][..PANEL / 2]));
        let mut stored = [[0.0; PANEL / 2]; R];
        for r in 0..R {
            let mut sum = s.add(sums[r][0], bias);
            if let Some(residual) = epilogue.residual {
                let residual = &residual[self.outputs[r] + self.first..][..PANEL / 2];
                sum = s.add(sum, s.load_slice(residual));
            }
            s.store_slice(s.min(high, s.max(low, sum)), &mut stored[r]);
        }
        if let Some(f) = later {
            activation::in_place(self.isa, f, stored.as_flattened_mut());
        }
        for r in 0..R {
            // SAFETY: rows of different outputs do not overlap, and this task owns them.
            let y = unsafe { self.y.slice(self.outputs[r] + self.first, PANEL / 2) };
            s.store_slice(s.load_slice(&stored[r]), y);
        }
    }

    /// Bias, and the [`limits`] of the activation.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, epilogue: &Epilogue<'_>) -> ([S::V; 2], S::V, S::V, Option<Activation>) {
        let bias = match epilogue.bias {
            Some(bias) => {
                let bias = &bias[self.channel..][..PANEL];
                [s.load_slice(bias), s.load_slice(&bias[8..])]
            }
            None => [s.splat(0.0); 2],
        };
        let (low, high, later) = limits(s, epilogue.activation);
        (bias, low, high, later)
    }

    #[inline(always)]
    fn rows_of_whole_panel<S: Simd>(&self, s: S, epilogue: &Epilogue<'_>, sums: &mut [[f32; PANEL]]) {
        let (bias, low, high, later) = self.finish(s, epilogue);
        for (row, &output) in sums.iter_mut().zip(self.outputs) {
            let mut sum = [s.add(s.load_slice(row), bias[0]), s.add(s.load_slice(&row[8..]), bias[1])];
            if let Some(residual) = epilogue.residual {
                let residual = &residual[output + self.first..][..PANEL];
                sum = [s.add(sum[0], s.load_slice(residual)), s.add(sum[1], s.load_slice(&residual[8..]))];
            }
            s.store_slice(s.min(high, s.max(low, sum[0])), row);
            s.store_slice(s.min(high, s.max(low, sum[1])), &mut row[8..]);
        }
        if let Some(f) = later {
            // All rows in one call, which costs as much as the function of a row.
            activation::in_place(self.isa, f, sums.as_flattened_mut());
        }
        for (row, &output) in sums.iter().zip(self.outputs) {
            // SAFETY: rows of different outputs do not overlap, and this task owns them.
            let y = unsafe { self.y.slice(output + self.first, PANEL) };
            s.store_slice(s.load_slice(row), y);
            s.store_slice(s.load_slice(&row[8..]), &mut y[8..]);
        }
    }

    #[inline(always)]
    fn add_rows_of_whole_panel<S: Simd>(&self, s: S, sums: &[[f32; PANEL]]) {
        for (row, &output) in sums.iter().zip(self.outputs) {
            // SAFETY: rows of different outputs do not overlap, and this task owns them.
            let y = unsafe { self.y.slice(output + self.first, PANEL) };
            s.store_slice(s.add(s.load_slice(y), s.load_slice(row)), y);
            s.store_slice(s.add(s.load_slice(&y[8..]), s.load_slice(&row[8..])), &mut y[8..]);
        }
    }

    /// Apart from the rest, so that the code of whole panels stays small.
    #[inline(never)]
    fn rows_of_partial_panel(&self, sums: &[[f32; PANEL]]) {
        for (&(mut all), &output) in sums.iter().zip(self.outputs) {
            // SAFETY: rows of different outputs do not overlap, and this task owns them.
            let y = unsafe { self.y.slice(output + self.first, self.width) };
            match &self.store {
                Store::Add => y.iter_mut().zip(&all).for_each(|(y, sum)| *y += sum),
                Store::Replace(epilogue) => {
                    if let Some(bias) = epilogue.bias {
                        all.iter_mut().zip(&bias[self.channel..][..self.width]).for_each(|(y, b)| *y += b);
                    }
                    if let Some(residual) = epilogue.residual {
                        let residual = &residual[output + self.first..][..self.width];
                        all.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
                    }
                    if let Some(f) = epilogue.activation {
                        activation::in_place(self.isa, f, &mut all);
                    }
                    y.copy_from_slice(&all[..self.width]);
                }
            }
        }
    }
}

/// Smallest and largest value, and the function that is left to be called. A rectifier is a pair of limits; limits that
/// nothing exceeds are cheaper than a choice.
#[inline(always)]
pub(crate) fn limits<S: Simd>(s: S, activation: Option<Activation>) -> (S::V, S::V, Option<Activation>) {
    let (lowest, highest) = (s.splat(f32::NEG_INFINITY), s.splat(f32::INFINITY));
    match activation {
        Some(Activation::Relu { max, slope: 0.0, threshold: 0.0 }) => (s.splat(0.0), s.splat(max), None),
        None | Some(Activation::Linear) => (lowest, highest, None),
        other => (lowest, highest, other),
    }
}

/// `to[r * stride..][..PANEL] = ` the product of row `r` with a panel, for the first `count` rows, 1 to [`ROWS`].
///
/// # Safety
/// The first `count` of `rows` lead to `panel.len() / PANEL` values.
#[inline(always)]
pub(crate) unsafe fn products<S: Simd>(
    s: S,
    rows: &[*const f32; ROWS],
    count: usize,
    panel: &[f32],
    to: &mut [f32],
    stride: usize,
) {
    // SAFETY: passed on.
    unsafe {
        match count {
            6 => store_products::<S, 6>(s, rows, panel, to, stride),
            5 => store_products::<S, 5>(s, rows, panel, to, stride),
            4 => store_products::<S, 4>(s, rows, panel, to, stride),
            3 => store_products::<S, 3>(s, rows, panel, to, stride),
            2 => store_products::<S, 2>(s, rows, panel, to, stride),
            _ => store_products::<S, 1>(s, rows, panel, to, stride),
        }
    }
}

/// # Safety
/// As [`products`], with `R` rows.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Constant indices, as in `Tile::rows`.
unsafe fn store_products<S: Simd, const R: usize>(
    s: S,
    rows: &[*const f32; ROWS],
    panel: &[f32],
    to: &mut [f32],
    stride: usize,
) {
    // SAFETY: passed on.
    let sums = unsafe { accumulate::<S, R, 2>(s, rows, panel.len() / PANEL, panel) };
    for r in 0..R {
        let to = &mut to[r * stride..][..PANEL];
        s.store_slice(sums[r][0], to);
        s.store_slice(sums[r][1], &mut to[8..]);
    }
}

/// The product of `R` rows with a panel, or with the first `V` vectors of it.
///
/// # Safety
/// For every tap, the first `R` of `ROWS` pointers lead to `depth` values.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Constant indices, as in `Tile::rows`.
unsafe fn accumulate<S: Simd, const R: usize, const V: usize>(
    s: S,
    rows: &[*const f32],
    depth: usize,
    panel: &[f32],
) -> [[S::V; V]; R] {
    const { assert!(2 * S::LANES == PANEL && V <= 2) }
    assert_eq!(panel.len(), rows.len() / ROWS * depth * PANEL);
    let mut sums = [[s.splat(0.0); V]; R];
    let mut b = panel.as_ptr();
    for rows in rows.chunks_exact(ROWS) {
        let mut a = [rows[0]; R];
        a.copy_from_slice(&rows[..R]);
        for k in 0..depth {
            // SAFETY: k < depth; the panel has PANEL values for each of `taps * depth` steps, asserted above.
            unsafe {
                let mut weights = [s.splat(0.0); V];
                for v in 0..V {
                    weights[v] = s.load(b.add(v * S::LANES));
                }
                if R > 1 {
                    s.prefetch(b.wrapping_add(AHEAD * PANEL));
                }
                b = b.add(PANEL);
                for r in 0..R {
                    let a = s.splat(*a[r].add(k));
                    for v in 0..V {
                        sums[r][v] = s.mul_add(a, weights[v], sums[r][v]);
                    }
                }
            }
        }
    }
    sums
}
