//! One step of training against what Keras computed: `testdata/gen/training.py` says what the golden holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use binesh_core::{Grads, NodeId, Plan, PlanSpec, ReluRule, Runtime, Session, Tensor, Training};
use binesh_formats::npy::{NpyArray, Npz};
use binesh_formats::{Limits, LoadCx, Loaded, load};

/// Largest difference allowed, relative to the largest magnitude of the array.
const TOLERANCE: f32 = 2e-5;

#[test]
fn a_step_of_training_is_that_of_keras() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/keras3_training");
    let model = fs::read(folder.join("model.keras")).unwrap();
    let (Loaded::Model(mut network), _) = load(model, "model.keras", &LoadCx::default()).unwrap() else {
        panic!("no architecture")
    };
    let bytes = fs::read(folder.join("training.npz")).unwrap();
    let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
    let arrays: BTreeMap<String, NpyArray> =
        npz.names().into_iter().map(|name| (name.clone(), npz.read(&name).unwrap())).collect();
    let tensor = |name: &str| Tensor::new(arrays[name].shape.clone(), arrays[name].data.clone()).unwrap();

    let graph = &network.graph;
    let find = |name: &str| graph.find(name).unwrap_or_else(|| panic!("no node `{name}`"));
    let norms = [find("norm"), find("norm_without_scale")];
    let (input, output, dropout) = (graph.inputs()[0], graph.outputs()[0], find("dropout"));
    let mut wrt: Vec<(String, NodeId)> = vec![("grad/input/0".to_owned(), input)];
    for name in arrays.keys() {
        if let Some(param) = name.strip_prefix("grad/param/") {
            wrt.push((name.clone(), find(param)));
        }
    }
    assert_eq!(wrt.len(), 1 + 7, "gradients of the golden");
    let ids: Vec<NodeId> = wrt.iter().map(|(_, id)| *id).collect();
    let photo = tensor("input/0");
    let spec = PlanSpec {
        inputs: &[(input, photo.shape().clone())],
        want: &[output, norms[0], norms[1]],
        grads: Grads::Wrt(&ids),
        training: Training { dropout: &[dropout], batch_statistics: &norms },
    };
    let mut session = Session::new(Plan::new(graph, spec).unwrap(), Runtime::new(2));
    session.set_mask(dropout, &arrays["mask"].data).unwrap();
    session.run(&network.params, &[photo.view()]).unwrap();
    for (name, id) in [("output", output), ("layer/norm", norms[0]), ("layer/norm_without_scale", norms[1])] {
        same(name, session.value(id).data(), &arrays[name].data);
    }
    session.backward(&network.params, &[(output, tensor("seed"))], ReluRule::Exact).unwrap();
    for (name, id) in &wrt {
        same(name, session.grad(*id).unwrap().data(), &arrays[name].data);
    }
    session.update_moving_statistics(&mut network.params);
    let moving: Vec<&String> = arrays.keys().filter(|name| name.starts_with("moving/")).collect();
    assert_eq!(moving.len(), 4, "moving statistics of the golden");
    for name in moving {
        let id = graph.find(name.strip_prefix("moving/").unwrap()).unwrap();
        same(name, network.params.get(id).unwrap().data(), &arrays[name].data);
    }
}

fn same(name: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{name}: number of values");
    let scale = want.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let near = (got - want).abs() <= TOLERANCE * scale;
        assert!(near, "{name}: value {i} is {got}, Keras has {want}; the largest magnitude is {scale}");
    }
}
