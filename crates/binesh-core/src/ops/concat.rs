//! Arrays joined along an axis. Keras `Concatenate`, ONNX `Concat`, torch `cat`.

use binesh_kernels::layout::{self, Rows};
use binesh_kernels::{Cx, Write};

use crate::Few;
use crate::operator::{At, Keeps, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The inputs, one after another along `axis` (counted from the end when negative).
///
/// # Shapes
/// Inputs equal but along `axis` -> y, whose extent along `axis` is the sum of theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct Concat {
    /// Axis.
    pub axis: i64,
}

impl Concat {
    /// For each input, the length of its rows and the offset of the first in the output; and their number.
    fn rows<'a>(&self, inputs: impl Iterator<Item = &'a Shape>) -> (usize, Few<(usize, usize)>) {
        let mut offset = 0;
        let mut count = 1;
        let mut blocks = Few::new();
        for shape in inputs {
            let axis = shape.axis(self.axis).expect("`infer` accepted this axis");
            count = shape.dims()[..axis].iter().product();
            let len = shape.dims()[axis..].iter().product();
            blocks.push((len, offset));
            offset += len;
        }
        (count, blocks)
    }
}

impl Operator for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        1..=usize::MAX
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let axis = inputs[0].axis(self.axis)?;
        let mut dims = inputs[0].dims().to_vec();
        for shape in &inputs[1..] {
            let fits = shape.rank() == dims.len() && (0..dims.len()).all(|i| i == axis || shape.dims()[i] == dims[i]);
            if !fits {
                let text = format!("{} and {shape} differ in another axis than {axis}", inputs[0]);
                return Err(ShapeError::new(text));
            }
            dims[axis] += shape.dims()[axis];
        }
        Ok(dims.into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        let (count, blocks) = self.rows(inputs.iter().map(View::shape));
        let stride = blocks.iter().map(|(len, _)| len).sum();
        let y = output.into_data();
        for (x, (len, offset)) in inputs.iter().zip(blocks) {
            let (from, to) = (Rows { offset: 0, stride: len }, Rows { offset, stride });
            layout::copy_rows(cx, count, len, x.data(), from, y, to);
        }
    }

    fn backward(&self, cx: Cx<'_>, at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let (count, blocks) = self.rows((0..dx.len()).map(|i| at.input_shape(i)));
        let stride = blocks.iter().map(|(len, _)| len).sum();
        for (i, (dx, (len, offset))) in dx.iter_mut().zip(blocks).enumerate() {
            let Some(dx) = dx else { continue };
            let (from, to) = (Rows { offset, stride }, Rows { offset: 0, stride: len });
            match at.write(i) {
                Write::Add => layout::add_rows(cx, count, len, dy.data(), from, dx.data(), to),
                Write::Replace => layout::copy_rows(cx, count, len, dy.data(), from, dx.data(), to),
            }
        }
    }

    fn overwrites(&self, _i: usize) -> bool {
        true
    }

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    #[test]
    fn channels() {
        op(Concat { axis: -1 }).input([2, 3, 5, 4]).input([2, 3, 5, 1]).input([2, 3, 5, 7]).check();
    }

    #[test]
    fn rows_and_batch() {
        op(Concat { axis: 1 }).input([2, 3, 5]).input([2, 1, 5]).check();
        op(Concat { axis: 0 }).input([2, 3, 5]).input([3, 3, 5]).check();
    }

    #[test]
    fn a_weight_and_a_single_input() {
        op(Concat { axis: 1 }).input([2, 3]).weight([2, 2]).check();
        op(Concat { axis: 1 }).input([2, 3]).check();
    }

    #[test]
    fn rejects() {
        op(Concat { axis: 1 })
            .input([2, 3])
            .input([3, 3])
            .rejects("[2, 3] and [3, 3] differ in another axis than 1");
        op(Concat { axis: 1 })
            .input([2, 3])
            .input([2, 3, 1])
            .rejects("[2, 3] and [2, 3, 1] differ in another axis than 1");
        op(Concat { axis: 2 }).input([2, 3]).rejects("axis 2 is out of range for the input [2, 3]");
        op(Concat { axis: 0 }).rejects("layer `y` (concat): takes at least 1 input but was given 0");
    }
}
