//! Zip archives held in memory, opened under [`Limits`]: the shell of `.keras` and `.npz` files.

use std::borrow::Cow;
use std::io::{Cursor, Read};
use std::ops::Range;

use zip::read::{ArchiveOffset, Config};
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use crate::Limits;
use crate::error::FormatError;

/// An opened archive; entries are unpacked when asked for.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    bytes: &'a [u8],
    limits: Limits,
    /// Unpacked bytes that were asked for so far.
    asked_for: u64,
}

/// The bytes of an entry.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Stored as they are: where they lie in the archive.
    Stored(Range<usize>),
    Unpacked(Vec<u8>),
}

impl<'a> Archive<'a> {
    /// Reads the directory of the archive, nothing else.
    pub(crate) fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, FormatError> {
        Limits::check("the archive's size in bytes", bytes.len() as u64, limits.file_bytes)?;
        // Where it begins is not to be guessed: the crate's search for it misses in some of PyTorch's valid archives.
        let config = Config { archive_offset: ArchiveOffset::Known(0) };
        let zip = ZipArchive::with_config(config, Cursor::new(bytes))
            .map_err(|e| broken("not a readable zip archive", &e))?;
        Limits::check("the number of archive entries", zip.len() as u64, limits.archive_entries as u64)?;
        Ok(Self { zip, bytes, limits: limits.clone(), asked_for: 0 })
    }

    /// Names of the entries, in the archive's order. A name that is not UTF-8 is no name of ours and is left out.
    pub(crate) fn names(&self) -> Vec<String> {
        self.zip.file_names().filter_map(Result::ok).map(|name| name.into_owned()).collect()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(name).is_some()
    }

    /// The unpacked bytes of one entry, at most `max_bytes` of them.
    pub(crate) fn read(&mut self, name: &str, max_bytes: u64) -> Result<Cow<'a, [u8]>, FormatError> {
        Ok(match self.entry(name, max_bytes)? {
            Entry::Stored(range) => Cow::Borrowed(&self.bytes[range]),
            Entry::Unpacked(bytes) => Cow::Owned(bytes),
        })
    }

    /// As [`Archive::read`], for bytes that are not to be copied.
    pub(crate) fn entry(&mut self, name: &str, max_bytes: u64) -> Result<Entry, FormatError> {
        let what = || format!("the size in bytes of archive entry `{name}`");
        let mut entry = match self.zip.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => {
                return Err(FormatError::malformed(format!("the archive has no entry `{name}`")));
            }
            Err(e) => return Err(broken(&format!("archive entry `{name}` cannot be opened"), &e)),
        };
        let (packed, unpacked) = (entry.compressed_size(), entry.size());
        Limits::check(&what(), unpacked, max_bytes)?;
        if unpacked > Limits::RATIO_FLOOR {
            let ratio = unpacked / packed.max(1);
            Limits::check(
                &format!("the compression ratio of archive entry `{name}`"),
                ratio,
                self.limits.archive_ratio,
            )?;
        }
        // Many small entries may unpack to as much as one, or be the same bytes under many names.
        self.asked_for = self.asked_for.saturating_add(unpacked);
        if self.asked_for > Limits::RATIO_FLOOR {
            let ratio = self.asked_for / (self.bytes.len() as u64).max(1);
            Limits::check("the compression ratio of the archive", ratio, self.limits.archive_ratio)?;
        }
        let damaged = |e| FormatError::malformed(format!("archive entry `{name}` is damaged: {e}"));
        if entry.compression() == CompressionMethod::Stored
            && let Some(range) = stored(self.bytes, entry.data_start(), unpacked)
        {
            // Reading to the end compares the checksum.
            std::io::copy(&mut entry, &mut std::io::sink()).map_err(damaged)?;
            return Ok(Entry::Stored(range));
        }
        // The declared size is the writer's claim: reserve no more than the packed bytes can justify, and read no
        // further than the claim plus the one byte that proves it a lie.
        let mut bytes = Vec::new();
        bytes
            .try_reserve(unpacked.min(packed.saturating_mul(4)) as usize)
            .map_err(|_| FormatError::limit(&what(), unpacked, packed))?;
        let read = entry.take(unpacked.saturating_add(1)).read_to_end(&mut bytes).map_err(damaged)?;
        if read as u64 != unpacked {
            return Err(FormatError::malformed(format!(
                "archive entry `{name}` does not have the {unpacked} bytes that its header declares"
            )));
        }
        Ok(Entry::Unpacked(bytes))
    }
}

/// Where an entry of this many bytes lies, if it is inside the archive.
fn stored(archive: &[u8], start: Option<u64>, len: u64) -> Option<Range<usize>> {
    let (start, len) = (usize::try_from(start?).ok()?, usize::try_from(len).ok()?);
    let end = start.checked_add(len).filter(|&end| end <= archive.len())?;
    Some(start..end)
}

fn broken(what: &str, e: &ZipError) -> FormatError {
    match e {
        ZipError::CompressionMethodNotSupported(method) => {
            FormatError::unsupported(format!("{what}: zip compression method {method} is not supported"))
        }
        ZipError::InvalidPassword => FormatError::unsupported(format!("{what}: it is encrypted")),
        _ => FormatError::malformed(format!("{what}: {e}")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    /// A zip with the given entries, for tests of what reads zips.
    pub(crate) fn zip_of(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            zip.start_file(name, SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn stored_and_deflated_entries_read_alike() {
        for method in [CompressionMethod::Stored, CompressionMethod::Deflated] {
            let bytes = zip_of(&[("a.json", b"{}"), ("b", &[7; 1000])], method);
            let mut archive = Archive::open(&bytes, &Limits::default()).unwrap();
            assert_eq!(archive.names(), ["a.json", "b"]);
            assert_eq!(*archive.read("a.json", 10).unwrap(), *b"{}");
            assert_eq!(*archive.read("b", 1000).unwrap(), [7; 1000]);
        }
    }

    #[test]
    fn an_entry_over_its_limit_is_refused_before_it_is_unpacked() {
        let bytes = zip_of(&[("b", &[7; 1000])], CompressionMethod::Deflated);
        let e = Archive::open(&bytes, &Limits::default()).unwrap().read("b", 999).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the size in bytes of archive entry `b` is 1000, more than the limit of 999"
        );
    }

    #[test]
    fn a_bomb_is_refused_by_its_ratio() {
        let zeros = vec![0; Limits::RATIO_FLOOR as usize + 1];
        let bytes = zip_of(&[("b", &zeros)], CompressionMethod::Deflated);
        let e = Archive::open(&bytes, &Limits::default()).unwrap().read("b", u64::MAX).unwrap_err();
        assert!(e.to_string().starts_with("the compression ratio of archive entry `b` is 10"), "{e}");
    }

    #[test]
    fn many_small_bombs_are_one() {
        let zeros = vec![0; 10 << 20];
        let names: Vec<String> = (0..8).map(|i| i.to_string()).collect();
        let entries: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &zeros[..])).collect();
        let bytes = zip_of(&entries, CompressionMethod::Deflated);
        let mut archive = Archive::open(&bytes, &Limits::default()).unwrap();
        let refused = names.iter().find_map(|name| archive.read(name, u64::MAX).err()).unwrap().to_string();
        assert!(refused.starts_with("the compression ratio of the archive is"), "{refused}");
    }

    #[test]
    fn a_stored_entry_is_compared_with_its_checksum() {
        let mut bytes = zip_of(&[("b", &[7; 1000])], CompressionMethod::Stored);
        let at = bytes.iter().position(|&byte| byte == 7).unwrap();
        bytes[at] = 8;
        let e = Archive::open(&bytes, &Limits::default()).unwrap().read("b", 1000).unwrap_err();
        assert_eq!(e.to_string(), "archive entry `b` is damaged: Invalid checksum");
    }

    #[test]
    fn a_truncated_archive_is_an_error() {
        let bytes = zip_of(&[("a", &[1; 300]), ("b", &[7; 1000])], CompressionMethod::Stored);
        for cut in 0..bytes.len() {
            assert!(Archive::open(&bytes[..cut], &Limits::default()).is_err(), "cut at {cut}");
        }
    }
}
