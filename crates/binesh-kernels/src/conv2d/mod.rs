//! Two-dimensional convolution (cross-correlation, as every framework has it) with stride, dilation, groups and
//! explicit padding. A transposed convolution is [`backward_input`].
//!
//! With one channel in each group it is a depthwise convolution, and is computed as one.

mod columns;
mod direct;
mod turned;
mod winograd;

use crate::tile::Panels;
use crate::window::{Axis, product};
use crate::{Algorithm, Cx, Epilogue, Tile, Work, depthwise};
pub use turned::{TurnedKernel, backward_input, backward_input_packed, pack_turned};

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
        product([self.n, self.h, self.w, self.cin])
    }

    /// Values in `y`.
    pub fn y_len(&self) -> usize {
        product([self.n, self.ho, self.wo, self.cout])
    }

    /// Values in the kernel.
    pub fn kernel_len(&self) -> usize {
        product([self.kh, self.kw, self.cin / self.groups, self.cout])
    }

    /// Whether a pixel of the output sees the pixel of the input at its place and nothing else: a matrix product.
    pub fn is_pointwise(&self) -> bool {
        let same_place = [self.kh, self.kw, self.ho, self.wo] == [1, 1, self.h, self.w];
        self.groups == 1 && same_place && self.stride == [1, 1] && self.pad == [0, 0]
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
        self.rows().check(self.ho);
        self.columns().check(self.wo);
    }
}

/// The depthwise convolution that it is, if every group has one input and one output channel.
fn as_depthwise(g: &Conv2d) -> Option<depthwise::Depthwise> {
    let Conv2d { n, h, w, cin, ho, wo, cout, kh, kw, stride, dilation, pad, groups } = *g;
    let depthwise =
        depthwise::Depthwise { n, h, w, c: cin, multiplier: 1, ho, wo, kh, kw, stride, dilation, pad };
    (groups > 1 && cin == groups && cout == groups).then_some(depthwise)
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The output; the kernel was packed before.
    Forward,
    /// The gradient of the input; the kernel is packed on the way.
    Input,
    /// The gradient of the input; the kernel was packed before.
    InputPacked,
    /// The gradient of the kernel.
    Kernel,
}

/// What computing a convolution takes. This is where its algorithm is chosen; the threads have no say.
pub fn work(cx: Cx<'_>, geom: &Conv2d, pass: Pass) -> Work {
    if let Some(geom) = as_depthwise(geom) {
        return depthwise::work(&geom);
    }
    if let Some(tile) = winograd::choice(cx, geom, pass) {
        return winograd::work(cx.costs, geom, tile);
    }
    let algorithm = Algorithm::Direct { kernel: [geom.kh, geom.kw] };
    Work { algorithm, products: geom.macs(), weight_bytes: direct::packed_bytes(geom) }
}

/// A kernel in one of several orders.
#[derive(Clone, Debug)]
enum Weights {
    /// Rows times panels, for every geometry.
    Direct(Panels),
    /// Fewer multiplications, see [`winograd`].
    Winograd(winograd::Weights),
    /// Each channel on its own: `[Kh, Kw, C]`.
    Depthwise(Vec<f32>),
}

/// A kernel in the order the convolution reads it. Made by [`pack`], for one geometry but any batch and map size (those it
/// was made for decide which algorithm it is for).
#[derive(Clone, Debug)]
pub struct PackedKernel {
    kernel: [usize; 2],
    weights: Weights,
}

impl PackedKernel {
    /// The panels of a matrix product, if it is one of `[depth, width]`.
    pub(crate) fn pointwise(&self, depth: usize, width: usize) -> &Panels {
        match &self.weights {
            Weights::Direct(panels)
                if [panels.groups, panels.taps, panels.depth, panels.width] == [1, 1, depth, width] =>
            {
                panels
            }
            _ => panic!("the kernel is not that of a 1x1 convolution from {depth} to {width} channels"),
        }
    }

    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.weights {
            Weights::Direct(panels) => panels.bytes(),
            Weights::Winograd(weights) => weights.bytes(),
            Weights::Depthwise(w) => size_of_val(w.as_slice()),
        }
    }

    /// How the convolution is computed, see [`work`].
    pub fn algorithm(&self) -> Algorithm {
        match &self.weights {
            Weights::Direct(_) => Algorithm::Direct { kernel: self.kernel },
            Weights::Winograd(weights) => Algorithm::Winograd(weights.tile()),
            Weights::Depthwise(_) => Algorithm::Depthwise { kernel: self.kernel },
        }
    }
}

/// The tile if [`pack`] takes Winograd's algorithm: all of a packed kernel that the sizes of batch and map decide.
pub fn winograd_tile(cx: Cx<'_>, geom: &Conv2d) -> Option<Tile> {
    winograd::choice(cx, geom, Pass::Forward)
}

/// Packs kernel `w` for [`forward`]; `scale`, one factor per output channel, folds a batch normalisation.
///
/// # Shapes
/// `w: [Kh, Kw, Cin/G, Cout]`, `scale: [Cout]`
pub fn pack(cx: Cx<'_>, geom: &Conv2d, w: &[f32], scale: Option<&[f32]>) -> PackedKernel {
    geom.check();
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    if let Some(scale) = scale {
        assert_eq!(scale.len(), geom.cout, "scale length");
    }
    let weights = if as_depthwise(geom).is_some() {
        Weights::Depthwise(depthwise::pack(w, scale))
    } else if let Some(tile) = winograd_tile(cx, geom) {
        Weights::Winograd(winograd::Weights::pack(cx, tile, [geom.cin, geom.cout], w, scale))
    } else {
        Weights::Direct(direct::pack(cx, geom, w, scale))
    };
    PackedKernel { kernel: [geom.kh, geom.kw], weights }
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
    epilogue.check(geom.cout, y.len());
    match &kernel.weights {
        Weights::Direct(panels) => {
            let shape = [panels.groups, panels.taps, panels.depth, panels.width];
            assert_eq!(shape, direct::panel_shape(geom), "kernel packed for another geometry");
            direct::forward(cx, geom, x, panels, y, epilogue);
        }
        Weights::Winograd(weights) => {
            let same = winograd::is_defined(geom) && weights.shape() == [geom.cin, geom.cout];
            assert!(same, "kernel packed for another geometry");
            winograd::forward(cx, geom, x, weights, y, epilogue);
        }
        Weights::Depthwise(w) => {
            let geom = as_depthwise(geom).expect("kernel packed for another geometry");
            depthwise::forward(cx, &geom, x, w, y, epilogue);
        }
    }
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
    if let Some(geom) = as_depthwise(geom) {
        return depthwise::backward_kernel(cx, &geom, x, dy, dw);
    }
    if winograd::choice(cx, geom, Pass::Kernel).is_some() {
        return winograd::backward_kernel(cx, geom, x, dy, dw);
    }
    direct::backward_kernel(cx, geom, x, dy, dw);
}
