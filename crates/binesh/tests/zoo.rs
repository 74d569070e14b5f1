//! Every family of the zoo against PyTorch, by value: outputs, and gradients by the input (`testdata/gen/zoo.py`).
//!
//! Weights are made by a formula from names and shapes, so goldens of networks of full size are small. With
//! `BINESH_ZOO=DIR` also what `zoo.py --files DIR` wrote, read from the `.pth` files there; a table is printed.

use std::path::{Path, PathBuf};

use binesh::Model;
use binesh::core::{Grads, ReluRule, Runtime, Tensor};
use binesh::formats::meta::Fit;
use binesh::formats::npy::Npz;
use binesh::formats::{Limits, LoadCx};
use binesh::zoo::{self, Request, Source, ZooError};

/// Largest difference to PyTorch as a share of PyTorch's largest value: `docs/numerics.md`.
const TOLERANCE: f32 = 1e-4;

fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/zoo")
}

/// What `zoo.py` wrote of one network.
struct Golden {
    names: String,
    shapes: Vec<f32>,
    /// Offset and scale of each tensor.
    parts: Vec<(f32, f32)>,
    size: [usize; 2],
    /// The name of the pixels' noise.
    pixels: String,
    output: Vec<f32>,
    step: usize,
    gradient: Vec<f32>,
    peak: f32,
}

impl Golden {
    fn read(path: &Path) -> Golden {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
        let mut read = |key: &str| npz.read(key).unwrap().data;
        let size: Vec<usize> = read("input").into_iter().map(|n| n as usize).collect();
        Golden {
            names: String::from_utf8(read("names").into_iter().map(|byte| byte as u8).collect()).unwrap(),
            shapes: read("shapes"),
            parts: read("offsets").into_iter().zip(read("scales")).collect(),
            size: [size[0], size[1]],
            pixels: format!("input {}", size[2]),
            output: read("output"),
            step: read("step")[0] as usize,
            gradient: read("gradient"),
            peak: read("gradient_peak")[0],
        }
    }

    fn weights(&self) -> Vec<(String, Tensor)> {
        let mut shapes = self.shapes.iter().map(|&n| n as usize);
        let weight = |(name, &(offset, scale)): (&str, &(f32, f32))| {
            let rank = shapes.next().unwrap();
            let shape: Vec<usize> = shapes.by_ref().take(rank).collect();
            let noise = noise(name, shape.iter().product());
            (name.to_owned(), Tensor::new(shape, noise.map(|n| offset + scale * n).collect()).unwrap())
        };
        self.names.lines().zip(&self.parts).map(weight).collect()
    }

    /// Differences of output and gradient, as shares of the largest value.
    fn differences(&self, model: &Model) -> [f32; 2] {
        let [h, w] = self.size;
        let n = 2;
        let x = Tensor::new([n, h, w, 3], noise(&self.pixels, n * h * w * 3).collect()).unwrap();
        let graph = model.graph();
        let input = graph.inputs()[0];
        let logits = model.head().unwrap().logits;
        let shapes = [x.shape().clone()];
        let mut session = model.session(&shapes, &[logits], Grads::Wrt(&[input])).unwrap();
        session.run(model.params(), &[x.view()]).unwrap();
        let output = session.value(logits).to_tensor();
        assert_eq!(output.data().len(), self.output.len());
        let seed = noise("seed", self.output.len()).collect();
        let seed = Tensor::new(output.shape().clone(), seed).unwrap();
        session.backward(model.params(), &[(logits, seed)], ReluRule::Exact).unwrap();
        let gradient = session.grad(input).unwrap();
        let ours: Vec<f32> = gradient.data().iter().copied().step_by(self.step).collect();
        assert_eq!(ours.len(), self.gradient.len());
        let peak = self.output.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        [worst(output.data(), &self.output) / peak, worst(&ours, &self.gradient) / self.peak]
    }
}

fn worst(ours: &[f32], theirs: &[f32]) -> f32 {
    // A value that is not a number must not be passed over, as `max` does.
    ours.iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |m, d| if d > m || d.is_nan() { d } else { m })
}

/// `zoo.py`'s `noise`: SplitMix64 seeded with the FNV-1a hash of the name.
fn noise(name: &str, len: usize) -> impl Iterator<Item = f32> {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    (1..=len as u64).map(move |i| {
        let z = hash.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        (z >> 40) as f32 * (1.0 / 8_388_608.0) - 1.0
    })
}

/// The name in the file's name, which is that of its source where there are several.
fn architecture(stem: &str) -> (&str, Option<Source>) {
    match stem.strip_prefix("timm.") {
        // timm has these with torchvision's names of tensors.
        Some(name @ ("resnet50" | "densenet121" | "inception_v3")) => (name, Some(Source::Torchvision)),
        Some(name) => (name, Some(Source::Timm)),
        None => (stem, None),
    }
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == ending));
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Architectures that only their names tell apart from others.
fn is_ambiguous(name: &str) -> bool {
    let twins = ["efficientnet_b", "efficientnet_lite0", "efficientnetv2_s", "mobilenetv3_"];
    let tensorflow = name.starts_with("tf_");
    let name = name.trim_start_matches("tf_");
    let twin = twins.iter().any(|twin| name.starts_with(twin));
    twin && !(tensorflow && (name.ends_with("b6") || name.ends_with("b7")))
}

#[test]
fn every_family_by_value() {
    let mut report = Vec::new();
    let paths = files(&goldens(), "npz");
    assert!(paths.len() >= 30, "the goldens are missing");
    for path in paths {
        let stem = stem(&path);
        let (name, source) = architecture(&stem);
        let golden = Golden::read(&path);
        let timm = source == Some(Source::Timm);
        let wanted = if timm && is_ambiguous(name) { Some(name) } else { None };
        let request = Request { architecture: wanted, size: Some(golden.size), ..Request::default() };
        let weights = golden.weights();
        let counters = weights.iter().filter(|(name, _)| name.ends_with("num_batches_tracked")).count();
        let tensors = weights.len();
        let built = zoo::network(weights, &request).unwrap_or_else(|e| panic!("{stem}: {e}"));
        assert_eq!(built.architecture.name, name);
        assert!(source.is_none_or(|source| source == built.architecture.source), "{stem}");
        let read = built.report.used.len() + built.report.unused.len();
        assert_eq!(read + counters, tensors, "{stem}: every tensor is accounted for");
        let model = Model::new(built.network, Runtime::new(2));
        let [output, gradient] = golden.differences(&model);
        report.push((stem, output, gradient));
    }
    check(&report);
}

/// `python testdata/gen/zoo.py --files DIR`, then `BINESH_ZOO=DIR cargo test --release -p binesh --test zoo -- --nocapture`.
#[test]
fn real_state_dicts_of_all_sizes() {
    let Some(folder) = std::env::var_os("BINESH_ZOO") else {
        eprintln!("skipped: no folder BINESH_ZOO");
        return;
    };
    let mut report = Vec::new();
    for path in files(Path::new(&folder), "npz") {
        let stem = stem(&path);
        let (name, source) = architecture(&stem);
        let golden = Golden::read(&path);
        let [h, w] = golden.size;
        let timm = source == Some(Source::Timm);
        let cx = LoadCx {
            architecture: (timm && is_ambiguous(name)).then(|| name.to_owned()),
            input_shape: Some(vec![None, Some(h), Some(w), Some(3)]),
            ..LoadCx::default()
        };
        let opened = Model::open(&path.with_extension("pth"), None, &cx, Runtime::new(2));
        let (model, _) = opened.unwrap_or_else(|e| panic!("{stem}: {e}"));
        assert_eq!(model.network().name, name);
        let [output, gradient] = golden.differences(&model);
        report.push((stem, output, gradient));
    }
    check(&report);
}

#[track_caller]
fn check(report: &[(String, f32, f32)]) {
    println!("{:28} {:>9} {:>9}", "difference to PyTorch of", "output", "gradient");
    for (name, output, gradient) in report {
        println!("{name:28} {output:9.1e} {gradient:9.1e}");
    }
    let fits = |difference: f32| difference <= TOLERANCE;
    let wrong: Vec<&str> =
        report.iter().filter(|(_, o, g)| !fits(*o) || !fits(*g)).map(|(name, ..)| name.as_str()).collect();
    assert!(wrong.is_empty(), "more than {TOLERANCE:.0e}: {}", wrong.join(", "));
}

fn golden(name: &str) -> Golden {
    Golden::read(&goldens().join(format!("{name}.npz")))
}

fn refused(weights: Vec<(String, Tensor)>, request: &Request<'_>) -> ZooError {
    match zoo::network(weights, request) {
        Ok(built) => panic!("taken for {}", built.architecture.name),
        Err(error) => error,
    }
}

#[test]
fn wrappers_names_are_taken_off_and_reported() {
    let golden = golden("resnet18");
    let wrapped = golden.weights().into_iter().map(|(name, tensor)| (format!("module.model.{name}"), tensor));
    let built = zoo::network(wrapped.collect(), &Request::default()).unwrap();
    assert_eq!(built.architecture.name, "resnet18");
    assert_eq!(built.report.used[0].tensor, "module.model.conv1.weight");
    assert_eq!(built.report.used[0].weight, "conv1/kernel");
    assert_eq!(built.report.transposed[0], "conv1/kernel: axes [2, 3, 1, 0] of `conv1.weight`");
    assert!(built.network.graph.find("layer4/1/conv2").is_some());
}

#[test]
fn densenets_of_old_files() {
    let golden = golden("densenet121");
    let old = |name: &str| {
        let mut name = name.to_owned();
        if name.contains("denselayer") {
            for part in ["norm1", "norm2", "conv1", "conv2"] {
                let (kind, number) = part.split_at(4);
                name = name.replace(&format!(".{part}."), &format!(".{kind}.{number}."));
            }
        }
        name
    };
    let weights = golden.weights().iter().map(|(name, tensor)| (old(name), tensor.clone())).collect();
    let request = Request { size: Some(golden.size), ..Request::default() };
    let built = zoo::network(weights, &request).unwrap();
    let used = &built.report.used;
    assert!(used.iter().any(|u| u.tensor == "features.denseblock1.denselayer1.norm.1.weight"), "{used:?}");
    // Values as under the new names, which are compared with PyTorch's above.
    let new = zoo::network(golden.weights(), &request).unwrap();
    let values = |network: &binesh::formats::Network| -> Vec<Tensor> {
        let ids = network.graph.ids().filter_map(|id| network.params.get(id).cloned());
        ids.collect()
    };
    assert_eq!(values(&built.network), values(&new.network));
    assert_eq!(built.network.graph.nodes().len(), new.network.graph.nodes().len());
}

#[test]
fn what_no_tensor_says_must_be_said() {
    let golden = golden("timm.tf_efficientnet_b0");
    let e = refused(golden.weights(), &Request::default());
    assert_eq!(
        e.to_string(),
        "the weights may be those of `efficientnet_b0` or `tf_efficientnet_b0`, which differ in what no tensor says"
    );
    assert_eq!(e.hint().unwrap(), "say which, as in `--arch efficientnet_b0`");
    for (file, name) in [
        ("tf_efficientnet_b0_ns-c0e6a31c.pth", "tf_efficientnet_b0"),
        ("efficientnet_b0_ra-3dd342df.pth", "efficientnet_b0"),
    ] {
        let request = Request { file: Some(file), ..Request::default() };
        assert_eq!(zoo::network(golden.weights(), &request).unwrap().architecture.name, name);
    }
}

#[test]
fn another_architecture_than_asked_for() {
    let request = Request { architecture: Some("resnet50"), ..Request::default() };
    let e = refused(golden("resnet18").weights(), &request);
    assert_eq!(e.to_string(), "the weights are those of `resnet18`, not of `resnet50`");
    let request = Request { architecture: Some("resnet5"), ..Request::default() };
    let e = refused(golden("resnet18").weights(), &request);
    assert_eq!(e.to_string(), "there is no architecture `resnet5`");
    assert!(e.hint().unwrap().starts_with("similar names are `resnet5"), "{:?}", e.hint());
}

/// A tensor is left out, another is added, a third has another shape: each is said, with both lists.
#[test]
fn what_does_not_fit_is_shown_side_by_side() {
    let whole = golden("resnet18").weights();
    let mut missing = whole.clone();
    missing.retain(|(name, _)| name != "layer1.0.bn2.weight");
    let e = refused(missing, &Request::default());
    assert_eq!(
        e.to_string(),
        "the weights are not those of `resnet18`: the file has no tensor `layer1.0.bn2.weight`"
    );
    let want = "\
\x20 resnet18 reads              the file holds
  ...                         ...
  layer1.0.bn1.running_mean   layer1.0.bn1.running_mean [64]
  layer1.0.bn1.running_var    layer1.0.bn1.running_var [64]
  layer1.0.conv2.weight       layer1.0.conv2.weight [64, 64, 3, 3]
  layer1.0.bn2.weight       | layer1.0.bn2.bias [64]
                              layer1.0.bn2.running_mean [64]
";
    assert!(e.details().unwrap().starts_with(want), "{}", e.details().unwrap());
    let mut more = whole.clone();
    more.push(("layer1.0.se.fc.weight".to_owned(), Tensor::zeros([4, 64])));
    let e = refused(more, &Request::default());
    assert_eq!(
        e.to_string(),
        "the weights are not those of `resnet18`: nothing reads 1 of the file's tensors, the first is `layer1.0.se.fc.weight`"
    );
    assert!(e.details().unwrap().ends_with("| layer1.0.se.fc.weight [4, 64]"), "{}", e.details().unwrap());
    let mut other = whole;
    other.iter_mut().find(|(name, _)| name == "layer2.0.conv1.weight").unwrap().1 =
        Tensor::zeros([128, 32, 3, 3]);
    let e = refused(other, &Request::default()).to_string();
    let want = "the weights are not those of `resnet18`: layer `layer2/0/conv1` (conv2d): input has 64 channels but the kernel expects 32";
    assert_eq!(e, want);
}

#[test]
fn a_network_of_ones_own() {
    let own = [("conv1.weight", vec![8, 3, 3, 3]), ("conv1.bias", vec![8]), ("fc.weight", vec![2, 8])];
    let own: Vec<(String, Tensor)> =
        own.into_iter().map(|(name, shape)| (name.to_owned(), Tensor::zeros(shape))).collect();
    let e = refused(own.clone(), &Request::default());
    assert_eq!(
        e.to_string(),
        "the weights are of no known architecture; the closest is `resnet18`, but the file has no tensor `bn1.weight`"
    );
    assert_eq!(
        e.details().unwrap(),
        "  resnet18 reads   the file holds\n  conv1.weight     conv1.weight [8, 3, 3, 3]\n  conv1.bias       conv1.bias [8]\n  bn1.weight     | fc.weight [2, 8]"
    );
    let other = vec![("w".to_owned(), Tensor::zeros([2, 3])); 12];
    let e = refused(other, &Request::default());
    assert_eq!(e.to_string(), "the weights are of no known architecture");
    assert!(
        e.details().unwrap().ends_with(
            "
  w [2, 3]
  ... and 2 more"
        ),
        "{:?}",
        e.details()
    );
    assert!(matches!(refused(Vec::new(), &Request::default()), ZooError::NotRecognized { .. }));
    let request = Request { architecture: Some("vgg16"), ..Request::default() };
    let e = refused(own, &request).to_string();
    assert_eq!(e, "the weights are not those of `vgg16`: the file has no tensor `features.0.weight`");
}

/// Tensors of absurd shapes are errors, not panics, and never a network of other widths.
#[test]
fn shapes_that_no_network_has() {
    let whole = golden("shufflenet_v2_x0_5").weights();
    let request = Request { size: Some([32, 32]), ..Request::default() };
    for index in (0..whole.len()).step_by(5) {
        for shape in
            [vec![], vec![0], vec![1], vec![7, 0, 3, 3], vec![1, 1, 1, 1], vec![3, 5, 64, 64], vec![2; 6]]
        {
            let mut weights = whole.clone();
            let name = weights[index].0.clone();
            if name.ends_with("num_batches_tracked") {
                continue;
            }
            weights[index].1 = Tensor::zeros(shape.clone());
            if let Ok(built) = zoo::network(weights, &request) {
                panic!("{name} with shape {shape:?} gives {}", built.architecture.name);
            }
        }
    }
}

/// torchvision's `resnet50(weights=...)` wants what its `transforms()` makes; names of the list are all different.
#[test]
fn preprocessing_comes_with_the_architecture() {
    let shown = |name: &str, source: Source| {
        let known = zoo::architectures().find(|a| a.name == name && a.source == source).unwrap();
        known.preprocess([known.size; 2]).to_string()
    };
    let torch = "(x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]";
    assert_eq!(
        shown("resnet50", Source::Torchvision),
        format!("224 x 224 RGB, bilinear, center crop 0.875, {torch}")
    );
    assert_eq!(
        shown("efficientnet_b2", Source::Torchvision),
        format!("288 x 288 RGB, bicubic, cropped to proportions, {torch}")
    );
    assert!(shown("inception_v3", Source::Torchvision).ends_with("x / 127.5 - 1"));
    let mut all: Vec<String> = zoo::architectures().map(|a| format!("{} {}", a.source, a.name)).collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
    for known in zoo::architectures() {
        let preprocess = known.preprocess([known.size; 2]);
        preprocess.check().unwrap();
        if let Fit::CenterCrop { ratio } = preprocess.fit {
            assert_eq!(Some((known.size as f64 / ratio) as usize), known.resize, "{}", known.name);
        }
    }
}

#[test]
fn all_architectures_are_documented() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let missing: Vec<&str> =
        zoo::architectures().map(|a| a.name).filter(|name| !docs.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/formats.md does not list {missing:?}");
}
