//! Photos from wherever they are, with labels where there are any.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::scan::{Listed, Listing, check_all, entries, is_junk, list_folder, name};
use super::{DataError, Rejected, ScanEvent, ScanOptions, table};

/// Photos of which some may have a label.
#[derive(Clone, Debug)]
pub struct Collection {
    /// Names, in byte order; a photo's label is an index into them.
    pub classes: Vec<String>,
    /// Every photo that could be decoded, in the order given; those of a folder or a table as [`scan`](super::scan)
    /// lists them.
    pub photos: Vec<Photo>,
    /// Every file that was left out, with the reason. The label of one that has none is 0.
    pub rejected: Vec<Rejected>,
}

/// A photo that may have a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// The file.
    pub path: PathBuf,
    /// Index into [`Collection::classes`].
    pub label: Option<usize>,
}

/// Finds photos and decodes every one, as [`scan`](super::scan) does. Each of `paths` is
///
/// - what `scan` takes: class folders, split folders, or a `.csv` table; these photos have labels;
/// - a folder without folders in it: all its files are photos;
/// - a photo.
///
/// The least numbers and the classes of `options` do not count. A class without photos is none.
pub fn collect(
    paths: &[PathBuf],
    options: &ScanOptions,
    events: &mut dyn FnMut(ScanEvent<'_>) -> ControlFlow<()>,
) -> Result<Collection, DataError> {
    let options = ScanOptions { classes: None, ..options.clone() };
    let (mut files, mut names) = (Vec::new(), Vec::new());
    for path in paths {
        match list(path, &options)? {
            Some(listing) => {
                names.extend(listing.files.iter().map(|file| Some(listing.classes[file.label].clone())));
                files.extend(listing.files);
            }
            None => {
                let loose = loose(path)?;
                names.extend(loose.iter().map(|_| None));
                files.extend(loose.into_iter().map(|path| Listed { path, label: 0, given: None }));
            }
        }
    }
    let mut classes: Vec<String> = names.iter().flatten().cloned().collect();
    classes.sort();
    classes.dedup();
    let label = |name: &Option<String>| name.as_ref().and_then(|name| classes.binary_search(name).ok());
    let labels: Vec<Option<usize>> = names.iter().map(label).collect();
    files.iter_mut().zip(&labels).for_each(|(file, label)| file.label = label.unwrap_or_default());
    if events(ScanEvent::Found { files: files.len() }).is_break() {
        return Err(DataError::Stopped);
    }
    let mut collection = Collection { classes, photos: Vec::new(), rejected: Vec::new() };
    for (checked, label) in check_all(&files, &options, events)?.into_iter().zip(labels) {
        match checked {
            Ok(item) => collection.photos.push(Photo { path: item.path, label }),
            Err(rejected) => collection.rejected.push(rejected),
        }
    }
    Ok(collection)
}

/// Photos with labels; none where these have none.
fn list(path: &Path, options: &ScanOptions) -> Result<Option<Listing>, DataError> {
    if path.is_dir() {
        let (folders, _) = entries(path)?;
        let of_classes = folders.iter().any(|folder| !is_junk(&name(folder)));
        return of_classes.then(|| list_folder(path, options)).transpose();
    }
    let is_table = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    is_table.then(|| table::read(path, None)).transpose()
}

/// The photos of a folder, or the one photo that the path is.
fn loose(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.is_dir() { Ok(entries(path)?.1) } else { Ok(vec![path.to_owned()]) }
}
