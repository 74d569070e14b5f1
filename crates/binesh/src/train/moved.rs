//! What moved while learning: the weights of a layer, and what its activations say about pictures.

use serde::Serialize;

pub use crate::linear::linear_cka;

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
