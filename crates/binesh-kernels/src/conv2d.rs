//! Two-dimensional convolution (cross-correlation, as every framework has it) with stride, dilation, groups and
//! explicit padding. A transposed convolution is [`backward_input`].

use crate::window::Axis;
use crate::{Cx, Epilogue};

/// Sizes of a convolution.
///
/// # Shapes
/// `x: [N, H, W, Cin]`, kernel `[Kh, Kw, Cin/G, Cout]`, `y: [N, Ho, Wo, Cout]`. Output channels `g * Cout/G ..`
/// of group `g` read input channels `g * Cin/G ..`. Positions outside the input count as zero, so the padding
/// after the input is whatever `Ho` and `Wo` ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Conv2d {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub cin: usize,
    pub ho: usize,
    pub wo: usize,
    pub cout: usize,
    pub kh: usize,
    pub kw: usize,
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
    /// Zero rows above and zero columns left of the input.
    pub pad: [usize; 2],
    pub groups: usize,
}

impl Conv2d {
    /// Values in `x`.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.cin
    }

    /// Values in `y`.
    pub fn y_len(&self) -> usize {
        self.n * self.ho * self.wo * self.cout
    }

    /// Values in the kernel.
    pub fn kernel_len(&self) -> usize {
        self.kh * self.kw * (self.cin / self.groups) * self.cout
    }

    /// Multiply-adds of one forward pass, padding included.
    pub fn macs(&self) -> u64 {
        (self.n * self.ho * self.wo) as u64 * self.kernel_len() as u64
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
        assert!(
            self.groups > 0 && self.cin.is_multiple_of(self.groups) && self.cout.is_multiple_of(self.groups),
            "groups divide channels"
        );
        assert!(self.stride.iter().chain(&self.dilation).all(|&s| s > 0), "stride and dilation are positive");
    }
}

/// A kernel in the order the convolution reads it. Made by [`pack`].
#[derive(Clone, Debug)]
pub struct PackedKernel {
    data: Vec<f32>,
}

impl PackedKernel {
    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }
}

/// Packs kernel `w` for [`forward`]; `scale`, one factor per output channel, folds a batch normalisation.
///
/// # Shapes
/// `w: [Kh, Kw, Cin/G, Cout]`, `scale: [Cout]`
pub fn pack(geom: &Conv2d, w: &[f32], scale: Option<&[f32]>) -> PackedKernel {
    geom.check();
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    let mut data = w.to_vec();
    if let Some(scale) = scale {
        assert_eq!(scale.len(), geom.cout, "scale length");
        for row in data.chunks_exact_mut(geom.cout) {
            row.iter_mut().zip(scale).for_each(|(w, s)| *w *= s);
        }
    }
    PackedKernel { data }
}

/// `y = activation(x * kernel + bias + residual)`.
///
/// # Shapes
/// See [`Conv2d`].
pub fn forward(
    cx: Cx<'_>,
    geom: &Conv2d,
    x: &[f32],
    kernel: &PackedKernel,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    geom.check();
    assert_eq!(x.len(), geom.x_len(), "x length");
    assert_eq!(y.len(), geom.y_len(), "y length");
    assert_eq!(kernel.data.len(), geom.kernel_len(), "kernel length");
    epilogue.check(geom.cout, y.len());
    if y.is_empty() {
        return;
    }
    let g = *geom;
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    cx.threads.run_chunks(y, g.wo * g.cout, |row, y| {
        let (n, oy) = (row / g.ho, row % g.ho);
        y.fill(0.0);
        for (ox, y) in y.chunks_exact_mut(g.cout).enumerate() {
            for ky in g.rows().taps_inside(oy) {
                let iy = oy * g.stride[0] + ky * g.dilation[0] - g.pad[0];
                for kx in g.columns().taps_inside(ox) {
                    let ix = ox * g.stride[1] + kx * g.dilation[1] - g.pad[1];
                    let x = &x[((n * g.h + iy) * g.w + ix) * g.cin..][..g.cin];
                    for ci in 0..cig {
                        let w = &kernel.data[((ky * g.kw + kx) * cig + ci) * g.cout..][..g.cout];
                        for (group, (y, w)) in y.chunks_exact_mut(cog).zip(w.chunks_exact(cog)).enumerate() {
                            let x = x[group * cig + ci];
                            y.iter_mut().zip(w).for_each(|(y, w)| *y += x * w);
                        }
                    }
                }
            }
            let at = (row * g.wo + ox) * g.cout;
            for (co, y) in y.iter_mut().enumerate() {
                let bias = epilogue.bias.map_or(0.0, |b| b[co]);
                let residual = epilogue.residual.map_or(0.0, |r| r[at + co]);
                *y += bias + residual;
                if let Some(f) = epilogue.activation {
                    *y = f.apply(*y);
                }
            }
        }
    });
}

/// `dx += ` the gradient with respect to the input; the transposed convolution of `dy`.
///
/// # Shapes
/// `dy: [N, Ho, Wo, Cout]`, `w: [Kh, Kw, Cin/G, Cout]`, `dx: [N, H, W, Cin]`
pub fn backward_input(cx: Cx<'_>, geom: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    geom.check();
    assert_eq!(dx.len(), geom.x_len(), "dx length");
    assert_eq!(dy.len(), geom.y_len(), "dy length");
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    if dx.is_empty() {
        return;
    }
    let g = *geom;
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    cx.threads.run_chunks(dx, g.h * g.w * g.cin, |n, dx| {
        for (oy, ox, ky, iy, kx, ix) in windows(&g) {
            let dy = &dy[((n * g.ho + oy) * g.wo + ox) * g.cout..][..g.cout];
            let dx = &mut dx[(iy * g.w + ix) * g.cin..][..g.cin];
            for (c, dx) in dx.iter_mut().enumerate() {
                let (group, ci) = (c / cig, c % cig);
                let w = &w[((ky * g.kw + kx) * cig + ci) * g.cout + group * cog..][..cog];
                *dx += w.iter().zip(&dy[group * cog..]).map(|(w, dy)| w * dy).sum::<f32>();
            }
        }
    });
}

/// `dw += ` the gradient with respect to the kernel.
///
/// # Shapes
/// `x: [N, H, W, Cin]`, `dy: [N, Ho, Wo, Cout]`, `dw: [Kh, Kw, Cin/G, Cout]`
pub fn backward_kernel(cx: Cx<'_>, geom: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    geom.check();
    assert_eq!(x.len(), geom.x_len(), "x length");
    assert_eq!(dy.len(), geom.y_len(), "dy length");
    assert_eq!(dw.len(), geom.kernel_len(), "kernel length");
    if dw.is_empty() {
        return;
    }
    let g = *geom;
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    cx.threads.run_chunks(dw, cig * g.cout, |tap, dw| {
        let (ky, kx) = (tap / g.kw, tap % g.kw);
        for n in 0..g.n {
            for oy in 0..g.ho {
                let Some(iy) = g.rows().position(oy, ky) else { continue };
                for ox in 0..g.wo {
                    let Some(ix) = g.columns().position(ox, kx) else { continue };
                    let dy = &dy[((n * g.ho + oy) * g.wo + ox) * g.cout..][..g.cout];
                    let x = &x[((n * g.h + iy) * g.w + ix) * g.cin..][..g.cin];
                    for (ci, dw) in dw.chunks_exact_mut(g.cout).enumerate() {
                        for (co, (dw, dy)) in dw.iter_mut().zip(dy).enumerate() {
                            *dw += x[co / cog * cig + ci] * dy;
                        }
                    }
                }
            }
        }
    });
}

/// Every (oy, ox, ky, iy, kx, ix) whose input position is inside.
fn windows(g: &Conv2d) -> impl Iterator<Item = (usize, usize, usize, usize, usize, usize)> + use<> {
    let g = *g;
    (0..g.ho * g.wo * g.kh * g.kw).filter_map(move |i| {
        let (kx, ky) = (i % g.kw, i / g.kw % g.kh);
        let (ox, oy) = (i / (g.kw * g.kh) % g.wo, i / (g.kw * g.kh * g.wo));
        Some((oy, ox, ky, g.rows().position(oy, ky)?, kx, g.columns().position(ox, kx)?))
    })
}
