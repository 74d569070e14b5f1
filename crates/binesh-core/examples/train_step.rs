//! Times steps of training of the last part of a network, fed with the values at its boundary. For each line
//! `CASE STEPS` on stdin it answers with the medians `FORWARD BACKWARD STEP` in microseconds, where a step is both and
//! plain gradient descent. The first argument is the number of threads. Driven by `bench/train_step_vs_torch.py`.

use std::io::BufRead;
use std::sync::Arc;
use std::time::Instant;

use binesh_core::ops::{
    Activate, BatchNorm, Binary, Conv2d, Dense, DepthwiseConv2d, Flatten, GlobalAveragePool2d, Input,
    MaxPool2d, Param,
};
use binesh_core::{
    Activation, BinaryOp, Grads, Graph, NodeId, Op, Padding, Params, Plan, PlanSpec, ReluRule, Runtime,
    Session, Shape, Tensor, Window,
};

fn main() {
    let threads = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(2);
    let runtime = Runtime::new(threads);
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("a line of text");
        let (case, steps) = line.split_once(' ').expect("a case and a number");
        let mut step = Step::new(case, &runtime);
        let mut times: Vec<[f64; 3]> =
            (0..=steps.parse::<usize>().expect("a number")).map(|_| step.time()).skip(1).collect();
        let mut median = |which: usize| {
            times.sort_by(|a, b| a[which].total_cmp(&b[which]));
            times[times.len() / 2][which] * 1e6
        };
        println!("{:.0} {:.0} {:.0}", median(0), median(1), median(2));
    }
}

struct Step {
    params: Params,
    session: Session,
    input: Tensor,
    output: NodeId,
    seed: Tensor,
    trained: Vec<NodeId>,
}

impl Step {
    fn new(case: &str, runtime: &Runtime) -> Step {
        let mut net = Net::default();
        let (shape, y) = match case {
            "vgg16_block5" => net.vgg16_block5(false),
            "vgg16_block5_first" => net.vgg16_block5(true),
            "resnet50_conv5" => net.resnet50_conv5(),
            "mobilenet_v2_end" => net.mobilenet_v2_end(),
            "dense_head" => net.dense_head(),
            other => panic!("no case `{other}`"),
        };
        let y = net.dense(y, 5);
        let graph = Arc::new(net.graph);
        let inputs = [(graph.inputs()[0], shape.clone())];
        let spec =
            PlanSpec { inputs: &inputs, want: &[y], grads: Grads::Wrt(&net.trained), ..PlanSpec::default() };
        let session = Session::new(Plan::new(&graph, spec).expect("a plan"), runtime.clone());
        let seed = random(session.plan().shape(y).clone(), 2, 0.01);
        Step {
            params: net.params,
            session,
            input: random(shape, 1, 1.0),
            output: y,
            seed,
            trained: net.trained,
        }
    }

    fn time(&mut self) -> [f64; 3] {
        let start = Instant::now();
        self.session.run(&self.params, &[self.input.view()]).expect("a run");
        let forward = start.elapsed();
        let seeds = [(self.output, self.seed.clone())];
        self.session.backward(&self.params, &seeds, ReluRule::Exact).expect("gradients");
        let both = start.elapsed();
        for &id in &self.trained {
            let grad = self.session.grad(id).expect("a gradient");
            let weights = self.params.get_mut(id).expect("a weight").data_mut();
            weights.iter_mut().zip(grad.data()).for_each(|(w, g)| *w -= 1e-6 * g);
        }
        [forward, both - forward, start.elapsed()].map(|time| time.as_secs_f64())
    }
}

#[derive(Default)]
struct Net {
    graph: Graph,
    params: Params,
    trained: Vec<NodeId>,
    frozen: bool,
}

impl Net {
    fn node(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        let name = self.graph.nodes().len().to_string();
        self.graph.add(name, op, inputs).expect("a node")
    }

    fn weight(&mut self, shape: &[usize], low: f32, trained: bool) -> NodeId {
        let shape = Shape::from(shape);
        let id = self.node(Param { shape: shape.clone(), trainable: true }, &[]);
        let fan_in: usize = shape.dims()[..shape.rank() - 1].iter().product();
        let mut value = random(shape, id.index() as u64, (6.0 / fan_in.max(1) as f32).sqrt().min(1.0));
        value.data_mut().iter_mut().for_each(|v| *v += low);
        self.params.set(id, value);
        if trained && !self.frozen {
            self.trained.push(id);
        }
        id
    }

    fn conv(&mut self, x: NodeId, size: usize, stride: usize, channels: usize) -> NodeId {
        let cin = self.channels(x);
        let kernel = self.weight(&[size, size, cin, channels], 0.0, true);
        let window = Window::square(size, stride, Padding::Same);
        self.node(Conv2d { window, groups: 1 }, &[x, kernel])
    }

    fn depthwise(&mut self, x: NodeId, stride: usize) -> NodeId {
        let c = self.channels(x);
        let kernel = self.weight(&[3, 3, c, 1], 0.0, true);
        self.node(DepthwiseConv2d { window: Window::square(3, stride, Padding::Same) }, &[x, kernel])
    }

    /// Frozen.
    fn norm(&mut self, x: NodeId) -> NodeId {
        let c = self.channels(x);
        let weights: Vec<NodeId> = [1.0, 0.0, 0.0, 1.5].map(|low| self.weight(&[c], low, false)).to_vec();
        let op = BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale: true, center: true };
        self.node(op, &[&[x][..], &weights].concat())
    }

    fn act(&mut self, x: NodeId, function: Activation) -> NodeId {
        self.node(Activate { function }, &[x])
    }

    fn add(&mut self, a: NodeId, b: NodeId) -> NodeId {
        self.node(Binary { op: BinaryOp::Add }, &[a, b])
    }

    fn dense(&mut self, x: NodeId, units: usize) -> NodeId {
        let k = self.channels(x);
        self.frozen = false;
        let weights = [self.weight(&[k, units], 0.0, true), self.weight(&[units], 0.0, true)];
        self.node(Dense, &[x, weights[0], weights[1]])
    }

    fn channels(&self, x: NodeId) -> usize {
        self.graph.dims(x).last().copied().flatten().expect("known channels")
    }

    fn input(&mut self, batch: usize, dims: &[usize]) -> (Shape, NodeId) {
        let known = std::iter::once(None).chain(dims.iter().map(|&d| Some(d))).collect();
        let x = self.node(Input { dims: known }, &[]);
        ([&[batch][..], dims].concat().into(), x)
    }

    /// With `first_alone` the second and third convolution are frozen, so that only the gradient passes through them.
    fn vgg16_block5(&mut self, first_alone: bool) -> (Shape, NodeId) {
        let (shape, mut x) = self.input(16, &[14, 14, 512]);
        for _ in 0..3 {
            let y = self.conv(x, 3, 1, 512);
            let bias = self.weight(&[512], 0.0, true);
            let [x_, kernel] = self.graph.node(y).inputs[..] else { unreachable!() };
            let op = self.graph.node(y).op.clone();
            let y = self.node(op, &[x_, kernel, bias]);
            x = self.act(y, Activation::RELU);
            self.frozen = first_alone;
        }
        x = self.node(MaxPool2d { window: Window::square(2, 2, Padding::Valid) }, &[x]);
        x = self.node(Flatten, &[x]);
        x = self.dense(x, 256);
        (shape, self.act(x, Activation::RELU))
    }

    fn resnet50_conv5(&mut self) -> (Shape, NodeId) {
        let (shape, mut x) = self.input(16, &[14, 14, 1024]);
        for block in 0..3 {
            let stride = if block == 0 { 2 } else { 1 };
            let shortcut = if block == 0 {
                let y = self.conv(x, 1, 2, 2048);
                self.norm(y)
            } else {
                x
            };
            let mut y = x;
            for (size, stride) in [(1, stride), (3, 1)] {
                y = self.conv(y, size, stride, 512);
                y = self.norm(y);
                y = self.act(y, Activation::RELU);
            }
            y = self.conv(y, 1, 1, 2048);
            y = self.norm(y);
            y = self.add(shortcut, y);
            x = self.act(y, Activation::RELU);
        }
        (shape, self.node(GlobalAveragePool2d { keepdims: false }, &[x]))
    }

    fn mobilenet_v2_end(&mut self) -> (Shape, NodeId) {
        let (shape, mut x) = self.input(16, &[14, 14, 96]);
        for (stride, channels) in [(2, 160), (1, 160), (1, 160), (1, 320)] {
            let cin = self.channels(x);
            let mut y = self.conv(x, 1, 1, cin * 6);
            y = self.norm(y);
            y = self.act(y, Activation::RELU6);
            y = self.depthwise(y, stride);
            y = self.norm(y);
            y = self.act(y, Activation::RELU6);
            y = self.conv(y, 1, 1, channels);
            y = self.norm(y);
            x = if stride == 1 && cin == channels { self.add(x, y) } else { y };
        }
        x = self.conv(x, 1, 1, 1280);
        x = self.norm(x);
        x = self.act(x, Activation::RELU6);
        (shape, self.node(GlobalAveragePool2d { keepdims: false }, &[x]))
    }

    fn dense_head(&mut self) -> (Shape, NodeId) {
        let (shape, x) = self.input(32, &[1280]);
        let y = self.dense(x, 256);
        (shape, self.act(y, Activation::RELU))
    }
}

/// Values in `-amplitude..amplitude`.
fn random(shape: Shape, seed: u64, amplitude: f32) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        amplitude * ((state >> 40) as f32 / (1 << 23) as f32 - 1.0)
    };
    let data = (0..shape.len()).map(|_| next()).collect();
    Tensor::new(shape, data).expect("as many values")
}
