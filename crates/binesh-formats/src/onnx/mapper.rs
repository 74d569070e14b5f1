//! From the nodes of a file to a graph: which values there are, what the layers are called, which weights they have.
//!
//! What a node computes is the business of its builder in [`super::ops`].
//!
//! # Names
//! A layer is called as the file's node, without a `/` in front, or as its first output where the node has no name. What it
//! computes last has this name, what it computes before `name/operator`, its weights `name/kernel` and so on.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use binesh_core::ops::{Constant, Input, Param};
use binesh_core::{Call, Graph, GraphError, Inbound, Layer, LayerId, Layers, NodeId, Op, Params, Tensor};

use super::array::Array;
use super::fold::{FoldCx, fold};
use super::ops::{self, NodeCx};
use super::proto::{GraphProto, NodeProto, TensorShapeProto, ValueInfoProto, data_type};
use super::value::{Known, Traced, Value, channels_last, depends_on_size};
use super::{attributes::Attrs, denotation, is_standard, tensor};
use crate::Limits;
use crate::error::FormatError;
use crate::network::{LoadCx, LoadReport, UsedTensor};

/// What becomes of a batch size that the file states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Batch {
    /// The network takes any number of pictures. An operator that mixes them, or that names the size, is then an error.
    Any,
    /// It takes as many as the file says.
    AsStated,
}

/// A whole file's graph.
pub(super) struct Mapped {
    pub(super) graph: Graph,
    pub(super) params: Params,
    pub(super) layers: Layers,
    pub(super) report: LoadReport,
}

pub(super) struct Mapper<'a> {
    pub(super) graph: Graph,
    pub(super) cx: &'a LoadCx,
    pub(super) opset: i64,
    pub(super) batch: Batch,
    /// The batch size that the file states, where the network takes any.
    pub(super) stated_batch: Option<usize>,
    pub(super) values: HashMap<&'a str, Value<'a>>,
    /// How many nodes and outputs read each value.
    pub(super) uses: HashMap<&'a str, usize>,
    /// The first node that reads each value.
    pub(super) readers: HashMap<&'a str, &'a NodeProto>,
    pub(super) permutations: HashMap<(NodeId, Vec<usize>), NodeId>,
    /// Values made of the network's inputs value by value: constants that meet them are preprocessing, not weights.
    pub(super) raw: HashSet<NodeId>,
    pub(super) params: Params,
    /// Weights that were made, by tensor and form.
    pub(super) weights: HashMap<String, NodeId>,
    /// Outputs of nodes that an earlier one computes along with its own.
    pub(super) absorbed: HashSet<&'a str>,
    pub(super) report: LoadReport,
    layers: Layers,
    paths: HashSet<String>,
    /// The last number behind each name that was taken.
    numbers: HashMap<String, usize>,
    /// The layer that made a node, and which of its outputs it is.
    origins: HashMap<NodeId, (LayerId, usize)>,
    /// What nodes are named after while a layer is being built.
    pub(super) prefix: String,
    /// Elements of constants that were computed rather than read.
    made: u64,
    /// Elements of the file's tensors that were decoded, each time that they were.
    decoded: Cell<u64>,
}

pub(super) fn map<'a>(
    file: &'a GraphProto,
    nodes: &'a [NodeProto],
    opset: i64,
    batch: Batch,
    cx: &'a LoadCx,
) -> Result<Mapped, FormatError> {
    let mut mapper = Mapper {
        graph: Graph::default(),
        cx,
        opset,
        batch,
        stated_batch: None,
        values: HashMap::new(),
        uses: HashMap::new(),
        readers: HashMap::new(),
        permutations: HashMap::new(),
        raw: HashSet::new(),
        params: Params::default(),
        weights: HashMap::new(),
        absorbed: HashSet::new(),
        report: LoadReport::default(),
        layers: Layers::default(),
        paths: HashSet::new(),
        numbers: HashMap::new(),
        origins: HashMap::new(),
        prefix: String::new(),
        made: 0,
        decoded: Cell::new(0),
    };
    for tensor in &file.initializer {
        mapper.values.insert(&tensor.name, Value::Stored(tensor));
    }
    let needed = needed(file, nodes);
    let inputs: Vec<&ValueInfoProto> =
        file.input.iter().filter(|input| !mapper.values.contains_key(input.name.as_str())).collect();
    // Each is followed through the nodes.
    Limits::check("the number of inputs", inputs.len() as u64, 256)?;
    for input in &inputs {
        mapper.input(input, nodes, inputs.len() == 1)?;
    }
    for (node, _) in nodes.iter().zip(&needed).filter(|(_, needed)| **needed) {
        for name in &node.input {
            *mapper.uses.entry(name).or_default() += 1;
            mapper.readers.entry(name).or_insert(node);
        }
    }
    for output in &file.output {
        *mapper.uses.entry(&output.name).or_default() += 1;
    }
    for (node, _) in nodes.iter().zip(&needed).filter(|(_, needed)| **needed) {
        mapper.node(node)?;
    }
    let outputs = mapper.outputs(file, nodes)?;
    mapper.graph.set_outputs(outputs);
    let used: HashSet<&str> = mapper.uses.keys().copied().collect();
    let unused = file.initializer.iter().filter(|tensor| !used.contains(tensor.name.as_str()));
    mapper.report.unused.extend(unused.map(|tensor| tensor.name.clone()));
    let Mapper { graph, params, layers, report, .. } = mapper;
    Ok(Mapped { graph, params, layers, report })
}

/// Which nodes the outputs are made of.
fn needed(file: &GraphProto, nodes: &[NodeProto]) -> Vec<bool> {
    let mut wanted: HashSet<&str> = file.output.iter().map(|output| output.name.as_str()).collect();
    let mut needed = vec![false; nodes.len()];
    for (node, needed) in nodes.iter().zip(&mut needed).rev() {
        if node.output.iter().any(|name| wanted.contains(name.as_str())) {
            *needed = true;
            wanted.extend(node.input.iter().map(String::as_str));
        }
    }
    needed
}

impl<'a> Mapper<'a> {
    fn input(
        &mut self,
        info: &'a ValueInfoProto,
        nodes: &[NodeProto],
        is_only: bool,
    ) -> Result<(), FormatError> {
        let name = &info.name;
        let place = |e: FormatError| e.in_layer(name, "InputLayer");
        let tensor = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref());
        let (tensor, shape) =
            tensor.and_then(|tensor| Some((tensor, tensor.shape.as_ref()?))).ok_or_else(|| {
                place(FormatError::unsupported("an input of unknown rank, or that is no tensor"))
            })?;
        let is_int = match tensor.elem_type {
            data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 | data_type::DOUBLE => false,
            data_type::UINT8
            | data_type::INT8
            | data_type::UINT16
            | data_type::INT16
            | data_type::INT32
            | data_type::INT64
            | data_type::UINT32
            | data_type::UINT64
            | data_type::BOOL => true,
            other => {
                let text = format!("an input of type {} is not supported", data_type::name(other));
                return Err(place(FormatError::unsupported(text)));
            }
        };
        Limits::check("the number of an input's axes", shape.dim.len() as u64, 64).map_err(place)?;
        let extent = |v: i64| usize::try_from(v).ok().filter(|&v| v > 0);
        let mut dims: Vec<Option<usize>> = shape.dim.iter().map(|d| d.dim_value.and_then(extent)).collect();
        let order = match dims.len() {
            4 if stated_channels_first(shape).unwrap_or_else(|| is_channels_first(&dims, name, nodes)) => {
                channels_last(4)
            }
            rank => (0..rank).collect(),
        };
        if self.batch == Batch::Any && dims.len() > 1 {
            self.stated_batch = self.stated_batch.or(dims[0]);
            dims[0] = None;
        }
        let mut held: Vec<Option<usize>> = order.iter().map(|&axis| dims[axis]).collect();
        if let Some(given) = self.cx.input_shape.as_ref().filter(|given| is_only && given.len() == held.len())
        {
            held.iter_mut().zip(given).for_each(|(own, given)| *own = own.or(*given));
        }
        let path = self.unique(name);
        path.clone_into(&mut self.prefix);
        let node = self.add_named(path.clone(), Input { dims: held }.into(), &[])?;
        if order.len() == 4 && order[3] == 1 {
            self.report.transposed.push(format!("{path}: [N, C, H, W] is given as [N, H, W, C]"));
        }
        let row = self.layers.push(Layer {
            path: path.clone(),
            name: path,
            class: "InputLayer".to_owned(),
            parent: None,
            calls: vec![Call { inbound: Vec::new(), outputs: vec![node] }],
            params: Vec::new(),
            trainable: true,
        });
        self.origins.insert(node, (row, 0));
        self.raw.insert(node);
        let traced = Traced { is_int, ..Traced::ordered(node, &order) };
        match self.values.insert(name, Value::Computed(traced)) {
            None => Ok(()),
            Some(_) => Err(place(FormatError::malformed("two inputs have this name"))),
        }
    }

    /// One node of the file.
    fn node(&mut self, node: &'a NodeProto) -> Result<(), FormatError> {
        if node.output.iter().any(|name| self.absorbed.contains(name.as_str())) {
            return Ok(());
        }
        let path = self.path_of(node);
        let place = |e: FormatError| e.in_layer(&path, &node.op_type);
        let taken = |name: &&String| !name.is_empty() && self.values.contains_key(name.as_str());
        if let Some(done) = node.output.iter().find(taken) {
            return Err(place(FormatError::malformed(format!("`{done}` is computed twice"))));
        }
        let values = self.values_of(node, &path).map_err(place);
        let values = match values {
            Ok(values) => values,
            Err(e)
                if self.cx.partial
                    && matches!(
                        e,
                        FormatError::Unsupported { .. } | FormatError::UnsupportedClass { .. }
                    ) =>
            {
                self.report.left_out.push(e.to_string());
                vec![Value::LeftOut; node.output.len()]
            }
            Err(e) => return Err(e),
        };
        for (name, value) in node.output.iter().zip(values).filter(|(name, _)| !name.is_empty()) {
            self.values.insert(name, value);
        }
        Ok(())
    }

    fn values_of(&mut self, node: &'a NodeProto, path: &str) -> Result<Vec<Value<'a>>, FormatError> {
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            match self.values.get(name.as_str()) {
                Some(Value::LeftOut) => return Ok(vec![Value::LeftOut; node.output.len()]),
                Some(_) => {}
                None => {
                    return Err(FormatError::malformed(format!(
                        "takes `{name}`, which nothing before it makes"
                    )));
                }
            }
        }
        if !is_standard(&node.domain) {
            let operator = format!("{}::{}", node.domain, node.op_type);
            return Err(self.unknown(&operator));
        }
        let attrs = Attrs::new(node, self.cx);
        if node.op_type == "Constant" {
            return Ok(vec![self.constant_of(node, &attrs)?]);
        }
        if let Some(value) = self.folded(node, &attrs)? {
            attrs.finish()?;
            return Ok(vec![Value::Known(value)]);
        }
        let Some(operator) = ops::find(&node.op_type) else { return Err(self.unknown(&node.op_type)) };
        let start = self.graph.nodes().len();
        path.clone_into(&mut self.prefix);
        let mut cx = NodeCx { mapper: self, node, attrs: &attrs, class: operator.class, params: Vec::new() };
        let values = (operator.build)(&mut cx)?;
        let (class, params) = (cx.class, std::mem::take(&mut cx.params));
        attrs.finish()?;
        if let Some(extra) =
            node.output.iter().skip(values.len()).find(|name| self.uses.contains_key(name.as_str()))
        {
            return Err(FormatError::unsupported(format!("its further output `{extra}` is not supported")));
        }
        self.row(node, path, class, params, start, &values)?;
        Ok(values)
    }

    fn constant_of(&self, node: &'a NodeProto, attrs: &Attrs<'_>) -> Result<Value<'a>, FormatError> {
        if let Some(tensor) = node.attribute.iter().find(|a| a.name == "value").and_then(|a| a.t.as_ref()) {
            return Ok(Value::Stored(tensor));
        }
        let value = if attrs.has("value_float") {
            Array::floats(vec![], vec![attrs.float("value_float", 0.0)?])
        } else if attrs.has("value_int") {
            Array::ints(vec![], vec![attrs.int("value_int", 0)?])
        } else if let Some(values) = attrs.floats("value_floats")? {
            Array::floats(vec![values.len()], values)
        } else if let Some(values) = attrs.ints("value_ints")? {
            Array::list(values)
        } else {
            let name = node.attribute.first().map_or("value", |a| &a.name);
            return Err(attrs.refuse(name));
        };
        Ok(Value::Known(Known::constant(value)))
    }

    fn unknown(&self, operator: &str) -> FormatError {
        FormatError::unsupported(format!("operator `{operator}` of opset {} is not supported", self.opset))
            .with_hint("`--partial` opens the part of the network before it")
    }

    /// The value, if all that it is made of is known.
    fn folded(&mut self, node: &NodeProto, attrs: &Attrs<'_>) -> Result<Option<Known>, FormatError> {
        if node.output.iter().skip(1).any(|name| self.uses.contains_key(name.as_str())) {
            return Ok(None);
        }
        if matches!(node.op_type.as_str(), "Shape" | "Size") {
            return self.shape_of(node, attrs).map(Some);
        }
        let is_known = |name: &&String| {
            matches!(self.values.get(name.as_str()), Some(Value::Known(_) | Value::Stored(_)))
        };
        if !node.input.iter().filter(|name| !name.is_empty()).all(|name| is_known(&name)) {
            return Ok(None);
        }
        let mut operands = Vec::with_capacity(node.input.len());
        for name in &node.input {
            operands.push(if name.is_empty() { None } else { self.known(name)? });
        }
        let limit = self.cx.limits.tensor_elements;
        let mut made = self.made;
        let mut under = |which: usize| -> Result<Option<Array>, FormatError> {
            let operands: Vec<Option<&Array>> =
                operands.iter().map(|o| o.as_ref().map(|o| o.probe(which))).collect();
            let cx = FoldCx { attrs, opset: self.opset, made, limit };
            let value = fold(&node.op_type, &cx, &operands)?;
            made += value.as_ref().map_or(0, |value| value.len() as u64);
            Ok(value)
        };
        let Some(first) = under(0)? else { return Ok(None) };
        let same = operands.iter().flatten().all(|operand| operand.fixed().is_some());
        let value = match same {
            true => Known::constant(first),
            false => {
                let operands: Vec<&Known> = operands.iter().flatten().collect();
                if !holds_for_all_sizes(&node.op_type, &operands) {
                    return Err(depends_on_size());
                }
                Known::new([first, under(1)?.expect("the operator is known")])
            }
        };
        self.made = made;
        Ok(Some(value))
    }

    fn shape_of(&self, node: &NodeProto, attrs: &Attrs<'_>) -> Result<Known, FormatError> {
        let name = node.input.first().ok_or_else(|| super::missing_input(0))?;
        let dims: Vec<[usize; 2]> = match self.values.get(name.as_str()) {
            Some(Value::Computed(x)) => self.dims(x),
            Some(Value::Stored(tensor)) => {
                tensor.dims.iter().map(|&d| [usize::try_from(d).unwrap_or(0); 2]).collect()
            }
            Some(Value::Known(known)) => {
                let [a, b] = [0, 1].map(|which| &known.probe(which).shape);
                a.iter().zip(b).map(|(a, b)| [*a, *b]).collect()
            }
            _ => return Err(super::missing_input(0)),
        };
        if node.op_type == "Size" {
            let count = |which: usize| dims.iter().try_fold(1i64, |n, d| n.checked_mul(d[which] as i64));
            let (Some(a), Some(b)) = (count(0), count(1)) else {
                return Err(FormatError::malformed("the number of its values is too large"));
            };
            return Ok(Known::new([a, b].map(|n| Array::ints(vec![], vec![n]))));
        }
        let rank = dims.len() as i64;
        let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
        let (start, end) = (clamp(attrs.int("start", 0)?), clamp(attrs.int("end", rank)?));
        let dims = &dims[start.min(end)..end];
        Ok(Known::new([0, 1].map(|which| Array::list(dims.iter().map(|d| d[which] as i64).collect()))))
    }

    /// The value of this name, if it is known.
    pub(super) fn known(&self, name: &str) -> Result<Option<Known>, FormatError> {
        Ok(match self.values.get(name) {
            Some(Value::Known(known)) => Some(known.clone()),
            Some(Value::Stored(stored)) => {
                let value = tensor::read(stored, self.cx)?;
                // A large tensor that thousands of nodes read is no network's.
                self.decoded.set(self.cx.limits.all_elements(self.decoded.get(), value.len())?);
                Some(Known::constant(value))
            }
            _ => None,
        })
    }

    /// The layer's row, and its names for the nodes that it made, which are those from `start` on.
    fn row(
        &mut self,
        node: &NodeProto,
        path: &str,
        class: &str,
        params: Vec<NodeId>,
        start: usize,
        values: &[Value<'a>],
    ) -> Result<(), FormatError> {
        let made = |id: &NodeId| id.index() >= start && !self.origins.contains_key(id);
        let computed = |value: &Value<'_>| match value {
            Value::Computed(x) => Some(x.node),
            _ => None,
        };
        let mut outputs: Vec<NodeId> = values.iter().filter_map(computed).filter(made).collect();
        outputs.dedup();
        if outputs.is_empty() {
            return Ok(());
        }
        let many = outputs.len() > 1;
        for (i, &id) in outputs.iter().enumerate() {
            let name = if many { format!("{path}/output_{i}") } else { path.to_owned() };
            if self.graph.node(id).name != name {
                self.graph.rename(id, name)?;
            }
        }
        let sources = node.input.iter().filter_map(|name| computed(self.values.get(name.as_str())?));
        let inbound = sources
            .filter_map(|id| self.origins.get(&id))
            .map(|&(layer, output)| Inbound { layer, call: 0, output })
            .collect();
        let row = self.layers.push(Layer {
            path: path.to_owned(),
            name: path.to_owned(),
            class: class.to_owned(),
            parent: None,
            calls: vec![Call { inbound, outputs: outputs.clone() }],
            params,
            trainable: true,
        });
        self.paths.insert(path.to_owned());
        for id in self.graph.ids().skip(start) {
            let output = outputs.iter().position(|&other| other == id).unwrap_or(0);
            self.origins.entry(id).or_insert((row, output));
        }
        Ok(())
    }

    fn path_of(&mut self, node: &NodeProto) -> String {
        let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        self.unique(name.map_or("", String::as_str))
    }

    /// This name, or with a number behind it where it is taken.
    fn unique(&mut self, name: &str) -> String {
        let name = name.trim_start_matches('/');
        let name = if name.is_empty() { "node" } else { name };
        let mut free = name.to_owned();
        while self.graph.find(&free).is_some() || self.paths.contains(&free) {
            let number = self.numbers.entry(name.to_owned()).or_insert(0);
            *number += 1;
            free = format!("{name}_{number}");
        }
        free
    }

    /// Adds a node of the layer that is being built, named after its operator.
    pub(super) fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, FormatError> {
        let op = op.into();
        let name = self.unique(&format!("{}/{}", self.prefix, op.operator().name()));
        self.add_named(name, op, inputs)
    }

    fn add_named(&mut self, name: String, op: Op, inputs: &[NodeId]) -> Result<NodeId, FormatError> {
        Limits::check(
            "the number of nodes",
            self.graph.nodes().len() as u64 + 1,
            self.cx.limits.nodes as u64,
        )?;
        self.graph.add(name, op, inputs).map_err(|e| match e {
            // By the name that the user knows.
            GraphError::Shape { op, source, .. } => {
                GraphError::Shape { name: self.prefix.clone(), op, source }.into()
            }
            other => other.into(),
        })
    }

    /// Accounts for so many elements of a constant that is about to be made.
    pub(super) fn spend(&mut self, n: usize) -> Result<(), FormatError> {
        self.made = self.made.saturating_add(n as u64);
        Limits::check(
            "the number of elements of all computed constants",
            self.made,
            self.cx.limits.tensor_elements,
        )
    }

    /// A small constant.
    pub(super) fn constant(&mut self, value: Tensor) -> Result<NodeId, FormatError> {
        self.add(Constant { value }, &[])
    }

    /// A weight of the layer that is being built; `tensor` is its name in the file.
    pub(super) fn param(
        &mut self,
        name: &str,
        tensor: &str,
        value: Tensor,
        trainable: bool,
    ) -> Result<NodeId, FormatError> {
        let weight = self.unique(&format!("{}/{name}", self.prefix));
        let op = Param { shape: value.shape().clone(), trainable };
        let id = self.add_named(weight.clone(), op.into(), &[])?;
        self.params.set(id, value);
        self.report.used.push(UsedTensor { tensor: tensor.to_owned(), weight });
        Ok(id)
    }

    fn outputs(&mut self, file: &'a GraphProto, nodes: &'a [NodeProto]) -> Result<Vec<NodeId>, FormatError> {
        if file.output.is_empty() {
            return Err(FormatError::malformed("the graph has no outputs"));
        }
        let mut outputs = Vec::new();
        for output in &file.output {
            let place = |e: FormatError| e.in_layer(&output.name, "output");
            match self.values.get(output.name.as_str()).cloned() {
                Some(Value::Computed(x)) => outputs.push(self.output(&output.name, &x).map_err(place)?),
                Some(Value::LeftOut) => {}
                Some(_) => {
                    let known = self.known(&output.name).map_err(place)?.expect("it is stored or known");
                    let value = known.into_fixed().map_err(place)?;
                    let shape = value.shape.clone();
                    let value = Tensor::new(shape, value.into_floats())
                        .map_err(|e| place(FormatError::malformed(e.to_string())))?;
                    let name = self.unique(&output.name);
                    outputs.push(self.add_named(name, Constant { value }.into(), &[])?);
                }
                None => return Err(place(FormatError::malformed("nothing computes it"))),
            }
        }
        if outputs.is_empty() {
            // What the first left out nodes would have read.
            let left_out = |name: &String| matches!(self.values.get(name.as_str()), Some(Value::LeftOut));
            let ends =
                nodes.iter().filter(|node| node.output.iter().any(left_out)).flat_map(|node| &node.input);
            let ends: Vec<(&String, Traced)> = ends
                .filter_map(|name| match self.values.get(name.as_str()) {
                    Some(Value::Computed(x)) => Some((name, x.clone())),
                    _ => None,
                })
                .collect();
            for (name, x) in ends {
                let id = self.output(name, &x)?;
                if !outputs.contains(&id) {
                    outputs.push(id);
                }
            }
        }
        match outputs.is_empty() {
            true => Err(FormatError::unsupported("nothing of the graph can be computed")),
            false => Ok(outputs),
        }
    }

    /// A value in the file's own layout.
    fn output(&mut self, name: &str, x: &Traced) -> Result<NodeId, FormatError> {
        name.trim_start_matches('/').clone_into(&mut self.prefix);
        Ok(self.plain(x)?.node)
    }
}

/// Whether what an operator makes of extents under two sizes tells what it makes of them under any. An extent is at least
/// 1, so comparing it with 0 or less does; a division does only where nothing is left.
fn holds_for_all_sizes(op: &str, operands: &[&Known]) -> bool {
    let ints = |known: &Known, which: usize| known.probe(which).as_ints().map(<[i64]>::to_vec);
    match op {
        "Equal" | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" => {
            let mut fixed = operands.iter().filter_map(|known| known.fixed());
            fixed.next().and_then(Array::as_ints).is_some_and(|values| values.iter().all(|&v| v <= 0))
        }
        "Div" => (0..2).all(|which| {
            let [Some(a), Some(b)] =
                [operands.first(), operands.get(1)].map(|x| x.and_then(|x| ints(x, which)))
            else {
                return true;
            };
            let pair = |i: usize| (a[i % a.len().max(1)], b[i % b.len().max(1)]);
            (0..a.len().max(b.len())).all(|i| pair(i).1 != 0 && pair(i).0 % pair(i).1 == 0)
        }),
        "Mod" | "Min" | "Max" | "ReduceMin" | "ReduceMax" => false,
        _ => true,
    }
}

/// Whether channels are first, where the file says which axis they are.
fn stated_channels_first(shape: &TensorShapeProto) -> Option<bool> {
    match shape.dim.iter().position(|dim| dim.denotation == denotation::CHANNEL)? {
        1 => Some(true),
        3 => Some(false),
        _ => None,
    }
}

/// Whether a value of four axes is a picture with channels first: what its first readers make of it tells, or else
/// where there are as few channels as a picture has.
fn is_channels_first(dims: &[Option<usize>], input: &str, nodes: &[NodeProto]) -> bool {
    let mut same: HashSet<&str> = HashSet::from([input]);
    for node in nodes {
        let Some(first) = node.input.iter().find(|name| same.contains(name.as_str())) else { continue };
        match node.op_type.as_str() {
            "Transpose" => {
                let perm = node.attribute.iter().find(|a| a.name == "perm").map(|a| a.ints.as_slice());
                return perm != Some(&[0, 3, 1, 2]);
            }
            "Conv"
            | "ConvTranspose"
            | "MaxPool"
            | "AveragePool"
            | "BatchNormalization"
            | "GlobalAveragePool"
            | "InstanceNormalization"
            | "Resize"
            | "Upsample"
                if node.input.first() == Some(first) =>
            {
                return true;
            }
            "Add" | "Sub" | "Mul" | "Div" | "Cast" | "Identity" | "Clip" | "Relu" => {
                same.extend(node.output.iter().map(String::as_str));
            }
            _ => {}
        }
    }
    let few = |axis: usize| matches!(dims[axis], Some(1 | 3));
    few(1) || !few(3)
}
