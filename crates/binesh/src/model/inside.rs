//! The arithmetic on a picture's values as layers of the network, for tools that know of no preprocessing.

use std::collections::HashMap;
use std::sync::Arc;

use binesh_core::ops::{Rescaling, Slice};
use binesh_core::{Call, Graph, GraphError, Inbound, Layer, LayerId, Layers, NodeId, Op, Params, PlanError};
use binesh_formats::Network;
use binesh_formats::meta::{Preprocess, Scaling};

use crate::error::Error;

/// The network with these layers after its input. It takes what `preprocess` makes of pictures but for the scaling.
pub(super) fn scaled(source: &Network, preprocess: &Preprocess) -> Result<Network, Error> {
    let [input] = source.graph.inputs() else { return Err(Error::NotAPictureModel) };
    let steps = steps(&preprocess.scaling);
    let mut network = copy(source, *input, steps).map_err(|e| Error::Plan(PlanError::from(e)))?;
    network.meta.preprocess = Some(Preprocess { scaling: Scaling::None, ..preprocess.clone() });
    Ok(network)
}

/// Names, Keras's classes and operators, in order.
fn steps(scaling: &Scaling) -> Vec<(&'static str, &'static str, Op)> {
    let line = |scale: &[f64], offset: &[f64]| {
        let list = |values: &[f64]| values.iter().map(|&v| v as f32).collect();
        ("scaling", "Rescaling", Rescaling { scale: list(scale), offset: list(offset) }.into())
    };
    let standard = |mean: &[f64], std: &[f64], unit: f64| {
        let n = mean.len().max(std.len());
        let at = |values: &[f64], i: usize| values[if values.len() == 1 { 0 } else { i }];
        let scale: Vec<f64> = (0..n).map(|i| 1.0 / (unit * at(std, i))).collect();
        let offset: Vec<f64> = (0..n).map(|i| -at(mean, i) / at(std, i)).collect();
        line(&scale, &offset)
    };
    match scaling {
        Scaling::Unit => vec![line(&[1.0 / 255.0], &[0.0])],
        Scaling::Tf => vec![line(&[1.0 / 127.5], &[-1.0])],
        Scaling::Torch => vec![standard(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225], 255.0)],
        Scaling::MeanStd { mean, std } => {
            let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
            vec![standard(&wide(mean), &wide(std), 1.0)]
        }
        Scaling::Caffe => {
            let turned = Slice { axis: 3, start: None, end: None, step: -1 };
            vec![("bgr", "GetItem", turned.into()), line(&[1.0], &[-103.939, -116.779, -123.68])]
        }
        // Nothing is done to them.
        _ => Vec::new(),
    }
}

fn copy(
    source: &Network,
    input: NodeId,
    steps: Vec<(&'static str, &'static str, Op)>,
) -> Result<Network, GraphError> {
    let mut graph = Graph::default();
    let mut params = Params::default();
    let mut nodes: HashMap<NodeId, NodeId> = HashMap::new();
    let mut scaled = Vec::new();
    let taken = |name: &str| source.graph.find(name).is_some() || source.layers.find(name).is_some();
    for id in source.graph.ids() {
        let node = source.graph.node(id);
        let inputs: Vec<NodeId> = node.inputs.iter().map(|input| nodes[input]).collect();
        let mut copy = graph.add(node.name.clone(), node.op.clone(), &inputs)?;
        if let Some(value) = source.params.get(id) {
            params.set(copy, value.clone());
        }
        if id == input {
            scaled.push((node.name.clone(), "InputLayer", copy));
            for (name, class, op) in &steps {
                let numbered = (1..).map(|n| format!("{name}_{n}"));
                let mut names = std::iter::once((*name).to_owned()).chain(numbered);
                let name = names.find(|name| !taken(name)).expect("numbers do not run out");
                copy = graph.add(name.clone(), op.clone(), &[copy])?;
                scaled.push((name, class, copy));
            }
        }
        nodes.insert(id, copy);
    }
    graph.set_outputs(source.graph.outputs().iter().map(|id| nodes[id]).collect());
    let layers = rows(&source.layers, input, &nodes, &scaled);
    Ok(Network { graph: Arc::new(graph), params, layers, ..source.clone() })
}

/// The rows of the layers, those of the new ones after the input's.
fn rows(
    source: &Layers,
    input: NodeId,
    nodes: &HashMap<NodeId, NodeId>,
    scaled: &[(String, &'static str, NodeId)],
) -> Layers {
    let mut layers = Layers::default();
    let mut ids: HashMap<LayerId, LayerId> = HashMap::new();
    for (id, layer) in source.iter() {
        let is_input = layer.calls.iter().any(|call| call.outputs == [input]) && layer.class == "InputLayer";
        let inbound = |from: &Inbound| Some(Inbound { layer: *ids.get(&from.layer)?, ..*from });
        let call = |call: &Call| Call {
            inbound: call.inbound.iter().filter_map(inbound).collect(),
            outputs: match is_input {
                true => vec![scaled[0].2],
                false => call.outputs.iter().map(|id| nodes[id]).collect(),
            },
        };
        let mut last = layers.push(Layer {
            parent: layer.parent.map(|parent| ids[&parent]),
            calls: layer.calls.iter().map(call).collect(),
            params: layer.params.iter().map(|id| nodes[id]).collect(),
            ..layer.clone()
        });
        if is_input {
            for (name, class, node) in &scaled[1..] {
                last = layers.push(Layer {
                    path: name.clone(),
                    name: name.clone(),
                    class: (*class).to_owned(),
                    parent: layer.parent.map(|parent| ids[&parent]),
                    calls: vec![Call {
                        inbound: vec![Inbound { layer: last, call: 0, output: 0 }],
                        outputs: vec![*node],
                    }],
                    params: Vec::new(),
                    trainable: true,
                });
            }
        }
        ids.insert(id, last);
    }
    layers
}
