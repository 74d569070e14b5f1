//! The contact sheet: one page that shows every layer of a network looking at one photo.
//!
//! The page stands alone: no scripts, no fonts, nothing from the network; only the pictures beside it are
//! referred to.

use std::fmt::Write;

/// What the page says of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerTile {
    /// The layer's path: `vgg16/block5_conv3`.
    pub name: String,
    /// Its class: `Conv2D`.
    pub class: String,
    /// Shape of its output without the batch: `[H, W, C]`.
    pub shape: Vec<usize>,
    /// Share of exactly zero values, 0..=1.
    pub zeros_share: f64,
    /// Channels that say nothing about the photo.
    pub dead_channels: usize,
    /// Where the picture is, relative to the page, with `/` between folders.
    pub image_path: String,
}

/// The page, from its parts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContactSheet {
    /// The heading: the model's name, usually.
    pub title: String,
    /// Lines under the heading: what was predicted, how the photo was prepared.
    pub lines: Vec<String>,
    /// The photo, relative to the page.
    pub photo_path: Option<String>,
    /// The layers, in order of depth.
    pub tiles: Vec<LayerTile>,
}

/// `index.html` with this title and these layers; [`ContactSheet`] shows the photo too.
pub fn contact_sheet(title: &str, tiles: &[LayerTile]) -> String {
    ContactSheet { title: title.into(), tiles: tiles.to_vec(), ..ContactSheet::default() }.html()
}

impl ContactSheet {
    /// The page.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}: what each layer sees</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n",
            include_str!("contact_sheet.css")
        );
        self.top(&mut page, &title);
        if !self.tiles.is_empty() {
            page += "<h2>Sparsity by depth</h2>\n<p class=\"soft\">From the first layer on the left to the last on the right; \
                     every point leads to its layer. Where deeper channels wait for more special patterns, more of them find \
                     nothing, and the curve rises.</p>\n";
            chart(&mut page, &self.tiles);
            page += "<h2>Layer by layer</h2>\n";
        }
        for (i, tile) in self.tiles.iter().enumerate() {
            tile.html(&mut page, i + 1);
        }
        page += "</main>\n</body>\n</html>\n";
        page
    }

    fn top(&self, page: &mut String, title: &str) {
        *page += "<div class=\"top\">\n<div>\n";
        line(page, format_args!("<h1>{title}</h1>"));
        for text in &self.lines {
            line(page, format_args!("<p>{}</p>", escape(text)));
        }
        *page += "<p class=\"soft\">Every square is one channel of a layer: what one filter found, and where in the photo. \
                  Each channel has its own scale around its own average. A square with one even color and a few bright \
                  spots found its pattern only there; an evenly dark one, a dead channel, found it nowhere.</p>\n\
                  <p class=\"legend\">below average <i></i> above</p>\n</div>\n";
        if let Some(photo) = &self.photo_path {
            line(page, format_args!("<figure><img src=\"{}\" alt=\"The photo\"></figure>", url(photo)));
        }
        *page += "</div>\n";
    }
}

impl LayerTile {
    fn channels(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    fn dead_share(&self) -> f64 {
        self.dead_channels as f64 / self.channels().max(1) as f64
    }

    fn html(&self, page: &mut String, number: usize) {
        let name = escape(&self.name);
        let shape: Vec<String> = self.shape.iter().map(usize::to_string).collect();
        let zeros = percent(self.zeros_share);
        let has_dead = if self.dead_channels > 0 { " class=\"has-dead\"" } else { "" };
        let image = url(&self.image_path);
        line(page, format_args!("<section class=\"layer\" id=\"layer-{number}\">"));
        line(
            page,
            format_args!("<header><h3><span>{number}</span><a href=\"#layer-{number}\">{name}</a></h3>"),
        );
        *page += "<ul class=\"facts\">";
        let _ = write!(page, "<li>{}</li><li><b>{}</b></li>", escape(&self.class), shape.join(" × "));
        let width = (self.zeros_share.clamp(0.0, 1.0) * 100.0).round();
        let _ = write!(
            page,
            "<li>zeros <b>{zeros}</b><span class=\"bar\"><i style=\"width:{width}%\"></i></span></li>"
        );
        let _ = write!(
            page,
            "<li{has_dead}>dead channels <b>{}</b> of {}</li>",
            self.dead_channels,
            self.channels()
        );
        *page += "</ul></header>\n";
        let alt = format!("All {} channels of {name}", self.channels());
        line(
            page,
            format_args!(
                "<a class=\"picture\" href=\"{image}\"><img src=\"{image}\" alt=\"{alt}\" loading=\"lazy\"></a>"
            ),
        );
        *page += "</section>\n";
    }
}

/// Size of the drawing and of its margins, in SVG units.
const CHART: Chart = Chart { width: 1180.0, height: 330.0, left: 62.0, right: 24.0, top: 44.0, bottom: 46.0 };

struct Chart {
    width: f64,
    height: f64,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Chart {
    /// Where the i-th of n layers is.
    fn x(&self, i: usize, n: usize) -> f64 {
        let inner = self.width - self.left - self.right;
        if n > 1 { self.left + inner * i as f64 / (n - 1) as f64 } else { self.left + inner / 2.0 }
    }

    fn y(&self, share: f64) -> f64 {
        let inner = self.height - self.top - self.bottom;
        self.top + inner * (1.0 - share.clamp(0.0, 1.0))
    }
}

fn chart(page: &mut String, tiles: &[LayerTile]) {
    let n = tiles.len();
    let c = CHART;
    line(
        page,
        format_args!(
            "<div class=\"chart\"><svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Share of zeros by depth\">",
            c.width, c.height
        ),
    );
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let y = c.y(share);
        line(
            page,
            format_args!("<path class=\"grid\" d=\"M{:.0} {y:.1}H{:.0}\"/>", c.left, c.width - c.right),
        );
        line(
            page,
            format_args!(
                "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                c.left - 10.0,
                y + 5.0,
                percent(share)
            ),
        );
    }
    let points = |share: &dyn Fn(&LayerTile) -> f64| -> String {
        let point = |(i, tile): (usize, &LayerTile)| format!("{:.1},{:.1}", c.x(i, n), c.y(share(tile)));
        tiles.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
    };
    let zeros = points(&|t| t.zeros_share);
    let floor = c.y(0.0);
    line(
        page,
        format_args!(
            "<polygon class=\"area\" points=\"{:.1},{floor:.1} {zeros} {:.1},{floor:.1}\"/>",
            c.x(0, n),
            c.x(n - 1, n)
        ),
    );
    line(page, format_args!("<polyline class=\"dead\" points=\"{}\"/>", points(&LayerTile::dead_share)));
    line(page, format_args!("<polyline class=\"zeros\" points=\"{zeros}\"/>"));
    let radius = if n <= 60 { 6.0 } else { 3.5 };
    for (i, tile) in tiles.iter().enumerate() {
        let (name, zeros, number) = (escape(&tile.name), percent(tile.zeros_share), i + 1);
        let (x, y) = (c.x(i, n), c.y(tile.zeros_share));
        let title = format!(
            "{number}. {name}: {zeros} zeros, {} of {} channels dead",
            tile.dead_channels,
            tile.channels()
        );
        line(
            page,
            format_args!(
                "<a href=\"#layer-{number}\"><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"><title>{title}</title></circle></a>"
            ),
        );
    }
    // Numbers under the axis: all of them while they fit, then every second, fifth, tenth.
    let step = [1, 2, 5, 10, 20, 50].into_iter().find(|s| n / s <= 32).unwrap_or(100);
    for i in (0..n).filter(|i| *i == 0 || (i + 1) % step == 0) {
        line(
            page,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
                c.x(i, n),
                c.height - 22.0,
                i + 1
            ),
        );
    }
    line(page, format_args!("<text class=\"key-zeros\" x=\"{:.0}\" y=\"22\">share of zeros</text>", c.left));
    line(
        page,
        format_args!(
            "<text class=\"key-dead\" x=\"{:.0}\" y=\"22\">share of dead channels (dashed)</text>",
            c.left + 140.0
        ),
    );
    line(
        page,
        format_args!(
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">layer</text>",
            c.width - c.right,
            c.height - 3.0
        ),
    );
    *page += "</svg></div>\n";
}

fn line(page: &mut String, text: std::fmt::Arguments) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{text}");
}

/// One decimal where it matters: `0 %`, `0.4 %`, `63 %`, `99.7 %`; never rounded to none or to all when it is
/// not.
fn percent(share: f64) -> String {
    let p = share * 100.0;
    if p > 0.0 && p < 0.05 {
        "under 0.1 %".into()
    } else if p < 100.0 && p > 99.95 {
        "over 99.9 %".into()
    } else if (p > 0.0 && p < 9.95) || (p > 90.0 && p < 100.0) {
        format!("{p:.1} %")
    } else {
        format!("{p:.0} %")
    }
}

/// Text for HTML, between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            c => out.push(c),
        }
    }
    out
}

/// A relative path as a URL: everything but letters, digits and `-._~/` percent-encoded, so that no name
/// becomes a scheme, a host or a query.
pub(crate) fn url(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.trim_start_matches('/').bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
