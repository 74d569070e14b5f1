//! Writer of files that Keras loads without knowing of us: `.keras`, `.h5`, and weights alone.
//!
//! The layers are made from the graph's nodes ([`graph`]), not from what a file once said: a network of any origin can be
//! written, also one that got a new head. [`names`] gives them names that Keras allows, [`order`] the order in which
//! Keras counts them, [`config`] and [`weights`] are the two halves of the file.

mod arithmetic;
mod config;
mod fuse;
mod graph;
mod h5;
mod layers;
mod names;
mod order;
mod records;
mod weights;

use std::io::{Cursor, Write};

use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::error::FormatError;
use crate::meta::Meta;
use crate::network::Network;
use crate::save::{Writer, Written};

use self::graph::Dialect;
use self::records::Model;

/// The archive of Keras 3.
pub(crate) const ARCHIVE_WRITER: Writer = Writer {
    ending: "keras",
    what: "Keras 3",
    save: |network| Ok(Written { bytes: save_keras(network, None)?, notes: Vec::new() }),
};

/// A whole model in HDF5.
pub(crate) const H5_WRITER: Writer = Writer { ending: "h5", what: "Keras 2 and 3, HDF5", save: save_h5 };

/// Weights alone, in the order in which Keras 3 counts layers.
pub(crate) const WEIGHTS_WRITER: Writer = Writer {
    ending: "weights.h5",
    what: "weights alone, for `model.load_weights` of Keras 3",
    save: |network| {
        let model = model(network, Dialect::Keras3)?;
        Ok(Written { bytes: weights::h5(&model, network)?, notes: Vec::new() })
    },
};

/// The version of Keras whose archives these are.
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
    let model = model(network, Dialect::Keras3)?;
    let config = config::json(&model, network)?;
    let metadata = json!({
        "keras_version": KERAS_VERSION,
        "date_saved": date_saved.unwrap_or(NO_DATE),
        Meta::KEY: network.meta.to_json()?,
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

fn save_h5(network: &Network) -> Result<Written, FormatError> {
    let model = model(network, Dialect::Both)?;
    Ok(Written { bytes: h5::file(&model, network)?, notes: h5::notes(&model) })
}

/// The layers, with their names and in Keras's order.
fn model(network: &Network, dialect: Dialect) -> Result<Model, FormatError> {
    let mut model = graph::model(network, dialect)?;
    names::assign(&mut model.layers);
    order::sort(&mut model);
    Ok(model)
}
