//! Transfer learning: features of a frozen network, a new head, and fine-tuning in stages.

pub mod clip;
pub mod early_stopping;
pub mod loss;
pub mod optimizer;
pub mod plateau;
pub mod schedule;
