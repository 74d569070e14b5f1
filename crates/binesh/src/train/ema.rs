//! An exponential moving average of the weights: often a better model than the last step's.

use serde::{Deserialize, Serialize};

use super::optimizer::RestoreError;

/// Settings of the average: Keras's `use_ema` with `ema_momentum`
/// (`keras/src/optimizers/base_optimizer.py`, `_update_model_variables_moving_average`).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaConfig {
    /// How much of the average is kept per step.
    pub momentum: f64,
    /// Begins with less: after `n` steps `1 - (1 + n)^(-2/3)`, as timm's `ModelEmaV3` with `use_warmup`. A short
    /// training otherwise averages mostly over its bad beginning.
    pub warmup: bool,
}

impl Default for EmaConfig {
    fn default() -> Self {
        EmaConfig { momentum: 0.99, warmup: false }
    }
}

impl EmaConfig {
    /// What is kept by the update that follows `updates` others. The first copies the weights.
    fn momentum(&self, updates: u64) -> f32 {
        if updates == 0 {
            return 0.0;
        }
        let rising = if self.warmup { 1.0 - (1.0 + updates as f64).powf(-2.0 / 3.0) } else { 1.0 };
        rising.min(self.momentum) as f32
    }
}

/// The averages at work.
#[derive(Clone, Debug, PartialEq)]
pub struct Ema {
    config: EmaConfig,
    updates: u64,
    averages: Vec<(String, Vec<f32>)>,
}

impl Ema {
    /// Before the first step. `parameters` are names and lengths, in the order of the updates.
    pub fn new<S: Into<String>>(config: EmaConfig, parameters: impl IntoIterator<Item = (S, usize)>) -> Ema {
        let zeros = |(name, len): (S, usize)| (name.into(), vec![0.0; len]);
        Ema { config, updates: 0, averages: parameters.into_iter().map(zeros).collect() }
    }

    /// Takes in the weights after a step, one slice per parameter in the order of [`Ema::new`].
    ///
    /// # Panics
    /// If the number of slices or a length differs from that order.
    pub fn update<'a>(&mut self, weights: impl IntoIterator<Item = &'a [f32]>) {
        let kept = self.config.momentum(self.updates);
        let new = 1.0 - kept;
        self.updates += 1;
        let mut weights = weights.into_iter();
        for (name, average) in &mut self.averages {
            let weights = weights.next().unwrap_or_default();
            assert_eq!(average.len(), weights.len(), "`{name}` has another length than at the start");
            for (average, w) in average.iter_mut().zip(weights) {
                *average = kept * *average + new * w;
            }
        }
        assert!(weights.next().is_none(), "an update takes in every parameter once");
    }

    /// How many steps were taken in.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Exchanges the average of the parameter of this index with its weights: once to evaluate, once more to train on
    /// with the same bits.
    ///
    /// # Panics
    /// If the length differs.
    pub fn swap(&mut self, index: usize, weights: &mut [f32]) {
        self.averages[index].1.swap_with_slice(weights);
    }

    /// Every parameter's name and average: with [`Ema::updates`] all that has to be saved.
    pub fn averages(&self) -> impl Iterator<Item = (&str, &[f32])> {
        self.averages.iter().map(|(name, average)| (name.as_str(), average.as_slice()))
    }

    /// Takes up saved averages; `saved` gives that of a name. On an error nothing has changed.
    pub fn restore(
        &mut self,
        updates: u64,
        mut saved: impl FnMut(&str) -> Option<Vec<f32>>,
    ) -> Result<(), RestoreError> {
        let mut averages = Vec::with_capacity(self.averages.len());
        for (name, own) in &self.averages {
            let name = name.clone();
            match saved(&name) {
                None => return Err(RestoreError::Missing { name }),
                Some(values) if values.len() != own.len() => {
                    return Err(RestoreError::Length { name, expected: own.len(), got: values.len() });
                }
                Some(values) => averages.push((name, values)),
            }
        }
        (self.updates, self.averages) = (updates, averages);
        Ok(())
    }
}
