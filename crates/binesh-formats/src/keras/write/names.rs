//! Names that Keras allows: unique in the model, without a `/`, fit for a TensorFlow scope.

use std::collections::{HashMap, HashSet};

use super::records::Layer;

/// Names every layer: the last part of its path when no other layer has that, else the whole path, else with a number.
pub(super) fn assign(layers: &mut [Layer]) {
    let mut bearers: HashMap<String, usize> = HashMap::new();
    for layer in layers.iter() {
        *bearers.entry(legal(&layer.wanted.short)).or_default() += 1;
    }
    let mut taken = HashSet::new();
    // Those that are alone with their name come first, so that no other's second choice takes it.
    for alone in [true, false] {
        for layer in layers.iter_mut() {
            let short = legal(&layer.wanted.short);
            if (bearers[&short] == 1) != alone {
                continue;
            }
            let name = if alone { short } else { legal(&layer.wanted.long) };
            let numbered = (1..).map(|n| format!("{name}_{n}"));
            let free = std::iter::once(name.clone()).chain(numbered).find(|name| !taken.contains(name));
            layer.name = free.expect("one of endlessly many names is free");
            taken.insert(layer.name.clone());
        }
    }
}

/// `^[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*$` is what `tf.name_scope` takes, and Keras takes no `/`.
pub(super) fn legal(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.') {
        name
    } else {
        format!("layer{name}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::keras::write::records::{Class, Wanted};

    fn named(wanted: &[(&str, &str)]) -> Vec<String> {
        let layer = |(short, long): &(&str, &str)| Layer {
            wanted: Wanted { short: (*short).to_owned(), long: (*long).to_owned() },
            name: String::new(),
            class: Class::layer("Dense"),
            config: Map::new(),
            weights: Vec::new(),
            trainable: true,
            calls: Vec::new(),
        };
        let mut layers: Vec<Layer> = wanted.iter().map(layer).collect();
        assign(&mut layers);
        layers.into_iter().map(|layer| layer.name).collect()
    }

    #[test]
    fn the_last_part_of_the_path_when_it_is_unique() {
        let names = named(&[
            ("x", "x"),
            ("conv", "a/conv"),
            ("conv", "b/conv"),
            ("pool", "a/pool"),
            ("b_conv", "b_conv"),
            ("conv", "conv"),
        ]);
        assert_eq!(names, ["x", "a_conv", "b_conv_1", "pool", "b_conv", "conv"]);
    }

    #[test]
    fn what_keras_does_not_allow() {
        assert_eq!(legal("tf.math/truediv: 0"), "tf.math_truediv__0");
        assert_eq!(legal("_hidden"), "layer_hidden");
        assert_eq!(legal(""), "layer");
        assert_eq!(legal("Größe"), "Gr__e");
    }
}
