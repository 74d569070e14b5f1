//! Bytes of model files to networks. Nothing here runs a network.
#![forbid(unsafe_code)]

mod archive;
mod error;
mod limits;
pub mod meta;
mod network;
pub mod npy;
pub mod safetensors;

pub use error::{FormatError, Place};
pub use limits::Limits;
pub use network::{Kind, Network};
