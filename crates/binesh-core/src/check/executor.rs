//! The simplest thing that could run a graph: every node in order, every value and every gradient kept.

use crate::graph::{Graph, NodeId};
use crate::operator::{At, ReluRule};
use crate::ops::Op;
use crate::params::Params;
use crate::plan::differentiable;
use crate::shape::Shape;
use crate::tensor::{Tensor, View, ViewMut};
use crate::{Costs, Cx, Isa, Threads, Winograd};

/// The value of every node.
pub(crate) fn forward(graph: &Graph, params: &Params, inputs: &[(NodeId, Tensor)]) -> Vec<Tensor> {
    let threads = Threads::new(1);
    let cx = Cx { isa: Isa::scalar(), threads: &threads, winograd: Winograd::Never, costs: &Costs::DEFAULT };
    let mut values: Vec<Tensor> = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let value = match &node.op {
            Op::Input(_) => {
                inputs.iter().find(|(input, _)| *input == id).expect("every input is given").1.clone()
            }
            Op::Param(_) => params.get(id).expect("every weight has a value").clone(),
            op => {
                let views: Vec<View<'_>> = node.inputs.iter().map(|i| values[i.index()].view()).collect();
                let shapes: Vec<&Shape> = views.iter().map(View::shape).collect();
                let shape = op.operator().infer(&shapes).expect("the graph accepted these shapes");
                let mut data = vec![f32::NAN; shape.len()];
                op.operator().forward(cx, &views, ViewMut::new(&shape, &mut data));
                Tensor::new(shape, data).expect("the view had this shape")
            }
        };
        values.push(value);
    }
    values
}

/// The gradient of `sum(seed * value)` with respect to every node.
pub(crate) fn backward(graph: &Graph, values: &[Tensor], seeds: &[(NodeId, Tensor)]) -> Vec<Tensor> {
    let threads = Threads::new(1);
    let cx = Cx { isa: Isa::scalar(), threads: &threads, winograd: Winograd::Never, costs: &Costs::DEFAULT };
    let mut grads: Vec<Tensor> = values.iter().map(|v| Tensor::zeros(v.shape().clone())).collect();
    for (id, seed) in seeds {
        add(&mut grads[id.index()], seed.data());
    }
    for id in graph.ids().collect::<Vec<_>>().into_iter().rev() {
        let node = graph.node(id);
        let inputs: Vec<Option<View<'_>>> =
            node.inputs.iter().map(|i| Some(values[i.index()].view())).collect();
        let input_shapes: Vec<&Shape> = node.inputs.iter().map(|i| values[i.index()].shape()).collect();
        let output = Some(values[id.index()].view());
        let fresh: Vec<bool> = (0..node.inputs.len()).map(|i| node.op.operator().overwrites(i)).collect();
        let rule = ReluRule::Exact;
        let at = At { inputs: &inputs, output, rule, input_shapes: &input_shapes, fresh: &fresh };
        let before = fresh.iter().map(|&fresh| if fresh { f32::NAN } else { 0.0 });
        let mut buffers: Vec<Vec<f32>> =
            input_shapes.iter().zip(before).map(|(shape, before)| vec![before; shape.len()]).collect();
        let wanted = differentiable(node).len();
        if wanted == 0 {
            continue;
        }
        let mut d_inputs: Vec<Option<ViewMut<'_>>> = (buffers.iter_mut().zip(&input_shapes).enumerate())
            .map(|(i, (buffer, &shape))| (i < wanted).then(|| ViewMut::new(shape, buffer)))
            .collect();
        let d_output = grads[id.index()].clone();
        node.op.operator().backward(cx, &at, d_output.view(), &mut d_inputs);
        for (input, buffer) in node.inputs.iter().zip(&buffers).take(wanted) {
            add(&mut grads[input.index()], buffer);
        }
    }
    grads
}

fn add(sum: &mut Tensor, values: &[f32]) {
    sum.data_mut().iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
}
