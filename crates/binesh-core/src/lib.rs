//! Tensors, graphs, operators, plans and gradients. Nothing here reads a file, a clock or the environment.
#![forbid(unsafe_code)]
