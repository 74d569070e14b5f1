//! `binesh summary`

use std::path::PathBuf;

use anyhow::Result;
use binesh::core::Grads;
use binesh::formats::LoadReport;
use binesh::report::plan::Steps;
use binesh::report::summary::{Keras3Style, ModelKind, Note, Summary};
use binesh::{Model, PreprocessingSource};
use clap::error::ErrorKind;
use clap::{CommandFactory, ValueEnum};
use serde_json::{Value, json};

use crate::args::{Common, WeightsArgs, count};
use crate::cmd::{Cli, Outcome};
use crate::inputs;
use crate::output;

/// Print a network's layers, output shapes and parameters, as Keras does
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  binesh summary model.h5
  binesh summary model.keras --expand-nested --show-trainable --costs
  binesh summary model.keras --plan --batch 8")]
pub(crate) struct Args {
    /// Model file, or the folder of a run [default: the built-in EfficientNet-Lite0]
    #[arg(value_name = "MODEL")]
    model: Option<PathBuf>,

    #[command(flatten)]
    weights: WeightsArgs,

    /// Whose table
    #[arg(long, value_enum, default_value_t = Style::Keras3)]
    style: Style,

    /// Show the layers inside nested models
    #[arg(long)]
    expand_nested: bool,

    /// Show which layers are trainable
    #[arg(long)]
    show_trainable: bool,

    /// Add multiply-adds and activation memory of one picture, and how pictures are prepared
    #[arg(long)]
    costs: bool,

    /// The steps that a run takes instead: what is fused, how it is computed, what it moves, how long it should take
    #[arg(long, conflicts_with_all = ["style", "expand_nested", "show_trainable", "costs", "width"])]
    plan: bool,

    /// Pictures in one run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count, requires = "plan")]
    batch: usize,

    /// Rows and columns of the input, where the network leaves them open [default: as pictures are prepared for it]
    #[arg(long, value_name = "HxW", value_parser = inputs::size, requires = "plan")]
    size: Option<[usize; 2]>,

    /// Width of the table in columns [default: as Keras chooses from the terminal]
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    width: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Style {
    /// Keras 2.0.8, as in the first edition of the book
    Keras2,
    /// Keras 3
    Keras3,
    /// As `--json`
    Json,
}

/// No table is wider, and no memory holds one that is much wider.
fn columns(text: &str) -> Result<usize, String> {
    let columns = text.parse().ok().filter(|columns| (1..=10_000).contains(columns));
    columns.ok_or_else(|| "not a number from 1 to 10000".to_owned())
}

pub(crate) fn run(args: &Args, common: &Common) -> Result<Outcome> {
    let of_keras3 = args.expand_nested || args.show_trainable || args.costs || args.width.is_some();
    if args.style == Style::Keras2 && of_keras3 {
        let text =
            "`--expand-nested`, `--show-trainable`, `--costs` and `--width` are not for `--style keras2`";
        Cli::command().error(ErrorKind::ArgumentConflict, text).exit();
    }
    let (model, report) = args.weights.load(args.model.as_deref(), common)?;
    if args.plan {
        return plan(&model, args, common);
    }
    let summary = summary(&model, report.as_ref())?;
    if common.json || args.style == Style::Json {
        let mut document = summary.json();
        if let (Some(fields), Some(report)) = (document.as_object_mut(), &report) {
            fields.insert("file".to_owned(), file(report));
        }
        output::print_json(&document)?;
        return Ok(Outcome::Done);
    }
    output::print(&match args.style {
        Style::Keras2 => summary.keras2(),
        _ => summary.keras3(&Keras3Style {
            // A pipe gets Keras's own choice.
            terminal_columns: columns_or(Keras3Style::default().terminal_columns),
            line_length: args.width,
            expand_nested: args.expand_nested,
            show_trainable: args.show_trainable,
            show_costs: args.costs,
            show_notes: args.costs,
        }),
    })?;
    Ok(Outcome::Done)
}

fn plan(model: &Model, args: &Args, common: &Common) -> Result<Outcome> {
    let shapes = inputs::shapes(model, args.batch, args.size)?;
    let session = model.session(&shapes, model.graph().outputs(), Grads::None)?;
    let steps = Steps::of(&model.network().name, session.plan(), model.runtime());
    if common.json {
        output::print_json(&steps.json())?;
    } else {
        output::print(&steps.text(columns_or(PLAN_COLUMNS)))?;
    }
    Ok(Outcome::Done)
}

/// Columns of a plan's table where there is no terminal: what is fused is seldom cut.
const PLAN_COLUMNS: usize = 140;

/// The width of the terminal, or what a pipe gets.
fn columns_or(pipe: usize) -> usize {
    terminal_size::terminal_size_of(std::io::stdout()).map_or(pipe, |(width, _)| usize::from(width.0))
}

/// What happened to each tensor of the file.
fn file(report: &LoadReport) -> Value {
    let used = report.used.iter().map(|used| json!({ "tensor": used.tensor, "weight": used.weight }));
    json!({
        "format": report.format,
        "version": report.version,
        "used": used.collect::<Vec<_>>(),
        "unused": report.unused,
        "missing": report.missing,
        "transposed": report.transposed,
    })
}

fn summary(model: &Model, report: Option<&LoadReport>) -> Result<Summary> {
    let network = model.network();
    let kind = match network.kind {
        binesh::formats::Kind::Sequential => ModelKind::Sequential,
        binesh::formats::Kind::Functional => ModelKind::Functional,
    };
    let picture = model.picture_shape();
    let mut summary = Summary::of(&network.name, kind, &network.graph, &network.layers, &picture)
        .map_err(|error| binesh::Error::Plan(error.into()))?;
    if let Some(report) = report {
        let by = report.version.as_ref().map_or(String::new(), |version| format!(", written by {version}"));
        let (used, unused) = (report.used.len(), report.unused.len());
        let text = format!("{}{by}; {used} tensors used, {unused} not", report.format);
        summary.notes.push(Note { label: "File".to_owned(), text });
    }
    if let Some(known) = model.preprocessing() {
        let source = match &known.source {
            PreprocessingSource::File => "says the file".to_owned(),
            PreprocessingSource::Architecture(name) => format!("as {name}"),
            PreprocessingSource::Application(name) => format!("as `{name}` of keras.applications"),
            PreprocessingSource::InNetwork => "the network scales by itself".to_owned(),
            PreprocessingSource::Assumed => "assumed: the file does not say".to_owned(),
            PreprocessingSource::User => "as asked".to_owned(),
        };
        summary
            .notes
            .push(Note { label: "Pictures".to_owned(), text: format!("{} ({source})", known.preprocess) });
    }
    if let Some(labels) = &network.meta.labels {
        let shown = labels.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
        summary
            .notes
            .push(Note { label: "Classes".to_owned(), text: format!("{}: {shown}, ...", labels.len()) });
    }
    Ok(summary)
}
