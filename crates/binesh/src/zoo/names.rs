//! The names and shapes of a state dict, by which an architecture is recognized.

use std::collections::BTreeMap;

use binesh_core::Tensor;

/// What a file of weights holds, but for the values.
#[derive(Clone, Debug, Default)]
pub(super) struct Names<'a> {
    shapes: BTreeMap<&'a str, &'a [usize]>,
}

impl<'a> Names<'a> {
    pub(super) fn of(weights: &'a [(String, Tensor)]) -> Names<'a> {
        let shape = |(name, tensor): &'a (String, Tensor)| (name.as_str(), tensor.shape().dims());
        Names { shapes: weights.iter().map(shape).collect() }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// As the file has them: a kernel is `[O, I, Kh, Kw]`. Never empty.
    pub(super) fn dims(&self, name: &str) -> Option<&'a [usize]> {
        self.shapes.get(name).copied().filter(|dims| !dims.is_empty())
    }

    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        self.dims(name).map(<[usize]>::len)
    }

    /// How many names of a row there are before the first that is missing.
    pub(super) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        count(|name| self.has(name), name)
    }

    /// The same for rows of rows: how many there are in each, before the first that is empty.
    pub(super) fn counts(&self, name: impl Fn(usize, usize) -> String) -> Vec<usize> {
        let counts = (0..).map(|row| self.count(|i| name(row, i)));
        counts.take_while(|&count| count > 0).collect()
    }
}

/// How many names of a row there are before the first that is missing.
pub(super) fn count(has: impl Fn(&str) -> bool, name: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|&i| has(&name(i))).count()
}
