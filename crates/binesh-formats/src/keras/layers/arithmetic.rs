//! Arithmetic written between layers, `x / 127.5 - 1`: `TFOpLambda` and `SlicingOpLambda` of Keras 2, operations of Keras 3.
//!
//! Both are calls of a function of a fixed list, by name. Nothing of the file is executed.

use std::cell::RefCell;
use std::collections::HashSet;

use binesh_core::ops::regroup::Extent;
use binesh_core::ops::{
    Activate, BatchMatmul, Binary, Constant, Erf, GlobalMaxPool2d, Identity, Permute, ReduceMax, ReduceMean,
    ReduceSum, Regroup, Reshape, Take, ZeroPad2d,
};
use binesh_core::{Activation, BinaryOp, NodeId, Op, Tensor};
use serde_json::{Map, Value, json};

use super::activation::{self, Function};
use super::preprocessing::{bilinear, nearest, resize};
use super::{LayerCx, merge, shaping, slicing};
use crate::Limits;
use crate::error::FormatError;
use crate::keras::attributes::{flatten, integer, integers, number, shortened, unwrap};
use crate::keras::config::Arg;

/// Keras 2 `TFOpLambda` and `SlicingOpLambda`: `{"function": "math.truediv"}`.
pub(super) fn tf_op(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let function = cx.attrs.str("function", "")?.to_owned();
    let name = function.rsplit('.').next().unwrap_or_default();
    run(cx, name, &format!("function `tf.{function}`"), &Args::of(cx))
}

/// `TensorFlowOpLayer` of TensorFlow 2.0 to 2.3: a node of a TensorFlow graph, and the constants among its operands.
pub(super) fn tf_graph_op(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let node = cx.attrs.get("node_def").unwrap_or(&Value::Null);
    let op = node.get("op").and_then(Value::as_str);
    let op = op.ok_or_else(|| FormatError::malformed("attribute `node_def` does not name its `op`"))?;
    let constants = cx.attrs.get("constants").and_then(Value::as_object);
    let mut nodes = cx.inputs.iter().copied();
    let n = cx.inputs.len() + constants.map_or(0, Map::len);
    let operand = |i: usize| match constants.and_then(|constants| constants.get(&i.to_string())) {
        Some(constant) => Some(Operand::Value(constant.clone())),
        None => nodes.next().map(Operand::Node),
    };
    let positional: Option<Vec<Operand>> = (0..n).map(operand).collect();
    let positional = positional.ok_or_else(|| FormatError::malformed("an operand is missing"))?;
    let attribute = |name: &str, kind: &str| node.pointer(&format!("/attr/{name}/{kind}")).cloned();
    // "NHWC", in base64.
    if attribute("data_format", "s").is_some_and(|format| format != "TkhXQw==") {
        return Err(FormatError::unsupported(
            "channels first in a node of a TensorFlow graph are not supported",
        ));
    }
    let mut named = Vec::new();
    for (name, path, kind) in
        [("keep_dims", "keep_dims", "b"), ("alpha", "alpha", "f"), ("axis", "squeeze_dims", "list/i")]
    {
        named.extend(attribute(path, kind).map(|value| (name, Operand::Value(numbers(value)))));
    }
    let mut args = Args { positional, named, read: RefCell::default() };
    if op == "StridedSlice" {
        let mask = |name: &str| attribute(name, "i").as_ref().and_then(integer_or_text).unwrap_or(0);
        let key = strided_slice(&args, mask)
            .ok_or_else(|| FormatError::unsupported("a slice with computed bounds"))?;
        args.positional.truncate(1);
        args.positional.push(Operand::Value(key));
    }
    let name = crate::keras::weights::snake_case(op);
    run(cx, &name, &format!("TensorFlow's `{op}`"), &args)
}

/// Begin, end and strides with their bit masks as the entries between Python's brackets.
fn strided_slice(args: &Args<'_>, mask: impl Fn(&str) -> i64) -> Option<Value> {
    let list = |i: usize| match args.positional.get(i)? {
        Operand::Value(v) => integers(v),
        _ => None,
    };
    let (begin, end, strides) = (list(1)?, list(2)?, list(3)?);
    let entry = |i: usize| {
        let set = |name: &str| mask(name) >> i & 1 == 1;
        if set("ellipsis_mask") {
            return Some(json!({"class_name": "__ellipsis__"}));
        }
        if set("new_axis_mask") {
            return Some(Value::Null);
        }
        let (begin, end, step) = (begin.get(i)?, end.get(i)?, strides.get(i)?);
        if set("shrink_axis_mask") {
            return Some(json!(begin));
        }
        let bound = |ignored: bool, at: &i64| if ignored { Value::Null } else { json!(at) };
        Some(
            json!({"start": bound(set("begin_mask"), begin), "stop": bound(set("end_mask"), end), "step": step}),
        )
    };
    (0..begin.len().min(32)).map(entry).collect()
}

/// A list of whole numbers written as texts, as numbers.
fn numbers(value: Value) -> Value {
    match &value {
        Value::Array(list) => {
            list.iter().map(integer_or_text).collect::<Option<Vec<_>>>().map_or(value, |list| json!(list))
        }
        _ => value,
    }
}

/// JSON made from a protocol buffer writes 64-bit numbers as texts.
fn integer_or_text(v: &Value) -> Option<i64> {
    integer(v).or_else(|| v.as_str()?.parse().ok())
}

/// An operation of Keras 3: the class is the function, its options are attributes.
pub(super) fn keras_op(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let name = crate::keras::weights::snake_case(&cx.layer.class);
    run(cx, &name, "the operation", &Args::of(cx))
}

/// A function by the last part of its TensorFlow name, or the snake-case name of its Keras 3 class.
fn run(cx: &mut LayerCx<'_>, name: &str, shown: &str, args: &Args<'_>) -> Result<NodeId, FormatError> {
    let y = if let Some(op) = binary_op(name) {
        let (a, b) =
            (args.need(cx, 0, &["x", "x1", "a"])?, args.need(cx, 1, &["y", "x2", "b", "bias", "scalar"])?);
        let format = if name == "bias_add" { args.value(cx, 2, &["data_format"])? } else { None };
        if format.as_ref().and_then(Value::as_str).is_some_and(|format| format.starts_with("NC")) {
            return Err(FormatError::unsupported("a bias along another axis than the last is not supported"));
        }
        binary(cx, op, &a, &b)?
    } else if let Some(function) = unary(cx, args, name)? {
        let x = args.node(cx, 0, INPUT)?;
        each(cx, x, function)?
    } else {
        match name {
            "mean" | "reduce_mean" => reduce(cx, args, Reduction::Mean)?,
            "sum" | "reduce_sum" => reduce(cx, args, Reduction::Sum)?,
            "max" | "amax" | "reduce_max" => reduce(cx, args, Reduction::Max)?,
            "getitem" | "get_item" | "strided_slice" => {
                let key = args.value(cx, 1, &["slice_spec", "key"])?;
                let key = key.ok_or_else(|| FormatError::malformed("the slice is missing"))?;
                let x = args.plain(cx, 0, INPUT)?;
                slicing::get_item(cx, x, &key)?
            }
            "softmax" => {
                // To Keras 3 no axis means all values together, to TensorFlow the last axis.
                let given = args.take(1, &["axis"]);
                let none = matches!(given, Some(Operand::Value(Value::Null)))
                    || given.is_none() && cx.layer.attributes.get("axis").is_some_and(Value::is_null);
                if cx.layer.operation && none {
                    return Err(FormatError::unsupported("a softmax over all axes is not supported"));
                }
                let axis = args.integer(cx, 1, &["axis"])?.unwrap_or(-1);
                let x = args.plain(cx, 0, INPUT)?;
                activation::apply(cx, x, Function::Softmax { axis })?
            }
            "transpose" => {
                let axes = args.integers(cx, 1, &["perm", "axes"])?;
                let axes = axes.and_then(|axes| axes.into_iter().map(|a| usize::try_from(a).ok()).collect());
                let axes: Vec<usize> =
                    axes.ok_or_else(|| FormatError::unsupported("transposing without axes"))?;
                if axes.first() != Some(&0) {
                    return Err(FormatError::unsupported("transposing the batch axis is not supported"));
                }
                let x = args.plain(cx, 0, INPUT)?;
                cx.add(Permute { axes }, &[x])?
            }
            "reshape" => {
                let shape = args.integers(cx, 1, &["shape", "newshape"])?;
                let shape = shape.ok_or_else(|| FormatError::unsupported("reshaping to a computed shape"))?;
                let x = args.plain(cx, 0, INPUT)?;
                reshape(cx, x, &shape)?
            }
            "matmul" => {
                let (a, b) = (args.plain(cx, 0, &["x1", "a"])?, args.plain(cx, 1, &["x2", "b"])?);
                cx.add(BatchMatmul, &[a, b])?
            }
            "erf" => {
                let x = args.node(cx, 0, INPUT)?;
                like(cx, x, Erf)?
            }
            "take" => take(cx, args)?,
            "expand_dims" | "squeeze" => {
                let axes = args.integers(cx, 1, &["axis"])?;
                let axes =
                    axes.ok_or_else(|| FormatError::unsupported(format!("{shown} without an axis")))?;
                let x = args.plain(cx, 0, INPUT)?;
                change_rank(cx, x, &axes, name == "expand_dims")?
            }
            "concat" | "concatenate" => {
                let axis = args.integer(cx, 1, &["axis"])?.unwrap_or(if name == "concat" { 0 } else { -1 });
                if axis == 0 {
                    return Err(FormatError::unsupported("joining along the batch axis is not supported"));
                }
                args.take(0, &["values", "xs"]);
                merge::concat(cx, axis)?
            }
            "concat_v2" => {
                let axis = args.integer(cx, args.positional.len().saturating_sub(1), &["axis"])?;
                let axis = axis.filter(|axis| *axis != 0);
                merge::concat(
                    cx,
                    axis.ok_or_else(|| FormatError::unsupported("joining along the batch axis"))?,
                )?
            }
            "clip_by_value" | "clip" => {
                let bound = |position, names: &[&'static str]| {
                    let value = args.value(cx, position, names)?;
                    value
                        .as_ref()
                        .and_then(number)
                        .ok_or_else(|| FormatError::unsupported("clipping without bounds"))
                };
                let (min, max) =
                    (bound(1, &["clip_value_min", "x_min"])?, bound(2, &["clip_value_max", "x_max"])?);
                let x = args.node(cx, 0, INPUT)?;
                each(cx, x, Activation::Clip { min, max })?
            }
            "cast" | "identity" | "convert_to_tensor" => {
                let to = args.value(cx, 1, &["dtype"])?.map(|to| to.to_string()).unwrap_or_default();
                if name == "cast" && ["int", "bool"].iter().any(|kind| to.contains(kind)) {
                    return Err(FormatError::unsupported(format!("a cast to {to} is not supported")));
                }
                cx.attrs.ignore(&["dtype"]);
                let x = args.node(cx, 0, INPUT)?;
                like(cx, x, Identity)?
            }
            "pad" => pad(cx, args)?,
            "resize" => image_resize(cx, args)?,
            _ => return Err(FormatError::unsupported(format!("{shown} is not supported"))),
        }
    };
    args.finish()?;
    Ok(y)
}

const INPUT: &[&str] =
    &["x", "input", "inputs", "input_tensor", "tensor", "features", "logits", "a", "t", "images"];

fn binary_op(name: &str) -> Option<BinaryOp> {
    Some(match name {
        "add" | "add_v2" | "bias_add" => BinaryOp::Add,
        "subtract" | "sub" => BinaryOp::Subtract,
        "multiply" | "mul" | "scalar_mul" => BinaryOp::Multiply,
        "divide" | "div" | "real_div" | "truediv" | "true_divide" => BinaryOp::Divide,
        "maximum" => BinaryOp::Maximum,
        "minimum" => BinaryOp::Minimum,
        "pow" | "power" => BinaryOp::Power,
        _ => return None,
    })
}

fn unary(cx: &LayerCx<'_>, args: &Args<'_>, name: &str) -> Result<Option<Activation>, FormatError> {
    let number = |names: &[&'static str], default: f32| -> Result<f32, FormatError> {
        let value = args.value(cx, 1, names)?;
        Ok(value.as_ref().and_then(number).unwrap_or(default))
    };
    Ok(Some(match name {
        "abs" | "absolute" => Activation::Abs,
        "negative" | "neg" => Activation::Neg,
        "sqrt" => Activation::Sqrt,
        "rsqrt" => Activation::Rsqrt,
        "square" => Activation::Square,
        "exp" => Activation::Exp,
        "log" => Activation::Log,
        "reciprocal" => Activation::Reciprocal,
        "leaky_relu" => Activation::leaky_relu(number(&["alpha", "negative_slope"], 0.2)?),
        "elu" => Activation::Elu { alpha: number(&["alpha"], 1.0)? },
        "gelu" => {
            // Keras 3's function approximates by default, its activation and TensorFlow do not.
            let stated = args.value(cx, 1, &["approximate"])?;
            let approximate = stated.as_ref().and_then(Value::as_bool).unwrap_or(cx.layer.operation);
            Activation::Gelu { approximate }
        }
        "relu" | "relu6" | "selu" | "silu" | "swish" | "hard_sigmoid" | "hard_silu" | "hard_swish"
        | "sigmoid" | "tanh" | "softplus" | "softsign" | "mish" => {
            match activation::named(name, cx.mapper.hints.keras) {
                Some(Function::Each(function)) => function,
                _ => return Ok(None),
            }
        }
        _ => return Ok(None),
    }))
}

fn each(cx: &mut LayerCx<'_>, x: NodeId, function: Activation) -> Result<NodeId, FormatError> {
    like(cx, x, Activate { function })
}

/// A node that works on each value alone.
fn like(cx: &mut LayerCx<'_>, x: NodeId, op: impl Into<Op>) -> Result<NodeId, FormatError> {
    let y = cx.add(op, &[x])?;
    if cx.mapper.is_channels_first(x) {
        cx.mapper.mark_channels_first(y);
    }
    Ok(y)
}

fn binary(cx: &mut LayerCx<'_>, op: BinaryOp, a: &Operand, b: &Operand) -> Result<NodeId, FormatError> {
    let scalar = |operand: &Operand| match operand {
        Operand::Value(v) => number(v),
        _ => None,
    };
    // With a number on one side, a function of each value.
    let function = match (op, scalar(a), scalar(b)) {
        (BinaryOp::Add, None, Some(c)) | (BinaryOp::Add, Some(c), None) => Some(affine(1.0, c)),
        (BinaryOp::Subtract, None, Some(c)) => Some(affine(1.0, -c)),
        (BinaryOp::Subtract, Some(c), None) => Some(affine(-1.0, c)),
        (BinaryOp::Multiply, None, Some(c)) | (BinaryOp::Multiply, Some(c), None) => Some(affine(c, 0.0)),
        (BinaryOp::Divide, None, Some(c)) => Some(affine(1.0 / c, 0.0)),
        (BinaryOp::Power, None, Some(2.0)) => Some(Activation::Square),
        (BinaryOp::Power, None, Some(0.5)) => Some(Activation::Sqrt),
        _ => None,
    };
    match (a, b, function) {
        (Operand::Node(x), _, Some(function)) | (_, Operand::Node(x), Some(function)) => {
            each(cx, *x, function)
        }
        (Operand::Node(a), Operand::Node(b), _) => {
            let both = [*a, *b].map(|x| cx.mapper.is_channels_first(x));
            if both == [true, true] {
                let y = cx.add(Binary { op }, &[*a, *b])?;
                cx.mapper.mark_channels_first(y);
                return Ok(y);
            }
            let inputs = [cx.mapper.plain(*a)?, cx.mapper.plain(*b)?];
            cx.add(Binary { op }, &inputs)
        }
        (Operand::Node(x), Operand::Value(c), None) => {
            let inputs = [cx.mapper.plain(*x)?, constant(cx, c)?];
            cx.add(Binary { op }, &inputs)
        }
        (Operand::Value(c), Operand::Node(x), None) => {
            let inputs = [constant(cx, c)?, cx.mapper.plain(*x)?];
            cx.add(Binary { op }, &inputs)
        }
        _ => Err(FormatError::unsupported("arithmetic between a list and something else is not supported")),
    }
}

fn affine(scale: f32, offset: f32) -> Activation {
    Activation::Affine { scale, offset }
}

fn constant(cx: &mut LayerCx<'_>, value: &Value) -> Result<NodeId, FormatError> {
    let wrong =
        || FormatError::unsupported(format!("the argument `{}` is not a number or array", shortened(value)));
    let value = unwrap(value).unwrap_or(value);
    let (mut shape, mut data) = (Vec::new(), Vec::new());
    let mut inner = value;
    while let Value::Array(list) = inner {
        shape.push(list.len());
        inner = list.first().ok_or_else(wrong)?;
    }
    flatten(value, &mut data).ok_or_else(wrong)?;
    let value = Tensor::new(shape, data).map_err(|_| wrong())?;
    cx.part("constant", Constant { value }, &[])
}

#[derive(Clone, Copy, PartialEq)]
enum Reduction {
    Mean,
    Sum,
    Max,
}

fn reduce(cx: &mut LayerCx<'_>, args: &Args<'_>, how: Reduction) -> Result<NodeId, FormatError> {
    let axes = args.integers(cx, 1, &["axis"])?;
    let keepdims =
        args.value(cx, 2, &["keepdims", "keep_dims"])?.as_ref().and_then(Value::as_bool).unwrap_or(false);
    let x = args.plain(cx, 0, INPUT)?;
    let dims = cx.dims(x);
    let rank = dims.len() as i64;
    let Some(mut axes) = axes else {
        return Err(FormatError::unsupported("reducing over all axes, the batch included, is not supported"));
    };
    axes.iter_mut().for_each(|axis| *axis += if *axis < 0 { rank } else { 0 });
    axes.sort_unstable();
    if repeated(&axes) || axes.iter().any(|axis| !(1..rank).contains(axis)) {
        return Err(FormatError::unsupported(format!(
            "reducing over axes {axes:?} of {rank} is not supported"
        )));
    }
    match how {
        Reduction::Mean => cx.add(ReduceMean { axes, keepdims }, &[x]),
        Reduction::Sum => cx.add(ReduceSum { axes, keepdims }, &[x]),
        Reduction::Max if axes == [1, 2] && rank == 4 => cx.add(GlobalMaxPool2d { keepdims }, &[x]),
        Reduction::Max => cx.add(ReduceMax { axes, keepdims }, &[x]),
    }
}

fn repeated(sorted: &[i64]) -> bool {
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

/// Axes of extent 1 put in or taken out. Positions count in the result when put in, in the input when taken out.
fn change_rank(cx: &mut LayerCx<'_>, x: NodeId, axes: &[i64], insert: bool) -> Result<NodeId, FormatError> {
    let mut dims = cx.dims(x);
    let rank = dims.len() as i64 + if insert { axes.len() as i64 } else { 0 };
    let mut axes: Vec<i64> = axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
    axes.sort_unstable();
    if repeated(&axes) || axes.iter().any(|axis| !(1..rank).contains(axis)) {
        return Err(FormatError::unsupported(format!("axes {axes:?} of {rank} are not supported")));
    }
    if insert {
        axes.iter().for_each(|&axis| dims.insert(axis as usize, Some(1)));
    } else {
        axes.iter().rev().for_each(|&axis| {
            dims.remove(axis as usize);
        });
    }
    cx.add(Reshape { target: dims.split_off(1) }, &[x])
}

/// More than any picture has rows; each takes 16 bytes.
const MOST_POSITIONS: u64 = 1 << 24;

fn pad(cx: &mut LayerCx<'_>, args: &Args<'_>) -> Result<NodeId, FormatError> {
    // TensorFlow's arguments are the paddings, the mode and the fill; of Keras's operation the fill alone is one.
    let is_keras = cx.layer.operation;
    let mode = args.value(cx, if is_keras { usize::MAX } else { 2 }, &["mode"])?;
    let fill = args.value(cx, if is_keras { 1 } else { 3 }, &["constant_values"])?;
    let mode = mode.as_ref().and_then(Value::as_str).unwrap_or("constant");
    if !mode.eq_ignore_ascii_case("constant") {
        return Err(FormatError::unsupported("padding with anything but a number is not supported"));
    }
    let fill = fill.as_ref().and_then(number).unwrap_or(0.0);
    let paddings = args.value(cx, if is_keras { usize::MAX } else { 1 }, &["paddings", "pad_width"])?;
    let paddings = paddings.unwrap_or(Value::Null);
    let pairs: Option<Vec<[usize; 2]>> = unwrap(&paddings).unwrap_or(&paddings).as_array().and_then(|list| {
        let pair = |v: &Value| match integers(v)?[..] {
            [a, b] => Some([usize::try_from(a).ok()?, usize::try_from(b).ok()?]),
            _ => None,
        };
        list.iter().map(pair).collect()
    });
    let x = args.plain(cx, 0, INPUT)?;
    let refuse =
        || FormatError::unsupported(format!("padding by `{}` is not supported", shortened(&paddings)));
    match pairs.as_deref() {
        Some(&[[0, 0], rows, columns, [0, 0]]) if fill == 0.0 => cx.add(ZeroPad2d { rows, columns }, &[x]),
        Some([[0, 0], rest @ ..]) if rest.len() + 1 == cx.dims(x).len() => {
            let mut widths = rest.iter().enumerate().filter(|(_, pair)| **pair != [0; 2]);
            let (Some((at, &[before, after])), None) = (widths.next(), widths.next()) else {
                return Err(refuse());
            };
            let n = cx.dims(x)[at + 1].ok_or_else(refuse)?;
            let all = [before, n, after].iter().fold(0u64, |sum, &n| sum.saturating_add(n as u64));
            Limits::check("the number of positions along an axis", all, MOST_POSITIONS)?;
            let none = |n| std::iter::repeat_n(None, n);
            let positions = none(before).chain((0..n).map(Some)).chain(none(after)).collect();
            cx.add(Take { axis: at as i64 + 1, positions, fill }, &[x])
        }
        _ => Err(refuse()),
    }
}

/// The positions of `keras.ops.take` along one axis, which is not the batch's.
fn take(cx: &mut LayerCx<'_>, args: &Args<'_>) -> Result<NodeId, FormatError> {
    let indices = args.integers(cx, 1, &["indices"])?;
    let axis = args.integer(cx, 2, &["axis"])?;
    let (Some(indices), Some(axis)) = (indices, axis) else {
        return Err(FormatError::unsupported("taking positions that are computed, or of all axes together"));
    };
    let x = args.plain(cx, 0, INPUT)?;
    let dims = cx.dims(x);
    let rank = dims.len() as i64;
    let axis = if axis < 0 { axis.saturating_add(rank) } else { axis };
    let n = match usize::try_from(axis).ok().and_then(|at| dims.get(at)) {
        Some(&Some(n)) if axis > 0 => n as i64,
        _ => {
            return Err(FormatError::unsupported(format!(
                "taking positions of axis {axis} is not supported"
            )));
        }
    };
    let position = |&at: &i64| usize::try_from(if at < 0 { at.saturating_add(n) } else { at }).ok().map(Some);
    let positions = indices.iter().map(position).collect::<Option<Vec<_>>>();
    let positions = positions.ok_or_else(|| FormatError::malformed("a position before the first"))?;
    cx.add(Take { axis, positions, fill: 0.0 }, &[x])
}

/// To a shape that may hold one -1. Where that is in the place of the batch, whose extent is free, pictures stay apart.
fn reshape(cx: &mut LayerCx<'_>, x: NodeId, shape: &[i64]) -> Result<NodeId, FormatError> {
    let negative = || FormatError::malformed("reshaping to a negative extent");
    if let ([-1, rest @ ..], false) = (shape, rest_is_batch(cx, x, shape) == Some(false)) {
        let target = shaping::extents(rest).ok_or_else(negative)?;
        return cx.add(Reshape { target }, &[x]);
    }
    let extent = |&n: &i64| match n {
        -1 => Some(Extent::Rest),
        n => usize::try_from(n).ok().map(Extent::Known),
    };
    let target = shape.iter().map(extent).collect::<Option<Vec<_>>>().ok_or_else(negative)?;
    cx.add(Regroup { target }, &[x])
}

/// Whether what is left to a -1 in front is the batch; `None` where extents are not known.
fn rest_is_batch(cx: &LayerCx<'_>, x: NodeId, shape: &[i64]) -> Option<bool> {
    fn product(extents: impl IntoIterator<Item = Option<i64>>) -> Option<i64> {
        extents.into_iter().try_fold(1i64, |n, d| n.checked_mul(d?))
    }
    let dims = cx.dims(x);
    let own = product(dims.get(1..)?.iter().map(|d| d.map(|n| n as i64)))?;
    let wanted = product(shape.get(1..)?.iter().map(|&n| Some(n)))?;
    Some(own == wanted)
}

fn image_resize(cx: &mut LayerCx<'_>, args: &Args<'_>) -> Result<NodeId, FormatError> {
    let size = args.integers(cx, 1, &["size"])?;
    let method = args.value(cx, 2, &["method", "interpolation"])?;
    let flag = |names: &[&'static str]| -> Result<bool, FormatError> {
        Ok(args.value(cx, usize::MAX, names)?.as_ref().and_then(Value::as_bool).unwrap_or(false))
    };
    if flag(&["antialias"])? || flag(&["preserve_aspect_ratio"])? {
        return Err(FormatError::unsupported(
            "resizing with antialiasing or a kept aspect ratio is not supported",
        ));
    }
    let filter = match method.as_ref().and_then(Value::as_str).unwrap_or("bilinear") {
        "bilinear" => bilinear,
        "nearest" => nearest,
        other => return Err(FormatError::unsupported(format!("resizing by `{other}` is not supported"))),
    };
    let size = size.and_then(|size| match size[..] {
        [h, w] => Some([usize::try_from(h).ok()?, usize::try_from(w).ok()?]),
        _ => None,
    });
    let size = size.ok_or_else(|| FormatError::unsupported("resizing to an unknown size"))?;
    let x = args.plain(cx, 0, INPUT)?;
    resize(cx, x, size, filter)
}

/// An argument with its tensors found.
#[derive(Clone, Debug)]
enum Operand {
    Node(NodeId),
    /// A list with tensors in it; [`merge`] takes them from the call.
    List,
    Value(Value),
}

/// The arguments of a call; notes which were read.
struct Args<'a> {
    positional: Vec<Operand>,
    named: Vec<(&'a str, Operand)>,
    read: RefCell<HashSet<&'a str>>,
}

impl<'a> Args<'a> {
    fn of(cx: &LayerCx<'a>) -> Self {
        // `inputs` holds the call's tensors in the order of this walk.
        fn find(arg: &Arg, nodes: &mut impl Iterator<Item = NodeId>) -> Operand {
            match arg {
                Arg::Tensor(_) => nodes.next().map_or(Operand::List, Operand::Node),
                Arg::List(list) => {
                    list.iter().for_each(|arg| {
                        find(arg, nodes);
                    });
                    Operand::List
                }
                Arg::Value(value) => Operand::Value(value.clone()),
            }
        }
        let mut nodes = cx.inputs.iter().copied();
        let call = cx.call;
        Args {
            positional: call.args.iter().map(|arg| find(arg, &mut nodes)).collect(),
            named: call.kwargs.iter().map(|(name, arg)| (name.as_str(), find(arg, &mut nodes))).collect(),
            read: RefCell::default(),
        }
    }

    fn take(&self, position: usize, names: &[&str]) -> Option<Operand> {
        if let Some((name, operand)) = self.named.iter().find(|(name, _)| names.contains(name)) {
            self.read.borrow_mut().insert(name);
            return Some(operand.clone());
        }
        self.positional.get(position).cloned()
    }

    fn need(
        &self,
        cx: &LayerCx<'_>,
        position: usize,
        names: &[&'static str],
    ) -> Result<Operand, FormatError> {
        let stated = || names.iter().find_map(|name| cx.attrs.get(name)).cloned().map(Operand::Value);
        let operand = self.take(position, names).or_else(stated);
        operand.ok_or_else(|| FormatError::malformed(format!("argument {} is missing", position + 1)))
    }

    fn node(&self, cx: &LayerCx<'_>, position: usize, names: &[&'static str]) -> Result<NodeId, FormatError> {
        match self.need(cx, position, names)? {
            Operand::Node(node) => Ok(node),
            _ => Err(FormatError::unsupported("a function of a constant is not supported")),
        }
    }

    fn plain(
        &self,
        cx: &mut LayerCx<'_>,
        position: usize,
        names: &[&'static str],
    ) -> Result<NodeId, FormatError> {
        let node = self.node(cx, position, names)?;
        cx.mapper.plain(node)
    }

    /// A constant argument, by position, by name, or among the attributes; `None` when absent or null.
    fn value(
        &self,
        cx: &LayerCx<'_>,
        position: usize,
        names: &[&'static str],
    ) -> Result<Option<Value>, FormatError> {
        let attribute = || names.iter().find_map(|name| cx.attrs.get(name)).cloned();
        match self.take(position, names) {
            Some(Operand::Value(Value::Null)) | None => Ok(attribute()),
            Some(Operand::Value(value)) => Ok(Some(value)),
            Some(_) => {
                Err(FormatError::unsupported(format!("argument `{}` is computed by the network", names[0])))
            }
        }
    }

    fn integers(
        &self,
        cx: &LayerCx<'_>,
        position: usize,
        names: &[&'static str],
    ) -> Result<Option<Vec<i64>>, FormatError> {
        let wrong = |v: &Value| {
            FormatError::unsupported(format!("argument `{}` = `{}` is not supported", names[0], shortened(v)))
        };
        let value = self.value(cx, position, names)?;
        value.map(|v| integers(&v).ok_or_else(|| wrong(&v))).transpose()
    }

    fn integer(
        &self,
        cx: &LayerCx<'_>,
        position: usize,
        names: &[&'static str],
    ) -> Result<Option<i64>, FormatError> {
        Ok(self.value(cx, position, names)?.as_ref().and_then(integer))
    }

    /// `Err` if a named argument has a value that nobody read and that might matter.
    fn finish(&self) -> Result<(), FormatError> {
        let read = self.read.borrow();
        for (name, operand) in &self.named {
            match operand {
                _ if read.contains(name) || *name == "name" || *name == "data_format" => {}
                Operand::Value(Value::Null | Value::Bool(false)) => {}
                Operand::Value(v) => {
                    let text = format!("argument `{name}` = `{}` is not supported", shortened(v));
                    return Err(FormatError::unsupported(text));
                }
                _ => return Err(FormatError::unsupported(format!("argument `{name}` is not supported"))),
            }
        }
        Ok(())
    }
}
