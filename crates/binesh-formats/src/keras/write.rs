//! Writer of `.keras` files that Keras 3 loads without knowing of us.
//!
//! The layers are made from the graph's nodes ([`graph`]), not from what a file once said: a network of any origin can be
//! written, also one that got a new head. [`names`] gives them names that Keras allows, [`order`] the order in which
//! Keras counts them, [`config`] and [`weights`] are the two halves of the file.

mod arithmetic;
mod config;
mod fuse;
mod graph;
mod layers;
mod names;
mod order;
mod records;
mod weights;

use std::io::{Cursor, Write};

use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use super::archive::META;
use crate::error::FormatError;
use crate::network::Network;

/// The version of Keras whose files these are.
const KERAS_VERSION: &str = "3.15.1";

/// The date of what has none: the first that a zip archive can state.
const NO_DATE: &str = "1980-01-01@00:00:00";

/// The bytes of a `.keras` file with this network: `keras.saving.load_model` reads it, and so does [`crate::load`], which
/// also finds class names and preprocessing in it.
///
/// Models inside models are written flat: `vgg16/block5_conv3` is the layer `block5_conv3`, or `vgg16_block5_conv3`
/// where another layer is called so. Weights keep their bits, shared layers stay shared. The same network gives the same
/// bytes. `date_saved` is what Keras would write: `2026-11-24@08:30:00`.
///
/// An operator that Keras has only inside a `Lambda` is an error that names the node and the operator.
pub fn save_keras(network: &Network, date_saved: Option<&str>) -> Result<Vec<u8>, FormatError> {
    let mut model = graph::model(network)?;
    names::assign(&mut model.layers);
    order::sort(&mut model);
    let config = config::json(&model, network)?;
    let meta = serde_json::to_value(&network.meta).map_err(|e| FormatError::unsupported(e.to_string()))?;
    let metadata = json!({
        "keras_version": KERAS_VERSION,
        "date_saved": date_saved.unwrap_or(NO_DATE),
        META: meta,
    });
    let weights = weights::h5(&model, network)?;

    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .large_file(weights.len() as u64 >= u64::from(u32::MAX));
    let mut zip = ZipWriter::new(Cursor::new(Vec::with_capacity(weights.len() + config.len() + (1 << 16))));
    let entries = [
        ("metadata.json", metadata.to_string().into_bytes()),
        ("config.json", config.into_bytes()),
        ("model.weights.h5", weights),
    ];
    for (name, bytes) in entries {
        zip.start_file(name, options).map_err(|e| FormatError::from(std::io::Error::from(e)))?;
        zip.write_all(&bytes)?;
    }
    let zip = zip.finish().map_err(|e| FormatError::from(std::io::Error::from(e)))?;
    Ok(zip.into_inner())
}
