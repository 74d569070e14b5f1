//! Fusion: batch norm folds into the product before it; residual and activation ride in its epilogue. Never across a
//! value that is wanted or that a gradient reads, or one with a second reader. Gradients are those of the nodes, fused or
//! not: they need the values that they name, and a rectifier after a frozen batch norm names neither's input.

use binesh_kernels::Activation;
use binesh_kernels::binary::BinaryOp;

use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::plan::{Active, Step, is_weight};
use crate::shape::Shape;

/// `activation(batch_norm(anchor(x)) + residual)` written as the value of `output`.
#[derive(Clone, Debug)]
pub(crate) struct Fused {
    /// A convolution, depthwise convolution or dense node whose kernel and bias are parameters.
    pub(crate) anchor: NodeId,
    pub(crate) batch_norm: Option<NodeId>,
    pub(crate) residual: Option<NodeId>,
    pub(crate) activation: Option<Activation>,
    pub(crate) output: NodeId,
}

/// The steps for all needed nodes, in an order in which every value is ready before it is read.
pub(super) fn steps(
    graph: &Graph,
    shapes: &[Shape],
    needed: &[bool],
    keep: &[bool],
    training: &Active,
) -> Vec<Step> {
    let fusion = Fusion { graph, shapes, keep, training, readers: readers(graph, needed) };
    // Nodes that vanished into a chain, and chains at the node they end in.
    let mut absorbed = vec![false; shapes.len()];
    let mut fused_at: Vec<Option<Fused>> = vec![None; shapes.len()];
    for id in graph.ids().filter(|id| needed[id.index()]) {
        let taken = |next: NodeId| absorbed[next.index()] || fused_at[next.index()].is_some();
        if let Some((fused, inside)) = fusion.grow(id, taken) {
            for node in inside {
                absorbed[node.index()] = true;
            }
            let output = fused.output.index();
            fused_at[output] = Some(fused);
        }
    }
    let mut steps = Vec::new();
    for id in graph.ids().filter(|id| needed[id.index()]) {
        if let Some(fused) = fused_at[id.index()].take() {
            steps.push(Step::Fused(fused));
        } else if !absorbed[id.index()] && is_computed(graph, id, keep) {
            steps.push(Step::Node(id));
        }
    }
    steps
}

/// Inputs are given, weights and constants are read where they lie; a constant that is wanted is copied like any value.
fn is_computed(graph: &Graph, id: NodeId, keep: &[bool]) -> bool {
    match graph.node(id).op {
        Op::Input(_) | Op::Param(_) => false,
        Op::Constant(_) => keep[id.index()],
        _ => true,
    }
}

/// Per node: the needed nodes that read it, twice when they do so twice.
fn readers(graph: &Graph, needed: &[bool]) -> Vec<Vec<NodeId>> {
    let mut readers = vec![Vec::new(); needed.len()];
    for id in graph.ids().filter(|id| needed[id.index()]) {
        for input in &graph.node(id).inputs {
            readers[input.index()].push(id);
        }
    }
    readers
}

struct Fusion<'a> {
    graph: &'a Graph,
    shapes: &'a [Shape],
    keep: &'a [bool],
    training: &'a Active,
    readers: Vec<Vec<NodeId>>,
}

impl Fusion<'_> {
    /// The longest chain from an anchor through nodes that no other chain has taken, and the nodes that vanish into it.
    fn grow(&self, anchor: NodeId, taken: impl Fn(NodeId) -> bool) -> Option<(Fused, Vec<NodeId>)> {
        let node = self.graph.node(anchor);
        if !matches!(node.op, Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::Dense(_)) {
            return None;
        }
        if !node.inputs[1..].iter().all(|&id| is_weight(self.graph, id)) {
            return None;
        }
        let mut fused = Fused { anchor, batch_norm: None, residual: None, activation: None, output: anchor };
        let mut inside = Vec::new();
        while let Some(next) = self.only_reader(fused.output).filter(|&next| !taken(next)) {
            match &self.graph.node(next).op {
                Op::BatchNorm(_) if self.folds(next, anchor) => {
                    fused.batch_norm = Some(next);
                }
                Op::Binary(binary) if binary.op == BinaryOp::Add && fused.residual.is_none() => {
                    let Some(other) = self.residual(next, fused.output) else { break };
                    fused.residual = Some(other);
                }
                Op::Activate(activate) => {
                    fused.activation = Some(activate.function);
                    inside.push(fused.output);
                    fused.output = next;
                    break;
                }
                _ => break,
            }
            inside.push(fused.output);
            fused.output = next;
        }
        Some((fused, inside))
    }

    /// The node that alone reads `id`, if `id` may vanish.
    fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        match self.readers[id.index()].as_slice() {
            [next] if !self.keep[id.index()] => Some(*next),
            _ => None,
        }
    }

    /// Batch norm reads the anchor and has parameters for all its statistics, and uses those.
    fn folds(&self, batch_norm: NodeId, anchor: NodeId) -> bool {
        let inputs = &self.graph.node(batch_norm).inputs;
        let moving = !self.training.measures(batch_norm);
        moving && inputs[0] == anchor && inputs[1..].iter().all(|&id| is_weight(self.graph, id))
    }

    /// The other operand of an addition of two values of equal shape.
    fn residual(&self, add: NodeId, chain: NodeId) -> Option<NodeId> {
        let inputs = &self.graph.node(add).inputs;
        let other = if inputs[0] == chain { inputs[1] } else { inputs[0] };
        let same = self.shapes[other.index()] == self.shapes[chain.index()];
        (same && !is_weight(self.graph, other)).then_some(other)
    }
}
