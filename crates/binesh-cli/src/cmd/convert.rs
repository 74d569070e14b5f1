//! `binesh convert`

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use anyhow::{Context, Result, anyhow, ensure};
use binesh::formats::{WRITERS, Writer};
use binesh::render::{WriteError, write_file_with};
use binesh::{Model, PreprocessingSource, ReadBack};
use clap::builder::PossibleValue;
use serde::Serialize;

use crate::args::{Common, PictureArgs, WeightsArgs};
use crate::cmd::Outcome;
use crate::output;

/// Write a network as a file of another format: Keras, ONNX or safetensors
///
/// Class names and how pictures are prepared travel along, where they are known, and Binesh reads them back. Before
/// anything is written, the new file is read and asked about a random picture: it must answer as the old one does. What
/// a format cannot express is an error that names the layer.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh convert model.h5 model.onnx              for ONNX Runtime, still fed [N, H, W, C]
  binesh convert resnet50.pth resnet50.keras      PyTorch's weights as a model of Keras 3
  binesh convert run model.h5 --scale-inside      Keras 2 and 3, fed pictures from 0 to 255")]
pub(crate) struct Args {
    /// Model file, or the folder of a run
    #[arg(value_name = "IN")]
    model: PathBuf,

    /// File to write, by its ending in the format of `--format`
    #[arg(value_name = "OUT")]
    out: PathBuf,

    /// Format [default: the ending of OUT]
    #[arg(long, value_parser = format_names(), value_name = "FORMAT")]
    format: Option<String>,

    /// Overwrite OUT if it is there
    #[arg(long)]
    force: bool,

    /// Put the scaling of pixel values into the network, as its first layers: it then takes pictures from 0 to 255
    #[arg(long)]
    scale_inside: bool,

    /// Do not read the new file before it is written
    #[arg(long)]
    no_check: bool,

    #[command(flatten)]
    weights: WeightsArgs,

    #[command(flatten)]
    picture: PictureArgs,
}

fn format_names() -> Vec<PossibleValue> {
    WRITERS.iter().map(|writer| PossibleValue::new(writer.ending).help(writer.what)).collect()
}

/// The document of `--json`.
#[derive(Serialize)]
struct Report {
    model: String,
    output: String,
    format: &'static str,
    layers: usize,
    parameters: usize,
    bytes: usize,
    labels: Option<usize>,
    preprocessing: Option<String>,
    difference: Option<f32>,
    equal_weights: Option<usize>,
    notes: Vec<String>,
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let writer = writer(args)?;
    let (name, there) = (args.out.display(), args.out.exists());
    ensure!(!args.out.is_dir(), "{name}: a folder");
    if there && !args.force {
        let message = format!("{name}: the file is there already");
        return Err(output::Hinted { message, hint: "`--force` overwrites it".to_owned() }.into());
    }
    let writing = Stoppable::new()?;
    let (mut model, _) = args.weights.load(Some(&args.model), common)?;
    args.picture.set(&mut model)?;
    let source = model.preprocessing().map(|known| &known.source);
    let is_assumed = source == Some(&PreprocessingSource::Assumed);
    if args.scale_inside && is_assumed {
        let message = "the model file does not say how pictures are scaled".to_owned();
        return Err(output::Hinted { message, hint: "`--scaling` says it".to_owned() }.into());
    }
    let scaled = if args.scale_inside { Some(model.scaled_inside()?) } else { None };
    let written = scaled.as_ref().unwrap_or(&model);
    let file = output::waiting(&format!("making {name}"), || written.export(writer))?;
    let check = || model.read_back(written, &file.bytes);
    let checked = match args.no_check {
        true => None,
        false => Some(output::waiting("reading it back", check).context(format!("{name} is not written"))?),
    };
    writing.write(&args.out, &file.bytes)?;

    let report = report(args, written, writer, &file.bytes, checked, file.notes);
    report.notes.iter().for_each(|note| output::note(note));
    if is_assumed {
        output::note("how pictures are scaled is not known, and the file does not say it (see `--scaling`)");
    }
    match common.json {
        true => output::print_json(&report)?,
        false => text(&report).iter().for_each(|line| output::say(line)),
    }
    Ok(Outcome::Done)
}

fn writer(args: &Args) -> Result<&'static Writer> {
    let name = args.out.display().to_string();
    let writer = match &args.format {
        Some(format) => Writer::named(format),
        None => Writer::of(&name),
    };
    Ok(writer.ok_or(binesh::Error::NoWriter { path: name })?)
}

fn report(
    args: &Args,
    model: &Model,
    writer: &Writer,
    bytes: &[u8],
    checked: Option<ReadBack>,
    notes: Vec<String>,
) -> Report {
    let (layers, params) = (model.layers(), model.params());
    let nodes = model.graph().ids();
    let known = model.preprocessing().filter(|known| known.source != PreprocessingSource::Assumed);
    let (labels, known) = match writer.holds_meta() {
        true => (model.network().meta.labels.as_ref(), known),
        false => (None, None),
    };
    Report {
        model: args.model.display().to_string(),
        output: args.out.display().to_string(),
        format: writer.ending,
        layers: layers.iter().filter(|&(id, _)| layers.children(Some(id)).next().is_none()).count(),
        parameters: nodes.filter_map(|id| params.get(id)).map(|value| value.data().len()).sum(),
        bytes: bytes.len(),
        labels: labels.map(Vec::len),
        preprocessing: known.map(|known| known.preprocess.to_string()),
        difference: match checked {
            Some(ReadBack::Outputs(difference)) => Some(difference),
            _ => None,
        },
        equal_weights: match checked {
            Some(ReadBack::Weights(count)) => Some(count),
            _ => None,
        },
        notes,
    }
}

fn text(report: &Report) -> Vec<String> {
    let size = match report.bytes {
        0..100_000 => format!("{:.1} kB", report.bytes as f64 / 1e3),
        bytes => format!("{:.1} MB", bytes as f64 / 1e6),
    };
    let (layers, parameters) = (report.layers, report.parameters);
    let mut lines = vec![format!("{}: {layers} layers, {parameters} parameters, {size}", report.output)];
    let labels = report.labels.map(|n| format!("{n} class names"));
    let preprocessing = report.preprocessing.as_ref().map(|how| format!("pictures: {how}"));
    let along: Vec<String> = labels.into_iter().chain(preprocessing).collect();
    if !along.is_empty() {
        lines.push(format!("with it: {}", along.join("; ")));
    }
    lines.push(match (report.difference, report.equal_weights) {
        (Some(0.0), _) => "read back: the same outputs, to the bit".to_owned(),
        (Some(difference), _) => {
            format!("read back: outputs differ by at most {difference:.1e} of the largest value")
        }
        (None, Some(count)) => format!("read back: {count} tensors, the same to the bit"),
        (None, None) => "not read back".to_owned(),
    });
    lines
}

/// Where Ctrl-C ends the program at once, and where it must first take away what it has written.
struct Stoppable {
    state: &'static State,
}

struct State {
    phase: AtomicU8,
    stop: AtomicBool,
}

const READING: u8 = 0;
const WRITING: u8 = 1;

/// Bytes that are written at a time.
const PART: usize = 4 << 20;

impl Stoppable {
    fn new() -> Result<Stoppable> {
        static STATE: State = State { phase: AtomicU8::new(READING), stop: AtomicBool::new(false) };
        let stopped = || {
            STATE.stop.store(true, Ordering::SeqCst);
            if STATE.phase.load(Ordering::SeqCst) == READING {
                std::process::exit(130);
            }
        };
        ctrlc::set_handler(stopped).context("cannot catch Ctrl-C")?;
        Ok(Stoppable { state: &STATE })
    }

    /// Writes a file whole or not at all.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        self.state.phase.store(WRITING, Ordering::SeqCst);
        let written = write_file_with(path, |file| {
            for part in bytes.chunks(PART) {
                if self.state.stop.load(Ordering::SeqCst) {
                    return Err(Unwritten::Stopped);
                }
                let failed = |source| WriteError { path: path.to_owned(), source };
                file.write_all(part).map_err(failed)?;
            }
            Ok(())
        });
        self.state.phase.store(READING, Ordering::SeqCst);
        written.map_err(|e| match e {
            Unwritten::Failed(error) => error.into(),
            Unwritten::Stopped => anyhow!("stopped; nothing is written"),
        })
    }
}

enum Unwritten {
    Failed(WriteError),
    Stopped,
}

impl From<WriteError> for Unwritten {
    fn from(error: WriteError) -> Self {
        Unwritten::Failed(error)
    }
}
