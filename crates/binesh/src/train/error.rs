//! What can go wrong in training.

use std::path::PathBuf;

/// Any error of training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The network, or a photo.
    #[error(transparent)]
    Model(#[from] crate::Error),
    /// The photos.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// Someone asked to stop. What was finished is saved.
    #[error("stopped")]
    Stopped,
    /// Blocks of the base would be unfrozen above a head that would destroy them.
    #[error(
        "{reason}; unfreezing now would send its large errors back into the base and destroy what that has learned"
    )]
    NotConverged {
        /// How that is known.
        reason: String,
    },
    /// A loss, weight or value that is no number.
    #[error("stage `{stage}`, epoch {epoch}, step {step}: {place}")]
    NotFinite {
        /// The stage.
        stage: String,
        /// Its epoch, from 1.
        epoch: usize,
        /// The epoch's step, from 1.
        step: usize,
        /// What made it.
        place: String,
    },
    /// What is to be unfrozen does not exist.
    #[error("nothing to unfreeze: {reason}")]
    Unfreeze {
        /// Why.
        reason: String,
        /// The blocks there are.
        blocks: Vec<String>,
    },
    /// Settings that contradict themselves.
    #[error("{0}")]
    Config(String),
    /// A file of the run.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A file of the run that is not what it should be.
    #[error("{path}: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl TrainError {
    /// The way out, when it is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            TrainError::Model(error) => error.hint(),
            TrainError::Data(error) => error.hint(),
            TrainError::NotConverged { .. } => Some(
                "`--head-epochs` trains the head longer, `--lr` faster or slower; `--force` unfreezes all the same".to_owned(),
            ),
            TrainError::NotFinite { .. } => {
                Some("a lower learning rate (`--lr`, `--fine-tune-lr`) or gradient clipping (`--clip`)".to_owned())
            }
            TrainError::Unfreeze { blocks, .. } => Some(format!("the blocks are {}", blocks.join(", "))),
            _ => None,
        }
    }

    /// For an operation on a file.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> TrainError {
        move |source| TrainError::File { path: path.into(), source }
    }
}

impl From<binesh_core::PlanError> for TrainError {
    fn from(error: binesh_core::PlanError) -> Self {
        TrainError::Model(error.into())
    }
}

impl From<crate::render::WriteError> for TrainError {
    fn from(error: crate::render::WriteError) -> Self {
        TrainError::File { path: error.path, source: error.source }
    }
}

impl From<binesh_core::InputError> for TrainError {
    fn from(error: binesh_core::InputError) -> Self {
        TrainError::Model(error.into())
    }
}

impl From<binesh_core::GraphError> for TrainError {
    fn from(error: binesh_core::GraphError) -> Self {
        binesh_core::PlanError::from(error).into()
    }
}
