//! Functions of one value.

use binesh_core::ops::{Activate, Binary, Erf, Prelu, ReduceMax, ReduceSum, Softmax};
use binesh_core::{Activation, BinaryOp};

use super::{Form, NodeCx, Operator, Traced, Value, arithmetic, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[
    operator("Relu", "ReLU", |cx| plain(cx, Activation::RELU)),
    operator("Sigmoid", "Activation", |cx| plain(cx, Activation::Sigmoid)),
    operator("Tanh", "Activation", |cx| plain(cx, Activation::Tanh)),
    operator("Softplus", "Activation", |cx| plain(cx, Activation::Softplus)),
    operator("Softsign", "Activation", |cx| plain(cx, Activation::Softsign)),
    operator("Mish", "Activation", |cx| plain(cx, Activation::Mish)),
    operator("HardSwish", "Activation", |cx| plain(cx, Activation::HardSwish)),
    operator("Exp", "Exp", |cx| plain(cx, Activation::Exp)),
    operator("Log", "Log", |cx| plain(cx, Activation::Log)),
    operator("Sqrt", "Sqrt", |cx| plain(cx, Activation::Sqrt)),
    operator("Reciprocal", "Reciprocal", |cx| plain(cx, Activation::Reciprocal)),
    operator("Neg", "Negative", |cx| plain(cx, Activation::Neg)),
    operator("Abs", "Absolute", |cx| plain(cx, Activation::Abs)),
    operator("Erf", "Erf", |cx| {
        let x = cx.input(0)?;
        cx.each(Erf, &x).map(one)
    }),
    operator("LeakyRelu", "LeakyReLU", |cx| {
        let slope = cx.attrs.float("alpha", 0.01)?;
        plain(cx, Activation::leaky_relu(slope))
    }),
    operator("ThresholdedRelu", "ReLU", thresholded_relu),
    operator("PRelu", "PReLU", prelu),
    operator("Elu", "ELU", |cx| {
        let alpha = cx.attrs.float("alpha", 1.0)?;
        plain(cx, Activation::Elu { alpha })
    }),
    operator("Celu", "Activation", celu),
    operator("Selu", "Activation", selu),
    operator("Gelu", "Activation", gelu),
    operator("Swish", "Activation", swish),
    operator("HardSigmoid", "Activation", hard_sigmoid),
    operator("Clip", "ReLU", clip),
    operator("Softmax", "Softmax", softmax),
    operator("LogSoftmax", "LogSoftmax", log_softmax),
];

fn plain<'a>(cx: &mut NodeCx<'_, 'a>, function: Activation) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    apply(cx, &x, function).map(one)
}

pub(super) fn apply(
    cx: &mut NodeCx<'_, '_>,
    x: &Traced,
    function: Activation,
) -> Result<Traced, FormatError> {
    cx.each(Activate { function }, x)
}

/// `x` above `alpha`, else 0.
fn thresholded_relu<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let threshold = cx.attrs.float("alpha", 1.0)?;
    plain(cx, Activation::Relu { max: f32::INFINITY, slope: 0.0, threshold })
}

/// The slope is broadcast to the input by NumPy's rules; Keras's has no batch axis.
fn prelu<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    let mut shape = cx.shape(1)?;
    let rank = x.rank();
    if cx.opset() < 7 && shape.len() == 1 && rank > 1 {
        // One slope for each channel.
        shape.resize(rank - 1, 1);
    }
    if shape.len() == rank && shape.first() == Some(&1) {
        shape.remove(0);
    }
    if rank < 2 || shape.len() >= rank || x.at[0] != 0 {
        // `max(x, 0) - slope * max(-x, 0)`
        let slope = cx.input(1)?;
        let above = apply(cx, &x, Activation::RELU)?;
        let below = apply(cx, &x, Activation::Neg)?;
        let below = apply(cx, &below, Activation::RELU)?;
        let below = arithmetic::both(cx, BinaryOp::Multiply, &below, &slope)?;
        return arithmetic::both(cx, BinaryOp::Subtract, &above, &below).map(one);
    }
    while shape.len() + 1 < rank {
        shape.insert(0, 1);
    }
    let axes = x.order().iter().skip(1).map(|axis| axis - 1).collect();
    let alpha = cx.weight(1, "alpha", &Form { shape: Some(shape), axes: Some(axes), ..Form::default() })?;
    Ok(one(x.like(cx.add(Prelu, &[x.node, alpha])?)))
}

/// `max(x, 0) + min(0, alpha * (e^(x / alpha) - 1))`: an ELU of `x / alpha`, times `alpha`.
fn celu<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let alpha = cx.attrs.float("alpha", 1.0)?;
    let x = cx.input(0)?;
    if alpha == 1.0 {
        return apply(cx, &x, Activation::Elu { alpha }).map(one);
    }
    if alpha.is_nan() || alpha <= 0.0 {
        return Err(cx.attrs.refuse("alpha"));
    }
    let x = arithmetic::affine(cx, &x, 1.0 / alpha, 0.0)?;
    let y = apply(cx, &x, Activation::Elu { alpha: 1.0 })?;
    arithmetic::affine(cx, &y, alpha, 0.0).map(one)
}

fn selu<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let (alpha, gamma) = (cx.attrs.float("alpha", 1.673_263_2)?, cx.attrs.float("gamma", 1.050_701)?);
    let near = |value: f32, known: f32| (value - known).abs() < 1e-5;
    if near(alpha, 1.673_263_2) && near(gamma, 1.050_701) {
        return plain(cx, Activation::Selu);
    }
    let x = cx.input(0)?;
    let y = apply(cx, &x, Activation::Elu { alpha })?;
    arithmetic::affine(cx, &y, gamma, 0.0).map(one)
}

fn gelu<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let approximate = match cx.attrs.str("approximate", "none")? {
        "none" => false,
        "tanh" => true,
        _ => return Err(cx.attrs.refuse("approximate")),
    };
    plain(cx, Activation::Gelu { approximate })
}

/// `x * sigmoid(alpha * x)`: a SiLU of `alpha * x`, divided by `alpha`.
fn swish<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let alpha = cx.attrs.float("alpha", 1.0)?;
    if alpha == 1.0 {
        return plain(cx, Activation::Silu);
    }
    if alpha == 0.0 || !alpha.is_finite() {
        return Err(cx.attrs.refuse("alpha"));
    }
    let x = cx.input(0)?;
    let x = arithmetic::affine(cx, &x, alpha, 0.0)?;
    let y = apply(cx, &x, Activation::Silu)?;
    arithmetic::affine(cx, &y, 1.0 / alpha, 0.0).map(one)
}

/// `clip(alpha * x + beta, 0, 1)`
fn hard_sigmoid<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let (alpha, beta) = (cx.attrs.float("alpha", 0.2)?, cx.attrs.float("beta", 0.5)?);
    if (alpha, beta) == (0.2, 0.5) {
        return plain(cx, Activation::HardSigmoid2);
    }
    if (alpha - 1.0 / 6.0).abs() < 1e-6 && beta == 0.5 {
        return plain(cx, Activation::HardSigmoid3);
    }
    let x = cx.input(0)?;
    let x = arithmetic::affine(cx, &x, alpha, beta)?;
    apply(cx, &x, Activation::Clip { min: 0.0, max: 1.0 }).map(one)
}

/// Bounds are operands since opset 11; either may be left out.
fn clip<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
    let (min, max) = match cx.opset() {
        ..11 => (cx.attrs.float("min", low)?, cx.attrs.float("max", high)?),
        _ => (cx.scalar(1)?.unwrap_or(low), cx.scalar(2)?.unwrap_or(high)),
    };
    if min.is_nan() || max.is_nan() {
        return Err(FormatError::malformed("a bound is not a number"));
    }
    if min == 0.0 && max > 0.0 {
        return plain(cx, Activation::Relu { max, slope: 0.0, threshold: 0.0 });
    }
    cx.class = "Clip";
    // The upper bound wins where it lies below the lower one.
    let min = min.min(max);
    plain(cx, Activation::Clip { min, max })
}

/// Along one axis; until opset 12 along all axes from one on together.
fn softmax<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    along(cx, |cx, x| {
        let node = cx.add(Softmax, &[x.node])?;
        Ok(x.like(node))
    })
}

fn log_softmax<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    along(cx, |cx, x| {
        let axes = || vec![-1];
        let most = cx.add(ReduceMax { axes: axes(), keepdims: true }, &[x.node])?;
        let x = x.like(cx.add(Binary { op: BinaryOp::Subtract }, &[x.node, most])?);
        let exp = apply(cx, &x, Activation::Exp)?;
        let sum = cx.add(ReduceSum { axes: axes(), keepdims: true }, &[exp.node])?;
        let log = cx.add(Activate { function: Activation::Log }, &[sum])?;
        Ok(x.like(cx.add(Binary { op: BinaryOp::Subtract }, &[x.node, log])?))
    })
}

/// `f` of the value whose last axis is the one that is meant.
fn along<'a>(
    cx: &mut NodeCx<'_, 'a>,
    f: impl Fn(&mut NodeCx<'_, 'a>, &Traced) -> Result<Traced, FormatError>,
) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    let flat = cx.opset() < 13;
    let axis = super::super::array::axis(cx.attrs.int("axis", if flat { 1 } else { -1 })?, x.rank())?;
    cx.keeps_pictures_apart(&x, axis)?;
    let dims = cx.dims(&x);
    let together = dims[axis..].iter().filter(|&&d| d != [1; 2]).count();
    if !flat || (together == 1 && dims[axis] != [1; 2]) {
        let x = cx.mapper.with_last(&x, axis)?;
        return f(cx, &x).map(one);
    }
    let rest = dims[axis..]
        .iter()
        .fold([1, 1], |n: [usize; 2], d| [n[0].saturating_mul(d[0]), n[1].saturating_mul(d[1])]);
    let rows: Vec<[usize; 2]> = dims[..axis].iter().copied().chain([rest]).collect();
    let x = cx.mapper.reshape(&x, &rows)?;
    let x = cx.mapper.with_last(&x, axis)?;
    let y = f(cx, &x)?;
    cx.mapper.reshape(&y, &dims).map(one)
}
