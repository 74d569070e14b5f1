//! One builder for each operator: from a node's attributes and operands to nodes of the graph.

mod activation;
mod arithmetic;
mod convolution;
mod dense;
mod normalization;
mod padding;
mod pooling;
mod reduction;
mod resize;
mod shaping;
mod slicing;

use binesh_core::{NodeId, Op, Tensor};

use super::array::{Array, elements};
use super::attributes::Attrs;
use super::fold;
use super::mapper::{Batch, Mapper};
use super::proto::NodeProto;
use super::value::{Known, Traced, Value, depends_on_size};
use crate::error::FormatError;

/// An operator of the standard.
pub(super) struct Operator {
    name: &'static str,
    /// What Keras calls a layer that does this.
    pub(super) class: &'static str,
    pub(super) build: Build,
}

type Build = for<'a> fn(&mut NodeCx<'_, 'a>) -> Result<Vec<Value<'a>>, FormatError>;

/// The operator of this name.
pub(super) fn find(name: &str) -> Option<&'static Operator> {
    LISTS.iter().flat_map(|list| list.iter()).find(|operator| operator.name == name)
}

const LISTS: &[&[Operator]] = &[
    activation::OPERATORS,
    arithmetic::OPERATORS,
    convolution::OPERATORS,
    dense::OPERATORS,
    normalization::OPERATORS,
    padding::OPERATORS,
    pooling::OPERATORS,
    reduction::OPERATORS,
    resize::OPERATORS,
    shaping::OPERATORS,
    slicing::OPERATORS,
];

const fn operator(name: &'static str, class: &'static str, build: Build) -> Operator {
    Operator { name, class, build }
}

/// A node being built.
pub(super) struct NodeCx<'m, 'a> {
    pub(super) mapper: &'m mut Mapper<'a>,
    pub(super) node: &'a NodeProto,
    pub(super) attrs: &'m Attrs<'a>,
    pub(super) class: &'static str,
    /// Weights of the layer.
    pub(super) params: Vec<NodeId>,
}

/// How a weight of the file becomes one of the network: first another shape, then another order of axes.
#[derive(Clone, Debug, Default)]
struct Form {
    shape: Option<Vec<usize>>,
    axes: Option<Vec<usize>>,
    scale: Option<f32>,
    /// No optimizer moves it.
    is_fixed: bool,
}

impl<'a> NodeCx<'_, 'a> {
    /// The name of an operand; none where it is left out.
    fn name(&self, i: usize) -> Option<&'a str> {
        self.node.input.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn has(&self, i: usize) -> bool {
        self.name(i).is_some()
    }

    fn opset(&self) -> i64 {
        self.mapper.opset
    }

    /// An operand that is known when loading; `None` where it is computed or left out.
    fn known(&self, i: usize) -> Result<Option<Known>, FormatError> {
        match self.name(i) {
            Some(name) => self.mapper.known(name),
            None => Ok(None),
        }
    }

    /// An operand that is the same for all sizes of the input; `None` where it is left out.
    fn constant(&self, i: usize) -> Result<Option<Array>, FormatError> {
        if !self.has(i) {
            return Ok(None);
        }
        let known = self.known(i)?.ok_or_else(|| {
            FormatError::unsupported(format!(
                "its input {i} is computed from the network's input, not constant"
            ))
        })?;
        known.into_fixed().map(Some)
    }

    /// A constant list of integers.
    fn ints(&self, i: usize) -> Result<Option<Vec<i64>>, FormatError> {
        self.constant(i)?.map(|x| fold::ints(&x).map(<[i64]>::to_vec)).transpose()
    }

    /// A list of integers: an operand since opset `since`, an attribute before.
    fn ints_since(&self, since: i64, i: usize, name: &str) -> Result<Option<Vec<i64>>, FormatError> {
        if self.opset() >= since { self.ints(i) } else { self.attrs.ints(name) }
    }

    /// A constant number.
    fn scalar(&self, i: usize) -> Result<Option<f32>, FormatError> {
        let one = |x: Array| {
            x.scalar().ok_or_else(|| FormatError::malformed(format!("its input {i} is not one number")))
        };
        self.constant(i)?.map(one).transpose()
    }

    /// An operand as a value of the graph, of whatever type.
    fn any(&mut self, i: usize) -> Result<Traced, FormatError> {
        let name = self.name(i).ok_or_else(|| super::missing_input(i))?;
        match self.mapper.values.get(name) {
            Some(Value::Computed(x)) => Ok(x.clone()),
            _ => self.weight_value(i, "value"),
        }
    }

    /// An operand as a value of the graph.
    fn input(&mut self, i: usize) -> Result<Traced, FormatError> {
        let x = self.any(i)?;
        if x.is_int {
            return Err(FormatError::unsupported(
                "arithmetic with integers that are computed from the input",
            ));
        }
        Ok(x)
    }

    fn is_computed(&self, i: usize) -> bool {
        self.name(i).is_some_and(|name| matches!(self.mapper.values.get(name), Some(Value::Computed(_))))
    }

    fn dims(&self, x: &Traced) -> Vec<[usize; 2]> {
        self.mapper.dims(x)
    }

    /// The extent along an axis, which must not be free.
    fn extent(&self, x: &Traced, axis: usize) -> Result<usize, FormatError> {
        self.mapper.extents(x).get(axis).copied().flatten().ok_or_else(depends_on_size)
    }

    fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, FormatError> {
        self.mapper.add(op, inputs)
    }

    /// Value by value: the axes stay where they are.
    fn each(&mut self, op: impl Into<Op>, x: &Traced) -> Result<Traced, FormatError> {
        let node = self.add(op, &[x.node])?;
        self.stays_raw(x.node, node);
        Ok(x.like(node))
    }

    /// What is made of raw values alone is raw.
    fn stays_raw(&mut self, from: NodeId, to: NodeId) {
        if self.mapper.raw.contains(&from) {
            self.mapper.raw.insert(to);
        }
    }

    /// Refuses what mixes pictures, where the file's batch size is not taken for one.
    fn keeps_pictures_apart(&self, x: &Traced, axis: usize) -> Result<(), FormatError> {
        let is_batch = x.at[axis] == 0 && self.mapper.extents(x)[axis].is_none();
        if self.mapper.batch == Batch::Any && self.mapper.stated_batch.is_some() && is_batch {
            return Err(depends_on_size());
        }
        Ok(())
    }

    /// A weight, or a computed value in its place, in this form.
    fn weight(&mut self, i: usize, name: &str, form: &Form) -> Result<NodeId, FormatError> {
        let tensor = self.name(i).ok_or_else(|| super::missing_input(i))?;
        let Some(known) = self.known(i)? else {
            let x = self.input(i)?;
            return self.computed_weight(&x, form);
        };
        let key = format!("{form:?} {tensor}");
        if let Some(&node) = self.mapper.weights.get(&key) {
            self.params.push(node);
            return Ok(node);
        }
        let mut value = known.into_fixed()?;
        if let Some(shape) = &form.shape {
            if shape.iter().product::<usize>() != value.len() {
                return Err(FormatError::malformed(format!(
                    "weight `{tensor}` has the shape {:?}, which does not become {shape:?}",
                    value.shape
                )));
            }
            value = value.reshaped(shape.clone());
        }
        let moved = form.axes.as_ref().filter(|axes| !axes.iter().copied().eq(0..axes.len()));
        if let Some(axes) = moved {
            if axes.len() != value.shape.len() {
                return Err(FormatError::malformed(format!(
                    "weight `{tensor}` has the shape {:?}",
                    value.shape
                )));
            }
            value = value.permuted(axes);
        }
        let shape = value.shape.clone();
        let mut values = value.into_floats();
        if let Some(scale) = form.scale {
            values.iter_mut().for_each(|v| *v *= scale);
        }
        let node = self.mapper.param(name, tensor, tensor_of(shape, values)?, !form.is_fixed)?;
        if moved.is_some() {
            let name = self.mapper.graph.node(node).name.clone();
            self.mapper.report.transposed.push(format!("{name}: transposed"));
        }
        self.mapper.weights.insert(key, node);
        self.params.push(node);
        Ok(node)
    }

    fn computed_weight(&mut self, x: &Traced, form: &Form) -> Result<NodeId, FormatError> {
        let mut x = match &form.shape {
            Some(shape) => {
                let shape: Vec<[usize; 2]> = shape.iter().map(|&d| [d; 2]).collect();
                self.mapper.reshape(x, &shape)?
            }
            None => x.clone(),
        };
        if let Some(axes) = &form.axes {
            if axes.len() != x.rank() {
                return Err(FormatError::malformed(
                    "a weight has another number of axes than its operator takes",
                ));
            }
            x = x.transposed(axes);
        }
        let plain = self.mapper.plain(&x)?;
        match form.scale {
            Some(scale) => arithmetic::affine(self, &plain, scale, 0.0).map(|x| x.node),
            None => Ok(plain.node),
        }
    }

    /// A known operand as a value of the graph: one number as a constant, several as a weight.
    fn weight_value(&mut self, i: usize, name: &str) -> Result<Traced, FormatError> {
        let known = self.known(i)?.ok_or_else(|| super::missing_input(i))?;
        let fixed = known.fixed().ok_or_else(depends_on_size)?;
        let rank = fixed.shape.len();
        let node = match fixed.scalar() {
            Some(value) => self.mapper.constant(tensor_of(fixed.shape.clone(), vec![value])?)?,
            None => self.weight(i, name, &Form::default())?,
        };
        Ok(Traced::plain(node, rank))
    }

    /// The shape of an operand, known or computed, which must not depend on the input's size.
    fn shape(&self, i: usize) -> Result<Vec<usize>, FormatError> {
        let name = self.name(i).ok_or_else(|| super::missing_input(i))?;
        match self.mapper.values.get(name) {
            Some(Value::Computed(x)) => {
                self.mapper.extents(x).into_iter().collect::<Option<_>>().ok_or_else(depends_on_size)
            }
            Some(Value::Stored(tensor)) => {
                let shape = tensor.dims.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
                let shape = shape.map_err(|_| {
                    FormatError::malformed(format!("weight `{name}` has the extents {:?}", tensor.dims))
                })?;
                elements("a weight", &shape, self.mapper.cx.limits.tensor_elements)?;
                Ok(shape)
            }
            Some(Value::Known(known)) => Ok(known.fixed().ok_or_else(depends_on_size)?.shape.clone()),
            _ => Err(super::missing_input(i)),
        }
    }

    /// Refuses an output that this library does not compute.
    fn has_no_output(&self, i: usize, what: &str) -> Result<(), FormatError> {
        match self.node.output.get(i) {
            Some(name) if self.mapper.uses.contains_key(name.as_str()) => {
                Err(FormatError::unsupported(format!("its output `{name}` ({what}) is not supported")))
            }
            _ => Ok(()),
        }
    }
}

fn tensor_of(shape: Vec<usize>, values: Vec<f32>) -> Result<Tensor, FormatError> {
    Tensor::new(shape, values).map_err(|e| FormatError::malformed(e.to_string()))
}

/// One output.
fn one<'a>(x: Traced) -> Vec<Value<'a>> {
    vec![Value::Computed(x)]
}
