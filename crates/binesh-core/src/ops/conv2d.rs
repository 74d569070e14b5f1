//! Two-dimensional convolution (cross-correlation). Keras `Conv2D`, ONNX `Conv`, torch `Conv2d`.

use binesh_kernels::{Cx, Epilogue, conv2d, reduce};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError, Window};
use crate::tensor::{View, ViewMut};

/// `y[n, i, j, o] = b[o] + sum over taps and the group's channels of x * w`; padding counts as zero.
///
/// # Shapes
/// x `[N, H, W, C]`, w `[Kh, Kw, C / G, O]`, b `[O]` (optional) -> y `[N, Ho, Wo, O]`. Output channel `o` belongs to
/// group `o / (O / G)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv2d {
    /// Its size must be the kernel's.
    pub window: Window,
    /// Channel groups G.
    pub groups: usize,
}

impl Conv2d {
    fn geometry(&self, x: &Shape, w: &Shape) -> Result<conv2d::Conv2d, ShapeError> {
        let [n, h, width, cin] = x.axes("N, H, W, C")?;
        let [kh, kw, per_group, cout] = w.axes("Kh, Kw, C / G, O")?;
        let groups = self.groups;
        self.window.check_kernel([kh, kw])?;
        if groups == 0 || !cin.is_multiple_of(groups) || !cout.is_multiple_of(groups) || cout == 0 {
            let text = format!("{cin} input and {cout} output channels do not divide into {groups} groups");
            return Err(ShapeError::new(text));
        }
        if cin / groups != per_group {
            let expects = per_group.saturating_mul(groups);
            return Err(ShapeError::new(format!("input has {cin} channels but the kernel expects {expects}")));
        }
        let placed = self.window.place([h, width])?;
        let ([ho, wo], pad) = (placed.output, placed.before);
        let Window { stride, dilation, .. } = self.window;
        Ok(conv2d::Conv2d { n, h, w: width, cin, ho, wo, cout, kh, kw, stride, dilation, pad, groups })
    }

    /// The geometry over shapes that `infer` accepted.
    pub(crate) fn placed(&self, x: &Shape, w: &Shape) -> conv2d::Conv2d {
        self.geometry(x, w).expect("`infer` accepted these shapes")
    }
}

impl Operator for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = self.geometry(inputs[0], inputs[1])?;
        super::check_bias(inputs.get(2).copied(), g.cout)?;
        Ok([g.n, g.ho, g.wo, g.cout].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let g = self.placed(inputs[0].shape(), inputs[1].shape());
        let packed = conv2d::pack(cx, &g, inputs[1].data(), None);
        let epilogue = Epilogue { bias: inputs.get(2).map(View::data), ..Epilogue::default() };
        conv2d::forward(cx, &g, inputs[0].data(), &packed, output.into_data(), &epilogue);
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let g = self.placed(at.input_shape(0), at.input_shape(1));
        if let Some(dx) = &mut dx[0] {
            conv2d::backward_input(cx, &g, dy.data(), at.input(1).data(), dx.data(), at.write(0));
        }
        if let Some(dw) = &mut dx[1] {
            conv2d::backward_kernel(cx, &g, at.input(0).data(), dy.data(), dw.data());
        }
        if let Some(db) = dx.get_mut(2).and_then(Option::as_mut) {
            reduce::sum_rows(cx, g.cout, dy.data(), db.data());
        }
    }

    fn overwrites(&self, i: usize) -> bool {
        i == 0
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
    use crate::Padding;
    use crate::check::op;

    fn conv(size: [usize; 2], stride: [usize; 2], padding: Padding) -> Conv2d {
        Conv2d { window: Window { size, stride, dilation: [1, 1], padding }, groups: 1 }
    }

    #[test]
    fn vgg() {
        op(conv([3, 3], [1, 1], Padding::Same)).input([2, 8, 6, 4]).weight([3, 3, 4, 8]).weight([8]).check();
    }

    #[test]
    fn resnet_stem() {
        op(conv([7, 7], [2, 2], Padding::Explicit([[3, 3], [3, 3]])))
            .input([2, 13, 11, 3])
            .weight([7, 7, 3, 5])
            .check();
    }

    #[test]
    fn mobilenet_stem_pads_at_the_end_only() {
        op(conv([3, 3], [2, 2], Padding::Same)).input([2, 8, 10, 3]).weight([3, 3, 3, 17]).check();
    }

    #[test]
    fn pointwise() {
        op(conv([1, 1], [1, 1], Padding::Valid)).input([2, 5, 3, 19]).weight([1, 1, 19, 33]).weight([33]).check();
    }

    #[test]
    fn pointwise_with_stride() {
        op(conv([1, 1], [2, 2], Padding::Same)).input([3, 7, 5, 6]).weight([1, 1, 6, 9]).weight([9]).check();
    }

    #[test]
    fn inception_rectangles() {
        op(conv([1, 7], [1, 1], Padding::Same)).input([2, 5, 9, 3]).weight([1, 7, 3, 4]).weight([4]).check();
        op(conv([7, 1], [1, 1], Padding::Same)).input([2, 5, 9, 3]).weight([7, 1, 3, 4]).weight([4]).check();
    }

    #[test]
    fn asymmetric_padding_and_strides() {
        op(conv([2, 3], [3, 2], Padding::Explicit([[2, 0], [1, 4]])))
            .input([3, 7, 9, 5])
            .weight([2, 3, 5, 7])
            .weight([7])
            .check();
    }

    #[test]
    fn dilation() {
        let dilated = |padding| {
            let window = Window { size: [3, 2], stride: [1, 1], dilation: [2, 3], padding };
            op(Conv2d { window, groups: 1 }).input([2, 9, 8, 3]).weight([3, 2, 3, 5])
        };
        dilated(Padding::Valid).check();
        dilated(Padding::Same).weight([5]).check();
    }

    #[test]
    fn dilation_and_stride() {
        let padding = Padding::Explicit([[1, 2], [0, 3]]);
        let window = Window { size: [3, 3], stride: [2, 3], dilation: [2, 2], padding };
        op(Conv2d { window, groups: 1 }).input([2, 8, 9, 2]).weight([3, 3, 2, 3]).check();
    }

    #[test]
    fn groups() {
        let grouped = Conv2d { groups: 3, ..conv([3, 3], [1, 1], Padding::Same) };
        op(grouped).input([2, 5, 6, 6]).weight([3, 3, 2, 9]).weight([9]).check();
        let one_each = Conv2d { groups: 5, ..conv([3, 3], [2, 2], Padding::Same) };
        op(one_each).input([2, 5, 6, 5]).weight([3, 3, 1, 10]).check();
    }

    #[test]
    fn padding_wider_than_the_map() {
        op(conv([3, 3], [1, 1], Padding::Explicit([[5, 4], [0, 3]])))
            .input([1, 1, 2, 2])
            .weight([3, 3, 2, 2])
            .check();
    }

    #[test]
    fn one_pixel_many_channels() {
        op(conv([3, 3], [1, 1], Padding::Same)).input([1, 1, 1, 40]).weight([3, 3, 40, 50]).weight([50]).check();
    }

    #[test]
    fn larger_than_a_block_of_the_product() {
        op(conv([3, 3], [1, 1], Padding::Same)).input([1, 11, 13, 17]).weight([3, 3, 17, 35]).weight([35]).check();
    }

    #[test]
    fn rejects() {
        let three = || op(conv([3, 3], [1, 1], Padding::Valid));
        three()
            .input([1, 8, 8, 3])
            .weight([3, 3, 512, 4])
            .rejects("input has 3 channels but the kernel expects 512");
        three()
            .input([1, 8, 8, 3])
            .weight([5, 3, 3, 4])
            .rejects("the kernel is 5x3 but the layer says 3x3");
        three().input([1, 2, 8, 3]).weight([3, 3, 3, 4]).rejects("window 3x3 is larger than the 2x8 input");
        three()
            .input([1, 8, 3])
            .weight([3, 3, 3, 4])
            .rejects("expected the axes [N, H, W, C] but the input is [1, 8, 3]");
        three()
            .input([1, 8, 8, 3])
            .weight([3, 3, 3])
            .rejects("expected the axes [Kh, Kw, C / G, O] but the input is [3, 3, 3]");
        three()
            .input([1, 8, 8, 3])
            .weight([3, 3, 3, 4])
            .weight([3])
            .rejects("the bias has shape [3] but there are 4 channels");
        three()
            .input([1, 8, 8, 3])
            .rejects("layer `y` (conv2d): takes 2 to 3 inputs but was given 1");
        op(Conv2d { groups: 2, ..conv([3, 3], [1, 1], Padding::Valid) })
            .input([1, 8, 8, 3])
            .weight([3, 3, 1, 4])
            .rejects("3 input and 4 output channels do not divide into 2 groups");
    }
}
