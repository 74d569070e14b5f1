//! From a network to its summary.

use std::collections::{BTreeMap, HashMap, HashSet};

use binesh_core::{Call, Graph, GraphError, Layer, LayerId, Layers, NodeId, Op, Shape};

use super::{Connection, ModelKind, ParamCount, Row, Summary};

/// Values are 32-bit floating point numbers.
const BYTES: u64 = 4;

/// Those that count are 64-bit integers in Keras.
const COUNTER_BYTES: u64 = 8;

impl Summary {
    /// The summary of a network. Costs are those of one picture: `picture` gives the shapes of inputs whose size
    /// the network leaves open, and without them the costs are not known.
    pub fn of(
        name: &str,
        kind: ModelKind,
        graph: &Graph,
        layers: &Layers,
        picture: &[(NodeId, Shape)],
    ) -> Result<Summary, GraphError> {
        let costs = Costs::of(graph, layers, picture)?;
        let source = Source { graph, layers, costs, users: users(layers) };
        let [trainable, non_trainable] = source.param_counts();
        Ok(Summary {
            name: name.to_owned(),
            kind,
            rows: source.rows(None, kind == ModelKind::Sequential),
            trainable,
            non_trainable,
            optimizer: None,
            notes: Vec::new(),
        })
    }
}

struct Source<'a> {
    graph: &'a Graph,
    layers: &'a Layers,
    costs: Option<Costs>,
    users: BTreeMap<NodeId, Vec<LayerId>>,
}

/// The layers that hold each parameter.
fn users(layers: &Layers) -> BTreeMap<NodeId, Vec<LayerId>> {
    let mut users: BTreeMap<NodeId, Vec<LayerId>> = BTreeMap::new();
    for (id, layer) in layers.iter() {
        for &param in &layer.params {
            users.entry(param).or_default().push(id);
        }
    }
    users
}

impl Source<'_> {
    /// What learns, and what does not. A parameter of several layers learns if it does so in one of them.
    fn param_counts(&self) -> [ParamCount; 2] {
        let mut counts = [ParamCount::default(); 2];
        for (&param, users) in &self.users {
            let learns = users.iter().any(|&layer| self.layers.learns(self.graph, layer, param));
            let count = self.param_count(param);
            let bytes = if self.is_counter(param, users) { COUNTER_BYTES } else { BYTES };
            let n = ParamCount { count, bytes: count.saturating_mul(bytes) };
            counts[usize::from(!learns)] = counts[usize::from(!learns)] + n;
        }
        counts
    }

    /// How many values a `Normalization` has adapted to: the one weight that Keras keeps as int64.
    fn is_counter(&self, param: NodeId, users: &[LayerId]) -> bool {
        let normalizes = users.iter().any(|&id| self.layers.get(id).class == "Normalization");
        normalizes && self.graph.node(param).name.ends_with("/count")
    }

    fn param_count(&self, param: NodeId) -> u64 {
        match &self.graph.node(param).op {
            Op::Param(param) => param.shape.len() as u64,
            _ => 0,
        }
    }

    /// A sequential model does not show its input.
    fn rows(&self, parent: Option<LayerId>, sequential: bool) -> Vec<Row> {
        let shown = self.layers.children(parent).filter(|(_, layer)| !(sequential && is_input(layer)));
        shown.map(|(id, layer)| self.row(id, layer)).collect()
    }

    fn row(&self, id: LayerId, layer: &Layer) -> Row {
        let params = self.layers.params_within(id);
        let shapes = |call: &Call| call.outputs.iter().map(|&node| self.graph.dims(node)).collect::<Vec<_>>();
        let outputs: Vec<Vec<Vec<Option<usize>>>> = layer.calls.iter().map(shapes).collect();
        Row {
            name: layer.name.clone(),
            class: layer.class.clone(),
            outputs_vary: outputs.windows(2).any(|pair| pair[0] != pair[1]),
            outputs: outputs.into_iter().next_back().unwrap_or_default(),
            built: !layer.calls.is_empty(),
            params: params.iter().map(|&(_, param)| self.param_count(param)).sum(),
            trainable: (!params.is_empty()).then(|| self.is_trainable(id)),
            connected_to: self.connections(layer),
            children: self.rows(Some(id), layer.class == "Sequential"),
            mult_adds: self.costs.as_ref().map(|costs| costs.mult_adds(self.layers, id)),
            activation_bytes: self.costs.as_ref().map(|costs| costs.activation_bytes(self.layers, id)),
            shared_with: self.sharers(id, layer),
        }
    }

    /// The layer and all models around it are trainable.
    fn is_trainable(&self, id: LayerId) -> bool {
        let layer = self.layers.get(id);
        layer.trainable && layer.parent.is_none_or(|parent| self.is_trainable(parent))
    }

    fn connections(&self, layer: &Layer) -> Vec<Connection> {
        let calls = layer.calls.iter().enumerate();
        let inbound = calls.flat_map(|(call, c)| c.inbound.iter().map(move |from| (call, from)));
        let connection = |(call, from): (usize, &binesh_core::Inbound)| Connection {
            call,
            layer: self.layers.get(from.layer).name.clone(),
            node: from.call,
            tensor: from.output,
        };
        inbound.map(connection).collect()
    }

    /// Paths of the other layers that hold a parameter of this one.
    fn sharers(&self, id: LayerId, layer: &Layer) -> Vec<String> {
        let users = layer.params.iter().filter_map(|param| self.users.get(param)).flatten();
        let mut seen = HashSet::from([id]);
        users.filter(|&&user| seen.insert(user)).map(|&user| self.layers.get(user).path.clone()).collect()
    }
}

fn is_input(layer: &Layer) -> bool {
    layer.class == "InputLayer"
}

/// What each layer costs by itself, without the layers inside it.
struct Costs {
    mult_adds: HashMap<LayerId, u64>,
    activation_bytes: HashMap<LayerId, u64>,
}

impl Costs {
    /// `None` if the size of an input is open.
    fn of(graph: &Graph, layers: &Layers, picture: &[(NodeId, Shape)]) -> Result<Option<Costs>, GraphError> {
        let given = |id| picture.iter().find(|(input, _)| *input == id).map(|(_, shape)| shape.clone());
        let inputs = graph.inputs().iter().map(|&id| Some((id, given(id).or_else(|| one(graph, id))?)));
        let Some(inputs) = inputs.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let shapes = graph.shapes(&inputs)?;
        let shape = |id: NodeId| &shapes[id.index()];

        let mut mult_adds = HashMap::new();
        for id in graph.ids() {
            let node = graph.node(id);
            let inputs: Vec<&Shape> = node.inputs.iter().map(|&input| shape(input)).collect();
            let n = node.op.operator().macs(&inputs, shape(id));
            if let Some(owner) = (n > 0).then(|| layers.owner(graph, id)).flatten() {
                let sum = mult_adds.entry(owner).or_insert(0_u64);
                *sum = sum.saturating_add(n);
            }
        }
        // A picture is not an activation, and what a nested model returns belongs to the layer that made it.
        let makers = layers
            .iter()
            .filter(|(id, layer)| !is_input(layer) && layers.children(Some(*id)).next().is_none());
        let bytes = |layer: &Layer| {
            let outputs: HashSet<NodeId> =
                layer.calls.iter().flat_map(|call| call.outputs.iter().copied()).collect();
            outputs
                .iter()
                .map(|&id| (shape(id).len() as u64).saturating_mul(BYTES))
                .fold(0, u64::saturating_add)
        };
        let activation_bytes = makers.map(|(id, layer)| (id, bytes(layer))).collect();
        Ok(Some(Costs { mult_adds, activation_bytes }))
    }

    fn mult_adds(&self, layers: &Layers, id: LayerId) -> u64 {
        within(&self.mult_adds, layers, id)
    }

    fn activation_bytes(&self, layers: &Layers, id: LayerId) -> u64 {
        within(&self.activation_bytes, layers, id)
    }
}

/// A layer's own cost and that of everything inside it.
fn within(costs: &HashMap<LayerId, u64>, layers: &Layers, id: LayerId) -> u64 {
    let own = costs.get(&id).copied().unwrap_or(0);
    layers.children(Some(id)).map(|(child, _)| within(costs, layers, child)).fold(own, u64::saturating_add)
}

/// The shape of one picture, if the input says its size.
fn one(graph: &Graph, input: NodeId) -> Option<Shape> {
    let dims = graph.dims(input);
    let sizes = dims.iter().enumerate().map(|(axis, &n)| if axis == 0 { Some(n.unwrap_or(1)) } else { n });
    sizes.collect::<Option<Vec<usize>>>().map(Shape::from)
}
