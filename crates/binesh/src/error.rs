//! What can go wrong, by whose fault it is.

use binesh_core::{Graph, InputError, NodeId, PlanError};
use binesh_formats::{FormatError, WRITERS};

use crate::image::ImageError;
use crate::render::WriteError;
use crate::zoo::ZooError;

/// Any error of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A model file larger than allowed.
    #[error("{path}: {bytes} bytes, more than the limit of {limit}")]
    FileSize {
        /// The file.
        path: String,
        /// Its size.
        bytes: u64,
        /// [`binesh_formats::Limits::file_bytes`].
        limit: u64,
    },
    /// A file of weights where a model was expected.
    #[error("{path}: the file holds weights but no architecture")]
    OnlyWeights {
        /// The file.
        path: String,
    },
    /// An architecture named for a file that says it itself.
    #[error("{path}: the file says its architecture itself")]
    HasArchitecture {
        /// The file.
        path: String,
    },
    /// Weights alone that do not make a network.
    #[error("{path}: {error}")]
    Zoo {
        /// The file.
        path: String,
        /// Why.
        error: Box<ZooError>,
    },
    /// A name that does not say which format is to be written.
    #[error("{path}: the ending of the name says no format that is written")]
    NoWriter {
        /// The file.
        path: String,
    },
    /// A file that does not compute what the network does: it is not written.
    #[error("read back, the file has {what}")]
    WrittenOtherwise {
        /// What it has.
        what: String,
    },
    /// A file that could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A picture.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Shapes or gradients that the network does not have.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Values that do not fit.
    #[error(transparent)]
    Input(#[from] InputError),
    /// More memory than there is.
    #[error("the network needs {:.1} GB for its values at this input size, more than there is", *bytes as f64 / 1e9)]
    Memory {
        /// Bytes asked for.
        bytes: usize,
    },
    /// A network whose input is not one picture.
    #[error("the model does not take one RGB or gray picture as its input")]
    NotAPictureModel,
    /// A network without class scores.
    #[error("the model's first output is not a vector of class scores")]
    NotAClassifier,
    /// Class names for another number of classes.
    #[error("{given} labels do not fit the model's {classes} classes")]
    LabelCount {
        /// Names given.
        given: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// A layer, or node, that does not exist.
    #[error("the model has no layer `{name}`")]
    NoLayer {
        /// As asked for.
        name: String,
        /// Existing names that are similar, best first.
        similar: Vec<String>,
    },
    /// A class that does not exist.
    #[error("the model has no class `{name}`")]
    NoClass {
        /// As asked for.
        name: String,
        /// How many classes there are.
        classes: usize,
        /// Existing names that are similar, best first.
        similar: Vec<String>,
    },
    /// A layer whose output is not a map.
    #[error("layer `{name}` has output {shape}, not a map [N, H, W, C]")]
    NotAMap {
        /// The layer.
        name: String,
        /// Its shape.
        shape: String,
    },
    /// A channel that does not exist.
    #[error("layer `{layer}` has no channel {channel}: it has {channels}, numbered from 0")]
    NoChannel {
        /// The layer.
        layer: String,
        /// As asked for.
        channel: usize,
        /// How many there are.
        channels: usize,
    },
    /// Something to be learned that makes no sense for this network.
    #[error("`{text}`: {reason}")]
    Objective {
        /// As asked for.
        text: String,
        /// Why not.
        reason: String,
    },
    /// A size that the network does not take.
    #[error("the network takes pictures of {}x{} alone, not {}x{}", fixed[0], fixed[1], size[0], size[1])]
    Size {
        /// Rows and columns asked for.
        size: [usize; 2],
        /// Those of the network.
        fixed: [usize; 2],
    },
    /// No layer to make a heatmap from.
    #[error("no layer of the model has a map larger than 1x1 on the way to its output")]
    NoMap,
}

impl Error {
    /// [`Error::NotAMap`] for a node.
    pub fn not_a_map(graph: &Graph, node: NodeId) -> Error {
        let extent = |d: &Option<usize>| d.map_or("None".to_owned(), |d| d.to_string());
        let extents: Vec<String> = graph.dims(node).iter().map(extent).collect();
        Error::NotAMap { name: graph.node(node).name.clone(), shape: format!("({})", extents.join(", ")) }
    }

    /// Lines that show what the message says, where one line is not enough; names in them are as a file has them.
    pub fn details(&self) -> Option<&str> {
        match self {
            Error::Zoo { error, .. } => error.details(),
            _ => None,
        }
    }

    /// The way out, when it is known; printed after the message as `hint: ...`.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Format(error) => error.hint().map(str::to_owned),
            Error::Zoo { error, .. } => error.hint(),
            Error::NoLayer { similar, .. } | Error::NoClass { similar, .. } if !similar.is_empty() => {
                let quoted: Vec<String> = similar.iter().map(|name| format!("`{name}`")).collect();
                let (last, others) = quoted.split_last()?;
                let others = if others.is_empty() { String::new() } else { format!("{} or ", others.join(", ")) };
                Some(format!("did you mean {others}{last}?"))
            }
            Error::NoLayer { .. } => Some("`binesh summary --expand-nested` lists the layers".to_owned()),
            Error::NoClass { classes, .. } => {
                Some(format!("classes have the numbers 0 to {}, and names if the model has them", classes - 1))
            }
            Error::Input(InputError::NoValue { .. }) => {
                Some("a file of the architecture alone needs a file of weights, `--weights`".to_owned())
            }
            Error::OnlyWeights { .. } => {
                Some("give the architecture as the model (`model.to_json()` in Keras) and this file with `--weights`".to_owned())
            }
            Error::NoWriter { .. } => {
                let endings: Vec<String> = WRITERS.iter().map(|writer| format!("`.{}`", writer.ending)).collect();
                Some(format!("endings: {}", endings.join(", ")))
            }
            Error::HasArchitecture { .. } => Some("leave `--arch` out".to_owned()),
            _ => None,
        }
    }
}
