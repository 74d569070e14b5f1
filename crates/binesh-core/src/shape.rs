//! Shapes, and the one statement of how windows slide.

use std::fmt;

/// The extents of a dense array, outermost first; images are `[N, H, W, C]`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Number of elements. Shapes are made through checked constructors, so this cannot overflow.
    pub fn len(&self) -> usize {
        self.0.iter().product()
    }

    /// True when an axis has extent zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The extents as an array, or an error that says which axes (`names`) were expected.
    pub fn axes<const R: usize>(&self, names: &str) -> Result<[usize; R], ShapeError> {
        <[usize; R]>::try_from(self.0.as_slice())
            .map_err(|_| ShapeError::new(format!("expected the axes [{names}] but the input is {self}")))
    }

    /// The last axis, channels for images and features for vectors.
    pub fn channels(&self) -> Result<usize, ShapeError> {
        self.0.last().copied().ok_or_else(|| ShapeError::new("a scalar has no channel axis"))
    }

    /// Checks that the number of elements fits: hostile files ask for absurd layers.
    pub fn checked(self) -> Result<Shape, ShapeError> {
        let len = self.0.iter().try_fold(1usize, |acc, &d| acc.checked_mul(d));
        match len {
            Some(n) if n <= MAX_ELEMENTS => Ok(self),
            _ => Err(ShapeError::new(format!("{self} has more than {MAX_ELEMENTS} elements"))),
        }
    }

    /// Turns `axis`, counted from the end when negative, into an index.
    pub fn axis(&self, axis: i64) -> Result<usize, ShapeError> {
        let rank = self.rank() as i64;
        let index = if axis < 0 { axis + rank } else { axis };
        if (0..rank).contains(&index) {
            Ok(index as usize)
        } else {
            Err(ShapeError::new(format!("axis {axis} is out of range for the input {self}")))
        }
    }
}

/// More elements than any activation or weight of a real network: 2^34, 64 GiB of f32.
pub const MAX_ELEMENTS: usize = 1 << 34;

impl<const R: usize> From<[usize; R]> for Shape {
    fn from(dims: [usize; R]) -> Self {
        Shape(dims.to_vec())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Shape(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Shape(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why an operator does not accept its inputs. [`crate::GraphError`] adds the node and operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShapeError(String);

impl ShapeError {
    /// An error with this message (lower case, no full stop).
    pub fn new(message: impl Into<String>) -> Self {
        ShapeError(message.into())
    }
}

/// How a window's border is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// No padding: windows lie inside the input.
    Valid,
    /// As TensorFlow pads: output `ceil(input / stride)`, the odd row at the bottom, the odd column at the right.
    Same,
    /// Rows `[top, bottom]` and columns `[left, right]`.
    Explicit([[usize; 2]; 2]),
}

/// A two-dimensional sliding window: kernel, stride, dilation and padding, rows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Extent `[Kh, Kw]`.
    pub size: [usize; 2],
    /// Step between outputs.
    pub stride: [usize; 2],
    /// Step between taps.
    pub dilation: [usize; 2],
    /// Border.
    pub padding: Padding,
}

/// A [`Window`] laid over an input of known extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Output extent `[Ho, Wo]`.
    pub output: [usize; 2],
    /// Padding before the first row and column `[top, left]`.
    pub before: [usize; 2],
}

impl Window {
    /// A square window without dilation.
    pub fn square(size: usize, stride: usize, padding: Padding) -> Self {
        Window { size: [size; 2], stride: [stride; 2], dilation: [1; 2], padding }
    }

    /// Extent of the dilated window along `axis` (0 rows, 1 columns).
    fn extent(&self, axis: usize) -> Result<usize, ShapeError> {
        let [size, dilation] = [self.size[axis], self.dilation[axis]];
        if size == 0 || dilation == 0 || self.stride[axis] == 0 {
            return Err(ShapeError::new("window size, stride and dilation must be at least 1"));
        }
        // Kernels multiply it with a number of outputs.
        if self.stride[axis] >= MAX_ELEMENTS {
            return Err(ShapeError::new("stride is too large"));
        }
        (size - 1)
            .checked_mul(dilation)
            .and_then(|v| v.checked_add(1))
            .filter(|&v| v < MAX_ELEMENTS)
            .ok_or_else(|| ShapeError::new("window is too large"))
    }

    /// Checks a kernel's extent against the window's.
    pub(crate) fn check_kernel(&self, [kh, kw]: [usize; 2]) -> Result<(), ShapeError> {
        if [kh, kw] == self.size {
            return Ok(());
        }
        let [h, w] = self.size;
        Err(ShapeError::new(format!("the kernel is {kh}x{kw} but the layer says {h}x{w}")))
    }

    /// Lays the window over an input `[H, W]`.
    pub fn place(&self, input: [usize; 2]) -> Result<Placed, ShapeError> {
        let mut placed = Placed { output: [0; 2], before: [0; 2] };
        for axis in 0..2 {
            let (n, stride, extent) = (input[axis], self.stride[axis], self.extent(axis)?);
            let (before, padded) = match self.padding {
                Padding::Valid => (0, n),
                Padding::Same => {
                    let total = (n.div_ceil(stride).max(1) - 1)
                        .checked_mul(stride)
                        .and_then(|v| v.checked_add(extent))
                        .ok_or_else(|| ShapeError::new("window is too large"))?
                        .saturating_sub(n);
                    (total / 2, n + total)
                }
                Padding::Explicit(pads) => {
                    let [b, a] = pads[axis];
                    if b.max(a) >= MAX_ELEMENTS {
                        return Err(ShapeError::new("padding is too large"));
                    }
                    (b, n + b + a)
                }
            };
            if padded < extent || n == 0 {
                let [kh, kw] = self.size;
                let [h, w] = input;
                return Err(ShapeError::new(format!("window {kh}x{kw} is larger than the {h}x{w} input")));
            }
            placed.before[axis] = before;
            placed.output[axis] = (padded - extent) / stride + 1;
        }
        Ok(placed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `tf.nn.conv2d` output shapes and `SAME` padding as its documentation defines them.
    #[test]
    fn same_pads_as_tensorflow() {
        let place = |n, k, s| {
            let p = Window::square(k, s, Padding::Same).place([n, n]).unwrap();
            (p.output[0], p.before[0])
        };
        assert_eq!(place(224, 3, 2), (112, 0));
        assert_eq!(place(225, 3, 2), (113, 1));
        assert_eq!(place(7, 7, 2), (4, 3));
        assert_eq!(place(5, 1, 3), (2, 0));
        assert_eq!(place(1, 9, 1), (1, 4));
    }

    #[test]
    fn window_must_fit() {
        let e = Window::square(9, 1, Padding::Valid).place([4, 4]).unwrap_err();
        assert_eq!(e.to_string(), "window 9x9 is larger than the 4x4 input");
        assert!(Window::square(3, 0, Padding::Valid).place([4, 4]).is_err());
        assert!(Window::square(3, usize::MAX, Padding::Valid).place([4, 4]).is_err());
        assert!(
            Window { dilation: [usize::MAX; 2], ..Window::square(3, 1, Padding::Same) }
                .place([4, 4])
                .is_err()
        );
    }
}
