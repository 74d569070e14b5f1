//! Where a run is, in one file: weights, optimizer, and everything that decides what happens next.

use std::collections::BTreeMap;
use std::path::Path;

use binesh_core::Tensor;
use binesh_formats::safetensors;
use serde::{Deserialize, Serialize};

use crate::train::early_stopping::EarlyStoppingState;
use crate::train::error::TrainError;
use crate::train::files;
use crate::train::history::HistoryRow;
use crate::train::plateau::PlateauState;
use crate::train::stage::Step;

/// A run between two epochs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) progress: Progress,
    /// Weights that changed and the optimizer's memory, by name.
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

/// The small part of a [`Checkpoint`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Of the configuration and the photos: a checkpoint of another run is refused.
    pub(crate) run: String,
    /// When it began, in seconds since 1970.
    pub(crate) started: f64,
    /// Among the five steps.
    pub(crate) step: Step,
    /// The block from which on the base learns, once that was decided.
    pub(crate) unfrozen_from: Option<usize>,
    /// All epochs so far.
    pub(crate) history: Vec<HistoryRow>,
    /// The stage under way.
    pub(crate) stage: StageProgress,
}

/// A stage between two epochs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct StageProgress {
    /// Epochs done.
    pub(crate) epochs: usize,
    /// Steps done.
    pub(crate) steps: usize,
    /// Steps that the optimizer counts.
    pub(crate) iterations: u64,
    pub(crate) stopping: EarlyStoppingState,
    pub(crate) plateau: Option<PlateauState>,
    /// The best epoch of the stage, from 1, and its figure.
    pub(crate) best: Option<(usize, f64)>,
    /// Early stopping has ended the stage.
    pub(crate) stopped: bool,
}

const KEY: &str = "binesh";

impl Checkpoint {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let progress = serde_json::to_string(&self.progress).expect("numbers and names are JSON");
        safetensors::write(&self.tensors, [(KEY.to_owned(), progress)])
    }

    pub(crate) fn read(path: &Path) -> Result<Checkpoint, TrainError> {
        let bytes = files::read(path)?;
        let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
        let limits = binesh_formats::Limits::default();
        let (tensors, metadata) =
            safetensors::read_with_metadata(&bytes, &limits).map_err(|e| damaged(e.to_string()))?;
        let progress = metadata.get(KEY).ok_or_else(|| damaged("not a checkpoint of binesh".to_owned()))?;
        let progress = serde_json::from_str(progress).map_err(|e| damaged(e.to_string()))?;
        Ok(Checkpoint { progress, tensors })
    }

    /// Takes tensors out whose names begin so, in the order of `names`.
    pub(crate) fn take<'a>(
        &mut self,
        kind: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Option<Vec<Tensor>> {
        names.into_iter().map(|name| self.tensors.remove(&format!("{kind}/{name}"))).collect()
    }

    pub(crate) fn put<'a>(
        &mut self,
        kind: &str,
        names: impl IntoIterator<Item = &'a str>,
        tensors: impl IntoIterator<Item = Tensor>,
    ) {
        for (name, tensor) in names.into_iter().zip(tensors) {
            self.tensors.insert(format!("{kind}/{name}"), tensor);
        }
    }
}
