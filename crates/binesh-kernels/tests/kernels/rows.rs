//! Functions of rows (softmax, normalisation) and of two operands, against `f64`, and their gradients against
//! differences of the `f64` formulas.

use binesh_kernels::binary::{self, BinaryOp};
use binesh_kernels::norm::{self, BatchNormGradients};
use binesh_kernels::{prelu, softmax};
use proptest::prelude::*;

use crate::reference::{Sums, check_everywhere, f64s, values};

const STEP: f64 = 1e-5;

/// `start + ` the gradient of `sum of dy * f(x)` by central differences.
fn gradient(x: &[f64], dy: &[f64], start: &[f32], f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let loss = |x: &[f64]| f(x).iter().zip(dy).map(|(y, dy)| y * dy).sum::<f64>();
    let mut x = x.to_vec();
    let mut partial = |i: usize| {
        let at = x[i];
        x[i] = at + STEP;
        let above = loss(&x);
        x[i] = at - STEP;
        let below = loss(&x);
        x[i] = at;
        (above - below) / (2.0 * STEP)
    };
    start.iter().enumerate().map(|(i, &start)| f64::from(start) + partial(i)).collect()
}

fn softmax_f64(x: &[f64], c: usize) -> Vec<f64> {
    let row = |x: &[f64]| {
        let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let e: Vec<_> = x.iter().map(|x| (x - max).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.into_iter().map(|e| e / sum).collect::<Vec<_>>()
    };
    x.chunks_exact(c).flat_map(row).collect()
}

#[test]
fn softmax_and_its_gradient() {
    for (rows, c) in [(1, 1000), (5, 7), (3, 1), (40, 16)] {
        let x: Vec<f32> = values(rows * c, 1).iter().map(|x| 20.0 * x).collect();
        let y64 = softmax_f64(&f64s(&x), c);
        check_everywhere(&y64, 1e-6, |cx| {
            let mut y = vec![f32::NAN; x.len()];
            softmax::forward(cx, c, &x, &mut y);
            y
        });
        let (dy, start) = (values(x.len(), 2), values(x.len(), 3));
        let want = gradient(&f64s(&x), &f64s(&dy), &start, |x| softmax_f64(x, c));
        let y: Vec<f32> = y64.iter().map(|&y| y as f32).collect();
        check_everywhere(&want, 1e-6, |cx| {
            let mut dx = start.clone();
            softmax::backward(cx, c, &y, &dy, &mut dx);
            dx
        });
    }
}

#[test]
fn softmax_of_large_values() {
    check_everywhere(&[1.0, 0.0, 0.0, 0.5, 0.5, 0.0], 1e-7, |cx| {
        let mut y = vec![f32::NAN; 6];
        softmax::forward(cx, 3, &[1e30, -1e30, f32::NEG_INFINITY, 500.0, 500.0, -500.0], &mut y);
        y
    });
}

#[test]
fn batch_norm_with_constant_statistics() {
    for (rows, c) in [(300, 3), (70, 40), (700, 100)] {
        let x = values(rows * c, 1);
        let (mean, gamma, dy) = (values(c, 2), values(c, 3), values(rows * c, 4));
        let inv_std: Vec<f32> = values(c, 5).iter().map(|v| v.abs() + 0.5).collect();
        let (scale, shift) = (values(c, 6), values(c, 7));
        let want: Vec<f64> = (0..x.len())
            .map(|i| f64::from(x[i]) * f64::from(scale[i % c]) + f64::from(shift[i % c]))
            .collect();
        check_everywhere(&want, 1e-6, |cx| {
            let mut y = vec![f32::NAN; x.len()];
            norm::scale_shift(cx, c, &x, &scale, &shift, &mut y);
            y
        });
        let (start_x, start_gamma, start_beta) = (values(rows * c, 8), values(c, 9), values(c, 10));
        let mut want_x = f64s(&start_x);
        let (mut want_gamma, mut want_beta) = (f64s(&start_gamma), f64s(&start_beta));
        for i in 0..x.len() {
            let [x, dy] = [x[i], dy[i]].map(f64::from);
            let [mean, inv_std, gamma] = [mean[i % c], inv_std[i % c], gamma[i % c]].map(f64::from);
            want_x[i] += dy * gamma * inv_std;
            want_gamma[i % c] += dy * (x - mean) * inv_std;
            want_beta[i % c] += dy;
        }
        let want = [want_x, want_gamma, want_beta];
        for (which, want) in want.iter().enumerate() {
            check_everywhere(want, 1e-6, |cx| {
                let mut all = [start_x.clone(), start_gamma.clone(), start_beta.clone()];
                let [dx, dgamma, dbeta] = &mut all;
                let gradients = BatchNormGradients { dx: Some(dx), dgamma: Some(dgamma), dbeta: Some(dbeta) };
                norm::batch_norm_backward(cx, c, &x, &mean, &inv_std, &gamma, &dy, gradients);
                all[which].clone()
            });
        }
    }
}

fn layer_norm_f64(x: &[f64], gamma: &[f64], beta: &[f64], eps: f64) -> Vec<f64> {
    let c = gamma.len();
    let row = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / c as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / c as f64;
        (0..c).map(|i| (x[i] - mean) / (variance + eps).sqrt() * gamma[i] + beta[i]).collect::<Vec<_>>()
    };
    x.chunks_exact(c).flat_map(row).collect()
}

#[test]
fn layer_norm_and_its_gradients() {
    for (rows, c) in [(9, 8), (4, 100), (30, 5)] {
        let (x, gamma, beta, dy) = (values(rows * c, 1), values(c, 2), values(c, 3), values(rows * c, 4));
        let eps = 1e-3;
        let (x64, gamma64, beta64, dy64) = (f64s(&x), f64s(&gamma), f64s(&beta), f64s(&dy));
        let (ones, zeros) = (vec![1.0; c], vec![0.0; c]);
        for plain in [false, true] {
            let (gamma64, beta64) = if plain { (&ones, &zeros) } else { (&gamma64, &beta64) };
            check_everywhere(&layer_norm_f64(&x64, gamma64, beta64, 1e-3), 2e-6, |cx| {
                let mut y = vec![f32::NAN; x.len()];
                let [gamma, beta] = [&gamma, &beta].map(|v| (!plain).then_some(v.as_slice()));
                norm::layer_norm_forward(cx, c, &x, gamma, beta, eps, &mut y);
                y
            });
        }
        let starts = [values(rows * c, 5), values(c, 6), values(c, 7)];
        let want = [
            gradient(&x64, &dy64, &starts[0], |x| layer_norm_f64(x, &gamma64, &beta64, 1e-3)),
            gradient(&gamma64, &dy64, &starts[1], |gamma| layer_norm_f64(&x64, gamma, &beta64, 1e-3)),
            gradient(&beta64, &dy64, &starts[2], |beta| layer_norm_f64(&x64, &gamma64, beta, 1e-3)),
        ];
        for (which, want) in want.iter().enumerate() {
            check_everywhere(want, 2e-6, |cx| {
                let mut all = starts.clone();
                let [dx, dgamma, dbeta] = &mut all;
                let gradients = BatchNormGradients { dx: Some(dx), dgamma: Some(dgamma), dbeta: Some(dbeta) };
                norm::layer_norm_backward(cx, c, &x, Some(&gamma), eps, &dy, gradients);
                all[which].clone()
            });
        }
    }
}

/// Index into an operand of `shape` for position `i` of `y_shape`.
fn source(mut i: usize, y_shape: &[usize], shape: &[usize]) -> usize {
    let (mut at, mut step) = (0, 1);
    for axis in 0..y_shape.len() {
        let dim = y_shape[y_shape.len() - 1 - axis];
        if axis < shape.len() {
            let own = shape[shape.len() - 1 - axis];
            at += if own == 1 { 0 } else { i % dim * step };
            step *= own;
        }
        i /= dim;
    }
    at
}

fn apply_f64(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        BinaryOp::Maximum => a.max(b),
        BinaryOp::Minimum => a.min(b),
        BinaryOp::Power => a.powf(b),
    }
}

/// (derivative for a, derivative for b)
fn slopes_f64(op: BinaryOp, a: f64, b: f64) -> (f64, f64) {
    let first = |yes: bool| if yes { (1.0, 0.0) } else { (0.0, 1.0) };
    match op {
        BinaryOp::Add => (1.0, 1.0),
        BinaryOp::Subtract => (1.0, -1.0),
        BinaryOp::Multiply => (b, a),
        BinaryOp::Divide => (1.0 / b, -a / (b * b)),
        BinaryOp::Maximum => first(a >= b),
        BinaryOp::Minimum => first(a <= b),
        BinaryOp::Power => (b * a.powf(b - 1.0), a.powf(b) * a.ln()),
    }
}

const OPS: [BinaryOp; 7] = [
    BinaryOp::Add,
    BinaryOp::Subtract,
    BinaryOp::Multiply,
    BinaryOp::Divide,
    BinaryOp::Maximum,
    BinaryOp::Minimum,
    BinaryOp::Power,
];

fn check_binary(op: BinaryOp, a_shape: &[usize], b_shape: &[usize], y_shape: &[usize]) {
    let [a_len, b_len, y_len] = [a_shape, b_shape, y_shape].map(|shape| shape.iter().product());
    // Quarters, so that ties are common; positive where the function needs it.
    let quarters =
        |len, seed| values(len, seed).iter().map(|v| (v * 4.0).round() / 4.0).collect::<Vec<f32>>();
    let (mut a, mut b) = (quarters(a_len, 1), quarters(b_len, 2));
    if matches!(op, BinaryOp::Divide | BinaryOp::Power) {
        a.iter_mut().for_each(|a| *a = a.abs() + 0.5);
        b.iter_mut().for_each(|b| *b = b.abs() + 0.5);
    }
    let (dy, da, db) = (values(y_len, 3), values(a_len, 4), values(b_len, 5));
    let mut want_y = vec![0.0; y_len];
    let (mut want_a, mut want_b) = (Sums::new(f64s(&da)), Sums::new(f64s(&db)));
    for i in 0..y_len {
        let (ia, ib) = (source(i, y_shape, a_shape), source(i, y_shape, b_shape));
        let (a, b, dy) = (f64::from(a[ia]), f64::from(b[ib]), f64::from(dy[i]));
        want_y[i] = apply_f64(op, a, b);
        let (slope_a, slope_b) = slopes_f64(op, a, b);
        want_a.add(ia, slope_a * dy);
        want_b.add(ib, slope_b * dy);
    }
    check_everywhere(&want_y, 1e-6, |cx| {
        let mut y = vec![f32::NAN; y_len];
        binary::forward(cx, op, &a, a_shape, &b, b_shape, &mut y, y_shape);
        y
    });
    want_a.check(1e-6, |cx| {
        let mut da = da.clone();
        binary::backward(cx, op, &a, a_shape, &b, b_shape, &dy, y_shape, Some(&mut da), None);
        da
    });
    want_b.check(1e-6, |cx| {
        let mut db = db.clone();
        binary::backward(cx, op, &a, a_shape, &b, b_shape, &dy, y_shape, None, Some(&mut db));
        db
    });
}

#[test]
fn typical_broadcasts() {
    for op in OPS {
        check_binary(op, &[2, 7, 5, 9], &[2, 7, 5, 9], &[2, 7, 5, 9]);
        check_binary(op, &[2, 7, 5, 9], &[9], &[2, 7, 5, 9]);
        check_binary(op, &[9], &[2, 7, 5, 9], &[2, 7, 5, 9]);
        check_binary(op, &[2, 7, 5, 9], &[2, 1, 1, 9], &[2, 7, 5, 9]);
        check_binary(op, &[2, 7, 5, 1], &[2, 1, 1, 9], &[2, 7, 5, 9]);
        check_binary(op, &[2, 7, 5, 9], &[], &[2, 7, 5, 9]);
        check_binary(op, &[], &[], &[]);
        check_binary(op, &[1, 1], &[3, 1], &[3, 1]);
        check_binary(op, &[0, 4], &[4], &[0, 4]);
    }
}

#[test]
fn broadcasts_over_several_tasks() {
    for op in [BinaryOp::Multiply, BinaryOp::Maximum] {
        check_binary(op, &[40_000], &[40_000], &[40_000]);
        check_binary(op, &[2, 300, 64], &[2, 1, 64], &[2, 300, 64]);
        check_binary(op, &[700, 64], &[64], &[700, 64]);
        check_binary(op, &[700, 64], &[700, 1], &[700, 64]);
        check_binary(op, &[40_000], &[1], &[40_000]);
    }
}

#[test]
fn maximum_of_not_a_number() {
    for op in [BinaryOp::Maximum, BinaryOp::Minimum] {
        for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
            check_everywhere(&[1.0], 1e-9, |cx| {
                let mut y = [0.0];
                binary::forward(cx, op, &[a], &[1], &[b], &[1], &mut y, &[1]);
                vec![if y[0].is_nan() && op.apply(a, b).is_nan() { 1.0 } else { 0.0 }]
            });
        }
    }
}

#[test]
#[should_panic(expected = "do not broadcast")]
fn shapes_that_do_not_broadcast_are_refused() {
    refused(&[2, 3], &[2]);
}

#[test]
#[should_panic(expected = "larger than both")]
fn results_larger_than_both_operands_are_refused() {
    refused(&[2, 1], &[1]);
}

/// Adds operands of these shapes to a result of `[2, 3]`, which must panic.
fn refused(a_shape: &[usize], b_shape: &[usize]) {
    let [a, b] = [a_shape, b_shape].map(|shape| values(shape.iter().product(), 1));
    check_everywhere(&[0.0; 6], 1e9, |cx| {
        let mut y = vec![0.0; 6];
        binary::forward(cx, BinaryOp::Add, &a, a_shape, &b, b_shape, &mut y, &[2, 3]);
        y
    });
}

#[test]
fn prelu_and_its_gradients() {
    let shape = [2, 5, 4, 7];
    for alpha_shape in [&[5usize, 4, 7][..], &[1, 1, 7], &[1, 1, 1]] {
        let x: Vec<f32> = values(280, 1).iter().map(|v| (v * 4.0).round() / 4.0).collect();
        let alpha = values(alpha_shape.iter().product(), 2);
        let (dy, dx, dalpha) = (values(280, 3), values(280, 4), values(alpha.len(), 5));
        let mut want = vec![0.0; 280];
        let (mut want_x, mut want_alpha) = (f64s(&dx), f64s(&dalpha));
        for i in 0..280 {
            let j = source(i, &shape, alpha_shape);
            let (x, alpha, dy) = (f64::from(x[i]), f64::from(alpha[j]), f64::from(dy[i]));
            want[i] = if x > 0.0 { x } else { alpha * x };
            want_x[i] += dy
                * if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    alpha
                } else {
                    0.0
                };
            want_alpha[j] += dy * x.min(0.0);
        }
        check_everywhere(&want, 1e-6, |cx| {
            let mut y = vec![f32::NAN; 280];
            prelu::forward(cx, &x, &shape, &alpha, alpha_shape, &mut y);
            y
        });
        check_everywhere(&want_x, 1e-6, |cx| {
            let mut dx = dx.clone();
            prelu::backward(cx, &x, &shape, &alpha, alpha_shape, &dy, Some(&mut dx), None);
            dx
        });
        check_everywhere(&want_alpha, 1e-6, |cx| {
            let mut dalpha = dalpha.clone();
            prelu::backward(cx, &x, &shape, &alpha, alpha_shape, &dy, None, Some(&mut dalpha));
            dalpha
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_broadcast(axes in proptest::collection::vec((1usize..6, 0u8..4), 0..5), skip_a in 0usize..3,
        skip_b in 0usize..3, op in proptest::sample::select(&OPS[..])) {
        // 0, 1: both have the axis; 2: `a` repeats it; 3: `b` does.
        let y: Vec<_> = axes.iter().map(|axis| axis.0).collect();
        let a: Vec<_> = axes.iter().map(|axis| if axis.1 == 2 { 1 } else { axis.0 }).collect();
        let b: Vec<_> = axes.iter().map(|axis| if axis.1 == 3 { 1 } else { axis.0 }).collect();
        // Leading axes of length 1 may be left out.
        let trim = |shape: &[usize], n: usize| {
            let ones = shape.iter().take_while(|&&d| d == 1).count();
            shape[n.min(ones)..].to_vec()
        };
        check_binary(op, &trim(&a, skip_a), &trim(&b, skip_b), &y);
    }
}
