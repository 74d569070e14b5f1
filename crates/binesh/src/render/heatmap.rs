//! Heatmaps over photos.

use super::Colormap;
use crate::image::{Picture, resize_map};

/// How a heatmap lies over its photo.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlay {
    /// The photo paled to gray where nothing was found, its own colors showing under the warm end of inferno
    /// where evidence is: readable without color vision, since brightness alone carries the map.
    #[default]
    Paper,
    /// The chapter's: OpenCV's jet at 0.4 added to the photo, saturating.
    Book,
}

/// The photo with the map over it, at the photo's size.
///
/// # Shapes
/// map: `[H, W]`, values 0..=1 (others are clipped, what is not a number counts as 0)
///
/// # Panics
/// If `map` has not `H * W` values or a dimension is zero.
pub fn overlay(photo: &Picture, map: &[f32], shape: [usize; 2], style: Overlay) -> Picture {
    let map = resize_map(&clean(map), shape, [photo.height(), photo.width()]);
    let photo = photo.to_rgb();
    let blend = match style {
        Overlay::Paper => paper,
        Overlay::Book => book,
    };
    let pixels = photo
        .pixels()
        .as_chunks::<3>()
        .0
        .iter()
        .zip(&map)
        .flat_map(|(&rgb, &heat)| blend(rgb, heat))
        .collect();
    Picture::rgb(photo.height(), photo.width(), pixels).expect("the size is the photo's")
}

/// The map alone, in inferno, at `size`.
///
/// # Shapes
/// map: `[H, W]`, values 0..=1 -> `size[0]` x `size[1]`
///
/// # Panics
/// As [`overlay`].
pub fn heat(map: &[f32], shape: [usize; 2], size: [usize; 2]) -> Picture {
    let levels =
        resize_map(&clean(map), shape, size).into_iter().map(|v| (v * 255.0).round() as u8).collect();
    Colormap::Inferno.paint(&Picture::gray(size[0], size[1], levels).expect("dimensions are not zero"))
}

fn clean(map: &[f32]) -> Vec<f32> {
    map.iter().map(|v| if v.is_nan() { 0.0 } else { v.clamp(0.0, 1.0) }).collect()
}

/// `uint8(255 * h)`, `applyColorMap(COLORMAP_JET)`, `* 0.4 + img`, `imwrite`: truncated, then rounded (halves
/// to even) and saturated.
fn book(rgb: [u8; 3], heat: f32) -> [u8; 3] {
    let color = Colormap::Jet.color((255.0 * heat) as u8);
    std::array::from_fn(|c| {
        (f64::from(color[c]) * 0.4 + f64::from(rgb[c])).round_ties_even().min(255.0) as u8
    })
}

fn paper(rgb: [u8; 3], heat: f32) -> [u8; 3] {
    let luma = 0.299 * f32::from(rgb[0]) + 0.587 * f32::from(rgb[1]) + 0.114 * f32::from(rgb[2]);
    let color = Colormap::Inferno.color((255.0 * heat).round() as u8);
    // Little evidence: gray and a little darker. Much: the color of the scale, with the photo's light and
    // shade in it.
    let alpha = 0.25 + 0.4 * heat;
    std::array::from_fn(|c| {
        let base = luma + (f32::from(rgb[c]) - luma) * (0.25 + 0.5 * heat);
        (base * (1.0 - alpha) + f32::from(color[c]) * alpha).round() as u8
    })
}
