//! Depthwise convolution: every input channel has its own `M` filters.

mod kernel_gradient;
mod lines;

use std::borrow::Cow;

use lines::{Columns, FilterRows, Line, Lines, Taps};
pub(crate) use lines::{Run, finish};

use crate::window::{Axis, product};
use crate::{Algorithm, Cx, Epilogue, Work, Write};

/// Sizes of a depthwise convolution.
///
/// # Shapes
/// `x: [N, H, W, C]`, kernel `[Kh, Kw, C, M]`, `y: [N, Ho, Wo, C*M]` (channel `c * M + m`, as Keras and TensorFlow
/// order them). Positions outside the input count as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Depthwise {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    /// Filters per input channel, `M`.
    pub multiplier: usize,
    pub ho: usize,
    pub wo: usize,
    pub kh: usize,
    pub kw: usize,
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
    /// Zero rows above and zero columns left of the input.
    pub pad: [usize; 2],
}

impl Depthwise {
    /// Values in `x`.
    pub fn x_len(&self) -> usize {
        product([self.n, self.h, self.w, self.c])
    }

    /// Values in `y`.
    pub fn y_len(&self) -> usize {
        product([self.n, self.ho, self.wo, self.c, self.multiplier])
    }

    /// Values in the kernel.
    pub fn kernel_len(&self) -> usize {
        product([self.kh, self.kw, self.c, self.multiplier])
    }

    pub(crate) fn rows(&self) -> Axis {
        let [stride, dilation, pad] = [self.stride[0], self.dilation[0], self.pad[0]];
        Axis { input: self.h, taps: self.kh, stride, dilation, pad }
    }

    fn columns(&self) -> Axis {
        let [stride, dilation, pad] = [self.stride[1], self.dilation[1], self.pad[1]];
        Axis { input: self.w, taps: self.kw, stride, dilation, pad }
    }

    /// The same with one filter for each of `C*M` channels.
    fn multiplied(&self) -> Self {
        Self { c: self.c * self.multiplier, multiplier: 1, ..*self }
    }

    pub(crate) fn check(&self) {
        assert!(self.multiplier > 0, "multiplier is positive");
        assert!(self.stride.iter().chain(&self.dilation).all(|&s| s > 0), "stride and dilation are positive");
        self.rows().check(self.ho);
        self.columns().check(self.wo);
    }
}

/// What the convolution takes, and each of its gradients.
pub fn work(geom: &Depthwise) -> Work {
    let algorithm = Algorithm::Depthwise { kernel: [geom.kh, geom.kw] };
    let products = (geom.y_len() * geom.kh * geom.kw) as u64;
    Work { algorithm, products, weight_bytes: (geom.kernel_len() * size_of::<f32>()) as u64 }
}

/// Kernel `w` for [`forward`], or for [`backward_input`] through a batch normalisation; `scale` is one factor per output
/// channel, that of the batch normalisation.
///
/// # Shapes
/// `w: [Kh, Kw, C, M]`, `scale: [C*M]`
pub fn pack(w: &[f32], scale: Option<&[f32]>) -> Vec<f32> {
    scaled(w, scale).into_owned()
}

/// Weights whose last axis is the output channels, with a factor for each.
pub(crate) fn scaled<'a>(w: &'a [f32], scale: Option<&[f32]>) -> Cow<'a, [f32]> {
    let Some(scale) = scale else { return Cow::Borrowed(w) };
    let rows = w.chunks(scale.len().max(1));
    Cow::Owned(rows.flat_map(|row| row.iter().zip(scale).map(|(w, s)| w * s)).collect())
}

/// `y = activation(x * kernel + bias + residual)`.
///
/// # Shapes
/// See [`Depthwise`].
pub fn forward(cx: Cx<'_>, geom: &Depthwise, x: &[f32], w: &[f32], y: &mut [f32], epilogue: &Epilogue<'_>) {
    geom.check();
    assert_eq!(x.len(), geom.x_len(), "x length");
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    assert_eq!(y.len(), geom.y_len(), "y length");
    epilogue.check(geom.c * geom.multiplier, y.len());
    if y.is_empty() {
        return;
    }
    let g = geom.multiplied();
    let (rows, columns) = (g.rows(), g.columns());
    let all = Line { first: 0, step: 1, count: g.wo, input_step: g.stride[1], taps: Taps::new() };
    Lines {
        x: &repeated(x, geom.multiplier),
        w,
        channels: g.c,
        x_size: [g.h, g.w],
        y_size: [g.ho, g.wo],
        kw: g.kw,
        rows: FilterRows::Forward(rows),
        columns: all.split(0..g.kw, |o, k| columns.position(o, k)),
        epilogue: Some(epilogue),
    }
    .run(cx, y);
}

/// The gradient with respect to the input.
///
/// # Shapes
/// `dy: [N, Ho, Wo, C*M]`, `w: [Kh, Kw, C, M]`, `dx: [N, H, W, C]`
pub fn backward_input(cx: Cx<'_>, geom: &Depthwise, dy: &[f32], w: &[f32], dx: &mut [f32], write: Write) {
    geom.check();
    assert_eq!(dx.len(), geom.x_len(), "dx length");
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    assert_eq!(dy.len(), geom.y_len(), "dy length");
    if dx.is_empty() {
        return;
    }
    let g = geom.multiplied();
    let (rows, columns) = (g.rows(), g.columns());
    let mut lines = Columns::new();
    let mut covered = 0;
    for phase in columns.phases() {
        let all = Line {
            first: phase.first,
            step: g.stride[1],
            count: phase.count,
            input_step: 1,
            taps: Taps::new(),
        };
        covered += all.count;
        lines.extend(all.split(phase.taps.into_iter(), |i, k| columns.source(g.wo, i, k)));
    }
    let replaces = write == Write::Replace && geom.multiplier == 1;
    if replaces && covered < g.w {
        dx.fill(0.0);
    }
    let plain = Epilogue::default();
    let lines = Lines {
        x: dy,
        w,
        channels: g.c,
        x_size: [g.ho, g.wo],
        y_size: [g.h, g.w],
        kw: g.kw,
        rows: FilterRows::Backward(rows, g.ho),
        columns: lines,
        epilogue: (replaces && covered == g.w).then_some(&plain),
    };
    if geom.multiplier == 1 {
        return lines.run(cx, dx);
    }
    let mut each = vec![0.0; dx.len() * geom.multiplier];
    lines.run(cx, &mut each);
    write.put(dx, each.chunks_exact(geom.multiplier).map(|each| each.iter().sum()));
}

/// `dw += ` the gradient with respect to the kernel.
///
/// # Shapes
/// `x: [N, H, W, C]`, `dy: [N, Ho, Wo, C*M]`, `dw: [Kh, Kw, C, M]`
pub fn backward_kernel(cx: Cx<'_>, geom: &Depthwise, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    geom.check();
    assert_eq!(x.len(), geom.x_len(), "x length");
    assert_eq!(dw.len(), geom.kernel_len(), "kernel length");
    assert_eq!(dy.len(), geom.y_len(), "dy length");
    if dw.is_empty() {
        return;
    }
    kernel_gradient::run(cx, &geom.multiplied(), &repeated(x, geom.multiplier), dy, dw);
}

/// Every value `times` times, so that channel `c * M + m` of the result is channel `c` of `x`. Filters with a
/// multiplier are rare: they are computed as ordinary ones on such a copy.
fn repeated(x: &[f32], times: usize) -> Cow<'_, [f32]> {
    if times == 1 {
        return Cow::Borrowed(x);
    }
    Cow::Owned(x.iter().flat_map(|&x| std::iter::repeat_n(x, times)).collect())
}
