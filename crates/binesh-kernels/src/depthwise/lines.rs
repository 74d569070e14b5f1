//! Sums over filter taps along rows of positions, channel by channel: the forward pass, and with `dy` in the place of
//! `x` the gradient of the input.

use std::ops::Range;

use smallvec::SmallVec;

use crate::isa::Isa;
use crate::simd::{Kernel, Simd, load_part, store_part};
use crate::threads::GRAIN;
use crate::tile::limits;
use crate::window::Axis;
use crate::{Activation, Cx, Epilogue, activation};

/// Positions computed together: each weight loaded serves them all.
const POSITIONS: usize = 4;

/// Maps of more bytes than these, input and output together, that have few channels are fetched ahead of the sums: 18 to 27
/// GFLOP/s for 128 channels at 147 px, 26 to 30 for 256 at 74 px (one thread). In smaller maps it costs a tenth.
const MANY_BYTES: usize = 10 << 20;

/// Of more channels the processor itself fetches enough: 728 at 37 px lose a tenth.
const FEW_CHANNELS: usize = 256;

/// Output columns `first, first + step, ...` that see the same taps, the input moving along by `input_step` columns.
pub(super) struct Line {
    pub(super) first: usize,
    pub(super) step: usize,
    pub(super) count: usize,
    pub(super) input_step: usize,
    /// Tap, and the input column it sees from `first`.
    pub(super) taps: Taps,
}

/// Pairs for each tap, on the stack for filters as large as any network has.
pub(super) type Taps = SmallVec<[(usize, usize); 64]>;

/// Lines with each other's taps: three where the stride is 1, and as many for each phase of a gradient.
pub(super) type Columns = SmallVec<[Line; 4]>;

impl Line {
    /// Splits the line where the taps that lie inside change. `at(column, tap)` is the input column seen.
    pub(super) fn split(
        &self,
        taps: impl Iterator<Item = usize> + Clone,
        at: impl Fn(usize, usize) -> Option<usize>,
    ) -> Columns {
        let mut lines = Columns::new();
        for i in 0..self.count {
            let first = self.first + i * self.step;
            let taps: Taps = taps.clone().filter_map(|k| Some((k, at(first, k)?))).collect();
            match lines.last_mut() {
                Some(line) if line.taps.iter().map(|t| t.0).eq(taps.iter().map(|t| t.0)) => line.count += 1,
                _ => lines.push(Self { first, count: 1, taps, ..*self }),
            }
        }
        lines
    }
}

/// `y[n, row, column, c] = sum over taps of x[n, row', column', c] * w[tap, c]`.
pub(super) struct Lines<'a> {
    pub(super) x: &'a [f32],
    pub(super) w: &'a [f32],
    pub(super) channels: usize,
    pub(super) x_size: [usize; 2],
    pub(super) y_size: [usize; 2],
    /// Taps in a row of the filter.
    pub(super) kw: usize,
    pub(super) rows: FilterRows,
    /// They cover the output columns, except, where adding, those that see nothing.
    pub(super) columns: Columns,
    /// `None` adds to `y`.
    pub(super) epilogue: Option<&'a Epilogue<'a>>,
}

/// Which rows of the input an output row sees.
pub(super) enum FilterRows {
    Forward(Axis),
    /// Of the gradient: the axis of the forward pass, and its output rows.
    Backward(Axis, usize),
}

impl FilterRows {
    /// The row that output row `o` sees through filter row `k`.
    #[inline(always)]
    fn seen(&self, o: usize, k: usize) -> Option<usize> {
        match self {
            Self::Forward(axis) => axis.position(o, k),
            Self::Backward(axis, outputs) => axis.source(*outputs, o, k),
        }
    }

    fn taps(&self) -> usize {
        match self {
            Self::Forward(axis) | Self::Backward(axis, _) => axis.taps,
        }
    }
}

impl Lines<'_> {
    pub(super) fn run(&self, cx: Cx<'_>, y: &mut [f32]) {
        let row_len = self.y_size[1] * self.channels;
        if y.is_empty() || row_len == 0 {
            return;
        }
        let rows_per_task = (GRAIN / row_len).max(1);
        let bytes = size_of_val(self.x) + size_of_val(y);
        let fetch_ahead = self.channels <= FEW_CHANNELS && bytes > MANY_BYTES;
        cx.threads.run_chunks(y, rows_per_task * row_len, |task, y| {
            let mut taps = Taps::new();
            for (i, y) in y.chunks_exact_mut(row_len).enumerate() {
                self.row(cx.isa, task * rows_per_task + i, y, &mut taps, fetch_ahead);
            }
        });
    }

    fn row(&self, isa: Isa, row: usize, y: &mut [f32], taps: &mut Taps, fetch_ahead: bool) {
        let (channels, row_len) = (self.channels, y.len());
        let (image, oy) = (row / self.y_size[0], row % self.y_size[0]);
        for line in &self.columns {
            taps.clear();
            for ky in 0..self.rows.taps() {
                let Some(iy) = self.rows.seen(oy, ky) else { continue };
                for &(kx, ix) in &line.taps {
                    let at = (image * self.x_size[0] + iy) * self.x_size[1] + ix;
                    taps.push((at * channels, (ky * self.kw + kx) * channels));
                }
            }
            let x_step = line.input_step.saturating_mul(channels);
            let (start, y_step) = (line.first * channels, line.step.saturating_mul(channels));
            let residual = self.epilogue.and_then(|e| e.residual).map(|r| &r[row * row_len + start..]);
            let y = &mut y[start..];
            isa.dispatch(Run {
                x: self.x,
                w: self.w,
                taps,
                count: line.count,
                x_step,
                y_step,
                channels,
                y,
                epilogue: self.epilogue,
                residual,
                fetch_ahead,
            });
        }
        finish(isa, self.epilogue.and_then(|e| e.activation), y);
    }
}

/// What [`Run`] leaves to do: activations that are no rectifiers.
pub(crate) fn finish(isa: Isa, activation: Option<Activation>, y: &mut [f32]) {
    match activation {
        None | Some(Activation::Linear | Activation::Relu { slope: 0.0, threshold: 0.0, .. }) => {}
        Some(f) => activation::in_place(isa, f, y),
    }
}

/// One line of one row.
pub(crate) struct Run<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) w: &'a [f32],
    /// Offsets into `x`, for the first position, and into `w`.
    pub(crate) taps: &'a [(usize, usize)],
    pub(crate) count: usize,
    pub(crate) x_step: usize,
    pub(crate) y_step: usize,
    pub(crate) channels: usize,
    pub(crate) y: &'a mut [f32],
    pub(crate) epilogue: Option<&'a Epilogue<'a>>,
    /// Its part of this line, laid out like `y`.
    pub(crate) residual: Option<&'a [f32]>,
    /// See [`MANY_BYTES`].
    pub(crate) fetch_ahead: bool,
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        assert!(self.count > 0, "empty line");
        let last = (self.count - 1) * self.x_step + self.channels;
        for &(x, w) in self.taps {
            assert!(self.x.len() >= last && x <= self.x.len() - last, "tap outside the input");
            assert!(
                self.w.len() >= self.channels && w <= self.w.len() - self.channels,
                "tap outside the kernel"
            );
        }
        let end = (self.count - 1) * self.y_step + self.channels;
        assert!(
            self.y.len() >= end && self.residual.is_none_or(|r| r.len() >= end),
            "line outside the output"
        );
        assert!(self.epilogue.and_then(|e| e.bias).is_none_or(|b| b.len() == self.channels), "bias length");
        match (self.epilogue, self.residual) {
            (None, _) => self.line(s, &Add),
            (Some(epilogue), None) => {
                let (low, high, _) = limits(s, epilogue.activation);
                self.line(s, &Replace { bias: epilogue.bias, low, high });
            }
            (Some(_), Some(_)) => self.line(s, &Whatever),
        }
    }
}

/// How whole vectors are finished. A type for each way, so that a line's loops hold nothing of the others.
trait Finish<V> {
    /// The vectors `c..` of `P` positions from `first` on.
    ///
    /// # Safety
    /// `first + P <= count` and `c + V * LANES <= channels`; the lengths were checked by `run`.
    unsafe fn finish<S: Simd<V = V>, const P: usize, const N: usize>(
        &self,
        s: S,
        run: &mut Run<'_>,
        first: usize,
        c: usize,
        sums: [[V; N]; P],
    );
}

/// Added to what is there.
struct Add;

/// Bias and limits, by far the most frequent.
struct Replace<'a, V> {
    bias: Option<&'a [f32]>,
    low: V,
    high: V,
}

/// Everything an epilogue may have.
struct Whatever;

impl<V: Copy> Finish<V> for Add {
    #[inline(always)]
    unsafe fn finish<S: Simd<V = V>, const P: usize, const N: usize>(
        &self,
        s: S,
        run: &mut Run<'_>,
        first: usize,
        c: usize,
        sums: [[V; N]; P],
    ) {
        for (p, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    let y = run.y.as_mut_ptr().add((first + p) * run.y_step + c + v * S::LANES);
                    s.store(s.add(s.load(y), sum), y);
                }
            }
        }
    }
}

impl<V: Copy> Finish<V> for Replace<'_, V> {
    #[inline(always)]
    unsafe fn finish<S: Simd<V = V>, const P: usize, const N: usize>(
        &self,
        s: S,
        run: &mut Run<'_>,
        first: usize,
        c: usize,
        sums: [[V; N]; P],
    ) {
        let mut bias = [s.splat(0.0); N];
        if let Some(all) = self.bias {
            for (v, bias) in bias.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *bias = unsafe { s.load(all.as_ptr().add(c + v * S::LANES)) };
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            for (v, (sum, bias)) in sums.into_iter().zip(bias).enumerate() {
                let sum = s.min(self.high, s.max(self.low, s.add(sum, bias)));
                // SAFETY: the caller's promise.
                unsafe { s.store(sum, run.y.as_mut_ptr().add((first + p) * run.y_step + c + v * S::LANES)) };
            }
        }
    }
}

impl<V: Copy> Finish<V> for Whatever {
    #[inline(always)]
    unsafe fn finish<S: Simd<V = V>, const P: usize, const N: usize>(
        &self,
        s: S,
        run: &mut Run<'_>,
        first: usize,
        c: usize,
        sums: [[V; N]; P],
    ) {
        for (p, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let c = c + v * S::LANES;
                run.finish(s, first + p, c..c + S::LANES, sum);
            }
        }
    }
}

/// Taps of a filter row between whose positions values are shared. Five would need more registers than there are.
const NEIGHBOURS: usize = 3;

/// Where the next tap of a filter row lies: a position further, as in a forward pass of stride 1, or a position back.
enum Neighbours {
    After,
    Before,
}

/// How whole vectors are summed. Both ways add a position's taps in the same order.
trait Sums {
    /// The sums over all taps of the vectors `c..` of `P` positions from `first` on.
    ///
    /// # Safety
    /// `first + P <= count` and `c + V * LANES <= channels`; the taps were checked by `run`.
    unsafe fn sums<S: Simd, const P: usize, const V: usize>(
        run: &Run<'_>,
        s: S,
        first: usize,
        c: usize,
    ) -> [[S::V; V]; P];
}

/// Tap by tap.
struct Apart;

/// Filter row by filter row, where a row's taps are [`Neighbours`]: each value is read once for all taps that see it, which
/// are half of the loads.
struct Along<const BACK: bool>;

impl Sums for Apart {
    #[inline(always)]
    unsafe fn sums<S: Simd, const P: usize, const V: usize>(
        run: &Run<'_>,
        s: S,
        first: usize,
        c: usize,
    ) -> [[S::V; V]; P] {
        let mut sums = [[s.splat(0.0); V]; P];
        for &(x, w) in run.taps {
            // SAFETY: position p < count of a tap begins at x + p * x_step and holds `channels` values.
            unsafe {
                let mut weights = [s.splat(0.0); V];
                for (v, weight) in weights.iter_mut().enumerate() {
                    *weight = s.load(run.w.as_ptr().add(w + c + v * S::LANES));
                }
                let x = run.x.as_ptr().add(x + first * run.x_step + c);
                for (p, sums) in sums.iter_mut().enumerate() {
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = s.mul_add(s.load(x.add(p * run.x_step + v * S::LANES)), weights[v], *sum);
                    }
                }
            }
        }
        sums
    }
}

impl<const BACK: bool> Sums for Along<BACK> {
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Constant indices keep the sums in registers.
    unsafe fn sums<S: Simd, const P: usize, const V: usize>(
        run: &Run<'_>,
        s: S,
        first: usize,
        c: usize,
    ) -> [[S::V; V]; P] {
        let mut sums = [[s.splat(0.0); V]; P];
        for row in run.taps.as_chunks::<NEIGHBOURS>().0 {
            let lowest = if BACK { row[NEIGHBOURS - 1].0 } else { row[0].0 };
            // SAFETY: as in `Apart`; the values of `P` positions at all taps of a row are `P + NEIGHBOURS - 1` in a line.
            unsafe {
                let mut weights = [[s.splat(0.0); V]; NEIGHBOURS];
                for k in 0..NEIGHBOURS {
                    for v in 0..V {
                        weights[k][v] = s.load(run.w.as_ptr().add(row[k].1 + c + v * S::LANES));
                    }
                }
                let x = run.x.as_ptr().add(lowest + first * run.x_step + c);
                for i in 0..P + NEIGHBOURS - 1 {
                    let at = if BACK { P + NEIGHBOURS - 2 - i } else { i };
                    for v in 0..V {
                        let x = s.load(x.add(at * run.x_step + v * S::LANES));
                        for k in 0..NEIGHBOURS {
                            let p =
                                if BACK { (at + k).wrapping_sub(NEIGHBOURS - 1) } else { at.wrapping_sub(k) };
                            if p < P {
                                sums[p][v] = s.mul_add(x, weights[k][v], sums[p][v]);
                            }
                        }
                    }
                }
            }
        }
        sums
    }
}

impl Run<'_> {
    #[inline(always)]
    fn line<S: Simd, F: Finish<S::V>>(&mut self, s: S, finish: &F) {
        match self.neighbours() {
            Some(Neighbours::After) => self.line_by::<S, F, Along<false>>(s, finish),
            Some(Neighbours::Before) => self.line_by::<S, F, Along<true>>(s, finish),
            None => self.line_by::<S, F, Apart>(s, finish),
        }
    }

    #[inline(always)]
    fn line_by<S: Simd, F: Finish<S::V>, T: Sums>(&mut self, s: S, finish: &F) {
        let whole = self.count / POSITIONS * POSITIONS;
        for first in (0..whole).step_by(POSITIONS) {
            self.positions::<S, F, T, POSITIONS, 2>(s, finish, first);
        }
        for first in whole..self.count {
            self.positions::<S, F, Apart, 1, 4>(s, finish, first);
        }
    }

    /// Whether each filter row has [`NEIGHBOURS`] taps a position apart, and where the second lies.
    #[inline(always)]
    fn neighbours(&self) -> Option<Neighbours> {
        let (rows, rest) = self.taps.as_chunks::<NEIGHBOURS>();
        let all = |next: fn(usize, usize) -> usize| {
            rows.iter().all(|row| row.windows(2).all(|taps| taps[1].0 == next(taps[0].0, self.x_step)))
        };
        match rest {
            [] if all(usize::wrapping_add) => Some(Neighbours::After),
            [] if all(usize::wrapping_sub) => Some(Neighbours::Before),
            _ => None,
        }
    }

    /// `P` positions from `first` on, over all channels, `V` vectors at a time: enough sums that none waits for its
    /// own last addition.
    #[inline(always)]
    fn positions<S: Simd, F: Finish<S::V>, T: Sums, const P: usize, const V: usize>(
        &mut self,
        s: S,
        finish: &F,
        first: usize,
    ) {
        let whole = self.channels / (V * S::LANES) * (V * S::LANES);
        for c in (0..whole).step_by(V * S::LANES) {
            // SAFETY: first + P <= count and c + V * LANES <= channels.
            unsafe {
                if P > 1 && self.fetch_ahead {
                    self.fetch(s, first + P..first + 2 * P, c);
                }
                let sums = T::sums::<S, P, V>(self, s, first, c);
                finish.finish(s, self, first, c, sums);
            }
        }
        for c in (whole..self.channels).step_by(S::LANES) {
            let end = (c + S::LANES).min(self.channels);
            if end - c == S::LANES {
                // SAFETY: first + P <= count and c + LANES <= channels.
                unsafe {
                    let sums = T::sums::<S, P, 1>(self, s, first, c);
                    finish.finish(s, self, first, c, sums);
                }
            } else {
                for p in first..first + P {
                    let mut sum = s.splat(0.0);
                    for &(x, w) in self.taps {
                        let x = load_part(s, &self.x[x + p * self.x_step + c..][..end - c]);
                        sum = s.mul_add(x, load_part(s, &self.w[w + c..][..end - c]), sum);
                    }
                    self.finish(s, p, c..end, sum);
                }
            }
        }
    }

    /// Fetches what the last tap of some later positions sees, which no earlier row has seen, and where they are stored.
    #[inline(always)]
    fn fetch<S: Simd>(&self, s: S, positions: Range<usize>, c: usize) {
        let Some(&(x, _)) = self.taps.last() else { return };
        for p in positions {
            s.prefetch(self.x.as_ptr().wrapping_add(x + p * self.x_step + c));
            s.prefetch(self.y.as_ptr().wrapping_add(p * self.y_step + c));
        }
    }

    /// Stores one vector, or part of one, of position `p`.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, s: S, p: usize, channels: Range<usize>, sum: S::V) {
        let at = p * self.y_step + channels.start;
        let y = &mut self.y[at..at + channels.len()];
        let Some(epilogue) = self.epilogue else {
            let sum = s.add(load_part(s, y), sum);
            return store_part(s, sum, y);
        };
        let mut sum = sum;
        if let Some(bias) = epilogue.bias {
            sum = s.add(sum, load_part(s, &bias[channels.clone()]));
        }
        if let Some(residual) = self.residual {
            sum = s.add(sum, load_part(s, &residual[at..at + channels.len()]));
        }
        if let Some(Activation::Relu { max, slope: 0.0, threshold: 0.0 }) = epilogue.activation {
            sum = s.min(s.splat(max), s.max(s.splat(0.0), sum));
        }
        store_part(s, sum, y);
    }
}
