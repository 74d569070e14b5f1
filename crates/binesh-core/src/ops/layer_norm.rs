//! Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450). Keras `LayerNormalization`.

use binesh_kernels::{Cx, norm};

use crate::operator::{At, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = gamma * (x - mean) / sqrt(variance + epsilon) + beta`, mean and biased variance over each row.
///
/// # Shapes
/// x `[..., C]`, then gamma `[C]` if `scale`, beta `[C]` if `center` -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// Has gamma.
    pub scale: bool,
    /// Has beta.
    pub center: bool,
}

impl Operator for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        let n = 1 + usize::from(self.scale) + usize::from(self.center);
        n..=n
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let channels = inputs[0].channels()?;
        for weight in &inputs[1..] {
            super::check_per_channel("layer norm weight", weight, channels)?;
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], mut output: ViewMut<'_>) {
        let x = inputs[0].data();
        let c = inputs[0].shape().channels().expect("`infer` accepted this shape");
        let gamma = self.scale.then(|| inputs[1].data());
        let beta = self.center.then(|| inputs[1 + usize::from(self.scale)].data());
        norm::layer_norm_forward(cx, c, x, gamma, beta, self.epsilon, output.data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let x = at.input(0);
        let c = x.shape().channels().expect("`infer` accepted this shape");
        let gamma = self.scale.then(|| at.input(1).data());
        let (head, rest) = dx.split_at_mut(1);
        let (for_gamma, for_beta) = rest.split_at_mut(usize::from(self.scale));
        let gradients = norm::BatchNormGradients {
            dx: head[0].as_mut().map(ViewMut::data),
            dgamma: for_gamma.first_mut().and_then(Option::as_mut).map(ViewMut::data),
            dbeta: for_beta.first_mut().and_then(Option::as_mut).map(ViewMut::data),
        };
        norm::layer_norm_backward(cx, c, x.data(), gamma, self.epsilon, dy.data(), gradients);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn norm(scale: bool, center: bool) -> LayerNorm {
        LayerNorm { epsilon: 1e-3, scale, center }
    }

    #[test]
    fn convnext() {
        op(norm(true, true)).input([2, 3, 5, 19]).weight([19]).weight([19]).check();
    }

    #[test]
    fn without_scale_or_center() {
        op(norm(false, true)).input([4, 7]).weight([7]).check();
        op(norm(true, false)).input([4, 7]).weight([7]).check();
        op(norm(false, false)).input([2, 3, 8]).check();
    }

    #[test]
    fn a_row_of_equal_values() {
        let flat = op(LayerNorm { epsilon: 0.25, ..norm(false, false) });
        flat.input([1, 2]).values(&[3.0, 3.0]).equals(&[0.0, 0.0]).check();
    }

    #[test]
    fn rejects() {
        op(norm(true, false))
            .input([2, 5])
            .weight([4])
            .rejects("the layer norm weight has shape [4] but there are 5 channels");
    }
}
