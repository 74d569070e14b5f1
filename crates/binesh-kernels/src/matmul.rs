//! Matrix product `c = a b`, the dense layer. `a: [M, K]`, `b: [K, N]`, `c: [M, N]`, row-major.

use crate::{Cx, Epilogue};

/// A right-hand side in the order the product reads it. Made by [`pack`].
#[derive(Clone, Debug)]
pub struct PackedMatrix {
    data: Vec<f32>,
}

impl PackedMatrix {
    /// Memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }
}

/// Packs `b` for [`forward`]; `scale` multiplies its columns.
///
/// # Shapes
/// `b: [K, N]`, `scale: [N]`
pub fn pack(k: usize, n: usize, b: &[f32], scale: Option<&[f32]>) -> PackedMatrix {
    assert_eq!(b.len(), k * n, "b length");
    let mut data = b.to_vec();
    if let Some(scale) = scale {
        assert_eq!(scale.len(), n, "scale length");
        for row in data.chunks_exact_mut(n.max(1)) {
            row.iter_mut().zip(scale).for_each(|(w, s)| *w *= s);
        }
    }
    PackedMatrix { data }
}

/// `c = activation(a b + bias + residual)`.
///
/// # Shapes
/// `a: [M, K]`, `b: [K, N]` packed, `c: [M, N]`
#[allow(clippy::too_many_arguments)]
pub fn forward(
    cx: Cx<'_>,
    m: usize,
    k: usize,
    n: usize,
    a: &[f32],
    b: &PackedMatrix,
    c: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    assert_eq!(a.len(), m * k, "a length");
    assert_eq!(b.data.len(), k * n, "b length");
    assert_eq!(c.len(), m * n, "c length");
    epilogue.check(n, c.len());
    cx.threads.run_chunks(c, n, |i, c| {
        c.fill(0.0);
        for (a, b) in a[i * k..][..k].iter().zip(b.data.chunks_exact(n)) {
            c.iter_mut().zip(b).for_each(|(c, b)| *c += a * b);
        }
        for (j, c) in c.iter_mut().enumerate() {
            *c += epilogue.bias.map_or(0.0, |b| b[j]) + epilogue.residual.map_or(0.0, |r| r[i * n + j]);
            if let Some(f) = epilogue.activation {
                *c = f.apply(*c);
            }
        }
    });
}

/// `da += dc b^T`.
///
/// # Shapes
/// `dc: [M, N]`, `b: [K, N]`, `da: [M, K]`
pub fn backward_input(cx: Cx<'_>, m: usize, k: usize, n: usize, dc: &[f32], b: &[f32], da: &mut [f32]) {
    assert_eq!(da.len(), m * k, "da length");
    assert_eq!(b.len(), k * n, "b length");
    assert_eq!(dc.len(), m * n, "dc length");
    cx.threads.run_chunks(da, k, |i, da| {
        let dc = &dc[i * n..][..n];
        for (j, da) in da.iter_mut().enumerate() {
            *da += b[j * n..][..n].iter().zip(dc).map(|(b, dc)| b * dc).sum::<f32>();
        }
    });
}

/// `db += a^T dc`.
///
/// # Shapes
/// `a: [M, K]`, `dc: [M, N]`, `db: [K, N]`
pub fn backward_kernel(cx: Cx<'_>, m: usize, k: usize, n: usize, a: &[f32], dc: &[f32], db: &mut [f32]) {
    assert_eq!(a.len(), m * k, "a length");
    assert_eq!(db.len(), k * n, "db length");
    assert_eq!(dc.len(), m * n, "dc length");
    cx.threads.run_chunks(db, n, |j, db| {
        for i in 0..m {
            let a = a[i * k + j];
            db.iter_mut().zip(&dc[i * n..]).for_each(|(db, dc)| *db += a * dc);
        }
    });
}
