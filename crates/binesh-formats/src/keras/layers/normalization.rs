//! Layers that normalise with learnt or measured statistics.

use binesh_core::BinaryOp;
use binesh_core::NodeId;
use binesh_core::ops::{BatchNorm, Binary, LayerNorm, Reshape};

use super::{LayerCx, Role};
use crate::error::FormatError;

/// Keras `BatchNormalization`: gamma, beta, moving mean, moving variance, each `[C]`. Always with its moving statistics.
pub(super) fn batch(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    // Keras 1: 1 normalises each sample, 2 uses the batch's statistics always. Keras 2: `renorm` matters in training only.
    if cx.attrs.usize_or("mode", 0)? != 0 {
        return Err(cx.attrs.refuse("mode"));
    }
    cx.attrs.ignore(&["renorm", "renorm_clipping", "renorm_momentum"]);
    let image = channel_axis(cx, cx.attrs.axis("axis", -1)?)?;
    let epsilon = cx.attrs.f32("epsilon", 1e-3)?;
    let momentum = cx.attrs.f32("momentum", BatchNorm::MOMENTUM)?;
    let [scale, center] = [cx.attrs.bool("scale", true)?, cx.attrs.bool("center", true)?];
    let c = cx.channels(image.x)?;
    let mut inputs = vec![image.x];
    if scale {
        inputs.push(cx.weight("gamma", &[c])?);
    }
    if center {
        inputs.push(cx.weight("beta", &[c])?);
    }
    inputs.push(cx.statistic("moving_mean", &[c])?);
    inputs.push(cx.statistic("moving_variance", &[c])?);
    let y = cx.add(BatchNorm { epsilon, momentum, scale, center }, &inputs)?;
    Ok(cx.image_output(image, y))
}

/// Keras `LayerNormalization` over the last axis, or over all axes but the batch.
pub(super) fn layer(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    if cx.attrs.bool("rms_scaling", false)? {
        return Err(cx.attrs.refuse("rms_scaling"));
    }
    let x = cx.plain_input()?;
    let dims = cx.dims(x);
    let axes = cx.attrs.integers("axis")?.unwrap_or_else(|| vec![-1]);
    let rank = dims.len() as i64;
    let mut axes: Vec<i64> = axes.into_iter().map(|axis| if axis < 0 { axis + rank } else { axis }).collect();
    axes.sort_unstable();
    let epsilon = cx.attrs.f32("epsilon", 1e-3)?;
    let [scale, center] = [cx.attrs.bool("scale", true)?, cx.attrs.bool("center", true)?];
    let op = LayerNorm { epsilon, scale, center };
    let weights = |cx: &mut LayerCx<'_>, shape: &[usize], stored: &[usize]| {
        let mut weights = Vec::new();
        for name in [scale.then_some("gamma"), center.then_some("beta")].into_iter().flatten() {
            weights.push(cx.param_stored_as(name, shape, stored, (true, Role::Plain))?);
        }
        Ok::<_, FormatError>(weights)
    };
    if axes == [rank - 1] {
        let c = cx.channels(x)?;
        let weights = weights(cx, &[c], &[c])?;
        return cx.add(op, &[&[x][..], &weights].concat());
    }
    let rest = dims.get(1..).unwrap_or_default().iter().copied().collect::<Option<Vec<usize>>>();
    let Some(rest) = rest.filter(|_| axes.iter().copied().eq(1..rank)) else {
        return Err(cx.attrs.refuse("axis"));
    };
    // Rows of all values of a sample. The shapes were checked by the graph, so their product does not overflow.
    let all = rest.iter().product();
    let flat = cx.part("flat", Reshape { target: vec![Some(all)] }, &[x])?;
    let weights = weights(cx, &[all], &rest)?;
    let y = cx.part("normalized", op, &[&[flat][..], &weights].concat())?;
    cx.add(Reshape { target: rest.into_iter().map(Some).collect() }, &[y])
}

/// ConvNeXt's `LayerScale` (`keras.applications.convnext`): `x * gamma` with gamma `[C]`.
pub(super) fn layer_scale(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    cx.attrs.ignore(&["init_values"]);
    let x = cx.plain_input()?;
    let gamma = cx.attrs.usize("projection_dim")?;
    let gamma = cx.weight("gamma", &[gamma])?;
    cx.add(Binary { op: BinaryOp::Multiply }, &[x, gamma])
}

/// The input with the axis that `axis` names last: as it is, or a picture with channels first.
pub(super) fn channel_axis(cx: &mut LayerCx<'_>, axis: i64) -> Result<super::Image, FormatError> {
    let x = cx.input()?;
    let rank = cx.dims(x).len() as i64;
    let axis = if axis < 0 { axis + rank } else { axis };
    if axis == rank - 1 {
        return Ok(super::Image { x: cx.mapper.plain(x)?, channels_first: false });
    }
    if axis == 1 && rank == 4 {
        return Ok(super::Image { x: cx.mapper.channels_last(x)?, channels_first: true });
    }
    Err(cx.attrs.refuse("axis"))
}
