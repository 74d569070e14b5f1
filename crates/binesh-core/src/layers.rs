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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Dense, Input, Param};

    /// `base` (a nested model with `conv` and `conv_2`), then `head`; `other` holds another `conv`.
    fn network() -> (Graph, Layers, NodeId) {
        let mut graph = Graph::default();
        let x = graph.add("x", Input { dims: vec![None, Some(2)] }, &[]).unwrap();
        let kernel =
            graph.add("base/conv/kernel", Param { shape: [2, 2].into(), trainable: true }, &[]).unwrap();
        for name in ["base/conv", "base/conv#1", "base/conv_2", "head"] {
            graph.add(name, Dense, &[x, kernel]).unwrap();
        }
        let mut layers = Layers::default();
        let row = |path: &str, parent, params: &[NodeId]| Layer {
            path: path.to_owned(),
            name: path.rsplit('/').next().unwrap().to_owned(),
            class: "Dense".to_owned(),
            parent,
            calls: Vec::new(),
            params: params.to_vec(),
            trainable: true,
        };
        let base = layers.push(row("base", None, &[]));
        layers.push(row("base/conv", Some(base), &[kernel]));
        layers.push(row("base/conv_2", Some(base), &[kernel]));
        let other = layers.push(row("other", None, &[]));
        layers.push(row("other/conv", Some(other), &[]));
        layers.push(row("head", None, &[]));
        (graph, layers, kernel)
    }

    fn path(layers: &Layers, id: Option<LayerId>) -> Option<&str> {
        id.map(|id| layers.get(id).path.as_str())
    }

    #[test]
    fn found_by_path_or_by_a_name_that_only_one_has() {
        let (_, layers, _) = network();
        assert_eq!(path(&layers, layers.find("base/conv")), Some("base/conv"));
        assert_eq!(path(&layers, layers.find("conv_2")), Some("base/conv_2"));
        assert_eq!(path(&layers, layers.find("conv")), None, "two layers are called so");
        assert_eq!(path(&layers, layers.find("nothing")), None);
    }

    #[test]
    fn a_node_belongs_to_the_innermost_layer() {
        let (graph, layers, kernel) = network();
        let owner = |name: &str| path(&layers, layers.owner(&graph, graph.find(name).unwrap()));
        assert_eq!(owner("base/conv"), Some("base/conv"));
        assert_eq!(owner("base/conv#1"), Some("base/conv"), "another call of the same layer");
        assert_eq!(
            owner("base/conv_2"),
            Some("base/conv_2"),
            "not `base/conv`, whose path is a beginning of it"
        );
        assert_eq!(path(&layers, layers.owner(&graph, kernel)), Some("base/conv"));
        assert_eq!(owner("x"), None);
    }

    #[test]
    fn a_weight_learns_when_everything_around_it_does() {
        let (graph, mut layers, kernel) = network();
        let (base, conv) = (layers.find("base").unwrap(), layers.find("base/conv").unwrap());
        assert!(layers.learns(&graph, conv, kernel));
        layers.get_mut(base).trainable = false;
        assert!(!layers.learns(&graph, conv, kernel), "the model around it is frozen");
        layers.get_mut(base).trainable = true;
        layers.get_mut(conv).trainable = false;
        assert!(!layers.learns(&graph, conv, kernel), "the layer is frozen");
    }

    #[test]
    fn statistics_never_learn() {
        let (mut graph, layers, _) = network();
        let mean = graph.add("base/conv/mean", Param { shape: [2].into(), trainable: false }, &[]).unwrap();
        assert!(!layers.learns(&graph, layers.find("base/conv").unwrap(), mean));
    }

    #[test]
    fn weights_within_a_model_are_counted_once() {
        let (_, layers, kernel) = network();
        let [base, conv] = ["base", "base/conv"].map(|path| layers.find(path).unwrap());
        assert_eq!(layers.params_within(base), [(conv, kernel)]);
        let names: Vec<&str> = layers.children(Some(base)).map(|(_, layer)| layer.name.as_str()).collect();
        assert_eq!(names, ["conv", "conv_2"]);
        assert_eq!(layers.children(None).count(), 3);
    }
}
