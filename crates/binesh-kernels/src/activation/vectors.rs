//! The functions and their derivatives on vectors. Their definitions are the scalar twins, [`Activation::apply`] and
//! [`Activation::derivative`].

use super::{Activation, GELU_CUBIC, SELU_ALPHA, SELU_SCALE, SQRT_2_OVER_PI};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd, load_part, math, store_part};

/// A function of a vector, as a type of its own: a loop over it holds nothing else, where one over an [`Activation`]
/// chooses anew at every vector, and computes one after the other (measured for SiLU: four times as long).
trait Function: Copy {
    fn of<S: Simd>(self, s: S, x: S::V) -> S::V;
}

impl Function for Activation {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::V) -> S::V {
        self.vector(s, x)
    }
}

/// `min(max(x, 0), limit)`
#[derive(Clone, Copy)]
struct Rectifier(f32);

impl Function for Rectifier {
    #[inline(always)]
    fn of<S: Simd>(self, s: S, x: S::V) -> S::V {
        s.min(s.splat(self.0), s.max(s.splat(0.0), x))
    }
}

macro_rules! function {
    ($name:ident, $s:ident, $x:ident, $y:expr) => {
        #[derive(Clone, Copy)]
        struct $name;

        impl Function for $name {
            #[inline(always)]
            fn of<S: Simd>(self, $s: S, $x: S::V) -> S::V {
                $y
            }
        }
    };
}

function!(Sigmoid, s, x, math::sigmoid(s, x));
function!(Silu, s, x, s.mul(x, math::sigmoid(s, x)));
function!(HardSwish, s, x, s.mul(x, hard_sigmoid(s, x)));
function!(Gelu, s, x, gelu(s, x));

/// What is to be done with a function.
trait Job {
    fn run<F: Function>(self, isa: Isa, f: F);
}

/// Runs `job` with the function's own type, if networks have it between their layers.
#[inline(always)]
fn with_function<J: Job>(isa: Isa, f: Activation, job: J) {
    match f {
        Activation::Relu { max, slope: 0.0, threshold: 0.0 } => job.run(isa, Rectifier(max)),
        Activation::Sigmoid => job.run(isa, Sigmoid),
        Activation::Silu => job.run(isa, Silu),
        Activation::HardSwish => job.run(isa, HardSwish),
        Activation::Gelu { approximate: false } => job.run(isa, Gelu),
        other => job.run(isa, other),
    }
}

/// `y = f(y)`
struct InPlace<'a>(&'a mut [f32]);

impl Job for InPlace<'_> {
    fn run<F: Function>(self, isa: Isa, f: F) {
        isa.dispatch(MapInPlace { f, y: self.0 });
    }
}

struct MapInPlace<'a, F> {
    f: F,
    y: &'a mut [f32],
}

impl<F: Function> Kernel for MapInPlace<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.y.len() / S::LANES * S::LANES;
        let (vectors, rest) = self.y.split_at_mut(whole);
        for y in vectors.chunks_exact_mut(S::LANES) {
            s.store_slice(self.f.of(s, s.load_slice(y)), y);
        }
        if !rest.is_empty() {
            store_part(s, self.f.of(s, load_part(s, rest)), rest);
        }
    }
}

/// `y = f(x)`
pub(super) struct Apply<'a> {
    pub(super) x: &'a [f32],
    pub(super) y: &'a mut [f32],
}

impl Apply<'_> {
    pub(super) fn run(self, isa: Isa, f: Activation) {
        with_function(isa, f, self);
    }
}

impl Job for Apply<'_> {
    fn run<F: Function>(self, isa: Isa, f: F) {
        isa.dispatch(Map { f, x: self.x, y: self.y });
    }
}

struct Map<'a, F> {
    f: F,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl<F: Function> Kernel for Map<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (y, x) in self.y.chunks_mut(S::LANES).zip(self.x.chunks(S::LANES)) {
            store_part(s, self.f.of(s, load_part(s, x)), y);
        }
    }
}

/// `y = f(y)` on this thread, for the epilogues of other kernels: a call, lest every kernel contain every function.
#[inline(never)]
pub(crate) fn in_place(isa: Isa, f: Activation, y: &mut [f32]) {
    with_function(isa, f, InPlace(y));
}

/// `dx += f'(x) dy`
pub(super) struct Backward<'a> {
    pub(super) f: Activation,
    /// x, y, dy
    pub(super) operands: [&'a [f32]; 3],
    pub(super) dx: &'a mut [f32],
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

/// `d *= f'(x)`
pub(super) struct BackwardInPlace<'a> {
    pub(super) f: Activation,
    pub(super) x: &'a [f32],
    pub(super) y: &'a [f32],
    pub(super) d: &'a mut [f32],
}

impl Kernel for BackwardInPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let [x, y] = [self.x, self.y].map(|all| all.chunks(S::LANES));
        for ((d, x), y) in self.d.chunks_mut(S::LANES).zip(x).zip(y) {
            let slope = self.f.slope(s, load_part(s, x), load_part(s, y));
            store_part(s, s.mul(slope, load_part(s, d)), d);
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
            Self::Gelu { approximate: true } => {
                s.mul(s.mul(s.splat(0.5), x), s.add(one, math::tanh(s, gelu_argument(s, x))))
            }
            Self::Gelu { approximate: false } => gelu(s, x),
            Self::Silu => Silu.of(s, x),
            Self::HardSigmoid2 => {
                let line = s.add(s.mul(s.splat(0.2), x), s.splat(0.5));
                s.max(zero, s.min(one, line))
            }
            Self::HardSigmoid3 => hard_sigmoid(s, x),
            Self::HardSwish => HardSwish.of(s, x),
            Self::Sigmoid => Sigmoid.of(s, x),
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

/// `x/2 * (1 + erf(x / sqrt(2)))`
#[inline(always)]
fn gelu<S: Simd>(s: S, x: S::V) -> S::V {
    let erf = math::erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    s.mul(s.mul(s.splat(0.5), x), s.add(s.splat(1.0), erf))
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
