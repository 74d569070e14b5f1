//! The report of a training run: one struct, of which `metrics.json` and `report.html` are two forms.
//!
//! Whatever was not done is left empty, and has then no place in the page: feature extraction has one stage and
//! nothing that moved.

mod data;
mod learning;
mod moved;
mod page;
mod quality;
mod timing;

use serde::Serialize;

use crate::train::{HistoryRow, LayerMoved, Metrics};

/// Everything there is to say about a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrainingReport {
    /// The heading: what is told apart, usually the folder's name.
    pub title: String,
    /// Facts under the heading, as name and value: when, with which version, seed, threads.
    pub facts: Vec<(String, String)>,
    /// The network.
    pub model: ModelFacts,
    /// The pictures.
    pub data: DataFacts,
    /// What was trained, one stage after the other.
    pub stages: Vec<Stage>,
    /// One row per epoch, of all stages.
    pub history: Vec<HistoryRow>,
    /// [`HistoryRow::epoch`] of the weights that were kept.
    pub best_epoch: Option<usize>,
    /// How good the result is.
    pub evaluation: Option<Evaluation>,
    /// Where unfreezing would help, by block.
    pub probe: Option<LinearProbe>,
    /// How far each layer went, by run: the staged one, and beside it one without warm-up, say. The page shows
    /// the first two.
    pub moved: Vec<MovedRun>,
    /// Where the time went.
    pub timing: Option<Timing>,
    /// How to get the same again.
    pub reproduce: Option<Reproduce>,
}

/// The network that was trained.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ModelFacts {
    /// The base: `MobileNetV2`, or the file's name.
    pub base: String,
    /// What was done with it: `feature extraction`, `fine-tuning`.
    pub method: String,
    /// The input's height, width and channels.
    pub input: [usize; 3],
    /// Number of weights.
    pub parameters: u64,
    /// Those that learned in the last stage.
    pub trainable: u64,
}

/// The pictures that were learned from.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DataFacts {
    /// Where they are.
    pub source: String,
    /// How they were split, in words: `stratified, seed 0`.
    pub split: String,
    /// By class, in the order of the classes.
    pub classes: Vec<ClassCounts>,
    /// Files that were left out.
    pub rejected: Vec<RejectedFile>,
    /// Pictures that are the same or nearly so.
    pub duplicates: Vec<DuplicateGroup>,
}

/// Pictures of a class in each part of the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClassCounts {
    /// The class.
    pub name: String,
    /// Learned from.
    pub train: usize,
    /// Watched while learning.
    pub validation: usize,
    /// Never seen while learning.
    pub test: usize,
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RejectedFile {
    /// The file, relative to the source.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// Files that show the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DuplicateGroup {
    /// The files, relative to the source.
    pub paths: Vec<String>,
    /// Equal to the byte; otherwise only to the eye.
    pub exact: bool,
    /// They are in different parts of the data, so that validation is easier than life.
    pub across_splits: bool,
}

/// A stage of training.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stage {
    /// As in [`HistoryRow::stage`].
    pub name: String,
    /// What happens in it, in a sentence.
    pub note: String,
    /// The table shown before it began.
    pub layers: Vec<StageLayer>,
}

/// A line of a stage's table: a layer, or several of one block.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct StageLayer {
    /// Path of the layer or name of the block.
    pub layer: String,
    /// Number of weights.
    pub parameters: u64,
    /// Those that learn in this stage.
    pub trainable: u64,
    /// Its learning rate at the start; absent when frozen.
    pub learning_rate: Option<f64>,
    /// `moving statistics` or `batch statistics`; absent when it normalises nothing.
    pub batch_norm: Option<String>,
}

/// The result, judged on pictures it did not learn from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Which pictures: `validation`, `test`.
    pub split: String,
    /// The figures; classes in the order of [`DataFacts::classes`].
    #[serde(flatten)]
    pub metrics: Metrics,
    /// These pictures also chose the epoch whose weights were kept: on others the result may be a little worse.
    pub chose_epoch: bool,
    /// The surest mistakes, surest first.
    pub mistakes: Vec<MistakePicture>,
}

/// A picture that was given the wrong class.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MistakePicture {
    /// The file, relative to the source.
    pub path: String,
    /// Number of the true class.
    pub truth: usize,
    /// Number of the most probable class.
    pub predicted: usize,
    /// Probability of the predicted class.
    pub confidence: f64,
    /// Probability of the true class.
    pub truth_probability: f64,
    /// The picture as PNG or JPEG, small: it is put into the page.
    #[serde(skip)]
    pub picture: Option<Vec<u8>>,
    /// The heatmap of the predicted class over the picture, likewise.
    #[serde(skip)]
    pub heatmap: Option<Vec<u8>>,
}

/// Linear classifiers on the features of each block, before anything was unfrozen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LinearProbe {
    /// The blocks, from the first to the last.
    pub blocks: Vec<ProbedBlock>,
    /// Name of the first block that was unfrozen.
    pub unfrozen_from: Option<String>,
    /// Why there, in a sentence.
    pub reason: String,
}

/// What the features of a block are worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProbedBlock {
    /// The block.
    pub block: String,
    /// Validation accuracy of a linear classifier on its pooled output, 0..=1.
    pub accuracy: f64,
}

/// How far the layers of one run went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MovedRun {
    /// The run: `staged`, `no warm-up`.
    pub name: String,
    /// Its validation accuracy, 0..=1.
    pub accuracy: Option<f64>,
    /// By layer, from the first to the last.
    pub layers: Vec<LayerMoved>,
}

/// Where the time went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timing {
    /// From start to end.
    pub total_seconds: f64,
    /// Parts of it, in order: reading, features, each stage, evaluation.
    pub parts: Vec<(String, f64)>,
    /// Share of the training time spent waiting for pictures, 0..=1.
    pub waiting_for_data: Option<f64>,
    /// Most memory in use, in bytes.
    pub peak_memory: Option<u64>,
    /// The cache of frozen activations.
    pub cache: Option<CacheFacts>,
}

/// What the cache of the frozen part's activations did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CacheFacts {
    /// Activations taken from it.
    pub hits: u64,
    /// Activations that had to be computed.
    pub misses: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// Where and how: `memory, f32`; `file, f16`.
    pub kind: String,
}

/// How to get the same again.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reproduce {
    /// The command.
    pub command: String,
    /// Text of `config.toml`.
    pub config: String,
}

impl TrainingReport {
    /// `report.html`: one page without scripts or anything from the network.
    pub fn html(&self) -> String {
        page::html(self)
    }

    /// `metrics.json`: every figure of the report; pictures are left out. Figures that are not finite are `null`.
    pub fn metrics_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("names are strings and memory does not refuse bytes") + "\n"
    }
}
