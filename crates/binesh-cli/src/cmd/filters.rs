//! `binesh filters`

mod saved;

use std::fs::create_dir_all;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use binesh::Model;
use binesh::core::NodeId;
use binesh::data::{self, ScanOptions};
use binesh::formats::Limits;
use binesh::formats::npy::read_npy;
use binesh::image::{DecodeOptions, Picture};
use binesh::render::{SheetStyle, kernels, outlined, sheet, write_file, write_png};
use binesh::report::filters::{FilterCard, FiltersPage};
use binesh::view::filters::{
    BATCH, Learned, Objective, Recipe, Settings, Wanted, batches, first_kernel, input_range, learn,
};
use binesh::view::{excite, patch};
use clap::ValueEnum;
use serde::Serialize;

use self::saved::{Entry, Key, PhotoEntry, Saved};
use crate::args::{Common, PictureModelArgs, count, open_picture, read_file};
use crate::cmd::train::progress::Screen;
use crate::cmd::{Failed, Outcome};
use crate::inputs;
use crate::output::{self, Hinted, Progress};

/// Show what channels and classes answer to: pictures learned from noise
///
/// Writes a picture for each, all of them on one sheet, and index.html. Each result says how far the answer rose above the
/// answer to random pictures; where it did not, that is an error. What is in the folder already, learned in the same way, is
/// kept.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh filters -m vgg16.h5 --layer block3_conv1 --channel 3 --channel 7 --out filters
  binesh filters -m vgg16.h5 --layer block3_conv1 --recipe book --out filters
  binesh filters -m vgg16.h5 --class lynx --objective block4_conv1:5@center --out filters
  binesh filters -m vgg16.h5 --layer block2_conv2 --photos photos/ --out filters
  binesh filters --kernels --out filters")]
pub(crate) struct Args {
    #[command(flatten)]
    model: PictureModelArgs,

    /// Folder to write to; made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Layer whose channels are shown
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,

    /// Channel of it, from 0 [default: the first 64 with `--recipe book`, else the first 16]
    #[arg(long, value_name = "I", requires = "layer")]
    channel: Vec<usize>,

    /// Each channel in the middle of its map instead of all over it
    #[arg(long, requires = "layer")]
    neuron: bool,

    /// The layer as a whole: what it sees already becomes more (DeepDream)
    #[arg(long, requires = "layer")]
    dream: bool,

    /// A mixture of the layer's channels: a NumPy file of a number for each
    #[arg(long, value_name = "FILE.npy", requires = "layer")]
    direction: Vec<PathBuf>,

    /// Class: its name, a part of it, or its index
    #[arg(long, value_name = "CLASS")]
    class: Vec<String>,

    /// A sum, as in `conv2:3 + 0.5*conv3:7@center - class:cat`; `dream:LAYER` is a layer as a whole
    #[arg(long, value_name = "SUM", allow_hyphen_values = true)]
    objective: Vec<String>,

    /// Pictures of each, kept different from one another
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = copies)]
    diverse: usize,

    /// Whose recipe
    #[arg(long, value_enum, default_value_t = Kind::Lucid)]
    recipe: Kind,

    /// Steps to take [default: 512; 40 with `--recipe book`]
    #[arg(long, value_name = "N", value_parser = count)]
    steps: Option<usize>,

    /// Rows and columns of the pictures [default: 128x128; with `--recipe book` the network's, or 64x64 if it takes any]
    #[arg(long, value_name = "HxW", value_parser = inputs::size)]
    size: Option<[usize; 2]>,

    /// What random numbers depend on
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Photos, or folders of them: those that excite each channel most are shown beside its picture
    #[arg(long, value_name = "PHOTOS")]
    photos: Vec<PathBuf>,

    /// How many photos for each
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = count)]
    top: usize,

    /// The kernels of the first layer as pictures
    #[arg(long)]
    kernels: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The book's: 40 steps along the gradient of the pixels
    Book,
    /// Lucid's: Adam on a spectrum, seen shifted, scaled and turned
    Lucid,
}

impl Kind {
    fn recipe(self) -> Recipe {
        match self {
            Kind::Book => Recipe::Book,
            Kind::Lucid => Recipe::Lucid,
        }
    }
}

fn copies(text: &str) -> Result<usize, String> {
    let most = BATCH;
    count(text).ok().filter(|&n| n <= most).ok_or(format!("not a whole number from 1 to {most}"))
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    key: Key,
    input: String,
    filters: Vec<Entry>,
    sheet: Option<String>,
    page: String,
    kernels: Option<Kernels>,
    failed: Vec<Failed>,
}

#[derive(Clone, Serialize)]
struct Kernels {
    layer: String,
    count: usize,
    file: String,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let model = args.model.load(common)?;
    let wanted = wanted(args, &model)?;
    if wanted.is_empty() && !args.kernels {
        let message = "nothing to show was named".to_owned();
        let hint = "`--layer NAME`, `--class CLASS`, `--objective SUM` or `--kernels`; `binesh summary` lists the layers";
        return Err(Hinted { message, hint: hint.to_owned() }.into());
    }
    let mut settings = args.recipe.recipe().settings(&model)?;
    settings.size = args.size.unwrap_or(settings.size);
    settings.steps = args.steps.unwrap_or(settings.steps);
    settings.seed = args.seed;
    let key = Key {
        model: model.network().name.clone(),
        file: args.model.file().map(|path| path.display().to_string()),
        recipe: args.recipe,
        size: settings.size,
        steps: settings.steps,
        seed: args.seed,
    };
    create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let kernels = args.kernels.then(|| write_kernels(args, &model)).transpose()?;
    let mut saved = Saved::open(&args.out, key);
    optimise(args, &model, &wanted, &settings, &mut saved)?;
    let mut entries = saved.of(&wanted);
    let failed =
        if args.photos.is_empty() { Vec::new() } else { photos(args, &model, &wanted, &mut entries)? };
    let sheet = write_sheet(args, &settings, &entries)?;
    let input = input_range(&model, settings.recipe)?;
    let page = write_page(args, &model, &settings, &input, &entries, kernels.as_ref())?;
    for entry in entries.iter().filter(|entry| !entry.rose) {
        let Entry { name, reached, random, .. } = entry;
        output::complain_of(&format!(
            "{name}: nothing was learned: {reached:.4} is not above the {:.4} that one of {} random pictures brings about",
            random.most, random.pictures
        ));
    }
    let all_rose = entries.iter().all(|entry| entry.rose);
    let outcome = if all_rose { Outcome::of(&failed) } else { Outcome::SomeFailed };
    if common.json {
        let page = page.display().to_string();
        output::print_json(&Report {
            key: saved.key,
            input,
            filters: entries,
            sheet,
            page,
            kernels,
            failed,
        })?;
        return Ok(outcome);
    }
    let mut text: String = entries.iter().map(line).collect();
    if !entries.is_empty() {
        text.push_str(&format!("pictures go in: {input}\n"));
    }
    if let Some(kernels) = &kernels {
        text.push_str(&format!("{} kernels of `{}`: {}\n", kernels.count, kernels.layer, kernels.file));
    }
    output::print(&format!("{text}see {}\n", page.display()))?;
    Ok(outcome)
}

fn line(entry: &Entry) -> String {
    let Entry { name, reached, random, file, rose, .. } = entry;
    let mark = if *rose { "" } else { "  nothing learned" };
    format!(
        "{name}: {reached:.4} against {:.4} by chance (at most {:.4}), {file}{mark}\n",
        random.mean, random.most
    )
}

/// Everything that was asked for.
fn wanted(args: &Args, model: &Model) -> Result<Vec<Wanted>> {
    let mut objectives = Vec::new();
    if let Some(layer) = &args.layer {
        objectives.extend(of_layer(args, model, model.find_node(layer)?)?);
    }
    for class in &args.class {
        objectives.push(Objective::class(model, model.find_class(class)?)?);
    }
    for text in &args.objective {
        objectives.push(Objective::parse(model, text)?);
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for objective in objectives {
        if wanted.iter().all(|other| other.objective.name != objective.name) {
            wanted.push(Wanted { objective, copies: args.diverse });
        }
    }
    Ok(wanted)
}

fn of_layer(args: &Args, model: &Model, node: NodeId) -> Result<Vec<Objective>> {
    let mut objectives = Vec::new();
    if args.dream {
        objectives.push(Objective::dream(model, node)?);
    }
    for path in &args.direction {
        let file = || path.display().to_string();
        let limits = Limits::default();
        let array = read_npy(&read_file(path, limits.file_bytes)?, &limits)
            .map_err(binesh::Error::from)
            .with_context(file)?;
        let mut objective = Objective::direction(model, node, array.data).with_context(file)?;
        let stem = path.file_stem().map_or_else(file, |stem| stem.to_string_lossy().into_owned());
        objective.name = format!("{}:{stem}", model.graph().node(node).name);
        objectives.push(objective);
    }
    let channels = match (&args.channel[..], objectives.is_empty()) {
        ([], false) => Vec::new(),
        ([], true) => first_channels(args, model, node),
        (channels, _) => channels.to_vec(),
    };
    for channel in channels {
        objectives.push(match args.neuron {
            true => Objective::neuron(model, node, channel, None)?,
            false => Objective::channel(model, node, channel)?,
        });
    }
    Ok(objectives)
}

/// The first ones; how many there are is said where it is more.
fn first_channels(args: &Args, model: &Model, node: NodeId) -> Vec<usize> {
    let most = if args.recipe == Kind::Book { 64 } else { 16 };
    // What is no map and no vector is refused with its first channel.
    let channels = model.graph().dims(node).last().copied().flatten().unwrap_or(1);
    if channels > most {
        let name = &model.graph().node(node).name;
        output::note(&format!(
            "the first {most} of {channels} channels of `{name}` are shown (see `--channel`)"
        ));
    }
    (0..channels.min(most)).collect()
}

/// Learns what is not in the folder yet, and writes each batch when it is done.
fn optimise(
    args: &Args,
    model: &Model,
    wanted: &[Wanted],
    settings: &Settings,
    saved: &mut Saved,
) -> Result<()> {
    let missing: Vec<Wanted> = wanted.iter().filter(|wanted| !saved.has(wanted)).cloned().collect();
    if missing.len() < wanted.len() {
        output::note(&format!(
            "{} of {} were learned before and are kept",
            wanted.len() - missing.len(),
            wanted.len()
        ));
    }
    let batches = batches(&missing);
    let progress = Progress::new(batches.len() * settings.steps, "steps");
    for batch in batches {
        let learned = learn(model, batch, settings, &mut |_| {
            progress.step();
            ControlFlow::Continue(())
        })?;
        let learned = learned.expect("nothing stops it");
        for (wanted, pictures) in batch.iter().zip(learned) {
            for (copy, Learned { picture, reached, random, .. }) in pictures.iter().enumerate() {
                let rose = pictures[copy].rose();
                let name = wanted.objective.name.clone();
                let file = saved.file(&name, copy);
                write_png(&args.out.join(&file), picture)?;
                let random = (*random).into();
                saved.add(Entry {
                    name,
                    copy,
                    file,
                    reached: *reached,
                    random,
                    rose,
                    photos: Vec::new(),
                    photos_file: None,
                });
            }
        }
        saved.write(&args.out)?;
    }
    Ok(())
}

/// Photos beside each picture. Gives those that could not be read.
fn photos(args: &Args, model: &Model, wanted: &[Wanted], entries: &mut [Entry]) -> Result<Vec<Failed>> {
    let mut screen = Screen::new()?;
    let options = ScanOptions::default();
    let collection = data::collect(&args.photos, &options, &mut |event| screen.scanning(event))?;
    screen.clear();
    let named = |path: &PathBuf| args.photos.contains(path);
    let failed = Failed::of(
        collection.rejected.iter().filter(|rejected| !rejected.is_quiet() || named(&rejected.path)),
    );
    let paths: Vec<PathBuf> = collection.photos.iter().map(|photo| photo.path.clone()).collect();
    if paths.is_empty() {
        let given: Vec<String> = args.photos.iter().map(|path| path.display().to_string()).collect();
        bail!("{}: no photos", given.join(", "));
    }
    let objectives: Vec<&Objective> = wanted.iter().map(|wanted| &wanted.objective).collect();
    let progress = Progress::new(paths.len(), "photos");
    let mut told = 0;
    let found = excite(model, &objectives, &paths, args.top, &mut |photos| {
        (told..photos.done).for_each(|_| progress.step());
        told = photos.done;
        screen.go_on()
    })?;
    let Some(found) = found else { bail!("stopped") };
    drop(progress);
    for (objective, found) in objectives.into_iter().zip(found) {
        let (mut patches, mut wholes, mut list) = (Vec::new(), Vec::new(), Vec::new());
        for found in found {
            let path = &paths[found.photo];
            let photo = open_picture(path, &DecodeOptions::default())?;
            let (seen, field) = patch(model, objective, &photo, found.at)?;
            patches.push(seen.crop(field.top, field.left, field.height, field.width));
            let part = [field.top, field.left, field.height, field.width];
            wholes.push(outlined(&seen, part, [255, 210, 0]));
            list.push(PhotoEntry {
                image: path.display().to_string(),
                answer: found.answer,
                at: found.at,
                patch: part,
            });
        }
        let style = SheetStyle { side: 128, columns: patches.len(), margin: 4, background: [255; 3] };
        let tiles: Vec<Option<&Picture>> = patches.iter().chain(&wholes).map(Some).collect();
        let own = entries.iter_mut().filter(|entry| entry.name == objective.name);
        let picture = sheet(&tiles, &style);
        let mut file: Option<String> = None;
        for entry in own {
            let stem = entry.file.trim_end_matches(".png").to_owned();
            if file.is_none() {
                let name = format!("{stem}_photos.png");
                write_png(&args.out.join(&name), &picture)?;
                file = Some(name);
            }
            (entry.photos_file, entry.photos) = (file.clone(), list.clone());
        }
    }
    Ok(failed)
}

/// All pictures on one sheet; the book's has eight rows, of which each holds every eighth filter.
fn write_sheet(args: &Args, settings: &Settings, entries: &[Entry]) -> Result<Option<String>> {
    if entries.is_empty() {
        return Ok(None);
    }
    let open = |entry: &Entry| open_picture(&args.out.join(&entry.file), &DecodeOptions::default());
    let pictures: Vec<Picture> = entries.iter().map(open).collect::<Result<_>>()?;
    let side = settings.size[0].max(settings.size[1]);
    let (tiles, style) = match args.recipe {
        Kind::Book if pictures.len() <= 64 => {
            let columns = pictures.len().div_ceil(8);
            let rows = pictures.len().min(8);
            let at = |place: usize| pictures.get(place % columns * 8 + place / columns);
            let tiles: Vec<Option<&Picture>> = (0..rows * columns).map(at).collect();
            (tiles, SheetStyle { side, columns, margin: 5, background: [0; 3] })
        }
        _ => (
            pictures.iter().map(Some).collect(),
            SheetStyle { side, columns: 8, margin: 5, background: [255; 3] },
        ),
    };
    let file = "sheet.png".to_owned();
    write_png(&args.out.join(&file), &sheet(&tiles, &style))?;
    Ok(Some(file))
}

fn write_kernels(args: &Args, model: &Model) -> Result<Kernels> {
    let first = first_kernel(model)?;
    let pictures = kernels(first.values.data(), first.shape(), &first.order, 48);
    ensure!(!pictures.is_empty(), "layer `{}` has no kernels", first.layer);
    let side = pictures[0].height().max(pictures[0].width());
    let style = SheetStyle { side, columns: 16, margin: 3, background: [255; 3] };
    let file = "kernels.png".to_owned();
    write_png(&args.out.join(&file), &sheet(&pictures.iter().map(Some).collect::<Vec<_>>(), &style))?;
    Ok(Kernels { layer: first.layer, count: pictures.len(), file })
}

fn write_page(
    args: &Args,
    model: &Model,
    settings: &Settings,
    input: &str,
    entries: &[Entry],
    kernels: Option<&Kernels>,
) -> Result<PathBuf> {
    let card = |entry: &Entry| FilterCard {
        name: if entry.copy == 0 {
            entry.name.clone()
        } else {
            format!("{}, picture {}", entry.name, entry.copy + 1)
        },
        picture: entry.file.clone(),
        reached: entry.reached,
        random: entry.random.into(),
        rose: entry.rose,
        photos: entry.photos_file.clone(),
    };
    let fact = |what: &str, value: String| (what.to_owned(), value);
    let [h, w] = settings.size;
    let facts = match entries {
        [] => Vec::new(),
        _ => vec![
            fact("recipe", if args.recipe == Kind::Book { "the book's" } else { "Lucid's" }.to_owned()),
            fact("steps", settings.steps.to_string()),
            fact("size", format!("{h} × {w}")),
            fact("seed", settings.seed.to_string()),
            fact("input", input.to_owned()),
        ],
    };
    let page = FiltersPage {
        title: model.network().name.clone(),
        facts,
        filters: entries.iter().map(card).collect(),
        kernels: kernels.map(|kernels| (kernels.layer.clone(), kernels.file.clone())),
    };
    let path: &Path = &args.out.join("index.html");
    write_file(path, page.html().as_bytes())?;
    Ok(path.to_owned())
}
