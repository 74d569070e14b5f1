//! Bad files are refused with a message that names the fault. (What changed and cut files do is in `mutations.rs`.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use binesh_formats::{LoadCx, load};
use serde_json::{Value, json};

/// No file of these sizes may keep us longer than this, in a debug build on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name)
}

fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read(path).unwrap())).collect()
}

fn bad_files() -> Vec<(String, Vec<u8>)> {
    let mut files = files(&testdata("bad"));
    files.retain(|(name, _)| name != "messages.json");
    files
}

#[test]
fn bad_files_are_refused_and_say_why() {
    let dir = testdata("bad");
    let messages = dir.join("messages.json");
    let mut got: BTreeMap<String, Value> = BTreeMap::new();
    for (name, bytes) in bad_files() {
        let e = match load(bytes, &name, &LoadCx::default()) {
            Ok(_) => panic!("{name} was loaded"),
            Err(e) => e,
        };
        let hint = e.hint().map(str::to_owned);
        let shown = match hint {
            Some(hint) => json!({"error": e.to_string(), "hint": hint}),
            None => json!({"error": e.to_string()}),
        };
        got.insert(name, shown);
    }
    let got = serde_json::to_string_pretty(&got).unwrap() + "\n";
    if std::env::var_os("BINESH_BLESS").is_some() {
        fs::write(&messages, &got).unwrap();
    }
    let want = fs::read_to_string(&messages).unwrap();
    assert!(got == want, "messages changed (BINESH_BLESS=1 accepts them):\n{got}");
}

/// Each kind of error that a file can be at fault for, as the list of kinds in `error.rs` has it.
#[test]
fn bad_files_of_every_kind_of_error() {
    let list = include_str!("../src/error.rs").split_once("pub enum FormatError {").unwrap().1;
    let list = list.split_once("\n}").unwrap().0;
    let kind = |line: &'static str| {
        let name = line.strip_prefix("    ")?.strip_suffix(" {")?;
        name.starts_with(char::is_uppercase).then_some(name)
    };
    // A refusal of the operating system is no fault of a file.
    let want: BTreeSet<&str> = list.lines().filter_map(kind).filter(|kind| *kind != "Io").collect();
    assert!(want.len() >= 8, "{want:?}");
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, bytes) in bad_files() {
        let shown = format!("{:?}", load(bytes, &name, &LoadCx::default()).err().unwrap());
        got.entry(shown.split(' ').next().unwrap().to_owned()).or_default().push(name);
    }
    assert_eq!(got.keys().map(String::as_str).collect::<BTreeSet<_>>(), want, "{got:?}");
}

/// A model used twice inside a model used twice, and so on: ten kilobytes that unfold to 2^30 layers.
#[test]
fn models_that_unfold_without_end_are_refused() {
    let input = |name: &str| {
        json!({"class_name": "InputLayer", "name": name, "inbound_nodes": [],
               "config": {"name": name, "batch_input_shape": [null, 4, 4, 3]}})
    };
    let around = |inner: Value, class: &str, depth: usize| {
        let used = json!({"class_name": class, "name": "m", "config": inner,
                          "inbound_nodes": [[["x", 0, 0, {}]], [["m", 1, 0, {}]]]});
        json!({"name": format!("level_{depth}"), "layers": [input("x"), used],
               "input_layers": [["x", 0, 0]], "output_layers": [["m", 2, 0]]})
    };
    let leaf = json!({"name": "leaf", "layers": [input("x")], "input_layers": [["x", 0, 0]],
                      "output_layers": [["x", 0, 0]]});
    // The last of them adds no node at all.
    for inner in [
        json!({"name": "relu", "layers": [input("x"), {"class_name": "ReLU", "name": "r", "config": {"name": "r"},
               "inbound_nodes": [[["x", 0, 0, {}]]]}], "input_layers": [["x", 0, 0]],
               "output_layers": [["r", 0, 0]]}),
        leaf,
    ] {
        let mut model = inner;
        for depth in 0..28 {
            model = around(model, "Functional", depth);
        }
        let json = json!({"class_name": "Functional", "config": model, "keras_version": "2.15.0"});
        let bytes = serde_json::to_vec(&json).unwrap();
        assert!(bytes.len() < 20_000);
        let start = Instant::now();
        let e = load(bytes, "it", &LoadCx::default()).unwrap_err().to_string();
        assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
        assert!(e.contains("the number of nodes and uses of layers is 20000"), "{e}");
        assert!(e.ends_with("more than the limit of 200000"), "{e}");
    }
}
