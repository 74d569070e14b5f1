//! The same values under another shape. Keras `Reshape`, which keeps the batch axis.

use binesh_kernels::Cx;

use crate::operator::{At, Keeps, Operator, Overlay};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The same values in the same order.
///
/// # Shapes
/// x `[N, ...]` -> y `[N, target...]`; one `None` of the target takes what is left.
#[derive(Clone, Debug, PartialEq)]
pub struct Reshape {
    /// Extents after the batch.
    pub target: Vec<Option<usize>>,
}

impl Operator for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let (n, rest) = inputs[0].dims().split_first().ok_or_else(|| ShapeError::new("a scalar has no batch axis"))?;
        let values: usize = rest.iter().product();
        let known = (self.target.iter().flatten())
            .try_fold(1usize, |acc, &d| acc.checked_mul(d))
            .ok_or_else(|| ShapeError::new("the target shape is too large"))?;
        let unknown = self.target.iter().filter(|d| d.is_none()).count();
        let fits = match unknown {
            0 => known == values,
            1 => known > 0 && values.is_multiple_of(known),
            _ => return Err(ShapeError::new("only one extent of the target shape can be left open")),
        };
        if !fits {
            let text = |d: &Option<usize>| d.map_or("-1".to_owned(), |d| d.to_string());
            let target = self.target.iter().map(text).collect::<Vec<_>>().join(", ");
            return Err(ShapeError::new(format!("{} does not reshape to [{n}, {target}]", inputs[0])));
        }
        let fill = values.checked_div(known).unwrap_or(0);
        let dims = std::iter::once(*n).chain(self.target.iter().map(|d| d.unwrap_or(fill)));
        Ok(dims.collect::<Vec<usize>>().into())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        super::pass(cx, inputs, output);
    }

    fn overlay(&self) -> Overlay {
        Overlay::Equal
    }

    fn backward(&self, _cx: Cx<'_>, _at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        super::pass_back(dy, dx);
    }

    fn is_in_place(&self) -> bool {
        true
    }

    fn backward_in_place(&self, _cx: Cx<'_>, _at: &At<'_>, _d: &mut [f32]) {}

    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::op;

    fn to(target: &[Option<usize>]) -> Reshape {
        Reshape { target: target.to_vec() }
    }

    #[test]
    fn typical() {
        op(to(&[Some(4), Some(5), Some(3)])).input([2, 60]).check();
        op(to(&[])).input([3, 1]).check();
    }

    #[test]
    fn one_open_extent() {
        op(to(&[None, Some(4)])).input([2, 3, 8]).check();
        op(to(&[None])).input([2, 3, 8]).check();
    }

    #[test]
    fn rejects() {
        op(to(&[Some(7)])).input([2, 6]).rejects("[2, 6] does not reshape to [2, 7]");
        op(to(&[None, Some(4)])).input([2, 6]).rejects("[2, 6] does not reshape to [2, -1, 4]");
        op(to(&[None, Some(0)])).input([2, 6]).rejects("[2, 6] does not reshape to [2, -1, 0]");
        op(to(&[None, None]))
            .input([2, 6])
            .rejects("only one extent of the target shape can be left open");
        op(to(&[Some(usize::MAX), Some(2)])).input([2, 6]).rejects("the target shape is too large");
        op(to(&[Some(1)])).input([]).rejects("a scalar has no batch axis");
    }
}
