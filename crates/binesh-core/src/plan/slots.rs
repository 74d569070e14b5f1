//! Which values share memory: a value takes over a slot whose last reader has run.

use crate::graph::{Graph, NodeId};
use crate::plan::Step;
use crate::shape::Shape;

/// Slot of each node's value, and the elements of each slot. Values in `keep` and those that are `given` rather than
/// computed have a slot of their own.
pub(super) fn assign(
    graph: &Graph,
    shapes: &[Shape],
    given: &[NodeId],
    steps: &[Step],
    keep: &[bool],
) -> (Vec<Option<usize>>, Vec<usize>) {
    let mut last_read = vec![0; shapes.len()];
    for (at, step) in steps.iter().enumerate() {
        for id in step.reads(graph) {
            last_read[id.index()] = at;
        }
    }
    let mut pool = Pool::default();
    let mut slot_of = vec![None; shapes.len()];
    for id in given {
        slot_of[id.index()] = Some(pool.own(shapes[id.index()].len()));
    }
    for (at, step) in steps.iter().enumerate() {
        let (output, len) = (step.output(), shapes[step.output().index()].len());
        let kept = keep[output.index()];
        slot_of[output.index()] = Some(if kept { pool.own(len) } else { pool.take(len) });
        let mut reads = step.reads(graph);
        reads.sort();
        reads.dedup();
        // A value that nothing reads (it is kept, or it would not be a step) never frees its slot.
        for id in reads {
            let free = last_read[id.index()] == at && !keep[id.index()] && !given.contains(&id);
            if let Some(slot) = slot_of[id.index()].filter(|_| free) {
                pool.give(slot);
            }
        }
    }
    (slot_of, pool.slots)
}

#[derive(Default)]
struct Pool {
    slots: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// A slot that nothing else uses.
    fn own(&mut self, len: usize) -> usize {
        self.slots.push(len);
        self.slots.len() - 1
    }

    /// The tightest free slot that is large enough, else the largest one grown, else a new one.
    fn take(&mut self, len: usize) -> usize {
        let fits = |&&slot: &&usize| self.slots[slot] >= len;
        let best = (self.free.iter().filter(fits).min_by_key(|&&slot| self.slots[slot]))
            .or_else(|| self.free.iter().max_by_key(|&&slot| self.slots[slot]))
            .copied();
        let Some(slot) = best else { return self.own(len) };
        self.free.retain(|&other| other != slot);
        self.slots[slot] = self.slots[slot].max(len);
        slot
    }

    fn give(&mut self, slot: usize) {
        self.free.push(slot);
    }
}
