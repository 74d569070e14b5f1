//! `binesh summary`

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Ran, Sandbox, golden};
use crate::transcript;

#[test]
fn summaries() {
    transcript::check(&Sandbox::new(), "summary");
}

/// The tables that Keras itself printed of the same files (`testdata/gen/file_summaries.py`).
#[test]
fn tables_are_those_of_keras_to_the_byte() {
    let sandbox = Sandbox::new();
    let mut tables = 0;
    for entry in fs::read_dir(golden("summaries/files")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let (model, expanded) = name.strip_suffix("_expanded").map_or((name, false), |model| (model, true));
        let (file, style) =
            if model.starts_with("keras208") { ("model.h5", "keras2") } else { ("model.keras", "keras3") };
        sandbox.copy(&golden(model).join(file), file);
        let options = if expanded { "--expand-nested --show-trainable" } else { "" };
        let printed = sandbox.ok(&format!("summary {file} --style {style} {options}"));
        let expected = fs::read_to_string(&path).unwrap();
        assert!(printed == expected, "{name}: Keras prints\n{expected}\nwe print\n{printed}");
        tables += 1;
    }
    assert!(tables >= 15, "goldens are missing");
}

#[test]
fn embedded_network() {
    let sandbox = Sandbox::new();
    let keras3 = sandbox.ok("summary");
    assert!(keras3.starts_with("Model: \"efficientnet-lite0\"\n"), "{keras3}");
    // EfficientNet-Lite0 has 4,652,008 parameters that learn; published as 4.7 M with the moving statistics.
    assert!(
        keras3.contains("\n Total params: 4,694,024 (17.91 MB)\n Trainable params: 4,652,008 (17.75 MB)\n"),
        "{keras3}"
    );
    assert!(sandbox.ok("summary --style keras2").contains("\nTotal params: 4,694,024\n"));
    assert_eq!(sandbox.json("summary")["trainable"]["count"], 4_652_008);
}

/// `--style json` is `--json`. Costs by hand: positions x taps x channels in x channels out.
#[test]
fn json_counts_costs() {
    let sandbox = Sandbox::new();
    let summary = sandbox.json("summary seq.h5");
    assert_eq!(sandbox.ok("summary seq.h5 --style json"), sandbox.ok("summary seq.h5 --json"));
    let column = |key: &str| -> Vec<Value> {
        summary["rows"].as_array().unwrap().iter().map(|row| row[key].clone()).collect()
    };
    let (conv1, conv2) = (7 * 9 * 9 * 3 * 4, 2 * 2 * 9 * 4 * 5);
    assert_eq!(column("mult_adds"), [conv1, 0, conv2, 0, 0, 0, 0, 0, 20 * 7, 7].map(|n: u64| json!(n)));
    assert_eq!(summary["mult_adds"], conv1 + conv2 + 20 * 7 + 7);
    let values = [7 * 9 * 4, 3 * 4 * 4, 20, 20, 20, 20, 20, 20, 7, 1];
    assert_eq!(column("activation_bytes"), values.map(|n: u64| json!(4 * n)));
    assert_eq!(summary["activation_bytes"], 4 * values.iter().sum::<u64>());
    assert_eq!(summary["total"], json!({"count": 467, "bytes": 4 * 467}));
}

/// Steps by hand: a convolution with its rectifier, a pooling, a convolution with batch norm and rectifier, and so on.
#[test]
fn plans() {
    let sandbox = Sandbox::new();
    let plan = sandbox.json("summary seq.h5 --plan --batch 3 --threads 2");
    let column = |key: &str| -> Vec<Value> {
        plan["steps"].as_array().unwrap().iter().map(|step| step[key].clone()).collect()
    };
    assert_eq!(plan["inputs"], json!([[3, 9, 11, 3]]));
    assert_eq!(plan["macs"], 3 * sandbox.json("summary seq.h5")["mult_adds"].as_u64().unwrap());
    let operators = column("operators");
    assert!(operators.contains(&json!("conv + batch norm + relu")), "{operators:?}");
    assert!(operators.contains(&json!("max pool")), "{operators:?}");
    for key in ["macs", "bytes", "weight_bytes"] {
        let sum: u64 = column(key).iter().map(|value| value.as_u64().unwrap()).sum();
        assert_eq!(plan[key], sum, "{key}");
    }
    let text = sandbox.ok("summary seq.h5 --plan --batch 3 --threads 2");
    assert!(text.starts_with("Plan of \"sequential\" for [3, 9, 11, 3], 2 threads, "), "{text}");
    assert!(text.contains("direct 3x3 + batch norm + relu"), "{text}");
}

/// Costs of another machine lead to other algorithms; what is no cost is told.
#[test]
fn costs_from_a_file() {
    let sandbox = Sandbox::new();
    sandbox.write("dear.toml", b"winograd_transform = 1e12\n");
    sandbox.write("typo.toml", b"winograd = 0.5\nbandwith = 3\n");
    let plan = |costs: Option<&str>| {
        let mut command = sandbox.command();
        costs.map(|costs| command.env("BINESH_COSTS", costs));
        Ran::of(command.args(["summary", "--plan", "--json", "conv.json"]))
    };
    let network = json!({"class_name": "Sequential", "config": {"name": "conv", "layers": [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [null, 32, 32, 64]}},
        {"class_name": "Conv2D", "config": {"name": "c", "filters": 64, "kernel_size": [3, 3], "padding": "same"}},
    ]}});
    sandbox.write("conv.json", network.to_string().as_bytes());
    let algorithm = |costs| {
        let ran = plan(costs);
        assert_eq!(ran.code, 0, "{ran}");
        let document: Value = serde_json::from_str(&ran.stdout).unwrap();
        document["steps"][0]["algorithm"].as_str().unwrap().to_owned()
    };
    assert_eq!(algorithm(None), "Winograd F(4x4, 3x3)");
    assert_eq!(algorithm(Some("dear.toml")), "direct 3x3");
    for (file, expected) in [("typo.toml", "no cost `bandwith`"), ("nowhere.toml", "nowhere.toml")] {
        let ran = plan(Some(file));
        assert!(
            ran.code == 1 && ran.error().contains("BINESH_COSTS") && ran.error().contains(expected),
            "{ran}"
        );
    }
}
