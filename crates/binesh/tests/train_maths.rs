//! The numbers of training against Keras 3 and torch: `testdata/gen/train_maths.py` says what each golden holds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use binesh::train::clip::{Clip, Gradient, global_norm};
use binesh::train::early_stopping::{EarlyStopping, EarlyStoppingState};
use binesh::train::ema::{Ema, EmaConfig};
use binesh::train::loss::{Batch, Loss, Tally};
use binesh::train::mixup::{MixUp, Mixture};
use binesh::train::optimizer::{Optimizer, OptimizerState, RestoreError, RmsProp, Update};
use binesh::train::plateau::{PlateauState, ReduceOnPlateau};
use binesh::train::schedule::{Decay, OneCycle, Schedule, Span, Warmup};
use binesh_formats::Limits;
use binesh_formats::npy::{NpyArray, Npz};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Deserialize;

const STEPS: usize = 20;

/// Difference allowed, relative to the largest magnitude: both sides compute in single precision.
const TOLERANCE: f32 = 2e-6;

#[derive(Deserialize)]
struct Case {
    optimizer: Optimizer,
    rate: f64,
    rate_b: Option<f64>,
    clip: Option<Clip>,
    #[serde(default)]
    no_decay: Vec<String>,
    #[serde(default)]
    schedule: bool,
}

impl Case {
    fn of(optimizer: Optimizer, rate: f64) -> Case {
        Case { optimizer, rate, rate_b: None, clip: None, no_decay: Vec::new(), schedule: false }
    }

    fn rate(&self, step: usize, parameter: &str) -> f32 {
        let rate = self.rate_b.filter(|_| parameter == "b").unwrap_or(self.rate);
        (rate * if self.schedule { 1.0 - 0.9 * step as f64 / STEPS as f64 } else { 1.0 }) as f32
    }

    fn decays(&self, parameter: &str) -> bool {
        self.no_decay.iter().all(|name| name != parameter)
    }
}

#[test]
fn optimizers_follow_keras() {
    let cases: BTreeMap<String, Case> = json("cases.json");
    assert!(cases.len() >= 19, "cases are missing");
    let golden = npz("optimizers.npz");
    for (name, case) in &cases {
        check_case(name, case, &golden, &golden);
    }
}

#[test]
fn the_old_rmsprop_follows_torch() {
    let (golden, problem) = (npz("torch.npz"), npz("optimizers.npz"));
    let old = RmsProp::keras_2_0();
    check_case("keras_2_0", &Case::of(Optimizer::RmsProp(old), 0.01), &golden, &problem);
    let more = RmsProp { momentum: 0.6, centered: true, ..old };
    let case = Case::of(Optimizer::RmsProp(more), 0.01);
    check_case("keras_2_0_momentum_centered", &case, &golden, &problem);
}

type Arrays = BTreeMap<String, NpyArray>;

fn start(problem: &Arrays) -> [(&'static str, Vec<f32>); 2] {
    ["a", "b"].map(|p| (p, problem[&format!("weights/{p}")].data.clone()))
}

fn gradient<'a>(problem: &'a Arrays, parameter: &str, step: usize) -> &'a [f32] {
    let all = &problem[&format!("gradients/{parameter}")].data;
    all.chunks(all.len() / STEPS).nth(step).unwrap()
}

fn step(case: &Case, state: &mut OptimizerState, weights: &mut [(&str, Vec<f32>)], problem: &Arrays) {
    let at = state.iterations() as usize;
    let gradients: Vec<&[f32]> = weights.iter().map(|(p, _)| gradient(problem, p, at)).collect();
    let gradients = match case.clip {
        Some(clip) => clip.apply(&gradients),
        None => gradients.into_iter().map(Gradient::from).collect(),
    };
    state.step(weights.iter_mut().zip(gradients).map(|((p, weights), gradient)| Update {
        weights,
        gradient,
        rate: case.rate(at, p),
        decay: case.decays(p),
    }));
}

fn check_case(name: &str, case: &Case, golden: &Arrays, problem: &Arrays) {
    let mut weights = start(problem);
    let mut state = OptimizerState::new(case.optimizer, weights.iter().map(|(p, w)| (*p, w.len())));
    for at in 0..STEPS {
        step(case, &mut state, &mut weights, problem);
        for (p, weights) in &weights {
            let all = &golden[&format!("{name}/{p}")].data;
            let want = all.chunks(weights.len()).nth(at).unwrap();
            close(&format!("{name}/{p} after step {at}"), weights, want, TOLERANCE);
        }
    }
    let slots: BTreeMap<String, &[f32]> = state.slots().collect();
    let prefix = format!("{name}/slot/");
    let mut found = 0;
    for (key, want) in golden.iter().filter_map(|(key, want)| Some((key.strip_prefix(&prefix)?, want))) {
        found += 1;
        close(&format!("{name}/{key}"), slots[key], &want.data, TOLERANCE);
    }
    let torch = name.starts_with("keras_2_0");
    assert!(torch || found == slots.len(), "{name}: Keras keeps {found} arrays and not {}", slots.len());
}

/// What is saved between two steps is all there is: the rest of the run is the same to the bit.
#[test]
fn a_restored_optimizer_goes_on_to_the_bit() {
    let problem = npz("optimizers.npz");
    for (name, case) in json::<BTreeMap<String, Case>>("cases.json") {
        let mut weights = start(&problem);
        let parameters = || start(&problem).into_iter().map(|(p, w)| (p, w.len()));
        let mut state = OptimizerState::new(case.optimizer, parameters());
        for _ in 0..7 {
            step(&case, &mut state, &mut weights, &problem);
        }
        let saved: BTreeMap<String, Vec<f32>> =
            state.slots().map(|(name, values)| (name, values.to_vec())).collect();
        let settings = serde_json::to_string(state.optimizer()).unwrap();
        let optimizer = serde_json::from_str(&settings).unwrap();
        let mut restored = OptimizerState::new(optimizer, parameters());
        restored.restore(state.iterations(), |name| saved.get(name).cloned()).unwrap();
        assert_eq!(restored, state, "{name}");
        let mut again = weights.clone();
        for _ in 7..STEPS {
            step(&case, &mut state, &mut weights, &problem);
            step(&case, &mut restored, &mut again, &problem);
        }
        assert_eq!(weights, again, "{name}");
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused_whole() {
    let mut state = OptimizerState::new(Optimizer::Adam(Default::default()), [("a", 2), ("b", 1)]);
    let before = state.clone();
    let missing =
        state.restore(3, |name| (name != "b/velocity").then(|| vec![1.0; if name < "b" { 2 } else { 1 }]));
    assert_eq!(missing, Err(RestoreError::Missing { name: "b/velocity".into() }));
    let long = state.restore(3, |_| Some(vec![1.0; 2]));
    assert_eq!(long, Err(RestoreError::Length { name: "b/momentum".into(), expected: 1, got: 2 }));
    assert_eq!(state, before);
}

/// More than one block of elements, the last of them short: as if every element were alone.
#[test]
fn long_parameters_are_updated_element_by_element() {
    let len = 1300;
    let weights: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
    let gradient: Vec<f32> = (0..len).map(|i| (i as f32 * 0.11).cos()).collect();
    for (name, case) in json::<BTreeMap<String, Case>>("cases.json") {
        let mut together = weights.clone();
        let mut state = OptimizerState::new(case.optimizer, [("a", len)]);
        let mut alone = weights.clone();
        let mut states = OptimizerState::new(case.optimizer, (0..len).map(|i| (i.to_string(), 1)));
        for rate in [0.1, 0.02] {
            let update = |weights, gradient| Update { weights, gradient, rate, decay: true };
            state.step([update(&mut together, Gradient::from(&gradient[..]))]);
            let single = alone.chunks_mut(1).zip(gradient.chunks(1));
            states.step(single.map(|(weights, gradient)| update(weights, gradient.into())));
        }
        assert_eq!(together, alone, "{name}");
    }
}

#[test]
fn settings_have_the_defaults_of_keras() {
    let read = |toml: &str| toml::from_str::<Optimizer>(toml).unwrap();
    assert_eq!(read("name = 'rmsprop'"), Optimizer::RmsProp(RmsProp::default()));
    let Optimizer::AdamW(adamw) = read("name = 'adamw'\nbeta_1 = 0") else { panic!("not AdamW") };
    assert_eq!((adamw.beta_1, adamw.beta_2, adamw.weight_decay), (0.0, 0.999, 0.004));
    assert!(toml::from_str::<Optimizer>("name = 'sgd'\nmomentun = 0.9").is_err(), "a misspelt setting");
    assert!(toml::from_str::<Optimizer>("name = 'lion'").is_err(), "an unknown optimizer");
    let schedule: Schedule =
        toml::from_str("name = 'one_cycle'\ndiv_factor = 5\n[warmup]\nepochs = 1").unwrap();
    let cycle = OneCycle { div_factor: 5.0, ..OneCycle::default() };
    let warmup = Some(Warmup { epochs: 1.0, from: 0.1 });
    assert_eq!(schedule, Schedule { decay: Decay::OneCycle(cycle), warmup });
    assert_eq!(toml::from_str::<Schedule>(&toml::to_string(&schedule).unwrap()).unwrap(), schedule);
}

/// A norm that is not finite must not end as a harmless step.
#[test]
fn clipping_shows_overflow() {
    let (fine, bad) = ([3.0f32, 4.0], [f32::INFINITY, 1.0]);
    for clip in [Clip::Norm(1.0), Clip::GlobalNorm(1.0)] {
        let clipped = clip.apply(&[&fine, &bad]);
        assert!(clipped[1].iter().all(f32::is_nan), "{clip:?}");
    }
    let clipped = Clip::Norm(1.0).apply(&[&fine, &bad]);
    assert_eq!(clipped[0].iter().collect::<Vec<_>>(), [0.6, 0.8]);
    assert_eq!(global_norm(&[&fine, &[12.0]]), 13.0);
    assert!(Clip::Value(1.0).apply(&[&[f32::NAN]])[0].iter().all(f32::is_nan));
}

#[test]
fn losses_follow_keras() {
    let golden = npz("losses.npz");
    let names: Vec<&str> = golden.keys().filter_map(|key| key.strip_suffix("/value")).collect();
    assert!(names.len() >= 12, "cases are missing");
    for name in names {
        let array = |key: &str| golden.get(&format!("{name}/{key}")).map(|array| &array.data[..]);
        let loss =
            if name.starts_with("binary") { Loss::BinaryCrossEntropy } else { Loss::CategoricalCrossEntropy };
        let batch = Batch {
            logits: array("logits").unwrap(),
            targets: array("targets").unwrap(),
            units: golden[&format!("{name}/logits")].shape[1],
            label_smoothing: array("smoothing").unwrap()[0],
            weights: array("weights"),
        };
        let mut d_logits = vec![f32::NAN; batch.logits.len()];
        let tally = loss.with_gradient(&batch, &mut d_logits);
        close(&format!("{name}: loss"), &[tally.loss() as f32], array("value").unwrap(), TOLERANCE);
        close(&format!("{name}: gradient"), &d_logits, array("gradient").unwrap(), TOLERANCE);
        close(&format!("{name}: accuracy"), &[tally.accuracy() as f32], array("accuracy").unwrap(), 1e-7);
        assert_eq!(loss.tally(&batch), tally, "{name}");
    }
}

/// Class weights are Keras's `class_weight`: the weighted golden again, from weights per class.
#[test]
fn class_weights_become_sample_weights() {
    let categorical = Loss::CategoricalCrossEntropy;
    let targets = categorical.targets(&[2, 0, 1], 3);
    assert_eq!(targets, [0., 0., 1., 1., 0., 0., 0., 1., 0.]);
    assert_eq!(categorical.sample_weights(&targets, &[0.5, 1.5, 3.0]), [3.0, 0.5, 1.5]);
    assert_eq!(categorical.sample_weights(&[0.75, 0.25, 0.0], &[0.5, 1.5, 3.0]), [0.75]);
    let binary = Loss::BinaryCrossEntropy;
    assert_eq!(binary.targets(&[1, 0], 2), [1.0, 0.0]);
    assert_eq!(binary.sample_weights(&[1.0, 0.0, 0.5], &[0.5, 2.0]), [2.0, 0.5, 1.25]);
    assert_eq!((binary.units(2), categorical.units(3)), (1, 3));
}

/// NaN must reach whoever stops training, and is never right.
#[test]
fn losses_do_not_hide_nan() {
    for (loss, logits) in [
        (Loss::BinaryCrossEntropy, &[f32::NAN][..]),
        (Loss::CategoricalCrossEntropy, &[f32::NAN, 0.0]),
        (Loss::CategoricalCrossEntropy, &[0.0, f32::NAN]),
    ] {
        let targets = [1.0, 0.0];
        let (targets, units) = (&targets[..logits.len()], logits.len());
        let mut d = vec![0.0; units];
        let batch = Batch { logits, targets, units, label_smoothing: 0.0, weights: None };
        let tally = loss.with_gradient(&batch, &mut d);
        assert!(tally.loss().is_nan() && d.iter().any(|d| d.is_nan()), "{logits:?}: {tally:?} {d:?}");
        assert_eq!(tally.accuracy(), 0.0);
    }
}

#[test]
fn tallies_of_batches_add_up_to_the_tally_of_all() {
    let golden = npz("losses.npz");
    let data = |key: &str| &golden[&format!("categorical_all/{key}")].data[..];
    let batch = |from: usize, to: usize| Batch {
        logits: &data("logits")[from * 4..to * 4],
        targets: &data("targets")[from * 4..to * 4],
        units: 4,
        label_smoothing: 0.2,
        weights: Some(&data("weights")[from..to]),
    };
    let mut sum = Tally::default();
    for (from, to) in [(0, 1), (1, 4), (4, 6)] {
        sum += Loss::CategoricalCrossEntropy.tally(&batch(from, to));
    }
    close("mean of all", &[sum.loss() as f32], data("value"), TOLERANCE);
    assert_eq!(sum.count, 6);
}

#[test]
fn schedules_follow_keras_and_torch() {
    let span = |steps| Span { epochs: 1, steps_per_epoch: steps };
    let check = |name: &str, schedule: Schedule, span: Span, golden: &Arrays| {
        let factors: Vec<f32> = (0..span.steps()).map(|step| schedule.factor(step, span)).collect();
        close(name, &factors, &golden[name].data, 1e-6);
    };
    let keras = npz("schedules.npz");
    check("cosine", Decay::Cosine { floor: 0.0 }.into(), span(12), &keras);
    check("cosine_floor", Decay::Cosine { floor: 0.1 }.into(), span(12), &keras);
    let warmup = Some(Warmup { epochs: 0.25, from: 0.1 });
    let schedule = Schedule { decay: Decay::Cosine { floor: 0.05 }, warmup };
    check("cosine_warmup", schedule, span(12), &keras);
    let step = Decay::Step { drop: 0.3, every: 2 };
    check("step", step.into(), Span { epochs: 6, steps_per_epoch: 4 }, &keras);

    let torch = npz("torch.npz");
    let cycle = OneCycle::default();
    check("one_cycle", Decay::OneCycle(cycle).into(), span(40), &torch);
    check("one_cycle_short", Decay::OneCycle(cycle).into(), span(3), &torch);
    check("one_cycle_single", Decay::OneCycle(cycle).into(), span(1), &torch);
    let own = OneCycle { pct_start: 0.25, div_factor: 5.0, final_div_factor: 1e5 };
    check("one_cycle_settings", Decay::OneCycle(own).into(), span(23), &torch);
}

/// Where the references divide by zero or raise.
#[test]
fn schedules_are_finite_at_their_ends() {
    let decays = [
        Decay::Constant,
        Decay::Step { drop: 0.5, every: 0 },
        Decay::Cosine { floor: 0.2 },
        Decay::OneCycle(OneCycle::default()),
        Decay::OneCycle(OneCycle { pct_start: 0.5, ..OneCycle::default() }),
        Decay::OneCycle(OneCycle { pct_start: 1.0, ..OneCycle::default() }),
        Decay::OneCycle(OneCycle { pct_start: 0.0, ..OneCycle::default() }),
    ];
    for decay in decays {
        for warmup in [None, Some(0.0), Some(0.5), Some(1.0), Some(9.0), Some(f64::NAN), Some(-1.0)] {
            let schedule = Schedule { decay, warmup: warmup.map(|epochs| Warmup { epochs, from: 0.0 }) };
            for epochs in 0..4 {
                let span = Span { epochs, steps_per_epoch: 2 };
                for step in 0..span.steps() + 3 {
                    let factor = schedule.factor(step, span);
                    assert!((0.0..=1.0).contains(&factor), "{schedule:?} {span:?} {step}: {factor}");
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Callbacks {
    early_stopping: Vec<EarlyCase>,
    plateau: Vec<PlateauCase>,
}

#[derive(Deserialize)]
struct EarlyCase {
    figures: Vec<f64>,
    best: Vec<u32>,
    stopped: Option<u32>,
    #[serde(flatten)]
    settings: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct PlateauCase {
    figures: Vec<f64>,
    rates: Vec<f64>,
    #[serde(flatten)]
    settings: serde_json::Map<String, serde_json::Value>,
}

#[test]
fn early_stopping_follows_keras() {
    for case in json::<Callbacks>("callbacks.json").early_stopping {
        let rule: EarlyStopping = serde_json::from_value(case.settings.into()).unwrap();
        let mut state = EarlyStoppingState::default();
        let mut stopped = None;
        for (epoch, (&figure, &best)) in (0..).zip(case.figures.iter().zip(&case.best)) {
            let verdict = rule.observe(&mut state, epoch, figure);
            // Before `start_from_epoch` Keras has no best epoch either; it says 0.
            assert_eq!(state.best_epoch, best, "{rule:?} epoch {epoch}");
            assert_eq!(
                verdict.best,
                best == epoch && epoch >= rule.start_from_epoch,
                "{rule:?} epoch {epoch}"
            );
            // A run that is resumed here does not notice.
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            if verdict.stop {
                stopped = Some(epoch);
                break;
            }
        }
        assert_eq!(stopped, case.stopped, "{rule:?}");
    }
}

#[test]
fn reduction_on_a_plateau_follows_keras() {
    for case in json::<Callbacks>("callbacks.json").plateau {
        let rule: ReduceOnPlateau = serde_json::from_value(case.settings.into()).unwrap();
        let mut state = PlateauState::new(0.01);
        for (epoch, (&figure, &rate)) in case.figures.iter().zip(&case.rates).enumerate() {
            let before = state.rate;
            let reduced = rule.observe(&mut state, figure);
            assert_eq!(reduced, state.rate < before, "{rule:?} epoch {epoch}");
            assert!((state.rate / rate - 1.0).abs() < 1e-5, "{rule:?} epoch {epoch}: {} {rate}", state.rate);
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        }
    }
}

/// Keras takes a first NaN as the best for ever; here the first number is.
#[test]
fn nan_is_never_the_best() {
    let mut state = EarlyStoppingState::default();
    let rule = EarlyStopping { patience: 2, ..EarlyStopping::default() };
    assert!(!rule.observe(&mut state, 0, f64::NAN).best);
    assert!(rule.observe(&mut state, 1, 5.0).best);
    assert!(!rule.observe(&mut state, 2, f64::NAN).best);
    assert!(rule.observe(&mut state, 3, f64::NAN).stop);
}

#[test]
fn averages_follow_keras_and_timm() {
    let (golden, problem) = (npz("averages.npz"), npz("optimizers.npz"));
    for (name, config) in
        [("default", EmaConfig::default()), ("half", EmaConfig { momentum: 0.5, ..EmaConfig::default() })]
    {
        let mut ema = Ema::new(config, start(&problem).iter().map(|(p, w)| (*p, w.len())));
        for at in 0..STEPS {
            // What the optimizer made of the weights is pinned elsewhere: Keras's own trajectory is averaged.
            ema.update(["a", "b"].map(|p| row(&problem[&format!("adam/{p}")].data, at)));
            for (p, average) in ema.averages() {
                let what = format!("{name}/{p}");
                close(&format!("{what} after step {at}"), average, row(&golden[&what].data, at), TOLERANCE);
            }
        }
    }

    let golden = npz("torch.npz");
    let mut weights = problem["weights/a"].data.clone();
    let mut ema = Ema::new(EmaConfig { momentum: 0.8, warmup: true }, [("a", weights.len())]);
    for at in 0..STEPS {
        weights.iter_mut().zip(gradient(&problem, "a", at)).for_each(|(w, g)| *w -= 0.01 * g);
        ema.update([&weights[..]]);
        let average = ema.averages().next().unwrap().1;
        close(&format!("timm after step {at}"), average, row(&golden["average/a"].data, at), TOLERANCE);
    }
}

#[test]
fn averages_are_lent_and_restored_to_the_bit() {
    let mut ema = Ema::new(EmaConfig::default(), [("a", 2), ("b", 1)]);
    let (mut a, mut b) = (vec![0.1f32, -0.7], vec![3.3f32]);
    for _ in 0..3 {
        ema.update([&a[..], &b]);
        a.iter_mut().chain(&mut b).for_each(|w| *w *= 1.7);
    }
    let saved: BTreeMap<String, Vec<f32>> =
        ema.averages().map(|(name, values)| (name.to_owned(), values.to_vec())).collect();
    let mut restored = Ema::new(EmaConfig::default(), [("a", 2), ("b", 1)]);
    restored.restore(ema.updates(), |name| saved.get(name).cloned()).unwrap();
    assert_eq!(restored, ema);
    let weights = a.clone();
    ema.swap(0, &mut a);
    assert_eq!(a, saved["a"]);
    ema.swap(0, &mut a);
    assert_eq!((a, &ema), (weights, &restored));
    let missing = restored.restore(9, |name| (name == "a").then(|| vec![0.0; 2]));
    assert_eq!(missing, Err(RestoreError::Missing { name: "b".into() }));
    assert_eq!(restored, ema, "a failed restore changes nothing");
}

/// SciPy's quantiles of the larger share; 4 standard deviations of an empirical distribution function of that many
/// draws are .014 at most.
#[test]
fn mixing_shares_are_from_the_beta_distribution() {
    const DRAWS: usize = 20_000;
    let golden = npz("beta.npz");
    for (alpha, quantiles) in golden.iter().filter(|(name, _)| *name != "levels") {
        let mixup = MixUp { alpha: alpha.parse().unwrap() };
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let shares: Vec<f32> = (0..DRAWS).map(|_| mixup.draw(1, &mut rng).own).collect();
        for (&level, &quantile) in golden["levels"].data.iter().zip(&quantiles.data) {
            // Near 1 a small alpha's quantiles are 1 in single precision, and `<=` would count all.
            if quantile < 0.999_99 {
                let below = shares.iter().filter(|&&share| share <= quantile).count() as f32 / DRAWS as f32;
                assert!(
                    (below - level).abs() < 0.014,
                    "alpha {alpha}: {below} below {quantile} and not {level}"
                );
            }
        }
        assert!(shares.iter().all(|share| (0.5..=1.0).contains(share)), "alpha {alpha}");
    }
}

#[test]
fn batches_are_mixed_by_a_permutation() {
    let mixture = Mixture { own: 0.75, partners: vec![2, 1, 0] };
    let inputs = [0., 4., 8., 12., 16., 20.];
    assert_eq!(mixture.apply(&inputs), [4., 8., 8., 12., 12., 16.]);
    let targets = Loss::CategoricalCrossEntropy.targets(&[0, 1, 1], 2);
    assert_eq!(mixture.apply(&targets), [0.75, 0.25, 0., 1., 0.25, 0.75]);

    let mixup = MixUp { alpha: 0.4 };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut moved = [0; 4];
    for _ in 0..4000 {
        let mut partners = mixup.draw(4, &mut rng).partners;
        moved[partners[0]] += 1;
        partners.sort();
        assert_eq!(partners, [0, 1, 2, 3]);
    }
    // 1000 each if every permutation is as likely; the standard deviation is 27.
    assert!(moved.iter().all(|&n| (890..1110).contains(&n)), "{moved:?}");
    let draw = || mixup.draw(8, &mut ChaCha8Rng::seed_from_u64(7));
    assert_eq!(draw(), draw());
}

fn row(all: &[f32], step: usize) -> &[f32] {
    all.chunks(all.len() / STEPS).nth(step).unwrap()
}

fn close(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().fold(f32::MIN_POSITIVE, |size, w| size.max(w.abs()));
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let apart = (g - w).abs() / size;
        assert!(apart <= tolerance, "{what}[{i}]: {g} and not {w}, {apart:.1e} of {size}");
    }
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden/train_maths").join(file)
}

fn json<T: for<'de> Deserialize<'de>>(file: &str) -> T {
    serde_json::from_slice(&fs::read(golden(file)).unwrap()).unwrap()
}

fn npz(file: &str) -> Arrays {
    let bytes = fs::read(golden(file)).unwrap();
    let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
    npz.names().into_iter().map(|name| (name.clone(), npz.read(&name).unwrap())).collect()
}
