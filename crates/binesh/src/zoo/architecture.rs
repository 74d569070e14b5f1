//! What is known of an architecture besides its code.

use std::fmt;

use binesh_formats::meta::{Color, Fit, Interpolation, Preprocess, Scaling};

use crate::zoo::builder::{Builder, Value};
use crate::zoo::modules::Made;
use crate::zoo::names::Names;

/// Whose names of tensors, whose preprocessing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// torchvision 0.29.
    Torchvision,
    /// timm 1.0.
    Timm,
    /// The package `efficientnet-lite-pytorch` 0.1.
    EfficientNetLitePytorch,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Torchvision => "torchvision",
            Source::Timm => "timm",
            Source::EfficientNetLitePytorch => "efficientnet-lite-pytorch",
        })
    }
}

/// Arithmetic on the values 0 to 255 of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Values {
    /// Minus ImageNet's mean, divided by its standard deviation.
    ImageNet,
    /// From -1 to 1.
    Signed,
}

/// A network by its name, and how its published weights want pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// As its source calls it: `resnet50`.
    pub name: &'static str,
    /// Who calls it so.
    pub source: Source,
    /// Rows and columns of the input.
    pub size: usize,
    /// The side to which a picture is resized before its center is cut out; `None` where the square is cut out first.
    pub resize: Option<usize>,
    /// The filter.
    pub interpolation: Interpolation,
    /// Arithmetic on the values.
    pub values: Values,
}

impl Architecture {
    pub(super) const fn torchvision(name: &'static str, size: usize, resize: usize) -> Architecture {
        Architecture {
            name,
            source: Source::Torchvision,
            size,
            resize: Some(resize),
            interpolation: Interpolation::Bilinear,
            values: Values::ImageNet,
        }
    }

    pub(super) const fn timm(name: &'static str, size: usize, resize: usize) -> Architecture {
        Architecture { source: Source::Timm, ..Architecture::torchvision(name, size, resize) }
    }

    pub(super) const fn bicubic(self) -> Architecture {
        Architecture { interpolation: Interpolation::Bicubic, ..self }
    }

    /// With values from -1 to 1.
    pub(super) const fn signed(self) -> Architecture {
        Architecture { values: Values::Signed, ..self }
    }

    /// How a picture becomes an input of this many rows and columns.
    pub fn preprocess(&self, size: [usize; 2]) -> Preprocess {
        let fit = match self.resize {
            Some(resize) if resize == self.size => Fit::CropToAspect,
            // Rounded down, so that the size over it, rounded down, is `resize` again.
            Some(resize) => Fit::CenterCrop { ratio: (self.size as f64 / resize as f64 * 1e4).floor() / 1e4 },
            None => Fit::CutToAspect,
        };
        let scaling = match self.values {
            Values::ImageNet => Scaling::Torch,
            Values::Signed => Scaling::Tf,
        };
        Preprocess { size, interpolation: self.interpolation, fit, color: Color::Rgb, scaling }
    }
}

/// Networks that one file of code builds: one file and one line in [`FAMILIES`](super::FAMILIES).
pub(super) struct Family {
    pub(super) architectures: &'static [Architecture],
    /// The names of this family that weights with these names and shapes may have: none, one, or several that differ in
    /// what no tensor says.
    pub(super) recognize: fn(&Names<'_>) -> Vec<(Source, String)>,
    /// Builds a network on its input, and returns its output.
    pub(super) build: fn(&mut Builder, &Architecture, Value) -> Made,
}
