//! Pictures are as hostile as models: whatever is changed of a file, and whatever it promises, decoding takes little time and
//! no more memory than the limits say. So it is with weights that nearly are those of a known network.
//!
//! `BINESH_FUZZ=N` makes N times as many changes.

#[path = "../../binesh-formats/tests/hostile/bytes.rs"]
mod bytes;

use std::alloc::System;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use binesh::core::Tensor;
use binesh::formats::Limits as FormatLimits;
use binesh::formats::npy::Npz;
use binesh::image::{DecodeOptions, Limits, decode};
use binesh::zoo::{self, Request};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::bytes::{NUMBERS, Random, change_bytes};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const PATIENCE: Duration = Duration::from_secs(20);

/// What decoding may allocate, all that it has given back counted too: the decoders' own bound is 64 MiB for pictures of few
/// pixels.
const BASE: usize = 160 << 20;
const PER_BYTE: usize = 400;

/// Pictures of at most so many pixels.
const PIXELS: u64 = 100_000;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(testdata(folder))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&path).unwrap())
    };
    paths.into_iter().filter(|path| path.is_file()).map(read).collect()
}

fn times() -> usize {
    std::env::var("BINESH_FUZZ").map_or(1, |n| n.parse().expect("BINESH_FUZZ is a number"))
}

/// Decodes; whether it is a picture.
fn decoded(what: &str, bytes: &[u8]) -> bool {
    let limits = Limits { max_pixels: PIXELS, ..Limits::default() };
    let options = DecodeOptions { limits, ..DecodeOptions::default() }.at_least([16, 16]);
    let (start, before) = (Instant::now(), COUNTED.stats().bytes_allocated);
    let decoded = decode("x", bytes, &options);
    let (time, memory) = (start.elapsed(), COUNTED.stats().bytes_allocated.wrapping_sub(before));
    assert!(time < PATIENCE, "{what}: took {time:?}");
    assert!(
        memory <= BASE + PER_BYTE * bytes.len(),
        "{what}: allocated {memory} bytes for a file of {}",
        bytes.len()
    );
    decoded.is_ok_and(|picture| {
        assert!((picture.height() * picture.width()) as u64 <= PIXELS, "{what}");
        true
    })
}

/// A PNG of one pixel with a text of a hundred megabytes that packs to a hundred kilobytes.
fn bomb() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder.add_ztxt_chunk("Comment".to_owned(), "0".repeat(100 << 20)).unwrap();
    encoder.set_color(png::ColorType::Grayscale);
    encoder.write_header().unwrap().write_image_data(&[7]).unwrap();
    bytes
}

/// One test, because the allocator counts for all threads.
#[test]
fn no_change_of_a_picture_or_of_weights_does_harm() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ times() as u64);
    let mut pictures = files("golden/images");
    pictures.retain(|(name, _)| !name.ends_with(".npz"));
    let regress = files("regress/pictures");
    pictures.extend(regress);
    let (mut good, mut bad) = (0, 0);
    let mut count = |is_picture: bool| if is_picture { good += 1 } else { bad += 1 };
    for (name, bytes) in &pictures {
        for cut in (0..bytes.len()).step_by(bytes.len() / 20 + 1) {
            count(decoded(&format!("{name} cut at {cut}"), &bytes[..cut]));
        }
        for round in 0..40 * times() {
            let other = &pictures[random.below(pictures.len())].1;
            let mut changed = bytes.clone();
            for _ in 0..1 + random.below(4) {
                change_bytes(&mut changed, other, &mut random);
            }
            count(decoded(&format!("{name}, round {round}"), &changed));
        }
    }
    println!("{} pictures: {good} changed files decoded, {bad} refused", pictures.len());
    assert!(good > 50 && bad > 500, "{good} decoded, {bad} refused: this tests nothing");
    let bomb = bomb();
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    decoded("a text of a hundred megabytes", &bomb);
    weights(&mut random);
}

/// Tensors of a network of the zoo with others' names, other extents, none of some.
fn weights(random: &mut Random) {
    let mut built = [0, 0];
    for (file, bytes) in files("golden/zoo").into_iter().filter(|(name, _)| name.ends_with(".npz")) {
        let mut npz = Npz::open(&bytes, &FormatLimits::default()).unwrap();
        let names: Vec<u8> = npz.read("names").unwrap().data.into_iter().map(|byte| byte as u8).collect();
        let mut shapes = npz.read("shapes").unwrap().data.into_iter().map(|n| n as usize);
        let mut tensor = |name: &str| {
            let rank = shapes.next().unwrap();
            (name.to_owned(), shapes.by_ref().take(rank).collect::<Vec<usize>>())
        };
        let names = String::from_utf8(names).unwrap();
        let whole: Vec<(String, Vec<usize>)> = names.lines().map(&mut tensor).collect();
        for round in 0..4 * times() {
            let mut changed = whole.clone();
            for _ in 0..1 + random.below(3) {
                let at = random.below(changed.len());
                match random.below(5) {
                    0 => drop(changed.remove(at)),
                    1 => changed[at].0 = whole[random.below(whole.len())].0.clone(),
                    2 => changed[at].1 = whole[random.below(whole.len())].1.clone(),
                    3 if !changed[at].1.is_empty() => {
                        let axis = random.below(changed[at].1.len());
                        changed[at].1[axis] = (random.pick(&NUMBERS) % 300) as usize;
                    }
                    _ => changed[at].1.truncate(1),
                }
            }
            let small = |shape: &[usize]| shape.iter().product::<usize>() < 1 << 22;
            if !changed.iter().all(|(_, shape)| small(shape)) {
                continue;
            }
            let tensors = changed.into_iter().map(|(name, shape)| (name, Tensor::zeros(shape))).collect();
            let start = Instant::now();
            let request = Request { size: Some([64, 64]), ..Request::default() };
            let network = zoo::network(tensors, &request);
            assert!(start.elapsed() < PATIENCE, "{file}, round {round}");
            built[usize::from(network.is_ok())] += 1;
        }
    }
    println!("weights: {} changed networks built, {} refused", built[1], built[0]);
    assert!(built[0] > 20, "{built:?}: this tests nothing");
}
