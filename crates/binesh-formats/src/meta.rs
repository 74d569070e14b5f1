//! What a network file cannot say in layers: how a photo becomes its input, and what its outputs are called.
//!
//! [`Meta`] travels with the model, so nobody is ever asked for the preprocessing. These are plain data types;
//! the arithmetic behind them is in `binesh::image`, which is also where it is tested against PIL, TensorFlow
//! and Keras.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::FormatError;

/// Facts that belong to a model but are not part of its graph.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// How a photo becomes the network's input. `None`: the file does not say and the model is not a known one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocess: Option<Preprocess>,
    /// Class names, in the order of the outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
}

impl Meta {
    /// The key under which it stands in a file's own metadata.
    pub const KEY: &str = "binesh";

    /// As it stands in a file.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value, FormatError> {
        serde_json::to_value(self).map_err(|e| FormatError::unsupported(e.to_string()))
    }

    /// What stands in a file, checked; `place` says where for messages.
    pub(crate) fn from_json(json: &serde_json::Value, place: &str) -> Result<Meta, FormatError> {
        let broken = |e: &dyn fmt::Display| FormatError::malformed(format!("{place}, `{}`: {e}", Meta::KEY));
        let meta = Meta::deserialize(json).map_err(|e| broken(&e))?;
        if let Some(preprocess) = &meta.preprocess {
            preprocess.check().map_err(|e| broken(&e))?;
        }
        Ok(meta)
    }

    /// The same of a text.
    pub(crate) fn from_text(text: &str, place: &str) -> Result<Meta, FormatError> {
        let broken = |e| FormatError::malformed(format!("{place}, `{}`: {e}", Meta::KEY));
        Meta::from_json(&serde_json::from_str(text).map_err(broken)?, place)
    }
}

/// From a photo to `[N, H, W, C]`: geometry first (fit, size, interpolation), then values (color, scaling).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Height and width of the input, in pixels.
    pub size: [usize; 2],
    /// The resampling filter.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// What happens to a photo whose proportions differ from `size`.
    #[serde(default)]
    pub fit: Fit,
    /// Channels and their order.
    #[serde(default)]
    pub color: Color,
    /// Arithmetic on the values 0..=255.
    #[serde(default)]
    pub scaling: Scaling,
}

/// How a photo is brought to the wanted proportions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fit {
    /// Resize both sides independently, as Keras `load_img(target_size=...)` does.
    #[default]
    Stretch,
    /// Cut the largest centered window with the wanted proportions, then resize: Keras `keep_aspect_ratio`,
    /// `crop_to_aspect_ratio` and `smart_resize`.
    CropToAspect,
    /// As [`Fit::CropToAspect`], but the window is cut out before it is resized, so that the filter sees
    /// nothing outside: PIL `crop`, then `resize`.
    CutToAspect,
    /// Resize so that the photo covers `size / ratio`, then cut the center: torchvision `Resize` +
    /// `CenterCrop`, timm `crop_pct`.
    CenterCrop {
        /// Share of the resized side that is kept, in `(0, 1]`: 0.875 is 224 of 256.
        ratio: f64,
    },
    /// Cut a centered square of `ratio` times the shorter side, then resize: TensorFlow's EfficientNet,
    /// where the ratio is `224 / (224 + 32)`.
    CropThenResize {
        /// Share of the shorter side that is kept, in `(0, 1]`.
        ratio: f64,
    },
}

/// Resampling filters. The plain names are PIL's (antialiased when shrinking, 8-bit results), the `tf_` ones
/// are `tf.image.resize`'s (half-pixel centers, float results). The two families give different pixels for the
/// same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Interpolation {
    /// PIL `NEAREST`: Keras `load_img`'s default, and the book's.
    Nearest,
    /// PIL `BOX`.
    Box,
    /// PIL `BILINEAR`.
    #[default]
    Bilinear,
    /// PIL `HAMMING`.
    Hamming,
    /// PIL `BICUBIC` (Keys, a = -0.5).
    Bicubic,
    /// PIL `LANCZOS` (three lobes).
    Lanczos,
    /// `tf.image.resize(method='nearest')`.
    TfNearest,
    /// `tf.image.resize(method='bilinear')`: Keras `image_dataset_from_directory`'s default.
    TfBilinear,
    /// `tf.image.resize(method='bilinear', antialias=True)`.
    TfBilinearAntialias,
    /// `tf.image.resize(method='bicubic')`.
    TfBicubic,
    /// `tf.image.resize(method='bicubic', antialias=True)`.
    TfBicubicAntialias,
}

/// The network's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Color {
    /// Three channels: red, green, blue.
    #[default]
    Rgb,
    /// Three channels: blue, green, red. Not to be combined with [`Scaling::Caffe`], which swaps by itself.
    Bgr,
    /// One channel, luma as PIL's `convert('L')`.
    Gray,
}

/// What happens to the values 0..=255. `Caffe`, `Tf` and `Torch` are the modes of Keras
/// `imagenet_utils.preprocess_input`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scaling {
    /// Values stay 0..=255; the network scales inside, or wants them so.
    #[default]
    None,
    /// `x / 255`.
    Unit,
    /// RGB to BGR, then minus the ImageNet mean `[103.939, 116.779, 123.68]`; no division.
    Caffe,
    /// `x / 127.5 - 1`.
    Tf,
    /// `x / 255`, minus `[0.485, 0.456, 0.406]`, divided by `[0.229, 0.224, 0.225]`.
    Torch,
    /// `(x - mean) / std` in units of 0..=255; one value, or one per channel.
    MeanStd {
        /// Subtracted first.
        mean: Vec<f32>,
        /// Divided by afterwards; never zero.
        std: Vec<f32>,
    },
}

/// A [`Preprocess`] that contradicts itself.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// A side of the input is zero or beyond any network.
    #[error("preprocessing: input size {h} x {w} is not between 1 and {max}", max = Preprocess::MAX_SIDE)]
    Size {
        /// Height.
        h: usize,
        /// Width.
        w: usize,
    },
    /// A crop ratio outside `(0, 1]`.
    #[error("preprocessing: crop ratio {0} is not between 0 and 1")]
    Ratio(f64),
    /// A scaling mode that does not go with the channels.
    #[error("preprocessing: scaling `{scaling}` does not go with {color} input")]
    ScalingColor {
        /// The mode, as displayed.
        scaling: String,
        /// The channels, as displayed.
        color: Color,
    },
    /// Lists of the wrong length, a zero or a value that is not finite.
    #[error("preprocessing: mean and std need 1 or {channels} finite values, and std none that is zero")]
    MeanStd {
        /// Number of channels.
        channels: usize,
    },
}

impl Preprocess {
    /// Largest side [`Preprocess::check`] accepts; the widest published network takes 800.
    pub const MAX_SIDE: usize = 16_384;

    /// Stretched to `h` x `w`, RGB, PIL bilinear, with this scaling.
    pub fn new(h: usize, w: usize, scaling: Scaling) -> Self {
        Preprocess {
            size: [h, w],
            interpolation: Interpolation::default(),
            fit: Fit::default(),
            color: Color::default(),
            scaling,
        }
    }

    /// The chapter's own recipe: `load_img(target_size=(h, w))` (nearest), then `/ 255`.
    pub fn book(h: usize, w: usize) -> Self {
        Preprocess { interpolation: Interpolation::Nearest, ..Preprocess::new(h, w, Scaling::Unit) }
    }

    /// Number of channels of the input.
    pub fn channels(&self) -> usize {
        self.color.channels()
    }

    /// Checks what a file may have got wrong, so that the arithmetic need not.
    pub fn check(&self) -> Result<(), PreprocessError> {
        let [h, w] = self.size;
        if !(1..=Self::MAX_SIDE).contains(&h) || !(1..=Self::MAX_SIDE).contains(&w) {
            return Err(PreprocessError::Size { h, w });
        }
        if let Fit::CenterCrop { ratio } | Fit::CropThenResize { ratio } = self.fit
            && !(ratio > 0.0 && ratio <= 1.0)
        {
            return Err(PreprocessError::Ratio(ratio));
        }
        let channels = self.channels();
        let fits = match &self.scaling {
            Scaling::None | Scaling::Unit | Scaling::Tf => true,
            Scaling::Caffe => self.color == Color::Rgb,
            Scaling::Torch => channels == 3,
            Scaling::MeanStd { mean, std } => {
                let length = |v: &[f32]| v.len() == 1 || v.len() == channels;
                let values =
                    mean.iter().all(|m| m.is_finite()) && std.iter().all(|s| s.is_finite() && *s != 0.0);
                if !(length(mean) && length(std) && values) {
                    return Err(PreprocessError::MeanStd { channels });
                }
                true
            }
        };
        if fits {
            Ok(())
        } else {
            Err(PreprocessError::ScalingColor { scaling: self.scaling.to_string(), color: self.color })
        }
    }
}

impl Color {
    /// 3, or 1 for gray.
    pub fn channels(self) -> usize {
        match self {
            Color::Rgb | Color::Bgr => 3,
            Color::Gray => 1,
        }
    }
}

/// The line `summary` prints: `224 x 224 RGB, bicubic, center crop 0.875, (x - 127) / 128`.
impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [h, w] = self.size;
        write!(f, "{h} x {w} {}, {}", self.color, self.interpolation)?;
        match self.fit {
            Fit::Stretch => {}
            fit => write!(f, ", {fit}")?,
        }
        write!(f, ", {}", self.scaling)
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fit::Stretch => f.write_str("stretched"),
            Fit::CropToAspect | Fit::CutToAspect => f.write_str("cropped to proportions"),
            Fit::CenterCrop { ratio } => write!(f, "center crop {ratio}"),
            Fit::CropThenResize { ratio } => write!(f, "square crop {ratio} before resizing"),
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Interpolation::Nearest => "nearest",
            Interpolation::Box => "box",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Hamming => "hamming",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Lanczos => "lanczos",
            Interpolation::TfNearest => "tf nearest",
            Interpolation::TfBilinear => "tf bilinear",
            Interpolation::TfBilinearAntialias => "tf bilinear antialiased",
            Interpolation::TfBicubic => "tf bicubic",
            Interpolation::TfBicubicAntialias => "tf bicubic antialiased",
        })
    }
}

impl fmt::Display for Color {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Color::Rgb => "RGB",
            Color::Bgr => "BGR",
            Color::Gray => "gray",
        })
    }
}

impl fmt::Display for Scaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scaling::None => f.write_str("x"),
            Scaling::Unit => f.write_str("x / 255"),
            Scaling::Caffe => f.write_str("BGR, x - [103.939, 116.779, 123.68]"),
            Scaling::Tf => f.write_str("x / 127.5 - 1"),
            Scaling::Torch => f.write_str("(x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]"),
            Scaling::MeanStd { mean, std } => write!(f, "(x - {}) / {}", Values(mean), Values(std)),
        }
    }
}

/// One number when all are equal, a bracketed list otherwise.
struct Values<'a>(&'a [f32]);

impl fmt::Display for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [first, rest @ ..] if rest.iter().all(|v| v == first) => write!(f, "{first}"),
            values => f.debug_list().entries(values).finish(),
        }
    }
}

/// A family of `keras.applications`, and what its `preprocess_input` does.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Name of the Keras function: `ResNet50V2`.
    pub name: &'static str,
    /// Input side of the published weights.
    pub size: usize,
    /// Smallest side Keras accepts without the top.
    pub min_size: usize,
    /// Its `preprocess_input`.
    pub scaling: Scaling,
}

impl Application {
    /// Stretched to the published size, antialiased. Keras fixes only the values; the geometry is the caller's
    /// there.
    pub fn preprocess(&self) -> Preprocess {
        Preprocess::new(self.size, self.size, self.scaling.clone())
    }

    /// The application a model is, by the name Keras gives the model: `vgg16`, `mobilenetv2_1.00_224`,
    /// `efficientnetv2-b0`, `inception_v3`.
    ///
    /// Case, `_` and `-` do not matter; a MobileNet's width and size follow its name. Keras 2 names
    /// both NASNets `NASNet`, which says too little to be recognized.
    pub fn find(model_name: &str) -> Option<&'static Application> {
        let plain =
            |s: &str| s.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let name = match model_name.to_ascii_lowercase() {
            n if n.starts_with("mobilenet") => {
                plain(n.split_once('_').map_or(n.as_str(), |(family, _)| family))
            }
            n => plain(&n),
        };
        APPLICATIONS.iter().find(|a| plain(a.name) == name)
    }
}

/// `keras.applications`, from `imagenet_utils.py` and each family's file: mode, size of the published weights,
/// smallest size.
pub static APPLICATIONS: &[Application] = &[
    app("VGG16", 224, 32, Scaling::Caffe),
    app("VGG19", 224, 32, Scaling::Caffe),
    app("ResNet50", 224, 32, Scaling::Caffe),
    app("ResNet101", 224, 32, Scaling::Caffe),
    app("ResNet152", 224, 32, Scaling::Caffe),
    app("ResNet50V2", 224, 32, Scaling::Tf),
    app("ResNet101V2", 224, 32, Scaling::Tf),
    app("ResNet152V2", 224, 32, Scaling::Tf),
    app("DenseNet121", 224, 32, Scaling::Torch),
    app("DenseNet169", 224, 32, Scaling::Torch),
    app("DenseNet201", 224, 32, Scaling::Torch),
    app("InceptionV3", 299, 75, Scaling::Tf),
    app("InceptionResNetV2", 299, 75, Scaling::Tf),
    app("Xception", 299, 71, Scaling::Tf),
    app("MobileNet", 224, 32, Scaling::Tf),
    app("MobileNetV2", 224, 32, Scaling::Tf),
    app("NASNetMobile", 224, 32, Scaling::Tf),
    app("NASNetLarge", 331, 32, Scaling::Tf),
    app("MobileNetV3Small", 224, 32, Scaling::None),
    app("MobileNetV3Large", 224, 32, Scaling::None),
    app("EfficientNetB0", 224, 32, Scaling::None),
    app("EfficientNetB1", 240, 32, Scaling::None),
    app("EfficientNetB2", 260, 32, Scaling::None),
    app("EfficientNetB3", 300, 32, Scaling::None),
    app("EfficientNetB4", 380, 32, Scaling::None),
    app("EfficientNetB5", 456, 32, Scaling::None),
    app("EfficientNetB6", 528, 32, Scaling::None),
    app("EfficientNetB7", 600, 32, Scaling::None),
    app("EfficientNetV2B0", 224, 32, Scaling::None),
    app("EfficientNetV2B1", 240, 32, Scaling::None),
    app("EfficientNetV2B2", 260, 32, Scaling::None),
    app("EfficientNetV2B3", 300, 32, Scaling::None),
    app("EfficientNetV2S", 384, 32, Scaling::None),
    app("EfficientNetV2M", 480, 32, Scaling::None),
    app("EfficientNetV2L", 480, 32, Scaling::None),
    app("ConvNeXtTiny", 224, 32, Scaling::None),
    app("ConvNeXtSmall", 224, 32, Scaling::None),
    app("ConvNeXtBase", 224, 32, Scaling::None),
    app("ConvNeXtLarge", 224, 32, Scaling::None),
    app("ConvNeXtXLarge", 224, 32, Scaling::None),
];

const fn app(name: &'static str, size: usize, min_size: usize, scaling: Scaling) -> Application {
    Application { name, size, min_size, scaling }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `summary` prints it, and back from JSON unchanged.
    #[track_caller]
    fn check(preprocess: Preprocess, line: &str) {
        assert_eq!(preprocess.to_string(), line);
        preprocess.check().unwrap();
        let meta = Meta { preprocess: Some(preprocess), labels: Some(vec!["cat".into(), "dog".into()]) };
        let json = serde_json::to_string(&meta).unwrap();
        assert_eq!(serde_json::from_str::<Meta>(&json).unwrap(), meta, "{json}");
    }

    #[test]
    fn shown_and_kept() {
        check(Preprocess::book(150, 150), "150 x 150 RGB, nearest, x / 255");
        check(
            Preprocess::new(224, 192, Scaling::Caffe),
            "224 x 192 RGB, bilinear, BGR, x - [103.939, 116.779, 123.68]",
        );
        check(
            Preprocess {
                interpolation: Interpolation::Bicubic,
                fit: Fit::CenterCrop { ratio: 0.875 },
                ..Preprocess::new(224, 224, Scaling::MeanStd { mean: vec![127.0; 3], std: vec![128.0; 3] })
            },
            "224 x 224 RGB, bicubic, center crop 0.875, (x - 127) / 128",
        );
        check(
            Preprocess {
                color: Color::Gray,
                interpolation: Interpolation::TfBilinearAntialias,
                fit: Fit::CropToAspect,
                ..Preprocess::new(28, 28, Scaling::Tf)
            },
            "28 x 28 gray, tf bilinear antialiased, cropped to proportions, x / 127.5 - 1",
        );
        check(
            Preprocess {
                color: Color::Bgr,
                ..Preprocess::new(9, 9, Scaling::MeanStd { mean: vec![1.0, 2.5, 3.0], std: vec![1.0] })
            },
            "9 x 9 BGR, bilinear, (x - [1.0, 2.5, 3.0]) / 1",
        );
    }

    #[test]
    fn json_spelling_is_fixed() {
        let p = Preprocess {
            fit: Fit::CropThenResize { ratio: 0.5 },
            interpolation: Interpolation::TfBicubic,
            ..Preprocess::new(1, 2, Scaling::MeanStd { mean: vec![0.5], std: vec![2.0] })
        };
        assert_eq!(
            serde_json::to_string(&p).unwrap(),
            r#"{"size":[1,2],"interpolation":"tf_bicubic","fit":{"crop_then_resize":{"ratio":0.5}},"color":"rgb","scaling":{"mean_std":{"mean":[0.5],"std":[2.0]}}}"#
        );
        let short: Preprocess = serde_json::from_str(r#"{"size":[224,224],"scaling":"caffe"}"#).unwrap();
        assert_eq!(short, Preprocess::new(224, 224, Scaling::Caffe));
        assert_eq!(serde_json::from_str::<Meta>("{}").unwrap(), Meta::default());
    }

    #[track_caller]
    fn rejects(preprocess: Preprocess, message: &str) {
        assert_eq!(preprocess.check().unwrap_err().to_string(), message);
    }

    #[test]
    fn contradictions() {
        let p = || Preprocess::new(8, 8, Scaling::None);
        rejects(
            Preprocess { size: [0, 8], ..p() },
            "preprocessing: input size 0 x 8 is not between 1 and 16384",
        );
        rejects(
            Preprocess { fit: Fit::CenterCrop { ratio: f64::NAN }, ..p() },
            "preprocessing: crop ratio NaN is not between 0 and 1",
        );
        rejects(
            Preprocess { scaling: Scaling::Caffe, color: Color::Gray, ..p() },
            "preprocessing: scaling `BGR, x - [103.939, 116.779, 123.68]` does not go with gray input",
        );
        let std = |std| Preprocess { scaling: Scaling::MeanStd { mean: vec![0.0], std }, ..p() };
        rejects(
            std(vec![0.0]),
            "preprocessing: mean and std need 1 or 3 finite values, and std none that is zero",
        );
        rejects(
            std(vec![1.0, 1.0]),
            "preprocessing: mean and std need 1 or 3 finite values, and std none that is zero",
        );
    }

    #[test]
    fn applications_by_the_names_keras_gives_their_models() {
        for (model, name) in [
            ("vgg16", "VGG16"),
            ("resnet50", "ResNet50"),
            ("resnet152v2", "ResNet152V2"),
            ("densenet121", "DenseNet121"),
            ("inception_v3", "InceptionV3"),
            ("inception_resnet_v2", "InceptionResNetV2"),
            ("xception", "Xception"),
            ("mobilenet_1.00_224", "MobileNet"),
            ("mobilenetv2_0.35_96", "MobileNetV2"),
            ("MobileNetV3Small", "MobileNetV3Small"),
            ("MobilenetV3large", "MobileNetV3Large"),
            ("nasnet_mobile", "NASNetMobile"),
            ("efficientnetb7", "EfficientNetB7"),
            ("efficientnetv2-b0", "EfficientNetV2B0"),
            ("convnext_tiny", "ConvNeXtTiny"),
        ] {
            assert_eq!(Application::find(model).map(|a| a.name), Some(name), "{model}");
        }
        assert_eq!(Application::find("sequential_1"), None);
        assert_eq!(Application::find("NASNet"), None);
        assert_eq!(
            Application::find("vgg16").unwrap().preprocess(),
            Preprocess::new(224, 224, Scaling::Caffe)
        );
    }
}
