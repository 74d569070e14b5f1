use std::array;

use serde::{Deserialize, Serialize};

use super::between;
use crate::image::FieldOfView;

/// A random window of the photo, stretched to the network's size in place of the model's fit: torchvision
/// `RandomResizedCrop`.
///
/// Area and aspect are drawn (two random numbers) up to ten times until a window fits, then its first row and column (two
/// more). If none fits, the largest centered window with a permitted aspect is taken.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crop {
    /// Range of the share of the photo's area (torchvision `scale`).
    pub area: [f64; 2],
    /// Range of width : height, uniform in its logarithm (torchvision `ratio`), in units of what the model's fit gives:
    /// 1 is undistorted for a fit that cuts, and as distorted as every photo for [`Fit::Stretch`](crate::image::Fit).
    pub aspect: [f64; 2],
}

impl Crop {
    /// `RandomResizedCrop.get_params` for a picture of this height and width; `natural` is the aspect called 1.
    pub(super) fn draw(
        self,
        [height, width]: [usize; 2],
        natural: f64,
        uniform: &mut impl FnMut() -> f64,
    ) -> FieldOfView {
        let aspect = self.aspect.map(|aspect| aspect * natural);
        for _ in 0..10 {
            let area = (height * width) as f64 * between(self.area, uniform());
            let aspect = between(aspect.map(f64::ln), uniform()).exp();
            let [h, w] = [(area / aspect).sqrt(), (area * aspect).sqrt()].map(to_pixels);
            if (1..=height).contains(&h) && (1..=width).contains(&w) {
                let mut place = |spare: usize| ((uniform() * (spare + 1) as f64) as usize).min(spare);
                let [top, left] = [place(height - h), place(width - w)];
                return FieldOfView { top, left, height: h, width: w };
            }
        }
        self.centered([height, width], aspect)
    }

    fn centered(self, picture: [usize; 2], [narrowest, widest]: [f64; 2]) -> FieldOfView {
        let [height, width] = picture;
        let own = width as f64 / height as f64;
        let size = if own < narrowest {
            [to_pixels(width as f64 / narrowest).clamp(1, height), width]
        } else if own > widest {
            [height, to_pixels(height as f64 * widest).clamp(1, width)]
        } else {
            picture
        };
        let [top, left] = array::from_fn(|axis| (picture[axis] - size[axis]) / 2);
        FieldOfView { top, left, height: size[0], width: size[1] }
    }
}

/// Python's `round`.
fn to_pixels(length: f64) -> usize {
    length.round_ties_even() as usize
}
