//! `binesh heatmap`

use binesh::Model;
use binesh::core::Runtime;
use binesh::formats::npy::NpyArray;
use binesh::image::{Fit, Interpolation, Preprocess};
use binesh::render::{Overlay, heat, overlay};
use serde_json::Value;

use crate::sandbox::{Sandbox, assert_close, golden, golden_array};
use crate::transcript;

#[test]
fn what_is_printed() {
    let sandbox = Sandbox::new();
    sandbox.write("names.txt", b"tabby cat\nguide dog\n");
    sandbox.write("maps/taken_grad-cam_class0.png/file", b"");
    sandbox.copy(&sandbox.path("pix.png"), "taken.png");
    transcript::check(&sandbox, "heatmap");
}

/// Equations 1 and 2 of the paper in f64, from values and gradients that `run` gives, which is tested against Keras:
/// the map `[H, W]` scaled to 1, and the peak it had.
fn grad_cam(activations: &NpyArray, gradients: &NpyArray) -> (NpyArray, f64) {
    let [_, h, w, c] = activations.shape[..] else { panic!("{:?}", activations.shape) };
    let alpha = |k: usize| {
        let per_place = gradients.data.iter().skip(k).step_by(c).map(|g| f64::from(*g));
        per_place.sum::<f64>() / (h * w) as f64
    };
    let alpha: Vec<f64> = (0..c).map(alpha).collect();
    let place =
        |a: &[f32]| a.iter().zip(&alpha).map(|(a, alpha)| f64::from(*a) * alpha).sum::<f64>().max(0.0);
    let map: Vec<f64> = activations.data.chunks_exact(c).map(place).collect();
    let peak = map.iter().copied().fold(0.0, f64::max);
    let scaled = map.iter().map(|v| if peak > 0.0 { (v / peak) as f32 } else { 0.0 });
    (NpyArray { shape: vec![h, w], data: scaled.collect() }, peak)
}

/// The equations as they are written here, against the listings run by Keras.
#[test]
fn the_reference_is_that_of_keras() {
    const GOLDEN: &str = "keras3_grad_cam";
    let sandbox = Sandbox::new();
    sandbox.copy(&golden(GOLDEN).join("model.h5"), "vgg.h5");
    sandbox.write_array("x.npy", &golden_array(GOLDEN, "input/0"));
    let layer = "block2_conv2";
    for (mode, score, divisor) in [("paper", "predictions/pre_activation", 1.0), ("book", "predictions", 6.0)]
    {
        for class in 0..4 {
            sandbox.ok(&format!(
                "run -m vgg.h5 --input x.npy --output g.npz --layer {layer} --grad-of {score}:{class} --wrt {layer}"
            ));
            let [a, g] = [layer, "grad/block2_conv2"].map(|key| sandbox.npz("g.npz", key));
            let expected = golden_array(GOLDEN, &format!("{mode}/{class}"));
            for item in 0..2 {
                let one = |array: &NpyArray| {
                    let length = array.data.len() / 2;
                    let data = array.data[item * length..][..length].to_vec();
                    NpyArray { shape: [&[1], &array.shape[1..]].concat(), data }
                };
                let (mut map, peak) = grad_cam(&one(&a), &one(&g));
                map.shape.insert(0, 1);
                map.data.iter_mut().for_each(|v| *v *= (peak / divisor) as f32);
                assert_close(&format!("{mode}, class {class}"), &map, &one(&expected), 1e-4);
            }
        }
    }
}

/// Both recipes and both classes of a network with one sigmoid unit, at every layer with a map.
#[test]
fn maps_are_those_of_the_paper() {
    let sandbox = Sandbox::new();
    let x = sandbox.picture("pix.png").to_array().iter().map(|v| v / 255.0).collect();
    sandbox.write_array("x.npy", &NpyArray { shape: vec![1, 9, 11, 3], data: x });
    let mut seen = 0;
    for layer in ["conv1", "pool1", "conv2", "bn", "relu"] {
        for (mode, score) in [("paper", "dense2/pre_activation"), ("book", "dense2")] {
            sandbox.ok(&format!(
                "run -m seq.h5 --input x.npy --output g.npz --layer {layer} --layer dense2 --grad-of {score}:0 --wrt {layer}"
            ));
            let [a, mut g] = [layer, &format!("grad/{layer}")].map(|key| sandbox.npz("g.npz", key));
            let probability = f64::from(sandbox.npz("g.npz", "dense2").data[0]);
            let report = sandbox.json(&format!(
                "heatmap -m seq.h5 pix.png --scaling unit --out maps --layer {layer} --mode {mode} --npy"
            ));
            let entries = report["heatmaps"].as_array().unwrap();
            assert_eq!(entries.len(), 2);
            for (class, sign) in [(1, 1.0), (0, -1.0)] {
                let entry = entries.iter().find(|entry| entry["class"] == class).unwrap();
                g.data.iter_mut().for_each(|g| *g *= sign);
                let (expected, peak) = grad_cam(&a, &g);
                let what = format!("{layer}, {mode}, class {class}");
                assert_close(&what, &sandbox.npy(entry["npy"].as_str().unwrap()), &expected, 1e-4);
                assert_eq!(entry["blank"].is_null(), peak > 0.0, "{what}: {entry}");
                let [got, likely] = ["peak", "probability"].map(|key| entry[key].as_f64().unwrap());
                assert!((got - peak).abs() <= 1e-4 * peak, "{what}: peak {got}, expected {peak}");
                let share = if class == 1 { probability } else { 1.0 - probability };
                assert!((likely - share).abs() < 1e-6, "{what}: probability {likely}, expected {share}");
                seen += usize::from(peak > 0.0);
            }
        }
    }
    assert!(seen >= 10, "most maps are blank: this tests nothing");
}

/// The book's pictures are stretched, and not smoothed unless the user says so.
#[test]
fn the_book_sees_pictures_of_its_own() {
    let sandbox = Sandbox::new();
    let cat = sandbox.picture("cat.png");
    for (option, interpolation) in
        [("", Interpolation::Nearest), ("--interpolation lanczos", Interpolation::Lanczos)]
    {
        let report = sandbox.json(&format!("heatmap cat.png --out maps --mode book {option}"));
        let mut model = Model::embedded(Runtime::new(2));
        let known = model.preprocessing().unwrap().preprocess.clone();
        model.set_preprocess(Preprocess { interpolation, fit: Fit::Stretch, ..known });
        let (class, probability) = model.predict(std::slice::from_ref(&cat)).unwrap()[0].ranked()[0];
        let entry = &report["heatmaps"][0];
        let got = entry["probability"].as_f64().unwrap();
        let close = (got - f64::from(probability)).abs() < 1e-5;
        assert!(entry["class"] == class && close, "{option}: {entry}, expected {class} {probability}");
    }
}

/// The files written are the map drawn as `render` draws it, which is tested against the book's arrays.
#[test]
fn pictures_show_the_map() {
    let sandbox = Sandbox::new();
    for (mode, style) in [("paper", Overlay::default()), ("book", Overlay::Book)] {
        let report = sandbox.json(&format!(
            "heatmap -m seq.h5 pix.png --scaling unit --out {mode} --mode {mode} --npy --class 0"
        ));
        let entry = &report["heatmaps"][0];
        let file = |key: &str| entry[key].as_str().unwrap().to_owned();
        let map = sandbox.npy(&file("npy"));
        let (shape, photo) = ([map.shape[0], map.shape[1]], sandbox.picture("pix.png"));
        assert!(
            sandbox.picture(file("overlay")) == overlay(&photo, &map.data, shape, style).to_rgb(),
            "{mode}"
        );
        assert!(sandbox.picture(file("map")) == heat(&map.data, shape, [9, 11]).to_rgb(), "{mode}");
        assert_eq!(sandbox.files(mode).len(), 3);
    }
}

/// The embedded network's map against PyTorch's (kernels are rounded to f16), with no option at all.
#[test]
fn embedded_network() {
    let sandbox = Sandbox::new();
    let report = sandbox.json("heatmap cat.png --out maps --npy");
    assert_eq!(
        (&report["layer"], &report["map_size"]),
        (&"top_activation".into(), &serde_json::json!([7, 7]))
    );
    let entry = &report["heatmaps"][0];
    assert_eq!((&entry["class"], &entry["label"]), (&285.into(), &"Egyptian cat".into()));
    let mut expected = golden_array("real_lite0_chelsea", "unit/grad_cam/features");
    let peak = expected.data.iter().copied().fold(0.0, f32::max);
    expected.data.iter_mut().for_each(|v| *v = v.max(0.0) / peak);
    assert_close("grad-cam", &sandbox.npy("maps/cat_grad-cam.npy"), &expected, 2e-2);
    assert!((entry["peak"].as_f64().unwrap() / f64::from(peak) - 1.0).abs() < 2e-2, "{entry}, {peak}");
    assert_eq!(sandbox.picture("maps/cat_grad-cam.png").width(), sandbox.picture("cat.png").width());
}

/// A batch equals single runs, to the byte, and every picture has names of its own.
#[test]
fn pictures_of_one_name_do_not_overwrite_each_other() {
    let sandbox = Sandbox::new();
    for name in ["a/cat.png", "b/cat.png", "c/Cat.png", "cat-2.png"] {
        sandbox.copy(&sandbox.path("pix.png"), name);
    }
    sandbox.copy(&golden("images/photo.jpg"), "b/cat.jpg");
    let run = "heatmap -m seq.h5 --scaling unit --class 0 --npy";
    let pictures = "a/cat.png b/cat.jpg b/cat.png c/Cat.png cat-2.png cat.png";
    let report = sandbox.json(&format!("{run} --out maps {pictures}"));
    let entries = report["heatmaps"].as_array().unwrap();
    assert_eq!(entries.len(), 6);
    let mut names: Vec<String> = sandbox.files("maps").iter().map(|name| name.to_lowercase()).collect();
    names.dedup();
    assert_eq!(names.len(), 18, "{names:?}");
    for entry in entries {
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
        let alone = sandbox.json(&format!("{run} --out alone {}", text(entry, "image")));
        for key in ["overlay", "map", "npy"] {
            let (one, many) = (text(&alone["heatmaps"][0], key), text(entry, key));
            assert!(sandbox.bytes(&one) == sandbox.bytes(&many), "{many} differs from {one}");
        }
    }
}

#[test]
fn good_pictures_among_bad_ones_are_done() {
    let sandbox = Sandbox::new();
    sandbox.write("text.png", b"not a picture");
    let ran = sandbox
        .run("heatmap -m seq.h5 --scaling unit --out maps text.png pix.png nope.png cat.png --class 1");
    assert_eq!(ran.code, 1, "{ran}");
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("error: ")).count(), 2, "{ran}");
    assert_eq!(
        sandbox.files("maps"),
        ["cat_grad-cam.png", "cat_grad-cam_map.png", "pix_grad-cam.png", "pix_grad-cam_map.png"]
    );
}
