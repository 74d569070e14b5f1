//! The weights of a graph.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::graph::NodeId;
use crate::tensor::Tensor;

/// Values of the graph's `param` nodes. Each write gives the value a version that no other value of the process has,
/// so that packed copies of weights know when they are stale, also when a session is handed other parameters.
///
/// A clone shares the values until one of the two writes: a checkpoint in memory costs what was trained since, not the
/// frozen base.
#[derive(Clone, Debug, Default)]
pub struct Params {
    values: BTreeMap<NodeId, (Arc<Tensor>, u64)>,
}

fn next_version() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Params {
    /// The value of a node, if it was set.
    pub fn get(&self, id: NodeId) -> Option<&Tensor> {
        self.values.get(&id).map(|(tensor, _)| &**tensor)
    }

    /// Sets the value of a node. Its shape must be the node's; [`crate::Session::run`] checks.
    pub fn set(&mut self, id: NodeId, value: Tensor) {
        self.values.insert(id, (Arc::new(value), next_version()));
    }

    /// The value for writing; counts as a write.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut Tensor> {
        self.values.get_mut(&id).map(|(tensor, version)| {
            *version = next_version();
            Arc::make_mut(tensor)
        })
    }

    /// Changes with every write to the value.
    pub(crate) fn version(&self, id: NodeId) -> Option<u64> {
        self.values.get(&id).map(|(_, version)| *version)
    }

    /// All nodes with a value, in node order.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Tensor)> {
        self.values.iter().map(|(&id, (tensor, _))| (id, &**tensor))
    }

    /// The nodes with a value, in node order, for loops that write.
    pub fn ids(&self) -> Vec<NodeId> {
        self.values.keys().copied().collect()
    }
}

impl Extend<(NodeId, Tensor)> for Params {
    fn extend<I: IntoIterator<Item = (NodeId, Tensor)>>(&mut self, values: I) {
        values.into_iter().for_each(|(id, value)| self.set(id, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::ops::Param;

    #[test]
    fn a_clone_shares_what_neither_writes() {
        let mut graph = Graph::default();
        let mut weight =
            |name: &str| graph.add(name, Param { shape: [2].into(), trainable: true }, &[]).unwrap();
        let (a, b) = (weight("a"), weight("b"));
        let value = |v: f32| Tensor::new([2], vec![v, v]).unwrap();
        let mut params = Params::default();
        params.extend([(b, value(2.0)), (a, value(1.0))]);
        assert_eq!(params.ids(), [a, b]);
        let before = params.clone();
        params.get_mut(a).unwrap().data_mut()[0] = 7.0;
        assert_eq!(before.get(a), Some(&value(1.0)));
        assert_eq!(params.get(a).unwrap().data(), [7.0, 1.0]);
        let address = |params: &Params, id| params.get(id).unwrap().data().as_ptr();
        assert_eq!(address(&before, b), address(&params, b), "not copied");
        assert_ne!(before.version(a), params.version(a));
        assert_eq!(before.version(b), params.version(b), "what is equal is not packed again");
        // A write to what nobody else holds stays in place.
        let place = address(&params, a);
        params.get_mut(a).unwrap().data_mut()[1] = 8.0;
        assert_eq!(address(&params, a), place);
    }
}
