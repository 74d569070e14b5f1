//! When to stop: Keras's `EarlyStopping`, and the figure that it and the plateau rule watch.

use serde::{Deserialize, Serialize};

/// A figure of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Monitor {
    /// Mean loss of the validation set.
    #[default]
    ValLoss,
    /// Accuracy on the validation set.
    ValAccuracy,
    /// Mean loss of the training set while it was trained on.
    Loss,
    /// Accuracy on the training set while it was trained on.
    Accuracy,
}

impl Monitor {
    /// Keras's name of the figure.
    pub fn name(self) -> &'static str {
        match self {
            Monitor::ValLoss => "val_loss",
            Monitor::ValAccuracy => "val_accuracy",
            Monitor::Loss => "loss",
            Monitor::Accuracy => "accuracy",
        }
    }

    /// Whether `value` is better than `best` by more than `min_delta`. Nothing is worse than no value at all, and NaN
    /// is never better: Keras would take a first NaN as the best for ever.
    pub fn is_better(self, value: f64, best: Option<f64>, min_delta: f64) -> bool {
        match (best, self) {
            (None, _) => !value.is_nan(),
            (Some(best), Monitor::ValLoss | Monitor::Loss) => value + min_delta.abs() < best,
            (Some(best), Monitor::ValAccuracy | Monitor::Accuracy) => value - min_delta.abs() > best,
        }
    }
}

/// Settings of `keras/src/callbacks/early_stopping.py`; what is left out has Keras's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStopping {
    /// What is watched.
    pub monitor: Monitor,
    /// The least change that counts as better.
    pub min_delta: f64,
    /// Epochs without improvement after which training stops.
    pub patience: u32,
    /// Epochs before this one, counted from 0, are not looked at.
    pub start_from_epoch: u32,
}

/// What an [`EarlyStopping`] has seen. Serialised with a run, it goes on as if never interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EarlyStoppingState {
    /// The best value so far.
    pub best: Option<f64>,
    /// The epoch it was seen in.
    pub best_epoch: u32,
    /// Epochs since.
    pub wait: u32,
}

/// What to do after an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// This epoch is the best: its weights are the ones to keep.
    pub best: bool,
    /// Patience is at its end.
    pub stop: bool,
}

impl EarlyStopping {
    /// Takes note of an epoch's value, epochs counted from 0.
    pub fn observe(&self, state: &mut EarlyStoppingState, epoch: u32, value: f64) -> Verdict {
        if epoch < self.start_from_epoch {
            return Verdict { best: false, stop: false };
        }
        if self.monitor.is_better(value, state.best, self.min_delta) {
            *state = EarlyStoppingState { best: Some(value), best_epoch: epoch, wait: 0 };
            return Verdict { best: true, stop: false };
        }
        state.wait += 1;
        Verdict { best: false, stop: state.wait >= self.patience && epoch > 0 }
    }
}
