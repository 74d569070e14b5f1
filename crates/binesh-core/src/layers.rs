//! The user's view of a graph: layers, as the file named and nested them.

use crate::graph::{Graph, NodeId};
use crate::ops::Op;

/// A row of one [`Layers`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerId(u32);

/// What a user freezes, lists and looks at: a named stretch of nodes with its parameters. A nested model is a layer
/// whose children name it as `parent`.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Names from the outermost model inwards, joined by `/`: `vgg16/block5_conv3`.
    pub path: String,
    /// The layer's own name, which may itself hold a `/`.
    pub name: String,
    /// The file's class name: `Conv2D`, `Functional`.
    pub class: String,
    /// The nested model it belongs to.
    pub parent: Option<LayerId>,
    /// Each use of the layer; more than one when it is shared. A nested model's calls are those of the model.
    pub calls: Vec<Call>,
    /// Its own weights in the order of the file; a nested model has none of its own.
    pub params: Vec<NodeId>,
    /// As the file says; a weight learns only when its layer and all models around it are trainable.
    pub trainable: bool,
}

/// One use of a layer.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Where its inputs come from.
    pub inbound: Vec<Inbound>,
    /// Nodes it returns.
    pub outputs: Vec<NodeId>,
}

/// Keras's `conv1[0][0]`: an output of a call of a layer of the same model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// Layer.
    pub layer: LayerId,
    /// Which of its calls.
    pub call: usize,
    /// Which of the call's outputs.
    pub output: usize,
}

/// All layers, each nested model before its children, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    rows: Vec<Layer>,
}

impl Layers {
    /// Appends a row.
    pub fn push(&mut self, layer: Layer) -> LayerId {
        let id = LayerId(
            u32::try_from(self.rows.len()).expect("a graph numbers its nodes in 32 bits, and so its layers"),
        );
        self.rows.push(layer);
        id
    }

    /// One row.
    pub fn get(&self, id: LayerId) -> &Layer {
        &self.rows[id.0 as usize]
    }

    /// One row, for writing.
    pub fn get_mut(&mut self, id: LayerId) -> &mut Layer {
        &mut self.rows[id.0 as usize]
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (LayerId, &Layer)> {
        self.rows.iter().enumerate().map(|(i, layer)| (LayerId(i as u32), layer))
    }

    /// Rows directly inside `parent`; the outermost ones for `None`.
    pub fn children(&self, parent: Option<LayerId>) -> impl DoubleEndedIterator<Item = (LayerId, &Layer)> {
        self.iter().filter(move |(_, layer)| layer.parent == parent)
    }

    /// The layer of this path, or of this last name when only one has it.
    pub fn find(&self, name: &str) -> Option<LayerId> {
        let exact = self.iter().find(|(_, layer)| layer.path == name);
        let mut by_name = self.iter().filter(|(_, layer)| layer.name == name);
        exact.or_else(|| by_name.next().filter(|_| by_name.next().is_none())).map(|(id, _)| id)
    }

    /// The layer that owns a node: the one whose path is the longest beginning of the node's name.
    pub fn owner(&self, graph: &Graph, node: NodeId) -> Option<LayerId> {
        let name = &graph.node(node).name;
        let inside = |path: &str| {
            name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '#']))
        };
        self.iter().filter(|(_, l)| inside(&l.path)).max_by_key(|(_, l)| l.path.len()).map(|(id, _)| id)
    }

    /// True when the weight would learn: it is a trainable parameter and so are its layer and all models around it.
    pub fn learns(&self, graph: &Graph, layer: LayerId, param: NodeId) -> bool {
        let mut next = Some(layer);
        while let Some(id) = next {
            if !self.get(id).trainable {
                return false;
            }
            next = self.get(id).parent;
        }
        matches!(&graph.node(param).op, Op::Param(p) if p.trainable)
    }

    /// Weights of a layer and of everything inside it, each once.
    pub fn params_within(&self, layer: LayerId) -> Vec<(LayerId, NodeId)> {
        let mut found: Vec<(LayerId, NodeId)> = self.get(layer).params.iter().map(|&p| (layer, p)).collect();
        for (child, _) in self.children(Some(layer)) {
            found.extend(self.params_within(child));
        }
        let mut seen = std::collections::HashSet::new();
        found.retain(|&(_, param)| seen.insert(param));
        found
    }
}
