//! `binesh activations`

use std::fs::create_dir_all;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use binesh::Model;
use binesh::core::NodeId;
use binesh::formats::npy::NpzWriter;
use binesh::image::{DecodeOptions, Picture, deprocess};
use binesh::render::{ContactSheet, GridStyle, LayerTile, grid, matshow, sparsity, write_file, write_png};
use binesh::view::{LayerActivation, activations, map_layers};
use rayon::prelude::*;
use serde::Serialize;

use crate::args::{Common, PictureModelArgs, open_picture};
use crate::cmd::{Outcome, plain};
use crate::output::{self, Progress};

/// Show what every channel of every layer makes of a picture
///
/// Writes a picture per layer, all its channels in a grid, 16 to a row, and index.html, which shows them all with their
/// shapes, their share of zeros and how sparseness grows with depth.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh activations cat.jpg --out layers
  binesh activations -m model.h5 cat.jpg --out layers --layer conv2d_1 --channel 3 --channel 7")]
pub(crate) struct Args {
    /// Picture
    #[arg(value_name = "IMAGE")]
    image: PathBuf,

    #[command(flatten)]
    model: PictureModelArgs,

    /// Folder to write to; made if it does not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Only this layer, by path [default: all with a map as output]
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,

    /// Only this channel, alone, from its smallest to its largest value as matplotlib's `matshow` draws it
    #[arg(long, value_name = "I")]
    channel: Vec<usize>,

    /// Also write the values, [1, H, W, C] under each layer's name
    #[arg(long, value_name = "FILE")]
    npz: Option<PathBuf>,
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    image: String,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    class: String,
    /// H, W, C.
    shape: Vec<usize>,
    zeros_share: f64,
    dead_channels: Vec<usize>,
    files: Vec<String>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let model = args.model.load(common)?;
    let nodes = nodes(&model, &args.layer)?;
    let picture = open_picture(&args.image, &DecodeOptions::default())?;
    let layers = output::waiting("running the network", || activations(&model, &picture, &nodes))?;
    check_channels(args, &layers)?;
    create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;

    let progress = Progress::new(layers.len(), "layers");
    let write = |(index, layer)| write_layer(args, index + 1, layer).inspect(|_| progress.step());
    let written: Vec<Layer> = layers.par_iter().enumerate().map(write).collect::<Result<_>>()?;
    drop(progress);
    if let Some(path) = &args.npz {
        write_npz(path, &layers)?;
    }
    let page = args.channel.is_empty().then(|| write_page(args, &model, &picture, &written)).transpose()?;
    if common.json {
        let model = model.network().name.clone();
        output::print_json(&Report { model, image: args.image.display().to_string(), layers: written })?;
    } else if let Some(page) = page {
        output::print(&format!("{} layers, see {}\n", written.len(), page.display()))?;
    } else {
        let files: Vec<&str> = written.iter().flat_map(|layer| &layer.files).map(String::as_str).collect();
        output::print(&format!("{}\n", files.join("\n")))?;
    }
    Ok(Outcome::Done)
}

fn nodes(model: &Model, names: &[String]) -> Result<Vec<NodeId>> {
    if names.is_empty() {
        let all = map_layers(model);
        ensure!(!all.is_empty(), binesh::Error::NoMap);
        return Ok(all);
    }
    let node = |name: &String| {
        let node = model.find_node(name)?;
        if model.is_map(node) { Ok(node) } else { Err(binesh::Error::not_a_map(model.graph(), node).into()) }
    };
    let nodes: Vec<NodeId> = names.iter().map(node).collect::<Result<_>>()?;
    let first = |(index, node): &(usize, &NodeId)| !nodes[..*index].contains(node);
    Ok(nodes.iter().enumerate().filter(first).map(|(_, node)| *node).collect())
}

/// Each layer asked for has the channels asked for; asked of all layers, a channel is shown where there is one.
fn check_channels(args: &Args, layers: &[LayerActivation]) -> Result<()> {
    let channels = |layer: &LayerActivation| layer.values.shape().dims()[3];
    for &channel in &args.channel {
        let lacking = layers.iter().find(|layer| channel >= channels(layer));
        if let (Some(layer), false) = (lacking, args.layer.is_empty()) {
            let (name, c) = (&layer.name, channels(layer));
            bail!("layer `{name}` has no channel {channel}: it has {c}, numbered from 0");
        }
        let most = layers.iter().map(channels).max().unwrap_or(0);
        ensure!(channel < most, "no layer has a channel {channel}: the widest has {most}, numbered from 0");
    }
    Ok(())
}

fn write_layer(args: &Args, number: usize, layer: &LayerActivation) -> Result<Layer> {
    let dims = layer.values.shape().dims();
    let [h, w, c] = [dims[1], dims[2], dims[3]];
    let values = layer.values.data();
    let sparsity = sparsity(values, c);
    let name = plain(&layer.name);
    let mut files = Vec::new();
    let mut write = |file: String, picture: &Picture| -> Result<()> {
        write_png(&args.out.join(&file), picture)?;
        files.push(file);
        Ok(())
    };
    if args.channel.is_empty() {
        write(format!("{number:03}_{name}.png"), &grid(values, [h, w, c], &GridStyle::default()))?;
    }
    for &channel in args.channel.iter().filter(|channel| **channel < c) {
        let alone: Vec<f32> = values.iter().skip(channel).step_by(c).copied().collect();
        let side = GridStyle::default().min_side;
        write(format!("{number:03}_{name}_channel{channel}.png"), &matshow(&alone, [h, w], side))?;
    }
    Ok(Layer {
        name: layer.name.clone(),
        class: layer.class.clone(),
        shape: vec![h, w, c],
        zeros_share: sparsity.zeros_share(),
        dead_channels: sparsity.dead,
        files,
    })
}

fn write_npz(path: &Path, layers: &[LayerActivation]) -> Result<()> {
    let mut archive = NpzWriter::new(Cursor::new(Vec::new()));
    for layer in layers {
        let (shape, data) = (layer.values.shape().dims(), layer.values.data());
        archive.add(&layer.name, shape, data).map_err(binesh::Error::from)?;
    }
    let bytes = archive.finish().map_err(binesh::Error::from)?.into_inner();
    Ok(write_file(path, &bytes)?)
}

fn write_page(args: &Args, model: &Model, picture: &Picture, layers: &[Layer]) -> Result<PathBuf> {
    let known = model.preprocessing().ok_or(binesh::Error::NotAPictureModel)?;
    let seen = model.input(std::slice::from_ref(picture))?;
    write_png(&args.out.join("photo.png"), &deprocess(seen.data(), &known.preprocess)?)?;
    let mut lines = vec![format!("{}, as the network sees it: {}", args.image.display(), known.preprocess)];
    if let Ok(predictions) = model.predict(std::slice::from_ref(picture)) {
        let top = predictions[0].ranked().into_iter().take(3);
        let text: Vec<String> =
            top.map(|(class, p)| format!("{} {:.1} %", model.label(class), 100.0 * p)).collect();
        lines.push(text.join(", "));
    }
    let tile = |layer: &Layer| LayerTile {
        name: layer.name.clone(),
        class: layer.class.clone(),
        shape: layer.shape.clone(),
        zeros_share: layer.zeros_share,
        dead_channels: layer.dead_channels.len(),
        image_path: layer.files[0].clone(),
    };
    let sheet = ContactSheet {
        title: model.network().name.clone(),
        lines,
        photo_path: Some("photo.png".to_owned()),
        tiles: layers.iter().map(tile).collect(),
    };
    let page = args.out.join("index.html");
    write_file(&page, sheet.html().as_bytes())?;
    Ok(page)
}
