//! The pictures: counts, what was left out, what is there twice.

use super::{DataFacts, TrainingReport};
use crate::report::markup::{Section, counted, folded, name, percent, table};
use crate::report::units::thousands;

/// Lines of files shown; the rest is in `metrics.json`.
const MOST_FILES: usize = 40;

pub(super) fn section(report: &TrainingReport) -> Option<Section> {
    let data = &report.data;
    if data.classes.is_empty() {
        return None;
    }
    let mut html = counts(data);
    if !data.rejected.is_empty() {
        let line = |file: &super::RejectedFile| format!("{}: {}", name(&file.path), name(&file.reason));
        let lines: Vec<String> = data.rejected.iter().map(line).collect();
        html += &folded(&format!("Left out: {}", counted(lines.len(), "file")), &lines, MOST_FILES);
    }
    html += &duplicates(data);
    let total = data.classes.iter().map(|c| c.train + c.validation + c.test).sum();
    let mut lead = format!("{} of {}", counted(total, "picture"), counted(data.classes.len(), "class"));
    lead = lead.replace("classs", "classes");
    if !data.source.is_empty() {
        lead += &format!(" from {}", name(&data.source));
    }
    if !data.split.is_empty() {
        lead += &format!(", split {}", name(&data.split));
    }
    lead +=
        ". The network learns from the training pictures only; the others show what it does with new ones.";
    Some(Section { id: "data", title: "The pictures", lead, html })
}

/// Pictures of a class in one part of the data.
type Count = fn(&super::ClassCounts) -> usize;

fn counts(data: &DataFacts) -> String {
    let parts: [(&str, Count); 3] =
        [("training", |c| c.train), ("validation", |c| c.validation), ("test", |c| c.test)];
    let parts: Vec<_> =
        parts.into_iter().filter(|(_, count)| data.classes.iter().any(|class| count(class) > 0)).collect();
    let of_class = |class: &super::ClassCounts| class.train + class.validation + class.test;
    let total: usize = data.classes.iter().map(of_class).sum();
    let mut head = vec!["class"];
    head.extend(parts.iter().map(|(part, _)| *part));
    head.extend(["all", "share"]);
    let mut rows: Vec<Vec<String>> = Vec::new();
    for class in &data.classes {
        let mut row = vec![name(&class.name)];
        row.extend(parts.iter().map(|(_, count)| thousands(count(class) as u64)));
        row.extend([
            thousands(of_class(class) as u64),
            percent(of_class(class) as f64 / total.max(1) as f64),
        ]);
        rows.push(row);
    }
    let sum = |count: &dyn Fn(&super::ClassCounts) -> usize| -> String {
        format!("<b>{}</b>", thousands(data.classes.iter().map(count).sum::<usize>() as u64))
    };
    let mut row = vec!["<b>all</b>".to_owned()];
    row.extend(parts.iter().map(|(_, count)| sum(count)));
    row.extend([sum(&of_class), String::new()]);
    rows.push(row);
    table("Pictures by class and part of the data", 1, &head, &rows)
}

fn duplicates(data: &DataFacts) -> String {
    if data.duplicates.is_empty() {
        return String::new();
    }
    // What makes the result look better than it is comes first.
    let mut groups: Vec<_> = data.duplicates.iter().collect();
    groups.sort_by_key(|group| !group.across_splits);
    let across = groups.iter().filter(|group| group.across_splits).count();
    let line = |group: &&super::DuplicateGroup| {
        let files: Vec<String> = group.paths.iter().map(|path| name(path)).collect();
        let how = if group.exact { "equal" } else { "look the same" };
        let warning =
            if group.across_splits { " <b class=\"warn\">in different parts of the data</b>" } else { "" };
        format!("{} ({how}){warning}", files.join(", "))
    };
    let lines: Vec<String> = groups.iter().map(line).collect();
    let mut heading = format!("Found twice: {}", counted(lines.len(), "group"));
    if across > 0 {
        heading += &format!(", {across} of them in different parts of the data");
    }
    folded(&heading, &lines, MOST_FILES)
}
