//! The gradient of an input of very few channels (a picture): as a product that gives, for every output position, what
//! each tap sends back, and then the sum of these where they overlap. The direct way would leave most of each panel
//! of 16 channels empty.

use super::Conv2d;
use crate::tile::{Panels, Place, Places, Rows, Store};
use crate::{Cx, Epilogue};

/// `dx += `, for one group.
pub(super) fn backward_input(cx: Cx<'_>, g: &Conv2d, dy: &[f32], w: &[f32], dx: &mut [f32]) {
    let sent = g.kh * g.kw * g.cin;
    let panels = Panels::pack_transposed(cx, [1, 1, g.cout, sent], w, |_, _, row| row * g.cout);
    let (positions, image) = (g.ho * g.wo, g.h * g.w * g.cin);
    if image == 0 {
        return;
    }
    let mut columns = vec![0.0; positions * sent];
    for (n, dx) in dx.chunks_exact_mut(image).enumerate() {
        let dy = &dy[n * positions * g.cout..][..positions * g.cout];
        let locate = |[_, _, m]: Place, _: usize, taps: &mut [usize]| {
            taps[0] = m * g.cout;
            m * sent
        };
        let store = Store::Replace(Epilogue::default());
        // SAFETY: rows of `columns` are `sent` apart and `sent` long.
        unsafe {
            Rows { places: Places::flat(positions), x: dy, panels: &panels, locate, store }
                .run(cx, &mut columns)
        }
        cx.threads.run_chunks(dx, g.w * g.cin, |iy, dx| {
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
