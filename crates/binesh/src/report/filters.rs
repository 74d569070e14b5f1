//! The page of learned filters: each picture, how far the answer rose above chance, and photos beside it.

use std::fmt::Write;

use super::markup::{Section, document, heading, name, significant};
use crate::render::contact_sheet::{escape, url};
use crate::view::filters::Chance;

/// Everything on the page.
#[derive(Clone, Debug, Default)]
pub struct FiltersPage {
    /// The model's name.
    pub title: String,
    /// Facts under the heading, as name and value.
    pub facts: Vec<(String, String)>,
    /// In order.
    pub filters: Vec<FilterCard>,
    /// The first layer's kernels: their layer and a picture of them, relative to the page.
    pub kernels: Option<(String, String)>,
}

/// One learned picture.
#[derive(Clone, Debug)]
pub struct FilterCard {
    /// What it was learned for.
    pub name: String,
    /// The picture, relative to the page.
    pub picture: String,
    /// What it brings the answer to.
    pub reached: f64,
    /// The answer to random pictures.
    pub random: Chance,
    /// Whether it rose above all of them.
    pub rose: bool,
    /// Photos that excite it most, on one sheet relative to the page: patches above, whole pictures below.
    pub photos: Option<String>,
}

impl FiltersPage {
    /// The page.
    pub fn html(&self) -> String {
        let mut sections = Vec::new();
        if let Some((layer, picture)) = &self.kernels {
            let html =
                format!("<p><img src=\"{}\" alt=\"kernels of {}\"></p>\n", url(picture), escape(layer));
            let lead = format!(
                "The weights of {} themselves, which look at the picture directly: gray is zero, each kernel has its own scale.",
                name(layer)
            );
            sections.push(Section { id: "kernels", title: "Kernels of the first layer", lead, html });
        }
        if !self.filters.is_empty() {
            sections.push(self.learned());
        }
        let top = heading(&self.title, &[&self.facts]);
        document(&format!("{}: learned filters", self.title), &top, &sections)
    }

    fn learned(&self) -> Section {
        let silent = self.filters.iter().filter(|filter| !filter.rose).count();
        let mut html = String::new();
        if silent > 0 {
            let _ = writeln!(
                html,
                "<p class=\"finding warn\">{silent} of {} answer to nothing that was learned: their pictures show noise.</p>",
                self.filters.len()
            );
        }
        let with_photos = self.filters.iter().any(|filter| filter.photos.is_some());
        html += if with_photos { "<div class=\"wide\">\n" } else { "<div class=\"tiles\">\n" };
        for FilterCard { name: what, picture, reached, random, rose, photos } in &self.filters {
            let photos = photos.as_ref().map_or(String::new(), |photos| {
                format!(
                    "<img class=\"beside\" src=\"{}\" alt=\"photos that excite {} most\" loading=\"lazy\">",
                    url(photos),
                    escape(what)
                )
            });
            let warn = if *rose { "" } else { " class=\"warn\"" };
            let _ = writeln!(
                html,
                "<figure class=\"tile\"><div><img src=\"{}\" alt=\"what {} answers to\" loading=\"lazy\">{photos}</div>\
                 <figcaption><b>{}</b><br><span{warn}>{} against {} by chance, {} at most</span></figcaption></figure>",
                url(picture),
                escape(what),
                name(what),
                significant(*reached),
                significant(random.mean),
                significant(random.most)
            );
        }
        html += "</div>\n";
        let lead = if with_photos {
            "Left, the picture that was learned; right, the photos with the strongest answers: the part that the place with \
             the strongest answer sees, and below it the whole photo as the network is shown it."
        } else {
            "Each picture was learned from noise, so that the channel answers to it as strongly as possible."
        };
        Section { id: "filters", title: "Learned pictures", lead: lead.into(), html }
    }
}
