//! Axes joined, cut, reduced, renamed and counted otherwise.

use binesh_core::NodeId;
use binesh_core::ops::regroup::Extent;
use binesh_core::ops::{Concat, Crop2d, Permute, Regroup, Reshape, Slice, Take, ZeroPad2d};

use super::ops::common_order;
use super::values::{Held, Values, int, ints, plain};
use crate::error::FormatError;

/// An axis counted from the end when negative, of a value whose axes the graph has checked.
fn axis(axis: i64, rank: usize) -> usize {
    (if axis < 0 { axis + rank as i64 } else { axis }) as usize
}

/// Nothing is moved: the same value's axes are called otherwise.
pub(super) fn permute(cx: &mut Values<'_>, x: NodeId, permute: &Permute) -> Result<Held, FormatError> {
    let x = cx.any(x)?;
    let called = |own: &usize| permute.axes.iter().position(|axis| axis == own);
    let axes = x.axes.iter().map(|own| called(own).expect("the graph checked that all are there")).collect();
    Ok(Held { axes, ..x })
}

pub(super) fn concat(cx: &mut Values<'_>, inputs: &[NodeId], concat: &Concat) -> Result<Held, FormatError> {
    let rank = cx.rank(inputs[0]);
    let order = common_order(cx, inputs, rank)?;
    let parts = inputs.iter().map(|&x| cx.arranged(x, &order)).collect::<Result<Vec<_>, _>>()?;
    let along = parts[0].at(axis(concat.axis, rank));
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    Ok(parts[0].like(cx.emit("Concat", &names, vec![int("axis", along)])))
}

pub(super) fn slice(cx: &mut Values<'_>, x: NodeId, slice: &Slice) -> Result<Held, FormatError> {
    let x = cx.any(x)?;
    // Beyond either end is the end.
    let (first, last) = if slice.step > 0 { (0, i64::MAX) } else { (i64::MAX, i64::MIN) };
    let bounds = [(slice.start.unwrap_or(first), slice.end.unwrap_or(last), slice.step)];
    let along = [axis(slice.axis, x.axes.len())];
    Ok(cut(cx, &x, &along, &bounds))
}

pub(super) fn crop(cx: &mut Values<'_>, x: NodeId, crop: &Crop2d) -> Result<Held, FormatError> {
    let x = cx.any(x)?;
    let bounds = [crop.rows, crop.columns].map(|[before, after]| {
        let end = if after == 0 { i64::MAX } else { -(after as i64) };
        (before as i64, end, 1)
    });
    Ok(cut(cx, &x, &[1, 2], &bounds))
}

/// Starts, ends and steps along these axes.
fn cut(cx: &mut Values<'_>, x: &Held, axes: &[usize], bounds: &[(i64, i64, i64)]) -> Held {
    let list = |cx: &mut Values<'_>, of: fn(&(i64, i64, i64)) -> i64| {
        let values: Vec<i64> = bounds.iter().map(of).collect();
        cx.ints(&values)
    };
    let (starts, ends, steps) = (list(cx, |b| b.0), list(cx, |b| b.1), list(cx, |b| b.2));
    let along: Vec<i64> = axes.iter().map(|&axis| x.at(axis)).collect();
    let along = cx.ints(&along);
    x.like(cx.emit("Slice", &[&x.name, &starts, &ends, &along, &steps], vec![]))
}

pub(super) fn zero_pad(cx: &mut Values<'_>, x: NodeId, pad: &ZeroPad2d) -> Result<Held, FormatError> {
    let x = cx.any(x)?;
    let rank = x.axes.len();
    let mut pads = vec![0; 2 * rank];
    for (axis, [before, after]) in [(1, pad.rows), (2, pad.columns)] {
        let at = x.at(axis) as usize;
        (pads[at], pads[at + rank]) = (before as i64, after as i64);
    }
    let pads = cx.ints(&pads);
    Ok(x.like(cx.emit("Pad", &[&x.name, &pads], vec![])))
}

/// Positions that are none are the last one of a longer axis, where the fill is.
pub(super) fn take(cx: &mut Values<'_>, x: NodeId, take: &Take) -> Result<Held, FormatError> {
    let mut x = cx.any(x)?;
    let along = x.at(axis(take.axis, x.axes.len()));
    if take.positions.contains(&None) {
        let rank = x.axes.len();
        let mut pads = vec![0; 2 * rank];
        pads[rank + along as usize] = 1;
        let (pads, fill) = (cx.ints(&pads), cx.scalar(take.fill));
        x = x.like(cx.emit("Pad", &[&x.name, &pads, &fill], vec![]));
    }
    let positions: Vec<i64> = take.positions.iter().map(|at| at.map_or(-1, |at| at as i64)).collect();
    let positions = cx.ints(&positions);
    Ok(x.like(cx.emit("Gather", &[&x.name, &positions], vec![int("axis", along)])))
}

pub(super) fn reduce(
    cx: &mut Values<'_>,
    x: NodeId,
    op: &str,
    axes: &[i64],
    keepdims: bool,
) -> Result<Held, FormatError> {
    let x = cx.any(x)?;
    let rank = x.axes.len();
    let reduced: Vec<usize> = axes.iter().map(|&a| axis(a, rank)).collect();
    let mut along: Vec<i64> = reduced.iter().map(|&axis| x.at(axis)).collect();
    along.sort_unstable();
    along.dedup();
    let keep = int("keepdims", i64::from(keepdims));
    let name = match op {
        // No axes would mean all of them.
        _ if along.is_empty() => cx.emit("Identity", &[&x.name], vec![]),
        // An operand since opset 13; of the others since 18.
        "ReduceSum" => {
            let along = cx.ints(&along);
            cx.emit(op, &[&x.name, &along], vec![keep])
        }
        _ => cx.emit(op, &[&x.name], vec![ints("axes", &along), keep]),
    };
    if keepdims {
        return Ok(x.like(name));
    }
    let left = x.axes.iter().filter(|axis| !reduced.contains(axis));
    let axes = left.map(|axis| axis - (0..*axis).filter(|before| reduced.contains(before)).count()).collect();
    Ok(Held { name, axes })
}

/// A value whose values lie as in the graph, axes of extent 1 apart, with the batch first.
fn in_order(cx: &mut Values<'_>, x: NodeId) -> Result<Held, FormatError> {
    let dims = cx.graph.dims(x);
    let longer = |axes: &[usize]| axes.iter().copied().filter(|&axis| dims[axis] != Some(1)).is_sorted();
    cx.held_where(x, |axes| axes.first() == Some(&0) && longer(axes), &plain(dims.len()))
}

pub(super) fn flatten(cx: &mut Values<'_>, x: NodeId) -> Result<Held, FormatError> {
    let x = in_order(cx, x)?;
    Ok(Held { name: cx.emit("Flatten", &[&x.name], vec![int("axis", 1)]), axes: vec![0, 1] })
}

pub(super) fn reshape(cx: &mut Values<'_>, x: NodeId, reshape: &Reshape) -> Result<Held, FormatError> {
    let x = in_order(cx, x)?;
    // An extent of 0 is that of the input.
    let mut shape = vec![0];
    shape.extend(reshape.target.iter().map(|d| d.map_or(-1, |d| d as i64)));
    let axes = plain(shape.len());
    let shape = cx.ints(&shape);
    Ok(Held { name: cx.emit("Reshape", &[&x.name, &shape], vec![]), axes })
}

pub(super) fn regroup(cx: &mut Values<'_>, x: NodeId, regroup: &Regroup) -> Result<Held, FormatError> {
    let dims = cx.graph.dims(x);
    let x = cx.plain(x)?;
    let stated: Vec<Option<i64>> = regroup
        .target
        .iter()
        .enumerate()
        .map(|(at, extent)| match *extent {
            Extent::Known(n) => Some(n as i64),
            Extent::Rest => Some(-1),
            Extent::Of(axis) if axis == at => Some(0),
            Extent::Of(axis) => dims[axis].map(|n| n as i64),
        })
        .collect();
    let axes = plain(stated.len());
    let shape = match stated.iter().copied().collect::<Option<Vec<i64>>>() {
        Some(shape) => cx.ints(&shape),
        // The extent of another axis, known only when the network runs.
        None => {
            let mut parts = Vec::new();
            for (extent, stated) in regroup.target.iter().zip(&stated) {
                parts.push(match (extent, stated) {
                    (Extent::Of(axis), None) => {
                        let axis = *axis as i64;
                        cx.emit("Shape", &[&x.name], vec![int("start", axis), int("end", axis + 1)])
                    }
                    (_, stated) => cx.ints(&[stated.unwrap_or(-1)]),
                });
            }
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            cx.emit("Concat", &parts, vec![int("axis", 0)])
        }
    };
    Ok(Held { name: cx.emit("Reshape", &[&x.name, &shape], vec![]), axes })
}
