//! Functions of one variable against `f64` formulas, and their gradients against differences of those.

use binesh_kernels::Activation;
use binesh_kernels::activation::{backward, backward_in_place, forward, forward_in_place};

use crate::reference::{check_everywhere, f64s, values};

fn exact(f: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let elu = |alpha: f64| if x > 0.0 { x } else { alpha * x.exp_m1() };
    match f {
        Activation::Linear => x,
        Activation::Relu { max, slope, threshold } => {
            let (max, slope, threshold) = (f64::from(max), f64::from(slope), f64::from(threshold));
            if x >= max {
                max
            } else if x > threshold {
                x
            } else {
                slope * (x - threshold)
            }
        }
        Activation::Elu { alpha } => elu(f64::from(alpha)),
        Activation::Selu => 1.0507009873554805 * elu(1.6732632423543772),
        Activation::Gelu { approximate: true } => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        }
        Activation::Gelu { approximate: false } => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Activation::Silu => x * sigmoid(x),
        Activation::HardSigmoid2 => (0.2 * x + 0.5).clamp(0.0, 1.0),
        Activation::HardSigmoid3 => ((x + 3.0) / 6.0).clamp(0.0, 1.0),
        Activation::HardSwish => x * ((x + 3.0) / 6.0).clamp(0.0, 1.0),
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Softplus => softplus(x),
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Exp => x.exp(),
        Activation::Log => x.ln(),
        Activation::Square => x * x,
        Activation::Sqrt => x.sqrt(),
        Activation::Rsqrt => 1.0 / x.sqrt(),
        Activation::Reciprocal => 1.0 / x,
        Activation::Neg => -x,
        Activation::Abs => x.abs(),
        Activation::Clip { min, max } => x.clamp(f64::from(min), f64::from(max)),
        Activation::Affine { scale, offset } => f64::from(scale) * x + f64::from(offset),
    }
}

const ALL: [Activation; 29] = [
    Activation::Linear,
    Activation::RELU,
    Activation::RELU6,
    Activation::leaky_relu(0.3),
    Activation::Relu { max: 4.0, slope: 0.1, threshold: 0.5 },
    Activation::Relu { max: 4.0, slope: 0.0, threshold: -1.0 },
    Activation::Elu { alpha: 0.7 },
    Activation::Selu,
    Activation::Gelu { approximate: true },
    Activation::Gelu { approximate: false },
    Activation::Silu,
    Activation::HardSigmoid2,
    Activation::HardSigmoid3,
    Activation::HardSwish,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Softplus,
    Activation::Softsign,
    Activation::Mish,
    Activation::Exp,
    Activation::Log,
    Activation::Square,
    Activation::Sqrt,
    Activation::Rsqrt,
    Activation::Reciprocal,
    Activation::Neg,
    Activation::Abs,
    Activation::Clip { min: -1.5, max: 2.5 },
    Activation::Affine { scale: 1.0 / 127.5, offset: -1.0 },
];

/// Arguments in the function's domain, of a length that is no multiple of any vector, and more than one task.
fn arguments(f: Activation, len: usize) -> Vec<f32> {
    let positive =
        matches!(f, Activation::Log | Activation::Sqrt | Activation::Rsqrt | Activation::Reciprocal);
    values(len, 1).into_iter().map(|x| if positive { 0.1 + 3.0 * (x + 1.0) } else { 8.0 * x }).collect()
}

#[test]
fn values_equal_the_formulas() {
    for f in ALL {
        for len in [0, 1, 7, 8, 1003] {
            let x = arguments(f, len);
            let want: Vec<f64> = x.iter().map(|&x| exact(f, f64::from(x))).collect();
            check_everywhere(&want, 5e-7, |cx| {
                let mut y = vec![f32::NAN; len];
                forward(cx, f, &x, &mut y);
                let mut again = x.clone();
                forward_in_place(cx, f, &mut again);
                assert_eq!(y, again, "{f:?}");
                y
            });
            let twin: Vec<f64> = x.iter().map(|&x| f64::from(f.apply(x))).collect();
            check_everywhere(&twin, 5e-7, |cx| {
                let mut y = vec![f32::NAN; len];
                forward(cx, f, &x, &mut y);
                y
            });
        }
    }
}

#[test]
fn more_than_one_task() {
    let x = arguments(Activation::Silu, 50_001);
    let want: Vec<f64> = x.iter().map(|&x| exact(Activation::Silu, f64::from(x))).collect();
    check_everywhere(&want, 5e-7, |cx| {
        let mut y = vec![f32::NAN; x.len()];
        forward(cx, Activation::Silu, &x, &mut y);
        y
    });
}

#[test]
fn gradients_equal_differences() {
    const STEP: f64 = 1e-5;
    for f in ALL {
        // Away from kinks, where the difference quotient means nothing.
        let kinks = [0.0, 0.5, -1.0, 4.0, 6.0, -3.0, 3.0, -2.5, 2.5, -1.5];
        let near_kink = |x: &f32| kinks.iter().any(|k| (x - k).abs() < 1e-3);
        let x: Vec<f32> = arguments(f, 1003).into_iter().filter(|x| !near_kink(x)).collect();
        let (dy, start) = (values(x.len(), 2), values(x.len(), 3));
        let y: Vec<f32> = x.iter().map(|&x| f.apply(x)).collect();
        let mut want = f64s(&start);
        for ((want, &x), &dy) in want.iter_mut().zip(&x).zip(&dy) {
            let x = f64::from(x);
            *want += (exact(f, x + STEP) - exact(f, x - STEP)) / (2.0 * STEP) * f64::from(dy);
        }
        check_everywhere(&want, 2e-6, |cx| {
            let mut dx = start.clone();
            backward(cx, f, &x, &y, &dy, &mut dx);
            let (mut alone, mut in_place) = (vec![0.0; x.len()], dy.clone());
            backward(cx, f, &x, &y, &dy, &mut alone);
            backward_in_place(cx, f, &x, &y, &mut in_place);
            assert_eq!(alone, in_place, "{f:?}");
            dx
        });
    }
}

#[test]
fn values_and_slopes_at_the_edges() {
    let inf = f32::INFINITY;
    let odd = Activation::Relu { max: 4.0, slope: 0.5, threshold: 1.0 };
    for (f, x, y, slope) in [
        (Activation::RELU, 0.0, 0.0, 0.0),
        (Activation::RELU, -inf, 0.0, 0.0),
        (Activation::RELU6, 6.0, 6.0, 0.0),
        (Activation::RELU6, inf, 6.0, 0.0),
        (Activation::leaky_relu(0.25), 0.0, 0.0, 0.25),
        (odd, 1.0, 0.0, 0.5),
        (odd, 4.0, 4.0, 0.0),
        (Activation::Abs, 0.0, 0.0, 0.0),
        (Activation::Clip { min: -1.0, max: 1.0 }, 1.0, 1.0, 1.0),
        (Activation::Clip { min: -1.0, max: 1.0 }, -1.0, -1.0, 1.0),
        (Activation::Sigmoid, -inf, 0.0, 0.0),
        (Activation::Tanh, inf, 1.0, 0.0),
        (Activation::Softplus, inf, inf, 1.0),
        (Activation::Exp, -inf, 0.0, 0.0),
    ] {
        assert_eq!((f.apply(x), f.derivative(x, y)), (y, slope), "{f:?} at {x}");
        check_everywhere(&[0.0, f64::from(slope)], 1e-9, |cx| {
            let (mut got, mut dx) = ([0.0], [0.0]);
            forward(cx, f, &[x], &mut got);
            backward(cx, f, &[x], &[y], &[1.0], &mut dx);
            assert_eq!(got[0], y, "{f:?} at {x}");
            vec![0.0, dx[0]]
        });
    }
}

#[test]
fn not_a_number_stays() {
    for f in ALL {
        check_everywhere(&[1.0], 1e-9, |cx| {
            let mut y = [0.0];
            forward(cx, f, &[f32::NAN], &mut y);
            vec![if y[0].is_nan() && f.apply(f32::NAN).is_nan() { 1.0 } else { panic!("{f:?}") }]
        });
    }
}
