//! Model files from disk.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use binesh_core::Tensor;
use binesh_formats::{FormatError, LoadCx, LoadReport, Loaded, Network, load, load_keras};

use super::external;
use crate::error::Error;
use crate::zoo::{self, Architecture, Request, ZooError};

/// A network, what happened to the file's tensors, and the architecture that weights alone were taken for.
pub(super) type Opened = (Network, LoadReport, Option<&'static Architecture>);

pub(super) fn open(path: &Path, weights: Option<&Path>, cx: &LoadCx) -> Result<Opened, Error> {
    let name = path.display().to_string();
    let bytes = read(path, cx)?;
    if let Some(weights) = weights {
        if cx.architecture.is_some() {
            return Err(Error::HasArchitecture { path: name });
        }
        let values = read(weights, cx)?;
        let (network, report) = load_keras(&bytes, values, [&name, &weights.display().to_string()], cx)?;
        return Ok((network, report, None));
    }
    let external = cx.external.clone().or_else(|| Some(external::beside(path)));
    match load(bytes, &name, &LoadCx { external, ..cx.clone() })? {
        (Loaded::Model(network), report) if cx.architecture.is_none() => Ok((*network, report, None)),
        (Loaded::Model(_), _) => Err(Error::HasArchitecture { path: name }),
        (Loaded::Weights(tensors), report) if !report.format.starts_with("keras") => {
            from_weights(path, tensors, report, cx)
                .map_err(|error| Error::Zoo { path: name, error: Box::new(error) })
        }
        _ => Err(Error::OnlyWeights { path: name }),
    }
}

/// PyTorch's files hold weights alone: the zoo knows the rest.
fn from_weights(
    path: &Path,
    tensors: Vec<(String, Tensor)>,
    of_file: LoadReport,
    cx: &LoadCx,
) -> Result<Opened, ZooError> {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let size = match cx.input_shape.as_deref() {
        Some(&[_, Some(h), Some(w), _]) => Some([h, w]),
        _ => None,
    };
    let request = Request { architecture: cx.architecture.as_deref(), file: file.as_deref(), size };
    let built = zoo::network(tensors, &request)?;
    let mut report = LoadReport { format: of_file.format, version: of_file.version, ..built.report };
    report.unused.extend(of_file.unused);
    let mut network = built.network;
    // What the file itself says goes before what its architecture is known for.
    network.meta.preprocess = of_file.meta.preprocess.or(network.meta.preprocess);
    network.meta.labels = of_file.meta.labels.or(network.meta.labels);
    Ok((network, report, Some(built.architecture)))
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
