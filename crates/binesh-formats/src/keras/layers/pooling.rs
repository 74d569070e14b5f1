//! Pooling.

use binesh_core::ops::{AveragePool2d, GlobalAveragePool2d, GlobalMaxPool2d, MaxPool2d};
use binesh_core::{NodeId, Padding, Window};

use super::LayerCx;
use super::convolution::padding;
use crate::error::FormatError;

/// Keras `MaxPooling2D`.
pub(super) fn max(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let window = window(cx, image.x)?;
    let y = cx.add(MaxPool2d { window }, &[image.x])?;
    Ok(cx.image_output(image, y))
}

/// Keras `AveragePooling2D`: padding does not count, except with Theano.
pub(super) fn average(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let window = window(cx, image.x)?;
    let count_include_pad = matches!(window.padding, Padding::Explicit(_));
    let y = cx.add(AveragePool2d { window, count_include_pad }, &[image.x])?;
    Ok(cx.image_output(image, y))
}

/// Keras `GlobalAveragePooling2D`.
pub(super) fn global_average(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let keepdims = cx.attrs.bool("keepdims", false)?;
    let y = cx.add(GlobalAveragePool2d { keepdims }, &[image.x])?;
    Ok(if keepdims { cx.image_output(image, y) } else { y })
}

/// Keras `GlobalMaxPooling2D`.
pub(super) fn global_max(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let keepdims = cx.attrs.bool("keepdims", false)?;
    let y = cx.add(GlobalMaxPool2d { keepdims }, &[image.x])?;
    Ok(if keepdims { cx.image_output(image, y) } else { y })
}

/// `pool_size`, `strides` (the pool's size when absent) and `padding`.
fn window(cx: &LayerCx<'_>, x: NodeId) -> Result<Window, FormatError> {
    let size = cx.attrs.pair("pool_size")?.unwrap_or([2; 2]);
    let stride = cx.attrs.pair("strides")?.unwrap_or(size);
    let mut padding = padding(cx, "padding")?;
    if cx.mapper.hints.theano && padding == Padding::Same {
        let dims = cx.dims(x);
        let sides = [0, 1].map(|axis| theano_same(dims[axis + 1]?, size[axis], stride[axis]));
        let [Some(rows), Some(columns)] = sides else { return Err(cx.attrs.refuse("padding")) };
        padding = Padding::Explicit([rows, columns]);
    }
    Ok(Window { size, stride, dilation: [1; 2], padding })
}

/// How Keras pads for Theano's pooling (`pool2d` of its `theano_backend.py`, 1.2 and 2.0): the same before and after,
/// and the output cut to `n / stride`, rounded up.
fn theano_same(n: usize, size: usize, stride: usize) -> Option<[usize; 2]> {
    let before = if size > 2 && size % 2 == 1 { size - 2 } else { size.checked_sub(1)? };
    let reach = n.div_ceil(stride.max(1)).checked_sub(1)?.checked_mul(stride)?.checked_add(size)?;
    Some([before, reach.checked_sub(n)?.checked_sub(before)?])
}
