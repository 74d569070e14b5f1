//! What a plan runs, in words and numbers: for people, and for the time that a step should take.

use binesh_kernels::conv2d::{self, Pass};
use binesh_kernels::{Algorithm, Work, depthwise, matmul};

use crate::graph::{Graph, NodeId};
use crate::ops::Op;
use crate::plan::{Fused, Plan, Step, is_weight, macs};
use crate::session::Runtime;
use crate::shape::Shape;

/// A step forwards, or the gradients that one node gives to its inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCost {
    /// The node whose value is written; backwards, the one whose gradient is passed on.
    pub name: String,
    /// What is computed, fused operators joined by ` + `: `conv + batch norm + relu`.
    pub operators: String,
    /// The shape of the node's value.
    pub shape: Shape,
    /// How the most work in it is done.
    pub algorithm: Algorithm,
    /// Multiply-adds, as [`Plan::macs`] counts them.
    pub macs: u64,
    /// Bytes of all that is read and written once, weights as the kernel reads them.
    pub bytes: u64,
    /// Those of the weights.
    pub weight_bytes: u64,
    /// Seconds that the runtime's [`Costs`](crate::Costs) foretell.
    pub expected_seconds: f64,
}

impl Plan {
    /// The steps of a run, in order.
    pub fn step_costs(&self, runtime: &Runtime) -> Vec<StepCost> {
        self.steps.iter().map(|step| self.step_cost(runtime, step)).collect()
    }

    /// The nodes that pass a gradient on, with what that takes, in the order of the way back.
    pub fn gradient_costs(&self, runtime: &Runtime) -> Vec<(NodeId, StepCost)> {
        let differentiated = self.graph.ids().filter(|id| self.flow.differentiated[id.index()]);
        let mut costs: Vec<_> = differentiated.map(|id| (id, self.gradient_cost(runtime, id))).collect();
        costs.reverse();
        costs
    }

    fn step_cost(&self, runtime: &Runtime, step: &Step) -> StepCost {
        let parts = step.fused();
        let operators = match step {
            Step::Node(id) => operator(&self.graph, *id),
            _ => parts.iter().map(|fused| fused_operators(&self.graph, fused)).collect::<Vec<_>>().join(", "),
        };
        let products: Vec<NodeId> = match step {
            Step::Node(id) => vec![*id],
            _ => parts.iter().map(|fused| fused.anchor).collect(),
        };
        let works: Vec<Work> = match step {
            Step::Node(id) => self.work(runtime, *id, Pass::Forward).into_iter().collect(),
            _ => parts.iter().filter_map(|fused| self.fused_work(runtime, fused)).collect(),
        };
        let read: usize = step.reads(&self.graph).iter().map(|&id| self.shape(id).len()).sum();
        let values = read + self.shape(step.output()).len();
        let plain_weights: usize = match works.is_empty() {
            true => {
                let inputs = products.iter().flat_map(|&id| &self.graph.node(id).inputs);
                inputs.filter(|&&id| is_weight(&self.graph, id)).map(|&id| self.shape(id).len()).sum()
            }
            false => 0,
        };
        let macs = products.iter().map(|&id| macs(&self.graph, &self.shapes, id)).sum();
        let cost = self.cost(runtime, step.output(), operators, works, macs, [values, plain_weights]);
        match step {
            Step::Inverted(_) => StepCost { algorithm: Algorithm::Inverted, ..cost },
            _ => cost,
        }
    }

    /// What the kernel behind a fused step says of itself, for the sizes that it is given.
    fn fused_work(&self, runtime: &Runtime, fused: &Fused) -> Option<Work> {
        if let Some(sizes) = fused.conv2d(&self.graph, &self.shapes) {
            return Some(conv2d::work(runtime.cx(), &sizes, Pass::Forward));
        }
        if let Some(sizes) = fused.depthwise(&self.graph, &self.shapes) {
            return Some(depthwise::work(&sizes));
        }
        self.work(runtime, fused.anchor, Pass::Forward)
    }

    fn gradient_cost(&self, runtime: &Runtime, id: NodeId) -> StepCost {
        let node = self.graph.node(id);
        let wanted = self.flow.wanted(node);
        let pass = |position: usize| match position {
            0 if self.flow.is_packed(&self.graph, id) => Pass::InputPacked,
            0 => Pass::Input,
            _ => Pass::Kernel,
        };
        let products = (0..node.inputs.len().min(2)).filter(|&position| wanted[position]);
        let works: Vec<Work> =
            products.filter_map(|position| self.work(runtime, id, pass(position))).collect();
        let keeps = self.training.keeps(&self.graph, id, &wanted);
        let read = node.inputs.iter().enumerate().filter(|(position, _)| keeps.input(*position));
        let written = node.inputs.iter().enumerate().filter(|(position, _)| wanted[*position]);
        let len = |(_, id): (usize, &NodeId)| self.shape(*id).len();
        let own = self.shape(id).len() * if keeps.output() { 2 } else { 1 };
        let values = own + read.map(len).sum::<usize>() + written.map(len).sum::<usize>();
        let macs = macs(&self.graph, &self.shapes, id) * works.len() as u64;
        self.cost(runtime, id, operator(&self.graph, id), works, macs, [values, 0])
    }

    fn cost(
        &self,
        runtime: &Runtime,
        id: NodeId,
        operators: String,
        works: Vec<Work>,
        macs: u64,
        [values, plain_weights]: [usize; 2],
    ) -> StepCost {
        let most = works.iter().max_by_key(|work| work.products);
        let algorithm = most.map_or(Algorithm::Plain, |work| work.algorithm);
        let [values, plain_weights] = [values, plain_weights].map(|n| (n * size_of::<f32>()) as u64);
        let weight_bytes = works.iter().map(|work| work.weight_bytes).sum::<u64>() + plain_weights;
        let bytes = values + weight_bytes;
        let expected_seconds = runtime.expected_seconds(&works, bytes);
        let name = self.graph.node(id).name.clone();
        let shape = self.shape(id).clone();
        StepCost { name, operators, shape, algorithm, macs, bytes, weight_bytes, expected_seconds }
    }

    /// What the kernel behind a node says of itself.
    fn work(&self, runtime: &Runtime, id: NodeId, pass: Pass) -> Option<Work> {
        let node = self.graph.node(id);
        let (x, w) = (node.inputs.first()?, node.inputs.get(1)?);
        let (xs, ws) = (self.shape(*x), self.shape(*w));
        match &node.op {
            Op::Conv2d(op) => Some(conv2d::work(runtime.cx(), &op.placed(xs, ws), pass)),
            Op::DepthwiseConv2d(op) => Some(depthwise::work(&op.placed(xs, ws))),
            Op::Dense(_) => {
                let [k, n] = [ws.dims()[0], ws.dims()[1]];
                Some(matmul::work(xs.len() / k, k, n))
            }
            _ => None,
        }
    }
}

fn fused_operators(graph: &Graph, fused: &Fused) -> String {
    let mut operators = Vec::from_iter(fused.pad.map(|id| operator(graph, id)));
    operators.push(operator(graph, fused.anchor));
    operators.extend(fused.batch_norm.map(|id| operator(graph, id)));
    operators.extend(fused.residual.map(|_| "add".to_owned()));
    operators.extend(fused.activation.map(|activation| activation.name().replace('_', " ")));
    operators.join(" + ")
}

/// What a node computes, in a word or two.
fn operator(graph: &Graph, id: NodeId) -> String {
    let op = &graph.node(id).op;
    let name = match op {
        Op::Activate(activate) => activate.function.name(),
        Op::Binary(binary) => binary.op.name(),
        _ => op.operator().name(),
    };
    name.replace("conv2d", "conv").trim_end_matches("2d").replace('_', " ")
}
