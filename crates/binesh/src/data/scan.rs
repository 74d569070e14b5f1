//! Finds the pictures and looks at each one once.

use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use sha2::{Digest, Sha256};

use super::{DataError, Dataset, Fingerprint, Item, Layout, Split, table};
use crate::image::{DecodeOptions, ImageError, decode, looks_like_a_picture};

/// What to accept.
#[derive(Clone, Debug)]
pub struct ScanOptions {
    /// How pictures are decoded; its limits hold here too.
    pub decode: DecodeOptions,
    /// Fewest classes; 2 by default.
    pub min_classes: usize,
    /// Fewest pictures of each class; 5 by default.
    pub min_pictures: usize,
    /// The classes of a model that exists, in its order: other labels are an error, classes without a folder
    /// are not. `None` takes the classes from the data.
    pub classes: Option<Vec<String>>,
    /// Threads that decode; one per core by default.
    pub threads: Option<usize>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        ScanOptions {
            decode: DecodeOptions::default(),
            min_classes: 2,
            min_pictures: 5,
            classes: None,
            threads: None,
        }
    }
}

impl ScanOptions {
    /// To evaluate or predict with a model of these classes: any number of pictures will do.
    pub fn of_classes(classes: Vec<String>) -> ScanOptions {
        ScanOptions { classes: Some(classes), min_classes: 0, min_pictures: 0, ..ScanOptions::default() }
    }
}

/// How far [`scan`] is; returning [`ControlFlow::Break`] ends it with [`DataError::Stopped`].
#[derive(Clone, Copy, Debug)]
pub enum ScanEvent<'a> {
    /// All files are listed, none is read yet.
    Found {
        /// How many.
        files: usize,
    },
    /// One more file is read.
    Checked {
        /// Files read so far.
        done: usize,
        /// Files in all.
        files: usize,
        /// The file, when it is left out.
        rejected: Option<&'a Rejected>,
    },
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The file.
    pub path: PathBuf,
    /// Its class.
    pub label: usize,
    /// What kind of trouble it is.
    pub reason: Reason,
    /// One line for a person, that names the file.
    pub message: String,
}

impl Rejected {
    /// Whether nobody would miss it: by its content and by its name it is no picture (`notes.txt`,
    /// `Thumbs.db`). Enough to count these.
    pub fn is_quiet(&self) -> bool {
        const PICTURES: [&str; 10] =
            ["bmp", "gif", "jfif", "jpe", "jpeg", "jpg", "png", "tif", "tiff", "webp"];
        let extension = self.path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        self.reason == Reason::NotAPicture && !extension.is_some_and(|e| PICTURES.contains(&e.as_str()))
    }
}

/// Why a file was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The content is none of the formats read here.
    NotAPicture,
    /// It begins like a picture and is cut off or broken.
    Damaged,
    /// A valid picture of a kind nobody decodes here.
    Unsupported,
    /// More pixels or bytes than the limits allow.
    TooLarge,
    /// It cannot be read, or does not exist.
    Unreadable,
}

/// Finds the pictures of a folder or a table, decodes every one in parallel, and says what is there.
///
/// `path` is one of
///
/// - a folder with a folder per class;
/// - a folder with `train`, `val` and `test` folders (also `validation`, `valid`, `training`, `testing`; at least
///   `train`), each with a folder per class, and nothing else;
/// - a CSV file of `path,label` or `path,label,split`, with or without these headings; paths are relative to it.
///
/// Classes are in byte order of their names and files in the order in which Keras's
/// `image_dataset_from_directory` lists them: by folder, then by name, folders within class folders included.
/// Other than Keras, files are recognized by content (Keras: by extension, `.webp` and `.tiff` not), and hidden
/// files, those whose name begins with a dot, are passed over. Links to files are followed; links to folders only
/// where a class or a split folder is one, so that a loop of links ends.
///
/// Each picture is decoded to its end, since a file that is cut off shows only there; hash and [`Fingerprint`] are
/// by-products. What does not decode is in [`Dataset::rejected`].
pub fn scan(
    path: &Path,
    options: &ScanOptions,
    events: &mut dyn FnMut(ScanEvent<'_>) -> ControlFlow<()>,
) -> Result<Dataset, DataError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let listing = if fs::metadata(path).map_err(io)?.is_dir() {
        list_folder(path, options)?
    } else {
        table::read(path, options.classes.as_deref())?
    };
    if events(ScanEvent::Found { files: listing.files.len() }).is_break() {
        return Err(DataError::Stopped);
    }
    let inside = (listing.layout != Layout::Table).then(|| wrapped(path, &listing.classes)).flatten();
    if listing.classes.len() < options.min_classes {
        let (path, classes) = (path.to_owned(), listing.classes);
        return Err(DataError::TooFewClasses { path, classes, least: options.min_classes, inside });
    }
    let mut data =
        Dataset { classes: listing.classes, items: Vec::new(), rejected: Vec::new(), layout: listing.layout };
    for checked in check_all(&listing.files, options, events)? {
        match checked {
            Ok(item) => data.items.push(item),
            Err(rejected) => data.rejected.push(rejected),
        }
    }
    let counts = data.class_counts();
    let is_short = |label: &usize| counts[*label] < options.min_pictures;
    let short: Vec<usize> = (0..counts.len()).filter(is_short).collect();
    if !short.is_empty() {
        let rejected = data.rejected.iter().filter(|r| short.contains(&r.label)).count();
        let short = short.into_iter().map(|label| (data.classes[label].clone(), counts[label])).collect();
        return Err(DataError::TooFewPictures { short, least: options.min_pictures, rejected });
    }
    Ok(data)
}

/// Files with labels, not looked at yet.
pub(super) struct Listing {
    pub(super) classes: Vec<String>,
    pub(super) files: Vec<Listed>,
    pub(super) layout: Layout,
}

pub(super) struct Listed {
    pub(super) path: PathBuf,
    pub(super) label: usize,
    pub(super) given: Option<Split>,
}

pub(super) fn list_folder(path: &Path, options: &ScanOptions) -> Result<Listing, DataError> {
    let (folders, files) = entries(path)?;
    if folders.is_empty() {
        let is_table = |file: &&PathBuf| file.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
        let table = files.iter().find(is_table).cloned();
        return Err(DataError::NoClassFolders { path: path.to_owned(), files: files.len(), table });
    }
    let splits: Option<Vec<(Split, PathBuf)>> =
        folders.iter().map(|folder| Some((Split::called(&name(folder))?, folder.clone()))).collect();
    let splits = match splits {
        // A class may be called `train`; then it has pictures in it, not classes.
        Some(mut splits) if splits.iter().any(|(split, _)| *split == Split::Train) => {
            splits.sort();
            let has_folders = |folder: &PathBuf| entries(folder).map(|(folders, _)| !folders.is_empty());
            let nested: Result<Vec<bool>, _> = splits.iter().map(|(_, folder)| has_folders(folder)).collect();
            nested?.into_iter().all(|nested| nested).then_some(splits)
        }
        _ => None,
    };
    if splits.is_none() {
        let (parts, extra): (Vec<_>, Vec<_>) =
            folders.iter().partition(|folder| Split::called(&name(folder)).is_some());
        let has_folders = |folder: &&PathBuf| entries(folder).is_ok_and(|(folders, _)| !folders.is_empty());
        let trains = |folder: &&PathBuf| Split::called(&name(folder)) == Some(Split::Train);
        if parts.len() > 1 && parts.iter().any(trains) && parts.iter().all(has_folders) {
            let extra = extra.iter().map(|folder| name(folder)).filter(|name| !is_junk(name)).collect();
            return Err(DataError::NotAPart { path: path.to_owned(), extra });
        }
    }
    let (layout, mut class_folders) = match splits {
        None => (Layout::ClassFolders, folders.into_iter().map(|folder| (None, folder)).collect()),
        Some(splits) => {
            let mut class_folders = Vec::new();
            for (split, folder) in splits {
                class_folders.extend(entries(&folder)?.0.into_iter().map(|folder| (Some(split), folder)));
            }
            (Layout::SplitFolders, class_folders)
        }
    };
    class_folders.retain(|(_, folder)| !is_junk(&name(folder)));

    let names = class_folders.iter().map(|(_, folder)| name(folder));
    let classes = class_list(names, options.classes.as_deref(), path)?;
    let mut files = Vec::new();
    for (given, folder) in class_folders {
        let class = name(&folder);
        let label = classes.iter().position(|c| *c == class).expect("classes are made from these folders");
        files.extend(walk(&folder).into_iter().map(|path| Listed { path, label, given }));
    }
    // With a model's classes, its order is not that of the folders.
    files.sort_by_key(|file| (file.given, file.label));
    Ok(Listing { classes, files, layout })
}

/// The known classes, else the names in byte order.
pub(super) fn class_list(
    names: impl Iterator<Item = String>,
    known: Option<&[String]>,
    path: &Path,
) -> Result<Vec<String>, DataError> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    let Some(known) = known else { return Ok(names) };
    let unknown: Vec<String> = names.into_iter().filter(|name| !known.contains(name)).collect();
    let Some(first) = unknown.first() else { return Ok(known.to_vec()) };
    let mut similar: Vec<(f64, &String)> =
        known.iter().map(|name| (strsim::jaro_winkler(first, name), name)).collect();
    similar.retain(|(alike, _)| *alike > 0.8);
    similar.sort_by(|a, b| b.0.total_cmp(&a.0));
    let similar = similar.into_iter().map(|(_, name)| name.clone()).take(3).collect();
    Err(DataError::UnknownClass { path: path.to_owned(), unknown, known: known.to_vec(), similar })
}

/// What archivers and file servers leave behind beside class folders.
pub(super) fn is_junk(name: &str) -> bool {
    ["__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information"].contains(&name)
}

/// The only folder, when classes are one level further down.
fn wrapped(path: &Path, classes: &[String]) -> Option<PathBuf> {
    let [only] = classes else { return None };
    let inside = path.join(only);
    (entries(&inside).ok()?.0.len() > 1).then_some(inside)
}

/// Folders and other entries of a folder that are not hidden, each in byte order of names.
pub(super) fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if name(&path).starts_with('.') {
            continue;
        }
        // A link that leads nowhere is listed as a file and fails as one.
        if path.is_dir() { folders.push(path) } else { files.push(path) }
    }
    let bytes = |path: &PathBuf| path.as_os_str().as_encoded_bytes().to_vec();
    folders.sort_by_cached_key(bytes);
    files.sort_by_cached_key(bytes);
    Ok((folders, files))
}

/// Python's `sorted(os.walk(folder))`, the files of each folder sorted: folders by their whole path, in byte order.
/// A folder that cannot be read stands for its files, and fails as one.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let (mut open, mut roots) = (vec![folder.to_owned()], Vec::new());
    while let Some(root) = open.pop() {
        let files = match entries(&root) {
            Ok((folders, files)) => {
                open.extend(folders.into_iter().filter(|folder| !folder.is_symlink()));
                files
            }
            Err(_) => vec![root.clone()],
        };
        roots.push((root, files));
    }
    roots.sort_by_cached_key(|(root, _)| root.as_os_str().as_encoded_bytes().to_vec());
    roots.into_iter().flat_map(|(_, files)| files).collect()
}

/// The last part of a path. Bytes that are no UTF-8 are replaced: only labels are made from it, never paths.
pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub(super) type Checked = Result<Item, Rejected>;

pub(super) fn check_all(
    files: &[Listed],
    options: &ScanOptions,
    events: &mut dyn FnMut(ScanEvent<'_>) -> ControlFlow<()>,
) -> Result<Vec<Checked>, DataError> {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.unwrap_or_else(cores).clamp(1, files.len().max(1));
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let mut checked: Vec<Option<Checked>> = files.iter().map(|_| None).collect();
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, stopped) = (sender.clone(), &next, &stopped);
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index) else { break };
                    if sender.send((index, check(file, &options.decode))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for (done, (index, result)) in receiver.iter().enumerate() {
            let event =
                ScanEvent::Checked { done: done + 1, files: files.len(), rejected: result.as_ref().err() };
            let flow = events(event);
            checked[index] = Some(result);
            if flow.is_break() {
                stopped.store(true, Ordering::Relaxed);
                return Err(DataError::Stopped);
            }
        }
        Ok(())
    })?;
    Ok(checked.into_iter().map(|result| result.expect("every file was sent back")).collect())
}

fn check(file: &Listed, options: &DecodeOptions) -> Checked {
    let name = file.path.display().to_string();
    // A decoder's bug on one hostile file must not end the scan of a thousand good ones.
    let looked = catch_unwind(AssertUnwindSafe(|| look(&file.path, &name, options)));
    let (reason, message) = match looked {
        Ok(Ok((content, fingerprint))) => {
            let (path, label, given) = (file.path.clone(), file.label, file.given);
            return Ok(Item { path, label, content, fingerprint, given });
        }
        Ok(Err(error)) => (Reason::of(&error), error.to_string()),
        Err(_) => (Reason::Damaged, format!("{name}: damaged picture: the decoder gave up")),
    };
    Err(Rejected { path: file.path.clone(), label: file.label, reason, message })
}

fn look(path: &Path, name: &str, options: &DecodeOptions) -> Result<([u8; 32], Fingerprint), ImageError> {
    const HEADER: u64 = 64;
    let io = |source| ImageError::Io { path: path.to_owned(), source };
    // A pipe or a device is never opened: that could block for ever.
    let metadata = fs::metadata(path).map_err(io)?;
    let unrecognized = || ImageError::Unrecognized { name: name.into() };
    if !metadata.is_file() {
        if metadata.is_dir() {
            fs::read_dir(path).map_err(io)?;
        }
        return Err(unrecognized());
    }
    let mut file = File::open(path).map_err(io)?;
    let mut bytes = Vec::new();
    (&mut file).take(HEADER).read_to_end(&mut bytes).map_err(io)?;
    // A film beside the photos is not read to its end to learn that.
    if !looks_like_a_picture(&bytes) {
        return Err(unrecognized());
    }
    let limit = options.limits.max_bytes;
    if metadata.len() > limit {
        return Err(ImageError::TooManyBytes { name: name.into(), bytes: metadata.len(), limit });
    }
    file.take(limit).read_to_end(&mut bytes).map_err(io)?;
    // Scaled, a JPEG is still decoded to its end: only the inverse transform is smaller.
    let scaled = options.at_least.map_or_else(|| options.at_least(Fingerprint::ENOUGH), |_| *options);
    let picture = decode(name, &bytes, &scaled)?;
    Ok((Sha256::digest(&bytes).into(), Fingerprint::of(&picture)))
}

impl Reason {
    fn of(error: &ImageError) -> Reason {
        match error {
            ImageError::Unrecognized { .. } => Reason::NotAPicture,
            ImageError::TooManyBytes { .. } | ImageError::TooManyPixels { .. } => Reason::TooLarge,
            ImageError::Unsupported { .. } => Reason::Unsupported,
            ImageError::Io { .. } => Reason::Unreadable,
            _ => Reason::Damaged,
        }
    }
}
