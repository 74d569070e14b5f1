//! Where a run is, in one file: weights, optimizer, and everything that decides what happens next.

use std::collections::BTreeMap;
use std::path::Path;

use binesh_core::Tensor;
use binesh_formats::safetensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::train::early_stopping::EarlyStoppingState;
use crate::train::error::TrainError;
use crate::train::files;
use crate::train::history::HistoryRow;
use crate::train::plateau::PlateauState;
use crate::train::probes::Probes;
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
    /// What decided that.
    pub(crate) probes: Option<Probes>,
    /// What was risked when blocks were unfrozen.
    pub(crate) risk: Option<String>,
    /// Of each stage that has ended: epochs, and the one whose weights it kept.
    pub(crate) kept: Vec<(usize, usize)>,
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
/// Of everything else: a broken disk may change weights and leave the file readable.
const DIGEST: &str = "sha256";

impl Checkpoint {
    pub(crate) fn write(&self, path: &Path) -> Result<(), TrainError> {
        // TOML: unlike JSON's, its numbers come back to the last bit, and may be infinite.
        let progress = toml::to_string(&self.progress).expect("numbers and names are TOML");
        let digest = digest(&progress, &self.tensors);
        let metadata = [(KEY.to_owned(), progress), (DIGEST.to_owned(), digest)];
        files::write_with(path, |file| safetensors::write_file(&self.tensors, metadata, file.path()))
    }

    pub(crate) fn read(path: &Path) -> Result<Checkpoint, TrainError> {
        let bytes = files::read(path)?;
        let damaged = |reason: String| TrainError::Damaged { path: path.to_owned(), reason };
        let limits = binesh_formats::Limits::default();
        let (tensors, metadata) =
            safetensors::read_with_metadata(&bytes, &limits).map_err(|e| damaged(e.to_string()))?;
        let progress = metadata.get(KEY).ok_or_else(|| damaged("not a checkpoint of binesh".to_owned()))?;
        if metadata.get(DIGEST) != Some(&digest(progress, &tensors)) {
            return Err(damaged("damaged: it is not what was written".to_owned()));
        }
        let progress = toml::from_str(progress).map_err(|e| damaged(e.to_string()))?;
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

fn digest(progress: &str, tensors: &BTreeMap<String, Tensor>) -> String {
    let mut hash = Sha256::new();
    hash.update(progress);
    for (name, tensor) in tensors {
        hash.update(format!("{name}{:?}", tensor.shape().dims()));
        for values in tensor.data().chunks(1 << 12) {
            hash.update(values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
