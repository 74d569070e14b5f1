//! Where the time went, and how to get the same again.

use std::fmt::Write;

use super::{Timing, TrainingReport};
use crate::render::contact_sheet::escape;
use crate::report::markup::{Section, duration, figures, name, percent};
use crate::report::units::{size, thousands};

/// Looks of the parts of the bar, one after another.
const LOOKS: usize = 6;

pub(super) fn section(report: &TrainingReport) -> Option<Section> {
    let timing = report.timing.as_ref()?;
    let mut html = parts(timing);
    let mut facts = vec![(duration(timing.total_seconds), "in all".to_owned())];
    if let Some(share) = timing.waiting_for_data {
        facts.push((percent(share), "of the training time waiting for pictures".into()));
    }
    if let Some(cache) = &timing.cache {
        let asked = cache.hits + cache.misses;
        let share = percent(cache.hits as f64 / asked.max(1) as f64);
        let what = format!("of {} frozen activations came from the cache", thousands(asked));
        facts.push((share, what));
        let kind = if cache.kind.is_empty() { String::new() } else { format!(" ({})", name(&cache.kind)) };
        facts.push((size(cache.bytes), format!("cache{kind}")));
    }
    if let Some(bytes) = timing.peak_memory {
        facts.push((size(bytes), "most memory in use".into()));
    }
    html += &figures(&facts);
    let lead = "The frozen part of the network is computed once per picture and kept: an epoch costs only the part that \
                learns."
        .into();
    let lead = if timing.cache.is_some() { lead } else { String::new() };
    Some(Section { id: "time", title: "Where the time went", lead, html })
}

fn parts(timing: &Timing) -> String {
    let total: f64 = timing.parts.iter().map(|(_, seconds)| seconds.max(0.0)).sum();
    if total <= 0.0 || !total.is_finite() {
        return String::new();
    }
    let mut bar = String::new();
    let mut key = String::new();
    let mut told = Vec::new();
    for (i, (part, seconds)) in timing.parts.iter().enumerate() {
        let share = seconds.max(0.0) / total;
        let look = i % LOOKS;
        let _ = write!(bar, "<i class=\"part-{look}\" style=\"width:{:.2}%\"></i>", share * 100.0);
        let _ = writeln!(
            key,
            "<li><i class=\"part-{look}\"></i>{} <b>{}</b> <small>{}</small></li>",
            name(part),
            duration(*seconds),
            percent(share)
        );
        told.push(format!("{part} {}", duration(*seconds)));
    }
    format!(
        "<div class=\"parts\" role=\"img\" aria-label=\"{}\">{bar}</div>\n<ul class=\"key\">\n{key}</ul>\n",
        escape(&told.join(", "))
    )
}

pub(super) fn reproduce(report: &TrainingReport) -> Option<Section> {
    let reproduce = report.reproduce.as_ref()?;
    let mut html = String::new();
    if !reproduce.command.is_empty() {
        let _ = writeln!(html, "<pre dir=\"ltr\"><code>{}</code></pre>", escape(&reproduce.command));
    }
    if !reproduce.config.is_empty() {
        let config = escape(reproduce.config.trim_end());
        let _ =
            writeln!(html, "<h3><code>config.toml</code></h3>\n<pre dir=\"ltr\"><code>{config}</code></pre>");
    }
    let lead = "The same pictures, command and version give the same weights to the bit.".into();
    Some(Section { id: "again", title: "Do it again", lead, html })
}
