//! Figures against SciPy, NumPy and PyTorch's definition (`testdata/gen/depth.py`), and the whole on a small network.

use std::path::{Path, PathBuf};

use binesh_core::{Grads, Runtime};
use binesh_formats::npy::{NpyArray, Npz};
use binesh_formats::{Limits, LoadCx};

use super::*;
use crate::image::{DecodeOptions, Preprocess, Scaling, open};
use crate::render::{sparsity, write_png};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(name)
}

fn array(key: &str) -> NpyArray {
    let bytes = std::fs::read(golden("depth/figures.npz")).unwrap();
    Npz::open(&bytes, &Limits::default()).unwrap().read(key).unwrap()
}

fn near(got: f64, key: &str) {
    let expected = f64::from(array(key).data[0]);
    assert!((got - expected).abs() < 1e-5 * expected.abs(), "{key}: {got} for {expected}");
}

#[test]
fn averaging_is_pytorchs() {
    let got = pooled(&array("map").data, [5, 4, 12], [3, 2]);
    let expected = array("pooled").data;
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn entropy_is_scipys() {
    let mut gathered = Gathered::new([5, 4, 12], 0);
    gathered.take(&array("map").data);
    near(gathered.entropy(), "entropy");
    assert_eq!(gathered.dead_channels(), 1);
    assert_eq!(gathered.blank_share(), 1.0 / 12.0);
}

/// Maps of one place each, so that every sample is seen.
#[test]
fn effective_rank_is_numpys_however_photos_are_grouped() {
    let values = array("values").data;
    for batch in [1, 7, 300] {
        let mut gathered = Gathered::new([1, 1, 12], 0);
        values.chunks(12 * batch).for_each(|values| gathered.take(values));
        assert_eq!(gathered.samples, 300);
        near(gathered.effective_rank(), "rank");
    }
}

/// Inner products survive a sketch but for a few percent of the lengths.
#[test]
fn a_sketch_keeps_inner_products() {
    let features = 16 * 16 * 40;
    let mut gathered = Gathered::new([16, 16, 40], 1);
    let value = |photo: usize, at: usize| ((at * (photo * 2 + 7) + photo * 31) % 101) as f32 / 101.0 - 0.5;
    let photos: Vec<Vec<f32>> =
        (0..4).map(|photo| (0..features).map(|at| value(photo, at)).collect()).collect();
    photos.iter().for_each(|photo| gathered.take(photo));
    assert_eq!((gathered.rows.len(), gathered.features()), (4 * SKETCH, features));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let row = |i: usize| &gathered.rows[i * SKETCH..(i + 1) * SKETCH];
    for i in 0..4 {
        for j in 0..4 {
            let (exact, kept) = (dot(&photos[i], &photos[j]), dot(row(i), row(j)));
            let length = (dot(&photos[i], &photos[i]) * dot(&photos[j], &photos[j])).sqrt();
            assert!((exact - kept).abs() < 0.06 * length, "{i} {j}: {kept} for {exact}, of {length}");
        }
    }
}

fn model() -> Model {
    let (mut model, _) =
        Model::open(&golden("filters/model.keras"), None, &LoadCx::default(), Runtime::new(2)).unwrap();
    model.set_preprocess(Preprocess::new(24, 24, Scaling::None));
    model
}

/// Smooth pictures of two classes, which differ in color.
fn photos(folder: &Path, n: usize) -> (Vec<PathBuf>, Vec<usize>) {
    let mut paths = Vec::new();
    for number in 0..n {
        let value = |at: usize| {
            let (y, x, c) = (at / 72, at / 3 % 24, at % 3);
            let wave = ((y * (number % 5 + 1) + x * (number % 7 + 1) + number * 3) as f32 / 9.0).sin();
            let tint = if c == 0 { 60.0 * (number % 2) as f32 } else { 0.0 };
            (100.0 + 60.0 * wave + tint) as u8
        };
        let picture = Picture::rgb(24, 24, (0..24 * 24 * 3).map(value).collect()).unwrap();
        paths.push(folder.join(format!("{number}.png")));
        write_png(&paths[number], &picture).unwrap();
    }
    (paths, (0..n).map(|number| number % 2).collect())
}

fn go_on(_: PhotosDone) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn layers_are_measured_as_their_values_are() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let (paths, labels) = photos(folder.path(), 21);
    let depth =
        measure(&model, &[], &paths, Some(&labels), Settings::default(), &mut go_on).unwrap().unwrap();
    assert_eq!(depth.photos, (0..21).collect::<Vec<_>>());
    assert_eq!(depth.picture, [16, 16, 3]);
    assert_eq!(depth.chance, Some(11.0 / 21.0));
    assert_eq!(depth.shown.len(), 6);
    let names: Vec<&str> = depth.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["conv1", "conv2", "pool", "conv3"]);
    for layer in &depth.layers {
        let mut zeros = 0;
        let mut all = 0;
        for path in &paths {
            let x = model.input(&[open(path, &DecodeOptions::default()).unwrap()]).unwrap();
            let mut session = model.session(&[x.shape().clone()], &[layer.node], Grads::None).unwrap();
            session.run(model.params(), &[x.view()]).unwrap();
            let sparsity = sparsity(session.value(layer.node).data(), layer.shape[2]);
            (zeros, all) = (zeros + sparsity.zeros, all + sparsity.values);
        }
        assert!((layer.zeros_share - zeros as f64 / all as f64).abs() < 1e-12, "{}", layer.name);
        assert_eq!(layer.rectified, layer.name != "pool");
        assert!(layer.effective_rank >= 1.0 && layer.effective_rank <= layer.shape[2] as f64);
        assert_eq!(layer.kept.len(), 6);
        assert_eq!([layer.kept[0].height(), layer.kept[0].width()], [16, 16]);
        // Waves and tints are linear in few numbers: nearly all of the picture can be read off.
        assert!(layer.picture_r2.unwrap() > 0.3, "{}: {:?}", layer.name, layer.picture_r2);
        assert!(layer.accuracy.unwrap() > 0.7, "{}: {:?}", layer.name, layer.accuracy);
    }
    assert!(depth.ceiling.unwrap() > 0.5, "{:?}", depth.ceiling);
    let similarity = depth.similarity();
    for i in 0..4 {
        assert!((similarity[i * 4 + i].unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(similarity[i], similarity[i * 4]);
    }
    assert_eq!(depth.layers[1].cka_before, similarity[1]);
    assert!(depth.against(&depth).iter().all(|cka| (cka.unwrap() - 1.0).abs() < 1e-9));
    assert_eq!(depth.claims().len(), 4);
}

#[test]
fn results_depend_on_the_seed_and_not_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let (paths, _) = photos(folder.path(), 19);
    let figures = |threads: usize, seed: u64| {
        let (mut model, _) =
            Model::open(&golden("filters/model.keras"), None, &LoadCx::default(), Runtime::new(threads))
                .unwrap();
        model.set_preprocess(Preprocess::new(24, 24, Scaling::None));
        let settings = Settings { most_photos: 12, seed, ..Settings::default() };
        let depth = measure(&model, &[], &paths, None, settings, &mut go_on).unwrap().unwrap();
        let layers = depth.layers.iter();
        let figures: Vec<_> =
            layers.map(|l| (l.picture_r2, l.effective_rank, l.entropy, l.zeros_share, l.accuracy)).collect();
        (depth.photos, figures)
    };
    assert_eq!(figures(1, 5), figures(3, 5));
    let (photos, _) = figures(1, 5);
    assert_eq!(photos.len(), 12);
    assert!(photos.is_sorted() && photos != figures(1, 6).0);
}

#[test]
fn it_can_be_stopped_and_says_what_is_wrong() {
    let (model, folder) = (model(), tempfile::tempdir().unwrap());
    let (mut paths, _) = photos(folder.path(), 9);
    let stopped = measure(&model, &[], &paths, None, Settings::default(), &mut |_| ControlFlow::Break(()));
    assert!(stopped.unwrap().is_none());
    paths.push(folder.path().join("none.png"));
    let error = measure(&model, &[], &paths, None, Settings::default(), &mut go_on).unwrap_err();
    assert!(error.to_string().contains("none.png"), "{error}");
}

#[test]
fn layers_are_grouped_by_what_they_take() {
    let model = model();
    let nodes = map_layers(&model);
    let sizes = |bytes: usize| -> Vec<usize> { passes(&nodes, |_| bytes).iter().map(Vec::len).collect() };
    assert_eq!(sizes(1), [4]);
    assert_eq!(sizes(PASS_BYTES / 2), [2, 2]);
    assert_eq!(sizes(usize::MAX), [1, 1, 1, 1]);
}

fn layer(name: &str, rectified: bool, zeros_share: f64, r2: f64) -> LayerDepth {
    LayerDepth {
        node: model().graph().inputs()[0],
        name: name.to_owned(),
        class: "Conv2D".to_owned(),
        shape: [4, 4, 4],
        rectified,
        zeros_share,
        dead_channels: 0,
        blank_share: 0.0,
        entropy: 1.0,
        effective_rank: 1.0,
        samples: 16,
        pooled: [4, 4],
        features: 64,
        sketched: false,
        picture_r2: Some(r2),
        accuracy: None,
        cka_before: None,
        kept: Vec::new(),
    }
}

#[test]
fn claims_are_judged_by_rank() {
    let layers = vec![
        layer("a", true, 0.1, 0.9),
        layer("b", false, 0.0, 0.95),
        layer("c", true, 0.4, 0.96),
        layer("d", true, 0.8, 0.99),
    ];
    let depth = Depth {
        layers,
        photos: Vec::new(),
        picture: [16, 16, 3],
        ceiling: None,
        chance: None,
        shown: Vec::new(),
        shown_ceiling: Vec::new(),
        passes: 1,
        grams: Vec::new(),
    };
    let claims = depth.claims();
    let verdicts: Vec<Verdict> = claims.iter().map(|claim| claim.verdict).collect();
    use Verdict::{BorneOut, Contradicted, NotBorneOut, NotMeasured};
    assert_eq!(verdicts, [BorneOut, NotBorneOut, Contradicted, NotMeasured]);
    assert_eq!(
        claims[0].text,
        "Deeper layers are sparser: borne out. In the first third of 3 layers that end in a rectifier 10.0 % of the values \
         are zero, in the last third 80.0 % (rank correlation with depth +1.00)."
    );
    assert_eq!(claims[3].text, "Deeper layers hold more of the class: not measured, there are 0 layers.");
}
