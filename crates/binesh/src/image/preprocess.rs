//! From pictures to the network's input, as its [`Preprocess`] says, and back to pixels for display.

use std::borrow::Cow;

use super::resample::{resize_pil_window, resize_tf};
use super::{Color, Fit, ImageError, Interpolation, Picture, Preprocess, Scaling};

/// The input tensor of a batch of pictures.
///
/// # Shapes
/// n pictures of any size -> `[N, H, W, C]`, with `[H, W] = preprocess.size` and C = 3 or 1
pub fn to_tensor(
    pictures: &[Picture],
    preprocess: &Preprocess,
) -> Result<(Vec<f32>, [usize; 4]), ImageError> {
    preprocess.check()?;
    let [h, w] = preprocess.size;
    let c = preprocess.channels();
    let mut x = Vec::with_capacity(pictures.len() * h * w * c);
    for picture in pictures {
        match resized(&in_channels(picture, c), preprocess) {
            Resized::Bytes(picture) => x.extend(picture.pixels().iter().map(|&v| f32::from(v))),
            Resized::Floats(floats) => x.extend(floats),
        }
    }
    scale(&mut x, preprocess);
    Ok((x, [pictures.len(), h, w, c]))
}

/// The first half of [`to_tensor`], for one picture: fit and size, the values still 0..=255 and in the picture's
/// order of channels. `preprocess` has been checked.
///
/// # Shapes
/// any size -> `[H, W, C]`
pub(crate) fn geometry_only(picture: &Picture, preprocess: &Preprocess) -> Vec<f32> {
    match resized(&in_channels(picture, preprocess.channels()), preprocess) {
        Resized::Bytes(picture) => picture.to_array(),
        Resized::Floats(floats) => floats,
    }
}

/// The second half of [`to_tensor`], in place: scaling and order of channels. `preprocess` has been checked.
///
/// # Shapes
/// x: `[.., C]`
pub(crate) fn scale(x: &mut [f32], preprocess: &Preprocess) {
    let values = Values::of(preprocess);
    match preprocess.channels() {
        3 => values.scale::<3>(x),
        _ => values.scale::<1>(x),
    }
}

/// Scaling and order of channels as arithmetic: for each channel of the network's input, the picture's channel behind it and
/// the factor and offset that make the input of its values 0..=255.
pub(crate) fn affine(preprocess: &Preprocess) -> Vec<(usize, f32, f32)> {
    let (values, c) = (Values::of(preprocess), preprocess.channels());
    let channel = |k: usize| {
        let (unit, mean, std) = (values.unit, values.mean[k], values.std[k]);
        (values.source(k, c), 1.0 / (unit * std), -mean / std)
    };
    (0..c).map(channel).collect()
}

/// The picture a network was given, as it saw it: one `[H, W, C]` of [`to_tensor`]'s result back to 8 bits.
///
/// # Shapes
/// x: `[H, W, C]` -> H x W, RGB or gray
///
/// # Panics
/// If `x` has not `H * W * C` values for `preprocess.size`.
pub fn deprocess(x: &[f32], preprocess: &Preprocess) -> Result<Picture, ImageError> {
    preprocess.check()?;
    let [h, w] = preprocess.size;
    let c = preprocess.channels();
    assert_eq!(x.len(), h * w * c, "expected {h} x {w} x {c} values");
    let values = Values::of(preprocess);
    let mut pixels = vec![0; x.len()];
    for (pixel, x) in pixels.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        for (k, &x) in x.iter().enumerate() {
            pixel[values.source(k, c)] = values.undo(k, x).round() as u8;
        }
    }
    Ok(Picture { height: h, width: w, channels: c, pixels })
}

/// In gray or RGB. A photo can be large: no copy when its channels are right already.
fn in_channels(picture: &Picture, c: usize) -> Cow<'_, Picture> {
    match (picture.channels(), c) {
        (has, wanted) if has == wanted => Cow::Borrowed(picture),
        (_, 1) => Cow::Owned(picture.to_gray()),
        _ => Cow::Owned(picture.to_rgb()),
    }
}

enum Resized {
    Bytes(Picture),
    Floats(Vec<f32>),
}

/// Where a network looks in a picture, in the picture's own pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldOfView {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows, at least one.
    pub height: usize,
    /// Columns, at least one.
    pub width: usize,
}

impl FieldOfView {
    /// True when it is all of a picture of this height and width.
    pub fn covers(&self, picture: [usize; 2]) -> bool {
        [self.height, self.width] == picture
    }
}

/// The part of a picture of this height and width that ends up in the network's input, to the nearest pixel.
pub fn field_of_view(preprocess: &Preprocess, picture: [usize; 2]) -> FieldOfView {
    let Geometry { origin, extent, resized, cut } = geometry(picture, preprocess);
    // From the resized window's pixels to the picture's.
    let scaled = |axis: usize, at: usize| (at * extent[axis] + resized[axis] / 2) / resized[axis];
    let span = |axis: usize| {
        let start = scaled(axis, cut[axis]).min(extent[axis] - 1);
        let end = scaled(axis, cut[axis] + preprocess.size[axis]).clamp(start + 1, extent[axis]);
        (origin[axis] + start, end - start)
    };
    let ((top, height), (left, width)) = (span(0), span(1));
    FieldOfView { top, left, height, width }
}

/// What a [`Fit`] comes to for one picture: a window of it, resized, and a cut of the wanted size out of that.
struct Geometry {
    origin: [usize; 2],
    extent: [usize; 2],
    resized: [usize; 2],
    cut: [usize; 2],
}

fn geometry([height, width]: [usize; 2], preprocess: &Preprocess) -> Geometry {
    let [h, w] = preprocess.size;
    let all = Geometry { origin: [0, 0], extent: [height, width], resized: [h, w], cut: [0, 0] };
    match preprocess.fit {
        Fit::CropToAspect | Fit::CutToAspect => {
            // Keras `smart_resize` and `load_img(keep_aspect_ratio=True)` round down alike.
            let extent = [(width * h / w).clamp(1, height), (height * w / h).clamp(1, width)];
            let origin = [(height - extent[0]) / 2, (width - extent[1]) / 2];
            Geometry { origin, extent, ..all }
        }
        Fit::CropThenResize { ratio } => {
            let side = ((ratio * height.min(width) as f64) as usize).max(1);
            let origin = [(height - side).div_ceil(2), (width - side).div_ceil(2)];
            Geometry { origin, extent: [side, side], ..all }
        }
        Fit::CenterCrop { ratio } => {
            let [box_h, box_w] = [h, w].map(|s| ((s as f64 / ratio) as usize).max(s));
            // The picture's narrower direction takes the box's side, the other follows, rounded down
            // (torchvision `Resize`).
            let resized = if width * box_h >= height * box_w {
                [box_h, (box_h * width / height).max(box_w)]
            } else {
                [(box_w * height / width).max(box_h), box_w]
            };
            // torchvision `CenterCrop` rounds halves to even, as Python does.
            let cut =
                [resized[0] - h, resized[1] - w].map(|spare| (spare as f64 / 2.0).round_ties_even() as usize);
            Geometry { resized, cut, ..all }
        }
        _ => all,
    }
}

fn resized(picture: &Picture, preprocess: &Preprocess) -> Resized {
    let Geometry { origin, extent, resized, cut } = geometry([picture.height(), picture.width()], preprocess);
    let covered = Preprocess { size: resized, ..preprocess.clone() };
    let whole = match preprocess.fit {
        // Cut out first, so that the filter sees nothing outside.
        Fit::CropThenResize { .. } | Fit::CutToAspect => {
            let inside = picture.crop(origin[0], origin[1], extent[0], extent[1]);
            window(&inside, [0, 0], extent, &covered)
        }
        _ => window(picture, origin, extent, &covered),
    };
    let size = preprocess.size;
    match whole {
        whole if resized == size => whole,
        Resized::Bytes(p) => Resized::Bytes(p.crop(cut[0], cut[1], size[0], size[1])),
        Resized::Floats(x) => Resized::Floats(crop(&x, resized[1], picture.channels(), cut, size)),
    }
}

/// The window of `extent` at `origin`, resized to `preprocess.size`.
fn window(picture: &Picture, origin: [usize; 2], extent: [usize; 2], preprocess: &Preprocess) -> Resized {
    let interpolation = preprocess.interpolation;
    if !is_tf(interpolation) {
        return Resized::Bytes(resize_pil_window(picture, origin, extent, preprocess.size, interpolation));
    }
    let cut;
    let picture = if extent == [picture.height(), picture.width()] {
        picture
    } else {
        cut = picture.crop(origin[0], origin[1], extent[0], extent[1]);
        &cut
    };
    let shape = [extent[0], extent[1], picture.channels()];
    Resized::Floats(resize_tf(picture.pixels(), shape, preprocess.size, interpolation))
}

fn is_tf(interpolation: Interpolation) -> bool {
    matches!(
        interpolation,
        Interpolation::TfNearest
            | Interpolation::TfBilinear
            | Interpolation::TfBilinearAntialias
            | Interpolation::TfBicubic
            | Interpolation::TfBicubicAntialias
    )
}

fn crop(x: &[f32], width: usize, c: usize, origin: [usize; 2], size: [usize; 2]) -> Vec<f32> {
    let cut = origin[1] * c..(origin[1] + size[1]) * c;
    x.chunks_exact(width * c)
        .skip(origin[0])
        .take(size[0])
        .flat_map(|row| &row[cut.clone()])
        .copied()
        .collect()
}

/// A scaling mode as arithmetic: `(x / unit - mean) / std`, channel by channel, the steps in Keras's order.
struct Values {
    reversed: bool,
    unit: f32,
    mean: [f32; 3],
    std: [f32; 3],
}

impl Values {
    /// `preprocess` has been checked, so lists have one or C values.
    fn of(preprocess: &Preprocess) -> Values {
        let spread = |v: &[f32]| std::array::from_fn(|k| *v.get(k).unwrap_or(&v[0]));
        let reversed = preprocess.color == Color::Bgr;
        let order = |[r, g, b]: [f32; 3]| if reversed { [b, g, r] } else { [r, g, b] };
        let plain = Values { reversed, unit: 1.0, mean: [0.0; 3], std: [1.0; 3] };
        match &preprocess.scaling {
            Scaling::Unit => Values { unit: 255.0, ..plain },
            Scaling::Caffe => Values { reversed: true, mean: [103.939, 116.779, 123.68], ..plain },
            Scaling::Tf => Values { unit: 127.5, mean: [1.0; 3], ..plain },
            Scaling::Torch => Values {
                unit: 255.0,
                mean: order([0.485, 0.456, 0.406]),
                std: order([0.229, 0.224, 0.225]),
                ..plain
            },
            Scaling::MeanStd { mean, std } => Values { mean: spread(mean), std: spread(std), ..plain },
            _ => plain,
        }
    }

    /// The picture's channel behind the tensor's channel `k`.
    fn source(&self, k: usize, c: usize) -> usize {
        if self.reversed { c - 1 - k } else { k }
    }

    fn apply(&self, k: usize, x: f32) -> f32 {
        (x / self.unit - self.mean[k]) / self.std[k]
    }

    fn undo(&self, k: usize, y: f32) -> f32 {
        (y * self.std[k] + self.mean[k]) * self.unit
    }

    fn scale<const C: usize>(&self, x: &mut [f32]) {
        for pixel in x.as_chunks_mut::<C>().0 {
            let picture = *pixel;
            *pixel = std::array::from_fn(|k| self.apply(k, picture[self.source(k, C)]));
        }
    }
}
