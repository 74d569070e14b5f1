//! A plan: concrete shapes, the steps to run, what is fused, kept and freed. Only a plan optimises.

mod describe;
mod fuse;
mod slots;
#[cfg(test)]
mod tests;
mod training;

use std::sync::Arc;

use crate::graph::{Graph, GraphError, Node, NodeId};
use crate::ops::Op;
use crate::shape::Shape;

pub use describe::StepCost;
pub(crate) use fuse::{Fused, Inverted};
pub(crate) use training::Active;
pub use training::Training;

/// What to compute.
#[derive(Clone, Debug, Default)]
pub struct PlanSpec<'a> {
    /// Concrete shapes of the values that are given: those of the graph's inputs, and of any other node whose value the
    /// caller has already, so that nothing above it is computed for it.
    pub inputs: &'a [(NodeId, Shape)],
    /// Nodes whose values will be read. They are sacred: never fused away, never overwritten.
    pub want: &'a [NodeId],
    /// Gradients that may be asked for.
    pub grads: Grads<'a>,
    /// What is in training mode; by default nothing.
    pub training: Training<'a>,
}

/// Which gradients a plan prepares for.
#[derive(Clone, Copy, Debug, Default)]
pub enum Grads<'a> {
    /// None: everything can be fused and freed.
    #[default]
    None,
    /// Of wanted nodes with respect to these nodes: inputs, layers or weights.
    Wrt(&'a [NodeId]),
}

/// One thing to run.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The node's own operator.
    Node(NodeId),
    /// A convolution or matrix product with what follows it.
    Fused(Fused),
    /// Two or three of them, computed together.
    Inverted(Box<Inverted>),
}

impl Step {
    /// The products in it with what was fused into each, in the order of computation.
    pub(crate) fn fused(&self) -> Vec<&Fused> {
        match self {
            Step::Node(_) => Vec::new(),
            Step::Fused(fused) => vec![fused],
            Step::Inverted(inverted) => inverted.parts().collect(),
        }
    }

    /// The node whose value the step writes.
    pub(crate) fn output(&self) -> NodeId {
        match self {
            Step::Node(id) => *id,
            Step::Fused(fused) => fused.output,
            Step::Inverted(inverted) => inverted.output(),
        }
    }

    /// The values it reads, without parameters and constants.
    pub(crate) fn reads(&self, graph: &Graph) -> Vec<NodeId> {
        let all = match self {
            Step::Node(id) => graph.node(*id).inputs.clone(),
            Step::Fused(fused) => std::iter::once(fused.input(graph)).chain(fused.residual).collect(),
            Step::Inverted(inverted) => {
                let residual = inverted.project.as_ref().and_then(|project| project.residual);
                std::iter::once(inverted.expand.input(graph)).chain(residual).collect()
            }
        };
        let lies_outside = |id| is_weight(graph, id) || matches!(graph.node(id).op, Op::Constant(_));
        all.into_iter().filter(|&id| !lies_outside(id)).collect()
    }
}

/// True for nodes whose value comes from [`crate::Params`].
pub(crate) fn is_weight(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Param(_))
}

fn wanted_weights(graph: &Graph, want: &[NodeId]) -> Vec<NodeId> {
    let mut weights: Vec<NodeId> = want.iter().copied().filter(|&id| is_weight(graph, id)).collect();
    weights.sort();
    weights.dedup();
    weights
}

/// Steps for one set of input shapes, wanted nodes and gradients.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) graph: Arc<Graph>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) inputs: Vec<NodeId>,
    pub(crate) want: Vec<NodeId>,
    pub(crate) wrt: Vec<NodeId>,
    pub(crate) steps: Vec<Step>,
    /// Parameters read by any step.
    pub(crate) weights: Vec<NodeId>,
    /// Weights whose values will be read like those of any other wanted node.
    pub(crate) wanted_weights: Vec<NodeId>,
    /// Per node: where its value begins in the arena, for nodes that have one.
    pub(crate) start_of: Vec<Option<usize>>,
    /// Values of the arena.
    pub(crate) arena: usize,
    pub(crate) flow: Flow,
    pub(crate) training: Active,
}

/// Where gradients flow.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    /// Per node: lies on a path from something in `wrt` to something wanted, so its gradient is formed.
    pub(crate) active: Vec<bool>,
    /// Per node: its operator's `backward` is called.
    pub(crate) differentiated: Vec<bool>,
    /// Per convolution: the batch norm whose factors its packed kernel takes on the way back, so that the gradient of
    /// the batch norm's output is passed to it as it is.
    pub(crate) folded: Vec<Option<NodeId>>,
}

impl Flow {
    /// Per input of a node: its gradient is formed here.
    pub(crate) fn wanted(&self, node: &Node) -> Vec<bool> {
        let mut wanted: Vec<bool> = differentiable(node).iter().map(|i| self.active[i.index()]).collect();
        wanted.resize(node.inputs.len(), false);
        wanted
    }

    /// The gradient of the first input is the only one formed.
    fn only_passes(&self, node: &Node) -> bool {
        self.wanted(node).iter().enumerate().all(|(i, &wanted)| wanted == (i == 0))
    }

    /// A convolution that the gradient only passes through: its kernel is packed for that once, not each time.
    pub(crate) fn is_packed(&self, graph: &Graph, id: NodeId) -> bool {
        let node = graph.node(id);
        let convolves = matches!(node.op, Op::Conv2d(_) | Op::DepthwiseConv2d(_));
        convolves && self.only_passes(node) && is_weight(graph, node.inputs[1])
    }

    /// A batch norm that is part of the convolution before it, see [`Flow::folded`].
    pub(crate) fn is_folded(&self, graph: &Graph, id: NodeId) -> bool {
        let inputs = &graph.node(id).inputs;
        inputs.first().is_some_and(|input| self.folded[input.index()] == Some(id))
    }

    /// Finds the batch norms to fold: those that are folded on the way there, if nobody asks for a gradient in between.
    fn fold(&mut self, graph: &Graph, steps: &[Step], wrt: &[NodeId]) {
        for Fused { anchor, batch_norm, .. } in steps.iter().flat_map(Step::fused) {
            let Some(norm) = batch_norm else { continue };
            let passes = self.is_packed(graph, *anchor) && self.only_passes(graph.node(*norm));
            if passes && !wrt.contains(anchor) && !wrt.contains(norm) {
                self.folded[anchor.index()] = Some(*norm);
            }
        }
    }
}

impl Plan {
    /// Makes a plan; fails when shapes do not fit or a gradient has no path.
    pub fn new(graph: &Arc<Graph>, spec: PlanSpec<'_>) -> Result<Plan, PlanError> {
        let (whole, graph) = (graph, &cut(graph, spec.inputs));
        let needed = ancestors(spec.want, graph, |node| &node.inputs);
        let inputs: Vec<NodeId> = graph.inputs().iter().copied().filter(|id| needed[id.index()]).collect();
        if let Some(&id) = inputs.iter().find(|id| !spec.inputs.iter().any(|(given, _)| given == *id)) {
            return Err(PlanError::NoShape { name: graph.node(id).name.clone() });
        }
        let shapes = graph.shapes_where(|id| needed[id.index()], spec.inputs)?;
        let wrt = match spec.grads {
            Grads::None => &[],
            Grads::Wrt(wrt) => wrt,
        };
        let reached = ancestors(spec.want, graph, differentiable);
        if let Some(&id) = wrt.iter().find(|id| !reached[id.index()]) {
            return Err(PlanError::NoPath { name: graph.node(id).name.clone() });
        }
        let mut flow = flow(graph, &reached, wrt);
        let computed = |id: NodeId| needed[id.index()] && !matches!(graph.node(id).op, Op::Input(_));
        let training = Active::new(whole, spec.training, computed)?;
        let keep = keep(graph, spec.want, &flow, &training);
        let steps = fuse::steps(graph, &shapes, &needed, &keep, &training);
        flow.fold(graph, &steps, wrt);
        let wanted_weights = wanted_weights(graph, spec.want);
        let given: Vec<NodeId> = inputs.iter().chain(&wanted_weights).copied().collect();
        let (start_of, arena) = slots::assign(graph, &shapes, &given, &steps, &keep, &training);
        let weights = graph.ids().filter(|&id| needed[id.index()] && is_weight(graph, id)).collect();
        Ok(Plan {
            graph: Arc::clone(graph),
            shapes,
            inputs,
            want: spec.want.to_vec(),
            wrt: wrt.to_vec(),
            steps,
            weights,
            wanted_weights,
            start_of,
            arena,
            flow,
            training,
        })
    }

    /// The shape of a node's value; `[]` for a node that nothing wanted depends on.
    pub fn shape(&self, id: NodeId) -> &Shape {
        &self.shapes[id.index()]
    }

    /// The nodes whose values a run is given, in order.
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The dropout nodes that drop, in node order: each needs a mask.
    pub fn dropout(&self) -> &[NodeId] {
        &self.training.dropout
    }

    /// The batch norms that use their batch's statistics, in node order.
    pub fn batch_statistics(&self) -> &[NodeId] {
        &self.training.batch_statistics
    }

    /// Bytes of all values that exist at one time while running forwards, without weights.
    pub fn peak_bytes(&self) -> usize {
        self.arena * size_of::<f32>()
    }

    /// Number of things run, fused ones counted once.
    pub fn step_count(&self) -> usize {
        self.steps.len()
    }

    /// Multiply-adds of one forward pass.
    pub fn macs(&self) -> u64 {
        let of = |id: NodeId| macs(&self.graph, &self.shapes, id);
        self.steps
            .iter()
            .map(|step| match step {
                Step::Node(id) => of(*id),
                Step::Fused(fused) => of(fused.anchor),
                Step::Inverted(inverted) => inverted.parts().map(|fused| of(fused.anchor)).sum(),
            })
            .sum()
    }
}

/// The graph in which every given node is an input.
fn cut(graph: &Arc<Graph>, given: &[(NodeId, Shape)]) -> Arc<Graph> {
    let mut inside: Vec<NodeId> = Vec::new();
    for &(id, _) in given {
        if !matches!(graph.node(id).op, Op::Input(_)) && !inside.contains(&id) {
            inside.push(id);
        }
    }
    if inside.is_empty() { Arc::clone(graph) } else { Arc::new(graph.cut(&inside)) }
}

/// Multiply-adds of one node under these shapes.
pub(crate) fn macs(graph: &Graph, shapes: &[Shape], id: NodeId) -> u64 {
    let node = graph.node(id);
    let inputs: Vec<&Shape> = node.inputs.iter().map(|i| &shapes[i.index()]).collect();
    node.op.operator().macs(&inputs, &shapes[id.index()])
}

/// The inputs that a node has a gradient for.
pub(crate) fn differentiable(node: &Node) -> &[NodeId] {
    &node.inputs[..node.inputs.len() - node.op.operator().constant_inputs()]
}

/// Per node: some wanted node is reached from it through `inputs`.
fn ancestors(want: &[NodeId], graph: &Graph, inputs: impl Fn(&Node) -> &[NodeId]) -> Vec<bool> {
    let mut needed = vec![false; graph.nodes().len()];
    for id in want {
        needed[id.index()] = true;
    }
    for (index, node) in graph.nodes().iter().enumerate().rev() {
        if needed[index] {
            for input in inputs(node) {
                needed[input.index()] = true;
            }
        }
    }
    needed
}

fn flow(graph: &Graph, reached: &[bool], wrt: &[NodeId]) -> Flow {
    let mut active = vec![false; reached.len()];
    let mut differentiated = vec![false; reached.len()];
    for id in wrt {
        active[id.index()] = true;
    }
    for (index, node) in graph.nodes().iter().enumerate() {
        differentiated[index] = reached[index] && differentiable(node).iter().any(|i| active[i.index()]);
        active[index] = active[index] || differentiated[index];
    }
    Flow { active, differentiated, folded: vec![None; reached.len()] }
}

/// Per node: its value must outlive the forward pass.
fn keep(graph: &Graph, want: &[NodeId], flow: &Flow, training: &Active) -> Vec<bool> {
    let mut keep = vec![false; graph.nodes().len()];
    for id in want {
        keep[id.index()] = true;
    }
    for id in graph.ids().filter(|id| flow.differentiated[id.index()]) {
        let node = graph.node(id);
        let keeps = training.keeps(graph, id, &flow.wanted(node));
        keep[id.index()] |= keeps.output();
        for (position, input) in node.inputs.iter().enumerate() {
            keep[input.index()] |= keeps.input(position);
        }
    }
    keep
}

/// Why a plan cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The input shapes do not fit the network.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// An input that is needed was given no shape.
    #[error("input `{name}` was given no shape")]
    NoShape {
        /// Node.
        name: String,
    },
    /// Training mode of a node that has none.
    #[error("`{name}` is no {kind}")]
    Mode {
        /// Node.
        name: String,
        /// What was expected.
        kind: &'static str,
    },
    /// A gradient with respect to something that nothing wanted depends on.
    #[error("nothing asked for depends on `{name}`, so it has no gradient")]
    NoPath {
        /// Node.
        name: String,
    },
}
