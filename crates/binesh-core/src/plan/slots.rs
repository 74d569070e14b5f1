//! Where values lie: in one arena, in which a value takes over memory whose last reader has run.

use crate::graph::{Graph, NodeId};
use crate::operator::Overlay;
use crate::plan::{Active, Step};
use crate::shape::Shape;

/// Values begin on a cache line: 16 of them, 64 bytes.
const ALIGNMENT: usize = 16;

/// What a run never overwrites.
const FOREVER: usize = usize::MAX;

/// Values that lie in one place, one after the other or because they are equal.
struct Place {
    len: usize,
    /// The steps that write the first and read the last of them; 0 is before all steps.
    first: usize,
    last: usize,
}

/// The offset of each node's value in the arena, and the arena's length. Values in `keep` are never overwritten; those of
/// `given` are there before the first step. An operator's value lies where its first input does if they are equal, or
/// if it is computed in place and nobody reads the input any more.
pub(super) fn assign(
    graph: &Graph,
    shapes: &[Shape],
    given: &[NodeId],
    steps: &[Step],
    keep: &[bool],
    training: &Active,
) -> (Vec<Option<usize>>, usize) {
    let mut last_read = vec![0; shapes.len()];
    for (at, step) in steps.iter().enumerate() {
        for id in step.reads(graph) {
            last_read[id.index()] = at + 1;
        }
    }
    let last = |id: NodeId| if keep[id.index()] { FOREVER } else { last_read[id.index()] };
    let mut places: Vec<Place> = Vec::new();
    let mut place_of: Vec<Option<usize>> = vec![None; shapes.len()];
    let new =
        |id: NodeId, first: usize| Place { len: shapes[id.index()].len(), first, last: last(id).max(first) };
    for &id in given {
        place_of[id.index()] = Some(places.len());
        places.push(new(id, 0));
    }
    for (at, step) in steps.iter().enumerate() {
        let (now, output) = (at + 1, step.output());
        let below = overlaid(graph, shapes, step, training).and_then(|(input, overlay)| {
            let place = place_of[input.index()]?;
            let alone = || {
                let others = step.reads(graph).into_iter().filter(|&id| place_of[id.index()] == Some(place));
                others.count() == 1 && places[place].last == now
            };
            (overlay == Overlay::Equal || alone()).then_some(place)
        });
        place_of[output.index()] = Some(below.unwrap_or(places.len()));
        match below {
            Some(place) => places[place].last = places[place].last.max(last(output)).max(now),
            None => places.push(new(output, now)),
        }
    }
    let (offsets, len) = offsets(&places);
    (place_of.into_iter().map(|place| place.map(|place| offsets[place])).collect(), len)
}

/// The input in whose place the step's value may lie.
fn overlaid(graph: &Graph, shapes: &[Shape], step: &Step, training: &Active) -> Option<(NodeId, Overlay)> {
    let Step::Node(id) = *step else { return None };
    let node = graph.node(id);
    let (input, overlay) = (*node.inputs.first()?, node.op.operator().overlay());
    let (from, to) = (&shapes[input.index()], &shapes[id.index()]);
    let fits = match overlay {
        Overlay::None => false,
        Overlay::Equal => from.len() == to.len(),
        Overlay::InPlace => from == to,
    };
    (fits && !training.drops(id) && !training.measures(id)).then_some((input, overlay))
}

/// Offsets such that places in use at one time do not overlap, and the length of all: the largest first, each in the
/// tightest gap between those it lives together with (Pisarchyk and Lee 2020, arXiv:2001.03288, "greedy by size").
fn offsets(places: &[Place]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by_key(|&place| std::cmp::Reverse(places[place].len));
    let mut offsets = vec![0; places.len()];
    // Begin, end and number of those that have an offset, by offset.
    let mut placed: Vec<(usize, usize, usize)> = Vec::new();
    let mut total = 0;
    for place in order {
        let Place { len, first, last } = places[place];
        let len = len.next_multiple_of(ALIGNMENT);
        let together = |other: &Place| other.first <= last && first <= other.last;
        let (mut end, mut best) = (0, None);
        for &(begin, other_end, _) in placed.iter().filter(|(.., other)| together(&places[*other])) {
            let gap = begin.saturating_sub(end);
            if gap >= len && best.is_none_or(|(smallest, _)| gap < smallest) {
                best = Some((gap, end));
            }
            end = end.max(other_end);
        }
        let begin = best.map_or(end, |(_, begin)| begin);
        offsets[place] = begin;
        total = total.max(begin + len);
        let at = placed.partition_point(|&(other, ..)| other <= begin);
        placed.insert(at, (begin, begin + len, place));
    }
    (offsets, total)
}
