//! Layers of several inputs.

use binesh_core::NodeId;
use binesh_core::ops::{Activate, Binary, Concat, Identity, Reshape};
use binesh_core::{Activation, BinaryOp};

use super::LayerCx;
use crate::error::FormatError;

/// Keras `Add`.
pub(super) fn add(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    fold(cx, BinaryOp::Add)
}

/// Keras `Subtract`.
pub(super) fn subtract(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    two(cx)?;
    fold(cx, BinaryOp::Subtract)
}

/// Keras `Multiply`.
pub(super) fn multiply(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    fold(cx, BinaryOp::Multiply)
}

/// Keras `Maximum`.
pub(super) fn maximum(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    fold(cx, BinaryOp::Maximum)
}

/// Keras `Minimum`.
pub(super) fn minimum(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    fold(cx, BinaryOp::Minimum)
}

/// Keras `Average`: the sum over the number of inputs.
pub(super) fn average(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let (inputs, channels_first) = same_rank(cx)?;
    let mut sum = inputs[0];
    for (i, &x) in inputs.iter().enumerate().skip(1) {
        sum = cx.part(&format!("sum_{i}"), Binary { op: BinaryOp::Add }, &[sum, x])?;
    }
    let mean = Activation::Affine { scale: 1.0 / inputs.len() as f32, offset: 0.0 };
    let y = cx.add(Activate { function: mean }, &[sum])?;
    Ok(marked(cx, y, channels_first))
}

/// `CustomScaleLayer` of `keras.applications.inception_resnet_v2`: `a + scale * b`.
pub(super) fn scaled_residual(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    two(cx)?;
    let scale = cx.attrs.f32("scale", 1.0)?;
    let (inputs, channels_first) = same_layout(cx)?;
    let scaled = Activate { function: Activation::Affine { scale, offset: 0.0 } };
    let scaled = cx.part("scaled", scaled, &[inputs[1]])?;
    let y = cx.add(Binary { op: BinaryOp::Add }, &[inputs[0], scaled])?;
    Ok(marked(cx, y, channels_first))
}

/// Keras `Concatenate`.
pub(super) fn concatenate(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let axis = cx.attrs.axis("axis", -1)?;
    concat(cx, axis)
}

pub(super) fn concat(cx: &mut LayerCx<'_>, axis: i64) -> Result<NodeId, FormatError> {
    let (inputs, channels_first) = same_layout(cx)?;
    // Of `[N, C, H, W]` held as `[N, H, W, C]`.
    let axis = match (channels_first, axis) {
        (false, axis) => axis,
        (true, 1 | -3) => 3,
        (true, 2 | -2) => 1,
        (true, 3 | -1) => 2,
        (true, axis) => axis,
    };
    let y = cx.add(Concat { axis }, &inputs)?;
    Ok(marked(cx, y, channels_first))
}

/// From the left: `((a op b) op c) op d`.
fn fold(cx: &mut LayerCx<'_>, op: BinaryOp) -> Result<NodeId, FormatError> {
    let (inputs, channels_first) = same_rank(cx)?;
    let (last, rest) = match &inputs[..] {
        [one] => {
            let y = cx.add(Identity, &[*one])?;
            return Ok(marked(cx, y, channels_first));
        }
        [rest @ .., last] => (*last, rest),
        [] => return Err(FormatError::malformed("nothing is connected to it")),
    };
    let mut y = rest[0];
    for (i, &x) in rest.iter().enumerate().skip(1) {
        y = cx.part(&format!("partial_{i}"), Binary { op }, &[y, x])?;
    }
    let y = cx.add(Binary { op }, &[y, last])?;
    Ok(marked(cx, y, channels_first))
}

fn two(cx: &LayerCx<'_>) -> Result<(), FormatError> {
    match cx.inputs.len() {
        2 => Ok(()),
        n => Err(FormatError::malformed(format!("takes two inputs but {n} are connected"))),
    }
}

/// The inputs, all held alike, at least one; and whether they are held as channels last but meant as channels first.
pub(super) fn same_layout(cx: &mut LayerCx<'_>) -> Result<(Vec<NodeId>, bool), FormatError> {
    let inputs = cx.inputs.to_vec();
    if inputs.is_empty() {
        return Err(FormatError::malformed("nothing is connected to it"));
    }
    if inputs.iter().all(|&x| cx.mapper.is_channels_first(x)) {
        return Ok((inputs, true));
    }
    let plain = inputs.into_iter().map(|x| cx.mapper.plain(x)).collect::<Result<_, _>>()?;
    Ok((plain, false))
}

/// [`same_layout`], and inputs of lower rank expanded as Keras's merging layers do: axes of extent 1 after the batch.
fn same_rank(cx: &mut LayerCx<'_>) -> Result<(Vec<NodeId>, bool), FormatError> {
    let (mut inputs, channels_first) = same_layout(cx)?;
    let most = inputs.iter().map(|&x| cx.dims(x).len()).max().unwrap_or(0);
    for (i, x) in inputs.iter_mut().enumerate() {
        let mut dims = cx.dims(*x);
        if dims.len() < most {
            let ones = vec![Some(1); most - dims.len()];
            dims.splice(..1, ones);
            *x = cx.part(&format!("expanded_{i}"), Reshape { target: dims }, &[*x])?;
        }
    }
    Ok((inputs, channels_first))
}

fn marked(cx: &mut LayerCx<'_>, y: NodeId, channels_first: bool) -> NodeId {
    if channels_first {
        cx.mapper.mark_channels_first(y);
    }
    y
}
