//! The learning-rate finder (Smith 2015, arXiv:1506.01186; fastai's `lr_find`): the rate rises from step to step, and
//! the loss says where learning begins and where it breaks.

use serde::{Deserialize, Serialize};

use crate::train::config::StageConfig;
use crate::train::error::TrainError;
use crate::train::event::{Event, Events, StepReport};
use crate::train::fit::{Examples, tell};
use crate::train::learner::{Learner, Lesson};
use crate::train::random::{Purpose, generator, permutation};
use crate::train::source::Source;

/// What the finder saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RateCurve {
    /// Learning rates tried, rising.
    pub rates: Vec<f64>,
    /// The loss at each, smoothed.
    pub losses: Vec<f64>,
    /// fastai's `valley`: two thirds down the longest stretch of falling loss.
    pub valley: Option<f64>,
    /// Where the loss falls fastest.
    pub steepest: Option<f64>,
    /// A tenth of the rate with the lowest loss.
    pub tenth_of_lowest: Option<f64>,
}

const STEPS: usize = 100;
const LOWEST: f64 = 1e-7;
const HIGHEST: f64 = 10.0;
/// A loss this many times the best one has broken.
const BROKEN: f64 = 4.0;
/// fastai's smoothing.
const SMOOTH: f64 = 0.98;

/// Runs the finder with a learner of its own, whose weights are of no use afterwards; the run's are not touched.
pub(crate) fn find(
    mut learner: Learner,
    config: &StageConfig,
    examples: &Examples,
    source: &mut Source,
    seed: u64,
    events: &mut Events<'_>,
) -> Result<RateCurve, TrainError> {
    let mut optimizer = learner.optimizer(config.optimizer);
    let mut random = generator(seed, Purpose::Finder, 0);
    let mut curve = RateCurve::default();
    let (mut average, mut best) = (0.0, f64::INFINITY);
    let mut order: Vec<usize> = Vec::new();
    for step in 0..STEPS {
        if order.len() < config.batch.min(examples.train.len()) {
            order = permutation(examples.train.len(), &mut random);
            order.iter_mut().for_each(|at| *at = examples.train[*at]);
            source.begin(&order, step as u64)?;
        }
        let items: Vec<usize> = order.drain(..config.batch.min(order.len())).collect();
        let rate = LOWEST * (HIGHEST / LOWEST).powf(step as f64 / (STEPS - 1) as f64);
        let loss = learner.loss();
        let targets = loss.targets(&examples.labels_of(&items), examples.classes);
        let weights = examples.class_weights.as_ref().map(|w| loss.sample_weights(&targets, w));
        let lesson = Lesson {
            x: &source.next(&items)?,
            targets: &targets,
            weights: weights.as_deref(),
            label_smoothing: config.label_smoothing,
            clip: config.clip,
            learning_rate: rate,
        };
        let tally = learner.step(&lesson, &mut optimizer, &mut random)?;
        if !tally.loss().is_finite() {
            break;
        }
        average = SMOOTH * average + (1.0 - SMOOTH) * tally.loss();
        let smoothed = average / (1.0 - SMOOTH.powi(step as i32 + 1));
        curve.rates.push(rate);
        curve.losses.push(smoothed);
        best = best.min(smoothed);
        if smoothed > BROKEN * best {
            break;
        }
        let accuracy = tally.accuracy();
        let report = StepReport {
            epoch: 1,
            epochs: 1,
            step: step + 1,
            steps: STEPS,
            loss: smoothed,
            accuracy,
            images_per_second: 0.0,
        };
        tell(events, Event::Step(report))?;
    }
    curve.suggest();
    Ok(curve)
}

impl RateCurve {
    /// What there is of the suggestions, with their names.
    pub fn suggestions(&self) -> Vec<(&'static str, f64)> {
        let all =
            [("valley", self.valley), ("steepest", self.steepest), ("lowest / 10", self.tenth_of_lowest)];
        all.into_iter().filter_map(|(name, rate)| Some((name, rate?))).collect()
    }

    fn suggest(&mut self) {
        let (rates, losses) = (&self.rates, &self.losses);
        let lowest = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b]));
        self.tenth_of_lowest = lowest.map(|at| rates[at] / 10.0);
        // Rates are even in the logarithm, so differences of neighbours are slopes.
        let upto = lowest.unwrap_or(0);
        let steepest =
            (1..=upto).min_by(|&a, &b| (losses[a] - losses[a - 1]).total_cmp(&(losses[b] - losses[b - 1])));
        self.steepest = steepest.map(|at| rates[at]);
        self.valley = longest_fall(losses).map(|(start, end)| rates[start + (end - start) * 2 / 3]);
    }
}

/// The longest subsequence of falling values, first and last place: what fastai's `valley` goes by.
fn longest_fall(losses: &[f64]) -> Option<(usize, usize)> {
    let n = losses.len();
    let mut length = vec![1; n];
    let mut from: Vec<usize> = (0..n).collect();
    for at in 1..n {
        for before in 0..at {
            if losses[at] < losses[before] && length[at] < length[before] + 1 {
                (length[at], from[at]) = (length[before] + 1, from[before]);
            }
        }
    }
    let end = (0..n).max_by_key(|&at| length[at])?;
    (length[end] > 1).then_some((from[end], end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flat, falling from 1e-5 to 1e-2, then breaking.
    #[test]
    fn suggestions_lie_on_the_fall() {
        let rates: Vec<f64> = (0..=60).map(|i| 1e-7 * 10f64.powf(f64::from(i) / 10.0)).collect();
        let loss = |rate: &f64| match rate.log10() {
            log if log < -5.0 => 2.0,
            log if log < -2.0 => {
                2.0 - (log + 5.0) / 3.0 - 0.5 * f64::from(u8::from(log > -3.05 && log < -2.95))
            }
            log => 1.0 + 3.0 * (log + 2.0),
        };
        let losses = rates.iter().map(loss).collect();
        let mut curve = RateCurve { rates, losses, ..RateCurve::default() };
        curve.suggest();
        let log = |rate: Option<f64>| rate.unwrap().log10();
        assert!((log(curve.steepest) + 3.0).abs() < 1e-9, "the drop at 1e-3: {:?}", curve.steepest);
        assert!(
            (log(curve.tenth_of_lowest) + 4.0).abs() < 1e-9,
            "a tenth of 1e-3: {:?}",
            curve.tenth_of_lowest
        );
        assert!((-4.5..-2.5).contains(&log(curve.valley)), "{:?}", curve.valley);
    }

    #[test]
    fn the_longest_fall_skips_what_rises() {
        assert_eq!(longest_fall(&[1.0, 3.0, 2.5, 4.0, 2.0, 1.5, 5.0]), Some((1, 5)));
        assert_eq!(longest_fall(&[1.0, 2.0]), None);
        assert_eq!(longest_fall(&[]), None);
    }
}
