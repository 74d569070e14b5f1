//! Functions of one and of several values.

use binesh_core::{Activation, BinaryOp, NodeId, Op, Tensor};
use serde_json::{Value, json};

use super::config::{number, numbers};
use super::graph::{Dialect, Writer};
use super::layers::operation;
use super::records::{Arg, Class, Out};
use crate::error::FormatError;

/// Keras's name for an activation, when it has one: `relu6`. What is so named can stand inside another layer.
pub(super) fn name_of(op: &Op, dialect: Dialect) -> Option<&'static str> {
    let name = keras3_name(op)?;
    match (dialect, name) {
        (Dialect::Keras3, name) => Some(name),
        // Keras 2 means another function by the third, and has no name for the others.
        (Dialect::Both, "relu6" | "leaky_relu" | "hard_sigmoid" | "hard_silu") => None,
        (Dialect::Both, "silu") => Some("swish"),
        (Dialect::Both, name) => Some(name),
    }
}

fn keras3_name(op: &Op) -> Option<&'static str> {
    let function = match op {
        Op::Activate(activate) => activate.function,
        Op::Softmax(_) => return Some("softmax"),
        _ => return None,
    };
    Some(match function {
        Activation::Linear => "linear",
        Activation::RELU => "relu",
        Activation::RELU6 => "relu6",
        f if f == Activation::leaky_relu(0.2) => "leaky_relu",
        Activation::Elu { alpha: 1.0 } => "elu",
        Activation::Selu => "selu",
        Activation::Gelu { approximate: false } => "gelu",
        Activation::Silu => "silu",
        Activation::HardSigmoid3 => "hard_sigmoid",
        Activation::HardSwish => "hard_silu",
        Activation::Sigmoid => "sigmoid",
        Activation::Tanh => "tanh",
        Activation::Softplus => "softplus",
        Activation::Softsign => "softsign",
        Activation::Mish => "mish",
        Activation::Exp => "exponential",
        _ => return None,
    })
}

/// A function of each value as a layer of its own.
pub(super) fn activation(cx: &mut Writer<'_>, id: NodeId, function: Activation) -> Result<Out, FormatError> {
    let node = cx.node(id);
    // The weights' layer has the name already.
    let before = &cx.node(node.inputs[0]).name;
    let suffix = if *before == format!("{}/pre_activation", node.name) { "_activation" } else { "" };
    let class = cx.owners.class(node);
    let numpy = |name| Class::operation("keras.src.ops.numpy", name);
    let (class, config) = match function {
        Activation::Relu { max, slope, threshold } => {
            let leaky = max == f32::INFINITY && threshold == 0.0;
            match name_of(&node.op, cx.dialect) {
                Some(name) if !matches!(class, "ReLU" | "LeakyReLU") => {
                    (Class::layer("Activation"), json!({"activation": name}))
                }
                _ if leaky && class == "LeakyReLU" && slope >= 0.0 => {
                    (Class::layer("LeakyReLU"), json!({"negative_slope": number(slope)?}))
                }
                _ if slope >= 0.0 && threshold >= 0.0 && max >= 0.0 => {
                    let max = if max == f32::INFINITY { Value::Null } else { number(max)? };
                    let config = json!({
                        "max_value": max, "negative_slope": number(slope)?, "threshold": number(threshold)?,
                    });
                    (Class::layer("ReLU"), config)
                }
                _ => return Err(FormatError::unsupported(format!("Keras has no layer for {function:?}"))),
            }
        }
        Activation::Elu { alpha } if class == "ELU" || alpha != 1.0 => {
            (Class::layer("ELU"), json!({"alpha": number(alpha)?}))
        }
        Activation::Affine { scale, offset } => {
            (Class::layer("Rescaling"), json!({"scale": number(scale)?, "offset": number(offset)?}))
        }
        // Keras 3's own has other slopes.
        Activation::HardSigmoid2 => return hard_sigmoid2(cx, id, suffix),
        Activation::HardSigmoid3 if cx.dialect == Dialect::Both => {
            let x = cx.value(node.inputs[0])?;
            return hard_sigmoid3(cx, id, suffix, x);
        }
        Activation::HardSwish if cx.dialect == Dialect::Both => {
            let x = cx.value(node.inputs[0])?;
            let gate = hard_sigmoid3(cx, id, &format!("{suffix}_gate"), x)?;
            let product = vec![Arg::List(vec![x, gate])];
            return cx.add(id, suffix, Class::layer("Multiply"), json!({}), &[], product);
        }
        Activation::Gelu { approximate: true } => {
            (Class::operation("keras.src.ops.nn", "Gelu"), json!({"approximate": true}))
        }
        Activation::Clip { min, max } => {
            (numpy("Clip"), json!({"x_min": number(min)?, "x_max": number(max)?}))
        }
        Activation::Log => (numpy("Log"), json!({})),
        Activation::Square => (numpy("Square"), json!({})),
        Activation::Sqrt => (numpy("Sqrt"), json!({})),
        Activation::Rsqrt => (Class::operation("keras.src.ops.math", "Rsqrt"), json!({})),
        Activation::Reciprocal => (numpy("Reciprocal"), json!({})),
        Activation::Neg => (numpy("Negative"), json!({})),
        Activation::Abs => (numpy("Absolute"), json!({})),
        _ => {
            let name = name_of(&node.op, cx.dialect).ok_or_else(|| {
                FormatError::unsupported(format!("Keras has no layer for the function {function:?}"))
            })?;
            (Class::layer("Activation"), json!({"activation": name}))
        }
    };
    let x = cx.arg(node.inputs[0])?;
    cx.add(id, suffix, class, config, &[], vec![x])
}

/// `clip(0.2 x + 0.5, 0, 1)` of Keras 1 and 2.
fn hard_sigmoid2(cx: &mut Writer<'_>, id: NodeId, suffix: &str) -> Result<Out, FormatError> {
    let x = cx.arg(cx.node(id).inputs[0])?;
    let line = json!({"scale": number(0.2)?, "offset": number(0.5)?});
    let line = cx.add(id, &format!("{suffix}_line"), Class::layer("Rescaling"), line, &[], vec![x])?;
    let clipped = json!({"max_value": 1.0, "negative_slope": 0.0, "threshold": 0.0});
    cx.add(id, suffix, Class::layer("ReLU"), clipped, &[], vec![Arg::One(line)])
}

/// `relu6(x + 3) / 6` of Keras 3.
fn hard_sigmoid3(cx: &mut Writer<'_>, id: NodeId, suffix: &str, x: Out) -> Result<Out, FormatError> {
    let mut y = x;
    for (part, class, config) in [
        ("_plus", "Rescaling", json!({"scale": 1.0, "offset": 3.0})),
        ("_clip", "ReLU", json!({"max_value": 6.0, "negative_slope": 0.0, "threshold": 0.0})),
        ("", "Rescaling", json!({"scale": number(1.0 / 6.0)?, "offset": 0.0})),
    ] {
        y = cx.add(id, &format!("{suffix}{part}"), Class::layer(class), config, &[], vec![Arg::One(y)])?;
    }
    Ok(y)
}

/// A function of two values, or the end of a chain of them.
pub(super) fn binary(cx: &mut Writer<'_>, id: NodeId, op: BinaryOp) -> Result<Out, FormatError> {
    let layer = match op {
        BinaryOp::Add => Some("Add"),
        BinaryOp::Subtract => Some("Subtract"),
        BinaryOp::Multiply => Some("Multiply"),
        BinaryOp::Maximum => Some("Maximum"),
        BinaryOp::Minimum => Some("Minimum"),
        BinaryOp::Divide | BinaryOp::Power => None,
    };
    if let (Some(operands), Some(layer)) = (cx.absorbed.chain(id), layer) {
        let operands = operands.to_vec();
        return merge(cx, id, layer, &operands);
    }
    let [a, b] = cx.node(id).inputs[..] else {
        return Err(FormatError::unsupported("a function of two values without two inputs"));
    };
    let constant = |cx: &Writer<'_>, id: NodeId| match &cx.node(id).op {
        Op::Constant(constant) => Some(constant.value.clone()),
        _ => None,
    };
    let weight = |cx: &Writer<'_>, id: NodeId| matches!(cx.node(id).op, Op::Param(_));
    match (constant(cx, a), constant(cx, b)) {
        (None, None) if weight(cx, a) => scaled_by_weight(cx, id, op, b, a),
        (None, None) if weight(cx, b) => scaled_by_weight(cx, id, op, a, b),
        (None, None) => {
            let same_rank = cx.graph.dims(a).len() == cx.graph.dims(b).len();
            match layer {
                Some(layer) if same_rank => merge(cx, id, layer, &[a, b]),
                _ => {
                    let args = vec![cx.arg(a)?, cx.arg(b)?];
                    cx.add(id, "", operation_of(op), json!({}), &[], args)
                }
            }
        }
        (None, Some(c)) => match rescaling(cx, a, op, &c, false)? {
            Some(config) => {
                let x = cx.arg(a)?;
                cx.add(id, "", Class::layer("Rescaling"), config, &[], vec![x])
            }
            None => operation(cx, id, operation_of(op), json!({}), vec![Arg::Value(array(&c)?)]),
        },
        (Some(c), None) => {
            let x = cx.arg(b)?;
            match rescaling(cx, b, op, &c, true)? {
                Some(config) => cx.add(id, "", Class::layer("Rescaling"), config, &[], vec![x]),
                None => {
                    let args = vec![Arg::Value(array(&c)?), x];
                    cx.add(id, "", operation_of(op), json!({}), &[], args)
                }
            }
        }
        (Some(_), Some(_)) => Err(FormatError::unsupported("Keras computes nothing from constants alone")),
    }
}

/// One of Keras's merging layers.
pub(super) fn merge(
    cx: &mut Writer<'_>,
    id: NodeId,
    class: &'static str,
    operands: &[NodeId],
) -> Result<Out, FormatError> {
    let list = operands.iter().map(|&x| cx.value(x)).collect::<Result<_, _>>()?;
    cx.add(id, "", Class::layer(class), json!({}), &[], vec![Arg::List(list)])
}

fn operation_of(op: BinaryOp) -> Class {
    let name = match op {
        BinaryOp::Add => "Add",
        BinaryOp::Subtract => "Subtract",
        BinaryOp::Multiply => "Multiply",
        BinaryOp::Divide => "TrueDivide",
        BinaryOp::Maximum => "Maximum",
        BinaryOp::Minimum => "Minimum",
        BinaryOp::Power => "Power",
    };
    Class::operation("keras.src.ops.numpy", name)
}

/// `x * gamma` with a weight for every channel: ConvNeXt's `LayerScale`, which Keras has beside its ConvNeXt.
fn scaled_by_weight(
    cx: &mut Writer<'_>,
    id: NodeId,
    op: BinaryOp,
    x: NodeId,
    gamma: NodeId,
) -> Result<Out, FormatError> {
    let dims = cx.graph.dims(x);
    let shape = cx.graph.dims(gamma);
    let [Some(channels)] = shape[..] else {
        return Err(FormatError::unsupported(
            "Keras has no layer for arithmetic with a weight of this shape",
        ));
    };
    if op != BinaryOp::Multiply || dims.last() != Some(&Some(channels)) {
        return Err(FormatError::unsupported("Keras has no layer for this arithmetic with a weight"));
    }
    let class = Class { module: "keras.src.applications.convnext", name: "LayerScale" };
    let config = json!({"init_values": 1e-6, "projection_dim": channels});
    let (weight, x) = (cx.weight(gamma, None)?, cx.arg(x)?);
    cx.add(id, "", class, config, &[weight], vec![x])
}

/// Arithmetic with one number, or one for each channel, as `x * scale + offset`.
fn rescaling(
    cx: &Writer<'_>,
    x: NodeId,
    op: BinaryOp,
    c: &Tensor,
    constant_first: bool,
) -> Result<Option<Value>, FormatError> {
    let dims = cx.graph.dims(x);
    let n = c.data().len();
    let per_channel = c.shape().dims().last() == Some(&n) && dims.last() == Some(&Some(n));
    if (n != 1 && !per_channel) || c.shape().rank() > dims.len() {
        return Ok(None);
    }
    let values = numbers(c.data())?;
    let minus: Vec<f32> = c.data().iter().map(|v| -v).collect();
    let [one, zero] = [json!(1.0), json!(0.0)];
    let (scale, offset) = match (op, constant_first) {
        (BinaryOp::Add, _) => (one, values),
        (BinaryOp::Subtract, false) => (one, numbers(&minus)?),
        (BinaryOp::Subtract, true) => (json!(-1.0), values),
        (BinaryOp::Multiply, _) => (values, zero),
        _ => return Ok(None),
    };
    Ok(Some(json!({"scale": scale, "offset": offset})))
}

/// A constant argument of an operation.
fn array(c: &Tensor) -> Result<Value, FormatError> {
    fn nested(dims: &[usize], data: &[f32]) -> Result<Value, FormatError> {
        match dims {
            [] => number(data[0]),
            [_, rest @ ..] => {
                let step = rest.iter().product::<usize>().max(1);
                data.chunks(step).map(|part| nested(rest, part)).collect()
            }
        }
    }
    let value = nested(c.shape().dims(), c.data())?;
    if c.shape().rank() == 0 {
        return Ok(value);
    }
    Ok(json!({"class_name": "__numpy__", "config": {"value": value, "dtype": "float32"}}))
}
