//! Element-wise functions of one variable. The same functions run in the epilogues of convolution and dense layers.

use crate::Cx;
use crate::isa::Isa;
use crate::simd::{Kernel, Simd, load_part, math, store_part};
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
        // In pieces that stay in the first-level cache between the copy and the function.
        for (x, y) in x[i * GRAIN..][..y.len()].chunks(PIECE).zip(y.chunks_mut(PIECE)) {
            y.copy_from_slice(x);
            in_place(cx.isa, f, y);
        }
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

const PIECE: usize = 1024;

struct InPlace<'a> {
    f: Activation,
    y: &'a mut [f32],
}

impl Kernel for InPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Apart from the rest, whose choice of function costs as much as this one.
        if let Activation::Relu { max, slope: 0.0, threshold: 0.0 } = self.f {
            for y in self.y.chunks_mut(S::LANES) {
                let v = s.min(s.splat(max), s.max(s.splat(0.0), load_part(s, y)));
                store_part(s, v, y);
            }
            return;
        }
        for y in self.y.chunks_mut(S::LANES) {
            store_part(s, self.f.vector(s, load_part(s, y)), y);
        }
    }
}

/// `y = f(y)` on this thread, for the epilogues of other kernels: a call, lest every kernel contain every function.
#[inline(never)]
pub(crate) fn in_place(isa: Isa, f: Activation, y: &mut [f32]) {
    isa.dispatch(InPlace { f, y });
}

struct Backward<'a> {
    f: Activation,
    /// x, y, dy
    operands: [&'a [f32]; 3],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [x, y, dy] = self.operands.map(|all| all.chunks(S::LANES));
        for (((dx, x), y), dy) in self.dx.chunks_mut(S::LANES).zip(x).zip(y).zip(dy) {
            let slope = self.f.slope(s, load_part(s, x), load_part(s, y));
            store_part(s, s.mul_add(slope, load_part(s, dy), load_part(s, dx)), dx);
        }
    }
}

impl Activation {
    /// The vector form of [`Activation::apply`].
    #[inline(always)]
    fn vector<S: Simd>(self, s: S, x: S::V) -> S::V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        match self {
            Self::Linear => x,
            Self::Relu { max, slope, threshold } => {
                let below = s.mul(s.splat(slope), s.sub(x, s.splat(threshold)));
                let below = if slope == 0.0 { zero } else { below };
                let y = s.select(s.less_or_equal(x, s.splat(threshold)), below, x);
                s.select(s.less_or_equal(s.splat(max), x), s.splat(max), y)
            }
            Self::Elu { alpha } => elu(s, x, alpha),
            Self::Selu => s.mul(s.splat(SELU_SCALE), elu(s, x, SELU_ALPHA)),
            Self::Gelu { approximate } => {
                let t = if approximate {
                    math::tanh(s, gelu_argument(s, x))
                } else {
                    math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)))
                };
                s.mul(s.mul(s.splat(0.5), x), s.add(one, t))
            }
            Self::Silu => s.mul(x, math::sigmoid(s, x)),
            Self::HardSigmoid2 => {
                let line = s.add(s.mul(s.splat(0.2), x), s.splat(0.5));
                s.max(zero, s.min(one, line))
            }
            Self::HardSigmoid3 => hard_sigmoid(s, x),
            Self::HardSwish => s.mul(x, hard_sigmoid(s, x)),
            Self::Sigmoid => math::sigmoid(s, x),
            Self::Tanh => math::tanh(s, x),
            Self::Softplus => math::softplus(s, x),
            Self::Softsign => s.div(x, s.add(one, s.abs(x))),
            Self::Mish => s.mul(x, math::tanh(s, math::softplus(s, x))),
            Self::Exp => math::exp(s, x),
            Self::Log => math::ln(s, x),
            Self::Square => s.mul(x, x),
            Self::Sqrt => s.sqrt(x),
            Self::Rsqrt => s.div(one, s.sqrt(x)),
            Self::Reciprocal => s.div(one, x),
            Self::Neg => s.sub(s.splat(-0.0), x),
            Self::Abs => s.abs(x),
            Self::Clip { min, max } => s.min(s.splat(max), s.max(s.splat(min), x)),
            Self::Affine { scale, offset } => s.add(s.mul(s.splat(scale), x), s.splat(offset)),
        }
    }

    /// The vector form of [`Activation::derivative`].
    #[inline(always)]
    fn slope<S: Simd>(self, s: S, x: S::V, y: S::V) -> S::V {
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        match self {
            Self::Linear => one,
            Self::Relu { max, slope, threshold } => {
                let y = s.select(s.less(s.splat(threshold), x), one, s.splat(slope));
                s.select(s.less_or_equal(s.splat(max), x), zero, y)
            }
            Self::Elu { alpha } => s.select(s.less(zero, x), one, s.add(y, s.splat(alpha))),
            Self::Selu => {
                let below = s.add(y, s.splat(SELU_SCALE * SELU_ALPHA));
                s.select(s.less(zero, x), s.splat(SELU_SCALE), below)
            }
            Self::Gelu { approximate: true } => {
                let t = math::tanh(s, gelu_argument(s, x));
                let slope = s.mul_add(s.splat(3.0 * GELU_CUBIC), s.mul(x, x), one);
                let slope = s.mul(s.mul(x, s.splat(SQRT_2_OVER_PI)), slope);
                let bend = s.mul(s.sub(one, s.mul(t, t)), slope);
                s.mul(s.splat(0.5), s.add(s.add(one, t), bend))
            }
            Self::Gelu { approximate: false } => {
                let erf = math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
                let density = math::exp(s, s.mul(s.splat(-0.5), s.mul(x, x)));
                let density = s.mul(density, s.splat(0.5 * SQRT_2_OVER_PI));
                s.mul_add(x, density, s.mul(s.splat(0.5), s.add(one, erf)))
            }
            Self::Silu => {
                let sigmoid = math::sigmoid(s, x);
                s.mul_add(y, s.sub(one, sigmoid), sigmoid)
            }
            Self::Sigmoid => s.mul(y, s.sub(one, y)),
            Self::Tanh => s.sub(one, s.mul(y, y)),
            Self::Softplus => math::sigmoid(s, x),
            Self::Mish => {
                let t = math::tanh(s, math::softplus(s, x));
                s.mul_add(s.mul(x, math::sigmoid(s, x)), s.sub(one, s.mul(t, t)), t)
            }
            Self::Exp => y,
            Self::HardSigmoid2 => {
                let inside = s.less_or_equal(s.abs(x), s.splat(2.5));
                s.select(inside, s.splat(0.2), zero)
            }
            Self::HardSigmoid3 => s.select(s.less(s.abs(x), s.splat(3.0)), s.splat(1.0 / 6.0), zero),
            Self::HardSwish => {
                let bend = s.mul(x, s.splat(1.0 / 6.0));
                let bend = s.select(s.less(s.abs(x), s.splat(3.0)), bend, zero);
                s.add(hard_sigmoid(s, x), bend)
            }
            Self::Softsign => {
                let root = s.div(one, s.add(one, s.abs(x)));
                s.mul(root, root)
            }
            Self::Log => s.div(one, x),
            Self::Square => s.add(x, x),
            Self::Sqrt => s.div(s.splat(0.5), y),
            Self::Rsqrt => s.div(s.mul(s.splat(-0.5), y), x),
            Self::Reciprocal => s.sub(zero, s.mul(y, y)),
            Self::Neg => s.splat(-1.0),
            Self::Abs => {
                let above = s.select(s.less(zero, x), one, zero);
                s.select(s.less(x, zero), s.splat(-1.0), above)
            }
            Self::Clip { min, max } => {
                let above = s.select(s.less_or_equal(s.splat(min), x), one, zero);
                s.select(s.less_or_equal(x, s.splat(max)), above, zero)
            }
            Self::Affine { scale, .. } => s.splat(scale),
        }
    }
}

#[inline(always)]
fn elu<S: Simd>(s: S, x: S::V, alpha: f32) -> S::V {
    let zero = s.splat(0.0);
    let below = s.mul(s.splat(alpha), math::exp_m1(s, s.min(zero, x)));
    s.select(s.less(zero, x), x, below)
}

/// `relu6(x + 3) / 6`
#[inline(always)]
fn hard_sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let sum = s.add(x, s.splat(3.0));
    s.div(s.max(s.splat(0.0), s.min(s.splat(6.0), sum)), s.splat(6.0))
}

/// `sqrt(2/pi) (x + 0.044715 x^3)`
#[inline(always)]
fn gelu_argument<S: Simd>(s: S, x: S::V) -> S::V {
    let cubic = s.mul(s.splat(GELU_CUBIC), s.mul(s.mul(x, x), x));
    s.mul(s.splat(SQRT_2_OVER_PI), s.add(x, cubic))
}
