//! Features that are kept: one row of values for each view of a photo, in memory or in a file.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use half::f16;
use half::slice::HalfFloatSliceExt;
use serde::{Deserialize, Serialize};

use crate::train::error::TrainError;
use crate::train::files;

/// Rows of equal length, written once and read in any order.
pub(crate) struct Features {
    /// Values of a row.
    row: usize,
    rows: usize,
    held: Held,
}

enum Held {
    Single(Vec<f32>),
    Half(Vec<f16>),
    /// Half precision, from this byte on.
    File {
        file: File,
        start: u64,
    },
}

/// How a row is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// f32, in memory.
    Single,
    /// f16, in memory.
    Half,
    /// f16, in a file.
    File,
}

impl Precision {
    /// The best that a budget allows for tables of these many values together; small ones are served first. Depends on
    /// sizes alone, so that equal runs do equal things.
    pub fn within(memory_bytes: u64, tables: &[u64]) -> Vec<Precision> {
        let mut order: Vec<usize> = (0..tables.len()).collect();
        order.sort_by_key(|&table| tables[table]);
        let mut left = memory_bytes;
        let mut chosen = vec![Precision::File; tables.len()];
        for table in order {
            for (precision, bytes) in [(Precision::Single, 4), (Precision::Half, 2)] {
                let bytes = tables[table].saturating_mul(bytes);
                if bytes <= left {
                    chosen[table] = precision;
                    left -= bytes;
                    break;
                }
            }
        }
        chosen
    }
}

/// What a file of features begins with, after its length as a little-endian u64.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    format: String,
    /// Of everything that decides the values.
    key: String,
    row: usize,
    rows: usize,
    half: bool,
}

const FORMAT: &str = "binesh features 1";

impl Features {
    /// Values of row `at`, for each of `rows`, one after another.
    pub(crate) fn gather(&self, rows: &[usize], out: &mut Vec<f32>) -> Result<(), TrainError> {
        let start = out.len();
        out.resize(start + rows.len() * self.row, 0.0);
        let mut bytes = Vec::new();
        for (out, &at) in out[start..].chunks_exact_mut(self.row).zip(rows) {
            let values = at * self.row..(at + 1) * self.row;
            match &self.held {
                Held::Single(data) => out.copy_from_slice(&data[values]),
                Held::Half(data) => data[values].convert_to_f32_slice(out),
                Held::File { file, start } => {
                    bytes.resize(self.row * 2, 0);
                    read_at(file, start + (values.start * 2) as u64, &mut bytes)
                        .map_err(TrainError::file("the file of kept features"))?;
                    let (pairs, _) = bytes.as_chunks::<2>();
                    out.iter_mut()
                        .zip(pairs)
                        .for_each(|(out, &pair)| *out = f16::from_le_bytes(pair).to_f32());
                }
            }
        }
        Ok(())
    }

    /// Bytes held in memory, and in a file.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        let values = (self.row * self.rows) as u64;
        match &self.held {
            Held::Single(_) => [values * 4, 0],
            Held::Half(_) => [values * 2, 0],
            Held::File { .. } => [0, values * 2],
        }
    }

    /// Features that an earlier run left under this key, if they are whole.
    pub(crate) fn open(
        path: &Path,
        key: &str,
        precision: Precision,
        row: usize,
        rows: usize,
    ) -> Option<Features> {
        let mut file = File::open(path).ok()?;
        let mut length = [0; 8];
        file.read_exact(&mut length).ok()?;
        let length = usize::try_from(u64::from_le_bytes(length)).ok().filter(|&length| length < 1 << 16)?;
        let mut header = vec![0; length];
        file.read_exact(&mut header).ok()?;
        let header: Header = serde_json::from_slice(&header).ok()?;
        let half = precision != Precision::Single;
        let wanted = Header { format: FORMAT.to_owned(), key: key.to_owned(), row, rows, half };
        let size = if half { 2 } else { 4 };
        let start = 8 + length as u64;
        let bytes = row.checked_mul(rows)?.checked_mul(size)?;
        if header != wanted || file.metadata().ok()?.len() != start + bytes as u64 {
            return None;
        }
        let held = match precision {
            Precision::File => Held::File { file, start },
            Precision::Single => {
                let mut data = vec![0; bytes];
                file.read_exact(&mut data).ok()?;
                Held::Single(data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect())
            }
            Precision::Half => {
                let mut data = vec![0; bytes];
                file.read_exact(&mut data).ok()?;
                Held::Half(data.as_chunks::<2>().0.iter().map(|&b| f16::from_le_bytes(b)).collect())
            }
        };
        Some(Features { row, rows, held })
    }
}

/// Takes rows in order.
pub(crate) struct Writer {
    row: usize,
    rows: usize,
    done: usize,
    precision: Precision,
    single: Vec<f32>,
    half: Vec<f16>,
    /// Where they are left, or, for [`Precision::File`], must be.
    file: Option<(tempfile::NamedTempFile, Option<PathBuf>)>,
    start: u64,
}

impl Writer {
    /// For `rows` rows of `row` values. With a path they are also left there for later runs.
    pub(crate) fn new(
        path: Option<&Path>,
        key: &str,
        precision: Precision,
        row: usize,
        rows: usize,
    ) -> Result<Writer, TrainError> {
        let half = precision != Precision::Single;
        let header = Header { format: FORMAT.to_owned(), key: key.to_owned(), row, rows, half };
        let header = serde_json::to_vec(&header).expect("names and numbers are JSON");
        let mut start = 0;
        let file = match path {
            None if precision != Precision::File => None,
            path => {
                let folder = path.and_then(Path::parent).map_or_else(std::env::temp_dir, Path::to_owned);
                let make = || -> std::io::Result<tempfile::NamedTempFile> {
                    std::fs::create_dir_all(&folder)?;
                    let mut file = files::temporary(&folder)?;
                    file.write_all(&(header.len() as u64).to_le_bytes())?;
                    file.write_all(&header)?;
                    Ok(file)
                };
                start = 8 + header.len() as u64;
                Some((make().map_err(TrainError::file(&folder))?, path.map(Path::to_owned)))
            }
        };
        let mut writer =
            Writer { row, rows, done: 0, precision, single: Vec::new(), half: Vec::new(), file, start };
        match precision {
            Precision::Single => writer.single.reserve_exact(row * rows),
            Precision::Half => writer.half.reserve_exact(row * rows),
            Precision::File => {}
        }
        Ok(writer)
    }

    /// The next rows.
    pub(crate) fn push(&mut self, values: &[f32]) -> Result<(), TrainError> {
        assert!(values.len().is_multiple_of(self.row), "whole rows");
        self.done += values.len() / self.row;
        let mut halves = vec![f16::ZERO; if self.precision == Precision::Single { 0 } else { values.len() }];
        let coarse = halves.len();
        halves.convert_from_f32_slice(&values[..coarse]);
        if let Some((file, _)) = &mut self.file {
            let bytes: Vec<u8> = match self.precision {
                Precision::Single => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                _ => halves.iter().flat_map(|v| v.to_le_bytes()).collect(),
            };
            let path = file.path().to_owned();
            file.write_all(&bytes).map_err(TrainError::file(path))?;
        }
        match self.precision {
            Precision::Single => self.single.extend_from_slice(values),
            Precision::Half => self.half.extend_from_slice(&halves),
            Precision::File => {}
        }
        Ok(())
    }

    /// All rows are there.
    pub(crate) fn finish(self) -> Result<Features, TrainError> {
        assert_eq!(self.done, self.rows, "every row was written");
        let Writer { row, rows, precision, single, half, file, start, .. } = self;
        let file = match file {
            None => None,
            Some((file, Some(path))) => {
                let persist = || -> std::io::Result<File> {
                    file.as_file().sync_all()?;
                    Ok(file.persist(&path)?)
                };
                Some(persist().map_err(TrainError::file(&path))?)
            }
            Some((file, None)) => Some(file.into_file()),
        };
        let held = match (precision, file) {
            (Precision::Single, _) => Held::Single(single),
            (Precision::Half, _) => Held::Half(half),
            (Precision::File, Some(file)) => Held::File { file, start },
            (Precision::File, None) => unreachable!("`new` made a file for this precision"),
        };
        Ok(Features { row, rows, held })
    }
}

#[cfg(unix)]
fn read_at(file: &File, at: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(not(unix))]
fn read_at(mut file: &File, at: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<f32> {
        (0..12).map(|i| i as f32 * 0.37 - 1.0).collect()
    }

    fn written(path: Option<&Path>, precision: Precision) -> Features {
        let mut writer = Writer::new(path, "key", precision, 3, 4).unwrap();
        writer.push(&rows()[..6]).unwrap();
        writer.push(&rows()[6..]).unwrap();
        writer.finish().unwrap()
    }

    fn gathered(features: &Features, at: &[usize]) -> Vec<f32> {
        let mut out = vec![-9.0];
        features.gather(at, &mut out).unwrap();
        out
    }

    #[test]
    fn rows_come_back_in_any_order_from_wherever_they_are_held() {
        for precision in [Precision::Single, Precision::Half, Precision::File] {
            let kept = |v: f32| if precision == Precision::Single { v } else { f16::from_f32(v).to_f32() };
            let expected: Vec<f32> = std::iter::once(-9.0)
                .chain([2, 0, 2].iter().flat_map(|&at| rows()[at * 3..at * 3 + 3].to_vec()).map(kept))
                .collect();
            assert_eq!(gathered(&written(None, precision), &[2, 0, 2]), expected, "{precision:?}");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("new folder/features");
            assert_eq!(
                gathered(&written(Some(&path), precision), &[2, 0, 2]),
                expected,
                "{precision:?}, kept"
            );
            let again = Features::open(&path, "key", precision, 3, 4).expect("it was left there");
            assert_eq!(gathered(&again, &[2, 0, 2]), expected, "{precision:?}, found");
        }
    }

    #[test]
    fn what_is_not_whole_or_another_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features");
        written(Some(&path), Precision::Half);
        let open = |key, precision, row, rows| Features::open(&path, key, precision, row, rows).is_some();
        assert!(open("key", Precision::Half, 3, 4) && open("key", Precision::File, 3, 4));
        assert!(!open("other", Precision::Half, 3, 4), "of another network or other photos");
        assert!(!open("key", Precision::Single, 3, 4), "too coarse");
        assert!(!open("key", Precision::Half, 4, 3) && !open("key", Precision::Half, 3, 5));
        let whole = std::fs::read(&path).unwrap();
        for length in [0, 4, 20, whole.len() - 1] {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(!open("key", Precision::Half, 3, 4), "{length} bytes of it");
        }
        std::fs::write(&path, [0xff; 64]).unwrap();
        assert!(!open("key", Precision::Half, 3, 4), "something else");
    }

    #[test]
    fn a_writer_that_stops_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer =
            Writer::new(Some(&folder.path().join("features")), "key", Precision::Half, 3, 4).unwrap();
        writer.push(&rows()[..6]).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_budget_decides() {
        use Precision::{File, Half, Single};
        assert_eq!(Precision::within(4000, &[1000]), [Single]);
        assert_eq!(Precision::within(3999, &[1000]), [Half]);
        assert_eq!(Precision::within(1999, &[1000]), [File]);
        assert_eq!(Precision::within(4400, &[1000, 100]), [Single, Single]);
        assert_eq!(Precision::within(4399, &[1000, 100]), [Half, Single]);
        assert_eq!(Precision::within(2399, &[1000, 100]), [File, Single]);
    }
}
