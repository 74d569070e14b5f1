//! From the records of an architecture to a graph: wiring, paths, shared layers, models inside models.
//!
//! What a layer computes is the business of its builder in [`super::layers`]; what its weights are worth, of
//! [`super::weights`].
//!
//! # Names
//! A layer's path joins the names of the models around it: `vgg16/block5_conv3`. The node of its second use is
//! `vgg16/block5_conv3#1`; inside a model that is used twice, `vgg16#1/block5_conv3`. Weights are shared by all uses and
//! named after the path alone.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use binesh_core::ops::{Input, Param, Permute};
use binesh_core::{Call, Graph, GraphError, Inbound, Layer, LayerId, Layers, NodeId, Op};
use serde_json::Value;

use super::attributes::{Attrs, integer, whole};
use super::config::{self, LayerConfig, ModelConfig, TensorRef, Wiring};
use super::layers::{self, LayerCx};
use crate::Limits;
use crate::error::FormatError;

/// A graph whose weights have shapes but no values yet.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) graph: Graph,
    pub(super) layers: Layers,
    pub(super) slots: Vec<Slot>,
}

/// A weight that wants its value.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) layer: LayerId,
    pub(super) node: NodeId,
    /// `kernel`, as in the node's name after the layer's path.
    pub(super) name: &'static str,
    /// Shape in a file of Keras 2 or 3.
    pub(super) stored: Vec<usize>,
    pub(super) role: Role,
}

/// How a stored tensor becomes the node's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// As it is, in the node's shape.
    Plain,
    /// A convolution's kernel `[Kh, Kw, I, O]`; `[O, I, Kh, Kw]` in a file of Keras 1 if the layer has channels first.
    Kernel {
        /// The layer's `data_format`.
        channels_first: bool,
    },
    /// A transposed convolution's kernel `[Kh, Kw, O, I]`; in a file of Keras 1 `[Kh, Kw, I, O]`, or `[I, O, Kh, Kw]` if
    /// the layer has channels first.
    TransposedKernel {
        /// The layer's `data_format`.
        channels_first: bool,
    },
    /// One value for every channel.
    Broadcast,
}

/// What the architecture alone does not say.
#[derive(Clone, Debug, Default)]
pub(super) struct Hints {
    /// The major version of Keras that wrote the file: `hard_sigmoid` depends on it.
    pub(super) keras: u32,
    /// The most elements of one weight.
    pub(super) tensor_elements: u64,
    /// The most nodes and uses of layers.
    pub(super) nodes: usize,
    /// The weights were trained by Theano, which pads in its own way.
    pub(super) theano: bool,
    /// The input's extents, for a `Sequential` without an input layer.
    pub(super) input_shape: Option<Vec<Option<usize>>>,
}

/// Builds the graph of a whole model.
pub(super) fn map(model: &ModelConfig, hints: Hints) -> Result<Mapped, FormatError> {
    let mut mapper = Mapper {
        graph: Graph::default(),
        table: Layers::default(),
        slots: Vec::new(),
        rows: HashMap::new(),
        params: HashMap::new(),
        channels_first: HashSet::new(),
        spent: 0,
        hints,
    };
    mapper.table_of(model, &Frame::default());
    let (inputs, outputs) = mapper.model(model, None, &Frame::default())?;
    // Outputs have the file's own layout.
    let outputs = outputs.into_iter().map(|id| mapper.plain(id)).collect::<Result<Vec<_>, _>>()?;
    let sorted = |ids: &[NodeId]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    };
    if sorted(&inputs) != sorted(mapper.graph.inputs()) {
        return Err(FormatError::malformed("`input_layers` names something else than the model's inputs"));
    }
    mapper.graph.set_inputs(inputs);
    mapper.graph.set_outputs(outputs);
    Ok(Mapped { graph: mapper.graph, layers: mapper.table, slots: mapper.slots })
}

#[derive(Debug)]
pub(super) struct Mapper {
    pub(super) graph: Graph,
    pub(super) table: Layers,
    slots: Vec<Slot>,
    /// Rows already in the table, by parent and name: a model used twice has one row for each of its layers.
    rows: HashMap<(Option<LayerId>, String), LayerId>,
    params: HashMap<String, NodeId>,
    /// Nodes that hold as `[N, H, W, C]` what the file means as `[N, C, H, W]`.
    channels_first: HashSet<NodeId>,
    /// Nodes and uses of layers so far.
    spent: usize,
    pub(super) hints: Hints,
}

/// The model being built: which row it is, and what its layers' paths and nodes begin with.
#[derive(Clone, Debug, Default)]
struct Frame {
    row: Option<LayerId>,
    path: String,
    nodes: String,
}

impl Frame {
    fn inside(&self, row: LayerId, name: &str, call: usize) -> Self {
        Self {
            row: Some(row),
            path: format!("{}{name}/", self.path),
            nodes: format!("{}/", node_name(&self.nodes, name, call)),
        }
    }
}

fn node_name(prefix: &str, name: &str, call: usize) -> String {
    if call == 0 { format!("{prefix}{name}") } else { format!("{prefix}{name}#{call}") }
}

/// Values of a model's layers so far: all outputs of a call.
type Values<'a> = HashMap<(&'a str, usize), Vec<NodeId>>;

impl Mapper {
    /// Adds a model's nodes; gives its inputs and outputs. `given` are the values of its inputs, none for the
    /// outermost model, which makes its own.
    fn model(
        &mut self,
        model: &ModelConfig,
        given: Option<&[NodeId]>,
        frame: &Frame,
    ) -> Result<(Vec<NodeId>, Vec<NodeId>), FormatError> {
        match &model.wiring {
            Wiring::Sequential { build_input_shape } => {
                self.sequential(model, build_input_shape.as_ref(), given, frame)
            }
            Wiring::Functional { inputs, outputs } => self.functional(model, inputs, outputs, given, frame),
        }
    }

    fn sequential(
        &mut self,
        model: &ModelConfig,
        build_input_shape: Option<&Value>,
        given: Option<&[NodeId]>,
        frame: &Frame,
    ) -> Result<(Vec<NodeId>, Vec<NodeId>), FormatError> {
        let mut last: Option<(Vec<NodeId>, Option<Inbound>)> = match given {
            Some([one]) => Some((vec![*one], None)),
            Some(many) => {
                return Err(FormatError::malformed(format!(
                    "a `Sequential` takes one input, not {}",
                    many.len()
                )));
            }
            None => None,
        };
        let mut inputs = last.clone().map(|(ids, _)| ids).unwrap_or_default();
        for (i, layer) in model.layers.iter().enumerate() {
            let place = |e: FormatError| e.in_layer(&format!("{}{}", frame.path, layer.name), &layer.class);
            let (row, use_idx) = self.reserve(frame, layer, 1)?;
            if layer.class == "InputLayer" {
                let values = match (&last, i) {
                    (Some((values, _)), 0) => values.clone(),
                    (None, 0) => {
                        let dims = input_dims(layer).ok_or_else(|| place(unknown_input()))?;
                        vec![self.input(&node_name(&frame.nodes, &layer.name, 0), dims)?]
                    }
                    _ => {
                        return Err(place(FormatError::malformed(
                            "an input in the middle of a `Sequential`",
                        )));
                    }
                };
                self.table.get_mut(row).calls[use_idx].outputs.clone_from(&values);
                inputs.clone_from(&values);
                last = Some((values, Some(Inbound { layer: row, call: use_idx, output: 0 })));
                continue;
            }
            let (values, from) = match last {
                Some(last) => last,
                None => {
                    let dims = input_dims(layer)
                        .or_else(|| first_input_dims(layer))
                        .or_else(|| build_input_shape.and_then(dims))
                        .or_else(|| self.hints.input_shape.clone())
                        .ok_or_else(|| place(unknown_input()))?;
                    let input = self.input(&format!("{}input", frame.nodes), dims)?;
                    inputs = vec![input];
                    (vec![input], None)
                }
            };
            self.table.get_mut(row).calls[use_idx].inbound = from.into_iter().collect();
            let outputs = self.layer(layer, &config::Call::default(), 0, &values, row, frame)?;
            self.table.get_mut(row).calls[use_idx].outputs.clone_from(&outputs);
            last = Some((outputs, Some(Inbound { layer: row, call: use_idx, output: 0 })));
        }
        let outputs = last
            .map(|(values, _)| values)
            .ok_or_else(|| FormatError::malformed("the model has no layers"))?;
        Ok((inputs, outputs))
    }

    fn functional(
        &mut self,
        model: &ModelConfig,
        inputs: &[TensorRef],
        outputs: &[TensorRef],
        given: Option<&[NodeId]>,
        frame: &Frame,
    ) -> Result<(Vec<NodeId>, Vec<NodeId>), FormatError> {
        if let Some(given) = given
            && given.len() != inputs.len()
        {
            let (want, got) = (inputs.len(), given.len());
            return Err(FormatError::malformed(format!(
                "the model takes {want} inputs but {got} are connected"
            )));
        }
        let by_name: HashMap<&str, usize> =
            model.layers.iter().enumerate().map(|(i, layer)| (layer.name.as_str(), i)).collect();
        if by_name.len() != model.layers.len() {
            return Err(FormatError::malformed("two layers of one model have the same name"));
        }
        let reserved = model.layers.iter().map(|layer| self.reserve(frame, layer, layer.calls.len().max(1)));
        let rows: Vec<(LayerId, usize)> = reserved.collect::<Result<_, _>>()?;
        let order = order(model, &frame.path, &by_name, outputs)?;
        let mut values = Values::new();
        for &(i, call_idx) in &order.calls {
            let layer = &model.layers[i];
            let (row, first_use) = rows[i];
            let place = |e: FormatError| e.in_layer(&format!("{}{}", frame.path, layer.name), &layer.class);
            let mut inbound = Vec::new();
            let outputs = match layer.calls.get(call_idx) {
                Some(call) => {
                    let mut taken = Vec::new();
                    for tensor in call.tensors() {
                        let (from, from_call) = order.source(tensor, &by_name).map_err(place)?;
                        taken.push(value(&values, tensor, from_call).map_err(place)?);
                        let (layer, first_use) = rows[from];
                        inbound.push(Inbound { layer, call: first_use + from_call, output: tensor.tensor });
                    }
                    self.layer(layer, call, call_idx, &taken, row, frame)?
                }
                None => {
                    let position = inputs.iter().position(|r| r.layer == layer.name);
                    let position = match (position, layer.class.as_str()) {
                        (Some(position), "InputLayer") => position,
                        (None, "InputLayer") => {
                            return Err(place(FormatError::malformed("`input_layers` does not name it")));
                        }
                        _ => return Err(place(FormatError::malformed("nothing is connected to it"))),
                    };
                    match given {
                        Some(given) => vec![given[position]],
                        None => {
                            let dims = input_dims(layer).ok_or_else(|| place(unknown_input()))?;
                            vec![self.input(&node_name(&frame.nodes, &layer.name, 0), dims)?]
                        }
                    }
                }
            };
            self.table.get_mut(row).calls[first_use + call_idx] = Call { inbound, outputs: outputs.clone() };
            values.insert((&layer.name, call_idx), outputs);
        }
        let find = |attribute: &str, refs: &[TensorRef]| -> Result<Vec<NodeId>, FormatError> {
            let one = |tensor: &TensorRef| {
                let (_, call) = order.source(tensor, &by_name).ok()?;
                value(&values, tensor, call).ok()
            };
            let named = |tensor: &TensorRef| {
                let TensorRef { layer, node, tensor } = tensor;
                let what =
                    format!("output {tensor} of call {node} of `{layer}`, which the model does not have");
                FormatError::malformed(format!("`{attribute}` names {what}"))
            };
            refs.iter().map(|tensor| one(tensor).ok_or_else(|| named(tensor))).collect()
        };
        Ok((find("input_layers", inputs)?, find("output_layers", outputs)?))
    }

    /// One use of a layer or nested model, the `nth` by this use of the model around it.
    fn layer(
        &mut self,
        layer: &LayerConfig,
        call: &config::Call,
        nth: usize,
        inputs: &[NodeId],
        row: LayerId,
        frame: &Frame,
    ) -> Result<Vec<NodeId>, FormatError> {
        let path = format!("{}{}", frame.path, layer.name);
        let place = |e: FormatError| e.in_layer(&path, &layer.class);
        if let Some(model) = &layer.nested {
            let (_, outputs) =
                self.model(model, Some(inputs), &frame.inside(row, &layer.name, nth)).map_err(place)?;
            return Ok(outputs);
        }
        let attrs = Attrs::new(&layer.attributes);
        let node = node_name(&frame.nodes, &layer.name, nth);
        let mut cx = LayerCx { mapper: self, layer, call, attrs: &attrs, path: &path, node, row, inputs };
        let output = layers::build(&mut cx).map_err(place)?;
        attrs.finish().map_err(place)?;
        Ok(vec![output])
    }

    /// The layer's row, with room for `n` more uses; and the number of the first of them.
    fn reserve(
        &mut self,
        frame: &Frame,
        layer: &LayerConfig,
        n: usize,
    ) -> Result<(LayerId, usize), FormatError> {
        self.spend(n)?;
        let row = self.row(frame, layer);
        let calls = &mut self.table.get_mut(row).calls;
        let first = calls.len();
        calls.resize_with(first + n, Call::default);
        Ok((row, first))
    }

    /// A few models inside each other, each used twice, are more than any machine can hold.
    fn spend(&mut self, n: usize) -> Result<(), FormatError> {
        self.spent = self.spent.saturating_add(n);
        Limits::check("the number of nodes and uses of layers", self.spent as u64, self.hints.nodes as u64)
    }

    /// The rows of a model's layers in the order of the file, those of a nested model after its own.
    fn table_of(&mut self, model: &ModelConfig, frame: &Frame) {
        for layer in &model.layers {
            let row = self.row(frame, layer);
            if let Some(nested) = &layer.nested {
                self.table_of(nested, &frame.inside(row, &layer.name, 0));
            }
        }
    }

    fn row(&mut self, frame: &Frame, layer: &LayerConfig) -> LayerId {
        let key = (frame.row, layer.name.clone());
        if let Some(&row) = self.rows.get(&key) {
            return row;
        }
        let trainable = match &layer.nested {
            Some(model) => model.trainable,
            None => layer.attributes.get("trainable").and_then(Value::as_bool),
        };
        let row = self.table.push(Layer {
            path: format!("{}{}", frame.path, layer.name),
            name: layer.name.clone(),
            class: layer.class.clone(),
            parent: frame.row,
            calls: Vec::new(),
            params: Vec::new(),
            trainable: trainable.unwrap_or(true),
        });
        self.rows.insert(key, row);
        row
    }

    fn input(&mut self, name: &str, mut dims: Vec<Option<usize>>) -> Result<NodeId, FormatError> {
        // A batch size in the file was that of the training; the graph takes any.
        if let Some(batch) = dims.first_mut() {
            *batch = None;
        }
        self.add(name, Input { dims }, &[])
    }

    pub(super) fn add(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[NodeId],
    ) -> Result<NodeId, FormatError> {
        self.spend(1)?;
        self.graph.add(name, op, inputs).map_err(Into::into)
    }

    /// The parameter `name` of a layer, made at its first use.
    pub(super) fn param(&mut self, at: ParamSpec<'_>) -> Result<NodeId, FormatError> {
        let name = format!("{}/{}", at.path, at.name);
        if let Some(&node) = self.params.get(&name) {
            let here: Vec<Option<usize>> = at.shape.iter().copied().map(Some).collect();
            if self.graph.dims(node) != here {
                let there = self.graph.dims(node);
                let text =
                    format!("weight `{}` would be {here:?} here but is {there:?} at another use", at.name);
                return Err(FormatError::malformed(text));
            }
            return Ok(node);
        }
        let elements = at.shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64)).unwrap_or(u64::MAX);
        let what = format!("the number of elements of weight `{}`", at.name);
        Limits::check(&what, elements, self.hints.tensor_elements)?;
        let op = Param { shape: at.shape.to_vec().into(), trainable: at.trainable };
        let node = self.add(&name, op, &[])?;
        self.params.insert(name, node);
        self.table.get_mut(at.row).params.push(node);
        let stored = at.stored.unwrap_or(at.shape).to_vec();
        self.slots.push(Slot { layer: at.row, node, name: at.name, stored, role: at.role });
        Ok(node)
    }

    /// Whether the node holds as channels last what the file means as channels first.
    pub(super) fn is_channels_first(&self, id: NodeId) -> bool {
        self.channels_first.contains(&id)
    }

    pub(super) fn mark_channels_first(&mut self, id: NodeId) {
        self.channels_first.insert(id);
    }

    /// The value in the file's own layout.
    pub(super) fn plain(&mut self, id: NodeId) -> Result<NodeId, FormatError> {
        if self.is_channels_first(id) { self.permuted(id, "channels_first", [0, 3, 1, 2]) } else { Ok(id) }
    }

    /// What the file means as `[N, C, H, W]`, held as `[N, H, W, C]`.
    pub(super) fn channels_last(&mut self, id: NodeId) -> Result<NodeId, FormatError> {
        if self.is_channels_first(id) {
            return Ok(id);
        }
        let permuted = self.permuted(id, "channels_last", [0, 2, 3, 1])?;
        self.mark_channels_first(permuted);
        Ok(permuted)
    }

    fn permuted(&mut self, id: NodeId, suffix: &str, axes: [usize; 4]) -> Result<NodeId, FormatError> {
        let name = format!("{}/{suffix}", self.graph.node(id).name);
        match self.graph.find(&name) {
            Some(permuted) => Ok(permuted),
            None => self.add(&name, Permute { axes: axes.to_vec() }, &[id]),
        }
    }
}

/// A parameter to be made.
pub(super) struct ParamSpec<'a> {
    pub(super) row: LayerId,
    pub(super) path: &'a str,
    pub(super) name: &'static str,
    pub(super) shape: &'a [usize],
    /// Shape in the file, where it is another.
    pub(super) stored: Option<&'a [usize]>,
    pub(super) trainable: bool,
    pub(super) role: Role,
}

/// The calls of a model in an order in which values come before their use, and how its references count.
struct Order {
    calls: Vec<(usize, usize)>,
    /// By layer: the number of its first call. Keras 1 and 2 count the calls of a nested model from 1.
    first: Vec<usize>,
}

impl Order {
    /// The layer and call (from 0) that a reference means.
    fn source(
        &self,
        tensor: &TensorRef,
        by_name: &HashMap<&str, usize>,
    ) -> Result<(usize, usize), FormatError> {
        let unknown = || {
            let TensorRef { layer, node, .. } = tensor;
            FormatError::malformed(format!(
                "takes the output of call {node} of `{layer}`, which the model does not have"
            ))
        };
        let &from = by_name.get(tensor.layer.as_str()).ok_or_else(unknown)?;
        let call = tensor.node.checked_sub(self.first[from]).ok_or_else(unknown)?;
        Ok((from, call))
    }
}

/// Sorts the calls so that each comes after those it depends on, as near to the file's order as that allows.
fn order(
    model: &ModelConfig,
    path: &str,
    by_name: &HashMap<&str, usize>,
    outputs: &[TensorRef],
) -> Result<Order, FormatError> {
    let mut lowest = vec![usize::MAX; model.layers.len()];
    let calls = model.layers.iter().flat_map(|layer| &layer.calls);
    for tensor in calls.flat_map(config::Call::tensors).chain(outputs) {
        if let Some(&from) = by_name.get(tensor.layer.as_str()) {
            lowest[from] = lowest[from].min(tensor.node);
        }
    }
    let counts_from_one =
        |(layer, low): (&LayerConfig, usize)| usize::from(layer.nested.is_some() && low == 1);
    let first: Vec<usize> = model.layers.iter().zip(lowest).map(counts_from_one).collect();
    let mut order = Order { calls: Vec::new(), first };

    let n_calls = |layer: &LayerConfig| layer.calls.len().max(1);
    let mut waits: HashMap<(usize, usize), usize> = HashMap::new();
    let mut wakes: HashMap<(usize, usize), Vec<(usize, usize)>> = HashMap::new();
    let mut ready = BinaryHeap::new();
    for (i, layer) in model.layers.iter().enumerate() {
        let place = |e: FormatError| e.in_layer(&format!("{path}{}", layer.name), &layer.class);
        for c in 0..n_calls(layer) {
            let sources = layer.calls.get(c).map(config::Call::tensors).unwrap_or_default();
            let mut needs = HashSet::new();
            for tensor in sources {
                let source = order.source(tensor, by_name).map_err(place)?;
                if source.1 >= n_calls(&model.layers[source.0]) {
                    let TensorRef { layer, node, .. } = tensor;
                    let text = format!(
                        "takes the output of call {node} of `{layer}`, which the model does not have"
                    );
                    return Err(place(FormatError::malformed(text)));
                }
                if needs.insert(source) {
                    wakes.entry(source).or_default().push((i, c));
                }
            }
            if needs.is_empty() {
                ready.push(Reverse((i, c)));
            } else {
                waits.insert((i, c), needs.len());
            }
        }
    }
    while let Some(Reverse(call)) = ready.pop() {
        order.calls.push(call);
        for next in wakes.remove(&call).unwrap_or_default() {
            let left = waits.get_mut(&next).map(|n| {
                *n -= 1;
                *n
            });
            if left == Some(0) {
                waits.remove(&next);
                ready.push(Reverse(next));
            }
        }
    }
    match waits.keys().min() {
        Some(&(stuck, _)) => {
            let layer = &model.layers[stuck];
            let path = format!("{path}{}", layer.name);
            Err(FormatError::malformed("depends on its own output").in_layer(&path, &layer.class))
        }
        None => Ok(order),
    }
}

fn value(values: &Values<'_>, tensor: &TensorRef, call: usize) -> Result<NodeId, FormatError> {
    let outputs = values.get(&(tensor.layer.as_str(), call));
    outputs.and_then(|outputs| outputs.get(tensor.tensor)).copied().ok_or_else(|| {
        let TensorRef { layer, tensor, .. } = tensor;
        FormatError::malformed(format!("takes output {tensor} of `{layer}`, which it does not have"))
    })
}

/// The shape of an input that a layer states, batch first.
fn input_dims(layer: &LayerConfig) -> Option<Vec<Option<usize>>> {
    match layer.input_shape() {
        Some(shape) => dims(shape),
        // Keras 1 wrote `input_dim` for vectors.
        None => layer.attributes.get("input_dim").and_then(whole).map(|n| vec![None, Some(n)]),
    }
}

/// The input of the first layer of a nested model that begins a `Sequential`.
fn first_input_dims(layer: &LayerConfig) -> Option<Vec<Option<usize>>> {
    let model = layer.nested.as_deref()?;
    match &model.wiring {
        Wiring::Sequential { build_input_shape } => {
            let first = model.layers.first()?;
            input_dims(first)
                .or_else(|| first_input_dims(first))
                .or_else(|| build_input_shape.as_ref().and_then(dims))
        }
        Wiring::Functional { inputs, .. } => {
            let name = &inputs.first()?.layer;
            model.layers.iter().find(|l| l.name == *name).and_then(input_dims)
        }
    }
}

/// `[null, 150, 150, 3]`; Keras 3 wraps it in a list of one now and then.
fn dims(shape: &Value) -> Option<Vec<Option<usize>>> {
    let list = shape.as_array()?;
    if let [one @ Value::Array(_)] = &list[..] {
        return dims(one);
    }
    let dim = |v: &Value| match v {
        Value::Null => Some(None),
        // TensorFlow wrote -1 for unknown now and then.
        v if integer(v) == Some(-1) => Some(None),
        v => whole(v).map(Some),
    };
    (!list.is_empty()).then(|| list.iter().map(dim).collect()).flatten()
}

fn unknown_input() -> FormatError {
    FormatError::unsupported("the file does not say the shape of the input")
        .with_hint("give the input's shape, or build the model before saving it")
}

impl From<GraphError> for FormatError {
    fn from(source: GraphError) -> Self {
        Self::Network { place: Box::default(), source: Box::new(source) }
    }
}
