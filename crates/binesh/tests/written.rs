//! Networks written in every format and read again: the same outputs, weights to the bit, names and preprocessing.
//!
//! `BINESH_WRITTEN=DIR` keeps what was written there, each network in a folder with its inputs and outputs, for
//! `testdata/gen/check_written.py`, which asks real Keras and ONNX Runtime. `BINESH_WRITE=FILE:FILE...` names more model files.

#[path = "written/operators.rs"]
mod operators;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use binesh::zoo;
use binesh_core::{NodeId, Op, Plan, PlanSpec, Runtime, Session, Shape, Tensor};
use binesh_formats::npy::{NpyArray, Npz};
use binesh_formats::{Limits, LoadCx, Loaded, Network, WRITERS, Writer, load, load_keras};

/// Largest difference between a network and itself read again, relative to the largest magnitude: sums and factors may
/// have moved from one operator to another.
const TOLERANCE: f32 = 1e-6;

/// A network, and what it is given.
struct Case {
    name: String,
    network: Network,
    inputs: Vec<Tensor>,
}

/// What a format cannot express, by case and how the file's name ends; or what we do not read of it.
const REFUSED: &[(&str, &str, &str)] = &[
    ("op_max_pool2d_dilated", "h5", POOLING),
    ("op_max_pool2d_dilated", "keras", POOLING),
    ("op_permute_with_the_batch", "h5", TURNED),
    ("op_permute_with_the_batch", "keras", TURNED),
    ("op_regroup_by_another_axis", "h5", SWAPPED),
    ("op_regroup_by_another_axis", "keras", SWAPPED),
    ("onnx_norms-script_onnx", "h5", GROUPS),
    ("onnx_norms-script_onnx", "keras", GROUPS),
    ("onnx_norms-dynamo_onnx", "h5", GROUPS_TOO),
    ("onnx_norms-dynamo_onnx", "keras", GROUPS_TOO),
    ("onnx_resized-script_onnx", "h5", PARTS),
    ("onnx_resized-script_onnx", "keras", PARTS),
    ("onnx_resized-dynamo_onnx", "h5", PARTS_TOO),
    ("onnx_resized-dynamo_onnx", "keras", PARTS_TOO),
    // Keras reads these.
    ("op_binary_of_unequal_ranks", "model.h5", SUMS),
    ("op_binary_of_unequal_ranks", "keras", SUMS),
];

const POOLING: &str = "layer `y` (max_pool2d): Keras has no pooling with dilation";
const TURNED: &str =
    "layer `turned` (permute): the axes [3, 1, 0, 2] move the batch axis, which no Keras layer does";
const SWAPPED: &str =
    "layer `turned` (permute): the axes [1, 0, 2, 3] move the batch axis, which no Keras layer does";
const GROUPS: &str =
    "layer `group/InstanceNormalization` (add): Keras has no layer for this arithmetic with a weight";
const GROUPS_TOO: &str =
    "layer `node_InstanceNormalization_13` (add): Keras has no layer for this arithmetic with a weight";
const PARTS: &str = "layer `grouped/ConvTranspose/slice_1` (slice): Keras cannot compute this from `grouped/ConvTranspose/kernel`, which is a weight";
const PARTS_TOO: &str = "layer `node_convolution_1/slice_1` (slice): Keras cannot compute this from `node_convolution_1/kernel`, which is a weight";
const SUMS: &str = "written: layer `sums` (Sum): reducing over axes [0, 1] of 4 is not supported";

#[test]
fn every_golden_survives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let cases: Vec<Case> = folders.iter().flat_map(|folder| goldens(folder)).collect();
    assert!(cases.len() >= 104, "only {} goldens", cases.len());
    survive(&cases);
}

#[test]
fn every_operator_survives() {
    survive(&operators::cases());
}

#[test]
fn the_embedded_network_survives() {
    let network = zoo::embedded();
    let mut picture = pattern(&[1, 224, 224, 3]);
    picture.data_mut().iter_mut().for_each(|v| *v = *v / 127.5 - 1.0);
    let inputs = vec![picture];
    survive(&[Case { name: "efficientnet_lite0".to_owned(), network, inputs }]);
}

/// Checks every case in every format.
#[track_caller]
fn survive(cases: &[Case]) {
    let mut failures = Vec::new();
    for writer in WRITERS {
        let (mut exact, mut worst) = (0, 0.0f32);
        let mut survived = 0;
        for case in cases {
            let file = format!("model.{}", writer.ending);
            let refused = |of: &&(&str, &str, &str)| of.0 == case.name && file.ends_with(of.1);
            let expected = REFUSED.iter().find(refused).map(|(_, _, message)| *message);
            match (check(case, writer), expected) {
                (Ok(difference), None) => {
                    survived += 1;
                    exact += usize::from(difference == 0.0);
                    worst = worst.max(difference);
                }
                (Err(e), Some(message)) if e == message => {}
                (Ok(_), Some(message)) => {
                    failures
                        .push(format!("{} is written as .{}, expected: {message}", case.name, writer.ending));
                }
                (Err(e), _) => failures.push(format!("{} as .{}: {e}", case.name, writer.ending)),
            }
        }
        let ending = writer.ending;
        println!("{ending}: {survived} of {} survive, {exact} to the bit, worst {worst:.1e}", cases.len());
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn files_that_the_environment_names_survive() {
    let Some(files) = std::env::var_os("BINESH_WRITE") else {
        eprintln!("skipped: BINESH_WRITE names no model files");
        return;
    };
    for file in std::env::split_paths(&files) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&file).unwrap();
        let Ok((Loaded::Model(network), _)) = load(bytes, &name, &LoadCx::default()) else {
            panic!("{} holds no model", file.display());
        };
        let extents = |&id: &NodeId| -> Vec<usize> {
            let dims = network.graph.dims(id).into_iter().enumerate();
            dims.map(|(axis, d)| d.unwrap_or(if axis == 0 { 1 } else { 64 })).collect()
        };
        let inputs = network.graph.inputs().iter().map(|id| pattern(&extents(id))).collect();
        let case = Case { name: name.clone(), network: *network, inputs };
        survive(&[case]);
    }
}

/// Every form in which a golden holds its model, with the golden's inputs.
fn goldens(folder: &Path) -> Vec<Case> {
    let Ok(bytes) = fs::read(folder.join("io.npz")) else { return Vec::new() };
    let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
    let arrays: BTreeMap<String, NpyArray> =
        npz.names().into_iter().map(|name| (name.clone(), npz.read(&name).unwrap())).collect();
    let golden = folder.file_name().unwrap().to_string_lossy().into_owned();
    let cx = LoadCx::default();
    let mut networks = Vec::new();
    for file in ["model.h5", "model.keras"] {
        if let Ok(bytes) = fs::read(folder.join(file)) {
            let Ok((Loaded::Model(network), _)) = load(bytes, file, &cx) else { panic!("{golden}/{file}") };
            networks.push((file.replace('.', "_"), *network));
        }
    }
    if let Ok(json) = fs::read(folder.join("model.json")) {
        for file in ["model.weights.h5", "legacy_weights.h5"] {
            if let Ok(weights) = fs::read(folder.join(file)) {
                let (network, _) = load_keras(&json, weights, ["model.json", file], &cx).unwrap();
                networks.push((file.replace('.', "_"), network));
            }
        }
    }
    for file in ["script.onnx", "dynamo.onnx"] {
        if let Ok(bytes) = fs::read(folder.join(file)) {
            let Ok((Loaded::Model(network), _)) = load(bytes, file, &cx) else { panic!("{golden}/{file}") };
            networks.push((file.replace('.', "_"), *network));
        }
    }
    let case = |(file, network): (String, Network)| {
        let input = |i| {
            let array: &NpyArray = &arrays[&format!("input/{i}")];
            let value = Tensor::new(array.shape.clone(), array.data.clone()).unwrap();
            if file.ends_with("_onnx") { value.permuted(&[0, 2, 3, 1]) } else { value }
        };
        let inputs = (0..network.graph.inputs().len()).map(input).collect();
        Case { name: format!("{golden}-{file}"), network, inputs }
    };
    networks.into_iter().map(case).collect()
}

/// Values between 0 and 255 that are not all alike.
fn pattern(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let data = (0..n).map(|i| (i.wrapping_mul(2_654_435_761) >> 7 & 0xff) as f32).collect();
    Tensor::new(shape.to_vec(), data).unwrap()
}

/// Writes and reads; gives the worst difference.
fn check(case: &Case, writer: &Writer) -> Result<f32, String> {
    let Case { name, network, inputs } = case;
    let written = (writer.save)(network).map_err(|e| e.to_string())?.bytes;
    let again = (writer.save)(network).map_err(|e| e.to_string())?.bytes;
    assert!(written == again, "{name} is written in two ways as .{}", writer.ending);
    let outputs = run(network, inputs)?;
    keep(case, writer, &written, &outputs);
    let (read, report) = match load(&written[..], "written", &LoadCx::default()) {
        Ok((Loaded::Model(read), report)) => (*read, report),
        Ok((Loaded::Weights(tensors), report)) => {
            assert!(writer.is_weights_alone(), "{name}: .{} has no network", writer.ending);
            let tensors = tensors.iter().map(|(_, value)| bits(value));
            let missing =
                weights(network).into_iter().filter(|weight| !tensors.clone().any(|t| t == *weight));
            assert!(writer.ending != "safetensors" || report.meta == network.meta, "{name}");
            return if missing.count() == 0 { Ok(0.0) } else { Err("weights are missing".to_owned()) };
        }
        Ok(_) => return Err("no model was written".to_owned()),
        Err(e) => return Err(e.to_string()),
    };
    assert_eq!(read.meta, network.meta, "{name}");
    assert_eq!((report.missing, report.unused), (Vec::new(), Vec::new()), "{name}");
    if writer.ending != "onnx" && weights(&read) != weights(network) {
        return Err("weights have changed".to_owned());
    }
    let mut worst = 0.0f32;
    for (i, (want, got)) in outputs.iter().zip(run(&read, inputs)?).enumerate() {
        if want.shape() != got.shape() {
            return Err(format!("output {i} has shape {} and had {}", got.shape(), want.shape()));
        }
        let scale =
            want.data().iter().fold(f32::MIN_POSITIVE, |m, v| if v.is_finite() { m.max(v.abs()) } else { m });
        for (a, b) in want.data().iter().zip(got.data()) {
            let d = if a == b || a.is_nan() && b.is_nan() { 0.0 } else { (a - b).abs() / scale };
            if d > TOLERANCE || d.is_nan() {
                return Err(format!("output {i}: {b}, was {a}; the largest magnitude is {scale}"));
            }
            worst = worst.max(d);
        }
    }
    Ok(worst)
}

/// The bits of all weights that something is computed from.
fn weights(network: &Network) -> Vec<Vec<u32>> {
    let graph = &network.graph;
    let (needed, _) = network.needed();
    let needed = graph.ids().filter(|id| needed[id.index()]);
    let values = needed.filter(|&id| matches!(graph.node(id).op, Op::Param(_)));
    let mut bits: Vec<Vec<u32>> = values.map(|id| bits(network.params.get(id).unwrap())).collect();
    bits.sort_unstable();
    bits
}

fn bits(value: &Tensor) -> Vec<u32> {
    value.data().iter().map(|v| v.to_bits()).collect()
}

fn run(network: &Network, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
    let graph = &network.graph;
    let shapes: Vec<(NodeId, Shape)> =
        graph.inputs().iter().zip(inputs).map(|(&id, x)| (id, x.shape().clone())).collect();
    let spec = PlanSpec { inputs: &shapes, want: graph.outputs(), ..PlanSpec::default() };
    let plan = Plan::new(graph, spec).map_err(|e| e.to_string())?;
    let mut session = Session::new(plan, Runtime::new(2));
    let at = |id: &NodeId| shapes.iter().position(|(input, _)| input == id).unwrap();
    let views: Vec<_> = session.inputs().iter().map(|id| inputs[at(id)].view()).collect();
    session.run(&network.params, &views).map_err(|e| e.to_string())?;
    let value = |&id: &NodeId| {
        let view = session.value(id);
        Tensor::new(view.shape().clone(), view.data().to_vec()).unwrap()
    };
    Ok(graph.outputs().iter().map(value).collect())
}

/// Writes the case where `BINESH_WRITTEN` says: the model, and each array as raw little-endian numbers with its shape in
/// the name.
fn keep(case: &Case, writer: &Writer, written: &[u8], outputs: &[Tensor]) {
    let Some(dir) = std::env::var_os("BINESH_WRITTEN") else { return };
    let folder = Path::new(&dir).join(&case.name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(format!("model.{}", writer.ending)), written).unwrap();
    for (what, tensors) in [("input", &case.inputs[..]), ("output", outputs)] {
        for (i, tensor) in tensors.iter().enumerate() {
            let dims: Vec<String> = tensor.shape().dims().iter().map(usize::to_string).collect();
            let bytes: Vec<u8> = tensor.data().iter().flat_map(|v| v.to_le_bytes()).collect();
            fs::write(folder.join(format!("{what}.{i}.{}.f32", dims.join("x"))), bytes).unwrap();
        }
    }
}
