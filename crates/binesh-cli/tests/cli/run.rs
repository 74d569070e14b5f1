//! `binesh run`

use binesh::formats::npy::NpyArray;

use crate::sandbox::{Sandbox, assert_close, golden, golden_array};
use crate::transcript;

/// Of an array's largest magnitude; see docs/numerics.md.
const TOLERANCE: f32 = 1e-4;

/// Outputs, layers and gradients of files that Keras wrote, against what Keras computed.
#[track_caller]
fn check(folder: &str, file: &str, names: Names) {
    let sandbox = Sandbox::new();
    sandbox.copy(&golden(folder).join(file), file);
    let inputs: Vec<String> = (0..names.inputs.len()).map(|i| format!("x{i}.npy")).collect();
    for (i, input) in inputs.iter().enumerate() {
        sandbox.write_array(input, &golden_array(folder, &format!("input/{i}")));
    }
    // Named inputs in any order; unnamed ones in the model's.
    let named: Vec<String> =
        names.inputs.iter().zip(&inputs).map(|(name, x)| format!("--input {name}={x}")).rev().collect();
    let unnamed: Vec<String> = inputs.iter().map(|x| format!("--input {x}")).collect();
    for given in [named.join(" "), unnamed.join(" ")] {
        sandbox.ok(&format!("run -m {file} {given} --output y.npz"));
        for (i, output) in names.outputs.iter().enumerate() {
            let expected = golden_array(folder, &format!("output/{i}"));
            assert_close(output, &sandbox.npz("y.npz", output), &expected, TOLERANCE);
        }
    }

    let layers: Vec<String> = names.layers.iter().map(|name| format!("--layer {name}")).collect();
    let report =
        sandbox.json(&format!("run -m {file} {} --output l.npz {}", unnamed.join(" "), layers.join(" ")));
    for (i, layer) in names.layers.iter().enumerate() {
        let got = sandbox.npz("l.npz", layer);
        assert_close(layer, &got, &golden_array(folder, &format!("layer/{layer}")), TOLERANCE);
        assert_eq!(report["arrays"][i], serde_json::json!({"key": layer, "shape": got.shape}));
    }
    assert_eq!(report["arrays"].as_array().unwrap().len(), names.layers.len());

    // Keras's gradients are those of a sum weighted by `seed`; ours are of one entry of each item, and they add up.
    let seed = golden_array(folder, "seed");
    let wrt: Vec<String> = names.wrt.iter().map(|(name, _)| format!("--wrt {name}")).collect();
    let units = seed.shape[1];
    let mut total: Vec<Option<NpyArray>> = vec![None; names.wrt.len()];
    for unit in 0..units {
        for (item, x) in one_by_one(&sandbox, &names.inputs) {
            let output = names.outputs[0];
            sandbox
                .ok(&format!("run -m {file} {x} --output g.npz --grad-of {output}:{unit} {}", wrt.join(" ")));
            for (total, (name, kind)) in total.iter_mut().zip(&names.wrt) {
                let part = sandbox.npz("g.npz", &format!("grad/{name}"));
                let weight = seed.data[item * units + unit];
                add(total, &part, weight, item, kind.starts_with("input/"));
            }
        }
    }
    for (total, (name, key)) in total.into_iter().zip(&names.wrt) {
        assert_close(name, &total.unwrap(), &golden_array(folder, &format!("grad/{key}")), TOLERANCE);
    }
}

struct Names {
    inputs: Vec<&'static str>,
    outputs: Vec<&'static str>,
    layers: Vec<&'static str>,
    /// As we name it, and as the golden does.
    wrt: Vec<(&'static str, &'static str)>,
}

/// Writes each item of the inputs alone; gives the options for it.
fn one_by_one(sandbox: &Sandbox, inputs: &[&str]) -> Vec<(usize, String)> {
    let arrays: Vec<NpyArray> = (0..inputs.len()).map(|i| sandbox.npy(&format!("x{i}.npy"))).collect();
    let options = |item: usize| -> String {
        let write = |(i, array): (usize, &NpyArray)| {
            let length = array.data.len() / array.shape[0];
            let data = array.data[item * length..][..length].to_vec();
            let name = format!("x{i}_{item}.npy");
            sandbox.write_array(&name, &NpyArray { shape: [&[1], &array.shape[1..]].concat(), data });
            format!("--input {name} ")
        };
        arrays.iter().enumerate().map(write).collect()
    };
    (0..arrays[0].shape[0]).map(|item| (item, options(item))).collect()
}

/// A gradient by the input has a row for each item; one by a weight is the sum over items.
fn add(total: &mut Option<NpyArray>, part: &NpyArray, weight: f32, item: usize, per_item: bool) {
    let items = if per_item { 2 } else { 1 };
    let total = total.get_or_insert_with(|| {
        let mut shape = part.shape.clone();
        shape[0] *= items;
        NpyArray { data: vec![0.0; items * part.data.len()], shape }
    });
    let at = if per_item { item * part.data.len() } else { 0 };
    total.data[at..].iter_mut().zip(&part.data).for_each(|(sum, g)| *sum += weight * g);
}

#[test]
fn sequential_of_keras_2_0_8() {
    check(
        "keras208_sequential",
        "model.h5",
        Names {
            inputs: vec!["input"],
            outputs: vec!["dense2"],
            layers: vec!["conv1", "bn", "pool2", "dense1"],
            wrt: vec![("input", "input/0"), ("conv1/kernel", "param/conv1/kernel")],
        },
    );
}

#[test]
fn functional_of_keras_2_0_8() {
    check(
        "keras208_functional",
        "model.h5",
        Names {
            inputs: vec!["x", "v"],
            outputs: vec!["main", "side"],
            layers: vec!["shared", "shared#1", "concat", "embed"],
            wrt: vec![("x", "input/0"), ("v", "input/1"), ("first/kernel", "param/first/kernel")],
        },
    );
}

#[test]
fn nested_of_keras_2_0_8() {
    check(
        "keras208_nested",
        "model.h5",
        Names {
            inputs: vec!["input"],
            outputs: vec!["dense_2"],
            layers: vec!["vgg/block1_conv1", "vgg/block2_pool", "dense_1"],
            wrt: vec![("input", "input/0"), ("vgg/block1_conv1/kernel", "param/vgg/block1_conv1/kernel")],
        },
    );
}

/// Without an index, the gradient is that of the sum of all values.
#[test]
fn the_gradient_of_a_sum_is_the_sum_of_gradients() {
    let sandbox = Sandbox::new();
    sandbox.write_array("x.npy", &golden_array("keras208_functional", "input/0"));
    sandbox.write_array("v.npy", &golden_array("keras208_functional", "input/1"));
    let gradient = |entry: &str| {
        let given = "run -m fun.h5 --input x.npy --input v.npy --output g.npz";
        sandbox.ok(&format!("{given} --grad-of {entry} --wrt first/kernel"));
        sandbox.npz("g.npz", "grad/first/kernel")
    };
    let mut sum = gradient("multiply:0");
    for unit in 1..8 {
        sum.data.iter_mut().zip(gradient(&format!("multiply:{unit}")).data).for_each(|(sum, g)| *sum += g);
    }
    assert_close("sum", &gradient("multiply"), &sum, 1e-5);
    // An entry of a map has three places.
    let one = gradient("shared:5,6,3");
    assert!(one.data.iter().any(|&g| g != 0.0));
}

#[test]
fn complaints() {
    let sandbox = Sandbox::new();
    sandbox.write_array("x.npy", &golden_array("keras208_functional", "input/0"));
    sandbox.write_array("v.npy", &golden_array("keras208_functional", "input/1"));
    sandbox.write_array("s.npy", &golden_array("keras208_sequential", "input/0"));
    sandbox.write_array("wide.npy", &NpyArray { shape: vec![2, 9, 12, 3], data: vec![0.0; 648] });
    sandbox.write_array("flat.npy", &NpyArray { shape: vec![2, 297], data: vec![0.0; 594] });
    sandbox.write_array("none.npy", &NpyArray { shape: vec![0, 9, 11, 3], data: vec![] });
    let s = sandbox.bytes("s.npy");
    sandbox.write("cut.npy", &s[..300]);
    sandbox.write("header.npy", &s[..40]);
    sandbox.write("empty.npy", b"");
    for (name, kind) in
        [("text.npy", "<U2"), ("big_endian.npy", ">f4"), ("complex.npy", "<c8"), ("object.npy", "|O ")]
    {
        let at = s.windows(3).position(|w| w == b"<f4").unwrap();
        sandbox.write(name, &[&s[..at], kind.as_bytes(), &s[at + 3..]].concat());
    }
    sandbox.write("folder/file", b"");
    transcript::check(&sandbox, "run");
    assert!(!sandbox.path("y.npz").exists(), "a failed run leaves nothing");
}

/// A layer's name may hold a colon, and so may a file's; a file's may hold `=`.
#[test]
fn colons_and_equal_signs_in_names() {
    let sandbox = Sandbox::new();
    let json = std::fs::read_to_string(golden("keras2_sequential/model.json")).unwrap();
    sandbox.write("model.json", json.replace("\"dense_9\"", "\"dense:1\"").as_bytes());
    sandbox.copy(&golden("keras2_sequential/legacy_weights.h5"), "weights.h5");
    sandbox.write_array("a=b:c.npy", &golden_array("keras2_sequential", "input/0"));
    let gradient = |entry: &str| {
        let run = "run -m model.json --weights weights.h5 --input a=b:c.npy --output y.npz --layer dense:1";
        sandbox.ok(&format!("{run} --grad-of {entry} --wrt first"));
        let expected = golden_array("keras2_sequential", "output/0");
        assert_close(entry, &sandbox.npz("y.npz", "dense:1"), &expected, TOLERANCE);
        sandbox.npz("y.npz", "grad/first")
    };
    // The layer itself, not entry 1 of a layer `dense`: the sum over its three units.
    let mut sum = gradient("dense:1:0");
    for entry in ["dense:1:1", "dense:1:2"] {
        sum.data.iter_mut().zip(gradient(entry).data).for_each(|(sum, g)| *sum += g);
    }
    let whole = gradient("dense:1");
    let error = sum.data.iter().zip(&whole.data).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
    let peak = gradient("dense:1:1").data.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    assert!(error < 1e-5 * peak, "{error}, {peak}");
}

/// Whatever NumPy wrote whole becomes float32.
#[test]
fn doubles_and_bytes_are_converted() {
    let sandbox = Sandbox::new();
    let values: Vec<u8> = (0..297).map(|i| (i * 7 % 251) as u8).collect();
    let header = |kind: &str| {
        let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (1, 9, 11, 3), }}");
        text.push_str(&" ".repeat(117 - text.len()));
        [b"\x93NUMPY\x01\x00\x76\x00", text.as_bytes(), b"\n"].concat()
    };
    let doubles: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
    sandbox.write("bytes.npy", &[header("|u1"), values.clone()].concat());
    sandbox.write("doubles.npy", &[header("<f8"), doubles].concat());
    let data = values.iter().map(|v| f32::from(*v)).collect();
    sandbox.write_array("floats.npy", &NpyArray { shape: vec![1, 9, 11, 3], data });
    let y = ["bytes", "doubles", "floats"].map(|name| {
        sandbox.ok(&format!("run -m seq.h5 --input {name}.npy --output y.npz --layer bn"));
        sandbox.npz("y.npz", "bn")
    });
    assert_eq!(y[0], y[1]);
    assert_eq!(y[0], y[2]);
}
