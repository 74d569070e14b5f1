//! Positions of one axis picked from a list.

use crate::Cx;
use crate::threads::GRAIN;
use crate::window::product;

/// Sizes of a pick.
///
/// # Shapes
/// `x: [outer, extent, inner]`, `y: [outer, positions, inner]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Take {
    pub outer: usize,
    pub extent: usize,
    pub inner: usize,
}

impl Take {
    fn check(&self, positions: &[Option<usize>], x: usize, y: usize) {
        assert_eq!(x, product([self.outer, self.extent, self.inner]), "x length");
        assert_eq!(y, product([self.outer, positions.len(), self.inner]), "y length");
        assert!(positions.iter().flatten().all(|&at| at < self.extent), "a position outside the axis");
    }
}

/// `y[o, i] = x[o, positions[i]]`, or `fill` where there is no position.
///
/// # Shapes
/// See [`Take`].
pub fn forward(cx: Cx<'_>, geom: &Take, positions: &[Option<usize>], fill: f32, x: &[f32], y: &mut [f32]) {
    geom.check(positions, x.len(), y.len());
    let Take { extent, inner, .. } = *geom;
    if y.is_empty() {
        return;
    }
    let rows = (GRAIN / inner).max(1);
    cx.threads.run_chunks(y, rows * inner, |chunk, y| {
        for (row, y) in y.chunks_exact_mut(inner).enumerate() {
            let row = chunk * rows + row;
            match positions[row % positions.len()] {
                Some(at) => {
                    y.copy_from_slice(&x[(row / positions.len() * extent + at) * inner..][..inner]);
                }
                None => y.fill(fill),
            }
        }
    });
}

/// `dx += ` the gradient of [`forward`]: a position picked twice gets both.
///
/// # Shapes
/// See [`Take`]; `dy` like `y`, `dx` like `x`.
pub fn backward(cx: Cx<'_>, geom: &Take, positions: &[Option<usize>], dy: &[f32], dx: &mut [f32]) {
    geom.check(positions, dx.len(), dy.len());
    let Take { extent, inner, .. } = *geom;
    if dy.is_empty() {
        return;
    }
    cx.threads.run_chunks(dx, extent * inner, |outer, dx| {
        let dy = &dy[outer * positions.len() * inner..];
        for (dy, at) in dy.chunks_exact(inner).zip(positions) {
            let Some(at) = at else { continue };
            dx[at * inner..][..inner].iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy);
        }
    });
}
