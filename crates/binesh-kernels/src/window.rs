//! Window arithmetic, stated once: which input positions a window of a convolution or pooling touches.

/// Number of values of an array of these sizes. Panics on overflow: a wrapped product could pass for the right length.
#[track_caller]
pub(crate) fn product<const N: usize>(sizes: [usize; N]) -> usize {
    sizes.into_iter().try_fold(1usize, usize::checked_mul).expect("sizes overflow")
}

/// One spatial axis of a sliding window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    /// Input length.
    pub(crate) input: usize,
    /// Window length in taps.
    pub(crate) taps: usize,
    pub(crate) stride: usize,
    pub(crate) dilation: usize,
    /// Padding before the first position.
    pub(crate) pad: usize,
}

impl Axis {
    /// Panics unless the position of every tap of `outputs` windows can be computed without overflow: a wrapped one could
    /// pass for a position inside the input.
    #[track_caller]
    pub(crate) fn check(&self, outputs: usize) {
        let last = |n: usize, step: usize| n.saturating_sub(1).checked_mul(step);
        let reach = last(outputs, self.stride)
            .zip(last(self.taps, self.dilation))
            .and_then(|(o, k)| o.checked_add(k));
        let all = reach.and_then(|reach| reach.checked_add(self.pad)?.checked_add(self.input));
        assert!(all.is_some_and(|all| all <= isize::MAX as usize), "window positions overflow");
    }

    /// Input position of tap `k` of the window at output position `o`; `None` in the padding.
    #[inline(always)]
    pub(crate) fn position(&self, o: usize, k: usize) -> Option<usize> {
        let p = (o * self.stride + k * self.dilation).wrapping_sub(self.pad);
        (p < self.input).then_some(p)
    }

    /// The taps of the window at `o` that lie inside the input: `first..end`.
    #[inline(always)]
    pub(crate) fn taps_inside(&self, o: usize) -> std::ops::Range<usize> {
        let start = o * self.stride;
        let first = self.pad.saturating_sub(start).div_ceil(self.dilation);
        let end = (self.input + self.pad).saturating_sub(start).div_ceil(self.dilation).min(self.taps);
        first.min(end)..end
    }

    /// Those of `outputs` windows that lie wholly inside the input.
    pub(crate) fn windows_inside(&self, outputs: usize) -> std::ops::Range<usize> {
        let first = self.pad.div_ceil(self.stride);
        let reach = self.taps.saturating_sub(1) * self.dilation + 1;
        let end = (self.input + self.pad).checked_sub(reach).map_or(0, |last| last / self.stride + 1);
        let end = end.min(outputs);
        first.min(end)..end
    }

    /// The window position that reads input position `i` through tap `k`, if one of the `outputs` does.
    #[inline(always)]
    pub(crate) fn source(&self, outputs: usize, i: usize, k: usize) -> Option<usize> {
        let distance = (i + self.pad).checked_sub(k * self.dilation)?;
        let o = distance / self.stride;
        (distance.is_multiple_of(self.stride) && o < outputs).then_some(o)
    }

    /// The input positions by their remainder modulo the stride: all of a phase meet the same taps. Phases that meet
    /// none are left out.
    pub(crate) fn phases(&self) -> Vec<Phase> {
        let phase = |first: usize| Phase {
            first,
            count: (self.input - first).div_ceil(self.stride),
            // i = o * stride + k * dilation - pad for some whole o, of either sign.
            taps: (0..self.taps)
                .filter(|k| (first + self.pad) % self.stride == k * self.dilation % self.stride)
                .collect(),
        };
        (0..self.stride.min(self.input)).map(phase).filter(|phase| !phase.taps.is_empty()).collect()
    }
}

/// Input positions a stride apart.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// The taps that meet them.
    pub(crate) taps: Vec<usize>,
}

impl Phase {
    /// Those of its positions that one of the `outputs` windows of `axis` reads through every tap.
    pub(crate) fn sources_inside(&self, axis: &Axis, outputs: usize) -> std::ops::Range<usize> {
        let inside = |&i: &usize| {
            let position = self.first + i * axis.stride;
            self.taps.iter().all(|&k| axis.source(outputs, position, k).is_some())
        };
        let first = (0..self.count).find(inside).unwrap_or(0);
        let count = (first..self.count).take_while(inside).count();
        first..first + count
    }
}

#[cfg(test)]
mod tests {
    use super::Axis;

    #[test]
    fn taps_inside_agrees_with_position() {
        for input in 1..6 {
            for (taps, stride, dilation, pad) in
                [(3, 1, 1, 1), (3, 2, 1, 0), (2, 3, 2, 3), (5, 1, 2, 4), (1, 2, 1, 0)]
            {
                let axis = Axis { input, taps, stride, dilation, pad };
                for o in 0..8 {
                    let inside: Vec<_> = (0..taps).filter(|&k| axis.position(o, k).is_some()).collect();
                    assert_eq!(inside, axis.taps_inside(o).collect::<Vec<_>>(), "{axis:?} at {o}");
                    assert_eq!(inside.len() == taps, axis.windows_inside(8).contains(&o), "{axis:?} at {o}");
                }
                for phase in axis.phases() {
                    let inside = phase.sources_inside(&axis, 8);
                    for i in 0..phase.count {
                        let met = |&k: &usize| axis.source(8, phase.first + i * stride, k).is_some();
                        let all = phase.taps.iter().all(met);
                        assert_eq!(all, inside.contains(&i), "{axis:?}, {phase:?} at {i}");
                    }
                }
            }
        }
    }
}
