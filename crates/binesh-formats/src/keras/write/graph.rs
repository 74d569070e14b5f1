//! From a graph's nodes to layers: what is needed, what belongs together, which layer a node is part of.

use std::collections::HashMap;

use binesh_core::{Graph, LayerId, Node, NodeId, Op};
use serde_json::{Map, Value, json};

use super::fuse::Absorbed;
use super::records::{Arg, Call, Class, Layer, Model, Out, Wanted, Weight};
use super::{fuse, layers};
use crate::error::FormatError;
use crate::network::Network;

/// Which Keras is to load the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Keras 3 alone.
    Keras3,
    /// Keras 2.15 as well: a function that one of them does not have, or means otherwise, is made of others.
    Both,
}

/// The layers of a network, not named yet.
pub(super) fn model(network: &Network, dialect: Dialect) -> Result<Model, FormatError> {
    let graph = &*network.graph;
    if graph.outputs().is_empty() {
        return Err(FormatError::unsupported("a network without outputs is no Keras model"));
    }
    let (needed, uses) = network.needed();
    let owners = Owners::new(network);
    let absorbed = fuse::absorbed(network, &needed, &uses, dialect);
    let mut writer = Writer {
        network,
        dialect,
        graph,
        owners,
        absorbed,
        values: HashMap::new(),
        same: HashMap::new(),
        model: Model::default(),
    };
    for id in graph.ids().filter(|id| needed[id.index()]) {
        let node = graph.node(id);
        if matches!(node.op, Op::Param(_) | Op::Constant(_)) || writer.absorbed.contains(id) {
            continue;
        }
        let out =
            layers::write(&mut writer, id).map_err(|e| e.in_layer(&node.name, node.op.operator().name()))?;
        writer.values.insert(id, out);
    }
    for &id in graph.inputs() {
        let out = writer.values[&id];
        writer.model.inputs.push(out);
    }
    for &id in graph.outputs() {
        let node = graph.node(id);
        let out = match &node.op {
            Op::Param(_) | Op::Constant(_) => {
                let e = FormatError::unsupported("Keras has no model that returns a weight");
                return Err(e.in_layer(&node.name, node.op.operator().name()));
            }
            // A model of Keras does not hand its input out without a layer.
            Op::Input(_) => {
                let one = Arg::One(writer.values[&id]);
                writer.add(id, "_output", Class::layer("Identity"), json!({}), &[], vec![one])?
            }
            _ => writer.values[&id],
        };
        writer.model.outputs.push(out);
    }
    Ok(writer.model)
}

/// A network while its nodes become layers.
pub(super) struct Writer<'a> {
    pub(super) dialect: Dialect,
    pub(super) network: &'a Network,
    pub(super) graph: &'a Graph,
    pub(super) owners: Owners<'a>,
    pub(super) absorbed: Absorbed,
    values: HashMap<NodeId, Out>,
    /// Layers by what makes two of them one: a second use is a second call.
    same: HashMap<String, usize>,
    pub(super) model: Model,
}

impl<'a> Writer<'a> {
    pub(super) fn node(&self, id: NodeId) -> &'a Node {
        self.graph.node(id)
    }

    /// The written value of a node that is no weight.
    pub(super) fn value(&self, id: NodeId) -> Result<Out, FormatError> {
        self.values.get(&id).copied().ok_or_else(|| {
            let name = &self.node(id).name;
            FormatError::unsupported(format!("Keras cannot compute this from `{name}`, which is a weight"))
        })
    }

    /// The argument that a node is.
    pub(super) fn arg(&self, id: NodeId) -> Result<Arg, FormatError> {
        self.value(id).map(Arg::One)
    }

    /// A variable of the layer with this value; its shape is `shape`, or the node's own.
    pub(super) fn weight(&self, id: NodeId, shape: Option<Vec<usize>>) -> Result<Weight, FormatError> {
        let node = self.node(id);
        if !matches!(node.op, Op::Param(_) | Op::Constant(_)) {
            let name = &node.name;
            let text = format!("its weight `{name}` is computed by the network, which no Keras layer can");
            return Err(FormatError::unsupported(text));
        }
        let tensor = self.network.value(id)?;
        Ok(Weight::Node(id, shape.unwrap_or_else(|| tensor.shape().dims().to_vec())))
    }

    /// A layer whose output is the node's value, called `at` with `suffix` after it.
    pub(super) fn add(
        &mut self,
        at: NodeId,
        suffix: &str,
        class: Class,
        config: Value,
        weights: &[Weight],
        args: Vec<Arg>,
    ) -> Result<Out, FormatError> {
        let dims = self.graph.dims(at);
        self.part(at, suffix, (class, config), weights, args, dims)
    }

    /// A layer on the way to the node's value.
    pub(super) fn part(
        &mut self,
        at: NodeId,
        suffix: &str,
        (class, config): (Class, Value),
        weights: &[Weight],
        args: Vec<Arg>,
        dims: Vec<Option<usize>>,
    ) -> Result<Out, FormatError> {
        let wanted = self.owners.wanted(self.graph, at, suffix);
        let key = if weights.is_empty() {
            format!("{wanted:?} {class:?} {config}")
        } else {
            format!("{weights:?} {class:?} {config}")
        };
        let fixed = args.iter().any(|arg| matches!(arg, Arg::Value(_)));
        let layers = &mut self.model.layers;
        let call = Call { args, dims };
        // Operations are calls, not things that could be called twice.
        if !fixed && !class.is_operation() && class.name != "InputLayer" {
            if let Some(&layer) = self.same.get(&key) {
                layers[layer].calls.push(call);
                return Ok(Out { layer, call: layers[layer].calls.len() - 1 });
            }
            self.same.insert(key, layers.len());
        }
        let Value::Object(config) = config else {
            return Err(FormatError::unsupported("a layer without attributes"));
        };
        let trainable = self.owners.trainable(self.network, at, weights);
        let (weights, calls) = (weights.to_vec(), vec![call]);
        let name = String::new();
        layers.push(Layer { wanted, name, class, config, weights, trainable, calls });
        Ok(Out { layer: layers.len() - 1, call: 0 })
    }
}

/// Which layer of the table each node belongs to.
pub(super) struct Owners<'a> {
    network: &'a Network,
    by_path: HashMap<&'a str, LayerId>,
    by_weight: HashMap<NodeId, LayerId>,
}

impl<'a> Owners<'a> {
    fn new(network: &'a Network) -> Self {
        let mut owners = Owners { network, by_path: HashMap::new(), by_weight: HashMap::new() };
        for (id, layer) in network.layers.iter() {
            owners.by_path.entry(&layer.path).or_insert(id);
            for &param in &layer.params {
                owners.by_weight.entry(param).or_insert(id);
            }
        }
        owners
    }

    /// The layer, and what of the node's name comes after its path.
    fn of(&self, name: &str) -> Option<(LayerId, String)> {
        let plain = plain(name);
        // A name may hold more than its path's parts; the longest path that it begins with is its layer's.
        let ends = plain.match_indices('/').map(|(at, _)| at).chain([plain.len()]);
        let ends: Vec<usize> = ends.collect();
        let found = ends.iter().rev().find_map(|&end| Some((*self.by_path.get(&plain[..end])?, end)));
        found.map(|(id, end)| (id, plain[end..].trim_start_matches('/').to_owned()))
    }

    /// The class of the layer that the node is the output of.
    pub(super) fn class(&self, node: &Node) -> &'a str {
        match self.of(&node.name) {
            Some((id, rest)) if rest.is_empty() => &self.network.layers.get(id).class,
            _ => "",
        }
    }

    /// All weights of the layer that a weight belongs to, also those that nothing is computed from.
    pub(super) fn weights(&self, weight: NodeId) -> &'a [NodeId] {
        self.by_weight.get(&weight).map_or(&[], |&id| &self.network.layers.get(id).params)
    }

    fn wanted(&self, graph: &Graph, at: NodeId, suffix: &str) -> Wanted {
        let name = &graph.node(at).name;
        let Some((id, rest)) = self.of(name) else {
            let plain = plain(name);
            let short = plain.rsplit('/').next().unwrap_or_default();
            return Wanted { short: format!("{short}{suffix}"), long: format!("{plain}{suffix}") };
        };
        let layer = self.network.layers.get(id);
        // The weights are what one looks for under the layer's name.
        let rest =
            if rest.is_empty() || rest == "pre_activation" { String::new() } else { format!("_{rest}") };
        Wanted {
            short: format!("{}{rest}{suffix}", layer.name),
            long: format!("{}{rest}{suffix}", layer.path),
        }
    }

    /// Whether the layer and all models around it are trainable: models are written flat.
    fn trainable(&self, network: &Network, at: NodeId, weights: &[Weight]) -> bool {
        let of_weight = weights.iter().find_map(|weight| match weight {
            Weight::Node(id, _) => Some((*id, self.by_weight.get(id).copied())),
            Weight::Count(_) => None,
        });
        let mut next = match of_weight {
            Some((id, None)) if matches!(network.graph.node(id).op, Op::Constant(_)) => return false,
            Some((_, Some(layer))) => Some(layer),
            _ => self.of(&network.graph.node(at).name).map(|(layer, _)| layer),
        };
        while let Some(id) = next {
            let layer = network.layers.get(id);
            if !layer.trainable {
                return false;
            }
            next = layer.parent;
        }
        true
    }
}

/// `tower#1/conv#2` is a use of `tower/conv`.
pub(super) fn plain(name: &str) -> String {
    let numbered = |part: &str| match part.rsplit_once('#') {
        Some((name, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
        _ => part.to_owned(),
    };
    name.split('/').map(numbered).collect::<Vec<_>>().join("/")
}

/// The attributes of a layer.
pub(super) fn attributes<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>())
}
