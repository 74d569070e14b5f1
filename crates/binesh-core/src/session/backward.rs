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
    session.spare.0.extend(session.grads.iter_mut().filter_map(Option::take));
    for id in plan.wrt.iter() {
        let grad = &mut session.grads[id.index()];
        grad.get_or_insert_with(|| session.spare.zeros(plan.shape(*id).len()));
    }
    for (id, seed) in seeds.iter().filter(|(id, _)| plan.flow.active[id.index()]) {
        let grad = session.grads[id.index()].get_or_insert_with(|| session.spare.zeros(seed.data().len()));
        grad.iter_mut().zip(seed.data()).for_each(|(g, s)| *g += s);
    }
    let walk: Vec<NodeId> = plan.graph.ids().filter(|id| plan.flow.differentiated[id.index()]).collect();
    for id in walk.into_iter().rev() {
        // No gradient: no seed lies above this node.
        let Some(d_output) = session.grads[id.index()].take() else { continue };
        let began = session.recorder.now();
        node(session, params, id, d_output, rule);
        session.recorder.backward(id, began);
    }
}

fn node(session: &mut Session, params: &Params, id: NodeId, mut d_output: Vec<f32>, rule: ReluRule) {
    let Session { plan, runtime, arena, packed, grads, spare, training, .. } = session;
    let node = plan.graph.node(id);
    let mut wanted = plan.flow.wanted(node);
    let keeps = plan.training.keeps(&plan.graph, id, &wanted);
    let view = |input: NodeId, kept: bool| {
        (kept || is_weight(&plan.graph, input)).then(|| operand(plan, arena.values(), params, input))
    };
    let inputs: Vec<Option<View<'_>>> =
        node.inputs.iter().enumerate().map(|(at, &i)| view(i, keeps.input(at))).collect();
    let input_shapes: Vec<&Shape> = node.inputs.iter().map(|&i| plan.shape(i)).collect();
    // The buffer of the output's gradient becomes that of the first input's, unless somebody needs either.
    let trains = plan.training.drops(id) || plan.training.measures(id);
    let moves = node.op.operator().is_in_place()
        && wanted[0]
        && !trains
        && !plan.wrt.contains(&id)
        && grads[node.inputs[0].index()].is_none()
        && !node.inputs[1..].contains(&node.inputs[0])
        && input_shapes[0].len() == d_output.len();
    if moves {
        wanted[0] = false;
    }

    // A node that reads one value twice gets a buffer for each, summed afterwards.
    let mut buffers: Vec<Option<Vec<f32>>> = Vec::with_capacity(node.inputs.len());
    let mut fresh = vec![false; node.inputs.len()];
    for (position, input) in node.inputs.iter().enumerate() {
        let first = !node.inputs[..position].contains(input);
        buffers.push(wanted[position].then(|| {
            let taken = if first { grads[input.index()].take() } else { None };
            fresh[position] = taken.is_none() && !trains && node.op.operator().overwrites(position);
            let len = plan.shape(*input).len();
            taken.unwrap_or_else(|| if fresh[position] { spare.any(len) } else { spare.zeros(len) })
        }));
    }
    let output = view(id, keeps.output());
    let at = At { inputs: &inputs, output, rule, input_shapes: &input_shapes, fresh: &fresh };
    let mut d_inputs: Vec<Option<ViewMut<'_>>> = buffers
        .iter_mut()
        .zip(&input_shapes)
        .map(|(buffer, &shape)| buffer.as_mut().map(|data| ViewMut::new(shape, data)))
        .collect();
    let (cx, dy) = (runtime.cx(), View::new(plan.shape(id), &d_output));
    if moves && !wanted.contains(&true) {
        // Nothing is left for the others.
    } else if plan.training.drops(id) {
        training.drop_backward(cx, id, dy, &mut d_inputs);
    } else if plan.training.measures(id) {
        training.normalise_backward(cx, id, &node.op, &at, dy, &mut d_inputs);
    } else if plan.flow.is_packed(&plan.graph, id) {
        let dx = d_inputs[0].as_mut().expect("the input's gradient is the only one wanted");
        packed.backward_input(cx, plan, params, id, dy, dx, at.write(0));
    } else {
        node.op.operator().backward(cx, &at, dy, &mut d_inputs);
    }

    for (input, buffer) in node.inputs.iter().zip(buffers) {
        let Some(buffer) = buffer else { continue };
        match &mut grads[input.index()] {
            Some(sum) => {
                sum.iter_mut().zip(&buffer).for_each(|(s, b)| *s += b);
                spare.0.push(buffer);
            }
            empty => *empty = Some(buffer),
        }
    }
    if moves {
        if !plan.flow.is_folded(&plan.graph, id) {
            node.op.operator().backward_in_place(cx, &at, &mut d_output);
        }
        grads[node.inputs[0].index()] = Some(d_output);
    } else if plan.wrt.contains(&id) {
        grads[id.index()] = Some(d_output);
    } else {
        spare.0.push(d_output);
    }
}

/// Buffers of gradients that were passed on, for the next ones: fresh memory costs a fault for every page.
#[derive(Default)]
pub(super) struct Spare(Vec<Vec<f32>>);

impl Spare {
    /// Zeros in a buffer as of [`Spare::any`].
    fn zeros(&mut self, len: usize) -> Vec<f32> {
        let mut buffer = self.any(len);
        buffer.fill(0.0);
        buffer
    }

    /// Any values in the tightest buffer that holds them, else in a new one in the place of the largest.
    fn any(&mut self, len: usize) -> Vec<f32> {
        let fits = self.0.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= len);
        let best = (fits.min_by_key(|(_, buffer)| buffer.capacity()))
            .or_else(|| self.0.iter().enumerate().max_by_key(|(_, buffer)| buffer.capacity()))
            .map(|(at, _)| at);
        let mut buffer = best.map(|at| self.0.swap_remove(at)).unwrap_or_default();
        if buffer.capacity() < len {
            return vec![0.0; len];
        }
        buffer.resize(len, 0.0);
        buffer
    }
}
