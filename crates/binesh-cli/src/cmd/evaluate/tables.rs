//! The report as text.

use unicode_width::UnicodeWidthStr;

use super::Report;

/// Classes beyond which a confusion matrix does not fit a terminal; then the most frequent confusions are listed.
const MATRIX: usize = 20;
/// Confusions listed.
const LISTED: usize = 10;
/// A class name longer than this is cut in the tables.
const NAME: usize = 32;

pub(super) fn text(report: &Report) -> String {
    let mut parts = vec![heading(report), per_class(report)];
    let seen = seen(report);
    parts.push(if seen.len() <= MATRIX { matrix(report, &seen) } else { confusions(report) });
    parts.push(mistakes(report));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn heading(report: &Report) -> String {
    let Report { data, samples, correct, accuracy, interval, loss, calibration, .. } = report;
    let part = report.part.map_or_else(String::new, |part| format!("the {part} photos of "));
    format!(
        "{part}{data}: {correct} of {samples} are right\n\
         accuracy     {accuracy:.3}   95 % interval {:.3} to {:.3}\n\
         loss         {loss:.4}\n\
         calibration  {:.3}   mean error of the probabilities\n",
        interval.low, interval.high, calibration.ece
    )
}

/// Classes that photos are of, or were taken for.
fn seen(report: &Report) -> Vec<usize> {
    let metrics = |class: &usize| &report.per_class[*class].metrics;
    (0..report.classes.len()).filter(|c| metrics(c).support + metrics(c).predicted > 0).collect()
}

fn per_class(report: &Report) -> String {
    let seen = seen(report);
    let names: Vec<String> = seen.iter().map(|&class| cut(&report.classes[class])).collect();
    let width = names.iter().map(|name| name.width()).chain([12]).max().unwrap_or(0);
    let mut text = format!("{}  precision  recall     F1  photos\n", left("class", width));
    let row = |name: &str, [precision, recall, f1]: [String; 3], photos: u64| {
        format!("{}  {precision:>9}  {recall:>6}  {f1:>5}  {photos:>6}\n", left(name, width))
    };
    for (&class, name) in seen.iter().zip(&names) {
        let metrics = &report.per_class[class].metrics;
        let figure = |value: f64, whole: u64| if whole == 0 { "-".to_owned() } else { format!("{value:.3}") };
        let figures = [
            figure(metrics.precision, metrics.predicted),
            figure(metrics.recall, metrics.support),
            figure(metrics.f1, metrics.support + metrics.predicted),
        ];
        text.push_str(&row(name, figures, metrics.support));
    }
    for (name, mean) in [("mean", &report.macro_average), ("mean by size", &report.weighted_average)] {
        let figures = [mean.precision, mean.recall, mean.f1].map(|value| format!("{value:.3}"));
        text.push_str(&row(name, figures, report.samples as u64));
    }
    text
}

/// Rows: what the photos are; columns: what they were taken for, under the rows' numbers.
fn matrix(report: &Report, seen: &[usize]) -> String {
    let names: Vec<String> = seen
        .iter()
        .enumerate()
        .map(|(at, &class)| format!("{:>2} {}", at + 1, cut(&report.classes[class])))
        .collect();
    let title = "photos of \\ taken for";
    let width = names.iter().map(|name| name.width()).chain([title.len()]).max().unwrap_or(0);
    let most = seen.iter().flat_map(|&truth| seen.iter().map(move |&p| report.confusion[truth][p])).max();
    let digits = most.unwrap_or(0).to_string().len().max(2);
    let mut text = left(title, width);
    (1..=seen.len()).for_each(|number| text.push_str(&format!("  {number:>digits$}")));
    text.push('\n');
    for (&truth, name) in seen.iter().zip(&names) {
        text.push_str(&left(name, width));
        for &predicted in seen {
            let count = match report.confusion[truth][predicted] {
                0 => ".".to_owned(),
                count => count.to_string(),
            };
            text.push_str(&format!("  {count:>digits$}"));
        }
        text.push('\n');
    }
    text
}

/// The most frequent ones of a matrix that is too large to show.
fn confusions(report: &Report) -> String {
    let mut found: Vec<(u64, usize, usize)> = Vec::new();
    for (truth, row) in report.confusion.iter().enumerate() {
        found.extend(
            row.iter().enumerate().filter(|(p, n)| *p != truth && **n > 0).map(|(p, n)| (*n, truth, p)),
        );
    }
    if found.is_empty() {
        return String::new();
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let mut text = "most often taken for another (`--json` has the whole matrix)\n".to_owned();
    for (count, truth, predicted) in found.into_iter().take(LISTED) {
        let [truth, predicted] = [truth, predicted].map(|class| cut(&report.classes[class]));
        text.push_str(&format!("{count:>6}  {truth} taken for {predicted}\n"));
    }
    text
}

fn mistakes(report: &Report) -> String {
    if report.mistakes.is_empty() {
        return String::new();
    }
    let wrong = report.samples - report.correct;
    let of = match report.mistakes.len() == wrong {
        true => "mistakes, the surest first".to_owned(),
        false => format!("the surest {} of {wrong} mistakes", report.mistakes.len()),
    };
    let mut text = format!("{of}\n");
    for mistake in &report.mistakes {
        text.push_str(&format!(
            "{:6.1} %  {}, is {} ({:.1} %)  {}\n",
            100.0 * mistake.probability,
            mistake.predicted,
            mistake.truth,
            100.0 * mistake.truth_probability,
            mistake.image
        ));
    }
    text
}

/// Padded to a width in columns; a letter may take none or two.
fn left(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// A name that fits a table.
fn cut(name: &str) -> String {
    if name.width() <= NAME {
        return name.to_owned();
    }
    let mut short = String::new();
    for letter in name.chars() {
        if short.width() + letter.to_string().width() >= NAME {
            break;
        }
        short.push(letter);
    }
    short + "…"
}
