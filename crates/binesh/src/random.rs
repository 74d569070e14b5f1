//! Random numbers: a stream for each purpose and position, so that nothing depends on what ran before or on
//! the number of threads. That is also what makes a resumed run equal to the bit.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What numbers are drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights of the head.
    Initial = 1,
    /// Augmented views; the position is made of picture and view.
    View = 2,
    /// The order of an epoch.
    Order = 3,
    /// Dropout masks and MixUp of an epoch.
    Step = 4,
    /// Learning-rate finder.
    Finder = 5,
    /// Folds of linear probes.
    Probe = 6,
    /// The start and the transformations of a learned picture; the position is made of what it is of.
    Filter = 7,
    /// Random pictures that a learned one is held against.
    Noise = 8,
    /// Which photos are looked at where there are too many, and which are held out.
    Depth = 9,
    /// Signs and places of a sketch of many values.
    Sketch = 10,
}

/// The stream of a purpose at a position, for a run's seed.
pub fn generator(seed: u64, purpose: Purpose, position: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    key[16..24].copy_from_slice(&position.to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// An order of `0..n` (Fisher-Yates).
pub fn permutation(n: usize, random: &mut ChaCha8Rng) -> Vec<usize> {
    use rand::RngExt;
    let mut order: Vec<usize> = (0..n).collect();
    for at in (1..n).rev() {
        order.swap(at, random.random_range(0..=at as u64) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    /// Pinned: a run's weights depend on these numbers, also after an update of the crates behind them.
    #[test]
    fn streams_are_pinned_and_apart() {
        let first = |seed, purpose, position| generator(seed, purpose, position).random::<u32>();
        let draws = [
            first(0, Purpose::Initial, 0),
            first(1, Purpose::Initial, 0),
            first(0, Purpose::Order, 0),
            first(0, Purpose::Order, 1),
        ];
        assert_eq!(draws, [1389847909, 1489600331, 455822997, 3361529383]);
        assert_eq!(permutation(8, &mut generator(0, Purpose::Order, 0)), [2, 5, 1, 3, 7, 4, 6, 0]);
    }
}
