//! What is about to be written: layers, their calls and their weights.

use binesh_core::NodeId;
use serde_json::{Map, Value};

/// A whole model.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) layers: Vec<Layer>,
    pub(super) inputs: Vec<Out>,
    pub(super) outputs: Vec<Out>,
}

/// The output of a call of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Out {
    /// Position in [`Model::layers`].
    pub(super) layer: usize,
    pub(super) call: usize,
}

/// A layer, or an operation of `keras.ops`.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) wanted: Wanted,
    /// Unique in the model, once [`super::names`] has been here.
    pub(super) name: String,
    pub(super) class: Class,
    /// Attributes but name, dtype and trainable.
    pub(super) config: Map<String, Value>,
    pub(super) weights: Vec<Weight>,
    pub(super) trainable: bool,
    pub(super) calls: Vec<Call>,
}

/// The names a layer would like to have, best first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// The last part of the path: `block5_conv3`.
    pub(super) short: String,
    /// The whole path: `vgg16/block5_conv3`.
    pub(super) long: String,
}

/// Where Keras has a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) module: &'static str,
    pub(super) name: &'static str,
}

impl Class {
    /// A class of `keras.layers`.
    pub(super) const fn layer(name: &'static str) -> Self {
        Self { module: "keras.layers", name }
    }

    /// An operation like `x / y`: it has no weights and is no layer.
    pub(super) const fn operation(module: &'static str, name: &'static str) -> Self {
        Self { module, name }
    }

    pub(super) fn is_operation(self) -> bool {
        self.module.starts_with("keras.src.ops")
    }
}

/// One variable of a layer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Weight {
    /// The value of a `param` or `constant`, under the shape that Keras gives it.
    Node(NodeId, Vec<usize>),
    /// How many pictures a `Normalization` has seen.
    Count(i32),
}

/// One use of a layer.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) args: Vec<Arg>,
    /// The extents of what it returns.
    pub(super) dims: Vec<Option<usize>>,
}

impl Call {
    /// The values it is computed from, in order.
    pub(super) fn inputs(&self) -> impl Iterator<Item = Out> {
        self.args
            .iter()
            .flat_map(|arg| match arg {
                Arg::One(out) => std::slice::from_ref(out),
                Arg::List(list) => list,
                Arg::Value(_) => &[],
            })
            .copied()
    }

    /// The same, for moving them.
    pub(super) fn inputs_mut(&mut self) -> impl Iterator<Item = &mut Out> {
        self.args.iter_mut().flat_map(|arg| match arg {
            Arg::One(out) => std::slice::from_mut(out),
            Arg::List(list) => list,
            Arg::Value(_) => &mut [],
        })
    }
}

/// One argument of a call.
#[derive(Clone, Debug)]
pub(super) enum Arg {
    One(Out),
    List(Vec<Out>),
    /// A constant.
    Value(Value),
}
