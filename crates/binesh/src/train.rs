//! Transfer learning: features of a frozen network, a new head, and fine-tuning in stages.
//!
//! [`train`] does all of it, as a [`Config`] says.

pub mod attach;
pub mod blocks;
mod checkpoint;
pub mod clip;
mod config;
pub mod early_stopping;
pub mod ema;
mod error;
mod evaluate;
mod event;
mod extract;
mod features;
mod files;
mod finder;
mod fit;
mod frozen;
mod history;
mod learner;
mod limits;
pub mod loss;
mod metrics;
pub mod mixup;
mod moved;
pub mod optimizer;
pub mod plateau;
mod probes;
mod run;
pub mod schedule;
mod source;
pub mod stage;
pub mod tensorboard;

pub use crate::random;
pub use config::{
    BaseConfig, BatchNormMode, CacheConfig, Config, DataConfig, FineTuningConfig, Recipe, StageConfig,
    Unfreeze, ViewSource, ViewsConfig,
};
pub use error::TrainError;
pub use evaluate::{evaluate, what_moved};
pub use event::{Event, Events, Progress, StepReport};
pub use extract::{Extraction, FeaturePooling};
pub use features::Precision;
pub use finder::RateCurve;
pub use frozen::Timing;
pub use history::{HistoryError, HistoryRow, history_csv, read_history_csv};
pub use metrics::{
    Average, Bin, Calibration, ClassMetrics, Figure, Interval, Metrics, Mistake, Scores, ScoresError, wilson,
};
pub use moved::{LayerMoved, linear_cka, relative_change};
pub use probes::{BlockProbe, Probes};
pub use run::{BEST, CHECKPOINT, PHOTOS, RunFolder, Trained, find_learning_rate, train};
pub use stage::{StageRow, StageTable};
