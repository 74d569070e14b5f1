//! The verbs: one file each, one line each in [`Verb`].

mod activations;
mod bench;
mod completions;
mod convert;
mod depth;
mod evaluate;
mod extract;
mod filters;
mod heatmap;
mod predict;
mod run;
mod summary;
mod train;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use binesh::data::Rejected;
use binesh::image::{DecodeOptions, Picture};
use binesh::report::profile::Times;
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::args::{Common, open_picture};
use crate::output::{self, Progress};

/// See what a convolutional network sees.
///
/// Loads networks that others trained, says what they see in a photo and where they see it, and shows every layer's
/// view of it. Without a model file it uses the built-in EfficientNet-Lite0 (ImageNet, 1000 classes).
#[derive(Parser, Debug)]
#[command(name = "binesh", version, arg_required_else_help = true, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{ENVIRONMENT}"))]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,

    #[command(flatten)]
    common: Common,
}

const EXAMPLES: &str = "\
Examples:
  binesh predict cat.jpg                     what is in the photo
  binesh heatmap cat.jpg --out maps          where in the photo that is seen
  binesh activations cat.jpg --out layers    every channel of every layer for the photo
  binesh summary model.h5                    the network's layers, as Keras prints them";

const ENVIRONMENT: &str = "\
Environment:
  BINESH_ISA    instruction set to compute with, `avx2` or `scalar` [default: the best this machine has]
  BINESH_COSTS  file of what computing costs here, by which algorithms are chosen and times foretold
  NO_COLOR      any value: no colors in messages

Exit codes: 0 done, 1 something failed and was reported, 2 the command line is wrong.";

#[derive(Subcommand, Debug)]
enum Verb {
    Summary(summary::Args),
    Predict(predict::Args),
    Activations(activations::Args),
    Heatmap(heatmap::Args),
    Filters(Box<filters::Args>),
    Depth(depth::Args),
    Run(run::Args),
    Train(Box<train::Args>),
    Evaluate(evaluate::Args),
    Extract(extract::Args),
    Convert(convert::Args),
    Bench(bench::Args),
    Completions(completions::Args),
}

/// How a verb that did not fail as a whole ended.
pub(crate) enum Outcome {
    /// All of it.
    Done,
    /// Some inputs failed and were reported; the others are done.
    SomeFailed,
}

impl Cli {
    /// Does what was asked.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let outcome = match &self.verb {
            Verb::Summary(args) => summary::run(args, &self.common),
            Verb::Predict(args) => predict::run(args, &self.common),
            Verb::Activations(args) => activations::run(args, &self.common),
            Verb::Heatmap(args) => heatmap::run(args, &self.common),
            Verb::Filters(args) => filters::run(args, &self.common),
            Verb::Depth(args) => depth::run(args, &self.common),
            Verb::Run(args) => run::run(args, &self.common),
            Verb::Train(args) => train::run(args, &self.common),
            Verb::Evaluate(args) => evaluate::run(args, &self.common),
            Verb::Extract(args) => extract::run(args, &self.common),
            Verb::Convert(args) => convert::run(args, &self.common),
            Verb::Bench(args) => bench::run(args, &self.common),
            Verb::Completions(args) => completions::run(args, &self.common),
        }?;
        let in_document = self.common.json && matches!(self.verb, Verb::Bench(_));
        if let Some(profile) = self.common.profile().filter(|_| !in_document) {
            output::say_lines(&Times::of(profile).text(output::stderr_columns()));
        }
        Ok(outcome)
    }
}

impl Outcome {
    fn of(failed: &[Failed]) -> Outcome {
        if failed.is_empty() { Outcome::Done } else { Outcome::SomeFailed }
    }
}

/// A picture that could not be used.
#[derive(Debug, Serialize)]
pub(crate) struct Failed {
    image: String,
    error: String,
}

impl Failed {
    /// Photos that a scan has left out, reported.
    fn of<'a>(rejected: impl Iterator<Item = &'a Rejected>) -> Vec<Failed> {
        let failed = |rejected: &Rejected| {
            output::complain_of(&rejected.message);
            Failed { image: rejected.path.display().to_string(), error: rejected.message.clone() }
        };
        rejected.map(failed).collect()
    }
}

/// A name as a part of a file's name.
pub(crate) fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_alphanumeric() { c } else { '_' }).collect()
}

/// Damaged weights must not look like an answer.
fn check_scores(image: &Path, probabilities: &[f32]) -> Result<()> {
    let numbers = probabilities.iter().all(|p| p.is_finite());
    ensure!(
        numbers,
        "{}: the network's scores are not numbers: its weights are damaged, or pictures are scaled wrongly",
        image.display()
    );
    Ok(())
}

/// Pictures in groups that are run together: a network is faster on several at once.
pub(crate) struct Batches<'a> {
    paths: &'a [PathBuf],
    options: DecodeOptions,
}

/// Enough to keep threads busy, little enough to keep the memory of a large network's maps small.
const BATCH: usize = 8;

impl<'a> Batches<'a> {
    pub(crate) fn new(paths: &'a [PathBuf], options: DecodeOptions) -> Self {
        Batches { paths, options }
    }

    /// Opens the pictures and hands them on in groups. One that cannot be opened is reported at once, left out, and
    /// returned in the end.
    pub(crate) fn each(
        &self,
        mut work: impl FnMut(Vec<(&'a Path, Picture)>) -> Result<()>,
    ) -> Result<Vec<Failed>> {
        let progress = Progress::new(self.paths.len(), "pictures");
        let mut failed = Vec::new();
        for group in self.paths.chunks(BATCH) {
            let mut batch = Vec::new();
            for path in group {
                match open_picture(path, &self.options) {
                    Ok(picture) => batch.push((path.as_path(), picture)),
                    Err(error) => {
                        progress.suspend(|| output::error(&error));
                        let error = output::message(&error);
                        failed.push(Failed { image: path.display().to_string(), error });
                    }
                }
            }
            // A bar with a single step has nothing to show until it is done.
            if !batch.is_empty() && self.paths.len() == 1 {
                output::waiting("running the network", || work(batch))?;
            } else if !batch.is_empty() {
                work(batch)?;
            }
            group.iter().for_each(|_| progress.step());
        }
        Ok(failed)
    }
}
