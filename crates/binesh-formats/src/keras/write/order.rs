//! The order of layers in which Keras counts them to name their weights.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::records::{Model, Out};

/// Brings the layers into the order of Keras's `Functional.layers`, whatever order they are written in: by distance from
/// the outputs, farthest first, then as a walk from the outputs meets them. After `map_graph` of Keras 3.15's
/// `ops/function.py`.
pub(super) fn sort(model: &mut Model) {
    let (finished, met) = walk(model);
    let mut node_depth: HashMap<Out, usize> = HashMap::new();
    let mut layer_depth: HashMap<usize, usize> = HashMap::new();
    for &node in finished.iter().rev() {
        let own = node_depth.get(&node).copied().unwrap_or(0);
        let depth = own.max(layer_depth.get(&node.layer).copied().unwrap_or(0));
        layer_depth.insert(node.layer, depth);
        node_depth.insert(node, depth);
        for input in model.layers[node.layer].calls[node.call].inputs() {
            let deepest = node_depth.entry(input).or_insert(0);
            *deepest = (*deepest).max(depth + 1);
        }
    }
    let mut order: Vec<usize> = (0..model.layers.len()).collect();
    // An input that nothing depends on comes before the others of depth 0.
    order.sort_by_key(|layer| {
        (Reverse(layer_depth.get(layer).copied().unwrap_or(0)), met.get(layer).map_or(0, |at| at + 1))
    });

    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(new, &old)| place[old] = new);
    let mut layers: Vec<_> = std::mem::take(&mut model.layers).into_iter().zip(&place).collect();
    layers.sort_by_key(|(_, place)| **place);
    model.layers = layers.into_iter().map(|(layer, _)| layer).collect();
    let moved = |out: &mut Out| out.layer = place[out.layer];
    model.inputs.iter_mut().chain(&mut model.outputs).for_each(moved);
    let calls = model.layers.iter_mut().flat_map(|layer| &mut layer.calls);
    calls.flat_map(super::records::Call::inputs_mut).for_each(moved);
}

/// The calls in the order in which a depth-first walk from the outputs leaves them, and the layers' positions in that in
/// which it meets them.
fn walk(model: &Model) -> (Vec<Out>, HashMap<usize, usize>) {
    let mut finished = Vec::new();
    let mut met: HashMap<usize, usize> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for &output in &model.outputs {
        let mut path: Vec<(Out, std::vec::IntoIter<Out>)> = Vec::new();
        let mut next = Some(output);
        loop {
            if let Some(node) = next.take()
                && seen.insert(node)
            {
                let n = met.len();
                met.entry(node.layer).or_insert(n);
                let inputs: Vec<Out> = model.layers[node.layer].calls[node.call].inputs().collect();
                path.push((node, inputs.into_iter()));
            }
            let Some((node, inputs)) = path.last_mut() else { break };
            match inputs.next() {
                Some(input) => next = Some(input),
                None => {
                    finished.push(*node);
                    path.pop();
                }
            }
        }
    }
    (finished, met)
}
