//! What each class of layer becomes: one list, one builder for each line.
//!
//! A builder copies attributes into an operator and adds it; it computes no shapes. An attribute with a meaning that is
//! not implemented is an error; [`Attrs::finish`] refuses those that a builder did not read.

mod activation;
mod arithmetic;
mod convolution;
mod merge;
mod normalization;
mod pooling;
mod preprocessing;
mod shaping;
mod slicing;

use binesh_core::ops::Identity;
use binesh_core::{LayerId, NodeId, Op};

use super::attributes::Attrs;
use super::config::{Call, LayerConfig};
use super::mapper::{Mapper, ParamSpec, Role};
use crate::error::FormatError;

pub(super) use preprocessing::{bilinear, nearest};

/// Adds the nodes of one use of a layer; gives the one that is its output.
type Build = fn(&mut LayerCx<'_>) -> Result<NodeId, FormatError>;

/// Every class that can be loaded, under its name in Keras 2 and 3. [`super::keras1`] renames those of Keras 1.
const CLASSES: &[(&str, Build)] = &[
    ("Activation", activation::activation),
    ("ActivityRegularization", identity),
    ("Add", merge::add),
    ("AlphaDropout", identity),
    ("AveragePooling2D", pooling::average),
    ("Average", merge::average),
    ("BatchNormalization", normalization::batch),
    ("CenterCrop", preprocessing::center_crop),
    ("CustomScaleLayer", merge::scaled_residual),
    ("Concatenate", merge::concatenate),
    ("Conv2D", convolution::conv2d),
    ("Conv2DTranspose", convolution::transpose),
    ("Cropping2D", shaping::cropping),
    ("Dense", convolution::dense),
    ("DepthwiseConv2D", convolution::depthwise),
    ("Dropout", dropout),
    ("ELU", activation::layer),
    ("Flatten", shaping::flatten),
    ("GELU", activation::layer),
    ("GaussianDropout", identity),
    ("GaussianNoise", identity),
    ("GlobalAveragePooling2D", pooling::global_average),
    ("GlobalMaxPooling2D", pooling::global_max),
    ("Identity", identity),
    ("Lambda", lambda),
    ("LayerNormalization", normalization::layer),
    ("LayerScale", normalization::layer_scale),
    ("LeakyReLU", activation::layer),
    ("MaxPooling2D", pooling::max),
    ("Maximum", merge::maximum),
    ("Minimum", merge::minimum),
    ("Multiply", merge::multiply),
    ("Normalization", preprocessing::normalization),
    ("PReLU", activation::prelu),
    ("Permute", shaping::permute),
    ("ReLU", activation::layer),
    ("RandomCrop", preprocessing::random_crop),
    ("Rescaling", preprocessing::rescaling),
    ("Reshape", shaping::reshape),
    ("Resizing", preprocessing::resizing),
    ("SeparableConv2D", convolution::separable),
    ("SlicingOpLambda", arithmetic::tf_op),
    ("Softmax", activation::layer),
    ("SpatialDropout2D", identity),
    ("StochasticDepth", identity),
    ("Subtract", merge::subtract),
    ("SyncBatchNormalization", normalization::batch),
    ("TFOpLambda", arithmetic::tf_op),
    ("TensorFlowOpLayer", arithmetic::tf_graph_op),
    ("ThresholdedReLU", activation::layer),
    ("UpSampling2D", shaping::up_sampling),
    ("ZeroPadding2D", shaping::zero_padding),
];

/// Layers that change pictures at random while training, and nothing otherwise.
const AUGMENTATIONS: &[&str] = &[
    "AugMix",
    "CutMix",
    "MixUp",
    "RandAugment",
    "RandomBrightness",
    "RandomColorDegeneration",
    "RandomColorJitter",
    "RandomContrast",
    "RandomElasticTransform",
    "RandomErasing",
    "RandomFlip",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHeight",
    "RandomHue",
    "RandomInvert",
    "RandomPerspective",
    "RandomPosterization",
    "RandomRotation",
    "RandomSaturation",
    "RandomSharpness",
    "RandomShear",
    "RandomTranslation",
    "RandomWidth",
    "RandomZoom",
];

/// Builds one use of a layer.
pub(super) fn build(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let class = known_name(&cx.layer.class);
    if cx.layer.operation {
        return arithmetic::keras_op(cx);
    }
    if AUGMENTATIONS.contains(&class) {
        return identity(cx);
    }
    match CLASSES.iter().find(|(name, _)| *name == class) {
        Some((_, build)) => build(cx),
        None => Err(unknown(cx)),
    }
}

/// The class under its name in the list. One registered under a package (`mypkg>ReLU`) is somebody's own, whatever its
/// name, but for those that `keras.applications` registers.
fn known_name(class: &str) -> &str {
    match class.split_once('>') {
        Some((_, name @ ("CustomScaleLayer" | "LayerScale" | "StochasticDepth"))) => name,
        _ => class,
    }
}

/// One use of a layer, while it is being built.
pub(super) struct LayerCx<'a> {
    pub(super) mapper: &'a mut Mapper,
    pub(super) layer: &'a LayerConfig,
    pub(super) call: &'a Call,
    pub(super) attrs: &'a Attrs<'a>,
    /// The layer's path, which begins the names of its weights.
    pub(super) path: &'a str,
    /// The name of the output's node.
    pub(super) node: String,
    pub(super) row: LayerId,
    /// Every tensor of the call, in order.
    pub(super) inputs: &'a [NodeId],
}

impl LayerCx<'_> {
    /// The only input, in whatever layout it is held.
    fn input(&self) -> Result<NodeId, FormatError> {
        match self.inputs {
            [one] => Ok(*one),
            many => Err(FormatError::malformed(format!("takes one input but {} are connected", many.len()))),
        }
    }

    /// The only input, in the file's own layout.
    fn plain_input(&mut self) -> Result<NodeId, FormatError> {
        let x = self.input()?;
        self.mapper.plain(x)
    }

    /// The only input as `[N, H, W, C]`, whichever layout `data_format` says, and whether it said channels first.
    fn image_input(&mut self) -> Result<Image, FormatError> {
        let x = self.input()?;
        // Some layers of Keras 1 do not say: they go on with what they get.
        let channels_first = match self.attrs.str("data_format", "")? {
            "channels_first" => true,
            "channels_last" => false,
            "" => self.mapper.is_channels_first(x),
            _ => return Err(self.attrs.refuse("data_format")),
        };
        if self.mapper.graph.dims(x).len() != 4 {
            let dims = self.mapper.graph.dims(x).len();
            return Err(FormatError::malformed(format!(
                "takes a picture of 4 axes but its input has {dims}"
            )));
        }
        let x = if channels_first { self.mapper.channels_last(x)? } else { self.mapper.plain(x)? };
        Ok(Image { x, channels_first })
    }

    /// Marks a picture computed from `image` as being in its layout.
    fn image_output(&mut self, image: Image, y: NodeId) -> NodeId {
        if image.channels_first {
            self.mapper.mark_channels_first(y);
        }
        y
    }

    fn dims(&self, id: NodeId) -> Vec<Option<usize>> {
        self.mapper.graph.dims(id)
    }

    /// Extent of the last axis.
    fn channels(&self, id: NodeId) -> Result<usize, FormatError> {
        self.dims(id).last().copied().flatten().ok_or_else(|| {
            FormatError::unsupported("the number of its input's features depends on the size of the picture")
                .with_hint("give the input's shape")
        })
    }

    /// Adds the output's node.
    fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, FormatError> {
        let name = self.node.clone();
        self.mapper.add(&name, op, inputs)
    }

    /// Adds a node on the way to the output.
    fn part(&mut self, part: &str, op: impl Into<Op>, inputs: &[NodeId]) -> Result<NodeId, FormatError> {
        let name = format!("{}/{part}", self.node);
        self.mapper.add(&name, op, inputs)
    }

    /// A node that works on each value alone: its output has the layout of its input.
    fn elementwise(&mut self, op: impl Into<Op>) -> Result<NodeId, FormatError> {
        let x = self.input()?;
        let y = self.add(op, &[x])?;
        if self.mapper.is_channels_first(x) {
            self.mapper.mark_channels_first(y);
        }
        Ok(y)
    }

    /// A weight that learns.
    fn weight(&mut self, name: &'static str, shape: &[usize]) -> Result<NodeId, FormatError> {
        self.param(name, shape, true, Role::Plain)
    }

    /// A weight that is measured, not learnt.
    fn statistic(&mut self, name: &'static str, shape: &[usize]) -> Result<NodeId, FormatError> {
        self.param(name, shape, false, Role::Plain)
    }

    fn param(
        &mut self,
        name: &'static str,
        shape: &[usize],
        trainable: bool,
        role: Role,
    ) -> Result<NodeId, FormatError> {
        self.mapper.param(ParamSpec {
            row: self.row,
            path: self.path,
            name,
            shape,
            stored: None,
            trainable,
            role,
        })
    }

    /// A weight that the file holds in another shape.
    fn param_stored_as(
        &mut self,
        name: &'static str,
        shape: &[usize],
        stored: &[usize],
        (trainable, role): (bool, Role),
    ) -> Result<NodeId, FormatError> {
        let stored = Some(stored);
        self.mapper.param(ParamSpec { row: self.row, path: self.path, name, shape, stored, trainable, role })
    }
}

/// A picture in `[N, H, W, C]`.
#[derive(Clone, Copy)]
struct Image {
    x: NodeId,
    /// The file means it as `[N, C, H, W]`.
    channels_first: bool,
}

/// Does nothing when a network is used, whatever its attributes.
fn identity(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    cx.attrs.ignore_all();
    cx.elementwise(Identity)
}

/// Keras `Dropout`.
fn dropout(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    let rate = cx.attrs.f32("rate", 0.5)?;
    if !(0.0..=1.0).contains(&rate) {
        return Err(cx.attrs.refuse("rate"));
    }
    if cx.attrs.get("noise_shape").is_some() {
        // A shared mask: nothing when the network is used, another thing while training.
        return cx.elementwise(Identity);
    }
    cx.elementwise(binesh_core::ops::Dropout { rate })
}

fn lambda(cx: &mut LayerCx<'_>) -> Result<NodeId, FormatError> {
    Err(FormatError::UnsupportedClass {
        place: Box::default(),
        class: cx.layer.class.clone(),
        why: "which holds Python code and cannot be loaded".to_owned(),
        hint: Some(
            "replace it by a standard layer, or by arithmetic like `x / 127.5 - 1`, before saving".to_owned(),
        ),
    })
}

fn unknown(cx: &LayerCx<'_>) -> FormatError {
    let name = cx.layer.class.as_str();
    let known = CLASSES.iter().map(|(class, _)| *class);
    let near = known.filter(|class| class.eq_ignore_ascii_case(name)).collect::<Vec<_>>();
    FormatError::UnsupportedClass {
        place: Box::default(),
        class: name.to_owned(),
        why: "which is not supported".to_owned(),
        hint: near.first().map(|class| format!("`{class}` is")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/formats.md` names every class that can be loaded.
    #[test]
    fn documented() {
        let page = include_str!("../../../../docs/formats.md");
        for (class, _) in CLASSES {
            assert!(page.contains(&format!("`{class}`")), "docs/formats.md does not name `{class}`");
        }
    }
}
