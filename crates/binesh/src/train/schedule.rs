//! How the learning rate changes from step to step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// A factor on every learning rate, as a function of the step alone: a run that is resumed needs no state of it.
///
/// In a configuration: `{ name = "cosine", floor = 0.01, warmup = { epochs = 1.0 } }`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The factor after warm-up.
    #[serde(flatten)]
    pub decay: Decay,
    /// A slow start before it. The decay runs over the steps that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Warmup>,
}

/// What becomes of the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Decay {
    /// 1 throughout.
    #[default]
    Constant,
    /// Multiplied by `drop` after every so many epochs.
    Step {
        /// What is left after each drop.
        drop: f64,
        /// Epochs between drops.
        every: u32,
    },
    /// Half a cosine from 1 to `floor`: `keras.optimizers.schedules.CosineDecay`, whose `alpha` is the floor. It would
    /// be reached one step after the last.
    Cosine {
        /// The factor at the end.
        #[serde(default)]
        floor: f64,
    },
    /// Half a cosine up to 1, half a cosine down to almost nothing: `torch.optim.lr_scheduler.OneCycleLR` with
    /// `anneal_strategy='cos'` and two phases. Momentum stays as it is.
    OneCycle(OneCycle),
}

/// Settings of [`Decay::OneCycle`]; what is left out has torch's default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OneCycle {
    /// Share of the steps that rise.
    pub pct_start: f64,
    /// The first factor is `1 / div_factor`.
    pub div_factor: f64,
    /// The last factor is `1 / (div_factor * final_div_factor)`.
    pub final_div_factor: f64,
}

impl Default for OneCycle {
    fn default() -> Self {
        OneCycle { pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4 }
    }
}

/// A linear rise to 1: `warmup_steps` of Keras's `CosineDecay`, for any decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Warmup {
    /// How long it takes. Rounded to whole steps, never longer than training.
    pub epochs: f64,
    /// The first factor. With 0, as Keras has it, the first step does nothing.
    #[serde(default = "Warmup::default_from")]
    pub from: f64,
}

impl Warmup {
    fn default_from() -> f64 {
        0.1
    }

    fn steps(&self, span: Span) -> usize {
        let steps = (self.epochs * span.steps_per_epoch as f64).round();
        // A negative or NaN length is no warm-up.
        (steps.max(0.0) as usize).min(span.steps())
    }
}

/// How long training takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Passes over the data.
    pub epochs: usize,
    /// Batches in each.
    pub steps_per_epoch: usize,
}

impl Span {
    /// All steps.
    pub fn steps(&self) -> usize {
        self.epochs * self.steps_per_epoch
    }
}

impl From<Decay> for Schedule {
    fn from(decay: Decay) -> Self {
        Schedule { decay, warmup: None }
    }
}

impl Schedule {
    /// What every learning rate is multiplied by in this step, counted from 0.
    pub fn factor(&self, step: usize, span: Span) -> f32 {
        let warmup = self.warmup.map_or(0, |warmup| warmup.steps(span));
        let factor = match self.warmup {
            Some(Warmup { from, .. }) if step < warmup => from + (1.0 - from) * (step as f64 / warmup as f64),
            _ => self.decay.factor(step - warmup, span.steps() - warmup, span.steps_per_epoch),
        };
        factor as f32
    }
}

impl Decay {
    fn factor(&self, step: usize, steps: usize, steps_per_epoch: usize) -> f64 {
        match *self {
            Decay::Constant => 1.0,
            Decay::Step { drop, every } => {
                let epoch = step / steps_per_epoch.max(1);
                drop.powf((epoch / every.max(1) as usize) as f64)
            }
            Decay::Cosine { floor } => {
                let done = step.min(steps) as f64 / steps.max(1) as f64;
                anneal(1.0, floor, done)
            }
            Decay::OneCycle(own) => own.factor(step, steps),
        }
    }
}

impl OneCycle {
    fn factor(&self, step: usize, steps: usize) -> f64 {
        let (first, last) = (1.0 / self.div_factor, 1.0 / self.div_factor / self.final_div_factor);
        let step = step as f64;
        let (peak, end) = (self.pct_start * steps as f64 - 1.0, steps as f64 - 1.0);
        if step <= peak {
            // Torch divides by zero when the peak is the first step.
            let done = if peak > 0.0 { step / peak } else { 1.0 };
            anneal(first, 1.0, done)
        } else {
            anneal(1.0, last, ((step - peak) / (end - peak)).min(1.0))
        }
    }
}

/// Half a cosine from `start` to `end` as `done` goes from 0 to 1.
fn anneal(start: f64, end: f64, done: f64) -> f64 {
    end + (start - end) / 2.0 * ((PI * done).cos() + 1.0)
}
