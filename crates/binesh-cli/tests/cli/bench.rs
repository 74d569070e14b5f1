//! `binesh bench`: that its figures are of what was asked for and fit each other. How fast it is, no test knows.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, golden};
use crate::transcript;

#[test]
fn complaints() {
    let sandbox = Sandbox::new();
    sandbox.write("folder/file", b"");
    sandbox.copy(&golden("keras2_sequential/model.json"), "architecture.json");
    sandbox.copy(&golden("keras3_nested_output/model.keras"), "map.keras");
    // Four channels are no picture that preprocessing could bring to a size.
    let open = json!({"class_name": "Sequential", "config": {"name": "open", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, null, null, 4]}},
        {"class_name": "GlobalAveragePooling2D", "config": {"name": "pool"}},
    ]}});
    sandbox.write("open.json", open.to_string().as_bytes());
    transcript::check(&sandbox, "bench");
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("`{key}` is no number: {report}"))
}

#[track_caller]
fn assert_same(what: &str, got: f64, expected: f64) {
    assert!((got / expected - 1.0).abs() < 1e-9, "{what} is {got}, expected {expected}");
}

/// What holds of every report.
#[track_caller]
fn check(report: &Value) {
    let [median, p90, mean] = ["median_ms", "p90_ms", "mean_ms"].map(|key| number(report, key));
    assert!(0.0 < median && median <= p90 && 0.0 < mean, "{report}");
    assert!(number(report, "runs") >= 5.0, "{report}");
    assert_same(
        "images_per_second",
        number(report, "images_per_second"),
        number(report, "batch") / median * 1e3,
    );
    match report["gradient"] == true {
        true => assert_eq!(report["gflops_per_second"], Value::Null),
        false => {
            let rate = 2.0 * number(report, "macs") / median / 1e6;
            assert_same("gflops_per_second", number(report, "gflops_per_second"), rate);
        }
    }
    assert!(number(report, "load_ms") > 0.0 && number(report, "plan_ms") >= 0.0, "{report}");
    match cfg!(target_os = "linux") {
        true => assert!(number(report, "peak_bytes") > 1e6, "{report}"),
        false => assert!(report["peak_bytes"].is_null() || number(report, "peak_bytes") > 1e6, "{report}"),
    }
}

#[test]
fn figures_fit_each_other() {
    let sandbox = Sandbox::new();
    let macs = sandbox.json("summary seq.h5")["mult_adds"].as_u64().unwrap();
    for gradient in ["", "--gradient"] {
        let report = sandbox.json(&format!("bench seq.h5 --batch 3 --threads 2 --seconds 0.05 {gradient}"));
        check(&report);
        assert_eq!(report["model"], "sequential");
        assert_eq!(report["gradient"], !gradient.is_empty());
        assert_eq!(report["input"], json!([{"name": "input", "shape": [3, 9, 11, 3]}]));
        assert_eq!(report["batch"], 3);
        assert_eq!(report["threads"], 2);
        assert_eq!(report["macs"], 3 * macs);
    }
    // No time at all is five runs.
    let report = sandbox.json("bench seq.h5 --seconds 0");
    check(&report);
    assert_eq!(report["runs"], 5);
}

#[test]
fn inputs_are_as_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.copy(&golden("keras3_variable_size/model.keras"), "open.keras");
    let shapes = |line: &str| -> Vec<Value> {
        let report = sandbox.json(line);
        check(&report);
        report["input"].as_array().unwrap().iter().map(|input| input["shape"].clone()).collect()
    };
    assert_eq!(shapes("bench fun.h5 --batch 2 --seconds 0"), [json!([2, 6, 7, 3]), json!([2, 4])]);
    // Where the network leaves it open, as pictures would be prepared.
    assert_eq!(shapes("bench open.keras --seconds 0"), [json!([1, 224, 224, 3])]);
    assert_eq!(shapes("bench open.keras --seconds 0 --size 20x31"), [json!([1, 20, 31, 3])]);
    assert_eq!(shapes("bench seq.h5 --seconds 0 --size 9x11"), [json!([1, 9, 11, 3])]);
}

#[test]
fn gradients_of_every_kind_of_head() {
    let sandbox = Sandbox::new();
    sandbox.copy(&golden("keras3_frozen/model.keras"), "logits.keras");
    // One sigmoid unit; several inputs and outputs; a nested base; logits.
    for model in ["seq.h5", "fun.h5", "vgg.h5", "logits.keras"] {
        let report = sandbox.json(&format!("bench {model} --batch 2 --seconds 0 --gradient"));
        check(&report);
        assert_eq!(report["gradient"], true);
    }
}

/// The built-in network without a name, a run's folder, an architecture with its weights.
#[test]
fn whatever_is_a_model_elsewhere_is_one_here() {
    let sandbox = Sandbox::new();
    sandbox.copy(&golden("keras3_frozen/model.keras"), "folder/model.keras");
    sandbox.copy(&golden("keras2_sequential/model.json"), "seq.json");
    sandbox.copy(&golden("keras2_sequential/legacy_weights.h5"), "seq_weights.h5");
    for model in ["", "folder", "seq.json --weights seq_weights.h5"] {
        check(&sandbox.json(&format!("bench {model} --seconds 0")));
    }
    let report = sandbox.json("bench --seconds 0");
    assert_eq!(report["model"], "efficientnet-lite0");
    assert_eq!(report["macs"], sandbox.json("summary")["mult_adds"]);
}

/// The text has the figures of the document.
#[test]
fn text() {
    let sandbox = Sandbox::new();
    let text = sandbox.ok("bench seq.h5 --seconds 0 --threads 1");
    assert!(text.starts_with("sequential: forwards, 1 thread, "), "{text}");
    assert!(text.contains("\ninput `input` [1, 9, 11, 3]\nmedian "), "{text}");
    for label in ["90 % within", "mean", "throughput", "rate", "load", "plan"] {
        assert!(text.lines().any(|line| line.starts_with(label)), "no `{label}`: {text}");
    }
    let text = sandbox.ok("bench seq.h5 --seconds 0 --gradient");
    assert!(text.contains(": forwards and gradient of the input, ") && !text.contains("GFLOP"), "{text}");
}

/// Its steps are those of the plan: their multiply-adds are those of all runs, and each ran in each.
#[test]
fn profiles() {
    let sandbox = Sandbox::new();
    let report = sandbox.json("bench seq.h5 --batch 3 --seconds 0 --gradient --profile");
    let steps = report["profile"]["steps"].as_array().unwrap();
    let sum = |backward: bool, key: &str| -> f64 {
        steps.iter().filter(|step| step["backward"] == backward).map(|step| number(step, key)).sum()
    };
    let runs = number(&report, "runs");
    assert_eq!(sum(false, "macs"), runs * number(&report, "macs"));
    assert_same("share forwards", sum(false, "share"), 1.0);
    assert_same("share backwards", sum(true, "share"), 1.0);
    for step in steps {
        assert_eq!(number(step, "runs"), runs, "{step}");
        assert_same("mean_ms", number(step, "mean_ms"), number(step, "total_ms") / runs);
        let ratio = number(step, "expected_ms") / number(step, "total_ms");
        assert_same("roofline_share", number(step, "roofline_share"), ratio);
    }
    let together = sum(false, "total_ms") + sum(true, "total_ms");
    assert!(together <= runs * number(&report, "mean_ms"), "steps take {together} ms: {report}");
}

/// Talk after the verb's own output, whatever the verb.
#[test]
fn profiles_of_other_verbs() {
    let sandbox = Sandbox::new();
    let plain = sandbox.run("predict -m seq.h5 pix.png");
    let ran = sandbox.run("predict -m seq.h5 pix.png --profile");
    assert_eq!(ran.stdout, plain.stdout);
    for mark in ["Forwards\nstep ", "GFLOP/s", "roofline", "direct 3x3", "\nall ", "\nweights packed in "] {
        assert!(ran.stderr.contains(mark), "no `{mark}`: {ran}");
    }
    assert!(!ran.stderr.contains("Backwards"), "{ran}");
    let nothing = sandbox.run("summary seq.h5 --profile");
    assert!(nothing.stderr.contains("no network was run"), "{nothing}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_it() {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let sandbox = Sandbox::new();
    let mut command = sandbox.command();
    command.args(["bench", "seq.h5", "--seconds", "3600"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it ended before its time");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}
