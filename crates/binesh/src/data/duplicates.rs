//! Copies of a picture: the same bytes, or the same picture at another size or quality.

use std::fmt;

use image::{GrayImage, ImageBuffer};
use image_hasher::{HashAlg, HasherConfig};

use super::{Dataset, Split};
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

    /// The fingerprint of a picture.
    pub fn of(picture: &Picture) -> Fingerprint {
        const SIDE: u32 = 64;
        let rgb = picture.to_rgb();
        let small = rgb.resize([SIDE as usize; 2], Interpolation::Box);
        let gray: GrayImage =
            ImageBuffer::from_raw(SIDE, SIDE, small.to_gray().into_pixels()).expect("a side is not zero");
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

    fn is_near(&self, other: &Fingerprint, options: &DuplicateOptions) -> bool {
        self.distance(other) <= options.max_distance
            && self.color_distance(other) <= options.max_color_distance
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.hash;
        write!(f, "Fingerprint({a:016x}{b:016x}{c:016x}{d:016x})")
    }
}

/// What counts as a copy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DuplicateOptions {
    /// Largest [`Fingerprint::distance`].
    pub max_distance: u32,
    /// Largest [`Fingerprint::color_distance`].
    pub max_color_distance: f32,
}

impl Default for DuplicateOptions {
    fn default() -> Self {
        DuplicateOptions { max_distance: 20, max_color_distance: 6.0 }
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

impl Dataset {
    /// Every pair of items that are the same picture, in order of `first`, then `second`.
    ///
    /// All pairs are compared: 10,000 pictures take a fraction of a second, 100,000 half a minute.
    pub fn duplicates(&self, options: &DuplicateOptions) -> Vec<Duplicate> {
        let items = &self.items;
        let mut found = Vec::new();
        for (first, a) in items.iter().enumerate() {
            for (second, b) in items.iter().enumerate().skip(first + 1) {
                let kind = if a.content == b.content {
                    DuplicateKind::Exact
                } else if a.fingerprint.is_near(&b.fingerprint, options) {
                    DuplicateKind::Near { distance: a.fingerprint.distance(&b.fingerprint) }
                } else {
                    continue;
                };
                found.push(Duplicate { first, second, kind });
            }
        }
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
