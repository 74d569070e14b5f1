//! Batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167). Keras `BatchNormalization`, ONNX
//! `BatchNormalization`; with its moving statistics, or as [`crate::Training`] says with those of the batch.

use binesh_kernels::{Cx, norm, with_scratch};

use crate::operator::{At, Keeps, Operator, Overlay};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta` per channel. Moving statistics are constants: they
/// have no gradient.
///
/// # Shapes
/// x `[..., C]`, then gamma `[C]` if `scale`, beta `[C]` if `center`, mean `[C]`, variance `[C]` -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Share of the moving statistics that stays in a step of training. Keras's meaning: PyTorch names the other share.
    pub momentum: f32,
    /// Has gamma.
    pub scale: bool,
    /// Has beta.
    pub center: bool,
}

impl BatchNorm {
    /// Keras's default of [`BatchNorm::momentum`].
    pub const MOMENTUM: f32 = 0.99;

    /// `moving = moving * momentum + batch * (1 - momentum)`, the variance as biased as that which normalised: Keras 3,
    /// `BatchNormalization.call` (`moving_variance.assign(.. variance * (1.0 - self.momentum))` with the `variance` of
    /// `ops.moments`). PyTorch and the fused kernel of Keras 2 move towards the unbiased variance.
    pub(crate) fn update_moving(&self, moving: &mut [f32], batch: &[f32]) {
        let rest = (1.0 - f64::from(self.momentum)) as f32;
        moving.iter_mut().zip(batch).for_each(|(moving, batch)| *moving = *moving * self.momentum + batch * rest);
    }

    /// Positions of mean and variance among the weights.
    fn statistics(&self) -> [usize; 2] {
        let mean = usize::from(self.scale) + usize::from(self.center);
        [mean, mean + 1]
    }

    fn gamma(&self, weights: &[&[f32]]) -> Vec<f32> {
        let [mean, _] = self.statistics();
        if self.scale { weights[0].to_vec() } else { vec![1.0; weights[mean].len()] }
    }

    fn inv_std(&self, weights: &[&[f32]]) -> Vec<f32> {
        let [_, variance] = self.statistics();
        weights[variance].iter().map(|v| self.inv_std_of(*v)).collect()
    }

    fn inv_std_of(&self, variance: f32) -> f32 {
        1.0 / (variance + self.epsilon).sqrt()
    }

    /// The factor and offset per channel: `y = x * scale + shift`. `weights` are the inputs after x.
    pub(crate) fn scale_shift(&self, weights: &[&[f32]]) -> (Vec<f32>, Vec<f32>) {
        let channels = weights[self.statistics()[0]].len();
        let (mut scale, mut shift) = (vec![0.0; channels], vec![0.0; channels]);
        self.write_scale_shift(|i| weights[i], &mut scale, &mut shift);
        (scale, shift)
    }

    /// The same written to `scale` and `shift`, both `[C]`; `weight(i)` is input `1 + i`.
    fn write_scale_shift<'a>(
        &self,
        weight: impl Fn(usize) -> &'a [f32],
        scale: &mut [f32],
        shift: &mut [f32],
    ) {
        let [mean, variance] = self.statistics().map(&weight);
        let gamma = self.scale.then(|| weight(0));
        let beta = self.center.then(|| weight(usize::from(self.scale)));
        for (c, (scale, shift)) in scale.iter_mut().zip(shift).enumerate() {
            *scale = gamma.map_or(1.0, |gamma| gamma[c]) * self.inv_std_of(variance[c]);
            *shift = beta.map_or(0.0, |beta| beta[c]) - mean[c] * *scale;
        }
    }

    /// Calls `f` with what [`BatchNorm::scale_shift`] gives, in memory that is kept. `weights` are the inputs after x.
    fn with_scale_shift(&self, weights: &[View<'_>], f: impl FnOnce(&[f32], &[f32])) {
        let channels = weights[self.statistics()[0]].data().len();
        with_scratch(2 * channels, |both| {
            let (scale, shift) = both.split_at_mut(channels);
            self.write_scale_shift(|i| weights[i].data(), scale, shift);
            f(scale, shift);
        });
    }
}

impl Operator for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        let n = self.statistics()[1] + 2;
        n..=n
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let channels = inputs[0].channels()?;
        for weight in &inputs[1..] {
            super::check_per_channel("batch norm weight", weight, channels)?;
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        self.with_scale_shift(&inputs[1..], |scale, shift| {
            norm::scale_shift(cx, scale.len(), inputs[0].data(), scale, shift, output.into_data());
        });
    }

    fn overlay(&self) -> Overlay {
        Overlay::InPlace
    }

    fn forward_in_place(&self, cx: Cx<'_>, others: &[View<'_>], y: ViewMut<'_>) {
        self.with_scale_shift(others, |scale, shift| {
            norm::scale_shift_in_place(cx, scale.len(), scale, shift, y.into_data());
        });
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        // Only gamma's gradient reads x.
        let x = if self.scale && dx[1].is_some() { at.input(0).data() } else { dy.data() };
        self.gradients(cx, at, x, dy, dx, norm::batch_norm_backward);
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn backward_in_place(&self, cx: Cx<'_>, at: &At<'_>, d: &mut [f32]) {
        let weights: Vec<&[f32]> = (1..at.inputs.len()).map(|i| at.input(i).data()).collect();
        let (scale, _) = self.scale_shift(&weights);
        norm::scale_in_place(cx, scale.len(), &scale, d);
    }

    fn keeps(&self, wanted: &[bool]) -> Keeps {
        if self.scale && wanted[1] { Keeps::Inputs } else { Keeps::Weights }
    }

    fn constant_inputs(&self) -> usize {
        2
    }
}

/// [`norm::batch_norm_backward`] or [`norm::batch_norm_training_backward`].
type Backward = fn(Cx<'_>, usize, &[f32], &[f32], &[f32], &[f32], &[f32], norm::BatchNormGradients<'_>);

impl BatchNorm {
    /// The gradient where mean and variance, in the places of the moving ones, are those of x itself.
    pub(crate) fn backward_through_statistics(
        &self,
        cx: Cx<'_>,
        at: &At<'_>,
        dy: View<'_>,
        dx: &mut [Option<ViewMut<'_>>],
    ) {
        self.gradients(cx, at, at.input(0).data(), dy, dx, norm::batch_norm_training_backward);
    }

    fn gradients(
        &self,
        cx: Cx<'_>,
        at: &At<'_>,
        x: &[f32],
        dy: View<'_>,
        dx: &mut [Option<ViewMut<'_>>],
        backward: Backward,
    ) {
        let [mean, _] = self.statistics();
        let weights: Vec<&[f32]> = (1..=mean + 2).map(|i| at.input(i).data()).collect();
        let (gamma, inv_std) = (self.gamma(&weights), self.inv_std(&weights));
        let (head, rest) = dx.split_at_mut(1);
        let (for_gamma, for_beta) = rest.split_at_mut(usize::from(self.scale));
        let d_gamma = for_gamma.first_mut().and_then(Option::as_mut);
        let d_beta = for_beta.first_mut().filter(|_| self.center).and_then(Option::as_mut);
        let gradients = norm::BatchNormGradients {
            dx: head[0].as_mut().map(ViewMut::data),
            dgamma: d_gamma.map(ViewMut::data),
            dbeta: d_beta.map(ViewMut::data),
        };
        backward(cx, gamma.len(), x, weights[mean], &inv_std, &gamma, dy.data(), gradients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn norm(scale: bool, center: bool) -> BatchNorm {
        BatchNorm { epsilon: 1e-3, momentum: BatchNorm::MOMENTUM, scale, center }
    }

    #[test]
    fn all_weights() {
        op(norm(true, true))
            .input([2, 5, 3, 9])
            .weight([9])
            .weight([9])
            .weight([9])
            .statistic([9])
            .check();
    }

    #[test]
    fn without_scale_or_center() {
        op(norm(false, true)).input([2, 5, 3, 4]).weight([4]).weight([4]).statistic([4]).check();
        op(norm(true, false)).input([3, 7]).weight([7]).weight([7]).statistic([7]).check();
        op(norm(false, false)).input([3, 7]).weight([7]).statistic([7]).check();
    }

    #[test]
    fn epsilon_counts_where_the_variance_is_small() {
        let tiny = BatchNorm { epsilon: 0.25, ..norm(false, false) };
        op(tiny).input([1, 1]).values(&[3.0]).weight([1]).values(&[1.0]).weight([1]).values(&[0.0]).equals(&[4.0]).check();
    }

    #[test]
    fn rejects() {
        op(norm(false, false))
            .input([2, 5])
            .weight([5])
            .weight([4])
            .rejects("the batch norm weight has shape [4] but there are 5 channels");
        op(norm(true, true))
            .input([2, 5])
            .weight([5])
            .rejects("layer `y` (batch_norm): takes 5 inputs but was given 2");
    }
}
