//! A lower learning rate when nothing improves: Keras's `ReduceLROnPlateau`.

use serde::{Deserialize, Serialize};

use super::early_stopping::Monitor;

/// Settings of `keras/src/callbacks/reduce_lr_on_plateau.py`; what is left out has Keras's default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReduceOnPlateau {
    /// What is watched.
    pub monitor: Monitor,
    /// What the rate is multiplied by, below 1.
    pub factor: f64,
    /// Epochs without improvement after which the rate is reduced.
    pub patience: u32,
    /// The least change that counts as better.
    pub min_delta: f64,
    /// Epochs after a reduction that are not counted.
    pub cooldown: u32,
    /// The least the rate is reduced to.
    pub min_rate: f64,
}

impl Default for ReduceOnPlateau {
    fn default() -> Self {
        ReduceOnPlateau {
            monitor: Monitor::ValLoss,
            factor: 0.1,
            patience: 10,
            min_delta: 1e-4,
            cooldown: 0,
            min_rate: 0.0,
        }
    }
}

/// What a [`ReduceOnPlateau`] has seen, and the rate that came of it. Serialised with a run, it goes on as if never
/// interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    /// The rate now. Per-parameter rates and a schedule multiply it.
    pub rate: f64,
    /// The best value so far.
    pub best: Option<f64>,
    /// Epochs since, outside of cool-down.
    pub wait: u32,
    /// Epochs of cool-down left.
    pub cooldown: u32,
}

impl PlateauState {
    /// Before the first epoch.
    pub fn new(rate: f64) -> PlateauState {
        PlateauState { rate, best: None, wait: 0, cooldown: 0 }
    }
}

impl ReduceOnPlateau {
    /// Takes note of an epoch's value. Whether the rate was reduced.
    pub fn observe(&self, state: &mut PlateauState, value: f64) -> bool {
        if state.cooldown > 0 {
            state.cooldown -= 1;
            state.wait = 0;
        }
        if self.monitor.is_better(value, state.best, self.min_delta) {
            state.best = Some(value);
            state.wait = 0;
        } else if state.cooldown == 0 {
            state.wait += 1;
            if state.wait >= self.patience && state.rate > self.min_rate {
                state.rate = (state.rate * self.factor).max(self.min_rate);
                state.cooldown = self.cooldown;
                state.wait = 0;
                return true;
            }
        }
        false
    }
}
