//! Pieces of HTML and numbers as people read them.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::image::Picture;
use crate::render::contact_sheet::escape;
use crate::render::encode_png;

/// A page that stands alone, without scripts, fonts or anything from the network: its head, links to its parts, the parts.
pub(super) fn document(title: &str, head: &str, sections: &[Section]) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n{head}",
        escape(title),
        include_str!("page.css")
    );
    page += "<nav aria-label=\"Parts of the report\">";
    for section in sections {
        let _ = write!(page, "<a href=\"#{}\">{}</a>", section.id, section.title);
    }
    page += "</nav>\n";
    for Section { id, title, lead, html } in sections {
        let _ = writeln!(page, "<section id=\"{id}\">\n<h2>{title}</h2>");
        if !lead.is_empty() {
            let _ = writeln!(page, "<p class=\"soft\">{lead}</p>");
        }
        page += html;
        page += "</section>\n";
    }
    page + "</main>\n</body>\n</html>\n"
}

/// The heading, and lines of facts under it, each a name and a value.
pub(super) fn heading(title: &str, lines: &[&[(String, String)]]) -> String {
    let mut out = format!("<header>\n<h1 dir=\"auto\">{}</h1>\n", escape(title));
    for facts in lines.iter().filter(|facts| !facts.is_empty()) {
        let fact = |(what, value): &(String, String)| format!("{} <b>{}</b>", name(what), name(value));
        let facts: Vec<String> = facts.iter().map(fact).collect();
        let _ = writeln!(out, "<p class=\"facts soft\">{}</p>", facts.join(" · "));
    }
    out + "</header>\n"
}

/// A part of the page.
pub(super) struct Section {
    /// Where links lead.
    pub id: &'static str,
    /// The heading.
    pub title: &'static str,
    /// How to read it, in a sentence or two.
    pub lead: String,
    /// What follows the heading.
    pub html: String,
}

/// A picture inside the page.
pub(super) fn inline_png(picture: &Picture) -> String {
    data_uri(&encode_png(picture))
}

/// A PNG or JPEG inside the page.
pub(super) fn data_uri(bytes: &[u8]) -> String {
    let kind = if bytes.starts_with(&[0xFF, 0xD8]) { "jpeg" } else { "png" };
    format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))
}

/// A name that the user gave, in its own writing direction.
pub(super) fn name(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

/// A table; the head's cells are texts, the body's are HTML. Cells of columns after the first `left` are numbers.
pub(super) fn table(caption: &str, left: usize, head: &[&str], rows: &[Vec<String>]) -> String {
    let side = |column: usize| if column < left { "" } else { " class=\"n\"" };
    let mut out =
        format!("<div class=\"scroll\"><table>\n<caption>{}</caption>\n<thead><tr>", escape(caption));
    for (i, text) in head.iter().enumerate() {
        let _ = write!(out, "<th scope=\"col\"{}>{}</th>", side(i), escape(text));
    }
    out += "</tr></thead>\n<tbody>\n";
    for row in rows {
        out += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            let _ = match i {
                0 => write!(out, "<th scope=\"row\">{cell}</th>"),
                _ => write!(out, "<td{}>{cell}</td>", side(i)),
            };
        }
        out += "</tr>\n";
    }
    out += "</tbody>\n</table></div>\n";
    out
}

/// A figure and a bar of that share of the cell; `class` is the bar's look.
pub(super) fn bar(share: f64, text: &str, class: &str) -> String {
    let width = if share.is_finite() { share.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    format!(
        "<span class=\"bar {class}\"><i style=\"width:{width:.1}%\"></i></span><span class=\"v\">{text}</span>"
    )
}

/// A line of figures: `(value, what it is)`, both HTML.
pub(super) fn figures(figures: &[(String, String)]) -> String {
    let mut out = String::from("<dl class=\"figures\">\n");
    for (value, what) in figures {
        let _ = writeln!(out, "<div><dt>{what}</dt><dd>{value}</dd></div>");
    }
    out += "</dl>\n";
    out
}

/// At most `most` lines behind a heading that can be folded; HTML.
pub(super) fn folded(summary: &str, lines: &[String], most: usize) -> String {
    let open = if lines.len() <= 6 { " open" } else { "" };
    let mut out = format!("<details{open}><summary>{}</summary>\n<ul class=\"files\">\n", escape(summary));
    for line in lines.iter().take(most) {
        let _ = writeln!(out, "<li>{line}</li>");
    }
    if lines.len() > most {
        let _ = writeln!(out, "<li>and {} more, in <code>metrics.json</code></li>", lines.len() - most);
    }
    out += "</ul></details>\n";
    out
}

/// One decimal, never rounded to none or to all when it is not: `0 %`, `93.1 %`, `over 99.9 %`.
pub(super) fn percent(share: f64) -> String {
    let p = share * 100.0;
    if !p.is_finite() {
        "–".into()
    } else if p > 0.0 && p < 0.05 {
        "under 0.1\u{a0}%".into()
    } else if (99.95..100.0).contains(&p) {
        "over 99.9\u{a0}%".into()
    } else if p == 0.0 || p == 100.0 {
        format!("{p:.0}\u{a0}%")
    } else {
        format!("{p:.1}\u{a0}%")
    }
}

/// `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    if !(0.0..1e9).contains(&seconds) {
        return "–".into();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Three significant digits, as a rate or a loss is written: `0.001`, `1e-4`.
pub(super) fn significant(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-3..1e6).contains(&value.abs()) {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trim(digits));
    }
    let decimals = (2 - value.abs().log10().floor() as i32).max(0) as usize;
    trim(&format!("{value:.decimals$}")).to_owned()
}

fn trim(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

/// `1 picture`, `2 pictures`.
pub(super) fn counted(n: usize, one: &str) -> String {
    format!("{} {one}{}", crate::report::units::thousands(n as u64), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_never_rounded_to_none_or_all() {
        let cases = [
            (0.0, "0 %"),
            (0.0001, "under 0.1 %"),
            (0.5, "50.0 %"),
            (0.931_03, "93.1 %"),
            (0.9996, "over 99.9 %"),
            (1.0, "100 %"),
            (f64::NAN, "–"),
        ];
        for (share, text) in cases {
            assert_eq!(percent(share).replace('\u{a0}', " "), text);
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let cases =
            [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (7504.0, "2 h 5 min")];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(duration(f64::NAN), "–");
    }

    #[test]
    fn rates_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.001, "0.001"),
            (1e-5, "1e-5"),
            (0.000_123_45, "1.23e-4"),
            (2.5e-7, "2.5e-7"),
            (1234.5, "1234"),
            (0.3, "0.3"),
            (1.0, "1"),
            (100.0, "100"),
            (f64::INFINITY, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(significant(value), text);
        }
    }
}
