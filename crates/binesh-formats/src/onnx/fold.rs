//! Operators on values that are known when the file is read: what a graph computes of its own shapes, and constants.

use super::array::{self, Array, Data, broadcast_shape, elements, steps};
use super::attributes::Attrs;
use crate::Limits;
use crate::error::FormatError;

/// What an operator may use besides its operands.
pub(super) struct FoldCx<'c, 'a> {
    pub(super) attrs: &'c Attrs<'a>,
    pub(super) opset: i64,
    /// Elements of all that was computed so far, and the most there may be.
    pub(super) made: u64,
    pub(super) limit: u64,
}

impl FoldCx<'_, '_> {
    /// The number of values of a result, if there is room for it.
    fn room(&self, shape: &[usize]) -> Result<usize, FormatError> {
        let n = elements("a computed constant", shape, self.limit)?;
        Limits::check("the number of elements of all computed constants", self.made + n as u64, self.limit)?;
        Ok(n)
    }
}

/// The operator's value for these operands; `None` for an operator that is not computed here. Absent operands are `None`.
pub(super) fn fold(
    op: &str,
    cx: &FoldCx<'_, '_>,
    x: &[Option<&Array>],
) -> Result<Option<Array>, FormatError> {
    let need = |i: usize| x.get(i).copied().flatten().ok_or_else(|| super::missing_input(i));
    Ok(Some(match op {
        "Identity" => need(0)?.clone(),
        "Cast" => cast(need(0)?, cx)?,
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Pow" | "Min" | "Max" | "And" | "Or" | "Xor" | "Equal"
        | "Less" | "Greater" | "LessOrEqual" | "GreaterOrEqual" => {
            if op == "Mod" && cx.attrs.int("fmod", 0)? != 0 {
                return Ok(None);
            }
            let mut value = need(0)?.clone();
            for i in 1..x.len() {
                value = binary(op, &value, need(i)?, cx)?;
            }
            value
        }
        "Neg" | "Abs" | "Floor" | "Ceil" | "Sqrt" | "Exp" | "Log" | "Reciprocal" | "Round" | "Not"
        | "Sign" => match unary(op, need(0)?) {
            Some(value) => value,
            None => return Ok(None),
        },
        "Where" => select(need(0)?, need(1)?, need(2)?, cx)?,
        "Transpose" => {
            let x = need(0)?;
            let axes = permutation(cx.attrs, x.shape.len())?;
            x.permuted(&axes)
        }
        "Reshape" => {
            let (x, target) = (need(0)?, ints(need(1)?)?);
            let shape = reshape_target(&x.shape, target, cx.attrs.int("allowzero", 0)? != 0)?;
            if cx.room(&shape)? != x.len() {
                return Err(FormatError::malformed(format!("{:?} does not reshape to {target:?}", x.shape)));
            }
            x.reshaped(shape)
        }
        "Squeeze" | "Unsqueeze" => {
            let given = match x.get(1).copied().flatten() {
                Some(axes) => Some(ints(axes)?.to_vec()),
                None => cx.attrs.ints("axes")?,
            };
            let x = need(0)?;
            let one: Vec<[usize; 1]> = x.shape.iter().map(|&d| [d]).collect();
            let shape = match op {
                "Squeeze" => squeezed(&one, given.as_deref())?,
                _ => unsqueezed(&one, &given.ok_or_else(|| super::missing_input(1))?)?,
            };
            x.reshaped(shape.into_iter().map(|[d]| d).collect())
        }
        "Concat" => concat(x, cx)?,
        "Gather" => gather(need(0)?, need(1)?, cx)?,
        "Slice" => slice(x, cx)?,
        "Expand" => {
            let (x, shape) = (need(0)?, sizes(need(1)?)?);
            let shape = broadcast_shape(&x.shape, &shape)?;
            cx.room(&shape)?;
            x.broadcast(&shape).expect("`broadcast_shape` accepted the shape")
        }
        "Tile" => {
            let (x, times) = (need(0)?, sizes(need(1)?)?);
            if times.len() != x.shape.len() {
                return Err(FormatError::malformed(format!("{times:?} does not repeat {:?}", x.shape)));
            }
            let shape = x.shape.iter().zip(&times).map(|(d, t)| d.checked_mul(*t));
            let shape: Vec<usize> = shape.collect::<Option<_>>().ok_or_else(|| overflow("Tile"))?;
            cx.room(&shape)?;
            let (own, steps) = (x.shape.clone(), steps(&x.shape));
            let dims = shape.clone();
            x.gather(shape, |mut i| {
                let mut at = 0;
                for axis in (0..dims.len()).rev() {
                    at += i % dims[axis] % own[axis] * steps[axis];
                    i /= dims[axis];
                }
                at
            })
        }
        "ConstantOfShape" => {
            let shape = sizes(need(0)?)?;
            let n = cx.room(&shape)?;
            let value = cx.attrs.tensor("value")?.unwrap_or_else(|| Array::floats(vec![1], vec![0.0]));
            if value.len() != 1 {
                return Err(FormatError::malformed("attribute `value` is not one number"));
            }
            match &value.data {
                Data::Float(v) => Array::floats(shape, filled(v[0], n)?),
                Data::Int(v) => Array::ints(shape, filled(v[0], n)?),
            }
        }
        "Range" => range(need(0)?, need(1)?, need(2)?, cx)?,
        "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" if need(0)?.is_int() => reduce(op, x, cx)?,
        _ => return Ok(None),
    }))
}

/// Room for so many is asked for, not taken: what a few bytes of a file ask for must not end the program.
fn filled<T: Copy>(value: T, n: usize) -> Result<Vec<T>, FormatError> {
    let mut values = Vec::new();
    values
        .try_reserve_exact(n)
        .map_err(|_| FormatError::unsupported(format!("there is no memory for a constant of {n} values")))?;
    values.resize(n, value);
    Ok(values)
}

pub(super) fn ints(x: &Array) -> Result<&[i64], FormatError> {
    x.as_ints().ok_or_else(|| FormatError::malformed("integers are expected, not floating point numbers"))
}

fn sizes(x: &Array) -> Result<Vec<usize>, FormatError> {
    let size = |&d: &i64| usize::try_from(d).map_err(|_| FormatError::malformed(format!("{d} is no extent")));
    ints(x)?.iter().map(size).collect()
}

fn overflow(op: &str) -> FormatError {
    FormatError::malformed(format!("the numbers of `{op}` are too large"))
}

fn cast(x: &Array, cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    use super::proto::data_type;
    let to = cx.attrs.int("to", 0)?;
    let shape = x.shape.clone();
    Ok(match i32::try_from(to).unwrap_or(0) {
        data_type::FLOAT | data_type::FLOAT16 | data_type::BFLOAT16 | data_type::DOUBLE => {
            Array::floats(shape, x.clone().into_floats())
        }
        data_type::INT64
        | data_type::INT32
        | data_type::INT16
        | data_type::INT8
        | data_type::UINT8
        | data_type::UINT16
        | data_type::UINT32
        | data_type::UINT64 => match &x.data {
            Data::Int(_) => x.clone(),
            Data::Float(values) => Array::ints(shape, values.iter().map(|&v| v as i64).collect()),
        },
        data_type::BOOL => match &x.data {
            Data::Int(values) => Array::ints(shape, values.iter().map(|&v| i64::from(v != 0)).collect()),
            Data::Float(values) => Array::ints(shape, values.iter().map(|&v| i64::from(v != 0.0)).collect()),
        },
        other => {
            let kind = data_type::name(other);
            return Err(FormatError::unsupported(format!("attribute `to` = `{kind}` is not supported")));
        }
    })
}

fn binary(op: &str, a: &Array, b: &Array, cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    let shape = broadcast_shape(&a.shape, &b.shape)?;
    cx.room(&shape)?;
    let fits = "`broadcast_shape` accepted both";
    let [a, b] = [a, b].map(|x| x.broadcast(&shape).expect(fits));
    let truth = |value: bool| i64::from(value);
    if let (Data::Int(a), Data::Int(b)) = (&a.data, &b.data) {
        let one = |(&a, &b): (&i64, &i64)| {
            let value = match op {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                "Div" => a.checked_div(b),
                // The sign is the divisor's, as in Python.
                "Mod" => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
                "Pow" => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
                "Min" => Some(a.min(b)),
                "Max" => Some(a.max(b)),
                "And" => Some(truth(a != 0 && b != 0)),
                "Or" => Some(truth(a != 0 || b != 0)),
                "Xor" => Some(truth((a != 0) != (b != 0))),
                "Equal" => Some(truth(a == b)),
                "Less" => Some(truth(a < b)),
                "Greater" => Some(truth(a > b)),
                "LessOrEqual" => Some(truth(a <= b)),
                "GreaterOrEqual" => Some(truth(a >= b)),
                _ => None,
            };
            value.ok_or_else(|| FormatError::malformed(format!("`{op}` of {a} and {b} is no 64-bit integer")))
        };
        return Ok(Array::ints(shape, a.iter().zip(b.iter()).map(one).collect::<Result<_, _>>()?));
    }
    let (a, b) = (a.into_floats(), b.into_floats());
    let pairs = a.iter().zip(&b).map(|(&a, &b)| (a, b));
    let compare = |f: fn(f32, f32) -> bool| {
        Array::ints(shape.clone(), pairs.clone().map(|(a, b)| truth(f(a, b))).collect())
    };
    let compute =
        |f: fn(f32, f32) -> f32| Array::floats(shape.clone(), pairs.clone().map(|(a, b)| f(a, b)).collect());
    Ok(match op {
        "Add" => compute(|a, b| a + b),
        "Sub" => compute(|a, b| a - b),
        "Mul" => compute(|a, b| a * b),
        "Div" => compute(|a, b| a / b),
        "Pow" => compute(f32::powf),
        "Min" => compute(f32::min),
        "Max" => compute(f32::max),
        "Equal" => compare(|a, b| a == b),
        "Less" => compare(|a, b| a < b),
        "Greater" => compare(|a, b| a > b),
        "LessOrEqual" => compare(|a, b| a <= b),
        "GreaterOrEqual" => compare(|a, b| a >= b),
        _ => return Err(FormatError::unsupported(format!("`{op}` of floating point numbers"))),
    })
}

fn unary(op: &str, x: &Array) -> Option<Array> {
    let shape = x.shape.clone();
    Some(match &x.data {
        Data::Int(values) => {
            let f: fn(i64) -> i64 = match op {
                "Neg" => i64::wrapping_neg,
                "Abs" => i64::wrapping_abs,
                "Sign" => i64::signum,
                "Not" => |v| i64::from(v == 0),
                "Floor" | "Ceil" | "Round" => |v| v,
                _ => return None,
            };
            Array::ints(shape, values.iter().map(|&v| f(v)).collect())
        }
        Data::Float(values) => {
            let f: fn(f32) -> f32 = match op {
                "Neg" => |v| -v,
                "Abs" => f32::abs,
                "Floor" => f32::floor,
                "Ceil" => f32::ceil,
                "Round" => f32::round_ties_even,
                "Sqrt" => f32::sqrt,
                "Exp" => f32::exp,
                "Log" => f32::ln,
                "Reciprocal" => |v| 1.0 / v,
                _ => return None,
            };
            Array::floats(shape, values.iter().map(|&v| f(v)).collect())
        }
    })
}

fn select(condition: &Array, a: &Array, b: &Array, cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    let shape = broadcast_shape(&broadcast_shape(&condition.shape, &a.shape)?, &b.shape)?;
    cx.room(&shape)?;
    let [condition, a, b] = [condition, a, b].map(|x| x.broadcast(&shape).expect("the shapes fit"));
    let condition = ints(&condition)?;
    let pick = |i: usize, yes: bool| if condition[i] != 0 { yes } else { !yes };
    Ok(match (&a.data, &b.data) {
        (Data::Int(a), Data::Int(b)) => {
            Array::ints(shape, (0..a.len()).map(|i| if pick(i, true) { a[i] } else { b[i] }).collect())
        }
        _ => {
            let (a, b) = (a.clone().into_floats(), b.into_floats());
            Array::floats(shape, (0..a.len()).map(|i| if pick(i, true) { a[i] } else { b[i] }).collect())
        }
    })
}

/// Attribute `perm`: by default the axes backwards.
pub(super) fn permutation(attrs: &Attrs<'_>, rank: usize) -> Result<Vec<usize>, FormatError> {
    let Some(given) = attrs.ints("perm")? else { return Ok((0..rank).rev().collect()) };
    let axes = given.iter().map(|&axis| array::axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut sorted = axes.clone();
    sorted.sort_unstable();
    if sorted.into_iter().eq(0..rank) {
        return Ok(axes);
    }
    Err(FormatError::malformed(format!("attribute `perm` = {given:?} is not an order of {rank} axes")))
}

/// The extents that a list of ONNX `Reshape` means: 0 for that of the input, -1 for what is left.
pub(super) fn reshape_target(
    shape: &[usize],
    target: &[i64],
    zero_is_zero: bool,
) -> Result<Vec<usize>, FormatError> {
    let bad = || FormatError::malformed(format!("{shape:?} does not reshape to {target:?}"));
    let mut dims = Vec::with_capacity(target.len());
    let mut rest = None;
    for (at, &d) in target.iter().enumerate() {
        dims.push(match d {
            0 if !zero_is_zero => *shape.get(at).ok_or_else(bad)?,
            -1 if rest.replace(at).is_none() => 1,
            d => usize::try_from(d).map_err(|_| bad())?,
        });
    }
    if let Some(at) = rest {
        let product = |dims: &[usize]| dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let (all, known) = (product(shape).ok_or_else(bad)?, product(&dims).ok_or_else(bad)?);
        dims[at] = all.checked_div(known).filter(|n| n * known == all).ok_or_else(bad)?;
    }
    Ok(dims)
}

/// Extents without those of 1 at `axes`, or without all of 1. Extents are under one size of what is free or several.
pub(super) fn squeezed<const N: usize>(
    dims: &[[usize; N]],
    axes: Option<&[i64]>,
) -> Result<Vec<[usize; N]>, FormatError> {
    array::check_rank(axes.map_or(0, <[i64]>::len))?;
    let gone: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|&axis| array::axis(axis, dims.len())).collect::<Result<_, _>>()?,
        None => (0..dims.len()).filter(|&axis| dims[axis] == [1; N]).collect(),
    };
    if let Some(&axis) = gone.iter().find(|&&axis| dims[axis] != [1; N]) {
        return Err(FormatError::malformed(format!(
            "axis {axis} has not the extent 1 and cannot be left out"
        )));
    }
    Ok((0..dims.len()).filter(|axis| !gone.contains(axis)).map(|axis| dims[axis]).collect())
}

/// Extents with 1 at these axes of the result.
pub(super) fn unsqueezed<const N: usize>(
    dims: &[[usize; N]],
    axes: &[i64],
) -> Result<Vec<[usize; N]>, FormatError> {
    let rank = dims.len() + axes.len();
    array::check_rank(rank)?;
    let new = axes.iter().map(|&axis| array::axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut old = dims.iter();
    let dims = (0..rank).map(|axis| if new.contains(&axis) { Some([1; N]) } else { old.next().copied() });
    dims.collect::<Option<_>>()
        .ok_or_else(|| FormatError::malformed(format!("the axes {axes:?} are not different")))
}

fn concat(x: &[Option<&Array>], cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    let x: Option<Vec<&Array>> = x.iter().copied().collect();
    let x = x.filter(|x| !x.is_empty()).ok_or_else(|| super::missing_input(0))?;
    let first = &x[0].shape;
    let axis = array::axis(cx.attrs.int("axis", 0)?, first.len())?;
    let fits = |shape: &[usize]| {
        shape.len() == first.len() && (0..shape.len()).all(|i| i == axis || shape[i] == first[i])
    };
    if let Some(other) = x.iter().find(|x| !fits(&x.shape)) {
        return Err(FormatError::malformed(format!(
            "{first:?} and {:?} do not join along axis {axis}",
            other.shape
        )));
    }
    let mut shape = first.clone();
    shape[axis] = x.iter().map(|x| x.shape[axis]).fold(0, usize::saturating_add);
    cx.room(&shape)?;
    let outer: usize = shape[..axis].iter().product();
    let part = |x: &Array, row: usize| {
        let len: usize = x.shape[axis..].iter().product();
        row * len..(row + 1) * len
    };
    if x.iter().all(|x| x.is_int()) {
        let rows = (0..outer).flat_map(|row| x.iter().map(move |x| (x, row)));
        let values = rows.flat_map(|(x, row)| x.as_ints().expect("was asked")[part(x, row)].to_vec());
        return Ok(Array::ints(shape, values.collect()));
    }
    let x: Vec<(&Array, Vec<f32>)> = x.into_iter().map(|x| (x, x.clone().into_floats())).collect();
    let rows = (0..outer).flat_map(|row| x.iter().map(move |(x, values)| (x, values, row)));
    let values = rows.flat_map(|(x, values, row)| values[part(x, row)].to_vec());
    Ok(Array::floats(shape, values.collect()))
}

fn gather(x: &Array, at: &Array, cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    let axis = array::axis(cx.attrs.int("axis", 0)?, x.shape.len())?;
    let n = x.shape[axis];
    let positions = ints(at)?.iter().map(|&at| array::axis(at, n));
    let positions = positions.collect::<Result<Vec<usize>, _>>()?;
    let shape = [&x.shape[..axis], &at.shape, &x.shape[axis + 1..]].concat();
    cx.room(&shape)?;
    let inner: usize = x.shape[axis + 1..].iter().product();
    let picked = positions.len();
    Ok(x.gather(shape, |i| {
        let (row, at) = (i / inner / picked, positions[i / inner % picked]);
        (row * n + at) * inner + i % inner
    }))
}

/// Starts, ends, axes and steps of ONNX `Slice`: operands since opset 10, attributes before. Python's rules.
pub(super) struct Cuts {
    pub(super) starts: Vec<i64>,
    pub(super) ends: Vec<i64>,
    pub(super) axes: Vec<usize>,
    pub(super) steps: Vec<i64>,
}

impl Cuts {
    pub(super) fn new(
        attrs: &Attrs<'_>,
        opset: i64,
        x: &[Option<&Array>],
        rank: usize,
    ) -> Result<Cuts, FormatError> {
        let list = |name: &str, i: usize| match opset {
            ..10 => attrs.ints(name),
            _ => x.get(i).copied().flatten().map(|x| ints(x).map(<[i64]>::to_vec)).transpose(),
        };
        let starts = list("starts", 1)?.ok_or_else(|| super::missing_input(1))?;
        let ends = list("ends", 2)?.ok_or_else(|| super::missing_input(2))?;
        let axes = list("axes", 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps =
            if opset < 10 { None } else { list("steps", 4)? }.unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err(FormatError::malformed("starts, ends, axes and steps are not equally many"));
        }
        array::check_rank(axes.len())?;
        let axes = axes.iter().map(|&axis| array::axis(axis, rank)).collect::<Result<_, _>>()?;
        if steps.iter().any(|&step| step == 0 || step == i64::MIN) {
            return Err(FormatError::malformed("a slice needs a step other than 0"));
        }
        Ok(Cuts { starts, ends, axes, steps })
    }

    /// First position and number of positions of cut `i` along an axis of `n`.
    pub(super) fn place(&self, i: usize, n: usize) -> (i64, usize) {
        let (n, step) = (n as i64, self.steps[i]);
        let (low, high) = if step > 0 { (0, n) } else { (-1, n - 1) };
        let clamp = |at: i64| if at < 0 { at.saturating_add(n) } else { at }.clamp(low, high);
        let (start, end) = (clamp(self.starts[i]), clamp(self.ends[i]));
        let span = if step > 0 { end - start } else { start - end };
        (start, (span.max(0) as u64).div_ceil(step.unsigned_abs()) as usize)
    }
}

fn slice(x: &[Option<&Array>], cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    let data = x.first().copied().flatten().ok_or_else(|| super::missing_input(0))?;
    let cuts = Cuts::new(cx.attrs, cx.opset, x, data.shape.len())?;
    let mut value = data.clone();
    for (cut, &axis) in cuts.axes.iter().enumerate() {
        let (n, step) = (value.shape[axis], cuts.steps[cut]);
        let (start, count) = cuts.place(cut, n);
        let mut shape = value.shape.clone();
        shape[axis] = count;
        let inner: usize = shape[axis + 1..].iter().product();
        value = value.gather(shape, |i| {
            let at = start + (i / inner % count) as i64 * step;
            (i / inner / count * n + at as usize) * inner + i % inner
        });
    }
    Ok(value)
}

fn range(start: &Array, end: &Array, step: &Array, cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    let (Some([start]), Some([end]), Some([step])) = (start.as_ints(), end.as_ints(), step.as_ints()) else {
        let scalars = [start, end, step].map(|x| x.scalar().map(f64::from));
        let [Some(start), Some(end), Some(step)] = scalars else {
            return Err(FormatError::malformed("a range needs three numbers"));
        };
        // What is no number, or has no end, becomes a length that the limit refuses.
        let n = ((end - start) / step).ceil();
        let n = if n.is_nan() { f64::MAX } else { n.max(0.0) };
        let n = cx.room(&[n as usize])?;
        let values: Vec<f32> = (0..n).map(|i| (start + i as f64 * step) as f32).collect();
        return Ok(Array::floats(vec![n], values));
    };
    if *step == 0 {
        return Err(FormatError::malformed("a range needs a step other than 0"));
    }
    let span =
        if *step > 0 { i128::from(*end) - i128::from(*start) } else { i128::from(*start) - i128::from(*end) };
    let n = span.max(0).unsigned_abs().div_ceil(u128::from(step.unsigned_abs()));
    let n = cx.room(&[usize::try_from(n).unwrap_or(usize::MAX)])?;
    Ok(Array::list((0..n as i64).map(|i| start + i * step).collect()))
}

fn reduce(op: &str, x: &[Option<&Array>], cx: &FoldCx<'_, '_>) -> Result<Array, FormatError> {
    let value = x.first().copied().flatten().ok_or_else(|| super::missing_input(0))?;
    let axes = match x.get(1).copied().flatten() {
        Some(axes) => Some(ints(axes)?.to_vec()),
        None => cx.attrs.ints("axes")?,
    };
    let keep = cx.attrs.int("keepdims", 1)? != 0;
    let noop = cx.attrs.int("noop_with_empty_axes", 0)? != 0;
    let axes = match axes.filter(|axes| !axes.is_empty()) {
        None if noop => return Ok(value.clone()),
        None => (0..value.shape.len()).collect(),
        Some(axes) => {
            axes.iter().map(|&a| array::axis(a, value.shape.len())).collect::<Result<Vec<_>, _>>()?
        }
    };
    let start = match op {
        "ReduceProd" => 1,
        "ReduceSum" => 0,
        "ReduceMax" => i64::MIN,
        _ => i64::MAX,
    };
    let kept: Vec<usize> =
        (0..value.shape.len()).map(|a| if axes.contains(&a) { 1 } else { value.shape[a] }).collect();
    let kept_steps = steps(&kept);
    let walk: Vec<(usize, usize)> = (0..kept.len())
        .map(|axis| (value.shape[axis], if axes.contains(&axis) { 0 } else { kept_steps[axis] }))
        .collect();
    let mut sums = vec![start; kept.iter().product()];
    for (i, &v) in ints(value)?.iter().enumerate() {
        let to = &mut sums[array::offset(i, &walk)];
        *to = match op {
            "ReduceProd" => to.checked_mul(v),
            "ReduceSum" => to.checked_add(v),
            "ReduceMax" => Some((*to).max(v)),
            _ => Some((*to).min(v)),
        }
        .ok_or_else(|| overflow(op))?;
    }
    let shape =
        if keep { kept } else { (0..kept.len()).filter(|a| !axes.contains(a)).map(|a| kept[a]).collect() };
    Ok(Array::ints(shape, sums))
}
