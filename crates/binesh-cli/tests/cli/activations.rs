//! `binesh activations`

use binesh::formats::npy::NpyArray;
use binesh::render::{GridStyle, grid, matshow};

use crate::sandbox::{Sandbox, assert_close};
use crate::transcript;

#[test]
fn complaints() {
    let sandbox = Sandbox::new();
    sandbox.write("names.txt", b"cat\ndog\n");
    transcript::check(&sandbox, "activations");
}

const LAYERS: [&str; 7] = ["conv1", "pool1", "conv2", "bn", "relu", "pool2", "dropout"];

fn all(sandbox: &Sandbox) -> serde_json::Value {
    sandbox.json("activations -m seq.h5 pix.png --scaling unit --out layers --npz values.npz")
}

/// The values are what `run`, which is tested against Keras, gives for the same input.
#[test]
fn values_of_every_layer_with_a_map() {
    let sandbox = Sandbox::new();
    let report = all(&sandbox);
    let names: Vec<&str> =
        report["layers"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(names, LAYERS);
    let x = sandbox.picture("pix.png").to_array().iter().map(|v| v / 255.0).collect();
    sandbox.write_array("x.npy", &NpyArray { shape: vec![1, 9, 11, 3], data: x });
    let wanted: Vec<String> = LAYERS.iter().map(|layer| format!("--layer {layer}")).collect();
    sandbox.ok(&format!("run -m seq.h5 --input x.npy --output run.npz {}", wanted.join(" ")));
    for (layer, entry) in LAYERS.iter().zip(report["layers"].as_array().unwrap()) {
        let values = sandbox.npz("values.npz", layer);
        assert_close(layer, &values, &sandbox.npz("run.npz", layer), 1e-6);
        assert_eq!(entry["shape"], serde_json::json!(values.shape[1..]));
        let zeros = values.data.iter().filter(|v| **v == 0.0).count() as f64 / values.data.len() as f64;
        assert!((entry["zeros_share"].as_f64().unwrap() - zeros).abs() < 1e-9, "{layer}: {entry}, {zeros}");
    }
}

/// The pictures are those that `render` makes of the values, and it is tested against NumPy.
#[test]
fn grids_and_single_channels() {
    let sandbox = Sandbox::new();
    let report = all(&sandbox);
    for (layer, entry) in LAYERS.iter().zip(report["layers"].as_array().unwrap()) {
        let NpyArray { shape, data } = sandbox.npz("values.npz", layer);
        let [_, h, w, c] = shape[..] else { panic!("{shape:?}") };
        let expected = grid(&data, [h, w, c], &GridStyle::default());
        let file = entry["files"][0].as_str().unwrap();
        assert!(sandbox.picture(format!("layers/{file}")) == expected.to_rgb(), "{file}");
    }

    let report = sandbox.json(
        "activations -m seq.h5 pix.png --scaling unit --out single --layer conv2 --layer conv1 --layer conv2 --channel 3 --channel 0",
    );
    let layers = report["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2, "a layer named twice is shown once");
    for (entry, layer) in layers.iter().zip(["conv2", "conv1"]) {
        let NpyArray { shape, data } = sandbox.npz("values.npz", layer);
        for (channel, file) in [3, 0].into_iter().zip(entry["files"].as_array().unwrap()) {
            let alone: Vec<f32> = data.iter().skip(channel).step_by(shape[3]).copied().collect();
            let expected = matshow(&alone, [shape[1], shape[2]], GridStyle::default().min_side);
            let file = file.as_str().unwrap();
            assert!(file.contains(layer) && file.contains(&format!("channel{channel}")), "{file}");
            assert!(sandbox.picture(format!("single/{file}")) == expected.to_rgb(), "{file}");
        }
    }
    assert_eq!(sandbox.files("single").len(), 4, "asked for channels, nothing else is written");
}

#[test]
fn the_page_lists_every_layer_and_shows_files_that_exist() {
    let sandbox = Sandbox::new();
    sandbox.write("names.txt", b"Katze\nHund & Co\n");
    let report =
        sandbox.json("activations -m seq.h5 pix.png --scaling unit --labels names.txt --out a/b/layers");
    let page = String::from_utf8(sandbox.bytes("a/b/layers/index.html")).unwrap();
    let files = sandbox.files("a/b/layers");
    for entry in report["layers"].as_array().unwrap() {
        let [h, w, c] = [0, 1, 2].map(|axis| entry["shape"][axis].as_u64().unwrap());
        assert!(page.contains(entry["name"].as_str().unwrap()), "{entry}");
        assert!(
            page.contains(&format!("{h} x {w} x {c}")) || page.contains(&format!("{h} × {w} × {c}")),
            "{entry}"
        );
    }
    let sources: Vec<&str> =
        page.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(sources.len() >= 8, "{sources:?}");
    for source in sources {
        assert!(files.iter().any(|file| file == source), "{source} is not in {files:?}");
    }
    assert!(
        page.contains("Hund &amp; Co") && page.contains("Katze"),
        "the predicted classes are shown, escaped"
    );
    assert!(!page.contains("http://") && !page.contains("https://"), "the page works offline");
}

/// The layers of the network from which the listing's grids come.
#[test]
fn embedded_network() {
    let sandbox = Sandbox::new();
    let out = sandbox.ok("activations cat.png --out layers --layer stem_conv --channel 31 --npz v.npz");
    assert_eq!(out, "001_stem_conv_channel31.png\n");
    assert_eq!(sandbox.npz("v.npz", "stem_conv").shape, [1, 112, 112, 32]);
}
