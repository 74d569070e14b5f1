//! `binesh depth`

use crate::sandbox::Sandbox;
use crate::transcript;

#[test]
fn complaints() {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    transcript::check(&sandbox, "depth");
}

/// Against itself every layer that varies is as it was; the document on the disk is the one printed.
#[test]
fn a_network_is_like_itself() {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    let report = sandbox.json("depth -m seq.h5 --scaling unit photos --against seq.h5 --out out");
    let layers = report["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 7);
    for layer in layers {
        assert!((layer["cka_against"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{layer}");
    }
    let written: serde_json::Value = serde_json::from_slice(&sandbox.bytes("out/depth.json")).unwrap();
    assert_eq!(written, report);
    let page = String::from_utf8(sandbox.bytes("out/index.html")).unwrap();
    for claim in report["claims"].as_array().unwrap() {
        assert!(page.contains(claim["text"].as_str().unwrap()));
    }
}
