//! Elementary functions on vectors. Errors are in units in the last place (ulp) of the exact result, over all
//! finite arguments with a normal result; the bounds are asserted in the tests below for every instruction set.
//! NaN gives NaN.

use super::Simd;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts; the first has 9 significant bits, so that its products with small whole numbers are exact.
const LN2_HIGH: f32 = 355.0 / 512.0;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// `(n, r)` with `x = n ln 2 + r`, `|r| <= ln 2 / 2`.
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let n = s.round(s.mul(x, s.splat(LOG2_E)));
    let r = s.mul_add(n, s.splat(-LN2_HIGH), x);
    (n, s.mul_add(n, s.splat(-LN2_LOW), r))
}

/// `(e^r - 1 - r) / r^2` for `|r| <= ln 2 / 2`, by its Taylor series: the first omitted term is below 2^-27 of `e^r`.
#[inline(always)]
fn exp_tail<S: Simd>(s: S, r: S::V) -> S::V {
    let mut p = s.splat(1.0 / 5040.0);
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5] {
        p = s.mul_add(p, r, s.splat(c));
    }
    p
}

/// `e^x`, within 2 ulp. Overflows to infinity, underflows through the subnormals to 0.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.min(s.splat(89.0), s.max(s.splat(-104.0), x));
    let (n, r) = reduce(s, x);
    let p = s.add(s.mul_add(s.mul(r, r), exp_tail(s, r), r), s.splat(1.0));
    // n may lie outside the exponents of normal numbers; each half does not.
    let half = s.round(s.mul(n, s.splat(0.5)));
    s.mul(s.mul(p, s.exp2_whole(half)), s.exp2_whole(s.sub(n, half)))
}

/// `e^x - 1` for `x <= 44`, within 3 ulp.
#[inline(always)]
pub(crate) fn exp_m1<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-80.0), x);
    let (n, r) = reduce(s, x);
    let p = s.mul_add(s.mul(r, r), exp_tail(s, r), r);
    let scale = s.exp2_whole(n);
    s.mul_add(p, scale, s.sub(scale, s.splat(1.0)))
}

/// `1 / (1 + e^-x)`, within 3 ulp.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    // Of e^-x only what shows beside 1 counts, so it needs no subnormals, and a single scale, half of its own lest it
    // be beyond the largest exponent.
    let x = s.min(s.splat(89.0), s.max(s.splat(-86.0), s.sub(s.splat(0.0), x)));
    let (n, r) = reduce(s, x);
    let p = s.add(s.mul_add(s.mul(r, r), exp_tail(s, r), r), one);
    let half = s.mul(p, s.exp2_whole(s.sub(n, one)));
    s.div(one, s.mul_add(half, s.splat(2.0), one))
}

/// Hyperbolic tangent, within 3 ulp.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    // Beyond 10 the result is 1 to the last bit.
    let t = s.min(s.splat(10.0), s.abs(x));
    let e = exp_m1(s, s.add(t, t));
    let y = s.div(e, s.add(e, s.splat(2.0)));
    s.select(s.less(x, s.splat(0.0)), s.sub(s.splat(0.0), y), y)
}

/// Natural logarithm, within 1 ulp; `-inf` at 0, NaN below.
#[inline(always)]
pub(crate) fn ln<S: Simd>(s: S, x: S::V) -> S::V {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let tiny = s.less(x, s.splat(f32::MIN_POSITIVE));
    let normal = s.select(tiny, s.mul(x, s.splat(8_388_608.0)), x);
    let (m, e) = s.split(normal);
    let e = s.sub(e, s.select(tiny, s.splat(23.0), zero));
    let upper = s.less(s.splat(std::f32::consts::SQRT_2), m);
    let m = s.select(upper, s.mul(m, s.splat(0.5)), m);
    let e = s.add(e, s.select(upper, one, zero));
    // ln m = 2 atanh(q) = 2 q (1 + q^2/3 + q^4/5 + ...) with q = (m - 1) / (m + 1), |q| <= 0.172, which is
    // f - q (f - tail) with f = m - 1: the leading term is exact.
    let f = s.sub(m, one);
    let q = s.div(f, s.add(m, one));
    let q2 = s.mul(q, q);
    let mut p = s.splat(2.0 / 9.0);
    for c in [2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
        p = s.mul_add(p, q2, s.splat(c));
    }
    let tail = s.mul(q2, p);
    let low = s.mul_add(e, s.splat(LN2_LOW), s.sub(zero, s.mul(q, s.sub(f, tail))));
    let y = s.mul_add(e, s.splat(LN2_HIGH), s.add(f, low));
    let y = s.select(s.less_or_equal(x, s.splat(f32::MAX)), y, x);
    let y = s.select(s.less(x, zero), s.splat(f32::NAN), y);
    s.select(s.less(s.abs(x), s.splat(f32::from_bits(1))), s.splat(f32::NEG_INFINITY), y)
}

/// `ln(1 + e^x)`; absolute error within 2e-7 + 1 ulp.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::V) -> S::V {
    let (zero, one) = (s.splat(0.0), s.splat(1.0));
    let u = exp(s, s.sub(zero, s.abs(x)));
    // ln(1 + u), with the rounding of 1 + u undone (Kahan).
    let w = s.add(one, u);
    let exact = s.mul(ln(s, w), s.div(u, s.sub(w, one)));
    let log = s.select(s.less(one, w), exact, u);
    s.add(s.max(zero, x), log)
}

/// The error function; absolute error within 4e-7. `erfc(t) = e^(-t^2) P(1 / (1 + 0.52 t))`, the form of Hastings
/// (Approximations for Digital Computers, 1955) with coefficients fitted by least squares on 0..4.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let t = s.min(s.splat(4.2), s.abs(x));
    let u = s.div(one, s.mul_add(t, s.splat(0.52), one));
    let mut p = s.splat(0.112_178_94);
    for c in [-0.613_491_5, 1.103_152_8, -0.397_117_04, 0.552_968_74, 0.237_147_17, 0.005_160_914] {
        p = s.mul_add(p, u, s.splat(c));
    }
    let y = s.sub(one, s.mul(p, exp(s, s.sub(s.splat(0.0), s.mul(t, t)))));
    s.select(s.less(x, s.splat(0.0)), s.sub(s.splat(0.0), y), y)
}

#[cfg(test)]
mod tests {
    use crate::isa::Isa;
    use crate::simd::{Kernel, Simd, load_part, store_part};

    /// Every function of this file, by number, so that one kernel runs them all.
    struct Apply<'a>(usize, &'a [f32], &'a mut [f32]);

    impl Kernel for Apply<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self(function, x, y) = self;
            for (x, y) in x.chunks(8).zip(y.chunks_mut(8)) {
                let v = load_part(s, x);
                let v = match function {
                    0 => super::exp(s, v),
                    1 => super::exp_m1(s, v),
                    2 => super::sigmoid(s, v),
                    3 => super::tanh(s, v),
                    4 => super::ln(s, v),
                    5 => super::softplus(s, v),
                    _ => super::erf(s, v),
                };
                store_part(s, v, y);
            }
        }
    }

    /// Largest error in ulp of the exact value, or absolute if `absolute`.
    fn largest_error(function: usize, exact: fn(f64) -> f64, from: f32, to: f32, absolute: bool) -> f64 {
        let n = 400_001;
        let x: Vec<f32> = (0..n).map(|i| from + (to - from) * (i as f32 / (n - 1) as f32)).collect();
        let mut worst = 0.0f64;
        for isa in Isa::available() {
            let mut y = vec![0.0; n];
            isa.dispatch(Apply(function, &x, &mut y));
            for (&x, &y) in x.iter().zip(&y) {
                let want = exact(f64::from(x));
                let size = (want as f32).abs().max(f32::MIN_POSITIVE);
                let ulp = f64::from(f32::from_bits(size.to_bits() + 1) - size);
                let unit = if absolute { 1.0 } else { ulp };
                worst = worst.max((f64::from(y) - want).abs() / unit);
            }
        }
        worst
    }

    #[test]
    fn errors_are_as_documented() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let mut report = Vec::new();
        for (name, function, exact, from, to, absolute, bound) in [
            ("exp", 0, f64::exp as fn(f64) -> f64, -87.0, 88.7, false, 2.0),
            ("exp near 0", 0, f64::exp, -1.0, 1.0, false, 2.0),
            ("exp_m1", 1, f64::exp_m1, -90.0, 44.0, false, 3.0),
            ("exp_m1 near 0", 1, f64::exp_m1, -1.0, 1.0, false, 3.0),
            ("sigmoid", 2, sigmoid, -87.0, 90.0, false, 3.0),
            ("sigmoid near 0", 2, sigmoid, -6.0, 6.0, false, 3.0),
            ("tanh", 3, f64::tanh, -12.0, 12.0, false, 3.0),
            ("tanh near 0", 3, f64::tanh, -0.5, 0.5, false, 3.0),
            ("ln", 4, f64::ln, 1e-30, 1e30, false, 1.0),
            ("ln near 1", 4, f64::ln, 0.5, 2.0, false, 1.0),
            ("softplus", 5, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), -8.0, 8.0, true, 7e-7),
            ("softplus below", 5, |x| x.max(0.0) + (-x.abs()).exp().ln_1p(), -80.0, -1.0, true, 2e-7),
            ("erf", 6, libm::erf, -5.0, 5.0, true, 4e-7),
        ] {
            let error = largest_error(function, exact, from, to, absolute);
            report.push((name, error, bound));
        }
        assert!(report.iter().all(|(_, error, bound)| error <= bound), "{report:#?}");
    }

    #[test]
    fn special_values() {
        let inf = f32::INFINITY;
        let x = [inf, -inf, 0.0, f32::NAN, -1.0, 1e-40];
        let log_subnormal = 1e-40f32.ln();
        let ln2 = std::f32::consts::LN_2;
        for (function, want) in [
            (0, [inf, 0.0, 1.0, f32::NAN, (-1f32).exp(), 1.0]),
            (2, [1.0, 0.0, 0.5, f32::NAN, 1.0 / (1.0 + 1f32.exp()), 0.5]),
            (3, [1.0, -1.0, 0.0, f32::NAN, (-1f32).tanh(), 1e-40]),
            (4, [inf, f32::NAN, -inf, f32::NAN, f32::NAN, log_subnormal]),
            (5, [inf, 0.0, ln2, f32::NAN, (-1f32).exp().ln_1p(), ln2]),
            (6, [1.0, -1.0, 0.0, f32::NAN, libm::erff(-1.0), 0.0]),
        ] {
            for isa in Isa::available() {
                let mut y = [7.0; 6];
                isa.dispatch(Apply(function, &x, &mut y));
                for ((x, y), want) in x.iter().zip(y).zip(want) {
                    let close = y == want || (y - want).abs() < 3e-7 || (y.is_nan() && want.is_nan());
                    let close = close || (want.abs() > 1.0 && (y / want - 1.0).abs() < 3e-7);
                    assert!(close, "function {function} at {x} on {isa}: {y}, expected {want}");
                }
            }
        }
    }
}
