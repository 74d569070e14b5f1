//! `binesh predict`

use std::path::PathBuf;

use anyhow::Result;
use binesh::image::DecodeOptions;
use serde::Serialize;

use crate::args::{Common, PictureModelArgs, count};
use crate::cmd::{Batches, Failed, Outcome, check_scores};
use crate::output;

/// Say what is in pictures: the most probable classes
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh predict cat.jpg dog.png
  binesh predict -m model.h5 --labels names.txt photos/*.jpg --json")]
pub(crate) struct Args {
    /// Pictures: PNG, JPEG, WebP, GIF, BMP, TIFF, recognized by content
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    #[command(flatten)]
    model: PictureModelArgs,

    /// How many classes to show
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = count)]
    top: usize,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    predictions: Vec<Entry>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Entry {
    image: String,
    top: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    class: usize,
    label: String,
    probability: f32,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let model = args.model.load(common)?;
    let mut entries = Vec::new();
    let failed = Batches::new(&args.images, DecodeOptions::default()).each(|batch| {
        let (paths, pictures): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        for (path, prediction) in paths.iter().zip(model.predict(&pictures)?) {
            check_scores(path, &prediction.probabilities)?;
            let ranked = prediction.ranked().into_iter().take(args.top);
            let top =
                ranked.map(|(class, probability)| Class { class, label: model.label(class), probability });
            let entry = Entry { image: path.display().to_string(), top: top.collect() };
            if !common.json {
                output::print(&text(&entry, args.images.len() > 1))?;
            }
            entries.push(entry);
        }
        Ok(())
    })?;
    let outcome = Outcome::of(&failed);
    if common.json {
        output::print_json(&Report { model: model.network().name.clone(), predictions: entries, failed })?;
    }
    Ok(outcome)
}

fn text(entry: &Entry, named: bool) -> String {
    let mut text = if named { format!("{}\n", entry.image) } else { String::new() };
    for class in &entry.top {
        text.push_str(&format!("{:6.1} %  {}\n", 100.0 * class.probability, class.label));
    }
    text
}
