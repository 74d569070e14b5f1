//! Maximum and average pooling over windows and over whole maps.

mod windows;

use windows::Mode;

use crate::window::{Axis, product};
use crate::{Cx, Write};

/// Sizes of a pooling.
///
/// # Shapes
/// `x: [N, H, W, C]`, `y: [N, Ho, Wo, C]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Pool {
    pub n: usize,
    pub h: usize,
    pub w: usize,
    pub c: usize,
    pub ho: usize,
    pub wo: usize,
    pub kh: usize,
    pub kw: usize,
    /// Vertical, horizontal.
    pub stride: [usize; 2],
    /// Vertical, horizontal.
    pub dilation: [usize; 2],
    /// Rows above and columns left of the input.
    pub pad: [usize; 2],
    /// Average only: divide by `Kh * Kw` everywhere (torch, ONNX option) instead of by the number of positions
    /// inside the input (Keras).
    pub count_include_pad: bool,
}

impl Pool {
    /// Values in `x`.
    pub fn x_len(&self) -> usize {
        product([self.n, self.h, self.w, self.c])
    }

    /// Values in `y`.
    pub fn y_len(&self) -> usize {
        product([self.n, self.ho, self.wo, self.c])
    }

    fn rows(&self) -> Axis {
        let [stride, dilation, pad] = [self.stride[0], self.dilation[0], self.pad[0]];
        Axis { input: self.h, taps: self.kh, stride, dilation, pad }
    }

    fn columns(&self) -> Axis {
        let [stride, dilation, pad] = [self.stride[1], self.dilation[1], self.pad[1]];
        Axis { input: self.w, taps: self.kw, stride, dilation, pad }
    }

    /// The input positions of a window.
    fn taps(&self, oy: usize, ox: usize) -> Taps {
        let (rows, columns) = (self.rows().taps_inside(oy), self.columns().taps_inside(ox));
        let iy = oy * self.stride[0] + rows.start * self.dilation[0];
        let ix = ox * self.stride[1] + columns.start * self.dilation[1];
        let row = self.w * self.c;
        // What overflows is not read: the window is wholly in the padding, or has a single row or column inside.
        Taps {
            first: (iy
                .wrapping_sub(self.pad[0])
                .wrapping_mul(self.w)
                .wrapping_add(ix.wrapping_sub(self.pad[1])))
            .wrapping_mul(self.c),
            counts: [rows.len(), columns.len()],
            steps: [row.wrapping_mul(self.dilation[0]), self.c.wrapping_mul(self.dilation[1])],
        }
    }

    /// The rows of windows that may see some rows of the input.
    fn windows_over(&self, rows: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        let (stride, reach) = (self.stride[0], self.kh.saturating_sub(1) * self.dilation[0]);
        let first = (rows.start + self.pad[0]).saturating_sub(reach).div_ceil(stride);
        first..self.ho.min((rows.end + self.pad[0]).div_ceil(stride))
    }

    /// What an average divides by.
    fn count(&self, oy: usize, ox: usize) -> f32 {
        let inside = self.rows().taps_inside(oy).len() * self.columns().taps_inside(ox).len();
        (if self.count_include_pad { self.kh * self.kw } else { inside.max(1) }) as f32
    }

    fn check(&self, x: usize, y: usize) {
        assert!(self.stride.iter().chain(&self.dilation).all(|&s| s > 0), "stride and dilation are positive");
        self.rows().check(self.ho);
        self.columns().check(self.wo);
        product([self.kh, self.kw, self.w, self.c]);
        assert_eq!(x, self.x_len(), "x length");
        assert_eq!(y, self.y_len(), "y length");
    }
}

/// Offsets of the input positions of a window, in values within one image.
#[derive(Clone, Copy)]
struct Taps {
    first: usize,
    /// Rows, columns.
    counts: [usize; 2],
    /// From one row, and from one column, to the next.
    steps: [usize; 2],
}

impl Taps {
    /// All offsets, in scan order.
    fn list(self, list: &mut Vec<usize>) {
        let [rows, columns] = self.counts;
        let at = |i: usize| self.first + i / columns * self.steps[0] + i % columns * self.steps[1];
        list.clear();
        list.extend((0..rows * columns).map(at));
    }
}

/// Maximum over each window; padding never wins. A window wholly in the padding gives minus infinity; a window
/// that contains a NaN gives NaN.
///
/// # Shapes
/// See [`Pool`].
pub fn max_forward(cx: Cx<'_>, geom: &Pool, x: &[f32], y: &mut [f32]) {
    geom.check(x.len(), y.len());
    windows::forward(cx, geom, Mode::Max, x, y);
}

/// Gives `dy` to the first position of each window, in scan order, that holds the maximum.
///
/// # Shapes
/// `x`, `dx: [N, H, W, C]`; `y`, `dy: [N, Ho, Wo, C]`, where `y` is the result of [`max_forward`].
pub fn max_backward(cx: Cx<'_>, geom: &Pool, x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32], write: Write) {
    geom.check(x.len(), y.len());
    assert!(y.len() == dy.len() && x.len() == dx.len(), "slices differ in length");
    windows::backward(cx, geom, Some((x, y)), dy, dx, write);
}

/// Average over each window. A window wholly in the padding gives zero.
///
/// # Shapes
/// See [`Pool`].
pub fn average_forward(cx: Cx<'_>, geom: &Pool, x: &[f32], y: &mut [f32]) {
    geom.check(x.len(), y.len());
    windows::forward(cx, geom, Mode::Average, x, y);
}

/// The gradient of [`average_forward`].
///
/// # Shapes
/// `dx: [N, H, W, C]`, `dy: [N, Ho, Wo, C]`
pub fn average_backward(cx: Cx<'_>, geom: &Pool, dy: &[f32], dx: &mut [f32], write: Write) {
    geom.check(dx.len(), dy.len());
    windows::backward(cx, geom, None, dy, dx, write);
}

/// Mean over all positions of each map.
///
/// # Shapes
/// `x: [N, HW, C]`, `y: [N, C]`
pub fn global_average_forward(cx: Cx<'_>, n: usize, hw: usize, c: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), product([n, hw, c]), "x length");
    assert_eq!(y.len(), n * c, "y length");
    let factor = 1.0 / hw.max(1) as f32;
    cx.threads.run_chunks(y, c.max(1), |n, y| {
        cx.isa.vectorize(|| {
            y.fill(0.0);
            for x in x[n * hw * c..][..hw * c].chunks_exact(c) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y *= factor);
        });
    });
}

/// `dy / HW` at every position.
///
/// # Shapes
/// `dy: [N, C]`, `dx: [N, HW, C]`
pub fn global_average_backward(
    cx: Cx<'_>,
    n: usize,
    hw: usize,
    c: usize,
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    assert_eq!(dx.len(), product([n, hw, c]), "dx length");
    assert_eq!(dy.len(), n * c, "dy length");
    let factor = 1.0 / hw.max(1) as f32;
    cx.threads.run_chunks(dx, (hw * c).max(1), |n, dx| {
        let dy = &dy[n * c..][..c];
        for dx in dx.chunks_exact_mut(c) {
            write.put(dx, dy.iter().map(|dy| factor * dy));
        }
    });
}

/// Maximum over all positions of each map; NaN if one is NaN, minus infinity for an empty map.
///
/// # Shapes
/// `x: [N, HW, C]`, `y: [N, C]`
pub fn global_max_forward(cx: Cx<'_>, n: usize, hw: usize, c: usize, x: &[f32], y: &mut [f32]) {
    max_forward(cx, &global(n, hw, c), x, y);
}

/// Gives `dy` to the first position that holds the maximum.
///
/// # Shapes
/// `x`, `dx: [N, HW, C]`; `y`, `dy: [N, C]`
#[allow(clippy::too_many_arguments)]
pub fn global_max_backward(
    cx: Cx<'_>,
    n: usize,
    hw: usize,
    c: usize,
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    write: Write,
) {
    max_backward(cx, &global(n, hw, c), x, y, dy, dx, write);
}

/// A map seen as one window.
fn global(n: usize, hw: usize, c: usize) -> Pool {
    let [stride, dilation, pad] = [[1, 1], [1, 1], [0, 0]];
    Pool { n, h: 1, w: hw, c, ho: 1, wo: 1, kh: 1, kw: hw, stride, dilation, pad, count_include_pad: false }
}
