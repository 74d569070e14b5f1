use serde::{Deserialize, Serialize};

use super::between;

/// Rotation, shift, shear and zoom of one view. Positions of the view are turned into positions of the picture by the
/// product rotation · shift · shear · zoom about the center, as Keras `apply_affine_transform` has it:
///
/// ```text
/// | cos t  -sin t  0 |   | 1  0  ty |   | 1  -sin s  0 |   | zy  0  0 |
/// | sin t   cos t  0 | · | 0  1  tx | · | 0   cos s  0 | · | 0  zx  0 |
/// | 0       0      1 |   | 0  0  1  |   | 0   0      1 |   | 0   0  1 |
/// ```
///
/// for (row, column, 1), with the differences that a [`Convention`] makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Degrees.
    pub rotation: f64,
    /// Shares of height and width.
    pub shift: [f64; 2],
    /// Degrees; radians with [`Convention::Keras208`].
    pub shear: f64,
    /// Factors of rows and columns; more than 1 shows more, smaller.
    pub zoom: [f64; 2],
}

/// Which version's formulas. They agree on the product and differ about everything around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Convention {
    /// About the picture's center, shear in degrees.
    #[default]
    #[serde(rename = "centered")]
    Centered,
    /// Keras 2.0.8, the book's: shear in radians, about a point one pixel right and below of the center.
    #[serde(rename = "keras_2.0.8")]
    Keras208,
    /// `keras.legacy.preprocessing.image` of Keras 3: shear in degrees, and rows and columns change places *after* the
    /// center was set. The height's shift moves columns, and a picture that is not square turns about a point beside its
    /// center.
    #[serde(rename = "keras_3")]
    Keras3,
}

/// What is where the picture does not reach: `fill_mode`, which is SciPy's `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fill {
    /// The nearest pixel: `aaaa|abcd|dddd`.
    #[default]
    Nearest,
    /// The picture mirrored at its edges: `dcba|abcd|dcba`.
    Reflect,
    /// This value (Keras `cval`), 0..=255 in all channels.
    Constant(f32),
}

/// Values between pixels: Keras `interpolation_order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// The nearest pixel's: 0, and the only one before Keras 2.2.
    Nearest,
    /// Linear in both directions: 1.
    #[default]
    Linear,
}

/// Range of zoom factors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zoom {
    /// Rows and columns each have their own factor, as in Keras.
    Each([f64; 2]),
    /// Rows and columns have the same factor: proportions stay.
    Both([f64; 2]),
}

impl Zoom {
    /// From the smallest factor to the largest.
    pub fn range(self) -> [f64; 2] {
        match self {
            Zoom::Each(range) | Zoom::Both(range) => range,
        }
    }

    pub(super) fn draw(zoom: Option<Zoom>, [rows, columns]: [f64; 2]) -> [f64; 2] {
        match zoom {
            None => [1.0, 1.0],
            Some(Zoom::Each(range)) => [between(range, rows), between(range, columns)],
            Some(Zoom::Both(range)) => [between(range, rows); 2],
        }
    }
}

impl Convention {
    pub(super) fn steepest_shear(self) -> f64 {
        match self {
            Convention::Keras208 => std::f64::consts::FRAC_PI_2,
            _ => 90.0,
        }
    }
}

impl Default for Affine {
    fn default() -> Affine {
        Affine { rotation: 0.0, shift: [0.0; 2], shear: 0.0, zoom: [1.0; 2] }
    }
}

/// From (row, column, 1) of the view to (row, column) of the picture.
pub(super) type Matrix = [[f64; 3]; 2];

const IDENTITY: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];

impl Affine {
    pub(super) fn matrix(&self, size: [usize; 2], convention: Convention) -> Matrix {
        let [h, w] = size.map(|side| side as f64);
        let turn = self.rotation.to_radians();
        let shear = match convention {
            Convention::Keras208 => self.shear,
            _ => self.shear.to_radians(),
        };
        let (sin, cos) = turn.sin_cos();
        let [zoom_rows, zoom_columns] = self.zoom;
        let steps = [
            [[1.0, 0.0, self.shift[0] * h], [0.0, 1.0, self.shift[1] * w]],
            [[1.0, -shear.sin(), 0.0], [0.0, shear.cos(), 0.0]],
            [[zoom_rows, 0.0, 0.0], [0.0, zoom_columns, 0.0]],
        ];
        let about = steps.iter().fold([[cos, -sin, 0.0], [sin, cos, 0.0]], |m, step| product(&m, step));
        if about == IDENTITY {
            return IDENTITY;
        }
        let beside = match convention {
            Convention::Keras208 => 0.5,
            _ => -0.5,
        };
        let center = [h / 2.0 + beside, w / 2.0 + beside];
        let to = [[1.0, 0.0, center[0]], [0.0, 1.0, center[1]]];
        let from = [[1.0, 0.0, -center[0]], [0.0, 1.0, -center[1]]];
        let [rows, columns] = product(&product(&to, &about), &from);
        match convention {
            Convention::Keras3 => {
                let swapped = |[a, b, c]: [f64; 3]| [b, a, c];
                [swapped(columns), swapped(rows)]
            }
            _ => [rows, columns],
        }
    }
}

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    let row = |[x, y, z]: [f64; 3]| {
        [x * b[0][0] + y * b[1][0], x * b[0][1] + y * b[1][1], x * b[0][2] + y * b[1][2] + z]
    };
    a.map(row)
}

/// SciPy `affine_transform`, channel by channel.
///
/// # Shapes
/// x: `[H, W, C]` with C = 3 or 1 -> the same
pub(super) fn resample(
    x: Vec<f32>,
    [h, w, c]: [usize; 3],
    matrix: &Matrix,
    fill: Fill,
    order: Order,
) -> Vec<f32> {
    if *matrix == IDENTITY {
        return x;
    }
    let source = Source { size: [h, w], matrix, fill };
    match (c, order) {
        (3, Order::Nearest) => source.nearest::<3>(&x),
        (3, Order::Linear) => source.linear::<3>(&x),
        (_, Order::Nearest) => source.nearest::<1>(&x),
        (_, Order::Linear) => source.linear::<1>(&x),
    }
}

/// Reverses the order of rows, of columns or of both, in place.
///
/// # Shapes
/// x: `[H, W, C]` with C = 3 or 1
pub(super) fn flip(x: &mut [f32], [_, w, c]: [usize; 3], axes: [bool; 2]) {
    match c {
        3 => flip_pixels::<3>(x, w, axes),
        _ => flip_pixels::<1>(x, w, axes),
    }
}

fn flip_pixels<const C: usize>(x: &mut [f32], width: usize, [rows, columns]: [bool; 2]) {
    let (pixels, _) = x.as_chunks_mut::<C>();
    if rows {
        // The columns with them.
        pixels.reverse();
    }
    if rows != columns {
        pixels.chunks_exact_mut(width).for_each(<[_]>::reverse);
    }
}

/// Where the values of a view come from.
struct Source<'a> {
    size: [usize; 2],
    matrix: &'a Matrix,
    fill: Fill,
}

impl Source<'_> {
    fn nearest<const C: usize>(&self, x: &[f32]) -> Vec<f32> {
        let (pixels, _) = x.as_chunks::<C>();
        let width = self.size[1];
        self.each(|at| {
            let [r, q] = at.map(|at| split(at + 0.5).0);
            pixels[r * width + q]
        })
    }

    fn linear<const C: usize>(&self, x: &[f32]) -> Vec<f32> {
        let (pixels, _) = x.as_chunks::<C>();
        let [height, width] = self.size;
        self.each(|at| -> [f32; C] {
            let [(r, down), (q, right)] = at.map(split);
            let (above, below) = (r * width, (r + 1).min(height - 1) * width);
            let next = (q + 1).min(width - 1);
            let corners = [pixels[above + q], pixels[above + next], pixels[below + q], pixels[below + next]];
            std::array::from_fn(|k| {
                let [a, b, c, d] = corners.map(|corner| corner[k]);
                let (upper, lower) = (a + (b - a) * right, c + (d - c) * right);
                upper + (lower - upper) * down
            })
        })
    }

    /// Every pixel of the view from its position in the picture, which is inside. Positions are sums in SciPy's order, so
    /// that they round alike.
    fn each<const C: usize>(&self, value: impl Fn([f64; 2]) -> [f32; C]) -> Vec<f32> {
        let [height, width] = self.size;
        let [rows, columns] = self.matrix;
        let [last_row, last_column] = self.size.map(|side| (side - 1) as f64);
        let outside = match self.fill {
            Fill::Constant(value) => [value; C],
            _ => [0.0; C],
        };
        let mut out = vec![[0.0; C]; height * width];
        for (r, line) in out.chunks_exact_mut(width).enumerate() {
            let start = [rows, columns].map(|axis| axis[2] + r as f64 * axis[0]);
            for (q, pixel) in line.iter_mut().enumerate() {
                let row = self.fill.place(start[0] + q as f64 * rows[1], last_row);
                let column = self.fill.place(start[1] + q as f64 * columns[1], last_column);
                *pixel = match (row, column) {
                    (Some(row), Some(column)) => value([row, column]),
                    _ => outside,
                };
            }
        }
        out.into_flattened()
    }
}

/// The pixel at or before a position inside the picture, and how far behind it the position is.
fn split(at: f64) -> (usize, f32) {
    // Faster than straight to `usize`, and a side has at most `Preprocess::MAX_SIDE` pixels.
    let whole = at as i32;
    (whole as usize, (at - f64::from(whole)) as f32)
}

impl Fill {
    /// The position in `0..=last` whose value is taken for `at`; `None`: the constant.
    fn place(self, at: f64, last: f64) -> Option<f64> {
        match self {
            Fill::Constant(_) => (0.0..=last).contains(&at).then_some(at),
            Fill::Nearest => Some(at.clamp(0.0, last)),
            Fill::Reflect if (0.0..=last).contains(&at) => Some(at),
            Fill::Reflect => {
                let period = 2.0 * (last + 1.0);
                // The first pixel's outer edge is at -0.5.
                let round = (at + 0.5).rem_euclid(period);
                Some((round.min(period - round) - 0.5).clamp(0.0, last))
            }
        }
    }
}
