//! The channels of an activation as pictures, and how many of their values are zero.

use super::Colormap;
use crate::image::Picture;

/// How [`grid`] lays channels out. The default is the chapter's layout, small maps enlarged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridStyle {
    /// Channels in a row; fewer when there are fewer.
    pub images_per_row: usize,
    /// Pixels between channels, after enlarging. The chapter leaves none.
    pub margin: usize,
    /// Channels smaller than this are enlarged by the smallest whole factor that reaches it; 0 leaves every
    /// pixel one pixel.
    pub min_side: usize,
    /// Margins, and the places after the last channel.
    pub background: [u8; 3],
}

impl Default for GridStyle {
    fn default() -> Self {
        GridStyle { images_per_row: 16, margin: 0, min_side: 48, background: [128; 3] }
    }
}

/// All channels in a grid, colored with viridis: level 0 is its darkest color, 255 its brightest.
///
/// The levels of a channel are the chapter's: its mean becomes 128, one standard deviation 64, the rest is
/// clipped. Every channel has its own scale, so brightness does not compare between channels. A channel
/// without variation is blank (level 0). Where a map is one pixel, a channel has no scale of its own and the
/// channels are compared: smallest to largest.
///
/// # Shapes
/// activation: `[H, W, C]` -> ceil(C / images_per_row) rows of channels, the last one filled up with background
///
/// # Panics
/// If `activation` has not `H * W * C` values, or a dimension or `images_per_row` is zero.
pub fn grid(activation: &[f32], shape: [usize; 3], style: &GridStyle) -> Picture {
    let [h, w, c] = shape;
    let levels = Levels::new(activation, shape);
    let table = Colormap::Viridis.table();
    let factor = factor([h, w], style.min_side);
    let (columns, rows) = layout(c, style.images_per_row);
    let (cell_h, cell_w) = (h * factor, w * factor);
    let (height, width) =
        (rows * (cell_h + style.margin) - style.margin, columns * (cell_w + style.margin) - style.margin);
    let mut pixels = style.background.repeat(height * width);
    for channel in 0..c {
        let (top, left) =
            (channel / columns * (cell_h + style.margin), channel % columns * (cell_w + style.margin));
        for y in 0..cell_h {
            let start = ((top + y) * width + left) * 3;
            let line = &mut pixels[start..start + cell_w * 3];
            for (x, pixel) in line.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&table[usize::from(levels.at(y / factor, x / factor, channel))]);
            }
        }
    }
    Picture::rgb(height, width, pixels).expect("dimensions are not zero")
}

/// The chapter's array `display_grid`: the levels of all channels, without color, gaps or enlargement. Where
/// the listing drops the channels that do not fill a row, this has one more row, filled up with 0.
///
/// # Shapes
/// activation: `[H, W, C]` -> gray, ceil(C / images_per_row) * H x min(C, images_per_row) * W
///
/// # Panics
/// As [`grid`].
pub fn display_grid(activation: &[f32], shape: [usize; 3], images_per_row: usize) -> Picture {
    let [h, w, c] = shape;
    let levels = Levels::new(activation, shape);
    let (columns, rows) = layout(c, images_per_row);
    let (height, width) = (rows * h, columns * w);
    let mut pixels = vec![0; height * width];
    for channel in 0..c {
        for y in 0..h {
            for x in 0..w {
                let (row, column) = (channel / columns * h + y, channel % columns * w + x);
                pixels[row * width + column] = levels.at(y, x, channel);
            }
        }
    }
    Picture::gray(height, width, pixels).expect("dimensions are not zero")
}

/// One channel as matplotlib's `matshow` colors it: smallest value to largest, viridis. A constant channel is
/// all dark; what is not a number is dark too.
///
/// # Shapes
/// channel: `[H, W]` -> H x W, enlarged by a whole factor until the longer side has `min_side` pixels
///
/// # Panics
/// If `channel` has not `H * W` values or a dimension is zero.
pub fn matshow(channel: &[f32], [h, w]: [usize; 2], min_side: usize) -> Picture {
    assert_eq!(channel.len(), h * w, "expected {h} x {w} values");
    let range = extremes(channel);
    let levels = channel.iter().map(|&v| between(v, range)).collect();
    let levels = Picture::gray(h, w, levels).expect("dimensions are not zero");
    enlarge(&Colormap::Viridis.paint(&levels), factor([h, w], min_side))
}

/// Every pixel becomes a square of `factor` x `factor`.
///
/// # Panics
/// If `factor` is zero.
pub fn enlarge(picture: &Picture, factor: usize) -> Picture {
    if factor == 1 {
        return picture.clone();
    }
    let size = [picture.height() * factor, picture.width() * factor];
    picture.resize(size, crate::image::Interpolation::Nearest)
}

/// How empty an activation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparsity {
    /// Values that are exactly zero.
    pub zeros: usize,
    /// All values.
    pub values: usize,
    /// Channels that say nothing about this input: all zero, or the same value everywhere (where there is more
    /// than one place).
    pub dead: Vec<usize>,
    /// All channels.
    pub channels: usize,
}

impl Sparsity {
    /// Zeros as a share of all values, 0..=1.
    pub fn zeros_share(&self) -> f64 {
        self.zeros as f64 / self.values.max(1) as f64
    }
}

/// Counts exact zeros (negative zero included) and dead channels.
///
/// # Shapes
/// activation: `[..., C]`, any number of leading dimensions
///
/// # Panics
/// If `channels` is zero or does not divide the number of values.
pub fn sparsity(activation: &[f32], channels: usize) -> Sparsity {
    assert!(
        channels > 0 && activation.len().is_multiple_of(channels),
        "{} values, {channels} channels",
        activation.len()
    );
    let zeros = activation.iter().filter(|&&v| v == 0.0).count();
    let places = activation.len() / channels;
    let is_dead = |&k: &usize| {
        let mut values = activation[k..].iter().step_by(channels);
        match values.next() {
            Some(&first) => (first == 0.0 || places > 1) && values.all(|&v| v == first),
            None => true,
        }
    };
    let dead =
        if activation.is_empty() { (0..channels).collect() } else { (0..channels).filter(is_dead).collect() };
    Sparsity { zeros, values: activation.len(), dead, channels }
}

/// The levels 0..=255 of an activation, made channel by channel.
struct Levels<'a> {
    activation: &'a [f32],
    w: usize,
    scales: Vec<Scale>,
}

enum Scale {
    /// Nothing to see: level 0.
    Blank,
    /// `(x - mean) / std * 64 + 128`, clipped and truncated.
    Deviation { mean: f64, std: f64 },
    /// Between the smallest and the largest value.
    Between([f32; 2]),
}

impl<'a> Levels<'a> {
    fn new(activation: &'a [f32], [h, w, c]: [usize; 3]) -> Self {
        assert!(
            h * w * c > 0 && activation.len() == h * w * c,
            "expected {h} x {w} x {c} values, got {}",
            activation.len()
        );
        let places = h * w;
        if places == 1 {
            let range = extremes(activation);
            let scales =
                activation.iter().map(|&v| if v == 0.0 { Scale::Blank } else { Scale::Between(range) });
            return Levels { activation, w, scales: scales.collect() };
        }
        let mut sums = vec![0f64; c];
        for place in activation.chunks_exact(c) {
            sums.iter_mut().zip(place).for_each(|(sum, &v)| *sum += f64::from(v));
        }
        let means: Vec<f64> = sums.into_iter().map(|sum| sum / places as f64).collect();
        let mut squares = vec![0f64; c];
        for place in activation.chunks_exact(c) {
            for ((square, &v), mean) in squares.iter_mut().zip(place).zip(&means) {
                *square += (f64::from(v) - mean).powi(2);
            }
        }
        let scale = |(mean, square): (f64, f64)| {
            let std = (square / places as f64).sqrt();
            if std > 0.0 && std.is_finite() { Scale::Deviation { mean, std } } else { Scale::Blank }
        };
        Levels { activation, w, scales: means.into_iter().zip(squares).map(scale).collect() }
    }

    fn at(&self, y: usize, x: usize, channel: usize) -> u8 {
        let v = self.activation[(y * self.w + x) * self.scales.len() + channel];
        match self.scales[channel] {
            Scale::Blank => 0,
            Scale::Deviation { mean, std } => {
                ((f64::from(v) - mean) / std * 64.0 + 128.0).clamp(0.0, 255.0) as u8
            }
            Scale::Between(range) => between(v, range),
        }
    }
}

/// Columns and rows of a grid of `c` channels.
fn layout(c: usize, images_per_row: usize) -> (usize, usize) {
    assert!(images_per_row > 0, "a row holds at least one channel");
    let columns = images_per_row.min(c);
    (columns, c.div_ceil(columns))
}

/// The smallest factor that brings the longer side to `min_side`.
fn factor([h, w]: [usize; 2], min_side: usize) -> usize {
    min_side.div_ceil(h.max(w)).max(1)
}

/// Smallest and largest, numbers only.
fn extremes(values: &[f32]) -> [f32; 2] {
    values.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], &v| [low.min(v), high.max(v)])
}

/// The level matplotlib looks up: the 256th part of the range a value falls into.
fn between(v: f32, [low, high]: [f32; 2]) -> u8 {
    if high > low {
        ((f64::from(v) - f64::from(low)) / (f64::from(high) - f64::from(low)) * 256.0) as u8
    } else {
        0
    }
}
