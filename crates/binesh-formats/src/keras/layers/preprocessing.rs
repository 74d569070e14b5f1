//! Layers that prepare pictures inside a model.

use binesh_core::ops::{Constant, Crop2d, Dense, Identity, Normalization, Permute, Rescaling};
use binesh_core::{NodeId, Tensor};

use super::normalization::channel_axis;
use super::{LayerCx, Role};
use crate::error::FormatError;

/// Keras `Rescaling`: `x * scale + offset`, each one number or one for every channel.
pub(super) fn rescaling(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let scale = cx.attrs.numbers("scale")?.unwrap_or_else(|| vec![1.0]);
    let offset = cx.attrs.numbers("offset")?.unwrap_or_else(|| vec![0.0]);
    if scale.len() == 1 && offset.len() == 1 {
        return cx.elementwise(Rescaling { scale, offset });
    }
    let x = cx.plain_input()?;
    cx.add(Rescaling { scale, offset }, &[x])
}

/// Keras `Normalization`: with the statistics of its attributes, or with weights mean, variance and a count.
pub(super) fn normalization(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let invert = cx.attrs.bool("invert", false)?;
    let axes = match cx.attrs.get("axis") {
        None => Vec::new(),
        Some(_) => cx.attrs.integers("axis")?.unwrap_or_default(),
    };
    let image = match axes[..] {
        [] => channel_axis(cx, -1)?,
        [axis] => channel_axis(cx, axis)?,
        _ => return Err(cx.attrs.refuse("axis")),
    };
    let c = cx.channels(image.x)?;
    let statistics = match (cx.attrs.numbers("mean")?, cx.attrs.numbers("variance")?) {
        (Some(mean), Some(variance)) => {
            let mut fill = |name: &str, values: Vec<f32>| {
                let values = match values.len() {
                    1 => vec![values[0]; c],
                    n if n == c => values,
                    _ => return Err(cx.attrs.refuse(name)),
                };
                let value = Tensor::new([c], values).map_err(|e| FormatError::malformed(e.to_string()))?;
                cx.part(name, Constant { value }, &[])
            };
            [fill("mean", mean)?, fill("variance", variance)?]
        }
        (None, None) if axes.is_empty() => {
            let one =
                |cx: &mut LayerCx<'_>, name| cx.param_stored_as(name, &[c], &[], (false, Role::Broadcast));
            [one(cx, "mean")?, one(cx, "variance")?]
        }
        (None, None) => [cx.statistic("mean", &[c])?, cx.statistic("variance", &[c])?],
        (Some(_), None) => return Err(cx.attrs.refuse("mean")),
        (None, Some(_)) => return Err(cx.attrs.refuse("variance")),
    };
    if matches!((cx.attrs.get("mean"), cx.attrs.get("variance")), (None, None)) {
        // How many pictures the statistics come from. Nothing is computed from it, but Keras counts it.
        cx.statistic("count", &[])?;
    }
    let y = cx.add(Normalization { invert }, &[image.x, statistics[0], statistics[1]])?;
    Ok(cx.image_output(image, y))
}

/// Keras `CenterCrop`; a picture that is too small is enlarged.
pub(super) fn center_crop(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let want = [cx.attrs.usize("height")?, cx.attrs.usize("width")?];
    let have = picture_size(cx, image.x)?;
    let y = match [0, 1].map(|axis| have[axis].checked_sub(want[axis])) {
        [Some(rows), Some(columns)] => {
            let [rows, columns] = [rows, columns].map(|extra| [extra / 2, extra - extra / 2]);
            cx.add(Crop2d { rows, columns }, &[image.x])?
        }
        _ => smart_resize(cx, image.x, want)?,
    };
    Ok(cx.image_output(image, y))
}

/// Keras `RandomCrop` when the network is used: a smaller picture in Keras 2, the picture itself in Keras 3.
pub(super) fn random_crop(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    if cx.mapper.hints.keras >= 3 {
        return super::identity(cx);
    }
    let image = cx.image_input()?;
    let want = [cx.attrs.usize("height")?, cx.attrs.usize("width")?];
    let y = smart_resize(cx, image.x, want)?;
    Ok(cx.image_output(image, y))
}

/// `keras.utils.image_utils.smart_resize`: the largest part in the middle with the wanted aspect ratio, resized.
fn smart_resize(cx: &mut LayerCx<'_>, x: NodeId, want: [usize; 2]) -> Result<NodeId, FormatError> {
    let [h, w] = picture_size(cx, x)?;
    let part = |a: usize, b: usize, over: usize| a.checked_mul(b).and_then(|n| n.checked_div(over));
    let (Some(part_h), Some(part_w)) = (part(w, want[0], want[1]), part(h, want[1], want[0])) else {
        let [ho, wo] = want;
        return Err(FormatError::unsupported(format!("resizing {h}x{w} to {ho}x{wo} is not supported")));
    };
    let [rows, columns] = [h - part_h.min(h), w - part_w.min(w)].map(|extra| [extra / 2, extra - extra / 2]);
    let part =
        if [rows, columns] == [[0; 2]; 2] { x } else { cx.part("middle", Crop2d { rows, columns }, &[x])? };
    resize(cx, part, want, bilinear)
}

/// Keras `Resizing`: `tf.image.resize` with half-pixel centres and without antialiasing.
pub(super) fn resizing(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    for name in ["crop_to_aspect_ratio", "pad_to_aspect_ratio", "antialias"] {
        if cx.attrs.bool(name, false)? {
            return Err(cx.attrs.refuse(name));
        }
    }
    cx.attrs.ignore(&["fill_mode", "fill_value"]);
    let image = cx.image_input()?;
    let want = [cx.attrs.usize("height")?, cx.attrs.usize("width")?];
    let filter = match cx.attrs.str("interpolation", "bilinear")? {
        "bilinear" => bilinear,
        "nearest" => nearest,
        _ => return Err(cx.attrs.refuse("interpolation")),
    };
    let y = resize(cx, image.x, want, filter)?;
    Ok(cx.image_output(image, y))
}

/// A matrix `[from, to]`: how much of each old row every new row holds.
type Filter = fn(usize, usize) -> Vec<f32>;

/// Resizing is linear, so each axis is a product with a constant matrix: gradients come with it.
///
/// # Shapes
/// `x: [N, H, W, C] -> [N, Ho, Wo, C]`
pub(super) fn resize(
    cx: &mut LayerCx<'_>,
    x: NodeId,
    want: [usize; 2],
    filter: Filter,
) -> Result<NodeId, FormatError> {
    let have = picture_size(cx, x)?;
    if have == want {
        return cx.add(Identity, &[x]);
    }
    let [h, w] = have;
    let [ho, wo] = want;
    let mut matrix = |name: &str, from: usize, to: usize| {
        const MOST: usize = 1 << 26;
        if from.checked_mul(to).is_none_or(|n| n == 0 || n > MOST) {
            return Err(FormatError::unsupported(format!("resizing {h}x{w} to {ho}x{wo} is not supported")));
        }
        let value =
            Tensor::new([from, to], filter(from, to)).map_err(|e| FormatError::malformed(e.to_string()))?;
        cx.part(name, Constant { value }, &[])
    };
    let (rows, columns) = (matrix("row_weights", h, ho)?, matrix("column_weights", w, wo)?);
    let t = cx.part("rows_last", Permute { axes: vec![0, 2, 3, 1] }, &[x])?; // [N, W, C, H]
    let t = cx.part("rows_resized", Dense, &[t, rows])?; // [N, W, C, Ho]
    let t = cx.part("columns_last", Permute { axes: vec![0, 3, 2, 1] }, &[t])?; // [N, Ho, C, W]
    let t = cx.part("columns_resized", Dense, &[t, columns])?; // [N, Ho, C, Wo]
    cx.add(Permute { axes: vec![0, 1, 3, 2] }, &[t])
}

/// `tf.image.resize(method="bilinear")`.
pub(in crate::keras) fn bilinear(from: usize, to: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; from * to];
    let scale = from as f32 / to as f32;
    for new in 0..to {
        let at = (new as f32 + 0.5) * scale - 0.5;
        let low = at.floor();
        let share = at - low;
        let clamp = |v: f32| v.clamp(0.0, (from - 1) as f32) as usize;
        matrix[clamp(low) * to + new] += 1.0 - share;
        matrix[clamp(low + 1.0) * to + new] += share;
    }
    matrix
}

/// `tf.image.resize(method="nearest")`.
pub(in crate::keras) fn nearest(from: usize, to: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; from * to];
    let scale = from as f32 / to as f32;
    for new in 0..to {
        let at = ((new as f32 + 0.5) * scale).floor();
        matrix[at.min((from - 1) as f32) as usize * to + new] = 1.0;
    }
    matrix
}

fn picture_size(cx: &LayerCx<'_>, x: NodeId) -> Result<[usize; 2], FormatError> {
    match cx.dims(x)[..] {
        [_, Some(h), Some(w), _] => Ok([h, w]),
        _ => {
            Err(FormatError::unsupported("its result depends on the size of the picture, which is not known")
                .with_hint("give the input's shape"))
        }
    }
}
