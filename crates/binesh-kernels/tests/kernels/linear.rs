//! Functions that move, repeat or mix values linearly. The reference is the list of terms `y[i] += factor * x[j]`;
//! the gradient is its transpose.

use binesh_kernels::layout::{self, Border, Rows};
use binesh_kernels::resize::{self, Resize};
use binesh_kernels::{Cx, reduce};
use proptest::prelude::*;

use crate::reference::{Sums, added, check_everywhere, f64s, values};

struct Linear {
    x: usize,
    y: usize,
    terms: Vec<(usize, usize, f64)>,
}

impl Linear {
    /// `forward` overwrites `y`; `backward` adds to `dx`.
    fn check(
        &self,
        forward: impl Fn(Cx<'_>, &[f32], &mut [f32]),
        backward: impl Fn(Cx<'_>, &[f32], &mut [f32]),
    ) {
        let x = values(self.x, 1);
        let mut want = Sums::new(vec![0.0; self.y]);
        self.terms.iter().for_each(|&(i, j, factor)| want.add(i, factor * f64::from(x[j])));
        want.check(1e-6, |cx| {
            let mut y = vec![f32::NAN; self.y];
            forward(cx, &x, &mut y);
            y
        });
        let (dy, start) = (values(self.y, 2), values(self.x, 3));
        let mut want = Sums::new(f64s(&start));
        self.terms.iter().for_each(|&(i, j, factor)| want.add(j, factor * f64::from(dy[i])));
        want.check(1e-6, |cx| {
            let mut dx = start.clone();
            backward(cx, &dy, &mut dx);
            dx
        });
    }
}

fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let total: usize = shape.iter().product();
    let index = |mut i: usize| {
        let mut index = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            index[axis] = i % shape[axis];
            i /= shape[axis];
        }
        index
    };
    (0..total).map(index).collect()
}

fn flat(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |at, (i, d)| at * d + i)
}

#[test]
fn resizing() {
    for (h, w, ho, wo) in [(3, 4, 6, 12), (7, 5, 3, 4), (1, 1, 4, 3), (6, 6, 6, 6), (5, 2, 11, 3)] {
        let g = Resize { n: 2, h, w, c: 5, ho, wo };
        let (x, y) = (2 * h * w * 5, 2 * ho * wo * 5);
        let mut nearest = Vec::new();
        let mut bilinear = Vec::new();
        for (i, index) in indices(&[2, ho, wo, 5]).iter().enumerate() {
            let at = |o: usize, from: usize, to: usize| (o as f64 + 0.5) * from as f64 / to as f64;
            let (cy, cx) = (at(index[1], h, ho), at(index[2], w, wo));
            let place = |iy: f64, ix: f64| {
                let clamp = |v: f64, len: usize| v.clamp(0.0, len as f64 - 1.0) as usize;
                flat(&[index[0], clamp(iy, h), clamp(ix, w), index[3]], &[2, h, w, 5])
            };
            nearest.push((i, place(cy.floor(), cx.floor()), 1.0));
            let (top, left) = ((cy - 0.5).floor(), (cx - 0.5).floor());
            let (v, u) = (cy - 0.5 - top, cx - 0.5 - left);
            for (dy, fy) in [(0.0, 1.0 - v), (1.0, v)] {
                for (dx, fx) in [(0.0, 1.0 - u), (1.0, u)] {
                    bilinear.push((i, place(top + dy, left + dx), fy * fx));
                }
            }
        }
        Linear { x, y, terms: nearest }.check(
            |cx, x, y| resize::nearest_forward(cx, &g, x, y),
            |cx, dy, dx| resize::nearest_backward(cx, &g, dy, dx),
        );
        Linear { x, y, terms: bilinear }.check(
            |cx, x, y| resize::bilinear_forward(cx, &g, x, y),
            |cx, dy, dx| resize::bilinear_backward(cx, &g, dy, dx),
        );
    }
}

/// The numbers of `tf.image.resize` (TensorFlow 2.15) for a 7x5 picture with value 2 (15 row + 3 column).
#[test]
fn bilinear_equals_tensorflow() {
    let x: Vec<f32> = (0..35).map(|i| 2.0 * (15 * (i / 5) + 3 * (i % 5)) as f32).collect();
    let want = [20.75, 28.25, 35.75, 43.25, 90.75, 98.25, 105.75, 113.25, 160.75, 168.25, 175.75, 183.25];
    check_everywhere(&want, 1e-7, |cx| {
        let mut y = vec![0.0; 12];
        resize::bilinear_forward(cx, &Resize { n: 1, h: 7, w: 5, c: 1, ho: 3, wo: 4 }, &x, &mut y);
        y
    });
}

#[test]
fn borders() {
    let g = Border { n: 2, h: 3, w: 4, c: 3, rows: [2, 1], columns: [0, 3] };
    let (inner, outer) = ([2, 3, 4, 3], [2, 6, 7, 3]);
    let (small, large) = (72, 252);
    let place = |index: &[usize]| flat(&[index[0], index[1] + 2, index[2], index[3]], &outer);
    let pairs: Vec<_> = indices(&inner).iter().map(|index| (flat(index, &inner), place(index))).collect();
    Linear { x: small, y: large, terms: pairs.iter().map(|&(i, o)| (o, i, 1.0)).collect() }.check(
        |cx, x, y| layout::pad2d(cx, &g, 0.0, x, y),
        |cx, dy, dx| {
            dx.copy_from_slice(&added(dx, |dx, write| layout::pad2d_backward(cx, &g, dy, dx, write)))
        },
    );
    Linear { x: large, y: small, terms: pairs.iter().map(|&(i, o)| (i, o, 1.0)).collect() }
        .check(|cx, x, y| layout::crop2d(cx, &g, x, y), |cx, dy, dx| layout::crop2d_backward(cx, &g, dy, dx));
    let mut want = vec![-7.5; large];
    let x = values(small, 1);
    pairs.iter().for_each(|&(i, o)| want[o] = f64::from(x[i]));
    check_everywhere(&want, 1e-9, |cx| {
        let mut y = vec![f32::NAN; large];
        layout::pad2d(cx, &g, -7.5, &x, &mut y);
        y
    });
}

#[test]
fn concatenation_and_its_gradient() {
    // Two parts of 3 and 5 channels side by side, over 50,000 rows: several tasks.
    let (rows, parts, total) = (50_000, [(3, 0), (5, 3)], 8);
    for (len, offset) in parts {
        let (own, joint) = (Rows { offset: 0, stride: len }, Rows { offset, stride: total });
        let x = values(rows * len, 1);
        let y = values(rows * total, 2);
        let mut want = f64s(&y);
        (0..rows * len).for_each(|i| want[i / len * total + offset + i % len] = f64::from(x[i]));
        check_everywhere(&want, 1e-9, |cx| {
            let mut y = y.clone();
            layout::copy_rows(cx, rows, len, &x, own, &mut y, joint);
            y
        });
        let mut want = f64s(&x);
        (0..rows * len).for_each(|i| want[i] += f64::from(y[i / len * total + offset + i % len]));
        check_everywhere(&want, 1e-7, |cx| {
            let mut dx = x.clone();
            layout::add_rows(cx, rows, len, &y, joint, &mut dx, own);
            dx
        });
    }
}

#[test]
#[should_panic(expected = "rows outside the array")]
fn rows_outside_are_refused() {
    check_everywhere(&[0.0; 6], 1.0, |cx| {
        let mut y = vec![0.0; 6];
        let rows = Rows { offset: 0, stride: 4 };
        layout::copy_rows(cx, 2, 3, &[0.0; 6], Rows { offset: 0, stride: 3 }, &mut y, rows);
        y
    });
}

fn check_permute(shape: &[usize], perm: &[usize]) {
    let to: Vec<_> = perm.iter().map(|&axis| shape[axis]).collect();
    let mut inverse = vec![0; perm.len()];
    perm.iter().enumerate().for_each(|(i, &axis)| inverse[axis] = i);
    let source = |index: &[usize]| {
        let mut from = vec![0; index.len()];
        perm.iter().zip(index).for_each(|(&axis, &i)| from[axis] = i);
        flat(&from, shape)
    };
    let terms: Vec<_> = indices(&to).iter().map(|index| (flat(index, &to), source(index), 1.0)).collect();
    let total = shape.iter().product();
    Linear { x: total, y: total, terms }.check(
        |cx, x, y| layout::permute(cx, x, shape, perm, y),
        |cx, dy, dx| {
            let mut back = vec![f32::NAN; total];
            layout::permute(cx, dy, &to, &inverse, &mut back);
            dx.iter_mut().zip(&back).for_each(|(dx, back)| *dx += back);
        },
    );
}

#[test]
fn permutations() {
    check_permute(&[2, 3, 4, 5], &[0, 3, 1, 2]);
    check_permute(&[2, 3, 4, 5], &[0, 2, 3, 1]);
    check_permute(&[130, 150], &[1, 0]);
    check_permute(&[7], &[0]);
    check_permute(&[], &[]);
    check_permute(&[3, 0, 2], &[2, 0, 1]);
    check_permute(&[4, 5, 6], &[0, 1, 2]);
}

#[test]
fn slices_with_steps() {
    let shape = [3, 7, 5];
    for (begin, step, to) in [
        ([0, 0, 4], [1, 1, -1], [3, 7, 5]),
        ([2, 1, 0], [-1, 2, 3], [3, 3, 2]),
        ([1, 6, 2], [1, -3, 1], [1, 3, 1]),
    ] {
        let source = |index: &[usize]| {
            let at = |axis: usize| (begin[axis] as isize + index[axis] as isize * step[axis]) as usize;
            flat(&[at(0), at(1), at(2)], &shape)
        };
        let terms = indices(&to).iter().map(|index| (flat(index, &to), source(index), 1.0)).collect();
        Linear { x: 105, y: to.iter().product(), terms }.check(
            |cx, x, y| layout::strided_slice_forward(cx, x, &shape, &begin, &step, y, &to),
            |_, dy, dx| layout::strided_slice_backward(dy, &to, &shape, &begin, &step, dx),
        );
    }
}

fn check_reduction(shape: &[usize], reduced: &[bool], scale: f32) {
    let kept: Vec<_> = shape.iter().zip(reduced).map(|(&d, &r)| if r { 1 } else { d }).collect();
    let target = |index: &[usize]| {
        let index: Vec<_> = index.iter().zip(reduced).map(|(&i, &r)| if r { 0 } else { i }).collect();
        flat(&index, &kept)
    };
    let terms = indices(shape).iter().map(|i| (target(i), flat(i, shape), f64::from(scale))).collect();
    Linear { x: shape.iter().product(), y: kept.iter().product(), terms }.check(
        |cx, x, y| reduce::forward(cx, x, shape, reduced, scale, y),
        |cx, dy, dx| reduce::backward(cx, dy, shape, reduced, scale, dx),
    );
}

#[test]
fn reductions() {
    check_reduction(&[2, 7, 7, 19], &[false, true, true, false], 1.0 / 49.0);
    check_reduction(&[2, 7, 5], &[false, false, true], 0.2);
    check_reduction(&[2, 7, 5], &[true, true, true], 1.0);
    check_reduction(&[4, 3, 5, 2], &[true, false, true, false], 1.0);
    check_reduction(&[4, 3, 5, 2], &[false, true, false, true], 1.0);
    check_reduction(&[6], &[false], 2.0);
}

#[test]
fn sums_of_rows() {
    for (rows, c) in [(0, 3), (1, 5), (1000, 3), (3000, 40), (129, 700)] {
        let (x, start) = (values(rows * c, 1), values(c, 2));
        let mut want = f64s(&start);
        x.iter().enumerate().for_each(|(i, &x)| want[i % c] += f64::from(x));
        check_everywhere(&want, 1e-6, |cx| {
            let mut y = start.clone();
            reduce::sum_rows(cx, c, &x, &mut y);
            y
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_reduction(axes in proptest::collection::vec((1usize..6, any::<bool>()), 1..5)) {
        let (shape, reduced): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        check_reduction(&shape, &reduced, 0.5);
    }

    #[test]
    fn any_permutation(shape in proptest::collection::vec(1usize..7, 4),
        perm in Just(vec![0, 1, 2, 3]).prop_shuffle()) {
        check_permute(&shape, &perm);
    }
}
