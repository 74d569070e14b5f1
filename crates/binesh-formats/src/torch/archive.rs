//! The zip archive of `torch.save`: `NAME/data.pkl`, and a file of numbers for each storage, `NAME/data/KEY`.

use std::borrow::Cow;

use super::{pickle, state_dict};
use crate::Limits;
use crate::archive::Archive;
use crate::error::FormatError;
use crate::network::{LoadCx, LoadReport, Loaded};

const PICKLE: &str = "data.pkl";

/// A zip archive with a `data.pkl` in its only folder.
pub(super) fn sniff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
        && Archive::open(bytes, &Limits::default()).is_ok_and(|archive| folder(&archive).is_some())
}

/// The folder's name with its `/`.
fn folder(archive: &Archive<'_>) -> Option<String> {
    archive.names().into_iter().find_map(|name| {
        let folder = name.strip_suffix(PICKLE)?;
        let outermost = folder.ends_with('/') && folder.matches('/').count() == 1;
        outermost.then(|| folder.to_owned())
    })
}

pub(super) fn load(bytes: Cow<'_, [u8]>, cx: &LoadCx) -> Result<(Loaded, LoadReport), FormatError> {
    let limits = &cx.limits;
    let mut archive = Archive::open(&bytes, limits)?;
    let folder = folder(&archive)
        .ok_or_else(|| FormatError::malformed(format!("the archive has no folder with a `{PICKLE}`")))?;
    let order = format!("{folder}byteorder");
    if archive.contains(&order) && *archive.read(&order, 16)? != *b"little" {
        return Err(FormatError::unsupported("the file was written on a big-endian machine"));
    }
    let pickle = archive.read(&format!("{folder}{PICKLE}"), limits.json_bytes)?;
    let (pickle, _) = pickle::read(&pickle, limits)?;
    let found = state_dict::find(&pickle, limits)?;
    let mut bytes = |storage: &pickle::Storage<'_>| {
        archive.read(&format!("{folder}data/{}", storage.key), limits.file_bytes)
    };
    let tensors = state_dict::lay_out(found.tensors, &mut bytes, limits)?;
    Ok(super::loaded(tensors, found.aside))
}
