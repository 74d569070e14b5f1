//! The gradient of an input of very few channels (a picture): as a product that gives, for every output position, what
//! each tap sends back, and then the sum of these where they overlap. The direct way would leave most of each panel
//! of 16 channels empty.

use super::Conv2d;
use crate::scratch::with_scratch;
use crate::tile::{Panels, Place, Places, Rows, Steps, Store};
use crate::{Cx, Epilogue, Write};

/// The kernel for [`backward_input`].
pub(super) fn pack(cx: Cx<'_>, g: &Conv2d, w: &[f32]) -> Panels {
    Panels::pack_transposed(cx, [1, 1, g.cout, g.kh * g.kw * g.cin], w, |_, _, row| row * g.cout)
}

/// Whether the panels are those of such a kernel.
pub(super) fn is_packed_for(g: &Conv2d, panels: &Panels) -> bool {
    let shape = [panels.groups, panels.taps, panels.depth, panels.width];
    g.groups == 1 && shape == [1, 1, g.cout, g.kh * g.kw * g.cin]
}

/// For one group.
pub(super) fn backward_input(
    cx: Cx<'_>,
    g: &Conv2d,
    dy: &[f32],
    panels: &Panels,
    dx: &mut [f32],
    write: Write,
) {
    let sent = g.kh * g.kw * g.cin;
    with_scratch(g.ho * g.wo * sent, |columns| images(cx, g, dy, panels, columns, dx, write));
}

/// One image after another, with room for the columns of one.
fn images(
    cx: Cx<'_>,
    g: &Conv2d,
    dy: &[f32],
    panels: &Panels,
    columns: &mut [f32],
    dx: &mut [f32],
    write: Write,
) {
    let sent = g.kh * g.kw * g.cin;
    let (positions, image) = (g.ho * g.wo, g.h * g.w * g.cin);
    if image == 0 {
        return;
    }
    for (n, dx) in dx.chunks_exact_mut(image).enumerate() {
        let dy = &dy[n * positions * g.cout..][..positions * g.cout];
        let locate = |[_, _, m]: Place, _: usize, taps: &mut [usize]| {
            taps[0] = m * g.cout;
            m * sent
        };
        let store = Store::Replace(Epilogue::default());
        // SAFETY: rows of `columns` are `sent` apart and `sent` long.
        unsafe {
            let (places, steps) = (Places::flat(positions), Steps::flat(positions, g.cout, sent));
            Rows { places, steps, x: dy, panels, locate, store }.run(cx, columns)
        }
        let columns = &*columns;
        cx.threads.run_chunks(dx, g.w * g.cin, |iy, dx| {
            if write == Write::Replace {
                dx.fill(0.0);
            }
            for ky in 0..g.kh {
                if let Some(oy) = g.rows().source(g.ho, iy, ky) {
                    let row = &columns[oy * g.wo * sent..][..g.wo * sent];
                    for (ox, sent) in row.chunks_exact(sent).enumerate() {
                        add_row(g, ox, &sent[ky * g.kw * g.cin..][..g.kw * g.cin], dx);
                    }
                }
            }
        });
    }
}

/// Adds what the taps of one filter row at output column `ox` send to the row `dx`.
#[inline(always)]
fn add_row(g: &Conv2d, ox: usize, sent: &[f32], dx: &mut [f32]) {
    let columns = g.columns();
    if g.dilation[1] == 1 {
        let taps = columns.taps_inside(ox);
        if let Some(first) = columns.position(ox, taps.start).filter(|_| !taps.is_empty()) {
            let sent = &sent[taps.start * g.cin..taps.end * g.cin];
            let dx = &mut dx[first * g.cin..][..sent.len()];
            dx.iter_mut().zip(sent).for_each(|(dx, sent)| *dx += sent);
        }
        return;
    }
    for (kx, sent) in sent.chunks_exact(g.cin).enumerate() {
        if let Some(ix) = columns.position(ox, kx) {
            dx[ix * g.cin..][..g.cin].iter_mut().zip(sent).for_each(|(dx, sent)| *dx += sent);
        }
    }
}
