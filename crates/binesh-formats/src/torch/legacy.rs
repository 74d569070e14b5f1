//! Files of PyTorch before 1.6: pickles of a magic number, a version, the machine, the object and the storages' names, then
//! each storage as its number of elements in 64 bits and the elements.

use std::borrow::Cow;
use std::collections::HashMap;

use super::pickle::{self, Object, Pickle, Storage, Value};
use super::state_dict;
use crate::error::FormatError;
use crate::network::{LoadCx, LoadReport, Loaded};

/// The pickle of PyTorch's magic number, `0x1950a86a20f9469cfc6c`.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// The only version of this layout that PyTorch writes or reads.
const VERSION: i64 = 1001;

pub(super) fn load(bytes: Cow<'_, [u8]>, cx: &LoadCx) -> Result<(Loaded, LoadReport), FormatError> {
    let limits = &cx.limits;
    crate::Limits::check("the file's size in bytes", bytes.len() as u64, limits.file_bytes)?;
    let mut rest = bytes.get(MAGIC.len()..).unwrap_or_default();
    let mut next = || {
        // What follows the pickles is numbers, which must not be taken for a long one.
        let (pickle, taken) = pickle::read(rest, limits)?;
        rest = &rest[taken..];
        Ok::<_, FormatError>(pickle)
    };
    let version = next()?.root;
    if version != Value::Int(VERSION) {
        let what = format!("the file is not of the version {VERSION} of PyTorch's old layout");
        return Err(FormatError::unsupported(what));
    }
    if !is_little_endian(&next()?) {
        return Err(FormatError::unsupported("the file was written on a big-endian machine"));
    }
    let (object, keys) = (next()?, next()?);
    let places = places(&object, &keys, rest)?;
    let found = state_dict::find(&object, limits)?;
    let mut bytes = |storage: &Storage<'_>| {
        let missing = || FormatError::malformed(format!("the file has no storage `{}`", storage.key));
        places.get(storage.key).map(|&bytes| Cow::Borrowed(bytes)).ok_or_else(missing)
    };
    let tensors = state_dict::lay_out(found.tensors, &mut bytes, limits)?;
    Ok(super::loaded(tensors, found.aside))
}

fn is_little_endian(machine: &Pickle<'_>) -> bool {
    let Some(Object::Dict(entries)) = machine.object(machine.root) else { return false };
    entries.contains(&(Value::Text("little_endian"), Value::Bool(true)))
}

/// The bytes of each storage, by its key.
fn places<'a>(
    object: &Pickle<'a>,
    keys: &Pickle<'a>,
    mut rest: &'a [u8],
) -> Result<HashMap<&'a str, &'a [u8]>, FormatError> {
    let storages = object.objects.iter().filter_map(|object| match object {
        Object::Storage(storage) => Some((storage.key, storage.dtype)),
        _ => None,
    });
    let types: HashMap<&str, _> = storages.collect();
    let Some(Object::List(keys)) = keys.object(keys.root) else {
        return Err(FormatError::malformed("the file has no list of its storages"));
    };
    let mut places = HashMap::new();
    for key in keys {
        let known =
            if let Value::Text(key) = key { types.get(key).map(|dtype| (*key, *dtype)) } else { None };
        let (key, dtype) = known.ok_or_else(|| {
            FormatError::malformed("the file lists a storage that its pickle does not have")
        })?;
        let short = || FormatError::malformed(format!("storage `{key}` is cut short"));
        let (len, after) = rest.split_first_chunk::<8>().ok_or_else(short)?;
        let bytes =
            usize::try_from(u64::from_le_bytes(*len)).ok().and_then(|len| len.checked_mul(dtype.size()));
        let (bytes, after) = bytes.and_then(|bytes| after.split_at_checked(bytes)).ok_or_else(short)?;
        places.insert(key, bytes);
        rest = after;
    }
    Ok(places)
}
