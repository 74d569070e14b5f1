//! The plot of the learning-rate finder.

use crate::report::svg::{Axis, LineChart, Series};
use crate::train::RateCurve;

/// A page with the curve and the suggestions; works offline.
pub fn page(curve: &RateCurve) -> String {
    let points: Vec<(f64, f64, String)> = (curve.rates.iter().zip(&curve.losses))
        .map(|(rate, loss)| (rate.log10(), *loss, format!("{rate:.1e}: {loss:.3}")))
        .collect();
    let suggestions = curve.suggestions();
    let ends = (points.first().map_or(-7.0, |p| p.0).floor(), points.last().map_or(1.0, |p| p.0).ceil());
    let chart = LineChart {
        alt: "Loss against the learning rate".to_owned(),
        x_label: "learning rate",
        y_label: "loss, smoothed",
        x: ends,
        y: Axis::from_zero(curve.losses.iter().copied()),
        x_ticks: Some((ends.0 as i32..=ends.1 as i32).map(|e| (f64::from(e), format!("1e{e}"))).collect()),
        series: vec![Series { name: "loss", class: "first", points }],
        rules: suggestions.iter().map(|(name, rate)| (rate.log10(), *name)).collect(),
        marks: Vec::new(),
        bars: Vec::new(),
        diagonal: false,
    };
    let list: String =
        suggestions.iter().map(|(name, rate)| format!("<li>{name}: <b>{rate:.1e}</b></li>\n")).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>Learning rate</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n\
         <h1>Learning rate</h1>\n<p>One step at each rate, from low to high, on a copy of the head. A good rate is where \
         the loss falls steadily, well before it turns.</p>\n<figure>{}</figure>\n<ul>\n{list}</ul>\n</main>\n</body>\n\
         </html>\n",
        include_str!("page.css"),
        chart.svg()
    )
}
