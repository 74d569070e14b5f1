use serde::{Deserialize, Serialize};

use super::{between, either_side};

/// How much colors may change: torchvision `ColorJitter`. Brightness, contrast and saturation draw a factor from
/// `1 - amount` (not below 0) to `1 + amount`, hue a turn from `-amount` to `amount`, where 1 is the whole circle. The
/// steps are taken in random order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Jitter {
    /// Of all values.
    pub brightness: f64,
    /// Of the distance from the picture's mean gray.
    pub contrast: f64,
    /// Of the distance from the pixel's own gray.
    pub saturation: f64,
    /// At most 0.5.
    pub hue: f64,
}

/// One step of color, as torchvision's `adjust_*` does it to a tensor of floats. Gray pictures have neither saturation
/// nor hue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Adjust {
    /// `v * factor`.
    Brightness(f64),
    /// `mean + (v - mean) * factor`, with the mean of the picture's gray.
    Contrast(f64),
    /// `gray + (v - gray) * factor`.
    Saturation(f64),
    /// A turn of the color circle, -0.5..=0.5 of it.
    Hue(f64),
}

impl Jitter {
    /// Seven random numbers: three for the order, then the amounts in the order of the fields.
    pub(super) fn draw(&self, uniform: &mut impl FnMut() -> f64) -> Vec<Adjust> {
        let mut order = [0, 1, 2, 3];
        // Fisher and Yates, from the end.
        for last in (1..4).rev() {
            order.swap(last, (uniform() * (last + 1) as f64) as usize);
        }
        let mut factor = |amount: f64| between([(1.0 - amount).max(0.0), 1.0 + amount], uniform());
        let steps = [
            (self.brightness, Adjust::Brightness(factor(self.brightness))),
            (self.contrast, Adjust::Contrast(factor(self.contrast))),
            (self.saturation, Adjust::Saturation(factor(self.saturation))),
            (self.hue, Adjust::Hue(either_side(self.hue, uniform()))),
        ];
        let chosen = order.into_iter().map(|i| steps[i]);
        chosen.filter(|(amount, _)| *amount != 0.0).map(|(_, step)| step).collect()
    }
}

impl Adjust {
    /// # Shapes
    /// x: `[.., C]` with C = 3 (RGB) or 1, values 0..=255, changed in place
    pub(super) fn apply(self, x: &mut [f32], c: usize) {
        match self {
            Adjust::Brightness(factor) => blend(x, factor, 0.0),
            Adjust::Contrast(factor) => {
                let mean = mean_gray(x, c);
                blend(x, factor, mean);
            }
            Adjust::Saturation(_) | Adjust::Hue(_) if c == 1 => {}
            Adjust::Saturation(factor) => {
                for pixel in x.as_chunks_mut::<3>().0 {
                    let own = gray(*pixel);
                    blend(pixel, factor, own);
                }
            }
            Adjust::Hue(turn) => {
                for pixel in x.as_chunks_mut::<3>().0 {
                    *pixel = turn_hue(*pixel, turn as f32);
                }
            }
        }
    }
}

/// torchvision's `_blend`.
fn blend(x: &mut [f32], factor: f64, other: f32) {
    let (own, other) = (factor as f32, (1.0 - factor) as f32 * other);
    for v in x {
        *v = (own * *v + other).clamp(0.0, 255.0);
    }
}

/// torchvision's `rgb_to_grayscale`: two digits of Rec. 601's third more than PIL has.
fn gray([r, g, b]: [f32; 3]) -> f32 {
    0.2989 * r + 0.587 * g + 0.114 * b
}

fn mean_gray(x: &[f32], c: usize) -> f32 {
    let (sum, count) = if c == 1 {
        (x.iter().map(|&v| f64::from(v)).sum::<f64>(), x.len())
    } else {
        let (pixels, _) = x.as_chunks::<3>();
        (pixels.iter().map(|&pixel| f64::from(gray(pixel))).sum(), pixels.len())
    };
    (sum / count as f64) as f32
}

/// To HSV and back. Hue is counted in sixths of the circle, from red over yellow.
fn turn_hue(pixel: [f32; 3], turn: f32) -> [f32; 3] {
    let [r, g, b] = pixel;
    let v = r.max(g).max(b);
    let chroma = v - r.min(g).min(b);
    if chroma == 0.0 {
        return pixel;
    }
    let sixth = if v == r {
        (g - b) / chroma
    } else if v == g {
        2.0 + (b - r) / chroma
    } else {
        4.0 + (r - g) / chroma
    };
    let sixth = (sixth + 6.0 * turn).rem_euclid(6.0);
    let within = sixth.fract();
    let (low, falling, rising) = (v - chroma, v - chroma * within, v - chroma * (1.0 - within));
    match sixth as u8 {
        0 | 6 => [v, rising, low],
        1 => [falling, v, low],
        2 => [low, v, rising],
        3 => [low, falling, v],
        4 => [rising, low, v],
        _ => [v, low, falling],
    }
}
