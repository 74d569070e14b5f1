//! Pretrained convolutional networks: load, predict, look inside. Start with [`Model`].
#![forbid(unsafe_code)]

pub mod data;
mod error;
pub mod image;
mod linear;
mod model;
pub mod random;
pub mod render;
pub mod report;
pub mod train;
pub mod view;
pub mod zoo;

pub use binesh_core as core;
pub use binesh_formats as formats;
pub use error::Error;
pub use model::{Head, HeadKind, Model, Prediction, Preprocessing, PreprocessingSource, ReadBack};

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct ReadmeExample;
