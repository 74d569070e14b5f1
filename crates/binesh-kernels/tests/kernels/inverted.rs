//! The fused inverted residual is, to the bit, its three convolutions one after the other.

use binesh_kernels::conv2d::{self, Conv2d};
use binesh_kernels::depthwise::{self, Depthwise};
use binesh_kernels::inverted::{self, Filter, Inverted, Pointwise};
use binesh_kernels::{Activation, Costs, Cx, Epilogue, Isa, Threads, Winograd};

use crate::reference::{check_everywhere, f64s, values};

struct Case {
    geom: Depthwise,
    cin: usize,
    cout: Option<usize>,
    activation: Activation,
    residual: bool,
}

fn geom(
    n: usize,
    [h, w]: [usize; 2],
    c: usize,
    k: usize,
    stride: usize,
    pad: [usize; 2],
    [ho, wo]: [usize; 2],
) -> Depthwise {
    Depthwise { n, h, w, c, multiplier: 1, ho, wo, kh: k, kw: k, stride: [stride; 2], dilation: [1; 2], pad }
}

fn pointwise(n: usize, [h, w]: [usize; 2], cin: usize, cout: usize) -> Conv2d {
    let (stride, dilation, pad) = ([1; 2], [1; 2], [0; 2]);
    Conv2d { n, h, w, cin, ho: h, wo: w, cout, kh: 1, kw: 1, stride, dilation, pad, groups: 1 }
}

fn check(case: &Case) {
    let g = &case.geom;
    let cout = case.cout.unwrap_or(g.c);
    let wide = pointwise(g.n, [g.h, g.w], case.cin, g.c);
    let narrow = pointwise(g.n, [g.ho, g.wo], g.c, cout);
    let mut seed = 0;
    let mut values = |len: usize| {
        seed += 1;
        values(len, seed)
    };
    let [x, w1, w2, w3] =
        [wide.x_len(), wide.kernel_len(), g.kernel_len(), narrow.kernel_len()].map(&mut values);
    let [b1, b2, b3] = [g.c, g.c, cout].map(&mut values);
    let residual = case.residual.then(|| values(narrow.y_len()));
    let activation = Some(case.activation);
    let run = |cx: Cx<'_>, fused: bool| {
        let (expand, project) = (conv2d::pack(cx, &wide, &w1, None), conv2d::pack(cx, &narrow, &w3, None));
        let mut map = vec![f32::NAN; wide.y_len()];
        let epilogue = |bias| Epilogue { bias: Some(bias), residual: None, activation };
        conv2d::forward(cx, &wide, &x, &expand, &mut map, &epilogue(b1.as_slice()));
        let mut filtered = vec![f32::NAN; g.y_len()];
        depthwise::forward(cx, g, &map, &w2, &mut filtered, &epilogue(b2.as_slice()));
        let mut expected = filtered.clone();
        if case.cout.is_some() {
            expected = vec![f32::NAN; narrow.y_len()];
            let epilogue = Epilogue { bias: Some(&b3), residual: residual.as_deref(), activation: None };
            conv2d::forward(cx, &narrow, &filtered, &project, &mut expected, &epilogue);
        }
        if !fused {
            return expected;
        }
        let job = Inverted {
            geom: *g,
            cin: case.cin,
            expand: Pointwise { kernel: &expand, width: g.c, bias: Some(&b1), activation },
            filter: Filter { kernel: &w2, bias: Some(&b2), activation },
            project: case.cout.map(|width| Pointwise {
                kernel: &project,
                width,
                bias: Some(&b3),
                activation: None,
            }),
            residual: residual.as_deref(),
        };
        let mut y = vec![f32::NAN; expected.len()];
        inverted::forward(cx, &job, &x, &mut y);
        let bits = |y: &[f32]| y.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&y), bits(&expected), "{g:?}");
        y
    };
    // The parts are compared with exact sums elsewhere; here with each other to the bit, and between the sets.
    let threads = Threads::new(1);
    let winograd = Winograd::Never;
    let exact =
        f64s(&run(Cx { isa: Isa::detect(), threads: &threads, winograd, costs: &Costs::DEFAULT }, false));
    check_everywhere(&exact, 1e-5, |cx| run(cx, true));
}

#[test]
fn mobilenet() {
    let geom = geom(2, [29, 30], 40, 3, 1, [1, 1], [29, 30]);
    check(&Case { geom, cin: 7, cout: Some(24), activation: Activation::RELU6, residual: true });
}

#[test]
fn stride_and_padding_at_the_end() {
    let geom = geom(1, [30, 28], 24, 3, 2, [0, 0], [15, 14]);
    check(&Case { geom, cin: 16, cout: Some(9), activation: Activation::RELU6, residual: false });
}

#[test]
fn efficientnet_stops_before_it_narrows() {
    let geom = geom(1, [26, 27], 19, 5, 2, [2, 2], [13, 14]);
    check(&Case { geom, cin: 5, cout: None, activation: Activation::Silu, residual: false });
}

#[test]
fn several_bands_and_a_group_of_rows() {
    let geom = geom(1, [61, 5], 17, 5, 1, [2, 2], [61, 5]);
    check(&Case { geom, cin: 3, cout: Some(33), activation: Activation::HardSwish, residual: true });
}

#[test]
fn one_pixel_and_padding_wider_than_the_map() {
    let one = geom(3, [1, 1], 8, 3, 1, [1, 1], [1, 1]);
    check(&Case { geom: one, cin: 4, cout: Some(4), activation: Activation::RELU, residual: true });
    let wide = geom(1, [2, 3], 9, 3, 1, [4, 5], [8, 11]);
    check(&Case { geom: wide, cin: 4, cout: Some(4), activation: Activation::RELU, residual: false });
}
