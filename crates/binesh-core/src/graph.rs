//! The graph: what the file said, with the file's names.

use std::collections::HashMap;

use crate::ops::{Input, Op};
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
            .and_then(admit)
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

    /// Gives a node another name, for readers that learn only afterwards which node is a layer's last.
    pub fn rename(&mut self, id: NodeId, name: impl Into<String>) -> Result<(), GraphError> {
        let name = name.into();
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateName { name });
        }
        self.by_name.insert(name.clone(), id);
        let old = std::mem::replace(&mut self.nodes[id.index()].name, name);
        self.by_name.remove(&old);
        Ok(())
    }

    /// The shapes of a node's value under two sizes of everything free, the same two for all nodes: what a reader
    /// computes of shapes under both and finds equal holds for any size.
    pub fn probes(&self, id: NodeId) -> [&Shape; 2] {
        self.node(id).probes.each_ref()
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

    /// This graph with `given` nodes as inputs after its own, in this order: nothing above one is needed for it.
    pub(crate) fn cut(&self, given: &[NodeId]) -> Graph {
        let mut graph = self.clone();
        for &id in given {
            let dims = graph.dims(id);
            let node = &mut graph.nodes[id.index()];
            (node.op, node.inputs) = (Input { dims }.into(), Vec::new());
            graph.inputs.push(id);
        }
        graph
    }

    /// Shapes of all nodes for these input shapes, in node order.
    pub fn shapes(&self, inputs: &[(NodeId, Shape)]) -> Result<Vec<Shape>, GraphError> {
        self.shapes_where(|_| true, inputs)
    }

    /// Shapes of the nodes that are `needed`, whose inputs must be too; `[]` for all others.
    pub(crate) fn shapes_where(
        &self,
        needed: impl Fn(NodeId) -> bool,
        inputs: &[(NodeId, Shape)],
    ) -> Result<Vec<Shape>, GraphError> {
        let mut shapes: Vec<Shape> = Vec::with_capacity(self.nodes.len());
        for id in self.ids() {
            if !needed(id) {
                shapes.push(Shape::default());
                continue;
            }
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
            shapes.push(shape.and_then(admit).map_err(at)?);
        }
        Ok(shapes)
    }
}

/// Every value of a network can be held and has something in it, so that no operator need think of either.
fn admit(shape: Shape) -> Result<Shape, ShapeError> {
    let shape = shape.checked()?;
    if shape.is_empty() { Err(ShapeError::new(format!("{shape} holds no values"))) } else { Ok(shape) }
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
    #[error("layer `{name}` ({op}): takes {} but was given {given}", takes(*expected))]
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

fn takes((least, most): (usize, usize)) -> String {
    match (least, most) {
        (0, 0) => "no inputs".to_owned(),
        (1, 1) => "1 input".to_owned(),
        (1, usize::MAX) => "at least 1 input".to_owned(),
        (least, usize::MAX) => format!("at least {least} inputs"),
        (least, most) if least == most => format!("{least} inputs"),
        (least, most) => format!("{least} to {most} inputs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Binary, Concat, Conv2d, Flatten, GlobalAveragePool2d, Identity, Param, Reshape};
    use crate::{BinaryOp, Padding, Window};

    fn message(result: Result<NodeId, GraphError>) -> String {
        result.map_or_else(|e| e.to_string(), |_| "no error".to_owned())
    }

    fn photo(dims: &[Option<usize>]) -> (Graph, NodeId) {
        let mut graph = Graph::default();
        let x = graph.add("photo", Input { dims: dims.to_vec() }, &[]).unwrap();
        (graph, x)
    }

    #[test]
    fn errors_name_the_layer() {
        let (mut graph, x) = photo(&[None, Some(8), Some(8), Some(3)]);
        assert_eq!(message(graph.add("photo", Identity, &[x])), "the name `photo` is used twice");
        let add = Binary { op: BinaryOp::Add };
        let one = message(graph.add("sum", add.clone(), &[x]));
        assert_eq!(one, "layer `sum` (add): takes 2 inputs but was given 1");
        let none = message(graph.add("join", Concat { axis: 3 }, &[]));
        assert_eq!(none, "layer `join` (concat): takes at least 1 input but was given 0");
        let some = message(graph.add("late", Input { dims: vec![] }, &[x]));
        assert_eq!(some, "layer `late` (input): takes no inputs but was given 1");
        let foreign = message(graph.add("sum", add, &[x, NodeId(7)]));
        assert_eq!(foreign, "layer `sum`: input 7 is not in the graph");
        let w =
            graph.add("conv/kernel", Param { shape: [3, 3, 512, 4].into(), trainable: true }, &[]).unwrap();
        let conv = Conv2d { window: Window::square(3, 1, Padding::Same), groups: 1 };
        let channels = message(graph.add("conv", conv, &[x, w]));
        assert_eq!(channels, "layer `conv` (conv2d): input has 3 channels but the kernel expects 512");
        assert_eq!(graph.nodes().len(), 2, "what failed was not added");
        assert!(graph.find("conv").is_none());
    }

    #[test]
    fn a_tensor_that_no_machine_holds() {
        let (mut graph, _) = photo(&[None]);
        let huge = Param { shape: [1 << 20, 1 << 20].into(), trainable: true };
        let e = message(graph.add("w", huge, &[]));
        assert_eq!(e, "layer `w` (param): [1048576, 1048576] has more than 17179869184 elements");
        let overflow = Param { shape: [usize::MAX, usize::MAX].into(), trainable: true };
        assert!(graph.add("w", overflow, &[]).is_err());
    }

    #[test]
    fn free_extents_stay_free() {
        let (mut graph, x) = photo(&[None, None, None, Some(3)]);
        let kernel = Param { shape: [3, 3, 3, 16].into(), trainable: true };
        let w = graph.add("w", kernel, &[]).unwrap();
        let conv = Conv2d { window: Window::square(3, 2, Padding::Valid), groups: 1 };
        let y = graph.add("conv", conv, &[x, w]).unwrap();
        assert_eq!(graph.dims(x), [None, None, None, Some(3)]);
        assert_eq!(graph.dims(y), [None, None, None, Some(16)]);
        assert_eq!(graph.dims(w), [Some(3), Some(3), Some(3), Some(16)]);
        let pooled = graph.add("pool", GlobalAveragePool2d { keepdims: false }, &[y]).unwrap();
        assert_eq!(graph.dims(pooled), [None, Some(16)]);
        let flat = graph.add("flat", Flatten, &[y]).unwrap();
        assert_eq!(graph.dims(flat), [None, None]);
    }

    #[test]
    fn a_free_batch_alone() {
        let (mut graph, x) = photo(&[None, Some(4), Some(6), Some(3)]);
        let flat = graph.add("flat", Flatten, &[x]).unwrap();
        assert_eq!(graph.dims(flat), [None, Some(72)]);
        let folded = graph.add("folded", Reshape { target: vec![None, Some(8)] }, &[flat]).unwrap();
        assert_eq!(graph.dims(folded), [None, Some(9), Some(8)]);
    }

    #[test]
    fn shapes_of_a_whole_graph() {
        let (mut graph, x) = photo(&[None, Some(4), Some(6), Some(3)]);
        graph.add("flat", Flatten, &[x]).unwrap();
        let shapes = graph.shapes(&[(x, [5, 4, 6, 3].into())]).unwrap();
        assert_eq!(shapes, [Shape::from([5, 4, 6, 3]), Shape::from([5, 72])]);
        let e = graph.shapes(&[(x, [5, 4, 6, 4].into())]).unwrap_err();
        assert_eq!(e.to_string(), "layer `photo` (input): takes [None, 4, 6, 3] but was given [5, 4, 6, 4]");
    }

    #[test]
    fn renamed() {
        let (mut graph, x) = photo(&[None, Some(4)]);
        let y = graph.add("y", Flatten, &[x]).unwrap();
        graph.rename(y, "z").unwrap();
        assert_eq!((graph.find("z"), graph.find("y")), (Some(y), None));
        assert_eq!(graph.rename(x, "z").unwrap_err().to_string(), "the name `z` is used twice");
        assert_eq!(graph.probes(y).map(|shape| shape.dims().to_vec()), [[2, 4], [3, 4]]);
    }

    #[test]
    fn inputs_are_in_the_order_of_the_file() {
        let (mut graph, a) = photo(&[None, Some(1)]);
        let b = graph.add("b", Input { dims: vec![None, Some(2)] }, &[]).unwrap();
        assert_eq!(graph.inputs(), [a, b]);
        graph.set_inputs(vec![b, a]);
        assert_eq!(graph.inputs(), [b, a]);
        graph.set_outputs(vec![b]);
        assert_eq!(graph.outputs(), [b]);
        assert_eq!(graph.find("b"), Some(b));
    }

    #[test]
    #[should_panic(expected = "these are not the graph's inputs")]
    fn inputs_cannot_be_left_out() {
        photo(&[None]).0.set_inputs(Vec::new());
    }
}
