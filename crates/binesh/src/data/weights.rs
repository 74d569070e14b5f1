//! Weights that let rare classes count as much as common ones.

use super::{Dataset, Split};

/// scikit-learn's `compute_class_weight('balanced')`: `n / (k * n_c)` for n pictures of which `n_c` are of class c,
/// where k counts the classes that have pictures. A class without any gets 0: its weight is never used.
///
/// The mean over pictures is 1, so a learning rate keeps its meaning.
pub fn balanced(counts: &[usize]) -> Vec<f32> {
    let pictures: usize = counts.iter().sum();
    let classes = counts.iter().filter(|&&n| n > 0).count();
    let weight = |&n: &usize| if n == 0 { 0.0 } else { (pictures as f64 / (classes * n) as f64) as f32 };
    counts.iter().map(weight).collect()
}

impl Dataset {
    /// [`balanced`] weights by the pictures that train.
    ///
    /// # Panics
    /// If there is not one split per item.
    pub fn class_weights(&self, splits: &[Split]) -> Vec<f32> {
        balanced(&self.counts(splits, Split::Train))
    }
}

#[cfg(test)]
mod tests {
    use super::balanced;

    /// `compute_class_weight('balanced', classes=np.unique(y), y=y)` of scikit-learn 1.9.1.
    #[test]
    fn weights_of_scikit_learn() {
        assert_eq!(balanced(&[4, 2, 1]), [0.583_333_3, 1.166_666_6, 2.333_333_3]);
        assert_eq!(balanced(&[127, 50, 38, 70]), [0.5610236, 1.425, 1.875, 1.0178572]);
        assert_eq!(balanced(&[3, 0, 3]), [1.0, 0.0, 1.0]);
    }
}
