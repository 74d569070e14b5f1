//! A rectifier with learned slopes (He et al. 2015, arXiv:1502.01852). Keras `PReLU`.

use binesh_kernels::{Cx, prelu};

use crate::operator::{At, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = x` if `x > 0`, else `alpha * x`.
///
/// # Shapes
/// x `[N, ...]`, alpha as x without the batch, extent 1 along shared axes -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct Prelu;

impl Operator for Prelu {
    fn name(&self) -> &'static str {
        "prelu"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (x, alpha) = (inputs[0], inputs[1]);
        let pairs = || x.dims().iter().skip(1).zip(alpha.dims());
        if alpha.rank() + 1 != x.rank() || pairs().any(|(x, a)| a != x && *a != 1) {
            return Err(ShapeError::new(format!("alpha {alpha} does not fit the input {x}")));
        }
        Ok(x.clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let (x, alpha) = (inputs[0], inputs[1]);
        let (x_dims, a_dims) = (x.shape().dims(), alpha.shape().dims());
        prelu::forward(cx, x.data(), x_dims, alpha.data(), a_dims, output.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let (x, alpha) = (at.input(0), at.input(1));
        let [dx, d_alpha] = dx else { unreachable!("the graph checked that there are two inputs") };
        let (dx, d_alpha) = (dx.as_mut().map(ViewMut::data), d_alpha.as_mut().map(ViewMut::data));
        let (x_dims, a_dims) = (x.shape().dims(), alpha.shape().dims());
        prelu::backward(cx, x.data(), x_dims, alpha.data(), a_dims, dy.data(), dx, d_alpha);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;
    use crate::operator::ReluRule;

    #[test]
    fn alpha_per_element() {
        op(Prelu).input([2, 3, 5, 4]).away_from(&[0.0], 0.01).weight([3, 5, 4]).check();
    }

    #[test]
    fn alpha_shared_over_space() {
        op(Prelu).input([2, 5, 3, 7]).away_from(&[0.0], 0.01).weight([1, 1, 7]).check();
    }

    #[test]
    fn alpha_shared_over_one_axis() {
        op(Prelu).input([2, 5, 3, 7]).away_from(&[0.0], 0.01).weight([5, 1, 7]).check();
        op(Prelu).input([3, 6]).away_from(&[0.0], 0.01).weight([6]).check();
    }

    /// Keras computes `relu(x) - alpha * relu(-x)`, whose derivatives at 0 are all 0.
    #[test]
    fn at_the_kink() {
        let kink = op(Prelu).input([1, 1]).values(&[0.0]).weight([1]).values(&[0.5]);
        assert_eq!(kink.gradients(&[1.0], ReluRule::Exact), [[0.0], [0.0]]);
    }

    #[test]
    fn rejects() {
        op(Prelu).input([2, 3, 4]).weight([4]).rejects("alpha [4] does not fit the input [2, 3, 4]");
        op(Prelu).input([2, 3, 4]).weight([2, 4]).rejects("alpha [2, 4] does not fit the input [2, 3, 4]");
    }
}
