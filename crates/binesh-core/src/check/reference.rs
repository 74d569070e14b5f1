//! Every operator once more, in f64 and in the plainest way that can be read off its definition. Slow and obviously
//! right is the whole point: no shared window arithmetic, no packing, one output value at a time.

use crate::ops::{self, Op};
use crate::shape::{Padding, Window};
use crate::tensor::Tensor;
use crate::{Activation, BinaryOp};

/// A dense array of f64, row-major.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Array {
    /// The value of `f` at every index.
    pub(crate) fn from_fn(shape: &[usize], f: impl Fn(&[usize]) -> f64) -> Array {
        let len: usize = shape.iter().product();
        let mut index = vec![0; shape.len()];
        let mut data = Vec::with_capacity(len);
        for _ in 0..len {
            data.push(f(&index));
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        Array { shape: shape.to_vec(), data }
    }

    pub(crate) fn at(&self, index: &[usize]) -> f64 {
        let offset = index.iter().zip(&self.shape).fold(0, |offset, (i, extent)| offset * extent + i);
        self.data[offset]
    }

    /// A pixel of `[N, H, W, C]`; none outside the map.
    fn pixel(&self, n: usize, y: isize, x: isize, c: usize) -> Option<f64> {
        let inside = y >= 0 && x >= 0 && y < self.shape[1] as isize && x < self.shape[2] as isize;
        inside.then(|| self.at(&[n, y as usize, x as usize, c]))
    }

    /// All channels of a pixel; none outside the map.
    fn channels_at(&self, n: usize, y: isize, x: isize) -> Option<&[f64]> {
        let [h, w, c] = [self.shape[1], self.shape[2], self.shape[3]];
        let inside = y >= 0 && x >= 0 && y < h as isize && x < w as isize;
        inside.then(|| &self.data[((n * h + y as usize) * w + x as usize) * c..][..c])
    }

    fn map(&self, f: impl Fn(f64) -> f64) -> Array {
        Array { shape: self.shape.clone(), data: self.data.iter().map(|&v| f(v)).collect() }
    }

    fn reshaped(&self, shape: Vec<usize>) -> Array {
        Array { shape, data: self.data.clone() }
    }

    /// `f(value, channel)` everywhere.
    fn map_channels(&self, f: impl Fn(f64, usize) -> f64) -> Array {
        let channels = self.channels();
        let data = self.data.iter().enumerate().map(|(i, &v)| f(v, i % channels)).collect();
        Array { shape: self.shape.clone(), data }
    }

    /// `f(row)` for every row of the last axis.
    fn map_rows(&self, f: impl Fn(&[f64]) -> Vec<f64>) -> Array {
        let data = self.data.chunks(self.channels()).flat_map(f).collect();
        Array { shape: self.shape.clone(), data }
    }

    fn channels(&self) -> usize {
        self.shape[self.shape.len() - 1]
    }

    fn extents<const R: usize>(&self) -> [usize; R] {
        self.shape.as_slice().try_into().expect("the case has the rank that the operator takes")
    }
}

impl From<&Tensor> for Array {
    fn from(tensor: &Tensor) -> Array {
        let data = tensor.data().iter().map(|&v| f64::from(v)).collect();
        Array { shape: tensor.shape().dims().to_vec(), data }
    }
}

/// The value of an operator.
pub(crate) fn forward(op: &Op, x: &[Array]) -> Array {
    match op {
        Op::Activate(op) => x[0].map(|v| activation(op.function, v)),
        Op::AveragePool2d(op) => pool(&x[0], &op.window, |inside, all| {
            let count = if op.count_include_pad { all } else { inside.len() };
            inside.iter().sum::<f64>() / count as f64
        }),
        Op::BatchMatmul(_) => batch_matmul(x),
        Op::BatchNorm(op) => batch_norm(op, x),
        Op::Binary(op) => binary(op.op, &x[0], &x[1]),
        Op::Concat(op) => concat(op.axis, x),
        Op::Constant(op) => Array::from(&op.value),
        Op::Conv2d(op) => conv2d(op, x),
        Op::Conv2dTranspose(op) => conv2d_transpose(op, x),
        Op::Crop2d(op) => crop(op, &x[0]),
        Op::Dense(_) => dense(x),
        Op::DepthwiseConv2d(op) => depthwise(op, x),
        Op::Dropout(_) | Op::Identity(_) => x[0].clone(),
        Op::Erf(_) => x[0].map(libm::erf),
        Op::Flatten(_) => {
            let n = x[0].shape[0];
            x[0].reshaped(vec![n, x[0].shape[1..].iter().product()])
        }
        Op::GlobalAveragePool2d(op) => {
            global_pool(&x[0], op.keepdims, |map| map.iter().sum::<f64>() / map.len() as f64)
        }
        Op::GlobalMaxPool2d(op) => {
            global_pool(&x[0], op.keepdims, |map| map.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Op::LayerNorm(op) => layer_norm(op, x),
        Op::MaxPool2d(op) => {
            pool(&x[0], &op.window, |inside, _| inside.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Op::Normalization(op) => x[0].map_channels(|v, c| {
            let (mean, std) = (x[1].data[c], x[2].data[c].sqrt().max(1e-7));
            if op.invert { v * std + mean } else { (v - mean) / std }
        }),
        Op::Permute(op) => {
            let shape: Vec<usize> = op.axes.iter().map(|&axis| x[0].shape[axis]).collect();
            Array::from_fn(&shape, |i| {
                let mut from = vec![0; i.len()];
                op.axes.iter().zip(i).for_each(|(&axis, &i)| from[axis] = i);
                x[0].at(&from)
            })
        }
        Op::Prelu(_) => Array::from_fn(&x[0].shape, |i| {
            let alpha: Vec<usize> =
                i[1..].iter().zip(&x[1].shape).map(|(&i, &extent)| if extent == 1 { 0 } else { i }).collect();
            let v = x[0].at(i);
            if v > 0.0 { v } else { x[1].at(&alpha) * v }
        }),
        Op::ReduceMax(op) => {
            reduce(&x[0], &op.axes, op.keepdims, f64::NEG_INFINITY, |most, v, _| most.max(v))
        }
        Op::ReduceMean(op) => {
            reduce(&x[0], &op.axes, op.keepdims, 0.0, |sum, v, count| sum + v / count as f64)
        }
        Op::ReduceSum(op) => reduce(&x[0], &op.axes, op.keepdims, 0.0, |sum, v, _| sum + v),
        Op::Regroup(op) => regroup(op, &x[0]),
        Op::Rescaling(op) => x[0].map_channels(|v, c| {
            let pick = |given: &[f32]| f64::from(given[if given.len() == 1 { 0 } else { c }]);
            v * pick(&op.scale) + pick(&op.offset)
        }),
        Op::Reshape(op) => {
            let (n, values) = (x[0].shape[0], x[0].shape[1..].iter().product::<usize>());
            let known: usize = op.target.iter().flatten().product();
            let target = op.target.iter().map(|d| d.unwrap_or(values / known.max(1)));
            x[0].reshaped(std::iter::once(n).chain(target).collect())
        }
        Op::Slice(op) => slice(op, &x[0]),
        Op::Softmax(_) => x[0].map_rows(|row| {
            let sum: f64 = row.iter().map(|v| v.exp()).sum();
            row.iter().map(|v| v.exp() / sum).collect()
        }),
        Op::Take(op) => take(op, &x[0]),
        Op::UpSampling2d(op) => up_sampling(op, &x[0]),
        Op::ZeroPad2d(op) => {
            let [n, h, w, c] = x[0].extents();
            let ([top, bottom], [left, right]) = (op.rows, op.columns);
            Array::from_fn(&[n, top + h + bottom, left + w + right, c], |i| {
                let (row, column) = (i[1] as isize - top as isize, i[2] as isize - left as isize);
                x[0].pixel(i[0], row, column, i[3]).unwrap_or(0.0)
            })
        }
        Op::Input(_) | Op::Param(_) => unreachable!("inputs and weights compute nothing"),
    }
}

fn activation(function: Activation, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let relu6 = |x: f64| x.clamp(0.0, 6.0);
    let softplus = |x: f64| x.exp().ln_1p();
    match function {
        Activation::Linear => x,
        Activation::Relu { max, slope, threshold } => {
            let (max, slope, threshold) = (f64::from(max), f64::from(slope), f64::from(threshold));
            match x {
                x if x >= max => max,
                x if x > threshold => x,
                x => slope * (x - threshold),
            }
        }
        Activation::Elu { alpha } if x <= 0.0 => f64::from(alpha) * (x.exp() - 1.0),
        Activation::Elu { .. } => x,
        Activation::Selu if x <= 0.0 => 1.0507009873554805 * 1.6732632423543772 * (x.exp() - 1.0),
        Activation::Selu => 1.0507009873554805 * x,
        Activation::Gelu { approximate: false } => 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt())),
        Activation::Gelu { approximate: true } => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
        Activation::Silu => x * sigmoid(x),
        Activation::HardSigmoid2 => (0.2 * x + 0.5).clamp(0.0, 1.0),
        Activation::HardSigmoid3 => relu6(x + 3.0) / 6.0,
        Activation::HardSwish => x * relu6(x + 3.0) / 6.0,
        Activation::Sigmoid => sigmoid(x),
        Activation::Tanh => x.tanh(),
        Activation::Softplus => softplus(x),
        Activation::Softsign => x / (1.0 + x.abs()),
        Activation::Mish => x * softplus(x).tanh(),
        Activation::Exp => x.exp(),
        Activation::Log => x.ln(),
        Activation::Square => x * x,
        Activation::Sqrt => x.sqrt(),
        Activation::Rsqrt => 1.0 / x.sqrt(),
        Activation::Reciprocal => 1.0 / x,
        Activation::Neg => -x,
        Activation::Abs => x.abs(),
        Activation::Clip { min, max } => x.max(f64::from(min)).min(f64::from(max)),
        Activation::Affine { scale, offset } => f64::from(scale) * x + f64::from(offset),
    }
}

fn binary(op: BinaryOp, a: &Array, b: &Array) -> Array {
    let rank = a.shape.len().max(b.shape.len());
    let extent = |array: &Array, axis: usize| match (axis + array.shape.len()).checked_sub(rank) {
        Some(own) => array.shape[own],
        None => 1,
    };
    let shape: Vec<usize> = (0..rank).map(|axis| extent(a, axis).max(extent(b, axis))).collect();
    let pick = |array: &Array, index: &[usize]| {
        let own = &index[rank - array.shape.len()..];
        let index: Vec<usize> =
            own.iter().zip(&array.shape).map(|(&i, &e)| if e == 1 { 0 } else { i }).collect();
        array.at(&index)
    };
    Array::from_fn(&shape, |i| {
        let (a, b) = (pick(a, i), pick(b, i));
        match op {
            BinaryOp::Add => a + b,
            BinaryOp::Subtract => a - b,
            BinaryOp::Multiply => a * b,
            BinaryOp::Divide => a / b,
            BinaryOp::Maximum => a.max(b),
            BinaryOp::Minimum => a.min(b),
            BinaryOp::Power => a.powf(b),
        }
    })
}

fn concat(axis: i64, x: &[Array]) -> Array {
    let axis = if axis < 0 { (axis + x[0].shape.len() as i64) as usize } else { axis as usize };
    let mut shape = x[0].shape.clone();
    shape[axis] = x.iter().map(|x| x.shape[axis]).sum();
    Array::from_fn(&shape, |i| {
        let mut i = i.to_vec();
        for x in x {
            match i[axis].checked_sub(x.shape[axis]) {
                Some(rest) => i[axis] = rest,
                None => return x.at(&i),
            }
        }
        unreachable!("the extents along the axis add up")
    })
}

/// How a window slides along one axis of `n` positions: outputs, and padding before the first position.
fn slide(window: &Window, axis: usize, n: usize) -> (usize, isize) {
    let stride = window.stride[axis];
    let extent = (window.size[axis] - 1) * window.dilation[axis] + 1;
    let (before, after) = match window.padding {
        Padding::Valid => (0, 0),
        Padding::Same => {
            let outputs = n.div_ceil(stride);
            let total = ((outputs - 1) * stride + extent).saturating_sub(n);
            (total / 2, total - total / 2)
        }
        Padding::Explicit(pads) => (pads[axis][0], pads[axis][1]),
    };
    ((before + n + after - extent) / stride + 1, before as isize)
}

/// Input position of a tap of the window at an output position.
fn tap(window: &Window, axis: usize, output: usize, tap: usize, before: isize) -> isize {
    (output * window.stride[axis] + tap * window.dilation[axis]) as isize - before
}

/// `f(values of the window inside the map, taps of the window)` everywhere.
fn pool(x: &Array, window: &Window, f: impl Fn(&[f64], usize) -> f64) -> Array {
    let [n, h, w, c] = x.extents();
    let [kh, kw] = window.size;
    let ((ho, top), (wo, left)) = (slide(window, 0, h), slide(window, 1, w));
    Array::from_fn(&[n, ho, wo, c], |i| {
        let taps = (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx)));
        let inside: Vec<f64> = taps
            .filter_map(|(ky, kx)| {
                x.pixel(i[0], tap(window, 0, i[1], ky, top), tap(window, 1, i[2], kx, left), i[3])
            })
            .collect();
        f(&inside, kh * kw)
    })
}

fn global_pool(x: &Array, keepdims: bool, f: impl Fn(&[f64]) -> f64) -> Array {
    let [n, h, w, c] = x.extents();
    let shape = if keepdims { vec![n, 1, 1, c] } else { vec![n, c] };
    Array::from_fn(&shape, |i| {
        let (image, channel) = (i[0], i[i.len() - 1]);
        let map: Vec<f64> = (0..h * w).map(|at| x.at(&[image, at / w, at % w, channel])).collect();
        f(&map)
    })
}

fn conv2d(op: &ops::Conv2d, x: &[Array]) -> Array {
    let (x, w, bias) = (&x[0], &x[1], x.get(2));
    let [n, h, width, _] = x.extents();
    let [kh, kw, per_group, cout] = w.extents();
    let ((ho, top), (wo, left)) = (slide(&op.window, 0, h), slide(&op.window, 1, width));
    Array::from_fn(&[n, ho, wo, cout], |i| {
        let group = i[3] / (cout / op.groups);
        let mut sum = bias.map_or(0.0, |bias| bias.data[i[3]]);
        for ky in 0..kh {
            for kx in 0..kw {
                let (row, column) = (tap(&op.window, 0, i[1], ky, top), tap(&op.window, 1, i[2], kx, left));
                let Some(x) = x.channels_at(i[0], row, column) else { continue };
                for (c, x) in x[group * per_group..][..per_group].iter().enumerate() {
                    sum += x * w.data[((ky * kw + kx) * per_group + c) * cout + i[3]];
                }
            }
        }
        sum
    })
}

fn depthwise(op: &ops::DepthwiseConv2d, x: &[Array]) -> Array {
    let (x, w, bias) = (&x[0], &x[1], x.get(2));
    let [n, h, width, c] = x.extents();
    let [kh, kw, _, multiplier] = w.extents();
    let ((ho, top), (wo, left)) = (slide(&op.window, 0, h), slide(&op.window, 1, width));
    Array::from_fn(&[n, ho, wo, c * multiplier], |i| {
        let (channel, m) = (i[3] / multiplier, i[3] % multiplier);
        let mut sum = bias.map_or(0.0, |bias| bias.data[i[3]]);
        for ky in 0..kh {
            for kx in 0..kw {
                let (row, column) = (tap(&op.window, 0, i[1], ky, top), tap(&op.window, 1, i[2], kx, left));
                sum += x.pixel(i[0], row, column, channel).unwrap_or(0.0) * w.at(&[ky, kx, channel, m]);
            }
        }
        sum
    })
}

/// Scatters every input value, times its kernel, over a canvas.
fn conv2d_transpose(op: &ops::Conv2dTranspose, x: &[Array]) -> Array {
    let (x, w, bias) = (&x[0], &x[1], x.get(2));
    let [n, h, width, cin] = x.extents();
    let [kh, kw, cout, _] = w.extents();
    let ((ho, top), (wo, left)) = (transposed(op, 0, h), transposed(op, 1, width));
    let mut y = Array::from_fn(&[n, ho, wo, cout], |i| bias.map_or(0.0, |bias| bias.data[i[3]]));
    let Window { stride, dilation, .. } = op.window;
    for image in 0..n {
        for (row, column) in (0..h).flat_map(|row| (0..width).map(move |column| (row, column))) {
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let to_y = (row * stride[0] + ky * dilation[0]) as isize - top;
                let to_x = (column * stride[1] + kx * dilation[1]) as isize - left;
                if !(0..ho as isize).contains(&to_y) || !(0..wo as isize).contains(&to_x) {
                    continue;
                }
                for o in 0..cout {
                    let at = ((image * ho + to_y as usize) * wo + to_x as usize) * cout + o;
                    for c in 0..cin {
                        y.data[at] += x.at(&[image, row, column, c]) * w.at(&[ky, kx, o, c]);
                    }
                }
            }
        }
    }
    y
}

/// Length and padding before, along one axis: Keras's `deconv_output_length`, then TensorFlow's rule for a convolution
/// that runs from an axis of that length. Explicit padding as in torch's `ConvTranspose2d`.
fn transposed(op: &ops::Conv2dTranspose, axis: usize, n: usize) -> (usize, isize) {
    let [n, k, s, d] =
        [n, op.window.size[axis], op.window.stride[axis], op.window.dilation[axis]].map(|v| v as isize);
    let filter = k + (k - 1) * (d - 1);
    let extra = op.output_padding.map(|extra| extra[axis] as isize);
    let same_before = |length: isize| (((n - 1) * s + filter - length).max(0)) / 2;
    let (length, before) = match (op.window.padding, extra) {
        (Padding::Valid, None) => (n * s + (filter - s).max(0), 0),
        (Padding::Valid, Some(extra)) => ((n - 1) * s + filter + extra, 0),
        (Padding::Same, None) => (n * s, same_before(n * s)),
        (Padding::Same, Some(extra)) => {
            let length = (n - 1) * s + filter - 2 * (filter / 2) + extra;
            (length, same_before(length))
        }
        (Padding::Explicit(pads), extra) => {
            let [before, after] = pads[axis].map(|pad| pad as isize);
            ((n - 1) * s + filter - before - after + extra.unwrap_or(0), before)
        }
    };
    (length as usize, before)
}

fn dense(x: &[Array]) -> Array {
    let (x, w, bias) = (&x[0], &x[1], x.get(2));
    let [k, m] = w.extents();
    let mut shape = x.shape.clone();
    *shape.last_mut().expect("a case of dense has a last axis") = m;
    Array::from_fn(&shape, |i| {
        let (row, column) = (&i[..i.len() - 1], i[i.len() - 1]);
        let terms = (0..k).map(|at| x.at(&[row, &[at]].concat()) * w.at(&[at, column]));
        terms.sum::<f64>() + bias.map_or(0.0, |bias| bias.data[column])
    })
}

fn batch_norm(op: &ops::BatchNorm, x: &[Array]) -> Array {
    let mut weights = x[1..].iter();
    let gamma = if op.scale { weights.next() } else { None };
    let beta = if op.center { weights.next() } else { None };
    let [mean, variance] = [&x[x.len() - 2], &x[x.len() - 1]];
    x[0].map_channels(|v, c| {
        let z = (v - mean.data[c]) / (variance.data[c] + f64::from(op.epsilon)).sqrt();
        gamma.map_or(1.0, |g| g.data[c]) * z + beta.map_or(0.0, |b| b.data[c])
    })
}

fn layer_norm(op: &ops::LayerNorm, x: &[Array]) -> Array {
    let mut weights = x[1..].iter();
    let gamma = if op.scale { weights.next() } else { None };
    let beta = if op.center { weights.next() } else { None };
    x[0].map_rows(|row| {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        let normed = row.iter().map(|v| (v - mean) / (variance + f64::from(op.epsilon)).sqrt());
        let scaled = normed.enumerate().map(|(c, z)| gamma.map_or(1.0, |g| g.data[c]) * z);
        scaled.enumerate().map(|(c, z)| z + beta.map_or(0.0, |b| b.data[c])).collect()
    })
}

fn crop(op: &ops::Crop2d, x: &Array) -> Array {
    let [n, h, w, c] = x.extents();
    let shape = [n, h - op.rows[0] - op.rows[1], w - op.columns[0] - op.columns[1], c];
    Array::from_fn(&shape, |i| x.at(&[i[0], i[1] + op.rows[0], i[2] + op.columns[0], i[3]]))
}

/// `f(what was gathered so far, value, number of values)` over the axes, from `start` on.
fn reduce(x: &Array, axes: &[i64], keepdims: bool, start: f64, f: impl Fn(f64, f64, usize) -> f64) -> Array {
    let rank = x.shape.len();
    let axes: Vec<usize> = axes.iter().map(|&axis| axis.rem_euclid(rank as i64) as usize).collect();
    let kept: Vec<usize> = (0..rank).map(|a| if axes.contains(&a) { 1 } else { x.shape[a] }).collect();
    let count: usize = x.shape.iter().product::<usize>() / kept.iter().product::<usize>();
    let mut y = Array::from_fn(&kept, |_| start);
    let indices = Array::from_fn(&x.shape, |i| {
        let at = |(axis, &i): (usize, &usize)| if kept[axis] == 1 { 0 } else { i };
        i.iter().enumerate().map(at).zip(&kept).fold(0, |offset, (i, extent)| offset * extent + i) as f64
    });
    for (value, to) in x.data.iter().zip(indices.data) {
        let y = &mut y.data[to as usize];
        *y = f(*y, *value, count);
    }
    if !keepdims {
        y.shape = (0..rank).filter(|axis| !axes.contains(axis)).map(|axis| x.shape[axis]).collect();
    }
    y
}

fn regroup(op: &ops::Regroup, x: &Array) -> Array {
    use ops::regroup::Extent;
    let known = |extent: &Extent| match *extent {
        Extent::Known(n) => n,
        Extent::Of(axis) => x.shape[axis],
        Extent::Rest => 1,
    };
    let rest = x.data.len() / op.target.iter().map(known).product::<usize>();
    x.reshaped(
        op.target.iter().map(|extent| if *extent == Extent::Rest { rest } else { known(extent) }).collect(),
    )
}

fn take(op: &ops::Take, x: &Array) -> Array {
    let axis = op.axis.rem_euclid(x.shape.len() as i64) as usize;
    let mut shape = x.shape.clone();
    shape[axis] = op.positions.len();
    Array::from_fn(&shape, |i| {
        let mut from = i.to_vec();
        match op.positions[i[axis]] {
            Some(at) => {
                from[axis] = at;
                x.at(&from)
            }
            None => f64::from(op.fill),
        }
    })
}

fn batch_matmul(x: &[Array]) -> Array {
    let (a, b) = (&x[0], &x[1]);
    let rank = a.shape.len();
    let mut shape = a.shape.clone();
    shape[rank - 1] = b.shape[rank - 1];
    Array::from_fn(&shape, |i| {
        let (lead, row, column) = (&i[..rank - 2], i[rank - 2], i[rank - 1]);
        let product = |k: usize| a.at(&[lead, &[row, k]].concat()) * b.at(&[lead, &[k, column]].concat());
        (0..a.shape[rank - 1]).map(product).sum()
    })
}

/// The positions are those that Python's `range(n)[start:end:step]` would give, found by walking.
fn slice(op: &ops::Slice, x: &Array) -> Array {
    let rank = x.shape.len() as i64;
    let axis = op.axis.rem_euclid(rank) as usize;
    let n = x.shape[axis] as i64;
    let wrap = |at: i64| if at < 0 { at + n } else { at };
    let start = op.start.map_or(if op.step > 0 { 0 } else { n - 1 }, wrap);
    let end = op.end.map(wrap);
    let mut positions = Vec::new();
    // A start outside the axis is clamped to it, as Python does before it steps.
    let mut at = if op.step > 0 { start.max(0) } else { start.min(n - 1) };
    while (0..n).contains(&at) && end.is_none_or(|end| if op.step > 0 { at < end } else { at > end }) {
        positions.push(at as usize);
        at += op.step;
    }
    let mut shape = x.shape.clone();
    shape[axis] = positions.len();
    Array::from_fn(&shape, |i| {
        let mut i = i.to_vec();
        i[axis] = positions[i[axis]];
        x.at(&i)
    })
}

fn up_sampling(op: &ops::UpSampling2d, x: &Array) -> Array {
    let [n, h, w, c] = x.extents();
    let [fy, fx] = op.factors;
    // Lower and upper neighbour, and the weight of the upper.
    let between = |o: usize, factor: usize, extent: usize| {
        let at = (o as f64 + 0.5) / factor as f64 - 0.5;
        let clamp = |i: f64| i.clamp(0.0, extent as f64 - 1.0) as usize;
        (clamp(at.floor()), clamp(at.floor() + 1.0), at - at.floor())
    };
    Array::from_fn(&[n, h * fy, w * fx, c], |i| match op.interpolation {
        ops::up_sampling2d::Interpolation::Nearest => x.at(&[i[0], i[1] / fy, i[2] / fx, i[3]]),
        ops::up_sampling2d::Interpolation::Bilinear => {
            let ((top, bottom, v), (left, right, u)) = (between(i[1], fy, h), between(i[2], fx, w));
            let value = |y: usize, column: usize| x.at(&[i[0], y, column, i[3]]);
            let row = |y: usize| value(y, left) * (1.0 - u) + value(y, right) * u;
            row(top) * (1.0 - v) + row(bottom) * v
        }
    })
}
