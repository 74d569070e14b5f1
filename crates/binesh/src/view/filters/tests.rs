//! Both recipes against Keras and PyTorch (`testdata/gen/filters_book.py`, `filters_lucid.py`), and what must hold of any.

use std::path::{Path, PathBuf};

use binesh_core::{Runtime, Shape, View};
use binesh_formats::npy::{NpyArray, Npz};
use binesh_formats::{Limits, LoadCx};

use super::book::deprocess;
use super::lucid::{Adam, Draws};
use super::subject::add_likeness;
use super::warp::{Draw, Warp, chain};
use super::*;
use crate::image::{Preprocess, Scaling};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/filters")
}

/// The network of the goldens; it takes pictures of 24 x 24 as 0 to 255.
fn model(scaling: Scaling) -> Model {
    let path = folder().join("model.keras");
    let (mut model, _) = Model::open(&path, None, &LoadCx::default(), Runtime::new(2)).unwrap();
    model.set_preprocess(Preprocess::new(24, 24, scaling));
    model
}

struct Golden(Vec<u8>);

impl Golden {
    fn open(name: &str) -> Golden {
        Golden(std::fs::read(folder().join(name)).unwrap())
    }

    fn array(&self, key: &str) -> NpyArray {
        Npz::open(&self.0, &Limits::default()).unwrap().read(key).unwrap()
    }

    fn values(&self, key: &str) -> Vec<f32> {
        self.array(key).data
    }

    fn size(&self, key: &str) -> [usize; 2] {
        let shape = self.array(key).shape;
        [shape[0], shape[1]]
    }
}

#[track_caller]
fn close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let peak = expected.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(expected).map(|(a, b)| (a - b).abs() / peak).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst:e} of {peak}");
}

fn wanted(model: &Model, layer: &str, channel: usize) -> Wanted {
    let node = model.find_node(layer).unwrap();
    Wanted { objective: Objective::channel(model, node, channel).unwrap(), copies: 1 }
}

#[test]
fn the_books_pictures_are_those_of_its_listing() {
    let (golden, model) = (Golden::open("book.npz"), model(Scaling::None));
    for (layer, channel) in [("conv2", 2), ("conv3", 5)] {
        let key = format!("{layer}/{channel}");
        let lens = Lens::book(&model.preprocessing().unwrap().preprocess);
        let mut book = Book::from([24, 24], lens, golden.values("start"));
        let mut subject = {
            let wanted = wanted(&model, layer, channel);
            let nodes: Vec<NodeId> = wanted.objective.nodes().collect();
            (Subject::new(&model, [24, 24], 1, &nodes).unwrap(), wanted)
        };
        for _ in 0..40 {
            let x = subject.0.pictures().next().unwrap();
            book.show(x);
            subject.0.descend(std::slice::from_ref(&subject.1), ReluRule::Exact).unwrap();
            let dx = subject.0.gradient().to_vec();
            book.learn(&dx);
        }
        close(&key, book.values(), &golden.values(&key), 1e-5);
        let bytes: Vec<f32> = book.picture().pixels().iter().map(|&v| f32::from(v)).collect();
        let expected = golden.values(&format!("{key}.uint8"));
        // A value on the border between two bytes may fall to either side.
        let off = bytes.iter().zip(&expected).filter(|(a, b)| a != b).count();
        assert!(bytes.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1.0), "{key}");
        assert!(off * 50 < bytes.len(), "{key}: {off} of {} bytes differ", bytes.len());
    }
}

#[test]
fn a_flat_picture_is_gray() {
    assert_eq!(deprocess(&[7.0; 6]), [127; 6]);
}

#[test]
fn spectrum_and_colors_are_lucents() {
    let golden = Golden::open("lucid.npz");
    let transform = Spectrum::new([20, 18], 3);
    let mut rgb = transform.picture(&golden.values("spectrum"));
    spectrum::to_rgb(&mut rgb, 3);
    close("rgb", &rgb, &golden.values("rgb"), 2e-6);
    let mut d = golden.values("d_rgb");
    spectrum::to_rgb_back(&rgb, &mut d, 3);
    close("d_spectrum", &transform.back(&d), &golden.values("d_spectrum"), 2e-6);
    let mut odd = Spectrum::new([7, 8], 3).picture(&golden.values("odd/spectrum"));
    spectrum::to_rgb(&mut odd, 3);
    close("odd", &odd, &golden.values("odd/rgb"), 2e-6);
}

/// <A x, y> = <x, A' y>: for a linear map this is what finite differences would say, without their error.
#[test]
fn gradients_of_the_spectrum_are_adjoint_for_every_size() {
    let values = |n: usize, seed: usize| -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    for (size, channels) in [([6, 8], 3), ([7, 5], 3), ([5, 6], 1), ([2, 3], 1)] {
        let transform = Spectrum::new(size, channels);
        let (x, y) = (values(transform.len(), 1), values(size[0] * size[1] * channels, 2));
        let (forward, back) = (dot(&transform.picture(&x), &y), dot(&x, &transform.back(&y)));
        assert!((forward - back).abs() < 1e-5 * dot(&x, &x).sqrt(), "{size:?}: {forward} and {back}");
    }
}

/// By finite differences: the colors are the one part that is not linear.
#[test]
fn gradients_of_the_colors_are_finite_differences() {
    let values = [0.3f32, -0.8, 0.5, 1.2, 0.1, -0.4];
    for channels in [3, 1] {
        let weights = [0.7f32, -0.2, 0.9, 0.4, -1.0, 0.6];
        let sum = |values: &[f32]| {
            let mut rgb = values.to_vec();
            spectrum::to_rgb(&mut rgb, channels);
            rgb.iter().zip(weights).map(|(v, w)| f64::from(v * w)).sum::<f64>()
        };
        let mut rgb = values.to_vec();
        spectrum::to_rgb(&mut rgb, channels);
        let mut d = weights.to_vec();
        spectrum::to_rgb_back(&rgb, &mut d, channels);
        for at in 0..values.len() {
            let moved = |by: f32| {
                let mut moved = values;
                moved[at] += by;
                sum(&moved)
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((f64::from(d[at]) - expected).abs() < 1e-4, "{at}: {} for {expected}", d[at]);
        }
    }
}

fn draw(numbers: &[f32]) -> Draw {
    let [y, x, scale, angle, y2, x2] = numbers[..] else { panic!("six numbers") };
    let place = |y: f32, x: f32| [y as usize, x as usize];
    Draw { first: place(y, x), scale: f64::from(scale), angle: f64::from(angle), second: place(y2, x2) }
}

#[test]
fn transformations_are_pytorchs() {
    let golden = Golden::open("lucid.npz");
    let size = golden.size("warp/resize/x");
    let cases = [
        ("warp/resize", vec![Warp::resize(size, golden.size("warp/resize/y"))]),
        ("warp/turn", vec![Warp::turn(golden.size("warp/turn/x"), 7.0)]),
        ("chain", chain(&draw(&golden.values("run/draws")[..6]), [20, 18], [24, 24])),
    ];
    for (name, warps) in cases {
        let x = golden.values(&format!("{name}/x"));
        let y = warps.iter().fold(x, |x, warp| warp.forward(&x, 3));
        close(name, &y, &golden.values(&format!("{name}/y")), 2e-5);
        let dy = golden.values(&format!("{name}/dy"));
        let dx = warps.iter().rev().fold(dy, |d, warp| warp.backward(&d, 3));
        close(name, &dx, &golden.values(&format!("{name}/dx")), 2e-5);
    }
}

#[test]
fn adam_is_pytorchs() {
    let golden = Golden::open("lucid.npz");
    let mut x = golden.values("adam/x");
    let mut adam = Adam::new(x.len());
    golden.values("adam/d").chunks_exact(x.len()).for_each(|d| adam.step(&mut x, d));
    close("adam", &x, &golden.values("adam/y"), 2e-6);
}

#[test]
fn diversity_is_lucents() {
    let golden = Golden::open("lucid.npz");
    let NpyArray { shape, data } = golden.array("diversity/x");
    let mut d = vec![0.0; data.len()];
    add_likeness(View::new(&Shape::from(&shape[..]), &data), 0..3, 1.0, &mut d);
    close("diversity", &d, &golden.values("diversity/d"), 1e-5);
}

/// Steps of the whole recipe with given random numbers, one channel silent at the start.
#[test]
fn lucids_pictures_are_pytorchs() {
    let (golden, model) = (Golden::open("lucid.npz"), model(Scaling::None));
    let transform = Arc::new(Spectrum::new([20, 18], 3));
    let lens = Lens::new(&model.preprocessing().unwrap().preprocess);
    let draws: Vec<Draw> = golden.values("run/draws").chunks_exact(6).map(draw).collect();
    for channel in [5, 7] {
        let mut lucid = Lucid::from(
            Arc::clone(&transform),
            [[20, 18], [24, 24]],
            lens.clone(),
            golden.values("run/spectrum"),
            Draws::Given(draws.clone().into()),
        );
        let mut subject = Subject::new(&model, [24, 24], 1, &[model.find_node("conv3").unwrap()]).unwrap();
        let wanted = [wanted(&model, "conv3", channel)];
        for step in 0..draws.len() {
            lucid.show(subject.pictures().next().unwrap());
            let rule = if step < 16 { ReluRule::Redirected } else { ReluRule::Exact };
            subject.descend(&wanted, rule).unwrap();
            let dx = subject.gradient().to_vec();
            lucid.learn(&dx);
        }
        close(&format!("channel {channel}"), &lucid.rgb(), &golden.values(&format!("run/{channel}")), 2e-4);
    }
}

fn settings(recipe: Recipe, size: usize, steps: usize) -> Settings {
    Settings { recipe, size: [size, size], steps, seed: 3 }
}

fn all(model: &Model, wanted: &[Wanted], settings: &Settings) -> Vec<Vec<Learned>> {
    learn(model, wanted, settings, &mut |_| ControlFlow::Continue(())).unwrap().unwrap()
}

#[test]
fn a_picture_does_not_depend_on_the_others_of_its_batch() {
    let model = model(Scaling::None);
    let [a, b, c] = [2, 6, 7].map(|channel| wanted(&model, "conv2", channel));
    for settings in [settings(Recipe::Book, 24, 10), settings(Recipe::Lucid, 20, 10)] {
        let alone = all(&model, std::slice::from_ref(&b), &settings);
        let together = all(&model, &[a.clone(), b.clone(), c.clone()], &settings);
        assert_eq!(together[1], alone[0], "{:?}", settings.recipe);
        assert_ne!(together[0], alone[0]);
    }
}

#[test]
fn what_is_learned_rises_above_chance_and_what_is_dead_does_not() {
    let model = model(Scaling::None);
    let [live, dead] = [6, 3].map(|channel| wanted(&model, "conv2", channel));
    for settings in [settings(Recipe::Book, 24, 40), settings(Recipe::Lucid, 20, 60)] {
        let learned = all(&model, &[live.clone(), dead.clone()], &settings);
        let [live, dead] = [&learned[0][0], &learned[1][0]];
        assert!(live.rose() && live.reached > live.random.mean + 2.0 * live.random.deviation, "{live:?}");
        assert!(!dead.rose(), "{dead:?}");
        assert_eq!(live.random.pictures, 16);
    }
}

#[test]
fn copies_differ_and_diversity_keeps_them_apart() {
    let model = model(Scaling::None);
    let one = wanted(&model, "conv2", 6);
    let pair = Wanted { copies: 2, ..one.clone() };
    let learned = all(&model, &[one, pair], &settings(Recipe::Lucid, 20, 20));
    assert_eq!(learned[1].len(), 2);
    assert_ne!(learned[1][0].picture, learned[1][1].picture);
    // The first copy has the same random numbers as the single picture; only diversity parts them.
    assert_ne!(learned[0][0].picture, learned[1][0].picture);
}

#[test]
fn objectives_are_what_their_names_say() {
    let model = model(Scaling::None);
    let value = |text: &str| {
        let objective = Objective::parse(&model, text).unwrap();
        let nodes: Vec<NodeId> = objective.nodes().collect();
        let mut subject = Subject::new(&model, [24, 24], 2, &nodes).unwrap();
        let ramp = |at: usize| ((at * 37) % 251) as f32;
        subject
            .pictures()
            .enumerate()
            .for_each(|(n, x)| x.iter_mut().enumerate().for_each(|(i, x)| *x = ramp(i + n)));
        subject.run().unwrap();
        subject.value(&objective, 1)
    };
    let [a, b] = [value("conv2:6"), value("conv3:5")];
    assert!((value("conv2:6 - 0.5*conv3:5") - (a - 0.5 * b)).abs() < 1e-9);
    assert!((value("-conv2:6 + 2*conv3:5") - (2.0 * b - a)).abs() < 1e-9);
    assert_eq!(value("conv3:5@center"), value("conv3:5@4,4"), "the middle of 9 x 9");
    assert!(value("dream:conv3") > 0.0);
    let logits = ["class:0", "class:1", "class:2", "class:3"].map(value);
    assert!(logits.iter().any(|v| *v < 0.0 || *v > 1.0), "not probabilities: {logits:?}");
    for wrong in ["conv2", "conv2:99", "conv2:1@99,0", "nothing:1", "class:9", "conv2:x", "", "conv2:1@1"] {
        assert!(Objective::parse(&model, wrong).is_err(), "{wrong}");
    }
    let node = model.find_node("conv2").unwrap();
    let direction =
        Objective::direction(&model, node, (0..8).map(|c| if c == 6 { 2.0 } else { 0.0 }).collect()).unwrap();
    let mut subject = Subject::new(&model, [24, 24], 1, &[node]).unwrap();
    subject
        .pictures()
        .for_each(|x| x.iter_mut().enumerate().for_each(|(i, x)| *x = ((i * 37 + 37) % 251) as f32));
    subject.run().unwrap();
    assert!((subject.value(&direction, 0) - 2.0 * a).abs() < 1e-4 * a.abs());
    assert!(Objective::direction(&model, node, vec![1.0; 3]).is_err());
    assert!(Objective::direction(&model, node, vec![0.0; 8]).is_err());
}

/// By the input, against finite differences: one objective of each kind.
#[test]
fn gradients_of_objectives_are_finite_differences() {
    let model = model(Scaling::None);
    let node = model.find_node("conv2").unwrap();
    let vector = (0..8).map(|c| c as f32 - 3.5).collect();
    let parsed = ["conv2:6", "conv2:6@3,4", "dream:conv2", "class:1", "conv2:6 - 0.5*conv3:5"];
    let mut objectives: Vec<Objective> =
        parsed.iter().map(|text| Objective::parse(&model, text).unwrap()).collect();
    objectives.push(Objective::direction(&model, node, vector).unwrap());
    for objective in objectives {
        let nodes: Vec<NodeId> = objective.nodes().collect();
        let mut subject = Subject::new(&model, [24, 24], 1, &nodes).unwrap();
        let mut x: Vec<f32> = (0..24 * 24 * 3).map(|i| ((i * 73) % 251) as f32).collect();
        let wanted = [Wanted { objective, copies: 1 }];
        subject.pictures().next().unwrap().copy_from_slice(&x);
        subject.descend(&wanted, ReluRule::Exact).unwrap();
        let d = subject.gradient().to_vec();
        // Along the gradient itself, so that the difference is far above rounding.
        let length = d.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt();
        let start = x.clone();
        let mut at = |by: f64| {
            x.iter_mut()
                .zip(&start)
                .zip(&d)
                .for_each(|((x, s), d)| *x = (f64::from(*s) + by * f64::from(*d) / length) as f32);
            subject.pictures().next().unwrap().copy_from_slice(&x);
            subject.run().unwrap();
            subject.value(&wanted[0].objective, 0)
        };
        let slope = (at(0.5) - at(-0.5)) / 1.0;
        assert!(
            (slope + length).abs() < 0.02 * length,
            "{}: {slope} for {}",
            wanted[0].objective.name,
            -length
        );
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let model = model(Scaling::None);
    let wanted = [wanted(&model, "conv2", 6)];
    let go = |settings: &Settings| learn(&model, &wanted, settings, &mut |_| ControlFlow::Continue(()));
    let error = go(&settings(Recipe::Book, 64, 1)).unwrap_err().to_string();
    assert_eq!(error, "the network takes pictures of 24x24 alone, not 64x64");
    assert!(go(&settings(Recipe::Lucid, 1, 1)).is_err());
    assert!(go(&settings(Recipe::Lucid, 1 << 40, 1)).is_err());
    let stopped = learn(&model, &wanted, &settings(Recipe::Lucid, 16, 9), &mut |_| ControlFlow::Break(()));
    assert!(stopped.unwrap().is_none());
}

#[test]
fn the_book_feeds_its_picture_as_it_is_where_the_unit_is_the_same() {
    let lens = |scaling| Lens::book(&Preprocess::new(24, 24, scaling));
    assert!(lens(Scaling::None).is_identity() && lens(Scaling::Caffe).is_identity());
    let mut x = [0.0; 3];
    lens(Scaling::Tf).show(&[255.0, 127.5, 0.0], &mut x);
    assert_eq!(x, [1.0, 0.0, -1.0]);
    let caffe = Lens::new(&Preprocess::new(24, 24, Scaling::Caffe));
    caffe.show(&[200.0, 100.0, 50.0], &mut x);
    close("caffe", &x, &[50.0 - 103.939, 100.0 - 116.779, 200.0 - 123.68], 1e-6);
    assert_eq!(caffe.back(&[1.0, 2.0, 3.0]), [3.0, 2.0, 1.0]);
}

#[test]
fn batches_keep_copies_together() {
    let model = model(Scaling::None);
    let of = |copies| Wanted { copies, ..wanted(&model, "conv2", 1) };
    let sizes = |copies: &[usize]| -> Vec<usize> {
        let wanted: Vec<Wanted> = copies.iter().map(|&copies| of(copies)).collect();
        batches(&wanted).iter().map(|batch| batch.len()).collect()
    };
    assert_eq!(sizes(&[1; 10]), [8, 2]);
    assert_eq!(sizes(&[5, 4, 4, 1]), [1, 2, 1]);
    assert_eq!(sizes(&[]), [0; 0]);
}
