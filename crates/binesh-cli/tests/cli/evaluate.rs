//! `binesh evaluate`, and a run's folder as a model.

use serde_json::Value;

use crate::sandbox::Sandbox;
use crate::transcript;

/// A sandbox with photos and a run on them.
fn trained() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    sandbox
        .ok("train photos --recipe features -m seq.h5 --head-epochs 8 --views 0 --validation 0.5 --out run");
    sandbox
}

#[test]
fn what_it_prints() {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    sandbox.write("names.txt", b"noon\nnight\n");
    sandbox.write("long.txt", "شب\nnoon, the middle of the day, when the sun is highest\n".as_bytes());
    sandbox.copy(&sandbox.path("photos/noon/1.png"), "table/a.png");
    sandbox.copy(&sandbox.path("photos/night/2.png"), "table/b.png");
    sandbox.write(
        "table/long.csv",
        "a.png,\"noon, the middle of the day, when the sun is highest\"\nb.png,شب\n".as_bytes(),
    );
    for class in ["noon", "night"] {
        for (part, photo) in [("train", 3), ("val", 4), ("test", 5)] {
            sandbox.copy(
                &sandbox.path(format!("photos/{class}/{photo}.png")),
                format!("divided/{part}/{class}/{photo}.png"),
            );
        }
    }
    sandbox.copy(&sandbox.path("photos/night/1.png"), "other/nigth/1.png");
    sandbox.copy(&sandbox.path("photos/night/1.png"), "other/dawn/1.png");
    sandbox.write("notes/night/notes.txt", b"no photo");
    sandbox.write("notes/noon/cut.png", &sandbox.bytes("photos/noon/1.png")[..60]);
    sandbox.copy(&sandbox.path("photos/noon/1.png"), "notes/noon/whole.png");
    sandbox.write("empty/noon/notes.txt", b"no photo");
    sandbox.write("stopped/checkpoints/last.safetensors", b"");
    transcript::check(&sandbox, "evaluate");
}

/// Every figure, computed here from what `predict` says of each photo.
#[test]
fn figures_are_those_of_the_predictions() {
    let sandbox = Sandbox::new();
    sandbox.class_folders("photos");
    sandbox.write("names.txt", b"noon\nnight\n");
    let report = sandbox.json("evaluate seq.h5 photos --labels names.txt --scaling unit --mistakes 99");
    let (mut confusion, mut loss, mut mistakes) = ([[0u64; 2]; 2], 0.0, Vec::new());
    for (truth, class) in ["noon", "night"].into_iter().enumerate() {
        for number in 0..8 {
            let path = format!("photos/{class}/{number}.png");
            let top =
                &sandbox.json(&format!("predict -m seq.h5 --scaling unit {path}"))["predictions"][0]["top"];
            let entry = |at: usize| {
                (top[at]["class"].as_u64().unwrap() as usize, top[at]["probability"].as_f64().unwrap())
            };
            let (predicted, probability) = entry(0);
            let of_truth = if predicted == truth { probability } else { entry(1).1 };
            confusion[truth][predicted] += 1;
            loss -= of_truth.ln() / 16.0;
            if predicted != truth {
                mistakes.push((path, probability, of_truth));
            }
        }
    }
    mistakes.sort_by(|a, b| b.1.total_cmp(&a.1));
    let correct = confusion[0][0] + confusion[1][1];
    assert!((1..16).contains(&correct), "the photos prove little: {confusion:?}");
    assert_eq!(report["confusion"], serde_json::json!(confusion));
    assert_eq!(report["samples"], 16);
    assert_eq!(report["correct"], correct);
    assert_eq!(report["accuracy"], correct as f64 / 16.0);
    let close = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap();
        assert!((value - expected).abs() < 1e-5, "{value}, expected {expected}");
    };
    close(&report["loss"], loss);
    for class in 0..2 {
        let (hits, other) = (confusion[class][class] as f64, 1 - class);
        let entry = &report["per_class"][class];
        assert_eq!(entry["label"], ["noon", "night"][class]);
        assert_eq!(entry["support"], 8);
        close(&entry["recall"], hits / 8.0);
        let predicted = hits + confusion[other][class] as f64;
        close(&entry["precision"], if predicted > 0.0 { hits / predicted } else { 0.0 });
        close(&entry["f1"], 2.0 * hits / (8.0 + predicted));
    }
    let listed = report["mistakes"].as_array().unwrap();
    assert_eq!(listed.len(), mistakes.len());
    for (got, (path, probability, of_truth)) in listed.iter().zip(&mistakes) {
        assert_eq!(got["image"], path.as_str());
        close(&got["probability"], *probability);
        close(&got["truth_probability"], *of_truth);
    }
}

/// Without DATA a run is judged on what it held out, which gives the figures that the run itself ended with.
#[test]
fn a_run_is_judged_on_its_own_photos() {
    let sandbox = trained();
    let judged = sandbox.json("evaluate run");
    assert_eq!(judged["part"], "validation");
    assert_eq!(judged["samples"], 8);
    assert_eq!(judged["classes"], serde_json::json!(["night", "noon"]));
    let metrics: Value = serde_json::from_slice(&sandbox.bytes("run/metrics.json")).unwrap();
    let own = &metrics["evaluation"];
    for field in ["accuracy", "loss", "confusion", "calibration"] {
        assert_eq!(judged[field], own[field], "{field}");
    }
    let of = |part: &str| sandbox.json(&format!("evaluate run --part {part}"))["correct"].as_u64().unwrap();
    let all = sandbox.json("evaluate run photos");
    assert_eq!(all["part"], Value::Null);
    assert_eq!(all["samples"], 16);
    assert_eq!(all["correct"].as_u64().unwrap(), of("train") + of("validation"));
    let ran = sandbox.run("evaluate run photos");
    assert!(ran.stderr.starts_with("note: the run was trained on some of these photos"), "{ran}");
}

/// The folder of a run stands for the model in it, with the user's own class names.
#[test]
fn a_run_is_a_model() {
    let sandbox = trained();
    sandbox.write_array("x.npy", &crate::sandbox::golden_array("keras208_sequential", "input/0"));
    for line in [
        "predict -m RUN photos/noon/1.png photos/night/1.png",
        "heatmap -m RUN photos/noon/1.png --out maps",
        "activations -m RUN photos/noon/1.png --out layers",
        "summary RUN",
        "run -m RUN --input x.npy --output y.npz",
        "evaluate RUN photos",
    ] {
        let of = |model: &str| sandbox.json(&line.replace("RUN", model));
        assert_eq!(of("run"), of("run/model.keras"), "{line}");
    }
    let top = sandbox.json("predict -m run photos/noon/1.png")["predictions"][0]["top"].clone();
    let mut labels = [0, 1].map(|at: usize| top[at]["label"].as_str().unwrap().to_owned());
    labels.sort();
    assert_eq!(labels, ["night", "noon"]);
    // As a base it gives what its model file gives.
    let train = |model: &str, out: &str| {
        sandbox
            .ok(&format!("train photos --recipe features -m {model} --head-epochs 2 --views 0 --out {out}"));
        sandbox.bytes(format!("{out}/history.csv"))
    };
    let losses = |csv: Vec<u8>| -> Vec<String> {
        let text = String::from_utf8(csv).unwrap();
        text.lines().map(|line| line.split(',').take(6).collect::<Vec<_>>().join(",")).collect()
    };
    assert_eq!(losses(train("run", "again")), losses(train("run/model.keras", "file")));
}
