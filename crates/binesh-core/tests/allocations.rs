//! From its second run on a session allocates nothing, on whatever thread.

use std::alloc::System;
use std::sync::Arc;

use binesh_core::ops::*;
use binesh_core::{
    Activation, BinaryOp, Graph, NodeId, Op, Padding, Params, Plan, PlanSpec, Runtime, Session, Shape,
    Tensor, Tile, Window, Winograd,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often any thread has allocated.
fn count() -> usize {
    let stats = COUNTED.stats();
    stats.allocations + stats.reallocations
}

/// A chain that grows at its end.
struct Network {
    graph: Graph,
    params: Params,
    end: NodeId,
    shape: [usize; 4],
}

impl Network {
    fn new(height: usize, width: usize, channels: usize) -> Network {
        let mut graph = Graph::default();
        let end = graph.add("x", Input::image(height, width, channels), &[]).unwrap();
        Network { graph, params: Params::default(), end, shape: [2, height, width, channels] }
    }

    fn node(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        let name = format!("n{}", self.graph.nodes().len());
        self.graph.add(name, op, inputs).unwrap()
    }

    fn weight(&mut self, shape: &[usize]) -> NodeId {
        let shape = Shape::from(shape);
        let id = self.node(Param { shape: shape.clone(), trainable: true }, &[]);
        let values = (0..shape.len()).map(|i| 0.25 + (i % 7) as f32 / 8.0).collect();
        self.params.set(id, Tensor::new(shape, values).unwrap());
        id
    }

    /// Another node at the end, with weights.
    fn then(mut self, op: impl Into<Op>, weights: &[&[usize]]) -> Network {
        let mut inputs = vec![self.end];
        inputs.extend(weights.iter().map(|&shape| self.weight(shape)));
        self.end = self.node(op, &inputs);
        self
    }

    fn conv(self, size: usize, stride: usize, cin: usize, cout: usize) -> Network {
        let op = Conv2d { window: Window::square(size, stride, Padding::Same), groups: 1 };
        self.then(op, &[&[size, size, cin, cout], &[cout]])
    }

    /// How often the second to fourth run allocate.
    fn allocations(&self, runtime: &Runtime) -> usize {
        let inputs = [(self.graph.inputs()[0], Shape::from(self.shape))];
        let spec = PlanSpec { inputs: &inputs, want: &[self.end], ..PlanSpec::default() };
        let plan = Plan::new(&Arc::new(self.graph.clone()), spec).unwrap();
        let mut session = Session::new(plan, runtime.clone());
        let x = Tensor::zeros(self.shape);
        session.run(&self.params, &[x.view()]).unwrap();
        let before = count();
        for _ in 0..3 {
            session.run(&self.params, &[x.view()]).unwrap();
        }
        count() - before
    }
}

fn norm() -> BatchNorm {
    BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale: true, center: true }
}

/// Every kind of step but products whose weights are computed: those are packed in each run.
fn networks() -> Vec<(&'static str, Network)> {
    let window = || Window::square(2, 2, Padding::Valid);
    let residual = |mut network: Network, op| {
        let start = network.end;
        network = network.conv(3, 1, 32, 32);
        network.end = network.node(Binary { op }, &[network.end, start]);
        network
    };
    let joined = |mut network: Network| {
        let start = network.end;
        network = network.conv(1, 1, 3, 5);
        network.end = network.node(Concat { axis: -1 }, &[network.end, start]);
        network
    };
    vec![
        (
            "convolutions",
            residual(Network::new(40, 40, 3).conv(7, 2, 3, 32), BinaryOp::Add)
                .conv(3, 1, 32, 160)
                .conv(3, 1, 160, 160)
                .conv(1, 1, 160, 17)
                .then(Activate { function: Activation::RELU }, &[]),
        ),
        (
            "depthwise convolution and an inverted residual",
            Network::new(30, 30, 4)
                .then(DepthwiseConv2d { window: Window::square(3, 1, Padding::Same) }, &[&[3, 3, 4, 1]])
                .conv(1, 1, 4, 24)
                .then(DepthwiseConv2d { window: Window::square(5, 1, Padding::Same) }, &[&[5, 5, 24, 1]])
                .then(Activate { function: Activation::Silu }, &[])
                .conv(1, 1, 24, 8),
        ),
        (
            "pools and the head",
            Network::new(33, 31, 3)
                .then(Rescaling { scale: vec![0.5], offset: vec![1.0] }, &[])
                .then(Normalization { invert: false }, &[&[3], &[3]])
                .then(ZeroPad2d { rows: [1, 2], columns: [0, 1] }, &[])
                .then(MaxPool2d { window: window() }, &[])
                .then(AveragePool2d { window: window(), count_include_pad: false }, &[])
                .then(norm(), &[&[3], &[3], &[3], &[3]])
                .then(Activate { function: Activation::Silu }, &[])
                .then(Prelu, &[&[1, 1, 3]])
                .then(LayerNorm { epsilon: 1e-3, scale: true, center: true }, &[&[3], &[3]])
                .then(Dropout { rate: 0.5 }, &[])
                .then(GlobalAveragePool2d { keepdims: false }, &[])
                .then(Dense, &[&[3, 40], &[40]])
                .then(Softmax, &[]),
        ),
        (
            "moved values",
            joined(residual(Network::new(8, 8, 3).conv(1, 1, 3, 32), BinaryOp::Multiply).conv(1, 1, 32, 3))
                .then(Crop2d { rows: [1, 1], columns: [0, 2] }, &[])
                .then(
                    UpSampling2d { factors: [2, 2], interpolation: up_sampling2d::Interpolation::Bilinear },
                    &[],
                )
                .then(
                    UpSampling2d { factors: [1, 2], interpolation: up_sampling2d::Interpolation::Nearest },
                    &[],
                )
                .then(Permute { axes: vec![0, 3, 1, 2] }, &[])
                .then(Slice { axis: 1, start: Some(1), end: None, step: 2 }, &[])
                .then(ReduceMean { axes: vec![1], keepdims: true }, &[])
                .then(Identity, &[])
                .then(Reshape { target: vec![None, Some(4)] }, &[])
                .then(Flatten, &[]),
        ),
        ("a maximum", Network::new(9, 9, 5).then(GlobalMaxPool2d { keepdims: true }, &[])),
    ]
}

#[test]
fn a_run_allocates_nothing() {
    let before = count();
    std::hint::black_box(Box::new(before));
    assert!(count() > before, "allocations are counted");
    for threads in [1, 2] {
        let runtime = Runtime::new(threads);
        for (name, network) in networks() {
            for runtime in
                [runtime.clone(), runtime.clone().with_winograd(Winograd::WherePossible(Tile::Four))]
            {
                assert_eq!(network.allocations(&runtime), 0, "{name} on {threads} threads");
            }
        }
    }
}
