//! Functions of two values with NumPy broadcasting. Keras `Add`, `Subtract`, `Multiply`, `Maximum`, `Minimum`; ONNX
//! `Add`, `Sub`, `Mul`, `Div`, `Max`, `Min`, `Pow`.

use binesh_kernels::binary::{self, BinaryOp};
use binesh_kernels::{Cx, Write, layout};

use crate::operator::{At, Keeps, Operator, Overlay};
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

impl Binary {
    /// The gradient is told by that of the output alone, and that of a is the same.
    fn is_linear(&self) -> bool {
        matches!(self.op, BinaryOp::Add | BinaryOp::Subtract)
    }
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

    fn overlay(&self) -> Overlay {
        Overlay::InPlace
    }

    fn forward_in_place(&self, cx: Cx<'_>, others: &[View<'_>], y: ViewMut<'_>) {
        let (b, shape) = (others[0], y.shape());
        binary::forward_in_place(cx, self.op, b.data(), b.shape().dims(), y.into_data(), shape.dims());
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let (a_shape, b_shape, y_shape) = (at.input_shape(0).dims(), at.input_shape(1).dims(), dy.shape().dims());
        let [da, db] = dx else { unreachable!("the graph checked that there are two inputs") };
        let (mut da, mut db) = (da.as_mut().map(ViewMut::data), db.as_mut().map(ViewMut::data));
        for (i, d, shape) in [(0, &mut da, a_shape), (1, &mut db, b_shape)] {
            if at.write(i) == Write::Add {
                continue;
            }
            match d {
                Some(_) if shape == y_shape => layout::copy_all(cx, dy.data(), d.take().expect("was matched")),
                Some(d) => d.fill(0.0),
                None => {}
            }
        }
        if self.is_linear() {
            // The values of the operands are not looked at, only how many there are.
            let zeros = vec![0.0; if a_shape == b_shape { 0 } else { y_shape.iter().product() }];
            let [a, b] = [a_shape, b_shape].map(|dims| {
                if dims == y_shape { dy.data() } else { &zeros[..dims.iter().product()] }
            });
            return binary::backward(cx, self.op, a, a_shape, b, b_shape, dy.data(), y_shape, da, db);
        }
        let (a, b) = (at.input(0).data(), at.input(1).data());
        binary::backward(cx, self.op, a, a_shape, b, b_shape, dy.data(), y_shape, da, db);
    }

    fn is_in_place(&self) -> bool {
        self.is_linear()
    }

    fn backward_in_place(&self, _cx: Cx<'_>, _at: &At<'_>, _d: &mut [f32]) {}

    fn overwrites(&self, _i: usize) -> bool {
        self.op == BinaryOp::Add
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        if self.is_linear() { Keeps::Nothing } else { Keeps::Inputs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Case, op};
    use crate::operator::ReluRule;

    fn each(operands: impl Fn(Case) -> Case) {
        use BinaryOp::*;
        for function in [Add, Subtract, Multiply, Maximum, Minimum] {
            operands(op(Binary { op: function })).check();
        }
    }

    #[test]
    fn equal_shapes() {
        each(|case| case.input([2, 3, 5, 7]).input([2, 3, 5, 7]));
    }

    #[test]
    fn squeeze_and_excite() {
        each(|case| case.input([2, 5, 3, 4]).input([2, 1, 1, 4]));
        each(|case| case.input([2, 1, 1, 4]).input([2, 5, 3, 4]));
    }

    #[test]
    fn a_weight_of_lower_rank() {
        each(|case| case.input([2, 3, 5, 4]).weight([4]));
        each(|case| case.weight([]).input([3, 5]));
        each(|case| case.input([3, 5]).weight([1]));
    }

    #[test]
    fn both_repeat() {
        each(|case| case.input([3, 1, 4]).input([1, 5, 4]));
        each(|case| case.input([2, 1, 4, 1]).input([3, 1, 5]));
    }

    #[test]
    fn divide() {
        let divide = || op(Binary { op: BinaryOp::Divide });
        divide().input([2, 3, 4]).input([2, 3, 4]).within(0.5, 2.0).check();
        divide().input([2, 3, 4]).weight([4]).within(-2.0, -0.5).check();
        divide().weight([]).input([2, 3]).within(0.5, 2.0).check();
    }

    #[test]
    fn power() {
        let power = || op(Binary { op: BinaryOp::Power });
        power().input([2, 3, 4]).within(0.5, 2.0).input([2, 3, 4]).check();
        power().input([2, 3, 4]).within(0.5, 2.0).weight([]).values(&[2.0]).check();
    }

    /// TensorFlow gives the whole gradient to the first at ties.
    #[test]
    fn ties() {
        for function in [BinaryOp::Maximum, BinaryOp::Minimum] {
            let tied = op(Binary { op: function }).input([1]).values(&[2.0]).input([1]).values(&[2.0]);
            assert_eq!(tied.gradients(&[3.0], ReluRule::Exact), [[3.0], [0.0]]);
        }
    }

    #[test]
    fn rejects() {
        let add = || op(Binary { op: BinaryOp::Add });
        add().input([2, 3]).input([2, 4]).rejects("[2, 3] and [2, 4] do not fit together");
        add().input([2, 3]).rejects("layer `y` (add): takes 2 inputs but was given 1");
    }
}
