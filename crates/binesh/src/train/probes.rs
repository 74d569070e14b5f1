//! Linear probes: how much of the classes each block's features already hold (Alain and Bengio 2016,
//! arXiv:1610.01644), and from that, where unfreezing helps.
//!
//! The probe is ridge regression on the classes' indicators (scikit-learn's `RidgeClassifier`), of the block's output
//! averaged over the map, judged by cross-validation on the training photos alone.

use serde::{Deserialize, Serialize};

use crate::linear::{folds, probe_accuracy};
use crate::random::{Purpose, generator, permutation};

/// What linear probes say of each block, and the choice that follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Probes {
    /// In order of depth.
    pub blocks: Vec<BlockProbe>,
    /// The first block to be unfrozen.
    pub unfreeze_from: usize,
    /// Photos probed.
    pub photos: usize,
}

/// A block's probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlockProbe {
    /// The block's name.
    pub block: String,
    /// Accuracy on photos left out, 0 to 1.
    pub accuracy: f64,
}

/// Photos beyond this number are not probed: the choice does not need them.
pub(crate) const MOST_PHOTOS: usize = 1000;
const FOLDS: usize = 5;

impl Probes {
    /// Chooses from the accuracies of all blocks.
    ///
    /// The first block whose features are as good as the best (within its standard error) ends what is useful as it is:
    /// what comes after it was made for the classes of the base's own training, and is what fine-tuning can turn to the
    /// new ones. At least the last two blocks are unfrozen, and at most the last third.
    pub fn choose(blocks: Vec<BlockProbe>, photos: usize) -> Probes {
        let best = blocks.iter().map(|b| b.accuracy).fold(0.0, f64::max);
        let error = (best * (1.0 - best) / photos.max(1) as f64).sqrt();
        let good = blocks.iter().position(|b| b.accuracy >= best - error).unwrap_or(0);
        let n = blocks.len();
        let unfreeze_from = (good + 1).clamp(n - (n / 3).max(2).min(n), n.saturating_sub(2));
        Probes { blocks, unfreeze_from, photos }
    }
}

/// Share of photos whose class a ridge classifier finds that was fitted without them.
///
/// # Shapes
/// x: `[N, D]`; labels: N classes
pub(crate) fn accuracy(x: &[f32], labels: &[usize], classes: usize, seed: u64) -> f64 {
    let order = permutation(labels.len(), &mut generator(seed, Purpose::Probe, 0));
    probe_accuracy(x, labels, classes, &folds(&order, FOLDS), FOLDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    fn probe(accuracies: &[f64]) -> Probes {
        let block = |(i, &accuracy): (usize, &f64)| BlockProbe { block: format!("b{i}"), accuracy };
        Probes::choose(accuracies.iter().enumerate().map(block).collect(), 100)
    }

    #[test]
    fn classes_in_the_features_are_found_and_chance_is_chance() {
        let mut random = generator(1, Purpose::Probe, 9);
        let labels: Vec<usize> = (0..120).map(|i| i % 3).collect();
        let noise: Vec<f32> = (0..120 * 10).map(|_| random.random::<f32>()).collect();
        let by_chance = accuracy(&noise, &labels, 3, 0);
        assert!((0.15..0.5).contains(&by_chance), "{by_chance}");
        let mut told = noise;
        told.chunks_exact_mut(10).zip(&labels).for_each(|(row, &label)| row[label] += 2.0);
        assert_eq!(accuracy(&told, &labels, 3, 0), 1.0);
    }

    #[test]
    fn what_comes_after_the_first_good_block_is_unfrozen_within_bounds() {
        let rising: Vec<f64> = (0..12).map(|i| 0.3 + 0.05 * f64::from(i)).collect();
        assert_eq!(probe(&rising).unfreeze_from, 10, "the last two when every block still adds something");
        let mut flat = vec![0.9; 12];
        assert_eq!(probe(&flat).unfreeze_from, 8, "at most a third");
        flat[..9].fill(0.5);
        assert_eq!(probe(&flat).unfreeze_from, 10, "after block 9, the first good one");
        assert_eq!(probe(&[0.9]).unfreeze_from, 0);
    }
}
