//! Writer of ONNX files, opset 17.
//!
//! [`values`] keeps track of how each value lies in the file, [`ops`] says what each operator becomes.
//!
//! # Layout
//! A graph here has channels last, ONNX's operators on pictures have them first. A value is held in the file in whatever
//! order of axes its operator gives it ([`values::Held`]); what works on each value alone, along an axis or between two
//! values goes on in that order, and a `Transpose` is written only where an operator needs another one, once for all that
//! do. So a chain of convolutions has one, at the picture, and a `Permute` is none. Inputs and outputs are as in the graph:
//! the file is fed `[N, H, W, C]`.

mod activation;
mod ops;
mod pictures;
mod shaping;
mod values;

use binesh_core::{NodeId, Op};
use prost::Message;

use super::denotation;
use super::proto::{
    Dimension, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto,
    TensorType, TypeProto, ValueInfoProto, data_type,
};
use crate::error::FormatError;
use crate::meta::Meta;
use crate::network::Network;
use crate::save::{Writer, Written};

use self::values::Values;

/// A graph of operators and its weights.
pub(crate) const WRITER: Writer = Writer { ending: "onnx", what: "ONNX, opset 17", save };

/// The set of operators that is written: the first with layer normalisation, three years old and read by all.
const OPSET: i64 = 17;

/// The version of the format that came with it.
const IR_VERSION: i64 = 8;

/// What a message of protocol buffers may have.
const LARGEST: u64 = (1 << 31) - 1;

fn save(network: &Network) -> Result<Written, FormatError> {
    let graph = &*network.graph;
    let (needed, _) = network.needed();
    let of_weights = graph.ids().filter(|id| needed[id.index()]).map(|id| match &graph.node(id).op {
        Op::Param(param) => 4 * param.shape.len() as u64,
        _ => 0,
    });
    fits(of_weights.sum())?;
    let mut values = Values::new(network);
    for id in graph.ids().filter(|id| needed[id.index()]) {
        let node = graph.node(id);
        values.write(id).map_err(|e| e.in_layer(&node.name, node.op.operator().name()))?;
    }
    let inputs: Vec<String> = graph.inputs().iter().map(|&id| graph.node(id).name.clone()).collect();
    let mut outputs = Vec::new();
    for &id in graph.outputs() {
        outputs.push(values.output(id, &outputs)?);
    }
    let info = |(&id, name): (&NodeId, String)| ValueInfoProto { name, r#type: Some(type_of(network, id)) };
    let (node, initializer) = values.finish();
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "binesh".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(GraphProto {
            node,
            name: network.name.clone(),
            initializer,
            input: graph.inputs().iter().zip(inputs).map(info).collect(),
            output: graph.outputs().iter().zip(outputs).map(info).collect(),
            sparse_initializer: Vec::new(),
        }),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: vec![StringStringEntryProto {
            key: Meta::KEY.to_owned(),
            value: network.meta.to_json()?.to_string(),
        }],
        functions: Vec::new(),
    };
    fits(model.encoded_len() as u64)?;
    Ok(Written { bytes: model.encode_to_vec(), notes: Vec::new() })
}

fn fits(bytes: u64) -> Result<(), FormatError> {
    if bytes <= LARGEST {
        return Ok(());
    }
    let text = format!("the network has {bytes} bytes, more than the {LARGEST} that an ONNX file may have");
    let hint =
        "weights in files beside the model (external data) are not written; `.keras` has no such limit";
    Err(FormatError::unsupported(text).with_hint(hint))
}

/// Floats of the value's extents. Those that are free have names where their meaning is known.
fn type_of(network: &Network, id: NodeId) -> TypeProto {
    let graph = &network.graph;
    let batch = graph.inputs().first().and_then(|&input| extent(network, input, 0));
    let is_input = matches!(graph.node(id).op, Op::Input(_));
    let dims = graph.dims(id);
    let dim = |(axis, dim): (usize, &Option<usize>)| {
        let name = match (axis, is_input, dims.len()) {
            _ if dim.is_some() => None,
            (0, true, _) => Some("batch"),
            (0, false, _) if extent(network, id, 0) == batch => Some("batch"),
            (1, true, 4) => Some("height"),
            (2, true, 4) => Some("width"),
            _ => None,
        };
        // Else only a guess would tell channels first from channels last.
        let denotation = match (is_input && dims.len() == 4, axis) {
            (true, 0) => denotation::BATCH,
            (true, 3) => denotation::CHANNEL,
            (true, _) => denotation::FEATURE,
            (false, _) => "",
        };
        Dimension {
            dim_value: dim.map(|n| n as i64),
            dim_param: name.map(str::to_owned),
            denotation: denotation.to_owned(),
        }
    };
    let shape = TensorShapeProto { dim: dims.iter().enumerate().map(dim).collect() };
    TypeProto { tensor_type: Some(TensorType { elem_type: data_type::FLOAT, shape: Some(shape) }) }
}

/// An extent under the two sizes of everything free.
fn extent(network: &Network, id: NodeId, axis: usize) -> Option<[usize; 2]> {
    let [a, b] = network.graph.probes(id);
    Some([*a.dims().get(axis)?, *b.dims().get(axis)?])
}
