//! Sums, means and largest values over axes.

use binesh_core::ops::{Binary, GlobalAveragePool2d, GlobalMaxPool2d, ReduceMax, ReduceMean, ReduceSum};
use binesh_core::{Activation, BinaryOp};

use super::super::array;
use super::activation::apply;
use super::{NodeCx, Operator, Traced, Value, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[
    operator("ReduceMean", "Mean", |cx| reduce(cx, Kind::Mean)),
    operator("ReduceSum", "Sum", |cx| reduce(cx, Kind::Sum)),
    operator("ReduceMax", "Max", |cx| reduce(cx, Kind::Max)),
    operator("ReduceMin", "Min", |cx| around(cx, Activation::Neg, Kind::Max, Activation::Neg)),
    operator("ReduceL1", "Sum", |cx| around(cx, Activation::Abs, Kind::Sum, Activation::Linear)),
    operator("ReduceL2", "Norm", |cx| around(cx, Activation::Square, Kind::Sum, Activation::Sqrt)),
    operator("ReduceSumSquare", "Sum", |cx| around(cx, Activation::Square, Kind::Sum, Activation::Linear)),
    operator("ReduceLogSumExp", "Sum", log_sum_exp),
    operator("ReduceLogSum", "Sum", |cx| around(cx, Activation::Linear, Kind::Sum, Activation::Log)),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mean,
    Sum,
    Max,
}

fn reduce<'a>(cx: &mut NodeCx<'_, 'a>, kind: Kind) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    reduced(cx, &x, kind).map(one)
}

/// `after(reduction of before(x))`
fn around<'a>(
    cx: &mut NodeCx<'_, 'a>,
    before: Activation,
    kind: Kind,
    after: Activation,
) -> Result<Vec<Value<'a>>, FormatError> {
    let mut x = cx.input(0)?;
    if before != Activation::Linear {
        x = apply(cx, &x, before)?;
    }
    let y = reduced(cx, &x, kind)?;
    if after == Activation::Linear { Ok(one(y)) } else { apply(cx, &y, after).map(one) }
}

/// `log(sum(exp(x - max))) + max`, which no large value overflows.
fn log_sum_exp<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.input(0)?;
    let Some(axes) = axes(cx, &x)? else { return Ok(one(x)) };
    let keepdims = cx.attrs.int("keepdims", 1)? != 0;
    let most = over(cx, &x, Kind::Max, &axes, true)?;
    let moved = x.like(cx.add(Binary { op: BinaryOp::Subtract }, &[x.node, most.node])?);
    let exp = apply(cx, &moved, Activation::Exp)?;
    let sum = over(cx, &exp, Kind::Sum, &axes, true)?;
    let log = apply(cx, &sum, Activation::Log)?;
    let y = log.like(cx.add(Binary { op: BinaryOp::Add }, &[log.node, most.node])?);
    if keepdims {
        return Ok(one(y));
    }
    let dims = cx.dims(&y);
    let left: Vec<[usize; 2]> =
        (0..dims.len()).filter(|axis| !axes.contains(axis)).map(|axis| dims[axis]).collect();
    cx.mapper.reshape(&y, &left).map(one)
}

fn reduced(cx: &mut NodeCx<'_, '_>, x: &Traced, kind: Kind) -> Result<Traced, FormatError> {
    let keepdims = cx.attrs.int("keepdims", 1)? != 0;
    match axes(cx, x)? {
        Some(axes) => over(cx, x, kind, &axes, keepdims),
        None => Ok(x.clone()),
    }
}

/// The axes that are reduced; `None` where there are none and that means none.
fn axes(cx: &NodeCx<'_, '_>, x: &Traced) -> Result<Option<Vec<usize>>, FormatError> {
    let since = if cx.node.op_type == "ReduceSum" { 13 } else { 18 };
    let given = cx.ints_since(since, 1, "axes")?.filter(|axes| !axes.is_empty());
    let noop = cx.attrs.flag("noop_with_empty_axes")?;
    let axes: Vec<usize> = match given {
        Some(axes) => axes.iter().map(|&axis| array::axis(axis, x.rank())).collect::<Result<_, _>>()?,
        None if noop => return Ok(None),
        None => (0..x.rank()).collect(),
    };
    for &axis in &axes {
        cx.keeps_pictures_apart(x, axis)?;
    }
    Ok(Some(axes))
}

fn over(
    cx: &mut NodeCx<'_, '_>,
    x: &Traced,
    kind: Kind,
    axes: &[usize],
    keepdims: bool,
) -> Result<Traced, FormatError> {
    let kept = |axis: &usize| !axes.contains(axis);
    let is_picture = x.rank() == 4 && (0..4).filter(kept).eq([0, 1]);
    if is_picture && kind != Kind::Sum && (x.at == [0, 3, 1, 2]) {
        let node = match kind {
            Kind::Max => cx.add(GlobalMaxPool2d { keepdims }, &[x.node])?,
            _ => cx.add(GlobalAveragePool2d { keepdims }, &[x.node])?,
        };
        cx.class = if kind == Kind::Max { "GlobalMaxPooling2D" } else { "GlobalAveragePooling2D" };
        return Ok(if keepdims { x.like(node) } else { Traced::plain(node, 2) });
    }
    let held: Vec<i64> = axes.iter().map(|&axis| x.at[axis] as i64).collect();
    let node = match kind {
        Kind::Mean => cx.add(ReduceMean { axes: held, keepdims }, &[x.node])?,
        Kind::Sum => cx.add(ReduceSum { axes: held, keepdims }, &[x.node])?,
        Kind::Max => cx.add(ReduceMax { axes: held, keepdims }, &[x.node])?,
    };
    if keepdims {
        return Ok(x.like(node));
    }
    // The axes that are left, numbered anew.
    let number = |axis: usize| (0..axis).filter(kept).count();
    let order: Vec<usize> = x.order().into_iter().filter(kept).map(number).collect();
    Ok(Traced::ordered(node, &order))
}
