//! JPEGs scaled while they are decoded, against PIL's `draft` (`testdata/gen/scaled.py`) and the full picture.

use std::path::{Path, PathBuf};

use binesh::image::{DecodeOptions, Interpolation, Picture, open};
use binesh_formats::npy::Npz;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/scaled").join(file)
}

fn full(file: &str) -> Picture {
    open(&golden(file), &DecodeOptions::default()).expect("a golden")
}

fn scaled(file: &str, height: usize, width: usize) -> Picture {
    open(&golden(file), &DecodeOptions::default().at_least([height, width])).expect("a golden")
}

fn size(picture: &Picture) -> [usize; 2] {
    [picture.height(), picture.width()]
}

/// Largest and mean difference.
fn difference(a: &[u8], b: &[u8]) -> (u8, f64) {
    assert_eq!(a.len(), b.len());
    let levels = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
    (levels.clone().max().expect("pixels"), levels.map(f64::from).sum::<f64>() / a.len() as f64)
}

/// Each picture of `draft.npz` under `kind`; `allowed` says the largest and the mean difference for a file.
fn compare(kind: &str, count: usize, allowed: impl Fn(&str) -> (u8, f64)) {
    let bytes = std::fs::read(golden("draft.npz")).expect("the golden");
    let mut npz = Npz::open(&bytes, &binesh_formats::Limits::default()).expect("the golden");
    let names: Vec<String> = npz.names().into_iter().filter(|name| name.starts_with(kind)).collect();
    assert_eq!(names.len(), count);
    let mut failures = Vec::new();
    for name in names {
        let (file, part) = name[kind.len()..].rsplit_once('/').expect("a part");
        let part: usize = part.parse().expect("a number");
        // As small as can be for this part.
        let got = scaled(file, 288 / part / 2, 448 / part / 2);
        assert_eq!(size(&got), [288 / part, 448 / part], "{name}");
        let rows = got.pixels().chunks_exact(got.width() * 3).step_by(3).flatten().copied();
        let want: Vec<u8> = npz.read(&name).expect("an array").data.iter().map(|&v| v as u8).collect();
        let (largest, mean) = difference(&rows.collect::<Vec<u8>>(), &want);
        let allowed = allowed(file);
        if largest > allowed.0 || mean > allowed.1 {
            failures.push(format!("{name}: {largest} levels, {mean:.3} on average"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The inverse transform of the lowest frequencies, but for rounding; an eighth is rounded down.
#[test]
fn scaled_decoding_is_the_transform_of_the_lowest_frequencies() {
    compare("low/", 6, |_| (3, 0.6));
}

/// libjpeg mixes some of the higher frequencies in, and keeps twice as much of color stored at half size.
#[test]
fn scaled_decoding_is_much_like_pils() {
    compare("rgb/", 15, |file| {
        if file.contains("420") || file.contains("progressive") { (25, 2.0) } else { (14, 1.25) }
    });
}

/// What the option is for: after shrinking, the two are hard to tell apart.
#[test]
fn shrunk_it_equals_the_full_picture() {
    for file in [
        "even_420.jpg",
        "even_444.jpg",
        "even_progressive.jpg",
        "even_gray.jpg",
        "even_rgb.jpg",
        "turned.jpg",
    ] {
        let (full, scaled) = (full(file), scaled(file, 48, 48));
        assert!(scaled.height() < full.height() && scaled.width() >= 96, "{file}: {scaled:?}");
        for filter in [Interpolation::Bilinear, Interpolation::Bicubic] {
            let [a, b] = [&full, &scaled].map(|picture| picture.resize([48, 48], filter));
            let (largest, mean) = difference(a.pixels(), b.pixels());
            assert!(
                largest <= 3 && mean <= 0.35,
                "{file} {filter:?}: {largest} levels, {mean:.3} on average"
            );
        }
    }
}

#[test]
fn never_below_twice_the_wanted_size() {
    for (wanted, expected) in [
        ([18, 28], [36, 56]),
        ([19, 28], [72, 112]),
        ([36, 57], [144, 224]),
        ([72, 112], [144, 224]),
        ([73, 112], [288, 448]),
        ([288, 448], [288, 448]),
        ([usize::MAX, 1], [288, 448]),
        ([0, 0], [36, 56]),
    ] {
        assert_eq!(size(&scaled("even_444.jpg", wanted[0], wanted[1])), expected, "{wanted:?}");
    }
    // Wanted as seen, so turned as EXIF says: 448 high, 288 wide.
    assert_eq!(size(&scaled("turned.jpg", 56, 36)), [112, 72]);
    assert_eq!(size(&scaled("turned.jpg", 57, 36)), [224, 144]);
}

/// Where scaling is not possible, or would shift the picture, the result is that of full decoding to the byte.
#[test]
fn everything_else_is_decoded_in_full() {
    assert_eq!(scaled("even_cmyk.jpg", 18, 28), full("even_cmyk.jpg"));
    // 451 x 300: no eighth, no quarter, no half.
    assert_eq!(scaled("odd.jpg", 10, 10), full("odd.jpg"));
    let png = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/images/photo.png");
    let options = DecodeOptions::default();
    assert_eq!(
        open(&png, &options.at_least([2, 2])).expect("a golden"),
        open(&png, &options).expect("a golden")
    );
}
