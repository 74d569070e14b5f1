//! Matrix products of two computed values. NumPy, torch and ONNX `MatMul`, Keras `Dot`; attention.

use binesh_kernels::{Cx, Epilogue, Write, matmul};

use crate::operator::{At, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = a b` for each matrix of the leading axes, which are equal. [`super::Dense`] where b is one matrix for all.
///
/// # Shapes
/// a `[..., M, K]`, b `[..., K, N]` -> y `[..., M, N]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMatmul;

/// Number of matrices, M, K and N.
fn extents(a: &Shape, b: &Shape) -> Result<[usize; 4], ShapeError> {
    let (lead_a, lead_b) = (a.rank().wrapping_sub(2), b.rank().wrapping_sub(2));
    if a.rank() < 2 || b.rank() < 2 || a.dims()[..lead_a] != b.dims()[..lead_b] {
        return Err(ShapeError::new(format!("{a} and {b} are not equally many matrices")));
    }
    let [m, k] = [a.dims()[lead_a], a.dims()[lead_a + 1]];
    let [expects, n] = [b.dims()[lead_b], b.dims()[lead_b + 1]];
    if k != expects {
        return Err(ShapeError::new(format!("{k} columns of {a} do not meet {expects} rows of {b}")));
    }
    Ok([a.dims()[..lead_a].iter().product(), m, k, n])
}

impl Operator for BatchMatmul {
    fn name(&self) -> &'static str {
        "batch_matmul"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let [_, _, _, n] = extents(inputs[0], inputs[1])?;
        let mut dims = inputs[0].dims().to_vec();
        *dims.last_mut().expect("`extents` saw two axes") = n;
        Ok(dims.into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let (a, b, y) = (inputs[0], inputs[1], output.into_data());
        let [_, m, k, n] = extents(a.shape(), b.shape()).expect("`infer` accepted these shapes");
        let pairs = a.data().chunks_exact(m * k).zip(b.data().chunks_exact(k * n));
        for ((a, b), y) in pairs.zip(y.chunks_exact_mut(m * n)) {
            let packed = matmul::pack(cx, k, n, b, None);
            matmul::forward(cx, m, k, n, a, &packed, y, &Epilogue::default());
        }
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let (a, b) = (at.input(0), at.input(1));
        let [_, m, k, n] = extents(a.shape(), b.shape()).expect("`infer` accepted these shapes");
        let [da, db] = dx else { unreachable!("the graph checked that there are two inputs") };
        for (i, dy) in dy.data().chunks_exact(m * n).enumerate() {
            if let Some(da) = da {
                let (b, da) = (&b.data()[i * k * n..][..k * n], &mut da.data()[i * m * k..][..m * k]);
                matmul::backward_input(cx, m, k, n, dy, b, da, Write::Add);
            }
            if let Some(db) = db {
                let (a, db) = (&a.data()[i * m * k..][..m * k], &mut db.data()[i * k * n..][..k * n]);
                matmul::backward_kernel(cx, m, k, n, a, dy, db);
            }
        }
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        let k = inputs[0].dims().last().copied().unwrap_or(1);
        (output.len() as u64).saturating_mul(k as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn attention() {
        op(BatchMatmul).input([2, 3, 5, 7]).input([2, 3, 7, 4]).check();
    }

    #[test]
    fn one_matrix() {
        op(BatchMatmul).input([5, 7]).input([7, 1]).check();
        op(BatchMatmul).input([3, 1, 7]).weight([3, 7, 9]).check();
    }

    #[test]
    fn rejects() {
        op(BatchMatmul).input([2, 5, 7]).input([3, 7, 4]).rejects("[2, 5, 7] and [3, 7, 4] are not equally many matrices");
        op(BatchMatmul).input([7]).input([7]).rejects("[7] and [7] are not equally many matrices");
        op(BatchMatmul).input([2, 5]).input([4, 3]).rejects("5 columns of [2, 5] do not meet 4 rows of [4, 3]");
    }
}
