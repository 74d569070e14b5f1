//! Transposed convolution: the gradient of a convolution, used forwards. Keras `Conv2DTranspose`, torch
//! `ConvTranspose2d`.

use binesh_kernels::{Cx, Epilogue, Write, conv2d, reduce};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Padding, Shape, ShapeError, Window};
use crate::tensor::{View, ViewMut};

/// Each input value adds its kernel, times the value, to the output: the input gradient of the convolution that has
/// `window` and runs from y to x.
///
/// # Shapes
/// x `[N, H, W, C]`, w `[Kh, Kw, O, C]`, b `[O]` (optional) -> y `[N, Ho, Wo, O]`, where without `output_padding`
/// Ho = H * stride for `same` padding and (H - 1) * stride + extent - pads otherwise (`valid` never less than
/// H * stride, as Keras has it).
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2dTranspose {
    /// The window of the convolution from y to x.
    pub window: Window,
    /// Keras's `output_padding`: extra rows and columns at the bottom and right.
    pub output_padding: Option<[usize; 2]>,
}

impl Conv2dTranspose {
    /// The convolution from y to x.
    fn geometry(&self, x: &Shape, w: &Shape) -> Result<conv2d::Conv2d, ShapeError> {
        let [n, h, width, c] = x.axes("N, H, W, C")?;
        let [kh, kw, out, channels] = w.axes("Kh, Kw, O, C")?;
        self.window.check_kernel([kh, kw])?;
        if channels != c {
            return Err(ShapeError::new(format!("input has {c} channels but the kernel expects {channels}")));
        }
        let ([ho, wo], pad) = self.place([h, width])?;
        let Window { stride, dilation, .. } = self.window;
        Ok(conv2d::Conv2d {
            n,
            h: ho,
            w: wo,
            cin: out,
            ho: h,
            wo: width,
            cout: c,
            kh,
            kw,
            stride,
            dilation,
            pad,
            groups: 1,
        })
    }

    fn placed(&self, x: &Shape, w: &Shape) -> conv2d::Conv2d {
        self.geometry(x, w).expect("`infer` accepted these shapes")
    }

    /// Output extent and the padding before it, as TensorFlow's `conv2d_transpose` with Keras's
    /// `deconv_output_length` has them.
    fn place(&self, input: [usize; 2]) -> Result<([usize; 2], [usize; 2]), ShapeError> {
        let mut output = [0; 2];
        let mut before = [0; 2];
        for axis in 0..2 {
            let (n, k) = (input[axis] as i64, self.window.size[axis] as i64);
            let (stride, dilation) = (self.window.stride[axis] as i64, self.window.dilation[axis] as i64);
            let sane = |v: i64| (1..1 << 31).contains(&v);
            if ![n, k, stride, dilation].into_iter().all(sane) {
                return Err(ShapeError::new("window size, stride and dilation must be between 1 and 2^31"));
            }
            let too_large = || ShapeError::new("window is too large");
            let extent = (k - 1).checked_mul(dilation).and_then(|v| v.checked_add(1)).ok_or_else(too_large)?;
            let spread = (n - 1).checked_mul(stride).and_then(|v| v.checked_add(extent)).ok_or_else(too_large)?;
            let extra = self.output_padding.map(|pad| pad[axis].min(1 << 31) as i64);
            let (length, pad) = match (self.window.padding, extra) {
                (Padding::Valid, None) => (spread + (stride - extent).max(0), 0),
                (Padding::Valid, Some(extra)) => (spread + extra, 0),
                (Padding::Same, None) => (n * stride, (spread - n * stride).max(0) / 2),
                (Padding::Same, Some(extra)) => {
                    let length = spread - 2 * (extent / 2) + extra;
                    (length, (spread - length).max(0) / 2)
                }
                (Padding::Explicit(pads), extra) => {
                    let [b, a] = pads[axis].map(|p| p.min(1 << 31) as i64);
                    (spread - b - a + extra.unwrap_or(0), b)
                }
            };
            if length < 1 || spread - pad < 1 {
                return Err(ShapeError::new("padding leaves no output"));
            }
            output[axis] = length as usize;
            before[axis] = pad as usize;
        }
        Ok((output, before))
    }
}

impl Operator for Conv2dTranspose {
    fn name(&self) -> &'static str {
        "conv2d_transpose"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = self.geometry(inputs[0], inputs[1])?;
        super::check_bias(inputs.get(2).copied(), g.cin)?;
        Ok([g.n, g.h, g.w, g.cin].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], mut output: ViewMut<'_>) {
        let g = self.placed(inputs[0].shape(), inputs[1].shape());
        let write = if inputs.len() == 3 { Write::Add } else { Write::Replace };
        if let Some(bias) = inputs.get(2) {
            output.data().chunks_exact_mut(g.cin).for_each(|row| row.copy_from_slice(bias.data()));
        }
        conv2d::backward_input(cx, &g, inputs[0].data(), inputs[1].data(), output.data(), write);
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let g = self.placed(at.input_shape(0), at.input_shape(1));
        if let Some(dx) = &mut dx[0] {
            let packed = conv2d::pack(cx, &g, at.input(1).data(), None);
            let mut d_input = vec![0.0; g.y_len()];
            conv2d::forward(cx, &g, dy.data(), &packed, &mut d_input, &Epilogue::default());
            dx.data().iter_mut().zip(&d_input).for_each(|(dx, d)| *dx += d);
        }
        if let Some(dw) = &mut dx[1] {
            conv2d::backward_kernel(cx, &g, dy.data(), at.input(0).data(), dw.data());
        }
        if let Some(db) = dx.get_mut(2).and_then(Option::as_mut) {
            reduce::sum_rows(cx, g.cin, dy.data(), db.data());
        }
    }

    fn keeps(&self, wanted: &[bool]) -> Keeps {
        if wanted[1] { Keeps::Inputs } else { Keeps::Weights }
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        self.geometry(inputs[0], inputs[1]).map_or(0, |g| g.macs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn transpose(size: [usize; 2], stride: [usize; 2], padding: Padding) -> Conv2dTranspose {
        let window = Window { size, stride, dilation: [1, 1], padding };
        Conv2dTranspose { window, output_padding: None }
    }

    #[test]
    fn unet_up_convolution() {
        op(transpose([2, 2], [2, 2], Padding::Same)).input([2, 3, 5, 6]).weight([2, 2, 4, 6]).weight([4]).check();
        op(transpose([2, 2], [2, 2], Padding::Valid)).input([2, 3, 5, 6]).weight([2, 2, 4, 6]).check();
    }

    #[test]
    fn same_with_overlap() {
        op(transpose([3, 3], [2, 2], Padding::Same)).input([2, 4, 3, 3]).weight([3, 3, 5, 3]).weight([5]).check();
        op(transpose([4, 3], [1, 3], Padding::Same)).input([2, 4, 3, 3]).weight([4, 3, 2, 3]).check();
    }

    #[test]
    fn kernel_smaller_than_stride() {
        op(transpose([1, 2], [3, 4], Padding::Valid)).input([2, 3, 2, 3]).weight([1, 2, 2, 3]).weight([2]).check();
        op(transpose([1, 2], [3, 4], Padding::Same)).input([2, 3, 2, 3]).weight([1, 2, 2, 3]).check();
    }

    #[test]
    fn torch_padding_is_asymmetric_too() {
        op(transpose([3, 4], [2, 1], Padding::Explicit([[1, 0], [2, 1]])))
            .input([2, 4, 5, 3])
            .weight([3, 4, 2, 3])
            .weight([2])
            .check();
    }

    #[test]
    fn dilation() {
        for padding in [Padding::Valid, Padding::Same] {
            let window = Window { size: [3, 2], stride: [1, 1], dilation: [2, 3], padding };
            op(Conv2dTranspose { window, output_padding: None })
                .input([2, 4, 3, 2])
                .weight([3, 2, 3, 2])
                .check();
        }
    }

    #[test]
    fn output_padding() {
        for padding in [Padding::Valid, Padding::Same, Padding::Explicit([[1, 1], [0, 2]])] {
            let output_padding = Some([1, 0]);
            op(Conv2dTranspose { output_padding, ..transpose([3, 3], [2, 2], padding) })
                .input([2, 4, 3, 2])
                .weight([3, 3, 3, 2])
                .weight([3])
                .check();
        }
    }

    #[test]
    fn rejects() {
        let three = |padding| op(transpose([3, 3], [1, 1], padding));
        three(Padding::Valid)
            .input([1, 4, 4, 3])
            .weight([3, 3, 3, 4])
            .rejects("input has 3 channels but the kernel expects 4");
        three(Padding::Valid)
            .input([1, 4, 4, 3])
            .weight([2, 3, 4, 3])
            .rejects("the kernel is 2x3 but the layer says 3x3");
        three(Padding::Explicit([[3, 3], [0, 0]]))
            .input([1, 4, 4, 3])
            .weight([3, 3, 4, 3])
            .rejects("padding leaves no output");
        three(Padding::Valid)
            .input([1, 4, 4, 3])
            .weight([3, 3, 4, 3])
            .weight([3])
            .rejects("the bias has shape [3] but there are 4 channels");
        op(transpose([3, 3], [0, 1], Padding::Valid))
            .input([1, 4, 4, 3])
            .weight([3, 3, 4, 3])
            .rejects("window size, stride and dilation must be between 1 and 2^31");
    }
}
