//! What a model file becomes.

use std::sync::Arc;

use binesh_core::{Graph, Layers, Params, Tensor};

use crate::Limits;
use crate::meta::Meta;

/// A network as the file said: its graph, its weights, the user's table of layers, and what belongs to it besides.
#[derive(Clone, Debug)]
pub struct Network {
    /// The model's own name.
    pub name: String,
    /// The outermost model's class, as a user of the file's framework would call it.
    pub kind: Kind,
    /// Operators and wiring.
    pub graph: Arc<Graph>,
    /// Values of the graph's weights. Empty when the file holds only an architecture.
    pub params: Params,
    /// Layers as the file names and nests them.
    pub layers: Layers,
    /// Preprocessing and class names.
    pub meta: Meta,
}

/// How the outermost model is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Keras `Sequential`: a chain.
    Sequential,
    /// Keras `Functional` (`Model` before Keras 3): a graph.
    Functional,
}

/// What a file held.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Loaded {
    /// An architecture, with weights unless the file had none.
    Model(Box<Network>),
    /// Weights without an architecture, under the file's names and in its order.
    Weights(Vec<(String, Tensor)>),
}

/// What happened to each tensor of a file and each weight of a network.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// Name of the format, `keras h5`.
    pub format: &'static str,
    /// Version of the program that wrote the file, where the file says.
    pub version: Option<String>,
    /// Tensors that became weights.
    pub used: Vec<UsedTensor>,
    /// Tensors of the file that no layer asked for.
    pub unused: Vec<String>,
    /// Weights of the network that the file does not have; they have no value.
    pub missing: Vec<String>,
    /// Weights whose layout was changed, and how.
    pub transposed: Vec<String>,
}

/// A tensor of the file and the weight it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedTensor {
    /// Path in the file.
    pub tensor: String,
    /// Name of the parameter's node, `vgg16/block1_conv1/kernel`.
    pub weight: String,
}

/// What loading may need besides the bytes.
#[derive(Clone, Debug, Default)]
pub struct LoadCx {
    /// Bounds on what the file may ask for.
    pub limits: Limits,
    /// The input's extents with the batch first, for a `Sequential` that was saved without them; `None` for any.
    pub input_shape: Option<Vec<Option<usize>>>,
    /// The backend that trained a file of Keras 1, which does not say. `theano` turns its kernels around.
    pub keras1_backend: Option<String>,
    /// What the weights of a file of weights alone belong to, by its name in `binesh::zoo`; `None` to recognize it.
    pub architecture: Option<String>,
}
