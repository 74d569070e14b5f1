//! Products: convolution, depthwise convolution, matrix product. Each is a sum of terms `y[i] += x[j] * w[k]`; the
//! reference lists the terms once, and forward and both gradients follow from the list.

use binesh_kernels::conv2d::{self, Conv2d};
use binesh_kernels::depthwise::{self, Depthwise};
use binesh_kernels::{Activation, Cx, Epilogue, matmul};
use proptest::prelude::*;

use crate::reference::{Sums, added, check_everywhere, f64s, values};

/// For sums of up to a few thousand products, relative to the largest sum of magnitudes.
const TOLERANCE: f64 = 1e-6;

/// (y, x, w) index of every term.
pub(crate) type Terms = Vec<(usize, usize, usize)>;

pub(crate) struct Operands {
    pub(crate) x: Vec<f32>,
    pub(crate) w: Vec<f32>,
    pub(crate) dy: Vec<f32>,
}

impl Operands {
    pub(crate) fn new(x: usize, w: usize, y: usize) -> Self {
        Self { x: values(x, 1), w: values(w, 2), dy: values(y, 3) }
    }

    pub(crate) fn forward(&self, terms: &Terms, scale: Option<&[f32]>, epilogue: &Epilogue<'_>) -> Sums {
        let mut y = Sums::new(vec![0.0; self.dy.len()]);
        for &(i, j, k) in terms {
            y.add(i, f64::from(self.x[j]) * f64::from(self.w[k]));
        }
        for i in 0..self.dy.len() {
            if let Some(scale) = scale {
                y.scale(i, f64::from(scale[i % scale.len()]));
            }
            if let Some(bias) = epilogue.bias {
                y.add(i, f64::from(bias[i % bias.len()]));
            }
            if let Some(residual) = epilogue.residual {
                y.add(i, f64::from(residual[i]));
            }
            if let Some(f) = epilogue.activation {
                y.values[i] = f64::from(f.apply(y.values[i] as f32));
            }
        }
        y
    }

    pub(crate) fn backward_input(&self, terms: &Terms, start: &[f32]) -> Sums {
        let mut dx = Sums::new(f64s(start));
        for &(i, j, k) in terms {
            dx.add(j, f64::from(self.dy[i]) * f64::from(self.w[k]));
        }
        dx
    }

    pub(crate) fn backward_kernel(&self, terms: &Terms, start: &[f32]) -> Sums {
        let mut dw = Sums::new(f64s(start));
        for &(i, j, k) in terms {
            dw.add(k, f64::from(self.dy[i]) * f64::from(self.x[j]));
        }
        dw
    }
}

pub(crate) fn conv_terms(g: &Conv2d) -> Terms {
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    let mut terms = Terms::new();
    for n in 0..g.n {
        for (oy, ox) in pairs(g.ho, g.wo) {
            for (ky, kx) in pairs(g.kh, g.kw) {
                let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.pad[0]);
                let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.pad[1]);
                if iy >= g.h || ix >= g.w {
                    continue;
                }
                for (co, ci) in pairs(g.cout, cig) {
                    let y = ((n * g.ho + oy) * g.wo + ox) * g.cout + co;
                    let x = ((n * g.h + iy) * g.w + ix) * g.cin + co / cog * cig + ci;
                    terms.push((y, x, ((ky * g.kw + kx) * cig + ci) * g.cout + co));
                }
            }
        }
    }
    terms
}

fn depthwise_terms(g: &Depthwise) -> Terms {
    let mut terms = Terms::new();
    for n in 0..g.n {
        for (oy, ox) in pairs(g.ho, g.wo) {
            for (ky, kx) in pairs(g.kh, g.kw) {
                let iy = (oy * g.stride[0] + ky * g.dilation[0]).wrapping_sub(g.pad[0]);
                let ix = (ox * g.stride[1] + kx * g.dilation[1]).wrapping_sub(g.pad[1]);
                if iy >= g.h || ix >= g.w {
                    continue;
                }
                for (c, m) in pairs(g.c, g.multiplier) {
                    let cm = c * g.multiplier + m;
                    let y = ((n * g.ho + oy) * g.wo + ox) * g.c * g.multiplier + cm;
                    let x = ((n * g.h + iy) * g.w + ix) * g.c + c;
                    terms.push((y, x, (ky * g.kw + kx) * g.c * g.multiplier + cm));
                }
            }
        }
    }
    terms
}

fn pairs(a: usize, b: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..a).flat_map(move |i| (0..b).map(move |j| (i, j)))
}

/// Runs `check` without an epilogue and with a full one.
pub(crate) fn with_epilogues(channels: usize, y: usize, check: impl Fn(Option<&[f32]>, &Epilogue<'_>)) {
    check(None, &Epilogue::default());
    let (scale, bias, residual) = (values(channels, 4), values(channels, 5), values(y, 6));
    for activation in [Activation::RELU6, Activation::Silu] {
        let epilogue =
            Epilogue { bias: Some(&bias), residual: Some(&residual), activation: Some(activation) };
        check(Some(&scale), &epilogue);
    }
}

fn check_conv(g: Conv2d) {
    let terms = conv_terms(&g);
    let o = Operands::new(g.x_len(), g.kernel_len(), g.y_len());
    with_epilogues(g.cout, g.y_len(), |scale, epilogue| {
        o.forward(&terms, scale, epilogue).check(TOLERANCE, |cx| {
            let packed = conv2d::pack(cx, &g, &o.w, scale);
            let mut y = vec![f32::NAN; g.y_len()];
            conv2d::forward(cx, &g, &o.x, &packed, &mut y, epilogue);
            y
        });
    });
    let start = values(g.x_len(), 7);
    o.backward_input(&terms, &start).check(TOLERANCE, |cx| {
        let packed = conv2d::pack_turned(cx, &g, &o.w, None);
        let whole = added(&start, |dx, write| conv2d::backward_input(cx, &g, &o.dy, &o.w, dx, write));
        let again =
            added(&start, |dx, write| conv2d::backward_input_packed(cx, &g, &o.dy, &packed, dx, write));
        assert_eq!(whole, again);
        whole
    });
    let start = values(g.kernel_len(), 8);
    o.backward_kernel(&terms, &start).check(TOLERANCE, |cx| {
        let mut dw = start.clone();
        conv2d::backward_kernel(cx, &g, &o.x, &o.dy, &mut dw);
        dw
    });
}

fn check_depthwise(g: Depthwise) {
    let terms = depthwise_terms(&g);
    let o = Operands::new(g.x_len(), g.kernel_len(), g.y_len());
    with_epilogues(g.c * g.multiplier, g.y_len(), |_, epilogue| {
        o.forward(&terms, None, epilogue).check(TOLERANCE, |cx| {
            let mut y = vec![f32::NAN; g.y_len()];
            depthwise::forward(cx, &g, &o.x, &o.w, &mut y, epilogue);
            y
        });
    });
    let start = values(g.x_len(), 7);
    o.backward_input(&terms, &start).check(TOLERANCE, |cx| {
        added(&start, |dx, write| depthwise::backward_input(cx, &g, &o.dy, &o.w, dx, write))
    });
    let start = values(g.kernel_len(), 8);
    o.backward_kernel(&terms, &start).check(TOLERANCE, |cx| {
        let mut dw = start.clone();
        depthwise::backward_kernel(cx, &g, &o.x, &o.dy, &mut dw);
        dw
    });
}

fn check_matmul(m: usize, k: usize, n: usize) {
    let terms: Terms =
        pairs(m, n).flat_map(|(i, j)| (0..k).map(move |p| (i * n + j, i * k + p, p * n + j))).collect();
    let o = Operands::new(m * k, k * n, m * n);
    with_epilogues(n, m * n, |scale, epilogue| {
        o.forward(&terms, scale, epilogue).check(TOLERANCE, |cx| {
            let packed = matmul::pack(cx, k, n, &o.w, scale);
            let mut c = vec![f32::NAN; m * n];
            matmul::forward(cx, m, k, n, &o.x, &packed, &mut c, epilogue);
            if m == 1 && scale.is_none() {
                let mut row = vec![f32::NAN; n];
                matmul::forward_row(cx, k, n, &o.x, &o.w, &mut row, epilogue);
                assert_eq!(row, c);
            }
            c
        });
    });
    let start = values(m * k, 7);
    o.backward_input(&terms, &start).check(TOLERANCE, |cx| {
        added(&start, |da, write| matmul::backward_input(cx, m, k, n, &o.dy, &o.w, da, write))
    });
    let start = values(k * n, 8);
    o.backward_kernel(&terms, &start).check(TOLERANCE, |cx| {
        let mut db = start.clone();
        matmul::backward_kernel(cx, m, k, n, &o.x, &o.dy, &mut db);
        db
    });
}

/// A layer as Keras `padding="same"` has it; odd sizes and strides put more padding after than before.
pub(crate) fn same(n: usize, hw: [usize; 2], channels: [usize; 2], k: [usize; 2], stride: usize) -> Conv2d {
    let [h, w] = hw;
    let [ho, wo] = hw.map(|l| l.div_ceil(stride));
    let pad = [(h, ho, k[0]), (w, wo, k[1])].map(|(i, o, k)| ((o - 1) * stride + k).saturating_sub(i) / 2);
    let [cin, cout] = channels;
    Conv2d {
        n,
        h,
        w,
        cin,
        ho,
        wo,
        cout,
        kh: k[0],
        kw: k[1],
        stride: [stride; 2],
        dilation: [1, 1],
        pad,
        groups: 1,
    }
}

#[test]
fn typical_convolutions() {
    check_conv(same(2, [9, 11], [16, 32], [3, 3], 1));
    check_conv(same(1, [14, 14], [3, 24], [7, 7], 2));
    check_conv(same(3, [7, 5], [40, 17], [1, 1], 1));
    check_conv(same(1, [8, 8], [20, 16], [1, 1], 2));
    check_conv(same(1, [13, 6], [8, 33], [1, 5], 1));
    check_conv(Conv2d { groups: 4, ..same(2, [6, 7], [8, 12], [3, 3], 2) });
    check_conv(Conv2d { dilation: [2, 3], pad: [2, 3], ..same(1, [9, 10], [5, 7], [3, 3], 1) });
}

#[test]
fn enough_rows_for_several_blocks() {
    check_conv(same(1, [23, 19], [4, 50], [3, 3], 1));
    check_matmul(211, 9, 35);
}

/// Above a million multiply-adds the work is shared out.
#[test]
fn enough_work_for_several_threads() {
    check_conv(same(1, [14, 12], [32, 33], [3, 3], 1));
    check_conv(Conv2d { groups: 2, ..same(1, [23, 25], [24, 40], [3, 3], 1) });
    check_conv(same(2, [33, 31], [3, 24], [5, 5], 2));
    check_matmul(64, 128, 160);
    check_matmul(1, 1100, 1000);
    check_matmul(1, 2311, 517);
}

/// To the bit. `how` may change the way of computing.
pub(crate) fn check_alone(g: Conv2d, how: impl Fn(Cx<'_>) -> Cx<'_>) {
    let (x, w) = (values(g.x_len(), 1), values(g.kernel_len(), 2));
    let one = Conv2d { n: 1, ..g };
    check_everywhere(&[0.0], 1e-9, |cx| {
        let cx = how(cx);
        let packed = conv2d::pack(cx, &g, &w, None);
        let (mut all, mut alone) = (vec![0.0; g.y_len()], vec![0.0; one.y_len()]);
        conv2d::forward(cx, &g, &x, &packed, &mut all, &Epilogue::default());
        for (x, y) in x.chunks_exact(one.x_len()).zip(all.chunks_exact(one.y_len())) {
            conv2d::forward(cx, &one, x, &packed, &mut alone, &Epilogue::default());
            assert_eq!(alone, y);
        }
        vec![0.0]
    });
}

#[test]
fn a_picture_alone_equals_itself_in_a_batch() {
    check_alone(same(5, [7, 9], [20, 40], [3, 3], 1), |cx| cx);
    let (a, b) = (values(7 * 50, 1), values(50 * 30, 2));
    check_everywhere(&[0.0], 1e-9, |cx| {
        let packed = matmul::pack(cx, 50, 30, &b, None);
        let (mut all, mut alone) = (vec![0.0; 7 * 30], vec![0.0; 30]);
        matmul::forward(cx, 7, 50, 30, &a, &packed, &mut all, &Epilogue::default());
        for (a, c) in a.chunks_exact(50).zip(all.chunks_exact(30)) {
            matmul::forward(cx, 1, 50, 30, a, &packed, &mut alone, &Epilogue::default());
            assert_eq!(alone, c);
            matmul::forward_row(cx, 50, 30, a, &b, &mut alone, &Epilogue::default());
            assert_eq!(alone, c);
        }
        vec![0.0]
    });
}

#[test]
fn windows_wholly_in_the_padding() {
    check_conv(Conv2d { ho: 9, wo: 8, pad: [4, 3], ..same(1, [3, 3], [4, 5], [2, 2], 1) });
}

#[test]
fn typical_depthwise() {
    let g = Depthwise {
        n: 2,
        h: 9,
        w: 8,
        c: 35,
        multiplier: 1,
        ho: 9,
        wo: 8,
        kh: 3,
        kw: 3,
        stride: [1, 1],
        dilation: [1, 1],
        pad: [1, 1],
    };
    check_depthwise(g);
    check_depthwise(Depthwise { ho: 5, wo: 4, stride: [2, 2], pad: [1, 0], ..g });
    check_depthwise(Depthwise { kh: 5, kw: 5, pad: [2, 2], c: 16, ..g });
    check_depthwise(Depthwise { dilation: [2, 2], pad: [2, 2], c: 8, ..g });
    check_depthwise(Depthwise { multiplier: 3, c: 7, ..g });
    check_depthwise(Depthwise { h: 41, w: 43, ho: 41, wo: 43, ..g });
}

#[test]
fn typical_matrix_products() {
    for (m, k, n) in [(1, 64, 48), (1, 7, 1), (5, 33, 17), (6, 16, 16), (13, 20, 100), (0, 3, 4), (3, 0, 5)] {
        check_matmul(m, k, n);
    }
}

#[test]
fn empty_batch() {
    check_conv(same(0, [5, 5], [3, 4], [3, 3], 1));
}

prop_compose! {
    fn axis()(length in 1usize..12, taps in 1usize..5, stride in 1usize..4, dilation in 1usize..4, pad in 0usize..4,
        extra in 0usize..3) -> [usize; 6] {
        let span = (taps - 1) * dilation + 1;
        let output = (length + pad).saturating_sub(span) / stride + extra;
        [length, taps, stride, dilation, pad, output]
    }
}

prop_compose! {
    fn conv()(n in 1usize..3, [h, kh, sh, dh, ph, ho] in axis(), [w, kw, sw, dw, pw, wo] in axis(),
        groups in prop_oneof![3 => Just(1usize), 1 => 2usize..4], cig in 1usize..20, cog in 1usize..36) -> Conv2d {
        let (stride, dilation, pad) = ([sh, sw], [dh, dw], [ph, pw]);
        Conv2d { n, h, w, cin: cig * groups, ho, wo, cout: cog * groups, kh, kw, stride, dilation, pad, groups }
    }
}

prop_compose! {
    fn depthwise_sizes()(n in 1usize..3, [h, kh, sh, dh, ph, ho] in axis(), [w, kw, sw, dw, pw, wo] in axis(),
        c in 1usize..40, multiplier in prop_oneof![3 => Just(1usize), 1 => 2usize..4]) -> Depthwise {
        let (stride, dilation, pad) = ([sh, sw], [dh, dw], [ph, pw]);
        Depthwise { n, h, w, c, multiplier, ho, wo, kh, kw, stride, dilation, pad }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_convolution(g in conv()) {
        check_conv(g);
    }

    #[test]
    fn any_depthwise(g in depthwise_sizes()) {
        check_depthwise(g);
    }

    #[test]
    fn any_matrix_product(m in 1usize..20, k in 1usize..40, n in 1usize..70) {
        check_matmul(m, k, n);
    }
}
