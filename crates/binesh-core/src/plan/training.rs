//! Nodes that compute otherwise than in use: dropout that drops, batch norm with the statistics of its batch.

use crate::graph::{Graph, NodeId};
use crate::operator::Keeps;
use crate::ops::Op;
use crate::plan::PlanError;

/// Which nodes are in training mode; all others compute as in use, those in [`Training::default`] too.
#[derive(Clone, Copy, Debug, Default)]
pub struct Training<'a> {
    /// [`crate::ops::Dropout`] nodes that drop: each needs a mask, see [`crate::Session::set_mask`].
    pub dropout: &'a [NodeId],
    /// [`crate::ops::BatchNorm`] nodes that normalise with the mean and variance of the batch, see
    /// [`crate::Session::batch_statistics`].
    pub batch_statistics: &'a [NodeId],
}

/// The nodes of a [`Training`] that the plan computes, in node order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Active {
    pub(crate) dropout: Vec<NodeId>,
    pub(crate) batch_statistics: Vec<NodeId>,
}

impl Active {
    /// Fails for nodes of another kind. Those that are not `computed` are left out.
    pub(super) fn new(
        graph: &Graph,
        training: Training<'_>,
        computed: impl Fn(NodeId) -> bool,
    ) -> Result<Active, PlanError> {
        let collect = |ids: &[NodeId], kind: &'static str, is: fn(&Op) -> bool| {
            if let Some(&id) = ids.iter().find(|&&id| !is(&graph.node(id).op)) {
                return Err(PlanError::Mode { name: graph.node(id).name.clone(), kind });
            }
            let mut ids: Vec<NodeId> = ids.iter().copied().filter(|&id| computed(id)).collect();
            ids.sort();
            ids.dedup();
            Ok(ids)
        };
        Ok(Active {
            dropout: collect(training.dropout, "dropout", |op| matches!(op, Op::Dropout(_)))?,
            batch_statistics: collect(training.batch_statistics, "batch norm", |op| {
                matches!(op, Op::BatchNorm(_))
            })?,
        })
    }

    pub(crate) fn drops(&self, id: NodeId) -> bool {
        self.dropout.binary_search(&id).is_ok()
    }

    pub(crate) fn measures(&self, id: NodeId) -> bool {
        self.batch_statistics.binary_search(&id).is_ok()
    }

    /// What the gradient rule of the node reads: that of a batch's statistics goes through every x.
    pub(crate) fn keeps(&self, graph: &Graph, id: NodeId, wanted: &[bool]) -> Keeps {
        if self.measures(id) { Keeps::Inputs } else { graph.node(id).op.operator().keeps(wanted) }
    }
}
