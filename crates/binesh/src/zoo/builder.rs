//! Layers from PyTorch state dicts: names looked up, layouts turned to channels last, rows of the layer table written.

use binesh_core::ops::{
    Activate, BatchNorm, Binary, Conv2d, Dense, DepthwiseConv2d, Dropout, GlobalAveragePool2d, Input, Param,
    Softmax,
};
use binesh_core::{
    Activation, BinaryOp, Call, Graph, Inbound, Layer, LayerId, Layers, NodeId, Op, Params, Tensor, Window,
};
use binesh_formats::safetensors::StateDict;

use crate::zoo::ZooError;

/// A layer's value, and the layer that the next one is connected to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    node: NodeId,
    layer: LayerId,
}

/// Name, value, trainable.
type Weight<'a> = (&'a str, Tensor, bool);

/// Takes tensors out of a state dict as layers ask for them.
pub(super) struct Builder {
    weights: StateDict,
    graph: Graph,
    params: Params,
    layers: Layers,
}

/// What was built.
pub(super) struct Parts {
    pub(super) graph: Graph,
    pub(super) params: Params,
    pub(super) layers: Layers,
}

impl Builder {
    pub(super) fn new(weights: StateDict) -> Builder {
        Builder { weights, graph: Graph::default(), params: Params::default(), layers: Layers::default() }
    }

    pub(super) fn finish(self) -> Result<Parts, ZooError> {
        let unused = self.weights.keys().filter(|name| !name.ends_with("num_batches_tracked"));
        if let Some(first) = unused.clone().next() {
            return Err(ZooError::Unused { count: unused.count(), first: first.clone() });
        }
        Ok(Parts { graph: self.graph, params: self.params, layers: self.layers })
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
            BatchNorm { epsilon, momentum: BatchNorm::MOMENTUM, scale: true, center: true },
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
        self.layer(name, "ReLU", Activate { function }, &[x], &[])
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
    fn weight(&mut self, name: &str, axes: &[usize]) -> Result<Tensor, ZooError> {
        let tensor = self.weights.remove(name).ok_or_else(|| ZooError::Missing { name: name.to_owned() })?;
        let rank = tensor.shape().rank();
        if rank != axes.len() {
            return Err(ZooError::Rank { name: name.to_owned(), expected: axes.len(), got: rank });
        }
        Ok(tensor.permuted(axes))
    }

    fn add_params(&mut self, name: &str, weights: &[Weight<'_>]) -> Result<Vec<NodeId>, ZooError> {
        let mut params = Vec::new();
        for (weight, tensor, trainable) in weights {
            let param = Param { shape: tensor.shape().clone(), trainable: *trainable };
            let id = self.graph.add(format!("{name}/{weight}"), param, &[])?;
            self.params.set(id, tensor.clone());
            params.push(id);
        }
        Ok(params)
    }

    fn layer(
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
