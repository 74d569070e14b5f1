//! Convolution as rows times panels: forward and both gradients.

use super::Conv2d;
use crate::outer::Outer;
use crate::tile::{PADDING, Panels, Rows, Store};
use crate::{Cx, Epilogue};

/// Panels for [`forward`] from `w: [Kh, Kw, Cin/G, Cout]`.
pub(super) fn pack(g: &Conv2d, w: &[f32], scale: Option<&[f32]>) -> Panels {
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    Panels::pack([g.groups, g.kh * g.kw, cig, cog], |group, tap, ci, first, row| {
        let channel = group * cog + first;
        row.copy_from_slice(&w[(tap * cig + ci) * g.cout + channel..][..row.len()]);
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
    // SAFETY: the outputs of row `m` and group `g` are `m * Cout + g * Cout/G ..`, each `Cout/G` long.
    unsafe { Rows { m: g.n * g.ho * g.wo, x, panels, locate: locate(g), store }.run(cx, y) }
}

/// `dw += ` the sum over output positions of what the filter saw times `dy`.
pub(super) fn backward_kernel(cx: Cx<'_>, g: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (m, taps) = (g.n * g.ho * g.wo, g.kh * g.kw);
    let (depth, width) = (g.cin / g.groups, g.cout / g.groups);
    Outer { m, x, dy, groups: g.groups, taps, depth, width, locate: locate(g) }.run(cx, dw);
}

/// For output position `m` (over images, rows and columns) and a group: the offsets into `x` at each tap, and the
/// offset into `y`.
fn locate(g: &Conv2d) -> impl Fn(usize, usize, &mut [usize]) -> usize + Sync {
    let g = *g;
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    let (rows, columns) = (g.rows(), g.columns());
    move |m: usize, group: usize, taps: &mut [usize]| {
        let (ox, oy, n) = (m % g.wo, m / g.wo % g.ho, m / g.wo / g.ho);
        for (ky, taps) in taps.chunks_exact_mut(g.kw).enumerate() {
            let row = rows.position(oy, ky).map(|iy| (n * g.h + iy) * g.w);
            for (kx, tap) in taps.iter_mut().enumerate() {
                *tap = match (row, columns.position(ox, kx)) {
                    (Some(row), Some(ix)) => (row + ix) * g.cin + group * cig,
                    _ => PADDING,
                };
            }
        }
        m * g.cout + group * cog
    }
}

/// `dx += ` the convolution of `dy` with the kernel turned around. A stride spreads `dy`; instead of multiplying the
/// zeros in between, the input positions of each phase are computed on their own, from the taps that meet them.
pub(super) fn backward_input(cx: Cx<'_>, g: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let (cig, cog) = (g.cin / g.groups, g.cout / g.groups);
    let (rows, columns) = (g.rows(), g.columns());
    for py in &rows.phases() {
        for px in &columns.phases() {
            let taps: Vec<_> =
                py.taps.iter().flat_map(|&ky| px.taps.iter().map(move |&kx| (ky, kx))).collect();
            let panels = Panels::pack([g.groups, taps.len(), cog, cig], |group, tap, co, first, row| {
                let (ky, kx) = taps[tap];
                let w = &w[((ky * g.kw + kx) * cig + first) * g.cout + group * cog + co..];
                row.iter_mut().zip(w.iter().step_by(g.cout)).for_each(|(to, w)| *to = *w);
            });
            let locate = |m: usize, group: usize, offsets: &mut [usize]| {
                let ix = px.first + m % px.count * g.stride[1];
                let iy = py.first + m / px.count % py.count * g.stride[0];
                let n = m / px.count / py.count;
                for (offset, &(ky, kx)) in offsets.iter_mut().zip(&taps) {
                    *offset = match (rows.source(g.ho, iy, ky), columns.source(g.wo, ix, kx)) {
                        (Some(oy), Some(ox)) => ((n * g.ho + oy) * g.wo + ox) * g.cout + group * cog,
                        _ => PADDING,
                    };
                }
                ((n * g.h + iy) * g.w + ix) * g.cin + group * cig
            };
            let m = g.n * py.count * px.count;
            // SAFETY: different (n, iy, ix, group) give disjoint ranges of `Cin/G` values.
            unsafe { Rows { m, x: dy, panels: &panels, locate, store: Store::Add }.run(cx, dx) }
        }
    }
}
