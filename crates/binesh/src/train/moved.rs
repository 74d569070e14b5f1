//! What moved while learning: the weights of a layer, and what its activations say about pictures.

use serde::Serialize;

/// How far one layer went from where it started.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerMoved {
    /// The layer's path.
    pub layer: String,
    /// [`relative_change`] of its weights; absent when it has none, or started from zeros.
    pub weight_change: Option<f64>,
    /// [`linear_cka`] of its activations before and after: 1 when it still tells pictures apart as before, 0
    /// when nothing of that is left. Absent when the activations are the same for every picture.
    pub cka: Option<f64>,
}

/// `|w - w0| / |w0|` over all weights of a layer, in the Euclidean (Frobenius) norm; absent when `w0` is 0.
///
/// # Shapes
///
/// Pairs of arrays, before and after, of equal length.
pub fn relative_change<'a>(weights: impl IntoIterator<Item = (&'a [f32], &'a [f32])>) -> Option<f64> {
    let (mut moved, mut norm) = (0.0, 0.0);
    for (before, after) in weights {
        assert_eq!(before.len(), after.len(), "weights keep their shape");
        for (&before, &after) in before.iter().zip(after) {
            let (before, after) = (f64::from(before), f64::from(after));
            moved += (after - before) * (after - before);
            norm += before * before;
        }
    }
    (norm > 0.0).then(|| (moved / norm).sqrt())
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
fn gram(features: &[f32], pictures: usize) -> Vec<f64> {
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
mod tests {
    use super::*;
    use crate::train::metrics::tests::{close, floats, golden};

    #[test]
    fn cka_and_change_are_numpys() {
        let cases = golden("moved.json");
        assert_eq!(cases.len(), 4);
        for case in cases {
            let (x, y) = (floats(&case["x"]), floats(&case["y"]));
            let n = case["n"].as_u64().unwrap() as usize;
            close(linear_cka(&x, &y, n).unwrap(), &case["cka"], 1e-9);
            let (before, after) = (floats(&case["before"]), floats(&case["after"]));
            // As the kernel and the bias of one layer.
            let cut = before.len() / 3;
            let parts = [(&before[..cut], &after[..cut]), (&before[cut..], &after[cut..])];
            close(relative_change(parts).unwrap(), &case["change"], 1e-12);
        }
    }

    /// What the paper asks of a similarity: section 2.
    #[test]
    fn cka_sees_neither_rotation_nor_scale_nor_offset() {
        let x: Vec<f32> = (0..40).map(|i| ((i * i * 7 + 3 * i) % 23) as f32).collect();
        let turned: Vec<f32> =
            x.as_chunks::<2>().0.iter().flat_map(|[a, b]| [5.0 - 3.0 * b, 7.0 + 3.0 * a]).collect();
        assert!((linear_cka(&x, &turned, 20).unwrap() - 1.0).abs() < 1e-12);
        // The same in the form over pictures: 20 features of 2 pictures.
        assert!((linear_cka(&x, &turned, 2).unwrap() - 1.0).abs() < 1e-12);
        let other: Vec<f32> = (0..40).map(|i| ((i * 5 + i * i * i) % 17) as f32).collect();
        assert!(linear_cka(&x, &other, 20).unwrap() < 0.5);
    }

    #[test]
    fn features_that_tell_no_pictures_apart_have_no_cka() {
        let x = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0];
        assert_eq!(linear_cka(&x, &[1.0, 5.0, 2.0], 3), None);
        assert_eq!(linear_cka(&[1.0, 5.0, 2.0], &x, 3), None);
        assert_eq!(linear_cka(&[], &[], 0), None);
    }

    #[test]
    fn change_has_no_scale_when_all_weights_were_zero() {
        assert_eq!(relative_change([(&[0.0, 0.0][..], &[1.0, 1.0][..])]), None);
        assert_eq!(relative_change([]), None);
        assert_eq!(relative_change([(&[3.0, 4.0][..], &[3.0, 4.0][..])]), Some(0.0));
        assert_eq!(relative_change([(&[3.0, 4.0][..], &[0.0, 0.0][..])]), Some(1.0));
    }
}
