//! Weights as the kernels want them: batch norm folded in, panels packed; made again when a value behind them changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use binesh_kernels::{Cx, Epilogue, Tile, Write, conv2d, depthwise, inverted, matmul};

use crate::graph::NodeId;
use crate::ops::{Dense, Op};
use crate::params::Params;
use crate::plan::{Fused, Inverted, Plan, Step};
use crate::shape::Shape;
use crate::tensor::{Tensor, View, ViewMut};

/// Packed weights per anchor.
#[derive(Default)]
pub(super) struct PackedWeights {
    entries: HashMap<NodeId, Arc<Entry>>,
    /// For the way back.
    turned: HashMap<NodeId, Turned>,
}

/// What the sessions of a runtime have packed: held once, for as long as one of them uses it. Versions of weights are those
/// of the process, so that different models do not meet.
#[derive(Default)]
pub(super) struct Store {
    entries: Mutex<Vec<(Key, Weak<Entry>)>>,
}

/// What an entry is made from.
#[derive(PartialEq)]
struct Key {
    op: Op,
    batch_norm: Option<Op>,
    versions: Vec<Option<u64>>,
    /// The one thing that the sizes of a map decide.
    winograd: Option<Tile>,
    /// And the one that those of a dense layer's input do.
    single_row: bool,
}

impl Store {
    /// The entry of this key; `pack` makes it, once also if several sessions ask at one time.
    fn get(&self, key: Key, pack: impl FnOnce() -> Entry) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(_, entry)| entry.strong_count() > 0);
        let known = entries.iter().find(|(other, _)| *other == key).and_then(|(_, entry)| entry.upgrade());
        known.unwrap_or_else(|| {
            let entry = Arc::new(pack());
            entries.push((key, Arc::downgrade(&entry)));
            entry
        })
    }

    /// Bytes of all that is packed.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter_map(|(_, entry)| Some(entry.upgrade()?.kernel.bytes())).sum()
    }
}

struct Entry {
    /// Versions of the parameters it was made from.
    versions: Vec<Option<u64>>,
    kernel: Kernel,
    bias: Option<Vec<f32>>,
}

enum Kernel {
    Conv2d(conv2d::PackedKernel),
    Depthwise(Vec<f32>),
    Dense(matmul::PackedMatrix),
    /// For a single row: the matrix itself, shared with the parameters.
    Row(Tensor),
}

struct Turned {
    /// As in [`Entry`].
    versions: Vec<Option<u64>>,
    kernel: TurnedKernel,
}

enum TurnedKernel {
    Conv2d(conv2d::TurnedKernel),
    Depthwise(Vec<f32>),
}

#[cfg(test)]
impl Kernel {
    fn bytes(&self) -> usize {
        match self {
            Kernel::Conv2d(kernel) => kernel.bytes(),
            Kernel::Depthwise(kernel) => size_of_val(kernel.as_slice()),
            Kernel::Dense(kernel) => kernel.bytes(),
            Kernel::Row(_) => 0,
        }
    }
}

impl PackedWeights {
    /// Packs what is not packed yet, or was from other values.
    pub(super) fn prepare(&mut self, cx: Cx<'_>, store: &Store, plan: &Plan, params: &Params) {
        for step in &plan.steps {
            match step {
                Step::Node(_) => {}
                Step::Fused(fused) => self.refresh(cx, store, plan, params, fused),
                Step::Inverted(inverted) => {
                    inverted.parts().for_each(|fused| self.refresh(cx, store, plan, params, fused));
                }
            }
        }
    }

    /// `y = activation(batch_norm(anchor(x)) + residual)`, with weights that `prepare` has packed.
    pub(super) fn forward(
        &self,
        cx: Cx<'_>,
        plan: &Plan,
        fused: &Fused,
        x: View<'_>,
        residual: Option<View<'_>>,
        y: ViewMut<'_>,
    ) {
        let Entry { kernel, bias, .. } = &*self.entries[&fused.anchor];
        let epilogue = Epilogue {
            bias: bias.as_deref(),
            residual: residual.map(|view| view.data()),
            activation: fused.activation,
        };
        let rows = rows(x.shape());
        let (x, y) = (x.data(), y.into_data());
        match kernel {
            Kernel::Conv2d(w) => conv2d::forward(cx, &conv2d_sizes(plan, fused), x, w, y, &epilogue),
            Kernel::Depthwise(w) => depthwise::forward(cx, &depthwise_sizes(plan, fused), x, w, y, &epilogue),
            Kernel::Dense(w) => {
                let [k, n] = matrix(plan, fused);
                matmul::forward(cx, rows, k, n, x, w, y, &epilogue);
            }
            Kernel::Row(w) => {
                let [k, n] = matrix(plan, fused);
                matmul::forward_row(cx, k, n, x, w.data(), y, &epilogue);
            }
        }
    }

    /// `y = project(filter(expand(x))) + residual`, each with what was fused into it.
    pub(super) fn forward_inverted(
        &self,
        cx: Cx<'_>,
        plan: &Plan,
        step: &Inverted,
        x: View<'_>,
        residual: Option<View<'_>>,
        y: ViewMut<'_>,
    ) {
        let pointwise = |fused: &Fused| {
            let Entry { kernel: Kernel::Conv2d(kernel), bias, .. } = &*self.entries[&fused.anchor] else {
                unreachable!("`fuse` widens and narrows by convolutions")
            };
            let width = conv2d_sizes(plan, fused).cout;
            inverted::Pointwise { kernel, width, bias: bias.as_deref(), activation: fused.activation }
        };
        let filter = &step.filter;
        let Entry { kernel: Kernel::Depthwise(kernel), bias, .. } = &*self.entries[&filter.anchor] else {
            unreachable!("`fuse` filters by a depthwise convolution")
        };
        let job = inverted::Inverted {
            geom: depthwise_sizes(plan, filter),
            cin: conv2d_sizes(plan, &step.expand).cin,
            expand: pointwise(&step.expand),
            filter: inverted::Filter { kernel, bias: bias.as_deref(), activation: filter.activation },
            project: step.project.as_ref().map(pointwise),
            residual: residual.map(|view| view.data()),
        };
        inverted::forward(cx, &job, x.data(), y.into_data());
    }

    /// Packs the weights of a step where a value behind them changed.
    fn refresh(&mut self, cx: Cx<'_>, store: &Store, plan: &Plan, params: &Params, fused: &Fused) {
        let node = plan.graph.node(fused.anchor);
        let weights = || {
            let norm = fused.batch_norm.map(|id| &plan.graph.node(id).inputs[1..]).unwrap_or_default();
            node.inputs[1..].iter().chain(norm)
        };
        let fresh = |entry: &&mut Arc<Entry>| {
            entry.versions.iter().copied().eq(weights().map(|&id| params.version(id)))
        };
        if self.entries.get_mut(&fused.anchor).filter(fresh).is_some() {
            return;
        }
        // What is stale goes before the new is made.
        self.entries.remove(&fused.anchor);
        let versions: Vec<Option<u64>> = weights().map(|&id| params.version(id)).collect();
        let sizes = fused.conv2d(&plan.graph, &plan.shapes);
        let key = Key {
            op: node.op.clone(),
            batch_norm: fused.batch_norm.map(|id| plan.graph.node(id).op.clone()),
            versions: versions.clone(),
            winograd: sizes.and_then(|sizes| conv2d::winograd_tile(cx, &sizes)),
            single_row: is_single_row(plan, fused),
        };
        let entry = store.get(key, || {
            let (kernel, bias) = pack(cx, plan, params, fused);
            Entry { versions, kernel, bias }
        });
        self.entries.insert(fused.anchor, entry);
    }

    /// The gradient of a convolution's input, from that of its output or of the batch norm's that is folded into it.
    #[expect(clippy::too_many_arguments, reason = "the operands of a gradient")]
    pub(super) fn backward_input(
        &mut self,
        cx: Cx<'_>,
        plan: &Plan,
        params: &Params,
        anchor: NodeId,
        dy: View<'_>,
        dx: &mut ViewMut<'_>,
        write: Write,
    ) {
        let (node, norm) = (plan.graph.node(anchor), plan.flow.folded[anchor.index()]);
        let of_norm = norm.map(|id| &plan.graph.node(id).inputs[1..]).unwrap_or_default();
        let weights = || node.inputs[1..2].iter().chain(of_norm).map(|&id| params.version(id));
        let (xs, ws) = (plan.shape(node.inputs[0]), plan.shape(node.inputs[1]));
        if !self.turned.get(&anchor).is_some_and(|entry| entry.versions.iter().copied().eq(weights())) {
            let w = weight(params, node.inputs[1]);
            let scale = norm.map(|id| scale_shift(plan, params, id).0);
            let kernel = match &node.op {
                Op::Conv2d(op) => {
                    TurnedKernel::Conv2d(conv2d::pack_turned(cx, &op.placed(xs, ws), w, scale.as_deref()))
                }
                _ => TurnedKernel::Depthwise(depthwise::pack(w, scale.as_deref())),
            };
            self.turned.insert(anchor, Turned { versions: weights().collect(), kernel });
        }
        let (dy, dx) = (dy.data(), dx.data());
        match (&node.op, &self.turned[&anchor].kernel) {
            (Op::Conv2d(op), TurnedKernel::Conv2d(w)) => {
                conv2d::backward_input_packed(cx, &op.placed(xs, ws), dy, w, dx, write);
            }
            (Op::DepthwiseConv2d(op), TurnedKernel::Depthwise(w)) => {
                depthwise::backward_input(cx, &op.placed(xs, ws), dy, w, dx, write);
            }
            _ => unreachable!("`Flow::is_packed` chooses convolutions"),
        }
    }
}

/// The value of a parameter.
fn weight(params: &Params, id: NodeId) -> &[f32] {
    params.get(id).expect("`run` checked that every weight has a value").data()
}

/// Rows of a dense layer's input.
fn rows(x: &Shape) -> usize {
    x.dims()[..x.rank() - 1].iter().product()
}

/// K and N of a dense layer.
fn matrix(plan: &Plan, fused: &Fused) -> [usize; 2] {
    let shape = plan.shape(plan.graph.node(fused.anchor).inputs[1]);
    [shape.dims()[0], shape.dims()[1]]
}

/// Whether it is a dense layer whose matrix is read once, as it is: packing would be a second pass.
fn is_single_row(plan: &Plan, fused: &Fused) -> bool {
    let node = plan.graph.node(fused.anchor);
    node.op == Op::Dense(Dense) && fused.batch_norm.is_none() && rows(plan.shape(node.inputs[0])) == 1
}

/// The factors and offsets of a batch norm.
fn scale_shift(plan: &Plan, params: &Params, norm: NodeId) -> (Vec<f32>, Vec<f32>) {
    let node = plan.graph.node(norm);
    let Op::BatchNorm(op) = &node.op else { unreachable!("`fuse` folds only batch norms") };
    let values: Vec<&[f32]> = node.inputs[1..].iter().map(|&id| weight(params, id)).collect();
    op.scale_shift(&values)
}

fn conv2d_sizes(plan: &Plan, fused: &Fused) -> conv2d::Conv2d {
    fused.conv2d(&plan.graph, &plan.shapes).expect("the anchor is a convolution")
}

fn depthwise_sizes(plan: &Plan, fused: &Fused) -> depthwise::Depthwise {
    fused.depthwise(&plan.graph, &plan.shapes).expect("the anchor is a depthwise convolution")
}

fn pack(cx: Cx<'_>, plan: &Plan, params: &Params, fused: &Fused) -> (Kernel, Option<Vec<f32>>) {
    let node = plan.graph.node(fused.anchor);
    let w = weight(params, node.inputs[1]);
    let bias = node.inputs.get(2).map(|&id| weight(params, id).to_vec());
    let norm = fused.batch_norm.map(|id| scale_shift(plan, params, id));
    let scale = norm.as_ref().map(|(scale, _)| scale.as_slice());
    let bias = match (&norm, bias) {
        (None, bias) => bias,
        (Some((_, shift)), None) => Some(shift.clone()),
        (Some((scale, shift)), Some(bias)) => {
            Some(bias.iter().zip(scale).zip(shift).map(|((b, s), t)| b * s + t).collect())
        }
    };
    let ws = plan.shape(node.inputs[1]);
    let kernel = match &node.op {
        Op::Conv2d(_) => Kernel::Conv2d(conv2d::pack(cx, &conv2d_sizes(plan, fused), w, scale)),
        Op::DepthwiseConv2d(_) => Kernel::Depthwise(depthwise::pack(w, scale)),
        Op::Dense(_) if is_single_row(plan, fused) => {
            Kernel::Row(params.get(node.inputs[1]).expect("`weight` found it").clone())
        }
        Op::Dense(_) => Kernel::Dense(matmul::pack(cx, ws.dims()[0], ws.dims()[1], w, scale)),
        _ => unreachable!("`fuse` makes anchors of products only"),
    };
    (kernel, bias)
}
