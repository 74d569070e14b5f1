//! How good a classifier is, from the probabilities it gave to pictures whose class is known.
//!
//! Precision, recall, F1 and their averages are scikit-learn's `precision_recall_fscore_support` with
//! `labels=range(K), zero_division=0`; the loss is its `log_loss` for `float32`.

use serde::Serialize;

mod calibration;

pub use calibration::{Bin, Calibration};

/// Probabilities of classes for pictures of known classes; checked once, so that everything asked of it has an
/// answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    probabilities: Vec<f32>,
    labels: Vec<usize>,
    classes: usize,
}

/// Everything that [`Scores`] say about a classifier.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Pictures judged.
    pub samples: usize,
    /// Pictures whose most probable class is the true one.
    pub correct: usize,
    /// `correct / samples`.
    pub accuracy: f64,
    /// Where the accuracy on all such pictures lies, with 95 % confidence; see [`wilson`].
    pub accuracy_interval: Interval,
    /// Mean cross entropy, in nats.
    pub loss: f64,
    /// By class, in the order of the classes.
    pub per_class: Vec<ClassMetrics>,
    /// Every class counts the same.
    pub macro_average: Average,
    /// A class counts by its pictures.
    pub weighted_average: Average,
    /// `confusion[truth][predicted]`, a number of pictures.
    pub confusion: Vec<Vec<u64>>,
    /// Whether probabilities can be taken at their word.
    pub calibration: Calibration,
}

/// One class against all others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassMetrics {
    /// Share of the pictures said to be of the class that are.
    pub precision: f64,
    /// Share of the pictures of the class that are found.
    pub recall: f64,
    /// Harmonic mean of precision and recall.
    pub f1: f64,
    /// Pictures of the class.
    pub support: u64,
    /// Pictures said to be of the class.
    pub predicted: u64,
    /// Figures that are 0 only because they would be 0 / 0.
    pub undefined: Vec<Figure>,
}

/// A figure of [`ClassMetrics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// [`ClassMetrics::precision`]: the class was never predicted.
    Precision,
    /// [`ClassMetrics::recall`]: there is no picture of the class.
    Recall,
    /// [`ClassMetrics::f1`]: neither.
    F1,
}

/// Means over classes; undefined figures count as 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Average {
    /// Of [`ClassMetrics::precision`].
    pub precision: f64,
    /// Of [`ClassMetrics::recall`].
    pub recall: f64,
    /// Of [`ClassMetrics::f1`].
    pub f1: f64,
}

/// From `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// A picture given the wrong class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mistake {
    /// Row of the scores.
    pub index: usize,
    /// The true class.
    pub truth: usize,
    /// The most probable class.
    pub predicted: usize,
    /// Probability of the predicted class.
    pub confidence: f64,
    /// Probability of the true class.
    pub truth_probability: f64,
}

/// Scores that cannot be judged.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScoresError {
    /// Nothing to judge.
    #[error("there are no pictures to judge")]
    Empty,
    /// A classifier chooses between two classes at least.
    #[error("{classes} classes, expected at least 2")]
    Classes {
        /// Classes given.
        classes: usize,
    },
    /// Lengths that do not fit.
    #[error("{probabilities} probabilities for {labels} labels of {classes} classes, expected {}", labels * classes)]
    Count {
        /// Probabilities given.
        probabilities: usize,
        /// Labels given.
        labels: usize,
        /// Probabilities of one picture.
        classes: usize,
    },
    /// A class that does not exist.
    #[error("label {label} of picture {index} is not one of {classes} classes")]
    Label {
        /// The picture.
        index: usize,
        /// Its label.
        label: usize,
        /// Number of classes.
        classes: usize,
    },
    /// Not a number from 0 to 1.
    #[error("{value} of picture {index} is not a probability")]
    Probability {
        /// The picture.
        index: usize,
        /// The value.
        value: f32,
    },
}

impl Scores {
    /// Probabilities `[N, K]`, as a softmax gives them, and the true classes `[N]`.
    pub fn new(probabilities: Vec<f32>, labels: Vec<usize>, classes: usize) -> Result<Scores, ScoresError> {
        if classes < 2 {
            return Err(ScoresError::Classes { classes });
        }
        if labels.is_empty() && probabilities.is_empty() {
            return Err(ScoresError::Empty);
        }
        if labels.len().checked_mul(classes) != Some(probabilities.len()) {
            let (probabilities, labels) = (probabilities.len(), labels.len());
            return Err(ScoresError::Count { probabilities, labels, classes });
        }
        if let Some((index, &label)) = labels.iter().enumerate().find(|(_, label)| **label >= classes) {
            return Err(ScoresError::Label { index, label, classes });
        }
        if let Some(i) = probabilities.iter().position(|p| !(0.0..=1.0).contains(p)) {
            return Err(ScoresError::Probability { index: i / classes, value: probabilities[i] });
        }
        Ok(Scores { probabilities, labels, classes })
    }

    /// Probabilities `[N]` of class 1, as one sigmoid unit gives them: two classes. One half is class 0, as in
    /// Keras's `BinaryAccuracy`.
    pub fn binary(probabilities: &[f32], labels: Vec<usize>) -> Result<Scores, ScoresError> {
        if labels.len() != probabilities.len() {
            let (probabilities, labels) = (probabilities.len(), labels.len());
            return Err(ScoresError::Count { probabilities, labels, classes: 1 });
        }
        Scores::new(probabilities.iter().flat_map(|&p| [1.0 - p, p]).collect(), labels, 2)
    }

    /// Number of classes, K.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The true classes `[N]`.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// Probabilities `[K]` of a picture.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.probabilities[index * self.classes..][..self.classes]
    }

    /// The most probable class of a picture; the first of equals, as NumPy's `argmax`.
    pub fn predicted(&self, index: usize) -> usize {
        let row = self.row(index);
        (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
    }

    /// Everything at once.
    pub fn metrics(&self) -> Metrics {
        let samples = self.labels.len();
        let mut confusion = vec![vec![0; self.classes]; self.classes];
        for (i, &label) in self.labels.iter().enumerate() {
            confusion[label][self.predicted(i)] += 1;
        }
        let per_class: Vec<ClassMetrics> = (0..self.classes).map(|k| class_metrics(&confusion, k)).collect();
        let correct = (0..self.classes).map(|k| confusion[k][k] as usize).sum();
        Metrics {
            samples,
            correct,
            accuracy: correct as f64 / samples as f64,
            accuracy_interval: wilson(correct, samples),
            loss: self.loss(),
            macro_average: Average::new(&per_class, |_| 1.0),
            weighted_average: Average::new(&per_class, |class| class.support as f64),
            per_class,
            confusion,
            calibration: Calibration::new(self),
        }
    }

    /// The wrong ones, surest first, at most `limit`.
    pub fn mistakes(&self, limit: usize) -> Vec<Mistake> {
        let mut found: Vec<Mistake> = (0..self.labels.len()).filter_map(|i| self.mistake(i)).collect();
        found.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.index.cmp(&b.index)));
        found.truncate(limit);
        found
    }

    fn mistake(&self, index: usize) -> Option<Mistake> {
        let (row, truth, predicted) = (self.row(index), self.labels[index], self.predicted(index));
        let (confidence, truth_probability) = (f64::from(row[predicted]), f64::from(row[truth]));
        (truth != predicted).then_some(Mistake { index, truth, predicted, confidence, truth_probability })
    }

    fn loss(&self) -> f64 {
        // Half a step below 1 is as sure as f32 can be of the opposite: the loss of a certain mistake is finite.
        let least = f64::from(f32::EPSILON);
        let surprise =
            |(i, &label): (usize, &usize)| -f64::from(self.row(i)[label]).clamp(least, 1.0 - least).ln();
        self.labels.iter().enumerate().map(surprise).sum::<f64>() / self.labels.len() as f64
    }
}

/// Wilson's score interval (1927, without correction for continuity) of a share, at 95 %. Unlike `p +- 1.96
/// sqrt(p (1 - p) / n)` it holds for few pictures and near 0 and 1.
pub fn wilson(correct: usize, samples: usize) -> Interval {
    // The normal distribution's quantile of 0.975.
    const Z: f64 = 1.959_963_984_540_054;
    if samples == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let (n, p, zz) = (samples as f64, correct as f64 / samples as f64, Z * Z);
    let centre = (p + zz / (2.0 * n)) / (1.0 + zz / n);
    let half = Z / (1.0 + zz / n) * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
    // At the ends the two terms are equal, but for rounding.
    let low = if correct == 0 { 0.0 } else { centre - half };
    let high = if correct == samples { 1.0 } else { centre + half };
    Interval { low, high }
}

impl Average {
    fn new(classes: &[ClassMetrics], weight: impl Fn(&ClassMetrics) -> f64) -> Average {
        let total: f64 = classes.iter().map(&weight).sum();
        let mean = |figure: fn(&ClassMetrics) -> f64| {
            classes.iter().map(|class| weight(class) * figure(class)).sum::<f64>() / total
        };
        Average { precision: mean(|c| c.precision), recall: mean(|c| c.recall), f1: mean(|c| c.f1) }
    }
}

fn class_metrics(confusion: &[Vec<u64>], class: usize) -> ClassMetrics {
    let hits = confusion[class][class];
    let support: u64 = confusion[class].iter().sum();
    let predicted: u64 = confusion.iter().map(|row| row[class]).sum();
    let mut undefined = Vec::new();
    let mut share = |figure, part: u64, whole: u64| {
        if whole == 0 {
            undefined.push(figure);
            return 0.0;
        }
        part as f64 / whole as f64
    };
    let precision = share(Figure::Precision, hits, predicted);
    let recall = share(Figure::Recall, hits, support);
    let f1 = share(Figure::F1, 2 * hits, predicted + support);
    ClassMetrics { precision, recall, f1, support, predicted, undefined }
}

#[cfg(test)]
pub(super) mod tests;
