//! Linear probes: how much of the classes each block's features already hold (Alain and Bengio 2016,
//! arXiv:1610.01644), and from that, where unfreezing helps.
//!
//! The probe is ridge regression on the classes' indicators (scikit-learn's `RidgeClassifier`), of the block's output
//! averaged over the map, judged by cross-validation on the training photos alone.

use serde::{Deserialize, Serialize};

use crate::train::random::{Purpose, generator, permutation};

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
/// Ridge penalties tried, as shares of the mean squared length of a photo's features.
const PENALTIES: [f64; 4] = [1e-4, 1e-3, 1e-2, 1e-1];

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
    let (n, gram) = (labels.len(), gram(x, labels.len()));
    let order = permutation(n, &mut generator(seed, Purpose::Probe, 0));
    let mut fold = vec![0; n];
    order.iter().enumerate().for_each(|(at, &photo)| fold[photo] = at % FOLDS);
    let scale = (0..n).map(|i| gram[i * n + i]).sum::<f64>() / n as f64;
    let right =
        |penalty: f64| (0..FOLDS).map(|f| right(&gram, labels, classes, &fold, f, penalty * scale)).sum();
    let best: usize = PENALTIES.iter().map(|&penalty| right(penalty)).max().unwrap_or(0);
    best as f64 / n as f64
}

/// Inner products of all pairs of photos, each feature centred and scaled to unit variance.
///
/// # Shapes
/// x: `[N, D]` -> `[N, N]`
fn gram(x: &[f32], n: usize) -> Vec<f64> {
    let d = x.len() / n;
    let mut columns = vec![[0.0f64; 2]; d];
    for row in x.chunks_exact(d) {
        columns.iter_mut().zip(row).for_each(|(c, &v)| c[0] += f64::from(v) / n as f64);
    }
    for row in x.chunks_exact(d) {
        columns.iter_mut().zip(row).for_each(|(c, &v)| c[1] += (f64::from(v) - c[0]).powi(2) / n as f64);
    }
    let standard = |(&[mean, variance], &v): (&[f64; 2], &f32)| {
        if variance > 1e-12 { ((f64::from(v) - mean) / variance.sqrt()) as f32 } else { 0.0 }
    };
    let z: Vec<f32> = x.chunks_exact(d).flat_map(|row| columns.iter().zip(row).map(standard)).collect();
    let mut gram = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let (a, b) = (&z[i * d..(i + 1) * d], &z[j * d..(j + 1) * d]);
            let product: f32 = a.chunks(64).zip(b.chunks(64)).map(|(a, b)| dot(a, b)).sum();
            (gram[i * n + j], gram[j * n + i]) = (f64::from(product), f64::from(product));
        }
    }
    gram
}

/// Eight sums side by side, which the compiler turns into one vector.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a8, a_rest) = a.as_chunks::<8>();
    let (b8, b_rest) = b.as_chunks::<8>();
    for (a, b) in a8.iter().zip(b8) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Photos of one fold whose class is found from the others: dual ridge regression, `(K + penalty) a = y`.
fn right(
    gram: &[f64],
    labels: &[usize],
    classes: usize,
    fold: &[usize],
    left_out: usize,
    penalty: f64,
) -> usize {
    let n = labels.len();
    let known: Vec<usize> = (0..n).filter(|&i| fold[i] != left_out).collect();
    let m = known.len();
    let mut system: Vec<f64> =
        known.iter().flat_map(|&i| known.iter().map(move |&j| gram[i * n + j])).collect();
    (0..m).for_each(|i| system[i * m + i] += penalty);
    let share: Vec<f64> = (0..classes)
        .map(|class| known.iter().filter(|&&i| labels[i] == class).count() as f64 / m as f64)
        .collect();
    cholesky(&mut system, m);
    let weights: Vec<Vec<f64>> = (0..classes)
        .map(|class| {
            let target = |&i: &usize| f64::from(u8::from(labels[i] == class)) - share[class];
            solve(&system, m, known.iter().map(target).collect())
        })
        .collect();
    let guess = |i: usize| {
        let score = |class: usize| {
            let sum: f64 = known.iter().zip(&weights[class]).map(|(&j, w)| gram[i * n + j] * w).sum();
            sum + share[class]
        };
        (0..classes).max_by(|&a, &b| score(a).total_cmp(&score(b)).then(b.cmp(&a)))
    };
    (0..n).filter(|&i| fold[i] == left_out && guess(i) == Some(labels[i])).count()
}

/// The lower triangle L of `A = L L^T`, in place. A is positive definite: a Gram matrix and a penalty.
fn cholesky(a: &mut [f64], n: usize) {
    for i in 0..n {
        for j in 0..=i {
            let (row_i, row_j) = (&a[i * n..i * n + j], &a[j * n..j * n + j]);
            let sum = a[i * n + j] - row_i.iter().zip(row_j).map(|(x, y)| x * y).sum::<f64>();
            a[i * n + j] = if i == j { sum.max(f64::MIN_POSITIVE).sqrt() } else { sum / a[j * n + j] };
        }
    }
}

/// x of `L L^T x = b`.
fn solve(l: &[f64], n: usize, mut b: Vec<f64>) -> Vec<f64> {
    for i in 0..n {
        let sum: f64 = l[i * n..i * n + i].iter().zip(&b).map(|(l, x)| l * x).sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
    for i in (0..n).rev() {
        let sum: f64 = (i + 1..n).map(|j| l[j * n + i] * b[j]).sum();
        b[i] = (b[i] - sum) / l[i * n + i];
    }
    b
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
    fn a_system_is_solved() {
        // A = [[4, 2, 0.5], [2, 3, 1], [0.5, 1, 2]], x = [1, -2, 3]: A x by hand.
        let mut a = vec![4.0, 2.0, 0.5, 2.0, 3.0, 1.0, 0.5, 1.0, 2.0];
        cholesky(&mut a, 3);
        let x = solve(&a, 3, vec![1.5, -1.0, 4.5]);
        x.iter().zip([1.0, -2.0, 3.0]).for_each(|(x, e)| assert!((x - e).abs() < 1e-12, "{x} for {e}"));
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
