//! A new head on a pretrained base: the first of the five steps.

use std::collections::HashMap;
use std::sync::Arc;

use binesh_core::ops::{
    Activate, Dense, Dropout, Flatten, GlobalAveragePool2d, GlobalMaxPool2d, Input, Param, Softmax,
};
use binesh_core::{
    Activation, Call, Graph, GraphError, Inbound, Layer, LayerId, Layers, NodeId, Op, Params, PlanError,
    Shape, Tensor,
};
use binesh_formats::meta::Meta;
use binesh_formats::{Kind, Network};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Model;
use crate::train::random::{Purpose, generator};

/// The layers that are put on the base: pooling -> optional dense -> dropout -> dense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// How the last map becomes a vector.
    pub pooling: Pooling,
    /// Units of a hidden dense layer with ReLU; 0 for none.
    pub hidden: usize,
    /// Share of the values dropped in training, before the last dense layer.
    pub dropout: f32,
}

impl Default for HeadConfig {
    fn default() -> Self {
        HeadConfig { pooling: Pooling::Average, hidden: 0, dropout: 0.2 }
    }
}

/// How a map `[N, H, W, C]` becomes a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Keras `GlobalAveragePooling2D`.
    Average,
    /// Keras `GlobalMaxPooling2D`.
    Max,
    /// Keras `Flatten`, as the book does.
    Flatten,
}

/// A base with a new head.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The whole network; its output is probabilities.
    pub network: Network,
    /// The base's last map.
    pub features: NodeId,
    /// The head's output before softmax or sigmoid: one unit for two classes, else one a class.
    pub logits: NodeId,
    /// The head's layers, in order.
    pub head: Vec<LayerId>,
}

impl Attached {
    /// Copies the base up to its last map and puts a head for these classes on it. Kernels are drawn as Keras does
    /// (Glorot uniform, biases zero), from `seed`.
    pub fn new(base: &Model, config: &HeadConfig, classes: &[String], seed: u64) -> Result<Attached, Error> {
        let preprocess = &base.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess;
        let source = base.network();
        let [h, w] = preprocess.size;
        let picture = Shape::from([1, h, w, preprocess.channels()]);
        let shapes = source.graph.shapes(&[(source.graph.inputs()[0], picture)]).map_err(plan)?;
        let cut = last_map(&source.graph, &shapes).ok_or(Error::NoMap)?;
        let mut parts = Parts::copy(source, cut, [h, w]).map_err(plan)?;
        let features = parts.nodes[&cut];
        let mut random = generator(seed, Purpose::Initial, 0);
        let (logits, head) = parts.head(features, config, classes.len(), &mut random).map_err(plan)?;
        let Parts { graph, params, layers, .. } = parts;
        let network = Network {
            name: source.name.clone(),
            kind: Kind::Functional,
            graph: Arc::new(graph),
            params,
            layers,
            meta: Meta { preprocess: Some(preprocess.clone()), labels: Some(classes.to_vec()) },
        };
        Ok(Attached { network, features, logits, head })
    }

    /// The head's weights.
    pub fn head_params(&self) -> Vec<NodeId> {
        self.head.iter().flat_map(|&layer| self.network.layers.get(layer).params.clone()).collect()
    }
}

fn plan(error: GraphError) -> Error {
    Error::Plan(PlanError::from(error))
}

/// The value that a new head is put on: the network's output when it is a map, else the last map larger than 1x1 on the
/// way to it (Keras `include_top=False`), else the last map.
pub(super) fn last_map(graph: &Graph, shapes: &[Shape]) -> Option<NodeId> {
    let mut node = *graph.outputs().first()?;
    let is_map = |id: NodeId| shapes[id.index()].rank() == 4;
    if is_map(node) {
        return Some(node);
    }
    let mut last = None;
    loop {
        let computed = |id: &&NodeId| !matches!(graph.node(**id).op, Op::Param(_) | Op::Constant(_));
        let Some(&next) = graph.node(node).inputs.iter().find(computed) else { return last };
        node = next;
        if is_map(node) && !matches!(graph.node(node).op, Op::Input(_)) {
            let dims = shapes[node.index()].dims();
            if dims[1] * dims[2] > 1 {
                return Some(node);
            }
            last = last.or(Some(node));
        }
    }
}

/// The network under construction.
struct Parts {
    graph: Graph,
    params: Params,
    layers: Layers,
    /// From the base's nodes to ours.
    nodes: HashMap<NodeId, NodeId>,
}

impl Parts {
    /// Everything that `cut` depends on, for pictures of this size.
    fn copy(source: &Network, cut: NodeId, [h, w]: [usize; 2]) -> Result<Parts, GraphError> {
        let mut needed = vec![false; source.graph.nodes().len()];
        needed[cut.index()] = true;
        for (index, node) in source.graph.nodes().iter().enumerate().rev() {
            if needed[index] {
                node.inputs.iter().for_each(|input| needed[input.index()] = true);
            }
        }
        let mut parts = Parts {
            graph: Graph::default(),
            params: Params::default(),
            layers: Layers::default(),
            nodes: HashMap::new(),
        };
        for id in source.graph.ids().filter(|id| needed[id.index()]) {
            let node = source.graph.node(id);
            let op = match &node.op {
                Op::Input(input) if input.dims.len() == 4 => {
                    Op::Input(Input { dims: vec![None, Some(h), Some(w), input.dims[3]] })
                }
                op => op.clone(),
            };
            let inputs: Vec<NodeId> = node.inputs.iter().map(|input| parts.nodes[input]).collect();
            let copy = parts.graph.add(node.name.clone(), op, &inputs)?;
            parts.nodes.insert(id, copy);
            if let Some(value) = source.params.get(id) {
                parts.params.set(copy, value.clone());
            }
        }
        parts.copy_layers(&source.layers);
        Ok(parts)
    }

    fn copy_layers(&mut self, source: &Layers) {
        let nodes = &self.nodes;
        let here =
            |ids: &[NodeId]| -> Vec<NodeId> { ids.iter().filter_map(|id| nodes.get(id).copied()).collect() };
        let rows: Vec<(LayerId, &Layer)> = source.iter().collect();
        let index: HashMap<LayerId, usize> = rows.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        let mut kept: Vec<bool> = rows
            .iter()
            .map(|(_, layer)| layer.calls.iter().any(|call| !here(&call.outputs).is_empty()))
            .collect();
        // A model of which something is left is left too; its row is before those of its layers.
        for (at, (_, layer)) in rows.iter().enumerate().rev() {
            if let (true, Some(parent)) = (kept[at], layer.parent) {
                kept[index[&parent]] = true;
            }
        }
        let mut ids: HashMap<LayerId, LayerId> = HashMap::new();
        for (at, (id, layer)) in rows.iter().enumerate().filter(|(at, _)| kept[*at]) {
            debug_assert_eq!(index[id], at);
            let inbound = |from: &Inbound| Some(Inbound { layer: *ids.get(&from.layer)?, ..*from });
            let call = |call: &Call| Call {
                inbound: call.inbound.iter().filter_map(inbound).collect(),
                outputs: here(&call.outputs),
            };
            let copy = Layer {
                parent: layer.parent.map(|parent| ids[&parent]),
                calls: layer.calls.iter().map(call).collect(),
                params: here(&layer.params),
                ..(*layer).clone()
            };
            ids.insert(*id, self.layers.push(copy));
        }
    }

    /// Adds the head's layers; returns its logits and its rows.
    fn head(
        &mut self,
        features: NodeId,
        config: &HeadConfig,
        classes: usize,
        random: &mut ChaCha8Rng,
    ) -> Result<(NodeId, Vec<LayerId>), GraphError> {
        let mut head = Stack { x: features, inbound: self.returned_by(features), rows: Vec::new() };
        match config.pooling {
            Pooling::Average => {
                let pool = GlobalAveragePool2d { keepdims: false };
                self.layer(&mut head, "head_pool", "GlobalAveragePooling2D", pool.into())?;
            }
            Pooling::Max => {
                let pool = GlobalMaxPool2d { keepdims: false };
                self.layer(&mut head, "head_pool", "GlobalMaxPooling2D", pool.into())?;
            }
            Pooling::Flatten => self.layer(&mut head, "head_flatten", "Flatten", Flatten.into())?,
        }
        if config.hidden > 0 {
            let relu = Activate { function: Activation::RELU };
            self.dense(&mut head, "head_dense", config.hidden, relu.into(), random)?;
        }
        if config.dropout > 0.0 {
            self.layer(&mut head, "head_dropout", "Dropout", Dropout { rate: config.dropout }.into())?;
        }
        let units = if classes == 2 { 1 } else { classes };
        let squash = match units {
            1 => Activate { function: Activation::Sigmoid }.into(),
            _ => Softmax.into(),
        };
        let logits = self.dense(&mut head, "predictions", units, squash, random)?;
        self.graph.set_outputs(vec![head.x]);
        Ok((logits, head.rows))
    }

    /// The outermost layer that returns this node.
    fn returned_by(&self, node: NodeId) -> Option<Inbound> {
        self.layers.children(None).find_map(|(layer, row)| {
            row.calls.iter().enumerate().find_map(|(call, c)| {
                let output = c.outputs.iter().position(|&output| output == node)?;
                Some(Inbound { layer, call, output })
            })
        })
    }

    fn free(&self, name: &str) -> String {
        let taken = |name: &str| self.graph.find(name).is_some() || self.layers.find(name).is_some();
        let mut names = std::iter::once(name.to_owned()).chain((1..).map(|n| format!("{name}_{n}")));
        names.find(|name| !taken(name)).expect("numbers do not run out")
    }

    /// A layer without weights.
    fn layer(&mut self, head: &mut Stack, name: &str, class: &str, op: Op) -> Result<(), GraphError> {
        let name = self.free(name);
        let node = self.graph.add(name.clone(), op, &[head.x])?;
        self.row(head, name, class, node, Vec::new());
        Ok(())
    }

    /// A dense layer; returns its value before the activation.
    fn dense(
        &mut self,
        head: &mut Stack,
        name: &str,
        units: usize,
        activation: Op,
        random: &mut ChaCha8Rng,
    ) -> Result<NodeId, GraphError> {
        let name = self.free(name);
        let inputs =
            self.graph.dims(head.x)[1].expect("the input's size is known, and so the vector's length");
        let weight = |shape: Shape| Param { shape, trainable: true };
        let kernel = self.graph.add(format!("{name}/kernel"), weight([inputs, units].into()), &[])?;
        let bias = self.graph.add(format!("{name}/bias"), weight([units].into()), &[])?;
        self.params.set(kernel, glorot_uniform(inputs, units, random));
        self.params.set(bias, Tensor::zeros([units]));
        let pre = self.graph.add(format!("{name}/pre_activation"), Dense, &[head.x, kernel, bias])?;
        let node = self.graph.add(name.clone(), activation, &[pre])?;
        self.row(head, name, "Dense", node, vec![kernel, bias]);
        Ok(pre)
    }

    fn row(&mut self, head: &mut Stack, name: String, class: &str, node: NodeId, params: Vec<NodeId>) {
        let call = Call { inbound: head.inbound.into_iter().collect(), outputs: vec![node] };
        let layer = self.layers.push(Layer {
            path: name.clone(),
            name,
            class: class.to_owned(),
            parent: None,
            calls: vec![call],
            params,
            trainable: true,
        });
        head.x = node;
        head.inbound = Some(Inbound { layer, call: 0, output: 0 });
        head.rows.push(layer);
    }
}

/// Where the next layer of the head goes.
struct Stack {
    x: NodeId,
    inbound: Option<Inbound>,
    rows: Vec<LayerId>,
}

/// Keras `GlorotUniform`: uniform within `sqrt(6 / (inputs + outputs))` (Glorot and Bengio 2010, equation 16).
fn glorot_uniform(inputs: usize, outputs: usize, random: &mut ChaCha8Rng) -> Tensor {
    let limit = (6.0 / (inputs + outputs) as f32).sqrt();
    let data = (0..inputs * outputs).map(|_| (2.0 * random.random::<f32>() - 1.0) * limit).collect();
    Tensor::new([inputs, outputs], data).expect("as many values as the shape says")
}
