//! What moved: how far weights and representations went from where they started, layer by layer.

use super::{MovedRun, TrainingReport};
use crate::report::markup::{Section, bar, name, percent, significant, table};
use crate::report::svg::{Axis, LineChart, Series};
use crate::train::LayerMoved;

/// A longer table is folded; the charts say it all.
const LONGEST_OPEN: usize = 30;

pub(super) fn section(report: &TrainingReport) -> Option<Section> {
    let runs: Vec<&MovedRun> = report.moved.iter().filter(|run| !run.layers.is_empty()).take(2).collect();
    // Layers in the order of the first run; what only another has comes after.
    let mut layers: Vec<&str> = Vec::new();
    for layer in runs.iter().flat_map(|run| &run.layers) {
        if !layers.contains(&layer.layer.as_str()) {
            layers.push(&layer.layer);
        }
    }
    if layers.is_empty() {
        return None;
    }
    let mut html = charts(&runs, &layers);
    if let Some(text) = finding(&runs) {
        html += &format!("<p class=\"finding\">{text}</p>\n");
    }
    let table = rows(&runs, &layers);
    html += &match layers.len() {
        ..=LONGEST_OPEN => table,
        n => format!("<details><summary>All {n} layers</summary>\n{table}</details>\n"),
    };
    let lead = "How far the weights of each layer went from the pretrained ones, and whether the layer still tells the \
                same pictures apart as before (CKA: 1 is as before, 0 is nothing in common). Early layers should stay; \
                where CKA falls, what had been learned before is gone."
        .into();
    Some(Section { id: "moved", title: "What moved", lead, html })
}

fn of<'a>(run: &'a MovedRun, layer: &str) -> Option<&'a LayerMoved> {
    run.layers.iter().find(|moved| moved.layer == layer)
}

fn charts(runs: &[&MovedRun], layers: &[&str]) -> String {
    let draw =
        |y_label: &'static str, value: fn(&LayerMoved) -> Option<f64>, text: fn(f64) -> String, y: Axis| {
            let mut series = Vec::new();
            for (run, class) in runs.iter().zip(["first", "second"]) {
                let point = |(i, layer): (usize, &&str)| {
                    let y = value(of(run, layer)?)?;
                    Some(((i + 1) as f64, y, format!("{}. {layer}, {}: {}", i + 1, run.name, text(y))))
                };
                let points = layers.iter().enumerate().filter_map(point).collect();
                series.push(Series { name: &run.name, class, points });
            }
            let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
            LineChart {
                alt: format!("{y_label} of {} layers: {}", layers.len(), names.join(" and ")),
                x_label: "layer, from the first to the last",
                y_label,
                x: (1.0, layers.len() as f64),
                y,
                x_ticks: None,
                series,
                rules: Vec::new(),
                marks: Vec::new(),
                bars: Vec::new(),
                diagonal: false,
            }
            .svg()
        };
    let changes = runs.iter().flat_map(|run| &run.layers).filter_map(|layer| layer.weight_change);
    let by_weight = draw(
        "change of the weights, relative",
        |moved| moved.weight_change,
        significant,
        Axis::from_zero(changes),
    );
    let by_cka = draw("CKA, before and after", |moved| moved.cka, significant, Axis::Linear(0.0, 1.0));
    format!("<div class=\"grid\">\n<figure>{by_cka}</figure>\n<figure>{by_weight}</figure>\n</div>\n")
}

/// The lowest CKA of each run, and its accuracy; HTML.
fn finding(runs: &[&MovedRun]) -> Option<String> {
    let told = |run: &&MovedRun| {
        let seen = run.layers.iter().filter_map(|moved| Some((moved.cka?, &moved.layer)));
        let (cka, layer) = seen.min_by(|a, b| a.0.total_cmp(&b.0))?;
        let accuracy = run.accuracy.map_or(String::new(), |share| format!(", accuracy {}", percent(share)));
        Some(format!(
            "<b>{}</b>: lowest CKA {} at {}{accuracy}",
            name(&run.name),
            significant(cka),
            name(layer)
        ))
    };
    let told: Vec<String> = runs.iter().filter_map(told).collect();
    (!told.is_empty()).then(|| told.join(". ") + ".")
}

fn rows(runs: &[&MovedRun], layers: &[&str]) -> String {
    let changes = runs.iter().flat_map(|run| &run.layers).filter_map(|layer| layer.weight_change);
    let most = changes.filter(|change| change.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let several = runs.len() > 1;
    let titles: Vec<String> = ["weights moved", "CKA"]
        .iter()
        .flat_map(|what| {
            runs.iter().map(move |run| if several { format!("{what}, {}", run.name) } else { (*what).into() })
        })
        .collect();
    let head: Vec<&str> = std::iter::once("layer").chain(titles.iter().map(String::as_str)).collect();
    let looks = ["first", "second"];
    let mut body = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        let mut row = vec![format!("<small>{}</small> {}", i + 1, name(layer))];
        for (run, look) in runs.iter().zip(looks) {
            let change = of(run, layer).and_then(|moved| moved.weight_change);
            row.push(change.map_or(String::new(), |change| bar(change / most, &significant(change), look)));
        }
        for (run, look) in runs.iter().zip(looks) {
            let cka = of(run, layer).and_then(|moved| moved.cka);
            row.push(cka.map_or(String::new(), |cka| bar(cka, &format!("{cka:.3}"), look)));
        }
        body.push(row);
    }
    table("Change of the weights and CKA of the activations, by layer", 1, &head, &body)
}
