//! Element-wise functions of one variable. The same functions run in the epilogues of convolution and dense layers.

mod vectors;

pub(crate) use vectors::in_place;
use vectors::{Apply, Backward, BackwardInPlace};

use crate::Cx;
use crate::threads::GRAIN;

/// A function applied to each value on its own. Definitions are those of Keras unless a line says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `x`
    Linear,
    /// Keras `ReLU`: `max` if `x >= max`; `x` if `threshold < x < max`; else `slope * (x - threshold)`. As in
    /// TensorFlow the derivative is `slope` at the threshold and 0 at `max`. A slope of 0 gives 0 for `-inf` too.
    Relu {
        /// Largest output; infinity for none.
        max: f32,
        /// Slope below the threshold.
        slope: f32,
        /// Where the identity begins.
        threshold: f32,
    },
    /// `x` if `x > 0`, else `alpha * (e^x - 1)`.
    Elu {
        /// Minus the limit at minus infinity.
        alpha: f32,
    },
    /// `1.0507 * (x if x > 0 else 1.67326 * (e^x - 1))` (Klambauer et al. 2017, arXiv:1706.02515).
    Selu,
    /// `x * Phi(x)` (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu {
        /// `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))` instead of the exact `x/2 * (1 + erf(x / sqrt(2)))`.
        approximate: bool,
    },
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// Keras 1 and 2: `clip(0.2 x + 0.5, 0, 1)`.
    HardSigmoid2,
    /// Keras 3, torch: `relu6(x + 3) / 6`.
    HardSigmoid3,
    /// `x * relu6(x + 3) / 6` (MobileNetV3, arXiv:1905.02244).
    HardSwish,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// `ln(1 + e^x)`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `x * tanh(softplus(x))` (Misra 2019, arXiv:1908.08681).
    Mish,
    /// `e^x`
    Exp,
    /// Natural logarithm.
    Log,
    /// `x * x`
    Square,
    /// Square root.
    Sqrt,
    /// `1 / sqrt(x)`
    Rsqrt,
    /// `1 / x`
    Reciprocal,
    /// `-x`
    Neg,
    /// `|x|`; derivative 0 at 0.
    Abs,
    /// `min(max(x, min), max)`; the derivative is 1 on the closed interval, as `tf.clip_by_value` has it.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `scale * x + offset` (Keras `Rescaling`).
    Affine {
        /// Factor.
        scale: f32,
        /// Added last.
        offset: f32,
    },
}

const SELU_SCALE: f32 = 1.050_701;
const SELU_ALPHA: f32 = 1.673_263_2;
const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

impl Activation {
    /// `max(x, 0)`
    pub const RELU: Self = Self::Relu { max: f32::INFINITY, slope: 0.0, threshold: 0.0 };
    /// `min(max(x, 0), 6)`
    pub const RELU6: Self = Self::Relu { max: 6.0, slope: 0.0, threshold: 0.0 };

    /// `x` if `x > 0`, else `alpha * x`.
    pub const fn leaky_relu(alpha: f32) -> Self {
        Self::Relu { max: f32::INFINITY, slope: alpha, threshold: 0.0 }
    }

    /// Keras's name of the function, without parameters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Relu { .. } => "relu",
            Self::Elu { .. } => "elu",
            Self::Selu => "selu",
            Self::Gelu { .. } => "gelu",
            Self::Silu => "silu",
            Self::HardSigmoid2 | Self::HardSigmoid3 => "hard_sigmoid",
            Self::HardSwish => "hard_swish",
            Self::Sigmoid => "sigmoid",
            Self::Tanh => "tanh",
            Self::Softplus => "softplus",
            Self::Softsign => "softsign",
            Self::Mish => "mish",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Square => "square",
            Self::Sqrt => "sqrt",
            Self::Rsqrt => "rsqrt",
            Self::Reciprocal => "reciprocal",
            Self::Neg => "negative",
            Self::Abs => "abs",
            Self::Clip { .. } => "clip",
            Self::Affine { .. } => "rescaling",
        }
    }

    /// The function's value at `x`.
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::Linear => x,
            Self::Relu { max, slope, threshold } => {
                if x >= max {
                    max
                } else if x > threshold || x.is_nan() {
                    x
                } else if slope == 0.0 {
                    0.0
                } else {
                    slope * (x - threshold)
                }
            }
            Self::Elu { alpha } => {
                if x > 0.0 {
                    x
                } else {
                    alpha * x.exp_m1()
                }
            }
            Self::Selu => SELU_SCALE * Self::Elu { alpha: SELU_ALPHA }.apply(x),
            Self::Gelu { approximate: true } => {
                0.5 * x * (1.0 + (SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)).tanh())
            }
            Self::Gelu { approximate: false } => {
                0.5 * x * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2))
            }
            Self::Silu => x * sigmoid(x),
            Self::HardSigmoid2 => (0.2 * x + 0.5).clamp(0.0, 1.0),
            Self::HardSigmoid3 => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::HardSwish => x * ((x + 3.0).clamp(0.0, 6.0) / 6.0),
            Self::Sigmoid => sigmoid(x),
            Self::Tanh => x.tanh(),
            Self::Softplus => softplus(x),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Mish => x * softplus(x).tanh(),
            Self::Exp => x.exp(),
            Self::Log => x.ln(),
            Self::Square => x * x,
            Self::Sqrt => x.sqrt(),
            Self::Rsqrt => 1.0 / x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Neg => -x,
            Self::Abs => x.abs(),
            Self::Clip { min, max } => {
                if x < min {
                    min
                } else if x > max {
                    max
                } else {
                    x
                }
            }
            Self::Affine { scale, offset } => scale * x + offset,
        }
    }

    /// The derivative at `x`, where `y = apply(x)` saves computing it again.
    pub fn derivative(self, x: f32, y: f32) -> f32 {
        let indicator = |inside: bool| if inside { 1.0 } else { 0.0 };
        match self {
            Self::Linear => 1.0,
            Self::Relu { max, slope, threshold } => {
                if x >= max {
                    0.0
                } else if x > threshold {
                    1.0
                } else {
                    slope
                }
            }
            Self::Elu { alpha } => {
                if x > 0.0 {
                    1.0
                } else {
                    y + alpha
                }
            }
            Self::Selu => {
                if x > 0.0 {
                    SELU_SCALE
                } else {
                    y + SELU_SCALE * SELU_ALPHA
                }
            }
            Self::Gelu { approximate: true } => {
                let t = (SQRT_2_OVER_PI * (x + GELU_CUBIC * x * x * x)).tanh();
                let du = SQRT_2_OVER_PI * (1.0 + 3.0 * GELU_CUBIC * x * x);
                0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * du
            }
            Self::Gelu { approximate: false } => {
                let phi = (-0.5 * x * x).exp() * (0.5 * SQRT_2_OVER_PI);
                0.5 * (1.0 + libm::erff(x * std::f32::consts::FRAC_1_SQRT_2)) + x * phi
            }
            Self::Silu => {
                let s = sigmoid(x);
                s + y * (1.0 - s)
            }
            Self::HardSigmoid2 => 0.2 * indicator((-2.5..=2.5).contains(&x)),
            Self::HardSigmoid3 => indicator(-3.0 < x && x < 3.0) / 6.0,
            Self::HardSwish => (x + 3.0).clamp(0.0, 6.0) / 6.0 + x * indicator(-3.0 < x && x < 3.0) / 6.0,
            Self::Sigmoid => y * (1.0 - y),
            Self::Tanh => 1.0 - y * y,
            Self::Softplus => sigmoid(x),
            Self::Softsign => 1.0 / ((1.0 + x.abs()) * (1.0 + x.abs())),
            Self::Mish => {
                let t = softplus(x).tanh();
                t + x * sigmoid(x) * (1.0 - t * t)
            }
            Self::Exp => y,
            Self::Log => 1.0 / x,
            Self::Square => 2.0 * x,
            Self::Sqrt => 0.5 / y,
            Self::Rsqrt => -0.5 * y / x,
            Self::Reciprocal => -y * y,
            Self::Neg => -1.0,
            Self::Abs => {
                if x == 0.0 {
                    0.0
                } else {
                    x.signum()
                }
            }
            Self::Clip { min, max } => indicator(min <= x && x <= max),
            Self::Affine { scale, .. } => scale,
        }
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f32) -> f32 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `y = f(x)`.
///
/// # Shapes
/// `x`, `y`: any, equal.
pub fn forward(cx: Cx<'_>, f: Activation, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "x and y differ in length");
    cx.threads.run_chunks(y, GRAIN, |i, y| {
        Apply { x: &x[i * GRAIN..][..y.len()], y }.run(cx.isa, f);
    });
}

/// `y = f(y)`.
pub fn forward_in_place(cx: Cx<'_>, f: Activation, y: &mut [f32]) {
    if f != Activation::Linear {
        cx.threads.run_chunks(y, GRAIN, |_, y| in_place(cx.isa, f, y));
    }
}

/// `dx += f'(x) dy`, where `y = f(x)` is the result of the forward pass.
///
/// # Shapes
/// All four: any, equal.
pub fn backward(cx: Cx<'_>, f: Activation, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(x.len() == dx.len() && y.len() == dx.len() && dy.len() == dx.len(), "slices differ in length");
    cx.threads.run_chunks(dx, GRAIN, |i, dx| {
        let operands = [x, y, dy].map(|all| &all[i * GRAIN..][..dx.len()]);
        cx.isa.dispatch(Backward { f, operands, dx });
    });
}

/// `d *= f'(x)`: [`backward`] where nothing else adds to the gradient, so that no second buffer is needed.
///
/// # Shapes
/// All three: any, equal.
pub fn backward_in_place(cx: Cx<'_>, f: Activation, x: &[f32], y: &[f32], d: &mut [f32]) {
    assert!(x.len() == d.len() && y.len() == d.len(), "slices differ in length");
    cx.threads.run_chunks(d, GRAIN, |i, d| {
        let [x, y] = [x, y].map(|all| &all[i * GRAIN..][..d.len()]);
        cx.isa.dispatch(BackwardInPlace { f, x, y, d });
    });
}
