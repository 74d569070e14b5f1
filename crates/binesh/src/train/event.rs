//! What long work tells of itself.

use std::ops::ControlFlow;

use serde::Serialize;

use crate::train::history::HistoryRow;
use crate::train::probes::Probes;
use crate::train::stage::StageTable;

/// Something happened. Whoever is told may stop the work.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Features of the frozen part: so many views of so many are done.
    Features(Progress),
    /// Features were kept by an earlier run: so many views.
    FeaturesFound(usize),
    /// What linear probes say of each block.
    Probes(&'a Probes),
    /// Blocks are unfrozen by force: what that risks.
    Risk(&'a str),
    /// A stage begins.
    Stage(&'a StageTable),
    /// A step was taken.
    Step(StepReport),
    /// An epoch has ended.
    Epoch {
        /// Its figures.
        row: &'a HistoryRow,
        /// The best so far.
        best: bool,
    },
    /// A stage has ended early, or went back to an earlier epoch's weights.
    Restored {
        /// The epoch whose weights are kept, counted from 1 through all stages.
        epoch: usize,
        /// Epochs that the stage was to have but did not need.
        saved: usize,
    },
}

/// How far feature extraction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Views done.
    pub done: usize,
    /// Views to do.
    pub total: usize,
    /// Share of the time in which the network waited for photos, 0 to 1.
    pub waiting: f64,
}

/// How far a stage is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Epoch of the stage, from 1.
    pub epoch: usize,
    /// Epochs of the stage.
    pub epochs: usize,
    /// Step of the epoch, from 1.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// Accuracy of the epoch so far.
    pub accuracy: f64,
    /// Photos learned from per second in this epoch.
    pub images_per_second: f64,
}

/// Whoever is told.
pub type Events<'e> = dyn FnMut(Event<'_>) -> ControlFlow<()> + 'e;
