//! PyTorch's modules, by their paths in a state dict. A layer is named as the module, with `/` for the dots:
//! `layer4.1.conv2` is `layer4/1/conv2`. What a network's `forward` computes without a module is named as torchvision's
//! `get_graph_node_names` does: `layer4/1/add`, the second use of a module `layer4/1/relu_1`.

use binesh_core::ops::{
    AveragePool2d, Binary, Concat, Conv2d, DepthwiseConv2d, Flatten, GlobalAveragePool2d, LayerNorm,
    MaxPool2d, Op, Permute, Reshape, Slice,
};
use binesh_core::{Activation, BinaryOp, Padding, Tensor, Window};

use crate::zoo::ZooError;
use crate::zoo::builder::{Builder, Value};

pub(super) type Made = Result<Value, ZooError>;

/// PyTorch's `momentum=0.1` of batch norm, as the share that stays. Some networks were trained with another; it matters
/// only to training with batch statistics.
const MOMENTUM: f32 = 0.9;

/// Zeros around a convolution's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zeros {
    /// None.
    Without,
    /// As many on all sides as keep the extent at stride 1: `(kernel - 1) / 2`.
    Half,
    /// As TensorFlow pads.
    Same,
}

/// Which channels a convolution's filters see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Groups {
    One,
    /// As the kernel's width says.
    FromKernel,
    /// Each filter a single channel.
    Depthwise,
}

/// A max pool's window. `ceil`: the last window may reach beyond the border.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub(super) size: usize,
    pub(super) stride: usize,
    pub(super) pad: usize,
    pub(super) ceil: bool,
}

impl Builder {
    /// Height, width and channels of a map.
    pub(super) fn extents(&self, x: Value) -> [usize; 3] {
        match self.dims(x)[..] {
            [_, Some(h), Some(w), Some(c)] => [h, w, c],
            // Only the batch is free, so this is not a map: an operator that needs one says so.
            _ => [0; 3],
        }
    }

    /// torch `Conv2d`; a bias if the file has one. torch `[O, C, Kh, Kw]` becomes `[Kh, Kw, C, O]`.
    pub(super) fn conv(&mut self, path: &str, stride: usize, zeros: Zeros, x: Value) -> Made {
        self.any_conv(path, stride, zeros, Groups::One, x)
    }

    /// torch `Conv2d` with as many groups as the kernel's width says.
    pub(super) fn grouped_conv(&mut self, path: &str, stride: usize, zeros: Zeros, x: Value) -> Made {
        self.any_conv(path, stride, zeros, Groups::FromKernel, x)
    }

    /// torch `Conv2d` with a group for each channel. torch `[C, 1, Kh, Kw]` becomes `[Kh, Kw, C, 1]`.
    pub(super) fn depthwise_conv(&mut self, path: &str, stride: usize, zeros: Zeros, x: Value) -> Made {
        self.any_conv(path, stride, zeros, Groups::Depthwise, x)
    }

    fn any_conv(&mut self, path: &str, stride: usize, zeros: Zeros, groups: Groups, x: Value) -> Made {
        let depthwise = groups == Groups::Depthwise;
        let axes = if depthwise { [2, 3, 0, 1] } else { [2, 3, 1, 0] };
        let kernel = self.weight(&format!("{path}.weight"), &axes)?;
        let &[kh, kw, c, last] = kernel.tensor.shape().dims() else {
            unreachable!("`weight` checked the rank")
        };
        let half = |k: usize| [k.saturating_sub(1) / 2; 2];
        let padding = match zeros {
            Zeros::Without => Padding::Valid,
            Zeros::Half => Padding::Explicit([half(kh), half(kw)]),
            Zeros::Same => Padding::Same,
        };
        let window = Window { size: [kh, kw], stride: [stride; 2], dilation: [1; 2], padding };
        let [_, _, channels] = self.extents(x);
        let (class, op): (_, Op) = if depthwise && last == 1 && c == channels {
            ("DepthwiseConv2D", DepthwiseConv2d { window }.into())
        } else if depthwise {
            return Err(self.differs(path, "is not a convolution of each channel on its own"));
        } else {
            let groups = if groups == Groups::One { 1 } else { channels.checked_div(c).unwrap_or(0) };
            ("Conv2D", Conv2d { window, groups }.into())
        };
        let mut weights = vec![("kernel", kernel, true)];
        if self.has(&format!("{path}.bias")) {
            weights.push(("bias", self.weight(&format!("{path}.bias"), &[0])?, true));
        }
        self.layer(&layer_name(path), class, op, &[x], &weights)
    }

    /// torch `BatchNorm2d`.
    pub(super) fn norm(&mut self, path: &str, epsilon: f32, x: Value) -> Made {
        self.batch_norm(&layer_name(path), path, epsilon, MOMENTUM, x)
    }

    /// torch `LayerNorm` over the channels.
    pub(super) fn layer_norm(&mut self, path: &str, epsilon: f32, x: Value) -> Made {
        let gamma = self.weight(&format!("{path}.weight"), &[0])?;
        let beta = self.weight(&format!("{path}.bias"), &[0])?;
        let op = LayerNorm { epsilon, scale: true, center: true };
        let weights = [("gamma", gamma, true), ("beta", beta, true)];
        self.layer(&layer_name(path), "LayerNormalization", op, &[x], &weights)
    }

    /// An element-wise function.
    pub(super) fn act(&mut self, path: &str, function: Activation, x: Value) -> Made {
        self.activation(&layer_name(path), function, x)
    }

    /// Convolution, batch norm and an activation: torchvision's `Conv2dNormActivation` at `path` has them as `0`, `1` and `2`.
    pub(super) fn conv_norm_act(
        &mut self,
        path: &str,
        stride: usize,
        epsilon: f32,
        function: Activation,
        x: Value,
    ) -> Made {
        let x = self.conv(&format!("{path}.0"), stride, Zeros::Half, x)?;
        self.norm_act(&format!("{path}.1"), &format!("{path}.2"), epsilon, function, x)
    }

    /// The same with a depthwise convolution.
    pub(super) fn depthwise_norm_act(
        &mut self,
        path: &str,
        stride: usize,
        epsilon: f32,
        function: Activation,
        x: Value,
    ) -> Made {
        let x = self.depthwise_conv(&format!("{path}.0"), stride, Zeros::Half, x)?;
        self.norm_act(&format!("{path}.1"), &format!("{path}.2"), epsilon, function, x)
    }

    /// Batch norm and an activation; none where it is linear.
    pub(super) fn norm_act(
        &mut self,
        norm: &str,
        act: &str,
        epsilon: f32,
        function: Activation,
        x: Value,
    ) -> Made {
        let x = self.norm(norm, epsilon, x)?;
        if function == Activation::Linear { Ok(x) } else { self.act(act, function, x) }
    }

    /// torch `Linear`. torch `[O, K]` becomes `[K, O]`.
    pub(super) fn linear(&mut self, path: &str, x: Value) -> Made {
        let kernel = self.weight(&format!("{path}.weight"), &[1, 0])?;
        let bias = self.weight(&format!("{path}.bias"), &[0])?;
        let weights = [("kernel", kernel, true), ("bias", bias, true)];
        self.layer(&layer_name(path), "Dense", binesh_core::ops::Dense, &[x], &weights)
    }

    /// torch `MaxPool2d`.
    pub(super) fn max_pool(&mut self, path: &str, pool: Pool, x: Value) -> Made {
        let [h, w, _] = self.extents(x);
        let pads = [h, w].map(|n| [pool.pad, pool.pad + if pool.ceil { beyond(n, pool) } else { 0 }]);
        let window = Window::square(pool.size, pool.stride, Padding::Explicit(pads));
        self.layer(&layer_name(path), "MaxPooling2D", MaxPool2d { window }, &[x], &[])
    }

    /// torch `AvgPool2d`: padding counts as zeros.
    pub(super) fn average_pool(&mut self, path: &str, pool: Pool, x: Value) -> Made {
        let padding = Padding::Explicit([[pool.pad; 2]; 2]);
        let window = Window::square(pool.size, pool.stride, padding);
        let op = AveragePool2d { window, count_include_pad: true };
        self.layer(&layer_name(path), "AveragePooling2D", op, &[x], &[])
    }

    /// torch `AdaptiveAvgPool2d(1)` and `flatten`.
    pub(super) fn global_pool(&mut self, path: &str, x: Value) -> Made {
        self.global_average_pool(&layer_name(path), x)
    }

    /// torch `AdaptiveAvgPool2d(1)`, rows and columns kept.
    pub(super) fn mean_map(&mut self, path: &str, x: Value) -> Made {
        let op = GlobalAveragePool2d { keepdims: true };
        self.layer(&layer_name(path), "GlobalAveragePooling2D", op, &[x], &[])
    }

    /// torch `AdaptiveAvgPool2d(side)` of a map whose sides are multiples of `side`.
    pub(super) fn adaptive_pool(&mut self, path: &str, side: usize, x: Value) -> Made {
        let [h, w, _] = self.extents(x);
        if h == 0 || !h.is_multiple_of(side) || !w.is_multiple_of(side) {
            return Err(ZooError::InputSize { map: [h, w], side });
        }
        let size = [h / side, w / side];
        let window = Window { size, stride: size, dilation: [1; 2], padding: Padding::Valid };
        let op = AveragePool2d { window, count_include_pad: true };
        self.layer(&layer_name(path), "AveragePooling2D", op, &[x], &[])
    }

    /// torch `flatten(1)`, whose order is channels first.
    pub(super) fn flatten(&mut self, path: &str, x: Value) -> Made {
        let name = layer_name(path);
        let x =
            self.layer(&format!("{name}_permute"), "Permute", Permute { axes: vec![0, 3, 1, 2] }, &[x], &[])?;
        self.layer(&name, "Flatten", Flatten, &[x], &[])
    }

    pub(super) fn cat(&mut self, path: &str, parts: &[Value]) -> Made {
        self.layer(&layer_name(path), "Concatenate", Concat { axis: -1 }, parts, &[])
    }

    pub(super) fn sum(&mut self, path: &str, a: Value, b: Value) -> Made {
        self.add(&layer_name(path), a, b)
    }

    pub(super) fn product(&mut self, path: &str, a: Value, b: Value) -> Made {
        self.layer(&layer_name(path), "Multiply", Binary { op: BinaryOp::Multiply }, &[a, b], &[])
    }

    pub(super) fn drop_out(&mut self, path: &str, rate: f32, x: Value) -> Made {
        self.dropout(&layer_name(path), rate, x)
    }

    /// Squeeze-and-excitation (Hu et al. 2018, arXiv:1709.01507) at `path`: the map's mean through two 1x1 convolutions,
    /// `parts`, is a factor for each channel.
    pub(super) fn squeeze_excite(
        &mut self,
        path: &str,
        parts: [&str; 2],
        functions: [Activation; 2],
        x: Value,
    ) -> Made {
        let name = layer_name(path);
        let pool = GlobalAveragePool2d { keepdims: true };
        let mut s = self.layer(&format!("{name}/avgpool"), "GlobalAveragePooling2D", pool, &[x], &[])?;
        for ((part, function), act) in
            parts.into_iter().zip(functions).zip(["activation", "scale_activation"])
        {
            s = self.conv(&format!("{path}.{part}"), 1, Zeros::Without, s)?;
            s = self.act(&format!("{path}.{act}"), function, s)?;
        }
        self.product(&format!("{path}.mul"), x, s)
    }

    /// A trained factor for each channel: the tensor `path` of shape `[C]` or `[C, 1, 1]`.
    pub(super) fn layer_scale(&mut self, path: &str, x: Value) -> Made {
        let axes = [0, 1, 2];
        let mut scale = self.weight(path, if self.rank(path) == Some(3) { &axes } else { &axes[..1] })?;
        let channels = scale.tensor.shape().len();
        scale.tensor = Tensor::new([channels], scale.tensor.into_data()).expect("the same values");
        // Broadcasting would make a map of another width of any single channel.
        if channels != self.dims(x).last().copied().flatten().unwrap_or(0) {
            return Err(self.differs(path, "has another number of channels than the map"));
        }
        let op = Binary { op: BinaryOp::Multiply };
        self.layer(&layer_name(path), "LayerScale", op, &[x], &[("gamma", scale, true)])
    }

    /// Channels `start..end` of a map.
    pub(super) fn channels(&mut self, path: &str, start: usize, end: usize, x: Value) -> Made {
        let op = Slice { axis: -1, start: Some(start as i64), end: Some(end as i64), step: 1 };
        self.layer(&layer_name(path), "SlicingOpLambda", op, &[x], &[])
    }

    /// ShuffleNet's shuffle: channel `i` of group `g` becomes channel `g` of group `i`.
    ///
    /// # Shapes
    /// `[N, H, W, G * K] -> [N, H * W, G, K] -> [N, H * W, K, G] -> [N, H, W, K * G]`
    pub(super) fn channel_shuffle(&mut self, path: &str, groups: usize, x: Value) -> Made {
        let [h, w, c] = self.extents(x);
        if groups == 0 || !c.is_multiple_of(groups) {
            return Err(self.differs(path, "does not divide into groups"));
        }
        let name = layer_name(path);
        let split = Reshape { target: vec![Some(h * w), Some(groups), Some(c / groups)] };
        let x = self.layer(&format!("{name}/view"), "Reshape", split, &[x], &[])?;
        let turn = Permute { axes: vec![0, 1, 3, 2] };
        let x = self.layer(&format!("{name}/transpose"), "Permute", turn, &[x], &[])?;
        let join = Reshape { target: vec![Some(h), Some(w), Some(c)] };
        self.layer(&format!("{name}/view_1"), "Reshape", join, &[x], &[])
    }
}

/// `layer4.1.conv2` -> `layer4/1/conv2`.
pub(super) fn layer_name(path: &str) -> String {
    path.replace('.', "/")
}

/// Rows behind the padding that torch's `ceil_mode` adds: the last window begins inside the input or its first padding.
fn beyond(n: usize, pool: Pool) -> usize {
    let padded = n + 2 * pool.pad;
    let Some(slack) = padded.checked_sub(pool.size) else { return 0 };
    let mut steps = slack.div_ceil(pool.stride);
    if steps * pool.stride >= n + pool.pad {
        steps -= 1;
    }
    (steps * pool.stride + pool.size).saturating_sub(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.max_pool2d(torch.zeros(1, 1, n, n), size, stride, pad, ceil_mode=True).shape[2]`, PyTorch 2.15.
    #[test]
    fn ceil_mode_as_torch() {
        for (n, size, stride, pad, output) in [
            (112, 3, 2, 0, 56),
            (111, 3, 2, 0, 55),
            (13, 3, 2, 0, 6),
            (14, 3, 2, 0, 7),
            (7, 2, 2, 0, 4),
            (8, 2, 2, 0, 4),
            (14, 3, 1, 1, 14),
            (7, 3, 2, 1, 4),
            (8, 3, 2, 1, 5),
        ] {
            let pool = Pool { size, stride, pad, ceil: true };
            let got = (n + 2 * pad + beyond(n, pool) - size) / stride + 1;
            assert_eq!(got, output, "{n} {pool:?}");
        }
    }
}
