//! Weights that do not make a network.

use binesh_core::GraphError;

/// Weights that do not fit the architecture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// A shape that does not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor that the architecture needs.
    #[error("the file has no tensor `{name}`")]
    Missing {
        /// Name in the file.
        name: String,
    },
    /// A tensor of another rank.
    #[error("tensor `{name}` has {got} axes, expected {expected}")]
    Rank {
        /// Name in the file.
        name: String,
        /// Axes it should have.
        expected: usize,
        /// Axes it has.
        got: usize,
    },
    /// A tensor without values.
    #[error("tensor `{name}` has no elements")]
    Empty {
        /// Name in the file.
        name: String,
    },
    /// A module that is not what the architecture has there.
    #[error("`{path}` {how}")]
    Differs {
        /// Its path in the file.
        path: String,
        /// Completes "`path` ...".
        how: &'static str,
    },
    /// Tensors that nothing reads: another architecture.
    #[error("nothing reads {count} of the file's tensors, the first is `{first}`")]
    Unused {
        /// How many.
        count: usize,
        /// Name of the first.
        first: String,
    },
    /// An input whose last map cannot be pooled as the network was built.
    #[error("at this input size the last map is {} x {}, which does not divide into {side} x {side}", .map[0], .map[1])]
    InputSize {
        /// Its rows and columns.
        map: [usize; 2],
        /// Rows and columns that the classifier expects.
        side: usize,
    },
    /// A name that no architecture has.
    #[error("there is no architecture `{name}`")]
    UnknownArchitecture {
        /// As asked for.
        name: String,
    },
    /// Weights of another architecture than asked for.
    #[error("the weights are those of `{recognized}`, not of `{wanted}`")]
    Other {
        /// As asked for.
        wanted: String,
        /// What names and shapes say.
        recognized: String,
    },
    /// Several architectures whose weights have the same names and shapes.
    #[error("the weights may be those of {}, which differ in what no tensor says", quoted(names))]
    Ambiguous {
        /// Their names.
        names: Vec<String>,
    },
    /// Weights that are not those of an architecture.
    #[error("the weights are not those of `{architecture}`: {cause}")]
    Misfit {
        /// Whose they should be.
        architecture: String,
        /// Tensors that were read before the first difference.
        read: usize,
        /// The first difference.
        cause: Box<ZooError>,
        /// What the architecture reads and what the file holds, side by side.
        table: String,
    },
    /// Weights of no known architecture, though some begin like one.
    #[error("the weights are of no known architecture; the closest is `{closest}`, but {cause}")]
    Unrecognized {
        /// The architecture that reads most of them.
        closest: String,
        /// Tensors that it reads.
        read: usize,
        /// The first difference.
        cause: Box<ZooError>,
        /// What it reads and what the file holds, side by side.
        table: String,
    },
    /// Weights of no known architecture.
    #[error("the weights are of no known architecture")]
    NotRecognized {
        /// What the file holds.
        table: String,
    },
}

impl ZooError {
    /// What the architecture reads and what the file holds, side by side around the first difference; lines of text, in which
    /// names are as the file has them.
    pub fn details(&self) -> Option<&str> {
        match self {
            ZooError::Misfit { table, .. }
            | ZooError::Unrecognized { table, .. }
            | ZooError::NotRecognized { table } => Some(table),
            _ => None,
        }
    }

    /// The way out, when it is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            ZooError::UnknownArchitecture { name } => {
                let wanted = name.to_lowercase();
                let score = |known: &str| strsim::jaro_winkler(&wanted, known);
                let mut names: Vec<&str> = super::architectures().map(|known| known.name).collect();
                names.sort();
                names.dedup();
                names.sort_by(|a, b| score(b).total_cmp(&score(a)));
                let similar: Vec<String> = names.into_iter().take(5).map(str::to_owned).collect();
                Some(format!("similar names are {}; docs/formats.md lists all", quoted(&similar)))
            }
            ZooError::Ambiguous { names } => {
                Some(format!("say which, as in `--arch {}`", names.first().map_or("", String::as_str)))
            }
            ZooError::Unrecognized { .. } | ZooError::NotRecognized { .. } => {
                Some("docs/formats.md lists the architectures; a network of one's own can be saved with its graph, as an ONNX or a Keras file".to_owned())
            }
            _ => None,
        }
    }
}

/// "`a`, `b` or `c`".
fn quoted(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.join(""),
    }
}
