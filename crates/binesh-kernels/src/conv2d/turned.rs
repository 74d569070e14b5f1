//! The gradient of the input: a convolution of `dy` with the kernel turned around, its channels exchanged.

use super::{Conv2d, Pass, as_depthwise, columns, direct, winograd};
use crate::tile::Panels;
use crate::{Cx, Write, depthwise};

/// A kernel in the order in which [`backward_input_packed`] reads it. Made by [`pack_turned`], for one geometry but any
/// batch and map size.
#[derive(Clone, Debug)]
pub struct TurnedKernel {
    order: Order,
}

#[derive(Clone, Debug)]
enum Order {
    /// Panels for each phase of the input.
    Direct(Vec<Panels>),
    /// Few input channels.
    Columns(Panels),
    Winograd(winograd::Weights),
    /// As it is: `[Kh, Kw, C]`.
    Depthwise(Vec<f32>),
}

impl TurnedKernel {
    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.order {
            Order::Direct(phases) => phases.iter().map(Panels::bytes).sum(),
            Order::Columns(panels) => panels.bytes(),
            Order::Winograd(weights) => weights.bytes(),
            Order::Depthwise(w) => size_of_val(w.as_slice()),
        }
    }
}

/// Packs kernel `w` for [`backward_input_packed`]. `scale`, one factor per output channel, is that of a batch
/// normalisation after the convolution, whose gradient is then part of this one.
///
/// # Shapes
/// `w: [Kh, Kw, Cin/G, Cout]`, `scale: [Cout]`
pub fn pack_turned(cx: Cx<'_>, geom: &Conv2d, w: &[f32], scale: Option<&[f32]>) -> TurnedKernel {
    geom.check();
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    if let Some(scale) = scale {
        assert_eq!(scale.len(), geom.cout, "scale length");
    }
    let w = depthwise::scaled(w, scale);
    let order = if as_depthwise(geom).is_some() {
        Order::Depthwise(w.into_owned())
    } else if direct::few_input_channels(geom) {
        Order::Columns(columns::pack(cx, geom, &w))
    } else if let Some(tile) = winograd::choice(cx, geom, Pass::InputPacked) {
        Order::Winograd(winograd::Weights::pack_turned(cx, tile, [geom.cout, geom.cin], &w))
    } else {
        Order::Direct(direct::pack_turned(cx, geom, &w))
    };
    TurnedKernel { order }
}

/// [`backward_input`] with a kernel packed before: for a kernel that many gradients pass.
///
/// # Shapes
/// As [`backward_input`].
pub fn backward_input_packed(
    cx: Cx<'_>,
    geom: &Conv2d,
    dy: &[f32],
    kernel: &TurnedKernel,
    dx: &mut [f32],
    write: Write,
) {
    check(geom, dy, dx);
    let mismatch = "kernel packed for another geometry";
    match &kernel.order {
        Order::Direct(phases) => {
            assert!(direct::is_packed_for(geom, phases), "{mismatch}");
            direct::backward_input(cx, geom, dy, phases, dx, write);
        }
        Order::Columns(panels) => {
            assert!(columns::is_packed_for(geom, panels), "{mismatch}");
            columns::backward_input(cx, geom, dy, panels, dx, write);
        }
        Order::Winograd(weights) => {
            let same = winograd::is_defined(geom) && weights.shape() == [geom.cout, geom.cin];
            assert!(same, "{mismatch}");
            winograd::backward_input_packed(cx, geom, dy, weights, dx, write);
        }
        Order::Depthwise(w) => {
            depthwise::backward_input(cx, &as_depthwise(geom).expect(mismatch), dy, w, dx, write);
        }
    }
}

/// The gradient with respect to the input; the transposed convolution of `dy`.
///
/// # Shapes
/// `dy: [N, Ho, Wo, Cout]`, `w: [Kh, Kw, Cin/G, Cout]`, `dx: [N, H, W, Cin]`
pub fn backward_input(cx: Cx<'_>, geom: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32], write: Write) {
    check(geom, dy, dx);
    assert_eq!(w.len(), geom.kernel_len(), "kernel length");
    if let Some(geom) = as_depthwise(geom) {
        depthwise::backward_input(cx, &geom, dy, w, dx, write);
    } else if direct::few_input_channels(geom) {
        columns::backward_input(cx, geom, dy, &columns::pack(cx, geom, w), dx, write);
    } else if let Some(tile) = winograd::choice(cx, geom, Pass::Input) {
        winograd::backward_input(cx, geom, tile, dy, w, dx, write);
    } else {
        direct::backward_input(cx, geom, dy, &direct::pack_turned(cx, geom, w), dx, write);
    }
}

fn check(geom: &Conv2d, dy: &[f32], dx: &[f32]) {
    geom.check();
    assert_eq!(dx.len(), geom.x_len(), "dx length");
    assert_eq!(dy.len(), geom.y_len(), "dy length");
}
