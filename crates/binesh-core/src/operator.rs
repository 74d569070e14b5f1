//! What an operator must say of itself.

use std::ops::RangeInclusive;

use binesh_kernels::{Cx, Write};

use crate::shape::{Shape, ShapeError};
use crate::tensor::{View, ViewMut};

/// One kind of node: shape rule, forward, gradient and cost, in one file of [`crate::ops`].
pub trait Operator {
    /// The wire name, snake case: summaries, errors, saved files.
    fn name(&self) -> &'static str;

    /// How many inputs it takes.
    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    /// The only statement of this operator's shape rule. Everything it accepts, `forward` computes. The graph sees to
    /// it that no input is empty or too large to hold.
    fn infer(&self, inputs: &[&Shape]) -> Result<Shape, ShapeError>;

    /// Writes every value of `output`, whose shape is what `infer` said.
    fn forward(&self, cx: Cx<'_>, inputs: &[View<'_>], output: ViewMut<'_>);

    /// Adds d(loss)/d(input i) to `d_inputs[i]` where it is `Some`, or replaces what is there: see `overwrites`. `at`
    /// holds what `keeps` asked for.
    fn backward(&self, cx: Cx<'_>, at: &At<'_>, d_output: View<'_>, d_inputs: &mut [Option<ViewMut<'_>>]);

    /// True when `backward` does to d(loss)/d(input i) what [`At::write`] says: a buffer that nothing was added to yet is
    /// then not filled with zeros first.
    fn overwrites(&self, _i: usize) -> bool {
        false
    }

    /// How the value may lie in the place of input 0.
    fn overlay(&self) -> Overlay {
        Overlay::None
    }

    /// Turns input 0, of the output's shape, into the output; `others` are the inputs after it. Only called where
    /// `overlay` says so.
    fn forward_in_place(&self, _cx: Cx<'_>, _others: &[View<'_>], _y: ViewMut<'_>) {
        unreachable!("the operator does not compute in place");
    }

    /// True when d(loss)/d(input 0) can be made of d(loss)/d(output) where it lies, which has as many values: a buffer and
    /// two passes over memory less where nothing else adds to it.
    fn is_in_place(&self) -> bool {
        false
    }

    /// Turns d(loss)/d(output) into d(loss)/d(input 0), as `backward` would have added it to zeros. Only called when
    /// `is_in_place`.
    fn backward_in_place(&self, _cx: Cx<'_>, _at: &At<'_>, _d: &mut [f32]) {
        unreachable!("the operator is not in place");
    }

    /// Which values `backward` reads when it must give the gradients of the inputs where `wanted` is true: exact,
    /// since everything else is freed or fused away.
    fn keeps(&self, _wanted: &[bool]) -> Keeps {
        Keeps::Inputs
    }

    /// How many of the last inputs are constants to this operator: they have no gradient.
    fn constant_inputs(&self) -> usize {
        0
    }

    /// Multiply-adds of one forward pass.
    fn macs(&self, _inputs: &[&Shape], _output: &Shape) -> u64 {
        0
    }
}

/// Whether an operator's value needs memory of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// It does.
    None,
    /// It has the values of input 0 in the same order: nothing is computed where they share their memory.
    Equal,
    /// Each value is computed from that at the same place of input 0, by `forward_in_place` if nobody reads the input
    /// any more and it has the output's shape.
    InPlace,
}

/// The values of the forward pass that a gradient reads. Parameters are always at hand, but a weight may also be
/// computed by another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// None.
    Nothing,
    /// All inputs but the first.
    Weights,
    /// All inputs.
    Inputs,
    /// The output.
    Output,
    /// All inputs and the output.
    InputsAndOutput,
}

impl Keeps {
    /// True when the input at `position` is read.
    pub fn input(self, position: usize) -> bool {
        match self {
            Keeps::Inputs | Keeps::InputsAndOutput => true,
            Keeps::Weights => position > 0,
            Keeps::Nothing | Keeps::Output => false,
        }
    }

    /// True when the output is read.
    pub fn output(self) -> bool {
        matches!(self, Keeps::Output | Keeps::InputsAndOutput)
    }
}

/// The forward values at the point where a gradient is taken.
pub struct At<'a> {
    pub(crate) inputs: &'a [Option<View<'a>>],
    pub(crate) output: Option<View<'a>>,
    /// How rectifiers pass the gradient.
    pub rule: ReluRule,
    pub(crate) input_shapes: &'a [&'a Shape],
    /// Per input: its gradient's buffer holds anything. Only where the operator `overwrites`.
    pub(crate) fresh: &'a [bool],
}

impl<'a> At<'a> {
    /// The value of input `i`.
    ///
    /// # Panics
    /// When `keeps` did not ask for the inputs: a mistake in the operator.
    pub fn input(&self, i: usize) -> View<'a> {
        self.inputs[i].expect("backward reads an input that `keeps` did not ask for")
    }

    /// The value of the output.
    ///
    /// # Panics
    /// When `keeps` did not ask for the output: a mistake in the operator.
    pub fn output(&self) -> View<'a> {
        self.output.expect("backward reads the output that `keeps` did not ask for")
    }

    /// What an operator that `overwrites` does to the gradient of input `i`.
    pub fn write(&self, i: usize) -> Write {
        if self.fresh[i] { Write::Replace } else { Write::Add }
    }

    /// The shape of input `i`, always known.
    pub fn input_shape(&self, i: usize) -> &'a Shape {
        self.input_shapes[i]
    }
}

/// How the gradient passes a rectifier; everything else is always differentiated exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReluRule {
    /// The derivative.
    #[default]
    Exact,
    /// Guided backpropagation (Springenberg et al. 2015, arXiv:1412.6806): also drops negative gradients.
    Guided,
    /// Deconvnet (Zeiler and Fergus 2014, arXiv:1311.2901): drops negative gradients, ignores the input's sign.
    Deconv,
    /// Lucid's `redirected_relu_grad` and `redirected_relu6_grad`, of a loss that is to fall: where the derivative is zero
    /// all over one of the batch's examples, the gradient passes but for what would push a value further out of the
    /// rectifier's range. So a picture can leave a place in which a channel is silent.
    Redirected,
}
