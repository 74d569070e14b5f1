//! Parts of values, and parts put together.

use std::collections::HashMap;

use binesh_core::ops::{Concat, Slice, Take};

use super::super::array::{self, Array};
use super::super::fold::Cuts;
use super::{NodeCx, Operator, Traced, Value, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] = &[
    operator("Concat", "Concatenate", concat),
    operator("Slice", "Slice", slice),
    operator("Split", "Split", split),
    operator("Gather", "Take", gather),
];

fn concat<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let n = cx.node.input.len();
    let mut parts = (0..n).map(|i| cx.any(i)).collect::<Result<Vec<_>, _>>()?;
    let first = parts.first().ok_or_else(|| super::super::missing_input(0))?.clone();
    let axis = array::axis(cx.attrs.int("axis", 0)?, first.rank())?;
    cx.keeps_pictures_apart(&first, axis)?;
    if parts.iter().any(|part| part.rank() != first.rank()) {
        return Err(FormatError::malformed("its inputs have different numbers of axes"));
    }
    // As most of them lie.
    let mut votes: HashMap<Vec<usize>, usize> = HashMap::new();
    parts.iter().for_each(|part| *votes.entry(part.order()).or_default() += 1);
    // The first of equally many, so that a file always gives the same graph.
    let most = votes.values().max().copied();
    let order = parts.iter().map(Traced::order).find(|order| votes.get(order).copied() == most);
    let order = order.expect("there is a first");
    for part in &mut parts {
        *part = cx.mapper.arranged(part, &order)?;
    }
    let held = parts[0].at[axis] as i64;
    let nodes: Vec<_> = parts.iter().map(|part| part.node).collect();
    Ok(one(parts[0].like(cx.add(Concat { axis: held }, &nodes)?)))
}

fn slice<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let mut x = cx.any(0)?;
    let n = cx.node.input.len();
    let mut operands = Vec::with_capacity(n);
    for i in 0..n {
        operands.push(match i {
            0 => None,
            _ if cx.has(i) && cx.known(i)?.is_none() => {
                return Err(FormatError::unsupported("bounds that are computed from the input's values"));
            }
            _ => cx.known(i)?,
        });
    }
    let under = |which: usize| {
        let operands: Vec<_> =
            operands.iter().map(|known| known.as_ref().map(|known| known.probe(which))).collect();
        Cuts::new(cx.attrs, cx.opset(), &operands, x.rank())
    };
    let cuts = [under(0)?, under(1)?];
    if cuts[0].axes != cuts[1].axes || cuts[0].steps != cuts[1].steps {
        return Err(super::depends_on_size());
    }
    for (i, &axis) in cuts[0].axes.iter().enumerate() {
        let (n, step) = (cx.dims(&x)[axis], cuts[0].steps[i]);
        let places = [0, 1].map(|which| cuts[which].place(i, n[which]));
        // The end is a number so large that it means the end, or was computed of the axis: 3 is not, where a batch of 2 or 3
        // was tried.
        let is_own =
            n[0] == n[1] || cuts[0].ends[i] != cuts[1].ends[i] || cuts[0].ends[i] >= i64::from(i32::MAX);
        if step == 1 && places == n.map(|n| (0, n)) && is_own {
            continue;
        }
        cx.keeps_pictures_apart(&x, axis)?;
        let end = |which: usize| {
            let end = cuts[which].ends[i];
            let is_end = step > 0 && end >= n[which] as i64 && is_own;
            (!is_end).then_some(end)
        };
        let (start, end) = ([cuts[0].starts[i], cuts[1].starts[i]], [end(0), end(1)]);
        if start[0] != start[1] || end[0] != end[1] {
            return Err(super::depends_on_size());
        }
        // Python's slice that goes backwards past the first position has no number for its end.
        let end = end[0].filter(|&end| step > 0 || end.saturating_add(n[0] as i64) >= 0);
        let op = Slice { axis: x.at[axis] as i64, start: Some(start[0]), end, step };
        x = x.like(cx.mapper.add(op, &[x.node])?);
    }
    Ok(one(x))
}

fn split<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let axis = array::axis(cx.attrs.int("axis", 0)?, x.rank())?;
    cx.keeps_pictures_apart(&x, axis)?;
    let outputs = cx.node.output.len();
    let stated = cx.attrs.int("num_outputs", outputs as i64)?;
    let lengths: Vec<i64> = match cx.ints_since(13, 1, "split")? {
        Some(lengths) => lengths,
        None => {
            let n = cx.extent(&x, axis)?;
            if stated != outputs as i64 || outputs == 0 {
                return Err(cx.attrs.refuse("num_outputs"));
            }
            // The last one is smaller where they are not equal.
            let each = n.div_ceil(outputs);
            (0..outputs).map(|i| n.saturating_sub(i * each).min(each) as i64).collect()
        }
    };
    if lengths.len() != outputs {
        return Err(FormatError::malformed(format!(
            "it splits into {} parts but has {outputs} outputs",
            lengths.len()
        )));
    }
    let total = lengths.iter().try_fold(0i64, |sum, &n| if n < 0 { None } else { sum.checked_add(n) });
    let extents = cx.dims(&x)[axis];
    if extents.map(|n| Some(n as i64)) != [total; 2] {
        return Err(FormatError::malformed(format!("parts of {lengths:?} do not make up its input")));
    }
    let mut start = 0;
    let mut values = Vec::with_capacity(outputs);
    for length in lengths {
        let op = Slice { axis: x.at[axis] as i64, start: Some(start), end: Some(start + length), step: 1 };
        values.push(Value::Computed(x.like(cx.add(op, &[x.node])?)));
        start += length;
    }
    Ok(values)
}

/// Constant positions of one axis.
fn gather<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let x = cx.any(0)?;
    let axis = array::axis(cx.attrs.int("axis", 0)?, x.rank())?;
    let mut dims = cx.dims(&x);
    let known = cx.known(1)?.ok_or_else(|| {
        FormatError::unsupported("positions that are computed from the input's values are not supported")
    })?;
    let [a, b] = [known.probe(0), known.probe(1)];
    if all_in_order(a, dims[axis][0])? && all_in_order(b, dims[axis][1])? && a.shape.len() == b.shape.len() {
        // As exporters write a view of a tensor's memory: every position in order is another shape.
        dims.splice(axis..=axis, a.shape.iter().zip(&b.shape).map(|(a, b)| [*a, *b]));
        return cx.mapper.reshape(&x, &dims).map(one);
    }
    cx.keeps_pictures_apart(&x, axis)?;
    let at = known.into_fixed()?;
    let n = cx.extent(&x, axis)?;
    let positions = super::fold::ints(&at)?.iter().map(|&at| array::axis(at, n).map(Some));
    let positions: Vec<Option<usize>> = positions.collect::<Result<_, _>>()?;
    cx.mapper.spend(positions.len())?;
    let y = x.like(cx.add(Take { axis: x.at[axis] as i64, positions, fill: 0.0 }, &[x.node])?);
    // One position leaves the axis out, an array of them puts its own axes there.
    dims.splice(axis..=axis, at.shape.iter().map(|&d| [d; 2]));
    cx.mapper.reshape(&y, &dims).map(one)
}

/// Whether these are the positions 0 to `n`.
fn all_in_order(positions: &Array, n: usize) -> Result<bool, FormatError> {
    let positions = super::fold::ints(positions)?;
    Ok(positions.len() == n && positions.iter().copied().eq(0..n as i64))
}
