//! The part of a network that learns: from the boundary's values to logits, and its gradients.

use std::sync::Arc;

use binesh_core::{
    Grads, Graph, NodeId, Op, Params, Plan, PlanSpec, ReluRule, Runtime, Session, Shape, Tensor, Training,
    View,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::train::clip::{Clip, Gradient};
use crate::train::error::TrainError;
use crate::train::loss::{Batch, Loss, Tally};
use crate::train::optimizer::{OptimizerState, Update};
use crate::train::stage::StageSpec;

/// The upper part of the network in one stage.
pub(crate) struct Learner {
    graph: Arc<Graph>,
    runtime: Runtime,
    /// All weights of the network.
    pub(crate) params: Params,
    pub(crate) spec: StageSpec,
    logits: NodeId,
    units: usize,
    loss: Loss,
    /// Shape of the boundary's value for one view.
    row: Vec<usize>,
    /// The last one that was used. One only: each holds packed weights, and one that trains gradients and all values.
    kept: Option<(Purpose, Session)>,
}

/// What a session is for, with its batch size.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    Step(usize),
    Logits(usize),
}

/// What one step learns from.
pub(crate) struct Lesson<'a> {
    /// Values of the boundary.
    pub(crate) x: &'a [f32],
    /// `[N, K]`
    pub(crate) targets: &'a [f32],
    /// `[N]`
    pub(crate) weights: Option<&'a [f32]>,
    pub(crate) label_smoothing: f32,
    pub(crate) clip: Option<Clip>,
    pub(crate) learning_rate: f64,
}

impl Learner {
    pub(crate) fn new(
        graph: &Arc<Graph>,
        params: Params,
        runtime: Runtime,
        spec: StageSpec,
        logits: NodeId,
        row: Vec<usize>,
    ) -> Learner {
        let units = graph.dims(logits)[1].expect("the head has a known number of units");
        let loss = if units == 1 { Loss::BinaryCrossEntropy } else { Loss::CategoricalCrossEntropy };
        Learner { graph: Arc::clone(graph), runtime, params, spec, logits, units, loss, row, kept: None }
    }

    pub(crate) fn loss(&self) -> Loss {
        self.loss
    }

    /// Values of the boundary for one view.
    pub(crate) fn row_len(&self) -> usize {
        self.row.iter().product()
    }

    /// An optimizer that has done nothing, for the weights that learn here.
    pub(crate) fn optimizer(&self, optimizer: crate::train::optimizer::Optimizer) -> OptimizerState {
        let sizes = self.spec.trainable.iter().map(|t| (t.name.clone(), self.len(t.node)));
        OptimizerState::new(optimizer, sizes)
    }

    fn len(&self, node: NodeId) -> usize {
        self.params.get(node).map_or(0, |tensor| tensor.data().len())
    }

    /// Nodes whose values change: those that learn, and moving statistics that follow.
    pub(crate) fn changing(&self) -> Vec<NodeId> {
        let statistics = |&norm: &NodeId| {
            let inputs = &self.graph.node(norm).inputs;
            inputs[inputs.len() - 2..].to_vec()
        };
        let mut nodes: Vec<NodeId> = self.spec.trainable.iter().map(|t| t.node).collect();
        nodes.extend(self.spec.batch_statistics.iter().flat_map(statistics));
        nodes
    }

    /// Their names.
    pub(crate) fn changing_names(&self) -> Vec<String> {
        self.changing().iter().map(|&node| self.graph.node(node).name.clone()).collect()
    }

    /// Their names and lengths.
    pub(crate) fn changing_sizes(&self) -> Vec<(String, usize)> {
        self.changing_names().into_iter().zip(self.changing().iter().map(|&node| self.len(node))).collect()
    }

    /// Copies of the values that change.
    pub(crate) fn weights(&self) -> Vec<Tensor> {
        self.changing().iter().map(|&node| self.params.get(node).expect("it has a value").clone()).collect()
    }

    /// Puts copies back.
    pub(crate) fn set_weights(&mut self, weights: &[Tensor]) {
        for (node, value) in self.changing().into_iter().zip(weights) {
            self.params.set(node, value.clone());
        }
    }

    /// One step: forwards, backwards, weights moved. Returns the loss before it.
    pub(crate) fn step(
        &mut self,
        lesson: &Lesson<'_>,
        optimizer: &mut OptimizerState,
        random: &mut ChaCha8Rng,
    ) -> Result<Tally, TrainError> {
        let n = lesson.targets.len() / self.units;
        let mut session = self.session(Purpose::Step(n))?;
        self.drop_out(&mut session, random)?;
        let shape = self.shape(n);
        session.run(&self.params, &[View::new(&shape, lesson.x)])?;
        let logits = session.value(self.logits);
        let mut d_logits = Tensor::zeros(logits.shape().clone());
        let batch = Batch {
            logits: logits.data(),
            targets: lesson.targets,
            units: self.units,
            label_smoothing: lesson.label_smoothing,
            weights: lesson.weights,
        };
        let tally = self.loss.with_gradient(&batch, d_logits.data_mut());
        if tally.loss().is_finite() {
            session.backward(&self.params, &[(self.logits, d_logits)], ReluRule::Exact)?;
            session.update_moving_statistics(&mut self.params);
            self.apply(&session, lesson, optimizer);
        }
        self.kept = Some((Purpose::Step(n), session));
        Ok(tally)
    }

    fn apply(&mut self, session: &Session, lesson: &Lesson<'_>, optimizer: &mut OptimizerState) {
        let gradient = |node: NodeId| session.grad(node).expect("the plan was made for this gradient").data();
        let gradients: Vec<&[f32]> = self.spec.trainable.iter().map(|t| gradient(t.node)).collect();
        let clipped: Vec<Gradient<'_>> = match lesson.clip {
            Some(clip) => clip.apply(&gradients),
            None => gradients.into_iter().map(Gradient::from).collect(),
        };
        let mut step = optimizer.begin_step();
        for (index, (trainable, gradient)) in self.spec.trainable.iter().zip(clipped).enumerate() {
            let weights = self.params.get_mut(trainable.node).expect("it has a value").data_mut();
            let rate = lesson.learning_rate as f32 * trainable.factor;
            step.apply(index, Update { weights, gradient, rate, decay: trainable.decay });
        }
    }

    /// New masks for the head's dropout.
    fn drop_out(&self, session: &mut Session, random: &mut ChaCha8Rng) -> Result<(), TrainError> {
        for &node in &self.spec.dropout {
            let Op::Dropout(dropout) = &self.graph.node(node).op else { continue };
            let (rate, keep) = (dropout.rate, 1.0 / (1.0 - dropout.rate));
            let len = session.plan().shape(node).len();
            let mask: Vec<f32> =
                (0..len).map(|_| if random.random::<f32>() < rate { 0.0 } else { keep }).collect();
            session.set_mask(node, &mask)?;
        }
        Ok(())
    }

    /// The head's output for views, nothing dropped.
    ///
    /// # Shapes
    /// x: n rows -> `[n, units]`
    pub(crate) fn logits(&mut self, x: &[f32]) -> Result<Vec<f32>, TrainError> {
        let n = x.len() / self.row_len();
        let mut session = self.session(Purpose::Logits(n))?;
        let shape = self.shape(n);
        session.run(&self.params, &[View::new(&shape, x)])?;
        let logits = session.value(self.logits).data().to_vec();
        self.kept = Some((Purpose::Logits(n), session));
        Ok(logits)
    }

    fn shape(&self, n: usize) -> Shape {
        std::iter::once(n).chain(self.row.iter().copied()).collect::<Vec<_>>().into()
    }

    /// Takes the session that was kept, if it is for this; else that one's memory goes before a new one takes its own.
    fn session(&mut self, purpose: Purpose) -> Result<Session, TrainError> {
        if let Some((_, session)) = self.kept.take().filter(|(kept, _)| *kept == purpose) {
            return Ok(session);
        }
        let (n, trains) = match purpose {
            Purpose::Step(n) => (n, true),
            Purpose::Logits(n) => (n, false),
        };
        let learn: Vec<NodeId> = self.spec.trainable.iter().map(|t| t.node).collect();
        let inputs = [(self.spec.boundary, self.shape(n))];
        let training =
            Training { dropout: &self.spec.dropout, batch_statistics: &self.spec.batch_statistics };
        let spec = PlanSpec {
            inputs: &inputs,
            want: &[self.logits],
            grads: if trains { Grads::Wrt(&learn) } else { Grads::None },
            training: if trains { training } else { Training::default() },
        };
        Ok(Session::new(Plan::new(&self.graph, spec)?, self.runtime.clone()))
    }

    /// Says which layer made a value that is no number, for the batch that showed it.
    pub(crate) fn diagnose(&mut self, x: &[f32]) -> Result<String, TrainError> {
        if is_bad(x) {
            return Ok(format!(
                "the features at `{}` are not numbers",
                self.graph.node(self.spec.boundary).name
            ));
        }
        if let Some(place) = self.bad_weight() {
            return Ok(place);
        }
        let above: Vec<NodeId> = super::blocks::carriers(&self.graph, self.logits)
            .into_iter()
            .filter(|id| id.index() > self.spec.boundary.index())
            .collect();
        let n = x.len() / self.row_len();
        let inputs = [(self.spec.boundary, self.shape(n))];
        let spec = PlanSpec { inputs: &inputs, want: &above, ..PlanSpec::default() };
        let mut session = Session::new(Plan::new(&self.graph, spec)?, self.runtime.clone());
        let shape = self.shape(n);
        session.run(&self.params, &[View::new(&shape, x)])?;
        let bad = above.iter().find(|&&id| is_bad(session.value(id).data()));
        Ok(match bad {
            Some(&id) => format!("layer `{}` returned values that are not numbers", self.graph.node(id).name),
            None => "the loss is not a number, though every layer's values are".to_owned(),
        })
    }

    /// Says which of the weights that change is no number, if one is.
    pub(crate) fn bad_weight(&self) -> Option<String> {
        let bad = |node: &NodeId| is_bad(self.params.get(*node).map_or(&[], |t| t.data()));
        let node = self.changing().into_iter().find(bad)?;
        Some(format!("the weight `{}` is not a number any more", self.graph.node(node).name))
    }
}

fn is_bad(values: &[f32]) -> bool {
    values.iter().any(|v| !v.is_finite())
}
