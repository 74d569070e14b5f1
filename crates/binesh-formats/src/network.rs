//! What a model file becomes.

use std::fmt;
use std::io;
use std::sync::Arc;

use binesh_core::{Graph, Layers, NodeId, Op, Params, Tensor};

use crate::Limits;
use crate::error::FormatError;
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

impl Network {
    /// The value of a weight, or of a constant that stands for one.
    pub(crate) fn value(&self, id: NodeId) -> Result<&Tensor, FormatError> {
        let node = self.graph.node(id);
        match &node.op {
            Op::Constant(constant) => Ok(&constant.value),
            Op::Param(_) => self.params.get(id).ok_or_else(|| FormatError::MissingWeight {
                place: Box::default(),
                weight: node.name.clone(),
                expected: self.graph.dims(id),
                hint: Some("an architecture alone cannot be written".to_owned()),
            }),
            _ => {
                let name = &node.name;
                Err(FormatError::unsupported(format!("its weight `{name}` is computed by the network")))
            }
        }
    }

    /// Which nodes the outputs are computed from, the inputs among them, and how many of these and outputs read each.
    pub fn needed(&self) -> (Vec<bool>, Vec<usize>) {
        let graph = &self.graph;
        let n = graph.nodes().len();
        let (mut needed, mut uses) = (vec![false; n], vec![0; n]);
        for &output in graph.outputs() {
            needed[output.index()] = true;
            uses[output.index()] += 1;
        }
        for (i, node) in graph.nodes().iter().enumerate().rev() {
            if needed[i] {
                for input in &node.inputs {
                    needed[input.index()] = true;
                    uses[input.index()] += 1;
                }
            }
        }
        for &input in graph.inputs() {
            needed[input.index()] = true;
        }
        (needed, uses)
    }
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
    /// Weights and inputs whose layout was changed, and how.
    pub transposed: Vec<String>,
    /// Of a file of weights alone: what it says of their network besides. A model has its own ([`Network::meta`]).
    pub meta: Meta,
    /// With [`LoadCx::partial`]: why parts of the file were left out.
    pub left_out: Vec<String>,
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
    /// Where an ONNX file finds weights that it keeps in other files.
    pub external: Option<ExternalData>,
    /// An operator that is not known ends the network instead of being an error: its outputs are what can be computed
    /// before it. [`LoadReport::left_out`] says what was.
    pub partial: bool,
}

/// Reads parts of files beside the one that is loaded. What it is asked for comes from the file and is hostile: it must
/// not leave the model's folder, and look at a file's size before it makes room.
#[derive(Clone)]
pub struct ExternalData(Arc<ReadPart>);

type ReadPart = dyn Fn(&str, u64, u64) -> io::Result<Vec<u8>> + Send + Sync;

impl ExternalData {
    /// `read(file, offset, length)` gives exactly these bytes of the file that the model calls so.
    pub fn new(read: impl Fn(&str, u64, u64) -> io::Result<Vec<u8>> + Send + Sync + 'static) -> ExternalData {
        ExternalData(Arc::new(read))
    }

    pub(crate) fn read(&self, file: &str, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        (self.0)(file, offset, length)
    }
}

impl fmt::Debug for ExternalData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExternalData")
    }
}
