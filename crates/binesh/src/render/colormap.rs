//! Colors for numbers.

use crate::image::Picture;

/// matplotlib's bytes, 256 times red, green, blue (van der Walt, Smith and Firing 2015, CC0). They are cut
/// where `colorous` and d3 round, so that crate is one level off in half of them.
static VIRIDIS: &[u8; 768] = include_bytes!("viridis.rgb");

/// A scale of 256 colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Colormap {
    /// matplotlib's `viridis`: even to the eye, readable without color vision and in print.
    Viridis,
    /// `inferno`, by viridis's authors: the same virtues, from black over red to yellow.
    Inferno,
    /// OpenCV's `COLORMAP_JET`, the chapter's. Its bands show edges that are not in the data.
    Jet,
}

impl Colormap {
    /// The color of one level.
    pub fn color(self, level: u8) -> [u8; 3] {
        match self {
            Colormap::Viridis => VIRIDIS.as_chunks().0[usize::from(level)],
            Colormap::Inferno => colorous::INFERNO.eval_rational(level.into(), 256).into_array(),
            Colormap::Jet => jet(level),
        }
    }

    /// All 256 colors, darkest (or coldest) first.
    pub fn table(self) -> [[u8; 3]; 256] {
        std::array::from_fn(|level| self.color(level as u8))
    }

    /// Levels to colors.
    ///
    /// # Shapes
    /// levels: H x W gray -> H x W RGB
    pub fn paint(self, levels: &Picture) -> Picture {
        let table = self.table();
        let pixels = levels.to_gray().pixels().iter().flat_map(|&v| table[usize::from(v)]).collect();
        Picture::rgb(levels.height(), levels.width(), pixels).expect("the size is the gray picture's")
    }
}

/// Straight flanks of slope 4. See: OpenCV `colormap.cpp`, class `Jet`.
fn jet(level: u8) -> [u8; 3] {
    let v = i32::from(level) * 4;
    // OpenCV's last step of falling blue is 1.5 / 255, rounded down.
    let blue = if level == 159 { 1 } else { (128 + v).min(638 - v) };
    [(v - 382).min(1148 - v), (v - 128).min(892 - v), blue].map(|c| c.clamp(0, 255) as u8)
}
