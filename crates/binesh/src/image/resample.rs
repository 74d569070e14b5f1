//! Resampling, twice: PIL's 8-bit fixed-point arithmetic to the byte, and `tf.image.resize`'s floats.
//!
//! Both are separable weighted windows ([`Taps`]), so the window rule is written once. No crate gives PIL's
//! bytes: `fast_image_resize` 6.1 keeps 15-bit weights where Pillow keeps 22, which puts 14 to 22 % of a
//! photo's values one or two levels off (measured); and none has TensorFlow's rules.
//!
//! See: Pillow `Resample.c` and `Geometry.c` (`ImagingScaleAffine`); TensorFlow `resize_bilinear_op.cc`,
//! `resize_bicubic_op.cc`, `resize_nearest_neighbor_op.cc`, `scale_and_translate_op.cc`.

use std::f64::consts::PI;
use std::ops::Range;

use super::{Interpolation, Picture};

/// Part of one axis of a picture that is spread over `out` pixels.
#[derive(Clone, Copy)]
struct Axis {
    /// Length of the whole axis; the window may reach beyond `from..to` but not beyond this.
    len: usize,
    from: usize,
    to: usize,
    out: usize,
}

impl Axis {
    fn whole(len: usize, out: usize) -> Axis {
        Axis { len, from: 0, to: len, out }
    }

    fn is_identity(self) -> bool {
        self.from == 0 && self.to == self.len && self.out == self.len
    }
}

/// Resizes by any filter, to 8 bits.
pub(super) fn resize(x: &Picture, size: [usize; 2], interpolation: Interpolation) -> Picture {
    match Kernel::pil(interpolation) {
        Some(_) => resize_pil_window(x, [0, 0], [x.height, x.width], size, interpolation),
        None => {
            let y = resize_tf(x.pixels(), [x.height, x.width, x.channels], size, interpolation);
            let pixels = y.into_iter().map(|v| v.round() as u8).collect();
            Picture { height: size[0], width: size[1], channels: x.channels, pixels }
        }
    }
}

/// PIL `x.resize(size, filter, box=...)` for the window of `extent` at `origin`. As in PIL, filters at the rim
/// of the window look at pixels beyond it.
pub(super) fn resize_pil_window(
    x: &Picture,
    origin: [usize; 2],
    extent: [usize; 2],
    size: [usize; 2],
    interpolation: Interpolation,
) -> Picture {
    assert!(size[0] > 0 && size[1] > 0, "a picture has at least one pixel");
    let axis = |i: usize, len| Axis { len, from: origin[i], to: origin[i] + extent[i], out: size[i] };
    let (rows, columns) = (axis(0, x.height), axis(1, x.width));
    if rows.is_identity() && columns.is_identity() {
        return x.clone();
    }
    let channels = x.channels;
    let pixels = match Kernel::pil(interpolation) {
        None | Some(Kernel::Nearest) => {
            let (rows, columns) = (pil_nearest(rows), pil_nearest(columns));
            pick(&x.pixels, [x.width, channels], &rows, &columns)
        }
        Some(kernel) => fixed_point(x, &Taps::pil(rows, kernel), &Taps::pil(columns, kernel), rows, columns),
    };
    Picture { height: size[0], width: size[1], channels, pixels }
}

/// `tf.image.resize` of one picture, as floats. A PIL filter's name stands for the TensorFlow method of that
/// name, antialiased where PIL antialiases.
///
/// # Shapes
/// x: `[H, W, C]` -> `[size[0], size[1], C]`
///
/// # Panics
/// If `x` has not `H * W * C` values or a dimension is zero.
pub fn resize_tf<T: Copy + Into<f32>>(
    x: &[T],
    [h, w, c]: [usize; 3],
    size: [usize; 2],
    interpolation: Interpolation,
) -> Vec<f32> {
    assert!(h * w * c > 0 && x.len() == h * w * c, "expected {h} x {w} x {c} values, got {}", x.len());
    assert!(size[0] > 0 && size[1] > 0, "a picture has at least one pixel");
    let (rows, columns) = (Axis::whole(h, size[0]), Axis::whole(w, size[1]));
    let (kernel, antialias) = Kernel::tf(interpolation);
    if kernel == Kernel::Nearest {
        let floats = |i: usize| x[i].into();
        let (rows, columns) = (tf_nearest(rows), tf_nearest(columns));
        return rows
            .iter()
            .flat_map(|&r| {
                columns.iter().flat_map(move |&q| (0..c).map(move |k| floats((r * w + q) * c + k)))
            })
            .collect();
    }
    floating_point(x, [h, w, c], &Taps::tf(rows, kernel, antialias), &Taps::tf(columns, kernel, antialias))
}

/// Bilinear with half-pixel centers and edges repeated: `tf.image.resize` and OpenCV `resize(INTER_LINEAR)` of
/// a map of floats.
///
/// # Shapes
/// map: `[H, W]` -> `[size[0], size[1]]`
///
/// # Panics
/// If `map` has not `H * W` values or a dimension is zero.
pub fn resize_map(map: &[f32], [h, w]: [usize; 2], size: [usize; 2]) -> Vec<f32> {
    resize_tf(map, [h, w, 1], size, Interpolation::TfBilinear)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kernel {
    Nearest,
    Box,
    Triangle,
    Hamming,
    /// Keys' cubic with a = -0.5.
    Cubic,
    /// The same, with positions rounded to 1/1024 as TensorFlow's table does.
    CubicTable,
    Lanczos3,
}

impl Kernel {
    /// `None`: not one of PIL's.
    fn pil(interpolation: Interpolation) -> Option<Kernel> {
        Some(match interpolation {
            Interpolation::Nearest => Kernel::Nearest,
            Interpolation::Box => Kernel::Box,
            Interpolation::Bilinear => Kernel::Triangle,
            Interpolation::Hamming => Kernel::Hamming,
            Interpolation::Bicubic => Kernel::Cubic,
            Interpolation::Lanczos => Kernel::Lanczos3,
            _ => return None,
        })
    }

    /// The kernel and whether it widens when shrinking.
    fn tf(interpolation: Interpolation) -> (Kernel, bool) {
        match interpolation {
            Interpolation::TfNearest => (Kernel::Nearest, false),
            Interpolation::TfBilinear => (Kernel::Triangle, false),
            Interpolation::TfBilinearAntialias => (Kernel::Triangle, true),
            Interpolation::TfBicubic => (Kernel::CubicTable, false),
            Interpolation::TfBicubicAntialias => (Kernel::Cubic, true),
            other => (Kernel::pil(other).unwrap_or(Kernel::Triangle), true),
        }
    }

    /// Half the width of the kernel, in output pixels when shrinking.
    fn support(self) -> f64 {
        match self {
            Kernel::Nearest | Kernel::Box => 0.5,
            Kernel::Triangle | Kernel::Hamming => 1.0,
            Kernel::Cubic | Kernel::CubicTable => 2.0,
            Kernel::Lanczos3 => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let a = x.abs();
        match self {
            Kernel::Nearest | Kernel::Box => f64::from(x > -0.5 && x <= 0.5),
            Kernel::Triangle => (1.0 - a).max(0.0),
            Kernel::Hamming if a >= 1.0 => 0.0,
            // Pillow writes these two constants as C floats.
            Kernel::Hamming => sinc(x) * (f64::from(0.54f32) + f64::from(0.46f32) * (x * PI).cos()),
            Kernel::Cubic | Kernel::CubicTable if a < 1.0 => (1.5 * a - 2.5) * a * a + 1.0,
            Kernel::Cubic | Kernel::CubicTable if a < 2.0 => (((a - 5.0) * a + 8.0) * a - 4.0) * -0.5,
            Kernel::Cubic | Kernel::CubicTable => 0.0,
            Kernel::Lanczos3 if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Kernel::Lanczos3 => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// For each output position, a window of input positions and its weights, which sum to 1.
struct Taps {
    windows: Vec<Range<usize>>,
    /// All weights, window after window.
    weights: Vec<f64>,
}

impl Taps {
    fn pil(axis: Axis, kernel: Kernel) -> Taps {
        let scale = (axis.to - axis.from) as f64 / axis.out as f64;
        let centers = (0..axis.out).map(|i| axis.from as f64 + (i as f64 + 0.5) * scale);
        Taps::new(axis.len, kernel, scale.max(1.0), centers)
    }

    fn tf(axis: Axis, kernel: Kernel, antialias: bool) -> Taps {
        // TensorFlow places the windows in single precision, which moves them visibly in large pictures.
        let scale = axis.len as f32 / axis.out as f32;
        let centers = (0..axis.out).map(|i| {
            let center = (i as f32 + 0.5) * scale;
            if kernel != Kernel::CubicTable {
                return f64::from(center);
            }
            let at = f64::from(center - 0.5);
            at.floor() + ((at - at.floor()) * 1024.0).round_ties_even() / 1024.0 + 0.5
        });
        let stretch = if antialias { f64::from(scale).max(1.0) } else { 1.0 };
        Taps::new(axis.len, kernel, stretch, centers)
    }

    fn new(len: usize, kernel: Kernel, stretch: f64, centers: impl Iterator<Item = f64>) -> Taps {
        let support = kernel.support() * stretch;
        let (mut windows, mut weights) = (Vec::new(), Vec::new());
        for center in centers {
            // Truncation towards zero is Pillow's; beyond the edges the window is cut and the rest renormalized.
            let first = ((center - support + 0.5) as usize).min(len - 1);
            let last = ((center + support + 0.5) as usize).clamp(first + 1, len);
            let start = weights.len();
            weights.extend((first..last).map(|i| kernel.weight((i as f64 - center + 0.5) * (1.0 / stretch))));
            let sum: f64 = weights[start..].iter().sum();
            if sum != 0.0 {
                weights[start..].iter_mut().for_each(|w| *w /= sum);
            }
            windows.push(first..last);
        }
        Taps { windows, weights }
    }

    /// Windows with their weights.
    fn iter<'a, W>(&'a self, weights: &'a [W]) -> impl Iterator<Item = (Range<usize>, &'a [W])> {
        let mut start = 0;
        self.windows.iter().map(move |window| {
            let of_window = &weights[start..start + window.len()];
            start += window.len();
            (window.clone(), of_window)
        })
    }
}

/// Fraction bits of Pillow's weights: 32 minus 8 for the sample and 2 for overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// Pillow's two passes, columns first, each rounded to 8 bits.
fn fixed_point(x: &Picture, rows: &Taps, columns: &Taps, row_axis: Axis, column_axis: Axis) -> Vec<u8> {
    let c = x.channels;
    let fixed = |taps: &Taps| -> Vec<i32> {
        taps.weights.iter().map(|w| (w * f64::from(1 << PRECISION)).round() as i32).collect()
    };
    // Only these input rows are ever looked at.
    let first = rows.windows.first().map_or(0, |w| w.start);
    let last = rows.windows.last().map_or(0, |w| w.end);
    let row = x.width * c;
    let needed = &x.pixels[first * row..last * row];
    let narrowed;
    let between = if column_axis.is_identity() {
        needed
    } else {
        let weights = fixed(columns);
        let mut out = Vec::with_capacity((last - first) * column_axis.out * c);
        for line in needed.chunks_exact(row) {
            match c {
                3 => narrow::<3>(line, columns, &weights, &mut out),
                _ => narrow::<1>(line, columns, &weights, &mut out),
            }
        }
        narrowed = out;
        &narrowed
    };
    if row_axis.is_identity() {
        return between.to_vec();
    }
    let row = column_axis.out * c;
    let weights = fixed(rows);
    let mut out = Vec::with_capacity(row_axis.out * row);
    let mut sums = vec![0i32; row];
    for (window, weights) in rows.iter(&weights) {
        sums.fill(1 << (PRECISION - 1));
        let lines = &between[(window.start - first) * row..(window.end - first) * row];
        for (line, &weight) in lines.chunks_exact(row).zip(weights) {
            for (sum, &v) in sums.iter_mut().zip(line) {
                *sum += i32::from(v) * weight;
            }
        }
        out.extend(sums.iter().map(|&sum| to_u8(sum)));
    }
    out
}

/// One line of pixels, resized.
fn narrow<const C: usize>(line: &[u8], columns: &Taps, weights: &[i32], out: &mut Vec<u8>) {
    let (pixels, _) = line.as_chunks::<C>();
    for (window, weights) in columns.iter(weights) {
        let mut sums = [1i32 << (PRECISION - 1); C];
        for (pixel, &weight) in pixels[window].iter().zip(weights) {
            for (sum, &v) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(v) * weight;
            }
        }
        out.extend(sums.map(to_u8));
    }
}

fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// Rows first, line by line, so that nothing of the input's width times the input's height is ever made.
fn floating_point<T: Copy + Into<f32>>(
    x: &[T],
    [_, w, c]: [usize; 3],
    rows: &Taps,
    columns: &Taps,
) -> Vec<f32> {
    let single = |taps: &Taps| -> Vec<f32> { taps.weights.iter().map(|&w| w as f32).collect() };
    let (row_weights, column_weights) = (single(rows), single(columns));
    let row = w * c;
    let mut out = Vec::with_capacity(rows.windows.len() * columns.windows.len() * c);
    let mut line = vec![0f32; row];
    for (window, weights) in rows.iter(&row_weights) {
        line.fill(0.0);
        for (input, &weight) in x[window.start * row..window.end * row].chunks_exact(row).zip(weights) {
            for (sum, &v) in line.iter_mut().zip(input) {
                *sum += v.into() * weight;
            }
        }
        for (window, weights) in columns.iter(&column_weights) {
            for k in 0..c {
                let values = line[window.start * c..window.end * c].iter().skip(k).step_by(c);
                out.push(values.zip(weights).map(|(v, w)| v * w).sum());
            }
        }
    }
    out
}

/// Pillow adds the step up again and again; multiplying would differ in the last bit and so, rarely, in the
/// pixel.
fn pil_nearest(axis: Axis) -> Vec<usize> {
    let step = (axis.to - axis.from) as f64 / axis.out as f64;
    let mut at = axis.from as f64 + step * 0.5;
    let mut positions = Vec::with_capacity(axis.out);
    for _ in 0..axis.out {
        positions.push((at as usize).min(axis.len - 1));
        at += step;
    }
    positions
}

fn tf_nearest(axis: Axis) -> Vec<usize> {
    let scale = axis.len as f32 / axis.out as f32;
    (0..axis.out).map(|i| (((i as f32 + 0.5) * scale) as usize).min(axis.len - 1)).collect()
}

fn pick(x: &[u8], [w, c]: [usize; 2], rows: &[usize], columns: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len() * columns.len() * c);
    for &r in rows {
        for &q in columns {
            let at = (r * w + q) * c;
            out.extend_from_slice(&x[at..at + c]);
        }
    }
    out
}
