//! Summaries of networks built by hand, against what Keras says of the same networks.

use binesh::report::summary::{Keras3Style, ModelKind, Row, Summary};
use binesh_core::ops::{
    Activate, BatchNorm, Binary, Conv2d, Dense, Flatten, GlobalAveragePool2d, GlobalMaxPool2d, Identity,
    Input, MaxPool2d, Param,
};
use binesh_core::{
    Activation, BinaryOp, Call, Graph, Inbound, Layer, LayerId, Layers, NodeId, Op, Padding, Shape, Window,
};
use serde_json::Value;

#[derive(Default)]
struct Builder {
    graph: Graph,
    layers: Layers,
}

impl Builder {
    fn node(&mut self, name: &str, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        self.graph.add(name, op, inputs).unwrap()
    }

    fn param(&mut self, name: &str, shape: &[usize], trainable: bool) -> NodeId {
        self.node(name, Param { shape: Shape::from(shape.to_vec()), trainable }, &[])
    }

    fn layer(
        &mut self,
        path: &str,
        class: &str,
        parent: Option<LayerId>,
        calls: &[(&[LayerId], NodeId)],
    ) -> LayerId {
        let inbound = |from: &LayerId| Inbound { layer: *from, call: 0, output: 0 };
        let call = |&(from, output): &(&[LayerId], NodeId)| Call {
            inbound: from.iter().map(inbound).collect(),
            outputs: vec![output],
        };
        let under = |param: &NodeId| {
            let node = self.graph.node(*param);
            matches!(node.op, Op::Param(_))
                && node.name.rsplit_once('/').is_some_and(|(owner, _)| owner == path)
        };
        let layer = Layer {
            path: path.to_owned(),
            name: path.rsplit('/').next().unwrap().to_owned(),
            class: class.to_owned(),
            parent,
            calls: calls.iter().map(call).collect(),
            params: self.graph.ids().filter(under).collect(),
            trainable: true,
        };
        self.layers.push(layer)
    }

    fn golden_equals(&self, kind: ModelKind, name: &str) -> Summary {
        let file = format!("{}/../../testdata/golden/summaries/k3_{name}.json", env!("CARGO_MANIFEST_DIR"));
        let mut golden: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let expected: Summary = serde_json::from_value(golden["summary"].take()).unwrap();
        let got = Summary::of(&expected.name, kind, &self.graph, &self.layers, &[]).unwrap();
        let mut plain = got.clone();
        plain.rows.iter_mut().for_each(forget_costs);
        assert_eq!(plain.rows, expected.rows);
        assert_eq!(plain, expected);
        got
    }
}

/// Keras does not count them.
fn forget_costs(row: &mut Row) {
    (row.mult_adds, row.activation_bytes) = (None, None);
    row.children.iter_mut().for_each(forget_costs);
}

/// Listing 5.5 of the book. `size` is that of the picture.
fn convnet(size: Option<usize>, head: bool) -> Builder {
    let mut b = Builder::default();
    let mut x = b.node("input_1", Input { dims: vec![None, size, size, Some(3)] }, &[]);
    let input = b.layer("input_1", "InputLayer", None, &[(&[], x)]);
    assert_eq!(b.layers.get(input).params, []);
    let mut channels_in = 3;
    for (i, channels) in [32, 64, 128, 128].into_iter().enumerate() {
        let (conv, pool) = (format!("conv2d_{}", i + 1), format!("max_pooling2d_{}", i + 1));
        let kernel = b.param(&format!("{conv}/kernel"), &[3, 3, channels_in, channels], true);
        let bias = b.param(&format!("{conv}/bias"), &[channels], true);
        let window = Window::square(3, 1, Padding::Valid);
        x = b.node(&format!("{conv}/pre_activation"), Conv2d { window, groups: 1 }, &[x, kernel, bias]);
        x = b.node(&conv, relu(), &[x]);
        b.layer(&conv, "Conv2D", None, &[(&[], x)]);
        x = b.node(&pool, MaxPool2d { window: Window::square(2, 2, Padding::Valid) }, &[x]);
        b.layer(&pool, "MaxPooling2D", None, &[(&[], x)]);
        channels_in = channels;
    }
    if head {
        x = b.node("flatten_1", Flatten, &[x]);
        b.layer("flatten_1", "Flatten", None, &[(&[], x)]);
        for (name, units_in, units) in [("dense_1", 6272, 512), ("dense_2", 512, 1)] {
            let kernel = b.param(&format!("{name}/kernel"), &[units_in, units], true);
            let bias = b.param(&format!("{name}/bias"), &[units], true);
            x = b.node(name, Dense, &[x, kernel, bias]);
            b.layer(name, "Dense", None, &[(&[], x)]);
        }
    }
    b
}

fn relu() -> Activate {
    Activate { function: Activation::Relu { max: f32::INFINITY, slope: 0.0, threshold: 0.0 } }
}

#[test]
fn the_convnet_of_the_book() {
    let summary = convnet(Some(150), true).golden_equals(ModelKind::Sequential, "convnet");
    // Ho * Wo * Cout * Kh * Kw * Cin for each convolution, inputs * outputs for each dense layer.
    let macs: Vec<u64> = summary.rows.iter().map(|row| row.mult_adds.unwrap()).collect();
    let conv = [148 * 148 * 32 * 27, 72 * 72 * 64 * 288, 34 * 34 * 128 * 576, 15 * 15 * 128 * 1152];
    let dense = [6272 * 512, 512];
    assert_eq!(macs, [conv[0], 0, conv[1], 0, conv[2], 0, conv[3], 0, 0, dense[0], dense[1]]);
    assert_eq!(summary.mult_adds(), Some(conv.iter().chain(&dense).sum()));
    let values = [148 * 148 * 32, 74 * 74 * 32, 72 * 72 * 64, 36 * 36 * 64, 34 * 34 * 128, 17 * 17 * 128];
    let values = values.iter().chain(&[15 * 15 * 128, 7 * 7 * 128, 7 * 7 * 128, 512, 1]);
    assert_eq!(summary.activation_bytes(), Some(values.sum::<u64>() * 4));
}

#[test]
fn an_open_picture_size_leaves_the_costs_unknown_until_it_is_given() {
    let b = convnet(None, false);
    let of = |picture: &[(NodeId, Shape)]| {
        Summary::of("open", ModelKind::Sequential, &b.graph, &b.layers, picture).unwrap()
    };
    let open = of(&[]);
    assert_eq!(open.rows[0].outputs, [[None, None, None, Some(32)]]);
    assert_eq!((open.mult_adds(), open.rows[0].mult_adds, open.activation_bytes()), (None, None, None));
    let given = of(&[(b.graph.inputs()[0], Shape::from(vec![1, 150, 150, 3]))]);
    assert_eq!(given.rows[0].mult_adds, Some(148 * 148 * 32 * 27));
    assert_eq!(given.rows[0].outputs, [[None, None, None, Some(32)]]);
}

/// Two pictures through one convolution; one of the maps then goes through a nested model that is frozen.
fn frozen_tower() -> Builder {
    let mut b = Builder::default();
    let left = b.node("left", Input::image(8, 8, 3), &[]);
    let right = b.node("right", Input::image(8, 8, 3), &[]);
    let kernel = b.param("shared/kernel", &[3, 3, 3, 4], true);
    let bias = b.param("shared/bias", &[4], true);
    let conv = Conv2d { window: Window::square(3, 1, Padding::Same), groups: 1 };
    let shared_right = b.node("shared", conv.clone(), &[right, kernel, bias]);
    let shared_left = b.node("shared#1", conv, &[left, kernel, bias]);
    let tower_in = b.node("tower/tower_in", Identity, &[shared_left]);
    let learnt = ["gamma", "beta"].map(|name| b.param(&format!("tower/bn/{name}"), &[4], true));
    let moving =
        ["moving_mean", "moving_variance"].map(|name| b.param(&format!("tower/bn/{name}"), &[4], false));
    let weights = [learnt[0], learnt[1], moving[0], moving[1]];
    let norm = BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale: true, center: true };
    let bn = b.node("tower/bn", norm, &[&[tower_in], &weights[..]].concat());
    let gap = b.node("tower/gap", GlobalAveragePool2d { keepdims: false }, &[bn]);
    let gmp = b.node("gmp", GlobalMaxPool2d { keepdims: false }, &[shared_right]);
    let add = b.node("add", Binary { op: BinaryOp::Add }, &[gap, gmp]);
    let kernel = b.param("classes/kernel", &[4, 3], true);
    let bias = b.param("classes/bias", &[3], true);
    let classes = b.node("classes", Dense, &[add, kernel, bias]);

    let left = b.layer("left", "InputLayer", None, &[(&[], left)]);
    let right = b.layer("right", "InputLayer", None, &[(&[], right)]);
    let shared = b.layer("shared", "Conv2D", None, &[(&[right], shared_right), (&[left], shared_left)]);
    let tower = b.layer("tower", "Functional", None, &[(&[shared], gap)]);
    let tower_in = b.layer("tower/tower_in", "InputLayer", Some(tower), &[(&[], tower_in)]);
    let bn = b.layer("tower/bn", "BatchNormalization", Some(tower), &[(&[tower_in], bn)]);
    b.layer("tower/gap", "GlobalAveragePooling2D", Some(tower), &[(&[bn], gap)]);
    let gmp = b.layer("gmp", "GlobalMaxPooling2D", None, &[(&[shared], gmp)]);
    let add = b.layer("add", "Add", None, &[(&[tower, gmp], add)]);
    b.layer("classes", "Dense", None, &[(&[add], classes)]);
    b.layers.get_mut(tower).calls[0].inbound[0].call = 1;
    b.layers.get_mut(tower).trainable = false;
    b
}

#[test]
fn shared_layers_and_a_frozen_nested_model() {
    let summary = frozen_tower().golden_equals(ModelKind::Functional, "frozen_tower");
    let rows = &summary.rows;
    assert_eq!(rows[2].mult_adds, Some(2 * 8 * 8 * 4 * 27));
    assert_eq!(rows[2].activation_bytes, Some(2 * 8 * 8 * 4 * 4));
    assert_eq!(rows[0].activation_bytes, Some(0));
    // The normalised map and its means; the nested input makes nothing.
    assert_eq!(rows[3].activation_bytes, Some((8 * 8 * 4 + 4) * 4));
    assert_eq!(rows[6].mult_adds, Some(4 * 3));
    let text =
        summary.keras3(&Keras3Style { expand_nested: true, show_trainable: true, ..Default::default() });
    assert!(
        text.contains("│    └ bn           │ (None, 8, 8, 4) │        16 │ -              │   N   │"),
        "{text}"
    );
}

#[test]
fn two_layers_with_the_same_parameters_name_each_other_and_count_them_once() {
    let mut b = Builder::default();
    let x = b.node("x", Input { dims: vec![None, Some(4)] }, &[]);
    let kernel = b.param("first/kernel", &[4, 4], true);
    let bias = b.param("first/bias", &[4], true);
    let y = b.node("first", Dense, &[x, kernel, bias]);
    let z = b.node("second", Dense, &[y, kernel, bias]);
    let x = b.layer("x", "InputLayer", None, &[(&[], x)]);
    let first = b.layer("first", "Dense", None, &[(&[x], y)]);
    let second = b.layer("second", "Dense", None, &[(&[first], z)]);
    b.layers.get_mut(second).params = vec![kernel, bias];
    b.layers.get_mut(first).trainable = false;
    let summary = Summary::of("tied", ModelKind::Functional, &b.graph, &b.layers, &[]).unwrap();
    assert_eq!(summary.rows[1].shared_with, ["second"]);
    assert_eq!(summary.rows[2].shared_with, ["first"]);
    assert_eq!((summary.rows[1].trainable, summary.rows[2].trainable), (Some(false), Some(true)));
    assert_eq!((summary.trainable.count, summary.non_trainable.count), (20, 0));
    assert_eq!(summary.rows[2].params, 20);
}
