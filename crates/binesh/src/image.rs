//! Photos in: decoding, resizing and scaling, to the pixel as the tools do with which the models were trained.
//!
//! A file is recognized by its content, never by its name. [`open`] gives a [`Picture`] (8 bits, RGB),
//! [`to_tensor`] follows a model's [`Preprocess`] from there to `[N, H, W, C]`. Resampling equals PIL's to the
//! byte and `tf.image.resize`'s to float rounding; see [`Interpolation`] for which is which.

mod decode;
mod preprocess;
mod resample;

use std::fmt;
use std::path::{Path, PathBuf};

pub use binesh_formats::meta::{Color, Fit, Interpolation, Preprocess, PreprocessError, Scaling};
pub(crate) use decode::looks_like_a_picture;
pub use decode::{DecodeOptions, Limits, Orientation, Transparency, decode, open};
pub use preprocess::{FieldOfView, deprocess, field_of_view, to_tensor};
pub(crate) use preprocess::{affine, geometry_only, scale};
pub use resample::{resize_map, resize_tf};

/// 8-bit pixels, rows from the top, channels last: `[H, W, C]` with C = 3 (RGB) or 1 (gray). Never empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    height: usize,
    width: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// RGB pixels `[H, W, 3]`. `None` if a side is zero or the length is not `height * width * 3`.
    pub fn rgb(height: usize, width: usize, pixels: Vec<u8>) -> Option<Picture> {
        Self::new(height, width, 3, pixels)
    }

    /// Gray pixels `[H, W]`. `None` if a side is zero or the length is not `height * width`.
    pub fn gray(height: usize, width: usize, pixels: Vec<u8>) -> Option<Picture> {
        Self::new(height, width, 1, pixels)
    }

    fn new(height: usize, width: usize, channels: usize, pixels: Vec<u8>) -> Option<Picture> {
        let length = height.checked_mul(width)?.checked_mul(channels)?;
        (length > 0 && pixels.len() == length).then_some(Picture { height, width, channels, pixels })
    }

    /// RGB, every pixel the same.
    ///
    /// # Panics
    /// If a side is zero.
    pub fn filled(height: usize, width: usize, rgb: [u8; 3]) -> Picture {
        assert!(height > 0 && width > 0, "a picture has at least one pixel");
        Picture { height, width, channels: 3, pixels: rgb.repeat(height * width) }
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// 3 for RGB, 1 for gray.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// `[H, W, C]`, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The pixels themselves.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }

    /// Keras `img_to_array`: `[H, W, C]` as floats 0..=255.
    pub fn to_array(&self) -> Vec<f32> {
        self.pixels.iter().map(|&v| f32::from(v)).collect()
    }

    /// PIL `convert('L')`: `(19595 R + 38470 G + 7471 B + 32768) / 65536`.
    pub fn to_gray(&self) -> Picture {
        if self.channels == 1 {
            return self.clone();
        }
        let luma = |p: &[u8]| {
            (u32::from(p[0]) * 19595 + u32::from(p[1]) * 38470 + u32::from(p[2]) * 7471 + 0x8000) >> 16
        };
        let pixels = self.pixels.chunks_exact(3).map(|p| luma(p) as u8).collect();
        Picture { channels: 1, pixels, ..*self }
    }

    /// Three equal channels from gray; RGB unchanged.
    pub fn to_rgb(&self) -> Picture {
        if self.channels == 3 {
            return self.clone();
        }
        let pixels = self.pixels.iter().flat_map(|&v| [v; 3]).collect();
        Picture { channels: 3, pixels, ..*self }
    }

    /// The window of `height` x `width` whose first pixel is at (`top`, `left`).
    ///
    /// # Panics
    /// If the window is empty or leaves the picture.
    pub fn crop(&self, top: usize, left: usize, height: usize, width: usize) -> Picture {
        assert!(
            height > 0 && width > 0 && top + height <= self.height && left + width <= self.width,
            "crop leaves the picture"
        );
        let row = self.width * self.channels;
        let cut = left * self.channels..(left + width) * self.channels;
        let pixels = self
            .pixels
            .chunks_exact(row)
            .skip(top)
            .take(height)
            .flat_map(|r| &r[cut.clone()])
            .copied()
            .collect();
        Picture { height, width, channels: self.channels, pixels }
    }

    /// Resized to `[height, width]`, proportions not kept. The PIL filters equal `Image.resize` to the byte;
    /// with a `tf_` filter the float result is rounded to 8 bits (for the floats themselves: [`resize_tf`]).
    ///
    /// # Panics
    /// If a side of `size` is zero.
    pub fn resize(&self, size: [usize; 2], interpolation: Interpolation) -> Picture {
        resample::resize(self, size, interpolation)
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {} x {})", self.height, self.width, self.channels)
    }
}

/// Keras `load_img(path, target_size=size, interpolation=...)`: no EXIF rotation, transparency dropped,
/// resized by PIL's rules.
pub fn load_img(
    path: &Path,
    size: Option<[usize; 2]>,
    interpolation: Interpolation,
) -> Result<Picture, ImageError> {
    let picture = open(path, &DecodeOptions::keras())?;
    Ok(match size {
        Some(size) => picture.resize(size, interpolation),
        None => picture,
    })
}

/// Why a photo could not be used. Every message is one line that names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is larger than [`Limits::max_bytes`]; it was not read.
    #[error("{name}: {bytes} bytes, more than the limit of {limit}")]
    TooManyBytes {
        /// The file.
        name: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The header promises more pixels than [`Limits::max_pixels`]; nothing was decoded.
    #[error("{name}: {width} x {height} pixels ({} megapixels), more than the limit of {} megapixels", megapixels(u64::from(*width) * u64::from(*height)), megapixels(*limit))]
    TooManyPixels {
        /// The file.
        name: String,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit, in pixels.
        limit: u64,
    },
    /// The content is no picture, whatever the name says.
    #[error("{name}: not a picture: the content is none of PNG, JPEG, WebP, GIF, BMP, TIFF")]
    Unrecognized {
        /// The file.
        name: String,
    },
    /// The content begins like a picture and is damaged.
    #[error("{name}: damaged {format} picture: {reason}")]
    Malformed {
        /// The file.
        name: String,
        /// `JPEG`, `PNG`...
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// A valid picture of a kind nobody decodes here.
    #[error("{name}: unsupported {format} picture: {reason}")]
    Unsupported {
        /// The file.
        name: String,
        /// `JPEG`, `PNG`...
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The model's preprocessing contradicts itself.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
}

fn megapixels(pixels: u64) -> String {
    let mp = pixels as f64 / 1e6;
    if mp < 10.0 { format!("{mp:.1}") } else { format!("{mp:.0}") }
}
