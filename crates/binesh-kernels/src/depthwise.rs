//! Depthwise convolution: every input channel has its own `M` filters.

use crate::window::Axis;
use crate::{Cx, Epilogue};

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
        self.n * self.h * self.w * self.c
    }

    /// Values in `y`.
    pub fn y_len(&self) -> usize {
        self.n * self.ho * self.wo * self.c * self.multiplier
    }

    /// Values in the kernel.
    pub fn kernel_len(&self) -> usize {
        self.kh * self.kw * self.c * self.multiplier
    }

    fn rows(&self) -> Axis {
        let [stride, dilation, pad] = [self.stride[0], self.dilation[0], self.pad[0]];
        Axis { input: self.h, taps: self.kh, stride, dilation, pad }
    }

    fn columns(&self) -> Axis {
        let [stride, dilation, pad] = [self.stride[1], self.dilation[1], self.pad[1]];
        Axis { input: self.w, taps: self.kw, stride, dilation, pad }
    }

    fn check(&self) {
        assert!(self.multiplier > 0, "multiplier is positive");
        assert!(self.stride.iter().chain(&self.dilation).all(|&s| s > 0), "stride and dilation are positive");
    }
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
    let g = *geom;
    let cm = g.c * g.multiplier;
    cx.threads.run_chunks(y, g.wo * cm, |row, y| {
        let (n, oy) = (row / g.ho, row % g.ho);
        for (ox, y) in y.chunks_exact_mut(cm).enumerate() {
            y.fill(0.0);
            for ky in 0..g.kh {
                let Some(iy) = g.rows().position(oy, ky) else { continue };
                for kx in 0..g.kw {
                    let Some(ix) = g.columns().position(ox, kx) else { continue };
                    let x = &x[((n * g.h + iy) * g.w + ix) * g.c..][..g.c];
                    let w = &w[(ky * g.kw + kx) * cm..][..cm];
                    for (i, (y, w)) in y.iter_mut().zip(w).enumerate() {
                        *y += x[i / g.multiplier] * w;
                    }
                }
            }
            let at = (row * g.wo + ox) * cm;
            for (i, y) in y.iter_mut().enumerate() {
                *y += epilogue.bias.map_or(0.0, |b| b[i]) + epilogue.residual.map_or(0.0, |r| r[at + i]);
                if let Some(f) = epilogue.activation {
                    *y = f.apply(*y);
                }
            }
        }
    });
}

/// `dx += ` the gradient with respect to the input.
///
/// # Shapes
/// `dy: [N, Ho, Wo, C*M]`, `w: [Kh, Kw, C, M]`, `dx: [N, H, W, C]`
pub fn backward_input(cx: Cx<'_>, geom: &Depthwise, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    geom.check();
    assert_eq!(dx.len(), geom.x_len(), "dx length");
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    assert_eq!(dy.len(), geom.y_len(), "dy length");
    if dx.is_empty() {
        return;
    }
    let g = *geom;
    let cm = g.c * g.multiplier;
    cx.threads.run_chunks(dx, g.h * g.w * g.c, |n, dx| {
        for (oy, ox) in (0..g.ho).flat_map(|oy| (0..g.wo).map(move |ox| (oy, ox))) {
            let dy = &dy[((n * g.ho + oy) * g.wo + ox) * cm..][..cm];
            for ky in 0..g.kh {
                let Some(iy) = g.rows().position(oy, ky) else { continue };
                for kx in 0..g.kw {
                    let Some(ix) = g.columns().position(ox, kx) else { continue };
                    let w = &w[(ky * g.kw + kx) * cm..][..cm];
                    let dx = &mut dx[(iy * g.w + ix) * g.c..][..g.c];
                    for (i, (w, dy)) in w.iter().zip(dy).enumerate() {
                        dx[i / g.multiplier] += w * dy;
                    }
                }
            }
        }
    });
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
    let g = *geom;
    let cm = g.c * g.multiplier;
    cx.threads.run_chunks(dw, cm, |tap, dw| {
        let (ky, kx) = (tap / g.kw, tap % g.kw);
        for n in 0..g.n {
            for oy in 0..g.ho {
                let Some(iy) = g.rows().position(oy, ky) else { continue };
                for ox in 0..g.wo {
                    let Some(ix) = g.columns().position(ox, kx) else { continue };
                    let x = &x[((n * g.h + iy) * g.w + ix) * g.c..][..g.c];
                    let dy = &dy[((n * g.ho + oy) * g.wo + ox) * cm..][..cm];
                    for (i, (dw, dy)) in dw.iter_mut().zip(dy).enumerate() {
                        *dw += x[i / g.multiplier] * dy;
                    }
                }
            }
        }
    });
}
