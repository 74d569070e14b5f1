//! Functions of two values and more, broadcast by NumPy's rules.

use binesh_core::ops::{Activate, Binary, Take};
use binesh_core::{Activation, BinaryOp};

use super::super::array::Array;
use super::{NodeCx, Operator, Traced, Value, one, operator, tensor_of};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[
    operator("Add", "Add", |cx| chain(cx, BinaryOp::Add)),
    operator("Sub", "Subtract", |cx| chain(cx, BinaryOp::Subtract)),
    operator("Mul", "Multiply", |cx| chain(cx, BinaryOp::Multiply)),
    operator("Div", "Divide", |cx| chain(cx, BinaryOp::Divide)),
    operator("Max", "Maximum", |cx| chain(cx, BinaryOp::Maximum)),
    operator("Min", "Minimum", |cx| chain(cx, BinaryOp::Minimum)),
    operator("Sum", "Add", |cx| chain(cx, BinaryOp::Add)),
    operator("Mean", "Average", mean),
    operator("Pow", "Power", pow),
    operator("Expand", "Expand", expand),
    operator("Tile", "Tile", tile),
];

/// From the first operand to the last.
fn chain<'a>(cx: &mut NodeCx<'_, 'a>, op: BinaryOp) -> Result<Vec<Value<'a>>, FormatError> {
    let n = cx.node.input.len();
    if n == 1 {
        return cx.input(0).map(one);
    }
    if cx.opset() < 7 && n == 2 && cx.attrs.has("broadcast") {
        return along_axis(cx, op).map(one);
    }
    let mut y = match cx.is_computed(0) || n > 2 {
        true => {
            let a = cx.input(0)?;
            with(cx, op, &a, 1)?
        }
        false => reversed(cx, op)?,
    };
    for i in 2..n {
        y = with(cx, op, &y, i)?;
    }
    Ok(one(y))
}

/// Until opset 6: the second operand, a part of the first's shape, begins at `axis`; by default it ends where the first does.
fn along_axis(cx: &mut NodeCx<'_, '_>, op: BinaryOp) -> Result<Traced, FormatError> {
    cx.attrs.ignore(&["broadcast"]);
    let (a, b) = (cx.input(0)?, cx.input(1)?);
    let spare = a.rank().checked_sub(b.rank()).ok_or_else(|| cx.attrs.refuse("axis"))? as i64;
    let axis = if cx.attrs.has("axis") { cx.attrs.int("axis", 0)? } else { spare };
    if !(0..=spare).contains(&axis) {
        return Err(cx.attrs.refuse("axis"));
    }
    let mut dims = cx.dims(&b);
    dims.extend(vec![[1; 2]; (spare - axis) as usize]);
    let b = cx.mapper.reshape(&b, &dims)?;
    both(cx, op, &a, &b)
}

fn mean<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let n = cx.node.input.len();
    let mut sum = cx.input(0)?;
    for i in 1..n {
        sum = with(cx, BinaryOp::Add, &sum, i)?;
    }
    affine(cx, &sum, 1.0 / n as f32, 0.0).map(one)
}

fn pow<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    if cx.opset() < 7 && cx.attrs.has("broadcast") {
        return along_axis(cx, BinaryOp::Power).map(one);
    }
    let x = match cx.is_computed(0) {
        true => cx.input(0)?,
        false => return reversed(cx, BinaryOp::Power).map(one),
    };
    let power = match cx.known(1)? {
        Some(known) => known.fixed().and_then(Array::scalar),
        None => None,
    };
    let function = match power {
        Some(2.0) => Activation::Square,
        Some(0.5) => Activation::Sqrt,
        Some(-0.5) => Activation::Rsqrt,
        Some(-1.0) => Activation::Reciprocal,
        _ => return with(cx, BinaryOp::Power, &x, 1).map(one),
    };
    cx.each(Activate { function }, &x).map(one)
}

/// `scale * x + offset`
pub(super) fn affine(
    cx: &mut NodeCx<'_, '_>,
    x: &Traced,
    scale: f32,
    offset: f32,
) -> Result<Traced, FormatError> {
    cx.each(Activate { function: Activation::Affine { scale, offset } }, x)
}

/// A value and operand `i`, which may be a constant.
fn with(cx: &mut NodeCx<'_, '_>, op: BinaryOp, a: &Traced, i: usize) -> Result<Traced, FormatError> {
    if cx.is_computed(i) {
        let b = cx.input(i)?;
        return both(cx, op, a, &b);
    }
    let known = cx.known(i)?.ok_or_else(|| super::super::missing_input(i))?;
    let constant = known.into_fixed()?;
    if let Some(value) = constant.scalar().filter(|_| constant.shape.len() <= a.rank()) {
        let simple = match op {
            BinaryOp::Add => Some((1.0, value)),
            BinaryOp::Subtract => Some((1.0, -value)),
            BinaryOp::Multiply => Some((value, 0.0)),
            BinaryOp::Divide if value.is_normal() => Some((1.0 / value, 0.0)),
            _ => None,
        };
        if let Some((scale, offset)) = simple {
            return affine(cx, a, scale, offset);
        }
    }
    let b = operand(cx, a, i, constant)?;
    let node = cx.add(Binary { op }, &[a.node, b.node])?;
    cx.stays_raw(a.node, node);
    Ok(Traced { node, ..b })
}

/// The first operand a constant, the second computed.
fn reversed(cx: &mut NodeCx<'_, '_>, op: BinaryOp) -> Result<Traced, FormatError> {
    if !cx.is_computed(1) {
        let (a, b) = (cx.input(0)?, cx.input(1)?);
        return both(cx, op, &a, &b);
    }
    let b = cx.input(1)?;
    if matches!(op, BinaryOp::Add | BinaryOp::Multiply | BinaryOp::Maximum | BinaryOp::Minimum) {
        return with(cx, op, &b, 0);
    }
    let known = cx.known(0)?.ok_or_else(|| super::super::missing_input(0))?;
    let constant = known.into_fixed()?;
    if let (BinaryOp::Subtract, Some(value)) = (op, constant.scalar())
        && constant.shape.len() <= b.rank()
    {
        return affine(cx, &b, -1.0, value);
    }
    let a = operand(cx, &b, 0, constant)?;
    let node = cx.add(Binary { op }, &[a.node, b.node])?;
    cx.stays_raw(b.node, node);
    Ok(Traced { node, ..a })
}

/// Constant operand `i` as it must lie to meet `x`; the axes are those of the result. What meets the network's input before
/// any layer is preprocessing and a constant, other lists are weights.
fn operand(cx: &mut NodeCx<'_, '_>, x: &Traced, i: usize, constant: Array) -> Result<Traced, FormatError> {
    let rank = x.rank().max(constant.shape.len());
    let lead = rank - x.rank();
    let order: Vec<usize> = (0..lead).chain(x.order().iter().map(|axis| axis + lead)).collect();
    let mut shape = vec![1; rank - constant.shape.len()];
    shape.extend(&constant.shape);
    // What the constant has more of than the value is repeated by the operator; axes of extent 1 in front are not needed.
    let held: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
    let ones = if lead == 0 { held.iter().take_while(|&&d| d == 1).count() } else { 0 };
    let node = if cx.mapper.raw.contains(&x.node) || constant.len() == 1 {
        let value = constant.reshaped(shape).permuted(&order).into_floats();
        cx.mapper.constant(tensor_of(held[ones..].to_vec(), value)?)?
    } else {
        let name = match cx.node.op_type.as_str() {
            "Add" | "Sub" | "Sum" => "bias",
            _ => "scale",
        };
        let last = order.last().copied();
        let flat = lead == 0 && constant.len() == last.map_or(1, |last| shape[last]);
        let form = match flat {
            // All along the last axis.
            true => super::Form { shape: Some(vec![constant.len()]), ..super::Form::default() },
            false => super::Form { shape: Some(shape), axes: Some(order.clone()), ..super::Form::default() },
        };
        cx.weight(i, name, &form)?
    };
    Ok(Traced::ordered(node, &order))
}

/// Two computed values.
pub(super) fn both(
    cx: &mut NodeCx<'_, '_>,
    op: BinaryOp,
    a: &Traced,
    b: &Traced,
) -> Result<Traced, FormatError> {
    let rank = a.rank().max(b.rank());
    let [a, b] = [a, b].map(|x| {
        let mut dims = vec![[1; 2]; rank - x.rank()];
        dims.extend(cx.dims(x));
        cx.mapper.reshape(x, &dims)
    });
    let (a, b) = (a?, b?);
    // The larger one stays as it is.
    let size = |x: &Traced| cx.dims(x).iter().fold(1usize, |n, d| n.saturating_mul(d[0]));
    let (a, b) = if size(&a) >= size(&b) {
        let b = cx.mapper.arranged(&b, &a.order())?;
        (a, b)
    } else {
        (cx.mapper.arranged(&a, &b.order())?, b)
    };
    let node = cx.add(Binary { op }, &[a.node, b.node])?;
    Ok(a.like(node))
}

/// Axes of extent 1 repeated.
fn expand<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let known = cx
        .known(1)?
        .ok_or_else(|| FormatError::unsupported("a shape that is computed from the input's values"))?;
    let (first, second) = (super::fold::ints(known.probe(0))?, super::fold::ints(known.probe(1))?);
    let given: Vec<[i64; 2]> = first.iter().zip(second).map(|(a, b)| [*a, *b]).collect();
    let rank = x.rank().max(given.len());
    let mut dims = vec![[1; 2]; rank - x.rank()];
    dims.extend(cx.dims(&x));
    let mut y = cx.mapper.reshape(&x, &dims)?;
    for (axis, given) in (rank - given.len()..).zip(&given) {
        let target = [usize::try_from(given[0]), usize::try_from(given[1])];
        let [Ok(a), Ok(b)] = target else {
            return Err(FormatError::malformed(format!("{} is no extent", given[0])));
        };
        if dims[axis] == [a, b] || [a, b] == [1; 2] || is_stated(cx, &y, axis, [a, b]) {
            continue;
        }
        if dims[axis] != [1; 2] || a != b {
            return Err(super::depends_on_size());
        }
        y = repeated(cx, &y, axis, 1, a)?;
    }
    Ok(one(y))
}

/// The batch size of the file where there is any.
fn is_stated(cx: &NodeCx<'_, '_>, y: &Traced, axis: usize, given: [usize; 2]) -> bool {
    let stated = cx.mapper.stated_batch.map(|n| [n; 2]);
    axis == 0 && stated == Some(given) && cx.mapper.extents(y)[axis].is_none()
}

fn tile<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let mut x = cx.any(0)?;
    let times = cx.ints(1)?.ok_or_else(|| super::super::missing_input(1))?;
    if times.len() != x.rank() {
        return Err(FormatError::malformed(format!("{times:?} does not repeat {} axes", x.rank())));
    }
    for (axis, &times) in times.iter().enumerate() {
        if times != 1 {
            let n = cx.extent(&x, axis)?;
            let times =
                usize::try_from(times).map_err(|_| FormatError::malformed(format!("{times} repetitions")))?;
            x = repeated(cx, &x, axis, n, times)?;
        }
    }
    Ok(one(x))
}

/// An axis of `n` so many times, one after the other.
pub(super) fn repeated(
    cx: &mut NodeCx<'_, '_>,
    x: &Traced,
    axis: usize,
    n: usize,
    times: usize,
) -> Result<Traced, FormatError> {
    cx.keeps_pictures_apart(x, axis)?;
    let total = super::elements("a repeated axis", &[n, times], 1 << 24)?;
    cx.mapper.spend(total)?;
    let positions = (0..total).map(|i| Some(i % n)).collect();
    let node = cx.add(Take { axis: x.at[axis] as i64, positions, fill: 0.0 }, &[x.node])?;
    Ok(x.like(node))
}
