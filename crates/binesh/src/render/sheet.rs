//! Pictures side by side on one sheet, and kernels as pictures.

use super::channels::enlarge;
use crate::image::{Interpolation, Picture};

/// How [`sheet`] lays pictures out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SheetStyle {
    /// Rows and columns of a tile, in pixels.
    pub side: usize,
    /// Tiles in a row.
    pub columns: usize,
    /// Pixels between tiles.
    pub margin: usize,
    /// Margins and empty places.
    pub background: [u8; 3],
}

/// Pictures as tiles, row by row, each brought to the tile's size with its proportions kept and in its middle. `None` leaves
/// a place empty.
///
/// # Panics
/// If there is no tile, or side or columns are zero.
pub fn sheet(tiles: &[Option<&Picture>], style: &SheetStyle) -> Picture {
    let SheetStyle { side, columns, margin, background } = *style;
    assert!(!tiles.is_empty() && side > 0 && columns > 0, "a sheet has at least one tile");
    let columns = columns.min(tiles.len());
    let extent = |tiles: usize| tiles * (side + margin) - margin;
    let (height, width) = (extent(tiles.len().div_ceil(columns)), extent(columns));
    let mut pixels = background.repeat(height * width);
    for (at, tile) in tiles.iter().enumerate().filter_map(|(at, tile)| Some((at, (*tile)?))) {
        let tile = fit(&tile.to_rgb(), side);
        let top = at / columns * (side + margin) + (side - tile.height()) / 2;
        let left = at % columns * (side + margin) + (side - tile.width()) / 2;
        for (row, line) in tile.pixels().chunks_exact(tile.width() * 3).enumerate() {
            let start = ((top + row) * width + left) * 3;
            pixels[start..start + line.len()].copy_from_slice(line);
        }
    }
    Picture::rgb(height, width, pixels).expect("dimensions are not zero")
}

/// As large as it can be within a square.
fn fit(picture: &Picture, side: usize) -> Picture {
    let (h, w) = (picture.height(), picture.width());
    let longest = h.max(w);
    let size = [h, w].map(|extent| ((extent * side + longest / 2) / longest).max(1));
    match size == [h, w] {
        true => picture.clone(),
        // Few pixels are shown as pixels.
        false if longest * 4 <= side => picture.resize(size, Interpolation::Nearest),
        false => picture.resize(size, Interpolation::Bicubic),
    }
}

/// The picture with a rectangle drawn around a part of it, outside of it where there is room.
///
/// # Panics
/// If the part is not within the picture.
pub fn outlined(picture: &Picture, [top, left, height, width]: [usize; 4], color: [u8; 3]) -> Picture {
    let (h, w) = (picture.height(), picture.width());
    assert!(top + height <= h && left + width <= w, "the part leaves the picture");
    let thick = (h.max(w) / 100).max(1);
    let rows = [top.saturating_sub(thick), (top + height + thick).min(h)];
    let columns = [left.saturating_sub(thick), (left + width + thick).min(w)];
    let inside = |y: usize, x: usize| {
        (rows[0] + thick..rows[1].saturating_sub(thick)).contains(&y)
            && (columns[0] + thick..columns[1].saturating_sub(thick)).contains(&x)
    };
    let mut pixels = picture.to_rgb().into_pixels();
    for y in rows[0]..rows[1] {
        for x in (columns[0]..columns[1]).filter(|&x| !inside(y, x)) {
            pixels[(y * w + x) * 3..][..3].copy_from_slice(&color);
        }
    }
    Picture::rgb(h, w, pixels).expect("the size is the picture's")
}

/// Kernels of a layer that reads pictures, one picture each: zero is gray, a kernel's largest weight, of either sign, is 127
/// levels from it. `order` says which of the picture's channels (red, green, blue) each channel of the input is.
///
/// # Shapes
/// kernel: `[Kh, Kw, C, O]`, C = 3 or 1 -> O pictures of Kh x Kw, enlarged by a whole factor to at least `min_side`
///
/// # Panics
/// If the kernel has not as many values, or `order` not C.
pub fn kernels(kernel: &[f32], [kh, kw, c, o]: [usize; 4], order: &[usize], min_side: usize) -> Vec<Picture> {
    assert!(
        kernel.len() == kh * kw * c * o && order.len() == c && (c == 1 || c == 3),
        "not a kernel over pictures"
    );
    let one = |output: usize| {
        let weights = || kernel.iter().skip(output).step_by(o).copied();
        let most = weights().fold(0.0f32, |most, w| most.max(w.abs()));
        let mut pixels = vec![128; kh * kw * c];
        for (at, weight) in weights().enumerate().filter(|_| most > 0.0) {
            pixels[at / c * c + order[at % c]] = (128.0 + 127.0 * weight / most).round() as u8;
        }
        let picture = if c == 1 { Picture::gray(kh, kw, pixels) } else { Picture::rgb(kh, kw, pixels) };
        enlarge(&picture.expect("a kernel is not empty"), min_side.div_ceil(kh.max(kw)).max(1))
    };
    (0..o).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_row_by_row_with_margins() {
        let [red, blue] = [[255, 0, 0], [0, 0, 255]].map(|color| Picture::filled(2, 2, color));
        let style = SheetStyle { side: 2, columns: 2, margin: 1, background: [9; 3] };
        let sheet = sheet(&[Some(&red), None, Some(&blue)], &style);
        assert_eq!((sheet.height(), sheet.width()), (5, 5));
        let at = |y: usize, x: usize| &sheet.pixels()[(y * 5 + x) * 3..][..3];
        assert_eq!([at(0, 0), at(1, 1), at(4, 1)], [[255, 0, 0], [255, 0, 0], [0, 0, 255]]);
        assert_eq!([at(0, 2), at(0, 3), at(2, 0), at(4, 4)], [[9; 3]; 4]);
    }

    #[test]
    fn the_books_sheet_has_547_pixels() {
        let tile = Picture::filled(64, 64, [1; 3]);
        let tiles = [Some(&tile); 64];
        let sheet = sheet(&tiles, &SheetStyle { side: 64, columns: 8, margin: 5, background: [0; 3] });
        assert_eq!([sheet.height(), sheet.width()], [547, 547]);
    }

    #[test]
    fn pictures_keep_their_proportions() {
        let wide = Picture::filled(10, 40, [200; 3]);
        let sheet =
            sheet(&[Some(&wide)], &SheetStyle { side: 20, columns: 1, margin: 0, background: [0; 3] });
        let lit = sheet.pixels().chunks_exact(3).filter(|p| p[0] > 100).count();
        assert_eq!(lit, 5 * 20);
    }

    #[test]
    fn an_outline_is_around_the_part() {
        let picture = outlined(&Picture::filled(10, 10, [0; 3]), [3, 4, 2, 3], [255; 3]);
        let lit: Vec<usize> = (0..100).filter(|at| picture.pixels()[at * 3] == 255).collect();
        assert_eq!(lit.len(), 2 * 5 + 2 * 2);
        assert!(lit.contains(&23) && lit.contains(&57) && !lit.contains(&34));
        outlined(&Picture::filled(10, 10, [0; 3]), [0, 0, 10, 10], [255; 3]);
    }

    #[test]
    fn kernels_are_gray_at_zero_and_in_the_pictures_colors() {
        // [1, 2, 3, 2]: two outputs; the input is blue, green, red.
        let kernel = [1.0, 0.0, 0.5, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let pictures = kernels(&kernel, [1, 2, 3, 2], &[2, 1, 0], 1);
        assert_eq!(pictures[0].pixels(), [1, 192, 255, 128, 128, 128]);
        assert_eq!(pictures[1].pixels(), [128; 6]);
        assert_eq!(kernels(&[-2.0, 1.0], [2, 1, 1, 1], &[0], 8)[0].pixels()[..2], [1, 1]);
    }
}
