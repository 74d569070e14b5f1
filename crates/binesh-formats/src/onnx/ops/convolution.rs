//! Convolutions over one or two axes. The kernels `[O, C / G, Kh, Kw]` become `[Kh, Kw, C / G, O]`.

use binesh_core::ops::{Binary, Concat, Conv2d, Conv2dTranspose, DepthwiseConv2d, Slice};
use binesh_core::{BinaryOp, NodeId, Padding, Window};

use super::{Form, NodeCx, Operator, Traced, Value, one, operator};
use crate::error::FormatError;

pub(super) const OPERATORS: &[Operator] =
    &[operator("Conv", "Conv2D", conv), operator("ConvTranspose", "Conv2DTranspose", conv_transpose)];

/// A picture operand `[N, C, H, W]`, channels last; `[N, C, L]` is taken for one of a single row.
pub(super) struct Image {
    pub(super) x: Traced,
    /// It had one axis of positions.
    pub(super) is_line: bool,
}

impl Image {
    pub(super) fn of(cx: &mut NodeCx<'_, '_>, i: usize) -> Result<Image, FormatError> {
        let x = cx.input(i)?;
        Image::from(cx, &x)
    }

    pub(super) fn from(cx: &mut NodeCx<'_, '_>, x: &Traced) -> Result<Image, FormatError> {
        let is_line = x.rank() == 3;
        let x = match x.rank() {
            3 => {
                let d = cx.dims(x);
                cx.mapper.reshape(x, &[d[0], d[1], [1; 2], d[2]])?
            }
            4 => x.clone(),
            rank => {
                let axes = rank.saturating_sub(2);
                return Err(FormatError::unsupported(format!(
                    "a map of {axes} axes; only 1 and 2 are supported"
                )));
            }
        };
        Ok(Image { x: cx.mapper.image(&x)?, is_line })
    }

    /// A result of the same kind, which has channels last.
    pub(super) fn result(&self, cx: &mut NodeCx<'_, '_>, node: NodeId) -> Result<Traced, FormatError> {
        let y = self.x.like(node);
        if !self.is_line {
            return Ok(y);
        }
        let d = cx.dims(&y);
        cx.mapper.reshape(&y, &[d[0], d[1], d[3]])
    }

    /// Height and width; `None` where they are free.
    pub(super) fn size(&self, cx: &NodeCx<'_, '_>) -> [Option<usize>; 2] {
        let extents = cx.mapper.extents(&self.x);
        [extents[2], extents[3]]
    }

    /// A pair of numbers from an attribute; one of them for a line.
    pub(super) fn pair(
        &self,
        cx: &NodeCx<'_, '_>,
        name: &str,
        default: usize,
    ) -> Result<[usize; 2], FormatError> {
        let Some(given) = cx.attrs.ints(name)? else { return Ok([default; 2]) };
        let whole = |&v: &i64| usize::try_from(v).ok();
        match (&given[..], self.is_line) {
            ([w], true) => whole(w).map(|w| [default, w]),
            ([h, w], false) => whole(h).zip(whole(w)).map(|(h, w)| [h, w]),
            _ => None,
        }
        .ok_or_else(|| cx.attrs.refuse(name))
    }

    /// Attribute `pads`: `[top, left, bottom, right]` as rows and columns.
    pub(super) fn pads(&self, cx: &NodeCx<'_, '_>) -> Result<[[usize; 2]; 2], FormatError> {
        let Some(given) = cx.attrs.ints("pads")? else { return Ok([[0; 2]; 2]) };
        let pads: Option<Vec<usize>> = given.iter().map(|&v| usize::try_from(v).ok()).collect();
        match (pads.as_deref(), self.is_line) {
            (Some(&[left, right]), true) => Ok([[0, 0], [left, right]]),
            (Some(&[top, left, bottom, right]), false) => Ok([[top, bottom], [left, right]]),
            _ => Err(cx.attrs.refuse("pads")),
        }
    }
}

/// Padding by `auto_pad` or `pads`.
pub(super) fn padding(
    cx: &NodeCx<'_, '_>,
    image: &Image,
    [size, stride, dilation]: [[usize; 2]; 3],
) -> Result<Padding, FormatError> {
    match cx.attrs.str("auto_pad", "NOTSET")? {
        "NOTSET" => Ok(match image.pads(cx)? {
            [[0, 0], [0, 0]] => Padding::Valid,
            pads => Padding::Explicit(pads),
        }),
        "VALID" => {
            cx.attrs.ignore(&["pads"]);
            Ok(Padding::Valid)
        }
        "SAME_UPPER" => {
            cx.attrs.ignore(&["pads"]);
            Ok(Padding::Same)
        }
        "SAME_LOWER" => {
            cx.attrs.ignore(&["pads"]);
            let mut pads = [[0; 2]; 2];
            for (axis, n) in image.size(cx).into_iter().enumerate() {
                let (k, s, d) = (size[axis], stride[axis], dilation[axis]);
                let extent = k.saturating_sub(1).checked_mul(d).and_then(|v| v.checked_add(1));
                let extent = extent.filter(|_| s > 0).ok_or_else(|| cx.attrs.refuse("dilations"))?;
                let total = match n {
                    Some(n) => {
                        (n.div_ceil(s).max(1) - 1).saturating_mul(s).saturating_add(extent).saturating_sub(n)
                    }
                    None if s == 1 => extent - 1,
                    None => return Err(super::depends_on_size()),
                };
                pads[axis] = [total.div_ceil(2), total / 2];
            }
            Ok(Padding::Explicit(pads))
        }
        _ => Err(cx.attrs.refuse("auto_pad")),
    }
}

fn groups(cx: &NodeCx<'_, '_>) -> Result<usize, FormatError> {
    usize::try_from(cx.attrs.int("group", 1)?).ok().filter(|&g| g > 0).ok_or_else(|| cx.attrs.refuse("group"))
}

/// The kernel's shape with two axes of taps; it must be that of `kernel_shape`.
fn kernel(cx: &NodeCx<'_, '_>, image: &Image) -> Result<[usize; 4], FormatError> {
    let shape = match (&cx.shape(1)?[..], image.is_line) {
        (&[o, c, k], true) => [o, c, 1, k],
        (&[o, c, kh, kw], false) => [o, c, kh, kw],
        (other, _) => return Err(FormatError::malformed(format!("its kernel has the shape {other:?}"))),
    };
    let [_, _, kh, kw] = shape;
    if cx.attrs.has("kernel_shape") && image.pair(cx, "kernel_shape", 1)? != [kh, kw] {
        return Err(FormatError::malformed(format!(
            "attribute `kernel_shape` is not that of the kernel, {kh}x{kw}"
        )));
    }
    Ok(shape)
}

fn window(cx: &NodeCx<'_, '_>, image: &Image, size: [usize; 2]) -> Result<Window, FormatError> {
    let (stride, dilation) = (image.pair(cx, "strides", 1)?, image.pair(cx, "dilations", 1)?);
    Ok(Window { size, stride, dilation, padding: padding(cx, image, [size, stride, dilation])? })
}

fn conv<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let image = Image::of(cx, 0)?;
    let [out, per_group, kh, kw] = kernel(cx, &image)?;
    let (window, groups) = (window(cx, &image, [kh, kw])?, groups(cx)?);
    let is_depthwise = groups > 1 && per_group == 1 && out.is_multiple_of(groups);
    let form = match is_depthwise {
        true => Form {
            shape: Some(vec![groups, out / groups, kh, kw]),
            axes: Some(vec![2, 3, 0, 1]),
            ..Form::default()
        },
        false => Form {
            shape: Some(vec![out, per_group, kh, kw]),
            axes: Some(vec![2, 3, 1, 0]),
            ..Form::default()
        },
    };
    let kernel = cx.weight(1, "kernel", &form)?;
    let mut inputs = vec![image.x.node, kernel];
    if cx.has(2) {
        inputs.push(cx.weight(2, "bias", &Form::default())?);
    }
    let node = match is_depthwise {
        true => {
            cx.class = "DepthwiseConv2D";
            cx.add(DepthwiseConv2d { window }, &inputs)?
        }
        false => cx.add(Conv2d { window, groups }, &inputs)?,
    };
    image.result(cx, node).map(one)
}

/// Kernel `[C, O / G, Kh, Kw]`.
fn conv_transpose<'a>(cx: &mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError> {
    let image = Image::of(cx, 0)?;
    let [channels, per_group, kh, kw] = kernel(cx, &image)?;
    let groups = groups(cx)?;
    if !channels.is_multiple_of(groups) {
        return Err(FormatError::malformed(format!(
            "{channels} channels do not divide into {groups} groups"
        )));
    }
    let (stride, dilation) = (image.pair(cx, "strides", 1)?, image.pair(cx, "dilations", 1)?);
    let mut extra = image.pair(cx, "output_padding", 0)?;
    let pads = transposed_pads(cx, &image, [[kh, kw], stride, dilation], &mut extra)?;
    let window = Window { size: [kh, kw], stride, dilation, padding: Padding::Explicit(pads) };
    let op = Conv2dTranspose { window, output_padding: Some(extra) };
    let shape = Some(vec![channels, per_group, kh, kw]);
    let kernel = cx.weight(1, "kernel", &Form { shape, axes: Some(vec![2, 3, 1, 0]), ..Form::default() })?;
    let bias = if cx.has(2) { Some(cx.weight(2, "bias", &Form::default())?) } else { None };
    if groups == 1 {
        let inputs: Vec<NodeId> = [image.x.node, kernel].into_iter().chain(bias).collect();
        let node = cx.add(op, &inputs)?;
        return image.result(cx, node).map(one);
    }
    crate::Limits::check("the number of groups", groups as u64, 4096)?;
    let each = channels / groups;
    let mut parts = Vec::with_capacity(groups);
    for group in 0..groups {
        let cut = Slice {
            axis: 3,
            start: Some((group * each) as i64),
            end: Some(((group + 1) * each) as i64),
            step: 1,
        };
        let x = cx.add(cut.clone(), &[image.x.node])?;
        let w = cx.add(cut, &[kernel])?;
        parts.push(cx.add(op.clone(), &[x, w])?);
    }
    let mut node = cx.add(Concat { axis: 3 }, &parts)?;
    if let Some(bias) = bias {
        node = cx.add(Binary { op: BinaryOp::Add }, &[node, bias])?;
    }
    image.result(cx, node).map(one)
}

/// `pads`, or what `auto_pad` and `output_shape` make of them; padding below zero adds to the output instead.
fn transposed_pads(
    cx: &NodeCx<'_, '_>,
    image: &Image,
    [size, stride, dilation]: [[usize; 2]; 3],
    extra: &mut [usize; 2],
) -> Result<[[usize; 2]; 2], FormatError> {
    let auto = cx.attrs.str("auto_pad", "NOTSET")?;
    let stated = match cx.attrs.ints("output_shape")? {
        // With or without batch and channels.
        Some(shape) => {
            let axes = if image.is_line { 1 } else { 2 };
            let last = shape.len().checked_sub(axes).map(|at| shape[at..].to_vec());
            let last = last.ok_or_else(|| cx.attrs.refuse("output_shape"))?;
            Some(if image.is_line { vec![1, last[0]] } else { last })
        }
        None => None,
    };
    let lower = match auto {
        "NOTSET" if stated.is_none() => return image.pads(cx),
        "VALID" if stated.is_none() => return Ok([[0; 2]; 2]),
        "SAME_UPPER" => false,
        // A stated shape alone pads as SAME_LOWER does, by the definition.
        "NOTSET" | "VALID" | "SAME_LOWER" => true,
        _ => return Err(cx.attrs.refuse("auto_pad")),
    };
    cx.attrs.ignore(&["pads"]);
    let mut pads = [[0; 2]; 2];
    for (axis, n) in image.size(cx).into_iter().enumerate() {
        let whole = |v: usize| i64::try_from(v).ok().filter(|v| *v < 1 << 31);
        let n = n.ok_or_else(super::depends_on_size)?;
        let numbers = [n, size[axis], stride[axis], dilation[axis], extra[axis]].map(whole);
        let [Some(n), Some(k), Some(s), Some(d), Some(more)] = numbers else {
            return Err(cx.attrs.refuse("strides"));
        };
        let output = stated.as_ref().map_or(n * s, |shape| shape[axis].clamp(0, 1 << 31));
        let spread = (k - 1).checked_mul(d).and_then(|v| v.checked_add(1 + more + s * (n - 1)));
        let total = spread.ok_or_else(|| cx.attrs.refuse("dilations"))? - output;
        if total < 0 {
            extra[axis] += total.unsigned_abs() as usize;
            continue;
        }
        let total = total as usize;
        pads[axis] = if lower { [total - total / 2, total / 2] } else { [total / 2, total - total / 2] };
    }
    Ok(pads)
}
