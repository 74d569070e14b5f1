//! What a model file becomes.

use std::sync::Arc;

use binesh_core::{Graph, Layers, Params};

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
