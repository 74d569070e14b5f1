//! Sessions on small networks whose values and gradients can be worked out by hand; and what callers get wrong.

use super::*;
use crate::check::{close, random, runtimes};
use crate::ops::{Activate, BatchNorm, Binary, Constant, Conv2d, Dense, Identity, Input, Param};
use crate::{Activation, BinaryOp, Grads, Graph, Padding, PlanSpec, Window, Winograd};

/// A graph whose values are vectors of `LEN`, and a session on it.
struct Bench {
    graph: Graph,
    params: Params,
    x: NodeId,
}

const LEN: usize = 2;

impl Bench {
    fn new() -> Bench {
        let mut graph = Graph::default();
        let x = graph.add("x", Input { dims: vec![None, Some(LEN)] }, &[]).unwrap();
        Bench { graph, params: Params::default(), x }
    }

    fn add(&mut self, name: &str, op: impl Into<Op>, inputs: &[NodeId]) -> NodeId {
        self.graph.add(name, op, inputs).unwrap()
    }

    fn binary(&mut self, name: &str, op: BinaryOp, a: NodeId, b: NodeId) -> NodeId {
        self.add(name, Binary { op }, &[a, b])
    }

    fn weight(&mut self, name: &str, shape: impl Into<Shape>, values: &[f32]) -> NodeId {
        let shape = shape.into();
        let id = self.add(name, Param { shape: shape.clone(), trainable: true }, &[]);
        self.params.set(id, Tensor::new(shape, values.to_vec()).unwrap());
        id
    }

    fn session(&self, want: &[NodeId], wrt: &[NodeId]) -> Session {
        let inputs = [(self.x, Shape::from([1, LEN]))];
        let spec = PlanSpec { inputs: &inputs, want, grads: Grads::Wrt(wrt), ..PlanSpec::default() };
        let plan = Plan::new(&Arc::new(self.graph.clone()), spec).unwrap();
        Session::new(plan, runtimes(Isa::detect())[0].clone())
    }

    fn run(&self, want: &[NodeId], wrt: &[NodeId]) -> Session {
        let mut session = self.session(want, wrt);
        let x = row([3.0, -5.0]);
        let inputs: Vec<View<'_>> = session.inputs().iter().map(|_| x.view()).collect();
        session.run(&self.params, &inputs).unwrap();
        session
    }

    /// Gradients with respect to `wrt` for these seeds.
    fn grads(&self, seeds: &[(NodeId, [f32; LEN])], wrt: &[NodeId]) -> Vec<Vec<f32>> {
        let want: Vec<NodeId> = seeds.iter().map(|(id, _)| *id).collect();
        let mut session = self.run(&want, wrt);
        let seeds: Vec<(NodeId, Tensor)> = seeds.iter().map(|&(id, seed)| (id, row(seed))).collect();
        session.backward(&self.params, &seeds, ReluRule::Exact).unwrap();
        wrt.iter().map(|&id| session.grad(id).unwrap().data().to_vec()).collect()
    }
}

fn row(values: [f32; LEN]) -> Tensor {
    Tensor::new([1, LEN], values.to_vec()).unwrap()
}

#[test]
fn a_value_read_twice_by_one_node() {
    let mut b = Bench::new();
    let sum = b.binary("sum", BinaryOp::Add, b.x, b.x);
    assert_eq!(b.grads(&[(sum, [1.0, 10.0])], &[b.x]), [[2.0, 20.0]]);
    let square = b.binary("square", BinaryOp::Multiply, b.x, b.x);
    assert_eq!(b.grads(&[(square, [1.0, 10.0])], &[b.x]), [[6.0, -100.0]]);
    let nothing = b.binary("nothing", BinaryOp::Subtract, b.x, b.x);
    assert_eq!(b.grads(&[(nothing, [1.0, 10.0])], &[b.x]), [[0.0, 0.0]]);
    // The gradient that arrived from above first is not lost.
    let all = b.binary("all", BinaryOp::Add, square, sum);
    assert_eq!(b.grads(&[(all, [1.0, 1.0])], &[b.x]), [[8.0, -8.0]]);
}

#[test]
fn with_respect_to_an_intermediate_node_and_to_the_output() {
    let mut b = Bench::new();
    let double = b.binary("double", BinaryOp::Add, b.x, b.x);
    let square = b.add("square", Activate { function: Activation::Square }, &[double]);
    let grads = b.grads(&[(square, [1.0, 2.0])], &[square, double, b.x]);
    assert_eq!(grads, [[1.0, 2.0], [12.0, -40.0], [24.0, -80.0]]);
    // Asked for alone, nothing below it is differentiated.
    assert_eq!(b.grads(&[(square, [1.0, 2.0])], &[double]), [[12.0, -40.0]]);
    assert_eq!(b.grads(&[(square, [1.0, 2.0])], &[square]), [[1.0, 2.0]]);
    assert_eq!(b.grads(&[(b.x, [1.0, 2.0])], &[b.x]), [[1.0, 2.0]]);
}

#[test]
fn seeds_at_several_nodes_add_up() {
    let mut b = Bench::new();
    let a = b.add("a", Activate { function: Activation::Neg }, &[b.x]);
    let c = b.add("c", Activate { function: Activation::Square }, &[a]);
    let grads = b.grads(&[(a, [1.0, 0.0]), (c, [0.0, 1.0])], &[b.x, a]);
    assert_eq!(grads, [[-1.0, -10.0], [1.0, 10.0]]);
    // Two seeds for one node.
    assert_eq!(b.grads(&[(a, [1.0, 0.0]), (a, [2.0, 5.0])], &[b.x]), [[-3.0, -5.0]]);
}

#[test]
fn a_node_that_no_seed_reaches_has_gradient_zero() {
    let mut b = Bench::new();
    let a = b.add("a", Activate { function: Activation::Neg }, &[b.x]);
    let c = b.add("c", Activate { function: Activation::Square }, &[b.x]);
    let mut session = b.run(&[a, c], &[b.x, c]);
    session.backward(&b.params, &[(a, row([1.0, 2.0]))], ReluRule::Exact).unwrap();
    assert_eq!(session.grad(c).unwrap().data(), [0.0, 0.0]);
    assert_eq!(session.grad(b.x).unwrap().data(), [-1.0, -2.0]);
    assert!(session.grad(a).is_none(), "not asked for");
}

#[test]
fn a_shared_weight_gets_the_sum_of_its_uses() {
    let mut b = Bench::new();
    let w = b.weight("w", [LEN, LEN], &[1.0, 2.0, 0.0, 1.0]);
    let once = b.add("once", Dense, &[b.x, w]);
    let twice = b.add("twice", Dense, &[once, w]);
    let session = b.run(&[twice], &[w]);
    // x w = [3, 1], x w w = [3, 7].
    assert_eq!(session.value(twice).data(), [3.0, 7.0]);
    // d(sum of x w w)/dw = (x w)^T 1 + x^T (w 1)^T
    assert_eq!(b.grads(&[(twice, [1.0, 1.0])], &[w]), [[3.0 + 9.0, 3.0 + 3.0, 1.0 - 15.0, 1.0 - 5.0]]);
}

/// The mean of a batch norm is a constant to it, but the same weight may have a gradient through another reader.
#[test]
fn a_weight_that_is_also_a_constant_keeps_its_gradient() {
    let mut b = Bench::new();
    let shared = b.weight("shared", [LEN], &[0.5, 0.25]);
    let variance = b.weight("variance", [LEN], &[1.0, 1.0]);
    let norm = b.add(
        "norm",
        BatchNorm { epsilon: 0.0, momentum: BatchNorm::MOMENTUM, scale: false, center: false },
        &[b.x, shared, variance],
    );
    let product = b.binary("product", BinaryOp::Multiply, norm, shared);
    assert_eq!(b.grads(&[(product, [1.0, 1.0])], &[shared]), [[2.5, -5.25]]);
}

/// ONNX files may compute a kernel or hold it as a constant; its value must outlive the forward pass.
#[test]
fn a_weight_that_is_computed() {
    let mut b = Bench::new();
    let raw = b.weight("raw", [LEN, LEN], &[-1.0, -2.0, 0.0, -1.0]);
    let w = b.add("w", Activate { function: Activation::Neg }, &[raw]);
    let y = b.add("y", Dense, &[b.x, w]);
    let above = b.add("above", Identity, &[y]);
    assert_eq!(b.grads(&[(above, [1.0, 1.0])], &[b.x]), [[3.0, 1.0]]);
    assert_eq!(b.grads(&[(above, [1.0, 1.0])], &[raw]), [[-3.0, -3.0, 5.0, 5.0]]);
    let value = Tensor::new([LEN, LEN], vec![1.0, 2.0, 0.0, 1.0]).unwrap();
    let constant = b.add("constant", Constant { value }, &[]);
    let y = b.add("z", Dense, &[b.x, constant]);
    assert_eq!(b.grads(&[(y, [1.0, 1.0])], &[b.x]), [[3.0, 1.0]]);
}

/// A value that the caller has already: nothing above it runs, and it has a gradient like any input.
#[test]
fn any_node_can_be_given() {
    let mut b = Bench::new();
    let other = b.add("other", Input { dims: vec![None, Some(LEN)] }, &[]);
    let w = b.weight("w", [LEN, LEN], &[1.0, 2.0, 0.0, 1.0]);
    let above = b.binary("above", BinaryOp::Multiply, b.x, other);
    let boundary = b.add("boundary", Dense, &[above, w]);
    let twice = b.add("twice", Dense, &[boundary, w]);
    let y = b.binary("y", BinaryOp::Add, twice, other);
    let graph = Arc::new(b.graph.clone());
    let shape = || Shape::from([1, LEN]);
    let given = [(boundary, shape()), (other, shape())];
    let spec = PlanSpec {
        inputs: &given,
        want: &[y, boundary],
        grads: Grads::Wrt(&[boundary, w, other]),
        ..PlanSpec::default()
    };
    let mut session = Session::new(Plan::new(&graph, spec).unwrap(), runtimes(Isa::detect())[0].clone());
    assert_eq!(session.inputs(), [other, boundary], "the graph's own come first");
    assert_eq!(session.plan().step_count(), 1, "nothing above the boundary is computed, the sum rides along");
    assert_eq!(session.plan().shape(above), &Shape::default());
    let (first, second) = (row([10.0, 20.0]), row([3.0, -5.0]));
    session.run(&b.params, &[first.view(), second.view()]).unwrap();
    assert_eq!(session.value(boundary).data(), [3.0, -5.0]);
    assert_eq!(session.value(y).data(), [13.0, 21.0]);
    session.backward(&b.params, &[(y, row([1.0, 2.0]))], ReluRule::Exact).unwrap();
    assert_eq!(session.grad(boundary).unwrap().data(), [5.0, 2.0]);
    assert_eq!(
        session.grad(w).unwrap().data(),
        [3.0, 6.0, -5.0, -10.0],
        "of the use below the boundary alone"
    );
    assert_eq!(session.grad(other).unwrap().data(), [1.0, 2.0]);

    // Even a weight: the value given is used, not that of the parameters.
    let given = [(boundary, shape()), (w, [LEN, LEN].into())];
    let spec = PlanSpec { inputs: &given, want: &[twice], grads: Grads::None, ..PlanSpec::default() };
    let mut session = Session::new(Plan::new(&graph, spec).unwrap(), runtimes(Isa::detect())[0].clone());
    let weight = Tensor::new([LEN, LEN], vec![1.0, 0.0, 0.0, 1.0]).unwrap();
    session.run(&Params::default(), &[second.view(), weight.view()]).unwrap();
    assert_eq!(session.value(twice).data(), [3.0, -5.0]);

    let refused = |given: &[(NodeId, Shape)], wrt: &[NodeId]| {
        let spec = PlanSpec { inputs: given, want: &[twice], grads: Grads::Wrt(wrt), ..PlanSpec::default() };
        Plan::new(&graph, spec).map(|_| ()).unwrap_err().to_string()
    };
    let extent = refused(&[(boundary, [1, 3].into())], &[]);
    assert_eq!(extent, "layer `boundary` (input): takes [None, 2] but was given [1, 3]");
    let path = refused(&[(boundary, shape())], &[above]);
    assert_eq!(path, "nothing asked for depends on `above`, so it has no gradient");
    let missing = refused(&[(y, shape())], &[]);
    assert_eq!(missing, "input `x` was given no shape");
}

#[test]
fn inputs_and_weights_can_be_wanted() {
    let mut b = Bench::new();
    let w = b.weight("w", [1, LEN], &[7.0, 8.0]);
    let sum = b.binary("sum", BinaryOp::Add, b.x, w);
    let session = b.run(&[b.x, w, sum], &[]);
    assert_eq!(session.value(b.x).data(), [3.0, -5.0]);
    assert_eq!(session.value(w).data(), [7.0, 8.0]);
    assert_eq!(session.value(sum).data(), [10.0, 3.0]);
    assert_eq!(b.grads(&[(sum, [1.0, 2.0]), (w, [10.0, 20.0])], &[w]), [[11.0, 22.0]]);
}

/// `y = x w` with a weight of ones, and a runtime of its own.
fn product() -> (Bench, NodeId, NodeId, Runtime) {
    let mut bench = Bench::new();
    let w = bench.weight("w", [LEN, LEN], &[1.0; LEN * LEN]);
    let y = bench.add("y", Dense, &[bench.x, w]);
    (bench, w, y, Runtime::new(1))
}

#[test]
fn sessions_share_packed_weights() {
    let (bench, w, y, runtime) = product();
    let session = || {
        // A single row would not be packed.
        let spec_inputs = [(bench.x, Shape::from([2, LEN]))];
        let spec = PlanSpec { inputs: &spec_inputs, want: &[y], ..PlanSpec::default() };
        Session::new(Plan::new(&Arc::new(bench.graph.clone()), spec).unwrap(), runtime.clone())
    };
    let x = Tensor::new([2, LEN], vec![3.0, -5.0, 1.0, 0.0]).unwrap();
    let run = |session: &mut Session, params: &Params| {
        session.run(params, &[x.view()]).unwrap();
        session.value(y).data().to_vec()
    };
    let (mut a, mut b) = (session(), session());
    assert_eq!(run(&mut a, &bench.params), [-2.0, -2.0, 1.0, 1.0]);
    let once = runtime.packed.bytes();
    assert!(once > 0);
    assert_eq!(run(&mut b, &bench.params), [-2.0, -2.0, 1.0, 1.0]);
    assert_eq!(runtime.packed.bytes(), once, "held once");

    let mut other = bench.params.clone();
    other.get_mut(w).unwrap().data_mut().fill(2.0);
    assert_eq!(run(&mut b, &other), [-4.0, -4.0, 2.0, 2.0], "a clone with other weights has its own");
    assert_eq!(run(&mut a, &bench.params), [-2.0, -2.0, 1.0, 1.0]);
    assert_eq!(runtime.packed.bytes(), 2 * once);
    assert_eq!(run(&mut b, &bench.params), [-2.0, -2.0, 1.0, 1.0]);
    assert_eq!(runtime.packed.bytes(), once, "what nobody uses is dropped");
    drop((a, b));
    assert_eq!(runtime.packed.bytes(), 0);
}

/// Packed copies, and matrices that are read as they lie, follow the parameters: a write, another `Params`, and going back to
/// the first.
#[test]
fn packed_weights_follow_the_parameters() {
    let mut b = Bench::new();
    let w = b.weight("w", [LEN, LEN], &[1.0, 2.0, 0.0, 1.0]);
    let y = b.add("y", Dense, &[b.x, w]);
    let mut session = b.session(&[y], &[]);
    let x = row([3.0, -5.0]);
    let mut value = |params: &Params| {
        session.run(params, &[x.view()]).unwrap();
        session.value(y).data().to_vec()
    };
    assert_eq!(value(&b.params), [3.0, 1.0]);
    let mut other = b.params.clone();
    other.get_mut(w).unwrap().data_mut()[0] = 2.0;
    assert_eq!(value(&other), [6.0, 1.0]);
    assert_eq!(value(&b.params), [3.0, 1.0]);
    other.set(w, Tensor::zeros([LEN, LEN]));
    assert_eq!(value(&other), [0.0, 0.0]);
}

#[test]
fn what_callers_get_wrong() {
    let mut b = Bench::new();
    let w = b.weight("w", [LEN, LEN], &[1.0, 2.0, 0.0, 1.0]);
    let y = b.add("y", Dense, &[b.x, w]);
    let mut session = b.session(&[y], &[b.x]);
    let x = row([3.0, -5.0]);
    let seed = |id| [(id, row([1.0, 1.0]))];

    let early = session.backward(&b.params, &seed(y), ReluRule::Exact).unwrap_err();
    assert_eq!(early.to_string(), "`run` comes before `backward`");
    let none = session.run(&b.params, &[]).unwrap_err();
    assert_eq!(none.to_string(), "the plan takes 1 input but was given 0");
    let flat = Tensor::zeros([LEN]);
    let shape = session.run(&b.params, &[flat.view()]).unwrap_err();
    assert_eq!(shape.to_string(), "`x` has shape [1, 2] but the value given has [2]");
    let missing = session.run(&Params::default(), &[x.view()]).unwrap_err();
    assert_eq!(missing.to_string(), "the weight `w` has no value");
    let mut wrong = Params::default();
    wrong.set(w, Tensor::zeros([LEN, 3]));
    let wrong = session.run(&wrong, &[x.view()]).unwrap_err();
    assert_eq!(wrong.to_string(), "`w` has shape [2, 2] but the value given has [2, 3]");

    session.run(&b.params, &[x.view()]).unwrap();
    let unwanted = session.backward(&b.params, &seed(b.x), ReluRule::Exact).unwrap_err();
    assert_eq!(unwanted.to_string(), "`x` is not wanted by the plan, so its gradient cannot start there");
    let shape = session.backward(&b.params, &[(y, flat)], ReluRule::Exact).unwrap_err();
    assert_eq!(shape.to_string(), "`y` has shape [1, 2] but the value given has [2]");
}

#[test]
#[should_panic(expected = "`y` is not wanted by the plan")]
fn a_value_that_was_not_asked_for() {
    let mut b = Bench::new();
    let y = b.add("y", Identity, &[b.x]);
    let z = b.add("z", Identity, &[y]);
    b.run(&[z], &[]).value(y);
}

#[test]
#[should_panic(expected = "no value before `run`")]
fn a_value_before_the_run() {
    let b = Bench::new();
    b.session(&[b.x], &[]).value(b.x);
}

/// Two 3x3 convolutions with a skip connection, large enough for Winograd's algorithm: the value, and the gradients with
/// respect to the input and the first kernel.
fn residual_block(runtime: Runtime) -> [Vec<f32>; 3] {
    const SHAPE: [usize; 4] = [2, 18, 21, 40];
    let (size, padding) = ([3, 3], Padding::Same);
    let conv = Conv2d { window: Window { size, stride: [1, 1], dilation: [1, 1], padding }, groups: 1 };
    let relu = Activate { function: Activation::RELU };
    let (mut graph, mut params) = (Graph::default(), Params::default());
    let x = graph.add("x", Input { dims: SHAPE.map(Some).to_vec() }, &[]).unwrap();
    let kernels = ["a/kernel", "b/kernel"].map(|name| {
        let shape = Shape::from([3, 3, 40, 40]);
        let id = graph.add(name, Param { shape: shape.clone(), trainable: true }, &[]).unwrap();
        params.set(id, random(&shape, id.index() as u64, -0.1, 0.1));
        id
    });
    let a = graph.add("a", conv.clone(), &[x, kernels[0]]).unwrap();
    let a = graph.add("a/relu", relu.clone(), &[a]).unwrap();
    let b = graph.add("b", conv, &[a, kernels[1]]).unwrap();
    let sum = graph.add("sum", Binary { op: BinaryOp::Add }, &[b, x]).unwrap();
    let y = graph.add("y", relu, &[sum]).unwrap();
    let (inputs, wrt) = ([(x, SHAPE.into())], [x, kernels[0]]);
    let spec = PlanSpec { inputs: &inputs, want: &[y], grads: Grads::Wrt(&wrt), ..PlanSpec::default() };
    let mut session = Session::new(Plan::new(&Arc::new(graph), spec).unwrap(), runtime);
    session.run(&params, &[random(&SHAPE.into(), 7, -1.0, 1.0).view()]).unwrap();
    let value = session.value(y).data().to_vec();
    let seed = random(&SHAPE.into(), 8, -1.0, 1.0);
    session.backward(&params, &[(y, seed)], ReluRule::Exact).unwrap();
    let [d_x, d_kernel] = wrt.map(|id| session.grad(id).unwrap().data().to_vec());
    [value, d_x, d_kernel]
}

#[test]
fn exact_means_without_the_larger_tile() {
    for isa in Isa::available() {
        let runtime = |i: usize| runtimes(isa)[i].clone().with_winograd(Winograd::WhereFaster);
        let exact = residual_block(runtime(0).exact());
        let fast = residual_block(runtime(0));
        assert_eq!(fast, residual_block(runtime(2)), "{isa}: 1 and 3 threads");
        for (what, (fast, exact)) in ["value", "d_x", "d_kernel"].iter().zip(fast.iter().zip(&exact)) {
            assert_ne!(fast, exact, "{isa}: {what} did not take Winograd's algorithm");
            let exact: Vec<f64> = exact.iter().map(|&v| f64::from(v)).collect();
            close(&format!("{isa}: {what}"), fast, &exact, 5e-5);
        }
    }
}
