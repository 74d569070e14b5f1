//! The outputs of intermediate layers: what every channel of every layer makes of a picture.

use binesh_core::{Grads, LayerId, NodeId, Shape, Tensor};

use crate::error::Error;
use crate::image::Picture;
use crate::model::Model;

/// One layer's output for one picture.
#[derive(Clone, Debug)]
pub struct LayerActivation {
    /// The layer; `None` for a node that is inside one.
    pub layer: Option<LayerId>,
    /// The layer's path, or the node's name.
    pub name: String,
    /// The layer's class, or the operator.
    pub class: String,
    /// `[1, H, W, C]`
    pub values: Tensor,
}

/// Every layer with a spatial output on the way to the network's outputs, in order: one node a layer, those of nested
/// models under their paths; the input is not a layer.
pub fn map_layers(model: &Model) -> Vec<NodeId> {
    let graph = model.graph();
    let nested = |id: LayerId| model.layers().children(Some(id)).next().is_some();
    let mut nodes: Vec<NodeId> = (model.layers().iter())
        .filter(|(id, layer)| !nested(*id) && layer.class != "InputLayer")
        .flat_map(|(_, layer)| layer.calls.iter().flat_map(|call| call.outputs.clone()))
        .filter(|&node| graph.dims(node).len() == 4 && !graph.inputs().contains(&node))
        .collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

/// Runs one picture once and returns the outputs of these nodes.
pub fn activations(
    model: &Model,
    picture: &Picture,
    nodes: &[NodeId],
) -> Result<Vec<LayerActivation>, Error> {
    let x = model.input(std::slice::from_ref(picture))?;
    let shape: Shape = x.shape().clone();
    let mut session = model.session(&[shape], nodes, Grads::None)?;
    session.run(model.params(), &[x.view()])?;
    let graph = model.graph();
    let taken = nodes.iter().map(|&node| {
        let owner = model.layers().owner(graph, node);
        let name = graph.node(node).name.clone();
        let layer =
            owner.filter(|&id| model.layers().get(id).calls.iter().any(|call| call.outputs.contains(&node)));
        let class = match layer {
            Some(id) => model.layers().get(id).class.clone(),
            None => graph.node(node).op.operator().name().to_owned(),
        };
        LayerActivation { layer, name, class, values: session.value(node).to_tensor() }
    });
    Ok(taken.collect())
}
