//! Reading a layer's attributes: typed, with defaults, and without overlooking one that has a meaning.

use std::cell::RefCell;
use std::collections::HashSet;

use serde_json::Value;

use super::config::Attributes;
use crate::error::FormatError;

/// Attributes that do not change what a trained layer computes, whatever their value.
const HARMLESS: &[&str] = &[
    // Identity and bookkeeping.
    "name",
    "trainable",
    "dtype",
    "autocast",
    "batch_input_shape",
    "batch_shape",
    "batch_size",
    "input_shape",
    "input_dim",
    "input_dtype",
    "input_length",
    "optional",
    "ragged",
    "sparse",
    "type_spec",
    // Training only.
    "activity_regularizer",
    "b_constraint",
    "b_regularizer",
    "b_learning_rate_multiplier",
    "beta_init",
    "gamma_init",
    "gamma_regularizer",
    "beta_regularizer",
    "init",
    "momentum",
    "noise_shape",
    "renorm_clipping",
    "renorm_momentum",
    "seed",
    "synchronized",
    "W_constraint",
    "W_learning_rate_multiplier",
    "W_regularizer",
    // How it is computed, not what.
    "fused",
    "virtual_batch_size",
    "experimental_autocast",
    "quantization_mode",
    "lora_alpha",
];

const HARMLESS_ENDINGS: &[&str] = &["_initializer", "_regularizer", "_constraint"];

/// The attributes of one layer. Every read is noted; [`Attrs::finish`] refuses what nobody read.
#[derive(Debug)]
pub(super) struct Attrs<'a> {
    map: &'a Attributes,
    read: RefCell<HashSet<&'a str>>,
}

impl<'a> Attrs<'a> {
    pub(super) fn new(map: &'a Attributes) -> Self {
        Self { map, read: RefCell::default() }
    }

    /// The value, unless absent or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let (name, value) = self.map.get_key_value(name)?;
        self.read.borrow_mut().insert(name);
        // Keras 2 wraps tuples now and then.
        let tuple = value.get("class_name").and_then(Value::as_str) == Some("__tuple__");
        let value = if tuple { value.get("items")? } else { value };
        Some(value).filter(|v| !v.is_null())
    }

    /// Marks an attribute as known to change nothing here.
    pub(super) fn ignore(&self, names: &[&str]) {
        for name in names {
            self.get(name);
        }
    }

    /// Marks every attribute as known to change nothing here.
    pub(super) fn ignore_all(&self) {
        self.read.borrow_mut().extend(self.map.keys().map(String::as_str));
    }

    pub(super) fn str(&self, name: &str, default: &'a str) -> Result<&'a str, FormatError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::String(s)) => Ok(s),
            Some(v) => Err(wrong(name, v, "a text")),
        }
    }

    pub(super) fn bool(&self, name: &str, default: bool) -> Result<bool, FormatError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(b)) => Ok(*b),
            // Keras 1 and NumPy write booleans as numbers now and then.
            Some(v) if v.as_u64().is_some_and(|v| v < 2) => Ok(v.as_u64() == Some(1)),
            Some(v) => Err(wrong(name, v, "a boolean")),
        }
    }

    pub(super) fn f32(&self, name: &str, default: f32) -> Result<f32, FormatError> {
        match self.get(name) {
            None => Ok(default),
            Some(v) => number(v).ok_or_else(|| wrong(name, v, "a number")),
        }
    }

    /// A number or a list of numbers, of any depth, flattened.
    pub(super) fn numbers(&self, name: &str) -> Result<Option<Vec<f32>>, FormatError> {
        let Some(v) = self.get(name) else { return Ok(None) };
        let mut flat = Vec::new();
        flatten(v, &mut flat).ok_or_else(|| wrong(name, v, "a number or a list of numbers"))?;
        Ok(Some(flat))
    }

    pub(super) fn usize(&self, name: &str) -> Result<usize, FormatError> {
        let v = self.get(name).ok_or_else(|| absent(name))?;
        whole(v).ok_or_else(|| wrong(name, v, "a whole number"))
    }

    pub(super) fn usize_or(&self, name: &str, default: usize) -> Result<usize, FormatError> {
        if self.get(name).is_some() { self.usize(name) } else { Ok(default) }
    }

    /// One whole number for both, or two.
    pub(super) fn pair(&self, name: &str) -> Result<Option<[usize; 2]>, FormatError> {
        let Some(v) = self.get(name) else { return Ok(None) };
        let pair = match v {
            Value::Array(list) => match &list[..] {
                [a, b] => whole(a).zip(whole(b)).map(|(a, b)| [a, b]),
                [a] => whole(a).map(|a| [a, a]),
                _ => None,
            },
            _ => whole(v).map(|a| [a, a]),
        };
        pair.map(Some).ok_or_else(|| wrong(name, v, "one or two whole numbers"))
    }

    /// One for all sides, one for each axis, or two for each axis: `[[top, bottom], [left, right]]`.
    pub(super) fn sides(&self, name: &str, default: usize) -> Result<[[usize; 2]; 2], FormatError> {
        let Some(v) = self.get(name) else { return Ok([[default; 2]; 2]) };
        let side = |v: &Value| match v {
            Value::Array(list) => match &list[..] {
                [a, b] => whole(a).zip(whole(b)).map(|(a, b)| [a, b]),
                _ => None,
            },
            _ => whole(v).map(|a| [a, a]),
        };
        let sides = match v {
            Value::Array(list) => match &list[..] {
                [a, b] => side(a).zip(side(b)).map(|(a, b)| [a, b]),
                // Keras 1: top, bottom, left, right.
                [a, b, c, d] => (|| Some([[whole(a)?, whole(b)?], [whole(c)?, whole(d)?]]))(),
                _ => None,
            },
            _ => whole(v).map(|a| [[a, a], [a, a]]),
        };
        sides.ok_or_else(|| wrong(name, v, "the widths of four sides"))
    }

    /// A whole number that may be negative, or a list of them.
    pub(super) fn integers(&self, name: &str) -> Result<Option<Vec<i64>>, FormatError> {
        let Some(v) = self.get(name) else { return Ok(None) };
        integers(v).map(Some).ok_or_else(|| wrong(name, v, "a whole number or a list of them"))
    }

    /// The single whole number, also when it is written as a list of one.
    pub(super) fn axis(&self, name: &str, default: i64) -> Result<i64, FormatError> {
        match self.integers(name)?.as_deref() {
            None => Ok(default),
            Some([axis]) => Ok(*axis),
            Some(_) => Err(self.refuse(name)),
        }
    }

    /// The attribute has a meaning that is not implemented.
    pub(super) fn refuse(&self, name: &str) -> FormatError {
        refused(name, self.map.get(name).unwrap_or(&Value::Null))
    }

    /// `Err` if an attribute has a value that nobody read and that might matter.
    pub(super) fn finish(&self) -> Result<(), FormatError> {
        let read = self.read.borrow();
        let harmless =
            |name: &str| HARMLESS.contains(&name) || HARMLESS_ENDINGS.iter().any(|e| name.ends_with(e));
        let unread = |(name, value): &(&String, &Value)| {
            !read.contains(name.as_str())
                && !harmless(name)
                && !value.is_null()
                && **value != Value::Bool(false)
        };
        match self.map.iter().find(unread) {
            Some((name, value)) => Err(refused(name, value)),
            None => Ok(()),
        }
    }
}

fn refused(name: &str, value: &Value) -> FormatError {
    FormatError::unsupported(format!("attribute `{name}` = `{}` is not supported", shortened(value)))
}

fn absent(name: &str) -> FormatError {
    FormatError::malformed(format!("attribute `{name}` is missing"))
}

fn wrong(name: &str, value: &Value, expected: &str) -> FormatError {
    FormatError::malformed(format!("attribute `{name}` = `{}` is not {expected}", shortened(value)))
}

/// A text as it is, any other JSON on one line; cut where a message would become unreadable.
pub(super) fn shortened(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain("...".chars()).collect() }
}

/// A number, also inside Keras's wrappers for NumPy values and tensors.
pub(super) fn number(v: &Value) -> Option<f32> {
    match v {
        Value::Number(n) => n.as_f64().map(|v| v as f32),
        Value::Object(_) => number(unwrap(v)?),
        Value::Array(list) if list.len() == 1 => number(&list[0]),
        _ => None,
    }
}

/// `{"class_name": "__numpy__", "config": {"value": ...}}` and its kin; `{"type": "ndarray", "value": ...}` of Keras 2.
pub(super) fn unwrap(v: &Value) -> Option<&Value> {
    match v.get("class_name").and_then(Value::as_str) {
        Some("__numpy__" | "__tensor__" | "__eager_tensor__") => v.pointer("/config/value"),
        Some("__tuple__") => v.get("items"),
        Some(_) => None,
        None => v.get("value").filter(|_| v.get("type").is_some()),
    }
}

/// A whole number; JSON of old Keras has `3.0` where 3 is meant.
pub(super) fn whole(v: &Value) -> Option<usize> {
    let n = integer(v)?;
    usize::try_from(n).ok()
}

pub(super) fn integer(v: &Value) -> Option<i64> {
    // 2^53: beyond it a float does not say which whole number it is.
    let exact = |f: f64| (f.fract() == 0.0 && f.abs() < 9e15).then_some(f as i64);
    v.as_i64().or_else(|| v.as_f64().and_then(exact))
}

pub(super) fn integers(v: &Value) -> Option<Vec<i64>> {
    match v {
        Value::Array(list) => list.iter().map(integer).collect(),
        Value::Object(_) => integers(unwrap(v)?),
        _ => Some(vec![integer(v)?]),
    }
}

pub(super) fn flatten(v: &Value, to: &mut Vec<f32>) -> Option<()> {
    match v {
        Value::Array(list) => list.iter().try_for_each(|v| flatten(v, to)),
        Value::Object(_) => flatten(unwrap(v)?, to),
        _ => {
            to.push(number(v)?);
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn attributes(value: &Value) -> Attributes {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn numbers_are_read_in_every_wrapping() {
        let map = attributes(&json!({
            "plain": 6,
            "ndarray": {"type": "ndarray", "value": 6.0},
            "numpy": {"class_name": "__numpy__", "config": {"value": [6.0], "dtype": "float32"}},
            "size": {"class_name": "__tuple__", "items": [3, 4]},
            "float": 3.0,
        }));
        let at = Attrs::new(&map);
        for name in ["plain", "ndarray", "numpy"] {
            assert_eq!(at.f32(name, 0.0).unwrap(), 6.0, "{name}");
        }
        assert_eq!(at.pair("size").unwrap(), Some([3, 4]));
        assert_eq!(at.usize("float").unwrap(), 3);
        assert_eq!(at.f32("absent", 0.5).unwrap(), 0.5);
    }

    #[test]
    fn what_nobody_read_is_refused_unless_it_cannot_matter() {
        let map = attributes(&json!({
            "name": "c", "kernel_initializer": {"class_name": "Zeros"}, "new_flag": false, "new_option": null, "gating": "soft"
        }));
        let at = Attrs::new(&map);
        assert_eq!(at.finish().unwrap_err().to_string(), "attribute `gating` = `soft` is not supported");
        at.ignore(&["gating"]);
        at.finish().unwrap();
    }

    #[test]
    fn sides_of_all_spellings() {
        let map = attributes(
            &json!({"one": 2, "two": [1, 2], "four": [[1, 2], [3, 4]], "keras1": [1, 2, 3, 4], "bad": [1]}),
        );
        let at = Attrs::new(&map);
        assert_eq!(at.sides("one", 0).unwrap(), [[2, 2], [2, 2]]);
        assert_eq!(at.sides("two", 0).unwrap(), [[1, 1], [2, 2]]);
        assert_eq!(at.sides("four", 0).unwrap(), [[1, 2], [3, 4]]);
        assert_eq!(at.sides("keras1", 0).unwrap(), [[1, 2], [3, 4]]);
        assert_eq!(at.sides("absent", 1).unwrap(), [[1, 1], [1, 1]]);
        let want = "attribute `bad` = `[1]` is not the widths of four sides";
        assert_eq!(at.sides("bad", 0).unwrap_err().to_string(), want);
    }
}
