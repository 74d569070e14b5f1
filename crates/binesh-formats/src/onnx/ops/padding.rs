//! Borders around values.

use binesh_core::ops::{Slice, Take, ZeroPad2d};

use super::super::array;
use super::{NodeCx, Operator, Traced, Value, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[operator("Pad", "ZeroPadding2D", pad)];

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Constant(f32),
    Reflect,
    Edge,
    Wrap,
}

/// All lengths before, then all after; those below zero cut off.
fn pad<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let mut x = cx.any(0)?;
    let rank = x.rank();
    let attribute = cx.opset() < 11;
    let pads = if attribute { cx.attrs.ints("pads")? } else { cx.ints(1)? };
    let pads = pads.ok_or_else(|| super::super::missing_input(1))?;
    let value = if attribute { cx.attrs.float("value", 0.0)? } else { cx.scalar(2)?.unwrap_or(0.0) };
    let mode = match cx.attrs.str("mode", "constant")? {
        "constant" => Mode::Constant(value),
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" => Mode::Wrap,
        _ => return Err(cx.attrs.refuse("mode")),
    };
    let axes: Vec<usize> = match if attribute { None } else { cx.ints(3)? } {
        Some(axes) => axes.iter().map(|&axis| array::axis(axis, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(FormatError::malformed(format!("{} lengths do not pad {} axes", pads.len(), axes.len())));
    }
    let mut lengths = vec![[0i64; 2]; rank];
    for (i, &axis) in axes.iter().enumerate() {
        lengths[axis] = [pads[i], pads[i + axes.len()]];
    }
    if lengths.iter().flatten().any(|length| length.unsigned_abs() > 1 << 24) {
        return Err(FormatError::malformed(format!("padding of {pads:?}")));
    }
    for (axis, length) in lengths.iter_mut().enumerate() {
        x = cut(cx, &x, axis, length)?;
    }
    let is_picture = rank == 4 && lengths[..2] == [[0; 2]; 2];
    if is_picture && mode == Mode::Constant(0.0) {
        let x = cx.mapper.image(&x)?;
        let [rows, columns] = [lengths[2], lengths[3]].map(|length| length.map(|n| n as usize));
        if rows == [0; 2] && columns == [0; 2] {
            return Ok(one(x));
        }
        return Ok(one(x.like(cx.add(ZeroPad2d { rows, columns }, &[x.node])?)));
    }
    cx.class = "Pad";
    for (axis, [before, after]) in lengths.into_iter().enumerate().filter(|(_, length)| *length != [0; 2]) {
        cx.keeps_pictures_apart(&x, axis)?;
        let n = cx.extent(&x, axis)? as i64;
        if mode == Mode::Reflect && before.max(after) >= n {
            return Err(FormatError::malformed(format!(
                "padding of {} reflects an axis of {n}",
                before.max(after)
            )));
        }
        cx.mapper.spend((n + before + after) as usize)?;
        let position = |i: i64| match mode {
            Mode::Constant(_) => (0..n).contains(&i).then_some(i),
            Mode::Edge => Some(i.clamp(0, n - 1)),
            Mode::Wrap => Some(i.rem_euclid(n)),
            Mode::Reflect => Some(if i < 0 {
                -i
            } else if i >= n {
                2 * n - 2 - i
            } else {
                i
            }),
        };
        let positions = (-before..n + after).map(|i| position(i).map(|i| i as usize)).collect();
        let fill = if let Mode::Constant(value) = mode { value } else { 0.0 };
        x = x.like(cx.add(Take { axis: x.at[axis] as i64, positions, fill }, &[x.node])?);
    }
    Ok(one(x))
}

/// Cuts off what is below zero, and leaves the rest to be added.
fn cut(
    cx: &mut NodeCx<'_, '_>,
    x: &Traced,
    axis: usize,
    length: &mut [i64; 2],
) -> Result<Traced, FormatError> {
    let [before, after] = *length;
    if before >= 0 && after >= 0 {
        return Ok(x.clone());
    }
    *length = [before.max(0), after.max(0)];
    let op = Slice {
        axis: x.at[axis] as i64,
        start: (before < 0).then_some(-before),
        end: (after < 0).then_some(after),
        step: 1,
    };
    Ok(x.like(cx.add(op, &[x.node])?))
}
