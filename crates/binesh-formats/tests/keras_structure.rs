//! What loading a Keras file gives besides numbers: layers, paths, parameters, and the account of every tensor.
//! (The numbers are compared in the crate `binesh`, which can run a network.)

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use binesh_core::{LayerId, Layers, Op};
use binesh_formats::{FormatError, LoadCx, LoadReport, Loaded, Network, load, load_keras};
use serde_json::Value;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(path)
}

fn read(path: &str) -> Vec<u8> {
    fs::read(golden(path)).unwrap()
}

fn model(path: &str) -> (Network, LoadReport) {
    match load(read(path), path, &LoadCx::default()) {
        Ok((Loaded::Model(network), report)) => (*network, report),
        Ok(_) => panic!("{path} holds no architecture"),
        Err(e) => panic!("{e}"),
    }
}

/// Parameters, each once, as Keras counts them.
fn parameters(network: &Network) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let all = network.layers.iter().flat_map(|(_, layer)| &layer.params);
    all.filter(|id| seen.insert(**id))
        .map(|&id| match &network.graph.node(id).op {
            Op::Param(param) => param.shape.len() as u64,
            op => panic!("{op:?} is no parameter"),
        })
        .sum()
}

#[test]
fn every_golden_has_as_many_parameters_as_keras_counts() {
    let mut checked = 0;
    for folder in fs::read_dir(golden("")).unwrap() {
        let folder = folder.unwrap().path();
        let Ok(about) = fs::read(folder.join("io.json")) else { continue };
        let about: Value = serde_json::from_slice(&about).unwrap();
        let Some(want) = about["parameters"].as_u64() else { continue };
        let name = folder.file_name().unwrap().to_str().unwrap();
        for file in ["model.h5", "model.keras"].into_iter().filter(|file| folder.join(file).exists()) {
            let (network, report) = model(&format!("{name}/{file}"));
            assert_eq!(parameters(&network), want, "{name}/{file}");
            assert_eq!(report.missing, [""; 0], "{name}/{file}");
            let weights: usize = network.layers.iter().map(|(_, layer)| layer.params.len()).sum();
            assert_eq!(report.used.len(), weights, "{name}/{file}");
            // What no layer asks for: random generators' states, and means of training.
            let known = ["seed_generator", "StateVar", "metrics/"];
            let strange = report.unused.iter().find(|t| !known.iter().any(|known| t.contains(known)));
            assert_eq!(strange, None, "{name}/{file}");
            checked += 1;
        }
    }
    assert!(checked >= 40, "only {checked} files");
}

/// A row of the table: path, class, inputs and outputs of each call, parameters.
fn table(network: &Network) -> Vec<String> {
    let Network { graph, layers, .. } = network;
    let name = |id: LayerId| layers.get(id).path.clone();
    let row = |(_, layer): (LayerId, &binesh_core::Layer)| {
        let calls = layer.calls.iter().map(|call| {
            let inbound: Vec<String> =
                call.inbound.iter().map(|i| format!("{}[{}][{}]", name(i.layer), i.call, i.output)).collect();
            let outputs: Vec<&str> = call.outputs.iter().map(|&id| graph.node(id).name.as_str()).collect();
            format!("{} -> {}", inbound.join(" "), outputs.join(" "))
        });
        let calls: Vec<String> = calls.collect();
        let own = |id: &binesh_core::NodeId| graph.node(*id).name.rsplit('/').next().unwrap().to_owned();
        let params: Vec<String> = layer.params.iter().map(own).collect();
        format!("{} {} | {} | {}", layer.path, layer.class, calls.join("; "), params.join(" "))
    };
    layers.iter().map(row).collect()
}

#[test]
fn nested_models_used_twice_are_one_tree_with_two_calls() {
    let (network, _) = model("keras3_nested_shared/model.keras");
    let want = [
        "a InputLayer |  -> a | ",
        "b InputLayer |  -> b | ",
        "tower Functional | a[0][0] -> tower/pool; b[0][0] -> tower#1/pool | ",
        "tower/tower_input InputLayer |  -> a;  -> b | ",
        "tower/conv Conv2D | tower/tower_input[0][0] -> tower/conv; tower/tower_input[1][0] -> tower#1/conv | kernel bias",
        "tower/pool GlobalMaxPooling2D | tower/conv[0][0] -> tower/pool; tower/conv[1][0] -> tower#1/pool | ",
        "mix Functional | tower[0][0] tower[1][0] -> mix/sum mix/product | ",
        "mix/p InputLayer |  -> tower/pool | ",
        "mix/q InputLayer |  -> tower#1/pool | ",
        "mix/sum Add | mix/p[0][0] mix/q[0][0] -> mix/sum | ",
        "mix/product Multiply | mix/p[0][0] mix/q[0][0] -> mix/product | ",
        "concat Concatenate | mix[0][0] mix[0][1] -> concat | ",
        "head Dense | concat[0][0] -> head | kernel bias",
    ];
    assert_eq!(table(&network), want);
}

#[test]
fn trainable_flags_are_those_of_the_file() {
    let learning = |layers: &Layers, network: &Network| -> Vec<String> {
        let mut learning = Vec::new();
        for (id, layer) in layers.iter() {
            let learns = layer.params.iter().filter(|&&param| layers.learns(&network.graph, id, param));
            learning.extend(learns.map(|&param| network.graph.node(param).name.clone()));
        }
        learning
    };
    for (file, kernel) in
        [("keras2_frozen/model.h5", "head/kernel"), ("keras3_frozen/model.keras", "head/kernel")]
    {
        let (network, _) = model(file);
        let learning = learning(&network.layers, &network);
        assert!(learning.contains(&kernel.to_owned()), "{file}: {learning:?}");
        let frozen = network.layers.iter().filter(|(_, layer)| !layer.trainable).count();
        assert!(frozen > 0, "{file} has nothing frozen");
        assert!(learning.len() < parameters_of(&network).len(), "{file}: {learning:?}");
    }
}

fn parameters_of(network: &Network) -> BTreeMap<String, Vec<f32>> {
    network.params.iter().map(|(id, t)| (network.graph.node(id).name.clone(), t.data().to_vec())).collect()
}

#[test]
fn all_forms_of_a_model_hold_the_same_weights() {
    for name in ["keras2_nested", "keras3_nested", "keras2_functional", "keras3_functional"] {
        let (whole, _) = model(&format!("{name}/model.h5"));
        let want = parameters_of(&whole);
        assert!(!want.is_empty());
        let json = read(&format!("{name}/model.json"));
        for file in ["model.keras", "model.weights.h5", "legacy_weights.h5"] {
            let path = format!("{name}/{file}");
            if !golden(&path).exists() {
                continue;
            }
            let network = match file {
                "model.keras" => model(&path).0,
                _ => load_keras(&json, read(&path), ["model.json", file], &LoadCx::default()).unwrap().0,
            };
            assert_eq!(parameters_of(&network), want, "{path}");
        }
    }
}

#[test]
fn whole_models_do_for_an_architecture_and_for_weights() {
    let (whole, _) = model("keras3_functional/model.h5");
    for [architecture, weights] in
        [["model.h5", "model.keras"], ["model.keras", "model.h5"], ["model.json", "model.h5"]]
    {
        let path = |file: &str| format!("keras3_functional/{file}");
        let (bytes, values) = (read(&path(architecture)), read(&path(weights)));
        let (network, _) = load_keras(&bytes, values, [architecture, weights], &LoadCx::default()).unwrap();
        assert_eq!(parameters_of(&network), parameters_of(&whole), "{architecture} + {weights}");
    }
    let weights = read("keras2_functional/legacy_weights.h5");
    let e = load_keras(&weights, Vec::new(), ["a.h5", "b"], &LoadCx::default()).unwrap_err();
    assert_eq!(e.to_string(), "a.h5: the file holds weights alone");
    let json = read("keras2_functional/model.json");
    let e = load_keras(&json, b"text".to_vec(), ["a", "b.h5"], &LoadCx::default()).unwrap_err();
    assert_eq!(e.to_string(), "b.h5: the file is not an HDF5 file");
}

#[test]
fn an_architecture_alone_lacks_every_weight() {
    let (whole, _) = model("keras3_functional/model.h5");
    let (alone, report) = model("keras3_functional/model.json");
    assert_eq!(table(&alone), table(&whole));
    assert_eq!(alone.params.iter().count(), 0);
    let names: Vec<String> = parameters_of(&whole).into_keys().collect();
    let mut missing = report.missing;
    missing.sort();
    assert_eq!(missing, names);
}

#[test]
fn weights_alone_are_tensors_under_the_names_of_the_file() {
    let (Loaded::Weights(tensors), report) =
        load(read("keras2_functional/legacy_weights.h5"), "w.h5", &LoadCx::default()).unwrap()
    else {
        panic!("weights are no model")
    };
    let (whole, _) = model("keras2_functional/model.h5");
    assert_eq!(tensors.len(), whole.params.iter().count());
    assert_eq!(report.unused.len(), tensors.len());
    assert!(tensors.iter().all(|(name, _)| name.contains(":0")), "{:?}", tensors[0].0);
}

/// FIELD: names that Keras makes up count on from model to model.
#[test]
fn weights_under_other_names_are_matched_in_order() {
    let json = String::from_utf8(read("keras2_functional/model.json")).unwrap();
    let (whole, _) = model("keras2_functional/model.h5");
    let mut renamed = json.clone();
    for (_, layer) in whole.layers.iter() {
        renamed = renamed.replace(&format!("\"{}\"", layer.name), &format!("\"other_{}\"", layer.name));
    }
    assert_ne!(renamed, json);
    let weights = read("keras2_functional/legacy_weights.h5");
    let names = ["model.json", "legacy_weights.h5"];
    let (network, _) = load_keras(renamed.as_bytes(), weights, names, &LoadCx::default()).unwrap();
    let want: Vec<Vec<f32>> = whole.params.iter().map(|(_, t)| t.data().to_vec()).collect();
    let got: Vec<Vec<f32>> = network.params.iter().map(|(_, t)| t.data().to_vec()).collect();
    assert_eq!(got, want);
}

#[test]
fn weights_of_another_model_are_refused_with_both_lists_of_names() {
    let json = read("keras3_functional/model.json");
    let weights = read("keras3_sequential/model.weights.h5");
    let e = load_keras(&json, weights, ["model.json", "w.h5"], &LoadCx::default()).unwrap_err();
    let fits = matches!(
        e,
        FormatError::MissingWeight { .. } | FormatError::WrongShape { .. } | FormatError::WeightCount { .. }
    );
    assert!(fits, "{e}");
    assert!(e.to_string().starts_with("w.h5: layer `"), "{e}");
    let hint = e.hint().unwrap_or_default();
    assert!(hint.starts_with("the network wants: ") && hint.contains("; the file has: "), "{hint}");
}

/// Such calls once panicked, or counted an axis twice.
#[test]
fn repeated_axes_are_refused() {
    for (function, axes) in [
        ("expand_dims", "[5, 5]"),
        ("expand_dims", "[-1, 5]"),
        ("squeeze", "[1, 1]"),
        ("math.reduce_sum", "[1, 1]"),
        ("math.reduce_mean", "[1, -3]"),
    ] {
        let json = format!(
            r#"{{"class_name": "Functional", "keras_version": "2.15.0", "config": {{"name": "m", "layers": [
            {{"class_name": "InputLayer", "name": "x", "inbound_nodes": [],
              "config": {{"name": "x", "batch_input_shape": [null, 1, 4, 3]}}}},
            {{"class_name": "TFOpLambda", "name": "f", "config": {{"name": "f", "function": "{function}"}},
              "inbound_nodes": [["x", 0, 0, {{"axis": {axes}}}]]}}],
            "input_layers": [["x", 0, 0]], "output_layers": [["f", 0, 0]]}}}}"#
        );
        let e = load(json.into_bytes(), "it", &LoadCx::default()).unwrap_err().to_string();
        assert!(e.contains("axes ["), "{function} {axes}: {e}");
    }
}
