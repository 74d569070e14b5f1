//! The kernels that look at the picture directly: what they answer to can be read off their weights.

use binesh_core::{NodeId, Op, Tensor};

use crate::error::Error;
use crate::image::affine;
use crate::model::Model;

/// The kernel of a network's first layer.
#[derive(Clone, Debug)]
pub struct FirstKernel {
    /// The layer's path.
    pub layer: String,
    /// `[Kh, Kw, C, O]`
    pub values: Tensor,
    /// Per channel of the input, which of the picture's it is: red, green or blue.
    pub order: Vec<usize>,
}

impl FirstKernel {
    /// Kh, Kw, C, O.
    pub fn shape(&self) -> [usize; 4] {
        self.values.shape().dims().try_into().expect("a kernel has four axes")
    }
}

/// The first convolution that the picture reaches with its channels as they are.
pub fn first_kernel(model: &Model) -> Result<FirstKernel, Error> {
    let preprocess = &model.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess;
    let (graph, channels) = (model.graph(), preprocess.channels());
    let mut picture = vec![false; graph.nodes().len()];
    picture[graph.inputs()[0].index()] = true;
    for id in graph.ids() {
        let node = graph.node(id);
        let Some(first) = node.inputs.first().filter(|first| picture[first.index()]) else { continue };
        match &node.op {
            Op::Conv2d(_) => {
                let kernel = node.inputs[1];
                let Some(values) = model.params().get(kernel) else { break };
                if graph.dims(kernel).get(2) != Some(&Some(channels)) {
                    break;
                }
                let layer =
                    model.layers().owner(graph, id).map(|layer| model.layers().get(layer).path.clone());
                let layer = layer.unwrap_or_else(|| node.name.clone());
                let order = affine(preprocess).iter().map(|channel| channel.0).collect();
                return Ok(FirstKernel { layer, values: values.clone(), order });
            }
            // What keeps the channels apart and in order.
            Op::Identity(_)
            | Op::Dropout(_)
            | Op::ZeroPad2d(_)
            | Op::Crop2d(_)
            | Op::Rescaling(_)
            | Op::Normalization(_)
            | Op::Binary(_)
            | Op::BatchNorm(_)
            | Op::Activate(_) => picture[id.index()] = same_channels(model, *first, id),
            _ => {}
        }
    }
    Err(Error::Objective {
        text: model.network().name.clone(),
        reason: "no convolution of the network looks at the picture directly".to_owned(),
    })
}

fn same_channels(model: &Model, a: NodeId, b: NodeId) -> bool {
    let channels = |id| model.graph().dims(id).last().copied();
    channels(a) == channels(b)
}
