//! `binesh extract`

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use binesh::data::{self, ScanOptions};
use binesh::train::{Extraction, FeaturePooling};
use clap::ValueEnum;
use serde::Serialize;

use crate::args::{Common, PictureModelArgs};
use crate::cmd::train::progress::Screen;
use crate::cmd::{Failed, Outcome};
use crate::output;

/// Write the features of photos to a file: what a pretrained network makes of each
///
/// One row for each photo, with its path and label. By default a row is the mean over the network's last map, of which
/// `binesh train` makes a classifier. NumPy files hold `features`, `labels` (-1 for none), `paths` and `classes`;
/// Parquet files the columns `path`, `label` and `features`, a list.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh extract photos/ --out features.npz            a folder for each class: rows have labels
  binesh extract -m run a.jpg b.jpg --out features.parquet
  binesh extract -m vgg16.h5 photos.csv --layer block4_pool --pooling max --out features.npz")]
pub(crate) struct Args {
    /// Photos, folders of photos, folders of class folders, or CSVs of path,label
    #[arg(required = true, value_name = "PHOTOS")]
    photos: Vec<PathBuf>,

    #[command(flatten)]
    model: PictureModelArgs,

    /// File to write, by its ending a NumPy file or a Parquet file
    #[arg(short, long, value_name = "FILE.npz|FILE.parquet", value_parser = target)]
    out: Target,

    /// Layer whose values are the features [default: the last map]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,

    /// How a map becomes a row
    #[arg(long, value_enum, default_value_t = Pooling::Average, value_name = "HOW")]
    pooling: Pooling,
}

#[derive(Clone, Debug)]
struct Target {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Npz,
    Parquet,
}

fn target(text: &str) -> Result<Target, &'static str> {
    let path = PathBuf::from(text);
    let ends = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
    let format = match () {
        () if ends("npz") => Format::Npz,
        () if ends("parquet") => Format::Parquet,
        () => return Err("the name must end in `.npz` or `.parquet`"),
    };
    Ok(Target { path, format })
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Pooling {
    /// The mean of each channel
    Average,
    /// The largest value of each channel
    Max,
    /// The map itself; in a Parquet file row by row, channels together
    None,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    output: String,
    format: Format,
    layer: String,
    pooling: Pooling,
    /// N, then the features of one photo.
    shape: Vec<usize>,
    labelled: usize,
    classes: Vec<String>,
    failed: Vec<Failed>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let model = args.model.load(common)?;
    let layer = args.layer.as_deref().map(|name| model.find_node(name)).transpose()?;
    let mut screen = Screen::new()?;
    let options = ScanOptions::default();
    let collection = data::collect(&args.photos, &options, &mut |event| screen.scanning(event))?;
    screen.clear();
    // What lies beside photos is passed over; what the user names is not.
    let named = |path: &PathBuf| args.photos.contains(path);
    let rejected = collection.rejected.iter();
    let failed = Failed::of(rejected.filter(|rejected| !rejected.is_quiet() || named(&rejected.path)));
    if collection.photos.is_empty() {
        let paths: Vec<String> = args.photos.iter().map(|path| path.display().to_string()).collect();
        bail!("{}: no photos", paths.join(", "));
    }
    let pooling = match args.pooling {
        Pooling::Average => FeaturePooling::Average,
        Pooling::Max => FeaturePooling::Max,
        Pooling::None => FeaturePooling::None,
    };
    let mut extraction = Extraction::new(&model, &collection, layer, pooling)?;
    let path = &args.out.path;
    ensure!(!path.is_dir(), "{}: a folder", path.display());
    let mut shown = |progress| screen.extracting(progress);
    match args.out.format {
        Format::Npz => extraction.write_npz(path, &mut shown)?,
        Format::Parquet => extraction.write_parquet(path, &mut shown)?,
    }
    screen.clear();
    let mut shape = vec![collection.photos.len()];
    shape.extend(extraction.row());
    let layer = model.graph().node(extraction.layer()).name.clone();
    if !common.json {
        let times = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let how = match (args.pooling, extraction.value()) {
            (Pooling::None, _) | (_, [] | [_]) => String::new(),
            (Pooling::Average, map) => format!(", mean over {}", times(&map[..map.len() - 1])),
            (Pooling::Max, map) => format!(", largest of {}", times(&map[..map.len() - 1])),
        };
        let (n, row) = (shape[0], times(&shape[1..]));
        output::tell(&format!("{}: {n} x {row}, layer `{layer}`{how}\n", path.display()))?;
    }
    let outcome = Outcome::of(&failed);
    if common.json {
        output::print_json(&Report {
            model: model.network().name.clone(),
            output: path.display().to_string(),
            format: args.out.format,
            layer,
            pooling: args.pooling,
            shape,
            labelled: collection.photos.iter().filter(|photo| photo.label.is_some()).count(),
            classes: collection.classes.clone(),
            failed,
        })?;
    }
    Ok(outcome)
}
