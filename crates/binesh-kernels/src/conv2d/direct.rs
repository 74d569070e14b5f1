//! Convolution as rows times panels: forward and both gradients.

use super::Conv2d;
use crate::copy::copy;
use crate::outer::Outer;
use crate::scratch::with_scratch;
use crate::threads::GRAIN;
use crate::tile::{PADDING, Panels, Place, Places, Rows, Steps, Store};
use crate::window::Phase;
use crate::{Cx, Epilogue, Write};

/// Fewer input channels than this (a network's first layer) leave so little to do at each tap that turning to the next
/// one costs as much.
const FEW_CHANNELS: usize = 16;

/// Whether neighbouring taps of a row are read as one, from a copy of `x` with its padding written out: in
/// `[W, Cin]` they lie side by side.
fn joins_taps(g: &Conv2d) -> bool {
    g.kw > 1 && g.dilation[1] == 1 && g.groups == 1 && g.cin < FEW_CHANNELS
}

/// Whether the gradient of the input fills too little of a panel.
pub(super) fn few_input_channels(g: &Conv2d) -> bool {
    g.groups == 1 && g.cin <= 4
}

/// Groups, taps, values at each tap, output channels of a group.
pub(super) fn panel_shape(g: &Conv2d) -> [usize; 4] {
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    if joins_taps(g) { [1, g.kh, g.kw * cig, cog] } else { [g.groups, g.kh * g.kw, cig, cog] }
}

/// Bytes of what [`pack`] makes.
pub(super) fn packed_bytes(g: &Conv2d) -> u64 {
    Panels::bytes_of(panel_shape(g))
}

/// Panels for [`forward`] from `w: [Kh, Kw, Cin/G, Cout]`.
pub(super) fn pack(cx: Cx<'_>, g: &Conv2d, w: &[f32], scale: Option<&[f32]>) -> Panels {
    let [_, _, depth, cog] = panel_shape(g);
    Panels::pack(cx, panel_shape(g), |group, tap, k, first, row| {
        let channel = group * cog + first;
        row.copy_from_slice(&w[(tap * depth + k) * g.cout + channel..][..row.len()]);
        if let Some(scale) = scale {
            row.iter_mut().zip(&scale[channel..]).for_each(|(w, s)| *w *= s);
        }
    })
}

pub(super) fn forward(
    cx: Cx<'_>,
    g: &Conv2d,
    x: &[f32],
    panels: &Panels,
    y: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    let store = Store::Replace(*epilogue);
    if g.is_pointwise() {
        let locate = |[_, _, m]: Place, _: usize, taps: &mut [usize]| {
            taps[0] = m * g.cin;
            m * g.cout
        };
        // SAFETY: rows of `y` are `Cout` apart and `Cout` long.
        return unsafe {
            let m = g.n * g.h * g.w;
            let (places, steps) = (Places::flat(m), Steps::flat(m, g.cin, g.cout));
            Rows { places, steps, x, panels, locate, store }.run(cx, y)
        };
    }
    with_joined_taps(cx, g, x, |g, x| {
        // SAFETY: the outputs of row `m` and group `g` are `m * Cout + g * Cout/G ..`, each `Cout/G` long.
        unsafe {
            Rows { places: outputs(g), steps: steps(g), x, panels, locate: locate(g), store }.run(cx, y)
        }
    });
}

/// `dw += ` the sum over output positions of what the filter saw times `dy`.
pub(super) fn backward_kernel(cx: Cx<'_>, g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let [groups, taps, depth, width] = panel_shape(g);
    with_joined_taps(cx, g, x, |g, x| {
        Outer { places: outputs(g), x, dy, groups, taps, depth, width, locate: locate(g) }.run(cx, dw);
    });
}

/// Calls `f` with the geometry and `x`; if taps are joined, with exactly the columns that some filter sees, and the geometry
/// in which a row of the filter is a single tap.
fn with_joined_taps(cx: Cx<'_>, g: &Conv2d, x: &[f32], f: impl FnOnce(&Conv2d, &[f32])) {
    if !joins_taps(g) || g.wo == 0 {
        return f(g, x);
    }
    let width = (g.wo - 1) * g.stride[1] + g.kw;
    let left = g.pad[1].min(width);
    let inside = g.w.min(width - left) * g.cin;
    with_scratch(g.n * g.h * width * g.cin, |wide| {
        cx.threads.run_chunks(wide, width * g.cin, |row, wide| {
            let (before, wide) = wide.split_at_mut(left * g.cin);
            let (wide, after) = wide.split_at_mut(inside);
            before.fill(0.0);
            copy(cx.isa, &x[row * g.w * g.cin..][..inside], wide);
            after.fill(0.0);
        });
        f(&Conv2d { w: width, kw: 1, pad: [g.pad[0], 0], ..*g }, wide);
    });
}

fn outputs(g: &Conv2d) -> Places {
    Places { images: g.n, height: g.ho, width: g.wo }
}

/// Between the columns at which a tap lies in the padding.
fn steps(g: &Conv2d) -> Steps {
    Steps { columns: g.columns().windows_inside(g.wo), x: g.stride[1].saturating_mul(g.cin), y: g.cout }
}

/// For an output position and a group: the offsets into `x` at each tap, and the
/// offset into `y`.
fn locate(g: &Conv2d) -> impl Fn(Place, usize, &mut [usize]) -> usize + Sync {
    let g = *g;
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    let (rows, columns) = (g.rows(), g.columns());
    move |[n, oy, ox]: Place, group: usize, taps: &mut [usize]| {
        for (ky, taps) in taps.chunks_exact_mut(g.kw).enumerate() {
            let row = rows.position(oy, ky).map(|iy| (n * g.h + iy) * g.w);
            for (kx, tap) in taps.iter_mut().enumerate() {
                *tap = match (row, columns.position(ox, kx)) {
                    (Some(row), Some(ix)) => (row + ix) * g.cin + group * cig,
                    _ => PADDING,
                };
            }
        }
        ((n * g.ho + oy) * g.wo + ox) * g.cout + group * cog
    }
}

/// The kernel for [`backward_input`]: panels for each phase.
pub(super) fn pack_turned(cx: Cx<'_>, g: &Conv2d, w: &[f32]) -> Vec<Panels> {
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    let pack = |phase: &MapPhase| {
        let shape = [g.groups, phase.taps.len(), cog, cig];
        Panels::pack_transposed(cx, shape, w, |group, tap, ci| {
            let (ky, kx) = phase.taps[tap];
            ((ky * g.kw + kx) * cig + ci) * g.cout + group * cog
        })
    };
    phases(g).iter().map(pack).collect()
}

/// Whether the panels are those of such a kernel.
pub(super) fn is_packed_for(g: &Conv2d, kernel: &[Panels]) -> bool {
    let phases = phases(g);
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    let same = |(panels, phase): (&Panels, &MapPhase)| {
        [panels.groups, panels.taps, panels.depth, panels.width] == [g.groups, phase.taps.len(), cog, cig]
    };
    kernel.len() == phases.len() && kernel.iter().zip(&phases).all(same)
}

/// The convolution of `dy` with the kernel turned around. A stride spreads `dy`; instead of multiplying the zeros in
/// between, the input positions of each phase are computed on their own, from the taps that meet them.
pub(super) fn backward_input(
    cx: Cx<'_>,
    g: &Conv2d,
    dy: &[f32],
    kernel: &[Panels],
    dx: &mut [f32],
    write: Write,
) {
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    let (rows, columns) = (g.rows(), g.columns());
    let phases = phases(g);
    let met: usize = phases.iter().map(|phase| phase.places(g).count()).sum();
    if write == Write::Replace && met < g.n * g.h * g.w {
        cx.threads.run_chunks(dx, GRAIN, |_, dx| dx.fill(0.0));
    }
    for (phase, panels) in phases.iter().zip(kernel) {
        let [py, px] = &phase.axes;
        let locate = |[n, y, x]: Place, group: usize, offsets: &mut [usize]| {
            let (iy, ix) = (py.first + y * g.stride[0], px.first + x * g.stride[1]);
            for (offset, &(ky, kx)) in offsets.iter_mut().zip(&phase.taps) {
                *offset = match (rows.source(g.ho, iy, ky), columns.source(g.wo, ix, kx)) {
                    (Some(oy), Some(ox)) => ((n * g.ho + oy) * g.wo + ox) * g.cout + group * cog,
                    _ => PADDING,
                };
            }
            ((n * g.h + iy) * g.w + ix) * g.cin + group * cig
        };
        let steps = Steps { columns: px.sources_inside(&columns, g.wo), x: g.cout, y: g.stride[1] * g.cin };
        let (places, store) = (phase.places(g), write.into());
        // SAFETY: different (n, iy, ix, group) give disjoint ranges of `Cin/G` values.
        unsafe { Rows { places, steps, x: dy, panels, locate, store }.run(cx, dx) }
    }
}

/// Input positions a stride apart, down and across.
struct MapPhase {
    axes: [Phase; 2],
    /// The taps that meet them.
    taps: Vec<(usize, usize)>,
}

impl MapPhase {
    fn places(&self, g: &Conv2d) -> Places {
        Places { images: g.n, height: self.axes[0].count, width: self.axes[1].count }
    }
}

fn phases(g: &Conv2d) -> Vec<MapPhase> {
    let mut phases = Vec::new();
    for py in g.rows().phases() {
        for px in g.columns().phases() {
            let taps = py.taps.iter().flat_map(|&ky| px.taps.iter().map(move |&kx| (ky, kx))).collect();
            phases.push(MapPhase { axes: [py.clone(), px], taps });
        }
    }
    phases
}
