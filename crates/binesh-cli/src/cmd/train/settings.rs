//! Options of `binesh train`: what they change in a recipe's settings.

use std::path::PathBuf;

use anyhow::{Result, bail};
use binesh::data::SplitSpec;
use binesh::data::augment::Augment;
use binesh::train::attach::Pooling;
use binesh::train::clip::Clip;
use binesh::train::early_stopping::EarlyStopping;
use binesh::train::ema::EmaConfig;
use binesh::train::optimizer::{Adam, AdamW, Optimizer, RmsProp, Sgd};
use binesh::train::schedule::{Decay, OneCycle, Schedule};
use binesh::train::{BatchNormMode, Config, FineTuningConfig, Recipe, StageConfig, Unfreeze, ViewSource};
use clap::ValueEnum;

use crate::args::count;

/// Everything that a recipe decides can be decided otherwise.
#[derive(clap::Args, Debug)]
pub(crate) struct Settings {
    /// Ready-made settings
    #[arg(long, value_name = "NAME", default_value = "default")]
    recipe: RecipeName,

    /// Start of every random number: equal seeds give equal weights
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Pretrained network: Keras .h5 or .keras; weights of a known architecture: PyTorch .pth, .pt or .safetensors; or the
    /// folder of an earlier run [default: the built-in EfficientNet-Lite0]
    #[arg(short, long, help_heading = "Model", value_name = "MODEL")]
    model: Option<PathBuf>,

    /// Weights-only file (.h5) for a model file that holds the architecture alone
    #[arg(long, help_heading = "Model", value_name = "FILE", requires = "model")]
    weights: Option<PathBuf>,

    /// Architecture of a file of PyTorch or safetensors weights, as torchvision or timm calls it [default: recognized from
    /// the names of the weights]
    #[arg(long, help_heading = "Model", value_name = "NAME", requires = "model", conflicts_with = "weights")]
    arch: Option<String>,

    /// How the last map becomes a vector: average, max, flatten
    #[arg(long, help_heading = "Model", value_name = "HOW", value_parser = pooling)]
    pooling: Option<Pooling>,

    /// Units of a hidden dense layer in the head; 0 for none
    #[arg(long, help_heading = "Model", value_name = "UNITS")]
    hidden: Option<usize>,

    /// Share of the head's values that training drops
    #[arg(long, help_heading = "Model", value_name = "SHARE", value_parser = share)]
    dropout: Option<f64>,

    /// How photos are divided: `stratified`, `keras` (its validation_split), or `K/N`, part K of N for cross-validation
    #[arg(long, help_heading = "Photos", value_name = "HOW")]
    split: Option<String>,

    /// Share of the photos that judges every epoch
    #[arg(long, help_heading = "Photos", value_name = "SHARE", value_parser = share)]
    validation: Option<f64>,

    /// Share of the photos that is only looked at in the end
    #[arg(long, help_heading = "Photos", value_name = "SHARE", value_parser = share)]
    test: Option<f64>,

    /// Classes count the same, however many photos they have
    #[arg(long, help_heading = "Photos")]
    balanced: bool,

    /// Augmented views of each photo that are drawn once and used again and again; 0 for the photos as they are
    #[arg(long, help_heading = "Photos", value_name = "K", conflicts_with = "augment")]
    views: Option<u32>,

    /// `live` draws a new view of each photo in each epoch, `none` takes the photos as they are
    #[arg(long, help_heading = "Photos", value_name = "HOW")]
    augment: Option<AugmentMode>,

    /// What learns besides the head: `auto` (linear probes decide), a layer or block and all after it, `N%` of the
    /// layers, `all`, or `none`
    #[arg(long, help_heading = "Fine-tuning", value_name = "WHAT")]
    unfreeze: Option<String>,

    /// Epochs of fine-tuning
    #[arg(long, help_heading = "Fine-tuning", value_name = "N")]
    epochs: Option<usize>,

    /// Learning rate of fine-tuning
    #[arg(long, help_heading = "Fine-tuning", value_name = "RATE", value_parser = rate)]
    fine_tune_lr: Option<f64>,

    /// Each block's rate is that of the block above times this
    #[arg(long, help_heading = "Fine-tuning", value_name = "FACTOR", value_parser = share)]
    rate_decay: Option<f64>,

    /// Batch norms of unfrozen blocks learn, too
    #[arg(long, help_heading = "Fine-tuning")]
    train_bn: bool,

    /// Epochs of the head
    #[arg(long, help_heading = "Training", value_name = "N")]
    head_epochs: Option<usize>,

    /// Learning rate of the head
    #[arg(long, help_heading = "Training", value_name = "RATE", value_parser = rate)]
    lr: Option<f64>,

    /// Photos per step
    #[arg(long, help_heading = "Training", value_name = "N", value_parser = count)]
    batch: Option<usize>,

    /// How steps are made
    #[arg(long, help_heading = "Training", value_name = "NAME")]
    optimizer: Option<OptimizerName>,

    /// How the learning rate changes
    #[arg(long, help_heading = "Training", value_name = "NAME")]
    schedule: Option<ScheduleName>,

    /// Share of a weight taken off per step and unit of rate
    #[arg(long, help_heading = "Training", value_name = "SHARE", value_parser = rate)]
    weight_decay: Option<f64>,

    /// End a stage when nothing improved for so many epochs
    #[arg(long, help_heading = "Training", value_name = "EPOCHS")]
    patience: Option<u32>,

    /// How far targets are drawn to the even distribution
    #[arg(long, help_heading = "Training", value_name = "SHARE", value_parser = share)]
    label_smoothing: Option<f64>,

    /// MixUp's alpha; 0 for none
    #[arg(long, help_heading = "Training", value_name = "ALPHA", value_parser = rate)]
    mixup: Option<f64>,

    /// Gradients are shrunk so that all together have at most this L2 norm; 0 for none
    #[arg(long, help_heading = "Training", value_name = "NORM", value_parser = rate)]
    clip: Option<f64>,

    /// Momentum of a moving average of the weights, which is the result; 0 for none
    #[arg(long, help_heading = "Training", value_name = "MOMENTUM", value_parser = share)]
    ema: Option<f64>,

    /// Leave features here for later runs
    #[arg(long, help_heading = "Features", value_name = "FOLDER")]
    cache: Option<PathBuf>,

    /// Memory for features, in MB; more goes to half precision, then to a file
    #[arg(long, help_heading = "Features", value_name = "MB")]
    cache_memory: Option<u64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RecipeName {
    /// The head on augmented views, then the last blocks at a low rate
    Default,
    /// The head alone: feature extraction
    Features,
    /// The chapter's for VGG16, on Keras 2.0.8
    Book,
    /// An experiment: unfreeze with an untrained head, and see what that destroys
    NoWarmup,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AugmentMode {
    Live,
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimizerName {
    Adam,
    Adamw,
    Rmsprop,
    Sgd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleName {
    Constant,
    Cosine,
    OneCycle,
}

fn pooling(text: &str) -> Result<Pooling, &'static str> {
    match text {
        "average" => Ok(Pooling::Average),
        "max" => Ok(Pooling::Max),
        "flatten" => Ok(Pooling::Flatten),
        _ => Err("one of average, max, flatten"),
    }
}

fn share(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("not a number from 0 to 1")
}

fn rate(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0).ok_or("not a number from 0 on")
}

impl Settings {
    pub(crate) fn recipe(&self) -> Recipe {
        match self.recipe {
            RecipeName::Default => Recipe::Default,
            RecipeName::Features => Recipe::Features,
            RecipeName::Book => Recipe::Book,
            RecipeName::NoWarmup => Recipe::NoWarmup,
        }
    }

    /// Whether it was said how photos are to be divided.
    pub(crate) fn divides(&self) -> bool {
        self.split.is_some() || self.validation.is_some() || self.test.is_some()
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed.unwrap_or_default()
    }

    /// Puts what was said over what `config` says.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<()> {
        if let Some(seed) = self.seed {
            config.seed = seed;
        }
        if self.model.is_some() {
            config.base.model.clone_from(&self.model);
            config.base.weights.clone_from(&self.weights);
            config.base.arch.clone_from(&self.arch);
        }
        set(&mut config.head.pooling, self.pooling);
        set(&mut config.head.hidden, self.hidden);
        set(&mut config.head.dropout, self.dropout.map(|share| share as f32));
        self.split(config)?;
        config.data.balanced |= self.balanced;
        match (self.views, self.augment) {
            (Some(0), _) | (_, Some(AugmentMode::None)) => config.views.source = ViewSource::Plain,
            (Some(n), _) => config.views.source = ViewSource::Kept(n),
            (_, Some(AugmentMode::Live)) => config.views.source = ViewSource::Live,
            (None, None) => {}
        }
        if config.views.source != ViewSource::Plain && config.views.augment.is_none() {
            config.views.augment = Augment::standard();
        }
        self.unfreeze(config)?;
        self.stage(&mut config.head_stage)?;
        set(&mut config.head_stage.epochs, self.head_epochs);
        set(&mut config.head_stage.learning_rate, self.lr);
        if let Some(fine) = &mut config.fine_tuning {
            self.stage(&mut fine.stage)?;
            set(&mut fine.stage.epochs, self.epochs);
            set(&mut fine.stage.learning_rate, self.fine_tune_lr);
            set(&mut fine.rate_decay, self.rate_decay);
            if self.train_bn {
                fine.batch_norm = BatchNormMode::Train;
            }
        } else if self.epochs.is_some() || self.fine_tune_lr.is_some() || self.train_bn {
            bail!("without fine-tuning there is nothing to set for it");
        }
        if self.cache.is_some() {
            config.cache.folder.clone_from(&self.cache);
        }
        set(&mut config.cache.memory_mb, self.cache_memory);
        Ok(())
    }

    fn split(&self, config: &mut Config) -> Result<()> {
        let (mut validation, mut test) = match config.data.split {
            SplitSpec::Stratified { validation, test, .. } => (validation, test),
            SplitSpec::Keras { validation, .. } => (validation, 0.0),
            SplitSpec::Fold { .. } => (0.2, 0.0),
        };
        set(&mut validation, self.validation);
        set(&mut test, self.test);
        let seed = config.seed;
        let spec = match self.split.as_deref() {
            None if self.validation.is_none() && self.test.is_none() && self.seed.is_none() => return Ok(()),
            None | Some("stratified") => SplitSpec::Stratified { validation, test, seed },
            Some("keras") => {
                let Ok(seed) = u32::try_from(seed) else { bail!("Keras's seeds end at {}", u32::MAX) };
                SplitSpec::Keras { validation, seed }
            }
            Some(part) => {
                let numbers: Option<(usize, usize)> =
                    part.split_once('/').and_then(|(k, n)| Some((k.parse().ok()?, n.parse().ok()?)));
                match numbers {
                    Some(_) if self.validation.is_some() || self.test.is_some() => {
                        bail!("--split {part} says what judges, so there is no `--validation` or `--test`")
                    }
                    Some((fold, folds)) if fold >= 1 && fold <= folds && folds > 1 => {
                        SplitSpec::Fold { folds, fold: fold - 1, seed }
                    }
                    _ => bail!("--split {part}: `stratified`, `keras`, or a part such as 1/5"),
                }
            }
        };
        config.data.split = spec;
        Ok(())
    }

    fn unfreeze(&self, config: &mut Config) -> Result<()> {
        let Some(what) = self.unfreeze.as_deref() else { return Ok(()) };
        if what == "none" {
            config.fine_tuning = None;
            return Ok(());
        }
        let unfreeze = match what {
            "auto" => Unfreeze::Auto,
            "all" => Unfreeze::All,
            what => match what.strip_suffix('%').map(str::parse::<f64>) {
                Some(Ok(percent)) if (0.0..=100.0).contains(&percent) => Unfreeze::Percent(percent),
                Some(_) => bail!("--unfreeze {what}: not a share from 0% to 100%"),
                None => Unfreeze::From(what.to_owned()),
            },
        };
        match &mut config.fine_tuning {
            Some(fine) => fine.unfreeze = unfreeze,
            None => {
                let recipe = Config::new(Recipe::Default, config.data.path.clone(), config.seed);
                config.fine_tuning = recipe.fine_tuning.map(|fine| FineTuningConfig { unfreeze, ..fine });
            }
        }
        Ok(())
    }

    /// What holds for both stages.
    fn stage(&self, stage: &mut StageConfig) -> Result<()> {
        set(&mut stage.batch, self.batch);
        if let Some(norm) = self.clip {
            stage.clip = (norm > 0.0).then_some(Clip::GlobalNorm(norm as f32));
        }
        if let Some(momentum) = self.ema {
            stage.ema = (momentum > 0.0).then_some(EmaConfig { momentum, warmup: true });
        }
        if let Some(name) = self.optimizer {
            stage.optimizer = match name {
                OptimizerName::Adam => Optimizer::Adam(Adam::default()),
                OptimizerName::Adamw => Optimizer::AdamW(AdamW::default()),
                OptimizerName::Rmsprop => Optimizer::RmsProp(RmsProp::default()),
                OptimizerName::Sgd => Optimizer::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }),
            };
        }
        if let Some(decay) = self.weight_decay {
            match &mut stage.optimizer {
                Optimizer::Adam(own) => own.weight_decay = decay,
                Optimizer::AdamW(own) => own.weight_decay = decay,
                Optimizer::RmsProp(own) => own.weight_decay = decay,
                Optimizer::Sgd(own) => own.weight_decay = decay,
            }
        }
        if let Some(name) = self.schedule {
            stage.schedule = Schedule::from(match name {
                ScheduleName::Constant => Decay::Constant,
                ScheduleName::Cosine => Decay::Cosine { floor: 0.0 },
                ScheduleName::OneCycle => Decay::OneCycle(OneCycle::default()),
            });
        }
        if let Some(patience) = self.patience {
            stage.early_stopping = Some(EarlyStopping { patience, ..EarlyStopping::default() });
        }
        set(&mut stage.label_smoothing, self.label_smoothing.map(|share| share as f32));
        set(&mut stage.mixup, self.mixup);
        Ok(())
    }
}

fn set<T>(value: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *value = said;
    }
}
