//! Bytes from a file are hostile: bad files are refused with a message that names the fault, and nothing panics,
//! whatever is cut off or changed.
//!
//! `BINESH_FUZZ=N` makes N times as many changes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read, Write};
use std::panic::catch_unwind;
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

/// Every model file of the goldens.
fn goldens() -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(testdata("golden")).unwrap() {
        let folder = folder.unwrap().path();
        let endings = [".h5", ".keras", ".onnx", ".pth", ".safetensors"];
        let models = files(&folder)
            .into_iter()
            .filter(|(name, _)| name == "model.json" || endings.iter().any(|end| name.ends_with(end)));
        let prefix = folder.file_name().unwrap().to_str().unwrap().to_owned();
        found.extend(models.map(|(name, bytes)| (format!("{prefix}/{name}"), bytes)));
    }
    found.sort();
    assert!(found.len() > 40, "the goldens are missing");
    found
}

/// Loads; panics with `what` if loading panics or takes too long. Whether it succeeded.
fn survives(what: &str, bytes: Vec<u8>) -> bool {
    let start = Instant::now();
    let loaded = catch_unwind(|| load(bytes, "it", &LoadCx::default()).is_ok());
    assert!(start.elapsed() < PATIENCE, "{what}: took {:?}", start.elapsed());
    loaded.unwrap_or_else(|_| panic!("{what}: loading panicked"))
}

/// Pseudo-random numbers (Marsaglia 2003, xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }
}

fn rounds(n: usize) -> usize {
    n * std::env::var("BINESH_FUZZ").map_or(1, |n| n.parse().expect("BINESH_FUZZ is a number"))
}

#[test]
fn bad_files_are_refused_and_say_why() {
    let dir = testdata("bad");
    let messages = dir.join("messages.json");
    let mut got: BTreeMap<String, Value> = BTreeMap::new();
    for (name, bytes) in files(&dir).into_iter().filter(|(name, _)| name != "messages.json") {
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

#[test]
fn files_cut_short_do_not_panic() {
    for (name, bytes) in goldens() {
        for cut in (0..bytes.len()).step_by(37) {
            survives(&format!("{name} cut at {cut}"), bytes[..cut].to_vec());
        }
    }
}

#[test]
fn changed_bytes_do_not_panic() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut loaded = 0;
    for (name, bytes) in goldens() {
        for round in 0..rounds(5) {
            let mut changed = bytes.clone();
            for _ in 0..1 + random.below(8) {
                // Half of the changes go where the structure is.
                let reach = if round % 2 == 0 { bytes.len() } else { 4096 };
                let at = random.below(reach.min(bytes.len()));
                changed[at] = match random.below(3) {
                    0 => changed[at] ^ (1 << random.below(8)),
                    1 => random.below(256) as u8,
                    _ => 0xff,
                };
            }
            loaded += usize::from(survives(&format!("{name}, round {round}"), changed));
        }
    }
    assert!(loaded > 0, "not one change was harmless: this tests nothing");
}

/// Changes that leave the JSON valid get past the parser: to the wiring, the attributes and the shapes.
#[test]
fn changed_architectures_do_not_panic() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut loaded = 0;
    for (name, bytes) in goldens() {
        let text = match name.rsplit('.').next() {
            Some("json") => bytes,
            Some("keras") => entry(&bytes, "config.json"),
            _ => continue,
        };
        let model: Value = serde_json::from_slice(&text).unwrap();
        for round in 0..rounds(15) {
            let mut changed = model.clone();
            let mut changes = Vec::new();
            for _ in 0..1 + random.below(3) {
                changes.push(change(&mut changed, &mut random));
            }
            let what = format!("{name}, round {round}: {}", changes.join("; "));
            loaded += usize::from(survives(&what, changed.to_string().into_bytes()));
        }
    }
    assert!(loaded > 0, "not one change was harmless: this tests nothing");
}

/// Weights that do not belong to the architecture: a damaged archive whose checksums are right.
#[test]
fn changed_weights_in_an_archive_do_not_panic() {
    let mut random = Random(0xda94_2042_e4dd_58b5);
    for (name, bytes) in goldens().into_iter().filter(|(name, _)| name.ends_with(".keras")) {
        let (config, weights) = (entry(&bytes, "config.json"), entry(&bytes, "model.weights.h5"));
        for round in 0..rounds(5) {
            let mut changed = weights.clone();
            for _ in 0..1 + random.below(8) {
                let at = random.below(changed.len());
                changed[at] = random.below(256) as u8;
            }
            survives(&format!("{name}, round {round}"), archive(&config, &changed));
        }
    }
}

fn entry(zip: &[u8], name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn archive(config: &[u8], weights: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in [("config.json", config), ("model.weights.h5", weights)] {
        let options =
            zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        zip.start_file(name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Changes one value somewhere in a tree; says how.
fn change(root: &mut Value, random: &mut Random) -> String {
    let mut path = String::new();
    let mut value = root;
    loop {
        let n = match &*value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        };
        // Deeper, most of the time.
        if n == 0 || random.below(9) == 0 {
            break;
        }
        let at = random.below(n);
        value = match value {
            Value::Array(list) => {
                path += &format!("/{at}");
                &mut list[at]
            }
            Value::Object(map) => {
                let key = map.keys().nth(at).unwrap().clone();
                path += &format!("/{key}");
                &mut map[&key]
            }
            _ => unreachable!("`n` is 0"),
        };
    }
    let replacements = [
        json!(null),
        json!(0),
        json!(1),
        json!(-1),
        json!(2),
        json!(3),
        json!(1_u64 << 32),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(0.5),
        json!(""),
        json!("same"),
        json!("channels_first"),
        json!("softmax"),
        json!([]),
        json!([1, 2]),
        json!([0, 0]),
        json!([[1, 0], [0, 1]]),
        json!({}),
        json!(true),
        json!(false),
    ];
    let new = replacements[random.below(replacements.len())].clone();
    let said = format!("{path} = {new}");
    *value = new;
    said
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
