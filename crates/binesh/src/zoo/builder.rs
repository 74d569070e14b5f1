//! Layers from PyTorch state dicts: names looked up, layouts turned to channels last, rows of the layer table written.

use std::collections::BTreeMap;

use binesh_core::ops::{
    Activate, BatchNorm, Binary, Conv2d, Dense, DepthwiseConv2d, Dropout, GlobalAveragePool2d, Input, Param,
    Softmax,
};
use binesh_core::{
    Activation, BinaryOp, Call, Graph, Inbound, Layer, LayerId, Layers, NodeId, Op, Params, Tensor, Window,
};
use binesh_formats::safetensors::StateDict;
use binesh_formats::{LoadReport, UsedTensor};

use crate::zoo::ZooError;
use crate::zoo::modules::layer_name;
use crate::zoo::names::count;

/// A layer's value, and the layer that the next one is connected to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    node: NodeId,
    layer: LayerId,
}

/// A tensor of the file, its axes in our order.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) tensor: Tensor,
    /// Its name in the file.
    from: String,
    /// The file's axes in our order, where that is another.
    turned: Option<Vec<usize>>,
}

/// Name, value, trainable.
type Weight<'a> = (&'a str, Taken, bool);

/// Takes tensors out of a state dict as layers ask for them.
pub(super) struct Builder {
    weights: StateDict,
    /// Shapes of all tensors of the file, those already taken too.
    shapes: BTreeMap<String, Vec<usize>>,
    /// What was asked for, in order.
    asked: Vec<String>,
    used: Vec<UsedTensor>,
    transposed: Vec<String>,
    /// Beginnings of the names of tensors that the network knows and does not need.
    left: Vec<&'static str>,
    graph: Graph,
    params: Params,
    layers: Layers,
}

/// What was built.
pub(super) struct Parts {
    pub(super) graph: Graph,
    pub(super) params: Params,
    pub(super) layers: Layers,
    pub(super) report: LoadReport,
}

impl Builder {
    pub(super) fn new(weights: StateDict) -> Builder {
        let shape = |(name, tensor): (&String, &Tensor)| (name.clone(), tensor.shape().dims().to_vec());
        let shapes = weights.iter().map(shape).collect();
        Builder {
            weights,
            shapes,
            asked: Vec::new(),
            used: Vec::new(),
            transposed: Vec::new(),
            left: Vec::new(),
            graph: Graph::default(),
            params: Params::default(),
            layers: Layers::default(),
        }
    }

    /// What was built; an error where the file has tensors that nothing asked for. Counters of batches are no weights.
    pub(super) fn finish(self) -> Result<Parts, ZooError> {
        let rest = self.weights.keys().filter(|name| !name.ends_with("num_batches_tracked"));
        let (left, unused): (Vec<&String>, Vec<&String>) =
            rest.partition(|name| self.left.iter().any(|beginning| name.starts_with(beginning)));
        if let Some(first) = unused.first() {
            return Err(ZooError::Unused { count: unused.len(), first: (*first).clone() });
        }
        let unused = left.into_iter().cloned().collect();
        let report =
            LoadReport { used: self.used, unused, transposed: self.transposed, ..LoadReport::default() };
        Ok(Parts { graph: self.graph, params: self.params, layers: self.layers, report })
    }

    /// States that tensors whose names begin so are known and not needed.
    pub(super) fn leave(&mut self, beginning: &'static str) {
        self.left.push(beginning);
    }

    /// The names of tensors that were asked for, in order, the missing one last.
    pub(super) fn asked(&self) -> &[String] {
        &self.asked
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// How many names of a row there are before the first that is missing.
    pub(super) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        count(|name| self.has(name), name)
    }

    /// A tensor's shape in the file.
    pub(super) fn dims_of(&self, name: &str) -> Option<Vec<usize>> {
        self.shapes.get(name).cloned()
    }

    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        self.shapes.get(name).map(Vec::len)
    }

    pub(super) fn has_layer(&self, path: &str) -> bool {
        self.graph.find(&layer_name(path)).is_some()
    }

    /// A value's extents, `None` for the batch.
    pub(super) fn dims(&self, x: Value) -> Vec<Option<usize>> {
        self.graph.dims(x.node)
    }

    /// A module of the file that is not what the architecture has there.
    pub(super) fn differs(&self, path: &str, how: &'static str) -> ZooError {
        ZooError::Differs { path: path.to_owned(), how }
    }

    pub(super) fn output(&mut self, value: Value) {
        self.graph.set_outputs(vec![value.node]);
    }

    pub(super) fn input(&mut self, name: &str, h: usize, w: usize, c: usize) -> Result<Value, ZooError> {
        self.layer(name, "InputLayer", Input::image(h, w, c), &[], &[])
    }

    /// A convolution without bias. torch `[O, C, Kh, Kw]` becomes `[Kh, Kw, C, O]`.
    pub(super) fn conv2d(
        &mut self,
        name: &str,
        torch: &str,
        window: Window,
        x: Value,
    ) -> Result<Value, ZooError> {
        let kernel = self.weight(&format!("{torch}.weight"), &[2, 3, 1, 0])?;
        self.layer(name, "Conv2D", Conv2d { window, groups: 1 }, &[x], &[("kernel", kernel, true)])
    }

    /// A depthwise convolution without bias. torch `[C, 1, Kh, Kw]` becomes `[Kh, Kw, C, 1]`.
    pub(super) fn depthwise(
        &mut self,
        name: &str,
        torch: &str,
        window: Window,
        x: Value,
    ) -> Result<Value, ZooError> {
        let kernel = self.weight(&format!("{torch}.weight"), &[2, 3, 0, 1])?;
        self.layer(name, "DepthwiseConv2D", DepthwiseConv2d { window }, &[x], &[("kernel", kernel, true)])
    }

    pub(super) fn batch_norm(
        &mut self,
        name: &str,
        torch: &str,
        epsilon: f32,
        momentum: f32,
        x: Value,
    ) -> Result<Value, ZooError> {
        let names = [
            ("gamma", "weight"),
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        ];
        let mut weights = Vec::new();
        for (ours, theirs) in names {
            let tensor = self.weight(&format!("{torch}.{theirs}"), &[0])?;
            weights.push((ours, tensor, !ours.starts_with("moving")));
        }
        self.layer(
            name,
            "BatchNormalization",
            BatchNorm { epsilon, momentum, scale: true, center: true },
            &[x],
            &weights,
        )
    }

    pub(super) fn activation(
        &mut self,
        name: &str,
        function: Activation,
        x: Value,
    ) -> Result<Value, ZooError> {
        let class = if matches!(function, Activation::Relu { .. }) { "ReLU" } else { "Activation" };
        self.layer(name, class, Activate { function }, &[x], &[])
    }

    pub(super) fn add(&mut self, name: &str, a: Value, b: Value) -> Result<Value, ZooError> {
        self.layer(name, "Add", Binary { op: BinaryOp::Add }, &[a, b], &[])
    }

    pub(super) fn dropout(&mut self, name: &str, rate: f32, x: Value) -> Result<Value, ZooError> {
        self.layer(name, "Dropout", Dropout { rate }, &[x], &[])
    }

    pub(super) fn global_average_pool(&mut self, name: &str, x: Value) -> Result<Value, ZooError> {
        self.layer(name, "GlobalAveragePooling2D", GlobalAveragePool2d { keepdims: false }, &[x], &[])
    }

    /// A dense layer with softmax. torch `[O, K]` becomes `[K, O]`.
    pub(super) fn classifier(&mut self, name: &str, torch: &str, x: Value) -> Result<Value, ZooError> {
        let kernel = self.weight(&format!("{torch}.weight"), &[1, 0])?;
        let bias = self.weight(&format!("{torch}.bias"), &[0])?;
        let weights = [("kernel", kernel, true), ("bias", bias, true)];
        let params = self.add_params(name, &weights)?;
        let logits =
            self.graph.add(format!("{name}/pre_activation"), Dense, &[x.node, params[0], params[1]])?;
        let node = self.graph.add(name, Softmax, &[logits])?;
        Ok(self.row(name, "Dense", &[x], params, node))
    }

    /// Takes a tensor out of the dict, its axes reordered.
    pub(super) fn weight(&mut self, name: &str, axes: &[usize]) -> Result<Taken, ZooError> {
        self.asked.push(name.to_owned());
        let tensor = self.weights.remove(name).ok_or_else(|| ZooError::Missing { name: name.to_owned() })?;
        let rank = tensor.shape().rank();
        if rank != axes.len() {
            return Err(ZooError::Rank { name: name.to_owned(), expected: axes.len(), got: rank });
        }
        if tensor.shape().is_empty() {
            return Err(ZooError::Empty { name: name.to_owned() });
        }
        let turned = !axes.iter().copied().eq(0..rank);
        let tensor = if turned { tensor.permuted(axes) } else { tensor };
        Ok(Taken { tensor, from: name.to_owned(), turned: turned.then(|| axes.to_vec()) })
    }

    fn add_params(&mut self, name: &str, weights: &[Weight<'_>]) -> Result<Vec<NodeId>, ZooError> {
        let mut params = Vec::new();
        for (weight, taken, trainable) in weights {
            let param = Param { shape: taken.tensor.shape().clone(), trainable: *trainable };
            let weight = format!("{name}/{weight}");
            let id = self.graph.add(weight.as_str(), param, &[])?;
            self.params.set(id, taken.tensor.clone());
            if let Some(axes) = &taken.turned {
                self.transposed.push(format!("{weight}: axes {axes:?} of `{}`", taken.from));
            }
            self.used.push(UsedTensor { tensor: taken.from.clone(), weight });
            params.push(id);
        }
        Ok(params)
    }

    pub(super) fn layer(
        &mut self,
        name: &str,
        class: &str,
        op: impl Into<Op>,
        inputs: &[Value],
        weights: &[Weight<'_>],
    ) -> Result<Value, ZooError> {
        let params = self.add_params(name, weights)?;
        let nodes: Vec<NodeId> =
            inputs.iter().map(|value| value.node).chain(params.iter().copied()).collect();
        let node = self.graph.add(name, op, &nodes)?;
        Ok(self.row(name, class, inputs, params, node))
    }

    fn row(&mut self, name: &str, class: &str, inputs: &[Value], params: Vec<NodeId>, node: NodeId) -> Value {
        let inbound = inputs.iter().map(|value| Inbound { layer: value.layer, call: 0, output: 0 }).collect();
        let layer = self.layers.push(Layer {
            path: name.to_owned(),
            name: name.to_owned(),
            class: class.to_owned(),
            parent: None,
            calls: vec![Call { inbound, outputs: vec![node] }],
            params,
            trainable: true,
        });
        Value { node, layer }
    }
}
