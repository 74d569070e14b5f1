//! Against scikit-learn, SciPy and NumPy (`testdata/gen/depth.py`).

use std::path::Path;

use binesh_formats::Limits;
use binesh_formats::npy::Npz;

use super::*;

fn golden(key: &str) -> Vec<f32> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/depth/figures.npz");
    let bytes = std::fs::read(path).unwrap();
    Npz::open(&bytes, &Limits::default()).unwrap().read(key).unwrap().data
}

fn indices(key: &str) -> Vec<usize> {
    golden(key).into_iter().map(|v| v as usize).collect()
}

fn near(what: &str, got: f64, key: &str) {
    let expected = f64::from(golden(key)[0]);
    assert!((got - expected).abs() < 1e-5 * expected.abs().max(1e-3), "{what}: {got} for {expected}");
}

#[test]
fn ridge_is_scikit_learns() {
    let (x, targets, fold) = (golden("x"), golden("targets"), indices("fold"));
    let n = fold.len();
    // Whether the mean was taken off before does not matter.
    let centred = gram(&x, n);
    let d = x.len() / n;
    let row = |i: usize| &x[i * d..(i + 1) * d];
    let inner =
        |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let plain: Vec<f64> = (0..n * n).map(|at| inner(at / n, at % n)).collect();
    for gram in [centred, plain] {
        let predicted = held_out(&gram, &targets, &fold, 5);
        for (got, expected) in predicted.iter().zip(golden("predicted")) {
            assert!((got - expected).abs() < 1e-4, "{got} for {expected}");
        }
        near("R2", explained(&targets, &predicted, n).unwrap(), "r2");
    }
}

#[test]
fn classes_are_found_as_scikit_learn_finds_them() {
    near("accuracy", probe_accuracy(&golden("x"), &indices("labels"), 3, &indices("fold"), 5), "accuracy");
}

#[test]
fn rank_cka_and_rank_correlation_are_numpys_and_scipys() {
    let covariance: Vec<f64> = golden("covariance").into_iter().map(f64::from).collect();
    near("effective rank", effective_rank(&DMatrix::from_row_slice(12, 12, &covariance)), "rank");
    let (x, wide) = (golden("x"), golden("wide"));
    near("CKA", cka(&gram(&x, 40), &gram(&wide, 40)).unwrap(), "cka");
    near("CKA", linear_cka(&x, &wide, 40).unwrap(), "cka");
    let [a, b] = ["a", "b"].map(|key| golden(key).into_iter().map(f64::from).collect::<Vec<f64>>());
    near("rank correlation", rank_correlation(&a, &b).unwrap(), "spearman");
}

#[test]
fn nothing_that_varies_is_nothing_to_be_found() {
    let fold = folds(&[3, 1, 0, 2, 4, 5], 3);
    let targets = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let predicted = held_out(&gram(&[7.0; 12], 6), &targets, &fold, 3);
    assert!(predicted.iter().all(|p| p.is_finite()));
    assert!(explained(&targets, &predicted, 6).unwrap() <= 0.0);
    assert_eq!(explained(&[2.0; 6], &[2.0; 6], 6), None);
    assert_eq!(effective_rank(&DMatrix::zeros(3, 3)), 0.0);
    assert!((effective_rank(&DMatrix::identity(4, 4)) - 4.0).abs() < 1e-9);
    assert!(effective_rank(&DMatrix::from_element(2, 2, f64::NAN)).is_nan());
    assert_eq!(rank_correlation(&[1.0, 1.0], &[1.0, 2.0]), None);
    // One photo, more folds than photos.
    assert_eq!(held_out(&[1.0], &[5.0], &[0], 5).len(), 1);
}
