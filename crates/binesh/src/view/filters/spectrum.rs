//! A picture as its spectrum: Fourier coefficients in which all frequencies are equally easy to change, and colors that
//! vary independently. Lucid's `optvis/param/spatial.py` (`fft_image`) and `color.py` (`to_valid_rgb`).

use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::num_traits::Zero;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};
use rustfft::{Fft, FftPlanner};

/// Lucid's `color_correlation_svd_sqrt`: how the colors of photos vary together. Rows are red, green, blue.
const COLORS: [[f32; 3]; 3] = [[0.26, 0.09, 0.02], [0.27, 0.0, -0.05], [0.27, -0.09, 0.03]];

/// The largest norm of a column of [`COLORS`], by which Lucid divides: that of the first, brightness.
fn largest_column() -> f32 {
    let norm = |column: usize| COLORS.iter().map(|row| row[column] * row[column]).sum::<f32>().sqrt();
    (0..3).map(norm).fold(0.0, f32::max)
}

/// Lucid divides the picture by it, "increasing this seems to reduce saturation".
const MAGIC: f32 = 4.0;

/// The transform between a spectrum and a picture of one size.
///
/// # Shapes
/// spectrum `[C, H, W / 2 + 1, 2]` (real and imaginary part) <-> picture `[H, W, C]`
pub(crate) struct Spectrum {
    size: [usize; 2],
    channels: usize,
    /// By which coefficients are multiplied: `1 / max(frequency, 1 / max(W, H)) / sqrt(H W) / 4`. `[H, W / 2 + 1]`
    scale: Vec<f32>,
    rows_inverse: Arc<dyn ComplexToReal<f32>>,
    rows_forward: Arc<dyn RealToComplex<f32>>,
    columns_inverse: Arc<dyn Fft<f32>>,
    columns_forward: Arc<dyn Fft<f32>>,
}

impl Spectrum {
    pub(crate) fn new([h, w]: [usize; 2], channels: usize) -> Spectrum {
        let (mut real, mut complex) = (RealFftPlanner::new(), FftPlanner::new());
        let lowest = 1.0 / h.max(w) as f64;
        // numpy.fft.fftfreq
        let down =
            |row: usize| if row <= (h - 1) / 2 { row as f64 } else { row as f64 - h as f64 } / h as f64;
        let across = |k: usize| k as f64 / w as f64;
        let whole = ((h * w) as f64).sqrt() * f64::from(MAGIC);
        let scale = |at: usize| {
            (1.0 / down(at / (w / 2 + 1)).hypot(across(at % (w / 2 + 1))).max(lowest) / whole) as f32
        };
        Spectrum {
            size: [h, w],
            channels,
            scale: (0..h * (w / 2 + 1)).map(scale).collect(),
            rows_inverse: real.plan_fft_inverse(w),
            rows_forward: real.plan_fft_forward(w),
            columns_inverse: complex.plan_fft_inverse(h),
            columns_forward: complex.plan_fft_forward(h),
        }
    }

    /// Values of a spectrum.
    pub(crate) fn len(&self) -> usize {
        self.channels * self.scale.len() * 2
    }

    /// `irfft2(scale * spectrum)`.
    pub(crate) fn picture(&self, spectrum: &[f32]) -> Vec<f32> {
        let ([h, w], c, half) = (self.size, self.channels, self.size[1] / 2 + 1);
        let mut picture = vec![0.0; h * w * c];
        let mut columns = vec![Complex32::zero(); half * h];
        let mut row = vec![Complex32::zero(); half];
        let mut pixels = vec![0.0; w];
        for (channel, spectrum) in spectrum.chunks_exact(self.scale.len() * 2).enumerate() {
            for (at, (part, scale)) in spectrum.as_chunks::<2>().0.iter().zip(&self.scale).enumerate() {
                columns[at % half * h + at / half] = Complex32::new(part[0], part[1]) * scale;
            }
            self.columns_inverse.process(&mut columns);
            for y in 0..h {
                row.iter_mut().enumerate().for_each(|(k, value)| *value = columns[k * h + y]);
                // What a real picture cannot have.
                row[0].im = 0.0;
                if w % 2 == 0 {
                    row[half - 1].im = 0.0;
                }
                self.rows_inverse.process(&mut row, &mut pixels).expect("lengths are the plan's");
                pixels.iter().enumerate().for_each(|(x, &value)| picture[(y * w + x) * c + channel] = value);
            }
        }
        picture
    }

    /// The adjoint of [`Spectrum::picture`]: from d(loss)/d(picture) to d(loss)/d(spectrum). A coefficient that stands for
    /// two, itself and its mirror image, counts twice.
    pub(crate) fn back(&self, d_picture: &[f32]) -> Vec<f32> {
        let ([h, w], c, half) = (self.size, self.channels, self.size[1] / 2 + 1);
        let mut d_spectrum = Vec::with_capacity(self.len());
        let mut columns = vec![Complex32::zero(); half * h];
        let mut row = vec![Complex32::zero(); half];
        let mut pixels = vec![0.0; w];
        for channel in 0..c {
            for y in 0..h {
                pixels
                    .iter_mut()
                    .enumerate()
                    .for_each(|(x, value)| *value = d_picture[(y * w + x) * c + channel]);
                self.rows_forward.process(&mut pixels, &mut row).expect("lengths are the plan's");
                row.iter().enumerate().for_each(|(k, &value)| columns[k * h + y] = value);
            }
            self.columns_forward.process(&mut columns);
            for (at, scale) in self.scale.iter().enumerate() {
                let k = at % half;
                let alone = k == 0 || (w % 2 == 0 && k == half - 1);
                let value = columns[k * h + at / half] * scale * if alone { 1.0 } else { 2.0 };
                d_spectrum.extend([value.re, value.im]);
            }
        }
        d_spectrum
    }
}

/// Independent colors to red, green and blue in 0..=1, in place; one channel is only squeezed.
///
/// # Shapes
/// `[.., C]`
pub(crate) fn to_rgb(values: &mut [f32], channels: usize) {
    if channels == 3 {
        let norm = largest_column();
        for pixel in values.as_chunks_mut::<3>().0 {
            let from = *pixel;
            *pixel = COLORS.map(|row| row.iter().zip(from).map(|(m, v)| m / norm * v).sum());
        }
    }
    values.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-*v).exp()));
}

/// The gradient of [`to_rgb`], in place: from d(loss)/d(its result) to d(loss)/d(values).
///
/// # Shapes
/// rgb, its result, and d: `[.., C]`
pub(crate) fn to_rgb_back(rgb: &[f32], d: &mut [f32], channels: usize) {
    d.iter_mut().zip(rgb).for_each(|(d, v)| *d *= v * (1.0 - v));
    if channels == 3 {
        let norm = largest_column();
        for pixel in d.as_chunks_mut::<3>().0 {
            let from = *pixel;
            *pixel = std::array::from_fn(|i| COLORS.iter().zip(from).map(|(row, d)| row[i] / norm * d).sum());
        }
    }
}
