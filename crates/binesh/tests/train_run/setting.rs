//! Small runs: tiny photos, tiny networks that Keras wrote.

use std::fs;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use binesh::Model;
use binesh::data::augment::Augment;
use binesh::data::{Dataset, ScanOptions, scan};
use binesh::formats::LoadCx;
use binesh::formats::meta::{Preprocess, Scaling};
use binesh::image::Picture;
use binesh::render::write_png;
use binesh::train::early_stopping::EarlyStopping;
use binesh::train::ema::EmaConfig;
use binesh::train::optimizer::{Optimizer, Sgd};
use binesh::train::plateau::ReduceOnPlateau;
use binesh::train::schedule::{Decay, Schedule};
use binesh::train::{
    Config, Event, FineTuningConfig, Recipe, RunFolder, StageConfig, TrainError, Trained, Unfreeze,
    ViewSource, train,
};
use binesh_core::{Runtime, Tensor};
use tempfile::TempDir;

/// Photos in class folders, and the base that Keras wrote for other photos.
pub(crate) struct Setting {
    pub(crate) folder: TempDir,
    pub(crate) data: Dataset,
    pub(crate) base: Model,
}

impl Setting {
    /// So many photos of each class, on the golden network `keras3_training`: convolution, depthwise convolution, two
    /// batch norms.
    pub(crate) fn new(classes: &[usize]) -> Setting {
        Setting::with("keras3_training/model.keras", [7, 6], classes)
    }

    pub(crate) fn with(base: &str, size: [usize; 2], classes: &[usize]) -> Setting {
        let folder = TempDir::new().unwrap();
        photos(&folder.path().join("photos"), classes);
        let data = scanned(&folder.path().join("photos"));
        Setting { folder, data, base: base_of(base, size, 1) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Settings of a run of some epochs in both stages.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(Recipe::Features, self.path("photos"), 7);
        config.data.split = binesh::data::SplitSpec::Stratified { validation: 0.25, test: 0.0, seed: 7 };
        config.views.source = ViewSource::Kept(2);
        config.views.augment = Augment::standard();
        let stage = StageConfig { epochs: 4, batch: 5, learning_rate: 0.02, ..StageConfig::default() };
        config.head_stage = stage.clone();
        config.fine_tuning = Some(FineTuningConfig {
            unfreeze: Unfreeze::All,
            rate_decay: 0.5,
            batch_norm: Default::default(),
            force: true,
            stage: StageConfig { epochs: 3, learning_rate: 0.002, ..stage },
        });
        config
    }

    /// Everything that remembers something from one epoch to the next.
    pub(crate) fn with_memory(&self) -> Config {
        let mut config = self.config();
        let remember = |stage: &mut StageConfig| {
            stage.optimizer = Optimizer::Sgd(Sgd { momentum: 0.9, nesterov: true, ..Sgd::default() });
            stage.mixup = 0.3;
            stage.label_smoothing = 0.1;
            stage.ema = Some(EmaConfig { momentum: 0.8, warmup: true });
            stage.early_stopping = Some(EarlyStopping { patience: 3, ..EarlyStopping::default() });
            stage.reduce_on_plateau =
                Some(ReduceOnPlateau { factor: 0.3, patience: 1, min_delta: 0.01, ..Default::default() });
            stage.schedule = Schedule::from(Decay::Cosine { floor: 0.1 });
        };
        remember(&mut config.head_stage);
        remember(&mut config.fine_tuning.as_mut().unwrap().stage);
        config.data.balanced = true;
        config.head.hidden = 6;
        config
    }

    pub(crate) fn train(&self, config: &Config, folder: &RunFolder) -> Result<Trained, TrainError> {
        train(config, &self.data, &self.base, folder, &mut |_| ControlFlow::Continue(()))
    }

    /// A run that nothing interrupts and that writes nothing.
    #[track_caller]
    pub(crate) fn whole(&self, config: &Config) -> Trained {
        self.train(config, &RunFolder::default()).unwrap()
    }

    /// Goes on in the folder until the event of this number; `None` when it ended before.
    pub(crate) fn until(&self, config: &Config, run: &Path, number: usize, how: How) -> Option<String> {
        let (mut count, mut last) = (0, String::new());
        let result = catch_unwind(AssertUnwindSafe(|| {
            train(config, &self.data, &self.base, &resume(run), &mut |event| {
                count += 1;
                if count <= number {
                    return ControlFlow::Continue(());
                }
                last = name(&event);
                match how {
                    How::Stop => ControlFlow::Break(()),
                    How::Crash => resume_unwind(Box::new("crash")),
                }
            })
        }));
        match result {
            Ok(Ok(_)) => None,
            Ok(Err(TrainError::Stopped)) | Err(_) => Some(last),
            Ok(Err(error)) => panic!("event {number}: {error}"),
        }
    }
}

/// How a run is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum How {
    /// As by Ctrl-C: what is finished is saved.
    Stop,
    /// As by SIGKILL: only what is on the disk stays.
    Crash,
}

fn name(event: &Event<'_>) -> String {
    let text = format!("{event:?}");
    text.split(['(', ' ']).next().unwrap().to_owned()
}

pub(crate) fn resume(run: &Path) -> RunFolder {
    RunFolder { path: Some(run.to_owned()), resume: true }
}

pub(crate) fn base_of(golden: &str, size: [usize; 2], threads: usize) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/golden").join(golden);
    let (mut base, _) = Model::open(&path, None, &LoadCx::default(), Runtime::new(threads)).unwrap();
    base.set_preprocess(Preprocess::new(size[0], size[1], Scaling::Unit));
    base
}

pub(crate) fn scanned(path: &Path) -> Dataset {
    scan(path, &ScanOptions::default(), &mut |_| ControlFlow::Continue(())).unwrap()
}

/// Class folders `a`, `b`, ...: all photos differ; a class is a tint among much noise, so that nothing is learned at
/// once.
pub(crate) fn photos(folder: &Path, classes: &[usize]) {
    for (class, &count) in classes.iter().enumerate() {
        let inside = folder.join(char::from(b'a' + class as u8).to_string());
        fs::create_dir_all(&inside).unwrap();
        for number in 0..count {
            photo(&inside.join(format!("{number}.png")), class, number);
        }
    }
}

pub(crate) fn photo(path: &Path, class: usize, number: usize) {
    let seed = (class * 1000 + number) as u32;
    let value = |at: u32| {
        let noise = (at + 977 * seed).wrapping_mul(2_654_435_761) >> 24;
        let tint = if at % 3 == class as u32 % 3 { 90 } else { 30 };
        (tint + noise * 165 / 255) as u8
    };
    write_png(path, &Picture::rgb(12, 10, (0..12 * 10 * 3).map(value).collect()).unwrap()).unwrap();
}

/// Fails unless all weights of both are equal to the bit.
#[track_caller]
pub(crate) fn assert_same(what: &str, got: &Trained, expected: &Trained) {
    let graph = &expected.network.graph;
    let mut count = 0;
    for ((node, a), (other, b)) in got.network.params.iter().zip(expected.network.params.iter()) {
        assert_eq!(node, other);
        assert!(bits(a) == bits(b), "{what}: `{}` differs", graph.node(node).name);
        count += 1;
    }
    assert_eq!(count, expected.network.params.iter().count(), "{what}");
    assert_eq!(got.kept, expected.kept, "{what}");
    assert_eq!(got.risk, expected.risk, "{what}");
    assert_eq!(got.stages, expected.stages, "{what}");
    assert_eq!(got.probes, expected.probes, "{what}");
    // Times differ, learning does not.
    let learned = |trained: &Trained| -> Vec<_> {
        let figures = |row: &binesh::train::HistoryRow| {
            let val = (row.val_loss.map(f64::to_bits), row.val_accuracy.map(f64::to_bits));
            let train = (row.train_loss.to_bits(), row.train_accuracy.to_bits());
            (row.stage.clone(), row.epoch, train, val, row.learning_rate.to_bits())
        };
        trained.history.iter().map(figures).collect()
    };
    assert_eq!(learned(got), learned(expected), "{what}");
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    tensor.data().iter().map(|value| value.to_bits()).collect()
}
