//! Pooling against a reference that lists each window's positions.

use binesh_kernels::Write;
use binesh_kernels::pool::{self, Pool};
use proptest::prelude::*;

use crate::reference::{added, check_everywhere, f64s, values};

/// For every output value: the input positions of its window, in scan order.
fn windows(g: &Pool) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    for i in 0..g.y_len() {
        let (c, ox, oy, n) = (i % g.c, i / g.c % g.wo, i / g.c / g.wo % g.ho, i / g.c / g.wo / g.ho);
        let mut window = Vec::new();
        for ky in 0..g.kh {
            for kx in 0..g.kw {
                let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.pad[0]);
                let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.pad[1]);
                if iy < g.h && ix < g.w {
                    window.push(((n * g.h + iy) * g.w + ix) * g.c + c);
                }
            }
        }
        all.push(window);
    }
    all
}

fn check_max(g: Pool) {
    // Few distinct values, so that ties are common.
    let x: Vec<f32> = values(g.x_len(), 1).iter().map(|x| (x * 3.0).round()).collect();
    let dy = values(g.y_len(), 2);
    let start = values(g.x_len(), 3);
    let mut y = Vec::new();
    let mut dx = f64s(&start);
    for (window, dy) in windows(&g).iter().zip(&dy) {
        let mut best: Option<usize> = None;
        for &i in window {
            if best.is_none_or(|b| x[i] > x[b]) {
                best = Some(i);
            }
        }
        y.push(best.map_or(f32::NEG_INFINITY, |b| x[b]));
        if let Some(b) = best {
            dx[b] += f64::from(*dy);
        }
    }
    check_everywhere(&vec![0.0; y.len()], 1e-30, |cx| {
        let mut got = vec![f32::NAN; y.len()];
        pool::max_forward(cx, &g, &x, &mut got);
        got.iter().zip(&y).map(|(got, want)| if got == want { 0.0 } else { 1.0 }).collect()
    });
    check_everywhere(&dx, 1e-6, |cx| {
        added(&start, |dx, write| pool::max_backward(cx, &g, &x, &y, &dy, dx, write))
    });
}

fn check_average(g: Pool) {
    let (x, dy, start) = (values(g.x_len(), 1), values(g.y_len(), 2), values(g.x_len(), 3));
    let mut y = vec![0.0; g.y_len()];
    let mut dx = f64s(&start);
    for (i, window) in windows(&g).iter().enumerate() {
        let count = if g.count_include_pad { g.kh * g.kw } else { window.len() } as f64;
        for &j in window {
            y[i] += f64::from(x[j]) / count;
            dx[j] += f64::from(dy[i]) / count;
        }
    }
    check_everywhere(&y, 1e-6, |cx| {
        let mut y = vec![f32::NAN; g.y_len()];
        pool::average_forward(cx, &g, &x, &mut y);
        y
    });
    check_everywhere(&dx, 1e-6, |cx| {
        added(&start, |dx, write| pool::average_backward(cx, &g, &dy, dx, write))
    });
}

const STEM: Pool = Pool {
    n: 2,
    h: 9,
    w: 11,
    c: 19,
    ho: 5,
    wo: 6,
    kh: 3,
    kw: 3,
    stride: [2, 2],
    dilation: [1, 1],
    pad: [1, 1],
    count_include_pad: false,
};

#[test]
fn typical_pooling() {
    let halving = Pool { h: 8, w: 10, ho: 4, wo: 5, kh: 2, kw: 2, pad: [0, 0], ..STEM };
    for g in [STEM, halving, Pool { count_include_pad: true, ..STEM }] {
        check_max(g);
        check_average(g);
    }
}

#[test]
fn not_a_number_is_found() {
    let g = Pool { n: 1, h: 1, w: 3, c: 1, ho: 1, wo: 1, kh: 1, kw: 3, stride: [1, 1], pad: [0, 0], ..STEM };
    for at in 0..3 {
        let mut x = [1.0, 2.0, 3.0];
        x[at] = f32::NAN;
        check_everywhere(&[1.0, 5.0], 1e-9, |cx| {
            let (mut y, mut dx) = ([0.0], [0.0; 3]);
            pool::max_forward(cx, &g, &x, &mut y);
            pool::max_backward(cx, &g, &x, &y, &[5.0], &mut dx, Write::Add);
            vec![if y[0].is_nan() { 1.0 } else { 0.0 }, dx[at]]
        });
    }
}

#[test]
fn global_pooling() {
    let (n, hw, c) = (3, 49, 21);
    let (x, dy) = (values(n * hw * c, 1), values(n * c, 2));
    let mut mean = vec![0.0; n * c];
    let mut max = vec![f64::NEG_INFINITY; n * c];
    let mut first = vec![0; n * c];
    for (i, &x) in x.iter().enumerate() {
        let j = i / (hw * c) * c + i % c;
        mean[j] += f64::from(x) / hw as f64;
        if f64::from(x) > max[j] {
            (max[j], first[j]) = (f64::from(x), i);
        }
    }
    check_everywhere(&mean, 1e-6, |cx| {
        let mut y = vec![f32::NAN; n * c];
        pool::global_average_forward(cx, n, hw, c, &x, &mut y);
        y
    });
    check_everywhere(&max, 1e-9, |cx| {
        let mut y = vec![f32::NAN; n * c];
        pool::global_max_forward(cx, n, hw, c, &x, &mut y);
        y
    });
    let start = values(x.len(), 3);
    let mut dx = f64s(&start);
    (0..dx.len()).for_each(|i| dx[i] += f64::from(dy[i / (hw * c) * c + i % c]) / hw as f64);
    check_everywhere(&dx, 1e-6, |cx| {
        added(&start, |dx, write| pool::global_average_backward(cx, n, hw, c, &dy, dx, write))
    });
    let mut dx = f64s(&start);
    first.iter().zip(&dy).for_each(|(&i, &dy)| dx[i] += f64::from(dy));
    let y: Vec<f32> = max.iter().map(|&y| y as f32).collect();
    check_everywhere(&dx, 1e-6, |cx| {
        added(&start, |dx, write| pool::global_max_backward(cx, n, hw, c, &x, &y, &dy, dx, write))
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_pooling(hw in [1usize..12, 1usize..12], c in 1usize..36, k in [1usize..5, 1usize..5],
        stride in [1usize..4, 1usize..4], dilation in [1usize..3, 1usize..3], pad in [0usize..3, 0usize..3],
        out in [1usize..6, 1usize..6], count_include_pad: bool) {
        let [h, w] = hw;
        let [ho, wo] = out;
        let g = Pool { n: 2, h, w, c, ho, wo, kh: k[0], kw: k[1], stride, dilation, pad, count_include_pad };
        check_max(g);
        check_average(g);
    }
}
