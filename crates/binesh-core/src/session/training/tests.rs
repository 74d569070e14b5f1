//! Training mode against its formulas and finite differences; what Keras computes is compared in
//! `binesh/tests/training_mode.rs`.

use std::sync::Arc;

use crate::check::{GRADIENT_TOLERANCE, VALUE_TOLERANCE, close, random, runtimes};
use crate::ops::{Activate, BatchNorm, Conv2d, Dropout, Identity, Input, Op, Param};
use crate::{
    Activation, Grads, Graph, Isa, NodeId, Padding, Params, Plan, PlanSpec, ReluRule, Session, Shape, Tensor,
    Training, Window,
};

const EPSILON: f32 = 1e-3;

/// `x -> identity -> batch norm -> y` with all weights, and values for them.
struct Norm {
    graph: Arc<Graph>,
    params: Params,
    x: NodeId,
    weights: Vec<NodeId>,
    y: NodeId,
    input: Tensor,
    seed: Tensor,
}

fn norm(shape: &[usize], scale: bool, center: bool) -> Norm {
    let (mut graph, mut params) = (Graph::default(), Params::default());
    let c = *shape.last().unwrap();
    let dims = shape.iter().enumerate().map(|(axis, &d)| (axis > 0).then_some(d)).collect();
    let x = graph.add("x", Input { dims }, &[]).unwrap();
    let moved = graph.add("moved", Identity, &[x]).unwrap();
    let mut weights = Vec::new();
    for (name, low) in [("gamma", 0.5), ("beta", -0.5), ("mean", -0.5), ("variance", 0.5)] {
        if (name == "gamma" && !scale) || (name == "beta" && !center) {
            continue;
        }
        let id = graph.add(name, Param { shape: [c].into(), trainable: true }, &[]).unwrap();
        params.set(id, random(&[c].into(), id.index() as u64, low, low + 1.0));
        weights.push(id);
    }
    let op = BatchNorm { epsilon: EPSILON, momentum: 0.75, scale, center };
    let y = graph.add("y", op, &[&[moved][..], &weights].concat()).unwrap();
    let shape = Shape::from(shape);
    let (input, seed) = (random(&shape, 91, -1.0, 3.0), random(&shape, 92, -1.0, 1.0));
    Norm { graph: Arc::new(graph), params, x, weights, y, input, seed }
}

/// The definition in f64: `operands` are x, then gamma and beta where there are.
fn exact(operands: &[Vec<f64>], c: usize, scale: bool, center: bool) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let x = &operands[0];
    let rows = (x.len() / c) as f64;
    let column = |channel: usize| x.iter().skip(channel).step_by(c);
    let mean: Vec<f64> = (0..c).map(|channel| column(channel).sum::<f64>() / rows).collect();
    let square = |channel: usize| column(channel).map(|v| (v - mean[channel]).powi(2)).sum::<f64>() / rows;
    let variance: Vec<f64> = (0..c).map(square).collect();
    let y = x.iter().enumerate().map(|(i, v)| {
        let channel = i % c;
        let z = (v - mean[channel]) / (variance[channel] + f64::from(EPSILON)).sqrt();
        let gamma = if scale { operands[1][channel] } else { 1.0 };
        let beta = if center { operands[1 + usize::from(scale)][channel] } else { 0.0 };
        gamma * z + beta
    });
    let y = y.collect();
    (y, mean, variance)
}

impl Norm {
    fn session(&self, runtime: usize, isa: Isa, wrt: &[NodeId]) -> Session {
        let inputs = [(self.x, self.input.shape().clone())];
        let training = Training { batch_statistics: &[self.y], ..Training::default() };
        let spec = PlanSpec { inputs: &inputs, want: &[self.y], grads: Grads::Wrt(wrt), training };
        let mut session = Session::new(Plan::new(&self.graph, spec).unwrap(), runtimes(isa)[runtime].clone());
        session.run(&self.params, &[self.input.view()]).unwrap();
        session.backward(&self.params, &[(self.y, self.seed.clone())], ReluRule::Exact).unwrap();
        session
    }
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

#[test]
fn batch_statistics_and_the_gradient_through_them() {
    for (shape, scale, center) in [
        (&[3, 5, 4, 7][..], true, true),
        (&[37, 19], true, false),
        (&[9, 1, 1, 33], false, true),
        (&[4, 2], false, false),
    ] {
        let case = norm(shape, scale, center);
        let c = *shape.last().unwrap();
        let trained = &case.weights[..case.weights.len() - 2];
        let wrt: Vec<NodeId> = std::iter::once(case.x).chain(trained.iter().copied()).collect();
        let mut operands = vec![f64s(case.input.data())];
        operands.extend(trained.iter().map(|&id| f64s(case.params.get(id).unwrap().data())));
        let (y, mean, variance) = exact(&operands, c, scale, center);

        let before = case.params.clone();
        let mut first: Option<Vec<Vec<f32>>> = None;
        for (isa, threads) in Isa::available().into_iter().flat_map(|isa| (0..3).map(move |t| (isa, t))) {
            let session = case.session(threads, isa, &wrt);
            close("value", session.value(case.y).data(), &y, VALUE_TOLERANCE);
            let (got_mean, got_variance) = session.batch_statistics(case.y);
            close("mean", got_mean, &mean, VALUE_TOLERANCE);
            close("variance", got_variance, &variance, VALUE_TOLERANCE);
            let grads: Vec<Vec<f32>> =
                wrt.iter().map(|&id| session.grad(id).unwrap().data().to_vec()).collect();
            for (which, grad) in grads.iter().enumerate() {
                let slope = |i: usize| {
                    let loss = |step: f64| {
                        let mut moved = operands.clone();
                        moved[which][i] += step;
                        let (y, ..) = exact(&moved, c, scale, center);
                        y.iter().zip(case.seed.data()).map(|(y, &s)| y * f64::from(s)).sum::<f64>()
                    };
                    (loss(1e-5) - loss(-1e-5)) / 2e-5
                };
                // Differences of one input cost a pass each.
                let step = grad.len() / 40 + 1;
                let some: Vec<f32> = grad.iter().copied().step_by(step).collect();
                let want: Vec<f64> = (0..grad.len()).step_by(step).map(slope).collect();
                close(&format!("gradient {which} of {shape:?}"), &some, &want, GRADIENT_TOLERANCE);
            }
            // One gradient alone is the same, so that what it reads was kept.
            for (&one, grad) in wrt.iter().zip(&grads) {
                let alone = case.session(threads, isa, &[one]);
                assert_eq!(alone.grad(one).unwrap().data(), grad, "alone");
            }
            if threads == 0 {
                first = Some(grads);
            } else {
                assert_eq!(first.as_ref(), Some(&grads), "{isa}: {threads} threads");
            }
        }
        assert!(case.params.iter().eq(before.iter()), "a run writes no weights");
    }
}

#[test]
fn moving_statistics_move_when_told_to() {
    let mut case = norm(&[2, 2], true, true);
    let [.., mean, variance] = case.weights[..] else { unreachable!() };
    case.input = Tensor::new([2, 2], vec![1.0, 10.0, 3.0, 20.0]).unwrap();
    case.params.set(mean, Tensor::new([2], vec![4.0, 8.0]).unwrap());
    case.params.set(variance, Tensor::new([2], vec![2.0, 4.0]).unwrap());
    let gamma = case.params.version(case.weights[0]);
    let session = case.session(0, Isa::detect(), &[case.x]);
    assert_eq!(session.plan().batch_statistics(), [case.y]);
    assert_eq!(session.batch_statistics(case.y), (&[2.0, 15.0][..], &[1.0, 25.0][..]), "biased");
    session.update_moving_statistics(&mut case.params);
    assert_eq!(case.params.get(mean).unwrap().data(), [3.5, 9.75]);
    assert_eq!(case.params.get(variance).unwrap().data(), [1.75, 9.25]);
    assert_eq!(case.params.version(case.weights[0]), gamma, "what did not move is not packed again");
}

/// A convolution, a batch norm and a rectifier are one step, unless the norm measures what the convolution gave.
#[test]
fn nothing_is_fused_across_batch_statistics() {
    let (mut graph, mut params) = (Graph::default(), Params::default());
    let mut weight = |graph: &mut Graph, name: &str, dims: &[usize], low: f32| {
        let id = graph.add(name, Param { shape: dims.into(), trainable: true }, &[]).unwrap();
        params.set(id, random(&dims.into(), id.index() as u64, low, low + 1.0));
        id
    };
    let x = graph.add("x", Input::image(6, 5, 3), &[]).unwrap();
    let kernel = weight(&mut graph, "kernel", &[3, 3, 3, 4], -0.5);
    let window = Window::square(3, 1, Padding::Same);
    let conv = graph.add("conv", Conv2d { window, groups: 1 }, &[x, kernel]).unwrap();
    let mean = weight(&mut graph, "mean", &[4], -0.5);
    let variance = weight(&mut graph, "variance", &[4], 0.5);
    let op = BatchNorm { epsilon: EPSILON, momentum: 0.9, scale: false, center: false };
    let norm = graph.add("norm", op, &[conv, mean, variance]).unwrap();
    let y = graph.add("y", Activate { function: Activation::RELU }, &[norm]).unwrap();
    let graph = Arc::new(graph);
    let inputs = [(x, Shape::from([2, 6, 5, 3]))];
    let plan = |want: &[NodeId], batch_statistics: &[NodeId]| {
        let training = Training { batch_statistics, ..Training::default() };
        Plan::new(&graph, PlanSpec { inputs: &inputs, want, grads: Grads::None, training }).unwrap()
    };
    assert_eq!(plan(&[y], &[]).step_count(), 1);
    assert_eq!(plan(&[y], &[norm]).step_count(), 3);
    assert!(plan(&[conv], &[norm]).batch_statistics().is_empty(), "what is not computed measures nothing");

    let value = random(&inputs[0].1, 5, -1.0, 1.0);
    let run = |plan: Plan| {
        let mut session = Session::new(plan, runtimes(Isa::detect())[0].clone());
        session.run(&params, &[value.view()]).unwrap();
        session
    };
    let plain = run(plan(&[conv], &[]));
    let (want, ..) = exact(&[f64s(plain.value(conv).data())], 4, false, false);
    let want: Vec<f64> = want.into_iter().map(|v| v.max(0.0)).collect();
    close("rectified", run(plan(&[y], &[norm])).value(y).data(), &want, 2e-5);
}

#[test]
fn dropout_takes_its_mask_from_outside() {
    let mut graph = Graph::default();
    let x = graph.add("x", Input { dims: vec![None, Some(3)] }, &[]).unwrap();
    let double = graph.add("double", Activate { function: Activation::Square }, &[x]).unwrap();
    let dropped = graph.add("dropped", Dropout { rate: 0.5 }, &[double]).unwrap();
    let kept = graph.add("kept", Dropout { rate: 0.5 }, &[dropped]).unwrap();
    let y = graph.add("y", Identity, &[kept]).unwrap();
    let graph = Arc::new(graph);
    let inputs = [(x, Shape::from([2, 3]))];
    let plan = |training: Training<'_>, inputs: &[(NodeId, Shape)]| {
        Plan::new(&graph, PlanSpec { inputs, want: &[y], grads: Grads::Wrt(&[x]), training })
    };
    let message = |plan: Result<Plan, crate::PlanError>| plan.map(|_| ()).unwrap_err().to_string();
    fn only(dropout: &[NodeId]) -> Training<'_> {
        Training { dropout, batch_statistics: &[] }
    }
    assert_eq!(message(plan(only(&[double]), &inputs)), "`double` is no dropout");
    let norms = Training { dropout: &[], batch_statistics: &[dropped] };
    assert_eq!(message(plan(norms, &inputs)), "`dropped` is no batch norm");

    let active = plan(only(&[dropped]), &inputs).unwrap();
    assert_eq!(active.dropout(), [dropped]);
    let mut session = Session::new(active, runtimes(Isa::detect())[0].clone());
    let value = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let params = Params::default();
    let error = session.run(&params, &[value.view()]).unwrap_err().to_string();
    assert_eq!(error, "the dropout `dropped` is active but was given no mask");
    let error = session.set_mask(kept, &[1.0; 6]).unwrap_err().to_string();
    assert_eq!(error, "`kept` is no active dropout of the plan");
    let error = session.set_mask(dropped, &[1.0; 5]).unwrap_err().to_string();
    assert_eq!(error, "the mask of `dropped` has 6 values but 5 were given");

    for mask in [[2.0, 0.0, 2.0, 0.0, 0.0, 2.0], [0.0, 2.0, 2.0, 2.0, 0.0, 0.0]] {
        session.set_mask(dropped, &mask).unwrap();
        session.run(&params, &[value.view()]).unwrap();
        let seed = Tensor::new([2, 3], vec![1.0, 1.0, -1.0, 1.0, 1.0, 0.5]).unwrap();
        let want: Vec<f32> = value.data().iter().zip(mask).map(|(x, m)| x * x * m).collect();
        assert_eq!(session.value(y).data(), want);
        session.backward(&params, &[(y, seed.clone())], ReluRule::Exact).unwrap();
        let slopes = value.data().iter().zip(mask).zip(seed.data()).map(|((x, m), s)| 2.0 * x * m * s);
        assert_eq!(session.grad(x).unwrap().data(), slopes.collect::<Vec<f32>>());
    }

    // A value that is given was not dropped here: its node has no mode any more.
    let given = [(dropped, Shape::from([2, 3]))];
    let active = [dropped];
    let below = PlanSpec { inputs: &given, want: &[y], training: only(&active), ..PlanSpec::default() };
    assert!(Plan::new(&graph, below).unwrap().dropout().is_empty());
    assert!(matches!(graph.node(dropped).op, Op::Dropout(_)), "the graph itself is as it was");
}
