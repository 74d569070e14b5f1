//! Bytes of model files to networks. Nothing here runs a network.
#![forbid(unsafe_code)]

mod archive;
mod error;
mod format;
mod keras;
mod limits;
pub mod meta;
mod network;
pub mod npy;
mod onnx;
pub mod safetensors;
mod save;
mod torch;

pub use error::{FormatError, Place};
pub use format::{FORMATS, Format, Load, load};
pub use keras::{load_keras, save_keras};
pub use limits::Limits;
pub use network::{ExternalData, Kind, LoadCx, LoadReport, Loaded, Network, UsedTensor};
pub use save::{Save, WRITERS, Writer, Written};
