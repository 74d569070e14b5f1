//! Runs a plan: values forwards, gradients backwards.

mod arena;
mod backward;
mod packed;
mod profile;
#[cfg(test)]
mod tests;
mod training;

use std::sync::Arc;

use binesh_kernels::{Costs, Cx, Isa, Threads, Winograd, Work};

use crate::Few;
use crate::graph::NodeId;
use crate::operator::{Overlay, ReluRule};
use crate::ops::Op;
use crate::params::Params;
use crate::plan::{Plan, Step};
use crate::shape::Shape;
use crate::tensor::{Tensor, View, ViewMut};
use arena::{Arena, Values};
use packed::{PackedWeights, Store};
use profile::Recorder;
pub use profile::{Profile, Timed};
use training::TrainingState;

/// How to compute: instruction set, threads, and whether convolutions may take Winograd's algorithm. Cheap to clone; sessions that share one share its threads, and packed weights that are the same for them.
#[derive(Clone)]
pub struct Runtime {
    isa: Isa,
    threads: Arc<Threads>,
    winograd: Winograd,
    packed: Arc<Store>,
    costs: Costs,
    profile: Option<Arc<Profile>>,
}

impl Runtime {
    /// This many threads, the best instruction set of the machine.
    pub fn new(threads: usize) -> Runtime {
        Runtime::with_isa(threads, Isa::detect())
    }

    /// This many threads and this instruction set.
    pub fn with_isa(threads: usize, isa: Isa) -> Runtime {
        Runtime {
            isa,
            threads: Arc::new(Threads::new(threads)),
            winograd: Winograd::WhereFaster,
            packed: Arc::default(),
            costs: Costs::DEFAULT,
            profile: None,
        }
    }

    /// The same without what loses digits, Winograd's F(4x4, 3x3): slower, and closer to what other engines compute.
    pub fn exact(self) -> Runtime {
        self.with_winograd(Winograd::WhereExact)
    }

    /// The same with another rule for where 3x3 convolutions are computed by Winograd's algorithm.
    pub fn with_winograd(self, winograd: Winograd) -> Runtime {
        Runtime { winograd, ..self }
    }

    /// The same on a machine of other costs.
    pub fn with_costs(self, costs: Costs) -> Runtime {
        Runtime { costs, ..self }
    }

    /// The same, and every step of its sessions is timed.
    pub fn profiled(self, profile: Arc<Profile>) -> Runtime {
        Runtime { profile: Some(profile), ..self }
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    pub(crate) fn cx(&self) -> Cx<'_> {
        Cx { isa: self.isa, threads: &self.threads, winograd: self.winograd, costs: &self.costs }
    }

    /// What some work takes, one after the other, that together moves this many bytes.
    pub(crate) fn expected_seconds(&self, works: &[Work], bytes: u64) -> f64 {
        self.costs.seconds(self.isa, self.threads(), works, bytes)
    }
}

/// The memory of a plan: values, gradients and packed weights, reused from run to run.
pub struct Session {
    plan: Plan,
    runtime: Runtime,
    arena: Arena,
    packed: PackedWeights,
    grads: Vec<Option<Vec<f32>>>,
    spare: backward::Spare,
    training: TrainingState,
    recorder: Recorder,
    has_run: bool,
}

impl Session {
    /// Allocates all forward memory.
    pub fn new(plan: Plan, runtime: Runtime) -> Session {
        let arena = Arena::new(plan.arena);
        let grads = vec![None; plan.shapes.len()];
        let recorder = Recorder::new(&plan, &runtime);
        Session {
            plan,
            runtime,
            arena,
            packed: PackedWeights::default(),
            grads,
            spare: backward::Spare::default(),
            training: TrainingState::default(),
            recorder,
            has_run: false,
        }
    }

    /// The plan it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Computes everything the plan wants. `inputs` are in the order of [`crate::Graph::inputs`], then that of the other
    /// nodes in [`crate::PlanSpec::inputs`], those that nothing wanted depends on left out (see [`Session::inputs`]).
    pub fn run(&mut self, params: &Params, inputs: &[View<'_>]) -> Result<(), InputError> {
        self.check(params, inputs)?;
        for (&id, input) in self.plan.inputs.iter().zip(inputs) {
            self.arena.split(start(&self.plan, id), input.data().len()).0.copy_from_slice(input.data());
        }
        for &id in &self.plan.wanted_weights {
            let value = params.get(id).expect("`check` saw a value for every weight").data();
            self.arena.split(start(&self.plan, id), value.len()).0.copy_from_slice(value);
        }
        let began = self.recorder.now();
        self.packed.prepare(self.runtime.cx(), &self.runtime.packed, &self.plan, params);
        self.recorder.packed(began);
        for at in 0..self.plan.steps.len() {
            let began = self.recorder.now();
            self.step(params, at);
            self.recorder.forward(at, began);
        }
        self.has_run = true;
        Ok(())
    }

    /// The inputs that [`Session::run`] takes, in order.
    pub fn inputs(&self) -> &[NodeId] {
        &self.plan.inputs
    }

    /// The value of a wanted node.
    ///
    /// # Panics
    /// When the plan did not want it or nothing was run.
    pub fn value(&self, id: NodeId) -> View<'_> {
        assert!(self.has_run, "no value before `run`");
        assert!(
            self.plan.want.contains(&id),
            "`{}` is not wanted by the plan",
            self.plan.graph.node(id).name
        );
        value(&self.plan, self.arena.values(), id)
    }

    /// Computes the gradients that the plan was made for, of `sum(seed * value)` over the seeds, each for a wanted
    /// node. A node that several seeds reach gets their sum.
    pub fn backward(
        &mut self,
        params: &Params,
        seeds: &[(NodeId, Tensor)],
        rule: ReluRule,
    ) -> Result<(), InputError> {
        if !self.has_run {
            return Err(InputError::NotRun);
        }
        for (id, seed) in seeds {
            let (name, expected) = (self.plan.graph.node(*id).name.clone(), self.plan.shape(*id));
            if !self.plan.want.contains(id) {
                return Err(InputError::SeedNotWanted { name });
            }
            if seed.shape() != expected {
                return Err(InputError::Shape {
                    name,
                    expected: expected.clone(),
                    got: seed.shape().clone(),
                });
            }
        }
        self.check_params(params)?;
        backward::run(self, params, seeds, rule);
        Ok(())
    }

    /// The gradient with respect to a node of [`crate::Grads::Wrt`], after [`Session::backward`].
    pub fn grad(&self, id: NodeId) -> Option<View<'_>> {
        let data = self.grads[id.index()].as_ref()?;
        Some(View::new(self.plan.shape(id), data))
    }

    fn check(&self, params: &Params, inputs: &[View<'_>]) -> Result<(), InputError> {
        if inputs.len() != self.plan.inputs.len() {
            return Err(InputError::Count { expected: self.plan.inputs.len(), got: inputs.len() });
        }
        for (&id, input) in self.plan.inputs.iter().zip(inputs) {
            let expected = self.plan.shape(id);
            if input.shape() != expected {
                let name = self.plan.graph.node(id).name.clone();
                return Err(InputError::Shape {
                    name,
                    expected: expected.clone(),
                    got: input.shape().clone(),
                });
            }
        }
        self.training.check(&self.plan)?;
        self.check_params(params)
    }

    fn check_params(&self, params: &Params) -> Result<(), InputError> {
        for &id in &self.plan.weights {
            let (name, expected) = (&self.plan.graph.node(id).name, self.plan.shape(id));
            match params.get(id) {
                None => return Err(InputError::NoValue { name: name.clone() }),
                Some(value) if value.shape() != expected => {
                    let (expected, got) = (expected.clone(), value.shape().clone());
                    return Err(InputError::Shape { name: name.clone(), expected, got });
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn step(&mut self, params: &Params, at: usize) {
        let step = &self.plan.steps[at];
        let output = step.output();
        let (place, shape) = (start(&self.plan, output), self.plan.shape(output));
        let (y, values) = self.arena.split(place, shape.len());
        let y = ViewMut::new(shape, y);
        match step {
            Step::Node(id) => {
                let node = self.plan.graph.node(*id);
                let cx = self.runtime.cx();
                let operands = |ids: &[NodeId]| -> Few<View<'_>> {
                    ids.iter().map(|&id| operand(&self.plan, values, params, id)).collect()
                };
                if node.inputs.first().is_some_and(|input| self.plan.start_of[input.index()] == Some(place)) {
                    if node.op.operator().overlay() == Overlay::InPlace {
                        node.op.operator().forward_in_place(cx, &operands(&node.inputs[1..]), y);
                    }
                    return;
                }
                let inputs = operands(&node.inputs);
                if self.plan.training.drops(*id) {
                    self.training.drop(cx, *id, inputs[0], y);
                } else if self.plan.training.measures(*id) {
                    self.training.normalise(cx, *id, &node.op, &inputs, y);
                } else {
                    node.op.operator().forward(cx, &inputs, y);
                }
            }
            Step::Fused(fused) => {
                let x = operand(&self.plan, values, params, fused.input(&self.plan.graph));
                let residual = fused.residual.map(|id| operand(&self.plan, values, params, id));
                self.packed.forward(self.runtime.cx(), &self.plan, fused, x, residual, y);
            }
            Step::Inverted(inverted) => {
                let x = operand(&self.plan, values, params, inverted.expand.input(&self.plan.graph));
                let residual = inverted.project.as_ref().and_then(|project| project.residual);
                let residual = residual.map(|id| operand(&self.plan, values, params, id));
                self.packed.forward_inverted(self.runtime.cx(), &self.plan, inverted, x, residual, y);
            }
        }
    }
}

/// Where a value begins in the arena.
fn start(plan: &Plan, id: NodeId) -> usize {
    plan.start_of[id.index()].expect("the plan gives every value that is computed a place")
}

/// A computed value.
fn value<'a>(plan: &'a Plan, values: Values<'a>, id: NodeId) -> View<'a> {
    let shape: &Shape = plan.shape(id);
    View::new(shape, values.get(start(plan, id), shape.len()))
}

/// A computed value, a weight or a constant.
fn operand<'a>(plan: &'a Plan, values: Values<'a>, params: &'a Params, id: NodeId) -> View<'a> {
    match &plan.graph.node(id).op {
        Op::Param(_) => params.get(id).expect("`run` checked that every weight has a value").view(),
        Op::Constant(constant) => constant.value.view(),
        _ => value(plan, values, id),
    }
}

/// What a caller got wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Another number of inputs.
    #[error("the plan takes {expected} input{} but was given {got}", if *expected == 1 { "" } else { "s" })]
    Count {
        /// Inputs of the plan.
        expected: usize,
        /// Inputs given.
        got: usize,
    },
    /// Another shape.
    #[error("`{name}` has shape {expected} but the value given has {got}")]
    Shape {
        /// Node.
        name: String,
        /// Its shape.
        expected: Shape,
        /// The value's shape.
        got: Shape,
    },
    /// A weight without a value.
    #[error("the weight `{name}` has no value")]
    NoValue {
        /// Node.
        name: String,
    },
    /// A seed for something that was not wanted.
    #[error("`{name}` is not wanted by the plan, so its gradient cannot start there")]
    SeedNotWanted {
        /// Node.
        name: String,
    },
    /// A mask for something that does not drop.
    #[error("`{name}` is no active dropout of the plan")]
    NotDropped {
        /// Node.
        name: String,
    },
    /// A mask of another length.
    #[error("the mask of `{name}` has {expected} values but {got} were given")]
    MaskLength {
        /// Node.
        name: String,
        /// Values of the node.
        expected: usize,
        /// Values given.
        got: usize,
    },
    /// An active dropout without a mask.
    #[error("the dropout `{name}` is active but was given no mask")]
    NoMask {
        /// Node.
        name: String,
    },
    /// Gradients before values.
    #[error("`run` comes before `backward`")]
    NotRun,
}
