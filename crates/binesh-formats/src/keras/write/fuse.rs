//! Nodes that one Keras layer holds together: an activation in a convolution, the two halves of a separable one, the
//! links of a sum of many.

use std::collections::HashMap;

use binesh_core::ops::{Activate, Binary, Constant, Permute};
use binesh_core::{Activation, NodeId, Op};

use super::arithmetic;
use super::graph::Dialect;
use crate::keras::layers::{bilinear, nearest};
use crate::network::Network;

/// Which nodes are written with a later one, and how those read.
#[derive(Debug, Default)]
pub(super) struct Absorbed {
    nodes: HashMap<NodeId, NodeId>,
    /// Of the last link of a chain: its operands, first to last.
    chains: HashMap<NodeId, Vec<NodeId>>,
    resized: HashMap<NodeId, Resized>,
}

/// A `Resizing`: what is resized, to what.
#[derive(Clone, Debug)]
pub(super) struct Resized {
    pub(super) x: NodeId,
    pub(super) size: [usize; 2],
    pub(super) interpolation: &'static str,
}

impl Absorbed {
    /// Whether the node is no layer of its own.
    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.nodes.contains_key(&id)
    }

    /// Operands of the chain that ends here.
    pub(super) fn chain(&self, id: NodeId) -> Option<&[NodeId]> {
        self.chains.get(&id).map(Vec::as_slice)
    }

    pub(super) fn resized(&self, id: NodeId) -> Option<&Resized> {
        self.resized.get(&id)
    }
}

/// Looks for what belongs together. A node that others read too, or that is an output, stays by itself.
pub(super) fn absorbed(network: &Network, needed: &[bool], uses: &[usize], dialect: Dialect) -> Absorbed {
    let graph = &*network.graph;
    let mut absorbed = Absorbed::default();
    let single = |id: NodeId| uses[id.index()] == 1;
    let part_of = |id: NodeId, of: NodeId, part: &str| {
        let (name, of) = (&graph.node(id).name, &graph.node(of).name);
        name.strip_prefix(of.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|rest| rest == part)
    };
    for id in graph.ids().filter(|id| needed[id.index()]) {
        let node = graph.node(id);
        let Some(&x) = node.inputs.first() else { continue };
        match &node.op {
            Op::Activate(_) | Op::Softmax(_) if single(x) && part_of(x, id, "pre_activation") => {
                let takes = matches!(
                    graph.node(x).op,
                    Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::Conv2dTranspose(_) | Op::Dense(_)
                );
                if takes && arithmetic::name_of(&node.op, dialect).is_some() {
                    absorbed.nodes.insert(x, id);
                }
            }
            Op::Conv2d(conv) if single(x) => {
                let whole = node.name.strip_suffix("/pre_activation").unwrap_or(&node.name);
                let depthwise = graph.node(x);
                let half = depthwise.name.strip_prefix(whole).is_some_and(|rest| rest == "/depthwise");
                let pointwise =
                    conv.window.size == [1; 2] && conv.window.stride == [1; 2] && conv.groups == 1;
                if half
                    && pointwise
                    && matches!(&depthwise.op, Op::DepthwiseConv2d(_))
                    && depthwise.inputs.len() == 2
                {
                    absorbed.nodes.insert(x, id);
                }
            }
            Op::Permute(_) => {
                if let Some((resized, parts)) = resizing(network, id, &single) {
                    parts.into_iter().for_each(|part| {
                        absorbed.nodes.insert(part, id);
                    });
                    absorbed.resized.insert(id, resized);
                }
            }
            Op::Binary(_) | Op::Activate(_) => {
                if let Some((operands, links)) = chain(network, id, &single) {
                    links.into_iter().for_each(|link| {
                        absorbed.nodes.insert(link, id);
                    });
                    absorbed.chains.insert(id, operands);
                }
            }
            _ => {}
        }
    }
    absorbed
}

/// `((a + b) + c) + d`, or that over the number of operands, as our reader makes it of `Add` and `Average`: the operands
/// and the links before the last.
fn chain(
    network: &Network,
    last: NodeId,
    single: &dyn Fn(NodeId) -> bool,
) -> Option<(Vec<NodeId>, Vec<NodeId>)> {
    let graph = &*network.graph;
    let node = graph.node(last);
    let (part, op, mut operands, mut at) = match (&node.op, &node.inputs[..]) {
        (Op::Binary(binary), [a, b]) => ("/partial_", binary.clone(), vec![*b], *a),
        (Op::Activate(_), [sum]) => match &graph.node(*sum).op {
            Op::Binary(binary @ Binary { op: binesh_core::BinaryOp::Add }) => {
                ("/sum_", binary.clone(), Vec::new(), *sum)
            }
            _ => return None,
        },
        _ => return None,
    };
    let mut links = Vec::new();
    loop {
        let link = graph.node(at);
        let ours = link.name.strip_prefix(node.name.as_str()).is_some_and(|rest| rest.starts_with(part));
        match (&link.op, &link.inputs[..]) {
            (Op::Binary(binary), [a, b]) if ours && *binary == op && single(at) => {
                links.push(at);
                operands.push(*b);
                at = *a;
            }
            _ => break,
        }
    }
    operands.push(at);
    operands.reverse();
    let rank = |id: NodeId| graph.dims(id).len();
    let tensors = operands
        .iter()
        .all(|&id| rank(id) == rank(last) && !matches!(graph.node(id).op, Op::Param(_) | Op::Constant(_)));
    let whole = match &node.op {
        Op::Activate(Activate { function: Activation::Affine { scale, offset } }) => {
            *offset == 0.0 && *scale == 1.0 / operands.len() as f32
        }
        _ => true,
    };
    (!links.is_empty() && tensors && whole).then_some((operands, links))
}

/// A matrix `[from, to]`.
type Filter = fn(usize, usize) -> Vec<f32>;

/// The product with two constant matrices that our reader makes of `Resizing`, if it is just that.
fn resizing(
    network: &Network,
    last: NodeId,
    single: &dyn Fn(NodeId) -> bool,
) -> Option<(Resized, Vec<NodeId>)> {
    let graph = &*network.graph;
    let permuted = |id: NodeId, want: [usize; 4]| match (&graph.node(id).op, &graph.node(id).inputs[..]) {
        (Op::Permute(Permute { axes }), [x]) if *axes == want => Some(*x),
        _ => None,
    };
    let product = |id: NodeId| match (&graph.node(id).op, &graph.node(id).inputs[..]) {
        (Op::Dense(_), [x, matrix]) if single(id) => match &graph.node(*matrix).op {
            Op::Constant(Constant { value }) => Some((*x, value)),
            _ => None,
        },
        _ => None,
    };
    let columns_resized = permuted(last, [0, 1, 3, 2])?;
    let (columns_last, columns) = product(columns_resized)?;
    let rows_resized = permuted(columns_last, [0, 3, 2, 1]).filter(|_| single(columns_last))?;
    let (rows_last, rows) = product(rows_resized)?;
    let x = permuted(rows_last, [0, 2, 3, 1]).filter(|_| single(rows_last))?;
    let filters: [(&str, Filter); 2] = [("bilinear", bilinear), ("nearest", nearest)];
    let ([h, ho], [w, wo]) = (rows.shape().axes("h, ho").ok()?, columns.shape().axes("w, wo").ok()?);
    let made_by = |filter: &Filter| rows.data() == filter(h, ho) && columns.data() == filter(w, wo);
    let (interpolation, _) = filters.into_iter().find(|(_, filter)| made_by(filter))?;
    let resized = Resized { x, size: [ho, wo], interpolation };
    Some((resized, vec![columns_resized, columns_last, rows_resized, rows_last]))
}
