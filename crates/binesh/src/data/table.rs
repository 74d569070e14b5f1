//! A CSV file of paths and labels.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use csv::{ReaderBuilder, StringRecord, Trim};

use super::scan::{Listed, Listing, class_list};
use super::{DataError, Dataset, Item, Layout, Split};

/// Which column holds what.
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
}

impl Columns {
    /// `path,label,split` without headings.
    const PLAIN: Columns = Columns { path: 0, label: 1, split: Some(2) };

    /// From headings, in any order and among others. `None` if the line is none.
    fn from_headings(line: &StringRecord) -> Option<Columns> {
        let find = |names: &[&str]| line.iter().position(|cell| names.contains(&&*cell.to_ascii_lowercase()));
        Some(Columns {
            path: find(&["path", "file", "filename", "filepath", "file_path", "image", "picture", "photo"])?,
            label: find(&["label", "labels", "class", "category", "target"])?,
            split: find(&["split", "set", "subset", "fold"]),
        })
    }
}

impl Dataset {
    /// Which photo has which part, as CSV: `path,label,split,sha256`, with absolute paths. [`scan`](super::scan()) reads
    /// such a file, too.
    pub fn table(&self, splits: &[Split]) -> Result<String, DataError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let mut write = |row: [&str; 4]| writer.write_record(row).expect("memory takes what is written");
        write(["path", "label", "split", "sha256"]);
        for (item, split) in self.items.iter().zip(splits) {
            let io = |source| DataError::Io { path: item.path.clone(), source };
            let path = std::path::absolute(&item.path).map_err(io)?;
            write([&path.to_string_lossy(), &self.classes[item.label], split.name(), &hex(&item.content)]);
        }
        let bytes = writer.into_inner().expect("memory takes what is written");
        Ok(String::from_utf8(bytes).expect("made of text"))
    }

    /// The part that each photo has in a [`Dataset::table`] that was written at `path`; none where it has none. Photos are
    /// known by their bytes, wherever they are now and whatever they are called. Of copies in several parts one is
    /// where its folder says, else it was trained on; there are as many as there were.
    pub fn splits_in(&self, path: &Path) -> Result<Vec<Option<Split>>, DataError> {
        let wrong = |error: csv::Error| DataError::Table {
            path: path.to_owned(),
            line: error.position().map_or(1, |position| position.line()),
            reason: error.to_string(),
        };
        let mut parts: HashMap<String, Vec<Split>> = HashMap::new();
        for row in ReaderBuilder::new().from_path(path).map_err(wrong)?.into_records() {
            let row = row.map_err(wrong)?;
            if let (Some(split), Some(content)) = (row.get(2).and_then(Split::called), row.get(3)) {
                parts.entry(content.to_owned()).or_default().push(split);
            }
        }
        // A copy that came later finds nothing left.
        let part = |item: &Item| {
            let parts = parts.get_mut(&hex(&item.content)).filter(|parts| !parts.is_empty())?;
            let mut likely = [item.given, Some(Split::Train)].into_iter().flatten();
            let at = likely.find_map(|likely| parts.iter().position(|&part| part == likely));
            Some(parts.remove(at.unwrap_or(0)))
        };
        Ok(self.items.iter().map(part).collect())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files that a table lists, in its order within each class.
///
/// Fields are separated by commas, or by semicolons or tabs when the first line has no comma.
pub(super) fn read(path: &Path, known: Option<&[String]>) -> Result<Listing, DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let wrong = |line: u64, reason: String| DataError::Table { path: path.to_owned(), line, reason };
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    if crate::image::looks_like_a_picture(bytes) {
        return Err(wrong(1, "this is a picture, not a folder or a table of pictures".into()));
    }
    let first_line = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let unquoted: Vec<u8> = first_line.split(|&b| b == b'"').step_by(2).flatten().copied().collect();
    let delimiter = [b',', b';', b'\t'].into_iter().find(|d| unquoted.contains(d)).unwrap_or(b',');
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(Trim::All)
        .delimiter(delimiter)
        .from_reader(bytes);

    let folder = path.parent().unwrap_or(Path::new(""));
    let mut columns = None;
    let mut rows: Vec<(PathBuf, String, Option<Split>)> = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(1, |position| position.line());
            let reason = match error.kind() {
                csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8".into(),
                _ => error.to_string(),
            };
            wrong(line, reason)
        })?;
        let line = record.position().map_or(1, |position| position.line());
        if columns.is_none() {
            columns = Columns::from_headings(&record);
            if columns.is_some() {
                continue;
            }
        }
        let columns = columns.get_or_insert(Columns::PLAIN);
        let cell = |column: usize| record.get(column).filter(|cell| !cell.is_empty());
        let file = cell(columns.path).ok_or_else(|| wrong(line, "no path".into()))?;
        let label = cell(columns.label).ok_or_else(|| wrong(line, format!("no label for `{file}`")))?;
        let split = columns.split.and_then(cell).map(|name| {
            let unknown = || format!("split `{name}` is none of train, validation, test");
            Split::called(name).ok_or_else(|| wrong(line, unknown()))
        });
        rows.push((folder.join(file), label.to_owned(), split.transpose()?));
    }
    let classes = class_list(rows.iter().map(|row| row.1.clone()), known, path)?;
    let label = |name: &String| classes.iter().position(|c| c == name).expect("classes are made from these");
    let mut files: Vec<Listed> = rows
        .iter()
        .map(|(path, name, given)| Listed { path: path.clone(), label: label(name), given: *given })
        .collect();
    files.sort_by_key(|file| file.label);
    Ok(Listing { classes, files, layout: Layout::Table })
}
