//! Weights as the kernels want them: batch norm folded in, panels packed; made again when a value behind them changes.

use std::collections::HashMap;

use binesh_kernels::{Cx, Epilogue, conv2d, depthwise, matmul};

use crate::graph::NodeId;
use crate::ops::Op;
use crate::params::Params;
use crate::plan::{Fused, Plan, Step};
use crate::tensor::{View, ViewMut};

/// Packed weights per anchor.
#[derive(Default)]
pub(super) struct PackedWeights {
    entries: HashMap<NodeId, Entry>,
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

impl PackedWeights {
    /// Packs what is not packed yet, or was from other values.
    pub(super) fn prepare(&mut self, cx: Cx<'_>, plan: &Plan, params: &Params) {
        for step in &plan.steps {
            let Step::Fused(fused) = step else { continue };
            let norm = fused.batch_norm.map(|id| &plan.graph.node(id).inputs[1..]).unwrap_or_default();
            let weights = || plan.graph.node(fused.anchor).inputs[1..].iter().chain(norm);
            let fresh = |entry: &&mut Entry| {
                entry.versions.iter().copied().eq(weights().map(|&id| params.version(id)))
            };
            if self.entries.get_mut(&fused.anchor).filter(fresh).is_none() {
                let versions = weights().map(|&id| params.version(id)).collect();
                let (kernel, bias) = pack(cx, plan, params, fused);
                self.entries.insert(fused.anchor, Entry { versions, kernel, bias });
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
        let node = plan.graph.node(fused.anchor);
        let (xs, ws) = (x.shape(), plan.shape(node.inputs[1]));
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
}

fn pack(cx: Cx<'_>, plan: &Plan, params: &Params, fused: &Fused) -> (Kernel, Option<Vec<f32>>) {
    let node = plan.graph.node(fused.anchor);
    let weight = |id: NodeId| params.get(id).expect("`run` checked that every weight has a value").data();
    let w = weight(node.inputs[1]);
    let bias = node.inputs.get(2).map(|&id| weight(id).to_vec());
    let norm = fused.batch_norm.map(|id| {
        let batch_norm = plan.graph.node(id);
        let Op::BatchNorm(op) = &batch_norm.op else { unreachable!("`fuse` folds only batch norms") };
        let values: Vec<&[f32]> = batch_norm.inputs[1..].iter().map(|&id| weight(id)).collect();
        op.scale_shift(&values)
    });
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
        Op::DepthwiseConv2d(_) => {
            let cycle = |scale: &[f32]| {
                w.chunks(scale.len())
                    .flat_map(|row| row.iter().zip(scale).map(|(w, s)| w * s).collect::<Vec<_>>())
                    .collect()
            };
            Kernel::Depthwise(scale.map_or_else(|| w.to_vec(), cycle))
        }
        Op::Dense(_) => Kernel::Dense(matmul::pack(cx, ws.dims()[0], ws.dims()[1], w, scale)),
        _ => unreachable!("`fuse` makes anchors of products only"),
    };
    (kernel, bias)
}
