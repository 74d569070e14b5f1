//! `binesh summary`

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, golden};
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
