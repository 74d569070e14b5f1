//! Element-wise functions of two variables, with NumPy broadcasting.

use crate::Cx;
use crate::broadcast::Loops;

/// A function of two values. Derivatives as TensorFlow has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `a + b`
    Add,
    /// `a - b`
    Subtract,
    /// `a * b`
    Multiply,
    /// `a / b`
    Divide,
    /// The larger; NaN if one is NaN. Where they are equal the whole gradient goes to `a`.
    Maximum,
    /// The smaller; NaN if one is NaN. Where they are equal the whole gradient goes to `a`.
    Minimum,
    /// `a ^ b`. The gradient for `b` is 0 where `a <= 0`.
    Power,
}

impl BinaryOp {
    /// Keras's name of the function.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Subtract => "subtract",
            Self::Multiply => "multiply",
            Self::Divide => "divide",
            Self::Maximum => "maximum",
            Self::Minimum => "minimum",
            Self::Power => "power",
        }
    }

    /// The function's value.
    pub fn apply(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Subtract => a - b,
            Self::Multiply => a * b,
            Self::Divide => a / b,
            Self::Maximum => maximum(a, b),
            Self::Minimum => minimum(a, b),
            Self::Power => a.powf(b),
        }
    }
}

#[inline(always)]
fn maximum(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

#[inline(always)]
fn minimum(a: f32, b: f32) -> f32 {
    if a <= b || a.is_nan() { a } else { b }
}

/// `y = op(a, b)`.
///
/// # Shapes
/// `a_shape` and `b_shape` broadcast to `y_shape`: aligned at the last axis, an axis of length 1 is repeated.
#[allow(clippy::too_many_arguments)]
pub fn forward(
    cx: Cx<'_>,
    op: BinaryOp,
    a: &[f32],
    a_shape: &[usize],
    b: &[f32],
    b_shape: &[usize],
    y: &mut [f32],
    y_shape: &[usize],
) {
    let loops = checked_loops([a.len(), b.len(), y.len()], a_shape, b_shape, y_shape);
    match op {
        BinaryOp::Add => loops.map(cx, a, b, y, |a, b| a + b),
        BinaryOp::Subtract => loops.map(cx, a, b, y, |a, b| a - b),
        BinaryOp::Multiply => loops.map(cx, a, b, y, |a, b| a * b),
        BinaryOp::Divide => loops.map(cx, a, b, y, |a, b| a / b),
        BinaryOp::Maximum => loops.map(cx, a, b, y, maximum),
        BinaryOp::Minimum => loops.map(cx, a, b, y, minimum),
        BinaryOp::Power => loops.map(cx, a, b, y, f32::powf),
    }
}

/// `y = op(y, b)`.
///
/// # Shapes
/// `b_shape` broadcasts to `y_shape`.
pub fn forward_in_place(
    cx: Cx<'_>,
    op: BinaryOp,
    b: &[f32],
    b_shape: &[usize],
    y: &mut [f32],
    y_shape: &[usize],
) {
    let loops = checked_loops([y.len(), b.len(), y.len()], y_shape, b_shape, y_shape);
    match op {
        BinaryOp::Add => loops.map_in_place(cx, b, y, |a, b| a + b),
        BinaryOp::Subtract => loops.map_in_place(cx, b, y, |a, b| a - b),
        BinaryOp::Multiply => loops.map_in_place(cx, b, y, |a, b| a * b),
        BinaryOp::Divide => loops.map_in_place(cx, b, y, |a, b| a / b),
        BinaryOp::Maximum => loops.map_in_place(cx, b, y, maximum),
        BinaryOp::Minimum => loops.map_in_place(cx, b, y, minimum),
        BinaryOp::Power => loops.map_in_place(cx, b, y, f32::powf),
    }
}

/// Adds the gradients with respect to `a` and `b` to `da` and `db`, summed over repeated axes.
///
/// # Shapes
/// As [`forward`]; `dy: y_shape`, `da: a_shape`, `db: b_shape`.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    cx: Cx<'_>,
    op: BinaryOp,
    a: &[f32],
    a_shape: &[usize],
    b: &[f32],
    b_shape: &[usize],
    dy: &[f32],
    y_shape: &[usize],
    da: Option<&mut [f32]>,
    db: Option<&mut [f32]>,
) {
    let loops = checked_loops([a.len(), b.len(), dy.len()], a_shape, b_shape, y_shape);
    let slices = [a, b, dy];
    if let Some(da) = da {
        assert_eq!(da.len(), a.len(), "da length");
        match op {
            BinaryOp::Add | BinaryOp::Subtract => loops.accumulate(cx, 0, slices, da, |_, _| 1.0),
            BinaryOp::Multiply => loops.accumulate(cx, 0, slices, da, |_, b| b),
            BinaryOp::Divide => loops.accumulate(cx, 0, slices, da, |_, b| 1.0 / b),
            BinaryOp::Maximum => loops.accumulate(cx, 0, slices, da, |a, b| if a >= b { 1.0 } else { 0.0 }),
            BinaryOp::Minimum => loops.accumulate(cx, 0, slices, da, |a, b| if a <= b { 1.0 } else { 0.0 }),
            BinaryOp::Power => loops.accumulate(cx, 0, slices, da, |a, b| b * a.powf(b - 1.0)),
        }
    }
    if let Some(db) = db {
        assert_eq!(db.len(), b.len(), "db length");
        match op {
            BinaryOp::Add => loops.accumulate(cx, 1, slices, db, |_, _| 1.0),
            BinaryOp::Subtract => loops.accumulate(cx, 1, slices, db, |_, _| -1.0),
            BinaryOp::Multiply => loops.accumulate(cx, 1, slices, db, |a, _| a),
            BinaryOp::Divide => loops.accumulate(cx, 1, slices, db, |a, b| -a / (b * b)),
            BinaryOp::Maximum => loops.accumulate(cx, 1, slices, db, |a, b| if a >= b { 0.0 } else { 1.0 }),
            BinaryOp::Minimum => loops.accumulate(cx, 1, slices, db, |a, b| if a <= b { 0.0 } else { 1.0 }),
            BinaryOp::Power => {
                loops.accumulate(cx, 1, slices, db, |a, b| if a > 0.0 { a.powf(b) * a.ln() } else { 0.0 });
            }
        }
    }
}

pub(crate) fn checked_loops(
    [a, b, y]: [usize; 3],
    a_shape: &[usize],
    b_shape: &[usize],
    y_shape: &[usize],
) -> Loops {
    assert_eq!(a, a_shape.iter().product(), "a length");
    assert_eq!(b, b_shape.iter().product(), "b length");
    assert_eq!(y, y_shape.iter().product(), "y length");
    Loops::new(a_shape, b_shape, y_shape)
}
