//! Files of weights that PyTorch and safetensors wrote (`testdata/golden/torch_files`), by value.

use std::path::{Path, PathBuf};

use binesh_core::Tensor;
use binesh_formats::npy::Npz;
use binesh_formats::{Limits, LoadCx, LoadReport, Loaded, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/torch_files")
}

fn read(name: &str) -> (Vec<(String, Tensor)>, LoadReport) {
    let bytes = std::fs::read(folder().join(name)).unwrap();
    match load(bytes, name, &LoadCx::default()).unwrap() {
        (Loaded::Weights(tensors), report) => (tensors, report),
        _ => panic!("{name} is not a file of weights"),
    }
}

/// Every tensor has the value that PyTorch gave it, to the bit, and there is no other.
#[test]
fn every_file_by_value() {
    let bytes = std::fs::read(folder().join("io.npz")).unwrap();
    let mut expected = Npz::open(&bytes, &Limits::default()).unwrap();
    let about = std::fs::read_to_string(folder().join("io.json")).unwrap();
    let about: serde_json::Value = serde_json::from_str(&about).unwrap();
    let files: Vec<&str> = about["files"].as_array().unwrap().iter().map(|f| f.as_str().unwrap()).collect();
    assert_eq!(files.len(), 10);
    for file in files {
        let (tensors, _) = read(file);
        let mut names: Vec<String> = tensors.iter().map(|(name, _)| format!("{file}/{name}")).collect();
        let mut wanted = expected.names();
        wanted.retain(|name| name.starts_with(&format!("{file}/")));
        names.sort();
        wanted.sort();
        assert_eq!(names, wanted);
        for (name, tensor) in tensors {
            let want = expected.read(&format!("{file}/{name}")).unwrap();
            assert_eq!(tensor.shape().dims(), want.shape, "{file}: {name}");
            assert_eq!(tensor.data(), want.data, "{file}: {name}");
        }
    }
}

#[test]
fn formats_are_known_by_content() {
    for (file, format) in
        [("zip.pth", "torch"), ("legacy.pth", "torch legacy"), ("types.safetensors", "safetensors")]
    {
        assert_eq!(read(file).1.format, format);
    }
}

/// In the order in which the network has them, not that of the alphabet.
#[test]
fn the_order_is_the_files() {
    let names = |file| read(file).0.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let network = [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
        "1.running_mean",
        "1.running_var",
        "1.num_batches_tracked",
        "3.weight",
        "3.bias",
    ];
    for file in ["zip.pth", "legacy.pth", "protocol4.pth", "checkpoint.pth"] {
        assert_eq!(names(file), network, "{file}");
    }
}

#[test]
fn the_rest_of_a_checkpoint_is_reported() {
    assert_eq!(read("checkpoint.pth").1.unused, ["epoch", "args", "best", "optimizer"]);
}
