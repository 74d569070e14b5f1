//! Keras files: `.h5` of Keras 1, 2 and 3, `.keras`, weights-only files, architecture JSON.
//!
//! Readers ([`h5`], [`archive`], [`config`]) turn bytes into plain records and know nothing of networks; the [`mapper`]
//! turns the records of the architecture into a graph, with a builder for each class in [`layers`]; [`weights`] finds
//! each weight's values.

mod archive;
mod attributes;
mod config;
mod h5;
mod keras1;
mod layers;
mod mapper;
mod weights;
mod write;

pub use write::save_keras;
pub(crate) use write::{ARCHIVE_WRITER, H5_WRITER, WEIGHTS_WRITER};

use std::borrow::Cow;
use std::sync::Arc;

use binesh_core::{Params, Tensor};

use self::archive::KerasArchive;
use self::config::{ModelConfig, Wiring};
use self::h5::{H5, Stored, StoredTensor, TreeGroup};
use self::mapper::Hints;
use self::weights::Origin;
use crate::Limits;
use crate::error::FormatError;
use crate::format::Format;
use crate::meta::Meta;
use crate::network::{Kind, LoadCx, LoadReport, Loaded, Network};

/// Whole models and weights in HDF5.
pub(crate) const H5_FORMAT: Format =
    Format { name: "keras h5", extensions: &["h5", "hdf5"], sniff: h5::is_h5, load: load_h5 };

/// The zip archive of Keras 2.12 and later.
pub(crate) const ARCHIVE_FORMAT: Format = Format {
    name: "keras",
    extensions: &["keras"],
    sniff: |bytes| bytes.starts_with(b"PK\x03\x04"),
    load: load_archive,
};

/// An architecture without weights.
pub(crate) const JSON_FORMAT: Format =
    Format { name: "keras json", extensions: &["json"], sniff: is_json_object, load: load_json };

/// An architecture (`model.to_json()`) and its weights in a file of their own (`model.save_weights()`). Whole models do
/// for both: of the first only the architecture is used, of the second only the weights.
///
/// `names` are the two files' names for messages.
pub fn load_keras(
    architecture: &[u8],
    weights: Vec<u8>,
    names: [&str; 2],
    cx: &LoadCx,
) -> Result<(Network, LoadReport), FormatError> {
    let (json, version, meta) = architecture_of(architecture, cx).map_err(|e| e.in_file(names[0]))?;
    let model = config::parse(&json, &cx.limits).map_err(|e| e.in_file(names[0]))?;
    let h5 = weights_of(weights, cx).map_err(|e| e.in_file(names[1]))?;
    let version = version.or_else(|| h5.keras_version.clone());
    let mapped = assemble(&model, Some(&h5), version, cx);
    // Wiring is the architecture's fault, weights are the other file's.
    let (mut network, mut report) = mapped.map_err(|e| {
        let of_weights = matches!(
            e,
            FormatError::MissingWeight { .. }
                | FormatError::WrongShape { .. }
                | FormatError::WeightCount { .. }
        );
        e.in_file(names[usize::from(of_weights)])
    })?;
    report.format = JSON_FORMAT.name;
    network.meta = meta;
    Ok((network, report))
}

/// The JSON text of an architecture, the version of Keras that wrote it, and what else is known of the model.
type Architecture<'a> = (Cow<'a, [u8]>, Option<String>, Meta);

fn architecture_of<'a>(bytes: &'a [u8], cx: &LoadCx) -> Result<Architecture<'a>, FormatError> {
    if (ARCHIVE_FORMAT.sniff)(bytes) {
        let archive = KerasArchive::open(Cow::Borrowed(bytes), &cx.limits)?;
        return Ok((Cow::Owned(archive.config), archive.keras_version, archive.meta));
    }
    if !h5::is_h5(bytes) {
        return Ok((Cow::Borrowed(bytes), written_by(bytes, &cx.limits), Meta::default()));
    }
    let h5 = H5::open(bytes.to_vec(), &cx.limits)?;
    let config = h5.model_config.ok_or_else(|| {
        FormatError::malformed("the file holds weights alone")
            .with_hint("`model.to_json()` writes an architecture")
    })?;
    Ok((Cow::Owned(config.into_bytes()), h5.keras_version, h5.meta))
}

fn weights_of(bytes: Vec<u8>, cx: &LoadCx) -> Result<H5, FormatError> {
    if h5::is_h5(&bytes) {
        return H5::open(bytes, &cx.limits);
    }
    if (ARCHIVE_FORMAT.sniff)(&bytes) {
        return H5::open(KerasArchive::open(bytes.into(), &cx.limits)?.weights, &cx.limits);
    }
    Err(FormatError::malformed("the file is not an HDF5 file").with_hint("`model.save_weights` writes one"))
}

fn load_h5(bytes: Cow<'_, [u8]>, cx: &LoadCx) -> Result<(Loaded, LoadReport), FormatError> {
    let h5 = H5::open(bytes.into_owned(), &cx.limits)?;
    match &h5.model_config {
        Some(config) => {
            let model = config::parse(config.as_bytes(), &cx.limits)?;
            let (mut network, report) = assemble(&model, Some(&h5), h5.keras_version.clone(), cx)?;
            network.meta = h5.meta;
            Ok((Loaded::Model(Box::new(network)), report))
        }
        None => weights_alone(&h5),
    }
}

fn load_archive(bytes: Cow<'_, [u8]>, cx: &LoadCx) -> Result<(Loaded, LoadReport), FormatError> {
    let KerasArchive { config, keras_version, meta, weights } = KerasArchive::open(bytes, &cx.limits)?;
    let model = config::parse(&config, &cx.limits)?;
    let h5 = H5::open(weights, &cx.limits)?;
    let (mut network, report) = assemble(&model, Some(&h5), keras_version, cx)?;
    network.meta = meta;
    Ok((Loaded::Model(Box::new(network)), report))
}

fn load_json(bytes: Cow<'_, [u8]>, cx: &LoadCx) -> Result<(Loaded, LoadReport), FormatError> {
    let model = config::parse(&bytes, &cx.limits)?;
    let (network, report) = assemble(&model, None, written_by(&bytes, &cx.limits), cx)?;
    Ok((Loaded::Model(Box::new(network)), report))
}

fn is_json_object(bytes: &[u8]) -> bool {
    bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
}

/// `keras_version` of `model.to_json()`.
fn written_by(json: &[u8], limits: &Limits) -> Option<String> {
    let value = config::parse_json(json, limits).ok()?;
    Some(value.get("keras_version")?.as_str()?.to_owned())
}

fn assemble(
    model: &ModelConfig,
    h5: Option<&H5>,
    version: Option<String>,
    cx: &LoadCx,
) -> Result<(Network, LoadReport), FormatError> {
    let major = version.as_deref().and_then(|v| v.split('.').next()?.parse().ok());
    // Keras 1 and weights written by it may not say.
    let keras =
        major.unwrap_or(if matches!(h5.map(|h5| &h5.weights), Some(Stored::Named(_))) { 1 } else { 3 });
    let input_shape = cx.input_shape.clone().or_else(|| h5.and_then(|h5| input_from_weights(model, h5)));
    let stated = h5.and_then(|h5| h5.backend.as_deref());
    let backend = stated.or_else(|| cx.keras1_backend.as_deref().filter(|_| keras == 1));
    let theano = backend == Some("theano");
    let Limits { tensor_elements, nodes, .. } = cx.limits;
    let mapped = mapper::map(model, Hints { keras, theano, tensor_elements, nodes, input_shape })?;
    let mut report = LoadReport { version, ..LoadReport::default() };
    let params = match h5 {
        Some(h5) => {
            // As Keras 2 has it: a list of layers without a version is from Keras 1.
            let by = h5.keras_version.as_deref().map_or(Some(1), |v| v.split('.').next()?.parse().ok());
            let keras1 = matches!(h5.weights, Stored::Named(_)) && by == Some(1);
            weights::fill(&mapped, h5, &Origin { keras1, theano }, &mut report)?
        }
        None => {
            let names = mapped.slots.iter().map(|slot| mapped.graph.node(slot.node).name.clone());
            report.missing.extend(names);
            Params::default()
        }
    };
    let network = Network {
        name: model.name.clone().unwrap_or_else(|| model.class.to_lowercase()),
        kind: match model.wiring {
            Wiring::Sequential { .. } => Kind::Sequential,
            Wiring::Functional { .. } => Kind::Functional,
        },
        graph: Arc::new(mapped.graph),
        params,
        layers: mapped.layers,
        meta: Meta::default(),
    };
    Ok((network, report))
}

/// The input of a `Sequential` that nobody told its input, from its first layer's kernel: a picture of any size, or a
/// vector.
fn input_from_weights(model: &ModelConfig, h5: &H5) -> Option<Vec<Option<usize>>> {
    let Stored::Named(layers) = &h5.weights else { return None };
    let first = model.layers.first()?;
    let kernel = layers.iter().find(|layer| layer.name == first.name)?.tensors.first()?;
    match (first.class.as_str(), &kernel.shape[..]) {
        ("Conv2D", [_, _, channels, _]) => Some(vec![None, None, None, Some(*channels)]),
        ("Dense", [features, _]) => Some(vec![None, Some(*features)]),
        _ => None,
    }
}

fn weights_alone(h5: &H5) -> Result<(Loaded, LoadReport), FormatError> {
    fn walk<'a>(group: &'a TreeGroup, to: &mut Vec<&'a StoredTensor>) {
        to.extend(&group.vars);
        group.children.values().for_each(|child| walk(child, to));
    }
    let mut stored = Vec::new();
    match &h5.weights {
        Stored::Named(layers) => stored.extend(layers.iter().flat_map(|layer| &layer.tensors)),
        Stored::Tree(root) => walk(root, &mut stored),
    }
    let mut tensors = Vec::new();
    for tensor in stored {
        let value = Tensor::new(tensor.shape.clone(), h5.read(tensor)?);
        let value = value.map_err(|e| FormatError::malformed(format!("tensor `{}`: {e}", tensor.path)))?;
        tensors.push((tensor.path.clone(), value));
    }
    let report = LoadReport {
        version: h5.keras_version.clone(),
        unused: tensors.iter().map(|(name, _)| name.clone()).collect(),
        ..LoadReport::default()
    };
    Ok((Loaded::Weights(tensors), report))
}
