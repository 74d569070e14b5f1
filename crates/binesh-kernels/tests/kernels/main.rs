//! Every kernel against a naive `f64` reference, on every instruction set and several thread counts.

mod bilinear;
mod elementwise;
mod inverted;
mod linear;
mod pooling;
mod reference;
mod rows;
mod winograd;
