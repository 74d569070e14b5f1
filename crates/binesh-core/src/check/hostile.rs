//! Operators as a hostile file would ask for them: whatever `infer` accepts, `forward` and `backward` must compute.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::check::executor;
use crate::graph::Graph;
use crate::ops::{
    Activate, AveragePool2d, BatchMatmul, BatchNorm, Binary, Concat, Constant, Conv2d, Conv2dTranspose,
    Crop2d, Dense, DepthwiseConv2d, Dropout, Erf, Flatten, GlobalAveragePool2d, GlobalMaxPool2d, Identity,
    LayerNorm, MaxPool2d, Normalization, Op, Permute, Prelu, ReduceMax, ReduceMean, ReduceSum, Regroup,
    Rescaling, Reshape, Slice, Softmax, Take, UpSampling2d, ZeroPad2d, regroup::Extent,
    up_sampling2d::Interpolation,
};
use crate::params::Params;
use crate::shape::{Padding, Shape, Window};
use crate::tensor::Tensor;
use crate::{Activation, BinaryOp};

/// Mostly small numbers, now and then absurd ones.
fn size(least: usize) -> impl Strategy<Value = usize> {
    let absurd = prop_oneof![Just(0), Just(1 << 16), Just(1 << 33), Just(1 << 62), Just(usize::MAX)];
    prop_oneof![30 => least..4usize, 1 => absurd]
}

fn position() -> impl Strategy<Value = i64> {
    prop_oneof![20 => -4..4i64, 1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(1 << 40)]]
}

fn pair(least: usize) -> impl Strategy<Value = [usize; 2]> {
    [size(least), size(least)]
}

fn window() -> impl Strategy<Value = Window> {
    let padding = prop_oneof![
        Just(Padding::Valid),
        Just(Padding::Same),
        [pair(0), pair(0)].prop_map(Padding::Explicit)
    ];
    (pair(1), pair(1), pair(1), padding).prop_map(|(size, stride, dilation, padding)| Window {
        size,
        stride,
        dilation,
        padding,
    })
}

fn operator() -> impl Strategy<Value = Op> {
    let pools = (window(), any::<bool>()).prop_flat_map(|(window, count_include_pad)| {
        prop_oneof![
            Just(Op::from(MaxPool2d { window })),
            Just(AveragePool2d { window, count_include_pad }.into()),
        ]
    });
    let convolutions =
        (window(), size(1), proptest::option::of(pair(0))).prop_flat_map(|(window, groups, extra)| {
            prop_oneof![
                Just(Op::from(Conv2d { window, groups })),
                Just(DepthwiseConv2d { window }.into()),
                Just(Conv2dTranspose { window, output_padding: extra }.into()),
            ]
        });
    let norms = (any::<bool>(), any::<bool>()).prop_flat_map(|(scale, center)| {
        prop_oneof![
            Just(Op::from(BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale, center })),
            Just(LayerNorm { epsilon: 1e-3, scale, center }.into()),
            Just(Normalization { invert: scale }.into()),
            Just(GlobalAveragePool2d { keepdims: scale }.into()),
            Just(GlobalMaxPool2d { keepdims: scale }.into()),
        ]
    });
    let borders = (pair(0), pair(0)).prop_flat_map(|(rows, columns)| {
        prop_oneof![
            Just(Op::from(Crop2d { rows, columns })),
            Just(ZeroPad2d { rows, columns }.into()),
            Just(UpSampling2d { factors: rows, interpolation: Interpolation::Bilinear }.into()),
            Just(UpSampling2d { factors: rows, interpolation: Interpolation::Nearest }.into()),
        ]
    });
    let axes = proptest::collection::vec(position(), 0..4);
    let target = proptest::collection::vec(proptest::option::of(size(1)), 0..4);
    let simple = prop_oneof![
        Just(Op::from(Dense)),
        Just(BatchMatmul.into()),
        Just(Erf.into()),
        Just(Flatten.into()),
        Just(Identity.into()),
        Just(Softmax.into()),
        Just(Prelu.into()),
        Just(Dropout { rate: 0.5 }.into()),
        Just(Activate { function: Activation::RELU }.into()),
        Just(Binary { op: BinaryOp::Multiply }.into()),
    ];
    let extent = prop_oneof![
        3 => size(1).prop_map(Extent::Known),
        1 => (0..5usize).prop_map(Extent::Of),
        1 => Just(Extent::Rest),
    ];
    let bounds = || proptest::option::of(position());
    let along_axes = prop_oneof![
        position().prop_map(|axis| Concat { axis }.into()),
        (axes, any::<bool>(), 0..3).prop_map(|(axes, keepdims, which)| match which {
            0 => ReduceMean { axes, keepdims }.into(),
            1 => ReduceSum { axes, keepdims }.into(),
            _ => ReduceMax { axes, keepdims }.into(),
        }),
        proptest::collection::vec(extent, 0..4).prop_map(|target| Regroup { target }.into()),
        (position(), proptest::collection::vec(proptest::option::of(size(0)), 0..4))
            .prop_map(|(axis, positions)| Take { axis, positions, fill: 1.0 }.into()),
        proptest::collection::vec(0..4usize, 0..4).prop_map(|axes| Permute { axes }.into()),
        (position(), bounds(), bounds(), position()).prop_map(|(axis, start, end, step)| Slice {
            axis,
            start,
            end,
            step
        }
        .into()),
        (0..4usize, 0..4usize)
            .prop_map(|(a, b)| Rescaling { scale: vec![1.0; a], offset: vec![0.0; b] }.into()),
        target.prop_map(|target| Op::from(Reshape { target })),
    ];
    prop_oneof![2 => pools, 4 => convolutions, 2 => norms, 1 => borders, 2 => simple, 3 => along_axes]
}

/// Extents small enough to compute with, rarely none.
fn shape() -> impl Strategy<Value = Shape> {
    let extent = || prop_oneof![50 => 1..4usize, 1 => Just(0)];
    prop_oneof![
        4 => proptest::collection::vec(extent(), 4).prop_map(Shape::from),
        1 => proptest::collection::vec(extent(), 0..5).prop_map(Shape::from),
    ]
}

/// Weights that go with an input, where they are small enough to make: random ones hardly ever fit.
fn fitting_weights(op: &Op, x: &Shape, m: usize) -> Option<Vec<Shape>> {
    let c = x.channels().ok()?;
    let kernel = |window: &Window, rest: [usize; 2]| {
        let [kh, kw] = window.size;
        let small = kh.max(kw) < 8 && rest[0].max(rest[1]) < 64;
        small.then(|| vec![Shape::from([kh, kw, rest[0], rest[1]])])
    };
    match op {
        Op::Conv2d(op) => kernel(&op.window, [c.checked_div(op.groups)?, m.checked_mul(op.groups.min(64))?]),
        Op::DepthwiseConv2d(op) => kernel(&op.window, [c, m]),
        Op::Conv2dTranspose(op) => kernel(&op.window, [m, c]),
        Op::Dense(_) => Some(vec![[c, m].into()]),
        Op::BatchNorm(_) | Op::LayerNorm(_) | Op::Normalization(_) => {
            Some(vec![[c].into(); op.operator().arity().end() - 1])
        }
        Op::Prelu(_) => Some(vec![x.dims()[1..].into()]),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000, failure_persistence: None, rng_seed: RngSeed::Fixed(3), ..Default::default()
    })]

    #[test]
    fn what_infer_accepts_is_computed(
        op in operator(),
        mut shapes in proptest::collection::vec(shape(), 1..6),
        m in 1..4usize,
    ) {
        if let Some(weights) = fitting_weights(&op, &shapes[0], m) {
            shapes.splice(1.., weights);
        }
        let mut graph = Graph::default();
        let mut inputs = Vec::new();
        let arity = op.operator().arity();
        let count = shapes.len().clamp(*arity.start(), (*arity.end()).max(1));
        for (i, shape) in shapes.iter().cycle().take(count).enumerate() {
            let constant = Constant { value: Tensor::new(shape.clone(), vec![0.5; shape.len()]).unwrap() };
            let Ok(id) = graph.add(format!("x{i}"), constant, &[]) else { return Ok(()) };
            inputs.push(id);
        }
        let Ok(y) = graph.add("y", op, &inputs) else { return Ok(()) };
        let shape: Vec<usize> = graph.dims(y).into_iter().map(Option::unwrap).collect();
        // More than a test should compute; still, saying how much it is must not panic.
        let shapes: Vec<Shape> = graph.shapes(&[]).unwrap();
        let of_inputs: Vec<&Shape> = inputs.iter().map(|id| &shapes[id.index()]).collect();
        graph.node(y).op.operator().macs(&of_inputs, &shapes[y.index()]);
        if shape.iter().product::<usize>() > 1 << 16 {
            return Ok(());
        }
        let values = executor::forward(&graph, &Params::default(), &[]);
        let seed = Tensor::new(shape.clone(), vec![1.0; shape.iter().product()]).unwrap();
        executor::backward(&graph, &values, &[(y, seed)]);
        prop_assert!(values[y.index()].data().iter().all(|v| !v.is_nan()), "a value was not written");
    }
}
