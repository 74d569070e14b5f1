//! How good it is: by class, by confusion, by trust in its probabilities, and its surest mistakes.

use std::fmt::Write;

use super::{Evaluation, MistakePicture, TrainingReport};
use crate::render::contact_sheet::escape;
use crate::report::markup::{Section, bar, counted, data_uri, name, percent, table};
use crate::report::svg::{Axis, LineChart, Series};
use crate::report::units::thousands;
use crate::train::{ClassMetrics, Figure};

/// A larger matrix cannot be read; the most frequent confusions are listed instead.
const LARGEST_MATRIX: usize = 20;

/// Confusions listed.
const MOST_PAIRS: usize = 12;

/// Name of a class, or its number when it has none.
pub(super) fn class(report: &TrainingReport, index: usize) -> String {
    report.data.classes.get(index).map_or_else(|| index.to_string(), |class| class.name.clone())
}

/// Truth, predicted, number; most frequent first.
pub(super) fn confusions(evaluation: &Evaluation) -> Vec<(usize, usize, u64)> {
    let mut pairs = Vec::new();
    for (truth, row) in evaluation.metrics.confusion.iter().enumerate() {
        for (predicted, &count) in row.iter().enumerate() {
            if truth != predicted && count > 0 {
                pairs.push((truth, predicted, count));
            }
        }
    }
    pairs.sort_by_key(|&(truth, predicted, count)| (std::cmp::Reverse(count), truth, predicted));
    pairs
}

pub(super) fn classes(report: &TrainingReport) -> Option<Section> {
    let evaluation = report.evaluation.as_ref()?;
    let metrics = &evaluation.metrics;
    let figure = |value: f64, undefined: bool| {
        if undefined {
            "<span class=\"off\">none</span>".to_owned()
        } else {
            bar(value, &percent(value), "first")
        }
    };
    let mut rows = Vec::new();
    for (k, of) in metrics.per_class.iter().enumerate() {
        let ClassMetrics { precision, recall, f1, support, .. } = *of;
        let cell = |value, which| figure(value, of.undefined.contains(&which));
        rows.push(vec![
            name(&class(report, k)),
            cell(precision, Figure::Precision),
            cell(recall, Figure::Recall),
            cell(f1, Figure::F1),
            thousands(support),
        ]);
    }
    for (label, average) in
        [("mean of classes", metrics.macro_average), ("mean by pictures", metrics.weighted_average)]
    {
        rows.push(vec![
            format!("<b>{label}</b>"),
            figure(average.precision, false),
            figure(average.recall, false),
            figure(average.f1, false),
            thousands(metrics.samples as u64),
        ]);
    }
    let head = ["class", "precision", "recall", "F1", "pictures"];
    let html = table("Precision, recall and F1 of each class", 1, &head, &rows);
    let lead = format!(
        "On the {} pictures. Precision: of those it calls so, how many are. Recall: of those that are, how many it \
         finds. F1: high only when both are.",
        name(&evaluation.split)
    );
    Some(Section { id: "classes", title: "Class by class", lead, html })
}

pub(super) fn confusion(report: &TrainingReport) -> Option<Section> {
    let evaluation = report.evaluation.as_ref()?;
    let pairs = pairs(report, evaluation);
    let mut html = pairs.clone();
    let mut lead = "Shares are of the pictures of the true class.".to_owned();
    if evaluation.metrics.confusion.len() <= LARGEST_MATRIX {
        html = format!("<div class=\"beside\">\n{}{pairs}</div>\n", matrix(report, evaluation));
        lead = format!(
            "A row is what the picture shows, a column what the network said. Everything off the diagonal is a mistake. {lead}"
        );
    }
    Some(Section { id: "confusion", title: "What it mixes up", lead, html })
}

fn matrix(report: &TrainingReport, evaluation: &Evaluation) -> String {
    let confusion = &evaluation.metrics.confusion;
    let mut out =
        "<div class=\"scroll\"><table class=\"matrix\">\n<caption>Confusion matrix</caption>\n<thead><tr>\
                   <td class=\"corner\">is ↓ said →</td>"
            .to_owned();
    for k in 0..confusion.len() {
        let _ = write!(out, "<th scope=\"col\">{}</th>", name(&class(report, k)));
    }
    out += "</tr></thead>\n<tbody>\n";
    for (truth, row) in confusion.iter().enumerate() {
        let _ = write!(out, "<tr><th scope=\"row\">{}</th>", name(&class(report, truth)));
        let total: u64 = row.iter().sum();
        for (predicted, &count) in row.iter().enumerate() {
            let share = count as f64 / total.max(1) as f64;
            let look = match (truth == predicted, share > 0.55) {
                (true, true) => "right deep",
                (true, false) => "right",
                (false, true) => "wrong deep",
                (false, false) => "wrong",
            };
            if count == 0 {
                out += "<td class=\"none\">0</td>";
            } else {
                let _ = write!(
                    out,
                    "<td class=\"{look}\" style=\"--share:{:.0}%\"><b>{}</b><small>{}</small></td>",
                    // A single mistake among many pictures is to be seen too.
                    12.0 + 88.0 * share,
                    thousands(count),
                    percent(share)
                );
            }
        }
        out += "</tr>\n";
    }
    out += "</tbody>\n</table></div>\n";
    out
}

fn pairs(report: &TrainingReport, evaluation: &Evaluation) -> String {
    let found = confusions(evaluation);
    if found.is_empty() {
        return "<p class=\"finding\">It made no mistake.</p>\n".into();
    }
    let row = |&(truth, predicted, count): &(usize, usize, u64)| {
        let share = count as f64 / evaluation.metrics.per_class[truth].support.max(1) as f64;
        vec![
            name(&class(report, truth)),
            name(&class(report, predicted)),
            thousands(count),
            bar(share, &percent(share), "second"),
        ]
    };
    let rows: Vec<Vec<String>> = found.iter().take(MOST_PAIRS).map(row).collect();
    table("Most frequent confusions", 2, &["is", "said", "times", "share"], &rows)
}

pub(super) fn calibration(report: &TrainingReport) -> Option<Section> {
    let evaluation = report.evaluation.as_ref()?;
    let calibration = &evaluation.metrics.calibration;
    let samples = evaluation.metrics.samples.max(1) as f64;
    let told = |low: f64, high: f64, count: u64| {
        format!("{} to {} sure: {}", percent(low), percent(high), counted(count as usize, "picture"))
    };
    let shares = |value: fn(&crate::train::Bin) -> Option<f64>| -> Vec<(f64, f64, String)> {
        let point = |bin: &crate::train::Bin| {
            let (x, y) = (bin.confidence?, value(bin)?);
            Some((x, y, format!("{}, {} right", told(bin.low, bin.high, bin.count), percent(y))))
        };
        calibration.bins.iter().filter_map(point).collect()
    };
    let quarters = || Some((0..=5).map(|i| (f64::from(i) / 5.0, format!("{} %", i * 20))).collect());
    let reliability = LineChart {
        alt: format!(
            "Share of right answers by confidence; expected calibration error {}",
            percent(calibration.ece)
        ),
        x_label: "how sure it is (probability of its answer)",
        y_label: "how often it is right",
        x: (0.0, 1.0),
        y: Axis::Share(0.0, 1.0),
        x_ticks: quarters(),
        series: vec![Series { name: "right", class: "first", points: shares(|bin| bin.accuracy) }],
        rules: Vec::new(),
        marks: Vec::new(),
        bars: Vec::new(),
        diagonal: true,
    };
    let tallest = calibration.bins.iter().map(|bin| bin.count as f64 / samples).fold(0.0, f64::max);
    let bars = calibration.bins.iter().filter(|bin| bin.count > 0);
    let histogram = LineChart {
        alt: format!("Pictures by confidence; {} sure on average", percent(calibration.confidence)),
        x_label: "how sure it is (probability of its answer)",
        y_label: "share of the pictures",
        x: (0.0, 1.0),
        y: Axis::Share(0.0, ((tallest * 10.0).ceil() / 10.0).clamp(0.1, 1.0)),
        x_ticks: quarters(),
        series: Vec::new(),
        rules: Vec::new(),
        marks: Vec::new(),
        bars: bars
            .map(|bin| (bin.low, bin.high, bin.count as f64 / samples, told(bin.low, bin.high, bin.count)))
            .collect(),
        diagonal: false,
    };
    let html = format!(
        "<div class=\"grid\">\n<figure>{}</figure>\n<figure>{}</figure>\n</div>\n<p class=\"finding\">{}</p>\n",
        reliability.svg(),
        histogram.svg(),
        trust(evaluation)
    );
    let lead = "Of the answers it is 80 % sure of, 80 % should be right: then points lie on the dotted line. Below it, the \
                network is too sure of itself; above, too modest. Points of few pictures lie where chance puts them."
        .into();
    Some(Section { id: "calibration", title: "How far to trust its probabilities", lead, html })
}

/// Whether probabilities can be taken at their word; HTML.
pub(super) fn trust(evaluation: &Evaluation) -> String {
    let metrics = &evaluation.metrics;
    let (sure, right) = (metrics.calibration.confidence, metrics.accuracy);
    let gap = format!("{} sure on average, {} right", percent(sure), percent(right));
    let verdict = match sure - right {
        gap if gap > 0.05 => "It is surer than it should be",
        gap if gap < -0.05 => "It is less sure than it could be",
        _ => "Its probabilities can be taken at their word",
    };
    format!("{verdict}: {gap}. Expected calibration error {}.", percent(metrics.calibration.ece))
}

pub(super) fn mistakes(report: &TrainingReport) -> Option<Section> {
    let evaluation = report.evaluation.as_ref().filter(|evaluation| !evaluation.mistakes.is_empty())?;
    let mut html = "<div class=\"cards\">\n".to_owned();
    for mistake in &evaluation.mistakes {
        card(&mut html, report, mistake);
    }
    html += "</div>\n";
    let wrong = evaluation.metrics.samples - evaluation.metrics.correct;
    let shown = evaluation.mistakes.len();
    let mut lead = if shown < wrong {
        format!("The {shown} of its {} of which it was surest.", counted(wrong, "mistake"))
    } else {
        "All of them, surest first.".into()
    };
    lead += " A wrong label in the folder looks the same: check the picture first.";
    if evaluation.mistakes.iter().any(|mistake| mistake.heatmap.is_some()) {
        lead +=
            " Beside each picture, where the network looked: what is bright spoke for the answer it gave.";
    }
    Some(Section { id: "mistakes", title: "Its surest mistakes", lead, html })
}

fn card(html: &mut String, report: &TrainingReport, mistake: &MistakePicture) {
    let (said, truth) = (class(report, mistake.predicted), class(report, mistake.truth));
    *html += "<figure class=\"card\">\n<div class=\"pair\">";
    let alts = [format!("A picture of {truth}"), format!("What spoke for {said}")];
    for (bytes, alt) in [&mistake.picture, &mistake.heatmap].into_iter().zip(alts) {
        if let Some(bytes) = bytes {
            let _ = write!(html, "<img src=\"{}\" alt=\"{}\">", data_uri(bytes), escape(&alt));
        }
    }
    let _ = writeln!(
        html,
        "</div>\n<figcaption><span>is <b class=\"right-text\">{}</b><small>given {}</small></span><span>said <b class=\"wrong-text\">{}</b><small>{} sure</small></span>\
         <small>{}</small></figcaption>\n</figure>",
        name(&truth),
        percent(mistake.truth_probability),
        name(&said),
        percent(mistake.confidence),
        name(&mistake.path)
    );
}
