//! Model files from disk.

use std::fs;
use std::path::Path;

use binesh_formats::{FormatError, LoadCx, LoadReport, Loaded, Network, load, load_keras};

use crate::error::Error;

pub(super) fn open(path: &Path, weights: Option<&Path>, cx: &LoadCx) -> Result<(Network, LoadReport), Error> {
    let name = path.display().to_string();
    let bytes = read(path, cx)?;
    if let Some(weights) = weights {
        let values = read(weights, cx)?;
        return Ok(load_keras(&bytes, values, [&name, &weights.display().to_string()], cx)?);
    }
    match load(bytes, &name, cx)? {
        (Loaded::Model(network), report) => Ok((*network, report)),
        _ => Err(Error::OnlyWeights { path: name }),
    }
}

/// Reads a file after a look at its size.
fn read(path: &Path, cx: &LoadCx) -> Result<Vec<u8>, Error> {
    let name = path.display().to_string();
    let io = |error: std::io::Error| Error::Format(FormatError::from(error).in_file(&name));
    let size = fs::metadata(path).map_err(io)?.len();
    if size > cx.limits.file_bytes {
        return Err(Error::FileSize { path: name, bytes: size, limit: cx.limits.file_bytes });
    }
    fs::read(path).map_err(io)
}
