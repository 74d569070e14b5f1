//! The conformance cases of the `onnx` package, in the form that `testdata/gen/onnx_cases.py` gives them:
//!
//! ```text
//! python testdata/gen/onnx_cases.py DIR && BINESH_ONNX_CASES=DIR cargo test -p binesh --test onnx_conformance
//! ```
//!
//! Every case is passed, or out of scope for one of the reasons below. The table in `docs/formats.md` is what this prints
//! with `--nocapture`; `BINESH_ONNX_ALL=1` prints every case that is not passed, and why.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use binesh::core::{Grads, NodeId, Plan, PlanSpec, Runtime, Session, Shape, Tensor};
use binesh::formats::npy::{NpyArray, Npz};
use binesh::formats::{Limits, LoadCx, LoadReport, Loaded, Network, load};
use serde_json::Value;

/// Operators that are not supported, or only for constants, and what they are for. A case that uses one is out of scope.
const OPERATORS: &[(&str, &str)] = &[
    ("training", "Gradient Adagrad Adam Momentum SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss"),
    (
        "sequences, optional values, control flow",
        "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap \
         SplitToSequence ConcatFromSequence Optional OptionalGetElement OptionalHasElement If Loop Scan",
    ),
    (
        "texts, trees, tables",
        "StringNormalizer StringSplit StringConcat RegexFullMatch TfIdfVectorizer LabelEncoder TreeEnsemble Binarizer \
         ArrayFeatureExtractor",
    ),
    (
        "quantised numbers, bits",
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearMatMul QLinearConv ConvInteger MatMulInteger \
         BitShift BitCast BitwiseAnd BitwiseOr BitwiseXor BitwiseNot",
    ),
    (
        "language models, recurrent networks",
        "Attention LinearAttention FlexAttention CausalConvWithState RotaryEmbedding RMSNormalization SwiGLU \
         TensorScatter LSTM GRU RNN ReverseSequence CumSum CumProd Trilu Einsum",
    ),
    (
        "comparisons, truth values and whole numbers that depend on the picture",
        "And Or Xor Not Equal Less Greater LessOrEqual GreaterOrEqual Where CastLike ArgMax ArgMin TopK Hardmax OneHot \
         NonZero Unique Compress IsNaN IsInf Mod NonMaxSuppression GatherElements GatherND Scatter ScatterElements \
         ScatterND MaxUnpool Ceil Floor Round Sign",
    ),
    (
        "functions that networks of convolutions do not use",
        "Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Det ReduceProd Shrink LpPool LpNormalization EyeLike Col2Im \
         CenterCropPad GridSample AffineGrid RoiAlign DeformConv",
    ),
    (
        "signals, random numbers, decoding of pictures",
        "DFT STFT MelWeightMatrix BlackmanWindow HammingWindow HannWindow ImageDecoder Bernoulli RandomUniformLike",
    ),
];

/// Cases of operators that are supported, and what is asked of them that is not.
const CASES: &[(&str, &str)] = &[
    ("training", "training_mode training_dropout dropout_default_mask"),
    (
        "comparisons, truth values and whole numbers that depend on the picture",
        "maxpool_with_argmax Embedding pow_types \
      non_float_params",
    ),
    (
        "values without elements",
        "rotary_embedding empty_set split_zero_size allowzero_reordered slice_start_out_of_bounds \
      shape_start_greater_than_end int_shape_zero",
    ),
    // The reference divides by a length with a fraction. The networks that have these attributes come from PyTorch.
    (
        "resized as ONNX Runtime and PyTorch do, not as the reference",
        "scales_linear_align_corners \
      scales_cubic_align_corners",
    ),
];

struct Case {
    entry: Value,
    folder: PathBuf,
}

impl Case {
    fn text(&self, key: &str) -> &str {
        self.entry[key].as_str().unwrap()
    }

    fn list(&self, key: &str) -> Vec<&str> {
        self.entry[key].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect()
    }

    /// Why the case is not one of a convolutional network's.
    fn out_of_scope(&self) -> Option<&'static str> {
        let find = |table: &[(&'static str, &str)], found: &dyn Fn(&str) -> bool| {
            table.iter().find(|(_, names)| names.split_whitespace().any(found)).map(|(why, _)| *why)
        };
        let operators: Vec<&str> =
            self.list("operators").iter().map(|op| op.rsplit(':').next().unwrap()).collect();
        let by_operator = find(OPERATORS, &|name| operators.contains(&name));
        by_operator.or_else(|| find(CASES, &|part| self.text("name").contains(part))).or_else(|| {
            let elements = self.list("elements");
            let narrow =
                |kind: &&str| kind.starts_with("FLOAT8") || kind.ends_with('4') && kind.contains("INT4");
            let narrow = |kind: &&str| narrow(kind) || kind.contains("INT2") || kind.starts_with("FLOAT4");
            let is_float = |kind: &&str| matches!(*kind, "FLOAT" | "DOUBLE" | "FLOAT16" | "BFLOAT16");
            let ranks = self.entry["ranks"].as_array().unwrap();
            if elements.iter().any(narrow) {
                Some("numbers of 8 bits and less")
            } else if !elements.iter().any(is_float) {
                Some("comparisons, truth values and whole numbers that depend on the picture")
            } else if ranks.iter().any(|rank| rank.as_u64() == Some(5)) {
                Some("maps of three axes")
            } else if elements.contains(&"BFLOAT16") {
                Some("rounding to 16 bits: everything is computed in f32")
            } else {
                None
            }
        })
    }

    fn run(&self) -> Result<(), String> {
        if self.entry["sets"].as_u64() == Some(0) {
            return Err("its values are no arrays of numbers".to_owned());
        }
        match self.run_file("model") {
            Err(first) if !first.starts_with("output") => {
                self.run_file("constant").map_err(|e| if e.starts_with("output") { e } else { first })
            }
            result => result,
        }
    }

    fn run_file(&self, file: &str) -> Result<(), String> {
        let bytes = std::fs::read(self.folder.join(format!("{file}.onnx"))).unwrap();
        let (network, report) = match load(bytes, "it", &LoadCx::default()).map_err(|e| e.to_string())? {
            (Loaded::Model(network), report) => (*network, report),
            _ => return Err("no network".to_owned()),
        };
        let io = std::fs::read(self.folder.join("io.npz")).unwrap();
        let mut npz = Npz::open(&io, &Limits::default()).unwrap();
        let given: Vec<u64> =
            self.entry[file].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
        let tolerance = ["rtol", "atol"].map(|key| self.entry[key].as_f64().unwrap());
        for set in 0..self.entry["sets"].as_u64().unwrap() {
            let inputs: Vec<NpyArray> =
                given.iter().map(|i| npz.read(&format!("input/{set}/{i}")).unwrap()).collect();
            let session = run(&network, &report, &inputs)?;
            for (i, &id) in network.graph.outputs().iter().enumerate() {
                let want = npz.read(&format!("output/{set}/{i}")).unwrap();
                let got = session.value(id);
                compare(&want, got.shape().dims(), got.data(), tolerance)
                    .map_err(|e| format!("output {i}: {e}"))?;
            }
        }
        Ok(())
    }
}

fn run(network: &Network, report: &LoadReport, inputs: &[NpyArray]) -> Result<Session, String> {
    let graph = &network.graph;
    if graph.inputs().len() != inputs.len() {
        return Err(format!("it has {} inputs, not {}", graph.inputs().len(), inputs.len()));
    }
    let mut values = Vec::new();
    for (&id, array) in graph.inputs().iter().zip(inputs) {
        let line = format!("{}: [N, C, H, W] is given as [N, H, W, C]", graph.node(id).name);
        let tensor = Tensor::new(array.shape.clone(), array.data.clone()).map_err(|e| e.to_string())?;
        values.push(if report.transposed.contains(&line) { tensor.permuted(&[0, 2, 3, 1]) } else { tensor });
    }
    let shapes: Vec<(NodeId, Shape)> =
        graph.inputs().iter().zip(&values).map(|(&id, x)| (id, x.shape().clone())).collect();
    let spec = PlanSpec { inputs: &shapes, want: graph.outputs(), grads: Grads::None, ..PlanSpec::default() };
    let plan = Plan::new(graph, spec).map_err(|e| e.to_string())?;
    let mut session = Session::new(plan, Runtime::new(1));
    let order = session.inputs().to_vec();
    let views: Vec<_> =
        order.iter().map(|id| values[graph.inputs().iter().position(|i| i == id).unwrap()].view()).collect();
    session.run(&network.params, &views).map_err(|e| e.to_string())?;
    Ok(session)
}

/// As `numpy.testing.assert_allclose`.
fn compare(want: &NpyArray, shape: &[usize], got: &[f32], [rtol, atol]: [f64; 2]) -> Result<(), String> {
    if want.shape != shape {
        return Err(format!("shape {shape:?}, expected {:?}", want.shape));
    }
    for (i, (&got, &want)) in got.iter().zip(&want.data).enumerate() {
        let near = (f64::from(got) - f64::from(want)).abs() <= atol + rtol * f64::from(want).abs();
        if !(near || got == want || (got.is_nan() && want.is_nan())) {
            return Err(format!("value {i} is {got}, expected {want}"));
        }
    }
    Ok(())
}

#[test]
fn cases_of_the_onnx_package() {
    let Some(root) = std::env::var_os("BINESH_ONNX_CASES").map(PathBuf::from) else {
        eprintln!("skipped: BINESH_ONNX_CASES does not name a folder made by testdata/gen/onnx_cases.py");
        return;
    };
    let index: Value = serde_json::from_slice(&std::fs::read(root.join("index.json")).unwrap()).unwrap();
    let show_all = std::env::var_os("BINESH_ONNX_ALL").is_some();
    let mut table: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for entry in index.as_array().unwrap() {
        let (kind, name) = (entry["kind"].as_str().unwrap(), entry["name"].as_str().unwrap());
        let case = Case { folder: Path::new(&root).join(kind).join(name), entry: entry.clone() };
        let row = table.entry(kind.to_owned()).or_default();
        match case.run() {
            Ok(()) => row[0] += 1,
            Err(error) => match case.out_of_scope() {
                Some(why) => {
                    row[1] += 1;
                    *reasons.entry(why.to_owned()).or_default() += 1;
                    if show_all {
                        println!("{kind}/{name}: {why}: {error}");
                    }
                }
                None => {
                    row[2] += 1;
                    failures.push(format!("{kind}/{name}: {error}"));
                }
            },
        }
    }
    println!("| cases | passed | out of scope | failed |\n|---|---|---|---|");
    for (kind, [passed, out, failed]) in &table {
        println!("| {kind} | {passed} | {out} | {failed} |");
    }
    for (why, count) in &reasons {
        println!("| {why} | {count} |");
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}
