//! `binesh heatmap`

use std::collections::HashSet;
use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use binesh::Model;
use binesh::core::NodeId;
use binesh::formats::npy::write_npy;
use binesh::image::{DecodeOptions, Fit, Interpolation, Picture, Preprocess};
use binesh::render::{Overlay, heat, overlay, write_file, write_png};
use binesh::view::{Heatmap, METHODS, Probe, Score, Target, heatmaps};
use clap::ValueEnum;
use serde::Serialize;

use crate::args::{Common, PictureModelArgs};
use crate::cmd::{Batches, Failed, Outcome, check_scores};
use crate::output;

/// Show where in a picture a class is seen (Grad-CAM)
///
/// Writes for each picture the map over the picture and the map alone. A network with one sigmoid unit gets a map for
/// each of its two classes.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh heatmap cat.jpg --out maps
  binesh heatmap -m vgg16.h5 elephants.jpg --out maps --class African_elephant --mode book --npy")]
pub(crate) struct Args {
    /// Pictures: PNG, JPEG, WebP, GIF, BMP, TIFF, recognized by content
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<PathBuf>,

    #[command(flatten)]
    model: PictureModelArgs,

    /// Folder to write to; made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Class to explain: its name, a part of it, or its index; `top` for each picture's most probable one
    #[arg(long, value_name = "CLASS", default_value = "top")]
    class: String,

    /// Layer to look from [default: the last one with a map that a convolution made]
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,

    /// Whose recipe
    #[arg(long, value_enum, default_value_t = Mode::Paper)]
    mode: Mode,

    /// Also write each map's values, 0 to 1, as a NumPy file [H, W]
    #[arg(long)]
    npy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// The paper's: gradient of the class's logit, sum over channels
    Paper,
    /// The book's: gradient of its softmax output, picture stretched without smoothing, 0.4 of a jet map added
    Book,
}

/// Rows or columns at which a map says little about where.
const COARSE: usize = 4;

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    method: &'static str,
    mode: Mode,
    layer: String,
    /// Rows, columns.
    map_size: [usize; 2],
    heatmaps: Vec<Entry>,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Entry {
    image: String,
    class: usize,
    label: String,
    probability: f32,
    /// The map's largest value before it was scaled to 1, in units of the score.
    peak: f32,
    /// Why the map is blank; null where it is not.
    blank: Option<&'static str>,
    overlay: String,
    map: String,
    npy: Option<String>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let mut model = args.model.load(common)?;
    let mut options = DecodeOptions::default();
    if args.mode == Mode::Book {
        let known = model.preprocessing().ok_or(binesh::Error::NotAPictureModel)?.preprocess.clone();
        let interpolation =
            if args.model.says_interpolation() { known.interpolation } else { Interpolation::Nearest };
        model.set_preprocess(Preprocess { interpolation, fit: Fit::Stretch, ..known });
        options = DecodeOptions::keras();
    }
    let layer = args.layer.as_deref().map(|name| model.find_node(name)).transpose()?;
    let mut probes = probes(args, &model, layer)?;
    let (layer, map_size) = (probes[0].layer(), probes[0].map_size());
    let layer = model.graph().node(layer).name.clone();
    create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    if !common.json {
        output::tell(&format!("layer `{layer}`, map {}x{}\n", map_size[0], map_size[1]))?;
    }

    if map_size[0].max(map_size[1]) <= COARSE {
        output::note(&format!(
            "a {}x{} map is coarse; `--layer` looks from another layer",
            map_size[0], map_size[1]
        ));
    }

    let method = &METHODS[0];
    let mut names = Names::default();
    let mut entries = Vec::new();
    let failed = Batches::new(&args.images, options).each(|batch| {
        let (paths, pictures): (Vec<&Path>, Vec<Picture>) = batch.into_iter().unzip();
        let stems: Vec<String> = paths.iter().map(|path| names.unique(path)).collect();
        let per_target = probes.iter_mut().map(|probe| heatmaps(method, probe, &pictures));
        let per_target = per_target.collect::<Result<Vec<_>, _>>()?;
        for (index, path) in paths.iter().enumerate() {
            for maps in &per_target {
                let map = &maps[index];
                check_scores(path, &[map.probability])?;
                let several = per_target.len() > 1;
                let suffix = if several { format!("_class{}", map.class) } else { String::new() };
                let stem = format!("{}_{}{suffix}", stems[index], method.name);
                let entry = write(args, &model, &pictures[index], path, &stem, map)?;
                if !common.json {
                    output::tell(&text(&entry))?;
                }
                entries.push(entry);
            }
        }
        Ok(())
    })?;
    let outcome = Outcome::of(&failed);
    if common.json {
        let model = model.network().name.clone();
        let (method, mode) = (method.name, args.mode);
        output::print_json(&Report { model, method, mode, layer, map_size, heatmaps: entries, failed })?;
    }
    Ok(outcome)
}

/// One for the class asked for; one for each class of a network with a single sigmoid unit.
fn probes<'m>(args: &Args, model: &'m Model, layer: Option<NodeId>) -> Result<Vec<Probe<'m>>> {
    let score = match args.mode {
        Mode::Paper => Score::Logit,
        Mode::Book => Score::Probability,
    };
    let targets = match args.class.as_str() {
        "top" if model.head()?.is_binary() => vec![Target::Class(0), Target::Class(1)],
        "top" => vec![Target::Top],
        name => vec![Target::Class(model.find_class(name)?)],
    };
    let probe = |target| Ok(Probe::new(model, layer, target, score)?);
    targets.into_iter().map(probe).collect()
}

fn write(
    args: &Args,
    model: &Model,
    picture: &Picture,
    path: &Path,
    stem: &str,
    map: &Heatmap,
) -> Result<Entry> {
    let style = match args.mode {
        Mode::Paper => Overlay::default(),
        Mode::Book => Overlay::Book,
    };
    let size = [picture.height(), picture.width()];
    let (values, shape) = model.over_picture(&map.values, [map.height, map.width], size)?;
    let [over, alone] = [args.out.join(format!("{stem}.png")), args.out.join(format!("{stem}_map.png"))];
    write_png(&over, &overlay(picture, &values, shape, style))?;
    write_png(&alone, &heat(&values, shape, size))?;
    let npy = args.npy.then(|| args.out.join(format!("{stem}.npy")));
    if let Some(npy) = &npy {
        let mut bytes = Vec::new();
        write_npy(&mut bytes, &[map.height, map.width], &map.values).map_err(binesh::Error::from)?;
        write_file(npy, &bytes)?;
    }
    Ok(Entry {
        image: path.display().to_string(),
        class: map.class,
        label: model.label(map.class),
        probability: map.probability,
        peak: map.peak,
        blank: map.blank.map(|blank| blank.reason()),
        overlay: over.display().to_string(),
        map: alone.display().to_string(),
        npy: npy.map(|path| path.display().to_string()),
    })
}

fn text(entry: &Entry) -> String {
    let Entry { image, label, overlay, .. } = entry;
    let mut text = format!("{image}: {label} {:.1} %, {overlay}\n", 100.0 * entry.probability);
    if let Some(reason) = entry.blank {
        text.push_str(&format!("  the map is blank: {reason}\n"));
    }
    text
}

/// Names of result files, each used once: `a/cat.jpg` and `b/cat.png` become `cat` and `cat-2`. So do `cat.jpg` and
/// `Cat.png`, which are one name to some file systems.
#[derive(Default)]
struct Names {
    used: HashSet<String>,
}

impl Names {
    fn unique(&mut self, path: &Path) -> String {
        let stem = path.file_stem().map_or("picture".to_owned(), |stem| stem.to_string_lossy().into_owned());
        let numbered = (2..).map(|n| format!("{stem}-{n}"));
        let name = std::iter::once(stem.clone())
            .chain(numbered)
            .find(|name| !self.used.contains(&name.to_lowercase()));
        let name = name.expect("the numbers do not end");
        self.used.insert(name.to_lowercase());
        name
    }
}
