//! Reader of Keras architectures: JSON text to plain records, whatever the dialect. Knows nothing of networks.
//!
//! Three dialects say the same. Keras 1 and 2 list the calls of a layer as `[[["x", 0, 0, {}]]]`; Keras 3 writes
//! `{"args": [...], "kwargs": {...}}` with `__keras_tensor__` objects inside. A `Sequential` is a list of layers, or an
//! object that holds the list. Attributes keep the file's names and values; [`super::keras1`] modernises old ones.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::keras1;
use crate::Limits;
use crate::error::FormatError;

/// The attributes of a layer, by name.
pub(crate) type Attributes = Map<String, Value>;

/// A model: layers and how they are wired.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelConfig {
    /// The class as the file spells it: `Sequential`, `Functional`, `Model`, or a subclass's name.
    pub(crate) class: String,
    /// `None` where Keras 1 wrote a bare list.
    pub(crate) name: Option<String>,
    pub(crate) trainable: Option<bool>,
    pub(crate) layers: Vec<LayerConfig>,
    pub(crate) wiring: Wiring,
}

/// How the layers of a model are connected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wiring {
    /// Each layer takes the one before.
    Sequential {
        /// The input's shape with the batch first, when the model was built without an input layer.
        build_input_shape: Option<Value>,
    },
    /// Each layer says what it takes.
    Functional { inputs: Vec<TensorRef>, outputs: Vec<TensorRef> },
}

/// A layer, or a model used as a layer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LayerConfig {
    pub(crate) name: String,
    /// The class as the file spells it.
    pub(crate) class: String,
    /// An operation of Keras 3 (`keras.ops`), which is no layer although it may be named like one.
    pub(crate) operation: bool,
    /// Empty for a nested model.
    pub(crate) attributes: Attributes,
    /// The model itself, when the layer is one.
    pub(crate) nested: Option<Box<ModelConfig>>,
    /// What it is applied to, once for each time it is applied. Empty in a `Sequential`.
    pub(crate) calls: Vec<Call>,
}

/// One application of a layer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) args: Vec<Arg>,
    pub(crate) kwargs: Vec<(String, Arg)>,
}

/// An argument of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Arg {
    Tensor(TensorRef),
    /// A list that holds at least one tensor.
    List(Vec<Arg>),
    /// A list without tensors, or any other JSON value.
    Value(Value),
}

/// The `tensor`-th output of the `node`-th call of a layer, both from 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TensorRef {
    pub(crate) layer: String,
    pub(crate) node: usize,
    pub(crate) tensor: usize,
}

impl LayerConfig {
    /// The shape of an input that the layer states, batch first.
    pub(crate) fn input_shape(&self) -> Option<&Value> {
        ["batch_shape", "batch_input_shape"].iter().find_map(|name| self.attributes.get(*name))
    }
}

impl Call {
    /// Every tensor of the positional arguments, then of the named ones, in order.
    pub(crate) fn tensors(&self) -> Vec<&TensorRef> {
        fn walk<'a>(arg: &'a Arg, to: &mut Vec<&'a TensorRef>) {
            match arg {
                Arg::Tensor(t) => to.push(t),
                Arg::List(list) => list.iter().for_each(|arg| walk(arg, to)),
                Arg::Value(_) => {}
            }
        }
        let mut tensors = Vec::new();
        self.args.iter().for_each(|arg| walk(arg, &mut tensors));
        self.kwargs.iter().for_each(|(_, arg)| walk(arg, &mut tensors));
        tensors
    }
}

/// Reads an architecture: the text of `model_config`, of `config.json`, or of `model.to_json()`.
pub(crate) fn parse(json: &[u8], limits: &Limits) -> Result<ModelConfig, FormatError> {
    let value = parse_json(json, limits)?;
    let mut budget = limits.layers;
    let class = value.get("class_name").and_then(Value::as_str);
    let class = class.ok_or_else(|| {
        FormatError::malformed("the JSON is not a Keras architecture: it has no `class_name`")
            .with_hint("`model.to_json()` writes an architecture")
    })?;
    let config =
        value.get("config").ok_or_else(|| FormatError::malformed("the architecture has no `config`"))?;
    let mut model = model(class, config, limits, limits.nesting, &mut budget)?.ok_or_else(|| {
        FormatError::unsupported(format!("the file holds a `{class}`, which is not a model of layers"))
    })?;
    if model.name.is_none() {
        model.name = text(&value, "name");
    }
    let own = own_name(&value).unwrap_or_else(|| class.to_owned());
    if !MODELS.contains(&own.as_str()) {
        return Err(own_model(&own).in_layer(model.name.as_deref().unwrap_or("model"), &own));
    }
    // Keras 3 keeps the shape beside the config, Keras 2 inside it.
    if let Wiring::Sequential { build_input_shape: shape @ None } = &mut model.wiring {
        *shape = value.pointer("/build_config/input_shape").cloned();
    }
    Ok(model)
}

/// JSON text to a value, within the limits on size and depth.
pub(crate) fn parse_json(json: &[u8], limits: &Limits) -> Result<Value, FormatError> {
    Limits::check("the size in bytes of the JSON text", json.len() as u64, limits.json_bytes)?;
    Limits::check("the depth of the JSON text", json_depth(json) as u64, limits.json_depth as u64)?;
    serde_json::from_slice(json).map_err(|e| FormatError::malformed(format!("not valid JSON: {e}")))
}

/// The deepest nesting of brackets outside strings.
fn json_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for &byte in json {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A model from its class and config; `None` when the config holds no layers, so it is an ordinary layer.
fn model(
    class: &str,
    config: &Value,
    limits: &Limits,
    nesting: usize,
    budget: &mut usize,
) -> Result<Option<ModelConfig>, FormatError> {
    // A `Merge` of Keras 1 may hold the layers it merges; it is still a layer.
    let layers = match config {
        _ if class == "Merge" => return Ok(None),
        Value::Array(layers) => layers,
        Value::Object(config) => match config.get("layers") {
            Some(Value::Array(layers)) => layers,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    let nesting = nesting.checked_sub(1).ok_or_else(|| {
        FormatError::limit("the depth of nested models", limits.nesting as u64 + 1, limits.nesting as u64)
    })?;
    let counted_from_one: HashSet<usize> = (0..layers.len()).filter(|&i| has_own_node(&layers[i])).collect();
    let mut parse = |l: &Value| layer(l, limits, nesting, budget);
    let mut layers = layers.iter().map(&mut parse).collect::<Result<Vec<_>, _>>()?;
    keras1::name_models(&mut layers);
    let functional = config.get("input_layers").is_some() && config.get("output_layers").is_some();
    let wiring = if functional {
        let mut outputs = refs(&config["output_layers"])?;
        let counted_from_one: HashMap<&str, usize> =
            counted_from_one.into_iter().map(|i| (layers[i].name.as_str(), layers[i].calls.len())).collect();
        for output in &mut outputs {
            if let Some(calls) = counted_from_one.get(output.layer.as_str()) {
                // Keras takes the last call for 0, as Python does for -1.
                output.node = output.node.checked_sub(1).unwrap_or(calls.saturating_sub(1));
            }
        }
        Wiring::Functional { inputs: refs(&config["input_layers"])?, outputs }
    } else if let Some(branches) = layers.first().and_then(keras1::branches) {
        let branches = branches.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        keras1::join_branches(&mut layers, branches)?
    } else {
        Wiring::Sequential {
            build_input_shape: config.get("build_input_shape").filter(|v| !v.is_null()).cloned(),
        }
    };
    Ok(Some(ModelConfig {
        class: class.to_owned(),
        name: text(config, "name"),
        trainable: config.get("trainable").and_then(Value::as_bool),
        layers,
        wiring,
    }))
}

fn layer(
    value: &Value,
    limits: &Limits,
    nesting: usize,
    budget: &mut usize,
) -> Result<LayerConfig, FormatError> {
    *budget = budget.checked_sub(1).ok_or_else(|| {
        FormatError::limit("the number of layers", limits.layers as u64 + 1, limits.layers as u64)
    })?;
    let class = text(value, "class_name")
        .ok_or_else(|| FormatError::malformed("an entry of `layers` has no `class_name`"))?;
    let class = own_name(value).unwrap_or(class);
    let config = value.get("config").unwrap_or(&Value::Null);
    // Functional models repeat the name beside the config; an operation of Keras 3 has it nowhere else.
    let name = text(value, "name").or_else(|| text(config, "name"));
    let place = |e: FormatError| e.in_layer(name.as_deref().unwrap_or("?"), &class);
    let nested = model(&class, config, limits, nesting, budget).map_err(place)?.map(Box::new);
    if nested.is_some() && !MODELS.contains(&class.as_str()) {
        return Err(place(own_model(&class)));
    }
    let calls = match value.get("inbound_nodes") {
        Some(Value::Array(nodes)) => nodes.iter().map(call).collect::<Result<_, _>>().map_err(place)?,
        None | Some(Value::Null) => Vec::new(),
        Some(_) => return Err(place(FormatError::malformed("`inbound_nodes` is not a list"))),
    };
    let trains = |call: &Call| {
        call.kwargs.iter().any(|(name, arg)| name == "training" && *arg == Arg::Value(Value::Bool(true)))
    };
    // Keras 3 writes it of every augmentation and other change of pictures, whose default it is, and leaves pictures
    // alone when a network is used.
    let trainable =
        ["BatchNormalization", "Dropout", "Gaussian", "StochasticDepth"].iter().any(|k| class.contains(k))
            || class.starts_with("Random") && !called_by_keras3(value);
    if calls.iter().any(trains) && (trainable || nested.is_some()) {
        let text = "it is called with `training` = `true`, which is not supported: networks are run for use";
        return Err(place(FormatError::unsupported(text)));
    }
    let mut nested = nested;
    if let Some(ModelConfig { wiring: Wiring::Sequential { build_input_shape: shape @ None }, .. }) =
        nested.as_deref_mut()
    {
        *shape = value.pointer("/build_config/input_shape").cloned();
    }
    let name = match (name, &nested) {
        (Some(name), _) => name,
        // `keras1::name_models` finds a name that no other has.
        (None, Some(_)) => String::new(),
        (None, None) => {
            return Err(FormatError::malformed(format!("a layer of class `{class}` has no `name`")));
        }
    };
    let operation = is_operation(value, config, &class);
    let (class, attributes) = match (&nested, config) {
        (Some(_), _) => (class, Attributes::new()),
        (None, Value::Object(attributes)) => keras1::modernise(class, attributes.clone()),
        (None, Value::Null) => (class, Attributes::new()),
        (None, _) => return Err(FormatError::malformed("`config` is not an object").in_layer(&name, &class)),
    };
    Ok(LayerConfig { name, class, operation, attributes, nested, calls })
}

/// The registered name (`mypkg>ReLU`) of a class that is somebody's own. Keras leaves it out for its own classes, or
/// writes it beside one of its own modules.
fn own_name(value: &Value) -> Option<String> {
    let registered = text(value, "registered_name")?;
    let own_module = text(value, "module").is_some_and(|module| module.starts_with("keras"));
    let own = registered.contains('>') || (value.get("module").is_some() && !own_module);
    // Without a package there is nothing in the name that tells it from Keras's own.
    own.then(|| if registered.contains('>') { registered } else { format!("Custom>{registered}") })
}

/// Keras's own classes of models of layers.
const MODELS: [&str; 3] = ["Functional", "Model", "Sequential"];

/// A subclass of a model may do anything in its `call`.
fn own_model(class: &str) -> FormatError {
    FormatError::UnsupportedClass {
        place: Box::default(),
        class: class.to_owned(),
        why: "which is a model of its own, not one of Keras's".to_owned(),
        hint: None,
    }
}

/// Whether the layer's calls were written by Keras 3.
fn called_by_keras3(layer: &Value) -> bool {
    layer.pointer("/inbound_nodes/0").is_some_and(Value::is_object)
}

/// Whether the layer is a functional model whose making Keras 3 counts as its call 0 in `output_layers`, where
/// `inbound_nodes` count from the first call. Keras 1 and 2 count it in both; a `Sequential` of Keras 3 in neither.
///
/// After `get_config`, `serialize_node` and `functional_from_config` of Keras 3's `models/functional.py`.
fn has_own_node(layer: &Value) -> bool {
    called_by_keras3(layer) && layer.pointer("/config/output_layers").is_some()
}

/// Keras 3 says so in the module; in a `.h5` file, which leaves modules out, only layers have a `trainable` or `dtype`.
fn is_operation(layer: &Value, config: &Value, class: &str) -> bool {
    match layer.get("module").and_then(Value::as_str) {
        Some(module) => module.starts_with("keras.src.ops") || module.starts_with("keras.ops"),
        None => {
            called_by_keras3(layer)
                && class != "InputLayer"
                && config.get("trainable").is_none()
                && config.get("dtype").is_none()
        }
    }
}

/// One entry of `inbound_nodes`.
fn call(node: &Value) -> Result<Call, FormatError> {
    match node {
        Value::Object(node) => {
            let args = match node.get("args") {
                Some(Value::Array(args)) => args.iter().map(arg3).collect::<Result<_, _>>()?,
                _ => return Err(FormatError::malformed("an inbound node has no `args`")),
            };
            let kwargs = match node.get("kwargs") {
                Some(Value::Object(kwargs)) => kwargs
                    .iter()
                    .map(|(k, v)| Ok((k.clone(), arg3(v)?)))
                    .collect::<Result<_, FormatError>>()?,
                _ => Vec::new(),
            };
            Ok(Call { args, kwargs })
        }
        Value::Array(node) => call2(node),
        _ => Err(FormatError::malformed("an inbound node is neither a list nor an object")),
    }
}

/// Keras 1 and 2: `[["a", 0, 0, {}], ["b", 0, 0, {}]]`, or one `["a", 0, 0, {}]`; Keras 1 leaves out the keywords.
/// A constant in the place of the tensor is `["_CONSTANT_VALUE", -1, value, {}]`.
fn call2(node: &[Value]) -> Result<Call, FormatError> {
    let single = node.first().is_some_and(Value::is_string);
    let entries: Vec<&[Value]> = if single {
        vec![node]
    } else {
        node.iter().map(|e| e.as_array().map(Vec::as_slice)).collect::<Option<_>>().ok_or_else(|| {
            FormatError::malformed("an inbound node is not a list of `[layer, node, tensor]`")
        })?
    };
    let mut args = Vec::new();
    let mut kwargs = Vec::new();
    for entry in entries {
        match entry {
            [Value::String(name), _, value, ..] if name == "_CONSTANT_VALUE" => {
                args.push(Arg::Value(value.clone()))
            }
            _ => args.push(Arg::Tensor(tensor_ref(&entry[..entry.len().min(3)])?)),
        }
        // Every entry repeats the keywords of the call; the last one to have any stands for all.
        if let Some(Value::Object(named)) = entry.get(3)
            && !named.is_empty()
        {
            kwargs = named.iter().map(|(k, v)| (k.clone(), arg2(v))).collect();
        }
    }
    let args = if args.len() > 1 { vec![Arg::List(args)] } else { args };
    Ok(Call { args, kwargs })
}

/// A keyword's value in Keras 2, where `["a", 0, 0]` is a tensor.
fn arg2(value: &Value) -> Arg {
    match value {
        Value::Array(list) => match tensor_ref(list) {
            Ok(tensor) => Arg::Tensor(tensor),
            Err(_) => listed(list.iter().map(arg2).collect(), value),
        },
        _ => Arg::Value(value.clone()),
    }
}

/// An argument in Keras 3, where a `__keras_tensor__` is a tensor.
fn arg3(value: &Value) -> Result<Arg, FormatError> {
    if value.get("class_name").and_then(Value::as_str) == Some("__keras_tensor__") {
        let history = value.pointer("/config/keras_history").and_then(Value::as_array);
        let history =
            history.ok_or_else(|| FormatError::malformed("a `__keras_tensor__` has no `keras_history`"))?;
        return Ok(Arg::Tensor(tensor_ref(history)?));
    }
    match value {
        Value::Array(list) => Ok(listed(list.iter().map(arg3).collect::<Result<_, _>>()?, value)),
        _ => Ok(Arg::Value(value.clone())),
    }
}

fn listed(args: Vec<Arg>, value: &Value) -> Arg {
    if args.iter().all(|a| matches!(a, Arg::Value(_))) { Arg::Value(value.clone()) } else { Arg::List(args) }
}

/// `["layer", node, tensor]`.
fn tensor_ref(value: &[Value]) -> Result<TensorRef, FormatError> {
    let index = |v: &Value| v.as_u64().and_then(|v| usize::try_from(v).ok());
    if let [Value::String(layer), node, tensor] = value
        && let (Some(node), Some(tensor)) = (index(node), index(tensor))
    {
        return Ok(TensorRef { layer: layer.clone(), node, tensor });
    }
    Err(FormatError::malformed("a tensor is not named as `[layer, node, tensor]`"))
}

/// The tensors of `input_layers` or `output_layers`: one, a list, or an object (whose keys Keras sorts).
fn refs(value: &Value) -> Result<Vec<TensorRef>, FormatError> {
    match value {
        Value::Array(list) if list.first().is_some_and(Value::is_string) => Ok(vec![tensor_ref(list)?]),
        Value::Array(list) => {
            let refs = list.iter().map(refs).collect::<Result<Vec<_>, _>>()?;
            Ok(refs.into_iter().flatten().collect())
        }
        Value::Object(named) => {
            let mut sorted: Vec<_> = named.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            let refs = sorted.into_iter().map(|(_, v)| refs(v)).collect::<Result<Vec<_>, _>>()?;
            Ok(refs.into_iter().flatten().collect())
        }
        _ => Err(FormatError::malformed("`input_layers` or `output_layers` is not a list")),
    }
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<ModelConfig, FormatError> {
        parse(value.to_string().as_bytes(), &Limits::default())
    }

    fn t(layer: &str, node: usize, tensor: usize) -> Arg {
        Arg::Tensor(TensorRef { layer: layer.into(), node, tensor })
    }

    fn one_call(inbound: &Value) -> Call {
        call(inbound).unwrap()
    }

    #[test]
    fn a_sequential_is_a_list_or_an_object() {
        let layers = json!([{"class_name": "Dense", "config": {"name": "d", "units": 3}}]);
        let list = read(&json!({"class_name": "Sequential", "config": layers})).unwrap();
        let object =
            read(&json!({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})).unwrap();
        assert_eq!(list.layers, object.layers);
        assert_eq!(list.layers[0].name, "d");
        assert_eq!((list.name, object.name.as_deref()), (None, Some("s")));
    }

    #[test]
    fn the_build_shape_is_found_inside_and_beside_the_config() {
        let layers = json!([{"class_name": "Dense", "config": {"name": "d", "units": 3}}]);
        let inside =
            json!({"class_name": "Sequential", "config": {"layers": layers, "build_input_shape": [null, 4]}});
        let beside = json!({"class_name": "Sequential", "config": {"layers": layers}, "build_config": {"input_shape": [null, 4]}});
        for value in [inside, beside] {
            assert_eq!(
                read(&value).unwrap().wiring,
                Wiring::Sequential { build_input_shape: Some(json!([null, 4])) }
            );
        }
    }

    #[test]
    fn calls_of_three_dialects_mean_the_same() {
        let one = Call { args: vec![t("x", 1, 2)], kwargs: vec![] };
        assert_eq!(one_call(&json!([["x", 1, 2]])), one);
        assert_eq!(one_call(&json!([["x", 1, 2, {}]])), one);
        assert_eq!(one_call(&json!(["x", 1, 2, {}])), one);
        let tensor = |layer: &str, node: usize, i: usize| json!({"class_name": "__keras_tensor__", "config": {"shape": [null, 4], "keras_history": [layer, node, i]}});
        assert_eq!(one_call(&json!({"args": [tensor("x", 1, 2)], "kwargs": {}})), one);

        let two = Call { args: vec![Arg::List(vec![t("x", 0, 0), t("y", 0, 0)])], kwargs: vec![] };
        assert_eq!(one_call(&json!([["x", 0, 0, {}], ["y", 0, 0, {}]])), two);
        assert_eq!(one_call(&json!({"args": [[tensor("x", 0, 0), tensor("y", 0, 0)]], "kwargs": {}})), two);
    }

    #[test]
    fn keywords_may_hold_tensors_and_constants() {
        let call = one_call(&json!(["x", 0, 0, {"y": ["w", 0, 0], "name": null}]));
        assert_eq!(call.kwargs, [("name".into(), Arg::Value(Value::Null)), ("y".into(), t("w", 0, 0))]);
        assert_eq!(call.tensors().len(), 2);
        let constant = one_call(&json!(["_CONSTANT_VALUE", -1, 2.5, {"y": ["w", 0, 0]}]));
        assert_eq!(constant.args, [Arg::Value(json!(2.5))]);
        let axes = one_call(&json!(["x", 0, 0, {"axis": [1, 2]}]));
        assert_eq!(axes.kwargs, [("axis".into(), Arg::Value(json!([1, 2])))]);
    }

    #[test]
    fn inputs_are_one_a_list_or_named() {
        let a = TensorRef { layer: "a".into(), node: 0, tensor: 0 };
        let b = TensorRef { layer: "b".into(), node: 0, tensor: 1 };
        assert_eq!(refs(&json!(["a", 0, 0])).unwrap(), std::slice::from_ref(&a));
        assert_eq!(refs(&json!([["a", 0, 0], ["b", 0, 1]])).unwrap(), [a.clone(), b.clone()]);
        assert_eq!(refs(&json!({"q": ["b", 0, 1], "p": ["a", 0, 0]})).unwrap(), [a, b]);
    }

    #[test]
    fn outputs_count_the_calls_of_a_nested_model_as_its_keras_did() {
        let outputs = |inner: &Value, nodes: &Value, output: usize| {
            let layer = json!({"class_name": "Model", "name": "m", "config": inner, "inbound_nodes": nodes});
            let config = json!({"layers": [layer], "input_layers": [], "output_layers": [["m", output, 0]]});
            match read(&json!({"class_name": "Model", "config": config})).unwrap().wiring {
                Wiring::Functional { outputs, .. } => outputs[0].node,
                Wiring::Sequential { .. } => panic!("not functional"),
            }
        };
        let model = json!({"layers": [], "input_layers": [], "output_layers": []});
        let sequential = json!({"layers": []});
        let keras3 = json!([{"args": []}, {"args": []}]);
        let keras2 = json!([[["x", 0, 0, {}]], [["m", 1, 0, {}]]]);
        assert_eq!([0, 1, 2].map(|i| outputs(&model, &keras3, i)), [1, 0, 1]);
        assert_eq!([0, 1].map(|i| outputs(&sequential, &keras3, i)), [0, 1]);
        // The mapper sees from all references together that these begin at 1.
        assert_eq!([1, 2].map(|i| outputs(&model, &keras2, i)), [1, 2]);
    }

    /// What is somebody's own, or is called to train, is never taken for something else.
    #[test]
    fn own_classes_keep_their_names() {
        let layer = |extra: Value| {
            let mut layer = json!({"class_name": "ReLU", "config": {"name": "r"}, "inbound_nodes": []});
            layer.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            let config = json!({"layers": [layer]});
            read(&json!({"class_name": "Sequential", "config": config}))
                .map(|model| model.layers[0].class.clone())
        };
        let own = json!({"module": null, "registered_name": "mypkg>ReLU"});
        assert_eq!(layer(own).unwrap(), "mypkg>ReLU");
        assert_eq!(layer(json!({"module": "__main__", "registered_name": "ReLU"})).unwrap(), "Custom>ReLU");
        assert_eq!(layer(json!({"module": "keras.layers", "registered_name": null})).unwrap(), "ReLU");
        assert_eq!(layer(json!({})).unwrap(), "ReLU");
        let training = |value: bool| {
            let nodes = json!([[["x", 0, 0, {"training": value}]]]);
            json!({"class_name": "Dropout", "inbound_nodes": nodes})
        };
        assert!(layer(training(true)).unwrap_err().to_string().contains("`training` = `true`"));
        assert_eq!(layer(training(false)).unwrap(), "Dropout");
    }

    #[test]
    fn nested_models_are_models() {
        let inner = json!({"name": "base", "layers": [], "input_layers": [["i", 0, 0]], "output_layers": [["o", 0, 0]]});
        let outer = |class: &str| json!({"class_name": "Sequential", "config": [{"class_name": class, "config": inner}]});
        // A subclass may compute anything.
        let e = read(&outer("MyBackbone")).unwrap_err().to_string();
        assert_eq!(e, "layer `base` has class `MyBackbone`, which is a model of its own, not one of Keras's");
        for class in ["Functional", "Model"] {
            let model = read(&outer(class)).unwrap();
            let nested = model.layers[0].nested.as_deref().unwrap();
            assert_eq!(model.layers[0].name, "base");
            assert!(matches!(&nested.wiring, Wiring::Functional { inputs, .. } if inputs[0].layer == "i"));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let cases = [
            ("hello".to_owned(), "not valid JSON: expected value at line 1 column 1"),
            (deep(101), "the depth of the JSON text is 101, more than the limit of 100"),
            (json!({"a": 1}).to_string(), "the JSON is not a Keras architecture: it has no `class_name`"),
            (json!({"class_name": "Dense", "config": {"units": 3}}).to_string(), "the file holds a `Dense`, which is not a model of layers"),
            (
                json!({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {"name": "d"}, "inbound_nodes": [[["x", -1, 0]]]}]}).to_string(),
                "layer `d` (Dense): a tensor is not named as `[layer, node, tensor]`",
            ),
        ];
        for (json, want) in cases {
            assert_eq!(parse(json.as_bytes(), &Limits::default()).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn models_nested_without_end_are_refused() {
        let mut model = json!([]);
        for _ in 0..40 {
            model = json!([{"class_name": "Sequential", "config": model}]);
        }
        let limits = Limits { json_depth: 1000, ..Limits::default() };
        let text = json!({"class_name": "Sequential", "config": model}).to_string();
        let e = parse(text.as_bytes(), &limits).unwrap_err();
        assert!(
            e.to_string().ends_with("the depth of nested models is 33, more than the limit of 32"),
            "{e}"
        );
    }
}
