//! ONNX files of PyTorch's two exporters against PyTorch (`testdata/gen/onnx_torch.py`), of Keras 3 and of tf2onnx against Keras
//! (`keras_onnx.py`): outputs, all layers at once and fused, and the gradient of the input.
//!
//! `BINESH_ONNX_GOLDEN` names a folder of further ones, whole networks of torchvision, timm and `keras.applications`.

use std::path::{Path, PathBuf};

use binesh::core::{Grads, NodeId, Plan, PlanSpec, ReluRule, Runtime, Session, Tensor};
use binesh::formats::npy::{NpyArray, Npz};
use binesh::formats::{Limits, LoadCx, Loaded, Network, load};

/// Share of the largest value that anything may be off.
const TOLERANCE: f32 = 1e-4;

/// A gradient may be as many times as far off as a change of the input's fifth digit moves it, if that is more: a value
/// near the kink of a rectifier takes the other side (`docs/numerics.md`).
const NOISE_MARGIN: f32 = 3.0;

/// The same for a single `Resize`.
const RESIZED: f32 = 5e-6;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden")
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).collect();
    folders.retain(|folder| folder.join("io.npz").exists() && !files(folder).is_empty());
    folders.sort();
    folders
}

/// What each exporter made of a folder's network.
fn files(folder: &Path) -> Vec<String> {
    const EXPORTERS: [&str; 5] = ["script", "dynamo", "keras", "tf2onnx", "tf2onnx_nchw"];
    let there = |name: &&str| folder.join(format!("{name}.onnx")).exists();
    EXPORTERS.iter().filter(|name| there(name)).map(|name| (*name).to_owned()).collect()
}

#[test]
fn small_networks_of_all_exporters() {
    assert_eq!(check_all(&golden()), 14 + 9, "a golden is missing");
}

#[test]
fn whole_networks_of_all_exporters() {
    match std::env::var_os("BINESH_ONNX_GOLDEN") {
        Some(root) => assert!(check_all(Path::new(&root)) > 0, "there are no networks"),
        None => {
            eprintln!(
                "skipped: BINESH_ONNX_GOLDEN names no folder made by testdata/gen/onnx_torch.py or keras_onnx.py"
            )
        }
    }
}

fn check_all(root: &Path) -> usize {
    let mut files = 0;
    let mut failures = Vec::new();
    for folder in folders(root) {
        for exporter in self::files(&folder) {
            files += 1;
            let name = format!("{}/{exporter}", folder.file_name().unwrap().to_str().unwrap());
            match check(&folder, &exporter) {
                Ok([output, grad]) => println!("{name}: outputs {output:.1e}, input gradient {grad:.1e}"),
                Err(e) => failures.push(format!("{name}: {e}")),
            }
        }
    }
    assert!(failures.is_empty(), "{} of {files} failed:\n{}", failures.len(), failures.join("\n"));
    files
}

/// The worst differences of the output and of the input's gradient.
fn check(folder: &Path, exporter: &str) -> Result<[f32; 2], String> {
    let bytes = std::fs::read(folder.join(format!("{exporter}.onnx"))).unwrap();
    let (network, report) = match load(bytes, exporter, &LoadCx::default()).map_err(|e| e.to_string())? {
        (Loaded::Model(network), report) => (*network, report),
        _ => return Err("no network".to_owned()),
    };
    if !report.unused.is_empty() || !report.missing.is_empty() {
        return Err(format!("weights are left: {:?} {:?}", report.unused, report.missing));
    }
    let io = std::fs::read(folder.join("io.npz")).unwrap();
    let mut npz = Npz::open(&io, &Limits::default()).unwrap();
    let [x, y, seed, grad] =
        ["input/0", "output/0", "seed", "grad/input/0"].map(|key| npz.read(key).unwrap());
    let graph = &network.graph;
    // What exporters of Keras say has the channels first may still be given as the golden has it.
    let first = report.transposed.iter().any(|line| line.ends_with("[N, C, H, W] is given as [N, H, W, C]"));
    let torch = matches!(exporter, "script" | "dynamo");
    if first != (torch || exporter == "tf2onnx_nchw") {
        return Err(format!("the layout of the input is misread: {:?}", report.transposed));
    }
    let mut x = tensor(&x);
    if torch {
        x = x.permuted(&[0, 2, 3, 1]);
    }
    let output = graph.outputs()[0];

    // Every layer at once: nothing can be fused.
    let all: Vec<NodeId> =
        network.layers.iter().flat_map(|(_, l)| l.calls[0].outputs.clone()).chain([output]).collect();
    let whole = run(&network, &x, &all, Grads::None)?;
    let mut worst = difference("output with all layers", &y, whole.value(output).data(), TOLERANCE)?;
    let mut session = run(&network, &x, &[output], Grads::Wrt(&[graph.inputs()[0]]))?;
    worst = worst.max(difference("output", &y, session.value(output).data(), TOLERANCE)?);
    if session.value(output).shape().dims() != y.shape {
        return Err(format!("the output has shape {}", session.value(output).shape()));
    }
    session
        .backward(&network.params, &[(output, tensor(&seed))], ReluRule::Exact)
        .map_err(|e| e.to_string())?;
    let mut got = session.grad(graph.inputs()[0]).unwrap().to_tensor();
    if torch {
        got = got.permuted(&[0, 3, 1, 2]);
    }
    let about: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("io.json")).unwrap()).unwrap();
    let allowed = TOLERANCE.max(NOISE_MARGIN * about["noise"].as_f64().unwrap() as f32);
    Ok([worst, difference("gradient of the input", &grad, got.data(), allowed)?])
}

/// Every mode, rule of coordinates and rounding of `Resize`, as ONNX Runtime computes them (`testdata/gen/onnx_resizes.py`).
#[test]
fn maps_are_resized_as_by_onnx_runtime() {
    let folder = golden().join("onnx_resizes");
    let bytes = std::fs::read(folder.join("resizes.onnx")).unwrap();
    let Ok((Loaded::Model(network), _)) = load(bytes, "resizes", &LoadCx::default()) else {
        panic!("no network")
    };
    let io = std::fs::read(folder.join("io.npz")).unwrap();
    let mut npz = Npz::open(&io, &Limits::default()).unwrap();
    let x = tensor(&npz.read("input/0").unwrap()).permuted(&[0, 2, 3, 1]);
    let outputs = network.graph.outputs();
    let session = run(&network, &x, outputs, Grads::None).unwrap();
    let names: Vec<String> =
        npz.names().iter().filter_map(|n| n.strip_prefix("output/").map(str::to_owned)).collect();
    assert_eq!((names.len(), outputs.len()), (72, 72));
    let mut failures = Vec::new();
    for (name, &id) in names.iter().zip(outputs) {
        let want = npz.read(&format!("output/{name}")).unwrap();
        let got = session.value(id);
        if got.shape().dims() != want.shape {
            failures.push(format!("{name}: shape {}, expected {:?}", got.shape(), want.shape));
        } else if let Err(e) = difference(name, &want, got.data(), RESIZED) {
            failures.push(e);
        }
    }
    assert!(failures.is_empty(), "{} of 72 differ:\n{}", failures.len(), failures.join("\n"));
}

fn run(network: &Network, x: &Tensor, want: &[NodeId], grads: Grads<'_>) -> Result<Session, String> {
    let input = network.graph.inputs()[0];
    let inputs = &[(input, x.shape().clone())];
    let plan = Plan::new(&network.graph, PlanSpec { inputs, want, grads, ..PlanSpec::default() });
    let mut session = Session::new(plan.map_err(|e| e.to_string())?, Runtime::new(2));
    session.run(&network.params, &[x.view()]).map_err(|e| e.to_string())?;
    Ok(session)
}

fn tensor(array: &NpyArray) -> Tensor {
    Tensor::new(array.shape.clone(), array.data.clone()).unwrap()
}

fn difference(what: &str, want: &NpyArray, got: &[f32], allowed: f32) -> Result<f32, String> {
    assert_eq!(want.data.len(), got.len(), "{what}");
    let scale = want.data.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = want
        .data
        .iter()
        .zip(got)
        .fold(0.0f32, |m, (a, b)| if (a - b).is_nan() { f32::NAN } else { m.max((a - b).abs()) })
        / scale;
    if worst <= allowed {
        Ok(worst)
    } else {
        Err(format!("{what} differs by {worst:.1e} of the largest value, {scale}"))
    }
}
