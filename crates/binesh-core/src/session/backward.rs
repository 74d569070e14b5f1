//! Gradients: the plan walked backwards, only along paths to something asked for.

use crate::graph::NodeId;
use crate::operator::{At, ReluRule};
use crate::params::Params;
use crate::plan::is_weight;
use crate::session::{Session, operand};
use crate::shape::Shape;
use crate::tensor::{Tensor, View, ViewMut};

/// Fills `session.grads` for the plan's `wrt`; all other gradients are dropped as soon as they were passed on.
pub(super) fn run(session: &mut Session, params: &Params, seeds: &[(NodeId, Tensor)], rule: ReluRule) {
    let plan = &session.plan;
    session.grads.iter_mut().for_each(|grad| *grad = None);
    for id in plan.wrt.iter() {
        session.grads[id.index()] = Some(vec![0.0; plan.shape(*id).len()]);
    }
    for (id, seed) in seeds.iter().filter(|(id, _)| plan.flow.active[id.index()]) {
        let grad = session.grads[id.index()].get_or_insert_with(|| vec![0.0; seed.data().len()]);
        grad.iter_mut().zip(seed.data()).for_each(|(g, s)| *g += s);
    }
    let walk: Vec<NodeId> = plan.graph.ids().filter(|id| plan.flow.differentiated[id.index()]).collect();
    for id in walk.into_iter().rev() {
        // No gradient: no seed lies above this node.
        let Some(d_output) = session.grads[id.index()].take() else { continue };
        node(session, params, id, &d_output, rule);
        if session.plan.wrt.contains(&id) {
            session.grads[id.index()] = Some(d_output);
        }
    }
}

fn node(session: &mut Session, params: &Params, id: NodeId, d_output: &[f32], rule: ReluRule) {
    let Session { plan, runtime, slots, grads, .. } = session;
    let node = plan.graph.node(id);
    let operator = node.op.operator();
    let wanted = plan.flow.wanted(node);
    let keeps = operator.keeps(&wanted);
    let view = |input: NodeId, kept: bool| {
        (kept || is_weight(&plan.graph, input)).then(|| operand(plan, slots, params, input))
    };
    let inputs: Vec<Option<View<'_>>> =
        node.inputs.iter().enumerate().map(|(at, &i)| view(i, keeps.input(at))).collect();
    let input_shapes: Vec<&Shape> = node.inputs.iter().map(|&i| plan.shape(i)).collect();
    let at = At { inputs: &inputs, output: view(id, keeps.output()), rule, input_shapes: &input_shapes };

    // A node that reads one value twice gets a buffer for each, summed afterwards.
    let mut buffers: Vec<Option<Vec<f32>>> = Vec::with_capacity(node.inputs.len());
    for (position, input) in node.inputs.iter().enumerate() {
        let zeros = || vec![0.0; plan.shape(*input).len()];
        let first = !node.inputs[..position].contains(input);
        buffers.push(wanted[position].then(|| {
            let taken = if first { grads[input.index()].take() } else { None };
            taken.unwrap_or_else(zeros)
        }));
    }
    let mut d_inputs: Vec<Option<ViewMut<'_>>> = buffers
        .iter_mut()
        .zip(&input_shapes)
        .map(|(buffer, &shape)| buffer.as_mut().map(|data| ViewMut::new(shape, data)))
        .collect();
    operator.backward(runtime.cx(), &at, View::new(plan.shape(id), d_output), &mut d_inputs);

    for (input, buffer) in node.inputs.iter().zip(buffers) {
        let Some(buffer) = buffer else { continue };
        match &mut grads[input.index()] {
            Some(sum) => sum.iter_mut().zip(&buffer).for_each(|(s, b)| *s += b),
            empty => *empty = Some(buffer),
        }
    }
}
