//! Losses from logits, with their gradients, and accuracy.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What training makes small. Both are formed from logits: nothing overflows and no probability is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// One unit: `keras.losses.BinaryCrossentropy(from_logits=True)`. Targets are the probability of class 1.
    BinaryCrossEntropy,
    /// One unit per class: `keras.losses.CategoricalCrossentropy(from_logits=True)`. Targets are probabilities whose
    /// sum is 1; sparse labels are [`one_hot`] first.
    CategoricalCrossEntropy,
}

/// Sums over examples; `+=` joins batches, as Keras's running means do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Sum of the examples' weighted losses.
    pub loss_sum: f64,
    /// Examples whose most probable class was right.
    pub correct: u64,
    /// Examples.
    pub count: u64,
}

impl Tally {
    /// Mean loss. The divisor is the number of examples whatever their weights: Keras's `sum_over_batch_size`.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.count as f64
    }

    /// Share of the examples that are right, without weights.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count as f64
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.loss_sum += other.loss_sum;
        self.correct += other.correct;
        self.count += other.count;
    }
}

/// One batch as a loss sees it.
///
/// # Shapes
/// `logits` and `targets` are `[N, K]`, K = 1 for [`Loss::BinaryCrossEntropy`]; `weights` is `[N]`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The network's output, before any sigmoid or softmax.
    pub logits: &'a [f32],
    /// Probabilities; 0 and 1 unless examples were mixed.
    pub targets: &'a [f32],
    /// K.
    pub units: usize,
    /// Between 0 (none) and 1: how far targets are drawn to the even distribution. Accuracy does not see it.
    pub label_smoothing: f32,
    /// A factor for each example's loss.
    pub weights: Option<&'a [f32]>,
}

impl Loss {
    /// The units that a network for this many classes ends with.
    pub fn units(self, classes: usize) -> usize {
        match self {
            Loss::BinaryCrossEntropy => 1,
            Loss::CategoricalCrossEntropy => classes,
        }
    }

    /// Targets `[N, K]` of the classes' numbers.
    pub fn targets(self, labels: &[usize], classes: usize) -> Vec<f32> {
        match self {
            Loss::BinaryCrossEntropy => labels.iter().map(|&label| label as f32).collect(),
            Loss::CategoricalCrossEntropy => one_hot(labels, classes),
        }
    }

    /// Each example's weight `[N]`, the mean of its classes' weights by probability. For unmixed targets that is what
    /// Keras's `class_weight` does.
    pub fn sample_weights(self, targets: &[f32], class_weights: &[f32]) -> Vec<f32> {
        match self {
            Loss::BinaryCrossEntropy => {
                targets.iter().map(|y| class_weights[0] * (1.0 - y) + class_weights[1] * y).collect()
            }
            Loss::CategoricalCrossEntropy => {
                let mean = |row: &[f32]| row.iter().zip(class_weights).map(|(y, w)| y * w).sum();
                targets.chunks(class_weights.len()).map(mean).collect()
            }
        }
    }

    /// The loss and accuracy of a batch.
    ///
    /// # Panics
    /// If the batch's shapes do not fit.
    pub fn tally(self, batch: &Batch<'_>) -> Tally {
        let mut tally = Tally::default();
        for example in batch.examples(self) {
            tally += Tally { loss_sum: self.of(&example), correct: self.is_correct(&example), count: 1 };
        }
        tally
    }

    /// The same, and the gradient of the batch's mean loss into `d_logits`.
    ///
    /// # Shapes
    /// `d_logits` is `[N, K]` as the logits.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn with_gradient(self, batch: &Batch<'_>, d_logits: &mut [f32]) -> Tally {
        assert_eq!(d_logits.len(), batch.logits.len(), "the gradient has the shape of the logits");
        let examples = batch.logits.len() / batch.units;
        for (example, d) in batch.examples(self).zip(d_logits.chunks_mut(batch.units)) {
            self.gradient(&example, examples, d);
        }
        self.tally(batch)
    }

    /// One example's weighted loss.
    fn of(self, example: &Example<'_>) -> f64 {
        let loss = match self {
            Loss::BinaryCrossEntropy => {
                // `tf.nn.sigmoid_cross_entropy_with_logits`: log(1 + exp(-|x|)) never overflows.
                let (x, y) = (f64::from(example.logits[0]), example.target(0));
                relu(x) - x * y + (-x.abs()).exp().ln_1p()
            }
            Loss::CategoricalCrossEntropy => {
                let log_sum = example.log_sum_exp();
                let of = |(k, &x): (usize, &f32)| example.target(k) * (log_sum - f64::from(x));
                example.logits.iter().enumerate().map(of).sum()
            }
        };
        loss * example.weight
    }

    fn gradient(self, example: &Example<'_>, examples: usize, d: &mut [f32]) {
        let scale = example.weight / examples as f64;
        match self {
            Loss::BinaryCrossEntropy => {
                let p = 1.0 / (1.0 + (-f64::from(example.logits[0])).exp());
                d[0] = ((p - example.target(0)) * scale) as f32;
            }
            Loss::CategoricalCrossEntropy => {
                let log_sum = example.log_sum_exp();
                for (k, d) in d.iter_mut().enumerate() {
                    let p = (f64::from(example.logits[k]) - log_sum).exp();
                    *d = ((p - example.target(k)) * scale) as f32;
                }
            }
        }
    }

    /// 1 or 0. A tie is the first class, as `argmax` has it; a logit of 0 is class 0. A network that gives NaN is wrong.
    fn is_correct(self, example: &Example<'_>) -> u64 {
        let finite = example.logits.iter().all(|x| !x.is_nan());
        let same = match self {
            Loss::BinaryCrossEntropy => (example.logits[0] > 0.0) == (example.targets[0] > 0.5),
            Loss::CategoricalCrossEntropy => argmax(example.logits) == argmax(example.targets),
        };
        u64::from(finite && same)
    }
}

/// Rows that are 1 at the label and 0 elsewhere.
///
/// # Shapes
/// Gives `[N, classes]`.
pub fn one_hot(labels: &[usize], classes: usize) -> Vec<f32> {
    let mut rows = vec![0.0; labels.len() * classes];
    for (row, &label) in rows.chunks_mut(classes).zip(labels) {
        row[label] = 1.0;
    }
    rows
}

/// One row of a batch.
struct Example<'a> {
    logits: &'a [f32],
    targets: &'a [f32],
    weight: f64,
    smoothing: f64,
}

impl<'a> Batch<'a> {
    /// Every row.
    fn examples(&self, loss: Loss) -> impl Iterator<Item = Example<'a>> + use<'a> {
        let Batch { logits, targets, units, label_smoothing, weights } = *self;
        assert_eq!(logits.len(), targets.len(), "one target for each logit");
        assert_eq!(logits.len() % units, 0, "whole rows of {units}");
        let binary = loss == Loss::BinaryCrossEntropy;
        assert_eq!(binary, units == 1, "one unit for two classes, else one each");
        let count = logits.len() / units;
        assert!(weights.is_none_or(|weights| weights.len() == count), "one weight for each example");
        (0..count).map(move |n| {
            let row = n * units..(n + 1) * units;
            Example {
                logits: &logits[row.clone()],
                targets: &targets[row],
                weight: weights.map_or(1.0, |weights| f64::from(weights[n])),
                smoothing: f64::from(label_smoothing),
            }
        })
    }
}

impl Example<'_> {
    /// Smoothed as Keras does: `y (1 - s) + s / K`, for one unit `y (1 - s) + s / 2`.
    fn target(&self, k: usize) -> f64 {
        let classes = self.targets.len().max(2) as f64;
        f64::from(self.targets[k]) * (1.0 - self.smoothing) + self.smoothing / classes
    }

    /// `log(sum(exp(x)))`, from which the largest is taken out first.
    fn log_sum_exp(&self) -> f64 {
        let largest = f64::from(self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let sum: f64 = self.logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        largest + sum.ln()
    }
}

/// Unlike `f64::max`, NaN stays NaN: a loss must not hide it.
fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

fn argmax(values: &[f32]) -> usize {
    let mut best = 0;
    for (k, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = k;
        }
    }
    best
}
