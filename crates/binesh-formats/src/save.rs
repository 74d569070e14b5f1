//! The formats that can be written.

use crate::error::FormatError;
use crate::network::Network;
use crate::{keras, onnx, safetensors};

/// One format that can be written: one module and one line in [`WRITERS`].
pub struct Writer {
    /// How its files' names end, without the dot; it is also the format's name.
    pub ending: &'static str,
    /// What such a file is, for help texts and reports.
    pub what: &'static str,
    /// Makes a whole file.
    pub save: Save,
}

/// Makes a whole file. What the format cannot express is an error that names the node and the operator.
pub type Save = fn(&Network) -> Result<Written, FormatError>;

/// A file that is to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    /// All of it. The same network gives the same bytes.
    pub bytes: Vec<u8>,
    /// What a user should know of it: who cannot open it, and why.
    pub notes: Vec<String>,
}

/// Every format that is written. A longer ending comes before one that it ends in.
pub const WRITERS: &[Writer] =
    &[keras::WEIGHTS_WRITER, keras::H5_WRITER, keras::ARCHIVE_WRITER, onnx::WRITER, safetensors::WRITER];

impl Writer {
    /// The format of a file of this name, by its ending.
    pub fn of(file_name: &str) -> Option<&'static Writer> {
        let name = file_name.to_ascii_lowercase();
        let ends =
            |writer: &&Writer| name.strip_suffix(writer.ending).is_some_and(|rest| rest.ends_with('.'));
        WRITERS.iter().find(ends)
    }

    /// The format of this name.
    pub fn named(name: &str) -> Option<&'static Writer> {
        WRITERS.iter().find(|writer| writer.ending == name)
    }

    /// True when class names and preprocessing are in the file.
    pub fn holds_meta(&self) -> bool {
        self.ending != "weights.h5"
    }

    /// True for a file of weights alone, which is no network without its architecture.
    pub fn is_weights_alone(&self) -> bool {
        matches!(self.ending, "weights.h5" | "safetensors")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_ending_of_a_name() {
        let ending = |name: &str| Writer::of(name).map(|writer| writer.ending);
        assert_eq!(ending("a.weights.h5"), Some("weights.h5"));
        assert_eq!(ending("weights.h5"), Some("h5"), "a model that is called `weights`");
        assert_eq!(ending("a.b/model.KERAS"), Some("keras"));
        assert_eq!(ending("model.onnx"), Some("onnx"));
        assert_eq!(ending("model"), None);
        assert_eq!(ending("onnx"), None);
        assert_eq!(Writer::named("h5").map(|writer| writer.ending), Some("h5"));
    }
}
