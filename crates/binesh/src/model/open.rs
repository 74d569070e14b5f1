//! Model files from disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use binesh_formats::{FormatError, LoadCx, LoadReport, Loaded, Network, load, load_keras};

use super::external;
use crate::error::Error;

pub(super) fn open(path: &Path, weights: Option<&Path>, cx: &LoadCx) -> Result<(Network, LoadReport), Error> {
    let name = path.display().to_string();
    let bytes = read(path, cx)?;
    if let Some(weights) = weights {
        let values = read(weights, cx)?;
        return Ok(load_keras(&bytes, values, [&name, &weights.display().to_string()], cx)?);
    }
    let external = cx.external.clone().or_else(|| Some(external::beside(path)));
    match load(bytes, &name, &LoadCx { external, ..cx.clone() })? {
        (Loaded::Model(network), report) => Ok((*network, report)),
        _ => Err(Error::OnlyWeights { path: name }),
    }
}

/// Reads a file after a look at its size; a device says 0 and may have no end, so the limit holds while reading too.
fn read(path: &Path, cx: &LoadCx) -> Result<Vec<u8>, Error> {
    let name = path.display().to_string();
    let io = |error: std::io::Error| Error::Format(FormatError::from(error).in_file(&name));
    let limit = cx.limits.file_bytes;
    let file = File::open(path).map_err(io)?;
    let promised = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    if promised <= limit {
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    }
    let found = promised.max(bytes.len() as u64);
    if found > limit {
        return Err(Error::FileSize { path: name, bytes: found, limit });
    }
    Ok(bytes)
}
