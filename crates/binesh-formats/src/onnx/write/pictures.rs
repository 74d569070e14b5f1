//! Windows over pictures, and pictures made smaller and larger. ONNX has all of them with channels first.

use binesh_core::ops::up_sampling2d::Interpolation;
use binesh_core::ops::{AveragePool2d, Conv2d, Conv2dTranspose, DepthwiseConv2d, MaxPool2d, UpSampling2d};
use binesh_core::{NodeId, Padding, Window};

use super::super::proto::AttributeProto;
use super::values::{Held, PICTURE, Values, int, ints, text};
use crate::error::FormatError;

/// `[Kh, Kw, C / G, O]` as `[O, C / G, Kh, Kw]`; the transposed convolution's `[Kh, Kw, O, C]` as `[C, O, Kh, Kw]`.
const KERNEL: [usize; 4] = [3, 2, 0, 1];

pub(super) fn conv2d(cx: &mut Values<'_>, inputs: &[NodeId], conv: &Conv2d) -> Result<Held, FormatError> {
    let kernel = cx.kernel(inputs[1], &KERNEL, None)?;
    convolution(cx, inputs, kernel, &conv.window, conv.groups)
}

/// A convolution of as many groups as channels: `[Kh, Kw, C, M]` as `[C * M, 1, Kh, Kw]`.
pub(super) fn depthwise_conv2d(
    cx: &mut Values<'_>,
    inputs: &[NodeId],
    conv: &DepthwiseConv2d,
) -> Result<Held, FormatError> {
    let &[kh, kw, channels, multiplier] = cx.graph.probes(inputs[1])[0].dims() else {
        return Err(FormatError::unsupported("a kernel without four axes"));
    };
    let kernel = cx.kernel(inputs[1], &[2, 3, 0, 1], Some(vec![channels * multiplier, 1, kh, kw]))?;
    convolution(cx, inputs, kernel, &conv.window, channels)
}

fn convolution(
    cx: &mut Values<'_>,
    inputs: &[NodeId],
    kernel: String,
    window: &Window,
    groups: usize,
) -> Result<Held, FormatError> {
    let x = cx.picture(inputs[0])?;
    let bias = inputs.get(2).map(|&bias| cx.kernel(bias, &[0], None)).transpose()?;
    let mut attributes = attributes(window, &cx.graph.dims(inputs[0]));
    attributes.push(ints("dilations", &window.dilation.map(|n| n as i64)));
    attributes.push(int("group", groups as i64));
    Ok(x.like(cx.weighted("Conv", &x.name, &kernel, bias.as_deref(), attributes)))
}

/// What is computed of the input is longer than the output by what both paddings cut off; where it is shorter, the rest is
/// `output_padding`.
pub(super) fn conv2d_transpose(
    cx: &mut Values<'_>,
    id: NodeId,
    conv: &Conv2dTranspose,
) -> Result<Held, FormatError> {
    let inputs = &cx.graph.node(id).inputs[..];
    let window = &conv.window;
    let (from, to) = (cx.graph.probes(inputs[0])[0].dims().to_vec(), cx.graph.probes(id)[0].dims().to_vec());
    let (mut pads, mut more) = ([0i64; 4], [0i64; 2]);
    for axis in 0..2 {
        let [n, k, stride, dilation] =
            [from[axis + 1], window.size[axis], window.stride[axis], window.dilation[axis]].map(|n| n as i64);
        let spread = (n - 1) * stride + (k - 1) * dilation + 1;
        let surplus = spread - to[axis + 1] as i64;
        let before = match window.padding {
            Padding::Valid => 0,
            Padding::Same => surplus.max(0) / 2,
            Padding::Explicit(pads) => pads[axis][0] as i64,
        };
        pads[axis] = before;
        pads[axis + 2] = (surplus - before).max(0);
        more[axis] = (before - surplus).max(0);
    }
    let kernel = cx.kernel(inputs[1], &KERNEL, None)?;
    let bias = inputs.get(2).map(|&bias| cx.kernel(bias, &[0], None)).transpose()?;
    let x = cx.picture(inputs[0])?;
    let attributes = vec![
        ints("kernel_shape", &window.size.map(|n| n as i64)),
        ints("strides", &window.stride.map(|n| n as i64)),
        ints("dilations", &window.dilation.map(|n| n as i64)),
        ints("pads", &pads),
        ints("output_padding", &more),
    ];
    Ok(x.like(cx.weighted("ConvTranspose", &x.name, &kernel, bias.as_deref(), attributes)))
}

pub(super) fn max_pool(cx: &mut Values<'_>, x: NodeId, pool: &MaxPool2d) -> Result<Held, FormatError> {
    let mut attributes = attributes(&pool.window, &cx.graph.dims(x));
    attributes.push(ints("dilations", &pool.window.dilation.map(|n| n as i64)));
    let x = cx.picture(x)?;
    Ok(x.like(cx.emit("MaxPool", &[&x.name], attributes)))
}

pub(super) fn average_pool(
    cx: &mut Values<'_>,
    x: NodeId,
    pool: &AveragePool2d,
) -> Result<Held, FormatError> {
    if pool.window.dilation != [1; 2] {
        return Err(FormatError::unsupported("ONNX has no average pooling with dilation until opset 19"));
    }
    let mut attributes = attributes(&pool.window, &cx.graph.dims(x));
    attributes.push(int("count_include_pad", i64::from(pool.count_include_pad)));
    let x = cx.picture(x)?;
    Ok(x.like(cx.emit("AveragePool", &[&x.name], attributes)))
}

pub(super) fn global_pool(
    cx: &mut Values<'_>,
    x: NodeId,
    op: &str,
    keepdims: bool,
) -> Result<Held, FormatError> {
    let x = cx.picture(x)?;
    let pooled = cx.emit(op, &[&x.name], vec![]);
    if keepdims {
        return Ok(Held { name: pooled, axes: PICTURE.to_vec() });
    }
    Ok(Held { name: cx.emit("Flatten", &[&pooled], vec![int("axis", 1)]), axes: vec![0, 1] })
}

pub(super) fn up_sampling(cx: &mut Values<'_>, x: NodeId, up: &UpSampling2d) -> Result<Held, FormatError> {
    let x = cx.picture(x)?;
    let [rows, columns] = up.factors.map(|n| n as f32);
    let scales = cx.floats("scales", &[4], &[1.0, 1.0, rows, columns]);
    let attributes = match up.interpolation {
        Interpolation::Nearest => vec![
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "asymmetric"),
            text("nearest_mode", "floor"),
        ],
        Interpolation::Bilinear => {
            vec![text("mode", "linear"), text("coordinate_transformation_mode", "half_pixel")]
        }
    };
    Ok(x.like(cx.emit("Resize", &[&x.name, "", &scales], attributes)))
}

/// Size, steps and padding of a window over values of these extents. Where those are free, TensorFlow's `same` is ONNX's
/// `SAME_UPPER`.
fn attributes(window: &Window, x: &[Option<usize>]) -> Vec<AttributeProto> {
    let mut attributes = vec![
        ints("kernel_shape", &window.size.map(|n| n as i64)),
        ints("strides", &window.stride.map(|n| n as i64)),
    ];
    let pads = match (window.padding, x) {
        (Padding::Valid, _) => [[0; 2]; 2],
        (Padding::Explicit(pads), _) => pads,
        (Padding::Same, [_, Some(h), Some(w), _]) => {
            let extents = [*h, *w];
            let placed = window.place(extents).expect("the graph checked the window");
            [0, 1].map(|axis| {
                let extent = (window.size[axis] - 1) * window.dilation[axis] + 1;
                let reach = (placed.output[axis] - 1) * window.stride[axis] + extent;
                let before = placed.before[axis];
                [before, reach.saturating_sub(extents[axis] + before)]
            })
        }
        (Padding::Same, _) => {
            attributes.push(text("auto_pad", "SAME_UPPER"));
            return attributes;
        }
    };
    let [[top, bottom], [left, right]] = pads.map(|pads| pads.map(|n| n as i64));
    attributes.push(ints("pads", &[top, left, bottom, right]));
    attributes
}
