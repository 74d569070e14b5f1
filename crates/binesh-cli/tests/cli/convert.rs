//! `binesh convert`

use crate::sandbox::{Sandbox, assert_close, golden_array};
use crate::transcript;

#[test]
fn what_it_prints() {
    let sandbox = Sandbox::new();
    sandbox.write("names.txt", b"no\nyes\n");
    sandbox.write("there.onnx", b"mine");
    transcript::check(&sandbox, "convert");
    assert_eq!(sandbox.bytes("there.onnx"), b"mine");
    assert!(!sandbox.path("no.onnx").exists());
    let left: Vec<String> =
        sandbox.files(".").into_iter().filter(|name| name.starts_with(".binesh")).collect();
    assert_eq!(left, [""; 0], "temporary files are left");
}

/// Through every format that is a network, and back: the same values as Keras gave for the first file.
#[test]
fn what_is_converted_computes_the_same() {
    let sandbox = Sandbox::new();
    sandbox.write_array("x.npy", &golden_array("keras208_sequential", "input/0"));
    let expected = golden_array("keras208_sequential", "output/0");
    let mut from = "seq.h5".to_owned();
    for to in ["a.keras", "b.onnx", "c.h5", "d.onnx", "e.keras"] {
        sandbox.ok(&format!("convert {from} {to} --scaling unit"));
        sandbox.ok(&format!("run -m {to} --input x.npy --output y.npz"));
        assert_close(to, &sandbox.npz("y.npz", "dense2"), &expected, 1e-5);
        from = to.to_owned();
    }
}

/// The scaling is said by the first file and done by the second: photos get the same probabilities.
#[test]
fn scaling_goes_into_the_network() {
    let sandbox = Sandbox::new();
    for scaling in ["unit", "tf", "torch", "caffe"] {
        let before = sandbox.json(&format!("predict -m seq.h5 --scaling {scaling} pix.png"));
        for ending in ["keras", "h5", "onnx"] {
            sandbox.ok(&format!("convert seq.h5 in.{ending} --scaling {scaling} --scale-inside --force"));
            let after = sandbox.json(&format!("predict -m in.{ending} pix.png"));
            let of = |report: &serde_json::Value| {
                let top = report["predictions"][0]["top"].as_array().unwrap();
                let mut all: Vec<(u64, f64)> = top
                    .iter()
                    .map(|one| (one["class"].as_u64().unwrap(), one["probability"].as_f64().unwrap()))
                    .collect();
                all.sort_by_key(|one| one.0);
                all
            };
            for (a, b) in of(&before).iter().zip(of(&after)) {
                assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-5, "{scaling}, {ending}: {a:?}, {b:?}");
            }
        }
    }
}
