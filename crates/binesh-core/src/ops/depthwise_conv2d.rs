//! A convolution of each channel on its own. Keras `DepthwiseConv2D`.

use binesh_kernels::{Cx, Epilogue, depthwise, reduce};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError, Window};
use crate::tensor::{View, ViewMut};

/// Output channel `c * M + m` is input channel `c` filtered by `w[:, :, c, m]`; padding counts as zero.
///
/// # Shapes
/// x `[N, H, W, C]`, w `[Kh, Kw, C, M]`, b `[C * M]` (optional) -> y `[N, Ho, Wo, C * M]`.
#[derive(Clone, Debug, PartialEq)]
pub struct DepthwiseConv2d {
    /// Its size must be the kernel's.
    pub window: Window,
}

impl DepthwiseConv2d {
    fn geometry(&self, x: &Shape, w: &Shape) -> Result<depthwise::Depthwise, ShapeError> {
        let [n, h, width, c] = x.axes("N, H, W, C")?;
        let [kh, kw, channels, multiplier] = w.axes("Kh, Kw, C, M")?;
        self.window.check_kernel([kh, kw])?;
        if channels != c {
            return Err(ShapeError::new(format!("input has {c} channels but the kernel expects {channels}")));
        }
        let placed = self.window.place([h, width])?;
        let ([ho, wo], pad) = (placed.output, placed.before);
        let Window { stride, dilation, .. } = self.window;
        Ok(depthwise::Depthwise { n, h, w: width, c, multiplier, ho, wo, kh, kw, stride, dilation, pad })
    }

    /// The geometry over shapes that `infer` accepted.
    pub(crate) fn placed(&self, x: &Shape, w: &Shape) -> depthwise::Depthwise {
        self.geometry(x, w).expect("`infer` accepted these shapes")
    }
}

impl Operator for DepthwiseConv2d {
    fn name(&self) -> &'static str {
        "depthwise_conv2d"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let g = self.geometry(inputs[0], inputs[1])?;
        let channels = Shape::from([g.c, g.multiplier]).checked()?.len();
        super::check_bias(inputs.get(2).copied(), channels)?;
        Ok([g.n, g.ho, g.wo, channels].into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let g = self.placed(inputs[0].shape(), inputs[1].shape());
        let epilogue = Epilogue { bias: inputs.get(2).map(View::data), ..Epilogue::default() };
        depthwise::forward(cx, &g, inputs[0].data(), inputs[1].data(), output.into_data(), &epilogue);
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let g = self.placed(at.input_shape(0), at.input_shape(1));
        if let Some(dx) = &mut dx[0] {
            depthwise::backward_input(cx, &g, dy.data(), at.input(1).data(), dx.data(), at.write(0));
        }
        if let Some(dw) = &mut dx[1] {
            depthwise::backward_kernel(cx, &g, at.input(0).data(), dy.data(), dw.data());
        }
        if let Some(db) = dx.get_mut(2).and_then(Option::as_mut) {
            reduce::sum_rows(cx, g.c * g.multiplier, dy.data(), db.data());
        }
    }

    fn overwrites(&self, i: usize) -> bool {
        i == 0
    }

    fn keeps(&self, wanted: &[bool]) -> Keeps {
        if wanted[1] { Keeps::Inputs } else { Keeps::Weights }
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let [kh, kw] = [inputs[1].dims()[0], inputs[1].dims()[1]];
        (output.len() as u64).saturating_mul((kh * kw) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Padding;
    use crate::check::op;

    fn depthwise(size: usize, stride: usize, padding: Padding) -> DepthwiseConv2d {
        DepthwiseConv2d { window: Window::square(size, stride, padding) }
    }

    #[test]
    fn mobilenet() {
        op(depthwise(3, 1, Padding::Same)).input([2, 6, 5, 19]).weight([3, 3, 19, 1]).weight([19]).check();
        op(depthwise(3, 2, Padding::Same)).input([2, 7, 8, 9]).weight([3, 3, 9, 1]).check();
    }

    #[test]
    fn efficientnet_five_by_five() {
        op(depthwise(5, 2, Padding::Same)).input([2, 9, 8, 17]).weight([5, 5, 17, 1]).check();
    }

    #[test]
    fn multiplier() {
        op(depthwise(3, 1, Padding::Valid)).input([2, 5, 6, 3]).weight([3, 3, 3, 4]).weight([12]).check();
    }

    #[test]
    fn asymmetric_padding_strides_and_dilation() {
        let padding = Padding::Explicit([[2, 0], [1, 3]]);
        let window = Window { size: [2, 3], stride: [3, 2], dilation: [2, 1], padding };
        op(DepthwiseConv2d { window }).input([3, 8, 7, 5]).weight([2, 3, 5, 2]).weight([10]).check();
    }

    #[test]
    fn one_pixel() {
        op(depthwise(7, 1, Padding::Same)).input([1, 1, 1, 8]).weight([7, 7, 8, 1]).check();
    }

    #[test]
    fn rejects() {
        let three = || op(depthwise(3, 1, Padding::Valid)).input([1, 8, 8, 3]);
        three().weight([3, 3, 4, 1]).rejects("input has 3 channels but the kernel expects 4");
        three().weight([3, 5, 3, 1]).rejects("the kernel is 3x5 but the layer says 3x3");
        three()
            .weight([3, 3, 3, 2])
            .weight([3])
            .rejects("the bias has shape [3] but there are 6 channels");
        op(depthwise(3, 1, Padding::Valid))
            .input([1, 2, 2, 3])
            .weight([3, 3, 3, 1])
            .rejects("window 3x3 is larger than the 2x2 input");
    }
}
