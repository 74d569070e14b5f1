//! `binesh predict`

use std::fs;

use binesh::Model;
use binesh::core::Runtime;
use binesh::formats::LoadCx;
use binesh::image::{Interpolation, Preprocess, Scaling};
use serde_json::Value;

use crate::bad::huge_png;
use crate::sandbox::{Sandbox, golden};
use crate::transcript;

#[test]
fn predictions() {
    let sandbox = Sandbox::new();
    sandbox.write("two.txt", "\u{feff}cat\r\ndog\r\n\r\n".as_bytes());
    sandbox.write("three.txt", b"cat\ndog\nbird\n");
    sandbox.write("latin1.txt", b"caf\xe9\n");
    transcript::check(&sandbox, "predict");
}

/// The published network's .386 .331 .162 to two digits: the embedded kernels are rounded to f16.
#[test]
fn egyptian_cat() {
    let report = Sandbox::new().json("predict cat.png --top 3");
    let top = report["predictions"][0]["top"].as_array().unwrap();
    for (class, (label, probability)) in
        top.iter().zip([("Egyptian cat", 0.386), ("tiger cat", 0.331), ("tabby", 0.162)])
    {
        assert_eq!(class["label"], label);
        let got = class["probability"].as_f64().unwrap();
        assert!((got - probability).abs() < 0.005, "{label}: {got}, expected {probability}");
    }
    assert_eq!(top.len(), 3);
}

/// More pictures than one batch holds, bad ones among them: the good ones are done, in order, as if alone.
#[test]
fn good_pictures_among_bad_ones_are_done() {
    let sandbox = Sandbox::new();
    let photo = fs::read(golden("images/photo.jpg")).unwrap();
    sandbox.copy(&golden("images/photo.jpg"), "photo.jpg");
    sandbox.write("cut.jpg", &photo[..photo.len() / 2]);
    sandbox.write("text.jpg", b"not a picture at all\n");
    sandbox.write("empty.png", b"");
    sandbox.write("huge.png", &huge_png());
    sandbox.write("folder.png/file", b"");
    let names = "pix.png cut.jpg cat.png text.jpg empty.png photo.jpg huge.png folder.png missing.png pix.png cat.png photo.jpg";
    let ran = sandbox.run(&format!("predict -m seq.h5 --scaling unit --json {names}"));
    assert_eq!(ran.code, 1, "{ran}");

    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let images = |key: &str| -> Vec<String> {
        let list = report[key].as_array().unwrap();
        list.iter().map(|entry| entry["image"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(images("predictions"), ["pix.png", "cat.png", "photo.jpg", "pix.png", "cat.png", "photo.jpg"]);
    assert_eq!(
        images("failed"),
        ["cut.jpg", "text.jpg", "empty.png", "huge.png", "folder.png", "missing.png"]
    );
    for entry in report["predictions"].as_array().unwrap() {
        let alone =
            sandbox.json(&format!("predict -m seq.h5 --scaling unit {}", entry["image"].as_str().unwrap()));
        assert_eq!(alone["predictions"][0], *entry);
    }
    // The same line on standard error and in the report.
    let lines: Vec<&str> = ran.stderr.lines().collect();
    let errors: Vec<String> = report["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| format!("error: {}", f["error"].as_str().unwrap()))
        .collect();
    assert_eq!(lines, errors);

    let text = sandbox.run(&format!("predict -m seq.h5 --scaling unit {names}"));
    assert_eq!((text.code, &text.stderr), (1, &ran.stderr));
}

#[test]
fn a_picture_alone_needs_no_name() {
    let sandbox = Sandbox::new();
    let one = sandbox.ok("predict -m seq.h5 --scaling unit pix.png");
    assert!(!one.contains("pix.png"), "{one}");
    assert_eq!(
        sandbox.ok("predict -m seq.h5 --scaling unit pix.png pix.png"),
        format!("pix.png\n{one}").repeat(2)
    );
}

/// `--scaling` and `--interpolation` reach the pixels: as the library prepares them when told so, and each differently.
#[test]
fn options_of_preprocessing() {
    let sandbox = Sandbox::new();
    let open = || Model::open(&sandbox.path("seq.h5"), None, &LoadCx::default(), Runtime::new(1)).unwrap().0;
    let assumed = open().preprocessing().unwrap().preprocess.clone();
    let cat = sandbox.picture("cat.png");
    let scalings = [
        ("none", Scaling::None),
        ("unit", Scaling::Unit),
        ("caffe", Scaling::Caffe),
        ("tf", Scaling::Tf),
        ("torch", Scaling::Torch),
    ];
    let filters = [
        ("nearest", Interpolation::Nearest),
        ("bilinear", Interpolation::Bilinear),
        ("bicubic", Interpolation::Bicubic),
        ("lanczos", Interpolation::Lanczos),
        ("box", Interpolation::Box),
        ("hamming", Interpolation::Hamming),
        ("tf-bilinear", Interpolation::TfBilinear),
    ];
    let scalings = scalings
        .map(|(name, scaling)| (format!("--scaling {name}"), Preprocess { scaling, ..assumed.clone() }));
    let filters = filters.map(|(name, interpolation)| {
        (format!("--scaling unit --interpolation {name}"), Preprocess { interpolation, ..assumed.clone() })
    });
    let mut seen = Vec::new();
    for (option, preprocess) in scalings.into_iter().chain(filters) {
        let mut model = open();
        model.set_preprocess(preprocess);
        let expected = model.predict(std::slice::from_ref(&cat)).unwrap()[0].probabilities[1];
        let report = sandbox.json(&format!("predict -m seq.h5 cat.png {option}"));
        let top = report["predictions"][0]["top"].as_array().unwrap();
        let entry = top.iter().find(|entry| entry["class"] == 1).unwrap();
        let got = entry["probability"].as_f64().unwrap();
        assert!((got - f64::from(expected)).abs() < 1e-6, "{option}: {got}, expected {expected}");
        seen.push(got);
    }
    seen.sort_by(f64::total_cmp);
    seen.dedup();
    // `x / 255` and bicubic are what is assumed without any option.
    assert_eq!(seen.len(), 5 + 7 - 1, "some options change nothing: {seen:?}");
}

/// One sigmoid unit: the input as the file's own preprocessing would have it, by `run` on the same numbers.
#[test]
fn probabilities_are_the_networks_outputs() {
    let sandbox = Sandbox::new();
    for (mode, scale) in [("none", 1.0), ("unit", 1.0 / 255.0)] {
        let x = sandbox.picture("pix.png").to_array().iter().map(|v| v * scale).collect();
        sandbox.write_array("x.npy", &binesh::formats::npy::NpyArray { shape: vec![1, 9, 11, 3], data: x });
        sandbox.ok("run -m seq.h5 --input x.npy --output y.npz");
        let y = f64::from(sandbox.npz("y.npz", "dense2").data[0]);
        let report = sandbox.json(&format!("predict -m seq.h5 --scaling {mode} pix.png"));
        let probability = |class: u64| {
            let top = report["predictions"][0]["top"].as_array().unwrap();
            top.iter().find(|entry| entry["class"] == class).unwrap()["probability"].as_f64().unwrap()
        };
        assert!(
            (probability(1) - y).abs() < 1e-6 && (probability(0) + y - 1.0).abs() < 1e-6,
            "{mode}: {report}, {y}"
        );
    }
}
