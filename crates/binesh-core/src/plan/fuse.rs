//! Fusion: zeros around a map become padding of the product after it; batch norm folds into the product before it;
//! residual and activation ride in its epilogue. A 1x1 convolution, a depthwise one and another 1x1 one become one step.
//! Never across a value that is wanted or that a gradient reads, or one with a second reader. Gradients are those of the
//! nodes, fused or not: they need the values that they name, and a rectifier after a frozen batch norm names neither's
//! input.

use binesh_kernels::binary::BinaryOp;
use binesh_kernels::{Activation, conv2d, depthwise, inverted};

use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::plan::{Active, Step, is_weight};
use crate::shape::Shape;

/// `activation(batch_norm(anchor(pad(x))) + residual)` written as the value of `output`.
#[derive(Clone, Debug)]
pub(crate) struct Fused {
    /// Zeros around x.
    pub(crate) pad: Option<NodeId>,
    /// A convolution, depthwise convolution or dense node whose kernel and bias are parameters.
    pub(crate) anchor: NodeId,
    pub(crate) batch_norm: Option<NodeId>,
    pub(crate) residual: Option<NodeId>,
    pub(crate) activation: Option<Activation>,
    pub(crate) output: NodeId,
}

impl Fused {
    /// The value that it reads.
    pub(crate) fn input(&self, graph: &Graph) -> NodeId {
        graph.node(self.pad.unwrap_or(self.anchor)).inputs[0]
    }

    /// The sizes of a convolution.
    pub(crate) fn conv2d(&self, graph: &Graph, shapes: &[Shape]) -> Option<conv2d::Conv2d> {
        let node = graph.node(self.anchor);
        let Op::Conv2d(op) = &node.op else { return None };
        let [x, w] = [0, 1].map(|i| &shapes[node.inputs[i].index()]);
        let g = op.placed(x, w);
        let ([h, w], pad) = self.unpadded(graph, [g.h, g.w], g.pad);
        Some(conv2d::Conv2d { h, w, pad, ..g })
    }

    /// The sizes of a depthwise convolution.
    pub(crate) fn depthwise(&self, graph: &Graph, shapes: &[Shape]) -> Option<depthwise::Depthwise> {
        let node = graph.node(self.anchor);
        let Op::DepthwiseConv2d(op) = &node.op else { return None };
        let [x, w] = [0, 1].map(|i| &shapes[node.inputs[i].index()]);
        let g = op.placed(x, w);
        let ([h, w], pad) = self.unpadded(graph, [g.h, g.w], g.pad);
        Some(depthwise::Depthwise { h, w, pad, ..g })
    }

    /// Height and width without the zeros around, which are added to the padding.
    fn unpadded(
        &self,
        graph: &Graph,
        [h, w]: [usize; 2],
        [top, left]: [usize; 2],
    ) -> ([usize; 2], [usize; 2]) {
        let Some(Op::ZeroPad2d(pad)) = self.pad.map(|id| &graph.node(id).op) else {
            return ([h, w], [top, left]);
        };
        let ([above, below], [before, after]) = (pad.rows, pad.columns);
        ([h - above - below, w - before - after], [top + above, left + before])
    }
}

/// A 1x1 convolution, a depthwise one and mostly another 1x1 one, computed row by row: see [`inverted`].
#[derive(Clone, Debug)]
pub(crate) struct Inverted {
    pub(crate) expand: Fused,
    pub(crate) filter: Fused,
    pub(crate) project: Option<Fused>,
}

impl Inverted {
    pub(crate) fn output(&self) -> NodeId {
        self.project.as_ref().unwrap_or(&self.filter).output
    }

    /// In the order of computation.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Fused> {
        [&self.expand, &self.filter].into_iter().chain(&self.project)
    }
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
    let mut inverted_at: Vec<Option<Inverted>> = vec![None; shapes.len()];
    for id in graph.ids() {
        if let Some(inverted) = fusion.invert(id, &fused_at) {
            for part in inverted.parts() {
                fused_at[part.output.index()] = None;
                absorbed[part.output.index()] = true;
            }
            let output = inverted.output().index();
            inverted_at[output] = Some(inverted);
        }
    }
    let mut steps = Vec::new();
    for id in graph.ids().filter(|id| needed[id.index()]) {
        if let Some(inverted) = inverted_at[id.index()].take() {
            steps.push(Step::Inverted(Box::new(inverted)));
        } else if let Some(fused) = fused_at[id.index()].take() {
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
        let pad = self.pad(anchor);
        let mut fused =
            Fused { pad, anchor, batch_norm: None, residual: None, activation: None, output: anchor };
        let mut inside: Vec<NodeId> = pad.into_iter().collect();
        while let Some(next) = self.only_reader(fused.output).filter(|&next| !taken(next)) {
            match &self.graph.node(next).op {
                Op::Identity(_) => {}
                Op::Dropout(_) if !self.training.drops(next) => {}
                _ if fused.activation.is_some() => break,
                Op::BatchNorm(_) if self.folds(next, anchor) && fused.residual.is_none() => {
                    fused.batch_norm = Some(next);
                }
                Op::Binary(binary) if binary.op == BinaryOp::Add && fused.residual.is_none() => {
                    let Some(other) = self.residual(next, fused.output) else { break };
                    fused.residual = Some(other);
                }
                Op::Activate(activate) => {
                    fused.activation = Some(activate.function);
                }
                _ => break,
            }
            inside.push(fused.output);
            fused.output = next;
        }
        Some((fused, inside))
    }

    /// The zeros around what a convolution reads, if they may vanish. Their size is the padding's limit, not memory's.
    fn pad(&self, anchor: NodeId) -> Option<NodeId> {
        let node = self.graph.node(anchor);
        let id = node.inputs[0];
        let pads = matches!(self.graph.node(id).op, Op::ZeroPad2d(_)) && !matches!(node.op, Op::Dense(_));
        (pads && self.only_reader(id) == Some(anchor)).then_some(id)
    }

    /// The step that a depthwise convolution, the value of `id`, makes with the 1x1 convolutions before and after it.
    fn invert(&self, id: NodeId, fused_at: &[Option<Fused>]) -> Option<Inverted> {
        let filter = fused_at[id.index()].as_ref()?;
        let geom = filter.depthwise(self.graph, self.shapes)?;
        let pointwise =
            |fused: &Fused| fused.conv2d(self.graph, self.shapes).filter(conv2d::Conv2d::is_pointwise);
        let input = filter.input(self.graph);
        let expand = fused_at[input.index()].as_ref()?;
        let wide = pointwise(expand)?;
        let only = self.only_reader(input) == Some(filter.pad.unwrap_or(filter.anchor));
        if !only || expand.residual.is_some() || filter.residual.is_some() {
            return None;
        }
        let project = self.only_reader(id).and_then(|reader| {
            let fused = fused_at.iter().flatten().find(|fused| fused.anchor == reader)?;
            Some((fused, pointwise(fused)?))
        });
        let weights = wide.kernel_len() + project.map_or(0, |(_, narrow)| narrow.kernel_len());
        inverted::is_faster(&geom, weights).then(|| Inverted {
            expand: expand.clone(),
            filter: filter.clone(),
            project: project.map(|(fused, _)| fused.clone()),
        })
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
