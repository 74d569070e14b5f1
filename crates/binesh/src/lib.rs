//! Pretrained convolutional networks: load, predict, look inside.
#![forbid(unsafe_code)]

pub mod image;
pub mod render;
pub mod report;
pub mod zoo;
