//! Names as users type them: layers and classes, and what was probably meant.

use binesh_core::NodeId;

use crate::error::Error;
use crate::model::Model;

impl Model {
    /// The value a user means by a layer's path, a layer's last name where only one has it, or a node's name. A shared
    /// layer means its first call; a later one has the name of its node, `name#1`.
    pub fn find_node(&self, name: &str) -> Result<NodeId, Error> {
        let layer = self
            .layers()
            .find(name)
            .and_then(|id| self.layers().get(id).calls.first()?.outputs.first().copied());
        // `layer4.1.conv2`, as PyTorch writes a module's path.
        let dotted = || self.graph().find(&name.replace('.', "/"));
        layer.or_else(|| self.graph().find(name)).or_else(dotted).ok_or_else(|| {
            let layers = self.layers().iter().map(|(_, layer)| layer.path.as_str());
            // A weight, or a node inside a layer.
            let inside = self.graph().nodes().iter().map(|node| node.name.as_str());
            let inside = inside.filter(|_| name.contains('/'));
            let mut similar = similar(name, inside.chain(layers));
            similar.dedup();
            Error::NoLayer { name: name.to_owned(), similar }
        })
    }

    /// The class a user means by its index, its name, or a part of the name that only one class has; case and the
    /// difference between spaces and underscores do not matter.
    pub fn find_class(&self, name: &str) -> Result<usize, Error> {
        let classes = self.head()?.classes();
        let plain = |s: &str| s.to_lowercase().replace('_', " ");
        let labels: Vec<String> = (0..classes).map(|class| self.label(class)).collect();
        let wanted = plain(name);
        let exact = labels.iter().position(|label| plain(label) == wanted);
        let index = || name.parse().ok().filter(|&class| class < classes);
        let part = || {
            let mut matching = (0..classes).filter(|&class| plain(&labels[class]).contains(&wanted));
            matching.next().filter(|_| matching.next().is_none() && !wanted.is_empty())
        };
        exact.or_else(index).or_else(part).ok_or_else(|| Error::NoClass {
            name: name.to_owned(),
            classes,
            similar: similar(name, labels.iter().map(String::as_str)),
        })
    }
}

/// Up to three names that a user may have meant, best first: `other` as a whole, its last part, or a word of that.
fn similar<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let wanted = name.to_lowercase();
    let words = |text: &str| text.split([' ', '_', '-']).map(str::to_owned).collect::<Vec<_>>();
    let alike = |a: &str, b: &str| strsim::jaro_winkler(a, b);
    let score = |other: &str| {
        let other = other.to_lowercase();
        let last = other.rsplit('/').next().unwrap_or(&other);
        let word = words(last).iter().map(|word| 0.97 * alike(&wanted, word)).fold(0.0, f64::max);
        let holds = if !wanted.is_empty() && last.contains(&wanted) { 0.95 } else { 0.0 };
        alike(&wanted, &other).max(alike(&wanted, last)).max(word).max(holds)
    };
    let mut scored: Vec<(f64, &str)> =
        known.map(|other| (score(other), other)).filter(|(s, _)| *s > 0.75).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}
