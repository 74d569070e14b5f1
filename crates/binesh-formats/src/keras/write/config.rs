//! `config.json`: the architecture as Keras 3 serialises it.

use serde_json::{Map, Value, json};

use super::names;
use super::records::{Arg, Call, Layer, Model, Out};
use crate::error::FormatError;
use crate::network::{Kind, Network};

/// The text of the file.
pub(super) fn json(model: &Model, network: &Network) -> Result<String, FormatError> {
    let name = names::legal(&network.name);
    let config = match network.kind {
        Kind::Sequential if is_chain(model) => sequential(model, &name),
        _ => functional(model, &name),
    };
    serde_json::to_string(&config).map_err(|e| FormatError::unsupported(e.to_string()))
}

/// The number in the fewest digits that give it back.
pub(super) fn number(x: f32) -> Result<Value, FormatError> {
    if !x.is_finite() {
        return Err(FormatError::unsupported(format!("the number {x} has no place in JSON")));
    }
    let short: f64 = x.to_string().parse().unwrap_or_else(|_| f64::from(x));
    // Rounded twice it may be another: then all its digits.
    Ok(json!(if short as f32 == x { short } else { f64::from(x) }))
}

/// Numbers as [`number`] has them; one alone stands by itself.
pub(super) fn numbers(values: &[f32]) -> Result<Value, FormatError> {
    match values {
        [one] => number(*one),
        many => many.iter().map(|v| number(*v)).collect(),
    }
}

/// One input, each layer used once on the output of the one before.
pub(super) fn is_chain(model: &Model) -> bool {
    let follows = |(i, layer): (usize, &Layer)| match (&layer.calls[..], i) {
        (_, 0) => layer.class.name == "InputLayer",
        ([Call { args, .. }], i) => {
            let previous = Out { layer: i - 1, call: 0 };
            !layer.class.is_operation() && matches!(args[..], [Arg::One(out)] if out == previous)
        }
        _ => false,
    };
    let last = Out { layer: model.layers.len().saturating_sub(1), call: 0 };
    model.inputs.len() == 1
        && model.layers.len() > 1
        && model.outputs == [last]
        && model.layers.iter().enumerate().all(follows)
}

fn sequential(model: &Model, name: &str) -> Value {
    let layers: Vec<Value> = model.layers.iter().map(|layer| Value::Object(object(layer))).collect();
    let build_input_shape = &model.layers[0].config["batch_shape"];
    json!({
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": name,
            "trainable": true,
            "dtype": "float32",
            "layers": layers,
            "build_input_shape": build_input_shape,
        },
        "registered_name": null,
        "compile_config": null,
    })
}

fn functional(model: &Model, name: &str) -> Value {
    let layers: Vec<Value> = model.layers.iter().map(|layer| connected(layer, model)).collect();
    let ends = |outs: &[Out]| match outs {
        [one] => reference(*one, model),
        many => many.iter().map(|out| reference(*out, model)).collect(),
    };
    json!({
        "module": "keras.src.models.functional",
        "class_name": "Functional",
        "config": {
            "name": name,
            "trainable": true,
            "layers": layers,
            "input_layers": ends(&model.inputs),
            "output_layers": ends(&model.outputs),
        },
        "registered_name": "Functional",
        "compile_config": null,
    })
}

/// A layer as Keras 3 serialises it.
pub(super) fn object(layer: &Layer) -> Map<String, Value> {
    let mut config = Map::new();
    config.insert("name".to_owned(), json!(layer.name));
    let operation = layer.class.is_operation();
    if !operation {
        if layer.class.name != "InputLayer" {
            config.insert("trainable".to_owned(), json!(layer.trainable));
        }
        config.insert("dtype".to_owned(), json!("float32"));
    }
    config.extend(layer.config.clone());
    // What Keras does not export has its class for its registered name.
    let exported = layer.class.module == "keras.layers";
    let entries = [
        ("module", json!(layer.class.module)),
        ("class_name", json!(layer.class.name)),
        ("config", Value::Object(config)),
        ("registered_name", if exported { Value::Null } else { json!(layer.class.name) }),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn connected(layer: &Layer, model: &Model) -> Value {
    let calls = if layer.class.name == "InputLayer" { &[] } else { &layer.calls[..] };
    let calls: Vec<Value> = calls.iter().map(|call| inbound(call, model)).collect();
    let mut object = object(layer);
    object.insert("name".to_owned(), json!(layer.name));
    object.insert("inbound_nodes".to_owned(), Value::Array(calls));
    Value::Object(object)
}

/// The arguments of a call as Keras 3 serialises them.
pub(super) fn inbound(call: &Call, model: &Model) -> Value {
    let arg = |arg: &Arg| match arg {
        Arg::One(out) => tensor(*out, model),
        Arg::List(list) => list.iter().map(|out| tensor(*out, model)).collect(),
        Arg::Value(value) => value.clone(),
    };
    json!({"args": call.args.iter().map(arg).collect::<Vec<_>>(), "kwargs": {}})
}

fn tensor(out: Out, model: &Model) -> Value {
    let dims = &model.layers[out.layer].calls[out.call].dims;
    json!({
        "class_name": "__keras_tensor__",
        "config": {"shape": dims, "dtype": "float32", "keras_history": reference(out, model)},
    })
}

/// `["conv1", 0, 0]`.
fn reference(out: Out, model: &Model) -> Value {
    json!([model.layers[out.layer].name, out.call, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_come_back() {
        assert_eq!(number(0.001).unwrap().to_string(), "0.001");
        assert_eq!(number(1.0 / 255.0).unwrap().to_string(), "0.003921569");
        for x in [f32::MAX, f32::MIN_POSITIVE, -0.1, 1.0 / 3.0, 16_777_217.0, f32::from_bits(1)] {
            let text = number(x).unwrap().to_string();
            let back: f64 = serde_json::from_str(&text).unwrap();
            assert_eq!((back as f32).to_bits(), x.to_bits(), "{text}");
        }
        let e = number(f32::NAN).unwrap_err();
        assert_eq!(e.to_string(), "the number NaN has no place in JSON");
    }
}
