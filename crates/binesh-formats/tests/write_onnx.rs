//! What a written ONNX file holds, and what cannot be written. (That it computes the same is tested in the crate `binesh`,
//! which can run a network; that ONNX Runtime does too, by `testdata/gen/check_written.py`.)

use std::sync::Arc;

use binesh_core::ops::{
    Activate, AveragePool2d, Binary, Conv2d, Dense, Flatten, GlobalAveragePool2d, Input, MaxPool2d, Param,
    Permute,
};
use binesh_core::{Activation, BinaryOp, Graph, Layers, NodeId, Op, Padding, Params, Tensor, Window};
use binesh_formats::meta::{Meta, Preprocess};
use binesh_formats::{Kind, LoadCx, Loaded, Network, Writer, load};

fn network(mut graph: Graph, output: NodeId) -> Network {
    graph.set_outputs(vec![output]);
    let mut params = Params::default();
    for id in graph.ids() {
        if let Op::Param(param) = &graph.node(id).op
            && param.shape.len() < 1 << 20
        {
            params.set(id, Tensor::zeros(param.shape.clone()));
        }
    }
    let labels = Some(vec!["گربه".to_owned(), "a \"dog\"".to_owned()]);
    Network {
        name: "hand made".to_owned(),
        kind: Kind::Functional,
        graph: Arc::new(graph),
        params,
        layers: Layers::default(),
        meta: Meta { preprocess: Some(Preprocess::book(8, 8)), labels },
    }
}

fn param(graph: &mut Graph, name: &str, shape: &[usize]) -> NodeId {
    graph.add(name, Param { shape: shape.into(), trainable: true }, &[]).unwrap()
}

/// `n` convolutions of a picture `[N, 8, 8, 2]`, each with a rectifier, the last added to the first.
fn convolutions(n: usize) -> (Graph, NodeId) {
    let mut graph = Graph::default();
    let x = graph.add("photo", Input::image(8, 8, 2), &[]).unwrap();
    let window = Window::square(3, 1, Padding::Same);
    let (mut y, mut first) = (x, x);
    for i in 0..n {
        let channels = if i == 0 { 2 } else { 4 };
        let kernel = param(&mut graph, &format!("conv{i}/kernel"), &[3, 3, channels, 4]);
        let conv = Conv2d { window, groups: 1 };
        y = graph.add(format!("conv{i}/pre_activation"), conv, &[y, kernel]).unwrap();
        y = graph.add(format!("conv{i}"), Activate { function: Activation::RELU }, &[y]).unwrap();
        first = if i == 0 { y } else { first };
    }
    let sum = graph.add("sum", Binary { op: BinaryOp::Add }, &[y, first]).unwrap();
    (graph, sum)
}

fn save(network: &Network) -> Result<Vec<u8>, String> {
    let written = (Writer::named("onnx").unwrap().save)(network).map_err(|e| e.to_string());
    written.map(|written| written.bytes)
}

/// Nodes of this operator: field 4 of a `NodeProto`, its length, its text.
fn count(bytes: &[u8], op: &str) -> usize {
    let field = [&[0x22, op.len() as u8], op.as_bytes()].concat();
    bytes.windows(field.len()).filter(|window| *window == field).count()
}

#[test]
fn a_chain_of_convolutions_is_transposed_once() {
    let (mut graph, y) = convolutions(5);
    let window = Window::square(2, 2, Padding::Valid);
    let y = graph.add("pool", MaxPool2d { window }, &[y]).unwrap();
    let pooled = graph.add("gap", GlobalAveragePool2d { keepdims: false }, &[y]).unwrap();
    let kernel = param(&mut graph, "fc/kernel", &[4, 3]);
    let fc = graph.add("fc", Dense, &[pooled, kernel]).unwrap();
    let bytes = save(&network(graph, fc)).unwrap();
    assert_eq!([count(&bytes, "Conv"), count(&bytes, "Relu"), count(&bytes, "Transpose")], [5, 5, 1]);

    // A map that is returned is turned back, and so is one that is flattened.
    let (graph, y) = convolutions(2);
    assert_eq!(count(&save(&network(graph, y)).unwrap(), "Transpose"), 2);
    let (mut graph, y) = convolutions(2);
    let flat = graph.add("flat", Flatten, &[y]).unwrap();
    assert_eq!(count(&save(&network(graph, flat)).unwrap(), "Transpose"), 2);
    // But not one that PyTorch means, with channels first.
    let (mut graph, y) = convolutions(2);
    let turned = graph.add("turned", Permute { axes: vec![0, 3, 1, 2] }, &[y]).unwrap();
    let flat = graph.add("flat", Flatten, &[turned]).unwrap();
    assert_eq!(count(&save(&network(graph, flat)).unwrap(), "Transpose"), 1);
}

#[test]
fn names_and_metadata_are_read_back() {
    let (graph, y) = convolutions(2);
    let written = network(graph, y);
    let (loaded, report) = load(save(&written).unwrap(), "it.onnx", &LoadCx::default()).unwrap();
    let Loaded::Model(read) = loaded else { panic!("no model") };
    assert_eq!((&read.meta, &read.name), (&written.meta, &written.name));
    assert_eq!(report.version.as_deref(), Some(concat!("binesh ", env!("CARGO_PKG_VERSION"))));
    // The value that is returned is called `sum`; what is transposed to make it is a part of that.
    for layer in ["photo", "conv0/pre_activation", "conv0", "conv1", "sum/Add"] {
        assert!(read.layers.find(layer).is_some(), "{layer}");
    }
    assert_eq!(read.graph.dims(read.graph.inputs()[0]), [None, Some(8), Some(8), Some(2)]);
}

#[test]
fn what_cannot_be_written_names_the_node_and_the_operator() {
    let (mut graph, y) = convolutions(1);
    let window = Window { dilation: [2; 2], ..Window::square(2, 1, Padding::Valid) };
    let pool = AveragePool2d { window, count_include_pad: false };
    let pool = graph.add("pool", pool, &[y]).unwrap();
    let want = "layer `pool` (average_pool2d): ONNX has no average pooling with dilation until opset 19";
    assert_eq!(save(&network(graph, pool)), Err(want.to_owned()));

    let (graph, y) = convolutions(1);
    let mut without = network(graph, y);
    without.params = Params::default();
    let want = "layer `conv0/pre_activation` (conv2d): weight `conv0/kernel` of shape [3, 3, 2, 4] is not in the file";
    assert_eq!(save(&without), Err(want.to_owned()));
}

/// Said before anything is copied: the weight has not even a value.
#[test]
fn a_file_of_more_than_two_gigabytes() {
    let mut graph = Graph::default();
    let x = graph.add("x", Input { dims: vec![None, Some(1 << 15)] }, &[]).unwrap();
    let kernel = param(&mut graph, "fc/kernel", &[1 << 15, 1 << 15]);
    let y = graph.add("fc", Dense, &[x, kernel]).unwrap();
    let e = (Writer::named("onnx").unwrap().save)(&network(graph, y)).unwrap_err();
    let want = "the network has 4294967296 bytes, more than the 2147483647 that an ONNX file may have";
    assert_eq!(e.to_string(), want);
    assert!(e.hint().unwrap().contains("external data"), "{:?}", e.hint());
}
