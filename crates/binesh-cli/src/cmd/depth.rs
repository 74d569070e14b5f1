//! `binesh depth`

use std::fs::create_dir_all;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use binesh::Model;
use binesh::core::NodeId;
use binesh::data::{self, Collection, ScanOptions};
use binesh::render::write_file;
use binesh::report::depth::DepthPage;
use binesh::view::depth::{Depth, LayerDepth, Settings, measure};
use serde::Serialize;

use crate::args::{Common, PictureModelArgs, WeightsArgs, count};
use crate::cmd::train::progress::Screen;
use crate::cmd::{Failed, Outcome};
use crate::output::{self, Progress};

/// Measure what layers keep of pictures: sparser, less picture, more class, or not
///
/// For every layer with a map, over a folder of photos: zeros, dead and blank channels, how many directions channels take, how
/// much of the picture ridge regression finds in it, how much of the class a linear probe finds (photos in class folders), and
/// which layers are alike (CKA). Writes index.html, with the picture as each layer keeps it and a sentence for each claim, and
/// depth.json.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh depth photos/ --out depth
  binesh depth -m vgg16.h5 photos/ --out depth --layer block1_conv1 --layer block5_conv3
  binesh depth -m run photos/ --against base.keras --out depth")]
pub(crate) struct Args {
    /// Photos, folders of photos, folders of class folders, or CSVs of path,label
    #[arg(required = true, value_name = "PHOTOS")]
    photos: Vec<PathBuf>,

    #[command(flatten)]
    model: PictureModelArgs,

    /// Folder to write to; made if it does not exist
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,

    /// Only this layer, by path [default: all with a map as output]
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,

    /// Another network, such as the one before fine-tuning: CKA with its layers of the same names
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,

    /// Photos to measure on at most; of more, so many are drawn
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = most)]
    most: usize,

    /// What random numbers depend on
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
}

/// Each of five parts is predicted from the others, and needs a photo or two.
const FEWEST: usize = 10;

fn most(text: &str) -> Result<usize, String> {
    count(text).ok().filter(|&n| n >= FEWEST).ok_or(format!("not a whole number from {FEWEST} on"))
}

/// The document of `--json`, and of `depth.json`.
#[derive(Serialize)]
struct Report {
    model: String,
    photos: usize,
    classes: Vec<String>,
    chance: Option<f64>,
    /// Rows, columns, channels.
    picture: [usize; 3],
    ceiling: Option<f64>,
    seed: u64,
    claims: Vec<Claimed>,
    layers: Vec<Layer>,
    similarity: Vec<Vec<Option<f64>>>,
    against: Option<String>,
    page: String,
    failed: Vec<Failed>,
}

#[derive(Serialize)]
struct Claimed {
    claim: &'static str,
    verdict: &'static str,
    correlation: Option<f64>,
    early: Option<f64>,
    late: Option<f64>,
    measured_on: usize,
    text: String,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    class: String,
    /// H, W, C.
    shape: [usize; 3],
    rectified: bool,
    zeros_share: f64,
    dead_channels: usize,
    blank_share: f64,
    entropy: f64,
    effective_rank: f64,
    samples: usize,
    /// Rows, columns.
    pooled: [usize; 2],
    features: usize,
    sketched: bool,
    picture_r2: Option<f64>,
    accuracy: Option<f64>,
    cka_before: Option<f64>,
    cka_against: Option<f64>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let model = args.model.load(common)?;
    let node = |name: &String| -> Result<NodeId> {
        let node = model.find_node(name)?;
        if model.is_map(node) { Ok(node) } else { Err(binesh::Error::not_a_map(model.graph(), node).into()) }
    };
    let mut nodes: Vec<NodeId> = args.layer.iter().map(node).collect::<Result<_>>()?;
    nodes.sort();
    nodes.dedup();
    let other = args.against.as_deref().map(|path| against(path, common)).transpose()?;
    let mut screen = Screen::new()?;
    let collection =
        data::collect(&args.photos, &ScanOptions::default(), &mut |event| screen.scanning(event))?;
    screen.clear();
    let named = |path: &PathBuf| args.photos.contains(path);
    let failed = Failed::of(
        collection.rejected.iter().filter(|rejected| !rejected.is_quiet() || named(&rejected.path)),
    );
    if collection.photos.len() < FEWEST {
        let given: Vec<String> = args.photos.iter().map(|path| path.display().to_string()).collect();
        bail!("{}: {} photos, and at least {FEWEST} are needed", given.join(", "), collection.photos.len());
    }
    if collection.photos.len() > args.most {
        output::note(&format!(
            "{} of {} photos are drawn (see `--most`)",
            args.most,
            collection.photos.len()
        ));
    }
    let labels: Option<Vec<usize>> = collection.photos.iter().map(|photo| photo.label).collect();
    if labels.is_none() || collection.classes.len() < 2 {
        output::note("photos are not in class folders, so how much of the class is there is not measured");
    }
    create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let depth = measured(args, &screen, &model, &nodes, &collection, labels.as_deref())?;
    let cka = match &other {
        Some(other) => {
            let names: Vec<&str> = depth.layers.iter().map(|layer| layer.name.as_str()).collect();
            let theirs: Vec<NodeId> = names
                .iter()
                .filter_map(|name| other.graph().find(name))
                .filter(|&id| other.is_map(id))
                .collect();
            if theirs.is_empty() {
                bail!(
                    "{}: no layer has the name of one of `{}`",
                    args.against.as_ref().map_or_else(String::new, |p| p.display().to_string()),
                    model.network().name
                );
            }
            Some(depth.against(&measured(args, &screen, other, &theirs, &collection, None)?))
        }
        None => None,
    };
    let page = write_page(args, &model, &collection, &depth, other.as_ref().zip(cka.clone()))?;
    let report = report(args, &model, &collection, &depth, cka, &page, failed);
    let text = serde_json::to_string_pretty(&report)?;
    write_file(&args.out.join("depth.json"), format!("{text}\n").as_bytes())?;
    let outcome = Outcome::of(&report.failed);
    if common.json {
        output::print(&format!("{text}\n"))?;
    } else {
        let claims: String = report.claims.iter().map(|claim| format!("{}\n", claim.text)).collect();
        output::print(&format!(
            "{claims}{} layers, {} photos, see {}\n",
            depth.layers.len(),
            depth.photos.len(),
            page.display()
        ))?;
    }
    Ok(outcome)
}

/// Another network, with the preprocessing that it has of itself.
fn against(path: &Path, common: &Common) -> Result<Model> {
    Ok(WeightsArgs::default().load(Some(path), common)?.0)
}

fn measured(
    args: &Args,
    screen: &Screen,
    model: &Model,
    nodes: &[NodeId],
    collection: &Collection,
    labels: Option<&[usize]>,
) -> Result<Depth> {
    let paths: Vec<PathBuf> = collection.photos.iter().map(|photo| photo.path.clone()).collect();
    let settings = Settings { most_photos: args.most, seed: args.seed, ..Settings::default() };
    let mut bar: Option<(Progress, usize)> = None;
    let depth = measure(model, nodes, &paths, labels, settings, &mut |photos| {
        let (bar, told) = bar.get_or_insert_with(|| (Progress::new(photos.total, "photos"), 0));
        (*told..photos.done).for_each(|_| bar.step());
        *told = photos.done;
        screen.go_on()
    })?;
    depth.context("stopped")
}

fn report(
    args: &Args,
    model: &Model,
    collection: &Collection,
    depth: &Depth,
    cka: Option<Vec<Option<f64>>>,
    page: &Path,
    failed: Vec<Failed>,
) -> Report {
    let n = depth.layers.len();
    let claimed = |claim: binesh::view::depth::Claim| Claimed {
        claim: claim.claim,
        verdict: claim.verdict.name(),
        correlation: claim.correlation,
        early: claim.early,
        late: claim.late,
        measured_on: claim.layers,
        text: claim.text,
    };
    let layer = |(at, layer): (usize, &LayerDepth)| Layer {
        name: layer.name.clone(),
        class: layer.class.clone(),
        shape: layer.shape,
        rectified: layer.rectified,
        zeros_share: layer.zeros_share,
        dead_channels: layer.dead_channels,
        blank_share: layer.blank_share,
        entropy: layer.entropy,
        effective_rank: layer.effective_rank,
        samples: layer.samples,
        pooled: layer.pooled,
        features: layer.features,
        sketched: layer.sketched,
        picture_r2: layer.picture_r2,
        accuracy: layer.accuracy,
        cka_before: layer.cka_before,
        cka_against: cka.as_ref().and_then(|cka| cka[at]),
    };
    Report {
        model: model.network().name.clone(),
        photos: depth.photos.len(),
        classes: collection.classes.clone(),
        chance: depth.chance,
        picture: depth.picture,
        ceiling: depth.ceiling,
        seed: args.seed,
        claims: depth.claims().into_iter().map(claimed).collect(),
        layers: depth.layers.iter().enumerate().map(layer).collect(),
        similarity: depth.similarity().chunks(n).map(<[_]>::to_vec).collect(),
        against: args.against.as_ref().map(|path| path.display().to_string()),
        page: page.display().to_string(),
        failed,
    }
}

fn write_page(
    args: &Args,
    model: &Model,
    collection: &Collection,
    depth: &Depth,
    against: Option<(&Model, Vec<Option<f64>>)>,
) -> Result<PathBuf> {
    let fact = |what: &str, value: String| (what.to_owned(), value);
    let photos: Vec<String> = args.photos.iter().map(|path| path.display().to_string()).collect();
    let mut facts = vec![
        fact("photos", format!("{} of {}", depth.photos.len(), photos.join(", "))),
        fact("layers", depth.layers.len().to_string()),
    ];
    if depth.chance.is_some() {
        facts.push(fact("classes", collection.classes.join(", ")));
    }
    facts.push(fact("seed", args.seed.to_string()));
    let page = DepthPage {
        title: model.network().name.clone(),
        facts,
        depth,
        against: against.map(|(other, cka)| (other.network().name.clone(), cka)),
    };
    let path = args.out.join("index.html");
    write_file(&path, page.html().as_bytes())?;
    Ok(path)
}
