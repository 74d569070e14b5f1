//! Bytes from a file are hostile: whatever is changed of any file that we have, no reader panics, takes long or takes more
//! memory than the file's size allows.
//!
//! Seeds are all goldens, `testdata/bad`, and what once did harm, in `testdata/regress/READER`. `BINESH_FUZZ=N` makes N times
//! as many changes, of other seeds of chance for each N; `BINESH_FUZZ_SECONDS=S` goes on for so long with each reader, and
//! `BINESH_FUZZ_READER=NAME` looks at one alone. The same functions are the targets of `cargo fuzz` in `fuzz/`.

#[path = "hostile/bytes.rs"]
mod bytes;
#[path = "hostile/mutate.rs"]
mod mutate;
#[path = "hostile/readers.rs"]
mod readers;

use std::alloc::System;
use std::fs;
use std::io::{Cursor, Read};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::bytes::Random;
use self::mutate::mutated;
use self::readers::{READERS, Reader};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// No file of these sizes may keep us longer than this, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a reader may allocate of memory, all that it has given back counted too: so much, and so many times the file's size.
/// The limits of `readers.rs` allow tensors of 8 MiB and constants of as much, twice.
const BASE: usize = 64 << 20;
const PER_BYTE: usize = 200;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

/// All files below a folder, in the order of their paths.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

struct Seed {
    name: String,
    bytes: Vec<u8>,
}

/// The files that a reader begins with: those with its endings, and what once did harm to any reader.
fn seeds(reader: &Reader) -> Vec<Seed> {
    // Of arrays there are thousands, all alike.
    let arrays = reader.name.starts_with("np");
    let most = if arrays { 16 << 10 } else { 1 << 20 };
    let ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        let ending = reader.seeds.iter().any(|ending| name.ends_with(ending));
        ending && (arrays || !matches!(&*name, "io.json" | "messages.json"))
    };
    let read = |path: PathBuf| Seed {
        name: path.strip_prefix(testdata("")).unwrap().display().to_string(),
        bytes: fs::read(&path).unwrap(),
    };
    let paths = ["golden", "bad"].into_iter().flat_map(|folder| files(&testdata(folder))).filter(ours);
    let mut seeds: Vec<Seed> = paths.map(read).filter(|seed| seed.bytes.len() < most).collect();
    if arrays {
        seeds.truncate(20);
    }
    if reader.name == "npy" {
        seeds = seeds.iter().flat_map(entries).collect();
    }
    seeds.extend(files(&testdata("regress")).into_iter().map(read));
    seeds
}

/// The first entries of a zip archive.
fn entries(seed: &Seed) -> Vec<Seed> {
    let mut zip = zip::ZipArchive::new(Cursor::new(&seed.bytes)).unwrap();
    let first = zip.len().min(3);
    let entry = |i: usize| {
        let (mut entry, mut bytes) = (zip.by_index(i).unwrap(), Vec::new());
        entry.read_to_end(&mut bytes).unwrap();
        Seed { name: format!("{}/{i}", seed.name), bytes }
    };
    (0..first).map(entry).collect()
}

/// What came of the files that a reader was given.
#[derive(Default)]
struct Count {
    accepted: usize,
    refused: usize,
    slowest: Duration,
    /// Bytes allocated for one file, at most.
    memory: usize,
}

impl Count {
    /// Reads; panics if reading did, took too long or too much memory, and leaves the bytes in a file then.
    fn read(&mut self, reader: &Reader, what: &str, bytes: &[u8]) {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.bin", reader.name));
        if seconds().is_some() {
            // What ends the program cannot be written down afterwards.
            fs::write(&kept, bytes).unwrap();
        }
        let (start, before) = (Instant::now(), COUNTED.stats().bytes_allocated);
        let accepted = catch_unwind(|| (reader.read)(bytes));
        let (time, memory) = (start.elapsed(), COUNTED.stats().bytes_allocated.wrapping_sub(before));
        let fault = match accepted {
            Err(_) => Some("panicked".to_owned()),
            Ok(_) if time > PATIENCE => Some(format!("took {time:?}")),
            Ok(_) if memory > BASE + bytes.len() * PER_BYTE => {
                Some(format!("allocated {memory} bytes for a file of {}", bytes.len()))
            }
            Ok(_) => None,
        };
        if let Some(fault) = fault {
            fs::write(&kept, bytes).unwrap();
            panic!("{}, {what}: {fault}; the file is {}", reader.name, kept.display());
        }
        if accepted.is_ok_and(|accepted| accepted) {
            self.accepted += 1
        } else {
            self.refused += 1
        }
        (self.slowest, self.memory) = (self.slowest.max(time), self.memory.max(memory));
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn seconds() -> Option<u64> {
    setting("BINESH_FUZZ_SECONDS").map(|n| n.parse().expect("BINESH_FUZZ_SECONDS is a number"))
}

/// One test, because the allocator counts for all threads.
#[test]
fn no_change_of_a_file_does_harm() {
    let times: usize = setting("BINESH_FUZZ").map_or(1, |n| n.parse().expect("BINESH_FUZZ is a number"));
    let only = setting("BINESH_FUZZ_READER");
    for reader in READERS.iter().filter(|reader| only.as_ref().is_none_or(|only| only == reader.name)) {
        let begun = Instant::now();
        let seeds = seeds(reader);
        let mut count = Count::default();
        for seed in &seeds {
            count.read(reader, &seed.name, &seed.bytes);
        }
        let (whole, regress) =
            (count.accepted, seeds.iter().filter(|s| s.name.starts_with("regress")).count());
        for seed in &seeds {
            let step = (seed.bytes.len() / 25).max(1);
            for cut in (0..seed.bytes.len()).step_by(step) {
                count.read(reader, &format!("{} cut at {cut}", seed.name), &seed.bytes[..cut]);
            }
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ times as u64);
        let changes = Instant::now();
        let least = 400 * times / seeds.len().max(1) + 1;
        let more = |round: usize| match seconds() {
            Some(seconds) => changes.elapsed().as_secs() < seconds,
            None => round < least,
        };
        for round in (0..).take_while(|&round| more(round)) {
            for seed in &seeds {
                let other = &seeds[random.below(seeds.len())].bytes;
                let bytes = mutated(&seed.bytes, other, &mut random);
                count.read(reader, &format!("{}, round {round}", seed.name), &bytes);
            }
        }
        let Count { accepted, refused, slowest, memory } = count;
        println!(
            "{:14} {:3} seeds ({whole} accepted, {regress} of harm), {:7} files, {accepted} accepted, slowest {slowest:?}, \
             {:.1} MB, {:.0?}",
            reader.name,
            seeds.len(),
            accepted + refused,
            memory as f64 / 1e6,
            begun.elapsed()
        );
        assert!(whole > 0 && accepted > whole && refused > whole, "{}: this tests nothing", reader.name);
    }
}
