//! Activations: by name, as an object inside another layer, and as layers of their own.

use binesh_core::Activation;
use binesh_core::ops::{Activate, Identity, Permute, Prelu, Softmax};
use binesh_core::{NodeId, Op};
use serde_json::Value;

use super::{LayerCx, Role};
use crate::error::FormatError;
use crate::keras::attributes::Attrs;

/// What follows a layer's own computation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    /// Nothing.
    Linear,
    /// A function of each value alone.
    Each(Activation),
    /// Over an axis, counted from the end when negative.
    Softmax { axis: i64 },
    /// The logarithm of the softmax over the last axis: minus infinity where that is less than the smallest f32.
    LogSoftmax,
}

impl Function {
    /// It depends on which axis is which.
    pub(super) fn has_axis(self) -> bool {
        matches!(self, Self::Softmax { .. } | Self::LogSoftmax)
    }
}

/// Keras `Activation`.
pub(super) fn activation(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let function = of(cx, "activation")?;
    add(cx, function)
}

/// A layer that is an activation and has no weights.
pub(super) fn layer(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let function = of_class(&cx.layer.class, cx.attrs)?.ok_or_else(|| super::unknown(cx))?;
    add(cx, function)
}

/// Keras `PReLU`: alpha has the input's shape without the batch, and extent 1 along `shared_axes`.
pub(super) fn prelu(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let x = cx.plain_input()?;
    let dims = cx.dims(x);
    let shared = cx.attrs.integers("shared_axes")?.unwrap_or_default();
    let extent =
        |(axis, dim): (usize, &Option<usize>)| if shared.contains(&(axis as i64)) { Some(1) } else { *dim };
    let shape: Option<Vec<usize>> = dims.iter().enumerate().skip(1).map(extent).collect();
    let shape = shape.ok_or_else(|| {
        FormatError::unsupported("the shape of `alpha` depends on the size of the picture")
            .with_hint("give the input's shape")
    })?;
    let alpha = cx.param("alpha", &shape, true, Role::Plain)?;
    cx.add(Prelu, &[x, alpha])
}

/// Adds an operator and what follows it.
pub(super) fn add_with(
    cx: &mut LayerCx<'_>,
    op: impl Into<Op>,
    inputs: &[NodeId],
    function: Function,
) -> Result<NodeId, FormatError> {
    if function == Function::Linear {
        return cx.add(op, inputs);
    }
    let x = cx.part("pre_activation", op, inputs)?;
    apply(cx, x, function)
}

/// The only input through a function.
pub(super) fn add(cx: &mut LayerCx<'_>, function: Function) -> Result<NodeId, FormatError> {
    if function.has_axis() {
        let x = cx.plain_input()?;
        return apply(cx, x, function);
    }
    let x = cx.input()?;
    let y = apply(cx, x, function)?;
    if cx.mapper.is_channels_first(x) {
        cx.mapper.mark_channels_first(y);
    }
    Ok(y)
}

pub(super) fn apply(cx: &mut LayerCx<'_>, x: NodeId, function: Function) -> Result<NodeId, FormatError> {
    match function {
        Function::Linear => cx.add(Identity, &[x]),
        Function::Each(function) => cx.add(Activate { function }, &[x]),
        Function::LogSoftmax => {
            let softmax = cx.part("softmax", Softmax, &[x])?;
            cx.add(Activate { function: Activation::Log }, &[softmax])
        }
        Function::Softmax { axis } => {
            let rank = cx.dims(x).len();
            let axis = if axis < 0 { axis + rank as i64 } else { axis };
            let axis = usize::try_from(axis).ok().filter(|axis| *axis < rank).ok_or_else(|| {
                FormatError::malformed(format!("softmax over axis {axis} of an input with {rank} axes"))
            })?;
            if axis == rank - 1 {
                return cx.add(Softmax, &[x]);
            }
            // Swap the axis with the last one, and back.
            let mut axes: Vec<usize> = (0..rank).collect();
            axes.swap(axis, rank - 1);
            let swapped = cx.part("swapped", Permute { axes: axes.clone() }, &[x])?;
            let softmax = cx.part("softmax", Softmax, &[swapped])?;
            cx.add(Permute { axes }, &[softmax])
        }
    }
}

/// The activation that an attribute names: a text, or an object as Keras 2 and 3 serialise functions and layers.
pub(super) fn of(cx: &LayerCx<'_>, attribute: &str) -> Result<Function, FormatError> {
    let Some(value) = cx.attrs.get(attribute) else { return Ok(Function::Linear) };
    let refuse = || cx.attrs.refuse(attribute);
    let name = match value {
        Value::String(name) => name,
        Value::Object(object) => {
            let class = object.get("class_name").and_then(Value::as_str).ok_or_else(refuse)?;
            match object.get("config") {
                // `{"class_name": "function", "config": "relu"}`
                Some(Value::String(name)) => name,
                Some(Value::Object(config)) => {
                    let attrs = Attrs::new(config);
                    let function = match of_class(class, &attrs)? {
                        Some(function) => function,
                        None if class == "Activation" => {
                            let name = attrs.str("activation", "linear")?;
                            named(name, cx.mapper.hints.keras).ok_or_else(refuse)?
                        }
                        None => return Err(refuse()),
                    };
                    attrs.finish()?;
                    return Ok(function);
                }
                _ => return Err(refuse()),
            }
        }
        _ => return Err(refuse()),
    };
    named(name, cx.mapper.hints.keras).ok_or_else(refuse)
}

/// `keras.activations`, by the name in a file; `keras` is the major version that wrote it.
pub(super) fn named(name: &str, keras: u32) -> Option<Function> {
    // A registered name may have its package before it.
    // `mypkg>relu` is somebody's own function, whatever its name.
    let name = name.rsplit('.').next().unwrap_or(name);
    Some(Function::Each(match name {
        "linear" | "identity" => return Some(Function::Linear),
        "softmax" => return Some(Function::Softmax { axis: -1 }),
        "log_softmax" => return Some(Function::LogSoftmax),
        "relu" => Activation::RELU,
        "relu6" => Activation::RELU6,
        // The function's slope, not the layer's 0.3.
        "leaky_relu" => Activation::leaky_relu(0.2),
        "elu" => Activation::Elu { alpha: 1.0 },
        "selu" => Activation::Selu,
        "gelu" => Activation::Gelu { approximate: false },
        "silu" | "swish" => Activation::Silu,
        "hard_sigmoid" if keras >= 3 => Activation::HardSigmoid3,
        "hard_sigmoid" => Activation::HardSigmoid2,
        "hard_silu" | "hard_swish" => Activation::HardSwish,
        "sigmoid" => Activation::Sigmoid,
        "tanh" => Activation::Tanh,
        "softplus" => Activation::Softplus,
        "softsign" => Activation::Softsign,
        "mish" => Activation::Mish,
        "exponential" | "exp" => Activation::Exp,
        _ => return None,
    }))
}

/// A layer that is an activation, by its class and attributes.
fn of_class(class: &str, at: &Attrs<'_>) -> Result<Option<Function>, FormatError> {
    Ok(Some(Function::Each(match class {
        "ReLU" => Activation::Relu {
            max: at.f32("max_value", f32::INFINITY)?,
            slope: at.f32("negative_slope", 0.0)?,
            threshold: at.f32("threshold", 0.0)?,
        },
        // Keras 1 and 2 say `alpha`, Keras 3 `negative_slope`.
        "LeakyReLU" => Activation::leaky_relu(at.f32("negative_slope", at.f32("alpha", 0.3)?)?),
        "ELU" => Activation::Elu { alpha: at.f32("alpha", 1.0)? },
        "GELU" => Activation::Gelu { approximate: at.bool("approximate", false)? },
        // `x` if `x > theta`, else 0.
        "ThresholdedReLU" => {
            Activation::Relu { max: f32::INFINITY, slope: 0.0, threshold: at.f32("theta", 1.0)? }
        }
        "Softmax" => return Ok(Some(Function::Softmax { axis: at.axis("axis", -1)? })),
        _ => return Ok(None),
    })))
}
