//! The operators: one file each, one line each in the list below.

macro_rules! operators {
    ($($(#[$doc:meta])* $module:ident :: $name:ident),* $(,)?) => {
        $(pub mod $module;)*
        $(pub use $module::$name;)*

        /// Any operator. Closed, so that networks can be compared, cloned and matched on.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "each variant is the struct of the same name")]
        pub enum Op { $($name($name)),* }

        impl Op {
            /// Wire names of all operators.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module)),*];

            /// What the operator says of itself.
            pub fn operator(&self) -> &dyn Operator {
                match self { $(Op::$name(op) => op),* }
            }
        }

        $(impl From<$name> for Op { fn from(op: $name) -> Op { Op::$name(op) } })*
    };
}

use binesh_kernels::{Cx, layout};

use crate::operator::Operator;

operators! {
    activate::Activate,
    average_pool2d::AveragePool2d,
    batch_matmul::BatchMatmul,
    batch_norm::BatchNorm,
    binary::Binary,
    concat::Concat,
    constant::Constant,
    conv2d::Conv2d,
    conv2d_transpose::Conv2dTranspose,
    crop2d::Crop2d,
    dense::Dense,
    depthwise_conv2d::DepthwiseConv2d,
    dropout::Dropout,
    erf::Erf,
    flatten::Flatten,
    global_average_pool2d::GlobalAveragePool2d,
    global_max_pool2d::GlobalMaxPool2d,
    identity::Identity,
    input::Input,
    layer_norm::LayerNorm,
    max_pool2d::MaxPool2d,
    normalization::Normalization,
    param::Param,
    permute::Permute,
    prelu::Prelu,
    reduce_max::ReduceMax,
    reduce_mean::ReduceMean,
    reduce_sum::ReduceSum,
    regroup::Regroup,
    rescaling::Rescaling,
    reshape::Reshape,
    slice::Slice,
    softmax::Softmax,
    take::Take,
    up_sampling2d::UpSampling2d,
    zero_pad2d::ZeroPad2d,
}

use binesh_kernels::pool;

use crate::Few;
use crate::shape::{Padding, Shape, ShapeError, Window};
use crate::tensor::{View, ViewMut};

/// A bias has one value per output channel.
fn check_bias(bias: Option<&Shape>, channels: usize) -> Result<(), ShapeError> {
    match bias {
        Some(bias) => check_per_channel("bias", bias, channels),
        None => Ok(()),
    }
}

fn check_per_channel(what: &str, given: &Shape, channels: usize) -> Result<(), ShapeError> {
    if given.dims() == [channels] {
        return Ok(());
    }
    Err(ShapeError::new(format!("the {what} has shape {given} but there are {channels} channels")))
}

/// A pooling window over x `[N, H, W, C]`.
fn pool_geometry(window: &Window, count_include_pad: bool, x: &Shape) -> Result<pool::Pool, ShapeError> {
    let [n, h, w, c] = x.axes("N, H, W, C")?;
    let placed = window.place([h, w])?;
    if let Padding::Explicit(pads) = window.padding {
        // Else a window could lie wholly in the padding, where there is no largest value and no mean.
        let extent = |axis: usize| (window.size[axis] - 1) * window.dilation[axis] + 1;
        if (0..2).any(|axis| pads[axis].iter().any(|&pad| pad >= extent(axis))) {
            return Err(ShapeError::new(format!("the padding {pads:?} is not smaller than the window")));
        }
    }
    let ([ho, wo], pad, [kh, kw]) = (placed.output, placed.before, window.size);
    let Window { stride, dilation, .. } = *window;
    Ok(pool::Pool { n, h, w, c, ho, wo, kh, kw, stride, dilation, pad, count_include_pad })
}

fn global_pool_shape(x: &Shape, keepdims: bool) -> Result<Shape, ShapeError> {
    let [n, _, _, c] = x.axes("N, H, W, C")?;
    Ok(if keepdims { [n, 1, 1, c].into() } else { [n, c].into() })
}

/// N, H * W and C of a shape that [`global_pool_shape`] accepted.
fn maps(x: &Shape) -> [usize; 3] {
    let dims = x.dims();
    [dims[0], dims[1] * dims[2], dims[3]]
}

/// Per axis of x, whether it is one of `axes`, which are counted from the end when negative.
fn reduced(x: &Shape, axes: &[i64]) -> Result<Few<bool>, ShapeError> {
    let mut reduced = Few::from_elem(false, x.rank());
    for &axis in axes {
        reduced[x.axis(axis)?] = true;
    }
    Ok(reduced)
}

/// x without `axes`, or with extent 1 there with `keepdims`.
fn reduced_shape(x: &Shape, axes: &[i64], keepdims: bool) -> Result<Shape, ShapeError> {
    let kept = |(&extent, reduced)| match (reduced, keepdims) {
        (false, _) => Some(extent),
        (true, keep) => keep.then_some(1),
    };
    Ok(x.dims().iter().zip(reduced(x, axes)?).filter_map(kept).collect::<Vec<usize>>().into())
}

/// An operator that hands its input's values on.
fn pass(cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
    layout::copy_all(cx, inputs[0].data(), output.into_data());
}

/// The gradient of [`pass`].
fn pass_back(dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
    if let Some(dx) = &mut dx[0] {
        dx.data().iter_mut().zip(dy.data()).for_each(|(dx, dy)| *dx += dy);
    }
}
