//! A constant factor and offset. Keras `Rescaling`.

use binesh_kernels::{Cx, norm, with_scratch};

use crate::operator::{At, Keeps, Operator, Overlay};
use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// `y = x * scale + offset`, one value for all channels or one for each.
///
/// # Shapes
/// x `[..., C]` -> y like x; `scale` and `offset` hold 1 or C values.
#[derive(Clone, Debug, PartialEq)]
pub struct Rescaling {
    /// Factor.
    pub scale: Vec<f32>,
    /// Added last.
    pub offset: Vec<f32>,
}

impl Rescaling {
    /// Calls `f` with scale and offset per channel.
    fn with_each(&self, x: &Shape, f: impl FnOnce(&[f32], &[f32])) {
        let channels = x.channels().expect("`infer` accepted this shape");
        with_scratch(2 * channels, |both| {
            let (scale, offset) = both.split_at_mut(channels);
            for (each, given) in [(&mut *scale, &self.scale), (&mut *offset, &self.offset)] {
                if given.len() == 1 { each.fill(given[0]) } else { each.copy_from_slice(given) }
            }
            f(scale, offset);
        });
    }
}

impl Operator for Rescaling {
    fn name(&self) -> &'static str {
        "rescaling"
    }

    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError> {
        let channels = inputs[0].channels()?;
        for given in [self.scale.len(), self.offset.len()] {
            if given != 1 && given != channels {
                let text = format!("{given} scales or offsets do not fit the {channels} channels of {}", inputs[0]);
                return Err(ShapeError::new(text));
            }
        }
        Ok(inputs[0].clone())
    }

    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>) {
        self.with_each(inputs[0].shape(), |scale, offset| {
            norm::scale_shift(cx, scale.len(), inputs[0].data(), scale, offset, output.into_data());
        });
    }

    fn overlay(&self) -> Overlay {
        Overlay::InPlace
    }

    fn forward_in_place(&self, cx: Cx<'_>, _others: &[View<'_>], y: ViewMut<'_>) {
        self.with_each(y.shape(), |scale, offset| {
            norm::scale_shift_in_place(cx, scale.len(), scale, offset, y.into_data());
        });
    }

    fn backward(&self, _cx: Cx<'_>, _at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        self.with_each(dy.shape(), |scale, _| {
            for (dx, dy) in dx.data().chunks_exact_mut(scale.len()).zip(dy.data().chunks_exact(scale.len())) {
                dx.iter_mut().zip(dy).zip(scale).for_each(|((dx, dy), scale)| *dx += dy * scale);
            }
        });
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
    fn one_for_all() {
        op(Rescaling { scale: vec![1.0 / 127.5], offset: vec![-1.0] }).input([2, 3, 5, 3]).within(0.0, 255.0).check();
    }

    #[test]
    fn one_per_channel() {
        let op_of = |scale: &[f32], offset: &[f32]| {
            op(Rescaling { scale: scale.to_vec(), offset: offset.to_vec() }).input([2, 3, 5, 3])
        };
        op_of(&[0.5, -2.0, 3.0], &[0.25]).check();
        op_of(&[0.5], &[0.25, 1.0, -1.0]).check();
    }

    #[test]
    fn rejects() {
        op(Rescaling { scale: vec![1.0; 2], offset: vec![0.0] })
            .input([2, 3])
            .rejects("2 scales or offsets do not fit the 3 channels of [2, 3]");
    }
}
