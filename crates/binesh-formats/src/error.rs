//! What can go wrong with a model file, by whose fault it is.

use std::fmt;
use std::io;

use binesh_core::GraphError;

/// A file that could not be turned into a network, or written.
///
/// Every variant says where ([`Place`]) and what; [`FormatError::hint`] holds the way out when it is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused a read or a write.
    #[error("{place}{source}")]
    Io {
        /// Which file.
        place: Box<Place>,
        /// The system's own error.
        source: io::Error,
    },
    /// The bytes break the rules of their own format.
    #[error("{place}{what}")]
    Malformed {
        /// Where.
        place: Box<Place>,
        /// The broken rule.
        what: String,
        /// The way out, when known.
        hint: Option<String>,
    },
    /// A valid file that asks for something this library does not do.
    #[error("{place}{what}")]
    Unsupported {
        /// Where.
        place: Box<Place>,
        /// The unsupported thing, with its value.
        what: String,
        /// The way out, when known.
        hint: Option<String>,
    },
    /// A layer of a class that is not known, or known and refused.
    #[error("{}layer `{}` has class `{class}`, {why}", .place.file_prefix(), .place.layer.as_deref().unwrap_or("?"))]
    UnsupportedClass {
        /// Where.
        place: Box<Place>,
        /// The class as the file spells it.
        class: String,
        /// Completes "has class `X`, ...".
        why: String,
        /// The way out, when known.
        hint: Option<String>,
    },
    /// More than [`Limits`](crate::Limits) allow.
    #[error("{place}{what} is {got}, more than the limit of {limit}")]
    Limit {
        /// Where.
        place: Box<Place>,
        /// The limited quantity.
        what: String,
        /// What the file asks for.
        got: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The network needs a weight that the file does not have.
    #[error("{place}weight `{weight}` of shape {} is not in the file", Dims(.expected))]
    MissingWeight {
        /// Where.
        place: Box<Place>,
        /// The weight's own name, `kernel`.
        weight: String,
        /// The shape the network needs; `None` where any extent is right.
        expected: Vec<Option<usize>>,
        /// The names on both sides.
        hint: Option<String>,
    },
    /// A weight is there, but does not fit.
    #[error("{place}weight `{weight}` has shape {}, expected {}", Dims(&known(.got)), Dims(.expected))]
    WrongShape {
        /// Where.
        place: Box<Place>,
        /// The weight's own name, `kernel`.
        weight: String,
        /// The shape the network needs; `None` where any extent is right.
        expected: Vec<Option<usize>>,
        /// The shape in the file.
        got: Vec<usize>,
        /// The names on both sides.
        hint: Option<String>,
    },
    /// The file holds weights for a layer that has no place for them.
    #[error("{place}the file holds {got} weights for it, expected {expected}")]
    WeightCount {
        /// Where.
        place: Box<Place>,
        /// How many the network needs.
        expected: usize,
        /// How many the file holds.
        got: usize,
        /// The names on both sides.
        hint: Option<String>,
    },
    /// The layers do not fit together: the graph says which and why.
    #[error("{}{source}", .place.file_prefix())]
    Network {
        /// Where.
        place: Box<Place>,
        /// The graph's own error, which names the layer.
        source: Box<GraphError>,
    },
}

/// Where in a file: `model.h5: layer `block5_conv3` (Conv2D): `.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file as the caller named it; empty until known.
    pub file: String,
    /// The layer's path, with nested models as directories.
    pub layer: Option<String>,
    /// The layer's class as the file spells it.
    pub class: Option<String>,
}

impl Place {
    fn file_prefix(&self) -> String {
        if self.file.is_empty() { String::new() } else { format!("{}: ", self.file) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file_prefix())?;
        match (&self.layer, &self.class) {
            (Some(layer), Some(class)) => write!(f, "layer `{layer}` ({class}): "),
            (Some(layer), None) => write!(f, "layer `{layer}`: "),
            (None, _) => Ok(()),
        }
    }
}

impl FormatError {
    /// The way out, when it is known; printed after the message as `hint: ...`.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Malformed { hint, .. }
            | Self::Unsupported { hint, .. }
            | Self::UnsupportedClass { hint, .. }
            | Self::MissingWeight { hint, .. }
            | Self::WrongShape { hint, .. }
            | Self::WeightCount { hint, .. } => hint.as_deref(),
            Self::Io { .. } | Self::Limit { .. } | Self::Network { .. } => None,
        }
    }

    /// Names the file, unless something deeper already did.
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        let place = self.place_mut();
        if place.file.is_empty() {
            file.clone_into(&mut place.file);
        }
        self
    }

    /// Names the layer, unless something deeper already did.
    #[must_use]
    pub fn in_layer(mut self, path: &str, class: &str) -> Self {
        let place = self.place_mut();
        if place.layer.is_none() {
            place.layer = Some(path.to_owned());
            place.class = Some(class.to_owned());
        }
        self
    }

    /// Adds the way out, unless there is one.
    #[must_use]
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::Malformed { hint, .. }
            | Self::Unsupported { hint, .. }
            | Self::UnsupportedClass { hint, .. }
            | Self::MissingWeight { hint, .. }
            | Self::WrongShape { hint, .. }
            | Self::WeightCount { hint, .. } => {
                hint.get_or_insert_with(|| text.into());
            }
            Self::Io { .. } | Self::Limit { .. } | Self::Network { .. } => {}
        }
        self
    }

    /// Where it happened.
    pub fn place(&self) -> &Place {
        match self {
            Self::Io { place, .. }
            | Self::Malformed { place, .. }
            | Self::Unsupported { place, .. }
            | Self::UnsupportedClass { place, .. }
            | Self::Limit { place, .. }
            | Self::MissingWeight { place, .. }
            | Self::WrongShape { place, .. }
            | Self::WeightCount { place, .. }
            | Self::Network { place, .. } => place,
        }
    }

    fn place_mut(&mut self) -> &mut Place {
        match self {
            Self::Io { place, .. }
            | Self::Malformed { place, .. }
            | Self::Unsupported { place, .. }
            | Self::UnsupportedClass { place, .. }
            | Self::Limit { place, .. }
            | Self::MissingWeight { place, .. }
            | Self::WrongShape { place, .. }
            | Self::WeightCount { place, .. }
            | Self::Network { place, .. } => place,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { place: Box::default(), what: what.into(), hint: None }
    }

    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { place: Box::default(), what: what.into(), hint: None }
    }

    pub(crate) fn limit(what: &str, got: u64, limit: u64) -> Self {
        Self::Limit { place: Box::default(), what: what.to_owned(), got, limit }
    }
}

impl From<io::Error> for FormatError {
    fn from(source: io::Error) -> Self {
        Self::Io { place: Box::default(), source }
    }
}

/// `[3, 3, ?, 64]`.
struct Dims<'a>(&'a [Option<usize>]);

impl fmt::Display for Dims<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, dim) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            match dim {
                Some(n) => write!(f, "{n}")?,
                None => f.write_str("?")?,
            }
        }
        f.write_str("]")
    }
}

fn known(dims: &[usize]) -> Vec<Option<usize>> {
    dims.iter().copied().map(Some).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_file_the_layer_and_the_way_out() {
        let e = FormatError::WrongShape {
            place: Box::default(),
            weight: "kernel".into(),
            expected: vec![Some(3), Some(3), None, Some(64)],
            got: vec![3, 3, 3, 32],
            hint: None,
        }
        .in_layer("vgg16/block1_conv1", "Conv2D")
        .in_file("model.h5");
        assert_eq!(
            e.to_string(),
            "model.h5: layer `vgg16/block1_conv1` (Conv2D): weight `kernel` has shape [3, 3, 3, 32], expected [3, 3, ?, 64]"
        );

        let e = FormatError::UnsupportedClass {
            place: Box::default(),
            class: "Lambda".into(),
            why: "which holds Python code and cannot be loaded".into(),
            hint: None,
        }
        .in_layer("lambda_2", "Lambda")
        .in_file("model.h5")
        .with_hint("replace it by a standard layer, or by arithmetic like `x / 127.5 - 1`, before saving");
        assert_eq!(
            e.to_string(),
            "model.h5: layer `lambda_2` has class `Lambda`, which holds Python code and cannot be loaded"
        );
        assert_eq!(
            e.hint(),
            Some("replace it by a standard layer, or by arithmetic like `x / 127.5 - 1`, before saving")
        );
    }

    #[test]
    fn the_deepest_place_wins() {
        let e = FormatError::malformed("bad").in_layer("a/b", "Dense").in_layer("a", "Functional");
        assert_eq!(e.to_string(), "layer `a/b` (Dense): bad");
    }
}
