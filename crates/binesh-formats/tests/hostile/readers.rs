//! The readers, one function each: what is done with any bytes, and what must hold of whatever was accepted.
//!
//! `fuzz/fuzz_targets` hands them to libFuzzer, `tests/mutations.rs` to every seed and its mutations.

use binesh_core::Op;
use binesh_formats::npy::{Npz, read_npy};
use binesh_formats::{FORMATS, Limits, LoadCx, LoadReport, Loaded, Network, load, load_keras};

/// A reader of bytes, which panics where something does not hold that must.
pub(crate) struct Reader {
    /// Of its target in `fuzz/`, and of its folder in `testdata/regress`.
    pub(crate) name: &'static str,
    /// Endings of the names of files to begin with.
    pub(crate) seeds: &'static [&'static str],
    /// Whether the bytes were accepted.
    pub(crate) read: fn(&[u8]) -> bool,
}

pub(crate) const READERS: &[Reader] = &[
    Reader { name: "keras_h5", seeds: &[".h5"], read: keras_h5 },
    Reader { name: "keras_archive", seeds: &[".keras"], read: keras_archive },
    Reader { name: "keras_json", seeds: &[".json"], read: keras_json },
    Reader { name: "keras_weights", seeds: &["weights.h5"], read: keras_weights },
    Reader { name: "onnx", seeds: &[".onnx"], read: onnx },
    Reader { name: "torch_archive", seeds: &[".pth", ".pt"], read: torch_archive },
    Reader { name: "torch_legacy", seeds: &["legacy.pth"], read: torch_legacy },
    Reader { name: "safetensors", seeds: &[".safetensors"], read: safetensors },
    Reader { name: "npy", seeds: &[".npz"], read: npy },
    Reader { name: "npz", seeds: &[".npz"], read: npz },
    Reader {
        name: "any",
        seeds: &[".h5", ".keras", ".json", ".onnx", ".pth", ".pt", ".pkl", ".safetensors"],
        read: any,
    },
];

pub(crate) fn keras_h5(bytes: &[u8]) -> bool {
    format("keras h5", bytes)
}

pub(crate) fn keras_archive(bytes: &[u8]) -> bool {
    format("keras", bytes)
}

pub(crate) fn keras_json(bytes: &[u8]) -> bool {
    format("keras json", bytes)
}

/// Weights beside an architecture that is as it should be.
pub(crate) fn keras_weights(bytes: &[u8]) -> bool {
    const ARCHITECTURE: &[u8] = include_bytes!("../../../../testdata/golden/keras2_sequential/model.json");
    let cx = tight();
    match load_keras(ARCHITECTURE, bytes.to_vec(), ["it", "weights"], &cx) {
        Ok((network, report)) => holds(&network, &report, &cx.limits),
        Err(_) => false,
    }
}

pub(crate) fn onnx(bytes: &[u8]) -> bool {
    format("onnx", bytes) || with("onnx", bytes, &LoadCx { partial: true, ..tight() })
}

pub(crate) fn torch_archive(bytes: &[u8]) -> bool {
    format("torch", bytes)
}

pub(crate) fn torch_legacy(bytes: &[u8]) -> bool {
    format("torch legacy", bytes)
}

pub(crate) fn safetensors(bytes: &[u8]) -> bool {
    format("safetensors", bytes)
}

pub(crate) fn npy(bytes: &[u8]) -> bool {
    let limits = tight().limits;
    let Ok(array) = read_npy(bytes, &limits) else { return false };
    assert_eq!(array.shape.iter().product::<usize>(), array.data.len());
    assert!(array.data.len() as u64 <= limits.tensor_elements);
    true
}

pub(crate) fn npz(bytes: &[u8]) -> bool {
    let limits = tight().limits;
    let Ok(mut npz) = Npz::open(bytes, &limits) else { return false };
    npz.names().iter().filter(|name| npz.read(name).is_ok()).count() > 0
}

/// Whatever the bytes look like.
pub(crate) fn any(bytes: &[u8]) -> bool {
    let cx = tight();
    accepted(load(bytes, "it", &cx).map_err(|e| e.to_string()), &cx.limits)
}

fn format(name: &str, bytes: &[u8]) -> bool {
    with(name, bytes, &tight())
}

fn with(name: &str, bytes: &[u8], cx: &LoadCx) -> bool {
    let format = FORMATS.iter().find(|format| format.name == name).expect("a format of this name");
    accepted((format.load)(bytes.into(), cx).map_err(|e| e.to_string()), &cx.limits)
}

/// Limits as small as let every seed pass, so that what reaches them does so in little time and memory.
fn tight() -> LoadCx {
    let mut limits = Limits::default();
    (limits.file_bytes, limits.json_bytes) = (16 << 20, 4 << 20);
    (limits.tensor_elements, limits.all_elements) = (1 << 20, 1 << 21);
    (limits.layers, limits.nodes) = (2000, 5000);
    (limits.archive_entries, limits.pickle_values) = (1000, 50_000);
    LoadCx { limits, ..LoadCx::default() }
}

fn accepted(loaded: Result<(Loaded, LoadReport), String>, limits: &Limits) -> bool {
    match loaded {
        Ok((Loaded::Model(network), report)) => holds(&network, &report, limits),
        Ok((Loaded::Weights(tensors), _)) => {
            let each = tensors.iter().map(|(_, tensor)| {
                assert_eq!(tensor.shape().dims().iter().product::<usize>(), tensor.data().len());
                tensor.data().len() as u64
            });
            assert!(each.sum::<u64>() <= limits.all_elements);
            true
        }
        Ok(_) => true,
        Err(message) => {
            assert!(!message.is_empty() && !message.ends_with('.'), "{message}");
            false
        }
    }
}

/// What the rest of Binesh takes for granted of a network that was loaded.
fn holds(network: &Network, report: &LoadReport, limits: &Limits) -> bool {
    let graph = &network.graph;
    assert!(!graph.outputs().is_empty(), "a network without outputs");
    assert!(graph.nodes().len() <= limits.nodes, "{} nodes", graph.nodes().len());
    let mut elements = 0;
    for id in graph.ids() {
        let node = graph.node(id);
        let Op::Param(param) = &node.op else { continue };
        match network.params.get(id) {
            Some(value) => assert_eq!(*value.shape(), param.shape, "{}", node.name),
            None => assert!(report.missing.contains(&node.name), "{} has no value", node.name),
        }
        elements += network.params.get(id).map_or(0, |value| value.data().len() as u64);
    }
    assert!(elements <= limits.all_elements, "{elements} elements");
    for (_, layer) in network.layers.iter() {
        for id in layer.calls.iter().flat_map(|call| &call.outputs).chain(&layer.params) {
            assert!(id.index() < graph.nodes().len(), "{} has a node that is not there", layer.path);
        }
    }
    true
}
