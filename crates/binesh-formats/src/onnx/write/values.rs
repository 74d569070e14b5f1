//! The values of the file: under which name and in which order of axes each of the graph's lies there.

use std::collections::{HashMap, HashSet};

use binesh_core::{Graph, NodeId, Op, Tensor};
use prost::bytes::Bytes;

use super::super::proto::{AttributeProto, NodeProto, TensorProto, attribute_type, data_type};
use super::ops;
use crate::error::FormatError;
use crate::network::Network;

/// A value of the file that is a node's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) name: String,
    /// For each axis of the file's value, which of the node's it is.
    pub(super) axes: Vec<usize>,
}

impl Held {
    /// The same order of axes under another name.
    pub(super) fn like(&self, name: String) -> Held {
        Held { name, axes: self.axes.clone() }
    }

    /// Where the file's value has this axis of the node's.
    pub(super) fn at(&self, axis: usize) -> i64 {
        let at = self.axes.iter().position(|&own| own == axis);
        at.expect("every axis of the node is one of the file's value") as i64
    }
}

/// The order in which ONNX's operators on pictures have the axes of `[N, H, W, C]`.
pub(super) const PICTURE: [usize; 4] = [0, 3, 1, 2];

/// The axes just as the graph has them.
pub(super) fn plain(rank: usize) -> Vec<usize> {
    (0..rank).collect()
}

/// How a weight lies in the file: with axes of extent 1 put in front, then reordered, then under another shape.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) rank: usize,
    pub(super) axes: Vec<usize>,
    pub(super) shape: Option<Vec<usize>>,
}

/// A file while it is being made.
pub(super) struct Values<'a> {
    pub(super) network: &'a Network,
    pub(super) graph: &'a Graph,
    nodes: Vec<NodeProto>,
    initializers: Vec<TensorProto>,
    held: HashMap<NodeId, Vec<Held>>,
    weights: HashMap<(NodeId, Form), String>,
    constants: HashMap<Vec<u8>, String>,
    names: HashSet<String>,
    /// What nodes are named after.
    at: String,
}

impl<'a> Values<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        // A layer's name is its own, whatever is made before it.
        let names = network.graph.nodes().iter().map(|node| node.name.clone()).collect();
        Values {
            network,
            graph: &network.graph,
            nodes: Vec::new(),
            initializers: Vec::new(),
            held: HashMap::new(),
            weights: HashMap::new(),
            constants: HashMap::new(),
            names,
            at: String::new(),
        }
    }

    /// Writes one node of the graph. The last node of the file that this takes has its name.
    pub(super) fn write(&mut self, id: NodeId) -> Result<(), FormatError> {
        let node = self.graph.node(id);
        node.name.clone_into(&mut self.at);
        match &node.op {
            // Written where they are used, in the form that is needed there.
            Op::Param(_) | Op::Constant(_) => return Ok(()),
            Op::Input(input) => {
                let held = Held { name: node.name.clone(), axes: plain(input.dims.len()) };
                self.held.insert(id, vec![held]);
                return Ok(());
            }
            _ => {}
        }
        let start = self.nodes.len();
        let held = ops::write(self, id)?;
        let named = if self.graph.outputs().contains(&id) {
            // An output has its name and the graph's order of axes; what lies in another one is on the way to it.
            let order = plain(held.axes.len());
            let is_own = self.nodes[start..].last().is_some_and(|last| last.output[0] == held.name);
            let output = match held.axes == order {
                true if is_own => held.clone(),
                true => held.like(self.emit("Identity", &[&held.name], vec![])),
                false => self.transposed(&held, &order),
            };
            if output != held {
                self.held.entry(id).or_default().push(held);
            }
            output
        } else {
            held
        };
        let name = match self.nodes[start..].last_mut().filter(|last| last.output[0] == named.name) {
            Some(last) => {
                node.name.clone_into(&mut last.name);
                last.output[0].clone_from(&node.name);
                node.name.clone()
            }
            // Nothing was computed: the value is another node's, whose axes are called otherwise.
            None => named.name.clone(),
        };
        self.held.entry(id).or_default().insert(0, named.like(name));
        Ok(())
    }

    /// The name of an output of the network; those before it are `taken`.
    pub(super) fn output(&mut self, id: NodeId, taken: &[String]) -> Result<String, FormatError> {
        let name = &self.graph.node(id).name;
        name.clone_into(&mut self.at);
        let rank = self.graph.dims(id).len();
        let is_computed = !matches!(self.graph.node(id).op, Op::Input(_) | Op::Param(_) | Op::Constant(_));
        if is_computed && !taken.contains(name) {
            return Ok(name.clone());
        }
        // A value that is given, or returned twice, goes through a node that does nothing.
        let held = self.arranged(id, &plain(rank))?;
        Ok(self.emit("Identity", &[&held.name], vec![]))
    }

    pub(super) fn finish(self) -> (Vec<NodeProto>, Vec<TensorProto>) {
        (self.nodes, self.initializers)
    }

    /// The number of axes of a node's value.
    pub(super) fn rank(&self, id: NodeId) -> usize {
        self.graph.probes(id)[0].rank()
    }

    pub(super) fn is_weight(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id).op, Op::Param(_) | Op::Constant(_))
    }

    /// A node's value as it lies in the file.
    pub(super) fn any(&mut self, id: NodeId) -> Result<Held, FormatError> {
        match self.held.get(&id).and_then(|held| held.first()) {
            Some(held) => Ok(held.clone()),
            None => self.arranged(id, &plain(self.rank(id))),
        }
    }

    /// A node's value in one of the orders that it already lies in, if one is `good`; else in this order.
    pub(super) fn held_where(
        &mut self,
        id: NodeId,
        good: impl Fn(&[usize]) -> bool,
        order: &[usize],
    ) -> Result<Held, FormatError> {
        let found = self.held.get(&id).and_then(|held| held.iter().find(|held| good(&held.axes)));
        match found {
            Some(held) => Ok(held.clone()),
            None => self.arranged(id, order),
        }
    }

    /// Whether a node's value already lies in this order, or can without being moved.
    pub(super) fn lies(&self, id: NodeId, order: &[usize]) -> bool {
        self.is_weight(id)
            || self.held.get(&id).is_some_and(|held| held.iter().any(|held| held.axes == order))
    }

    /// A node's value with the axes in this order.
    pub(super) fn arranged(&mut self, id: NodeId, order: &[usize]) -> Result<Held, FormatError> {
        if self.is_weight(id) {
            let form = Form { rank: order.len(), axes: order.to_vec(), shape: None };
            return Ok(Held { name: self.weight(id, form)?, axes: order.to_vec() });
        }
        let held = self.held.get(&id).map(Vec::as_slice).unwrap_or_default();
        if let Some(held) = held.iter().find(|held| held.axes == order) {
            return Ok(held.clone());
        }
        let from =
            held.first().cloned().ok_or_else(|| FormatError::unsupported("a value that nothing computes"))?;
        let at = std::mem::replace(&mut self.at, self.graph.node(id).name.clone());
        let moved = self.transposed(&from, order);
        self.at = at;
        self.held.entry(id).or_default().push(moved.clone());
        Ok(moved)
    }

    /// `[N, C, H, W]` of a picture `[N, H, W, C]`.
    pub(super) fn picture(&mut self, id: NodeId) -> Result<Held, FormatError> {
        self.arranged(id, &PICTURE)
    }

    /// The value in the graph's own order.
    pub(super) fn plain(&mut self, id: NodeId) -> Result<Held, FormatError> {
        self.arranged(id, &plain(self.rank(id)))
    }

    fn transposed(&mut self, from: &Held, order: &[usize]) -> Held {
        let perm: Vec<i64> = order.iter().map(|&axis| from.at(axis)).collect();
        let name = self.emit("Transpose", &[&from.name], vec![ints("perm", &perm)]);
        Held { name, axes: order.to_vec() }
    }

    /// A weight, or a constant, in this form.
    pub(super) fn weight(&mut self, id: NodeId, form: Form) -> Result<String, FormatError> {
        if let Some(name) = self.weights.get(&(id, form.clone())) {
            return Ok(name.clone());
        }
        let value = self.network.value(id)?;
        let mut dims = vec![1; form.rank.saturating_sub(value.shape().rank())];
        dims.extend(value.shape().dims());
        let in_order = form.axes.iter().copied().eq(0..form.axes.len());
        let moved: Tensor;
        let (data, mut shape) = match in_order {
            true => (value.data(), dims),
            false => {
                let whole = Tensor::new(dims, value.data().to_vec())
                    .map_err(|e| FormatError::unsupported(e.to_string()))?;
                moved = whole.permuted(&form.axes);
                (moved.data(), moved.shape().dims().to_vec())
            }
        };
        if let Some(other) = &form.shape {
            shape.clone_from(other);
        }
        let bytes = data.iter().flat_map(|v| v.to_le_bytes()).collect();
        let own = &self.graph.node(id).name;
        // The first form has the weight's own name.
        let is_first = !self.weights.keys().any(|(other, _)| *other == id);
        let name = if is_first { own.clone() } else { self.free(own) };
        self.initialize(&name, data_type::FLOAT, &shape, bytes);
        self.weights.insert((id, form), name.clone());
        Ok(name)
    }

    /// A weight with its axes in this order, or a value computed in its place.
    pub(super) fn kernel(
        &mut self,
        id: NodeId,
        axes: &[usize],
        shape: Option<Vec<usize>>,
    ) -> Result<String, FormatError> {
        if self.is_weight(id) {
            return self.weight(id, Form { rank: axes.len(), axes: axes.to_vec(), shape });
        }
        let held = self.arranged(id, axes)?;
        match shape {
            None => Ok(held.name),
            Some(shape) => {
                let shape: Vec<i64> = shape.iter().map(|&n| n as i64).collect();
                let shape = self.ints(&shape);
                Ok(self.emit("Reshape", &[&held.name, &shape], vec![]))
            }
        }
    }

    /// A list of whole numbers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let text = values.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        self.constant(&format!("ints/{text}"), data_type::INT64, &[values.len()], bytes)
    }

    /// A number.
    pub(super) fn scalar(&mut self, value: f32) -> String {
        self.constant(&format!("number/{value}"), data_type::FLOAT, &[], value.to_le_bytes().to_vec())
    }

    /// Numbers along one axis of values of this order; a single one stands for all.
    pub(super) fn along(&mut self, what: &str, axis: usize, like: &Held, values: &[f32]) -> String {
        if let [one] = values {
            return self.scalar(*one);
        }
        let shape: Vec<usize> =
            like.axes.iter().map(|&own| if own == axis { values.len() } else { 1 }).collect();
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let name = format!("{}/{what}", self.at);
        self.constant(&name, data_type::FLOAT, &shape, bytes)
    }

    /// Numbers of this shape.
    pub(super) fn floats(&mut self, what: &str, shape: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let name = format!("{}/{what}", self.at);
        self.constant(&name, data_type::FLOAT, shape, bytes)
    }

    /// Equal constants are one.
    fn constant(&mut self, name: &str, kind: i32, shape: &[usize], bytes: Vec<u8>) -> String {
        let mut key = bytes.clone();
        key.extend(format!("{kind} {shape:?}").bytes());
        if let Some(known) = self.constants.get(&key) {
            return known.clone();
        }
        let name = self.free(name);
        self.initialize(&name, kind, shape, bytes);
        self.constants.insert(key, name.clone());
        name
    }

    fn initialize(&mut self, name: &str, kind: i32, shape: &[usize], bytes: Vec<u8>) {
        self.initializers.push(TensorProto {
            name: name.to_owned(),
            dims: shape.iter().map(|&n| n as i64).collect(),
            data_type: kind,
            raw_data: Bytes::from(bytes),
            ..TensorProto::default()
        });
    }

    /// Adds a node to the file; gives the name of its value.
    pub(super) fn emit(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = self.free(&format!("{}/{op}", self.at));
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.to_owned(),
            attribute: attributes,
            ..NodeProto::default()
        });
        name
    }

    /// [`Values::emit`] of a value, a kernel and maybe a bias.
    pub(super) fn weighted(
        &mut self,
        op: &str,
        x: &str,
        kernel: &str,
        bias: Option<&str>,
        attributes: Vec<AttributeProto>,
    ) -> String {
        let operands: Vec<&str> = [Some(x), Some(kernel), bias].into_iter().flatten().collect();
        self.emit(op, &operands, attributes)
    }

    /// This name, or with a number behind it where it is taken.
    fn free(&mut self, name: &str) -> String {
        let numbered = (1..).map(|n| format!("{name}_{n}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let free = names.find(|name| !self.names.contains(name)).expect("numbers do not run out");
        self.names.insert(free.clone());
        free
    }
}

/// Attributes of a node.
pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.to_owned(), kind: attribute_type::INT, i, ..AttributeProto::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let ints = values.to_vec();
    AttributeProto { name: name.to_owned(), kind: attribute_type::INTS, ints, ..AttributeProto::default() }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { name: name.to_owned(), kind: attribute_type::FLOAT, f, ..AttributeProto::default() }
}

pub(super) fn text(name: &str, text: &str) -> AttributeProto {
    let s = Bytes::from(text.as_bytes().to_vec());
    AttributeProto { name: name.to_owned(), kind: attribute_type::STRING, s, ..AttributeProto::default() }
}
