//! Properties of plans on random networks, against an executor that optimises nothing; and what cannot be planned.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::check::dag::{Dag, dag};
use crate::check::reference::Array;
use crate::check::{close, executor, random, runtimes};
use crate::operator::Overlay;
use crate::ops::{
    Activate, BatchNorm, Binary, Conv2d, Dense, DepthwiseConv2d, Identity, Input, Param, ZeroPad2d,
};
use crate::{Activation, BinaryOp, Isa, Padding, Params, ReluRule, Session, Tensor, View, Window};

/// Folding batch norms and adding in another order costs a few roundings per layer of the network.
const TOLERANCE: f64 = 2e-5;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(5),
        ..Default::default()
    }
}

impl Dag {
    fn plan(&self, grads: Grads<'_>) -> Plan {
        let shapes: Vec<(NodeId, Shape)> =
            self.inputs.iter().map(|(id, v)| (*id, v.shape().clone())).collect();
        Plan::new(&self.graph, PlanSpec { inputs: &shapes, want: &self.want, grads, ..PlanSpec::default() })
            .unwrap()
    }

    fn session(&self, grads: Grads<'_>) -> Session {
        let mut session = Session::new(self.plan(grads), runtimes(Isa::detect())[0].clone());
        self.run(&mut session);
        session
    }

    fn run(&self, session: &mut Session) {
        let given = |id: &NodeId| self.inputs.iter().find(|(input, _)| input == id).unwrap().1.view();
        let views: Vec<View<'_>> = session.inputs().iter().map(given).collect();
        session.run(&self.params, &views).unwrap();
    }

    fn seeds(&self, values: &[Tensor]) -> Vec<(NodeId, Tensor)> {
        let seed = |&id: &NodeId| (id, random(values[id.index()].shape(), 55 + id.index() as u64, -1.0, 1.0));
        self.want.iter().map(seed).collect()
    }

    /// The nodes of `wrt` that something wanted depends on.
    fn reached(&self) -> Vec<NodeId> {
        let reached = ancestors(&self.want, &self.graph, differentiable);
        self.wrt.iter().copied().filter(|id| reached[id.index()]).collect()
    }
}

fn f64s(tensor: &Tensor) -> Vec<f64> {
    Array::from(tensor).data
}

/// The node that computed the values of a node that hands on its input's.
fn origin(plan: &Plan, id: NodeId) -> NodeId {
    let node = plan.graph.node(id);
    let below = node.inputs.first().filter(|_| node.op.operator().overlay() == Overlay::Equal);
    match below.filter(|below| plan.start_of[below.index()] == plan.start_of[id.index()]) {
        Some(&below) => origin(plan, below),
        None => id,
    }
}

/// Nothing else is written to the place of a value from the step that writes it to the last that needs it.
fn assert_places_do_not_overlap(plan: &Plan) {
    let forever = plan.steps.len();
    let kept = keep(&plan.graph, &plan.want, &plan.flow, &plan.training);
    let life = |(id, first): (NodeId, usize)| {
        let read = |(at, step): (usize, &Step)| step.reads(&plan.graph).contains(&id).then_some(at);
        let last = plan.steps.iter().enumerate().filter_map(read).max().unwrap_or(first);
        (id, first, if kept[id.index()] { forever } else { last })
    };
    let given = plan.inputs.iter().map(|&id| life((id, 0)));
    let computed = plan.steps.iter().enumerate().map(|(at, step)| life((step.output(), at)));
    let lives: Vec<(NodeId, usize, usize)> = given.chain(computed).collect();
    for (i, &(a, from_a, to_a)) in lives.iter().enumerate() {
        let place = |id: NodeId| {
            let start = plan.start_of[id.index()].unwrap();
            start..start + plan.shape(id).len()
        };
        assert!(place(a).end <= plan.arena, "{a:?} leaves the arena");
        for &(b, from_b, to_b) in &lives[i + 1..] {
            let in_place = to_a == from_b && plan.graph.node(b).inputs.first() == Some(&a);
            let together =
                from_a <= to_b && from_b <= to_a && !in_place && origin(plan, a) != origin(plan, b);
            let apart = place(a).end <= place(b).start || place(b).end <= place(a).start;
            assert!(!together || apart, "{a:?} and {b:?} share memory");
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn wanted_values_equal_those_of_the_plain_executor(dag in dag(false)) {
        let exact = executor::forward(&dag.graph, &dag.params, &dag.inputs);
        let session = dag.session(Grads::None);
        for &id in &dag.want {
            close(&format!("{id:?}"), session.value(id).data(), &f64s(&exact[id.index()]), TOLERANCE);
        }
    }

    #[test]
    fn values_alive_together_never_share_memory(dag in dag(false)) {
        assert_places_do_not_overlap(&dag.plan(Grads::None));
        assert_places_do_not_overlap(&dag.plan(Grads::Wrt(&dag.reached())));
    }

    #[test]
    fn every_step_is_ready_and_no_wanted_node_vanishes(dag in dag(false)) {
        let reached = dag.reached();
        for grads in [Grads::None, Grads::Wrt(&reached)] {
            let plan = dag.plan(grads);
            let mut ready: Vec<NodeId> = plan.inputs.clone();
            for step in &plan.steps {
                for id in step.reads(&plan.graph) {
                    prop_assert!(ready.contains(&id), "{id:?} is read before it is computed");
                }
                prop_assert!(!ready.contains(&step.output()), "{:?} is computed twice", step.output());
                ready.push(step.output());
            }
            for id in &dag.want {
                prop_assert!(ready.contains(id), "the wanted {id:?} is not computed");
            }
            // What a gradient rule reads must exist too.
            let kept = keep(&plan.graph, &plan.want, &plan.flow, &plan.training);
            for id in plan.graph.ids().filter(|&id| kept[id.index()] && !is_weight(&plan.graph, id)) {
                prop_assert!(ready.contains(&id), "{id:?} is read by a gradient but fused away");
            }
        }
    }

    #[test]
    fn gradients_equal_those_of_the_plain_executor(dag in dag(true)) {
        let wrt = dag.reached();
        let values = executor::forward(&dag.graph, &dag.params, &dag.inputs);
        let seeds = dag.seeds(&values);
        let exact = executor::backward(&dag.graph, &values, &seeds);
        let mut session = dag.session(Grads::Wrt(&wrt));
        // Twice: the values that gradients read must still be there, and nothing of the first pass may remain.
        for _ in 0..2 {
            session.backward(&dag.params, &seeds, ReluRule::Exact).unwrap();
            for &id in &wrt {
                close(&format!("{id:?}"), session.grad(id).unwrap().data(), &f64s(&exact[id.index()]), TOLERANCE);
            }
        }
    }

    #[test]
    fn a_session_used_again_forgets_what_was(dag in dag(false)) {
        let mut session = dag.session(Grads::None);
        let mut changed = dag.clone();
        for (_, value) in &mut changed.inputs {
            value.data_mut().iter_mut().for_each(|v| *v = 0.25 - *v);
        }
        let weights: Vec<NodeId> = dag.params.iter().map(|(id, _)| id).collect();
        for id in weights {
            changed.params.get_mut(id).unwrap().data_mut().iter_mut().for_each(|v| *v *= 1.25);
        }
        changed.run(&mut session);
        let fresh = changed.session(Grads::None);
        for &id in &dag.want {
            prop_assert_eq!(session.value(id).data(), fresh.value(id).data());
        }
        dag.run(&mut session);
        let first = dag.session(Grads::None);
        for &id in &dag.want {
            prop_assert_eq!(session.value(id).data(), first.value(id).data());
        }
    }
}

/// A network `anchor -> batch norm -> + skip -> activation` on maps of 5 channels, and its parts.
fn chain(anchor: impl Into<Op>, kernel: &[usize], function: Activation) -> Dag {
    let mut graph = Graph::default();
    let mut params = Params::default();
    let mut weight = |graph: &mut Graph, name: &str, dims: &[usize], low: f32| {
        let shape = Shape::from(dims);
        let id = graph.add(name, Param { shape: shape.clone(), trainable: true }, &[]).unwrap();
        params.set(id, random(&shape, id.index() as u64, low, low + 1.0));
        id
    };
    let x = graph.add("x", Input::image(5, 7, 5), &[]).unwrap();
    let skip = graph.add("skip", Input::image(5, 7, 5), &[]).unwrap();
    let mut operands =
        vec![x, weight(&mut graph, "kernel", kernel, -0.5), weight(&mut graph, "bias", &[5], -0.5)];
    let y = graph.add("anchor", anchor, &operands).unwrap();
    operands = vec![y];
    for (name, low) in [("gamma", -0.5), ("beta", -0.5), ("mean", -0.5), ("variance", 0.5)] {
        operands.push(weight(&mut graph, name, &[5], low));
    }
    let norm = BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale: true, center: true };
    let y = graph.add("norm", norm, &operands).unwrap();
    let y = graph.add("sum", Binary { op: BinaryOp::Add }, &[skip, y]).unwrap();
    let y = graph.add("out", Activate { function }, &[y]).unwrap();
    let value = |id: NodeId| (id, random(&[3, 5, 7, 5].into(), id.index() as u64, -1.0, 1.0));
    let inputs = vec![value(x), value(skip)];
    Dag { graph: Arc::new(graph), params, inputs, want: vec![y], wrt: Vec::new() }
}

/// Every way that an anchor and what follows it become one step, against each node on its own.
#[test]
fn a_fused_chain_equals_its_nodes() {
    let window = Window::square(3, 1, Padding::Same);
    let anchors: [(Op, &[usize]); 4] = [
        (Conv2d { window, groups: 1 }.into(), &[3, 3, 5, 5]),
        (Conv2d { window, groups: 5 }.into(), &[3, 3, 1, 5]),
        (DepthwiseConv2d { window }.into(), &[3, 3, 5, 1]),
        (Dense.into(), &[5, 5]),
    ];
    let functions = [
        Activation::RELU,
        Activation::RELU6,
        Activation::leaky_relu(0.1),
        Activation::Silu,
        Activation::HardSwish,
        Activation::Gelu { approximate: false },
        Activation::Sigmoid,
    ];
    for (anchor, kernel) in anchors {
        for function in functions {
            let dag = chain(anchor.clone(), kernel, function);
            assert_eq!(dag.plan(Grads::None).step_count(), 1, "the chain is one step");
            let everything: Vec<NodeId> = dag.graph.ids().collect();
            let unfused = Dag { want: everything, ..dag.clone() };
            assert_eq!(unfused.plan(Grads::None).step_count(), 4, "wanted nodes are their own steps");
            let exact = executor::forward(&dag.graph, &dag.params, &dag.inputs);
            for dag in [&dag, &unfused] {
                let session = dag.session(Grads::None);
                for &id in &dag.want {
                    let name = format!("{} of {anchor:?} with {function:?}", dag.graph.node(id).name);
                    close(&name, session.value(id).data(), &f64s(&exact[id.index()]), TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn a_wanted_node_ends_the_chain() {
    let conv = Conv2d { window: Window::square(3, 1, Padding::Same), groups: 1 };
    for (inside, steps) in [("anchor", 4), ("norm", 3), ("sum", 2), ("out", 1)] {
        let dag = chain(conv.clone(), &[3, 3, 5, 5], Activation::RELU);
        let want = vec![dag.graph.find(inside).unwrap(), dag.graph.find("out").unwrap()];
        assert_eq!(Dag { want, ..dag }.plan(Grads::None).step_count(), steps, "`{inside}` is wanted");
    }
}

#[test]
fn only_what_is_wanted_is_computed() {
    let conv = Conv2d { window: Window::square(3, 1, Padding::Same), groups: 1 };
    let dag = chain(conv, &[3, 3, 5, 5], Activation::RELU);
    let norm = Dag { want: vec![dag.graph.find("norm").unwrap()], ..dag.clone() };
    let plan = norm.plan(Grads::None);
    assert_eq!(plan.step_count(), 1);
    assert_eq!(plan.inputs, [dag.graph.find("x").unwrap()], "the skip connection is not needed");
    assert_eq!(plan.macs(), 3 * 5 * 7 * 5 * 9 * 5);
    let values = (3 * 5 * 7 * 5_usize).next_multiple_of(16);
    assert_eq!(plan.peak_bytes(), 4 * 2 * values, "one input and one output");
}

/// A plan without gradients computes functions of single values in place.
#[test]
fn memory_is_used_again() {
    let mut graph = Graph::default();
    let x = graph.add("x", Input::image(4, 4, 1), &[]).unwrap();
    let mut y = x;
    for i in 0..10 {
        y = graph.add(format!("y{i}"), Activate { function: Activation::Tanh }, &[y]).unwrap();
    }
    let graph = Arc::new(graph);
    let plan = |grads| {
        let inputs = [(x, Shape::from([1, 4, 4, 1]))];
        Plan::new(&graph, PlanSpec { inputs: &inputs, want: &[y], grads, ..PlanSpec::default() }).unwrap()
    };
    assert_eq!(plan(Grads::None).peak_bytes(), 4 * 16, "all in the place of the input");
}

/// What no gradient reads is overwritten also where gradients are asked for: a rectifier is told by its output.
#[test]
fn the_input_of_a_rectifier_is_not_kept() {
    let mut graph = Graph::default();
    let x = graph.add("x", Input::image(4, 4, 1), &[]).unwrap();
    let mut y = x;
    for i in 0..5 {
        y = graph.add(format!("moved{i}"), Identity, &[y]).unwrap();
        y = graph.add(format!("y{i}"), Activate { function: Activation::RELU }, &[y]).unwrap();
    }
    let inputs = [(x, Shape::from([1, 4, 4, 1]))];
    let spec = PlanSpec { inputs: &inputs, want: &[y], grads: Grads::Wrt(&[x]), ..PlanSpec::default() };
    let plan = Plan::new(&Arc::new(graph), spec).unwrap();
    assert_eq!(plan.peak_bytes(), 4 * 16 * 5, "five outputs, the first in the place of the input");
}

/// One convolution over an input whose size is free.
fn free() -> (Arc<Graph>, NodeId, NodeId) {
    let mut graph = Graph::default();
    let x = graph.add("photo", Input { dims: vec![None, None, None, Some(3)] }, &[]).unwrap();
    let w = graph.add("conv/kernel", Param { shape: [5, 5, 3, 2].into(), trainable: true }, &[]).unwrap();
    let conv = Conv2d { window: Window::square(5, 1, Padding::Valid), groups: 1 };
    let y = graph.add("conv", conv, &[x, w]).unwrap();
    (Arc::new(graph), x, y)
}

#[test]
fn errors_name_the_layer() {
    let (graph, x, y) = free();
    let message = |inputs: &[(NodeId, Shape)]| {
        Plan::new(&graph, PlanSpec { inputs, want: &[y], grads: Grads::None, ..PlanSpec::default() })
            .unwrap_err()
            .to_string()
    };
    assert_eq!(message(&[]), "input `photo` was given no shape");
    let small = message(&[(x, [1, 4, 9, 3].into())]);
    assert_eq!(small, "layer `conv` (conv2d): window 5x5 is larger than the 4x9 input");
    let grey = message(&[(x, [1, 9, 9, 1].into())]);
    assert_eq!(grey, "layer `photo` (input): takes [None, None, None, 3] but was given [1, 9, 9, 1]");
    let empty = message(&[(x, [0, 9, 9, 3].into())]);
    assert_eq!(empty, "layer `photo` (input): takes [None, None, None, 3] but was given [0, 9, 9, 3]");
}

#[test]
fn a_gradient_needs_a_path() {
    let dag = chain(Dense, &[5, 5], Activation::RELU);
    let inputs: Vec<(NodeId, Shape)> = dag.inputs.iter().map(|(id, v)| (*id, v.shape().clone())).collect();
    let find = |name: &str| dag.graph.find(name).unwrap();
    let message = |want: &str, wrt: &str| {
        let (want, wrt) = ([find(want)], [find(wrt)]);
        let spec = PlanSpec { inputs: &inputs, want: &want, grads: Grads::Wrt(&wrt), ..PlanSpec::default() };
        Plan::new(&dag.graph, spec).map(|_| ()).map_err(|e| e.to_string())
    };
    let none = |name: &str| Err(format!("nothing asked for depends on `{name}`, so it has no gradient"));
    assert_eq!(message("norm", "skip"), none("skip"));
    assert_eq!(message("norm", "out"), none("out"));
    assert_eq!(message("out", "mean"), none("mean"));
    assert_eq!(message("out", "gamma"), Ok(()));
    assert_eq!(message("out", "out"), Ok(()));
}

/// The shapes of one input's branch say nothing about a branch that is not asked for.
#[test]
fn an_input_that_is_not_needed_needs_no_shape() {
    let mut graph = Graph::default();
    let a = graph.add("a", Input { dims: vec![None, Some(3)] }, &[]).unwrap();
    let b = graph.add("b", Input { dims: vec![None, Some(3)] }, &[]).unwrap();
    let y = graph.add("y", Identity, &[a]).unwrap();
    let sum = graph.add("sum", Binary { op: BinaryOp::Add }, &[y, b]).unwrap();
    let graph = Arc::new(graph);
    let inputs = [(a, Shape::from([7, 3]))];
    let plan = |want| {
        Plan::new(
            &graph,
            PlanSpec { inputs: &inputs, want: &[want], grads: Grads::None, ..PlanSpec::default() },
        )
    };
    assert_eq!(plan(y).unwrap().shape(y).dims(), [7, 3]);
    assert_eq!(plan(sum).unwrap_err().to_string(), "input `b` was given no shape");
}

/// A MobileNetV2 block with the zeros of its stride as a layer, and a dropout before the sum.
struct Block {
    graph: Arc<Graph>,
    params: Params,
    x: NodeId,
    /// 1x1 convolution, zeros, depthwise convolution, sum.
    nodes: [NodeId; 4],
}

fn block(function: Option<Activation>) -> Block {
    let (mut graph, mut params) = (Graph::default(), Params::default());
    let mut seed = 300;
    let mut weight = |graph: &mut Graph, params: &mut Params, shape: Shape| {
        seed += 1;
        let id = graph.add(format!("w{seed}"), Param { shape: shape.clone(), trainable: true }, &[]).unwrap();
        params.set(id, random(&shape, seed, 0.1, 0.5));
        id
    };
    let mut norm = |graph: &mut Graph, params: &mut Params, name: &str, x: NodeId, c: usize| {
        let statistics = [(); 4].map(|()| weight(graph, params, [c].into()));
        let op = BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale: true, center: true };
        graph.add(name, op, &[&[x], statistics.as_slice()].concat()).unwrap()
    };
    let x = graph.add("x", Input::image(30, 29, 5), &[]).unwrap();
    let mut kernel = 400;
    let mut filter = |graph: &mut Graph, params: &mut Params, shape: Shape| {
        kernel += 1;
        let id =
            graph.add(format!("k{kernel}"), Param { shape: shape.clone(), trainable: true }, &[]).unwrap();
        params.set(id, random(&shape, kernel, -0.5, 0.5));
        id
    };
    let activate = |graph: &mut Graph, name: &str, y: NodeId| match function {
        Some(function) => graph.add(name, Activate { function }, &[y]).unwrap(),
        None => y,
    };
    let pointwise = || Conv2d { window: Window::square(1, 1, Padding::Valid), groups: 1 };
    let k = filter(&mut graph, &mut params, [1, 1, 5, 18].into());
    let expand = graph.add("expand", pointwise(), &[x, k]).unwrap();
    let y = norm(&mut graph, &mut params, "expand_norm", expand, 18);
    let y = activate(&mut graph, "expand_activation", y);
    let zeros = graph.add("zeros", ZeroPad2d { rows: [1, 1], columns: [1, 1] }, &[y]).unwrap();
    let k = filter(&mut graph, &mut params, [3, 3, 18, 1].into());
    let window = Window::square(3, 1, Padding::Valid);
    let depthwise = graph.add("depthwise", DepthwiseConv2d { window }, &[zeros, k]).unwrap();
    let y = norm(&mut graph, &mut params, "depthwise_norm", depthwise, 18);
    let y = activate(&mut graph, "depthwise_activation", y);
    let k = filter(&mut graph, &mut params, [1, 1, 18, 5].into());
    let y = graph.add("project", pointwise(), &[y, k]).unwrap();
    let y = norm(&mut graph, &mut params, "project_norm", y, 5);
    let y = graph.add("drop", Identity, &[y]).unwrap();
    let sum = graph.add("sum", Binary { op: BinaryOp::Add }, &[x, y]).unwrap();
    Block { graph: Arc::new(graph), params, x, nodes: [expand, zeros, depthwise, sum] }
}

#[test]
fn an_inverted_residual_is_one_step_where_nothing_inside_is_wanted() {
    let Block { graph, params, x, nodes: [expand, zeros, depthwise, sum] } = block(Some(Activation::RELU6));
    let value = random(&[1, 30, 29, 5].into(), 77, -1.0, 1.0);
    let exact = executor::forward(&graph, &params, &[(x, value.clone())]);
    for (inside, steps) in [(None, 1), (Some(expand), 5), (Some(zeros), 4), (Some(depthwise), 4)] {
        let want: Vec<NodeId> = [sum].into_iter().chain(inside).collect();
        let inputs = [(x, value.shape().clone())];
        let spec = PlanSpec { inputs: &inputs, want: &want, ..PlanSpec::default() };
        let plan = Plan::new(&graph, spec).unwrap();
        let names = |step: &Step| graph.node(step.output()).name.clone();
        assert_eq!(plan.step_count(), steps, "{:?}", plan.steps.iter().map(names).collect::<Vec<_>>());
        let expected: u64 = graph.ids().map(|id| macs(&graph, &plan.shapes, id)).sum();
        assert_eq!(plan.macs(), expected);
        let runtime = runtimes(Isa::detect())[0].clone();
        assert_eq!(plan.step_costs(&runtime).iter().map(|cost| cost.macs).sum::<u64>(), expected);
        let mut session = Session::new(plan, runtime);
        session.run(&params, &[value.view()]).unwrap();
        for &id in &want {
            close("block", session.value(id).data(), &f64s(&exact[id.index()]), TOLERANCE);
        }
    }
}

/// Gradients pass a block whose batch norms are folded into turned kernels as they pass one whose nodes are all computed.
#[test]
fn batch_norms_of_an_inverted_residual_are_folded_on_the_way_back() {
    for (function, steps) in [(None, 1), (Some(Activation::RELU6), 3)] {
        let Block { graph, params, x, nodes: [expand, _, depthwise, sum] } = block(function);
        let value = random(&[1, 30, 29, 5].into(), 77, -1.0, 1.0);
        let seed = random(&[1, 30, 29, 5].into(), 78, -1.0, 1.0);
        let project = graph.find("project").unwrap();
        let gradient = |want: &[NodeId], folds: [bool; 3]| {
            let inputs = [(x, value.shape().clone())];
            let spec = PlanSpec { inputs: &inputs, want, grads: Grads::Wrt(&[x]), ..PlanSpec::default() };
            let plan = Plan::new(&graph, spec).unwrap();
            let folded = [expand, depthwise, project].map(|id| plan.flow.folded[id.index()].is_some());
            assert_eq!(folded, folds, "{function:?}");
            if want.len() == 1 {
                assert_eq!(plan.step_count(), steps, "{function:?}");
            }
            let mut session = Session::new(plan, runtimes(Isa::detect())[0].clone());
            session.run(&params, &[value.view()]).unwrap();
            session.backward(&params, &[(sum, seed.clone())], ReluRule::Exact).unwrap();
            session.grad(x).unwrap().data().to_vec()
        };
        let plain: Vec<f64> =
            gradient(&[sum, expand, depthwise, project], [false; 3]).iter().map(|&v| f64::from(v)).collect();
        close("all folded", &gradient(&[sum], [true; 3]), &plain, TOLERANCE);
        close("two folded", &gradient(&[sum, depthwise], [true, false, true]), &plain, TOLERANCE);
    }
}
