//! Convolutions and the dense layer.

use binesh_core::ops::{Conv2d, Conv2dTranspose, Dense, DepthwiseConv2d};
use binesh_core::{NodeId, Padding, Window};

use super::{Image, LayerCx, Role, activation};
use crate::error::FormatError;

/// Keras `Conv2D`: kernel `[Kh, Kw, Cin / groups, filters]`, bias `[filters]`.
pub(super) fn conv2d(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let image = cx.image_input()?;
    let window = window(cx)?;
    let [filters, groups] = [cx.attrs.usize("filters")?, cx.attrs.usize_or("groups", 1)?];
    let cin = cx.channels(image.x)?;
    if groups == 0 || cin % groups != 0 {
        return Err(FormatError::malformed(format!("{cin} channels do not divide into {groups} groups")));
    }
    let [kh, kw] = window.size;
    let kernel = cx.param(
        "kernel",
        &[kh, kw, cin / groups, filters],
        true,
        Role::Kernel { channels_first: image.channels_first },
    )?;
    let inputs = with_bias(cx, &[image.x, kernel], filters)?;
    finish(cx, image, Conv2d { window, groups }, &inputs)
}

/// Keras `DepthwiseConv2D`: kernel `[Kh, Kw, C, depth_multiplier]`, bias `[C * depth_multiplier]`.
pub(super) fn depthwise(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    // Files of Keras 2 carry `Conv2D`'s attributes, which this layer does not use.
    cx.attrs.ignore(&["groups", "filters"]);
    let image = cx.image_input()?;
    let window = window(cx)?;
    let (kernel, channels) = depthwise_kernel(cx, image, window)?;
    let inputs = with_bias(cx, &[image.x, kernel], channels)?;
    finish(cx, image, DepthwiseConv2d { window }, &inputs)
}

/// Keras `SeparableConv2D`: a depthwise convolution, then a pointwise one with the bias and the activation.
pub(super) fn separable(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    if cx.attrs.usize_or("groups", 1)? != 1 {
        return Err(cx.attrs.refuse("groups"));
    }
    let image = cx.image_input()?;
    let window = window(cx)?;
    let filters = cx.attrs.usize("filters")?;
    let (depthwise_kernel, channels) = depthwise_kernel(cx, image, window)?;
    let pointwise_kernel = cx.weight("pointwise_kernel", &[1, 1, channels, filters])?;
    let depthwise = cx.part("depthwise", DepthwiseConv2d { window }, &[image.x, depthwise_kernel])?;
    let inputs = with_bias(cx, &[depthwise, pointwise_kernel], filters)?;
    finish(cx, image, Conv2d { window: Window::square(1, 1, Padding::Valid), groups: 1 }, &inputs)
}

/// Keras `Conv2DTranspose`: kernel `[Kh, Kw, filters, Cin]`, bias `[filters]`.
pub(super) fn transpose(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    if cx.attrs.usize_or("groups", 1)? != 1 {
        return Err(cx.attrs.refuse("groups"));
    }
    // Keras 1 states the output's shape, which follows from the rest.
    cx.attrs.ignore(&["output_shape"]);
    let image = cx.image_input()?;
    let window = window(cx)?;
    if cx.mapper.hints.theano && matches!(window.padding, Padding::Explicit(_)) {
        return Err(cx.attrs.refuse("padding"));
    }
    let filters = cx.attrs.usize("filters")?;
    let output_padding = cx.attrs.pair("output_padding")?;
    let cin = cx.channels(image.x)?;
    let [kh, kw] = window.size;
    let kernel = cx.param(
        "kernel",
        &[kh, kw, filters, cin],
        true,
        Role::TransposedKernel { channels_first: image.channels_first },
    )?;
    let inputs = with_bias(cx, &[image.x, kernel], filters)?;
    finish(cx, image, Conv2dTranspose { window, output_padding }, &inputs)
}

/// Keras `Dense`: kernel `[features, units]`, bias `[units]`, along the last axis.
pub(super) fn dense(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let x = cx.plain_input()?;
    let (features, units) = (cx.channels(x)?, cx.attrs.usize("units")?);
    let kernel = cx.weight("kernel", &[features, units])?;
    let inputs = with_bias(cx, &[x, kernel], units)?;
    let activation = activation::of(cx, "activation")?;
    activation::add_with(cx, Dense, &inputs, activation)
}

fn depthwise_kernel(
    cx: &mut LayerCx<'_>,
    image: Image,
    window: Window,
) -> Result<(NodeId, usize), FormatError> {
    let (cin, multiplier) = (cx.channels(image.x)?, cx.attrs.usize_or("depth_multiplier", 1)?);
    let channels = cin.checked_mul(multiplier).ok_or_else(|| cx.attrs.refuse("depth_multiplier"))?;
    let [kh, kw] = window.size;
    // The name is that of the file: `kernel` for a `DepthwiseConv2D` of Keras 3.
    let keras3 = cx.layer.class == "DepthwiseConv2D" && cx.mapper.hints.keras >= 3;
    let name = if keras3 { "kernel" } else { "depthwise_kernel" };
    Ok((cx.weight(name, &[kh, kw, cin, multiplier])?, channels))
}

fn with_bias(cx: &mut LayerCx<'_>, inputs: &[NodeId], channels: usize) -> Result<Vec<NodeId>, FormatError> {
    let mut inputs = inputs.to_vec();
    if cx.attrs.bool("use_bias", true)? {
        inputs.push(cx.weight("bias", &[channels])?);
    }
    Ok(inputs)
}

/// The convolution and its activation.
fn finish(
    cx: &mut LayerCx<'_>,
    image: Image,
    op: impl Into<binesh_core::Op>,
    inputs: &[NodeId],
) -> Result<NodeId, FormatError> {
    let activation = activation::of(cx, "activation")?;
    if image.channels_first && activation.has_axis() {
        return Err(cx.attrs.refuse("activation"));
    }
    let y = activation::add_with(cx, op, inputs, activation)?;
    Ok(cx.image_output(image, y))
}

/// `kernel_size`, `strides`, `dilation_rate` and `padding`.
fn window(cx: &LayerCx<'_>) -> Result<Window, FormatError> {
    let at = cx.attrs;
    let size = at
        .pair("kernel_size")?
        .ok_or_else(|| FormatError::malformed("attribute `kernel_size` is missing"))?;
    let [stride, dilation] =
        [at.pair("strides")?.unwrap_or([1; 2]), at.pair("dilation_rate")?.unwrap_or([1; 2])];
    let mut padding = padding(cx, "padding")?;
    if cx.mapper.hints.theano && padding == Padding::Same {
        if dilation != [1; 2] {
            return Err(at.refuse("dilation_rate"));
        }
        // Theano's `half` pads k / 2 on both sides whatever the stride; Keras cuts a surplus row off the end.
        padding = Padding::Explicit(size.map(|k| [k / 2, k.saturating_sub(1) / 2]));
    }
    Ok(Window { size, stride, dilation, padding })
}

pub(super) fn padding(cx: &LayerCx<'_>, name: &str) -> Result<Padding, FormatError> {
    match cx.attrs.str(name, "valid")? {
        "valid" => Ok(Padding::Valid),
        "same" => Ok(Padding::Same),
        _ => Err(cx.attrs.refuse(name)),
    }
}
