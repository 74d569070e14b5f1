//! Reader of `.keras` archives: a zip of `metadata.json`, `config.json` and `model.weights.h5`. Knows nothing of networks.

use std::borrow::Cow;

use serde_json::Value;

use super::config;
use crate::Limits;
use crate::archive::{Archive, Entry};
use crate::error::FormatError;
use crate::meta::Meta;

/// What a `.keras` archive holds, unpacked.
#[derive(Debug)]
pub(crate) struct KerasArchive {
    /// `config.json`.
    pub(crate) config: Vec<u8>,
    /// `keras_version` of `metadata.json`.
    pub(crate) keras_version: Option<String>,
    /// Class names and preprocessing, when we wrote the file.
    pub(crate) meta: Meta,
    /// `model.weights.h5`, an HDF5 file of its own.
    pub(crate) weights: Vec<u8>,
}

impl KerasArchive {
    /// Unpacks the three entries; assets are left alone. Bytes that are given up become the weights where they can: a
    /// large file is not in memory twice.
    pub(crate) fn open(bytes: Cow<'_, [u8]>, limits: &Limits) -> Result<Self, FormatError> {
        let mut archive = Archive::open(&bytes, limits)?;
        if !archive.contains("config.json") {
            return Err(FormatError::unsupported("a zip archive without `config.json`: not a `.keras` file"));
        }
        if archive.contains("model.weights.npz") {
            return Err(FormatError::unsupported(
                "a `.keras` file with `model.weights.npz` instead of `model.weights.h5`",
            )
            .with_hint("save the model with Keras's default `weights_format`, `h5`"));
        }
        let config = archive.read("config.json", limits.json_bytes)?.into_owned();
        let metadata = if archive.contains("metadata.json") {
            config::parse_json(&archive.read("metadata.json", limits.json_bytes)?, limits)?
        } else {
            Value::Null
        };
        let keras_version = metadata.get("keras_version").and_then(Value::as_str).map(str::to_owned);
        // Keras leaves `metadata.json` alone when it loads; for a fourth file it would unpack the whole archive to disk.
        let meta = metadata.get(Meta::KEY).map(|meta| Meta::from_json(meta, "`metadata.json`"));
        let meta = meta.transpose()?.unwrap_or_default();
        let weights = match archive.entry("model.weights.h5", limits.file_bytes)? {
            Entry::Unpacked(weights) => weights,
            Entry::Stored(range) => match bytes {
                Cow::Borrowed(bytes) => bytes[range].to_vec(),
                Cow::Owned(mut bytes) => {
                    bytes.truncate(range.end);
                    bytes.drain(..range.start);
                    bytes
                }
            },
        };
        Ok(Self { config, keras_version, meta, weights })
    }
}

#[cfg(test)]
mod tests {
    use zip::CompressionMethod;

    use super::*;
    use crate::archive::tests::zip_of;

    type Entries<'a> = &'a [(&'a str, &'a [u8])];

    fn open(entries: Entries<'_>) -> Result<KerasArchive, FormatError> {
        KerasArchive::open(zip_of(entries, CompressionMethod::Stored).into(), &Limits::default())
    }

    #[test]
    fn the_three_entries() {
        let archive = open(&[
            ("metadata.json", br#"{"keras_version": "3.15.1", "date_saved": "2026-11-24@04:00:00"}"#),
            ("config.json", b"{}"),
            ("model.weights.h5", b"\x89HDF"),
        ])
        .unwrap();
        assert_eq!(archive.keras_version.as_deref(), Some("3.15.1"));
        assert_eq!((archive.config, archive.weights), (b"{}".to_vec(), b"\x89HDF".to_vec()));
    }

    #[test]
    fn class_names_and_preprocessing_are_checked() {
        let with = |metadata: &str| {
            let entries: Entries<'_> = &[
                ("metadata.json", metadata.as_bytes()),
                ("config.json", b"{}"),
                ("model.weights.h5", b"\x89HDF"),
            ];
            open(entries).map(|archive| archive.meta).map_err(|e| e.to_string())
        };
        assert_eq!(with("{}"), Ok(Meta::default()));
        let labels = Some(vec!["cat".to_owned(), "dog".to_owned()]);
        assert_eq!(with(r#"{"binesh": {"labels": ["cat", "dog"]}}"#), Ok(Meta { labels, ..Meta::default() }));
        let wrong = "`metadata.json`, `binesh`: invalid type: string \"cat\", expected a sequence";
        assert_eq!(with(r#"{"binesh": {"labels": "cat"}}"#), Err(wrong.to_owned()));
        let wrong = "`metadata.json`, `binesh`: preprocessing: input size 0 x 9 is not between 1 and 16384";
        assert_eq!(with(r#"{"binesh": {"preprocess": {"size": [0, 9]}}}"#), Err(wrong.to_owned()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases: [(Entries<'_>, &str); 3] = [
            (&[("a", b"")], "a zip archive without `config.json`: not a `.keras` file"),
            (&[("config.json", b"{}")], "the archive has no entry `model.weights.h5`"),
            (
                &[("config.json", b"{}"), ("model.weights.npz", b"")],
                "a `.keras` file with `model.weights.npz` instead of `model.weights.h5`",
            ),
        ];
        for (entries, want) in cases {
            assert_eq!(open(entries).unwrap_err().to_string(), want);
        }
    }
}
