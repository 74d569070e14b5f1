//! The graph: what the file said, with the file's names.

use std::collections::HashMap;

use crate::ops::Op;
use crate::shape::{Shape, ShapeError};

/// A node of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// Position in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One value of the network: an operator applied to earlier nodes. Exactly one output.
#[derive(Clone, Debug)]
pub struct Node {
    /// Unique in the graph; a layer's output has the layer's path.
    pub name: String,
    /// What is computed.
    pub op: Op,
    /// Earlier nodes it is computed from.
    pub inputs: Vec<NodeId>,
    probes: [Shape; 2],
}

/// Nodes in an order in which inputs come before their node; names are unique; arities and shapes were checked.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    nodes: Vec<Node>,
    by_name: HashMap<String, NodeId>,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

impl Graph {
    /// Adds a node after checking its wiring and, under two sizes of every unknown input axis, its shape rule.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Result<NodeId, GraphError> {
        let (name, op) = (name.into(), op.into());
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateName { name });
        }
        let arity = op.operator().arity();
        if !arity.contains(&inputs.len()) {
            let (op, given) = (op.operator().name(), inputs.len());
            return Err(GraphError::Arity { name, op, given, expected: (*arity.start(), *arity.end()) });
        }
        if let Some(bad) = inputs.iter().find(|id| id.index() >= self.nodes.len()) {
            return Err(GraphError::UnknownInput { name, index: bad.index() });
        }
        let mut probes = [Shape::default(), Shape::default()];
        for (which, probe) in probes.iter_mut().enumerate() {
            let shapes: Vec<&Shape> = inputs.iter().map(|&id| &self.node(id).probes[which]).collect();
            *probe = match &op {
                Op::Input(input) => Ok(input.probe(which)),
                op => op.operator().infer(&shapes),
            }
            .and_then(Shape::checked)
            .map_err(|source| GraphError::Shape {
                name: name.clone(),
                op: op.operator().name(),
                source,
            })?;
        }
        let index = u32::try_from(self.nodes.len()).map_err(|_| GraphError::TooManyNodes)?;
        let id = NodeId(index);
        if matches!(op, Op::Input(_)) {
            self.inputs.push(id);
        }
        self.by_name.insert(name.clone(), id);
        self.nodes.push(Node { name, op, inputs: inputs.to_vec(), probes });
        Ok(id)
    }

    /// States which nodes the network returns, in order.
    pub fn set_outputs(&mut self, outputs: Vec<NodeId>) {
        self.outputs = outputs;
    }

    /// States the order in which inputs are given, where it is not the order in which they were added.
    ///
    /// # Panics
    /// When the nodes are not exactly this graph's inputs.
    pub fn set_inputs(&mut self, inputs: Vec<NodeId>) {
        let sorted = |ids: &[NodeId]| {
            let mut ids = ids.to_vec();
            ids.sort();
            ids
        };
        assert_eq!(sorted(&inputs), sorted(&self.inputs), "these are not the graph's inputs");
        self.inputs = inputs;
    }

    /// All nodes, inputs before their node.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// Ids of all nodes, in order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// The network's inputs, in the order of the file.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The network's outputs, in the order of the file.
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// The extents of a node's value; `None` where it depends on the batch size or on an unknown input size.
    pub fn dims(&self, id: NodeId) -> Vec<Option<usize>> {
        let [a, b] = &self.node(id).probes;
        a.dims().iter().zip(b.dims()).map(|(a, b)| (a == b).then_some(*a)).collect()
    }

    /// Shapes of all nodes for these input shapes, in node order.
    pub fn shapes(&self, inputs: &[(NodeId, Shape)]) -> Result<Vec<Shape>, GraphError> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        for id in self.ids() {
            let node = self.node(id);
            let given: Vec<&Shape> = node.inputs.iter().map(|i| &shapes[i.index()]).collect();
            let shape = match &node.op {
                Op::Input(input) => match inputs.iter().find(|(input, _)| *input == id) {
                    Some((_, shape)) => input.accept(shape),
                    None => Ok(input.probe(0)),
                },
                op => op.operator().infer(&given),
            };
            let at =
                |source| GraphError::Shape { name: node.name.clone(), op: node.op.operator().name(), source };
            shapes.push(shape.and_then(Shape::checked).map_err(at)?);
        }
        Ok(shapes)
    }
}

/// Why a graph cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// The operator does not accept these shapes.
    #[error("layer `{name}` ({op}): {source}")]
    Shape {
        /// Node.
        name: String,
        /// Operator.
        op: &'static str,
        /// What it says.
        source: ShapeError,
    },
    /// The operator takes another number of inputs.
    #[error("layer `{name}` ({op}): takes {} to {} inputs but {given} are connected", expected.0, expected.1)]
    Arity {
        /// Node.
        name: String,
        /// Operator.
        op: &'static str,
        /// Inputs connected.
        given: usize,
        /// Fewest and most inputs.
        expected: (usize, usize),
    },
    /// Two nodes of one name.
    #[error("the name `{name}` is used twice")]
    DuplicateName {
        /// Node.
        name: String,
    },
    /// An input that is not in the graph.
    #[error("layer `{name}`: input {index} is not in the graph")]
    UnknownInput {
        /// Node.
        name: String,
        /// The index given.
        index: usize,
    },
    /// More nodes than can be numbered.
    #[error("the graph has too many nodes")]
    TooManyNodes,
}
