//! What each operator becomes.

use binesh_core::ops::regroup::Extent;
use binesh_core::ops::{
    AveragePool2d, BatchNorm, Conv2d, Conv2dTranspose, DepthwiseConv2d, LayerNorm, MaxPool2d, Normalization,
    Regroup, Take,
};
use binesh_core::{Activation, NodeId, Op, Padding, Window};
use serde_json::{Value, json};

use super::arithmetic;
use super::config::{number, numbers};
use super::graph::{Writer, attributes};
use super::records::{Arg, Class, Out, Weight};
use crate::error::FormatError;

/// Writes a node that is no weight; gives its value.
pub(super) fn write(cx: &mut Writer<'_>, id: NodeId) -> Result<Out, FormatError> {
    let node = cx.node(id);
    let inputs = &node.inputs[..];
    match &node.op {
        Op::Input(input) => {
            let config = json!({"batch_shape": input.dims, "sparse": false, "ragged": false});
            cx.add(id, "", Class::layer("InputLayer"), config, &[], Vec::new())
        }
        Op::Activate(_) | Op::Softmax(_)
            if cx.absorbed.contains(inputs[0]) && cx.absorbed.chain(id).is_none() =>
        {
            let activation = arithmetic::name_of(&node.op, cx.dialect).unwrap_or("linear");
            weighted(cx, id, inputs[0], activation)
        }
        Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::Conv2dTranspose(_) | Op::Dense(_) => {
            weighted(cx, id, id, "linear")
        }
        Op::Activate(activate) => match cx.absorbed.chain(id) {
            Some(operands) => {
                let operands = operands.to_vec();
                arithmetic::merge(cx, id, "Average", &operands)
            }
            None => arithmetic::activation(cx, id, activate.function),
        },
        Op::Softmax(_) if cx.owners.class(node) == "Activation" => {
            simple(cx, id, "Activation", json!({"activation": "softmax"}))
        }
        Op::Softmax(_) => simple(cx, id, "Softmax", json!({"axis": -1})),
        Op::Binary(binary) => arithmetic::binary(cx, id, binary.op),
        Op::BatchNorm(norm) => batch_norm(cx, id, norm),
        Op::LayerNorm(norm) => layer_norm(cx, id, norm),
        Op::Normalization(norm) => normalization(cx, id, norm),
        Op::Rescaling(rescaling) => {
            let config = json!({"scale": numbers(&rescaling.scale)?, "offset": numbers(&rescaling.offset)?});
            simple(cx, id, "Rescaling", config)
        }
        Op::Prelu(_) => prelu(cx, id),
        Op::AveragePool2d(pool) => average_pool(cx, id, pool),
        Op::MaxPool2d(pool) => max_pool(cx, id, pool),
        Op::GlobalAveragePool2d(pool) => global_pool(cx, id, "GlobalAveragePooling2D", pool.keepdims),
        Op::GlobalMaxPool2d(pool) => global_pool(cx, id, "GlobalMaxPooling2D", pool.keepdims),
        Op::ReduceMean(mean) => match reduced(cx, id, &mean.axes)[..] {
            [1, 2] if cx.graph.dims(inputs[0]).len() == 4 => {
                global_pool(cx, id, "GlobalAveragePooling2D", mean.keepdims)
            }
            _ => reduction(cx, id, "Mean", &mean.axes, mean.keepdims),
        },
        Op::ReduceMax(max) => reduction(cx, id, "Max", &max.axes, max.keepdims),
        Op::ReduceSum(sum) => reduction(cx, id, "Sum", &sum.axes, sum.keepdims),
        Op::Concat(concat) => {
            let list = inputs.iter().map(|&x| cx.value(x)).collect::<Result<_, _>>()?;
            let config = json!({"axis": concat.axis});
            cx.add(id, "", Class::layer("Concatenate"), config, &[], vec![Arg::List(list)])
        }
        Op::Crop2d(crop) => {
            let config = json!({"cropping": [crop.rows, crop.columns], "data_format": "channels_last"});
            simple(cx, id, "Cropping2D", config)
        }
        Op::ZeroPad2d(pad) => {
            let config = json!({"padding": [pad.rows, pad.columns], "data_format": "channels_last"});
            simple(cx, id, "ZeroPadding2D", config)
        }
        Op::UpSampling2d(up) => {
            let interpolation = match up.interpolation {
                binesh_core::ops::up_sampling2d::Interpolation::Nearest => "nearest",
                binesh_core::ops::up_sampling2d::Interpolation::Bilinear => "bilinear",
            };
            let config = json!({
                "size": up.factors, "interpolation": interpolation, "data_format": "channels_last",
            });
            simple(cx, id, "UpSampling2D", config)
        }
        Op::Dropout(dropout) => simple(cx, id, "Dropout", json!({"rate": number(dropout.rate)?})),
        Op::Flatten(_) => simple(cx, id, "Flatten", json!({"data_format": "channels_last"})),
        Op::Identity(_) => simple(cx, id, "Identity", json!({})),
        Op::Reshape(reshape) => {
            let target: Vec<Value> =
                reshape.target.iter().map(|d| d.map_or_else(|| json!(-1), |d| json!(d))).collect();
            simple(cx, id, "Reshape", json!({"target_shape": target}))
        }
        Op::Permute(permute) => match (cx.absorbed.resized(id).cloned(), &permute.axes[..]) {
            (Some(resized), _) => {
                let [height, width] = resized.size;
                let config = json!({
                    "height": height, "width": width, "interpolation": resized.interpolation,
                    "crop_to_aspect_ratio": false, "data_format": "channels_last",
                });
                let x = cx.arg(resized.x)?;
                cx.add(id, "", Class::layer("Resizing"), config, &[], vec![x])
            }
            (None, [0, rest @ ..]) => simple(cx, id, "Permute", json!({"dims": rest})),
            (None, axes) => Err(FormatError::unsupported(format!(
                "the axes {axes:?} move the batch axis, which no Keras layer does"
            ))),
        },
        Op::Slice(slice) => {
            let rank = cx.graph.dims(inputs[0]).len() as i64;
            let axis = if slice.axis < 0 { slice.axis + rank } else { slice.axis };
            let key = |at: i64| match at == axis {
                true => json!({"start": slice.start, "stop": slice.end, "step": slice.step}),
                false => json!({"start": null, "stop": null, "step": null}),
            };
            let keys: Vec<Value> =
                (0..rank).map(|at| json!({"class_name": "__slice__", "config": key(at)})).collect();
            operation(cx, id, numpy("GetItem"), json!({}), vec![Arg::Value(Value::Array(keys))])
        }
        Op::BatchMatmul(_) => {
            let args = vec![cx.arg(inputs[0])?, cx.arg(inputs[1])?];
            cx.add(id, "", numpy("Matmul"), json!({}), &[], args)
        }
        Op::Erf(_) => operation(cx, id, Class::operation("keras.src.ops.math", "Erf"), json!({}), Vec::new()),
        Op::Regroup(regroup) => regrouped(cx, id, regroup),
        Op::Take(take) => taken(cx, id, take),
        Op::Param(_) | Op::Constant(_) => Err(FormatError::unsupported("a weight is no layer")),
    }
}

/// An operation of `keras.ops` that NumPy has too.
pub(super) const fn numpy(name: &'static str) -> Class {
    Class::operation("keras.src.ops.numpy", name)
}

/// The axes of the first input that are reduced, counted from the first.
fn reduced(cx: &Writer<'_>, id: NodeId, axes: &[i64]) -> Vec<i64> {
    let rank = cx.graph.dims(cx.node(id).inputs[0]).len() as i64;
    let mut axes: Vec<i64> = axes.iter().map(|&axis| if axis < 0 { axis + rank } else { axis }).collect();
    axes.sort_unstable();
    axes.dedup();
    axes
}

fn reduction(
    cx: &mut Writer<'_>,
    id: NodeId,
    class: &'static str,
    axes: &[i64],
    keepdims: bool,
) -> Result<Out, FormatError> {
    let config = json!({"axis": reduced(cx, id, axes), "keepdims": keepdims});
    operation(cx, id, numpy(class), config, Vec::new())
}

/// A shape with the batch axis in it: at most one extent may be free.
fn regrouped(cx: &mut Writer<'_>, id: NodeId, regroup: &Regroup) -> Result<Out, FormatError> {
    let dims = cx.graph.dims(cx.node(id).inputs[0]);
    let extent = |extent: &Extent| match *extent {
        Extent::Known(n) => n as i64,
        Extent::Of(axis) => dims[axis].map_or(-1, |n| n as i64),
        Extent::Rest => -1,
    };
    let shape: Vec<i64> = regroup.target.iter().map(extent).collect();
    if shape.iter().filter(|&&n| n < 0).count() > 1 {
        let text = "Keras reshapes to a shape of which at most one extent is free";
        return Err(FormatError::unsupported(text).with_hint("give the input's shape (`--input-shape`)"));
    }
    // A layer does where the batch stays: it is saved without the size of the batch.
    if let ([-1, rest @ ..], Some(None)) = (&shape[..], cx.graph.dims(id).first())
        && matches!(regroup.target.first(), Some(Extent::Of(0)))
    {
        let target = json!(rest);
        return simple(cx, id, "Reshape", json!({"target_shape": target}));
    }
    operation(cx, id, numpy("Reshape"), json!({"newshape": shape}), Vec::new())
}

/// Positions that are none are the last one of a longer axis, where the fill is.
fn taken(cx: &mut Writer<'_>, id: NodeId, take: &Take) -> Result<Out, FormatError> {
    let x = cx.node(id).inputs[0];
    let mut dims = cx.graph.dims(x);
    let axis = reduced(cx, id, &[take.axis])[0];
    let at = axis as usize;
    let mut value = cx.arg(x)?;
    let mut none = 0;
    if take.positions.contains(&None) {
        none = dims[at].ok_or_else(|| FormatError::unsupported("padding of an axis of unknown extent"))?;
        dims[at] = Some(none + 1);
        let width: Vec<[usize; 2]> = (0..dims.len()).map(|axis| [0, usize::from(axis == at)]).collect();
        let config = json!({"pad_width": width, "mode": "constant"});
        let args = vec![value, Arg::Value(number(take.fill)?)];
        value = Arg::One(cx.part(id, "_fill", (numpy("Pad"), config), &[], args, dims)?);
    }
    let positions: Vec<usize> = take.positions.iter().map(|at| at.unwrap_or(none)).collect();
    let positions = json!({"class_name": "__numpy__", "config": {"value": positions, "dtype": "int32"}});
    let args = vec![value, Arg::Value(positions)];
    cx.add(id, "", numpy("Take"), json!({"axis": axis}), &[], args)
}

/// A layer of one input without weights.
pub(super) fn simple(
    cx: &mut Writer<'_>,
    id: NodeId,
    class: &'static str,
    config: Value,
) -> Result<Out, FormatError> {
    let x = cx.arg(cx.node(id).inputs[0])?;
    cx.add(id, "", Class::layer(class), config, &[], vec![x])
}

/// An operation on the first input and constants.
pub(super) fn operation(
    cx: &mut Writer<'_>,
    id: NodeId,
    class: Class,
    config: Value,
    constants: Vec<Arg>,
) -> Result<Out, FormatError> {
    let x = cx.arg(cx.node(id).inputs[0])?;
    cx.add(id, "", class, config, &[], [vec![x], constants].concat())
}

/// A convolution or dense layer, the node `of`, and the activation after it; `id` is the node that both make.
fn weighted(
    cx: &mut Writer<'_>,
    id: NodeId,
    of: NodeId,
    activation: &'static str,
) -> Result<Out, FormatError> {
    let node = cx.node(of);
    let inputs = &node.inputs[..];
    let mut weights = vec![cx.weight(inputs[1], None)?];
    if let Some(&bias) = inputs.get(2) {
        weights.push(cx.weight(bias, None)?);
    }
    let kernel: Vec<usize> = cx.graph.dims(inputs[1]).into_iter().flatten().collect();
    let shared = [("use_bias", json!(inputs.len() == 3)), ("activation", json!(activation))];
    match &node.op {
        Op::Conv2d(conv) => conv2d(cx, id, of, conv, &kernel, (weights, shared)),
        Op::DepthwiseConv2d(conv) => depthwise(cx, id, of, conv, &kernel, (weights, shared)),
        Op::Conv2dTranspose(conv) => transpose(cx, id, of, conv, &kernel, (weights, shared)),
        _ => {
            let x = cx.arg(inputs[0])?;
            let config = with(attributes([("units", json!(kernel[1]))]), shared);
            cx.add(id, "", Class::layer("Dense"), config, &weights, vec![x])
        }
    }
}

/// The weights, and the attributes that all convolutions have.
type Shared = (Vec<Weight>, [(&'static str, Value); 2]);

fn conv2d(
    cx: &mut Writer<'_>,
    id: NodeId,
    of: NodeId,
    conv: &Conv2d,
    kernel: &[usize],
    (mut weights, shared): Shared,
) -> Result<Out, FormatError> {
    let x = cx.node(of).inputs[0];
    let filters = json!(kernel[3]);
    if !cx.absorbed.contains(x) {
        let (x, window) = padded(cx, id, x, &conv.window)?;
        let more = attributes([("filters", filters), ("groups", json!(conv.groups))]);
        let config = with(with(more, window), shared);
        return cx.add(id, "", Class::layer("Conv2D"), config, &weights, vec![x]);
    }
    let half = cx.node(x);
    let Op::DepthwiseConv2d(depthwise) = &half.op else {
        return Err(FormatError::unsupported("half a separable convolution"));
    };
    weights.insert(0, cx.weight(half.inputs[1], None)?);
    let multiplier = cx.graph.dims(half.inputs[1])[3];
    let (x, window) = padded(cx, id, half.inputs[0], &depthwise.window)?;
    let config = with(attributes([("filters", filters), ("depth_multiplier", json!(multiplier))]), window);
    cx.add(id, "", Class::layer("SeparableConv2D"), with(config, shared), &weights, vec![x])
}

fn depthwise(
    cx: &mut Writer<'_>,
    id: NodeId,
    of: NodeId,
    conv: &DepthwiseConv2d,
    kernel: &[usize],
    (mut weights, shared): Shared,
) -> Result<Out, FormatError> {
    let [kh, kw, c, multiplier] = kernel[..] else {
        return Err(FormatError::unsupported("a kernel without four axes"));
    };
    let (x, window) = padded(cx, id, cx.node(of).inputs[0], &conv.window)?;
    if conv.window.stride[0] == conv.window.stride[1] {
        let config = with(with(attributes([("depth_multiplier", json!(multiplier))]), window), shared);
        return cx.add(id, "", Class::layer("DepthwiseConv2D"), config, &weights, vec![x]);
    }
    // TensorFlow's depthwise convolution has one stride; a convolution of as many groups as channels has the same
    // kernel, value for value.
    if let Weight::Node(_, shape) = &mut weights[0] {
        *shape = vec![kh, kw, 1, c * multiplier];
    }
    let more = attributes([("filters", json!(c * multiplier)), ("groups", json!(c))]);
    cx.add(id, "", Class::layer("Conv2D"), with(with(more, window), shared), &weights, vec![x])
}

fn transpose(
    cx: &mut Writer<'_>,
    id: NodeId,
    of: NodeId,
    conv: &Conv2dTranspose,
    kernel: &[usize],
    (weights, shared): Shared,
) -> Result<Out, FormatError> {
    let x = cx.arg(cx.node(of).inputs[0])?;
    let window = &conv.window;
    let class = Class::layer("Conv2DTranspose");
    let config = |window: &Window| {
        let more =
            attributes([("filters", json!(kernel[2])), ("output_padding", json!(conv.output_padding))]);
        Ok::<_, FormatError>(with(with(more, keras_window(window)?), shared.clone()))
    };
    let Padding::Explicit(pads) = window.padding else {
        return cx.add(id, "", class, config(window)?, &weights, vec![x]);
    };
    // Without padding, and what the padding would have cut off is cropped. Keras's `valid` has at least a stride for
    // every value.
    let cut = [0, 1].map(|axis| {
        let extent = (window.size[axis] - 1) * window.dilation[axis] + 1;
        let surplus = window.stride[axis].saturating_sub(extent);
        let [before, after] = pads[axis];
        [before, after + if conv.output_padding.is_none() { surplus } else { 0 }]
    });
    let valid = Window { padding: Padding::Valid, ..*window };
    let mut dims = cx.graph.dims(id);
    for (dim, cut) in dims[1..3].iter_mut().zip(cut) {
        *dim = dim.map(|n| n + cut[0] + cut[1]);
    }
    let whole = cx.part(id, "", (class, config(&valid)?), &weights, vec![x], dims)?;
    let config = json!({"cropping": cut, "data_format": "channels_last"});
    cx.add(id, "_cropped", Class::layer("Cropping2D"), config, &[], vec![Arg::One(whole)])
}

/// The attributes of a window over `x`, and the value it slides over: a padding that Keras does not name becomes a layer.
fn padded(cx: &mut Writer<'_>, id: NodeId, x: NodeId, window: &Window) -> Result<(Arg, Value), FormatError> {
    let value = cx.arg(x)?;
    let dims = cx.graph.dims(x);
    match named_padding(window, &dims) {
        Padding::Explicit(pads) => {
            let padded = zero_padding(cx, id, value, dims, pads)?;
            Ok((padded, keras_window(&Window { padding: Padding::Valid, ..*window })?))
        }
        padding => Ok((value, keras_window(&Window { padding, ..*window })?)),
    }
}

fn zero_padding(
    cx: &mut Writer<'_>,
    id: NodeId,
    x: Arg,
    mut dims: Vec<Option<usize>>,
    pads: [[usize; 2]; 2],
) -> Result<Arg, FormatError> {
    for (dim, pad) in dims[1..3].iter_mut().zip(pads) {
        *dim = dim.map(|n| n + pad[0] + pad[1]);
    }
    let class = Class::layer("ZeroPadding2D");
    let config = json!({"padding": pads, "data_format": "channels_last"});
    cx.part(id, "_pad", (class, config), &[], vec![x], dims).map(Arg::One)
}

/// The padding by a name that Keras has for it, if it has one.
fn named_padding(window: &Window, x: &[Option<usize>]) -> Padding {
    let Padding::Explicit(pads) = window.padding else { return window.padding };
    if pads == [[0; 2]; 2] {
        return Padding::Valid;
    }
    let [_, Some(h), Some(w), _] = x[..] else { return window.padding };
    let [stated, same] =
        [window.padding, Padding::Same].map(|padding| Window { padding, ..*window }.place([h, w]).ok());
    if stated == same { Padding::Same } else { window.padding }
}

fn keras_window(window: &Window) -> Result<Value, FormatError> {
    let padding = match window.padding {
        Padding::Valid => "valid",
        Padding::Same => "same",
        Padding::Explicit(pads) => {
            return Err(FormatError::unsupported(format!("Keras has no padding {pads:?}")));
        }
    };
    if window.stride != [1; 2] && window.dilation != [1; 2] {
        let text = "Keras has no convolution with both strides and dilation";
        return Err(FormatError::unsupported(text));
    }
    Ok(json!({
        "kernel_size": window.size, "strides": window.stride, "padding": padding,
        "dilation_rate": window.dilation, "data_format": "channels_last",
    }))
}

fn average_pool(cx: &mut Writer<'_>, id: NodeId, pool: &AveragePool2d) -> Result<Out, FormatError> {
    let x = cx.node(id).inputs[0];
    let dims = cx.graph.dims(x);
    let window = &pool.window;
    // Padding that counts can be real zeros.
    let counted = |padding| match (padding, &dims[..]) {
        (Padding::Same, [_, Some(h), Some(w), _]) => {
            let placed = window.place([*h, *w]).ok()?;
            let needed = |axis: usize, n: usize| {
                let reach = (placed.output[axis] - 1) * window.stride[axis] + window.size[axis];
                [placed.before[axis], reach.saturating_sub(n + placed.before[axis])]
            };
            Some([needed(0, *h), needed(1, *w)])
        }
        (Padding::Explicit(pads), _) => Some(pads),
        _ => None,
    };
    let (value, padding) = match (pool.count_include_pad, window.padding) {
        (_, Padding::Valid) => (cx.arg(x)?, Padding::Valid),
        (false, _) => (cx.arg(x)?, named_padding(window, &dims)),
        (true, padding) => {
            let pads = counted(padding).ok_or_else(|| {
                FormatError::unsupported("padding that counts, over a picture of unknown size")
            })?;
            let value = cx.arg(x)?;
            (zero_padding(cx, id, value, dims, pads)?, Padding::Valid)
        }
    };
    pooled(cx, id, "AveragePooling2D", &Window { padding, ..*window }, value)
}

fn max_pool(cx: &mut Writer<'_>, id: NodeId, pool: &MaxPool2d) -> Result<Out, FormatError> {
    let x = cx.node(id).inputs[0];
    let dims = cx.graph.dims(x);
    let mut value = cx.arg(x)?;
    let padding = match named_padding(&pool.window, &dims) {
        // Zeros never win where nothing is below zero.
        Padding::Explicit(pads) if never_negative(cx, x) => {
            value = zero_padding(cx, id, value, dims, pads)?;
            Padding::Valid
        }
        padding => padding,
    };
    pooled(cx, id, "MaxPooling2D", &Window { padding, ..pool.window }, value)
}

/// Whether the node's values are at least 0 whatever the input.
fn never_negative(cx: &Writer<'_>, id: NodeId) -> bool {
    let node = cx.node(id);
    let all_inputs = || node.inputs.iter().all(|&x| never_negative(cx, x));
    match &node.op {
        Op::Activate(activate) => match activate.function {
            Activation::Relu { slope, threshold, max } => slope == 0.0 && threshold >= 0.0 && max >= 0.0,
            Activation::Sigmoid | Activation::HardSigmoid2 | Activation::HardSigmoid3 => true,
            Activation::Softplus | Activation::Exp | Activation::Square | Activation::Abs => true,
            _ => false,
        },
        Op::Softmax(_) => true,
        Op::Identity(_) | Op::Dropout(_) | Op::Concat(_) | Op::Flatten(_) | Op::Reshape(_) => all_inputs(),
        Op::MaxPool2d(_) | Op::AveragePool2d(_) | Op::ZeroPad2d(_) | Op::Crop2d(_) => all_inputs(),
        _ => false,
    }
}

fn pooled(
    cx: &mut Writer<'_>,
    id: NodeId,
    class: &'static str,
    window: &Window,
    x: Arg,
) -> Result<Out, FormatError> {
    let padding = match window.padding {
        Padding::Valid => "valid",
        Padding::Same => "same",
        Padding::Explicit(pads) => {
            return Err(FormatError::unsupported(format!("Keras has no pooling with padding {pads:?}")));
        }
    };
    if window.dilation != [1; 2] {
        return Err(FormatError::unsupported("Keras has no pooling with dilation"));
    }
    let config = json!({
        "pool_size": window.size, "strides": window.stride, "padding": padding,
        "data_format": "channels_last",
    });
    cx.add(id, "", Class::layer(class), config, &[], vec![x])
}

fn global_pool(
    cx: &mut Writer<'_>,
    id: NodeId,
    class: &'static str,
    keepdims: bool,
) -> Result<Out, FormatError> {
    simple(cx, id, class, json!({"data_format": "channels_last", "keepdims": keepdims}))
}

fn batch_norm(cx: &mut Writer<'_>, id: NodeId, norm: &BatchNorm) -> Result<Out, FormatError> {
    let config = json!({
        "axis": -1, "momentum": number(norm.momentum)?, "epsilon": number(norm.epsilon)?,
        "center": norm.center, "scale": norm.scale,
    });
    after_weights(cx, id, "BatchNormalization", config)
}

fn layer_norm(cx: &mut Writer<'_>, id: NodeId, norm: &LayerNorm) -> Result<Out, FormatError> {
    let config = json!({
        "axis": -1, "epsilon": number(norm.epsilon)?, "center": norm.center, "scale": norm.scale,
    });
    after_weights(cx, id, "LayerNormalization", config)
}

/// A layer whose inputs after the first are its weights.
fn after_weights(
    cx: &mut Writer<'_>,
    id: NodeId,
    class: &'static str,
    config: Value,
) -> Result<Out, FormatError> {
    let inputs = &cx.node(id).inputs[..];
    let weights: Vec<Weight> =
        inputs[1..].iter().map(|&weight| cx.weight(weight, None)).collect::<Result<_, _>>()?;
    let x = cx.arg(inputs[0])?;
    cx.add(id, "", Class::layer(class), config, &weights, vec![x])
}

fn normalization(cx: &mut Writer<'_>, id: NodeId, norm: &Normalization) -> Result<Out, FormatError> {
    let inputs = &cx.node(id).inputs[..];
    let [mean, variance] = [inputs[1], inputs[2]];
    let x = cx.arg(inputs[0])?;
    let class = Class::layer("Normalization");
    if let (Op::Constant(mean), Op::Constant(variance)) = (&cx.node(mean).op, &cx.node(variance).op) {
        let list = |values: &[f32]| values.iter().map(|v| number(*v)).collect::<Result<Value, _>>();
        let (mean, variance) = (list(mean.value.data())?, list(variance.value.data())?);
        let config = json!({"axis": -1, "invert": norm.invert, "mean": mean, "variance": variance});
        return cx.add(id, "", class, config, &[], vec![x]);
    }
    let count = |&&param: &&NodeId| cx.node(param).name.ends_with("/count");
    let count = cx.owners.weights(mean).iter().find(count);
    let count = count.and_then(|&count| cx.network.params.get(count)?.data().first().copied());
    let weights =
        [cx.weight(mean, None)?, cx.weight(variance, None)?, Weight::Count(count.unwrap_or(0.0) as i32)];
    let config = json!({"axis": -1, "invert": norm.invert, "mean": null, "variance": null});
    cx.add(id, "", class, config, &weights, vec![x])
}

fn prelu(cx: &mut Writer<'_>, id: NodeId) -> Result<Out, FormatError> {
    let inputs = &cx.node(id).inputs[..];
    let (x, alpha) = (cx.graph.dims(inputs[0]), cx.graph.dims(inputs[1]));
    // Along these one slope is for all.
    let shared = (1..x.len()).filter(|&axis| alpha[axis - 1] == Some(1) && x[axis] != Some(1));
    let shared: Vec<usize> = shared.collect();
    let shared = if shared.is_empty() { Value::Null } else { json!(shared) };
    after_weights(cx, id, "PReLU", json!({"shared_axes": shared}))
}

/// More attributes.
fn with(mut config: Value, more: impl Attributes) -> Value {
    if let Value::Object(config) = &mut config {
        more.put(config);
    }
    config
}

trait Attributes {
    fn put(self, to: &mut serde_json::Map<String, Value>);
}

impl Attributes for Value {
    fn put(self, to: &mut serde_json::Map<String, Value>) {
        if let Value::Object(more) = self {
            to.extend(more);
        }
    }
}

impl<const N: usize> Attributes for [(&'static str, Value); N] {
    fn put(self, to: &mut serde_json::Map<String, Value>) {
        to.extend(self.map(|(key, value)| (key.to_owned(), value)));
    }
}
