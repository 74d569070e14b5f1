//! How much a file may ask of us. A length read from a file is checked against these before anything is allocated.

use crate::error::FormatError;

/// Upper bounds on what a model file may contain. The defaults admit every published convolutional network.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one file, and of one unpacked entry of an archive.
    pub file_bytes: u64,
    /// Bytes of one JSON text.
    pub json_bytes: u64,
    /// Levels of nesting in one JSON text.
    pub json_depth: usize,
    /// Elements of one tensor.
    pub tensor_elements: u64,
    /// Elements of all tensors of one file together, each time that one is made of what the file holds.
    pub all_elements: u64,
    /// Layers of one network, nested ones included; also bounds the groups and tensors of one HDF5 file.
    pub layers: usize,
    /// Nodes of one graph and uses of layers: a model used twice counts twice, whatever is inside it too.
    pub nodes: usize,
    /// Models inside models.
    pub nesting: usize,
    /// Entries of one archive.
    pub archive_entries: usize,
    /// Unpacked size over packed size: of an archive entry larger than [`Limits::RATIO_FLOOR`], and of all that is read
    /// of an archive, where that is more than it.
    pub archive_ratio: u64,
    /// Values that one pickle makes, each time that it refers to one counted.
    pub pickle_values: usize,
}

impl Limits {
    /// An archive entry below this many bytes may have any ratio: a small array of zeros packs a thousandfold.
    pub const RATIO_FLOOR: u64 = 64 << 20;

    /// `Err` unless `got <= limit`; `what` completes "... is more than the limit of ...".
    pub(crate) fn check(what: &str, got: u64, limit: u64) -> Result<(), FormatError> {
        if got <= limit { Ok(()) } else { Err(FormatError::limit(what, got, limit)) }
    }

    /// `Err` unless there is room for `more` elements beside the `so_far`; gives how many it are then.
    pub(crate) fn all_elements(&self, so_far: u64, more: usize) -> Result<u64, FormatError> {
        let all = so_far.saturating_add(more as u64);
        Self::check("the number of elements of all tensors", all, self.all_elements)?;
        Ok(all)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 4 << 30,
            json_bytes: 64 << 20,
            json_depth: 100,
            tensor_elements: 1 << 29,
            all_elements: 1 << 30,
            layers: 50_000,
            nodes: 200_000,
            nesting: 32,
            archive_entries: 100_000,
            archive_ratio: 200,
            pickle_values: 2_000_000,
        }
    }
}
