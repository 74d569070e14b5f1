//! NumPy broadcasting for functions of two variables.

use std::ops::Range;

use crate::reduce::sum_lanes;
use crate::threads::GRAIN;
use crate::{Cx, PerAxis};

/// The loops of a broadcast: neighbouring axes that both operands walk alike are merged, so equal shapes become
/// one axis, and `[N, H, W, C]` with `[C]` becomes `[N*H*W, C]`.
#[derive(Debug)]
pub(crate) struct Loops {
    dims: PerAxis<usize>,
    /// Steps of each operand along each axis, in values; 0 where it is repeated.
    steps: [PerAxis<usize>; 2],
}

impl Loops {
    /// Panics unless `y` is what `a` and `b` broadcast to.
    pub(crate) fn new(a: &[usize], b: &[usize], y: &[usize]) -> Self {
        let rank = y.len();
        assert!(a.len() <= rank && b.len() <= rank, "operand of higher rank than the result");
        let [mut next_a, mut next_b] = [1, 1];
        // Innermost first; turned around at the end.
        let mut axes: PerAxis<(usize, usize, usize)> = PerAxis::new();
        for i in 0..rank {
            let dim = y[rank - 1 - i];
            let step = |shape: &[usize], next: &mut usize| {
                let own = if i < shape.len() { shape[shape.len() - 1 - i] } else { 1 };
                let step = if own == 1 { 0 } else { *next };
                *next *= own;
                assert!(own == dim || own == 1, "shapes do not broadcast");
                (own, step)
            };
            let ((own_a, step_a), (own_b, step_b)) = (step(a, &mut next_a), step(b, &mut next_b));
            assert!(own_a == dim || own_b == dim, "result larger than both operands");
            if dim == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((d, sa, sb)) if step_a == *sa * *d && step_b == *sb * *d => *d *= dim,
                _ => axes.push((dim, step_a, step_b)),
            }
        }
        if axes.is_empty() {
            axes.push((1, 0, 0));
        }
        axes.reverse();
        let dims = axes.iter().map(|axis| axis.0).collect();
        Self {
            dims,
            steps: [axes.iter().map(|axis| axis.1).collect(), axes.iter().map(|axis| axis.2).collect()],
        }
    }

    /// Length of the innermost axis.
    fn inner(&self) -> usize {
        self.dims[self.dims.len() - 1]
    }

    fn inner_steps(&self) -> [usize; 2] {
        [self.steps[0][self.dims.len() - 1], self.steps[1][self.dims.len() - 1]]
    }

    /// Offsets of both operands at the start of row `row` (all axes but the innermost, row-major).
    fn offsets(&self, mut row: usize) -> [usize; 2] {
        let mut offsets = [0, 0];
        for axis in (0..self.dims.len() - 1).rev() {
            let i = row % self.dims[axis];
            row /= self.dims[axis];
            offsets[0] += i * self.steps[0][axis];
            offsets[1] += i * self.steps[1][axis];
        }
        offsets
    }

    /// `y = f(a, b)`.
    pub(crate) fn map(
        &self,
        cx: Cx<'_>,
        a: &[f32],
        b: &[f32],
        y: &mut [f32],
        f: impl Fn(f32, f32) -> f32 + Sync,
    ) {
        let chunk = self.chunk();
        cx.threads.run_chunks(y, chunk, |i, y| {
            cx.isa.vectorize(|| self.map_chunk(i * chunk, a, b, y, &f));
        });
    }

    /// `y = f(y, b)`, where `a` has the shape of `y`.
    pub(crate) fn map_in_place(
        &self,
        cx: Cx<'_>,
        b: &[f32],
        y: &mut [f32],
        f: impl Fn(f32, f32) -> f32 + Sync,
    ) {
        let chunk = self.chunk();
        cx.threads.run_chunks(y, chunk, |i, y| {
            cx.isa.vectorize(|| self.map_chunk_in_place(i * chunk, b, y, &f));
        });
    }

    /// Values in a task: whole rows, or parts of one.
    fn chunk(&self) -> usize {
        let inner = self.inner();
        if inner >= GRAIN { GRAIN } else { GRAIN / inner.max(1) * inner.max(1) }
    }

    #[inline(always)]
    fn map_chunk_in_place(&self, mut at: usize, b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        let inner = self.inner();
        let mut rest = y;
        while !rest.is_empty() {
            let column = at % inner;
            let (y, after) = rest.split_at_mut((inner - column).min(rest.len()));
            let ([_, offset], [_, step]) = (self.offsets(at / inner), self.inner_steps());
            let b = &b[offset + column * step..];
            match step {
                0 => y.iter_mut().for_each(|y| *y = f(*y, b[0])),
                _ => y.iter_mut().zip(b).for_each(|(y, &b)| *y = f(*y, b)),
            }
            at += y.len();
            rest = after;
        }
    }

    #[inline(always)]
    fn map_chunk(&self, mut at: usize, a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32) -> f32) {
        let inner = self.inner();
        let mut rest = y;
        while !rest.is_empty() {
            let column = at % inner;
            let (y, after) = rest.split_at_mut((inner - column).min(rest.len()));
            let [oa, ob] = self.offsets(at / inner);
            let [sa, sb] = self.inner_steps();
            let (a, b) = (&a[oa + column * sa..], &b[ob + column * sb..]);
            match (sa, sb) {
                (0, 0) => y.fill(f(a[0], b[0])),
                (0, _) => y.iter_mut().zip(b).for_each(|(y, &b)| *y = f(a[0], b)),
                (_, 0) => y.iter_mut().zip(a).for_each(|(y, &a)| *y = f(a, b[0])),
                _ => y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(a, b)),
            }
            at += y.len();
            rest = after;
        }
    }

    /// `d += sum of dy * f(a, b)` over every place where operand `which` (0 or 1) is repeated; `d` is its gradient.
    pub(crate) fn accumulate(
        &self,
        cx: Cx<'_>,
        which: usize,
        [a, b, dy]: [&[f32]; 3],
        d: &mut [f32],
        f: impl Fn(f32, f32) -> f32 + Sync,
    ) {
        // The outermost axis along which the operand moves: equal parts of it are contiguous parts of `d`.
        let Some(axis) = self.steps[which].iter().position(|&step| step != 0) else {
            if !dy.is_empty() {
                cx.isa.vectorize(|| self.accumulate_part(which, 0, 0..self.dims[0], [a, b, dy], d, &f));
            }
            return;
        };
        let (dim, step) = (self.dims[axis], self.steps[which][axis]);
        let per_index = dy.len() / dim.max(1);
        let indices = (GRAIN / per_index.max(1)).max(64usize.div_ceil(step.max(1))).min(dim.max(1));
        cx.threads.run_chunks(d, indices * step, |i, d| {
            let range = i * indices..((i + 1) * indices).min(dim);
            cx.isa.vectorize(|| self.accumulate_part(which, axis, range, [a, b, dy], d, &f));
        });
    }

    /// `accumulate` for the indices `range` of `axis`; `d` begins at the first of them.
    #[inline(always)]
    fn accumulate_part(
        &self,
        which: usize,
        axis: usize,
        range: Range<usize>,
        [a, b, dy]: [&[f32]; 3],
        d: &mut [f32],
        f: impl Fn(f32, f32) -> f32,
    ) {
        let last = self.dims.len() - 1;
        let columns = if axis == last { range.clone() } else { 0..self.inner() };
        let base = self.steps[which][axis] * range.start;
        // Rows: the axes before `axis` in full, `axis` within its range, the axes after it in full.
        let outer: usize = self.dims[..axis.min(last)].iter().product();
        let after: usize = if axis == last { 1 } else { self.dims[axis + 1..last].iter().product() };
        let own = if axis == last { 0..1 } else { range };
        let dim = if axis == last { 1 } else { self.dims[axis] };
        let [sa, sb] = self.inner_steps();
        for outer in 0..outer {
            for row in (outer * dim + own.start) * after..(outer * dim + own.end) * after {
                let [oa, ob] = self.offsets(row);
                let dy = &dy[row * self.inner()..][columns.clone()];
                let (a, b) = (&a[oa + columns.start * sa..], &b[ob + columns.start * sb..]);
                let at = [oa, ob][which] + columns.start * [sa, sb][which] - base;
                let term = |i: usize| f(a[i * sa], b[i * sb]) * dy[i];
                if [sa, sb][which] == 0 {
                    d[at] += sum_lanes(dy.len(), term);
                } else {
                    let d = &mut d[at..][..dy.len()];
                    match (sa, sb) {
                        (0, _) => {
                            for (((d, &b), &dy), a) in
                                d.iter_mut().zip(b).zip(dy).zip(std::iter::repeat(a[0]))
                            {
                                *d += f(a, b) * dy;
                            }
                        }
                        (_, 0) => {
                            for (((d, &a), &dy), b) in
                                d.iter_mut().zip(a).zip(dy).zip(std::iter::repeat(b[0]))
                            {
                                *d += f(a, b) * dy;
                            }
                        }
                        _ => {
                            for (((d, &a), &b), &dy) in d.iter_mut().zip(a).zip(b).zip(dy) {
                                *d += f(a, b) * dy;
                            }
                        }
                    }
                }
            }
        }
    }
}
