//! `binesh train`

mod progress;
mod settings;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use binesh::Model;
use binesh::data::{self, Dataset, ScanOptions};
use binesh::formats::LoadCx;
use binesh::train::{self, Config, RunFolder, Trained};

use crate::args::{Common, read_file};
use crate::cmd::Outcome;
use crate::cmd::train::progress::Screen;
use crate::cmd::train::settings::Settings;
use crate::output;

/// Turn a folder of photos into a classifier: a new head on a pretrained network, then fine-tuning
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh train photos/                               a folder for each class; the built-in network
  binesh train photos/ -m MobileNetV2.keras --out run
  binesh train photos/ --recipe features             the head alone: seconds
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
    #[arg(long, value_name = "RUN", conflicts_with_all = ["out", "config", "photos"])]
    resume: Option<PathBuf>,

    /// Settings of an earlier run, its config.toml; options given beside it win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

/// More than any file of settings.
const CONFIG_BYTES: u64 = 1 << 20;

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let (config, folder) = prepare(args)?;
    let path = folder.path.clone().expect("`prepare` names a folder");
    let mut screen = Screen::new()?;
    let data = scan(&config, &mut screen)?;
    let base = base(&config, common)?;
    std::fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    if !folder.resume {
        let text = toml::to_string(&config).context("cannot write the settings")?;
        std::fs::write(path.join("config.toml"), text).with_context(|| path.display().to_string())?;
    }
    let trained = train::train(&config, &data, &base, &folder, &mut |event| screen.show(event));
    let trained = match trained {
        Err(train::TrainError::Stopped) => {
            screen.clear();
            output::note(&format!("stopped; `binesh train --resume {}` goes on", path.display()));
            return Ok(Outcome::SomeFailed);
        }
        other => other?,
    };
    screen.clear();
    finish(&config, &data, &trained, &path)?;
    Ok(Outcome::Done)
}

/// The settings, and the folder they are for.
fn prepare(args: &Args) -> Result<(Config, RunFolder)> {
    if let Some(run) = &args.resume {
        let config = read_config(&run.join("config.toml"))?;
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

fn read_config(path: &Path) -> Result<Config> {
    let file = || path.display().to_string();
    let text = String::from_utf8(read_file(path, CONFIG_BYTES)?).with_context(file)?;
    toml::from_str(&text).with_context(file)
}

fn scan(config: &Config, screen: &mut Screen) -> Result<Dataset> {
    let options = ScanOptions::default();
    let data = data::scan(&config.data.path, &options, &mut |event| screen.scanning(event))?;
    screen.clear();
    for rejected in data.rejected.iter().filter(|rejected| !rejected.is_quiet()) {
        output::warn(&format!("{}: left out, {:?}", rejected.path.display(), rejected.reason));
    }
    Ok(data)
}

fn base(config: &Config, common: &Common) -> Result<Model> {
    let runtime = common.runtime()?;
    let mut model = match &config.base.model {
        None => Model::embedded(runtime),
        Some(path) => {
            let open = || Model::open(path, config.base.weights.as_deref(), &LoadCx::default(), runtime);
            output::waiting(&format!("loading {}", path.display()), open)?.0
        }
    };
    if let Some(preprocess) = &config.base.preprocess {
        model.set_preprocess(preprocess.clone());
    }
    Ok(model)
}

fn finish(_config: &Config, _data: &Dataset, trained: &Trained, path: &Path) -> Result<()> {
    if trained.history.is_empty() {
        bail!("nothing was trained");
    }
    let last = trained.history.last();
    output::print(&format!("{} {last:?}\n", path.display()))
}
