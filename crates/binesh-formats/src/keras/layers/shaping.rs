//! Layers that move values without changing them.

use binesh_core::NodeId;
use binesh_core::ops::up_sampling2d::Interpolation;
use binesh_core::ops::{Crop2d, Flatten, Permute, Reshape, UpSampling2d, ZeroPad2d};

use super::LayerCx;
use crate::error::FormatError;

/// Keras `Flatten`. With `data_format` channels first, Keras brings the channels last before it flattens; Keras 1 and a
/// `data_format` of channels last flatten the values in the order in which the file means them.
pub(super) fn flatten(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let x = match cx.attrs.str("data_format", "channels_last")? {
        "channels_first" if cx.dims(cx.input()?).len() == 4 => cx.image_input()?.x,
        "channels_first" if cx.dims(cx.input()?).len() > 2 => {
            let x = cx.plain_input()?;
            let axes = [0].into_iter().chain(2..cx.dims(x).len()).chain([1]).collect();
            cx.part("channels_last", Permute { axes }, &[x])?
        }
        "channels_first" | "channels_last" => cx.plain_input()?,
        _ => return Err(cx.attrs.refuse("data_format")),
    };
    cx.add(Flatten, &[x])
}

/// Keras `Reshape`: extents after the batch, one of which may be -1.
pub(super) fn reshape(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let target = cx.attrs.integers("target_shape")?;
    let target = target.ok_or_else(|| FormatError::malformed("attribute `target_shape` is missing"))?;
    let target = extents(&target).ok_or_else(|| cx.attrs.refuse("target_shape"))?;
    let x = cx.plain_input()?;
    cx.add(Reshape { target }, &[x])
}

/// Extents with -1 for the one to be found.
pub(super) fn extents(target: &[i64]) -> Option<Vec<Option<usize>>> {
    target.iter().map(|&d| if d == -1 { Some(None) } else { usize::try_from(d).ok().map(Some) }).collect()
}

/// Keras `Permute`: axes after the batch, counted from 1.
pub(super) fn permute(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let axes =
        cx.attrs.integers("dims")?.ok_or_else(|| FormatError::malformed("attribute `dims` is missing"))?;
    let axes: Option<Vec<usize>> = axes.into_iter().map(|a| usize::try_from(a).ok()).collect();
    let axes = axes.ok_or_else(|| cx.attrs.refuse("dims"))?;
    let x = cx.plain_input()?;
    cx.add(Permute { axes: [&[0], &axes[..]].concat() }, &[x])
}

/// Keras `ZeroPadding2D`.
pub(super) fn zero_padding(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let [rows, columns] = cx.attrs.sides("padding", 1)?;
    let y = cx.add(ZeroPad2d { rows, columns }, &[image.x])?;
    Ok(cx.image_output(image, y))
}

/// Keras `Cropping2D`.
pub(super) fn cropping(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let [rows, columns] = cx.attrs.sides("cropping", 0)?;
    let y = cx.add(Crop2d { rows, columns }, &[image.x])?;
    Ok(cx.image_output(image, y))
}

/// Keras `UpSampling2D`.
pub(super) fn up_sampling(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let factors = cx.attrs.pair("size")?.unwrap_or([2; 2]);
    let interpolation = match cx.attrs.str("interpolation", "nearest")? {
        "nearest" => Interpolation::Nearest,
        "bilinear" => Interpolation::Bilinear,
        _ => return Err(cx.attrs.refuse("interpolation")),
    };
    let y = cx.add(UpSampling2d { factors, interpolation }, &[image.x])?;
    Ok(cx.image_output(image, y))
}
