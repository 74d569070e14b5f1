//! A matrix product over the last axis. Keras `Dense`, ONNX `Gemm`, torch `Linear`.

use binesh_kernels::{Cx, Epilogue, matmul, reduce};

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = x w + b`.
///
/// # Shapes
/// x `[..., K]`, w `[K, M]`, b `[M]` (optional) -> y `[..., M]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dense;

/// Rows, K and M.
fn extents(x: &Shape, w: &Shape) -> Result<[usize; 3], ShapeError> {
    let k = x.channels()?;
    let [expects, m] = w.axes("K, M")?;
    if k != expects {
        return Err(ShapeError::new(format!("input has {k} features but the kernel expects {expects}")));
    }
    let rows = x.dims()[..x.rank() - 1].iter().product();
    Ok([rows, k, m])
}

impl Operator for Dense {
    fn name(&self) -> &'static str {
        "dense"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=3
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let [_, _, m] = extents(inputs[0], inputs[1])?;
        super::check_bias(inputs.get(2).copied(), m)?;
        let mut dims = inputs[0].dims().to_vec();
        *dims.last_mut().expect("`extents` saw a last axis") = m;
        Ok(dims.into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let [rows, k, m] = extents(inputs[0].shape(), inputs[1].shape()).expect("`infer` accepted these shapes");
        let packed = matmul::pack(cx, k, m, inputs[1].data(), None);
        let epilogue = Epilogue { bias: inputs.get(2).map(View::data), ..Epilogue::default() };
        matmul::forward(cx, rows, k, m, inputs[0].data(), &packed, output.into_data(), &epilogue);
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let [rows, k, m] = extents(at.input_shape(0), at.input_shape(1)).expect("`infer` accepted these shapes");
        if let Some(dx) = &mut dx[0] {
            matmul::backward_input(cx, rows, k, m, dy.data(), at.input(1).data(), dx.data(), at.write(0));
        }
        if let Some(dw) = &mut dx[1] {
            matmul::backward_kernel(cx, rows, k, m, at.input(0).data(), dy.data(), dw.data());
        }
        if let Some(db) = dx.get_mut(2).and_then(Option::as_mut) {
            reduce::sum_rows(cx, m, dy.data(), db.data());
        }
    }

    fn overwrites(&self, i: usize) -> bool {
        i == 0
    }

    fn keeps(&self, wanted: &[bool]) -> Keeps {
        if wanted[1] { Keeps::Inputs } else { Keeps::Weights }
    }

    fn macs(&self, inputs: &[&Shape], output: &Shape) -> u64 {
        (output.len() as u64).saturating_mul(inputs[1].dims()[0] as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn head() {
        op(Dense).input([2, 37]).weight([37, 10]).weight([10]).check();
        op(Dense).input([1, 64]).weight([64, 1]).check();
    }

    #[test]
    fn more_axes() {
        op(Dense).input([2, 3, 5, 7]).weight([7, 9]).weight([9]).check();
        op(Dense).input([7]).weight([7, 9]).check();
    }

    #[test]
    fn larger_than_a_block_of_the_product() {
        op(Dense).input([37, 71]).weight([71, 53]).weight([53]).check();
    }

    #[test]
    fn rejects() {
        op(Dense).input([2, 5]).weight([4, 3]).rejects("input has 5 features but the kernel expects 4");
        op(Dense).input([2, 5]).weight([5]).rejects("expected the axes [K, M] but the input is [5]");
        op(Dense).input([]).weight([5, 2]).rejects("a scalar has no channel axis");
        op(Dense)
            .input([2, 5])
            .weight([5, 3])
            .weight([4])
            .rejects("the bias has shape [4] but there are 3 channels");
    }
}
