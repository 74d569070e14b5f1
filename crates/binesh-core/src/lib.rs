//! Tensors, graphs, operators, plans and gradients: what a network *is* and how it runs.
//!
//! A [`Graph`] is what a file said; [`Params`] are its weights; a [`Plan`] fixes the input shapes, what is wanted and
//! what is differentiated; a [`Session`] runs a plan. [`Layers`] is the user's table over the graph's nodes.
//!
//! Arrays are f32, row-major, channels last (`[N, H, W, C]`); kernels are `[Kh, Kw, Cin, Cout]`.
//! Nothing here reads a file, a clock or the environment, or prints.
#![forbid(unsafe_code)]

#[cfg(test)]
mod check;
mod graph;
mod layers;
mod operator;
pub mod ops;
mod params;
mod plan;
mod session;
mod shape;
mod tensor;

pub use binesh_kernels::binary::BinaryOp;
pub use binesh_kernels::{Activation, Algorithm, Costs, Cx, Isa, Threads, Tile, Winograd};
pub use graph::{Graph, GraphError, Node, NodeId};
pub use layers::{Call, Inbound, Layer, LayerId, Layers};
pub use operator::{At, Keeps, Operator, Overlay, ReluRule};
pub use ops::Op;
pub use params::Params;
pub use plan::{Grads, Plan, PlanError, PlanSpec, StepCost, Training};
pub use session::{InputError, Profile, Runtime, Session, Timed};
pub use shape::{MAX_ELEMENTS, Padding, Placed, Shape, ShapeError, Window};
pub use tensor::{Tensor, View, ViewMut};

/// Inputs or axes of one node: on the stack for as many as networks have.
type Few<T> = smallvec::SmallVec<[T; 8]>;
