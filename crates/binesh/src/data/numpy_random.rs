//! The generator of `numpy.random.RandomState`, for splits equal to Keras's.

use rand_mt::Mt;

/// NumPy's legacy generator, frozen by NEP 19: MT19937 seeded by Knuth's recurrence.
pub(super) struct RandomState(Mt);

impl RandomState {
    pub(super) fn new(seed: u32) -> RandomState {
        RandomState(Mt::new(seed))
    }

    /// `RandomState.shuffle` of a list: Fisher and Yates from the end.
    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.interval(i as u64);
            values.swap(i, j as usize);
        }
    }

    /// `random_interval` of NumPy's `legacy-distributions.c`: masked rejection, so 0 to `max` included.
    fn interval(&mut self, max: u64) -> u64 {
        let mask = u64::MAX.checked_shr(max.leading_zeros()).unwrap_or(0);
        loop {
            let value = match u32::try_from(max) {
                Ok(_) => u64::from(self.0.next_u32()),
                // `next_uint64` of the legacy generator: the first number is the high half.
                Err(_) => u64::from(self.0.next_u32()) << 32 | u64::from(self.0.next_u32()),
            } & mask;
            if value <= max {
                return value;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shuffled(seed: u32, length: usize) -> Vec<usize> {
        let mut values: Vec<usize> = (0..length).collect();
        RandomState::new(seed).shuffle(&mut values);
        values
    }

    /// SEMANTICS D.3; made with NumPy.
    #[test]
    fn the_published_shuffle() {
        assert_eq!(shuffled(1337, 10), [6, 3, 0, 4, 5, 2, 1, 9, 8, 7]);
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        shuffles: Vec<Shuffle>,
    }

    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Shuffle {
        Whole { seed: u32, order: Vec<usize> },
        Part { seed: u32, length: usize, every_100th: Vec<usize> },
    }

    /// `testdata/gen/splits.py`: seeds up to the largest, lengths beyond the generator's first 624 words.
    #[test]
    fn shuffles_of_numpy() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden/splits/keras.json");
        let text = std::fs::read_to_string(path).expect("the golden");
        let golden: Golden = serde_json::from_str(&text).expect("the golden");
        assert_eq!(golden.shuffles.len(), 31);
        for shuffle in golden.shuffles {
            match shuffle {
                Shuffle::Whole { seed, order } => {
                    assert_eq!(shuffled(seed, order.len()), order, "seed {seed}")
                }
                Shuffle::Part { seed, length, every_100th } => {
                    let part: Vec<usize> = shuffled(seed, length).into_iter().step_by(100).collect();
                    assert_eq!(part, every_100th, "seed {seed}");
                }
            }
        }
    }

    /// Beyond 32 bits NumPy takes two words; `RandomState(3).randint`'s legacy `random_interval`, by hand.
    #[test]
    fn large_intervals_take_two_words() {
        let mut words = Mt::new(3);
        let (high, low) = (u64::from(words.next_u32()), u64::from(words.next_u32()));
        let mask = (1 << 33) - 1;
        assert_eq!(RandomState::new(3).interval(mask), (high << 32 | low) & mask);
    }
}
