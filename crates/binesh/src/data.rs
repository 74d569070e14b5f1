//! Photos with labels: found in folders or a table, checked, split, augmented and read ahead.
//!
//! [`scan`] looks at every file once and gives a [`Dataset`]; [`Dataset::split`] says which pictures train.
//!
//! ```
//! # fn main() -> Result<(), binesh::data::DataError> {
//! use std::ops::ControlFlow;
//!
//! use binesh::data::{self, ScanOptions, Split, SplitSpec};
//! use binesh::image::Picture;
//!
//! // A folder per class: the name is the label.
//! let photos = tempfile::tempdir().expect("a folder");
//! for (class, step) in [("grass", 7), ("sky", 12)] {
//!     std::fs::create_dir(photos.path().join(class)).expect("a folder");
//!     for i in 0..10 {
//!         let pixels = (0..24 * 32 * 3).map(|p| (p * (step + i) % 251) as u8).collect();
//!         let photo = Picture::rgb(24, 32, pixels).expect("24 x 32 pixels");
//!         binesh::render::write_png(&photos.path().join(format!("{class}/{i}.png")), &photo).expect("a file");
//!     }
//! }
//!
//! let data = data::scan(photos.path(), &ScanOptions::default(), &mut |_| ControlFlow::Continue(()))?;
//! assert_eq!(data.classes, ["grass", "sky"]);
//!
//! let splits = data.split(&SplitSpec::Stratified { validation: 0.2, test: 0.0, seed: 7 })?;
//! assert_eq!(data.counts(&splits, Split::Train), [8, 8]);
//! assert_eq!(data.counts(&splits, Split::Validation), [2, 2]);
//! # Ok(())
//! # }
//! ```

pub mod augment;
mod collect;
mod duplicates;
mod numpy_random;
mod reader;
mod scan;
mod split;
mod table;
mod weights;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use augment::Augment;
pub use collect::{Collection, Photo, collect};
pub use duplicates::{Duplicate, DuplicateKind, DuplicateOptions, Fingerprint};
pub use reader::{Reader, ReaderOptions, Turn};
pub use scan::{Reason, Rejected, ScanEvent, ScanOptions, scan};
pub use split::SplitSpec;
pub use weights::balanced;

/// Pictures with labels, as [`scan`] found them.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Names; an item's label is an index into them.
    pub classes: Vec<String>,
    /// Every picture that could be decoded, by class, then as Keras lists files (see [`scan`]).
    pub items: Vec<Item>,
    /// Every file that was left out, with the reason.
    pub rejected: Vec<Rejected>,
    /// How labels were written down.
    pub layout: Layout,
}

/// One picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The file: the path given to [`scan`], then what is below it.
    pub path: PathBuf,
    /// Index into [`Dataset::classes`].
    pub label: usize,
    /// SHA-256 of the file's bytes.
    pub content: [u8; 32],
    /// What it looks like; tells copies from other pictures.
    pub fingerprint: Fingerprint,
    /// Where the folder or the table puts it.
    pub given: Option<Split>,
}

/// What a picture is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Weights learn from it.
    Train,
    /// Decides when to stop and what to keep.
    Validation,
    /// Looked at once, at the end.
    Test,
}

impl Split {
    /// All three, in this order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    /// `train`, `validation`, `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }

    /// The split that a folder or a table calls so, in any case.
    fn called(name: &str) -> Option<Split> {
        Some(match name.to_ascii_lowercase().as_str() {
            "train" | "training" => Split::Train,
            "val" | "valid" | "validation" => Split::Validation,
            "test" | "testing" => Split::Test,
            _ => return None,
        })
    }
}

/// How the labels of a [`Dataset`] are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A folder per class.
    ClassFolders,
    /// `train`, `val` and `test`, each with a folder per class.
    SplitFolders,
    /// A table of path, label and perhaps split.
    Table,
}

impl Dataset {
    /// The label of each item.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.items.iter().map(|item| item.label)
    }

    /// Pictures of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.items.iter().for_each(|item| counts[item.label] += 1);
        counts
    }

    /// Pictures of each class in one split.
    ///
    /// # Panics
    /// If there is not one split per item.
    pub fn counts(&self, splits: &[Split], split: Split) -> Vec<usize> {
        assert_eq!(splits.len(), self.items.len(), "one split per item");
        let mut counts = vec![0; self.classes.len()];
        for (item, _) in self.items.iter().zip(splits).filter(|(_, s)| **s == split) {
            counts[item.label] += 1;
        }
        counts
    }

    /// Indices of the items in one split, ascending.
    ///
    /// # Panics
    /// If there is not one split per item.
    pub fn indices(&self, splits: &[Split], split: Split) -> Vec<usize> {
        assert_eq!(splits.len(), self.items.len(), "one split per item");
        (0..splits.len()).filter(|&i| splits[i] == split).collect()
    }
}

/// Why there is no dataset or no split. [`DataError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The folder or the table could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was opened.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A folder without folders.
    #[error("{}: no class folders", path.display())]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
        /// Files directly in it.
        files: usize,
        /// A table in it.
        table: Option<PathBuf>,
    },
    /// Too few classes.
    #[error("{}: {}, at least {least} are needed", path.display(), classes_found(classes))]
    TooFewClasses {
        /// The folder or table.
        path: PathBuf,
        /// What was found.
        classes: Vec<String>,
        /// [`ScanOptions::min_classes`].
        least: usize,
        /// Where more classes are, when the only one is a wrapper around them.
        inside: Option<PathBuf>,
    },
    /// Classes with too few pictures.
    #[error("too few pictures, at least {least} of each class are needed: {}", listed(short))]
    TooFewPictures {
        /// Classes with too few pictures, and how many each has.
        short: Vec<(String, usize)>,
        /// [`ScanOptions::min_pictures`].
        least: usize,
        /// Files of these classes that were left out.
        rejected: usize,
    },
    /// Folders beside `train`, `val` and `test` that are no part.
    #[error("{}: {} no part of the photos", path.display(), quoted(extra, ", beside `train`, is", ", beside `train`, are"))]
    NotAPart {
        /// The folder.
        path: PathBuf,
        /// The folders in it.
        extra: Vec<String>,
    },
    /// Labels that are none of [`ScanOptions::classes`].
    #[error("{}: {} none of the model's {} classes: {}", path.display(), quoted(unknown, " is", " are"), known.len(), quoted(known, "", ""))]
    UnknownClass {
        /// The folder or table.
        path: PathBuf,
        /// The labels.
        unknown: Vec<String>,
        /// The classes that are known.
        known: Vec<String>,
        /// Known classes that are similar to the first of the labels, best first.
        similar: Vec<String>,
    },
    /// A table that cannot be read.
    #[error("{}, line {line}: {reason}", path.display())]
    Table {
        /// The table.
        path: PathBuf,
        /// Line of the file, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A split that cannot be made.
    #[error("cannot split {pictures} pictures: {reason}")]
    Split {
        /// Pictures to be split.
        pictures: usize,
        /// Why not.
        reason: String,
    },
    /// The events callback said stop.
    #[error("stopped while reading the pictures")]
    Stopped,
}

impl DataError {
    /// The way out, when it is known; printed after the message as `hint: ...`.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            DataError::NoClassFolders { table: Some(table), .. } => {
                format!("to use the table in it, give `{}`", table.display())
            }
            DataError::NoClassFolders { files, .. } => {
                let sorted = "sort the pictures into one folder per class, named as the class";
                if *files > 0 { format!("{sorted}, or write a CSV of path,label") } else { sorted.into() }
            }
            DataError::TooFewClasses { inside: Some(inside), .. } => {
                format!("the class folders seem to be in `{}`", inside.display())
            }
            DataError::TooFewClasses { .. } => {
                "a folder per class is expected; pictures of what it is not make a class too".into()
            }
            DataError::TooFewPictures { rejected: 0, .. } => {
                "add pictures, or remove the folder of a class that is not meant".into()
            }
            DataError::TooFewPictures { rejected, .. } => {
                let files =
                    if *rejected == 1 { "1 file was".into() } else { format!("{rejected} files were") };
                format!("{files} left out as damaged or no picture; add pictures, or remove the class")
            }
            DataError::NotAPart { .. } => {
                "the parts are called train, val and test; move other folders away, or give one part as the photos".into()
            }
            DataError::UnknownClass { similar, .. } if !similar.is_empty() => {
                format!("did you mean `{}`?", similar[0])
            }
            DataError::UnknownClass { .. } => {
                "folders and labels must be named as the model's classes".into()
            }
            DataError::Table { .. } => {
                "a table has the columns path,label and perhaps split (train, validation or test)".into()
            }
            _ => return None,
        })
    }
}

/// `a`, `b`: cut after ten, with the verb that fits.
fn quoted(names: &[String], one: &str, more: &str) -> String {
    let mut shown: Vec<String> = names.iter().take(10).map(|name| format!("`{name}`")).collect();
    if names.len() > shown.len() {
        shown.push(format!("{} more", names.len() - shown.len()));
    }
    shown.join(", ") + if names.len() == 1 { one } else { more }
}

fn classes_found(classes: &[String]) -> String {
    match classes {
        [] => "no class".into(),
        [class] => format!("only one class, `{class}`"),
        classes => format!("only {} classes", classes.len()),
    }
}

/// `cat 3, dog 0`, cut after ten.
fn listed(classes: &[(String, usize)]) -> String {
    let shown: Vec<String> = classes.iter().take(10).map(|(name, count)| format!("{name} {count}")).collect();
    let more = classes.len().saturating_sub(shown.len());
    let more = if more > 0 { format!(", and {more} more classes") } else { String::new() };
    shown.join(", ") + &more
}
