//! What each operator becomes.

use binesh_core::ops::{BatchNorm, LayerNorm, Normalization, Rescaling};
use binesh_core::{BinaryOp, NodeId, Op};

use super::values::{Form, Held, PICTURE, Values, float, int, plain};
use super::{activation, pictures, shaping};
use crate::error::FormatError;

/// Writes a node that is computed; gives its value.
pub(super) fn write(cx: &mut Values<'_>, id: NodeId) -> Result<Held, FormatError> {
    let node = cx.graph.node(id);
    let inputs = &node.inputs[..];
    match &node.op {
        Op::Activate(activate) => {
            let x = cx.any(inputs[0])?;
            let y = activation::apply(cx, &x.name, activate.function)?;
            Ok(x.like(y))
        }
        Op::AveragePool2d(pool) => pictures::average_pool(cx, inputs[0], pool),
        Op::BatchMatmul(_) => {
            let (a, b) = (cx.plain(inputs[0])?, cx.plain(inputs[1])?);
            Ok(a.like(cx.emit("MatMul", &[&a.name, &b.name], vec![])))
        }
        Op::BatchNorm(norm) => batch_norm(cx, inputs, norm),
        Op::Binary(binary) => self::binary(cx, inputs[0], inputs[1], binary.op),
        Op::Concat(concat) => shaping::concat(cx, inputs, concat),
        Op::Conv2d(conv) => pictures::conv2d(cx, inputs, conv),
        Op::Conv2dTranspose(conv) => pictures::conv2d_transpose(cx, id, conv),
        Op::Crop2d(crop) => shaping::crop(cx, inputs[0], crop),
        Op::Dense(_) => dense(cx, inputs),
        Op::DepthwiseConv2d(conv) => pictures::depthwise_conv2d(cx, inputs, conv),
        Op::Dropout(dropout) => {
            let x = cx.any(inputs[0])?;
            if !(0.0..1.0).contains(&dropout.rate) {
                return Ok(x.like(cx.emit("Identity", &[&x.name], vec![])));
            }
            let ratio = cx.scalar(dropout.rate);
            Ok(x.like(cx.emit("Dropout", &[&x.name, &ratio], vec![])))
        }
        Op::Erf(_) => each(cx, inputs[0], "Erf"),
        Op::Flatten(_) => shaping::flatten(cx, inputs[0]),
        Op::GlobalAveragePool2d(pool) => {
            pictures::global_pool(cx, inputs[0], "GlobalAveragePool", pool.keepdims)
        }
        Op::GlobalMaxPool2d(pool) => pictures::global_pool(cx, inputs[0], "GlobalMaxPool", pool.keepdims),
        Op::Identity(_) => each(cx, inputs[0], "Identity"),
        Op::LayerNorm(norm) => layer_norm(cx, inputs, norm),
        Op::MaxPool2d(pool) => pictures::max_pool(cx, inputs[0], pool),
        Op::Normalization(norm) => normalization(cx, inputs, norm),
        Op::Permute(permute) => shaping::permute(cx, inputs[0], permute),
        Op::Prelu(_) => prelu(cx, inputs),
        Op::ReduceMax(max) => shaping::reduce(cx, inputs[0], "ReduceMax", &max.axes, max.keepdims),
        Op::ReduceMean(mean) => shaping::reduce(cx, inputs[0], "ReduceMean", &mean.axes, mean.keepdims),
        Op::ReduceSum(sum) => shaping::reduce(cx, inputs[0], "ReduceSum", &sum.axes, sum.keepdims),
        Op::Regroup(regroup) => shaping::regroup(cx, inputs[0], regroup),
        Op::Rescaling(rescaling) => self::rescaling(cx, inputs[0], rescaling),
        Op::Reshape(reshape) => shaping::reshape(cx, inputs[0], reshape),
        Op::Slice(slice) => shaping::slice(cx, inputs[0], slice),
        Op::Softmax(_) => {
            let x = cx.any(inputs[0])?;
            let axis = x.at(x.axes.len() - 1);
            Ok(x.like(cx.emit("Softmax", &[&x.name], vec![int("axis", axis)])))
        }
        Op::Take(take) => shaping::take(cx, inputs[0], take),
        Op::UpSampling2d(up) => pictures::up_sampling(cx, inputs[0], up),
        Op::ZeroPad2d(pad) => shaping::zero_pad(cx, inputs[0], pad),
        Op::Constant(_) | Op::Input(_) | Op::Param(_) => {
            Err(FormatError::unsupported("a value that is given is not computed"))
        }
    }
}

/// Value by value: the axes stay where they are.
fn each(cx: &mut Values<'_>, x: NodeId, op: &str) -> Result<Held, FormatError> {
    let x = cx.any(x)?;
    Ok(x.like(cx.emit(op, &[&x.name], vec![])))
}

/// Broadcast by NumPy's rules, which are ONNX's.
fn binary(cx: &mut Values<'_>, a: NodeId, b: NodeId, op: BinaryOp) -> Result<Held, FormatError> {
    let name = match op {
        BinaryOp::Add => "Add",
        BinaryOp::Subtract => "Sub",
        BinaryOp::Multiply => "Mul",
        BinaryOp::Divide => "Div",
        BinaryOp::Maximum => "Max",
        BinaryOp::Minimum => "Min",
        BinaryOp::Power => "Pow",
    };
    let rank = cx.rank(a).max(cx.rank(b));
    let order = common_order(cx, &[a, b], rank)?;
    let operands = [operand(cx, a, &order)?, operand(cx, b, &order)?];
    let y = cx.emit(name, &[&operands[0], &operands[1]], vec![]);
    Ok(Held { name: y, axes: order })
}

/// The order of axes in which values of equally many axes meet with the least moved: one in which all lie, else that of the
/// largest. Values of fewer axes are no matter when they are weights, and else ask for the graph's own order.
pub(super) fn common_order(
    cx: &mut Values<'_>,
    ids: &[NodeId],
    rank: usize,
) -> Result<Vec<usize>, FormatError> {
    let computed: Vec<NodeId> = ids.iter().copied().filter(|&id| !cx.is_weight(id)).collect();
    if computed.is_empty() || computed.iter().any(|&id| cx.rank(id) != rank) {
        return Ok(plain(rank));
    }
    let size = |id: NodeId| cx.graph.probes(id)[0].len();
    let largest = computed.iter().copied().rev().max_by_key(|&id| size(id)).expect("there is one");
    let own = cx.any(largest)?.axes;
    let shared = [own.clone(), plain(rank), PICTURE.to_vec()]
        .into_iter()
        .find(|order| order.len() == rank && computed.iter().all(|&id| cx.lies(id, order)));
    Ok(shared.unwrap_or(own))
}

/// A value that meets others of this order.
fn operand(cx: &mut Values<'_>, id: NodeId, order: &[usize]) -> Result<String, FormatError> {
    if !cx.is_weight(id) {
        let rank = cx.rank(id);
        // Fewer axes only where the order is the graph's own.
        return Ok(cx.arranged(id, if rank == order.len() { order } else { &order[..rank] })?.name);
    }
    let value = cx.network.value(id)?;
    if let ([one], Op::Constant(_)) = (value.data(), &cx.graph.node(id).op) {
        return Ok(cx.scalar(*one));
    }
    let in_order = order.iter().copied().eq(0..order.len());
    let rank = if in_order { value.shape().rank() } else { order.len() };
    let axes = if in_order { plain(rank) } else { order.to_vec() };
    cx.weight(id, Form { rank, axes, shape: None })
}

/// `x w + b` over the last axis.
fn dense(cx: &mut Values<'_>, inputs: &[NodeId]) -> Result<Held, FormatError> {
    let rank = cx.rank(inputs[0]);
    let x = cx.held_where(inputs[0], |axes| axes.last() == Some(&(rank - 1)), &plain(rank))?;
    let kernel = cx.kernel(inputs[1], &[0, 1], None)?;
    let bias = inputs.get(2).map(|&bias| cx.kernel(bias, &[0], None)).transpose()?;
    if rank == 2 {
        return Ok(x.like(cx.weighted("Gemm", &x.name, &kernel, bias.as_deref(), vec![])));
    }
    let product = cx.emit("MatMul", &[&x.name, &kernel], vec![]);
    match bias {
        None => Ok(x.like(product)),
        Some(bias) => Ok(x.like(cx.emit("Add", &[&product, &bias], vec![]))),
    }
}

/// ONNX has the channels second.
fn batch_norm(cx: &mut Values<'_>, inputs: &[NodeId], norm: &BatchNorm) -> Result<Held, FormatError> {
    let rank = cx.rank(inputs[0]);
    if rank < 2 {
        return Err(FormatError::unsupported("ONNX has no batch normalisation of values without a batch"));
    }
    let mut order = vec![0, rank - 1];
    order.extend(1..rank - 1);
    let x = cx.arranged(inputs[0], &order)?;
    let mut weights = inputs[1..].iter();
    let channels = cx.graph.probes(inputs[0])[0].dims()[rank - 1];
    let mut next = |cx: &mut Values<'_>, is_there: bool, name: &str, value: f32| match is_there {
        true => {
            let &weight = weights.next().expect("the graph checked the number of inputs");
            cx.kernel(weight, &[0], None)
        }
        false => Ok(cx.floats(name, &[channels], &vec![value; channels])),
    };
    let gamma = next(cx, norm.scale, "gamma", 1.0)?;
    let beta = next(cx, norm.center, "beta", 0.0)?;
    let mean = next(cx, true, "mean", 0.0)?;
    let variance = next(cx, true, "variance", 1.0)?;
    let attributes = vec![float("epsilon", norm.epsilon), float("momentum", norm.momentum)];
    let operands = [&x.name, &gamma, &beta, &mean, &variance].map(String::as_str);
    Ok(x.like(cx.emit("BatchNormalization", &operands, attributes)))
}

fn layer_norm(cx: &mut Values<'_>, inputs: &[NodeId], norm: &LayerNorm) -> Result<Held, FormatError> {
    let rank = cx.rank(inputs[0]);
    let x = cx.held_where(inputs[0], |axes| axes.last() == Some(&(rank - 1)), &plain(rank))?;
    let mut weights = inputs[1..].iter();
    let mut weight = |cx: &mut Values<'_>, is_there: bool| {
        let weight = if is_there { weights.next() } else { None };
        weight.map(|&weight| cx.kernel(weight, &[0], None)).transpose()
    };
    let (gamma, beta) = (weight(cx, norm.scale)?, weight(cx, norm.center)?);
    let gamma = gamma.unwrap_or_else(|| {
        let channels = cx.graph.probes(inputs[0])[0].dims()[rank - 1];
        cx.floats("gamma", &[channels], &vec![1.0; channels])
    });
    let attributes = vec![int("axis", -1), float("epsilon", norm.epsilon)];
    Ok(x.like(cx.weighted("LayerNormalization", &x.name, &gamma, beta.as_deref(), attributes)))
}

/// Statistics are constants, so what is computed of them is too.
fn normalization(cx: &mut Values<'_>, inputs: &[NodeId], norm: &Normalization) -> Result<Held, FormatError> {
    let (mean, variance) = (cx.network.value(inputs[1])?, cx.network.value(inputs[2])?);
    let mean = mean.data().to_vec();
    // `keras.config.epsilon()`
    let deviation: Vec<f32> = variance.data().iter().map(|v| v.sqrt().max(1e-7)).collect();
    let x = cx.any(inputs[0])?;
    let channels = x.axes.len() - 1;
    let (mean, deviation) =
        (cx.along("mean", channels, &x, &mean), cx.along("deviation", channels, &x, &deviation));
    let y = match norm.invert {
        false => {
            let centered = cx.emit("Sub", &[&x.name, &mean], vec![]);
            cx.emit("Div", &[&centered, &deviation], vec![])
        }
        true => {
            let scaled = cx.emit("Mul", &[&x.name, &deviation], vec![]);
            cx.emit("Add", &[&scaled, &mean], vec![])
        }
    };
    Ok(x.like(y))
}

fn rescaling(cx: &mut Values<'_>, x: NodeId, rescaling: &Rescaling) -> Result<Held, FormatError> {
    let x = cx.any(x)?;
    let channels = x.axes.len() - 1;
    let (scale, offset) = (
        cx.along("scale", channels, &x, &rescaling.scale),
        cx.along("offset", channels, &x, &rescaling.offset),
    );
    let scaled = cx.emit("Mul", &[&x.name, &scale], vec![]);
    Ok(x.like(cx.emit("Add", &[&scaled, &offset], vec![])))
}

/// One slope for each place of a picture, without the batch.
fn prelu(cx: &mut Values<'_>, inputs: &[NodeId]) -> Result<Held, FormatError> {
    let rank = cx.rank(inputs[0]);
    let x = cx.held_where(inputs[0], |axes| axes.first() == Some(&0), &plain(rank))?;
    let axes: Vec<usize> = x.axes[1..].iter().map(|axis| axis - 1).collect();
    let slope = cx.kernel(inputs[1], &axes, None)?;
    Ok(x.like(cx.emit("PRelu", &[&x.name, &slope], vec![])))
}
