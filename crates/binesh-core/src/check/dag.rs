//! Random networks for the planner's properties: maps `[2, 4, 3, C]` joined by every way of reading them that matters
//! to a plan (chains that fuse, values read twice, skip connections, shared and computed weights, broadcasts).

use std::sync::Arc;

use proptest::prelude::*;

use crate::check::random;
use crate::graph::{Graph, NodeId};
use crate::ops::{
    Activate, BatchNorm, Binary, Concat, Constant, Conv2d, Dense, DepthwiseConv2d, GlobalAveragePool2d,
    Input, Op, Param,
};
use crate::params::Params;
use crate::shape::{Padding, Shape, Window};
use crate::tensor::Tensor;
use crate::{Activation, BinaryOp};

/// A network with values, and which of its nodes a caller asks for.
#[derive(Clone, Debug)]
pub(crate) struct Dag {
    pub(crate) graph: Arc<Graph>,
    pub(crate) params: Params,
    pub(crate) inputs: Vec<(NodeId, Tensor)>,
    pub(crate) want: Vec<NodeId>,
    /// Nodes to differentiate by, where there is a path.
    pub(crate) wrt: Vec<NodeId>,
}

/// One choice of the recipe: what to add, which values to read, how many channels.
type Choice = (u8, u16, u16, usize);

/// Networks of up to 14 choices; `smooth` ones have a derivative everywhere.
pub(crate) fn dag(smooth: bool) -> impl Strategy<Value = Dag> {
    let choice = (0..14u8, any::<u16>(), any::<u16>(), 1..5usize);
    let picks = || proptest::collection::vec(any::<u16>(), 1..4);
    (proptest::collection::vec(choice, 1..15), picks(), picks())
        .prop_map(move |(recipe, want, wrt)| Builder::new(smooth).build(&recipe, &want, &wrt))
}

struct Builder {
    smooth: bool,
    graph: Graph,
    params: Params,
    inputs: Vec<(NodeId, Tensor)>,
    /// Nodes whose values are maps.
    maps: Vec<NodeId>,
    /// Kernels of convolutions, to share.
    kernels: Vec<NodeId>,
}

const MAP: [usize; 3] = [2, 4, 3];

impl Builder {
    fn new(smooth: bool) -> Builder {
        let mut builder = Builder {
            smooth,
            graph: Graph::default(),
            params: Params::default(),
            inputs: Vec::new(),
            maps: Vec::new(),
            kernels: Vec::new(),
        };
        for channels in [3, 2] {
            let [n, h, w] = MAP;
            let id = builder.add(Input::image(h, w, channels), &[]);
            builder.inputs.push((id, random(&[n, h, w, channels].into(), 900 + channels as u64, -1.0, 1.0)));
            builder.maps.push(id);
        }
        builder
    }

    fn build(mut self, recipe: &[Choice], want: &[u16], wrt: &[u16]) -> Dag {
        for &choice in recipe {
            let added = self.choose(choice);
            self.maps.push(added);
        }
        let ids: Vec<NodeId> = self.graph.ids().collect();
        let pick = |from: &[NodeId], picks: &[u16]| {
            let mut picked: Vec<NodeId> = picks.iter().map(|&p| from[usize::from(p) % from.len()]).collect();
            picked.sort();
            picked.dedup();
            picked
        };
        // The last nodes are asked for more often: they have more above them.
        let late = &self.maps[self.maps.len() / 2..];
        let (want, wrt) = (pick(late, want), pick(&ids, wrt));
        let Builder { graph, params, inputs, .. } = self;
        Dag { graph: Arc::new(graph), params, inputs, want, wrt }
    }

    fn choose(&mut self, (kind, a, b, out): Choice) -> NodeId {
        let x = self.maps[usize::from(a) % self.maps.len()];
        let c = self.channels(x);
        match kind {
            0 => {
                let y = self.conv(x, out);
                self.activation(y)
            }
            1 => self.conv(x, out),
            2 => {
                let kernel = self.weight([3, 3, c, 1]);
                self.add(DepthwiseConv2d { window: Window::square(3, 1, Padding::Same) }, &[x, kernel])
            }
            3 => self.batch_norm(x),
            4 => self.activation(x),
            5 | 6 => {
                let other = self.like(x, b);
                let ops = [BinaryOp::Add, BinaryOp::Multiply, BinaryOp::Subtract];
                self.add(Binary { op: ops[out % 3] }, &[x, other])
            }
            7 => {
                let other = self.maps[usize::from(b) % self.maps.len()];
                self.add(Concat { axis: -1 }, &[x, other])
            }
            8 => {
                let (kernel, bias) = (self.weight([c, out]), self.weight([out]));
                self.add(Dense, &[x, kernel, bias])
            }
            9 => {
                let fits = |id: &&NodeId| matches!(&self.graph.node(**id).op, Op::Param(p) if p.shape.dims()[2] == c);
                match self.kernels.iter().find(fits).copied() {
                    Some(kernel) => self.add(convolution(), &[x, kernel]),
                    None => self.conv(x, out),
                }
            }
            10 => self.residual_block(x, b),
            11 => {
                let value = random(&[c].into(), u64::from(b), -1.0, 1.0);
                let constant = self.add(Constant { value }, &[]);
                self.add(Binary { op: BinaryOp::Add }, &[constant, x])
            }
            12 => {
                let kernel = self.weight([3, 3, c, out]);
                let computed = self.add(Activate { function: Activation::Tanh }, &[kernel]);
                self.add(convolution(), &[x, computed])
            }
            _ => {
                let squeezed = self.add(GlobalAveragePool2d { keepdims: true }, &[x]);
                self.add(Binary { op: BinaryOp::Multiply }, &[x, squeezed])
            }
        }
    }

    /// Convolution, batch norm, skip connection and activation: one fused step where nothing inside is asked for.
    fn residual_block(&mut self, x: NodeId, b: u16) -> NodeId {
        let y = self.conv(x, self.channels(x));
        let y = self.batch_norm(y);
        let skip = self.like(x, b);
        let order = if b.is_multiple_of(2) { [y, skip] } else { [skip, y] };
        let y = self.add(Binary { op: BinaryOp::Add }, &order);
        self.activation(y)
    }

    fn conv(&mut self, x: NodeId, out: usize) -> NodeId {
        let kernel = self.weight([3, 3, self.channels(x), out]);
        self.kernels.push(kernel);
        let bias = self.weight([out]);
        self.add(convolution(), &[x, kernel, bias])
    }

    fn batch_norm(&mut self, x: NodeId) -> NodeId {
        let c = self.channels(x);
        let [gamma, beta, mean] = [(); 3].map(|()| self.weight([c]));
        let variance = self.weight([c]);
        let positive = random(&[c].into(), variance.index() as u64, 0.5, 1.5);
        self.params.set(variance, positive);
        self.add(
            BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale: true, center: true },
            &[x, gamma, beta, mean, variance],
        )
    }

    fn activation(&mut self, x: NodeId) -> NodeId {
        let function = if self.smooth { Activation::Silu } else { Activation::RELU };
        self.add(Activate { function }, &[x])
    }

    /// A map with as many channels as `x`: often `x` itself.
    fn like(&mut self, x: NodeId, b: u16) -> NodeId {
        let c = self.channels(x);
        let fitting: Vec<NodeId> = self.maps.iter().copied().filter(|&id| self.channels(id) == c).collect();
        fitting[usize::from(b / 2) % fitting.len()]
    }

    fn weight<const R: usize>(&mut self, dims: [usize; R]) -> NodeId {
        let shape = Shape::from(dims);
        let id = self.add(Param { shape: shape.clone(), trainable: true }, &[]);
        self.params.set(id, random(&shape, id.index() as u64, -0.5, 0.5));
        id
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        let name = format!("node_{}", self.graph.nodes().len());
        self.graph.add(name, op, inputs).expect("the recipe reads maps that fit")
    }

    fn channels(&self, id: NodeId) -> usize {
        self.graph.dims(id)[3].expect("only the batch is free")
    }
}

fn convolution() -> Conv2d {
    Conv2d { window: Window::square(3, 1, Padding::Same), groups: 1 }
}
