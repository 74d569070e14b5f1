//! Twenty steps of training against Keras 3, from the same weights with the same batches.
//!
//! `testdata/gen/train_steps.py` says what a golden holds. The small networks are always run; the real VGG16 and
//! MobileNetV2 are too large to commit: `BINESH_GOLDENS=DIR` names the folder where that script put them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use binesh::train::loss::{Batch, Loss};
use binesh::train::optimizer::{Adam, Optimizer, OptimizerState, RmsProp, Update};
use binesh_core::{Grads, NodeId, Params, Plan, PlanSpec, ReluRule, Runtime, Session, Shape, Tensor};
use binesh_formats::npy::{NpyArray, Npz};
use binesh_formats::{Limits, LoadCx, Loaded, Network, load};
use serde::Deserialize;

/// Largest difference of a weight after the last step, relative to the largest magnitude of its array.
const TOLERANCE: f32 = 1e-4;

/// The same, relative to the largest movement of the array. Weights move by a few percent, so a wrong rate, a step too
/// many or another epsilon is far above it, and what two engines round differently is below.
const TOLERANCE_OF_MOVEMENT: f32 = 1e-3;

#[test]
fn twenty_steps_end_where_keras_ends() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden");
    assert_eq!(run_all(&root, &Runtime::new(2)), 8, "goldens are missing");
}

#[test]
fn twenty_steps_of_large_networks_end_where_keras_ends() {
    match std::env::var_os("BINESH_GOLDENS") {
        Some(dir) => println!("{} cases", run_all(Path::new(&dir), &Runtime::new(2).exact())),
        None => eprintln!(
            "skipped: BINESH_GOLDENS names no folder of large goldens (testdata/gen/train_steps.py)"
        ),
    }
}

/// Runs every case of every golden below `root`; gives how many there were. The large ones are computed exactly: with
/// Winograd's algorithm VGG16's head ends 9.4e-5 of the largest weight away, and a little over what is asked of movement.
fn run_all(root: &Path, runtime: &Runtime) -> usize {
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = folders.filter(|folder| folder.join("steps.npz").exists()).collect();
    folders.sort();
    folders.iter().map(|folder| Golden::open(folder).check(runtime)).sum()
}

#[derive(Deserialize)]
struct About {
    steps: usize,
    batch: usize,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    optimizer: String,
    rate: f32,
    trainable: Vec<String>,
    /// Whether ends can be compared. In the last block of a large network some value is always so near the kink of its
    /// ReLU that rounding moves it across; its channel's gradient is then off by percents, and these optimizers make
    /// full steps of small gradients.
    conditioned: bool,
}

struct Golden {
    name: String,
    about: About,
    arrays: BTreeMap<String, NpyArray>,
    network: Network,
}

/// What a training ends with.
struct End {
    params: Params,
    losses: Vec<f32>,
}

impl Golden {
    fn open(folder: &Path) -> Golden {
        let bytes = fs::read(folder.join("model.keras")).unwrap();
        let (Loaded::Model(network), _) = load(bytes, "model.keras", &LoadCx::default()).unwrap() else {
            panic!("no architecture in {}", folder.display());
        };
        let bytes = fs::read(folder.join("steps.npz")).unwrap();
        let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
        Golden {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            about: serde_json::from_slice(&fs::read(folder.join("steps.json")).unwrap()).unwrap(),
            arrays: npz.names().into_iter().map(|name| (name.clone(), npz.read(&name).unwrap())).collect(),
            network: *network,
        }
    }

    fn check(&self, runtime: &Runtime) -> usize {
        for (case, about) in &self.about.cases {
            let trainable: Vec<NodeId> = about.trainable.iter().map(|path| self.node(path)).collect();
            let end = self.train(about, &trainable, runtime);
            let what = format!("{} {case}", self.name);

            let losses = &self.arrays[&format!("{case}/losses")].data;
            let told = if about.conditioned { losses.len() } else { 2 };
            for (step, (got, want)) in end.losses.iter().zip(losses).enumerate().take(told) {
                assert!(
                    (got - want).abs() < 1e-4 * want.abs(),
                    "{what}: loss {got} and not {want} in step {step}"
                );
            }
            let mut worst = Apart::default();
            for (path, &id) in about.trainable.iter().zip(&trainable) {
                let want = &self.arrays[&format!("{case}/weight/{path}")].data;
                let (got, before) = (end.params.get(id).unwrap(), self.network.params.get(id).unwrap());
                let apart = Apart::of(got.data(), want, before.data());
                if about.conditioned {
                    assert!(apart.of_magnitude <= TOLERANCE, "{what}: `{path}` {apart:?}");
                    assert!(apart.of_movement <= TOLERANCE_OF_MOVEMENT, "{what}: `{path}` {apart:?}");
                }
                worst = worst.max(apart);
            }
            for (id, before) in self.network.params.iter().filter(|(id, _)| !trainable.contains(id)) {
                let bits = |tensor: &Tensor| tensor.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                let same = bits(before) == bits(end.params.get(id).unwrap());
                assert!(same, "{what}: `{}` was frozen", self.network.graph.node(id).name);
            }
            println!("{what}: {worst:?}");
        }
        self.about.cases.len()
    }

    fn node(&self, path: &str) -> NodeId {
        self.network.graph.find(path).unwrap_or_else(|| panic!("{}: no weight `{path}`", self.name))
    }

    fn train(&self, case: &Case, trainable: &[NodeId], runtime: &Runtime) -> End {
        let About { steps, batch, .. } = self.about;
        let graph = &self.network.graph;
        let pictures = &self.arrays["pictures"];
        let labels: Vec<usize> = self.arrays["labels"].data.iter().map(|&label| label as usize).collect();
        let values: Vec<f32> = pictures.data.iter().map(|byte| byte / 127.5 - 1.0).collect();
        let (image, total) = (values.len() / labels.len(), labels.len());
        let shape: Shape = [&[batch], &pictures.shape[1..]].concat().into();

        let (input, logits) = (graph.inputs()[0], graph.outputs()[0]);
        let spec = PlanSpec {
            inputs: &[(input, shape.clone())],
            want: &[logits],
            grads: Grads::Wrt(trainable),
            ..PlanSpec::default()
        };
        let mut session = Session::new(Plan::new(graph, spec).unwrap(), runtime.clone());
        let mut params = self.network.params.clone();
        let optimizer = match case.optimizer.as_str() {
            "rmsprop" => Optimizer::RmsProp(RmsProp::default()),
            "adam" => Optimizer::Adam(Adam::default()),
            other => panic!("no optimizer `{other}`"),
        };
        let name = |id: NodeId| graph.node(id).name.clone();
        let lengths = trainable.iter().map(|&id| (name(id), params.get(id).unwrap().data().len()));
        let mut state = OptimizerState::new(optimizer, lengths);
        let loss = Loss::CategoricalCrossEntropy;
        let mut losses = Vec::new();
        for step in 0..steps {
            let start = step * batch % total;
            let x = values[start * image..(start + batch) * image].to_vec();
            let x = Tensor::new(shape.clone(), x).unwrap();
            session.run(&params, &[x.view()]).unwrap();
            let y = session.value(logits);
            let units = y.shape().dims()[1];
            let mut seed = Tensor::zeros(y.shape().clone());
            let tally = loss.with_gradient(
                &Batch {
                    logits: y.data(),
                    targets: &loss.targets(&labels[start..start + batch], units),
                    units,
                    label_smoothing: 0.0,
                    weights: None,
                },
                seed.data_mut(),
            );
            losses.push(tally.loss() as f32);
            session.backward(&params, &[(logits, seed)], ReluRule::Exact).unwrap();
            let mut update = state.begin_step();
            for (index, &id) in trainable.iter().enumerate() {
                let gradient = session.grad(id).expect("a gradient for what trains").data().into();
                let weights = params.get_mut(id).unwrap().data_mut();
                update.apply(index, Update { weights, gradient, rate: case.rate, decay: false });
            }
        }
        End { params, losses }
    }
}

/// Largest differences of an array.
#[derive(Clone, Copy, Debug, Default)]
struct Apart {
    of_magnitude: f32,
    of_movement: f32,
    /// Each element by its own magnitude: says little near zero, so it is only reported.
    of_element: f32,
}

impl Apart {
    fn of(got: &[f32], want: &[f32], before: &[f32]) -> Apart {
        assert_eq!(got.len(), want.len());
        let largest =
            |values: &mut dyn Iterator<Item = f32>| values.fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
        let magnitude = largest(&mut want.iter().copied());
        let movement = largest(&mut want.iter().zip(before).map(|(w, b)| w - b));
        let mut apart = Apart::default();
        for (g, w) in got.iter().zip(want) {
            let distance = (g - w).abs();
            assert!(distance.is_finite(), "{g} and not {w}");
            apart = apart.max(Apart {
                of_magnitude: distance / magnitude,
                of_movement: distance / movement,
                of_element: distance / w.abs().max(f32::MIN_POSITIVE),
            });
        }
        apart
    }

    fn max(self, other: Apart) -> Apart {
        Apart {
            of_magnitude: self.of_magnitude.max(other.of_magnitude),
            of_movement: self.of_movement.max(other.of_movement),
            of_element: self.of_element.max(other.of_element),
        }
    }
}
