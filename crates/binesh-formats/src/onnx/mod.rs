//! ONNX files, opset 6 and later.
//!
//! [`proto`], [`tensor`] and [`inline`] turn bytes into records and know nothing of networks; the [`mapper`] turns nodes
//! into a graph, with a builder for each operator in [`ops`].
//!
//! # Layout
//! ONNX is channels first, a graph here channels last. Every value of the file is a [`value::Traced`]: a node, and which of
//! its axes is which of the file's. A `Transpose` changes only the latter; axes are moved when an operator needs them
//! elsewhere. So the transposes around each convolution that some exporters write come to nothing, and the one that a
//! `Flatten` of a channels-first map means is there, as a `Permute`.
//!
//! # Sizes
//! What a graph computes of shapes is computed here, under the two sizes that [`binesh_core::Graph`] tries everything with
//! ([`fold`]). What is equal under both is a constant.
//!
//! A batch size that the file states is that of the export, and other sizes are tried first ([`Batch`]): where the graph
//! keeps pictures apart, it takes any number of them.

mod array;
mod attributes;
mod fold;
mod inline;
mod mapper;
mod ops;
mod proto;
mod reshape;
mod scan;
mod tensor;
mod value;
mod write;

pub(crate) use write::WRITER;

use std::borrow::Cow;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Bytes;

use self::mapper::{Batch, Mapped};
use self::proto::{ModelProto, NodeProto};
use crate::Limits;
use crate::error::FormatError;
use crate::format::Format;
use crate::meta::Meta;
use crate::network::{Kind, LoadCx, LoadReport, Loaded, Network};

/// A graph of operators and its weights.
pub(crate) const FORMAT: Format = Format { name: "onnx", extensions: &["onnx"], sniff: scan::is_onnx, load };

/// The oldest set of operators that is read. Until opset 6, operands met along an `axis`; see `ops/arithmetic.rs`.
const OLDEST: i64 = 6;

/// `DimensionDenotation.md`: what the axes of a picture mean.
mod denotation {
    pub(super) const BATCH: &str = "DATA_BATCH";
    pub(super) const CHANNEL: &str = "DATA_CHANNEL";
    pub(super) const FEATURE: &str = "DATA_FEATURE";
}

fn load(bytes: Cow<'_, [u8]>, cx: &LoadCx) -> Result<(Loaded, LoadReport), FormatError> {
    Limits::check("the file's size", bytes.len() as u64, cx.limits.file_bytes)?;
    scan::check(&bytes, &cx.limits)?;
    let model = ModelProto::decode(Bytes::from(bytes.into_owned()))
        .map_err(|e| FormatError::malformed(format!("the file is damaged: {e}")))?;
    let opset = opset(&model)?;
    let meta = meta(&model)?;
    let graph = model.graph.as_ref().ok_or_else(|| FormatError::malformed("the file holds no graph"))?;
    if !graph.sparse_initializer.is_empty() {
        return Err(FormatError::unsupported("sparse weights are not supported"));
    }
    let inlined: Vec<NodeProto>;
    let nodes = match model.functions.is_empty() {
        true => &graph.node,
        false => {
            inlined = inline::inline(&graph.node, &model.functions, &cx.limits)?;
            &inlined
        }
    };
    Limits::check("the number of nodes", nodes.len() as u64, cx.limits.nodes as u64)?;
    let map = |batch| mapper::map(graph, nodes, opset, batch, cx);
    let Mapped { graph: network, params, layers, mut report } = match map(Batch::Any) {
        Ok(mapped) => mapped,
        // Whatever went wrong, it may have been the size.
        Err(_) => map(Batch::AsStated)?,
    };
    let version = format!("{} {}", model.producer_name, model.producer_version);
    report.version = Some(version.trim().to_owned()).filter(|version| !version.is_empty());
    let name = if graph.name.is_empty() { "model" } else { &graph.name };
    let network = Network {
        name: name.to_owned(),
        kind: Kind::Functional,
        graph: Arc::new(network),
        params,
        layers,
        meta,
    };
    Ok((Loaded::Model(Box::new(network)), report))
}

/// The version of the standard operators.
fn opset(model: &ModelProto) -> Result<i64, FormatError> {
    let standard = model.opset_import.iter().find(|set| is_standard(&set.domain));
    match standard.map(|set| set.version) {
        Some(version) if version >= OLDEST => Ok(version),
        Some(version) => Err(FormatError::unsupported(format!("opset {version} is older than {OLDEST}"))
            .with_hint("`onnx.version_converter.convert_version(model, 17)` makes a newer file of it")),
        None => Err(FormatError::malformed("the file does not say the version of its operators")),
    }
}

fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn meta(model: &ModelProto) -> Result<Meta, FormatError> {
    let entry = model.metadata_props.iter().find(|entry| entry.key == Meta::KEY);
    entry.map_or_else(|| Ok(Meta::default()), |entry| Meta::from_text(&entry.value, "metadata"))
}

fn missing_input(i: usize) -> FormatError {
    FormatError::malformed(format!("its input {i} is missing"))
}
