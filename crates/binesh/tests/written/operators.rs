//! A small network for each operator, and for each form of it that is written in another way.

use std::sync::Arc;

use binesh_core::ops::regroup::Extent;
use binesh_core::ops::up_sampling2d::Interpolation;
use binesh_core::ops::{
    Activate, AveragePool2d, BatchMatmul, BatchNorm, Binary, Concat, Constant, Conv2d, Conv2dTranspose,
    Crop2d, Dense, DepthwiseConv2d, Dropout, Erf, Flatten, GlobalAveragePool2d, GlobalMaxPool2d, Identity,
    Input, LayerNorm, MaxPool2d, Normalization, Param, Permute, Prelu, ReduceMax, ReduceMean, ReduceSum,
    Regroup, Rescaling, Reshape, Slice, Softmax, Take, UpSampling2d, ZeroPad2d,
};
use binesh_core::{Activation, BinaryOp, Graph, Layers, NodeId, Op, Padding, Params, Tensor, Window};
use binesh_formats::meta::{Meta, Preprocess};
use binesh_formats::{Kind, Network};

use super::{Case, pattern};

/// A network under construction. Its first input is a picture `[N, 6, 7, 4]`, `x`.
struct Build {
    graph: Graph,
    params: Params,
    x: NodeId,
}

impl Build {
    fn add(&mut self, name: &str, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        self.graph.add(name, op, inputs).unwrap()
    }

    /// A weight with values around 0, or around 1.
    fn weight(&mut self, name: &str, shape: &[usize], around: f32) -> NodeId {
        let id = self.add(name, Param { shape: shape.into(), trainable: true }, &[]);
        let n: usize = shape.iter().product();
        let data = (0..n).map(|i| around + (7919 * (i + 3) % 101) as f32 / 101.0 - 0.5).collect();
        self.params.set(id, Tensor::new(shape, data).unwrap());
        id
    }

    fn constant(&mut self, shape: &[usize], values: &[f32]) -> NodeId {
        let value = Tensor::new(shape, values.to_vec()).unwrap();
        let name = format!("constant_{}", self.graph.nodes().len());
        self.add(&name, Constant { value }, &[])
    }

    /// `x` through an operator without weights.
    fn of_x(&mut self, op: impl Into<Op>) -> NodeId {
        self.add("y", op, &[self.x])
    }

    fn conv(&mut self, window: Window, groups: usize) -> NodeId {
        let [kh, kw] = window.size;
        let kernel = self.weight("y/kernel", &[kh, kw, 4 / groups, 6], 0.0);
        let bias = self.weight("y/bias", &[6], 0.0);
        self.add("y", Conv2d { window, groups }, &[self.x, kernel, bias])
    }

    fn depthwise(&mut self, window: Window) -> NodeId {
        let [kh, kw] = window.size;
        let kernel = self.weight("y/kernel", &[kh, kw, 4, 2], 0.0);
        self.add("y", DepthwiseConv2d { window }, &[self.x, kernel])
    }

    fn transposed(&mut self, window: Window, output_padding: Option<[usize; 2]>) -> NodeId {
        let [kh, kw] = window.size;
        let kernel = self.weight("y/kernel", &[kh, kw, 3, 4], 0.0);
        let bias = self.weight("y/bias", &[3], 0.0);
        self.add("y", Conv2dTranspose { window, output_padding }, &[self.x, kernel, bias])
    }

    fn binary(&mut self, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        self.add("y", Binary { op }, &[a, b])
    }

    fn positive(&mut self) -> NodeId {
        self.add("positive", Activate { function: Activation::Square }, &[self.x])
    }
}

type Make = fn(&mut Build) -> NodeId;

/// Every form, with the name of its operator first.
const FORMS: &[(&str, Make)] = &[
    ("average_pool2d same", |b| b.of_x(average(Padding::Same, false))),
    ("average_pool2d counted", |b| b.of_x(average(Padding::Explicit([[1, 0], [1, 1]]), true))),
    ("batch_matmul", |b| {
        let turned = b.add("turned", Permute { axes: vec![0, 1, 3, 2] }, &[b.x]);
        b.add("y", BatchMatmul, &[b.x, turned])
    }),
    ("batch_norm", |b| batch_norm(b, b.x, true, true)),
    ("batch_norm without gamma", |b| batch_norm(b, b.x, false, true)),
    ("batch_norm of vectors", |b| {
        let flat = b.add("flat", GlobalAveragePool2d { keepdims: false }, &[b.x]);
        batch_norm(b, flat, true, false)
    }),
    ("binary of maps", |b| {
        let other = b.positive();
        b.binary(BinaryOp::Maximum, b.x, other)
    }),
    ("binary of a map and a vector", |b| {
        let gate = b.add("gate", GlobalAveragePool2d { keepdims: true }, &[b.x]);
        b.binary(BinaryOp::Multiply, b.x, gate)
    }),
    ("binary of unequal ranks", |b| {
        let sums = b.add("sums", ReduceSum { axes: vec![0, 1], keepdims: false }, &[b.x]);
        b.binary(BinaryOp::Subtract, b.x, sums)
    }),
    ("binary divided", |b| {
        let (other, one) = (b.positive(), b.constant(&[], &[1.0]));
        let other = b.add("above", Binary { op: BinaryOp::Add }, &[other, one]);
        b.binary(BinaryOp::Divide, b.x, other)
    }),
    ("binary with a constant first", |b| {
        let c = b.constant(&[4], &[1.0, 2.0, 3.0, 4.0]);
        b.binary(BinaryOp::Minimum, c, b.x)
    }),
    ("binary powered", |b| {
        let (base, c) = (b.positive(), b.constant(&[], &[1.5]));
        b.binary(BinaryOp::Power, base, c)
    }),
    ("binary with a weight", |b| {
        let gamma = b.weight("y/gamma", &[4], 1.0);
        b.binary(BinaryOp::Multiply, b.x, gamma)
    }),
    ("binary after a convolution with a constant", |b| {
        let kernel = b.weight("conv/kernel", &[1, 1, 4, 4], 0.0);
        let conv = Conv2d { window: Window::square(1, 1, Padding::Valid), groups: 1 };
        let conv = b.add("conv", conv, &[b.x, kernel]);
        let c = b.constant(&[7, 4], &(0..28).map(|i| i as f32 * 0.1).collect::<Vec<_>>());
        b.binary(BinaryOp::Add, conv, c)
    }),
    ("concat", |b| {
        let other = b.positive();
        b.add("y", Concat { axis: -1 }, &[b.x, other, b.x])
    }),
    ("concat of rows", |b| {
        let other = b.positive();
        b.add("y", Concat { axis: 1 }, &[b.x, other])
    }),
    ("constant", |b| {
        let c = b.constant(&[4], &[0.5, 1.0, 1.5, 2.0]);
        b.binary(BinaryOp::Multiply, b.x, c)
    }),
    ("conv2d", |b| b.conv(Window::square(3, 1, Padding::Same), 1)),
    ("conv2d in groups", |b| b.conv(Window::square(3, 1, Padding::Valid), 2)),
    ("conv2d with steps", |b| b.conv(Window::square(3, 2, Padding::Same), 1)),
    ("conv2d dilated", |b| b.conv(Window { dilation: [2, 2], ..Window::square(2, 1, Padding::Same) }, 1)),
    ("conv2d padded", |b| b.conv(Window::square(3, 2, Padding::Explicit([[1, 1], [0, 2]])), 1)),
    ("conv2d_transpose same", |b| b.transposed(Window::square(3, 2, Padding::Same), None)),
    ("conv2d_transpose valid", |b| b.transposed(Window::square(2, 3, Padding::Valid), None)),
    ("conv2d_transpose longer", |b| b.transposed(Window::square(3, 2, Padding::Same), Some([1, 1]))),
    ("conv2d_transpose padded", |b| {
        b.transposed(Window::square(3, 2, Padding::Explicit([[1, 1], [1, 0]])), None)
    }),
    ("crop2d", |b| b.of_x(Crop2d { rows: [1, 0], columns: [2, 1] })),
    ("dense", |b| {
        let pooled = b.add("pooled", GlobalAveragePool2d { keepdims: false }, &[b.x]);
        dense(b, pooled)
    }),
    ("dense of maps", |b| dense(b, b.x)),
    ("depthwise_conv2d", |b| b.depthwise(Window::square(3, 1, Padding::Same))),
    ("depthwise_conv2d with unequal steps", |b| {
        b.depthwise(Window { stride: [2, 1], ..Window::square(3, 1, Padding::Same) })
    }),
    ("dropout", |b| b.of_x(Dropout { rate: 0.25 })),
    ("erf", |b| b.of_x(Erf)),
    ("flatten", |b| b.of_x(Flatten)),
    ("flatten after a convolution", |b| {
        let kernel = b.weight("conv/kernel", &[2, 2, 4, 3], 0.0);
        let conv = Conv2d { window: Window::square(2, 1, Padding::Valid), groups: 1 };
        let conv = b.add("conv", conv, &[b.x, kernel]);
        b.add("y", Flatten, &[conv])
    }),
    ("flatten with channels first", |b| {
        let turned = b.add("turned", Permute { axes: vec![0, 3, 1, 2] }, &[b.x]);
        b.add("y", Flatten, &[turned])
    }),
    ("global_average_pool2d", |b| b.of_x(GlobalAveragePool2d { keepdims: false })),
    ("global_average_pool2d kept", |b| b.of_x(GlobalAveragePool2d { keepdims: true })),
    ("global_max_pool2d", |b| b.of_x(GlobalMaxPool2d { keepdims: false })),
    ("identity", |b| b.of_x(Identity)),
    ("input returned", |b| b.x),
    ("layer_norm", |b| {
        let (gamma, beta) = (b.weight("y/gamma", &[4], 1.0), b.weight("y/beta", &[4], 0.0));
        let norm = LayerNorm { epsilon: 1e-3, scale: true, center: true };
        b.add("y", norm, &[b.x, gamma, beta])
    }),
    ("layer_norm without gamma", |b| {
        let beta = b.weight("y/beta", &[4], 0.0);
        b.add("y", LayerNorm { epsilon: 1e-3, scale: false, center: true }, &[b.x, beta])
    }),
    ("max_pool2d", |b| b.of_x(MaxPool2d { window: Window::square(2, 2, Padding::Valid) })),
    ("max_pool2d same", |b| b.of_x(MaxPool2d { window: Window::square(3, 2, Padding::Same) })),
    ("max_pool2d padded", |b| {
        let x = b.positive();
        let x = b.add("relu", Activate { function: Activation::RELU }, &[x]);
        let window = Window::square(3, 2, Padding::Explicit([[1, 1], [0, 2]]));
        b.add("y", MaxPool2d { window }, &[x])
    }),
    ("max_pool2d dilated", |b| {
        b.of_x(MaxPool2d { window: Window { dilation: [2, 2], ..Window::square(2, 1, Padding::Valid) } })
    }),
    ("normalization", |b| normalization(b, false)),
    ("normalization inverted", |b| normalization(b, true)),
    ("param", |b| {
        let kernel = b.weight("y/kernel", &[4, 5], 0.0);
        b.add("y", Dense, &[b.x, kernel])
    }),
    ("permute", |b| b.of_x(Permute { axes: vec![0, 2, 3, 1] })),
    ("permute with the batch", |b| {
        let turned = b.add("turned", Permute { axes: vec![3, 1, 0, 2] }, &[b.x]);
        let one = b.add("one", Activate { function: Activation::Abs }, &[turned]);
        b.add("y", Permute { axes: vec![2, 1, 3, 0] }, &[one])
    }),
    ("prelu", |b| {
        let alpha = b.weight("y/alpha", &[1, 1, 4], 0.0);
        b.add("y", Prelu, &[b.x, alpha])
    }),
    ("prelu of every place", |b| {
        let alpha = b.weight("y/alpha", &[6, 7, 4], 0.0);
        b.add("y", Prelu, &[b.x, alpha])
    }),
    ("reduce_max", |b| b.of_x(ReduceMax { axes: vec![-1], keepdims: true })),
    ("reduce_max of places", |b| b.of_x(ReduceMax { axes: vec![1, 2], keepdims: false })),
    ("reduce_mean", |b| b.of_x(ReduceMean { axes: vec![2, -1], keepdims: false })),
    ("reduce_mean of places", |b| b.of_x(ReduceMean { axes: vec![1, 2], keepdims: false })),
    ("reduce_sum", |b| b.of_x(ReduceSum { axes: vec![1], keepdims: false })),
    ("regroup", |b| {
        let target = vec![Extent::Of(0), Extent::Known(42), Extent::Known(2), Extent::Known(2)];
        b.of_x(Regroup { target })
    }),
    ("regroup pictures together", |b| {
        let joined = b.add("joined", Regroup { target: vec![Extent::Rest, Extent::Known(4)] }, &[b.x]);
        let soft = b.add("soft", Softmax, &[joined]);
        let target = vec![Extent::Rest, Extent::Known(6), Extent::Known(7), Extent::Known(4)];
        b.add("y", Regroup { target }, &[soft])
    }),
    ("regroup by another axis", |b| {
        let turned = b.add("turned", Permute { axes: vec![1, 0, 2, 3] }, &[b.x]);
        let target = vec![Extent::Of(1), Extent::Of(0), Extent::Known(28)];
        b.add("y", Regroup { target }, &[turned])
    }),
    ("rescaling", |b| b.of_x(Rescaling { scale: vec![0.5], offset: vec![-1.0] })),
    ("rescaling of each channel", |b| {
        b.of_x(Rescaling { scale: vec![0.5, 1.0, 2.0, 4.0], offset: vec![1.0, 0.0, -1.0, 0.5] })
    }),
    ("reshape", |b| b.of_x(Reshape { target: vec![Some(2), None, Some(4)] })),
    ("slice", |b| b.of_x(Slice { axis: 2, start: Some(1), end: Some(-1), step: 2 })),
    ("slice backwards", |b| b.of_x(Slice { axis: -1, start: None, end: None, step: -1 })),
    ("softmax", |b| b.of_x(Softmax)),
    ("softmax after a convolution", |b| {
        let kernel = b.weight("conv/kernel", &[1, 1, 4, 3], 0.0);
        let conv = Conv2d { window: Window::square(1, 1, Padding::Valid), groups: 1 };
        let conv = b.add("conv", conv, &[b.x, kernel]);
        b.add("y", Softmax, &[conv])
    }),
    ("take", |b| b.of_x(Take { axis: -1, positions: vec![Some(2), Some(0), Some(2)], fill: 0.0 })),
    ("take with holes", |b| {
        b.of_x(Take { axis: 1, positions: vec![None, Some(3), Some(5), None], fill: 0.0 })
    }),
    ("take with holes filled", |b| b.of_x(Take { axis: 2, positions: vec![Some(6), None], fill: -2.5 })),
    ("up_sampling2d", |b| b.of_x(UpSampling2d { factors: [2, 3], interpolation: Interpolation::Nearest })),
    ("up_sampling2d bilinear", |b| {
        b.of_x(UpSampling2d { factors: [2, 2], interpolation: Interpolation::Bilinear })
    }),
    ("zero_pad2d", |b| b.of_x(ZeroPad2d { rows: [1, 2], columns: [0, 3] })),
];

/// All functions of one value; those that are defined above 0 alone get squares.
const FUNCTIONS: &[(&str, Activation)] = &[
    ("linear", Activation::Linear),
    ("relu", Activation::RELU),
    ("relu6", Activation::RELU6),
    ("leaky_relu", Activation::leaky_relu(0.1)),
    ("leaky_relu_02", Activation::leaky_relu(0.2)),
    ("relu_threshold", Activation::Relu { max: f32::INFINITY, slope: 0.0, threshold: 0.5 }),
    ("relu_all", Activation::Relu { max: 1.5, slope: 0.2, threshold: 0.5 }),
    ("elu", Activation::Elu { alpha: 1.0 }),
    ("elu_half", Activation::Elu { alpha: 0.5 }),
    ("selu", Activation::Selu),
    ("gelu", Activation::Gelu { approximate: false }),
    ("gelu_tanh", Activation::Gelu { approximate: true }),
    ("silu", Activation::Silu),
    ("hard_sigmoid2", Activation::HardSigmoid2),
    ("hard_sigmoid3", Activation::HardSigmoid3),
    ("hard_swish", Activation::HardSwish),
    ("sigmoid", Activation::Sigmoid),
    ("tanh", Activation::Tanh),
    ("softplus", Activation::Softplus),
    ("softsign", Activation::Softsign),
    ("mish", Activation::Mish),
    ("exp", Activation::Exp),
    ("log_positive", Activation::Log),
    ("square", Activation::Square),
    ("sqrt_positive", Activation::Sqrt),
    ("rsqrt_positive", Activation::Rsqrt),
    ("reciprocal_positive", Activation::Reciprocal),
    ("neg", Activation::Neg),
    ("abs", Activation::Abs),
    ("clip", Activation::Clip { min: -0.5, max: 1.0 }),
    ("affine", Activation::Affine { scale: -1.5, offset: 0.25 }),
];

fn average(padding: Padding, count_include_pad: bool) -> AveragePool2d {
    AveragePool2d { window: Window::square(3, 2, padding), count_include_pad }
}

fn batch_norm(b: &mut Build, x: NodeId, scale: bool, center: bool) -> NodeId {
    let mut inputs = vec![x];
    for (name, is_there, around) in
        [("gamma", scale, 1.0), ("beta", center, 0.0), ("mean", true, 0.0), ("variance", true, 1.0)]
    {
        if is_there {
            inputs.push(b.weight(&format!("y/{name}"), &[4], around));
        }
    }
    b.add("y", BatchNorm { epsilon: 1e-3, momentum: 0.9, scale, center }, &inputs)
}

fn dense(b: &mut Build, x: NodeId) -> NodeId {
    let (kernel, bias) = (b.weight("y/kernel", &[4, 5], 0.0), b.weight("y/bias", &[5], 0.0));
    b.add("y", Dense, &[x, kernel, bias])
}

fn normalization(b: &mut Build, invert: bool) -> NodeId {
    let (mean, variance) = (b.weight("y/mean", &[4], 0.0), b.weight("y/variance", &[4], 1.0));
    b.add("y", Normalization { invert }, &[b.x, mean, variance])
}

/// Every form as a case, and every function, alone and in a convolution.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = FORMS.iter().map(|(name, make)| case(name, *make)).collect();
    for &(name, function) in FUNCTIONS {
        let activate = Activate { function };
        let alone = |b: &mut Build| {
            let x = if name.ends_with("_positive") { b.positive() } else { b.x };
            b.add("y", activate.clone(), &[x])
        };
        cases.push(case(&format!("activate {name}"), alone));
        let inside = |b: &mut Build| {
            let kernel = b.weight("y/kernel", &[1, 1, 4, 3], 1.0);
            let x = b.positive();
            let conv = Conv2d { window: Window::square(1, 1, Padding::Valid), groups: 1 };
            let conv = b.add("y/pre_activation", conv, &[x, kernel]);
            b.add("y", activate.clone(), &[conv])
        };
        cases.push(case(&format!("activate {name} in a convolution"), inside));
    }
    for name in Op::NAMES {
        let is_of = |case: &Case| case.name.strip_prefix("op_").is_some_and(|rest| rest.starts_with(name));
        assert!(cases.iter().any(is_of), "no case for `{name}`");
    }
    cases
}

fn case(name: &str, make: impl Fn(&mut Build) -> NodeId) -> Case {
    let mut graph = Graph::default();
    let x = graph.add("x", Input::image(6, 7, 4), &[]).unwrap();
    let mut build = Build { graph, params: Params::default(), x };
    let y = make(&mut build);
    build.graph.set_outputs(vec![y]);
    let mut input = pattern(&[2, 6, 7, 4]);
    input.data_mut().iter_mut().for_each(|v| *v = *v / 64.0 - 2.0);
    let network = Network {
        name: "operator".to_owned(),
        kind: Kind::Functional,
        graph: Arc::new(build.graph),
        params: build.params,
        layers: Layers::default(),
        meta: Meta { preprocess: Some(Preprocess::book(6, 7)), labels: Some(vec!["a \"cat\"".to_owned()]) },
    };
    Case { name: format!("op_{}", name.replace(' ', "_")), network, inputs: vec![input] }
}
