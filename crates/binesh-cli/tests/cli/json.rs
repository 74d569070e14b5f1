//! `--json`: what is printed is what docs/json.md says.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::help::verbs;
use crate::sandbox::{Sandbox, golden, golden_array, root};

/// The fields of a verb that docs/json.md describes, and those of them that are always there.
struct Documented {
    all: BTreeSet<String>,
    required: BTreeSet<String>,
}

fn documented(verb: &str) -> Documented {
    let page = fs::read_to_string(root().join("docs/json.md")).unwrap();
    let section = page.split("\n## ").find(|section| section.lines().next() == Some(verb));
    let section = section.unwrap_or_else(|| panic!("docs/json.md has no section `{verb}`"));
    let mut documented = Documented { all: BTreeSet::new(), required: BTreeSet::new() };
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let [_, names, text, _] = row.split('|').collect::<Vec<_>>()[..] else { panic!("{row}") };
        let names: Vec<String> = odd(names, '`');
        if !text.contains("*optional*") {
            documented.required.extend(names.clone());
        }
        documented.all.extend(names);
        // The fields of the objects inside.
        documented.all.extend(odd(text, '`').into_iter().chain(odd(text, '"')));
    }
    documented
}

/// What stands between quotes.
fn odd(text: &str, quote: char) -> Vec<String> {
    text.split(quote).skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            found.extend(map.keys().cloned());
            map.values().for_each(|value| keys(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, found)),
        _ => {}
    }
}

#[test]
fn every_verb_prints_what_is_documented() {
    let sandbox = Sandbox::new();
    sandbox.write_array("x.npy", &golden_array("keras208_sequential", "input/0"));
    sandbox.copy(&golden("keras3_normalization/model.keras"), "norm.keras");
    sandbox.class_folders("photos");
    let lines = |verb: &str| -> Vec<&str> {
        match verb {
            "summary" => {
                vec![
                    "summary seq.h5",
                    "summary fun.h5",
                    "summary vgg.h5",
                    "summary norm.keras",
                    "summary",
                    "summary vgg.h5 --plan",
                ]
            }
            "predict" => vec!["predict -m seq.h5 pix.png nope.png"],
            "heatmap" => vec!["heatmap -m seq.h5 pix.png nope.png --out maps --npy"],
            "activations" => vec!["activations -m seq.h5 pix.png --out layers"],
            "filters" => {
                vec![
                    "filters -m seq.h5 --scaling unit --layer conv2 --channel 1 --steps 2 --size 12x12 --kernels --photos photos --photos nope.png --out filters",
                ]
            }
            "depth" => vec!["depth -m seq.h5 --scaling unit photos nope.png --against seq.h5 --out depth"],
            "run" => vec!["run -m seq.h5 --input x.npy --output y.npz --grad-of dense2 --wrt conv1"],
            "train" => vec!["train photos --recipe features -m seq.h5 --head-epochs 2 --views 0 --out run"],
            "evaluate" => {
                sandbox.write("photos/noon/cut.png", &sandbox.bytes("photos/noon/1.png")[..60]);
                sandbox.write("names.txt", b"noon\nnight\n");
                vec!["evaluate seq.h5 photos --labels names.txt"]
            }
            "extract" => vec!["extract -m seq.h5 photos nope.png --out f.npz"],
            "convert" => vec!["convert seq.h5 seq.onnx --scaling unit", "convert seq.h5 seq.safetensors"],
            "bench" => vec!["bench fun.h5 --seconds 0 --gradient --profile"],
            "completions" => vec!["completions zsh"],
            other => panic!("no line for `{other}`"),
        }
    };
    for verb in verbs(&sandbox) {
        let mut printed = BTreeSet::new();
        for line in lines(&verb) {
            let ran = sandbox.run(&format!("{line} --json"));
            let value = serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{line}: {e}\n{ran}"));
            keys(&value, &mut printed);
        }
        let documented = documented(&verb);
        let difference =
            |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect::<Vec<_>>();
        assert_eq!(
            difference(&printed, &documented.all),
            [""; 0],
            "`{verb}` prints what docs/json.md does not have"
        );
        assert_eq!(
            difference(&documented.required, &printed),
            [""; 0],
            "`{verb}` does not print what docs/json.md has"
        );
    }
}
