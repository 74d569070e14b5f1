//! Dense `f32` arrays: one that owns its values, and two that borrow them.

use std::sync::Arc;

use binesh_kernels::{Costs, Cx, Isa, Threads, Winograd, layout};

use crate::shape::{Shape, ShapeError};

/// Dense f32, contiguous, row-major (the last axis is adjacent in memory). No strides, no dtype, no device.
///
/// A clone shares the values until one of the two is written: a network under training, its base, its best epoch and its
/// checkpoint hold once what is the same in all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Arc<Vec<f32>>,
}

impl Tensor {
    /// A tensor of `shape` with these values, row-major; an error when the count differs.
    pub fn new(shape: impl Into<Shape>, data: Vec<f32>) -> Result<Tensor, ShapeError> {
        let shape = shape.into().checked()?;
        if shape.len() != data.len() {
            return Err(ShapeError::new(format!(
                "{shape} needs {} values but {} were given",
                shape.len(),
                data.len()
            )));
        }
        Ok(Tensor { shape, data: Arc::new(data) })
    }

    /// All zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let data = vec![0.0; shape.len()];
        Tensor { shape, data: Arc::new(data) }
    }

    /// Shape `[]`, one value.
    pub fn scalar(value: f32) -> Tensor {
        Tensor { shape: Shape::default(), data: Arc::new(vec![value]) }
    }

    /// The extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// The values, row-major, for writing. Copies them first when a clone shares them.
    pub fn data_mut(&mut self) -> &mut [f32] {
        Arc::make_mut(&mut self.data).as_mut_slice()
    }

    /// Gives the values up. Copies them when a clone shares them.
    pub fn into_data(self) -> Vec<f32> {
        Arc::unwrap_or_clone(self.data)
    }

    /// A copy whose axis `i` is this tensor's axis `axes[i]`.
    ///
    /// # Panics
    /// When `axes` is not an order of the axes.
    pub fn permuted(&self, axes: &[usize]) -> Tensor {
        let threads = Threads::new(1);
        let cx =
            Cx { isa: Isa::detect(), threads: &threads, winograd: Winograd::Never, costs: &Costs::DEFAULT };
        let dims: Vec<usize> = axes.iter().map(|&axis| self.shape.dims()[axis]).collect();
        let mut data = vec![0.0; self.data.len()];
        layout::permute(cx, &self.data, self.shape.dims(), axes, &mut data);
        Tensor { shape: dims.into(), data: Arc::new(data) }
    }

    /// Borrows the whole tensor.
    pub fn view(&self) -> View<'_> {
        View { shape: &self.shape, data: &self.data }
    }
}

/// A borrowed tensor.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    shape: &'a Shape,
    data: &'a [f32],
}

impl<'a> View<'a> {
    /// # Panics
    /// When `data` does not hold exactly `shape.len()` values.
    pub fn new(shape: &'a Shape, data: &'a [f32]) -> Self {
        assert_eq!(shape.len(), data.len(), "a view of {shape} over {} values", data.len());
        View { shape, data }
    }

    /// The extents.
    pub fn shape(&self) -> &'a Shape {
        self.shape
    }

    /// The values, row-major.
    pub fn data(&self) -> &'a [f32] {
        self.data
    }

    /// A copy that owns its values.
    pub fn to_tensor(&self) -> Tensor {
        Tensor { shape: self.shape.clone(), data: Arc::new(self.data.to_vec()) }
    }
}

/// A mutably borrowed tensor.
#[derive(Debug)]
pub struct ViewMut<'a> {
    shape: &'a Shape,
    data: &'a mut [f32],
}

impl<'a> ViewMut<'a> {
    /// # Panics
    /// When `data` does not hold exactly `shape.len()` values.
    pub fn new(shape: &'a Shape, data: &'a mut [f32]) -> Self {
        assert_eq!(shape.len(), data.len(), "a view of {shape} over {} values", data.len());
        ViewMut { shape, data }
    }

    /// The extents.
    pub fn shape(&self) -> &'a Shape {
        self.shape
    }

    /// The values, row-major.
    pub fn data(&mut self) -> &mut [f32] {
        self.data
    }

    /// Gives the slice up.
    pub fn into_data(self) -> &'a mut [f32] {
        self.data
    }
}
