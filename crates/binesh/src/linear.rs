//! Linear algebra on a few hundred photos at a time: how alike two sets of features are, ridge regression judged on photos it
//! was not fitted on, and how many directions values really take.
//!
//! Features outnumber photos by far, so everything is computed from the inner products of photos (the dual form).

use nalgebra::DMatrix;
use nalgebra::linalg::Cholesky;

/// Ridge penalties tried, as shares of the mean squared length of the features of a photo, the mean taken off.
pub(crate) const PENALTIES: [f64; 7] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0];

/// Predictions of ridge regression with an intercept (scikit-learn's `Ridge`) for each photo, from a fit without it: one for
/// each fold, on all others. The penalty is that of [`PENALTIES`] with the least squared error on the next fold, from a fit
/// without both.
///
/// # Shapes
/// gram: `X X'` `[N, N]`, of features with any mean; targets `[N, T]`; fold: N numbers below `folds` -> `[N, T]`
pub(crate) fn held_out(gram: &[f64], targets: &[f32], fold: &[usize], folds: usize) -> Vec<f32> {
    let (n, width) = (fold.len(), targets.len() / fold.len());
    let mut predicted = vec![0.0; targets.len()];
    let those =
        |keep: &dyn Fn(usize) -> bool| -> Vec<usize> { (0..n).filter(|&photo| keep(fold[photo])).collect() };
    for left_out in 0..folds {
        let next = (left_out + 1) % folds;
        let (test, judge) = (those(&|f| f == left_out), those(&|f| f == next));
        let (known, fitted) = (those(&|f| f != left_out), those(&|f| f != left_out && f != next));
        let error = |penalty: f64| -> f64 {
            let Some(fit) = Fit::new(gram, n, &fitted, penalty) else { return f64::INFINITY };
            let predicted = fit.predict(targets, width, &judge);
            let truth = judge.iter().flat_map(|&photo| &targets[photo * width..(photo + 1) * width]);
            predicted.iter().zip(truth).map(|(p, t)| (p - f64::from(*t)).powi(2)).sum()
        };
        let errors = PENALTIES.map(|penalty| if fitted.is_empty() { 0.0 } else { error(penalty) });
        let best = (1..PENALTIES.len()).fold(0, |best, at| if errors[at] < errors[best] { at } else { best });
        let Some(fit) = Fit::new(gram, n, &known, PENALTIES[best]) else { continue };
        let values = fit.predict(targets, width, &test);
        for (photo, values) in test.iter().zip(values.chunks_exact(width)) {
            let row = &mut predicted[photo * width..(photo + 1) * width];
            row.iter_mut().zip(values).for_each(|(row, value)| *row = *value as f32);
        }
    }
    predicted
}

/// Folds of equal size, in an order that is drawn beforehand.
pub(crate) fn folds(order: &[usize], folds: usize) -> Vec<usize> {
    let mut fold = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, &photo)| fold[photo] = at % folds);
    fold
}

/// Ridge regression in its dual form on some photos: `(K + penalty) a = y`, everything centred on them.
struct Fit<'a> {
    gram: &'a [f64],
    n: usize,
    known: &'a [usize],
    /// Mean inner product of each known photo with the known ones.
    means: Vec<f64>,
    /// `None` where all features are the same for all photos: then nothing but the mean is known.
    factor: Option<Cholesky<f64, nalgebra::Dyn>>,
}

impl<'a> Fit<'a> {
    /// `None` without photos.
    fn new(gram: &'a [f64], n: usize, known: &'a [usize], penalty: f64) -> Option<Fit<'a>> {
        let m = known.len();
        if m == 0 {
            return None;
        }
        let at = |i: usize, j: usize| gram[known[i] * n + known[j]];
        let means: Vec<f64> = (0..m).map(|i| (0..m).map(|j| at(i, j)).sum::<f64>() / m as f64).collect();
        let all = means.iter().sum::<f64>() / m as f64;
        let mut system = DMatrix::from_fn(m, m, |i, j| at(i, j) - means[i] - means[j] + all);
        let scale = system.trace() / m as f64;
        (0..m).for_each(|i| system[(i, i)] += penalty * scale);
        let factor = if scale > 0.0 { Cholesky::new(system) } else { None };
        Some(Fit { gram, n, known, means, factor })
    }

    /// `[photos, width]`
    fn predict(&self, targets: &[f32], width: usize, photos: &[usize]) -> Vec<f64> {
        let m = self.known.len();
        let all = self.means.iter().sum::<f64>() / m as f64;
        let mut mean = vec![0.0; width];
        for &photo in self.known {
            let row = &targets[photo * width..(photo + 1) * width];
            mean.iter_mut().zip(row).for_each(|(mean, t)| *mean += f64::from(*t) / m as f64);
        }
        let mut out: Vec<f64> = mean.repeat(photos.len());
        let Some(factor) = &self.factor else { return out };
        let mut products = DMatrix::zeros(m, photos.len());
        for (column, &photo) in photos.iter().enumerate() {
            let inner = |j: usize| self.gram[photo * self.n + self.known[j]];
            let own = (0..m).map(inner).sum::<f64>() / m as f64;
            (0..m).for_each(|j| products[(j, column)] = inner(j) - own - self.means[j] + all);
        }
        // The weights of the known photos in each prediction: fewer columns than there are targets.
        let weights = factor.solve(&products);
        for (column, out) in out.chunks_exact_mut(width).enumerate() {
            for (j, &photo) in self.known.iter().enumerate() {
                let (weight, row) = (weights[(j, column)], &targets[photo * width..(photo + 1) * width]);
                out.iter_mut()
                    .zip(row)
                    .zip(&mean)
                    .for_each(|((out, t), mean)| *out += weight * (f64::from(*t) - mean));
            }
        }
        out
    }
}

/// Share of the targets' variance that predictions explain, all columns together: scikit-learn's `r2_score` with
/// `multioutput="variance_weighted"`. Absent when nothing varies.
///
/// # Shapes
/// both `[N, T]`, N = `rows`
pub(crate) fn explained(targets: &[f32], predicted: &[f32], rows: usize) -> Option<f64> {
    let width = targets.len() / rows;
    let mut mean = vec![0.0; width];
    for row in targets.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(mean, t)| *mean += f64::from(*t));
    }
    // Divided at the end: what is the same everywhere is then its own mean to the bit.
    mean.iter_mut().for_each(|mean| *mean /= rows as f64);
    let (mut left, mut all) = (0.0, 0.0);
    for (row, predicted) in targets.chunks_exact(width).zip(predicted.chunks_exact(width)) {
        for ((t, p), mean) in row.iter().zip(predicted).zip(&mean) {
            left += (f64::from(*t) - f64::from(*p)).powi(2);
            all += (f64::from(*t) - mean).powi(2);
        }
    }
    (all > 0.0).then(|| 1.0 - left / all)
}

/// Share of photos whose class a ridge classifier finds that was fitted without them (scikit-learn's `RidgeClassifier` on
/// features of unit variance, judged as [`held_out`] says). Of equal classes the first.
///
/// # Shapes
/// x: `[N, D]`; labels: N classes; fold: as [`held_out`]
pub(crate) fn probe_accuracy(
    x: &[f32],
    labels: &[usize],
    classes: usize,
    fold: &[usize],
    folds: usize,
) -> f64 {
    let n = labels.len();
    let gram = gram(&standardized(x, n), n);
    let indicators: Vec<f32> = labels
        .iter()
        .flat_map(|&label| (0..classes).map(move |class| f32::from(u8::from(class == label))))
        .collect();
    let scores = held_out(&gram, &indicators, fold, folds);
    let best =
        |row: &[f32]| (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
    let right = scores.chunks_exact(classes).zip(labels).filter(|(row, label)| best(row) == **label);
    right.count() as f64 / n as f64
}

/// Each feature with mean 0 and variance 1; one that does not vary is 0.
fn standardized(x: &[f32], n: usize) -> Vec<f32> {
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
    x.chunks_exact(d).flat_map(|row| columns.iter().zip(row).map(standard)).collect()
}

/// Effective rank of values with this covariance (Roy and Vetterli 2007, "The effective rank"): `exp` of the entropy of the
/// singular values' shares. As many as there are channels when all are as strong and independent, 1 when all move together, 0
/// when nothing moves.
///
/// # Shapes
/// covariance: `[C, C]`, symmetric
pub(crate) fn effective_rank(covariance: &DMatrix<f64>) -> f64 {
    if covariance.iter().any(|v| !v.is_finite()) {
        return f64::NAN;
    }
    // Singular values of the centred data; rounding makes some of those that are zero negative.
    let values: Vec<f64> =
        covariance.symmetric_eigenvalues().iter().map(|value| value.max(0.0).sqrt()).collect();
    let sum: f64 = values.iter().sum();
    if sum <= 0.0 { 0.0 } else { entropy(values.iter().map(|value| value / sum)).exp() }
}

/// Shannon's, in nats, of shares that add up to 1.
pub(crate) fn entropy(shares: impl Iterator<Item = f64>) -> f64 {
    shares.filter(|share| *share > 0.0).map(|share| -share * share.ln()).sum()
}

/// Spearman's rank correlation, ties by their mean rank (`scipy.stats.spearmanr`). Absent where one side does not vary.
pub(crate) fn rank_correlation(x: &[f64], y: &[f64]) -> Option<f64> {
    let ranks = |values: &[f64]| -> Vec<f64> {
        let below = |v: f64| values.iter().filter(|other| **other < v).count() as f64;
        let same = |v: f64| values.iter().filter(|other| **other == v).count() as f64;
        values.iter().map(|&v| below(v) + (same(v) - 1.0) / 2.0).collect()
    };
    let centred = |values: Vec<f64>| -> Vec<f64> {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.into_iter().map(|v| v - mean).collect()
    };
    let (x, y) = (centred(ranks(x)), centred(ranks(y)));
    let scale = (dot(&x, &x) * dot(&y, &y)).sqrt();
    (scale > 0.0).then(|| dot(&x, &y) / scale)
}

/// [`linear_cka`] of two Gram matrices that [`gram`] made.
pub(crate) fn cka(k: &[f64], l: &[f64]) -> Option<f64> {
    let scale = (dot(k, k) * dot(l, l)).sqrt();
    (scale > 0.0).then(|| (dot(k, l) / scale).min(1.0))
}

/// Linear centred kernel alignment of two sets of features of the same pictures: Kornblith et al. 2019,
/// "Similarity of Neural Network Representations Revisited", section 3, `|Y' X|^2 / (|X' X| |Y' Y|)` in the
/// Frobenius norm for features with mean 0 (the mean is taken off here). It does not see rotations of the
/// feature space nor a common scale. Absent when either set is the same for all pictures.
///
/// With fewer pictures than features it is biased towards 1: compare values of the same number of pictures.
///
/// # Shapes
///
/// `[N, P]` and `[N, Q]`, N = `pictures`.
pub fn linear_cka(x: &[f32], y: &[f32], pictures: usize) -> Option<f64> {
    if pictures == 0 {
        return None;
    }
    assert!(x.len().is_multiple_of(pictures) && y.len().is_multiple_of(pictures), "a row per picture");
    let (p, q) = (x.len() / pictures, y.len() / pictures);
    // Both forms are sums of the same products; they differ in which are added up first.
    let by_features = p * q + (p * p + q * q) / 2;
    let by_pictures = pictures * (p + q) / 2;
    let (xy, xx, yy) = if by_features <= by_pictures {
        let (x, y) = (centred_columns(x, pictures), centred_columns(y, pictures));
        (square_of_products(&x, &y, pictures), self_product(&x, pictures), self_product(&y, pictures))
    } else {
        let (k, l) = (gram(x, pictures), gram(y, pictures));
        (dot(&k, &l), dot(&k, &k), dot(&l, &l))
    };
    let scale = xx.sqrt() * yy.sqrt();
    // Rounding must not make more than all of it.
    (scale > 0.0).then(|| (xy / scale).min(1.0))
}

/// Features one after another instead of pictures, each with mean 0: `[N, P]` to `[P, N]`.
fn centred_columns(features: &[f32], pictures: usize) -> Vec<f64> {
    let width = features.len() / pictures;
    let mut columns = vec![0.0; features.len()];
    for feature in 0..width {
        let column = &mut columns[feature * pictures..][..pictures];
        for (value, row) in column.iter_mut().zip(features.chunks_exact(width)) {
            *value = f64::from(row[feature]);
        }
        let mean = column.iter().sum::<f64>() / pictures as f64;
        column.iter_mut().for_each(|value| *value -= mean);
    }
    columns
}

/// `|Y' X|^2` from columns.
fn square_of_products(x: &[f64], y: &[f64], pictures: usize) -> f64 {
    let squares = |x: &[f64]| y.chunks_exact(pictures).map(|y| dot(x, y).powi(2)).sum::<f64>();
    x.chunks_exact(pictures).map(squares).sum()
}

/// `|X' X|^2` from columns; half of the products, for the matrix is symmetric.
fn self_product(x: &[f64], pictures: usize) -> f64 {
    let columns = x.len() / pictures;
    let column = |i: usize| &x[i * pictures..][..pictures];
    let row = |i: usize| {
        let others: f64 = (0..i).map(|j| dot(column(i), column(j)).powi(2)).sum();
        dot(column(i), column(i)).powi(2) + 2.0 * others
    };
    (0..columns).map(row).sum()
}

/// `X X'` `[N, N]` of features with mean 0.
pub(crate) fn gram(features: &[f32], pictures: usize) -> Vec<f64> {
    // Features are taken by the hundred: a flattened map in f64 would need twice the memory of the original.
    const TILE: usize = 256;
    let width = features.len() / pictures;
    let mut sums = vec![0.0; pictures * pictures];
    let mut tile = Vec::new();
    for start in (0..width).step_by(TILE) {
        let columns = TILE.min(width - start);
        tile.clear();
        tile.extend(
            features.chunks_exact(width).flat_map(|row| &row[start..start + columns]).map(|&v| f64::from(v)),
        );
        for column in 0..columns {
            let values = || tile.iter().skip(column).step_by(columns);
            let mean = values().sum::<f64>() / pictures as f64;
            tile.iter_mut().skip(column).step_by(columns).for_each(|value| *value -= mean);
        }
        for i in 0..pictures {
            for j in 0..=i {
                let product = dot(&tile[i * columns..][..columns], &tile[j * columns..][..columns]);
                sums[i * pictures + j] += product;
            }
        }
    }
    for i in 0..pictures {
        for j in 0..i {
            sums[j * pictures + i] = sums[i * pictures + j];
        }
    }
    sums
}

/// In four lanes, so that additions do not wait for one another.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let (xs, x_rest) = x.as_chunks::<4>();
    let (ys, y_rest) = y.as_chunks::<4>();
    let mut lanes = [0.0; 4];
    for (x, y) in xs.iter().zip(ys) {
        for i in 0..4 {
            lanes[i] += x[i] * y[i];
        }
    }
    let rest: f64 = x_rest.iter().zip(y_rest).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests;
