//! Resizing of maps with half-pixel centres, as `tf.image.resize` without antialiasing and Keras `UpSampling2D`.

use crate::Cx;
use crate::scratch::{lines, with_lines};
use crate::window::product;

/// Sizes of a resize.
///
/// # Shapes
/// `x: [N, H, W, C]`, `y: [N, Ho, Wo, C]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Resize {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub ho: usize,
    pub wo: usize,
}

/// One output coordinate: two source indices and the weight of the second.
#[derive(Clone, Copy)]
pub(crate) struct Tap {
    low: usize,
    high: usize,
    weight: f32,
}

impl Resize {
    fn check(&self, x: usize, y: usize) {
        assert_eq!(x, product([self.n, self.h, self.w, self.c]), "x length");
        assert_eq!(y, product([self.n, self.ho, self.wo, self.c]), "y length");
        assert!(y == 0 || x > 0, "nothing to resize from");
    }

    /// Calls `f` with the taps of rows and columns; `tap(input, output, o)` is that of coordinate `o`.
    fn with_taps(&self, tap: fn(usize, usize, usize) -> Tap, f: impl FnOnce([&[Tap]; 2])) {
        with_lines(lines::<Tap>(self.ho) + lines::<Tap>(self.wo), |mut scratch| {
            f([(self.h, self.ho), (self.w, self.wo)].map(|(input, output)| {
                let taps = scratch.take::<Tap>(output);
                taps.iter_mut().enumerate().for_each(|(o, to)| *to = tap(input, output, o));
                &*taps
            }));
        });
    }
}

/// `floor((o + 1/2) * input / output)`; repetition for whole factors.
fn nearest_tap(input: usize, output: usize, o: usize) -> Tap {
    let scale = input as f32 / output as f32;
    let index = (((o as f32 + 0.5) * scale) as usize).min(input - 1);
    Tap { low: index, high: index, weight: 0.0 }
}

/// Between the two inputs next to `(o + 1/2) * input / output - 1/2`; the border is repeated.
fn bilinear_tap(input: usize, output: usize, o: usize) -> Tap {
    let scale = input as f32 / output as f32;
    let at = (o as f32 + 0.5) * scale - 0.5;
    let low = at.floor();
    let clamp = |i: f32| (i.max(0.0) as usize).min(input - 1);
    Tap { low: clamp(low), high: clamp(at.ceil()), weight: at - low }
}

/// Nearest neighbour.
///
/// # Shapes
/// See [`Resize`].
pub fn nearest_forward(cx: Cx<'_>, geom: &Resize, x: &[f32], y: &mut [f32]) {
    geom.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    let g = *geom;
    g.with_taps(nearest_tap, |[rows, columns]| {
        cx.threads.run_chunks(y, g.wo * g.c, |row, y| {
            let x = &x[(row / g.ho * g.h + rows[row % g.ho].low) * g.w * g.c..][..g.w * g.c];
            for (y, tap) in y.chunks_exact_mut(g.c).zip(columns) {
                y.copy_from_slice(&x[tap.low * g.c..][..g.c]);
            }
        });
    });
}

/// `dx += ` the gradient of [`nearest_forward`].
///
/// # Shapes
/// `dy: [N, Ho, Wo, C]`, `dx: [N, H, W, C]`
pub fn nearest_backward(cx: Cx<'_>, geom: &Resize, dy: &[f32], dx: &mut [f32]) {
    geom.check(dx.len(), dy.len());
    geom.with_taps(nearest_tap, |taps| scatter(cx, geom, taps, dy, dx));
}

/// Bilinear interpolation.
///
/// # Shapes
/// See [`Resize`].
pub fn bilinear_forward(cx: Cx<'_>, geom: &Resize, x: &[f32], y: &mut [f32]) {
    geom.check(x.len(), y.len());
    if y.is_empty() {
        return;
    }
    let g = *geom;
    g.with_taps(bilinear_tap, |[rows, columns]| {
        cx.threads.run_chunks(y, g.wo * g.c, |row, y| {
            let tap = rows[row % g.ho];
            let line = |i: usize| &x[(row / g.ho * g.h + i) * g.w * g.c..][..g.w * g.c];
            let (top, bottom, v) = (line(tap.low), line(tap.high), tap.weight);
            for (y, tap) in y.chunks_exact_mut(g.c).zip(columns) {
                let (left, right, u) = (tap.low * g.c, tap.high * g.c, tap.weight);
                for (c, y) in y.iter_mut().enumerate() {
                    let t = top[left + c] + (top[right + c] - top[left + c]) * u;
                    let b = bottom[left + c] + (bottom[right + c] - bottom[left + c]) * u;
                    *y = t + (b - t) * v;
                }
            }
        });
    });
}

/// `dx += ` the gradient of [`bilinear_forward`].
///
/// # Shapes
/// `dy: [N, Ho, Wo, C]`, `dx: [N, H, W, C]`
pub fn bilinear_backward(cx: Cx<'_>, geom: &Resize, dy: &[f32], dx: &mut [f32]) {
    geom.check(dx.len(), dy.len());
    geom.with_taps(bilinear_tap, |taps| scatter(cx, geom, taps, dy, dx));
}

fn scatter(cx: Cx<'_>, geom: &Resize, [rows, columns]: [&[Tap]; 2], dy: &[f32], dx: &mut [f32]) {
    let g = *geom;
    cx.threads.run_chunks(dx, (g.h * g.w * g.c).max(1), |n, dx| {
        let dy = &dy[n * g.ho * g.wo * g.c..][..g.ho * g.wo * g.c];
        for (dy, row) in dy.chunks_exact(g.wo * g.c).zip(rows) {
            for (dy, column) in dy.chunks_exact(g.c).zip(columns) {
                for (iy, v) in [(row.low, 1.0 - row.weight), (row.high, row.weight)] {
                    for (ix, u) in [(column.low, 1.0 - column.weight), (column.high, column.weight)] {
                        if u * v != 0.0 {
                            let dx = &mut dx[(iy * g.w + ix) * g.c..][..g.c];
                            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += u * v * dy);
                        }
                    }
                }
            }
        }
    });
}
