//! Copies of a picture: the same bytes, or the same picture at another size or quality.

use std::fmt;
use std::thread;

use image::{GrayImage, ImageBuffer};
use image_hasher::{HashAlg, HasherConfig};

use super::{Dataset, Item, Split};
use crate::image::{Interpolation, Picture};

/// What a picture looks like, in 224 bytes: a perceptual hash and a thumbnail.
///
/// The hash (256 bits: which of two neighbours of a 17 x 16 gray version is brighter, dHash) finds candidates;
/// the thumbnail (8 x 8, RGB) tells pictures apart that have no structure or the same shape in other colors.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    hash: [u64; 4],
    thumbnail: [u8; Self::THUMBNAIL * Self::THUMBNAIL * 3],
}

impl Fingerprint {
    const THUMBNAIL: usize = 8;
    const SIDE: usize = 64;
    /// Larger pictures give the same fingerprint, but for a bit or two.
    pub(super) const ENOUGH: [usize; 2] = [Self::SIDE; 2];

    /// The fingerprint of a picture.
    pub fn of(picture: &Picture) -> Fingerprint {
        let small = picture.resize([Self::SIDE; 2], Interpolation::Box).to_rgb();
        let side = Self::SIDE as u32;
        let gray: GrayImage =
            ImageBuffer::from_raw(side, side, small.to_gray().into_pixels()).expect("a side is not zero");
        let hasher = HasherConfig::with_bytes_type::<[u8; 32]>()
            .hash_size(16, 16)
            .hash_alg(HashAlg::Gradient)
            .to_hasher();
        let bits = hasher.hash_image(&gray);
        let mut hash = [0; 4];
        for (word, bytes) in hash.iter_mut().zip(bits.as_bytes().chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        }
        let mut thumbnail = [0; Self::THUMBNAIL * Self::THUMBNAIL * 3];
        thumbnail.copy_from_slice(small.resize([Self::THUMBNAIL; 2], Interpolation::Box).pixels());
        Fingerprint { hash, thumbnail }
    }

    /// Bits of the hash that differ, 0 to 256.
    pub fn distance(&self, other: &Fingerprint) -> u32 {
        self.hash.iter().zip(other.hash).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// Mean difference of the thumbnails in levels, 0 to 255.
    pub fn color_distance(&self, other: &Fingerprint) -> f32 {
        let sum: u32 =
            self.thumbnail.iter().zip(other.thumbnail).map(|(&a, b)| u32::from(a.abs_diff(b))).sum();
        sum as f32 / self.thumbnail.len() as f32
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.hash;
        write!(f, "Fingerprint({a:016x}{b:016x}{c:016x}{d:016x})")
    }
}

/// What counts as a copy.
///
/// The defaults were measured on 235 pictures (photos of scikit-image and pyvision, stamps of Tux Paint, the drawings
/// of `examples/data`). Found are all copies of half the size and of JPEG quality 50, 99 % of those squashed to
/// 224 x 224, of quality 20 or as lossy WebP, 96 % of those made brighter by a tenth, 94 % of those with 1 % cut off
/// each side, 89 % of those of a quarter of the size. **Not** found: cut by 3 % (9 %), mirrored, turned; without
/// color 70 %. Of the 285 stamps and the 240 drawings no two different ones are taken for one (the nearest differ by
/// 32 bits, a wrench and a hammer); frames of one video are, and should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DuplicateOptions {
    /// Largest [`Fingerprint::distance`].
    pub max_distance: u32,
    /// Largest [`Fingerprint::color_distance`].
    pub max_color_distance: f32,
}

impl Default for DuplicateOptions {
    fn default() -> Self {
        DuplicateOptions { max_distance: 24, max_color_distance: 12.0 }
    }
}

/// How alike two pictures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicateKind {
    /// The same bytes.
    Exact,
    /// The same picture, by its [`Fingerprint`].
    Near {
        /// Bits that differ.
        distance: u32,
    },
}

/// Two pictures of a [`Dataset`] that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// Index of the first item.
    pub first: usize,
    /// Index of the other item, larger than `first`.
    pub second: usize,
    /// Same bytes or same look.
    pub kind: DuplicateKind,
}

impl Duplicate {
    /// Whether the two carry different labels: one of them is wrong.
    pub fn is_conflict(&self, data: &Dataset) -> bool {
        data.items[self.first].label != data.items[self.second].label
    }

    /// Whether the two are in different splits: what is measured was trained on.
    pub fn is_leak(&self, splits: &[Split]) -> bool {
        splits[self.first] != splits[self.second]
    }
}

fn kind(a: &Item, b: &Item, options: &DuplicateOptions) -> Option<DuplicateKind> {
    if a.content == b.content {
        return Some(DuplicateKind::Exact);
    }
    let distance = a.fingerprint.distance(&b.fingerprint);
    let is_near = distance <= options.max_distance
        && a.fingerprint.color_distance(&b.fingerprint) <= options.max_color_distance;
    is_near.then_some(DuplicateKind::Near { distance })
}

impl Dataset {
    /// Every pair of items that are the same picture, in order of `first`, then `second`.
    ///
    /// All pairs are compared: 10,000 pictures take a fraction of a second, 100,000 half a minute.
    pub fn duplicates(&self, options: &DuplicateOptions) -> Vec<Duplicate> {
        let items = &self.items;
        let threads =
            thread::available_parallelism().map_or(1, usize::from).min(items.len().div_ceil(500)).max(1);
        let of_rows = &|start: usize| {
            let mut found = Vec::new();
            for first in (start..items.len()).step_by(threads) {
                for second in first + 1..items.len() {
                    let kind = kind(&items[first], &items[second], options);
                    found.extend(kind.map(|kind| Duplicate { first, second, kind }));
                }
            }
            found
        };
        let mut found: Vec<Duplicate> = thread::scope(|scope| {
            let rows: Vec<_> = (0..threads).map(|start| scope.spawn(move || of_rows(start))).collect();
            rows.into_iter().flat_map(|rows| rows.join().expect("comparing does not panic")).collect()
        });
        found.sort_by_key(|pair| (pair.first, pair.second));
        found
    }

    /// For each item the first item it is a copy of, over any number of steps; itself when there is none.
    pub(super) fn groups(&self, options: &DuplicateOptions) -> Vec<usize> {
        let mut first: Vec<usize> = (0..self.items.len()).collect();
        fn root(first: &mut [usize], mut i: usize) -> usize {
            while first[i] != i {
                first[i] = first[first[i]];
                i = first[i];
            }
            i
        }
        for pair in self.duplicates(options) {
            let (a, b) = (root(&mut first, pair.first), root(&mut first, pair.second));
            first[a.max(b)] = a.min(b);
        }
        (0..first.len()).map(|i| root(&mut first, i)).collect()
    }
}
