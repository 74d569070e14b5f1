//! Networks written as `.keras` and read again: the same outputs, weights to the bit, layers, names and preprocessing.
//!
//! `BINESH_WRITTEN=DIR` keeps what was written there, each network in a folder with its inputs and outputs, for
//! `testdata/gen/check_written.py`, which asks real Keras. `BINESH_WRITE=FILE:FILE...` names more model files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use binesh::zoo;
use binesh_core::{NodeId, Op, Plan, PlanSpec, Runtime, Session, Shape, Tensor};
use binesh_formats::npy::{NpyArray, Npz};
use binesh_formats::{Limits, LoadCx, Loaded, Network, load, load_keras, save_keras};

/// Largest difference between a network and itself read again, relative to the largest magnitude: sums and factors may
/// have moved from one operator to another.
const TOLERANCE: f32 = 1e-6;

/// A network, and what it is given.
struct Case {
    name: String,
    network: Network,
    inputs: Vec<Tensor>,
}

#[test]
fn every_golden_survives() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let mut failures = Vec::new();
    let mut checked = 0;
    for case in folders.iter().flat_map(|folder| goldens(folder)) {
        let name = case.name.clone();
        checked += 1;
        match check(&case) {
            Ok(worst) => println!("{name}: worst {worst:.1e}"),
            Err(e) => failures.push(format!("{name}: {e}")),
        }
    }
    assert!(failures.is_empty(), "{} of {checked} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(checked >= 90, "only {checked} goldens");
}

#[test]
fn the_embedded_network_survives() {
    let network = zoo::embedded();
    let mut picture = pattern(&[1, 224, 224, 3]);
    picture.data_mut().iter_mut().for_each(|v| *v = *v / 127.5 - 1.0);
    let inputs = vec![picture];
    let case = Case { name: "efficientnet_lite0".to_owned(), network, inputs };
    check(&case).unwrap();
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
        let worst = check(&case).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!("{name}: worst {worst:.1e}");
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
    let case = |(file, network): (String, Network)| {
        let input = |i| {
            let array: &NpyArray = &arrays[&format!("input/{i}")];
            Tensor::new(array.shape.clone(), array.data.clone()).unwrap()
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
fn check(case: &Case) -> Result<f32, String> {
    let Case { name, network, inputs } = case;
    let written = save_keras(network, None).map_err(|e| e.to_string())?;
    let again = save_keras(network, None).map_err(|e| e.to_string())?;
    assert!(written == again, "{name} is written in two ways");
    let outputs = run(network, inputs)?;
    keep(case, &written, &outputs);
    let (read, report) = match load(&written[..], "written.keras", &LoadCx::default()) {
        Ok((Loaded::Model(read), report)) => (*read, report),
        Ok(_) => return Err("no model was written".to_owned()),
        Err(e) => return Err(e.to_string()),
    };
    assert_eq!(read.meta, network.meta, "{name}");
    assert_eq!((report.missing, report.unused), (Vec::new(), Vec::new()), "{name}");
    if weights(&read) != weights(network) {
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
    let mut needed: Vec<bool> = graph.ids().map(|id| graph.outputs().contains(&id)).collect();
    for (i, node) in graph.nodes().iter().enumerate().rev() {
        if needed[i] {
            node.inputs.iter().for_each(|input| needed[input.index()] = true);
        }
    }
    let needed = graph.ids().filter(|id| needed[id.index()]);
    let values = needed.filter(|&id| matches!(graph.node(id).op, Op::Param(_)));
    let bits = |id| network.params.get(id).unwrap().data().iter().map(|v| v.to_bits()).collect();
    let mut bits: Vec<Vec<u32>> = values.map(bits).collect();
    bits.sort_unstable();
    bits
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

/// Writes the case where `BINESH_WRITTEN` says: `model.keras`, and each array as raw little-endian numbers with its shape
/// in the name.
fn keep(case: &Case, written: &[u8], outputs: &[Tensor]) {
    let Some(dir) = std::env::var_os("BINESH_WRITTEN") else { return };
    let folder = Path::new(&dir).join(&case.name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("model.keras"), written).unwrap();
    for (what, tensors) in [("input", &case.inputs[..]), ("output", outputs)] {
        for (i, tensor) in tensors.iter().enumerate() {
            let dims: Vec<String> = tensor.shape().dims().iter().map(usize::to_string).collect();
            let bytes: Vec<u8> = tensor.data().iter().flat_map(|v| v.to_le_bytes()).collect();
            fs::write(folder.join(format!("{what}.{i}.{}.f32", dims.join("x"))), bytes).unwrap();
        }
    }
}
