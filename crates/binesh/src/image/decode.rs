//! Bytes of a picture file to 8-bit RGB.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::error::ImageError as Cause;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::{ImageError, Picture};

/// Limits checked before anything of that size is read or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest width times height; 180 million by default, where Pillow draws the line too.
    pub max_pixels: u64,
    /// Largest file; 1 GiB by default.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_pixels: 180_000_000, max_bytes: 1 << 30 }
    }
}

/// What becomes of transparent pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transparency {
    /// Blended over this RGB color.
    Over([u8; 3]),
    /// Alpha thrown away, whatever color hides under it: PIL `convert('RGB')`.
    Drop,
}

/// Whether the camera's note on which side is up counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// Turned and mirrored as EXIF says: what a person sees.
    Exif,
    /// As stored: what Keras and PIL's `open` give.
    Stored,
}

/// How to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Refuse larger pictures.
    pub limits: Limits,
    /// Transparent pixels.
    pub transparency: Transparency,
    /// EXIF orientation.
    pub orientation: Orientation,
    /// The size `[height, width]` to which the caller will shrink the picture: a large JPEG may then come out
    /// smaller, never below twice this size. See [`DecodeOptions::at_least`].
    pub at_least: Option<[usize; 2]>,
}

impl Default for DecodeOptions {
    /// As a person sees the photo: EXIF orientation applied, transparent pixels over white.
    fn default() -> Self {
        DecodeOptions {
            limits: Limits::default(),
            transparency: Transparency::Over([255; 3]),
            orientation: Orientation::Exif,
            at_least: None,
        }
    }
}

impl DecodeOptions {
    /// As Keras `load_img` sees it: stored orientation, alpha dropped.
    pub fn keras() -> Self {
        DecodeOptions {
            transparency: Transparency::Drop,
            orientation: Orientation::Stored,
            ..Self::default()
        }
    }

    /// For a picture that will be shrunk to `size` (height, width): JPEGs are scaled while they are decoded.
    ///
    /// A JPEG that is at least four times as large in both directions is decoded at 1/2, 1/4 or 1/8, the smallest
    /// that leaves twice the wanted size: PIL's `Image.thumbnail` with its `reducing_gap` of 2 does the same.
    /// Files that cannot be read so (CMYK, arithmetic coding, 12 bits), sides whose remainder would shift the
    /// picture by more than a thousandth, and all other formats are decoded in full.
    ///
    /// What it gives, measured as processor time for photos with 4:2:0 color and 224 wanted: 112 ms become 84 for
    /// 4000 x 3000 pixels (progressive: 260 become 229), and what is left to shrink is a sixteenth. Most of a JPEG's
    /// decoding is not the inverse transform, and the full decoder is the faster one otherwise: with color at full
    /// size, or below some 3 megapixels, decoding alone gains nothing (23 ms become 29 for 2000 x 1500).
    /// After shrinking to 224 by PIL's bilinear filter the pixels differ from those of the full picture by .5 levels
    /// on average, 10 at most, for the 12 megapixels; by 1 and 22 for 1200 x 900. Nearest-neighbour shrinking picks
    /// single pixels, so it gives a visibly different picture (11 on average): do not combine the two.
    pub fn at_least(self, size: [usize; 2]) -> Self {
        DecodeOptions { at_least: Some(size), ..self }
    }
}

/// Reads and decodes a file.
pub fn open(path: &Path, options: &DecodeOptions) -> Result<Picture, ImageError> {
    let io = |source| ImageError::Io { path: path.to_owned(), source };
    let name = path.display().to_string();
    let file = File::open(path).map_err(io)?;
    let limit = options.limits.max_bytes;
    let promised = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::new();
    if promised <= limit {
        // A pipe promises nothing, so the limit holds while reading too.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(io)?;
    }
    let found = promised.max(bytes.len() as u64);
    if found > limit {
        return Err(ImageError::TooManyBytes { name, bytes: found, limit });
    }
    decode(&name, &bytes, options)
}

/// Decodes the bytes of a file; `name` is what errors call it. Of an animation, the first frame.
///
/// Samples of 16 bits keep their high byte, as PIL's RGB does; gray and palette pictures become RGB, CMYK
/// JPEGs as Adobe writes them (inverted) too. Color profiles are ignored, as PIL and Keras ignore them.
///
/// All formats give PIL's pixels to the byte, except lossy JPEG, whose decoder rounds otherwise than the
/// libjpeg-turbo in PIL. Measured on photos of 451 x 300 to 4000 x 3000: at most 3 levels, 0.01 on average,
/// when the color is stored at full size; at most 4 levels, 0.02 to 0.25 on average, when it is stored at half
/// size (4:2:0, what phones write).
pub fn decode(name: &str, bytes: &[u8], options: &DecodeOptions) -> Result<Picture, ImageError> {
    let limits = options.limits;
    if bytes.len() as u64 > limits.max_bytes {
        return Err(ImageError::TooManyBytes {
            name: name.into(),
            bytes: bytes.len() as u64,
            limit: limits.max_bytes,
        });
    }
    let unrecognized = || ImageError::Unrecognized { name: name.into() };
    let format = image::guess_format(bytes).map_err(|_| unrecognized())?;
    let label = label(format).ok_or_else(unrecognized)?;
    let failed = |cause| failed(name, label, cause);

    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(ImageError::TooManyPixels { name: name.into(), width, height, limit: limits.max_pixels });
    }
    let malformed =
        |reason: &str| ImageError::Malformed { name: name.into(), format: label, reason: reason.into() };
    if format == ImageFormat::Jpeg && !jpeg_has_end(bytes) {
        return Err(malformed("the file is cut off"));
    }
    let mut allocation = image::Limits::default();
    // 16 bytes hold a pixel of the deepest kind (four floats); as much again is the decoder's own working space.
    allocation.max_alloc = Some(limits.max_pixels.saturating_mul(32).max(64 << 20));
    decoder.set_limits(allocation).map_err(failed)?;

    let orientation = match options.orientation {
        Orientation::Exif => decoder.orientation().map_err(failed)?,
        Orientation::Stored => image::metadata::Orientation::NoTransforms,
    };
    let scaled =
        (format == ImageFormat::Jpeg).then_some(options.at_least).flatten().and_then(|[height, width]| {
            use image::metadata::Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
            // The size is wanted after turning.
            let turned = matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
            scaled_jpeg(bytes, if turned { [width, height] } else { [height, width] })
        });
    let mut picture = match scaled {
        Some(picture) => picture,
        None => DynamicImage::from_decoder(decoder).map_err(failed)?,
    };
    picture.apply_orientation(orientation);
    to_picture(picture, options.transparency).ok_or_else(|| malformed("no pixels"))
}

/// A JPEG decoded at 1/2, 1/4 or 1/8. `None` if that would leave less than twice the wanted size, or if this
/// decoder, which is strict and knows fewer kinds, does not read the file: the other one then decides.
fn scaled_jpeg(bytes: &[u8], [height, width]: [usize; 2]) -> Option<DynamicImage> {
    use jpeg_decoder::PixelFormat::{L8, RGB24};
    const GAP: usize = 2;
    let mut decoder = jpeg_decoder::Decoder::new(bytes);
    decoder.read_info().ok()?;
    let info = decoder.info()?;
    // CMYK has no one conversion to RGB: left to the decoder that all other pictures use.
    if !matches!(info.pixel_format, L8 | RGB24) {
        return None;
    }
    let fits = |side: u16, part: u16, wanted: usize| {
        let scaled = side.div_ceil(part);
        // The last pixel reaches beyond the picture when the side is no multiple; that must not shift anything.
        let beyond = u32::from(scaled) * u32::from(part) - u32::from(side);
        usize::from(scaled) >= wanted.saturating_mul(GAP) && beyond * 1000 <= u32::from(side)
    };
    let fit = |part: &u16| fits(info.height, *part, height) && fits(info.width, *part, width);
    let part = [8, 4, 2].into_iter().find(fit)?;
    let (w, h) = decoder.scale(info.width.div_ceil(part), info.height.div_ceil(part)).ok()?;
    let pixels = decoder.decode().ok()?;
    if info.pixel_format == L8 {
        image::GrayImage::from_raw(w.into(), h.into(), pixels).map(DynamicImage::ImageLuma8)
    } else {
        image::RgbImage::from_raw(w.into(), h.into(), pixels).map(DynamicImage::ImageRgb8)
    }
}

/// Whether a file that begins so is worth reading to the end.
pub(crate) fn looks_like_a_picture(beginning: &[u8]) -> bool {
    image::guess_format(beginning).is_ok_and(|format| label(format).is_some())
}

fn label(format: ImageFormat) -> Option<&'static str> {
    Some(match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Tiff => "TIFF",
        _ => return None,
    })
}

fn failed(name: &str, format: &'static str, cause: Cause) -> ImageError {
    let name = name.to_owned();
    match cause {
        Cause::Unsupported(e) => ImageError::Unsupported { name, format, reason: one_line(&e.to_string()) },
        Cause::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageError::Malformed { name, format, reason: "the file is cut off".into() }
        }
        e => {
            // The crate's outer message repeats the format; the innermost cause says what is wrong.
            let mut cause: &dyn std::error::Error = &e;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            ImageError::Malformed { name, format, reason: one_line(&cause.to_string()) }
        }
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ").trim_end_matches('.').to_owned()
}

/// Whether the end-of-image marker (ISO/IEC 10918-1, B.1.1.3) is where the segments lead.
///
/// The decoder fills what is missing of a truncated photo with gray, which a classifier would answer with
/// confidence. Thumbnails inside a segment have an end marker of their own, so the segments must be walked.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut at = 2;
    loop {
        let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xff)) else {
            return false;
        };
        at += offset + 1;
        let Some(&marker) = bytes.get(at) else { return false };
        at += 1;
        match marker {
            0xd9 => return true,
            // A fill byte: the next one may be the marker.
            0xff => at -= 1,
            // Stuffed 0xff in the coded data, restart markers, and the ones without a length.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            _ => match bytes.get(at..at + 2) {
                Some(length) => at += usize::from(u16::from_be_bytes([length[0], length[1]])).max(2),
                None => return false,
            },
        }
    }
}

fn to_picture(picture: DynamicImage, transparency: Transparency) -> Option<Picture> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let high = |v: u16| (v >> 8) as u8;
    let float = |v: f32| (v * 255.0).round() as u8;
    let pixels: Vec<u8> = match picture {
        DynamicImage::ImageRgb8(p) => p.into_raw(),
        DynamicImage::ImageLuma8(p) => p.into_raw().into_iter().flat_map(|v| [v; 3]).collect(),
        DynamicImage::ImageLumaA8(p) => flatten(p.pixels().map(|p| [p[0], p[0], p[0], p[1]]), transparency),
        DynamicImage::ImageRgba8(p) => flatten(p.pixels().map(|p| p.0), transparency),
        DynamicImage::ImageLuma16(p) => p.pixels().flat_map(|p| [high(p[0]); 3]).collect(),
        DynamicImage::ImageLumaA16(p) => {
            flatten(p.pixels().map(|p| [p[0], p[0], p[0], p[1]].map(high)), transparency)
        }
        DynamicImage::ImageRgb16(p) => p.pixels().flat_map(|p| p.0.map(high)).collect(),
        DynamicImage::ImageRgba16(p) => flatten(p.pixels().map(|p| p.0.map(high)), transparency),
        DynamicImage::ImageRgb32F(p) => p.pixels().flat_map(|p| p.0.map(float)).collect(),
        DynamicImage::ImageRgba32F(p) => flatten(p.pixels().map(|p| p.0.map(float)), transparency),
        other => other.into_rgb8().into_raw(),
    };
    Picture::rgb(height, width, pixels)
}

fn flatten(pixels: impl Iterator<Item = [u8; 4]>, transparency: Transparency) -> Vec<u8> {
    match transparency {
        Transparency::Drop => pixels.flat_map(|[r, g, b, _]| [r, g, b]).collect(),
        Transparency::Over(below) => pixels.flat_map(|[r, g, b, a]| over([r, g, b], below, a)).collect(),
    }
}

/// Porter and Duff's "over" on an opaque background, rounded to nearest.
fn over(above: [u8; 3], below: [u8; 3], alpha: u8) -> [u8; 3] {
    let a = u32::from(alpha);
    std::array::from_fn(|c| ((u32::from(above[c]) * a + u32::from(below[c]) * (255 - a) + 127) / 255) as u8)
}
