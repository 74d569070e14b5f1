//! What a model is taken for: its head, its preprocessing, its maps.

use std::sync::Arc;

use binesh::core::ops::{
    Activate, Binary, Constant, Conv2d, Dense, GlobalAveragePool2d, Input, Param, Permute,
};
use binesh::core::{
    Activation, BinaryOp, Call, Grads, Graph, Layer, Layers, NodeId, Op, Padding, Params, Runtime, Shape,
    Tensor, Window,
};
use binesh::formats::meta::{Meta, Scaling};
use binesh::formats::{Kind, LoadCx, Loaded, Network, load};
use binesh::image::Picture;
use binesh::view::{METHODS, Probe, Score, Target, heatmaps};
use binesh::{Error, HeadKind, Model, PreprocessingSource};

/// A convolution of one channel and a dense unit on its mean, after `before` and with `after`.
fn network(name: &str, before: &[Op], after: Option<Activation>) -> Model {
    let mut graph = Graph::default();
    let (mut params, mut layers) = (Params::default(), Layers::default());
    let input = graph.add("input", Input::image(6, 6, 3), &[]).unwrap();
    let mut x = input;
    for (index, op) in before.iter().enumerate() {
        let mut inputs = vec![x];
        if matches!(op, Op::Binary(_)) {
            let value = Tensor::new([3], vec![2.0, 3.0, 4.0]).unwrap();
            inputs.push(graph.add(format!("constant{index}"), Constant { value }, &[]).unwrap());
        }
        x = graph.add(format!("before{index}"), op.clone(), &inputs).unwrap();
    }
    let mut weight = |graph: &mut Graph, name: &str, shape: Shape| {
        let id = graph.add(name, Param { shape: shape.clone(), trainable: true }, &[]).unwrap();
        let values = (0..shape.len()).map(|i| (i % 5) as f32 * 0.1 - 0.1).collect();
        params.set(id, Tensor::new(shape, values).unwrap());
        id
    };
    let kernel = weight(&mut graph, "conv/kernel", [3, 3, 3, 2].into());
    let window = Window::square(3, 1, Padding::Same);
    let conv = graph.add("conv", Conv2d { window, groups: 1 }, &[x, kernel]).unwrap();
    let pooled = graph.add("pool", GlobalAveragePool2d { keepdims: false }, &[conv]).unwrap();
    let kernel = weight(&mut graph, "dense/kernel", [2, 1].into());
    let mut output = graph.add("dense", Dense, &[pooled, kernel]).unwrap();
    if let Some(function) = after {
        output = graph.add("after", Activate { function }, &[output]).unwrap();
    }
    graph.set_outputs(vec![output]);
    let mut row = |name: &str, class: &str, node: NodeId| {
        layers.push(Layer {
            path: name.to_owned(),
            name: name.to_owned(),
            class: class.to_owned(),
            parent: None,
            calls: vec![Call { inbound: Vec::new(), outputs: vec![node] }],
            params: Vec::new(),
            trainable: true,
        });
    };
    row("input", "InputLayer", input);
    row("conv", "Conv2D", conv);
    row("dense", "Dense", output);
    let kind = Kind::Functional;
    let network = Network {
        name: name.to_owned(),
        kind,
        graph: Arc::new(graph),
        params,
        layers,
        meta: Meta::default(),
    };
    Model::new(network, Runtime::new(1))
}

fn output(model: &Model, picture: &Picture) -> f32 {
    let x = model.input(std::slice::from_ref(picture)).unwrap();
    let node = model.graph().outputs()[0];
    let mut session = model.session(&[x.shape().clone()], &[node], Grads::None).unwrap();
    session.run(model.params(), &[x.view()]).unwrap();
    session.value(node).data()[0]
}

/// `Dense(1)` without a sigmoid, trained with `from_logits=True`: two classes, not one that is always certain.
#[test]
fn one_linear_unit_is_a_logit() {
    let picture = Picture::filled(6, 6, [200, 90, 30]);
    let linear = network("net", &[], None);
    let head = linear.head().unwrap();
    assert_eq!((head.kind, head.classes()), (HeadKind::BinaryLogit, 2));
    let logit = f64::from(output(&linear, &picture));
    let expected = 1.0 / (1.0 + (-logit).exp());
    let found = linear.predict(std::slice::from_ref(&picture)).unwrap().remove(0).probabilities;
    assert!((f64::from(found[1]) - expected).abs() < 1e-6 && (found[0] + found[1] - 1.0).abs() < 1e-6);
    // The same network with its sigmoid says the same.
    let sigmoid = network("net", &[], Some(Activation::Sigmoid));
    assert_eq!(sigmoid.head().unwrap().kind, HeadKind::Binary);
    let same = sigmoid.predict(std::slice::from_ref(&picture)).unwrap().remove(0).probabilities;
    assert!((same[1] - found[1]).abs() < 1e-6);
    // What speaks for one class speaks against the other.
    let map = |class| {
        let mut probe = Probe::new(&linear, None, Target::Class(class), Score::Logit).unwrap();
        heatmaps(&METHODS[0], &mut probe, std::slice::from_ref(&picture)).unwrap().remove(0)
    };
    assert_ne!(map(0).blank.is_some(), map(1).blank.is_some());
    assert!(matches!(network("net", &[], Some(Activation::Tanh)).head(), Err(Error::NotAClassifier)));
}

/// However the arithmetic before the first layer is written, pictures are not scaled a second time.
#[test]
fn networks_that_scale_by_themselves() {
    let affine = || Op::from(Activate { function: Activation::Affine { scale: 1.0 / 127.5, offset: -1.0 } });
    let turned = || Op::from(Permute { axes: vec![0, 1, 2, 3] });
    let cases = [vec![affine()], vec![turned(), affine()], vec![Op::from(Binary { op: BinaryOp::Divide })]];
    for before in cases {
        let model = network("mobilenetv2_1.00_224", &before, None);
        let known = model.preprocessing().unwrap();
        assert_eq!(known.source, PreprocessingSource::InNetwork, "{before:?}");
        assert_eq!(known.preprocess.scaling, Scaling::None);
    }
    let named = network("mobilenetv2_1.00_224", &[], None);
    let source = &named.preprocessing().unwrap().source;
    assert_eq!(*source, PreprocessingSource::Application("mobilenetv2_1.00_224".to_owned()));
    assert_eq!(network("net", &[], None).preprocessing().unwrap().source, PreprocessingSource::Assumed);
}

/// A kernel has four axes and is no map.
#[test]
fn weights_are_no_maps() {
    let model = network("net", &[], None);
    let kernel = model.find_node("conv/kernel").unwrap();
    assert!(!model.is_map(kernel) && model.is_map(model.find_node("conv").unwrap()));
    let error = Probe::new(&model, Some(kernel), Target::Top, Score::Logit).err().unwrap();
    assert_eq!(error.to_string(), "layer `conv/kernel` has output (3, 3, 3, 2), not a map [N, H, W, C]");
}

/// The chapter's convnet (listing 5.5): its first activation and its number of parameters.
#[test]
fn the_chapters_convnet() {
    let conv = |filters: usize, input: bool| {
        let shape = if input { r#""batch_input_shape":[null,150,150,3],"# } else { "" };
        format!(
            r#"{{"class_name":"Conv2D","config":{{"name":"conv2d_{filters}_{input}",{shape}"filters":{filters},"kernel_size":[3,3],"activation":"relu"}}}},
               {{"class_name":"MaxPooling2D","config":{{"name":"max_pooling2d_{filters}_{input}","pool_size":[2,2]}}}}"#
        )
    };
    let dense = |units: usize, activation: &str| {
        format!(
            r#"{{"class_name":"Dense","config":{{"name":"dense_{units}","units":{units},"activation":"{activation}"}}}}"#
        )
    };
    let third = conv(128, false);
    let fourth = third.replace("_128_", "_128b_");
    let layers = [conv(32, true), conv(64, false), third, fourth];
    let flatten = r#"{"class_name":"Flatten","config":{"name":"flatten_1"}}"#;
    let json = format!(
        r#"{{"class_name":"Sequential","keras_version":"2.0.8","config":[{},{flatten},{},{}]}}"#,
        layers.join(","),
        dense(512, "relu"),
        dense(1, "sigmoid")
    );
    let (loaded, report) = load(json.into_bytes(), "convnet.json", &LoadCx::default()).unwrap();
    let Loaded::Model(mut network) = loaded else { panic!("an architecture is a model") };
    assert_eq!(report.missing.len(), 12);
    let weights: Vec<(NodeId, Shape)> = (network.graph.ids())
        .filter_map(|id| match &network.graph.node(id).op {
            Op::Param(param) => Some((id, param.shape.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(weights.iter().map(|(_, shape)| shape.len()).sum::<usize>(), 3_453_121);
    for (id, shape) in weights {
        network.params.set(id, Tensor::zeros(shape));
    }
    let model = Model::new(*network, Runtime::new(2));
    let first = binesh::view::map_layers(&model)[0];
    let picture = Picture::filled(200, 300, [10, 20, 30]);
    let layer = binesh::view::activations(&model, &picture, &[first]).unwrap().remove(0);
    assert_eq!(layer.values.shape().dims(), [1, 148, 148, 32]);
}
