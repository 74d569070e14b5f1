//! Which pictures train, which ones judge.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::{DataError, Dataset, DuplicateOptions, Split, numpy_random};

/// How to divide the pictures. Splits that folders or a table give are kept: see [`Dataset::split`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "by")]
pub enum SplitSpec {
    /// The same share of every class, by a seed.
    ///
    /// Copies of a picture (see [`Dataset::duplicates`]) stay together, so that nothing is judged by what it
    /// was trained on. Only a class that would have nothing to judge it otherwise is divided through them.
    Stratified {
        /// Share of each class that validates.
        validation: f64,
        /// Share of each class that tests.
        test: f64,
        /// Same seed, same split.
        seed: u64,
    },
    /// Keras's `image_dataset_from_directory(validation_split=validation, seed=seed)`: NumPy's legacy shuffle of
    /// all files, of which the last `int(validation * n)` validate. Not stratified, and copies are not kept
    /// together. Equal to Keras when no file is left out.
    Keras {
        /// Share of all pictures that validates.
        validation: f64,
        /// Seed of `numpy.random.RandomState`.
        seed: u32,
    },
    /// One of `folds` divisions of a stratified cross-validation: each picture validates in exactly one. Copies
    /// stay together.
    Fold {
        /// How many divisions, at least 2.
        folds: usize,
        /// Which one, from 0.
        fold: usize,
        /// Same seed, same folds.
        seed: u64,
    },
}

impl Default for SplitSpec {
    fn default() -> Self {
        SplitSpec::Stratified { validation: 0.2, test: 0.0, seed: 0 }
    }
}

impl Dataset {
    /// The split of each item.
    ///
    /// What folders or a table say stands: if they name validation pictures, nothing is drawn; if they name only
    /// test pictures, those stay and validation is drawn from the others. In a cross-validation only the given
    /// test pictures stay, and the folds are made of all others.
    pub fn split(&self, spec: &SplitSpec) -> Result<Vec<Split>, DataError> {
        let mut splits: Vec<Split> =
            self.items.iter().map(|item| item.given.unwrap_or(Split::Train)).collect();
        if self.is_divided(spec) {
            return Ok(splits);
        }
        let pool: Vec<usize> = (0..splits.len()).filter(|&i| splits[i] != Split::Test).collect();
        let refuse = |reason: String| DataError::Split { pictures: pool.len(), reason };
        let chosen = match *spec {
            SplitSpec::Stratified { validation, test, seed } => {
                let test = if self.gives(Split::Test) { 0.0 } else { test };
                if !(0.0..1.0).contains(&validation)
                    || !(0.0..1.0).contains(&test)
                    || validation + test >= 1.0
                {
                    return Err(refuse(format!("shares {validation} and {test} leave nothing to train on")));
                }
                self.stratified(&pool, [test, validation], seed)
            }
            SplitSpec::Keras { validation, seed } => {
                let held = keras_validation(pool.len(), validation);
                if held == 0 || held == pool.len() {
                    return Err(refuse(format!("a share of {validation} validates {held} of them")));
                }
                let mut order = pool.clone();
                numpy_random::RandomState::new(seed).shuffle(&mut order);
                let validates: HashSet<usize> = order.split_off(pool.len() - held).into_iter().collect();
                let split = |i: &usize| if validates.contains(i) { Split::Validation } else { Split::Train };
                pool.iter().map(split).collect()
            }
            SplitSpec::Fold { folds, fold, seed } => {
                if folds < 2 || fold >= folds {
                    return Err(refuse(format!("there is no fold {fold} of {folds}, they count from 0")));
                }
                if folds > pool.len() {
                    return Err(refuse(format!("{folds} parts of them would be empty")));
                }
                self.fold(&pool, folds, fold, seed)
            }
        };
        for (&i, split) in pool.iter().zip(chosen) {
            splits[i] = split;
        }
        Ok(splits)
    }

    /// Whether folders or a table say which photos validate, so that nothing is drawn.
    pub fn is_divided(&self, spec: &SplitSpec) -> bool {
        self.gives(Split::Validation) && !matches!(spec, SplitSpec::Fold { .. })
    }

    fn gives(&self, split: Split) -> bool {
        self.items.iter().any(|item| item.given == Some(split))
    }

    /// The split of each item of `pool`; `shares` are those of test and validation, below 1 together.
    fn stratified(&self, pool: &[usize], shares: [f64; 2], seed: u64) -> Vec<Split> {
        let groups = self.shuffled_groups(pool, seed);
        let total = self.counts_of(pool);
        // Of a class with at least three pictures, one at least judges and one at least trains.
        let share = |share: f64, n: usize| {
            let rounded = (share * n as f64).round() as usize;
            rounded.max(usize::from(share > 0.0 && n > 2))
        };
        let test: Vec<usize> = total.iter().map(|&n| share(shares[0], n).min(n.saturating_sub(1))).collect();
        let left = |n: usize, test: usize| n.saturating_sub(test + 1);
        let validation = total.iter().zip(&test).map(|(&n, &test)| share(shares[1], n).min(left(n, test)));
        let wanted = [validation.collect(), test].map(|wanted: Vec<usize>| wanted);
        let mut open = wanted.clone();
        let mut splits = vec![Split::Train; self.items.len()];
        let judging = [Split::Validation, Split::Test];
        let mut move_to = |open: &mut [Vec<usize>; 2], part: usize, items: &[usize]| {
            for &i in items {
                splits[i] = judging[part];
                let open = &mut open[part][self.items[i].label];
                *open = open.saturating_sub(1);
            }
        };
        let mut train = Vec::new();
        for group in groups {
            let sizes = self.counts_of(&group);
            let fits = |open: &Vec<usize>| sizes.iter().zip(open).all(|(size, open)| size <= open);
            match open.iter().position(fits) {
                Some(part) => move_to(&mut open, part, &group),
                None => train.push(group),
            }
        }
        // Groups too large to fit all train so far. A class that lacks most of what judges it gets its smallest
        // group whole, if enough is left to train on; one that has nothing at all is taken apart.
        for part in 0..judging.len() {
            for label in 0..total.len() {
                let missing = |open: &[Vec<usize>; 2]| open[part][label];
                let wanted = wanted[part][label];
                let of_class = |group: &Vec<usize>| group.iter().all(|&i| self.items[i].label == label);
                let smallest =
                    (0..train.len()).filter(|&g| of_class(&train[g])).min_by_key(|&g| train[g].len());
                let small = smallest.filter(|&g| train[g].len() * 3 <= total[label]);
                if let Some(group) = small.filter(|_| missing(&open) * 2 > wanted) {
                    move_to(&mut open, part, &train.remove(group));
                } else if wanted > 0 && missing(&open) == wanted {
                    let is_member = |i: &usize| self.items[*i].label == label;
                    let members: Vec<usize> =
                        train.iter().flatten().copied().filter(is_member).take(wanted).collect();
                    move_to(&mut open, part, &members);
                    train.iter_mut().for_each(|group| group.retain(|i| !members.contains(i)));
                    train.retain(|group| !group.is_empty());
                }
            }
        }
        pool.iter().map(|&i| splits[i]).collect()
    }

    /// The split of each item of `pool`, of which fold number `fold` validates.
    fn fold(&self, pool: &[usize], folds: usize, fold: usize, seed: u64) -> Vec<Split> {
        let mut groups = self.shuffled_groups(pool, seed);
        // Large groups first, each to the fold that lacks most: the sizes differ by one when groups are single.
        groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
        let mut filled = vec![vec![0usize; self.classes.len()]; folds];
        let mut validates = vec![false; self.items.len()];
        for group in groups {
            let label = self.items[group[0]].label;
            let size = |f: &usize| (filled[*f][label], filled[*f].iter().sum::<usize>());
            let smallest = (0..folds).min_by_key(size).expect("two folds at least");
            group.iter().for_each(|&i| filled[smallest][self.items[i].label] += 1);
            group.iter().for_each(|&i| validates[i] = smallest == fold);
        }
        let split = |&i: &usize| if validates[i] { Split::Validation } else { Split::Train };
        pool.iter().map(split).collect()
    }

    /// Items of each class.
    fn counts_of(&self, items: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        items.iter().for_each(|&i| counts[self.items[i].label] += 1);
        counts
    }

    /// The items of `pool`, copies in one group, in random order within each class. A class's order depends on
    /// nothing outside of it.
    fn shuffled_groups(&self, pool: &[usize], seed: u64) -> Vec<Vec<usize>> {
        let first = self.groups(&DuplicateOptions::default());
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); self.items.len()];
        pool.iter().for_each(|&i| members[first[i]].push(i));
        let mut of_class: Vec<Vec<Vec<usize>>> = vec![Vec::new(); self.classes.len()];
        for group in members.into_iter().filter(|group| !group.is_empty()) {
            of_class[self.items[group[0]].label].push(group);
        }
        for (label, groups) in of_class.iter_mut().enumerate() {
            shuffle(groups, &mut generator(seed, label));
        }
        of_class.into_iter().flatten().collect()
    }
}

/// Keras's `int(validation_split * len(samples))`.
fn keras_validation(pictures: usize, validation: f64) -> usize {
    if (0.0..=1.0).contains(&validation) { (validation * pictures as f64) as usize } else { 0 }
}

/// Random numbers for the split of one class.
fn generator(seed: u64, label: usize) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(b"split\0\0\0");
    key[16..24].copy_from_slice(&(label as u64).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Fisher and Yates, written out because a split must not change with a version of `rand`.
fn shuffle<T>(values: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..values.len()).rev() {
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        values.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Fingerprint, Item, Layout};
    use crate::image::Picture;

    /// Items of these labels, no two alike.
    fn data(labels: &[usize]) -> Dataset {
        let item = |(i, &label): (usize, &usize)| {
            let mut noise = vec![0; 16 * 16 * 3];
            generator(i as u64, 0).fill_bytes(&mut noise);
            let picture = Picture::rgb(16, 16, noise).expect("16 x 16");
            let mut content = [0; 32];
            content[..8].copy_from_slice(&(i as u64).to_le_bytes());
            let fingerprint = Fingerprint::of(&picture);
            Item { path: format!("{i}.png").into(), label, content, fingerprint, given: None }
        };
        Dataset {
            classes: ["a", "b", "c"].map(String::from).to_vec(),
            items: labels.iter().enumerate().map(item).collect(),
            rejected: Vec::new(),
            layout: Layout::ClassFolders,
        }
    }

    fn labels(counts: [usize; 3]) -> Vec<usize> {
        counts.iter().enumerate().flat_map(|(label, &n)| vec![label; n]).collect()
    }

    const HALVES: SplitSpec = SplitSpec::Stratified { validation: 0.2, test: 0.1, seed: 3 };

    #[test]
    fn every_class_is_divided_by_the_shares() {
        let data = data(&labels([40, 20, 5]));
        let splits = data.split(&HALVES).expect("possible");
        assert_eq!(data.counts(&splits, Split::Validation), [8, 4, 1]);
        assert_eq!(data.counts(&splits, Split::Test), [4, 2, 1]);
        assert_eq!(data.counts(&splits, Split::Train), [28, 14, 3]);
    }

    #[test]
    fn the_seed_decides() {
        let data = data(&labels([30, 30, 5]));
        let split =
            |seed| data.split(&SplitSpec::Stratified { validation: 0.5, test: 0.0, seed }).expect("possible");
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
        // Frozen: a run must stay reproducible by its seed.
        let validates: Vec<usize> = data.indices(&split(1), Split::Validation).into_iter().take(8).collect();
        assert_eq!(validates, [0, 2, 3, 4, 5, 6, 9, 10]);
    }

    /// Of four pictures, three copies each: whole groups go to one side.
    #[test]
    fn copies_stay_together() {
        let mut data = data(&labels([24, 24, 0]));
        for i in 0..48 {
            data.items[i].content = data.items[i - i % 3].content;
        }
        let check = |splits: &[Split]| {
            for i in 0..48 {
                assert_eq!(splits[i], splits[i - i % 3], "picture {i}");
            }
        };
        for seed in 0..20 {
            let splits =
                data.split(&SplitSpec::Stratified { validation: 0.25, test: 0.125, seed }).expect("possible");
            check(&splits);
            assert_eq!(data.counts(&splits, Split::Validation), [6, 6, 0]);
            assert_eq!(data.counts(&splits, Split::Test), [3, 3, 0]);
            for fold in 0..4 {
                let splits = data.split(&SplitSpec::Fold { folds: 4, fold, seed }).expect("possible");
                check(&splits);
                assert_eq!(data.counts(&splits, Split::Validation), [6, 6, 0]);
            }
        }
    }

    /// Groups larger than the share: one whole when enough is left, else taken apart, but never nothing.
    #[test]
    fn a_class_of_copies_is_judged_too() {
        let mut data = data(&labels([12, 12, 0]));
        for i in 0..24 {
            // Three groups of four; all of the second class one group.
            data.items[i].content = data.items[if i < 12 { i - i % 4 } else { 12 }].content;
        }
        let splits =
            data.split(&SplitSpec::Stratified { validation: 0.2, test: 0.0, seed: 5 }).expect("possible");
        assert_eq!(data.counts(&splits, Split::Validation), [4, 2, 0]);
        let first = data.indices(&splits, Split::Validation)[0];
        assert!((0..4).all(|i| splits[first + i] == Split::Validation));
    }

    #[test]
    fn folds_are_even_and_cover_everything_once() {
        let data = data(&labels([17, 9, 6]));
        let mut validated = vec![0; data.items.len()];
        for fold in 0..5 {
            let splits = data.split(&SplitSpec::Fold { folds: 5, fold, seed: 1 }).expect("possible");
            data.indices(&splits, Split::Validation).into_iter().for_each(|i| validated[i] += 1);
            let counts = data.counts(&splits, Split::Validation);
            assert!(
                (3..=4).contains(&counts[0]) && (1..=2).contains(&counts[1]) && (1..=2).contains(&counts[2])
            );
            assert!((6..=7).contains(&counts.iter().sum::<usize>()), "{counts:?}");
        }
        assert_eq!(validated, vec![1; data.items.len()]);
    }

    #[test]
    fn what_is_given_stands() {
        let mut data = data(&labels([10, 10, 0]));
        data.items[0].given = Some(Split::Test);
        data.items[10].given = Some(Split::Test);
        let splits = data.split(&HALVES).expect("possible");
        assert_eq!(data.indices(&splits, Split::Test), [0, 10]);
        assert_eq!(data.counts(&splits, Split::Validation), [2, 2, 0]);
        data.items[5].given = Some(Split::Validation);
        let splits = data.split(&HALVES).expect("possible");
        assert_eq!(data.indices(&splits, Split::Validation), [5]);
        assert_eq!(data.indices(&splits, Split::Test), [0, 10]);
        let folded = data.split(&SplitSpec::Fold { folds: 3, fold: 0, seed: 0 }).expect("possible");
        assert_eq!(data.indices(&folded, Split::Test), [0, 10]);
        assert_eq!(data.counts(&folded, Split::Validation), [3, 3, 0]);
    }

    #[test]
    fn impossible_splits_are_errors() {
        let data = data(&labels([5, 5, 0]));
        let message = |spec| data.split(&spec).expect_err("impossible").to_string();
        let keras = |validation| SplitSpec::Keras { validation, seed: 0 };
        let shares = |validation, test| SplitSpec::Stratified { validation, test, seed: 0 };
        assert_eq!(message(keras(0.05)), "cannot split 10 pictures: a share of 0.05 validates 0 of them");
        assert_eq!(message(keras(1.0)), "cannot split 10 pictures: a share of 1 validates 10 of them");
        assert_eq!(message(keras(f64::NAN)), "cannot split 10 pictures: a share of NaN validates 0 of them");
        let nothing = "cannot split 10 pictures: shares 0.6 and 0.4 leave nothing to train on";
        assert_eq!(message(shares(0.6, 0.4)), nothing);
        let fold = SplitSpec::Fold { folds: 5, fold: 5, seed: 0 };
        assert_eq!(message(fold), "cannot split 10 pictures: there is no fold 5 of 5, they count from 0");
        let fold = SplitSpec::Fold { folds: 11, fold: 0, seed: 0 };
        assert_eq!(message(fold), "cannot split 10 pictures: 11 parts of them would be empty");
    }

    /// One of each class must be left, whatever the rounding.
    #[test]
    fn small_classes_keep_something_to_train_on() {
        for n in 1..8 {
            let data = data(&labels([n, 5, 5]));
            let splits = data
                .split(&SplitSpec::Stratified { validation: 0.49, test: 0.49, seed: 2 })
                .expect("possible");
            assert!(data.counts(&splits, Split::Train).iter().all(|&n| n > 0), "{n}");
        }
    }
}
