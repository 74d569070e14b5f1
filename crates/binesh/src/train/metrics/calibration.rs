//! Reliability bins and the expected calibration error of Guo et al. 2017, "On Calibration of Modern Neural
//! Networks", equation 3.

use serde::Serialize;

use super::Scores;

/// Bins of equal width, as in the paper's figures.
const BINS: usize = 15;

/// How sure the classifier was, and how often it was right when that sure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: mean of |accuracy - confidence| over bins, by pictures.
    pub ece: f64,
    /// Mean probability of the predicted class.
    pub confidence: f64,
    /// `(low, high]` of equal width from 0 to 1.
    pub bins: Vec<Bin>,
}

/// Pictures about which the classifier was equally sure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bin {
    /// Lower end, not included.
    pub low: f64,
    /// Upper end, included.
    pub high: f64,
    /// Pictures in the bin.
    pub count: u64,
    /// Their mean confidence; absent without pictures.
    pub confidence: Option<f64>,
    /// Share of them that was right; absent without pictures.
    pub accuracy: Option<f64>,
}

impl Calibration {
    pub(super) fn new(scores: &Scores) -> Calibration {
        let edge = |bin: usize| bin as f64 / BINS as f64;
        let mut sums = [(0_u64, 0.0_f64, 0_u64); BINS];
        for (i, &label) in scores.labels().iter().enumerate() {
            let predicted = scores.predicted(i);
            let confidence = f64::from(scores.row(i)[predicted]);
            let bin = (0..BINS).find(|&bin| confidence <= edge(bin + 1)).unwrap_or(BINS - 1);
            let (count, sum, right) = &mut sums[bin];
            *count += 1;
            *sum += confidence;
            *right += u64::from(predicted == label);
        }
        let samples = scores.labels().len() as f64;
        // |accuracy - confidence| * count is |right - sum of confidences|.
        let ece = sums.iter().map(|&(_, sum, right)| (right as f64 - sum).abs()).sum::<f64>() / samples;
        let confidence = sums.iter().map(|&(_, sum, _)| sum).sum::<f64>() / samples;
        let bin = |(bin, &(count, sum, right)): (usize, &(u64, f64, u64))| {
            let mean = |sum: f64| (count > 0).then(|| sum / count as f64);
            Bin {
                low: edge(bin),
                high: edge(bin + 1),
                count,
                confidence: mean(sum),
                accuracy: mean(right as f64),
            }
        };
        Calibration { ece, confidence, bins: sums.iter().enumerate().map(bin).collect() }
    }
}
