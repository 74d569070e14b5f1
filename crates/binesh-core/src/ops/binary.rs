//! Functions of two values with NumPy broadcasting. Keras `Add`, `Subtract`, `Multiply`, `Maximum`, `Minimum`; ONNX
//! `Add`, `Sub`, `Mul`, `Div`, `Max`, `Min`, `Pow`.

use binesh_kernels::binary::{self, BinaryOp};
use binesh_kernels::Cx;

use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = op(a, b)`, element by element.
///
/// # Shapes
/// a and b are broadcast against each other from the last axis; y has the larger extent of each axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Function; gradients at ties as its documentation says.
    pub op: BinaryOp,
}

fn broadcast(a: &Shape, b: &Shape) -> Result<Shape, ShapeError> {
    let rank = a.rank().max(b.rank());
    let extent = |shape: &Shape, axis: usize| {
        (axis + shape.rank()).checked_sub(rank).map_or(1, |own| shape.dims()[own])
    };
    let dims = (0..rank).map(|axis| match (extent(a, axis), extent(b, axis)) {
        (x, y) if x == y || y == 1 => Ok(x),
        (1, y) => Ok(y),
        _ => Err(ShapeError::new(format!("{a} and {b} do not fit together"))),
    });
    Ok(dims.collect::<Result<Vec<usize>, _>>()?.into())
}

impl Operator for Binary {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        2..=2
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        broadcast(inputs[0], inputs[1])
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], mut output: ViewMut<'_>) {
        let ([a, b], shape) = ([inputs[0], inputs[1]], output.shape());
        let (a_dims, b_dims) = (a.shape().dims(), b.shape().dims());
        binary::forward(cx, self.op, a.data(), a_dims, b.data(), b_dims, output.data(), shape.dims());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let (a_shape, b_shape, y_shape) = (at.input_shape(0).dims(), at.input_shape(1).dims(), dy.shape().dims());
        let [da, db] = dx else { unreachable!("the graph checked that there are two inputs") };
        let (da, db) = (da.as_mut().map(ViewMut::data), db.as_mut().map(ViewMut::data));
        let (a, b) = (at.input(0).data(), at.input(1).data());
        binary::backward(cx, self.op, a, a_shape, b, b_shape, dy.data(), y_shape, da, db);
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Inputs
    }
}
