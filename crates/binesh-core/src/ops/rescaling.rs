//! A constant factor and offset. Keras `Rescaling`.

use binesh_kernels::{Cx, norm};

use crate::operator::{At, Keeps, Operator};
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
    /// Scale and offset per channel.
    fn per_channel(&self, channels: usize) -> [Vec<f32>; 2] {
        let spread = |v: &[f32]| if v.len() == 1 { vec![v[0]; channels] } else { v.to_vec() };
        [spread(&self.scale), spread(&self.offset)]
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
        let channels = inputs[0].shape().channels().expect("`infer` accepted this shape");
        let [scale, offset] = self.per_channel(channels);
        norm::scale_shift(cx, channels, inputs[0].data(), &scale, &offset, output.into_data());
    }

    fn backward(&self, _cx: Cx<'_>, _at: &At<'_>, dy: View<'_>, dx: &mut [Option<ViewMut<'_>>]) {
        let Some(dx) = &mut dx[0] else { return };
        let channels = dy.shape().channels().expect("`infer` accepted this shape");
        let [scale, _] = self.per_channel(channels);
        for (dx, dy) in dx.data().chunks_exact_mut(channels).zip(dy.data().chunks_exact(channels)) {
            dx.iter_mut().zip(dy).zip(&scale).for_each(|((dx, dy), scale)| *dx += dy * scale);
        }
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
