//! Weights as the kernels want them: batch norm folded in, panels packed; made again when a value behind them changes.

use std::collections::HashMap;

use binesh_kernels::{Cx, Epilogue, Write, conv2d, depthwise, matmul};

use crate::graph::NodeId;
use crate::ops::Op;
use crate::params::Params;
use crate::plan::{Fused, Plan};
use crate::tensor::{View, ViewMut};

/// Packed weights per anchor.
#[derive(Default)]
pub(super) struct PackedWeights {
    entries: HashMap<NodeId, Entry>,
    /// For the way back.
    turned: HashMap<NodeId, Turned>,
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

impl PackedWeights {
    /// `y = activation(batch_norm(anchor(x)) + residual)`.
    #[expect(clippy::too_many_arguments, reason = "the operands of a fused step")]
    pub(super) fn forward(
        &mut self,
        cx: Cx<'_>,
        plan: &Plan,
        params: &Params,
        fused: &Fused,
        x: View<'_>,
        residual: Option<View<'_>>,
        y: ViewMut<'_>,
    ) {
        let node = plan.graph.node(fused.anchor);
        let weights = || {
            let norm = fused.batch_norm.map(|id| &plan.graph.node(id).inputs[1..]).unwrap_or_default();
            node.inputs[1..].iter().chain(norm)
        };
        let fresh =
            |entry: &&mut Entry| entry.versions.iter().copied().eq(weights().map(|&id| params.version(id)));
        let (xs, ws) = (x.shape(), plan.shape(node.inputs[1]));
        if self.entries.get_mut(&fused.anchor).filter(fresh).is_none() {
            let versions = weights().map(|&id| params.version(id)).collect();
            let (kernel, bias) = pack(cx, plan, params, fused);
            self.entries.insert(fused.anchor, Entry { versions, kernel, bias });
        }
        let Entry { kernel, bias, .. } = &self.entries[&fused.anchor];
        let epilogue = Epilogue {
            bias: bias.as_deref(),
            residual: residual.map(|view| view.data()),
            activation: fused.activation,
        };
        let (x, y) = (x.data(), y.into_data());
        match (&node.op, kernel) {
            (Op::Conv2d(op), Kernel::Conv2d(w)) => {
                conv2d::forward(cx, &op.placed(xs, ws), x, w, y, &epilogue)
            }
            (Op::DepthwiseConv2d(op), Kernel::Depthwise(w)) => {
                depthwise::forward(cx, &op.placed(xs, ws), x, w, y, &epilogue);
            }
            (Op::Dense(_), Kernel::Dense(w)) => {
                let [k, n] = [ws.dims()[0], ws.dims()[1]];
                let rows = xs.dims()[..xs.rank() - 1].iter().product();
                matmul::forward(cx, rows, k, n, x, w, y, &epilogue);
            }
            _ => unreachable!("an entry is made by `pack` from the operator of the same node"),
        }
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
                _ => TurnedKernel::Depthwise(scaled(w, scale.as_deref())),
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

/// The factors and offsets of a batch norm.
fn scale_shift(plan: &Plan, params: &Params, norm: NodeId) -> (Vec<f32>, Vec<f32>) {
    let node = plan.graph.node(norm);
    let Op::BatchNorm(op) = &node.op else { unreachable!("`fuse` folds only batch norms") };
    let values: Vec<&[f32]> = node.inputs[1..].iter().map(|&id| weight(params, id)).collect();
    op.scale_shift(&values)
}

/// A depthwise kernel with a factor for each channel.
fn scaled(w: &[f32], scale: Option<&[f32]>) -> Vec<f32> {
    let Some(scale) = scale else { return w.to_vec() };
    w.chunks(scale.len()).flat_map(|row| row.iter().zip(scale).map(|(w, s)| w * s)).collect()
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
    let (xs, ws) = (plan.shape(node.inputs[0]), plan.shape(node.inputs[1]));
    let kernel = match &node.op {
        Op::Conv2d(op) => Kernel::Conv2d(conv2d::pack(cx, &op.placed(xs, ws), w, scale)),
        Op::DepthwiseConv2d(_) => Kernel::Depthwise(scaled(w, scale)),
        Op::Dense(_) => Kernel::Dense(matmul::pack(cx, ws.dims()[0], ws.dims()[1], w, scale)),
        _ => unreachable!("`fuse` makes anchors of products only"),
    };
    (kernel, bias)
}
