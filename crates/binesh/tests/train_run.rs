//! Runs of training that are interrupted, in trouble, or told to do what they should not.

#[path = "train_run/setting.rs"]
mod setting;

use std::collections::BTreeSet;
use std::fs;
use std::ops::ControlFlow;

use binesh::data::{Split, SplitSpec};
use binesh::train::optimizer::{Adam, Optimizer, RmsProp};
use binesh::train::{
    BEST, BatchNormMode, CHECKPOINT, Config, Event, FineTuningConfig, RunFolder, TrainError, Trained,
    Unfreeze, ViewSource, ViewsConfig, train,
};
use setting::*;

/// Interrupts a run at every event in turn, each time in a folder of its own, and goes on.
#[track_caller]
fn interrupted_anywhere(setting: &Setting, config: &Config, how: How) -> BTreeSet<String> {
    let expected = setting.whole(config);
    let mut at = BTreeSet::new();
    for number in 0.. {
        let run = setting.path(&format!("{how:?} {number}"));
        let Some(event) = setting.until(config, &run, number, how) else { break };
        let resumed = setting.train(config, &resume(&run)).unwrap();
        assert_same(&format!("{how:?} at event {number}, {event}"), &resumed, &expected);
        at.insert(event);
    }
    at
}

fn fine(config: &mut Config) -> &mut FineTuningConfig {
    config.fine_tuning.as_mut().unwrap()
}

#[test]
fn whenever_it_is_stopped_it_goes_on_to_the_same_weights() {
    let setting = Setting::new(&[7, 6, 8]);
    let mut config = setting.with_memory();
    // The best epoch is not the last one, and the last ones are left out.
    config.head_stage.learning_rate = 1.0;
    config.head_stage.epochs = 9;
    config.head_stage.early_stopping.as_mut().unwrap().patience = 2;
    let at = interrupted_anywhere(&setting, &config, How::Stop);
    assert_eq!(at.into_iter().collect::<Vec<_>>(), ["Epoch", "Features", "Restored", "Stage", "Step"]);
}

#[test]
fn the_best_weights_have_a_file_of_their_own() {
    let setting = Setting::new(&[7, 6, 8]);
    let mut config = setting.config();
    // The best epoch of the last stage is not its last one.
    fine(&mut config).stage.learning_rate = 0.5;
    fine(&mut config).stage.epochs = 6;
    let run = setting.path("run");
    let trained = setting.train(&config, &resume(&run)).unwrap();
    let (epochs, best) = *trained.kept.last().unwrap();
    assert!(best < epochs, "{:?}", trained.kept);
    let bytes = fs::read(run.join(BEST)).unwrap();
    let weights = binesh_formats::safetensors::read(&bytes, &binesh_formats::Limits::default()).unwrap();
    assert_eq!(weights.len(), trained.network.params.iter().count());
    for (node, value) in trained.network.params.iter() {
        assert_eq!(bits(&weights[&trained.network.graph.node(node).name]), bits(value));
    }
}

#[test]
fn whenever_it_is_killed_it_goes_on_to_the_same_weights() {
    let setting = Setting::new(&[7, 6, 8]);
    let mut config = setting.with_memory();
    config.views.source = ViewSource::Live;
    fine(&mut config).batch_norm = BatchNormMode::Train;
    config.head_stage.optimizer = Optimizer::Adam(Adam::default());
    let at = interrupted_anywhere(&setting, &config, How::Crash);
    assert!(at.contains("Features") && at.contains("Step") && at.contains("Epoch"), "{at:?}");
}

#[test]
fn probes_force_and_kept_features_survive_an_interruption() {
    let setting = Setting::with("keras208_sequential/model.h5", [9, 11], &[8, 9]);
    let mut config = setting.with_memory();
    config.cache.folder = Some(setting.path("kept"));
    config.cache.memory_mb = 0;
    config.head_stage.epochs = 2;
    config.head_stage.learning_rate = 0.5;
    config.head_stage.optimizer =
        Optimizer::RmsProp(RmsProp { momentum: 0.5, centered: true, ..RmsProp::default() });
    fine(&mut config).unfreeze = Unfreeze::Auto;
    for how in [How::Stop, How::Crash] {
        let at = interrupted_anywhere(&setting, &config, how);
        for event in ["FeaturesFound", "Probes", "Risk", "Stage", "Step", "Epoch"] {
            assert!(at.contains(event), "{event}: {at:?}");
        }
    }
    assert!(setting.whole(&config).risk.is_some());
}

#[test]
fn a_run_of_many_short_sittings_is_one_run() {
    let setting = Setting::new(&[7, 6, 8]);
    let config = setting.with_memory();
    let (expected, run) = (setting.whole(&config), setting.path("run"));
    let mut sittings = 0;
    let got = loop {
        let result = train(&config, &setting.data, &setting.base, &resume(&run), &mut |event| match event {
            Event::Epoch { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        match result {
            Err(TrainError::Stopped) => sittings += 1,
            other => break other.unwrap(),
        }
    };
    assert_eq!(sittings, expected.history.len());
    assert_same("many sittings", &got, &expected);
}

#[test]
fn a_run_that_has_ended_is_not_trained_again() {
    let setting = Setting::new(&[7, 6, 8]);
    let config = setting.with_memory();
    let run = setting.path("run");
    let first = setting.train(&config, &resume(&run)).unwrap();
    let files = || ["history.csv", CHECKPOINT, BEST].map(|name| fs::read(run.join(name)).unwrap());
    let before = files();
    // Killed after the checkpoint and before the history, and in the middle of the next checkpoint.
    fs::write(run.join("history.csv"), "half a hist").unwrap();
    fs::write(run.join("checkpoints/.binesh-half"), "half a check").unwrap();
    let mut events = 0;
    let again = train(&config, &setting.data, &setting.base, &resume(&run), &mut |_| {
        events += 1;
        ControlFlow::Continue(())
    });
    assert_same("again", &again.unwrap(), &first);
    assert_eq!(events, 0);
    assert!(files() == before, "written as it was");
    assert_eq!(fs::read_dir(run.join("checkpoints")).unwrap().count(), 2, "nothing is left lying about");
}

#[test]
fn another_run_is_not_gone_on_with() {
    let setting = Setting::new(&[7, 6, 8]);
    let config = setting.config();
    let run = setting.path("run");
    assert!(setting.until(&config, &run, 12, How::Stop).is_some());
    let refused = |setting: &Setting, config: &Config| {
        let Err(error) = setting.train(config, &resume(&run)) else { panic!("not refused") };
        let text = error.to_string();
        assert!(text.starts_with(&run.join(CHECKPOINT).display().to_string()), "{text}");
        assert!(text.contains("other photos, another base or other settings"), "{text}");
    };
    let other = Setting::with("keras208_sequential/model.h5", [9, 11], &[7, 6, 8]);
    refused(&other, &config);
    let mut changed = config.clone();
    changed.head_stage.epochs += 1;
    refused(&setting, &changed);
    let more = Setting::new(&[7, 6, 9]);
    refused(&more, &config);
    photo(&setting.path("photos/a/0.png"), 0, 55);
    let edited = Setting { data: scanned(&setting.path("photos")), ..setting };
    refused(&edited, &config);
}

#[test]
fn a_checkpoint_that_is_not_as_it_was_written_is_an_error() {
    let setting = Setting::new(&[7, 6, 8]);
    let config = setting.with_memory();
    let run = setting.path("run");
    assert!(setting.until(&config, &run, 14, How::Stop).is_some());
    let path = run.join(CHECKPOINT);
    let whole = fs::read(&path).unwrap();
    let refused = |what: String| {
        let Err(error) = setting.train(&config, &resume(&run)) else { panic!("{what}: not noticed") };
        let text = error.to_string();
        assert!(matches!(error, TrainError::Damaged { .. }), "{what}: {text}");
        assert!(text.starts_with(&path.display().to_string()), "{what}: {text}");
    };
    for at in (0..whole.len()).step_by(whole.len() / 60) {
        fs::write(&path, &whole[..at]).unwrap();
        refused(format!("{at} bytes"));
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&path, &flipped).unwrap();
        refused(format!("byte {at} changed"));
    }
    fs::write(&path, &whole).unwrap();
    assert_same("whole again", &setting.train(&config, &resume(&run)).unwrap(), &setting.whole(&config));
}

#[test]
fn what_cannot_be_written_is_named_and_the_run_goes_on_later() {
    let setting = Setting::new(&[7, 6, 8]);
    let config = setting.config();
    let expected = setting.whole(&config);
    let run = setting.path("run");
    for obstacle in ["checkpoints/last.safetensors", "history.csv", "tensorboard", "checkpoints"] {
        let path = run.join(obstacle);
        match obstacle {
            // A file where a folder is to be, or the other way round: not even root writes there.
            "checkpoints" | "tensorboard" => {
                let _ = fs::remove_dir_all(&path);
                fs::write(&path, "").unwrap();
            }
            _ => {
                let _ = fs::remove_file(&path);
                fs::create_dir_all(path.join("in the way")).unwrap();
            }
        }
        let fresh = RunFolder { path: Some(run.clone()), resume: false };
        let Err(error) = setting.train(&config, &fresh) else { panic!("{obstacle}: no error") };
        assert!(matches!(error, TrainError::File { .. }), "{obstacle}: {error:?}");
        assert!(error.to_string().starts_with(&path.display().to_string()), "{obstacle}: {error}");
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        assert_same(obstacle, &setting.train(&config, &resume(&run)).unwrap(), &expected);
    }
}

#[test]
fn a_stop_that_could_not_be_saved_says_so() {
    let setting = Setting::new(&[7, 6, 8]);
    let config = setting.config();
    let run = setting.path("run");
    let mut epochs = 0;
    let result = train(&config, &setting.data, &setting.base, &resume(&run), &mut |event| {
        epochs += usize::from(matches!(event, Event::Epoch { .. }));
        if epochs < 2 {
            return ControlFlow::Continue(());
        }
        fs::remove_dir_all(run.join("checkpoints")).unwrap();
        ControlFlow::Break(())
    });
    let Err(error) = result else { panic!("not stopped") };
    assert!(matches!(error, TrainError::File { .. }), "{error}");
}

#[test]
fn an_unconverged_head_is_not_unfrozen_unless_forced() {
    let setting = Setting::new(&[7, 6, 8]);
    let mut config = setting.config();
    config.head_stage.epochs = 2;
    config.head_stage.learning_rate = 0.3;
    config.head.dropout = 0.0;
    fine(&mut config).force = false;
    let Err(error) = setting.train(&config, &RunFolder::default()) else { panic!("unfrozen") };
    assert!(matches!(error, TrainError::NotConverged { .. }), "{error}");
    assert!(error.to_string().starts_with("the head has not converged: its loss still fell by "), "{error}");
    assert!(error.hint().unwrap().contains("--force"));

    fine(&mut config).force = true;
    let mut order = Vec::new();
    let forced = train(&config, &setting.data, &setting.base, &RunFolder::default(), &mut |event| {
        match event {
            Event::Stage(table) => order.push(table.stage.clone()),
            Event::Risk(risk) => order.push(risk.to_owned()),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let risk = forced.unwrap().risk.expect("it was forced");
    assert_eq!(order, ["head", &risk, "fine-tuning"]);

    config.head_stage.epochs = 0;
    assert_eq!(setting.whole(&config).risk.as_deref(), Some("the head is untrained"));
    // A loss that stays where it is has not settled when it never fell.
    fine(&mut config).force = false;
    config.head_stage.epochs = 3;
    config.head_stage.learning_rate = 1e-6;
    let Err(error) = setting.train(&config, &RunFolder::default()) else { panic!("unfrozen") };
    assert!(error.to_string().starts_with("the head has learned nothing: "), "{error}");
    // A head that has settled is no risk.
    config.head_stage.epochs = 60;
    config.head_stage.learning_rate = 0.01;
    assert_eq!(setting.whole(&config).risk, None);
}

/// Weights of the base that differ from what they were, by name.
fn moved(trained: &Trained) -> Vec<String> {
    let before = &trained.attached.network.params;
    let differs = |node| bits(before.get(node).unwrap()) != bits(trained.network.params.get(node).unwrap());
    let base =
        before.iter().map(|(node, _)| node).filter(|node| node.index() < trained.attached.features.index());
    base.filter(|&node| differs(node)).map(|node| trained.network.graph.node(node).name.clone()).collect()
}

#[test]
fn only_what_is_to_learn_changes() {
    let setting = Setting::with("keras208_sequential/model.h5", [9, 11], &[8, 9]);
    let mut config = setting.config();
    let whole = |config: &Config| setting.whole(config);
    config.fine_tuning = None;
    assert_eq!(moved(&whole(&config)), [""; 0], "feature extraction");
    config.fine_tuning = setting.config().fine_tuning;
    fine(&mut config).unfreeze = Unfreeze::From("conv2".to_owned());
    assert_eq!(moved(&whole(&config)), ["conv2/kernel"], "batch norms are frozen");
    fine(&mut config).batch_norm = BatchNormMode::Train;
    let norm = ["gamma", "beta", "moving_mean", "moving_variance"].map(|name| format!("bn/{name}"));
    let mut expected = norm.to_vec();
    expected.push("conv2/kernel".to_owned());
    let mut got = moved(&whole(&config));
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    fine(&mut config).unfreeze = Unfreeze::All;
    let got = moved(&whole(&config));
    assert!(got.contains(&"conv1/kernel".to_owned()) && got.len() == expected.len() + 2, "{got:?}");
}

#[test]
fn threads_change_nothing_and_seeds_do() {
    let mut setting = Setting::new(&[7, 6, 8]);
    let mut config = setting.with_memory();
    fine(&mut config).batch_norm = BatchNormMode::Train;
    let expected = setting.whole(&config);
    for threads in [1, 2, 3] {
        setting.base = base_of("keras3_training/model.keras", [7, 6], threads);
        assert_same(&format!("{threads} threads"), &setting.whole(&config), &expected);
    }
    let file = |trained: &Trained| binesh::formats::save_keras(&trained.network, None).unwrap();
    assert!(file(&setting.whole(&config)) == file(&expected), "the same file");
    config.seed += 1;
    assert!(file(&setting.whole(&config)) != file(&expected), "another seed");
}

#[test]
fn numbers_that_run_away_are_found_and_what_was_before_is_saved() {
    let setting = Setting::new(&[7, 6, 8]);
    let mut config = setting.config();
    config.head_stage.learning_rate = 1e-3;
    fine(&mut config).stage.learning_rate = 1e38;
    let run = setting.path("run");
    let Err(error) = setting.train(&config, &resume(&run)) else { panic!("not noticed") };
    let TrainError::NotFinite { stage, epoch, step, place } = &error else { panic!("{error}") };
    assert_eq!((stage.as_str(), *epoch), ("fine-tuning", 1));
    assert!((1..=4).contains(step) && place.contains('`'), "{error}");
    assert!(error.hint().unwrap().contains("--fine-tune-lr"));
    let history = fs::read_to_string(run.join("history.csv")).unwrap();
    assert_eq!(history.lines().count(), 1 + 4, "the head's epochs");
    // The very last step of a stage, which no later loss would show.
    config.head_stage.epochs = 1;
    config.head_stage.batch = 100;
    config.head_stage.learning_rate = 1e39;
    config.data.split = SplitSpec::Stratified { validation: 0.0, test: 0.2, seed: 0 };
    config.fine_tuning = None;
    let Err(error) = setting.train(&config, &RunFolder::default()) else { panic!("not noticed") };
    let TrainError::NotFinite { step: 1, place, .. } = &error else { panic!("{error}") };
    assert!(place.starts_with("the weight `"), "{error}");
}

#[test]
fn features_in_half_precision_train_nearly_as_well() {
    let setting = Setting::new(&[12, 12, 12]);
    let mut config = setting.config();
    let exact = setting.whole(&config);
    config.cache.memory_mb = 0;
    let coarse = setting.whole(&config);
    assert_eq!(coarse.feature_bytes[0], 0);
    assert_eq!(coarse.feature_bytes[1] * 2, exact.feature_bytes[0]);
    for (a, b) in coarse.history.iter().zip(&exact.history) {
        assert!((a.train_loss - b.train_loss).abs() < 5e-3 * b.train_loss, "{a:?}\n{b:?}");
        assert_ne!(a.train_loss.to_bits(), b.train_loss.to_bits());
    }
}

/// The number of views that were found and those that were computed.
fn found(setting: &Setting, config: &Config) -> (usize, Trained) {
    let mut found = 0;
    let trained = train(config, &setting.data, &setting.base, &RunFolder::default(), &mut |event| {
        if let Event::FeaturesFound(views) = event {
            found = views;
        }
        ControlFlow::Continue(())
    });
    (found, trained.unwrap())
}

#[test]
fn kept_features_are_used_for_what_they_are_of() {
    for memory_mb in [0, 64] {
        let setting = Setting::new(&[7, 6, 8]);
        let mut config = setting.config();
        config.cache.memory_mb = memory_mb;
        let expected = setting.whole(&config);
        config.cache.folder = Some(setting.path("kept"));
        let (views, first) = found(&setting, &config);
        assert_eq!(views, 0);
        assert_same("kept", &first, &expected);
        let (views, second) = found(&setting, &config);
        assert!(views > 0 && second.features.views == 0);
        assert_same("found", &second, &expected);
        // Of two files one is cut off.
        let mut files: Vec<_> =
            fs::read_dir(setting.path("kept")).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 2, "the head's and the fine-tuning's");
        for file in &files {
            let whole = fs::read(file).unwrap();
            fs::write(file, &whole[..whole.len() - 3]).unwrap();
            let (views, again) = found(&setting, &config);
            assert_eq!(views, 0);
            assert_same("one was cut off", &again, &expected);
            assert!(fs::read(file).unwrap() == whole, "computed again");
        }
        // The same photos elsewhere.
        let elsewhere = Setting::new(&[7, 6, 8]);
        assert_ne!(found(&elsewhere, &config).0, 0);
        // Other views, other photos.
        let other_seed = Config { seed: 8, ..config.clone() };
        assert_eq!(found(&setting, &other_seed).0, 0);
        let plain = Config { views: ViewsConfig::default(), ..config.clone() };
        assert_eq!(found(&setting, &plain).0, 0);
        photo(&setting.path("photos/a/0.png"), 0, 55);
        let edited = Setting { data: scanned(&setting.path("photos")), ..setting };
        assert_eq!(found(&edited, &config).0, 0);
    }
}

#[test]
fn settings_in_a_file_make_the_same_run() {
    let setting = Setting::new(&[7, 6, 8]);
    let mut config = setting.with_memory();
    config.head_stage.learning_rate = 0.1 + 0.2;
    config.head_stage.mixup = 1.0 / 3.0;
    let text = toml::to_string(&config).unwrap();
    let again: Config = toml::from_str(&text).unwrap();
    assert_eq!(again, config);
    assert_same("read", &setting.whole(&again), &setting.whole(&config));
}

#[test]
fn a_photo_that_vanishes_is_named_and_the_run_goes_on_when_it_is_back() {
    let setting = Setting::new(&[7, 6, 8]);
    for source in [ViewSource::Plain, ViewSource::Kept(2), ViewSource::Live] {
        let mut config = setting.config();
        config.views.source = source;
        let expected = setting.whole(&config);
        let run = setting.path(&format!("{source:?}"));
        let (photo, aside) = (setting.path("photos/b/3.png"), setting.path("aside"));
        fs::rename(&photo, &aside).unwrap();
        let Err(error) = setting.train(&config, &resume(&run)) else { panic!("not noticed") };
        assert!(error.to_string().contains(&photo.display().to_string()), "{error}");
        fs::rename(&aside, &photo).unwrap();
        assert_same("back", &setting.train(&config, &resume(&run)).unwrap(), &expected);
    }
}

#[test]
fn few_photos_two_classes_three_classes() {
    for (classes, units) in [(vec![5, 5], 1), (vec![5, 6], 1), (vec![5, 5, 9], 3)] {
        let setting = Setting::new(&classes);
        for split in [
            SplitSpec::Stratified { validation: 0.2, test: 0.2, seed: 1 },
            SplitSpec::Keras { validation: 0.3, seed: 1 },
            SplitSpec::Fold { folds: 5, fold: 4, seed: 1 },
        ] {
            let mut config = setting.config();
            config.data.split = split;
            let trained = setting.whole(&config);
            assert_eq!(trained.splits.len(), classes.iter().sum::<usize>());
            let logits = trained.attached.logits;
            assert_eq!(trained.network.graph.dims(logits)[1], Some(units));
            assert_eq!(trained.history.len(), 7);
            assert!(trained.history.iter().all(|row| row.val_loss.is_some_and(f64::is_finite)));
        }
    }
}

#[test]
fn parts_that_are_given_are_kept() {
    let setting = Setting::new(&[6, 7]);
    let mut table = "path,label\n".to_owned();
    for (class, count) in [("a", 6), ("b", 7)] {
        for (part, range) in [("train", 0..4), ("val", 4..5), ("test", 5..count)] {
            let to = setting.path(&format!("parts/{part}/{class}"));
            fs::create_dir_all(&to).unwrap();
            for number in range {
                let from = setting.path(&format!("photos/{class}/{number}.png"));
                fs::copy(&from, to.join(format!("{number}.png"))).unwrap();
                table += &format!("photos/{class}/{number}.png,{class}\n");
            }
        }
    }
    fs::write(setting.path("photos.csv"), table).unwrap();
    let config = setting.config();
    let expected = setting.whole(&config);
    let Setting { folder, base, .. } = setting;
    let data = scanned(&folder.path().join("photos.csv"));
    let listed = Setting { folder, data, base };
    assert_same("the same photos in a table", &listed.whole(&config), &expected);
    let Setting { folder, base, .. } = listed;
    let data = scanned(&folder.path().join("parts"));
    let parted = Setting { folder, data, base }.whole(&config);
    let count = |part: Split| parted.splits.iter().filter(|split| **split == part).count();
    assert_eq!(Split::ALL.map(count), [8, 2, 3]);
    assert!(
        parted.history.iter().all(|row| row.val_accuracy.is_some_and(|a| a * 2.0 % 1.0 == 0.0)),
        "of two"
    );
}

#[test]
fn training_learns_what_can_be_learned() {
    let setting = Setting::new(&[12, 12, 12]);
    let mut config = setting.config();
    config.head_stage.epochs = 60;
    config.head_stage.learning_rate = 0.1;
    fine(&mut config).stage.epochs = 10;
    let trained = setting.whole(&config);
    let best = trained.history.iter().filter_map(|row| row.val_accuracy).fold(0.0, f64::max);
    assert!(best > 0.6, "{best}");
}
