//! `binesh extract`

use binesh::formats::npy::NpyArray;

use crate::sandbox::{Sandbox, assert_close};
use crate::transcript;

#[test]
fn what_it_prints() {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    sandbox.write("notes.txt", b"no photo");
    sandbox.write("folder.npz/file", b"");
    sandbox.write("empty/notes.txt", b"no photo");
    transcript::check(&sandbox, "extract");
    assert_eq!(sandbox.npz("f.npz", "features").shape, [1, 7, 9, 4], "the last one that was written");
    for failed in ["nowhere", "nothing.npz", "g.npz"] {
        assert!(!sandbox.path(failed).exists(), "{failed}");
    }
}

/// The same photo by `run`, prepared by hand; by the command's own options.
#[test]
fn features_are_the_values_that_run_gives() {
    let sandbox = Sandbox::new();
    let x = sandbox.picture("pix.png").to_array().iter().map(|v| v / 255.0).collect();
    sandbox.write_array("x.npy", &NpyArray { shape: vec![1, 9, 11, 3], data: x });
    sandbox.ok("run -m seq.h5 --input x.npy --layer conv1 --output y.npz");
    let map = sandbox.npz("y.npz", "conv1");
    let channels = map.shape[3];
    let mean = |channel: usize| {
        let values = map.data.iter().skip(channel).step_by(channels);
        values.clone().sum::<f32>() / values.count() as f32
    };
    let expected = NpyArray { shape: vec![1, channels], data: (0..channels).map(mean).collect() };
    let report = sandbox.json("extract -m seq.h5 --scaling unit pix.png --layer conv1 --out f.npz");
    assert_eq!(report["shape"], serde_json::json!([1, channels]));
    assert_close("features", &sandbox.npz("f.npz", "features"), &expected, 1e-6);
    assert_eq!(sandbox.npz("f.npz", "labels"), NpyArray { shape: vec![1], data: vec![-1.0] });
    // Another scaling gives others.
    sandbox.ok("extract -m seq.h5 --scaling tf pix.png --layer conv1 --out f.npz");
    assert_ne!(sandbox.npz("f.npz", "features").data, expected.data);
}

/// A run's base is what it was, so that a feature extraction's own features come out of it.
#[test]
fn a_run_is_a_model() {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    sandbox.ok("train photos --recipe features -m seq.h5 --head-epochs 2 --views 0 --out run");
    for model in ["run", "seq.h5 --scaling unit"] {
        sandbox.ok(&format!("extract -m {model} photos --out {}.npz", &model[..3]));
    }
    let [run, seq] = ["run.npz", "seq.npz"].map(|name| sandbox.npz(name, "features"));
    assert_eq!(run, seq);
    assert_eq!(run.shape[0], 16);
}
