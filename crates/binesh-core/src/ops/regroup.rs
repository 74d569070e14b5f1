//! The same values under another shape, the batch axis included. ONNX `Reshape`, torch `view`.

use binesh_kernels::Cx;

use crate::operator::{At, Keeps, Operator, Overlay};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// The same values in the same order; [`super::Reshape`] where the batch axis stays.
///
/// # Shapes
/// x any -> y, extents as `target` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Regroup {
    /// Extents of y, outermost first.
    pub target: Vec<Extent>,
}

/// An extent of [`Regroup`]'s output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This many.
    Known(usize),
    /// As many as this axis of x has.
    Of(usize),
    /// What the others leave; at most one.
    Rest,
}

impl Operator for Regroup {
    fn name(&self) -> &'static str {
        "regroup"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let x = inputs[0];
        let mut dims = Vec::with_capacity(self.target.len());
        let mut rest = None;
        for (at, extent) in self.target.iter().enumerate() {
            dims.push(match *extent {
                Extent::Known(n) => n,
                Extent::Of(axis) => *x.dims().get(axis).ok_or_else(|| {
                    ShapeError::new(format!("axis {axis} is out of range for the input {x}"))
                })?,
                Extent::Rest if rest.replace(at).is_some() => {
                    return Err(ShapeError::new("only one extent of the target shape can be left open"));
                }
                Extent::Rest => 1,
            });
        }
        let known = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n > 0);
        let fits = match (rest, known) {
            (Some(at), Some(known)) if x.len().is_multiple_of(known) => {
                dims[at] = x.len() / known;
                true
            }
            (None, known) => known == Some(x.len()),
            _ => false,
        };
        if fits {
            return Ok(dims.into());
        }
        let text = |extent: &Extent| match extent {
            Extent::Known(n) => n.to_string(),
            Extent::Of(axis) => format!("axis {axis}"),
            Extent::Rest => "-1".to_owned(),
        };
        let target = self.target.iter().map(text).collect::<Vec<_>>().join(", ");
        Err(ShapeError::new(format!("{x} does not reshape to [{target}]")))
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
    use Extent::{Known, Of, Rest};

    fn regroup(target: &[Extent]) -> Regroup {
        Regroup { target: target.to_vec() }
    }

    #[test]
    fn across_the_batch() {
        op(regroup(&[Known(4), Rest])).input([2, 6]).check();
        op(regroup(&[Rest, Known(3)])).input([2, 6, 2]).check();
        op(regroup(&[Known(1), Known(12)])).input([2, 6]).check();
        op(regroup(&[])).input([1, 1]).check();
    }

    #[test]
    fn channels_in_groups_on_a_map_of_any_size() {
        op(regroup(&[Of(0), Of(1), Of(2), Known(2), Rest])).input([2, 3, 5, 6]).check();
    }

    #[test]
    fn rejects() {
        op(regroup(&[Known(5), Rest])).input([2, 6]).rejects("[2, 6] does not reshape to [5, -1]");
        op(regroup(&[Of(0), Known(5)])).input([2, 6]).rejects("[2, 6] does not reshape to [axis 0, 5]");
        op(regroup(&[Known(0), Rest])).input([2, 6]).rejects("[2, 6] does not reshape to [0, -1]");
        op(regroup(&[Of(2)])).input([2, 6]).rejects("axis 2 is out of range for the input [2, 6]");
        op(regroup(&[Rest, Rest]))
            .input([2, 6])
            .rejects("only one extent of the target shape can be left open");
        op(regroup(&[Known(usize::MAX), Known(2)]))
            .input([2, 6])
            .rejects("[2, 6] does not reshape to [18446744073709551615, 2]");
    }
}
