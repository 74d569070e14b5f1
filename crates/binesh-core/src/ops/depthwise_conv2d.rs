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
        if [kh, kw] != self.window.size {
            let [eh, ew] = self.window.size;
            return Err(ShapeError::new(format!("the kernel is {kh}x{kw} but the layer says {eh}x{ew}")));
        }
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
            depthwise::backward_input(cx, &g, dy.data(), at.input(1).data(), dx.data());
        }
        if let Some(dw) = &mut dx[1] {
            depthwise::backward_kernel(cx, &g, at.input(0).data(), dy.data(), dw.data());
        }
        if let Some(db) = dx.get_mut(2).and_then(Option::as_mut) {
            reduce::sum_rows(cx, g.c * g.multiplier, dy.data(), db.data());
        }
    }

    fn keeps(&self, wanted: &[bool]) -> Keeps {
        if wanted[1] { Keeps::Inputs } else { Keeps::Nothing }
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let [kh, kw] = [inputs[1].dims()[0], inputs[1].dims()[1]];
        (output.len() as u64).saturating_mul((kh * kw) as u64)
    }
}
