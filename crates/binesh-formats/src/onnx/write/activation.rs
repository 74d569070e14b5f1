//! Functions of each value. What ONNX has no operator for until opset 17 is made of those that it has.

use binesh_core::Activation;

use super::values::{Values, float};
use crate::error::FormatError;

/// The nodes that apply a function to a value of the file; gives the name of the result.
pub(super) fn apply(cx: &mut Values<'_>, x: &str, function: Activation) -> Result<String, FormatError> {
    let one = |cx: &mut Values<'_>, op: &str| Ok(cx.emit(op, &[x], vec![]));
    match function {
        Activation::Linear => one(cx, "Identity"),
        Activation::Relu { max, slope, threshold } => relu(cx, x, max, slope, threshold),
        Activation::Elu { alpha } => Ok(cx.emit("Elu", &[x], vec![float("alpha", alpha)])),
        Activation::Selu => {
            let attributes = vec![float("alpha", 1.673_263_2), float("gamma", 1.050_701)];
            Ok(cx.emit("Selu", &[x], attributes))
        }
        Activation::Gelu { approximate } => Ok(gelu(cx, x, approximate)),
        Activation::Silu => {
            let gate = cx.emit("Sigmoid", &[x], vec![]);
            Ok(cx.emit("Mul", &[x, &gate], vec![]))
        }
        Activation::HardSigmoid2 => {
            Ok(cx.emit("HardSigmoid", &[x], vec![float("alpha", 0.2), float("beta", 0.5)]))
        }
        Activation::HardSigmoid3 => {
            Ok(cx.emit("HardSigmoid", &[x], vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)]))
        }
        Activation::HardSwish => one(cx, "HardSwish"),
        Activation::Sigmoid => one(cx, "Sigmoid"),
        Activation::Tanh => one(cx, "Tanh"),
        Activation::Softplus => one(cx, "Softplus"),
        Activation::Softsign => one(cx, "Softsign"),
        Activation::Mish => {
            let soft = cx.emit("Softplus", &[x], vec![]);
            let gate = cx.emit("Tanh", &[&soft], vec![]);
            Ok(cx.emit("Mul", &[x, &gate], vec![]))
        }
        Activation::Exp => one(cx, "Exp"),
        Activation::Log => one(cx, "Log"),
        Activation::Square => Ok(cx.emit("Mul", &[x, x], vec![])),
        Activation::Sqrt => one(cx, "Sqrt"),
        Activation::Rsqrt => {
            let root = cx.emit("Sqrt", &[x], vec![]);
            Ok(cx.emit("Reciprocal", &[&root], vec![]))
        }
        Activation::Reciprocal => one(cx, "Reciprocal"),
        Activation::Neg => one(cx, "Neg"),
        Activation::Abs => one(cx, "Abs"),
        Activation::Clip { min, max } => {
            let (min, max) = (cx.scalar(min), cx.scalar(max));
            Ok(cx.emit("Clip", &[x, &min, &max], vec![]))
        }
        Activation::Affine { scale, offset } => {
            let mut y = x.to_owned();
            if scale != 1.0 || offset == 0.0 {
                let scale = cx.scalar(scale);
                y = cx.emit("Mul", &[&y, &scale], vec![]);
            }
            if offset != 0.0 {
                let offset = cx.scalar(offset);
                y = cx.emit("Add", &[&y, &offset], vec![]);
            }
            Ok(y)
        }
    }
}

/// `max` if `x >= max`; `x` if `threshold < x < max`; else `slope * (x - threshold)`.
fn relu(cx: &mut Values<'_>, x: &str, max: f32, slope: f32, threshold: f32) -> Result<String, FormatError> {
    if slope == 0.0 && threshold == 0.0 && max >= 0.0 {
        if max == f32::INFINITY {
            return Ok(cx.emit("Relu", &[x], vec![]));
        }
        let (zero, max) = (cx.scalar(0.0), cx.scalar(max));
        return Ok(cx.emit("Clip", &[x, &zero, &max], vec![]));
    }
    if threshold == 0.0 && max == f32::INFINITY {
        return Ok(cx.emit("LeakyRelu", &[x], vec![float("alpha", slope)]));
    }
    if max < 0.0 {
        return Err(FormatError::unsupported(format!("ONNX has no rectifier with a largest value of {max}")));
    }
    // What is above the threshold, up to `max`, and what is below it: the other is 0 in each.
    let mut above = cx.emit("ThresholdedRelu", &[x], vec![float("alpha", threshold)]);
    if max != f32::INFINITY {
        let max = cx.scalar(max);
        above = cx.emit("Min", &[&above, &max], vec![]);
    }
    if slope == 0.0 {
        return Ok(above);
    }
    let mut below = x.to_owned();
    if threshold != 0.0 {
        let threshold = cx.scalar(threshold);
        below = cx.emit("Sub", &[&below, &threshold], vec![]);
    }
    let (zero, slope) = (cx.scalar(0.0), cx.scalar(slope));
    let below = cx.emit("Min", &[&below, &zero], vec![]);
    let below = cx.emit("Mul", &[&below, &slope], vec![]);
    Ok(cx.emit("Add", &[&above, &below], vec![]))
}

/// `x/2 * (1 + erf(x / sqrt(2)))`, or `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
fn gelu(cx: &mut Values<'_>, x: &str, approximate: bool) -> String {
    let (half, one) = (cx.scalar(0.5), cx.scalar(1.0));
    let gate = if approximate {
        let (cubic, factor) = (cx.scalar(0.044_715), cx.scalar((2.0 / std::f32::consts::PI).sqrt()));
        let square = cx.emit("Mul", &[x, x], vec![]);
        let cube = cx.emit("Mul", &[&square, x], vec![]);
        let cube = cx.emit("Mul", &[&cube, &cubic], vec![]);
        let sum = cx.emit("Add", &[x, &cube], vec![]);
        let inner = cx.emit("Mul", &[&sum, &factor], vec![]);
        cx.emit("Tanh", &[&inner], vec![])
    } else {
        let root = cx.scalar(std::f32::consts::SQRT_2);
        let inner = cx.emit("Div", &[x, &root], vec![]);
        cx.emit("Erf", &[&inner], vec![])
    };
    let gate = cx.emit("Add", &[&gate, &one], vec![]);
    let gated = cx.emit("Mul", &[x, &gate], vec![]);
    cx.emit("Mul", &[&gated, &half], vec![])
}
