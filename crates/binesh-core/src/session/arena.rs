//! The memory of a session's values.

/// Bytes of a cache line.
const ALIGNMENT: usize = 64;

/// Values that begin on a cache line.
pub(super) struct Arena {
    data: Vec<f32>,
    first: usize,
}

impl Arena {
    pub(super) fn new(len: usize) -> Arena {
        let data = vec![0.0; len + ALIGNMENT / size_of::<f32>()];
        let first = data.as_ptr().align_offset(ALIGNMENT).min(data.len() - len);
        Arena { data, first }
    }

    /// All values, for reading.
    pub(super) fn values(&self) -> Values<'_> {
        Values { before: &self.data[self.first..], after: &[], skipped: 0 }
    }

    /// `len` values from `start` on, for writing, and those around them for reading.
    pub(super) fn split(&mut self, start: usize, len: usize) -> (&mut [f32], Values<'_>) {
        let (before, rest) = self.data[self.first..].split_at_mut(start);
        let (own, after) = rest.split_at_mut(len);
        let skipped = before.len() + own.len();
        (own, Values { before, after, skipped })
    }
}

/// The values that nobody writes.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    before: &'a [f32],
    after: &'a [f32],
    /// Where `after` begins.
    skipped: usize,
}

impl<'a> Values<'a> {
    /// `len` values from `start` on.
    ///
    /// # Panics
    /// When some of them are being written: a mistake in the plan.
    pub(super) fn get(self, start: usize, len: usize) -> &'a [f32] {
        match start.checked_sub(self.skipped).filter(|_| self.skipped > 0) {
            Some(start) => &self.after[start..][..len],
            None => &self.before[start..][..len],
        }
    }
}
