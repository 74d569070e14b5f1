//! How it learned: the stages with their tables, the curves, and the probes that chose what to unfreeze.

use super::{Stage, StageLayer, TrainingReport};
use crate::report::markup::{Section, bar, counted, duration, name, percent, significant, table};
use crate::report::svg::{Axis, LineChart, Series};
use crate::report::units::thousands;
use crate::train::HistoryRow;

/// Frozen layers in a row, from this many on, are one line of a stage's table.
const LEAST_FOLDED: usize = 4;

pub(super) fn probe(report: &TrainingReport) -> Option<Section> {
    let probe = report.probe.as_ref().filter(|probe| !probe.blocks.is_empty())?;
    let start = probe.unfrozen_from.as_deref();
    let first = probe.blocks.iter().position(|block| Some(block.block.as_str()) == start);
    let mut rows = Vec::new();
    let mut points = Vec::new();
    for (i, block) in probe.blocks.iter().enumerate() {
        let learns = first.is_some_and(|first| i >= first);
        let state = if learns { "<b class=\"on\">learns</b>" } else { "<span class=\"off\">frozen</span>" };
        let accuracy = percent(block.accuracy);
        points.push(((i + 1) as f64, block.accuracy, format!("{}. {}: {accuracy}", i + 1, block.block)));
        rows.push(vec![
            format!("<small>{}</small> {}", i + 1, name(&block.block)),
            state.into(),
            bar(block.accuracy, &accuracy, if learns { "first" } else { "quiet" }),
        ]);
    }
    let series = Series { name: "accuracy", class: "first", points };
    let chart = LineChart {
        alt: format!("Accuracy of a linear classifier after each of {} blocks", probe.blocks.len()),
        x_label: "block, from the first to the last",
        y_label: "accuracy of a linear classifier",
        x: (1.0, probe.blocks.len() as f64),
        y: Axis::shares(probe.blocks.iter().map(|block| block.accuracy)),
        x_ticks: None,
        series: vec![series],
        rules: first.map(|first| (first as f64 + 0.5, "learns")).into_iter().collect(),
        marks: Vec::new(),
        bars: Vec::new(),
        diagonal: false,
    };
    let head = ["block", "then", "accuracy"];
    let table = table(
        "Accuracy of a linear classifier on the features of each block, for photos left out of its fit",
        2,
        &head,
        &rows,
    );
    let mut html = format!("<div class=\"grid\">\n<figure>{}</figure>\n{table}</div>\n", chart.svg());
    if !probe.reason.is_empty() {
        html += &format!("<p class=\"finding\">{}</p>\n", name(&probe.reason));
    }
    let lead = "How much the pretrained features of each block already say about these classes, from the first \
                block to the last. Where the figure stops rising, or falls, features are too special for what they \
                were trained on, and learning on helps."
        .into();
    Some(Section { id: "probe", title: "Where to unfreeze", lead, html })
}

pub(super) fn stages(report: &TrainingReport) -> Option<Section> {
    if report.stages.is_empty() {
        return None;
    }
    let mut html = String::new();
    for (i, stage) in report.stages.iter().enumerate() {
        let rows: Vec<&HistoryRow> = report.history.iter().filter(|row| row.stage == stage.name).collect();
        let mut took = String::new();
        if !rows.is_empty() {
            let seconds = rows.iter().map(|row| row.seconds).sum();
            took = format!("{} in {}", counted(rows.len(), "epoch"), duration(seconds));
        }
        html += &format!(
            "<article>\n<h3><span>{}</span> {}<small>{took}</small></h3>\n<p>{}</p>\n{}</article>\n",
            i + 1,
            name(&stage.name),
            name(&stage.note),
            stage_table(stage)
        );
    }
    let lead = match report.stages.len() {
        1 => "Which layers learned, and how fast.".into(),
        _ => "Which layers learned, and how fast. The head comes first, alone: an untrained head sends back errors \
              so large that they would destroy what the network already knows."
            .into(),
    };
    Some(Section { id: "stages", title: "The stages", lead, html })
}

fn stage_table(stage: &Stage) -> String {
    if stage.layers.is_empty() {
        return String::new();
    }
    let alike = |a: &StageLayer, b: &StageLayer| {
        let modes = a.batch_norm.is_none() || b.batch_norm.is_none() || a.batch_norm == b.batch_norm;
        a.trainable == 0 && b.trainable == 0 && modes
    };
    let mut rows = Vec::new();
    for run in stage.layers.chunk_by(alike) {
        if run.len() < LEAST_FOLDED {
            rows.extend(run.iter().map(|layer| stage_row(name(&layer.layer), std::slice::from_ref(layer))));
        } else {
            let label = format!(
                "{} … {} <small>{} layers</small>",
                name(&run[0].layer),
                name(&run[run.len() - 1].layer),
                run.len()
            );
            rows.push(stage_row(label, run));
        }
    }
    let head = ["layer", "", "learning rate", "batch norm uses", "weights"];
    table(&format!("Layers in the stage {}", stage.name), 4, &head, &rows)
}

fn stage_row(label: String, layers: &[StageLayer]) -> Vec<String> {
    let parameters: u64 = layers.iter().map(|layer| layer.parameters).sum();
    let trainable: u64 = layers.iter().map(|layer| layer.trainable).sum();
    let state =
        if trainable > 0 { "<b class=\"on\">learns</b>" } else { "<span class=\"off\">frozen</span>" };
    let state = if parameters == 0 { "" } else { state };
    let rate = layers[0].learning_rate.filter(|_| trainable > 0).map_or(String::new(), significant);
    let mode = layers.iter().find_map(|layer| layer.batch_norm.as_deref()).map_or(String::new(), name);
    let weights = match (parameters, trainable) {
        (0, _) => String::new(),
        (all, some) if some > 0 && some < all => format!("{} of {}", thousands(some), thousands(all)),
        (all, _) => thousands(all),
    };
    vec![label, state.into(), rate, mode, weights]
}

pub(super) fn curves(report: &TrainingReport) -> Option<Section> {
    let rows = &report.history;
    let (first, last) = (rows.first()?, rows.last()?);
    let x = (first.epoch as f64, last.epoch as f64);
    let mut rules = Vec::new();
    for stage in rows.chunk_by(|a, b| a.stage == b.stage) {
        // Between the last epoch of one stage and the first of the next.
        let at = if rules.is_empty() { x.0 } else { stage[0].epoch as f64 - 0.5 };
        rules.push((at, stage[0].stage.as_str()));
    }
    let rules = if rules.len() > 1 { rules } else { Vec::new() };
    let best = rows.iter().find(|row| Some(row.epoch) == report.best_epoch);
    let curve = |name, class, value: &dyn Fn(&HistoryRow) -> Option<f64>, text: &dyn Fn(f64) -> String| {
        let point = |row: &HistoryRow| {
            let y = value(row)?;
            Some((row.epoch as f64, y, format!("{name}, epoch {}: {}", row.epoch, text(y))))
        };
        Series { name, class, points: rows.iter().filter_map(point).collect() }
    };
    let mark = |value: fn(&HistoryRow) -> Option<f64>, text: &dyn Fn(f64) -> String| -> Vec<_> {
        let at =
            |row: &HistoryRow| Some((row.epoch as f64, value(row)?, format!("kept: {}", text(value(row)?))));
        best.and_then(at).into_iter().collect()
    };
    let chart = |alt: &str, y_label, y, series: Vec<Series>, marks| {
        let ends = |s: &Series| {
            let (from, to) = (s.points.first()?, s.points.last()?);
            Some(format!("{} from {} to {}", s.name, significant(from.1), significant(to.1)))
        };
        let told: Vec<String> = series.iter().filter_map(ends).collect();
        let alt = format!("{alt} over {} epochs: {}", rows.len(), told.join("; "));
        let series = series.into_iter().filter(|s| !s.points.is_empty()).collect();
        let (rules, x_ticks, bars) = (rules.clone(), None, Vec::new());
        LineChart {
            alt,
            x_label: "epoch",
            y_label,
            x,
            y,
            x_ticks,
            series,
            rules,
            marks,
            bars,
            diagonal: false,
        }
        .svg()
    };
    let losses = rows.iter().flat_map(|row| [Some(row.train_loss), row.val_loss]).flatten();
    let loss = chart(
        "Loss",
        "loss",
        Axis::from_zero(losses),
        vec![
            curve("training", "second", &|row| Some(row.train_loss), &significant),
            curve("validation", "first", &|row| row.val_loss, &significant),
        ],
        mark(|row| row.val_loss, &significant),
    );
    let shares = rows.iter().flat_map(|row| [Some(row.train_accuracy), row.val_accuracy]).flatten();
    let accuracy = chart(
        "Accuracy",
        "accuracy",
        Axis::shares(shares),
        vec![
            curve("training", "second", &|row| Some(row.train_accuracy), &percent),
            curve("validation", "first", &|row| row.val_accuracy, &percent),
        ],
        mark(|row| row.val_accuracy, &percent),
    );
    // Another stage's rate is another curve: nothing lies between the two.
    let mut rates = curve("learning rate", "first", &|row| Some(row.learning_rate), &significant);
    for pair in rows.windows(2).rev().filter(|pair| pair[0].stage != pair[1].stage) {
        let at = rates.points.iter().position(|point| point.0 == pair[1].epoch as f64);
        rates.points.insert(at.unwrap_or(0), (pair[1].epoch as f64 - 0.5, f64::NAN, String::new()));
    }
    let axis = Axis::log(rows.iter().map(|row| row.learning_rate));
    let rate = chart("Learning rate", "learning rate", axis, vec![rates], Vec::new());
    let html = format!(
        "<div class=\"grid\">\n<figure>{accuracy}</figure>\n<figure>{loss}</figure>\n<figure>{rate}</figure>\n{}</div>\n",
        summary(report)
    );
    let mut lead = "Solid: pictures it did not learn from; dashed: those it learned from, as it saw them. Where the two \
                    part, it learns by heart."
        .to_owned();
    if best.is_some() {
        lead += " The ring is the epoch whose weights were kept.";
    }
    Some(Section { id: "curves", title: "Learning", lead, html })
}

/// The stages in figures, beside the curves.
fn summary(report: &TrainingReport) -> String {
    let mut rows = Vec::new();
    for stage in report.history.chunk_by(|a, b| a.stage == b.stage) {
        let best = stage.iter().filter_map(|row| row.val_accuracy).fold(f64::NAN, f64::max);
        let speed = stage.iter().map(|row| row.images_per_second).sum::<f64>() / stage.len() as f64;
        let seconds: f64 = stage.iter().map(|row| row.seconds).sum();
        rows.push(vec![
            name(&stage[0].stage),
            stage.len().to_string(),
            percent(best),
            duration(seconds / stage.len() as f64),
            significant(speed),
        ]);
    }
    let head = ["stage", "epochs", "best validation", "an epoch took", "pictures/s"];
    table("The stages in figures", 1, &head, &rows)
}
