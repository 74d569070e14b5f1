//! What is kept of a layer while photos pass: sums, and a row of features for each photo. Nothing of the maps themselves.

use nalgebra::DMatrix;
use rand::RngExt;

use super::{PICTURE_SIDE, SKETCH};
use crate::image::{Preprocess, affine};
use crate::linear::{effective_rank, entropy};
use crate::random::{Purpose, generator};
use crate::render::sparsity;

/// Rows and columns of places in a map at which channels are compared.
const PLACES: usize = 4;

/// One layer over all photos so far.
pub(super) struct Gathered {
    /// H, W, C.
    pub(super) dims: [usize; 3],
    pub(super) pooled: [usize; 2],
    sketch: Option<Sketch>,
    /// Features of each photo, averaged over space and perhaps sketched. `[N, D]`
    pub(super) rows: Vec<f32>,
    /// Mean of each channel. `[N, C]`
    pub(super) means: Vec<f32>,
    photos: usize,
    zeros: u64,
    values: u64,
    blank: f64,
    entropy: f64,
    /// Per channel the smallest and largest value of all.
    range: Vec<[f32; 2]>,
    /// Sum and sum of products over samples. `[C]`, `[C, C]`
    sums: Vec<f64>,
    products: DMatrix<f64>,
    pub(super) samples: usize,
}

impl Gathered {
    pub(super) fn new(dims: [usize; 3], seed: u64) -> Gathered {
        let [_, _, c] = dims;
        let pooled = side(dims);
        let features = pooled[0] * pooled[1] * c;
        Gathered {
            dims,
            pooled,
            sketch: (features > SKETCH).then(|| Sketch::new(features, seed)),
            rows: Vec::new(),
            means: Vec::new(),
            photos: 0,
            zeros: 0,
            values: 0,
            blank: 0.0,
            entropy: 0.0,
            range: vec![[f32::INFINITY, f32::NEG_INFINITY]; c],
            sums: vec![0.0; c],
            products: DMatrix::zeros(c, c),
            samples: 0,
        }
    }

    /// Bytes that it comes to for so many photos.
    pub(super) fn bytes(dims: [usize; 3], photos: usize) -> usize {
        let [_, _, c] = dims;
        let features = side(dims).iter().product::<usize>() * c;
        let sketch = if features > SKETCH { 4 * features } else { 0 };
        4 * photos * (features.min(SKETCH) + c) + 8 * c * c + sketch
    }

    pub(super) fn features(&self) -> usize {
        self.pooled[0] * self.pooled[1] * self.dims[2]
    }

    /// Takes what it keeps of a batch.
    ///
    /// # Shapes
    /// values: `[n, H, W, C]`
    pub(super) fn take(&mut self, values: &[f32]) {
        let [h, w, c] = self.dims;
        let places = [h.min(PLACES), w.min(PLACES)];
        let mut samples: Vec<f64> = Vec::new();
        for map in values.chunks_exact(h * w * c) {
            let sparsity = sparsity(map, c);
            self.zeros += sparsity.zeros as u64;
            self.values += sparsity.values as u64;
            self.blank += sparsity.dead.len() as f64 / c as f64;
            let (mut sums, mut magnitudes) = (vec![0.0f64; c], vec![0.0f64; c]);
            for row in map.chunks_exact(c) {
                for (k, &v) in row.iter().enumerate() {
                    sums[k] += f64::from(v);
                    magnitudes[k] += f64::from(v.abs());
                    self.range[k] = [self.range[k][0].min(v), self.range[k][1].max(v)];
                }
            }
            self.means.extend(sums.iter().map(|sum| (sum / (h * w) as f64) as f32));
            let all: f64 = magnitudes.iter().sum();
            if all > 0.0 && c > 1 {
                self.entropy += entropy(magnitudes.iter().map(|m| m / all)) / (c as f64).ln();
            }
            let features = pooled(map, self.dims, self.pooled);
            match &self.sketch {
                Some(sketch) => sketch.add(&features, &mut self.rows),
                None => self.rows.extend(features),
            }
            for row in 0..places[0] {
                for column in 0..places[1] {
                    let middle =
                        |at: usize, places: usize, extent: usize| (2 * at + 1) * extent / (2 * places);
                    let at = (middle(row, places[0], h) * w + middle(column, places[1], w)) * c;
                    samples.extend(map[at..at + c].iter().map(|v| f64::from(*v)));
                }
            }
            self.photos += 1;
        }
        for sample in samples.chunks_exact(c) {
            self.sums.iter_mut().zip(sample).for_each(|(sum, v)| *sum += v);
        }
        // A column for each sample: `X X'`.
        let columns = DMatrix::from_vec(c, samples.len() / c, samples);
        self.samples += columns.ncols();
        self.products.gemm(1.0, &columns, &columns.transpose(), 1.0);
    }

    pub(super) fn is_finite(&self) -> bool {
        self.rows.iter().chain(&self.means).all(|v| v.is_finite())
    }

    pub(super) fn zeros_share(&self) -> f64 {
        self.zeros as f64 / self.values.max(1) as f64
    }

    pub(super) fn dead_channels(&self) -> usize {
        self.range.iter().filter(|[low, high]| low == high).count()
    }

    pub(super) fn blank_share(&self) -> f64 {
        self.blank / self.photos.max(1) as f64
    }

    pub(super) fn entropy(&self) -> f64 {
        self.entropy / self.photos.max(1) as f64
    }

    pub(super) fn effective_rank(self) -> f64 {
        let n = self.samples.max(1) as f64;
        let mut covariance = self.products / n;
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / n).collect();
        for i in 0..means.len() {
            for j in 0..means.len() {
                covariance[(i, j)] -= means[i] * means[j];
            }
        }
        // What is left of a channel that does not vary is rounding, which would count as a direction.
        for (k, [low, high]) in self.range.iter().enumerate() {
            if low == high {
                covariance.row_mut(k).fill(0.0);
                covariance.column_mut(k).fill(0.0);
            }
        }
        effective_rank(&covariance)
    }
}

fn side([h, w, _]: [usize; 3]) -> [usize; 2] {
    [h.min(PICTURE_SIDE), w.min(PICTURE_SIDE)]
}

/// Means over a grid of rectangles that cover the map, as `torch.nn.AdaptiveAvgPool2d` places them.
///
/// # Shapes
/// map: `[H, W, C]` -> `[H', W', C]`, H' <= H, W' <= W
pub(crate) fn pooled(map: &[f32], [h, w, c]: [usize; 3], [rows, columns]: [usize; 2]) -> Vec<f32> {
    if [rows, columns] == [h, w] {
        return map.to_vec();
    }
    let span = |at: usize, of: usize, extent: usize| at * extent / of..((at + 1) * extent).div_ceil(of);
    let mut out = Vec::with_capacity(rows * columns * c);
    let mut sums = vec![0.0f32; c];
    for row in 0..rows {
        for column in 0..columns {
            sums.fill(0.0);
            let (ys, xs) = (span(row, rows, h), span(column, columns, w));
            for y in ys.clone() {
                for place in map[(y * w + xs.start) * c..(y * w + xs.end) * c].chunks_exact(c) {
                    sums.iter_mut().zip(place).for_each(|(sum, v)| *sum += v);
                }
            }
            let count = (ys.len() * xs.len()) as f32;
            out.extend(sums.iter().map(|sum| sum / count));
        }
    }
    out
}

/// A picture's values 0 to 255, red first, from the network's input.
///
/// # Shapes
/// `[.., C]`
pub(super) fn to_pixels(x: &[f32], preprocess: &Preprocess) -> Vec<f32> {
    let channels = affine(preprocess);
    let mut picture = vec![0.0; x.len()];
    for (pixel, x) in picture.chunks_exact_mut(channels.len()).zip(x.chunks_exact(channels.len())) {
        for (x, &(source, factor, offset)) in x.iter().zip(&channels) {
            pixel[source] = (x - offset) / factor;
        }
    }
    picture
}

/// See [`SKETCH`].
struct Sketch {
    /// For each feature the sum it is added to, and its sign in the lowest bit.
    places: Vec<u32>,
}

impl Sketch {
    fn new(features: usize, seed: u64) -> Sketch {
        let mut random = generator(seed, Purpose::Sketch, features as u64);
        Sketch { places: (0..features).map(|_| random.random_range(0..2 * SKETCH as u32)).collect() }
    }

    fn add(&self, features: &[f32], rows: &mut Vec<f32>) {
        let start = rows.len();
        rows.resize(start + SKETCH, 0.0);
        let row = &mut rows[start..];
        for (value, place) in features.iter().zip(&self.places) {
            row[(place / 2) as usize] += if place % 2 == 0 { *value } else { -*value };
        }
    }
}
