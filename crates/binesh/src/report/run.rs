//! The report of a run: its numbers gathered, its mistakes drawn.

use std::ops::ControlFlow;
use std::path::Path;

use crate::Model;
use crate::data::{Dataset, DuplicateKind, DuplicateOptions, Split, SplitSpec};
use crate::error::Error;
use crate::image::{DecodeOptions, Picture, open};
use crate::render::{Overlay, encode_png, overlay};
use crate::report::training::{
    CacheFacts, ClassCounts, DataFacts, DuplicateGroup, Evaluation, LinearProbe, MistakePicture, ModelFacts,
    MovedRun, ProbedBlock, RejectedFile, Reproduce, Stage, StageLayer, Timing, TrainingReport,
};
use crate::train::{Config, Progress, Scores, StageTable, TrainError, Trained, evaluate, what_moved};
use crate::view::{METHODS, Probe, Score, Target, heatmaps};

/// A run that has ended.
#[derive(Clone, Copy)]
pub struct Ended<'a> {
    /// Its settings.
    pub config: &'a Config,
    /// Its photos.
    pub data: &'a Dataset,
    /// What it made.
    pub trained: &'a Trained,
    /// The network it made, ready to be asked.
    pub model: &'a Model,
    /// A run to be shown beside it: the staged one beside one that unfroze an untrained head.
    pub beside: Option<&'a Trained>,
}

/// Mistakes that are drawn.
const MISTAKES: usize = 12;
/// Side of a drawn photo, in pixels.
const THUMBNAIL: usize = 224;

impl Ended<'_> {
    /// Judges the network and gathers everything. `seconds` is the time of the run so far.
    pub fn report(
        &self,
        command: &str,
        settings: &str,
        seconds: f64,
        events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<TrainingReport, TrainError> {
        let start = std::time::Instant::now();
        let Ended { config, data, trained, model, .. } = *self;
        let graph = model.graph();
        let weights = |count: &dyn Fn(&StageTable) -> usize| trained.stages.last().map_or(0, count) as u64;
        let name = config.data.path.file_stem().or(config.data.path.file_name());
        let [h, w] = model.preprocessing().ok_or(Error::NotAPictureModel)?.preprocess.size;
        let channels = graph.dims(graph.inputs()[0])[3].unwrap_or(3);
        let (split, items) = self.judged();
        let evaluation = match items.is_empty() {
            true => None,
            false => Some(self.evaluation(split, &items, evaluate(model, data, &items, events)?)?),
        };
        let moved = match trained.unfrozen_from {
            Some(_) => self.moved(evaluation.as_ref().map(|e| e.metrics.accuracy))?,
            None => Vec::new(),
        };
        let judging = start.elapsed().as_secs_f64();
        Ok(TrainingReport {
            title: name.map_or_else(|| "photos".to_owned(), |name| name.to_string_lossy().into_owned()),
            facts: vec![
                ("binesh".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
                ("seed".to_owned(), config.seed.to_string()),
            ],
            model: ModelFacts {
                base: trained.attached.network.name.clone(),
                method: match config.fine_tuning {
                    Some(_) => "fine-tuning",
                    None => "feature extraction",
                }
                .to_owned(),
                input: [h, w, channels],
                parameters: weights(&|table| table.weights()[1]),
                trainable: weights(&|table| table.weights()[0]),
            },
            data: self.data(),
            stages: trained.stages.iter().map(|table| stage(table, trained)).collect(),
            history: trained.history.clone(),
            best_epoch: self.best_epoch(),
            evaluation,
            probe: self.probe(),
            moved,
            timing: Some(self.timing(seconds, judging)),
            reproduce: Some(Reproduce { command: command.to_owned(), config: settings.to_owned() }),
        })
    }

    /// The photos that say how good the result is: those nobody looked at, else those that judged every epoch.
    fn judged(&self) -> (Split, Vec<usize>) {
        let of = |split| (split, self.data.indices(&self.trained.splits, split));
        let test = of(Split::Test);
        if test.1.is_empty() { of(Split::Validation) } else { test }
    }

    fn best_epoch(&self) -> Option<usize> {
        let (epochs, best) = *self.trained.kept.last()?;
        Some(self.trained.history.len() - epochs + best)
    }

    fn data(&self) -> DataFacts {
        let Ended { config, data, trained, .. } = *self;
        let counts = Split::ALL.map(|split| data.counts(&trained.splits, split));
        let class = |(at, name): (usize, &String)| ClassCounts {
            name: name.clone(),
            train: counts[0][at],
            validation: counts[1][at],
            test: counts[2][at],
        };
        let short = |path: &Path| path.strip_prefix(&config.data.path).unwrap_or(path).display().to_string();
        let duplicates = data.duplicates(&DuplicateOptions::default()).into_iter().map(|d| DuplicateGroup {
            paths: [d.first, d.second].map(|item| short(&data.items[item].path)).into(),
            exact: d.kind == DuplicateKind::Exact,
            across_splits: d.is_leak(&trained.splits),
        });
        let split = match config.data.split {
            _ if data.is_divided(&config.data.split) => {
                "as the folders or the table of the photos say".to_owned()
            }
            SplitSpec::Stratified { seed, .. } => format!("stratified, seed {seed}"),
            SplitSpec::Keras { seed, .. } => format!("as Keras's validation_split, seed {seed}"),
            SplitSpec::Fold { folds, fold, seed } => format!("part {} of {folds}, seed {seed}", fold + 1),
        };
        DataFacts {
            source: config.data.path.display().to_string(),
            split,
            classes: data.classes.iter().enumerate().map(class).collect(),
            rejected: data
                .rejected
                .iter()
                .map(|r| RejectedFile { path: short(&r.path), reason: r.message.clone() })
                .collect(),
            duplicates: duplicates.collect(),
        }
    }

    fn probe(&self) -> Option<LinearProbe> {
        let probes = self.trained.probes.as_ref()?;
        let blocks = probes.blocks.iter();
        Some(LinearProbe {
            blocks: blocks.map(|b| ProbedBlock { block: b.block.clone(), accuracy: b.accuracy }).collect(),
            unfrozen_from: probes.blocks.get(probes.unfreeze_from).map(|b| b.block.clone()),
            reason: "The first block whose features are as good as the best ones ends what is useful as it is: what comes after it is \
                     unfrozen, at least the last two blocks and at most the last third."
                .to_owned(),
        })
    }

    fn moved(&self, accuracy: Option<f64>) -> Result<Vec<MovedRun>, TrainError> {
        let run = |name: &str, trained: &Trained, accuracy: Option<f64>| -> Result<MovedRun, TrainError> {
            let layers = what_moved(trained, self.data, self.model.runtime())?;
            Ok(MovedRun { name: name.to_owned(), accuracy, layers })
        };
        let last = |trained: &Trained| {
            let (epochs, best) = *trained.kept.last()?;
            trained.history.get(trained.history.len() - epochs + best - 1)?.val_accuracy
        };
        Ok(match self.beside {
            None => vec![run("five steps", self.trained, accuracy)?],
            Some(staged) => {
                vec![run("five steps", staged, last(staged))?, run("no warm-up", self.trained, accuracy)?]
            }
        })
    }

    fn timing(&self, seconds: f64, judging: f64) -> Timing {
        let Ended { trained, .. } = *self;
        let stage = |name: &str| {
            trained.history.iter().filter(|row| row.stage == name).map(|row| row.seconds).sum::<f64>()
        };
        let mut parts = vec![("frozen part, once for each view".to_owned(), trained.features.seconds)];
        parts.extend(trained.stages.iter().map(|table| (table.stage.clone(), stage(&table.stage))));
        parts.push(("judging and drawing".to_owned(), judging));
        let [memory, file] = trained.feature_bytes;
        let epochs = trained.history.len() as u64;
        let shown = trained.splits.iter().filter(|split| **split != Split::Test).count() as u64;
        Timing {
            total_seconds: seconds + judging,
            parts,
            waiting_for_data: Some(trained.features.waiting),
            peak_memory: None,
            cache: Some(CacheFacts {
                hits: epochs * shown,
                misses: trained.features.views as u64,
                bytes: memory + file,
                kind: if file > 0 { "file, f16" } else { "memory" }.to_owned(),
            }),
        }
    }

    fn evaluation(&self, split: Split, items: &[usize], scores: Scores) -> Result<Evaluation, TrainError> {
        let Ended { data, model, config, .. } = *self;
        let mut mistakes = Vec::new();
        for mistake in scores.mistakes(MISTAKES) {
            let path = &data.items[items[mistake.index]].path;
            let photo = open(path, &DecodeOptions::default()).map_err(Error::from)?;
            let (picture, heatmap) = drawn(model, &photo, mistake.predicted)?;
            mistakes.push(MistakePicture {
                path: path.strip_prefix(&config.data.path).unwrap_or(path).display().to_string(),
                truth: mistake.truth,
                predicted: mistake.predicted,
                confidence: mistake.confidence,
                truth_probability: mistake.truth_probability,
                picture: Some(picture),
                heatmap,
            });
        }
        let folds = matches!(config.data.split, SplitSpec::Fold { .. });
        Ok(Evaluation {
            split: split.name().to_owned(),
            metrics: scores.metrics(),
            chose_epoch: split == Split::Validation && !folds,
            mistakes,
        })
    }
}

/// A photo and where the class was seen in it, small.
fn drawn(model: &Model, photo: &Picture, class: usize) -> Result<(Vec<u8>, Option<Vec<u8>>), TrainError> {
    let longest = photo.height().max(photo.width());
    let side = |length: usize| (length * THUMBNAIL / longest).max(1);
    let small = match longest > THUMBNAIL {
        true => photo.resize([side(photo.height()), side(photo.width())], crate::image::Interpolation::Box),
        false => photo.clone(),
    };
    let mut probe = Probe::new(model, None, Target::Class(class), Score::Logit)?;
    let map = heatmaps(&METHODS[0], &mut probe, std::slice::from_ref(photo))?.remove(0);
    let heat = match map.blank {
        Some(_) => None,
        None => {
            let (values, shape) =
                model.over_picture(&map.values, [map.height, map.width], [small.height(), small.width()])?;
            Some(encode_png(&overlay(&small, &values, shape, Overlay::default())))
        }
    };
    Ok((encode_png(&small), heat))
}

fn stage(table: &StageTable, trained: &Trained) -> Stage {
    let note = match table.stage.as_str() {
        "head" => "The base is frozen; the new head learns on its features.".to_owned(),
        _ => {
            let from = trained.unfrozen_from.and_then(|at| trained.blocks.get(at));
            let from = from.map_or_else(String::new, |block| format!(" from `{}` on", block.name));
            let risk =
                trained.risk.as_ref().map_or_else(String::new, |risk| format!(" Forced, though {risk}."));
            format!("The blocks{from} and the head learn together, at a lower rate.{risk}")
        }
    };
    let layers = table.rows.iter().map(|row| StageLayer {
        layer: row.layer.clone(),
        parameters: row.weights as u64,
        trainable: if row.trainable { row.weights as u64 } else { 0 },
        learning_rate: row.learning_rate,
        batch_norm: row
            .batch_norm
            .as_deref()
            .map(|mode| if mode == "train" { "batch statistics" } else { "moving statistics" }.to_owned()),
    });
    Stage { name: table.stage.clone(), note, layers: layers.collect() }
}
