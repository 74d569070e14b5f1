//! What training mode adds to a session: masks that the caller gives, statistics that a run measures.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use binesh_kernels::binary::{self, BinaryOp};
use binesh_kernels::{Cx, norm};

use crate::graph::NodeId;
use crate::operator::At;
use crate::ops::{BatchNorm, Op};
use crate::params::Params;
use crate::plan::Plan;
use crate::session::{InputError, Session};
use crate::shape::Shape;
use crate::tensor::{View, ViewMut};

/// Masks of the active dropouts, statistics of the batch norms that measure.
#[derive(Default)]
pub(super) struct TrainingState {
    masks: HashMap<NodeId, Vec<f32>>,
    statistics: HashMap<NodeId, Statistics>,
}

struct Statistics {
    /// `[C]`
    shape: Shape,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl Session {
    /// Sets the mask of an active dropout, as many values as its own: 0 where a value is dropped and `1 / (1 - rate)`
    /// elsewhere. Holds until it is set again. What is random is thus the caller's business.
    pub fn set_mask(&mut self, node: NodeId, mask: &[f32]) -> Result<(), InputError> {
        let name = || self.plan.graph.node(node).name.clone();
        if !self.plan.training.drops(node) {
            return Err(InputError::NotDropped { name: name() });
        }
        let expected = self.plan.shape(node).len();
        if mask.len() != expected {
            return Err(InputError::MaskLength { name: name(), expected, got: mask.len() });
        }
        let own = self.training.masks.entry(node).or_default();
        own.clear();
        own.extend_from_slice(mask);
        Ok(())
    }

    /// Mean and biased variance per channel that the last run normalised with.
    ///
    /// # Panics
    /// When the node is not one of [`Plan::batch_statistics`] or nothing was run.
    pub fn batch_statistics(&self, node: NodeId) -> (&[f32], &[f32]) {
        let measured = self.training.statistics.get(&node).expect("no batch statistics before `run`");
        (&measured.mean, &measured.variance)
    }

    /// Moves the moving statistics of every batch norm that used its batch's towards those: once per step of training,
    /// as Keras does in the forward pass.
    pub fn update_moving_statistics(&self, params: &mut Params) {
        for &id in &self.plan.training.batch_statistics {
            let node = self.plan.graph.node(id);
            let (op, (mean, variance)) = (batch_norm(&node.op), self.batch_statistics(id));
            let [.., moving_mean, moving_variance] = node.inputs.as_slice() else {
                unreachable!("`arity` counted the statistics")
            };
            for (moving, batch) in [(moving_mean, mean), (moving_variance, variance)] {
                if let Some(moving) = params.get_mut(*moving) {
                    op.update_moving(moving.data_mut(), batch);
                }
            }
        }
    }
}

fn batch_norm(op: &Op) -> &BatchNorm {
    match op {
        Op::BatchNorm(op) => op,
        _ => unreachable!("`Active` holds batch norms only"),
    }
}

impl TrainingState {
    /// Every active dropout has a mask.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), InputError> {
        match plan.training.dropout.iter().find(|id| !self.masks.contains_key(id)) {
            None => Ok(()),
            Some(&id) => Err(InputError::NoMask { name: plan.graph.node(id).name.clone() }),
        }
    }

    /// `y = x * mask`.
    pub(super) fn drop(&self, cx: Cx<'_>, id: NodeId, x: View<'_>, y: ViewMut<'_>) {
        let (mask, dims) = (&self.masks[&id], x.shape().dims());
        binary::forward(cx, BinaryOp::Multiply, x.data(), dims, mask, dims, y.into_data(), dims);
    }

    /// `dx += dy * mask`.
    pub(super) fn drop_backward(&self, cx: Cx<'_>, id: NodeId, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let (mask, dims) = (&self.masks[&id], dy.shape().dims());
        // The factor that belongs to x is the mask; x itself is not read.
        let (dy, dx) = (dy.data(), Some(dx.data()));
        binary::backward(cx, BinaryOp::Multiply, mask, dims, mask, dims, dy, dims, dx, None);
    }

    /// Measures the batch and normalises with what was measured.
    pub(super) fn normalise(&mut self, cx: Cx<'_>, id: NodeId, op: &Op, inputs: &[View<'_>], y: ViewMut<'_>) {
        let [x, .., mean, _] = inputs else { unreachable!("`arity` counted the statistics") };
        let shape = mean.shape();
        let own = self.statistics.entry(id).or_insert_with(|| Statistics {
            shape: shape.clone(),
            mean: vec![0.0; shape.len()],
            variance: vec![0.0; shape.len()],
        });
        norm::batch_moments(cx, shape.len(), x.data(), &mut own.mean, &mut own.variance);
        let mut inputs = inputs.to_vec();
        own.replace(&mut inputs);
        op.operator().forward(cx, &inputs, y);
    }

    /// The gradient through the mean and the variance too.
    pub(super) fn normalise_backward(
        &self,
        cx: Cx<'_>,
        id: NodeId,
        op: &Op,
        at: &At<'_>,
        dy: View<'_>,
        dx: &mut [Option<ViewMut<'_>>],
    ) {
        let own = &self.statistics[&id];
        let mut inputs: Vec<View<'_>> = (0..at.inputs.len()).map(|i| at.input(i)).collect();
        own.replace(&mut inputs);
        let inputs: Vec<Option<View<'_>>> = inputs.into_iter().map(Some).collect();
        let at = At { inputs: &inputs, ..*at };
        batch_norm(op).backward_through_statistics(cx, &at, dy, dx);
    }
}

impl Statistics {
    /// Puts what was measured in the place of the moving statistics, the last two inputs.
    fn replace<'a>(&'a self, inputs: &mut [View<'a>]) {
        let [.., mean, variance] = inputs else { unreachable!("`arity` counted the statistics") };
        *mean = View::new(&self.shape, &self.mean);
        *variance = View::new(&self.shape, &self.variance);
    }
}
