//! `report.html`: one page that stands alone, without scripts, fonts or anything from the network.

use std::fmt::Write;

use super::{Evaluation, TrainingReport, data, learning, moved, quality, timing};
use crate::render::contact_sheet::escape;
use crate::report::markup::{Section, document, name, percent};
use crate::report::units::thousands;

/// Every part of the page, in order; what has nothing to say is not there.
const SECTIONS: [fn(&TrainingReport) -> Option<Section>; 11] = [
    quality::classes,
    quality::confusion,
    quality::mistakes,
    quality::calibration,
    learning::curves,
    learning::probe,
    learning::stages,
    moved::section,
    data::section,
    timing::section,
    timing::reproduce,
];

pub(super) fn html(report: &TrainingReport) -> String {
    let sections: Vec<Section> = SECTIONS.iter().filter_map(|section| section(report)).collect();
    let mut top = String::new();
    head(&mut top, report);
    if let Some(evaluation) = &report.evaluation {
        hero(&mut top, report, evaluation);
    }
    document(&format!("{}: training report", report.title), &top, &sections)
}

fn head(page: &mut String, report: &TrainingReport) {
    let model = &report.model;
    let _ = writeln!(page, "<header>\n<h1 dir=\"auto\">{}</h1>", escape(&report.title));
    let mut facts = Vec::new();
    if !model.base.is_empty() {
        facts.push(name(&model.base));
    }
    if !model.method.is_empty() {
        facts.push(name(&model.method));
    }
    if model.input.iter().all(|extent| *extent > 0) {
        let [height, width, channels] = model.input;
        facts.push(format!("{height} × {width} × {channels}"));
    }
    if model.parameters > 0 {
        let (trained, all) = (thousands(model.trainable), thousands(model.parameters));
        facts.push(format!("{trained} of {all} weights trained"));
    }
    if !facts.is_empty() {
        let _ = writeln!(page, "<p class=\"facts\">{}</p>", facts.join(" · "));
    }
    if !report.facts.is_empty() {
        let fact = |(what, value): &(String, String)| format!("{} <b>{}</b>", name(what), name(value));
        let facts: Vec<String> = report.facts.iter().map(fact).collect();
        let _ = writeln!(page, "<p class=\"facts soft\">{}</p>", facts.join(" · "));
    }
    *page += "</header>\n";
}

/// The accuracy, where the true one lies, and what that means.
fn hero(page: &mut String, report: &TrainingReport, evaluation: &Evaluation) {
    let metrics = &evaluation.metrics;
    let interval = metrics.accuracy_interval;
    let (most, guess) = always_the_same(evaluation);
    let (low, high) = (percent(interval.low), percent(interval.high));
    let _ = writeln!(
        page,
        "<div class=\"hero\">\n<div class=\"big\"><b>{}</b><span>accuracy on {} {} pictures</span></div>\n\
         <div class=\"says\"><p class=\"verdict\">{}</p>\n\
         <div class=\"scale\" role=\"img\" aria-label=\"From {low} to {high}\"><span>0 %</span><div class=\"range\">\
         <i class=\"span\" style=\"left:{:.2}%;width:{:.2}%\"></i><i class=\"at\" style=\"left:{:.2}%\"></i>\
         <i class=\"guess\" style=\"left:{:.2}%\"></i>\
         <em style=\"left:{:.2}%;transform:translateX(-{:.2}%)\">always saying {}: {}</em></div><span>100 %</span></div>\n<p>{}</p></div>\n</div>",
        percent(metrics.accuracy),
        thousands(metrics.samples as u64),
        name(&evaluation.split),
        verdict(report, evaluation),
        interval.low * 100.0,
        (interval.high - interval.low) * 100.0,
        metrics.accuracy * 100.0,
        guess * 100.0,
        guess * 100.0,
        guess * 100.0,
        name(&quality::class(report, most)),
        percent(guess),
        remarks(report, evaluation)
    );
}

/// The class with the most pictures, and the accuracy of always naming it.
fn always_the_same(evaluation: &Evaluation) -> (usize, f64) {
    let support = |k: usize| evaluation.metrics.per_class[k].support;
    let most = (1..evaluation.metrics.per_class.len())
        .fold(0, |best, k| if support(k) > support(best) { k } else { best });
    (most, support(most) as f64 / evaluation.metrics.samples.max(1) as f64)
}

/// The result in one sentence; HTML.
fn verdict(report: &TrainingReport, evaluation: &Evaluation) -> String {
    let metrics = &evaluation.metrics;
    let interval = metrics.accuracy_interval;
    let (most, guess) = always_the_same(evaluation);
    let mut text = format!(
        "It names {} of {} pictures right; on new pictures like these expect {} to {}",
        thousands(metrics.correct as u64),
        thousands(metrics.samples as u64),
        percent(interval.low),
        percent(interval.high)
    );
    if interval.low <= guess {
        text += &format!(
            ", which is not clearly better than always saying {}",
            name(&quality::class(report, most))
        );
    }
    text + "."
}

/// What the user should know besides; HTML.
fn remarks(report: &TrainingReport, evaluation: &Evaluation) -> String {
    let mut text = String::new();
    if evaluation.chose_epoch {
        text += "These pictures also chose the epoch that was kept, so on others expect a little less. ";
    }
    if let Some(&(truth, predicted, count)) = quality::confusions(evaluation).first() {
        let support = evaluation.metrics.per_class[truth].support;
        let class = |k| name(&quality::class(report, k));
        text += &format!(
            "Most often it takes {} for {}: {count} of {support} times. ",
            class(truth),
            class(predicted)
        );
    }
    text + &quality::trust(evaluation)
}
