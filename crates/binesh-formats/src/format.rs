//! The formats that can be loaded, and which one some bytes are.

use std::borrow::Cow;

use crate::error::FormatError;
use crate::network::{LoadCx, LoadReport, Loaded};
use crate::{keras, onnx, safetensors, torch};

/// One format of model file: one module and one line in [`FORMATS`].
pub struct Format {
    /// Name in messages and reports.
    pub name: &'static str,
    /// Usual endings of file names, without the dot. For help texts: content decides.
    pub extensions: &'static [&'static str],
    /// Whether a file with these bytes is of this format.
    pub sniff: fn(&[u8]) -> bool,
    /// Reads a whole file.
    pub load: Load,
}

/// Reads a whole file.
pub type Load = fn(Cow<'_, [u8]>, &LoadCx) -> Result<(Loaded, LoadReport), FormatError>;

/// Every format, in the order in which they are tried.
/// `.keras` files and PyTorch's are both zip archives, told apart by their entries; the length that a safetensors file
/// begins with may look like the brace of JSON.
pub const FORMATS: &[Format] = &[
    keras::H5_FORMAT,
    torch::ARCHIVE_FORMAT,
    torch::LEGACY_FORMAT,
    safetensors::FORMAT,
    keras::ARCHIVE_FORMAT,
    keras::JSON_FORMAT,
    onnx::FORMAT,
];

/// Loads a model file by its content; `name` is for messages only.
///
/// Bytes that are given up (`Vec<u8>`) are not copied.
pub fn load<'a>(
    bytes: impl Into<Cow<'a, [u8]>>,
    name: &str,
    cx: &LoadCx,
) -> Result<(Loaded, LoadReport), FormatError> {
    let bytes = bytes.into();
    let Some(format) = FORMATS.iter().find(|format| (format.sniff)(&bytes)) else {
        let what =
            if bytes.is_empty() { "the file is empty" } else { "the file is not a model that can be loaded" };
        let mut endings: Vec<&str> = Vec::new();
        for ending in FORMATS.iter().flat_map(|format| format.extensions) {
            if !endings.contains(ending) {
                endings.push(ending);
            }
        }
        let hint =
            format!("formats: {}", endings.iter().map(|e| format!("`.{e}`")).collect::<Vec<_>>().join(", "));
        return Err(FormatError::malformed(what).with_hint(hint).in_file(name));
    };
    let (loaded, mut report) = (format.load)(bytes, cx).map_err(|e| e.in_file(name))?;
    report.format = format.name;
    Ok((loaded, report))
}
