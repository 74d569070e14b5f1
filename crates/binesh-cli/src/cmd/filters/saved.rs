//! What an earlier run has left in the folder: `filters.json`, and the pictures it names.

use std::path::Path;

use anyhow::Result;
use binesh::render::write_file;
use binesh::view::filters::{Chance, Wanted};
use serde::{Deserialize, Serialize};

use super::Kind;
use crate::args::read_file;
use crate::cmd::plain;

/// Everything that decides what is learned, but for what it is learned for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) model: String,
    /// As given; `null` for the built-in network.
    pub(super) file: Option<String>,
    pub(super) recipe: Kind,
    /// Rows, columns.
    pub(super) size: [usize; 2],
    pub(super) steps: usize,
    pub(super) seed: u64,
}

/// A learned picture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) name: String,
    /// From 0.
    pub(super) copy: usize,
    /// Relative to the folder.
    pub(super) file: String,
    pub(super) reached: f64,
    pub(super) random: Random,
    pub(super) rose: bool,
    #[serde(default)]
    pub(super) photos: Vec<PhotoEntry>,
    #[serde(default)]
    pub(super) photos_file: Option<String>,
}

/// The answers to random pictures.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Random {
    pub(super) mean: f64,
    pub(super) most: f64,
    pub(super) deviation: f64,
    pub(super) pictures: usize,
}

/// A photo that excites a filter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct PhotoEntry {
    pub(super) image: String,
    pub(super) answer: f64,
    /// Row and column of the map.
    pub(super) at: Option<[usize; 2]>,
    /// Top, left, height and width of what is seen, in the picture that the network is shown.
    pub(super) patch: [usize; 4],
}

impl From<Chance> for Random {
    fn from(Chance { mean, most, deviation, pictures }: Chance) -> Random {
        Random { mean, most, deviation, pictures }
    }
}

impl From<Random> for Chance {
    fn from(Random { mean, most, deviation, pictures }: Random) -> Chance {
        Chance { mean, most, deviation, pictures }
    }
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(flatten)]
    key: Key,
    filters: Vec<Entry>,
}

/// The pictures of a folder.
pub(super) struct Saved {
    pub(super) key: Key,
    entries: Vec<Entry>,
}

const FILE: &str = "filters.json";
/// More than any run writes.
const MOST_BYTES: u64 = 256 << 20;

impl Saved {
    /// Those of the folder that were learned in the same way and are still there; whatever else it holds counts as nothing.
    pub(super) fn open(folder: &Path, key: Key) -> Saved {
        let bytes = read_file(&folder.join(FILE), MOST_BYTES).unwrap_or_default();
        let found: Option<Document> = serde_json::from_slice(&bytes).ok();
        let entries =
            found.filter(|document| document.key == key).map_or(Vec::new(), |document| document.filters);
        let is_there = |entry: &Entry| {
            // Only a name of our own making is a file of this folder.
            entry.file == name(&entry.name, entry.copy, 0) && folder.join(&entry.file).is_file()
        };
        Saved { key, entries: entries.into_iter().filter(is_there).collect() }
    }

    /// Whether all copies are there; with fewer or more, diversity would have made others.
    pub(super) fn has(&self, wanted: &Wanted) -> bool {
        self.entries.iter().filter(|entry| entry.name == wanted.objective.name).count() == wanted.copies
    }

    /// A name for a picture's file.
    pub(super) fn file(&self, objective: &str, copy: usize) -> String {
        let own = |entry: &&Entry| entry.name == objective && entry.copy == copy;
        let used = |file: &String| self.entries.iter().filter(|e| !own(e)).any(|entry| entry.file == *file);
        let names = (0..).map(|number| name(objective, copy, number));
        names.into_iter().find(|file| !used(file)).expect("the numbers do not end")
    }

    /// Takes the copies of a name in their order; the first takes the place of all that were there.
    pub(super) fn add(&mut self, entry: Entry) {
        self.entries.retain(|other| other.name != entry.name || other.copy < entry.copy);
        self.entries.push(entry);
    }

    /// The pictures of what is wanted, in its order.
    pub(super) fn of(&self, wanted: &[Wanted]) -> Vec<Entry> {
        let copies = |wanted: &Wanted| -> Vec<Entry> {
            let own = |entry: &&Entry| entry.name == wanted.objective.name && entry.copy < wanted.copies;
            self.entries.iter().filter(own).cloned().collect()
        };
        wanted.iter().flat_map(copies).collect()
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let document = Document { key: self.key.clone(), filters: self.entries.clone() };
        let text = serde_json::to_string_pretty(&document)?;
        Ok(write_file(&folder.join(FILE), format!("{text}\n").as_bytes())?)
    }
}

/// The file of a copy; names that only differ in other characters than letters and digits get a number.
fn name(objective: &str, copy: usize, number: usize) -> String {
    let copy = if copy == 0 { String::new() } else { format!("-{}", copy + 1) };
    let number = if number == 0 { String::new() } else { format!("_{}", number + 1) };
    format!("{}{copy}{number}.png", plain(objective))
}
