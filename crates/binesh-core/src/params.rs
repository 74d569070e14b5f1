//! The weights of a graph.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::graph::NodeId;
use crate::tensor::Tensor;

/// Values of the graph's `param` nodes. Each write gives the value a version that no other value of the process has,
/// so that packed copies of weights know when they are stale, also when a session is handed other parameters.
#[derive(Clone, Debug, Default)]
pub struct Params {
    values: BTreeMap<NodeId, (Tensor, u64)>,
}

fn next_version() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Params {
    /// The value of a node, if it was set.
    pub fn get(&self, id: NodeId) -> Option<&Tensor> {
        self.values.get(&id).map(|(tensor, _)| tensor)
    }

    /// Sets the value of a node. Its shape must be the node's; [`crate::Session::run`] checks.
    pub fn set(&mut self, id: NodeId, value: Tensor) {
        self.values.insert(id, (value, next_version()));
    }

    /// The value for writing; counts as a write.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut Tensor> {
        self.values.get_mut(&id).map(|(tensor, version)| {
            *version = next_version();
            tensor
        })
    }

    /// Changes with every write to the value.
    pub(crate) fn version(&self, id: NodeId) -> Option<u64> {
        self.values.get(&id).map(|(_, version)| *version)
    }

    /// All nodes with a value, in node order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Tensor)> {
        self.values.iter().map(|(&id, (tensor, _))| (id, tensor))
    }
}
