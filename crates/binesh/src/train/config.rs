//! All that decides a run. Written to `config.toml`, it reproduces the run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::SplitSpec;
use crate::data::augment::{Augment, Crop};
use crate::image::{Fit, Preprocess};
use crate::model::Model;
use crate::train::attach::{HeadConfig, Pooling};
use crate::train::clip::Clip;
use crate::train::early_stopping::EarlyStopping;
use crate::train::ema::EmaConfig;
use crate::train::optimizer::{Adam, Optimizer, RmsProp};
use crate::train::plateau::ReduceOnPlateau;
use crate::train::schedule::{Decay, Schedule};

/// A run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Start of every random number.
    #[serde(default)]
    pub seed: u64,
    /// Photos.
    pub data: DataConfig,
    /// Base.
    #[serde(default)]
    pub base: BaseConfig,
    /// What is put on it.
    #[serde(default)]
    pub head: HeadConfig,
    /// Views of the training photos.
    #[serde(default)]
    pub views: ViewsConfig,
    /// Where features are kept.
    #[serde(default)]
    pub cache: CacheConfig,
    /// The head's stage.
    pub head_stage: StageConfig,
    /// The stage in which blocks of the base learn too; without it the run is a feature extraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_tuning: Option<FineTuningConfig>,
}

/// Which photos, and how they are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// A folder of class folders, of `train/ val/ test/`, or a CSV of path and label.
    pub path: PathBuf,
    /// How photos without a given part are divided.
    pub split: SplitSpec,
    /// Rare classes count more, so that all count the same: scikit-learn's `balanced`.
    #[serde(default)]
    pub balanced: bool,
}

/// Which base.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaseConfig {
    /// A model file; the built-in EfficientNet-Lite0 when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// Weights for a model file that has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// The architecture of a file of PyTorch or safetensors weights, where it is not to be recognized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// How photos become the base's input, where it is not as the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// How they are brought to the input's proportions, where it is not as the file, or `preprocess`, says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
}

impl BaseConfig {
    /// Photos become the model's input as these settings say. What is trained on it keeps that. A model that takes only
    /// one size keeps its own.
    pub fn prepare(&self, model: &mut Model) {
        let known = model.preprocessing().map(|known| known.preprocess.clone());
        let said = self.preprocess.is_some() || self.fit.is_some();
        if let (true, Some(preprocess)) = (said, self.preprocess.clone().or(known)) {
            let fit = self.fit.unwrap_or(preprocess.fit);
            let size = match model.graph().dims(model.graph().inputs()[0])[..] {
                [_, Some(h), Some(w), _] => [h, w],
                _ => preprocess.size,
            };
            model.set_preprocess(Preprocess { fit, size, ..preprocess });
        }
    }
}

/// What the network sees of a training photo.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsConfig {
    /// Where views come from.
    pub source: ViewSource,
    /// How they differ from the photo. Not used for [`ViewSource::Plain`].
    pub augment: Augment,
}

/// Where views come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ViewSource {
    /// The photo itself, always.
    #[default]
    Plain,
    /// So many augmented views of each photo, drawn once; an epoch takes one of them for each.
    Kept(u32),
    /// A new augmented view in every epoch. The frozen part is computed for each.
    Live,
}

/// Where features of the frozen part are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// What all kept features may hold in memory. Those that need more are kept in half precision, then in a file.
    pub memory_mb: u64,
    /// Features are left here for later runs; nowhere when there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig { memory_mb: 2048, folder: None }
    }
}

/// How one stage learns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// Passes over the training photos.
    pub epochs: usize,
    /// Photos per step.
    pub batch: usize,
    /// What a step does to the weights.
    pub optimizer: Optimizer,
    /// Its learning rate, before schedule and per-block factors.
    pub learning_rate: f64,
    /// How the rate changes.
    pub schedule: Schedule,
    /// Lowers the rate when nothing improves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reduce_on_plateau: Option<ReduceOnPlateau>,
    /// Ends the stage when nothing improves. The best epoch's weights are restored in any case when there are
    /// validation photos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
    /// Bounds gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<Clip>,
    /// How far targets are drawn to the even distribution.
    pub label_smoothing: f32,
    /// MixUp's alpha (Zhang et al. 2018), of what enters the part that learns; 0 for none.
    pub mixup: f64,
    /// The stage's result is a moving average of its weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ema: Option<EmaConfig>,
}

impl Default for StageConfig {
    fn default() -> Self {
        StageConfig {
            epochs: 20,
            batch: 32,
            optimizer: Optimizer::Adam(Adam::default()),
            learning_rate: 1e-3,
            schedule: Schedule::from(Decay::Cosine { floor: 0.0 }),
            reduce_on_plateau: None,
            early_stopping: None,
            clip: None,
            label_smoothing: 0.0,
            mixup: 0.0,
            ema: None,
        }
    }
}

/// The stage in which the last blocks and the head learn together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuningConfig {
    /// What learns.
    #[serde(default)]
    pub unfreeze: Unfreeze,
    /// Each block's rate is that of the block above times this; the head has the stage's own.
    #[serde(default = "one")]
    pub rate_decay: f64,
    /// What batch norms of the unfrozen blocks do.
    #[serde(default)]
    pub batch_norm: BatchNormMode,
    /// Unfreezes even if the head has not converged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// How it learns.
    pub stage: StageConfig,
}

fn one() -> f64 {
    1.0
}

/// How much of the base learns. Blocks are never cut.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unfreeze {
    /// As linear probes of each block's features say.
    #[default]
    Auto,
    /// From the block of this layer, or of this name, on.
    From(String),
    /// The last blocks, with at least this share of the base's layers that have weights.
    Percent(f64),
    /// All of the base.
    All,
}

/// What batch norms of unfrozen blocks do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNormMode {
    /// Moving statistics, scale and shift stay as they are.
    #[default]
    Frozen,
    /// The batch's statistics are used and learned, scale and shift learn.
    Train,
}

/// Ready-made settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Recipe {
    /// The head on augmented views, then the last blocks at a low rate: see `docs/fine-tuning.md`.
    Default,
    /// The head alone.
    Features,
    /// The chapter's: `/ 255`, `ImageDataGenerator`, flatten, 256 units, RMSprop 2e-5 and 1e-5.
    Book,
    /// An experiment: the blocks are unfrozen with an untrained head. Shows what the five steps protect.
    NoWarmup,
}

impl Config {
    /// The settings of a recipe for the photos at `path`.
    pub fn new(recipe: Recipe, path: PathBuf, seed: u64) -> Config {
        let split = SplitSpec::Stratified { validation: 0.2, test: 0.0, seed };
        let data = DataConfig { path, split, balanced: false };
        let head_stage = StageConfig {
            epochs: 60,
            batch: 32,
            learning_rate: 3e-3,
            label_smoothing: 0.1,
            ..StageConfig::default()
        };
        let flipped = Augment { horizontal_flip: 0.5, ..Augment::none() };
        let config = Config {
            seed,
            data,
            // The whole photo, also where the base cut out its middle.
            base: BaseConfig { fit: Some(Fit::Stretch), ..BaseConfig::default() },
            head: HeadConfig::default(),
            views: ViewsConfig { source: ViewSource::Kept(2), augment: flipped.clone() },
            cache: CacheConfig::default(),
            head_stage,
            fine_tuning: None,
        };
        let fine_tuning = FineTuningConfig {
            unfreeze: Unfreeze::Auto,
            rate_decay: 0.8,
            batch_norm: BatchNormMode::Frozen,
            force: false,
            stage: StageConfig {
                epochs: 8,
                batch: 16,
                learning_rate: 4e-4,
                schedule: Schedule {
                    warmup: Some(crate::train::schedule::Warmup { epochs: 1.0, from: 0.1 }),
                    ..Schedule::from(Decay::Cosine { floor: 0.0 })
                },
                label_smoothing: 0.1,
                ema: Some(EmaConfig { momentum: 0.98, warmup: true }),
                ..StageConfig::default()
            },
        };
        let cropped = Augment { crop: Some(Crop { area: [0.75, 1.0], aspect: [0.85, 1.18] }), ..flipped };
        let views = ViewsConfig { source: ViewSource::Kept(4), augment: cropped };
        match recipe {
            Recipe::Features => config,
            Recipe::Default => Config { views, fine_tuning: Some(fine_tuning), ..config },
            Recipe::NoWarmup => {
                let head_stage = StageConfig { epochs: 0, ..config.head_stage };
                let fine_tuning = FineTuningConfig { force: true, ..fine_tuning };
                Config { views, head_stage, fine_tuning: Some(fine_tuning), ..config }
            }
            Recipe::Book => config.book(),
        }
    }

    /// True for the experiment that unfreezes an untrained head.
    pub fn is_without_warmup(&self) -> bool {
        self.head_stage.epochs == 0 && self.fine_tuning.as_ref().is_some_and(|fine| fine.force)
    }

    /// The same run with all five steps: what the experiment is held against.
    pub fn with_warmup(&self) -> Config {
        let staged = Config::new(Recipe::Default, self.data.path.clone(), self.seed);
        let head_stage = StageConfig { epochs: staged.head_stage.epochs, ..self.head_stage.clone() };
        let fine_tuning = self.fine_tuning.clone().map(|fine| FineTuningConfig { force: false, ..fine });
        Config { head_stage, fine_tuning, ..self.clone() }
    }

    /// Chollet, *Deep Learning with Python*, first edition, 5.3: the notebook's end-to-end recipe on Keras 2.0.8, where
    /// VGG16 gets `x / 255` and not its own scaling, and block 5, the last one, is unfrozen.
    fn book(self) -> Config {
        let stage = |epochs, learning_rate| StageConfig {
            epochs,
            batch: 20,
            optimizer: Optimizer::RmsProp(RmsProp::keras_2_0()),
            learning_rate,
            schedule: Schedule::default(),
            ..StageConfig::default()
        };
        Config {
            base: BaseConfig { preprocess: Some(Preprocess::book(150, 150)), ..BaseConfig::default() },
            head: HeadConfig { pooling: Pooling::Flatten, hidden: 256, dropout: 0.0 },
            views: ViewsConfig { source: ViewSource::Live, augment: Augment::book() },
            head_stage: stage(30, 2e-5),
            fine_tuning: Some(FineTuningConfig {
                // The fewest whole blocks: one.
                unfreeze: Unfreeze::Percent(0.0),
                rate_decay: 1.0,
                batch_norm: BatchNormMode::Frozen,
                force: true,
                stage: stage(100, 1e-5),
            }),
            ..self
        }
    }
}
