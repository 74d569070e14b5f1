//! Arrays whose values are known when the file is read: weights, and what a graph computes of shapes.

use std::sync::Arc;

use crate::error::FormatError;

/// A dense array, row-major. Truth values are integers 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) data: Data,
}

/// Values of an [`Array`]; shared until one is changed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Float(Arc<Vec<f32>>),
    Int(Arc<Vec<i64>>),
}

impl Array {
    pub(super) fn floats(shape: Vec<usize>, values: Vec<f32>) -> Array {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Array { shape, data: Data::Float(Arc::new(values)) }
    }

    pub(super) fn ints(shape: Vec<usize>, values: Vec<i64>) -> Array {
        debug_assert_eq!(shape.iter().product::<usize>(), values.len());
        Array { shape, data: Data::Int(Arc::new(values)) }
    }

    /// A list of numbers, `[n]`.
    pub(super) fn list(values: Vec<i64>) -> Array {
        Array::ints(vec![values.len()], values)
    }

    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match &self.data {
            Data::Float(values) => values.len(),
            Data::Int(values) => values.len(),
        }
    }

    pub(super) fn is_int(&self) -> bool {
        matches!(self.data, Data::Int(_))
    }

    /// The integers, if they are.
    pub(super) fn as_ints(&self) -> Option<&[i64]> {
        match &self.data {
            Data::Int(values) => Some(values),
            Data::Float(_) => None,
        }
    }

    /// The values as floating point numbers, whatever they are; not copied where nobody else holds them.
    pub(super) fn into_floats(self) -> Vec<f32> {
        match self.data {
            Data::Float(values) => Arc::unwrap_or_clone(values),
            Data::Int(values) => values.iter().map(|&v| v as f32).collect(),
        }
    }

    /// The only value, as a floating point number.
    pub(super) fn scalar(&self) -> Option<f32> {
        match &self.data {
            Data::Float(values) => <[f32; 1]>::try_from(&values[..]).ok().map(|[v]| v),
            Data::Int(values) => <[i64; 1]>::try_from(&values[..]).ok().map(|[v]| v as f32),
        }
    }

    /// The same values under another shape of as many.
    pub(super) fn reshaped(&self, shape: Vec<usize>) -> Array {
        debug_assert_eq!(shape.iter().product::<usize>(), self.len());
        Array { shape, data: self.data.clone() }
    }

    /// The value at `from(i)` of these values, for each of the `n` places `i` of an array of this shape.
    pub(super) fn gather(&self, shape: Vec<usize>, from: impl Fn(usize) -> usize) -> Array {
        let n: usize = shape.iter().product();
        let data = match &self.data {
            Data::Float(values) => Data::Float(Arc::new((0..n).map(|i| values[from(i)]).collect())),
            Data::Int(values) => Data::Int(Arc::new((0..n).map(|i| values[from(i)]).collect())),
        };
        Array { shape, data }
    }

    /// Axis `i` of the result is axis `axes[i]`, which are an order of all axes.
    pub(super) fn permuted(&self, axes: &[usize]) -> Array {
        let steps = steps(&self.shape);
        let shape: Vec<usize> = axes.iter().map(|&axis| self.shape[axis]).collect();
        let walk: Vec<(usize, usize)> = axes.iter().map(|&axis| (self.shape[axis], steps[axis])).collect();
        self.gather(shape, |i| offset(i, &walk))
    }

    /// Repeated along axes of extent 1, and along new axes in front, to this shape; `None` where it does not fit.
    pub(super) fn broadcast(&self, shape: &[usize]) -> Option<Array> {
        let lead = shape.len().checked_sub(self.shape.len())?;
        let steps = steps(&self.shape);
        let mut walk = Vec::with_capacity(shape.len());
        for (axis, &extent) in shape.iter().enumerate() {
            let own = axis.checked_sub(lead).map_or(1, |own| self.shape[own]);
            walk.push(match own {
                1 => (extent, 0),
                own if own == extent => (extent, steps[axis - lead]),
                _ => return None,
            });
        }
        Some(self.gather(shape.to_vec(), |i| offset(i, &walk)))
    }
}

/// How far apart neighbours along each axis are.
pub(super) fn steps(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        steps[axis - 1] = steps[axis] * shape[axis];
    }
    steps
}

/// The offset of place `i`, in row-major order, when each axis has this extent and step.
pub(super) fn offset(mut i: usize, walk: &[(usize, usize)]) -> usize {
    let mut at = 0;
    for &(extent, step) in walk.iter().rev() {
        at += i % extent * step;
        i /= extent;
    }
    at
}

/// The shape that two shapes have together by NumPy's rules.
pub(super) fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, FormatError> {
    let rank = a.len().max(b.len());
    let extent =
        |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |own| shape[own]);
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (x, y) if x == y || y == 1 => Ok(x),
            (1, y) => Ok(y),
            _ => Err(FormatError::malformed(format!("{a:?} and {b:?} do not fit together"))),
        })
        .collect()
}

/// Turns an axis, counted from the end when negative, into an index.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, FormatError> {
    let index = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    index
        .and_then(|index| usize::try_from(index).ok())
        .filter(|&index| index < rank)
        .ok_or_else(|| FormatError::malformed(format!("axis {axis} is out of range for {rank} axes")))
}

/// Most axes of a value.
pub(super) const MAX_RANK: usize = 64;

/// Refuses more axes than any network has: some work grows with their square.
pub(super) fn check_rank(rank: usize) -> Result<(), FormatError> {
    crate::Limits::check("the number of axes", rank as u64, MAX_RANK as u64)
}

/// The number of values of a shape from a file, or an error when there are more than `most`.
pub(super) fn elements(what: &str, shape: &[usize], most: u64) -> Result<usize, FormatError> {
    check_rank(shape.len())?;
    let n = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d as u64));
    crate::Limits::check(&format!("the number of elements of {what}"), n.unwrap_or(u64::MAX), most)?;
    Ok(n.unwrap_or(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moved_and_repeated() {
        let x = Array::list((0..6).collect()).reshaped(vec![2, 3]);
        assert_eq!(x.permuted(&[1, 0]), Array::ints(vec![3, 2], vec![0, 3, 1, 4, 2, 5]));
        let row = Array::floats(vec![1, 2], vec![1.0, 2.0]);
        assert_eq!(
            row.broadcast(&[2, 2, 2]).unwrap().into_floats(),
            [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]
        );
        assert_eq!(row.broadcast(&[2, 3]), None);
        assert_eq!(broadcast_shape(&[2, 1], &[3]).unwrap(), [2, 3]);
        assert_eq!(broadcast_shape(&[2], &[3]).unwrap_err().to_string(), "[2] and [3] do not fit together");
        assert_eq!(axis(-1, 3).unwrap(), 2);
        assert_eq!(
            axis(i64::MIN, 3).unwrap_err().to_string(),
            format!("axis {} is out of range for 3 axes", i64::MIN)
        );
    }
}
