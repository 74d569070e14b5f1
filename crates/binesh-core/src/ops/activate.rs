//! Element-wise functions without weights: relu and its relatives, sigmoid, tanh and so on. Keras `Activation`, `ReLU`,
//! `LeakyReLU`, `ELU`.

use binesh_kernels::{Activation, Cx, activation};

use crate::operator::{At, Keeps, Operator, Overlay, ReluRule};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = function(x)`, each value on its own.
///
/// # Shapes
/// x any -> y like x.
#[derive(Clone, Debug, PartialEq)]
pub struct Activate {
    /// The function; its documentation has the definition and the derivative at kinks.
    pub function: Activation,
}

impl Activate {
    /// The input and the output; where one of the two is not kept, it is not looked at and the other stands in.
    fn told<'a>(&self, at: &At<'a>) -> (&'a [f32], &'a [f32]) {
        match self.told_by() {
            Keeps::Output => (at.output().data(), at.output().data()),
            Keeps::Inputs => (at.input(0).data(), at.input(0).data()),
            _ => (at.input(0).data(), at.output().data()),
        }
    }

    /// The largest value of a rectifier that is flat below 0 and above it; others have no gradient to redirect.
    fn redirectable(&self) -> Option<f32> {
        match self.function {
            Activation::Relu { max, slope: 0.0, threshold: 0.0 } => Some(max),
            _ => None,
        }
    }

    /// What the derivative is told by. The commonest functions tell it by their value alone, so that their input need
    /// not be kept: where a relu gave more than 0 its input was the same.
    fn told_by(&self) -> Keeps {
        match self.function {
            Activation::Relu { slope, threshold, .. } if slope >= 0.0 && threshold == 0.0 => Keeps::Output,
            Activation::Elu { alpha } if alpha >= 0.0 => Keeps::Output,
            Activation::Selu | Activation::Sigmoid | Activation::Tanh | Activation::Exp => Keeps::Output,
            Activation::Silu | Activation::Sqrt | Activation::Rsqrt | Activation::Reciprocal => {
                Keeps::InputsAndOutput
            }
            _ => Keeps::Inputs,
        }
    }
}

/// [`ReluRule::Redirected`], from the rectifier's value `y` and the gradient `d`, which it turns into that of the input.
///
/// # Shapes
/// y and d `[N, ...]`
fn redirect(max: f32, y: &[f32], d: &mut [f32], examples: usize) {
    let one = d.len() / examples.max(1);
    for (y, d) in y.chunks_exact(one).zip(d.chunks_exact_mut(one)) {
        let silent = y.iter().zip(&*d).all(|(&y, &d)| y <= 0.0 || y >= max || d == 0.0);
        for (&y, d) in y.iter().zip(d) {
            let outward = (y <= 0.0 && *d > 0.0) || (y >= max && *d < 0.0);
            let outside = y <= 0.0 || y >= max;
            let stops = if silent { outward } else { outside };
            if stops {
                *d = 0.0;
            }
        }
    }
}

impl Operator for Activate {
    fn name(&self) -> &'static str {
        self.function.name()
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        if let Activation::Relu { max, threshold, .. } = self.function
            && max < threshold
        {
            return Err(ShapeError::new(format!("the largest value {max} lies below the threshold {threshold}")));
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        activation::forward(cx, self.function, inputs[0].data(), output.into_data());
    }

    fn overlay(&self) -> Overlay {
        Overlay::InPlace
    }

    fn forward_in_place(&self, cx: Cx<'_>, _others: &[View<'_>], y: ViewMut<'_>) {
        activation::forward_in_place(cx, self.function, y.into_data());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let (dx, (x, y)) = (dx.data(), self.told(at));
        let rectifier = matches!(self.function, Activation::Relu { .. });
        match at.rule {
            ReluRule::Guided if rectifier => {
                let positive: Vec<f32> = dy.data().iter().map(|d| d.max(0.0)).collect();
                activation::backward(cx, self.function, x, y, &positive, dx);
            }
            ReluRule::Deconv if rectifier => dx.iter_mut().zip(dy.data()).for_each(|(dx, dy)| *dx += dy.max(0.0)),
            ReluRule::Redirected if let Some(max) = self.redirectable() => {
                let mut d = dy.data().to_vec();
                redirect(max, y, &mut d, at.input_shape(0).dims().first().copied().unwrap_or(1));
                dx.iter_mut().zip(d).for_each(|(dx, d)| *dx += d);
            }
            _ => activation::backward(cx, self.function, x, y, dy.data(), dx),
        }
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn backward_in_place(&self, cx: Cx<'_>, at: &At<'_>, d: &mut [f32]) {
        let (x, y) = self.told(at);
        let rectifier = matches!(self.function, Activation::Relu { .. });
        if let (ReluRule::Redirected, Some(max)) = (at.rule, self.redirectable()) {
            return redirect(max, y, d, at.input_shape(0).dims().first().copied().unwrap_or(1));
        }
        if rectifier && matches!(at.rule, ReluRule::Guided | ReluRule::Deconv) {
            d.iter_mut().for_each(|d| *d = d.max(0.0));
        }
        if !(rectifier && at.rule == ReluRule::Deconv) {
            activation::backward_in_place(cx, self.function, x, y, d);
        }
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        self.told_by()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Case, op};

    fn activate(function: Activation) -> Case {
        op(Activate { function }).input([2, 3, 5, 7])
    }

    fn at(function: Activation, x: &[f32]) -> Case {
        op(Activate { function }).input([x.len()]).values(x)
    }

    #[test]
    fn rectifiers() {
        activate(Activation::RELU).away_from(&[0.0], 0.01).check();
        activate(Activation::RELU6).within(-3.0, 9.0).away_from(&[0.0, 6.0], 0.01).check();
        activate(Activation::leaky_relu(0.3)).away_from(&[0.0], 0.01).check();
        let keras = Activation::Relu { max: 0.75, slope: 0.125, threshold: 0.25 };
        activate(keras).away_from(&[0.25, 0.75], 0.01).check();
    }

    /// Values that TensorFlow's `tf.keras.layers.ReLU(max_value=0.75, negative_slope=0.125, threshold=0.25)` defines.
    #[test]
    fn keras_relu_at_its_kinks() {
        let keras = Activation::Relu { max: 0.75, slope: 0.125, threshold: 0.25 };
        let x = [-0.75, 0.25, 0.5, 0.75, 2.0];
        assert_eq!(at(keras, &x).gradients(&[1.0; 5], ReluRule::Exact), [[0.125, 0.125, 1.0, 0.0, 0.0]]);
    }

    #[test]
    fn smooth_functions() {
        use Activation::*;
        let all = [
            Linear,
            Gelu { approximate: false },
            Gelu { approximate: true },
            Silu,
            Sigmoid,
            Tanh,
            Softplus,
            Mish,
            Exp,
            Square,
            Neg,
            Affine { scale: -2.5, offset: 0.75 },
        ];
        for function in all {
            activate(function).within(-4.0, 4.0).check();
        }
    }

    #[test]
    fn functions_with_kinks() {
        use Activation::*;
        let all: [(Activation, &[f32]); 8] = [
            (Elu { alpha: 1.0 }, &[0.0]),
            (Elu { alpha: 0.5 }, &[0.0]),
            (Selu, &[0.0]),
            (HardSigmoid2, &[-2.5, 2.5]),
            (HardSigmoid3, &[-3.0, 3.0]),
            (HardSwish, &[-3.0, 3.0]),
            (Softsign, &[0.0]),
            (Abs, &[0.0]),
        ];
        for (function, kinks) in all {
            activate(function).within(-4.0, 4.0).away_from(kinks, 0.01).check();
        }
        activate(Clip { min: -0.5, max: 0.25 }).away_from(&[-0.5, 0.25], 0.01).check();
    }

    #[test]
    fn functions_of_positive_values() {
        use Activation::*;
        for function in [Log, Sqrt, Rsqrt, Reciprocal] {
            activate(function).within(0.25, 4.0).check();
        }
    }

    /// `tf.nn.gelu`, `tf.nn.selu`, `keras.activations.*` of these values.
    #[test]
    fn literal_values() {
        at(Activation::Gelu { approximate: false }, &[-1.0, 0.5, 2.0]).equals(&[-0.15865525, 0.34573123, 1.9544997]).check();
        at(Activation::Gelu { approximate: true }, &[-1.0, 0.5, 2.0]).equals(&[-0.158808, 0.345714, 1.954598]).check();
        at(Activation::Selu, &[-1.0, 1.0]).equals(&[-1.1113307, 1.050701]).check();
        at(Activation::HardSigmoid2, &[-3.0, 1.0, 3.0]).equals(&[0.0, 0.7, 1.0]).check();
        at(Activation::HardSigmoid3, &[-4.0, 1.0, 4.0]).equals(&[0.0, 0.6666667, 1.0]).check();
        at(Activation::Silu, &[-1.0, 2.0]).equals(&[-0.26894143, 1.7615942]).check();
    }

    #[test]
    fn derivatives_at_kinks() {
        let derivative = |function, x: &[f32]| at(function, x).gradients(&vec![1.0; x.len()], ReluRule::Exact).remove(0);
        assert_eq!(derivative(Activation::RELU, &[0.0, -0.0]), [0.0, 0.0]);
        assert_eq!(derivative(Activation::RELU6, &[0.0, 6.0]), [0.0, 0.0]);
        assert_eq!(derivative(Activation::leaky_relu(0.25), &[0.0]), [0.25]);
        assert_eq!(derivative(Activation::Abs, &[0.0]), [0.0]);
        assert_eq!(derivative(Activation::Clip { min: -1.0, max: 1.0 }, &[-1.0, 1.0]), [1.0, 1.0]);
    }

    /// The three rules on the four combinations of signs of input and gradient (Springenberg et al. 2015, figure 1).
    #[test]
    fn rules_of_the_rectifier() {
        let (x, dy) = ([1.0, 1.0, -1.0, -1.0], [2.0, -2.0, 3.0, -3.0]);
        let rule = |function, rule| at(function, &x).gradients(&dy, rule).remove(0);
        assert_eq!(rule(Activation::RELU, ReluRule::Exact), [2.0, -2.0, 0.0, 0.0]);
        assert_eq!(rule(Activation::RELU, ReluRule::Guided), [2.0, 0.0, 0.0, 0.0]);
        assert_eq!(rule(Activation::RELU, ReluRule::Deconv), [2.0, 0.0, 3.0, 0.0]);
        assert_eq!(rule(Activation::leaky_relu(0.5), ReluRule::Guided), [2.0, 0.0, 1.5, 0.0]);
        // Only rectifiers have rules.
        assert_eq!(rule(Activation::Neg, ReluRule::Guided), [-2.0, 2.0, -3.0, 3.0]);
        assert_eq!(rule(Activation::Neg, ReluRule::Deconv), [-2.0, 2.0, -3.0, 3.0]);
    }

    /// Lucid's `misc/redirected_relu_grad.py`: an example with any derivative left keeps it; a silent one gets the
    /// gradient that does not push outward.
    #[test]
    fn a_silent_example_is_redirected() {
        let of = |function, shape: [usize; 2], x: &[f32], dy: &[f32]| {
            op(Activate { function }).input(shape).values(x).gradients(dy, ReluRule::Redirected).remove(0)
        };
        let (x, dy) = ([-1.0, -2.0, -3.0, 1.0, -1.0, -2.0], [2.0, -3.0, 0.5, -1.0, -2.0, 3.0]);
        assert_eq!(of(Activation::RELU, [2, 3], &x, &dy), [0.0, -3.0, 0.0, -1.0, 0.0, 0.0]);
        // With a gradient of zero where it is not silent, it is as good as silent.
        assert_eq!(of(Activation::RELU, [1, 3], &[1.0, -1.0, -1.0], &[0.0, -2.0, 2.0]), [0.0, -2.0, 0.0]);
        let (x, dy) = ([7.0, 8.0, -1.0, -2.0], [-1.0, 2.0, -4.0, 5.0]);
        assert_eq!(of(Activation::RELU6, [1, 4], &x, &dy), [0.0, 2.0, -4.0, 0.0]);
        assert_eq!(of(Activation::leaky_relu(0.5), [1, 2], &[-1.0, -1.0], &[2.0, -2.0]), [1.0, -1.0]);
    }

    #[test]
    fn rejects() {
        op(Activate { function: Activation::RELU })
            .input([2])
            .input([2])
            .rejects("layer `y` (relu): takes 1 input but was given 2");
    }
}
