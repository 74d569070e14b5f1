//! The words of Keras 1 in the words of Keras 2: `Convolution2D(nb_filter, nb_row)` is `Conv2D(filters, kernel_size)`.
//!
//! After Keras 2's own `legacy/interfaces.py` and `legacy/layers.py`. Attributes that only matter for training
//! (initialisers, regularisers) are left as they are.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::config::{Arg, Attributes, Call, LayerConfig, TensorRef, Wiring};
use crate::error::FormatError;

/// Class and attributes under their Keras 2 names. Names of Keras 2 and 3 pass unchanged.
pub(super) fn modernise(class: String, mut at: Attributes) -> (String, Attributes) {
    let class = match class.as_str() {
        "Convolution2D" => "Conv2D",
        "AtrousConvolution2D" => "Conv2D",
        "Deconvolution2D" | "Convolution2DTranspose" => "Conv2DTranspose",
        "SeparableConvolution2D" => "SeparableConv2D",
        "DepthwiseConvolution2D" => "DepthwiseConv2D",
        "Convolution1D" => "Conv1D",
        "MaxPool2D" => "MaxPooling2D",
        "AvgPool2D" => "AveragePooling2D",
        "GlobalMaxPool2D" => "GlobalMaxPooling2D",
        "GlobalAvgPool2D" => "GlobalAveragePooling2D",
        "Merge" => return merge(at),
        other => other,
    }
    .to_owned();
    pair(&mut at, "nb_row", "nb_col", "kernel_size");
    for (old, new) in [
        ("nb_filter", "filters"),
        ("filter_length", "kernel_size"),
        ("subsample", "strides"),
        ("subsample_length", "strides"),
        ("border_mode", "padding"),
        ("atrous_rate", "dilation_rate"),
        ("bias", "use_bias"),
        ("p", "rate"),
        ("sigma", "stddev"),
    ] {
        rename(&mut at, old, new);
    }
    if class == "Dense" {
        rename(&mut at, "output_dim", "units");
    }
    if let Some(order) = at.remove("dim_ordering") {
        let format = match order.as_str() {
            Some("th") => json!("channels_first"),
            Some("tf") => json!("channels_last"),
            // `default`: whatever the machine was set to. TensorFlow's order was the default of Keras 1.
            _ => Value::Null,
        };
        if !format.is_null() {
            at.entry("data_format").or_insert(format);
        }
    }
    (class, at)
}

/// The functional `merge(inputs, mode, concat_axis)`.
fn merge(mut at: Attributes) -> (String, Attributes) {
    let class = match at.get("mode").and_then(Value::as_str) {
        Some("sum") => "Add",
        Some("mul") => "Multiply",
        Some("ave") => "Average",
        Some("max") => "Maximum",
        Some("concat") => "Concatenate",
        // `dot`, `cos` and Python functions keep the old name, which no builder has.
        _ => return ("Merge".to_owned(), at),
    };
    if at.get("layers").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        at.remove("layers");
    }
    rename(&mut at, "concat_axis", "axis");
    if class != "Concatenate" {
        at.remove("axis");
    }
    for noise in [
        "mode",
        "dot_axes",
        "output_shape",
        "output_shape_type",
        "output_mask",
        "output_mask_type",
        "arguments",
        "mode_type",
    ] {
        at.remove(noise);
    }
    (class.to_owned(), at)
}

/// The layers that a `Merge` at the beginning of a `Sequential` holds and merges.
pub(super) fn branches(first: &LayerConfig) -> Option<Vec<Value>> {
    first.attributes.get("layers")?.as_array().filter(|layers| !layers.is_empty()).cloned()
}

/// Puts the branches of a leading merge before it as layers of their own, each with its input; gives the wiring.
pub(super) fn join_branches(
    layers: &mut Vec<LayerConfig>,
    mut branches: Vec<LayerConfig>,
) -> Result<Wiring, FormatError> {
    let tensor = |layer: &str| TensorRef { layer: layer.to_owned(), node: 0, tensor: 0 };
    let on = |arg: Arg| vec![Call { args: vec![arg], kwargs: Vec::new() }];
    name_models(&mut branches);
    let mut inputs = Vec::new();
    for branch in &mut branches {
        let mut first = &*branch;
        while let Some(inner) = first.nested.as_ref().and_then(|model| model.layers.first()) {
            first = inner;
        }
        let shape = first.input_shape().cloned().ok_or_else(|| {
            FormatError::unsupported("the file does not say the shape of the input")
                .in_layer(&first.name, &first.class)
        })?;
        let name = format!("{}_input", branch.name);
        branch.calls = on(Arg::Tensor(tensor(&name)));
        inputs.push(LayerConfig {
            name,
            class: "InputLayer".to_owned(),
            operation: false,
            attributes: [("batch_input_shape".to_owned(), shape)].into_iter().collect(),
            nested: None,
            calls: Vec::new(),
        });
    }
    let wires = |layers: &[LayerConfig]| layers.iter().map(|l| tensor(&l.name)).collect::<Vec<_>>();
    let mut last = Arg::List(wires(&branches).into_iter().map(Arg::Tensor).collect());
    for layer in layers.iter_mut() {
        layer.attributes.remove("layers");
        layer.calls = on(last);
        last = Arg::Tensor(tensor(&layer.name));
    }
    let outputs = layers.last().map(|layer| tensor(&layer.name)).into_iter().collect();
    let input_refs = wires(&inputs);
    layers.splice(0..0, inputs.into_iter().chain(branches));
    Ok(Wiring::Functional { inputs: input_refs, outputs })
}

/// Names the nested models that Keras 1 left without one as it would have: `sequential_1`, `sequential_2`...
pub(super) fn name_models(layers: &mut [LayerConfig]) {
    let mut taken: HashSet<String> = layers.iter().map(|layer| layer.name.clone()).collect();
    for layer in layers.iter_mut().filter(|layer| layer.name.is_empty()) {
        let class = layer.class.to_lowercase();
        let mut n = 1;
        while !taken.insert(format!("{class}_{n}")) {
            n += 1;
        }
        layer.name = format!("{class}_{n}");
    }
}

fn rename(at: &mut Attributes, old: &str, new: &str) {
    if !at.contains_key(new)
        && let Some(value) = at.remove(old)
    {
        at.insert(new.to_owned(), value);
    }
}

fn pair(at: &mut Attributes, first: &str, second: &str, new: &str) {
    if let (Some(a), Some(b)) = (at.get(first), at.get(second)) {
        let both = json!([a, b]);
        at.remove(first);
        at.remove(second);
        at.insert(new.to_owned(), both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modern(class: &str, at: &Value) -> (String, Value) {
        let (class, at) = modernise(class.to_owned(), at.as_object().unwrap().clone());
        (class, Value::Object(at))
    }

    #[test]
    fn a_convolution() {
        let old = json!({
            "name": "c", "nb_filter": 8, "nb_row": 3, "nb_col": 5, "subsample": [2, 1], "border_mode": "same",
            "dim_ordering": "th", "bias": false, "activation": "relu",
        });
        let new = json!({
            "name": "c", "filters": 8, "kernel_size": [3, 5], "strides": [2, 1], "padding": "same",
            "data_format": "channels_first", "use_bias": false, "activation": "relu",
        });
        assert_eq!(modern("Convolution2D", &old), ("Conv2D".into(), new.clone()));
        assert_eq!(modern("Conv2D", &new), ("Conv2D".into(), new));
    }

    #[test]
    fn a_merge_becomes_its_layer() {
        let old =
            json!({"name": "m", "mode": "concat", "concat_axis": -1, "dot_axes": -1, "output_shape": null});
        assert_eq!(modern("Merge", &old), ("Concatenate".into(), json!({"name": "m", "axis": -1})));
        let old = json!({"name": "m", "mode": "sum", "concat_axis": -1});
        assert_eq!(modern("Merge", &old), ("Add".into(), json!({"name": "m"})));
        assert_eq!(modern("Merge", &json!({"name": "m", "mode": "cos"})).0, "Merge");
    }
}
