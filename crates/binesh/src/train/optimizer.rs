//! Optimizers: what one step does to the weights, by Keras 3's formulas.

use serde::{Deserialize, Serialize};

use super::clip::Gradient;

/// An optimizer and its settings; the learning rate is not one of them, it comes with every [`Update`].
///
/// In a configuration: `{ name = "rmsprop", rho = 0.9 }`. What is left out has Keras's default. Settings are f64
/// because Keras forms `1 - beta` in double precision: in single precision `1 - 0.999` is wrong in the fifth digit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// Divides by a moving root mean square of the gradient.
    RmsProp(RmsProp),
    /// Gradient descent, with momentum if asked for.
    Sgd(Sgd),
    /// Moving mean over moving root mean square, both corrected for their start at zero.
    Adam(Adam),
    /// [`Optimizer::Adam`] whose weight decay is .004 if not said otherwise.
    AdamW(AdamW),
}

/// `keras/src/optimizers/rmsprop.py`, and the form that Keras 2.0.8 had.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RmsProp {
    /// How much of the moving mean square is kept per step.
    pub rho: f64,
    /// How much of the last increment is repeated.
    pub momentum: f64,
    /// Keeps the divisor from zero.
    pub epsilon: f64,
    /// Where `epsilon` is added.
    pub epsilon_place: EpsilonPlace,
    /// Divides by the standard deviation: the square of the moving mean is taken off the mean square.
    pub centered: bool,
    /// Share of a weight taken off per step and unit of rate; see [`Update::decay`].
    pub weight_decay: f64,
}

/// Where [`RmsProp::epsilon`] is added. For a gradient of zero mean square the two differ by `sqrt(epsilon)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EpsilonPlace {
    /// `sqrt(v + epsilon)`: Keras 3.
    #[default]
    InRoot,
    /// `sqrt(v) + epsilon`: Keras 2.0.8 (`keras/optimizers.py`) and `torch.optim.RMSprop`.
    BesideRoot,
}

/// `keras/src/optimizers/sgd.py`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sgd {
    /// How much of the last increment is repeated.
    pub momentum: f64,
    /// Steps by the increment that the next step would repeat.
    pub nesterov: bool,
    /// Share of a weight taken off per step and unit of rate; see [`Update::decay`].
    pub weight_decay: f64,
}

/// `keras/src/optimizers/adam.py`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Adam {
    /// How much of the moving mean is kept per step.
    pub beta_1: f64,
    /// How much of the moving mean square is kept per step.
    pub beta_2: f64,
    /// Added to the root; the paper's "epsilon hat".
    pub epsilon: f64,
    /// Divides by the largest mean square so far.
    pub amsgrad: bool,
    /// Share of a weight taken off per step and unit of rate; see [`Update::decay`].
    pub weight_decay: f64,
}

/// `keras/src/optimizers/adamw.py`: Adam with another default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW {
    /// As [`Adam::beta_1`].
    pub beta_1: f64,
    /// As [`Adam::beta_2`].
    pub beta_2: f64,
    /// As [`Adam::epsilon`].
    pub epsilon: f64,
    /// As [`Adam::amsgrad`].
    pub amsgrad: bool,
    /// As [`Adam::weight_decay`], but .004.
    pub weight_decay: f64,
}

impl RmsProp {
    /// As Keras 2.0.8, with which the first edition of "Deep Learning with Python" was written.
    pub fn keras_2_0() -> RmsProp {
        RmsProp { epsilon: 1e-8, epsilon_place: EpsilonPlace::BesideRoot, ..RmsProp::default() }
    }
}

impl Default for RmsProp {
    fn default() -> Self {
        RmsProp {
            rho: 0.9,
            momentum: 0.0,
            epsilon: 1e-7,
            epsilon_place: EpsilonPlace::InRoot,
            centered: false,
            weight_decay: 0.0,
        }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Adam { beta_1: 0.9, beta_2: 0.999, epsilon: 1e-7, amsgrad: false, weight_decay: 0.0 }
    }
}

impl Default for AdamW {
    fn default() -> Self {
        let Adam { beta_1, beta_2, epsilon, amsgrad, .. } = Adam::default();
        AdamW { beta_1, beta_2, epsilon, amsgrad, weight_decay: 0.004 }
    }
}

impl From<AdamW> for Adam {
    fn from(own: AdamW) -> Adam {
        let AdamW { beta_1, beta_2, epsilon, amsgrad, weight_decay } = own;
        Adam { beta_1, beta_2, epsilon, amsgrad, weight_decay }
    }
}

impl Optimizer {
    /// The arrays that are kept per parameter, named as Keras names its optimizer's variables.
    fn slots(&self) -> Vec<&'static str> {
        match self {
            Optimizer::RmsProp(own) => {
                let momentum = (own.momentum > 0.0).then_some("momentum");
                let mean = own.centered.then_some("average_gradient");
                ["velocity"].into_iter().chain(momentum).chain(mean).collect()
            }
            Optimizer::Sgd(own) if own.momentum != 0.0 => vec!["momentum"],
            Optimizer::Sgd(_) => Vec::new(),
            Optimizer::Adam(own) => own.slots(),
            Optimizer::AdamW(own) => Adam::from(*own).slots(),
        }
    }

    fn weight_decay(&self) -> f64 {
        match self {
            Optimizer::RmsProp(own) => own.weight_decay,
            Optimizer::Sgd(own) => own.weight_decay,
            Optimizer::Adam(own) => own.weight_decay,
            Optimizer::AdamW(own) => own.weight_decay,
        }
    }
}

/// An optimizer at work: its settings, the steps done, and what it remembers of every parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    optimizer: Optimizer,
    iterations: u64,
    slots: Vec<&'static str>,
    parameters: Vec<Parameter>,
}

#[derive(Clone, Debug, PartialEq)]
struct Parameter {
    name: String,
    len: usize,
    /// One array per slot of the optimizer.
    memory: Vec<Vec<f32>>,
}

/// What a step is to do to one parameter.
#[derive(Debug)]
pub struct Update<'a> {
    /// Changed in place.
    pub weights: &'a mut [f32],
    /// Of the loss with respect to `weights`, with as many elements.
    pub gradient: Gradient<'a>,
    /// The learning rate of this parameter in this step.
    pub rate: f32,
    /// Whether the optimizer's weight decay applies. Biases and normalisation are usually left out. The decay is
    /// decoupled: `w -= w * weight_decay * rate` before the update, as Keras does for every optimizer.
    pub decay: bool,
}

/// A saved state that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// An array that was not saved.
    #[error("the saved state has no array `{name}`")]
    Missing {
        /// As [`OptimizerState::slots`] names it.
        name: String,
    },
    /// An array of another parameter.
    #[error("`{name}` needs {expected} values but {got} were saved")]
    Length {
        /// As [`OptimizerState::slots`] names it.
        name: String,
        /// Elements of the parameter.
        expected: usize,
        /// Elements saved.
        got: usize,
    },
}

impl OptimizerState {
    /// Before the first step. `parameters` are the trainable weights' names and lengths, in the order of the updates.
    pub fn new<S: Into<String>>(
        optimizer: Optimizer,
        parameters: impl IntoIterator<Item = (S, usize)>,
    ) -> OptimizerState {
        let slots = optimizer.slots();
        let parameter = |(name, len): (S, usize)| Parameter {
            name: name.into(),
            len,
            memory: slots.iter().map(|_| vec![0.0; len]).collect(),
        };
        let parameters = parameters.into_iter().map(parameter).collect();
        OptimizerState { optimizer, iterations: 0, slots, parameters }
    }

    /// The settings.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// How many steps were done.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Bytes of memory that the arrays take.
    pub fn bytes(&self) -> usize {
        self.slots().map(|(_, values)| size_of_val(values)).sum()
    }

    /// One step for all parameters, one update each in the order of [`OptimizerState::new`].
    ///
    /// # Panics
    /// If the number of updates or a length differs from that order.
    pub fn step<'a>(&mut self, updates: impl IntoIterator<Item = Update<'a>>) {
        let expected = self.parameters.len();
        let mut step = self.begin_step();
        let mut count = 0;
        for update in updates {
            step.apply(count, update);
            count += 1;
        }
        assert_eq!(count, expected, "a step updates every parameter");
    }

    /// Begins a step whose parameters are updated one by one, which needs only one mutable borrow at a time:
    /// `let mut step = state.begin_step(); for (i, id) in trainable { step.apply(i, ...) }`.
    pub fn begin_step(&mut self) -> OptimizerStep<'_> {
        self.iterations += 1;
        OptimizerStep { state: self }
    }

    /// The arrays kept for every parameter, by names like `PARAMETER/velocity`: with [`OptimizerState::iterations`]
    /// all that has to be saved.
    pub fn slots(&self) -> impl Iterator<Item = (String, &[f32])> {
        self.parameters.iter().flat_map(|parameter| {
            let arrays = parameter.memory.iter().map(Vec::as_slice);
            self.slots.iter().zip(arrays).map(|(slot, values)| (slot_name(parameter, slot), values))
        })
    }

    /// Takes up a saved state; `saved` gives the array of a name. On an error nothing has changed.
    pub fn restore(
        &mut self,
        iterations: u64,
        mut saved: impl FnMut(&str) -> Option<Vec<f32>>,
    ) -> Result<(), RestoreError> {
        let mut memories = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let mut memory = Vec::with_capacity(self.slots.len());
            for slot in &self.slots {
                let name = slot_name(parameter, slot);
                match saved(&name) {
                    None => return Err(RestoreError::Missing { name }),
                    Some(values) if values.len() != parameter.len => {
                        let (expected, got) = (parameter.len, values.len());
                        return Err(RestoreError::Length { name, expected, got });
                    }
                    Some(values) => memory.push(values),
                }
            }
            memories.push(memory);
        }
        for (parameter, memory) in self.parameters.iter_mut().zip(memories) {
            parameter.memory = memory;
        }
        self.iterations = iterations;
        Ok(())
    }
}

fn slot_name(parameter: &Parameter, slot: &str) -> String {
    format!("{}/{slot}", parameter.name)
}

/// Elements that are worked on at once: they stay in the first-level cache, and the loops over them stay simple enough
/// to be vectorised.
const BLOCK: usize = 512;

/// A step under way.
#[derive(Debug)]
pub struct OptimizerStep<'s> {
    state: &'s mut OptimizerState,
}

impl OptimizerStep<'_> {
    /// Updates the parameter of this index. Each has at most one update per step.
    ///
    /// # Panics
    /// If a length differs from the one in [`OptimizerState::new`].
    pub fn apply(&mut self, index: usize, update: Update<'_>) {
        let OptimizerState { optimizer, iterations, parameters, .. } = &mut *self.state;
        let Parameter { name, len, memory } = &mut parameters[index];
        assert_eq!(update.weights.len(), *len, "`{name}` has another length than at the start");
        assert_eq!(update.gradient.len(), *len, "the gradient of `{name}` has another length");
        let decay = if update.decay { optimizer.weight_decay() as f32 } else { 0.0 };
        let rule = optimizer.rule(*iterations, update.rate);
        let mut gradient = [0.0; BLOCK];
        for (block, weights) in update.weights.chunks_mut(BLOCK).enumerate() {
            let (start, end) = (block * BLOCK, block * BLOCK + weights.len());
            let gradient = &mut gradient[..weights.len()];
            update.gradient.write(start, gradient);
            if decay != 0.0 {
                weights.iter_mut().for_each(|w| *w -= *w * decay * update.rate);
            }
            let memory = memory.iter_mut().map(|slot| &mut slot[start..end]);
            rule.apply(weights, gradient, memory);
        }
    }
}

/// An optimizer's formula with everything that is the same for all elements of a parameter, in single precision.
enum Rule {
    RmsProp { own: RmsProp, rate: f32 },
    Sgd { own: Sgd, rate: f32 },
    Adam { own: Adam, alpha: f32 },
}

impl Optimizer {
    /// For the `iterations`-th step, counted from 1.
    fn rule(&self, iterations: u64, rate: f32) -> Rule {
        match *self {
            Optimizer::RmsProp(own) => Rule::RmsProp { own, rate },
            Optimizer::Sgd(own) => Rule::Sgd { own, rate },
            Optimizer::Adam(own) => Rule::Adam { own, alpha: own.alpha(iterations, rate) },
            Optimizer::AdamW(own) => {
                let own = Adam::from(own);
                Rule::Adam { own, alpha: own.alpha(iterations, rate) }
            }
        }
    }
}

impl Rule {
    /// Updates one block; `gradient` is used up.
    fn apply<'a>(
        &self,
        weights: &mut [f32],
        gradient: &mut [f32],
        mut memory: impl Iterator<Item = &'a mut [f32]>,
    ) {
        let mut slot = || memory.next().expect("the slots of the optimizer");
        match self {
            Rule::RmsProp { own, rate } => {
                let velocity = slot();
                let momentum = (own.momentum > 0.0).then(&mut slot);
                own.increment(*rate, gradient, velocity, own.centered.then(&mut slot));
                let increment = gradient;
                match momentum {
                    None => weights.iter_mut().zip(increment).for_each(|(w, i)| *w -= *i),
                    Some(momentum) => {
                        let kept = own.momentum as f32;
                        for ((w, m), i) in weights.iter_mut().zip(momentum).zip(increment) {
                            *m = kept * *m + *i;
                            *w -= *m;
                        }
                    }
                }
            }
            Rule::Sgd { own, rate } if own.momentum != 0.0 => {
                let kept = own.momentum as f32;
                for ((w, m), g) in weights.iter_mut().zip(slot()).zip(gradient) {
                    *m = *m * kept - *g * rate;
                    *w += if own.nesterov { *m * kept - *g * rate } else { *m };
                }
            }
            Rule::Sgd { rate, .. } => weights.iter_mut().zip(gradient).for_each(|(w, g)| *w -= *g * rate),
            Rule::Adam { own, alpha } => {
                let (mean, velocity) = (slot(), slot());
                own.moments(gradient, mean, velocity);
                let epsilon = own.epsilon as f32;
                let velocity = match own.amsgrad.then(slot) {
                    None => velocity,
                    Some(largest) => {
                        largest.iter_mut().zip(velocity).for_each(|(l, v)| *l = l.max(*v));
                        largest
                    }
                };
                for ((w, m), v) in weights.iter_mut().zip(mean).zip(velocity) {
                    *w -= *m * alpha / (v.sqrt() + epsilon);
                }
            }
        }
    }
}

impl RmsProp {
    /// Brings the moving means up to date and turns `gradient` into the increment `rate * g / root`.
    fn increment(&self, rate: f32, gradient: &mut [f32], velocity: &mut [f32], mean: Option<&mut [f32]>) {
        let (kept, new, epsilon) = (self.rho as f32, (1.0 - self.rho) as f32, self.epsilon as f32);
        for (v, g) in velocity.iter_mut().zip(&*gradient) {
            *v = kept * *v + new * (*g * *g);
        }
        let mut spread = [0.0; BLOCK];
        let spread = &mut spread[..velocity.len()];
        match mean {
            None => spread.copy_from_slice(velocity),
            Some(mean) => {
                for (((s, a), v), g) in spread.iter_mut().zip(mean).zip(velocity).zip(&*gradient) {
                    *a = kept * *a + new * *g;
                    *s = *v - *a * *a;
                }
            }
        }
        match self.epsilon_place {
            EpsilonPlace::InRoot => spread.iter_mut().for_each(|s| *s = (*s + epsilon).sqrt()),
            EpsilonPlace::BesideRoot => spread.iter_mut().for_each(|s| *s = s.sqrt() + epsilon),
        }
        gradient.iter_mut().zip(spread).for_each(|(g, s)| *g = rate * *g / *s);
    }
}

impl Adam {
    fn slots(&self) -> Vec<&'static str> {
        ["momentum", "velocity"].into_iter().chain(self.amsgrad.then_some("velocity_hat")).collect()
    }

    /// The rate, corrected for moving means that began at zero. Keras works in single precision; so `1 - beta_2` to
    /// the first power has the error of .999 in f32, and its successors are formed from the same rounded base.
    fn alpha(&self, iterations: u64, rate: f32) -> f32 {
        let power = |beta: f64| f64::from(beta as f32).powf(iterations as f64) as f32;
        rate * (1.0 - power(self.beta_2)).sqrt() / (1.0 - power(self.beta_1))
    }

    fn moments(&self, gradient: &[f32], mean: &mut [f32], velocity: &mut [f32]) {
        let (new_1, new_2) = ((1.0 - self.beta_1) as f32, (1.0 - self.beta_2) as f32);
        for ((g, m), v) in gradient.iter().zip(mean).zip(velocity) {
            *m += (*g - *m) * new_1;
            *v += (*g * *g - *v) * new_2;
        }
    }
}
