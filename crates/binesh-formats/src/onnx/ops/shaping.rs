//! Axes moved, joined, split and left out; and operators that do nothing when a network is used.

use binesh_core::ops::Dropout;

use super::super::array::{self, Array};
use super::super::fold::{permutation, reshape_target, squeezed, unsqueezed};
use super::super::proto::data_type;
use super::{NodeCx, Operator, Traced, Value, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[
    operator("Reshape", "Reshape", reshape),
    operator("Flatten", "Flatten", flatten),
    operator("Squeeze", "Squeeze", squeeze),
    operator("Unsqueeze", "Unsqueeze", unsqueeze),
    operator("Transpose", "Permute", transpose),
    operator("DepthToSpace", "DepthToSpace", depth_to_space),
    operator("SpaceToDepth", "SpaceToDepth", space_to_depth),
    operator("Identity", "Identity", |cx| cx.any(0).map(one)),
    operator("Cast", "Cast", cast),
    operator("Dropout", "Dropout", dropout),
];

/// The same under both sizes of everything free.
fn count(dims: &[[usize; 2]]) -> Option<[usize; 2]> {
    let along = |which: usize| dims.iter().try_fold(1usize, |n, d| n.checked_mul(d[which]));
    Some([along(0)?, along(1)?])
}

fn reshape<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let known = cx
        .known(1)?
        .ok_or_else(|| FormatError::unsupported("a shape that is computed from the input's values"))?;
    let zero_is_zero = cx.attrs.flag("allowzero")?;
    let dims = cx.dims(&x);
    let mut probes = Vec::new();
    for which in 0..2 {
        let own: Vec<usize> = dims.iter().map(|d| d[which]).collect();
        let mut target = super::fold::ints(known.probe(which))?.to_vec();
        if let (Some(stated), Some(&[a, b])) = (cx.mapper.stated_batch, dims.first())
            && a != b
            && target.first().is_some_and(|&first| usize::try_from(first) == Ok(stated))
        {
            // The batch size of the file, where there is any.
            target[0] = own[0] as i64;
        }
        probes.push(reshape_target(&own, &target, zero_is_zero)?);
    }
    let target: Vec<[usize; 2]> = probes[0].iter().zip(&probes[1]).map(|(a, b)| [*a, *b]).collect();
    if cx.mapper.stated_batch.is_some() && target.first() != dims.first() {
        return Err(super::depends_on_size());
    }
    cx.mapper.reshape(&x, &target).map(one)
}

fn flatten<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let dims = cx.dims(&x);
    let axis = cx.attrs.int("axis", 1)?;
    // The number of axes is allowed too.
    let axis = if axis == dims.len() as i64 { dims.len() } else { array::axis(axis, dims.len())? };
    if axis == 0 {
        cx.keeps_pictures_apart(&x, 0)?;
    }
    let too_large = || FormatError::malformed("the shape is too large");
    let (rows, columns) =
        (count(&dims[..axis]).ok_or_else(too_large)?, count(&dims[axis..]).ok_or_else(too_large)?);
    cx.mapper.reshape(&x, &[rows, columns]).map(one)
}

fn squeeze<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let axes = cx.ints_since(13, 1, "axes")?;
    let target = squeezed(&cx.dims(&x), axes.as_deref())?;
    cx.mapper.reshape(&x, &target).map(one)
}

fn unsqueeze<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let axes = cx.ints_since(13, 1, "axes")?.ok_or_else(|| super::super::missing_input(1))?;
    let target = unsqueezed(&cx.dims(&x), &axes)?;
    cx.mapper.reshape(&x, &target).map(one)
}

/// Nothing moves until an operator needs it.
fn transpose<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let axes = permutation(cx.attrs, x.rank())?;
    Ok(one(x.transposed(&axes)))
}

/// Block size, and the extents of a map whose `divided` axes it divides.
fn blocks(
    cx: &NodeCx<'_, '_>,
    x: &Traced,
    divided: &[usize],
    by: fn(usize) -> Option<usize>,
) -> Result<(usize, Vec<[usize; 2]>), FormatError> {
    let size = usize::try_from(cx.attrs.int("blocksize", 0)?).ok().filter(|&size| size > 0);
    let size = size.ok_or_else(|| cx.attrs.refuse("blocksize"))?;
    let dims = cx.dims(x);
    if dims.len() != 4 {
        return Err(FormatError::malformed(format!("its input has {} axes, not 4", dims.len())));
    }
    let divisor = by(size).ok_or_else(|| cx.attrs.refuse("blocksize"))?;
    if divided.iter().any(|&axis| dims[axis].iter().any(|n| !n.is_multiple_of(divisor))) {
        return Err(FormatError::malformed(format!("blocks of {size} do not divide its input")));
    }
    Ok((size, dims))
}

fn depth_to_space<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let (b, d) = blocks(cx, &x, &[1], |size| size.checked_mul(size))?;
    let c = d[1].map(|c| c / (b * b));
    let (split, axes) = match cx.attrs.str("mode", "DCR")? {
        "DCR" => ([d[0], [b; 2], [b; 2], c, d[2], d[3]], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([d[0], c, [b; 2], [b; 2], d[2], d[3]], [0, 1, 4, 2, 5, 3]),
        _ => return Err(cx.attrs.refuse("mode")),
    };
    let y = cx.mapper.reshape(&x, &split)?.transposed(&axes);
    let grown = |n: [usize; 2]| n.map(|n| n.saturating_mul(b));
    cx.mapper.reshape(&y, &[d[0], c, grown(d[2]), grown(d[3])]).map(one)
}

fn space_to_depth<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let (b, d) = blocks(cx, &x, &[2, 3], Some)?;
    let (h, w) = (d[2].map(|n| n / b), d[3].map(|n| n / b));
    // Positions in a block come before the channels, or after them.
    let axes = match cx.attrs.str("mode", "DCR")? {
        "DCR" => [0, 3, 5, 1, 2, 4],
        "CRD" => [0, 1, 3, 5, 2, 4],
        _ => return Err(cx.attrs.refuse("mode")),
    };
    let y = cx.mapper.reshape(&x, &[d[0], d[1], h, [b; 2], w, [b; 2]])?.transposed(&axes);
    let c = d[1].map(|c| c.saturating_mul(b).saturating_mul(b));
    cx.mapper.reshape(&y, &[d[0], c, h, w]).map(one)
}

/// Everything is computed in f32, so a type of floating point numbers changes nothing.
fn cast<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    cx.attrs.ignore(&["saturate", "round_mode"]);
    match i32::try_from(cx.attrs.int("to", 0)?).unwrap_or(0) {
        data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 | data_type::DOUBLE => {
            Ok(one(Traced { is_int: false, ..x }))
        }
        data_type::INT64 | data_type::INT32 if x.is_int => Ok(one(x)),
        other => Err(FormatError::unsupported(format!(
            "attribute `to` = `{}` for a value that is computed from the input",
            data_type::name(other)
        ))),
    }
}

fn dropout<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    cx.has_no_output(1, "mask")?;
    cx.attrs.ignore(&["seed"]);
    if cx.opset() < 7 && cx.attrs.int("is_test", 0)? == 0 {
        return Err(cx.attrs.refuse("is_test"));
    }
    if cx.opset() >= 12
        && cx.constant(2)?.as_ref().and_then(Array::scalar).is_some_and(|training| training != 0.0)
    {
        return Err(FormatError::unsupported("dropout that is active is not supported"));
    }
    let rate = if cx.opset() >= 12 { cx.scalar(1)?.unwrap_or(0.5) } else { cx.attrs.float("ratio", 0.5)? };
    if !(0.0..1.0).contains(&rate) {
        return Err(FormatError::malformed(format!("a dropout of {rate}")));
    }
    let x = cx.input(0)?;
    cx.each(Dropout { rate }, &x).map(one)
}
