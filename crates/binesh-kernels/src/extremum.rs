//! The largest value over axes.

use crate::window::product;

/// `y = ` the largest of `x` over the axes where `reduced` is true; NaN where one of them is NaN.
///
/// # Shapes
/// `x: shape`; `y: shape` without the reduced axes (or with length 1 there; the order of values is the same).
pub fn max_forward(x: &[f32], shape: &[usize], reduced: &[bool], y: &mut [f32]) {
    check(x.len(), shape, reduced, y.len());
    y.fill(f32::NEG_INFINITY);
    visit(shape, reduced, |i, kept| {
        if x[i] > y[kept] || x[i].is_nan() {
            y[kept] = x[i];
        }
    });
}

/// `dx += ` the gradient of [`max_forward`], in equal parts to all values that are the largest, as `torch.amax` and
/// `tf.reduce_max` have it.
///
/// # Shapes
/// As [`max_forward`]; `dy` like its `y`, `dx` like its `x`.
pub fn max_backward(x: &[f32], shape: &[usize], reduced: &[bool], y: &[f32], dy: &[f32], dx: &mut [f32]) {
    check(x.len(), shape, reduced, y.len());
    assert!(dy.len() == y.len() && dx.len() == x.len(), "gradient length");
    let mut ties = vec![0.0; y.len()];
    visit(shape, reduced, |i, kept| ties[kept] += f32::from(u8::from(x[i] == y[kept])));
    visit(shape, reduced, |i, kept| {
        if x[i] == y[kept] {
            dx[i] += dy[kept] / ties[kept];
        }
    });
}

fn check(x: usize, shape: &[usize], reduced: &[bool], y: usize) {
    assert_eq!(shape.len(), reduced.len(), "one flag per axis");
    assert_eq!(x, shape.iter().product(), "x length");
    let kept = shape.iter().zip(reduced).filter(|(_, reduced)| !**reduced).map(|(d, _)| *d);
    assert_eq!(y, kept.product::<usize>(), "y length");
    assert!(y == 0 || x > 0, "nothing to reduce");
}

/// `each(index of a value of x, index of the value of y that it belongs to)` for all values of x, in order.
fn visit(shape: &[usize], reduced: &[bool], mut each: impl FnMut(usize, usize)) {
    let mut steps = crate::PerAxis::from_elem(0, shape.len());
    let mut step = 1;
    for axis in (0..shape.len()).rev().filter(|&axis| !reduced[axis]) {
        steps[axis] = step;
        step *= shape[axis];
    }
    let (mut index, mut kept) = (crate::PerAxis::from_elem(0, shape.len()), 0);
    for i in 0..shape.iter().product() {
        each(i, kept);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            kept += steps[axis];
            if index[axis] < shape[axis] {
                break;
            }
            kept -= product([shape[axis], steps[axis]]);
            index[axis] = 0;
        }
    }
}
