//! A whole model in one HDF5 file, as `model.save("model.h5")` writes it, in a dialect that Keras 2 and Keras 3 both load.
//!
//! The configuration is Keras 2's, with only those attributes that mean the same to both: neither knows `groups` on a
//! depthwise layer, `batch_shape`, nor modules. What Keras 3 alone has, operations such as `x / y`, stands in its own
//! dialect, which it reads here too.

use hdf5_pure::{AttrValue, FileBuilder, LibVer};
use serde_json::{Map, Value, json};

use super::config::{inbound, is_chain, object};
use super::names;
use super::records::{Arg, Call, Layer, Model, Out};
use super::weights::variable;
use crate::error::FormatError;
use crate::network::{Kind, Network};

/// The version of Keras whose files these are.
const KERAS_VERSION: &str = "2.15.0";

/// The most that HDF5 keeps in one attribute; Keras divides longer lists over several.
const ATTRIBUTE_BYTES: usize = 64_512;

/// The bytes of the file.
pub(super) fn file(model: &Model, network: &Network) -> Result<Vec<u8>, FormatError> {
    let mut file = FileBuilder::new();
    // What HDF5 1.8 reads, every later version does.
    file.with_libver_bounds(LibVer::Earliest, LibVer::V18);
    let text = |text: &str| AttrValue::VarLenString(text.to_owned());
    file.set_attr("backend", text("tensorflow"));
    file.set_attr("keras_version", text(KERAS_VERSION));
    file.set_attr("model_config", text(&config(model, network)?));
    file.set_attr(crate::meta::Meta::KEY, text(&network.meta.to_json()?.to_string()));
    let mut weights = file.create_group("model_weights");
    weights.set_attr("backend", text("tensorflow"));
    weights.set_attr("keras_version", text(KERAS_VERSION));
    let layers: Vec<&Layer> = model.layers.iter().filter(|layer| !layer.class.is_operation()).collect();
    let names: Vec<String> = layers.iter().map(|layer| layer.name.clone()).collect();
    for (name, value) in lists("layer_names", &names) {
        weights.set_attr(&name, value);
    }
    for layer in layers {
        let mut outer = weights.create_group(&layer.name);
        let names: Vec<String> =
            variables(layer).iter().map(|name| format!("{}/{name}:0", layer.name)).collect();
        if names.len() != layer.weights.len() {
            let text = format!("Keras's `{}` has not {} weights", layer.class.name, layer.weights.len());
            return Err(FormatError::unsupported(text).in_layer(&layer.name, layer.class.name));
        }
        for (name, value) in lists("weight_names", &names) {
            outer.set_attr(&name, value);
        }
        if !layer.weights.is_empty() {
            let mut inner = outer.create_group(&layer.name);
            for (name, weight) in variables(layer).iter().zip(&layer.weights) {
                variable(inner.create_dataset(&format!("{name}:0")), weight, network)?;
            }
            outer.add_group(inner.finish());
        }
        weights.add_group(outer.finish());
    }
    file.add_group(weights.finish());
    file.finish().map_err(|e| FormatError::unsupported(format!("the model cannot be written as HDF5: {e}")))
}

/// What a user should know: who cannot open the file.
pub(super) fn notes(model: &Model) -> Vec<String> {
    let only_keras3 = model.layers.iter().find(|layer| layer.class.module != "keras.layers");
    let note = |layer: &Layer| {
        let (name, class) = (&layer.name, layer.class.name);
        format!("Keras 3 opens the file, Keras 2 does not: it has no layer `{class}`, which `{name}` is")
    };
    only_keras3.map(note).into_iter().collect()
}

/// A list of names as an attribute, or divided over several.
fn lists(name: &str, names: &[String]) -> Vec<(String, AttrValue)> {
    let width = names.iter().map(String::len).max().unwrap_or(1).max(1);
    if names.is_empty() {
        // As h5py writes an empty list.
        return vec![(name.to_owned(), AttrValue::F64Array(Vec::new()))];
    }
    let parts: Vec<&[String]> = names.chunks((ATTRIBUTE_BYTES / width).max(1)).collect();
    let many = parts.len() > 1;
    let part = |(i, part): (usize, &&[String])| {
        let name = if many { format!("{name}{i}") } else { name.to_owned() };
        (name, AttrValue::StringArray(part.to_vec()))
    };
    parts.iter().enumerate().map(part).collect()
}

/// What Keras calls the weights of a layer, in its order.
fn variables(layer: &Layer) -> Vec<&'static str> {
    let flag = |name: &str| layer.config.get(name) == Some(&Value::Bool(true));
    let bias = flag("use_bias").then_some("bias");
    let names: Vec<Option<&str>> = match layer.class.name {
        "Conv2D" | "Conv2DTranspose" | "Dense" => vec![Some("kernel"), bias],
        "DepthwiseConv2D" => vec![Some("depthwise_kernel"), bias],
        "SeparableConv2D" => vec![Some("depthwise_kernel"), Some("pointwise_kernel"), bias],
        "BatchNormalization" => vec![
            flag("scale").then_some("gamma"),
            flag("center").then_some("beta"),
            Some("moving_mean"),
            Some("moving_variance"),
        ],
        "LayerNormalization" => vec![flag("scale").then_some("gamma"), flag("center").then_some("beta")],
        "LayerScale" => vec![Some("gamma")],
        "Normalization" if !layer.weights.is_empty() => vec![Some("mean"), Some("variance"), Some("count")],
        "PReLU" => vec![Some("alpha")],
        _ => Vec::new(),
    };
    names.into_iter().flatten().collect()
}

fn config(model: &Model, network: &Network) -> Result<String, FormatError> {
    let name = names::legal(&network.name);
    let config = match network.kind {
        Kind::Sequential if is_chain(model) => {
            let layers: Vec<Value> = model.layers.iter().map(|layer| Value::Object(legacy(layer))).collect();
            json!({"class_name": "Sequential", "config": {"name": name, "layers": layers}})
        }
        _ => {
            let layers: Vec<Value> = model.layers.iter().map(|layer| connected(layer, model)).collect();
            let ends = |outs: &[Out]| -> Vec<Value> {
                outs.iter().map(|out| json!([model.layers[out.layer].name, out.call, 0])).collect()
            };
            json!({
                "class_name": "Functional",
                "config": {
                    "name": name,
                    "trainable": true,
                    "layers": layers,
                    "input_layers": ends(&model.inputs),
                    "output_layers": ends(&model.outputs),
                },
            })
        }
    };
    serde_json::to_string(&config).map_err(|e| FormatError::unsupported(e.to_string()))
}

/// A layer as Keras 2 serialises it, without what only one of the two knows.
fn legacy(layer: &Layer) -> Map<String, Value> {
    let mut object = object(layer);
    if layer.class.module != "keras.layers" {
        return object;
    }
    object.remove("module");
    object.remove("registered_name");
    let mut class = layer.class.name;
    let Some(Value::Object(config)) = object.get_mut("config") else { return object };
    let renamed = |config: &mut Map<String, Value>, from: &str, to: &str| {
        if let Some(value) = config.remove(from) {
            config.insert(to.to_owned(), value);
        }
    };
    match class {
        "InputLayer" => renamed(config, "batch_shape", "batch_input_shape"),
        "LeakyReLU" => renamed(config, "negative_slope", "alpha"),
        "Resizing" => {
            config.remove("data_format");
        }
        "Identity" => {
            class = "Activation";
            config.insert("activation".to_owned(), json!("linear"));
        }
        _ => {}
    }
    object.insert("class_name".to_owned(), json!(class));
    object
}

fn connected(layer: &Layer, model: &Model) -> Value {
    let mut object = legacy(layer);
    let calls = if layer.class.name == "InputLayer" { &[] } else { &layer.calls[..] };
    let calls: Vec<Value> = match layer.class.is_operation() {
        true => calls.iter().map(|call| inbound(call, model)).collect(),
        false => calls.iter().map(|call| listed(call, model)).collect(),
    };
    object.insert("name".to_owned(), json!(layer.name));
    object.insert("inbound_nodes".to_owned(), Value::Array(calls));
    Value::Object(object)
}

/// `[["conv1", 0, 0, {}]]`: a layer's arguments are values and nothing else.
fn listed(call: &Call, model: &Model) -> Value {
    let tensor = |out: &Out| json!([model.layers[out.layer].name, out.call, 0, {}]);
    let tensors = call.args.iter().flat_map(|arg| match arg {
        Arg::One(out) => vec![tensor(out)],
        Arg::List(list) => list.iter().map(tensor).collect(),
        Arg::Value(_) => Vec::new(),
    });
    tensors.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keras's own reader looks for `layer_names`, else for `layer_names0` and so on.
    #[test]
    fn long_lists_are_divided() {
        let names: Vec<String> =
            (0..3000).map(|i| format!("a_layer_with_a_rather_long_name_{i:04}")).collect();
        let parts = lists("layer_names", &names);
        let keys: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(keys, ["layer_names0", "layer_names1"]);
        let mut all = Vec::new();
        for (_, value) in &parts {
            let AttrValue::StringArray(part) = value else { panic!("{value:?}") };
            assert!(part.len() * names[0].len() <= ATTRIBUTE_BYTES);
            all.extend(part.clone());
        }
        assert_eq!(all, names);
        assert_eq!(lists("weight_names", &names[..2])[0].0, "weight_names");
        assert_eq!(
            lists("weight_names", &[]),
            [("weight_names".to_owned(), AttrValue::F64Array(Vec::new()))]
        );
    }
}
