//! A network's input. Keras `InputLayer`.

use binesh_kernels::Cx;

use crate::operator::{At, Operator};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// A value given at run time; `None` where its extent is free (the batch, and unknown height or width).
///
/// # Shapes
/// y is what is given; it must agree with `dims`.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Extents.
    pub dims: Vec<Option<usize>>,
}

impl Input {
    /// An input image `[N, H, W, C]` with a free batch.
    pub fn image(h: usize, w: usize, c: usize) -> Self {
        Input { dims: vec![None, Some(h), Some(w), Some(c)] }
    }

    /// The first (`which` 0) or second of two sizes under which every network's shapes are inferred, so that an
    /// extent which differs is known to be free. Large multiples of 256, so that strides keep them apart.
    pub(crate) fn probe(&self, which: usize) -> Shape {
        let free = |axis: usize| if axis == 0 { [2, 3][which] } else { [512, 768][which] };
        let dims: Vec<usize> = self.dims.iter().enumerate().map(|(axis, d)| d.unwrap_or(free(axis))).collect();
        dims.into()
    }

    /// The shape, if it fits the fixed extents.
    pub(crate) fn accept(&self, shape: &Shape) -> Result<Shape, ShapeError> {
        let fits = shape.rank() == self.dims.len()
            && shape.dims().iter().zip(&self.dims).all(|(&got, want)| got > 0 && want.is_none_or(|w| w == got));
        if fits {
            return Ok(shape.clone());
        }
        let text = |d: &Option<usize>| d.map_or("None".to_owned(), |d| d.to_string());
        let want = self.dims.iter().map(text).collect::<Vec<_>>().join(", ");
        Err(ShapeError::new(format!("takes [{want}] but was given {shape}")))
    }
}

impl Operator for Input {
    fn name(&self) -> &'static str {
        "input"
    }

    fn arity(&self) -> std::ops::RangeInclusive<usize> {
        0..=0
    }

    fn infer(&self, _inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        Ok(self.probe(0))
    }

    fn forward(&self, _cx: Cx<'_>, _inputs: &[View<'_>], _output: ViewMut<'_>) {
        unreachable!("a plan copies inputs, it does not compute them");
    }

    fn backward(&self, _cx: Cx<'_>, _at: &At<'_>, _dy: View<'_>, _dx: &mut [Option<ViewMut<'_>>]) {
        unreachable!("an input has no inputs to be differentiated by");
    }
}
