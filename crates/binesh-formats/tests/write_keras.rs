//! What a written `.keras` file holds, and what cannot be written. (That it computes the same is tested in the crate
//! `binesh`, which can run a network; that Keras loads it, by `testdata/gen/check_written.py`.)

use std::sync::Arc;

use binesh_core::ops::{Conv2d, Dense, Input, MaxPool2d, Param, Permute};
use binesh_core::{Graph, Layer, Layers, NodeId, Op, Padding, Params, Tensor, Window};
use binesh_formats::meta::{Meta, Preprocess};
use binesh_formats::{Kind, LoadCx, Loaded, Network, load, save_keras};

fn network(graph: Graph, output: NodeId) -> Network {
    let mut graph = graph;
    graph.set_outputs(vec![output]);
    let mut params = Params::default();
    for id in graph.ids() {
        if let Op::Param(param) = &graph.node(id).op {
            let data = (0..param.shape.len()).map(|i| i as f32 * 0.1).collect();
            params.set(id, Tensor::new(param.shape.clone(), data).unwrap());
        }
    }
    Network {
        name: "hand made".to_owned(),
        kind: Kind::Functional,
        graph: Arc::new(graph),
        params,
        layers: Layers::default(),
        meta: Meta::default(),
    }
}

/// A picture `[N, 8, 8, 2]`.
fn picture() -> (Graph, NodeId) {
    let mut graph = Graph::default();
    let x = graph.add("photo", Input::image(8, 8, 2), &[]).unwrap();
    (graph, x)
}

fn param(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    graph.add(name, Param { shape: shape.into(), trainable: true }, &[]).unwrap()
}

fn read(network: &Network) -> Network {
    let bytes = save_keras(network, None).unwrap();
    match load(bytes, "written.keras", &LoadCx::default()) {
        Ok((Loaded::Model(network), _)) => *network,
        other => panic!("{other:?}"),
    }
}

fn rows(network: &Network) -> Vec<(String, String)> {
    network.layers.iter().map(|(_, layer)| (layer.path.clone(), layer.class.clone())).collect()
}

#[track_caller]
fn refused(graph: Graph, output: NodeId, want: &str) {
    let e = save_keras(&network(graph, output), None).unwrap_err();
    assert_eq!(e.to_string(), want);
}

#[test]
fn what_keras_cannot_do_names_the_node_and_the_operator() {
    let (mut graph, x) = picture();
    let window =
        Window { padding: Padding::Explicit([[1, 0], [0, 0]]), ..Window::square(2, 2, Padding::Valid) };
    let y = graph.add("pool", MaxPool2d { window }, &[x]).unwrap();
    let want = "layer `pool` (max_pool2d): Keras has no pooling with padding [[1, 0], [0, 0]]";
    refused(graph, y, want);

    let (mut graph, x) = picture();
    let w = param(&mut graph, "conv/kernel", &[3, 3, 2, 4]);
    let window = Window { dilation: [2; 2], ..Window::square(3, 2, Padding::Same) };
    let y = graph.add("conv", Conv2d { window, groups: 1 }, &[x, w]).unwrap();
    let want = "layer `conv` (conv2d): Keras has no convolution with both strides and dilation";
    refused(graph, y, want);

    let (mut graph, x) = picture();
    let y = graph.add("turned", Permute { axes: vec![1, 0, 2, 3] }, &[x]).unwrap();
    let want =
        "layer `turned` (permute): the axes [1, 0, 2, 3] move the batch axis, which no Keras layer does";
    refused(graph, y, want);

    let (mut graph, x) = picture();
    let v = graph.add("vector", Input { dims: vec![Some(2), Some(2)] }, &[]).unwrap();
    let y = graph.add("product", Dense, &[x, v]).unwrap();
    let want =
        "layer `product` (dense): its weight `vector` is computed by the network, which no Keras layer can";
    refused(graph, y, want);
}

#[test]
fn an_architecture_alone_is_no_file() {
    let (mut graph, x) = picture();
    let w = param(&mut graph, "fc/kernel", &[2, 3]);
    let y = graph.add("fc", Dense, &[x, w]).unwrap();
    let mut network = network(graph, y);
    network.params = Params::default();
    let e = save_keras(&network, None).unwrap_err();
    assert_eq!(e.to_string(), "layer `fc` (dense): weight `fc/kernel` of shape [2, 3] is not in the file");
    assert_eq!(e.hint(), Some("an architecture alone cannot be written"));
}

#[test]
fn padding_that_keras_does_not_name_is_a_layer() {
    let (mut graph, x) = picture();
    let w = param(&mut graph, "conv/kernel", &[3, 3, 2, 4]);
    let padding = Padding::Explicit([[2, 0], [1, 1]]);
    let conv = Conv2d { window: Window::square(3, 1, padding), groups: 1 };
    let y = graph.add("conv", conv, &[x, w]).unwrap();
    // Where it does name it, it is none.
    let padding = Padding::Explicit([[1, 1], [1, 1]]);
    let w = param(&mut graph, "again/kernel", &[3, 3, 4, 1]);
    let conv = Conv2d { window: Window::square(3, 1, padding), groups: 1 };
    let y = graph.add("again", conv, &[y, w]).unwrap();
    let read = read(&network(graph, y));
    let want =
        [("photo", "InputLayer"), ("conv_pad", "ZeroPadding2D"), ("conv", "Conv2D"), ("again", "Conv2D")];
    assert_eq!(rows(&read), want.map(|(name, class)| (name.to_owned(), class.to_owned())));
    assert_eq!(read.name, "hand_made");
}

/// Layers freeze with the models around them, and what belongs to the network travels with it.
#[test]
fn what_is_frozen_and_how_pictures_are_prepared() {
    let (mut graph, x) = picture();
    let w = param(&mut graph, "base/fc/kernel", &[2, 3]);
    let y = graph.add("base/fc", Dense, &[x, w]).unwrap();
    let v = param(&mut graph, "fc/kernel", &[3, 2]);
    let y = graph.add("fc", Dense, &[y, v]).unwrap();
    let mut network = network(graph, y);
    let row = |path: &str, parent, params: &[NodeId], trainable| Layer {
        path: path.to_owned(),
        name: path.rsplit('/').next().unwrap().to_owned(),
        class: "Dense".to_owned(),
        parent,
        calls: Vec::new(),
        params: params.to_vec(),
        trainable,
    };
    let base = network.layers.push(row("base", None, &[], false));
    network.layers.push(row("base/fc", Some(base), &[w], true));
    network.layers.push(row("fc", None, &[v], true));
    let labels = Some(vec!["a cat".to_owned(), "a dog".to_owned()]);
    network.meta = Meta { preprocess: Some(Preprocess::book(8, 8)), labels };

    let read = read(&network);
    let flags: Vec<(&str, bool)> =
        read.layers.iter().map(|(_, layer)| (layer.path.as_str(), layer.trainable)).collect();
    assert_eq!(flags, [("photo", true), ("base_fc", false), ("fc", true)]);
    assert_eq!(read.meta, network.meta);
}
