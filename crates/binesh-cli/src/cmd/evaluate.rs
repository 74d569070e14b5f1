//! `binesh evaluate`

mod tables;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use binesh::Model;
use binesh::data::{self, Dataset, Layout, ScanOptions, Split};
use binesh::train::{self, Average, Calibration, ClassMetrics, Config, Interval, Scores};
use clap::ValueEnum;
use serde::Serialize;

use crate::args::{Common, PictureArgs, WeightsArgs};
use crate::cmd::train::progress::Screen;
use crate::cmd::{Failed, Outcome, train as train_verb};
use crate::output;

/// Judge a network on photos whose classes are known
///
/// Prints the accuracy with its interval, the loss, each class's precision and recall, which classes are taken for
/// which, and the most confident mistakes. A run is judged on the photos it was not trained on.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh evaluate run                        a run on its own held-out photos
  binesh evaluate run more-photos/ --json
  binesh evaluate model.h5 photos/ --labels names.txt --part test")]
pub(crate) struct Args {
    /// Model file, or the folder of a run of `binesh train`
    #[arg(value_name = "MODEL|RUN")]
    model: PathBuf,

    /// A folder of class folders, or of train/ val/ test/ with class folders, or a CSV of path,label [default: the
    /// run's photos that it was not trained on]
    #[arg(value_name = "DATA")]
    data: Option<PathBuf>,

    #[command(flatten)]
    weights: WeightsArgs,

    #[command(flatten)]
    picture: PictureArgs,

    /// Which photos, where the data is divided [default: test, or validation where there is no test]
    #[arg(long, value_enum, value_name = "PART", help_heading = "Data")]
    part: Option<Part>,

    /// How many of the most confident mistakes to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    mistakes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Part {
    Train,
    Validation,
    Test,
}

impl Part {
    fn split(self) -> Split {
        match self {
            Part::Train => Split::Train,
            Part::Validation => Split::Validation,
            Part::Test => Split::Test,
        }
    }
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    data: String,
    /// Null where the data is not divided.
    part: Option<&'static str>,
    classes: Vec<String>,
    samples: usize,
    correct: usize,
    accuracy: f64,
    interval: Interval,
    loss: f64,
    per_class: Vec<Class>,
    macro_average: Average,
    weighted_average: Average,
    confusion: Vec<Vec<u64>>,
    calibration: Calibration,
    mistakes: Vec<Mistake>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Class {
    label: String,
    #[serde(flatten)]
    metrics: ClassMetrics,
}

#[derive(Serialize)]
struct Mistake {
    image: String,
    truth: String,
    predicted: String,
    probability: f64,
    truth_probability: f64,
}

/// Photos to be judged on.
struct Photos {
    path: PathBuf,
    data: Dataset,
    items: Vec<usize>,
    part: Option<Split>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let mut model = args.weights.load(Some(&args.model), common)?.0;
    args.picture.apply(&mut model)?;
    let head = model.head()?;
    let mut screen = Screen::new()?;
    let Photos { path, data, items, part } = match &args.data {
        Some(path) => given(args, &model, path, &mut screen)?,
        None => held_out(args, &model, &mut screen)?,
    };
    let failed = Failed::of(data.rejected.iter().filter(|rejected| !rejected.is_quiet()));
    ensure!(!items.is_empty(), "{}: no photos to judge on", path.display());
    let scores = train::evaluate(&model, &data, &items, &mut |progress| screen.judging(progress))?;
    screen.clear();
    let classes = match &model.network().meta.labels {
        Some(_) => (0..head.classes()).map(|class| model.label(class)).collect(),
        None => data.classes.clone(),
    };
    let paths: Vec<&Path> = items.iter().map(|&item| data.items[item].path.as_path()).collect();
    let outcome = Outcome::of(&failed);
    let report = Report {
        model: model.network().name.clone(),
        data: path.display().to_string(),
        part: part.map(Split::name),
        failed,
        ..report(&scores, classes, &paths, args.mistakes)
    };
    match common.json {
        true => output::print_json(&report)?,
        false => output::print(&tables::text(&report))?,
    }
    Ok(outcome)
}

fn report(scores: &Scores, classes: Vec<String>, paths: &[&Path], mistakes: usize) -> Report {
    let metrics = scores.metrics();
    let mistake = |mistake: train::Mistake| Mistake {
        image: paths[mistake.index].display().to_string(),
        truth: classes[mistake.truth].clone(),
        predicted: classes[mistake.predicted].clone(),
        probability: mistake.confidence,
        truth_probability: mistake.truth_probability,
    };
    Report {
        model: String::new(),
        data: String::new(),
        part: None,
        samples: metrics.samples,
        correct: metrics.correct,
        accuracy: metrics.accuracy,
        interval: metrics.accuracy_interval,
        loss: metrics.loss,
        per_class: classes
            .iter()
            .zip(metrics.per_class)
            .map(|(label, metrics)| Class { label: label.clone(), metrics })
            .collect(),
        macro_average: metrics.macro_average,
        weighted_average: metrics.weighted_average,
        confusion: metrics.confusion,
        calibration: metrics.calibration,
        mistakes: scores.mistakes(mistakes).into_iter().map(mistake).collect(),
        failed: Vec::new(),
        classes,
    }
}

/// The photos that the user names.
fn given(args: &Args, model: &Model, path: &Path, screen: &mut Screen) -> Result<Photos> {
    let options = match &model.network().meta.labels {
        Some(labels) => ScanOptions::of_classes(labels.clone()),
        None => ScanOptions { min_classes: 0, min_pictures: 0, ..ScanOptions::default() },
    };
    let data = data::scan(path, &options, &mut |event| screen.scanning(event))?;
    screen.clear();
    let classes = model.head()?.classes();
    if model.network().meta.labels.is_none() {
        ensure!(
            data.classes.len() == classes,
            "{}: {} classes, `{}`, and the model has {classes} without names; `--labels` gives it some",
            path.display(),
            data.classes.len(),
            data.classes.join("`, `")
        );
        output::note(&format!(
            "the model has no class names: its outputs are taken for `{}`, in this order",
            data.classes.join("`, `")
        ));
    }
    if let Some(config) = config_of(&args.model)?
        && same(path, &config.data.path)
    {
        output::note(
            "the run was trained on some of these photos; without DATA, its held-out photos judge it",
        );
    }
    let divided = data.items.iter().any(|item| item.given.is_some());
    if !divided {
        if args.part.is_some() {
            bail!("{}: the photos are not divided, so there is no `--part` of them", path.display());
        }
        let items = (0..data.items.len()).collect();
        return Ok(Photos { path: path.to_owned(), data, items, part: None });
    }
    if args.part.is_none() && data.layout == Layout::Table && data.items.iter().any(|i| i.given.is_none()) {
        output::note("photos without a part in the table are not looked at");
    }
    let of = |split: Split| -> Vec<usize> {
        (0..data.items.len()).filter(|&item| data.items[item].given == Some(split)).collect()
    };
    let (part, items) = choose(args.part, of);
    Ok(Photos { path: path.to_owned(), data, items, part: Some(part) })
}

/// The photos of a run that it was not trained on.
fn held_out(args: &Args, model: &Model, screen: &mut Screen) -> Result<Photos> {
    let Some(config) = config_of(&args.model)? else {
        bail!("{}: not the folder of a run, so DATA must say which photos judge it", args.model.display());
    };
    let path = config.data.path.clone();
    let data = data::scan(&path, &ScanOptions::default(), &mut |event| screen.scanning(event))
        .with_context(|| format!("the photos of the run `{}`", args.model.display()))?;
    screen.clear();
    let known = model.network().meta.labels.as_deref().unwrap_or_default();
    ensure!(
        known == data.classes,
        "{}: the classes are `{}` now, the run was trained on `{}`",
        path.display(),
        data.classes.join("`, `"),
        known.join("`, `")
    );
    let table = args.model.join(train::PHOTOS);
    let splits = match table.exists() {
        true => data.splits_in(&table)?,
        false => data.split(&config.data.split)?.into_iter().map(Some).collect(),
    };
    let new = splits.iter().filter(|split| split.is_none()).count();
    if new > 0 {
        output::note(&format!(
            "{new} photos are new or changed since the run was trained; they are not looked at"
        ));
    }
    let of = |part: Split| (0..splits.len()).filter(|&item| splits[item] == Some(part)).collect();
    let (part, items) = choose(args.part, of);
    Ok(Photos { path, data, items, part: Some(part) })
}

/// The part asked for; else the photos that nobody looked at, else those that judged every epoch.
fn choose(asked: Option<Part>, of: impl Fn(Split) -> Vec<usize>) -> (Split, Vec<usize>) {
    if let Some(part) = asked {
        return (part.split(), of(part.split()));
    }
    let parts = [Split::Test, Split::Validation].map(|split| (split, of(split)));
    let [test, validation] = parts;
    if test.1.is_empty() { validation } else { test }
}

/// The settings of a run; none where there is no run.
fn config_of(folder: &Path) -> Result<Option<Config>> {
    let path = folder.join("config.toml");
    if path.is_file() { train_verb::read_config(&path).map(Some) } else { Ok(None) }
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
