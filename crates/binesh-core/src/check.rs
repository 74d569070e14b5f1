//! Operator conformance as data: `op(Conv2d { .. }).input([2, 7, 5, 3]).weight([3, 3, 3, 4]).check()`.
//!
//! One case proves that
//! 1. the shape is what the definition gives,
//! 2. the values equal the plain f64 definition in [`reference`],
//! 3. every instruction set agrees with the scalar one, and every number of threads to the bit,
//! 4. `backward` equals central finite differences of the definition, for every input and weight that has a gradient,
//! 5. `backward` adds to a gradient instead of overwriting it,
//! 6. any one gradient asked for alone is the same to the bit, also where values that `keeps` does not name were
//!    overwritten meanwhile.

pub(crate) mod dag;
pub(crate) mod executor;
mod hostile;
pub(crate) mod reference;

use std::sync::{Arc, OnceLock};

use crate::graph::{Graph, GraphError, NodeId};
use crate::operator::ReluRule;
use crate::ops::{Identity, Input, Op, Param};
use crate::plan::{Grads, Plan, PlanSpec};
use crate::session::{Runtime, Session};
use crate::shape::Shape;
use crate::tensor::{Tensor, View};
use crate::{Isa, Params, Winograd};
use reference::Array;

/// Largest error of a value, as a share of the largest value: f32 has 6e-8, the longest sum here some hundred terms.
pub(crate) const VALUE_TOLERANCE: f64 = 5e-6;
/// Largest error of a gradient, as a share of the largest one: sums of products over all positions.
pub(crate) const GRADIENT_TOLERANCE: f64 = 2e-5;
/// Step of the finite differences. They are taken in f64, so rounding is 1e-11 and the cubic term 1e-10.
const STEP: f64 = 1e-5;
/// Multiply-adds that the finite differences of one case may cost; beyond it elements are sampled.
const BUDGET: usize = 1_000_000;

/// A case for this operator.
pub(crate) fn op(op: impl Into<Op>) -> Case {
    Case { op: op.into(), operands: Vec::new(), expected: None }
}

/// An operator and the operands it is tried on.
pub(crate) struct Case {
    op: Op,
    operands: Vec<Operand>,
    expected: Option<Vec<f32>>,
}

struct Operand {
    shape: Shape,
    weight: bool,
    values: Values,
}

enum Values {
    Within {
        low: f32,
        high: f32,
        avoid: Vec<f32>,
        margin: f32,
    },
    /// No two within 1 / count of each other.
    Distinct,
    Literal(Vec<f32>),
}

impl Case {
    /// The next operand: an input of the network, with values in -1..1.
    pub(crate) fn input(self, shape: impl Into<Shape>) -> Case {
        self.operand(shape, false, -1.0, 1.0)
    }

    /// The next operand: a weight, with values in -1..1.
    pub(crate) fn weight(self, shape: impl Into<Shape>) -> Case {
        self.operand(shape, true, -1.0, 1.0)
    }

    /// The next operand: a weight with positive values, such as a variance.
    pub(crate) fn statistic(self, shape: impl Into<Shape>) -> Case {
        self.operand(shape, true, 0.5, 1.5)
    }

    fn operand(mut self, shape: impl Into<Shape>, weight: bool, low: f32, high: f32) -> Case {
        let values = Values::Within { low, high, avoid: Vec::new(), margin: 0.0 };
        self.operands.push(Operand { shape: shape.into(), weight, values });
        self
    }

    /// Bounds of the last operand's values.
    pub(crate) fn within(self, low: f32, high: f32) -> Case {
        self.with(Values::Within { low, high, avoid: Vec::new(), margin: 0.0 })
    }

    /// Keeps the last operand's values this far from points where there is no derivative.
    pub(crate) fn away_from(mut self, points: &[f32], distance: f32) -> Case {
        let last = self.operands.last_mut().expect("an operand comes before what is said of it");
        if let Values::Within { avoid, margin, .. } = &mut last.values {
            (*avoid, *margin) = (points.to_vec(), distance);
        }
        self
    }

    /// Keeps the last operand's values apart from each other, for operators with ties.
    pub(crate) fn distinct(self) -> Case {
        self.with(Values::Distinct)
    }

    /// The last operand's values.
    pub(crate) fn values(self, values: &[f32]) -> Case {
        self.with(Values::Literal(values.to_vec()))
    }

    fn with(mut self, values: Values) -> Case {
        self.operands.last_mut().expect("an operand comes before what is said of it").values = values;
        self
    }

    /// Also pins the values of the output.
    pub(crate) fn equals(mut self, values: &[f32]) -> Case {
        self.expected = Some(values.to_vec());
        self
    }

    /// Proves everything that this module's documentation lists.
    pub(crate) fn check(self) {
        let operands = self.tensors();
        let arrays: Vec<Array> = operands.iter().map(Array::from).collect();
        let exact = reference::forward(&self.op, &arrays);
        let seed = random(&Shape::from(exact.shape.clone()), 77, -1.0, 1.0);
        let differentiable = operands.len() - self.op.operator().constant_inputs();
        let everything: Vec<usize> = (0..differentiable).collect();

        let single = self.wire(&operands, 1, false);
        let scalar = &runtimes(Isa::scalar())[0];
        let base = single.run(scalar, &everything, &[&seed]);
        assert_eq!(base.values.shape().dims(), exact.shape, "{}: shape", self.name());
        close(&format!("{}: value", self.name()), base.values.data(), &exact.data, VALUE_TOLERANCE);
        if let Some(expected) = &self.expected {
            let expected: Vec<f64> = expected.iter().map(|&v| f64::from(v)).collect();
            close(&format!("{}: literal value", self.name()), base.values.data(), &expected, VALUE_TOLERANCE);
        }
        self.same_everywhere(&single, &base, &everything, &seed);
        self.finite_differences(&arrays, &base.grads, &seed);
        self.accumulates(&operands, &everything, &seed);
        let buried = self.wire(&operands, 1, true);
        for &one in &everything {
            for wired in [&single, &buried] {
                let alone = wired.run(scalar, &[one], &[&seed]);
                let same = alone.grads[0] == base.grads[one] && alone.values == base.values;
                assert!(same, "{}: operand {one} alone has another gradient", self.name());
            }
        }
    }

    /// Proves that the operator does not accept these operands and says so in these words.
    pub(crate) fn rejects(self, message: &str) {
        let mut graph = Graph::default();
        let got = match self.add(&mut graph, false) {
            Ok(_) => "no error".to_owned(),
            Err(GraphError::Shape { source, .. }) => source.to_string(),
            Err(other) => other.to_string(),
        };
        assert_eq!(got, message, "{}", self.name());
    }

    /// The gradient of each operand for this gradient of the output.
    pub(crate) fn gradients(&self, d_output: &[f32], rule: ReluRule) -> Vec<Vec<f32>> {
        let operands = self.tensors();
        let wired = self.wire(&operands, 1, false);
        let wrt: Vec<usize> = (0..operands.len() - self.op.operator().constant_inputs()).collect();
        let mut session = wired.session(&runtimes(Isa::detect())[0], &wrt);
        let shape = session.plan().shape(wired.outputs[0]).clone();
        let seed = Tensor::new(shape, d_output.to_vec()).unwrap();
        session.backward(&wired.params, &[(wired.outputs[0], seed)], rule).unwrap();
        wrt.iter().map(|&i| session.grad(wired.operands[i]).unwrap().data().to_vec()).collect()
    }

    fn name(&self) -> String {
        let shapes: Vec<String> = self.operands.iter().map(|o| o.shape.to_string()).collect();
        format!("{:?} of {}", self.op, shapes.join(" "))
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.operands.iter().enumerate().map(|(i, operand)| operand.tensor(i as u64 + 1)).collect()
    }

    /// Adds nodes for the operands, and the operator on them (behind an identity when `buried`).
    fn add(&self, graph: &mut Graph, buried: bool) -> Result<(Vec<NodeId>, NodeId), GraphError> {
        let mut operands = Vec::new();
        for (i, Operand { shape, weight, .. }) in self.operands.iter().enumerate() {
            let node: Op = match weight {
                true => Param { shape: shape.clone(), trainable: true }.into(),
                false => Input { dims: shape.dims().iter().map(|&d| Some(d)).collect() }.into(),
            };
            operands.push(graph.add(format!("operand_{i}"), node, &[])?);
        }
        let mut read = operands.clone();
        if buried {
            for (i, id) in read.iter_mut().enumerate() {
                *id = graph.add(format!("buried_{i}"), Identity, &[*id])?;
            }
        }
        let y = graph.add("y", self.op.clone(), &read)?;
        Ok((operands, y))
    }

    fn wire(&self, values: &[Tensor], copies: usize, buried: bool) -> Wired {
        let mut graph = Graph::default();
        let (operands, mut y) =
            self.add(&mut graph, buried).unwrap_or_else(|e| panic!("{}: {e}", self.name()));
        let read = graph.node(y).inputs.clone();
        let mut outputs = Vec::new();
        for copy in 1..copies {
            outputs.push(graph.add(format!("copy_{copy}"), self.op.clone(), &read).unwrap());
        }
        if buried {
            for depth in 0..3 {
                y = graph.add(format!("above_{depth}"), Identity, &[y]).unwrap();
            }
        }
        outputs.insert(0, y);
        let mut params = Params::default();
        let mut inputs = Vec::new();
        for ((&id, value), operand) in operands.iter().zip(values).zip(&self.operands) {
            match operand.weight {
                true => params.set(id, value.clone()),
                false => inputs.push((id, value.clone())),
            }
        }
        Wired { graph: Arc::new(graph), params, inputs, operands, outputs }
    }

    fn same_everywhere(&self, wired: &Wired, base: &Outcome, wrt: &[usize], seed: &Tensor) {
        for isa in Isa::available() {
            let runs: Vec<Outcome> = runtimes(isa).iter().map(|rt| wired.run(rt, wrt, &[seed])).collect();
            for (threads, run) in runs.iter().enumerate() {
                let same = run.values == runs[0].values && run.grads == runs[0].grads;
                assert!(same, "{}: {isa}: 1 and {} threads differ", self.name(), threads + 1);
            }
            let close = |what: &str, got: &Tensor, base: &Tensor, tolerance: f64| {
                close(
                    &format!("{}: {isa}: {what}", self.name()),
                    got.data(),
                    &Array::from(base).data,
                    tolerance,
                );
            };
            close("value", &runs[0].values, &base.values, VALUE_TOLERANCE);
            for (got, base) in runs[0].grads.iter().zip(&base.grads) {
                close("gradient", got, base, GRADIENT_TOLERANCE);
            }
        }
    }

    /// Element by element as far as the budget goes, and along random directions, which no wrong element escapes.
    fn finite_differences(&self, arrays: &[Array], grads: &[Tensor], seed: &Tensor) {
        let slope = |which: usize, direction: &dyn Fn(usize) -> f64| {
            let loss = |step: f64| {
                let mut moved = arrays.to_vec();
                moved[which].data.iter_mut().enumerate().for_each(|(i, v)| *v += step * direction(i));
                let y = reference::forward(&self.op, &moved);
                y.data.iter().zip(seed.data()).map(|(y, &s)| y * f64::from(s)).sum::<f64>()
            };
            (loss(STEP) - loss(-STEP)) / (2.0 * STEP)
        };
        let shapes: Vec<Shape> = self.operands.iter().map(|o| o.shape.clone()).collect();
        let macs = self.op.operator().macs(&shapes.iter().collect::<Vec<_>>(), seed.shape()) as usize;
        let cost = macs + seed.data().len() + arrays.iter().map(|a| a.data.len()).sum::<usize>();
        for (which, grad) in grads.iter().enumerate() {
            let (len, name) = (grad.data().len(), format!("{}: gradient of operand {which}", self.name()));
            let samples = len.min(2 + BUDGET / (2 * cost * grads.len()));
            let elements: Vec<usize> = (0..samples).map(|i| i * (len - 1) / (samples - 1).max(1)).collect();
            let want: Vec<f64> = elements
                .iter()
                .map(|&element| slope(which, &|i| if i == element { 1.0 } else { 0.0 }))
                .collect();
            let scale = largest(grad.data().iter().map(|&g| f64::from(g)));
            for (&element, want) in elements.iter().zip(want) {
                let got = f64::from(grad.data()[element]);
                let error = (got - want).abs() / scale;
                assert!(
                    error <= GRADIENT_TOLERANCE,
                    "{name}: element {element} is {got}, differences say {want}"
                );
            }
            for round in 0..2 {
                let signs = random(grad.shape(), 1000 + round, -1.0, 1.0);
                let want = slope(which, &|i| f64::from(signs.data()[i]).signum());
                let terms = grad.data().iter().zip(signs.data());
                let got: f64 = terms.map(|(&g, &s)| f64::from(g) * f64::from(s).signum()).sum();
                let error = (got - want).abs() / (scale * (len as f64).sqrt());
                assert!(
                    error <= GRADIENT_TOLERANCE,
                    "{name}: along a direction {got}, differences say {want}"
                );
            }
        }
    }

    /// Two nodes on the same operands, both seeded: the gradient is the sum of theirs.
    fn accumulates(&self, operands: &[Tensor], wrt: &[usize], seed: &Tensor) {
        let runtime = &runtimes(Isa::detect())[0];
        let other = random(seed.shape(), 78, -1.0, 1.0);
        let single = self.wire(operands, 1, false);
        let [first, second] = [seed, &other].map(|seed| single.run(runtime, wrt, &[seed]));
        let both = self.wire(operands, 2, false).run(runtime, wrt, &[seed, &other]);
        for (i, both) in both.grads.iter().enumerate() {
            let pairs = first.grads[i].data().iter().zip(second.grads[i].data());
            let want: Vec<f64> = pairs.map(|(&a, &b)| f64::from(a) + f64::from(b)).collect();
            let what = format!("{}: gradient of operand {i}, read by two", self.name());
            close(&what, both.data(), &want, GRADIENT_TOLERANCE);
        }
    }
}

impl Operand {
    fn tensor(&self, stream: u64) -> Tensor {
        match &self.values {
            Values::Literal(values) => Tensor::new(self.shape.clone(), values.clone()).unwrap(),
            Values::Distinct => {
                let len = self.shape.len();
                let mut order: Vec<(u64, usize)> = (0..len).map(|i| (noise(stream, i as u64), i)).collect();
                order.sort();
                let value = |(_, rank): (u64, usize)| 2.0 * (rank as f32 + 0.5) / len as f32 - 1.0;
                Tensor::new(self.shape.clone(), order.into_iter().map(value).collect()).unwrap()
            }
            Values::Within { low, high, avoid, margin } => {
                let mut tensor = random(&self.shape, stream, *low, *high);
                for (i, value) in tensor.data_mut().iter_mut().enumerate() {
                    let mut attempt = 0;
                    while avoid.iter().any(|point| (*value - point).abs() < *margin) {
                        attempt += 1;
                        *value = uniform(stream, i as u64 + (attempt << 32), *low, *high);
                    }
                }
                tensor
            }
        }
    }
}

/// A case as a graph with values.
struct Wired {
    graph: Arc<Graph>,
    params: Params,
    inputs: Vec<(NodeId, Tensor)>,
    operands: Vec<NodeId>,
    outputs: Vec<NodeId>,
}

/// What a run gave.
struct Outcome {
    values: Tensor,
    grads: Vec<Tensor>,
}

impl Wired {
    fn session(&self, runtime: &Runtime, wrt: &[usize]) -> Session {
        let wrt: Vec<NodeId> = wrt.iter().map(|&i| self.operands[i]).collect();
        let shapes: Vec<(NodeId, Shape)> =
            self.inputs.iter().map(|(id, v)| (*id, v.shape().clone())).collect();
        let spec =
            PlanSpec { inputs: &shapes, want: &self.outputs, grads: Grads::Wrt(&wrt), ..PlanSpec::default() };
        let mut session = Session::new(Plan::new(&self.graph, spec).unwrap(), runtime.clone());
        let views: Vec<View<'_>> = self.inputs.iter().map(|(_, value)| value.view()).collect();
        session.run(&self.params, &views).unwrap();
        session
    }

    fn run(&self, runtime: &Runtime, wrt: &[usize], seeds: &[&Tensor]) -> Outcome {
        let mut session = self.session(runtime, wrt);
        let seeds: Vec<(NodeId, Tensor)> =
            self.outputs.iter().zip(seeds).map(|(&id, &seed)| (id, seed.clone())).collect();
        session.backward(&self.params, &seeds, ReluRule::Exact).unwrap();
        Outcome {
            values: session.value(self.outputs[0]).to_tensor(),
            grads: wrt.iter().map(|&i| session.grad(self.operands[i]).unwrap().to_tensor()).collect(),
        }
    }
}

/// One, two and three threads; started once for all cases. Convolutions are direct sums: which tile a gradient takes may
/// depend on what else is asked for, and its last bits with it.
pub(crate) fn runtimes(isa: Isa) -> &'static [Runtime] {
    static ALL: OnceLock<Vec<(Isa, Vec<Runtime>)>> = OnceLock::new();
    let direct = |threads, isa| Runtime::with_isa(threads, isa).with_winograd(Winograd::Never);
    let start = |isa| (isa, (1..=3).map(|threads| direct(threads, isa)).collect());
    let all = ALL.get_or_init(|| Isa::available().into_iter().map(start).collect());
    &all.iter().find(|(known, _)| *known == isa).expect("the instruction set is available").1
}

/// Values in `low..high`, the same for the same stream.
pub(crate) fn random(shape: &Shape, stream: u64, low: f32, high: f32) -> Tensor {
    let data = (0..shape.len() as u64).map(|i| uniform(stream, i, low, high)).collect();
    Tensor::new(shape.clone(), data).unwrap()
}

fn uniform(stream: u64, at: u64, low: f32, high: f32) -> f32 {
    low + (high - low) * ((noise(stream, at) >> 40) as f32 / (1 << 24) as f32)
}

/// SplitMix64 (Steele et al. 2014).
fn noise(stream: u64, at: u64) -> u64 {
    let mut z = (stream << 40).wrapping_add(at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Each value within `tolerance` times the largest wanted one.
pub(crate) fn close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: number of values");
    let scale = largest(want.iter().copied());
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let same = f64::from(got) == want || (f64::from(got) - want).abs() <= tolerance * scale;
        assert!(same, "{what}: element {i} is {got} instead of {want}");
    }
}

/// The largest magnitude, but never so small that noise would be compared with noise.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.map(f64::abs).filter(|v| v.is_finite()).fold(1e-3, f64::max)
}
