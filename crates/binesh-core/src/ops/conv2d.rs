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
        if [kh, kw] != self.window.size {
            let [eh, ew] = self.window.size;
            return Err(ShapeError::new(format!("the kernel is {kh}x{kw} but the layer says {eh}x{ew}")));
        }
        if groups == 0 || cin % groups != 0 || cout % groups != 0 || cout == 0 {
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
        let packed = conv2d::pack(&g, inputs[1].data(), None);
        let epilogue = Epilogue { bias: inputs.get(2).map(View::data), ..Epilogue::default() };
        conv2d::forward(cx, &g, inputs[0].data(), &packed, output.into_data(), &epilogue);
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let g = self.placed(at.input_shape(0), at.input_shape(1));
        if let Some(dx) = &mut dx[0] {
            conv2d::backward_input(cx, &g, dy.data(), at.input(1).data(), dx.data());
        }
        if let Some(dw) = &mut dx[1] {
            conv2d::backward_kernel(cx, &g, at.input(0).data(), dy.data(), dw.data());
        }
        if let Some(db) = dx.get_mut(2).and_then(Option::as_mut) {
            reduce::sum_rows(cx, g.cout, dy.data(), db.data());
        }
    }

    fn keeps(&self, wanted: &[bool]) -> Keeps {
        if wanted[1] { Keeps::Inputs } else { Keeps::Nothing }
    }

    fn macs(&self, inputs: &[&Shape], _output: &Shape) -> u64 {
        self.geometry(inputs[0], inputs[1]).map_or(0, |g| g.macs())
    }
}
