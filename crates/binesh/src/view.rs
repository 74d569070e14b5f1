//! Looking inside. Views return data; `render` makes pixels. A heatmap method is one file here and one line in
//! [`METHODS`], from which the program's options and the documentation derive.

mod activations;
pub mod depth;
mod excite;
pub mod filters;
mod grad_cam;
mod photos;
mod probe;
mod receptive;

use crate::error::Error;
use crate::image::Picture;
use crate::model::Model;

pub use activations::{LayerActivation, activations, map_layers};
pub use excite::{Excited, excite, patch};
pub use photos::PhotosDone;
pub use probe::{Probe, Spot};
pub use receptive::{Field, receptive_field};

/// A way to make a heatmap of a class over a picture.
pub struct Method {
    /// As typed: `grad-cam`.
    pub name: &'static str,
    /// As printed: `Grad-CAM`.
    pub title: &'static str,
    /// What it shows, in a line.
    pub summary: &'static str,
    /// One map per picture, `[H, W]` of the layer, before scaling.
    pub run: fn(&mut Probe<'_>, &[Picture]) -> Result<Vec<RawMap>, Error>,
}

/// All heatmap methods.
pub const METHODS: &[Method] = &[grad_cam::METHOD];

/// A method's result for one picture, in units of the score.
#[derive(Clone, Debug, PartialEq)]
pub struct RawMap {
    /// `[H, W]` of the layer, before negative values are dropped.
    pub values: Vec<f32>,
    /// What was explained.
    pub spot: Spot,
    /// No value of the gradient differs from zero.
    pub zero_gradient: bool,
}

/// What to explain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Each picture's most probable class.
    #[default]
    Top,
    /// This class.
    Class(usize),
}

/// Which number of a class is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Score {
    /// The value before softmax or sigmoid, as the papers have it: another class cannot explain it away.
    #[default]
    Logit,
    /// The network's own output, as the book has it: after softmax or sigmoid where there is one, and then its gradient
    /// vanishes where the network is sure.
    Probability,
}

/// A heatmap over one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Heatmap {
    /// `[height, width]`, 0 to 1, rows from the top; all zero when blank.
    pub values: Vec<f32>,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// The class explained.
    pub class: usize,
    /// Its probability.
    pub probability: f32,
    /// The largest value before scaling, in units of the score; its share of the score's own size says how much
    /// evidence there is.
    pub peak: f32,
    /// Why there is nothing to see, if so.
    pub blank: Option<Blank>,
}

/// Why a heatmap is blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blank {
    /// A value is not a number.
    NotFinite,
    /// The score does not change with the layer: softmax or sigmoid is saturated, or nothing leads there.
    ZeroGradient,
    /// Nothing at the layer speaks for the class, something may speak against it.
    NothingPositive,
}

impl Blank {
    /// In words.
    pub fn reason(self) -> &'static str {
        match self {
            Blank::NotFinite => {
                "the map holds values that are not numbers: the weights or the picture are damaged"
            }
            Blank::ZeroGradient => {
                "the gradient is zero: the score does not depend on this layer, or what lies between is saturated"
            }
            Blank::NothingPositive => "nothing at this layer supports the class; all of the map is negative",
        }
    }
}

impl RawMap {
    /// Keeps what supports the class and scales to 0..=1.
    fn finish(self, [height, width]: [usize; 2]) -> Heatmap {
        let Spot { class, probability, .. } = self.spot;
        let finite = self.values.iter().all(|v| v.is_finite());
        let peak = self.values.iter().copied().fold(0.0, f32::max);
        let blank = match () {
            () if !finite => Some(Blank::NotFinite),
            () if self.zero_gradient => Some(Blank::ZeroGradient),
            () if peak <= 0.0 => Some(Blank::NothingPositive),
            () => None,
        };
        let scaled = |v: &f32| if blank.is_some() { 0.0 } else { v.max(0.0) / peak };
        Heatmap {
            values: self.values.iter().map(scaled).collect(),
            height,
            width,
            class,
            probability,
            peak,
            blank,
        }
    }
}

/// Heatmaps of pictures, each as it would be alone.
pub fn heatmaps(method: &Method, probe: &mut Probe<'_>, pictures: &[Picture]) -> Result<Vec<Heatmap>, Error> {
    let size = probe.map_size();
    Ok((method.run)(probe, pictures)?.into_iter().map(|map| map.finish(size)).collect())
}

/// The layer a heatmap is made at when none is named: the last map larger than 1x1 on the way to the scores that some
/// convolution, or what follows it, has made; pooling, padding and the like after it only lose detail.
pub fn default_layer(model: &Model) -> Result<binesh_core::NodeId, Error> {
    probe::default_layer(model)
}
