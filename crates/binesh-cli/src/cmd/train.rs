//! `binesh train`

pub(crate) mod progress;
mod settings;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use binesh::data::{self, DataError, Dataset, Duplicate, DuplicateOptions, ScanOptions};
use binesh::formats::LoadCx;
use binesh::render::write_file;
use binesh::report::rates;
use binesh::report::run::Ended;
use binesh::report::training::TrainingReport;
use binesh::train::{self, Config, RunFolder, TrainError, Trained};
use binesh::{Model, PreprocessingSource};
use serde::Serialize;

use crate::args::{Common, model_file, read_file};
use crate::cmd::Outcome;
use crate::cmd::train::progress::Screen;
use crate::cmd::train::settings::Settings;
use crate::memory;
use crate::output;

/// Train a classifier on a folder of photos
///
/// Puts a new head on a pretrained network, trains it on the frozen base, then fine-tunes the base's last blocks with
/// it at a lower rate. Ends with a model, a report, and every figure of it.
///
/// What is not set comes from the recipe; RUN/config.toml holds every setting.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh train photos/                               a folder for each class; the built-in network
  binesh train photos/ -m MobileNetV2.keras --out run
  binesh train photos/ --recipe features             the head alone: seconds
  binesh train photos/ --recipe book -m vgg16-without-top.h5
  binesh train photos/ --unfreeze block6a --epochs 30 --augment live
  binesh train --resume run                          go on where a run was stopped")]
pub(crate) struct Args {
    /// A folder of class folders, or of train/ val/ test/ with class folders, or a CSV of path,label
    #[arg(value_name = "PHOTOS", required_unless_present_any = ["resume", "config"])]
    photos: Option<PathBuf>,

    /// Folder for the run: settings, history, checkpoints, the model, the report [default: a new one, run-1, run-2, ...]
    #[arg(short, long, value_name = "RUN")]
    out: Option<PathBuf>,

    /// Go on with this run where it was stopped
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "config", "photos", "Settings"])]
    resume: Option<PathBuf>,

    /// Settings of an earlier run, its config.toml; options given beside it win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Only look for the head's learning rate: one step at each rate on a copy, plotted in RUN/learning-rate.html
    #[arg(long)]
    find_lr: bool,

    /// Unfreeze even if the head has not converged; with --resume, too
    #[arg(long, help_heading = "Fine-tuning")]
    force: bool,

    #[command(flatten)]
    settings: Settings,
}

/// More than any file of settings.
const CONFIG_BYTES: u64 = 1 << 20;

/// The document of `--json`.
#[derive(Serialize)]
struct Document {
    run: String,
    model: String,
    report: String,
    classes: Vec<String>,
    split: Option<String>,
    accuracy: Option<f64>,
    loss: Option<f64>,
    unfrozen_from: Option<String>,
    epochs: usize,
    seconds: f64,
    parts: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    name: String,
    seconds: f64,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let start = Instant::now();
    let (config, folder) = prepare(args)?;
    let path = folder.path.clone().expect("`prepare` names a folder");
    let mut screen = Screen::new()?;
    let settings = toml::to_string(&config).context("cannot write the settings")?;
    let write_settings = || {
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        if !folder.resume || args.force {
            write_file(&path.join("config.toml"), settings.as_bytes())?;
        }
        Ok::<(), anyhow::Error>(())
    };
    let stopped = || {
        output::note(&format!("stopped; `binesh train --resume {}` goes on", path.display()));
        Outcome::SomeFailed
    };
    let data = match scan(&config, &mut screen) {
        Err(DataError::Stopped) => {
            screen.clear();
            write_settings()?;
            return Ok(stopped());
        }
        other => other?,
    };
    ensure!(
        !lies_in(&path, &config.data.path),
        "{}: in the folder of the photos, where it would be taken for a class",
        path.display()
    );
    config.check()?;
    warn_of_copies(&data, &config)?;
    if data.is_divided(&config.data.split) && args.settings.divides() {
        output::warn(
            "the folders or the table say which photos judge; `--split` and `--validation` change nothing",
        );
    }
    let base = base(&config, common)?;
    if args.find_lr {
        std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        let curve = train::find_learning_rate(&config, &data, &base, &mut |event| screen.show(event))?;
        screen.clear();
        let page = path.join("learning-rate.html");
        write_file(&page, rates::page(&curve).as_bytes())?;
        match common.json {
            true => output::print_json(&curve)?,
            false => {
                let rows =
                    curve.suggestions().into_iter().map(|(name, rate)| format!("{name:<12} {rate:.1e}\n"));
                output::print(&rows.chain([format!("{}\n", page.display())]).collect::<String>())?;
            }
        }
        return Ok(Outcome::Done);
    }
    write_settings()?;
    let mut train = |config: &Config, folder: &RunFolder| {
        let trained = train::train(config, &data, &base, folder, &mut |event| screen.show(event));
        screen.clear();
        trained
    };
    let result = (|| {
        let beside = match config.is_without_warmup() {
            false => None,
            true => {
                output::say("first the five steps, to be held against what comes without the third:");
                let folder = RunFolder { path: Some(path.join("five-steps")), resume: folder.resume };
                Some(train(&config.with_warmup(), &folder)?)
            }
        };
        Ok((train(&config, &folder)?, beside))
    })();
    let (trained, beside) = match result {
        Err(TrainError::Stopped) => return Ok(stopped()),
        other => other?,
    };
    let model = Model::new(trained.network.clone(), base.runtime().clone());
    write_file(&path.join("model.keras"), &binesh::formats::save_keras(model.network(), None)?)?;
    let ended =
        Ended { config: &config, data: &data, trained: &trained, model: &model, beside: beside.as_ref() };
    let command = format!("binesh train --config {}", path.join("config.toml").display());
    let report = ended.report(&command, &settings, start.elapsed().as_secs_f64(), &mut |p| screen.judging(p));
    screen.clear();
    let mut report = match report {
        Err(TrainError::Stopped) => return Ok(stopped()),
        other => other?,
    };
    if let Some(timing) = &mut report.timing {
        timing.peak_memory = memory::peak_bytes();
    }
    write_file(&path.join("report.html"), report.html().as_bytes())?;
    write_file(&path.join("metrics.json"), report.metrics_json().as_bytes())?;
    let document = document(&path, &data, &trained, &report, start.elapsed().as_secs_f64());
    match common.json {
        true => output::print_json(&document)?,
        false => output::tell(&text(&document))?,
    }
    Ok(Outcome::Done)
}

fn document(
    path: &Path,
    data: &Dataset,
    trained: &Trained,
    report: &TrainingReport,
    seconds: f64,
) -> Document {
    let file = |name: &str| path.join(name).display().to_string();
    let timing = report.timing.iter().flat_map(|timing| &timing.parts);
    let evaluation = report.evaluation.as_ref();
    Document {
        run: path.display().to_string(),
        model: file("model.keras"),
        report: file("report.html"),
        classes: data.classes.clone(),
        split: evaluation.map(|e| e.split.clone()),
        accuracy: evaluation.map(|e| e.metrics.accuracy),
        loss: evaluation.map(|e| e.metrics.loss),
        unfrozen_from: trained.unfrozen_from.map(|at| trained.blocks[at].name.clone()),
        epochs: trained.history.len(),
        seconds,
        parts: timing.map(|(name, seconds)| Part { name: name.clone(), seconds: *seconds }).collect(),
    }
}

fn text(document: &Document) -> String {
    let judged = match (document.accuracy, &document.split) {
        (Some(accuracy), Some(split)) => {
            format!("{:.1} % of the {split} photos are right\n", 100.0 * accuracy)
        }
        _ => String::new(),
    };
    let Document { run, model, report, seconds, .. } = document;
    format!("{judged}{model}\n{report}\n{seconds:.0} s; `binesh predict -m {run} PHOTO` uses the model\n")
}

/// The settings, and the folder they are for.
fn prepare(args: &Args) -> Result<(Config, RunFolder)> {
    if let Some(run) = &args.resume {
        let mut config = read_config(&run.join("config.toml"))?;
        force(&mut config, args.force)?;
        return Ok((config, RunFolder { path: Some(run.clone()), resume: true }));
    }
    let mut config = match &args.config {
        Some(file) => read_config(file)?,
        None => {
            let photos = args.photos.clone().context("a folder of photos is needed")?;
            Config::new(args.settings.recipe(), photos, args.settings.seed())
        }
    };
    if let Some(photos) = &args.photos {
        config.data.path.clone_from(photos);
    }
    args.settings.apply(&mut config)?;
    force(&mut config, args.force)?;
    let path = match &args.out {
        Some(path) => {
            ensure!(
                !path.join(train::CHECKPOINT).exists(),
                "{0}: holds a run already; `--resume {0}` goes on with it",
                path.display()
            );
            path.clone()
        }
        None => (1..)
            .map(|n| PathBuf::from(format!("run-{n}")))
            .find(|p| !p.exists())
            .expect("numbers do not run out"),
    };
    Ok((config, RunFolder { path: Some(path), resume: false }))
}

fn force(config: &mut Config, force: bool) -> Result<()> {
    match &mut config.fine_tuning {
        Some(fine) => fine.force |= force,
        None => ensure!(!force, "without fine-tuning there is nothing to force"),
    }
    Ok(())
}

pub(crate) fn read_config(path: &Path) -> Result<Config> {
    let file = || path.display().to_string();
    let text = String::from_utf8(read_file(path, CONFIG_BYTES)?).with_context(file)?;
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        anyhow!("{}: line {line}: {}", file(), error.message().replace('\n', "; "))
    })
}

fn scan(config: &Config, screen: &mut Screen) -> Result<Dataset, DataError> {
    let options = ScanOptions::default();
    let data = data::scan(&config.data.path, &options, &mut |event| screen.scanning(event))?;
    screen.clear();
    for rejected in data.rejected.iter().filter(|rejected| !rejected.is_quiet()) {
        output::warn(&format!("left out: {}", rejected.message));
    }
    Ok(data)
}

/// Whether a path that need not exist is in a folder.
fn lies_in(path: &Path, folder: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else { return false };
    let there = path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    matches!((there, folder.canonicalize()), (Some(there), Ok(folder)) if folder.is_dir() && there.starts_with(&folder))
}

/// Copies that make a result look better than it is, or that no classifier can tell apart.
fn warn_of_copies(data: &Dataset, config: &Config) -> Result<()> {
    let splits = data.split(&config.data.split)?;
    let copies = data.duplicates(&DuplicateOptions::default());
    let leaks = copies.iter().filter(|copy| copy.is_leak(&splits)).count();
    let conflicts: Vec<&Duplicate> = copies.iter().filter(|copy| copy.is_conflict(data)).collect();
    if leaks > 0 {
        output::warn(&format!(
            "the same picture, or nearly, is in two parts {leaks} times: judged by what was learned, a result is too good"
        ));
    }
    if let Some(first) = conflicts.first() {
        let path = |item: usize| data.items[item].path.display();
        output::warn(&format!(
            "the same picture, or nearly, is in two classes {} times: {} is {}",
            conflicts.len(),
            path(first.first),
            path(first.second)
        ));
    }
    Ok(())
}

fn base(config: &Config, common: &Common) -> Result<Model> {
    let runtime = common.runtime()?;
    let mut model = match &config.base.model {
        None => Model::embedded(runtime),
        Some(path) => {
            let path = &model_file(path)?;
            let cx = LoadCx { architecture: config.base.arch.clone(), ..LoadCx::default() };
            let open = || Model::open(path, config.base.weights.as_deref(), &cx, runtime);
            output::waiting(&format!("loading {}", path.display()), open)?.0
        }
    };
    if config.base.preprocess.is_none()
        && model.preprocessing().is_some_and(|known| known.source == PreprocessingSource::Assumed)
    {
        output::warn(
            "the model file does not say how pictures are scaled; x / 255 is assumed (else `[base.preprocess]` in the settings)",
        );
    }
    config.base.prepare(&mut model);
    Ok(model)
}
