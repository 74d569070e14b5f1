//! Transfer learning: features of a frozen network, a new head, and fine-tuning in stages.

pub mod clip;
pub mod early_stopping;
mod history;
pub mod loss;
mod metrics;
mod moved;
pub mod optimizer;
pub mod plateau;
pub mod schedule;
pub mod tensorboard;

pub use history::{HistoryError, HistoryRow, history_csv, read_history_csv};
pub use metrics::{
    Average, Bin, Calibration, ClassMetrics, Figure, Interval, Metrics, Mistake, Scores, ScoresError, wilson,
};
pub use moved::{LayerMoved, linear_cka, relative_change};
