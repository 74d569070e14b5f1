//! The page of `binesh depth`: what is said of depth and whether it is so here, curves, the picture as each layer keeps it.

use std::fmt::Write;

use super::markup::{Section, document, heading, inline_png, name, percent, significant, table};
use super::svg::{Axis, LineChart, Series};
use crate::image::Picture;
use crate::render::{Colormap, SheetStyle, enlarge, sheet};
use crate::view::depth::{Claim, Depth, LayerDepth, PICTURE_SIDE, SKETCH, Verdict};

/// Everything on the page.
#[derive(Debug)]
pub struct DepthPage<'a> {
    /// The model's name.
    pub title: String,
    /// Facts under the heading, as name and value.
    pub facts: Vec<(String, String)>,
    /// What was measured.
    pub depth: &'a Depth,
    /// Another network's name, and CKA of each layer with its layer of the same name.
    pub against: Option<(String, Vec<Option<f64>>)>,
}

/// A figure of a layer, where it has one.
type Figure = fn(&LayerDepth) -> Option<f64>;

/// Pixels of a side of a small picture on the page.
const THUMB: usize = 64;

impl DepthPage<'_> {
    /// The page.
    pub fn html(&self) -> String {
        let mut sections = vec![self.claims(), self.curves()];
        sections.extend(self.against.as_ref().map(|(other, cka)| self.against(other, cka)));
        sections.extend([self.pictures(), self.similarity(), self.figures()]);
        let top = heading(&self.title, &[&self.facts]);
        document(&format!("{}: what depth does", self.title), &top, &sections)
    }

    fn claims(&self) -> Section {
        let line = |Claim { verdict, text, .. }: &Claim| {
            let class = match verdict {
                Verdict::Contradicted | Verdict::NotBorneOut => "finding warn",
                _ => "finding",
            };
            format!("<p class=\"{class}\">{text}</p>\n")
        };
        let html = self.depth.claims().iter().map(line).collect();
        let lead =
            "A figure counts as rising or falling when its rank correlation with depth is at least 0.5."
                .into();
        Section { id: "claims", title: "What is said of depth", lead, html }
    }

    fn curves(&self) -> Section {
        let share = |label: &str, of: Figure| self.chart(label, &[("", of)], Axis::Share(0.0, 1.0), &percent);
        let mut charts = vec![
            share("zeros, where a rectifier ends the layer", |l| l.rectified.then_some(l.zeros_share)),
            share("picture left: R² on photos held out", |l| l.picture_r2.map(|r2| r2.max(0.0))),
        ];
        if self.depth.chance.is_some() {
            charts.push(share("class there: probe's accuracy", |l| l.accuracy));
        }
        let rank: Figure = |l| Some(l.effective_rank / l.shape[2] as f64);
        let even: Figure = |l| Some(l.entropy);
        charts.push(self.chart(
            "channels",
            &[("in use", even), ("rank", rank)],
            Axis::Share(0.0, 1.0),
            &percent,
        ));
        let alike: Figure = |l| l.cka_before;
        charts.push(self.chart(
            "CKA with the layer before",
            &[("", alike)],
            Axis::Linear(0.0, 1.0),
            &significant,
        ));
        let figures: Vec<String> = charts.iter().map(|chart| format!("<figure>{chart}</figure>\n")).collect();
        let mut lead = format!(
            "From the first layer on the left to the last on the right. Picture left: how much of the variance of the photo \
             in {0} x {0} pixels ridge regression finds from the layer's values, on photos it was not fitted on",
            PICTURE_SIDE
        );
        if let Some(ceiling) = self.depth.ceiling {
            let _ = write!(lead, "; from the input itself it finds {}", percent(ceiling));
        }
        lead += ". ";
        if let Some(chance) = self.depth.chance {
            let _ = write!(
                lead,
                "Class: photos held out whose class a linear probe finds from the channels' means; always naming the largest \
                 class finds {}. ",
                percent(chance)
            );
        }
        lead += "Channels in use: entropy of how activity is spread over them, of 100 % when all are equally active; rank: the \
                 effective rank of their covariance, of the number of channels.";
        Section {
            id: "curves",
            title: "Curves over depth",
            lead,
            html: format!("<div class=\"grid\">\n{}</div>\n", figures.concat()),
        }
    }

    fn chart(&self, label: &str, curves: &[(&str, Figure)], y: Axis, text: &dyn Fn(f64) -> String) -> String {
        let layers = &self.depth.layers;
        let series = curves.iter().zip(["first", "second"]).map(|((name, of), class)| {
            let point = |(at, layer): (usize, &LayerDepth)| {
                let value = of(layer)?;
                Some(((at + 1) as f64, value, format!("{}. {}: {}", at + 1, layer.name, text(value))))
            };
            Series { name, class, points: layers.iter().enumerate().filter_map(point).collect() }
        });
        self.line(label, y, series.collect())
    }

    fn line(&self, label: &str, y: Axis, series: Vec<Series<'_>>) -> String {
        let layers = self.depth.layers.len();
        LineChart {
            alt: format!("{label}, by layer, for {layers} layers"),
            x_label: "layer",
            y_label: label,
            x: (1.0, layers as f64),
            y,
            x_ticks: None,
            series,
            rules: Vec::new(),
            marks: Vec::new(),
            bars: Vec::new(),
            diagonal: false,
        }
        .svg()
    }

    fn against(&self, other: &str, cka: &[Option<f64>]) -> Section {
        let point = |(at, (layer, cka)): (usize, (&LayerDepth, &Option<f64>))| {
            let value = (*cka)?;
            Some(((at + 1) as f64, value, format!("{}. {}: {}", at + 1, layer.name, significant(value))))
        };
        let points: Vec<_> = self.depth.layers.iter().zip(cka).enumerate().filter_map(point).collect();
        let found = points.len();
        let lowest = self.depth.layers.iter().zip(cka).filter_map(|(layer, cka)| Some((layer, (*cka)?)));
        let lowest = lowest.min_by(|a, b| a.1.total_cmp(&b.1));
        let mut html = format!(
            "<div class=\"grid\">\n<figure>{}</figure>\n</div>\n",
            self.line(
                "CKA with the same layer",
                Axis::Linear(0.0, 1.0),
                vec![Series { name: "", class: "first", points }]
            )
        );
        if let Some((layer, cka)) = lowest {
            let _ = writeln!(
                html,
                "<p class=\"finding\">Lowest CKA {} at {}.</p>",
                significant(cka),
                name(&layer.name)
            );
        }
        let lead = format!(
            "Whether {} tells the same photos apart in the same way, layer by layer ({found} of {} have one of the same name): 1 \
             is as before, 0 is nothing in common.",
            name(other),
            self.depth.layers.len()
        );
        Section { id: "against", title: "Against another network", lead, html }
    }

    fn pictures(&self) -> Section {
        let strip = |pictures: &[Picture]| {
            let large: Vec<Picture> = pictures
                .iter()
                .map(|picture| enlarge(picture, (THUMB / picture.height().max(1)).max(1)))
                .collect();
            let tiles: Vec<Option<&Picture>> = large.iter().map(Some).collect();
            let style =
                SheetStyle { side: THUMB, columns: tiles.len().max(1), margin: 3, background: [255; 3] };
            if tiles.is_empty() {
                String::new()
            } else {
                format!("<img src=\"{}\" alt=\"\">", inline_png(&sheet(&tiles, &style)))
            }
        };
        let r2 = |value: Option<f64>| value.map_or("–".to_owned(), percent);
        let mut rows = vec![
            vec!["the photo".to_owned(), String::new(), strip(&self.depth.shown)],
            vec!["the input itself".to_owned(), r2(self.depth.ceiling), strip(&self.depth.shown_ceiling)],
        ];
        for (at, layer) in self.depth.layers.iter().enumerate() {
            rows.push(vec![
                format!("<small>{}</small> {}", at + 1, name(&layer.name)),
                r2(layer.picture_r2),
                strip(&layer.kept),
            ]);
        }
        let html = table("The picture as each layer keeps it", 3, &["layer", "R²", "pictures"], &rows);
        let lead = "What ridge regression makes of a layer's values, for photos it was not fitted on. It knows a few hundred photos, so it \
                    blurs even the input itself: what a layer loses is what is missing against that."
            .into();
        Section { id: "pictures", title: "The picture as each layer keeps it", lead, html }
    }

    fn similarity(&self) -> Section {
        let n = self.depth.layers.len();
        let levels = self
            .depth
            .similarity()
            .iter()
            .map(|v| (v.unwrap_or(0.0).clamp(0.0, 1.0) * 255.0) as u8)
            .collect();
        let levels = Picture::gray(n, n, levels).expect("there is a layer");
        let picture = enlarge(&Colormap::Viridis.paint(&levels), (480 / n.max(1)).max(1));
        let html = format!("<p><img src=\"{}\" alt=\"CKA of {n} x {n} layers\"></p>\n", inline_png(&picture));
        let lead = "CKA of every pair of layers, the first at the top and at the left: dark is nothing in common, yellow is the same. \
                    Bright squares are stretches of layers that tell photos apart in one way."
            .into();
        Section { id: "similarity", title: "Which layers are alike", lead, html }
    }

    fn figures(&self) -> Section {
        let share = |value: Option<f64>| value.map_or(String::new(), percent);
        let row = |(at, layer): (usize, &LayerDepth)| {
            let [h, w, c] = layer.shape;
            let sketched = if layer.sketched { " *" } else { "" };
            vec![
                format!(
                    "<small>{}</small> {} <small>{}</small>",
                    at + 1,
                    name(&layer.name),
                    name(&layer.class)
                ),
                format!("{h} × {w} × {c}"),
                format!("{}{sketched}", layer.features),
                percent(layer.zeros_share),
                layer.dead_channels.to_string(),
                percent(layer.blank_share),
                format!("{:.3}", layer.entropy),
                significant(layer.effective_rank),
                share(layer.picture_r2),
                share(layer.accuracy),
                layer.cka_before.map_or(String::new(), |cka| format!("{cka:.3}")),
            ]
        };
        let rows: Vec<Vec<String>> = self.depth.layers.iter().enumerate().map(row).collect();
        let head = [
            "layer", "shape", "features", "zeros", "dead", "blank", "entropy", "rank", "picture", "class",
            "CKA",
        ];
        let lead = format!(
            "Features: values of a photo after maps were averaged to at most {0} x {0}; * more than {SKETCH} of them were sketched to \
             {SKETCH} sums. Dead channels are the same everywhere in all photos, blank ones in a photo. Rank: of up to 16 places a photo.",
            PICTURE_SIDE
        );
        let caption = "Figures of every layer";
        Section { id: "figures", title: caption, lead, html: table(caption, 1, &head, &rows) }
    }
}
