//! PyTorch's files of weights: what `torch.save(model.state_dict(), ...)` writes, as a zip archive since 1.6 and as a row of
//! pickles before. Nothing of a file is executed.
//!
//! [`pickle`] reads a pickle, [`state_dict`] finds the tensors in it and lays them out; [`archive`] and [`legacy`] know where
//! their numbers lie.

mod archive;
mod dtype;
mod legacy;
mod pickle;
mod state_dict;

use crate::format::Format;
use crate::network::{LoadReport, Loaded};

pub(crate) use dtype::Dtype;

/// The zip archive that `torch.save` writes since PyTorch 1.6.
pub(crate) const ARCHIVE_FORMAT: Format =
    Format { name: "torch", extensions: &["pt", "pth"], sniff: archive::sniff, load: archive::load };

/// The row of pickles that `torch.save` wrote before.
pub(crate) const LEGACY_FORMAT: Format = Format {
    name: "torch legacy",
    extensions: &["pt", "pth"],
    sniff: |bytes| bytes.starts_with(legacy::MAGIC),
    load: legacy::load,
};

fn loaded(tensors: Vec<(String, binesh_core::Tensor)>, aside: Vec<String>) -> (Loaded, LoadReport) {
    (Loaded::Weights(tensors), LoadReport { unused: aside, ..LoadReport::default() })
}
