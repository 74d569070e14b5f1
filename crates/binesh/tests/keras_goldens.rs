//! Files saved by real Keras, loaded and run: every layer's output and the gradients against what Keras computed.
//!
//! `testdata/gen/golden.py` says what a golden holds. Those of `testdata/golden` are always run; the networks of
//! `keras.applications` are too large to commit: `BINESH_GOLDENS=DIR` names a folder of them, made by
//! `testdata/gen/applications.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use binesh_core::{Grads, NodeId, Plan, PlanSpec, ReluRule, Runtime, Session, Shape, Tensor};
use binesh_formats::npy::{NpyArray, Npz};
use binesh_formats::{Limits, LoadCx, LoadReport, Loaded, Network, load, load_keras};

/// Largest difference allowed, relative to the largest magnitude of the array. See `docs/numerics.md`.
const TOLERANCE: f32 = 1e-4;

/// A gradient may be this many times as far from the truth as a change of the input's fifth digit moves it: which kinks
/// are crossed is chance.
const NOISE_MARGIN: f32 = 3.0;

#[test]
fn committed_goldens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    assert!(run_all(&root) >= 90, "goldens are missing from {}", root.display());
}

#[test]
fn large_goldens() {
    match std::env::var_os("BINESH_GOLDENS") {
        Some(dir) => assert!(run_all(Path::new(&dir)) > 0, "no goldens in {}", dir.display()),
        None => eprintln!(
            "skipped: BINESH_GOLDENS names no folder of large goldens (testdata/gen/applications.py)"
        ),
    }
}

/// Runs every golden below `root`; gives how many files were loaded.
fn run_all(root: &Path) -> usize {
    let only = std::env::var("BINESH_GOLDEN").ok();
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.sort();
    let mut loaded = 0;
    let mut failures = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !folder.join("io.npz").exists() || only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        for (file, model) in models(&folder) {
            loaded += 1;
            let result = model.and_then(|(network, report)| check(&folder, &network, &report));
            match result {
                Ok(worst) => println!("{name}/{file}: worst {worst:.1e}"),
                Err(e) => failures.push(format!("{name}/{file}: {e}")),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {loaded} failed:\n{}", failures.len(), failures.join("\n"));
    loaded
}

type Model = Result<(Network, LoadReport), String>;

/// Every form in which a folder holds its model.
fn models(folder: &Path) -> Vec<(String, Model)> {
    let mut models = Vec::new();
    let cx = LoadCx::default();
    for file in ["model.h5", "model.keras"] {
        if let Ok(bytes) = fs::read(folder.join(file)) {
            let model = match load(bytes, file, &cx) {
                Ok((Loaded::Model(network), report)) => Ok((*network, report)),
                Ok(_) => Err("no architecture".to_owned()),
                Err(e) => Err(e.to_string()),
            };
            models.push((file.to_owned(), model));
        }
    }
    if let Ok(json) = fs::read(folder.join("model.json")) {
        for file in ["model.weights.h5", "legacy_weights.h5"] {
            if let Ok(weights) = fs::read(folder.join(file)) {
                let model = load_keras(&json, weights, ["model.json", file], &cx);
                models.push((format!("model.json + {file}"), model.map_err(|e| e.to_string())));
            }
        }
    }
    models
}

/// Compares everything; gives the worst relative difference.
fn check(folder: &Path, network: &Network, report: &LoadReport) -> Result<f32, String> {
    if !report.missing.is_empty() {
        return Err(format!("weights are missing: {:?}", report.missing));
    }
    let bytes = fs::read(folder.join("io.npz")).unwrap();
    let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
    let arrays: BTreeMap<String, NpyArray> =
        npz.names().into_iter().map(|name| (name.clone(), npz.read(&name).unwrap())).collect();
    let graph = &network.graph;
    let inputs: Vec<Tensor> =
        (0..graph.inputs().len()).map(|i| tensor(&arrays[&format!("input/{i}")])).collect();
    let shapes: Vec<(NodeId, Shape)> =
        graph.inputs().iter().zip(&inputs).map(|(&id, x)| (id, x.shape().clone())).collect();

    let (tolerance, noise) = tolerances(folder);
    let mut worst = 0.0f32;
    let layers: Vec<(&str, NodeId)> = arrays
        .keys()
        .filter_map(|name| name.strip_prefix("layer/"))
        .map(|path| Ok((path, node_of(network, path).ok_or_else(|| format!("no layer `{path}`"))?)))
        .collect::<Result<_, String>>()?;

    // Every layer at once: nothing can be fused.
    let want: Vec<NodeId> = layers.iter().map(|(_, id)| *id).chain(graph.outputs().iter().copied()).collect();
    let session = run(network, &shapes, &inputs, &want, Grads::None)?;
    // Calls of one layer are numbered as Keras ran them, which need not be the order of the file.
    let mut calls: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for (path, id) in &layers {
        calls.entry(plain(path)).or_default().push(*id);
    }
    for (path, own) in &layers {
        let what = format!("layer `{path}`");
        let want = &arrays[&format!("layer/{path}")];
        let left = calls.get_mut(&plain(path)).unwrap();
        let mut found = left.iter().map(|&id| (id, compare(&what, want, tolerance, &session, id)));
        let (id, d) = match found.find(|(_, d)| d.is_ok()) {
            Some((id, d)) => (id, d?),
            None => (*own, compare(&what, want, tolerance, &session, *own)?),
        };
        left.retain(|&other| other != id);
        worst = worst.max(d);
    }
    // The outputs alone: everything that can be is fused.
    let session = run(network, &shapes, &inputs, graph.outputs(), Grads::None)?;
    for (i, &id) in graph.outputs().iter().enumerate() {
        let what = format!("output {i}, fused");
        worst = worst.max(compare(&what, &arrays[&format!("output/{i}")], tolerance, &session, id)?);
    }

    let mut wrt = Vec::new();
    for name in arrays.keys() {
        if let Some(i) = name.strip_prefix("grad/input/") {
            wrt.push((name, graph.inputs()[i.parse::<usize>().unwrap()]));
        } else if let Some(param) = name.strip_prefix("grad/param/") {
            let id = graph.find(param).ok_or_else(|| format!("no weight `{param}`"))?;
            wrt.push((name, id));
        }
    }
    let ids: Vec<NodeId> = wrt.iter().map(|(_, id)| *id).collect();
    if !ids.is_empty() {
        let output = graph.outputs()[0];
        let mut session = run(network, &shapes, &inputs, &[output], Grads::Wrt(&ids))?;
        session
            .backward(&network.params, &[(output, tensor(&arrays["seed"]))], ReluRule::Exact)
            .map_err(|e| e.to_string())?;
        for (name, id) in &wrt {
            let grad = session.grad(*id).ok_or_else(|| format!("no gradient `{name}`"))?;
            let mut want = arrays[*name].clone();
            let weight = format!("{}: ", graph.node(*id).name);
            let change =
                report.transposed.iter().find_map(|line| line.strip_prefix(&weight)).unwrap_or_default();
            if change.starts_with("transposed") {
                // [O, I, Kh, Kw] -> [Kh, Kw, I, O]
                want.data = permute(&want.data, &want.shape, [2, 3, 1, 0]);
                want.shape = [2, 3, 1, 0].map(|axis| want.shape[axis]).to_vec();
            }
            if change.ends_with("turned by 180 degrees") {
                let per_tap = want.shape[2] * want.shape[3];
                want.data = want.data.chunks(per_tap).rev().flatten().copied().collect();
            }
            let tolerance = noise.get(*name).map_or(tolerance, |noise| tolerance.max(NOISE_MARGIN * noise));
            worst = worst.max(difference(name, &want, tolerance, grad.shape().dims(), grad.data())?);
        }
    }
    Ok(worst)
}

fn run(
    network: &Network,
    shapes: &[(NodeId, Shape)],
    inputs: &[Tensor],
    want: &[NodeId],
    grads: Grads<'_>,
) -> Result<Session, String> {
    let plan = Plan::new(&network.graph, PlanSpec { inputs: shapes, want, grads, ..PlanSpec::default() })
        .map_err(|e| e.to_string())?;
    let mut session = Session::new(plan, Runtime::new(2));
    let order = session.inputs().to_vec();
    let views: Vec<_> = order
        .iter()
        .map(|id| inputs[shapes.iter().position(|(input, _)| input == id).unwrap()].view())
        .collect();
    session.run(&network.params, &views).map_err(|e| e.to_string())?;
    Ok(session)
}

fn tensor(array: &NpyArray) -> Tensor {
    Tensor::new(array.shape.clone(), array.data.clone()).unwrap()
}

/// `TOLERANCE`, unless the golden's notes say that Keras itself computed with fewer digits; and how far a change of the
/// input's fifth digit moves each gradient, where the golden says.
fn tolerances(folder: &Path) -> (f32, BTreeMap<String, f32>) {
    let about = fs::read(folder.join("io.json")).unwrap();
    let about: serde_json::Value = serde_json::from_slice(&about).unwrap();
    let notes = about["notes"].as_str().unwrap_or_default();
    let tolerance = notes
        .split_once("computed in float16: tolerance ")
        .map_or(TOLERANCE, |(_, value)| value.parse().unwrap());
    let noise = about["noise"].as_object().into_iter().flatten();
    (tolerance, noise.map(|(name, value)| (name.clone(), value.as_f64().unwrap() as f32)).collect())
}

/// `outer#1/inner#2` without the numbers of the calls.
fn plain(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').map(|part| part.split('#').next().unwrap()).collect();
    parts.join("/")
}

/// The node of `outer#1/inner#2:0`.
fn node_of(network: &Network, path: &str) -> Option<NodeId> {
    let (path, output) = match path.rsplit_once(':') {
        Some((path, output)) => (path, output.parse().ok()?),
        None => (path, 0),
    };
    network.graph.find(path).or_else(|| {
        let call = path.rsplit('/').next()?.split_once('#').map_or(Some(0), |(_, n)| n.parse().ok())?;
        let plain = plain(path);
        // The branches of a `Merge` of Keras 1 have no names in the file.
        let layer = network.layers.find(&plain).or_else(|| network.layers.find(plain.rsplit('/').next()?))?;
        network.layers.get(layer).calls.get::<usize>(call)?.outputs.get::<usize>(output).copied()
    })
}

fn compare(
    what: &str,
    want: &NpyArray,
    tolerance: f32,
    session: &Session,
    id: NodeId,
) -> Result<f32, String> {
    let got = session.value(id);
    difference(what, want, tolerance, got.shape().dims(), got.data())
}

fn difference(
    what: &str,
    want: &NpyArray,
    tolerance: f32,
    shape: &[usize],
    got: &[f32],
) -> Result<f32, String> {
    let permuted;
    let mut got = got;
    if shape != want.shape {
        // A layer of a file with channels first is held with channels last.
        let axes = [0, 3, 1, 2];
        if shape.len() != 4 || axes.map(|axis| shape[axis]) != want.shape[..] {
            return Err(format!("{what}: shape {shape:?}, Keras has {:?}", want.shape));
        }
        permuted = permute(got, shape, axes);
        got = &permuted;
    }
    let scale = want.data.iter().fold(0.0f32, |m, v| m.max(v.abs())).max(f32::MIN_POSITIVE);
    let mut worst = 0.0f32;
    for (i, (a, b)) in want.data.iter().zip(got).enumerate() {
        let d = (a - b).abs() / scale;
        if d > tolerance || d.is_nan() {
            return Err(format!("{what}: value {i} is {b}, Keras has {a}; the largest magnitude is {scale}"));
        }
        worst = worst.max(d);
    }
    Ok(worst)
}

/// Axis `n` of the result is axis `axes[n]` of `x`.
fn permute(x: &[f32], shape: &[usize], axes: [usize; 4]) -> Vec<f32> {
    let strides = [shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1];
    let [_, b, c, d] = axes.map(|axis| shape[axis]);
    let at = |i: usize| [i / (b * c * d), i / (c * d) % b, i / d % c, i % d];
    let from = |i: usize| at(i).iter().zip(axes).map(|(i, axis)| i * strides[axis]).sum::<usize>();
    (0..x.len()).map(|i| x[from(i)]).collect()
}
