//! Winograd's algorithm with both tiles, wherever it is defined, against the naive convolution.

use binesh_kernels::conv2d::{self, Conv2d};
use binesh_kernels::{Cx, Epilogue, Tile, Winograd};
use proptest::prelude::*;

use crate::bilinear::{Operands, check_alone, conv_terms, same, with_epilogues};
use crate::reference::{added, check_everywhere, values};

fn check(g: Conv2d) {
    // Of the largest value.
    check_tile(&g, Tile::Four, 5e-5);
    check_tile(&g, Tile::Two, 5e-6);
}

fn check_tile(g: &Conv2d, tile: Tile, tolerance: f64) {
    let terms = conv_terms(g);
    let o = Operands::new(g.x_len(), g.kernel_len(), g.y_len());
    with_epilogues(g.cout, g.y_len(), |scale, epilogue| {
        check_everywhere(&o.forward(&terms, scale, epilogue).values, tolerance, |cx| {
            let cx = wherever_possible(cx, tile);
            let packed = conv2d::pack(cx, g, &o.w, scale);
            let mut y = vec![f32::NAN; g.y_len()];
            conv2d::forward(cx, g, &o.x, &packed, &mut y, epilogue);
            y
        });
    });
    let start = values(g.x_len(), 7);
    check_everywhere(&o.backward_input(&terms, &start).values, tolerance, |cx| {
        let packed = conv2d::pack_turned(wherever_possible(cx, tile), g, &o.w, None);
        let whole = added(&start, |dx, write| {
            conv2d::backward_input(wherever_possible(cx, tile), g, &o.dy, &o.w, dx, write)
        });
        let again = added(&start, |dx, write| {
            conv2d::backward_input_packed(wherever_possible(cx, tile), g, &o.dy, &packed, dx, write)
        });
        assert_eq!(whole, again);
        whole
    });
    let start = values(g.kernel_len(), 8);
    check_everywhere(&o.backward_kernel(&terms, &start).values, tolerance, |cx| {
        let mut dw = start.clone();
        conv2d::backward_kernel(wherever_possible(cx, tile), g, &o.x, &o.dy, &mut dw);
        dw
    });
}

fn wherever_possible(cx: Cx<'_>, tile: Tile) -> Cx<'_> {
    Cx { winograd: Winograd::WherePossible(tile), ..cx }
}

/// What `--exact` promises: the smaller tile is no further from the truth than the direct sum, give or take.
#[test]
fn the_smaller_tile_loses_no_digits() {
    let g = same(1, [7, 7], [128, 48], [3, 3], 1);
    let terms = conv_terms(&g);
    let o = Operands::new(g.x_len(), g.kernel_len(), g.y_len());
    let exact = o.forward(&terms, None, &Epilogue::default()).values;
    let largest = exact.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    check_everywhere(&[0.0], 1e-9, |cx| {
        let off = |winograd| {
            let cx = Cx { winograd, ..cx };
            let packed = conv2d::pack(cx, &g, &o.w, None);
            let mut y = vec![0.0; g.y_len()];
            conv2d::forward(cx, &g, &o.x, &packed, &mut y, &Epilogue::default());
            y.iter().zip(&exact).fold(0.0f64, |m, (y, exact)| m.max((f64::from(*y) - exact).abs())) / largest
        };
        let tile = |tile| off(Winograd::WherePossible(tile));
        let (direct, two, four) = (off(Winograd::Never), tile(Tile::Two), tile(Tile::Four));
        println!("direct {direct:.1e}, F(2x2) {two:.1e}, F(4x4) {four:.1e}");
        assert!(two <= 2.0 * direct && two < four, "direct {direct:e}, F(2x2) {two:e}, F(4x4) {four:e}");
        vec![0.0]
    });
}

#[test]
fn whole_tiles() {
    check(same(1, [8, 12], [16, 32], [3, 3], 1));
    check(same(3, [4, 4], [8, 16], [3, 3], 1));
}

#[test]
fn edges() {
    check(same(2, [9, 11], [16, 32], [3, 3], 1));
    check(same(2, [7, 7], [24, 16], [3, 3], 1));
    check(same(1, [1, 1], [17, 5], [3, 3], 1));
    check(same(2, [2, 3], [40, 33], [3, 3], 1));
}

#[test]
fn padding_and_windows_beyond_the_input() {
    check(Conv2d { ho: 5, wo: 7, pad: [0, 0], ..same(2, [7, 9], [6, 9], [3, 3], 1) });
    check(Conv2d { ho: 9, wo: 11, pad: [2, 2], ..same(1, [7, 9], [6, 9], [3, 3], 1) });
    check(Conv2d { ho: 14, wo: 3, pad: [2, 0], ..same(1, [3, 5], [6, 9], [3, 3], 1) });
}

#[test]
fn more_channels_than_are_transformed_at_once() {
    check(same(1, [6, 5], [150, 130], [3, 3], 1));
}

#[test]
fn enough_tiles_for_blocks_of_several_threads() {
    check(same(2, [47, 71], [9, 20], [3, 3], 1));
}

#[test]
fn a_picture_alone_equals_itself_in_a_batch() {
    for tile in [Tile::Two, Tile::Four] {
        check_alone(same(9, [19, 22], [20, 40], [3, 3], 1), |cx| wherever_possible(cx, tile));
    }
}

#[test]
fn empty_batch() {
    check(same(0, [5, 5], [3, 4], [3, 3], 1));
}

prop_compose! {
    fn axis()(length in 1usize..14, pad in 0usize..3, extra in 0usize..3) -> [usize; 3] {
        [length, pad, (length + 2 * pad).saturating_sub(2) + extra]
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any(n in 1usize..4, [h, ph, ho] in axis(), [w, pw, wo] in axis(), cin in 1usize..40, cout in 1usize..70) {
        let g = same(n, [h, w], [cin, cout], [3, 3], 1);
        check(Conv2d { ho, wo, pad: [ph, pw], ..g });
    }
}
