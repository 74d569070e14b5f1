//! Weights alone: recognized, named, refused.

use std::fs;

use binesh::core::Tensor;
use binesh::formats::Limits;
use binesh::formats::npy::Npz;
use binesh::formats::safetensors::{StateDict, write};

use crate::sandbox::{Sandbox, root};
use crate::transcript;

/// The names and shapes of a golden network of the zoo, without its values.
fn blank(name: &str) -> Vec<u8> {
    let bytes = fs::read(root().join(format!("testdata/golden/zoo/{name}.npz"))).unwrap();
    let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
    let names = npz.read("names").unwrap().data.into_iter().map(|byte| byte as u8).collect();
    let names = String::from_utf8(names).unwrap();
    let mut shapes = npz.read("shapes").unwrap().data.into_iter().map(|n| n as usize);
    let tensor = |name: &str| {
        let rank = shapes.next().unwrap();
        (name.to_owned(), Tensor::zeros(shapes.by_ref().take(rank).collect::<Vec<_>>()))
    };
    let weights: StateDict = names.lines().map(tensor).collect();
    write(&weights, None)
}

#[test]
fn weights_of_known_and_unknown_architectures() {
    let sandbox = Sandbox::new();
    let golden = root().join("testdata/golden");
    sandbox.write("squeezenet.safetensors", &blank("squeezenet1_1"));
    sandbox.write("mobile.safetensors", &blank("timm.mobilenetv3_small_100"));
    sandbox.copy(&golden.join("torch_files/zip.pth"), "own.pth");
    sandbox.copy(&golden.join("keras2_sequential/model.h5"), "keras.h5");
    sandbox.copy(&root().join("testdata/bad/torch_module.pth"), "module.pth");
    transcript::check(&sandbox, "weights");
}
