//! Normalisation by statistics of the training, of a picture, or of neighbours.

use binesh_core::ops::{Activate, BatchNorm, Binary, Constant, Dense, LayerNorm, ReduceMean};
use binesh_core::{Activation, BinaryOp, NodeId};

use super::super::array;
use super::{Form, NodeCx, Operator, Traced, Value, arithmetic, one, operator, tensor_of};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[
    operator("BatchNormalization", "BatchNormalization", batch_norm),
    operator("InstanceNormalization", "InstanceNormalization", instance_norm),
    operator("GroupNormalization", "GroupNormalization", group_norm),
    operator("LayerNormalization", "LayerNormalization", layer_norm),
    operator("LRN", "LRN", lrn),
    operator("MeanVarianceNormalization", "MeanVarianceNormalization", mean_variance),
];

/// With the statistics that training left.
fn batch_norm<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let epsilon = cx.attrs.float("epsilon", 1e-5)?;
    // Keras's meaning of momentum, too.
    let momentum = cx.attrs.float("momentum", 0.9)?;
    if cx.attrs.flag("training_mode")? {
        return Err(cx.attrs.refuse("training_mode"));
    }
    if cx.opset() < 7 {
        if cx.attrs.int("is_test", 0)? == 0 {
            return Err(cx.attrs.refuse("is_test"));
        }
        cx.attrs.ignore(&["consumed_inputs"]);
    }
    if cx.attrs.int("spatial", 1)? != 1 {
        return Err(cx.attrs.refuse("spatial"));
    }
    for (i, what) in [(1, "mean"), (2, "variance"), (3, "saved mean"), (4, "saved variance")] {
        cx.has_no_output(i, what)?;
    }
    let x = cx.input(0)?;
    if x.rank() < 2 {
        return Err(FormatError::malformed("its input has no channel axis"));
    }
    let x = cx.mapper.with_last(&x, 1)?;
    let mut inputs = vec![x.node];
    for (i, name) in [(1, "gamma"), (2, "beta"), (3, "moving_mean"), (4, "moving_variance")] {
        inputs.push(cx.weight(i, name, &Form { is_fixed: i > 2, ..Form::default() })?);
    }
    Ok(one(x.like(cx.add(BatchNorm { epsilon, momentum, scale: true, center: true }, &inputs)?)))
}

/// Nodes of a standardisation.
struct Standard {
    mean: NodeId,
    /// `1 / sqrt(variance + epsilon)`
    factor: NodeId,
    y: NodeId,
}

/// `(x - mean) / sqrt(variance + epsilon)`, both over these axes of the node, the variance biased.
fn standardized(
    cx: &mut NodeCx<'_, '_>,
    x: NodeId,
    axes: &[i64],
    epsilon: f32,
) -> Result<Standard, FormatError> {
    let mean_over =
        |cx: &mut NodeCx<'_, '_>, x: NodeId| cx.add(ReduceMean { axes: axes.to_vec(), keepdims: true }, &[x]);
    let activate =
        |cx: &mut NodeCx<'_, '_>, function: Activation, x: NodeId| cx.add(Activate { function }, &[x]);
    let mean = mean_over(cx, x)?;
    let centered = cx.add(Binary { op: BinaryOp::Subtract }, &[x, mean])?;
    let square = activate(cx, Activation::Square, centered)?;
    let variance = mean_over(cx, square)?;
    let variance = activate(cx, Activation::Affine { scale: 1.0, offset: epsilon }, variance)?;
    let factor = activate(cx, Activation::Rsqrt, variance)?;
    let y = cx.add(Binary { op: BinaryOp::Multiply }, &[centered, factor])?;
    Ok(Standard { mean, factor, y })
}

/// `x * gamma + beta` along the last axis of the node; operands 1 and 2.
fn scaled(cx: &mut NodeCx<'_, '_>, x: NodeId) -> Result<NodeId, FormatError> {
    let gamma = cx.weight(1, "gamma", &Form::default())?;
    let beta = cx.weight(2, "beta", &Form::default())?;
    let x = cx.add(Binary { op: BinaryOp::Multiply }, &[x, gamma])?;
    cx.add(Binary { op: BinaryOp::Add }, &[x, beta])
}

/// Each channel of each picture by its own statistics (Ulyanov et al. 2016, arXiv:1607.08022).
fn instance_norm<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let epsilon = cx.attrs.float("epsilon", 1e-5)?;
    let x = cx.input(0)?;
    if x.rank() < 3 {
        return Err(FormatError::malformed("its input has no axis of positions"));
    }
    let x = cx.mapper.with_last(&x, 1)?;
    let axes: Vec<i64> = x.at[2..].iter().map(|&axis| axis as i64).collect();
    let node = standardized(cx, x.node, &axes, epsilon)?.y;
    Ok(one(x.like(scaled(cx, node)?)))
}

/// Groups of channels by their own statistics (Wu and He 2018, arXiv:1803.08494). Until opset 20 scale and bias were given
/// for each group, since then for each channel.
fn group_norm<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let epsilon = cx.attrs.float("epsilon", 1e-5)?;
    cx.attrs.ignore(&["stash_type"]);
    let x = cx.input(0)?;
    let dims = cx.dims(&x);
    let groups = usize::try_from(cx.attrs.int("num_groups", 0)?).unwrap_or(0);
    let channels = if x.rank() > 2 { cx.extent(&x, 1)? } else { 0 };
    if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) {
        return Err(cx.attrs.refuse("num_groups"));
    }
    let mut split = dims.clone();
    split.splice(1..2, [[groups; 2], [channels / groups; 2]]);
    let x = cx.mapper.with_last(&x, 1)?;
    let grouped = cx.mapper.reshape(&x, &split)?;
    let axes: Vec<i64> = grouped.at[2..].iter().map(|&axis| axis as i64).collect();
    let node = standardized(cx, grouped.node, &axes, epsilon)?.y;
    let mut y = grouped.like(node);
    if cx.opset() < 21 && cx.shape(1)? == [groups] && groups != channels {
        // For each group: with an axis of extent 1 for its channels.
        let order = y.order();
        let shape: Vec<usize> = (0..y.rank()).map(|axis| if axis == 1 { groups } else { 1 }).collect();
        for (i, name, op) in [(1, "gamma", BinaryOp::Multiply), (2, "beta", BinaryOp::Add)] {
            let form = Form { shape: Some(shape.clone()), axes: Some(order.clone()), ..Form::default() };
            let weight = cx.weight(i, name, &form)?;
            y = y.like(cx.add(Binary { op }, &[y.node, weight])?);
        }
        return cx.mapper.reshape(&y, &dims).map(one);
    }
    let y = cx.mapper.reshape(&y, &dims)?;
    let y = cx.mapper.with_last(&y, 1)?;
    Ok(one(y.like(scaled(cx, y.node)?)))
}

/// All axes from one on (Ba et al. 2016, arXiv:1607.06450).
fn layer_norm<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let epsilon = cx.attrs.float("epsilon", 1e-5)?;
    cx.attrs.ignore(&["stash_type"]);
    let x = cx.input(0)?;
    let axis = array::axis(cx.attrs.int("axis", -1)?, x.rank())?;
    cx.keeps_pictures_apart(&x, axis)?;
    let dims = cx.dims(&x);
    let mut statistics = Vec::new();
    if cx.node.output.iter().skip(1).any(|name| cx.mapper.uses.contains_key(name.as_str())) {
        let axes: Vec<i64> = x.at[axis..].iter().map(|&axis| axis as i64).collect();
        let Standard { mean, factor, .. } = standardized(cx, x.node, &axes, epsilon)?;
        statistics.extend([mean, factor].map(|node| Value::Computed(x.like(node))));
    }
    let mut y = x.clone();
    if axis + 1 != dims.len() {
        let mut flat = [1usize; 2];
        for d in &dims[axis..] {
            flat = [flat[0].saturating_mul(d[0]), flat[1].saturating_mul(d[1])];
        }
        y = cx.mapper.reshape(&y, &[&dims[..axis], &[flat]].concat())?;
    }
    y = cx.mapper.with_last(&y, axis)?;
    let features = cx.extent(&y, axis)?;
    let form = Form { shape: Some(vec![features]), ..Form::default() };
    let mut inputs = vec![y.node, cx.weight(1, "gamma", &form)?];
    let center = cx.has(2);
    if center {
        inputs.push(cx.weight(2, "beta", &form)?);
    }
    let y = y.like(cx.add(LayerNorm { epsilon, scale: true, center }, &inputs)?);
    let mut values = cx.mapper.reshape(&y, &dims).map(one)?;
    values.extend(statistics);
    Ok(values)
}

/// Zero mean and unit variance over these axes, by default all but the channels'.
fn mean_variance<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    let axes = cx.attrs.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let mut held = Vec::new();
    for axis in axes {
        let axis = array::axis(axis, x.rank())?;
        cx.keeps_pictures_apart(&x, axis)?;
        held.push(x.at[axis] as i64);
    }
    // The definition adds 1e-9 to the deviation, so that nothing is divided by zero.
    let node = standardized(cx, x.node, &held, 1e-18)?.y;
    Ok(one(x.like(node)))
}

/// Local response normalisation (Krizhevsky et al. 2012): `x / (bias + alpha / size * sum of squares of the size nearest
/// channels)^beta`. The sum is a product with a matrix of zeros and ones.
fn lrn<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let (alpha, beta) = (cx.attrs.float("alpha", 1e-4)?, cx.attrs.float("beta", 0.75)?);
    let bias = cx.attrs.float("bias", 1.0)?;
    let size = usize::try_from(cx.attrs.int("size", 0)?).ok().filter(|&size| size > 0);
    let size = size.ok_or_else(|| cx.attrs.refuse("size"))?;
    let x = cx.input(0)?;
    if x.rank() < 2 {
        return Err(FormatError::malformed("its input has no channel axis"));
    }
    let x = cx.mapper.with_last(&x, 1)?;
    let channels = cx.extent(&x, 1)?;
    let n = array::elements("neighbours of channels", &[channels, channels], 1 << 26)?;
    cx.mapper.spend(n)?;
    let (before, after) = ((size - 1) / 2, size / 2);
    // Row `from` to column `to`: from before - to is in to - before ..= to + after.
    let near = |i: usize| {
        let (from, to) = (i / channels, i % channels);
        let inside = from.saturating_add(before) >= to && from <= to.saturating_add(after);
        f32::from(u8::from(inside))
    };
    let band = tensor_of(vec![channels, channels], (0..channels * channels).map(near).collect())?;
    let band = cx.add(Constant { value: band }, &[])?;
    let square = cx.add(Activate { function: Activation::Square }, &[x.node])?;
    let sum: Traced = x.like(cx.add(Dense, &[square, band])?);
    let base = arithmetic::affine(cx, &sum, alpha / size as f32, bias)?;
    let power = cx.mapper.constant(tensor_of(vec![1], vec![-beta])?)?;
    let factor = cx.add(Binary { op: BinaryOp::Power }, &[base.node, power])?;
    Ok(one(x.like(cx.add(Binary { op: BinaryOp::Multiply }, &[x.node, factor])?)))
}
