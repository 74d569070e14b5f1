//! `x[:, 1:-1, ::2, 0]`.

use binesh_core::ops::{Identity, Reshape, Slice};
use binesh_core::{NodeId, Op};
use serde_json::Value;

use super::LayerCx;
use crate::error::FormatError;
use crate::keras::attributes::{integer, shortened, unwrap};

/// One entry between the brackets.
#[derive(Debug, PartialEq)]
enum Key {
    Slice { start: Option<i64>, end: Option<i64>, step: i64 },
    Index(i64),
    NewAxis,
    Ellipsis,
}

impl Key {
    const ALL: Self = Self::Slice { start: None, end: None, step: 1 };

    fn parse(value: &Value) -> Option<Self> {
        if value.is_null() {
            return Some(Self::NewAxis);
        }
        if let Some(index) = integer(value) {
            return Some(Self::Index(index));
        }
        let slice = match value.get("class_name").and_then(Value::as_str) {
            Some("__ellipsis__") => return Some(Self::Ellipsis),
            Some("__slice__") => value.get("config")?,
            Some(_) => return None,
            None => value,
        };
        // An absent bound is null; a bound that is no whole number is not understood.
        let bound = |name: &str| match slice.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(v) => integer(v).map(Some),
        };
        slice.as_object()?;
        Some(Self::Slice { start: bound("start")?, end: bound("stop")?, step: bound("step")?.unwrap_or(1) })
    }
}

/// Python's indexing, as NumPy defines it. The batch axis is not sliced.
pub(super) fn get_item(cx: &mut LayerCx<'_>, x: NodeId, key: &Value) -> Result<NodeId, FormatError> {
    let refuse = || FormatError::unsupported(format!("the slice `{}` is not supported", shortened(key)));
    let key = unwrap(key).unwrap_or(key);
    let entries = match key {
        Value::Array(list) => list.iter().map(Key::parse).collect::<Option<Vec<_>>>(),
        one => Key::parse(one).map(|key| vec![key]),
    };
    let keys = spread(entries.ok_or_else(refuse)?, cx.dims(x).len()).ok_or_else(refuse)?;
    if !matches!(keys.first(), Some(&Key::ALL)) {
        return Err(FormatError::unsupported("slicing along the batch is not supported"));
    }
    let mut ops: Vec<Op> = Vec::new();
    let sliced = keys.iter().filter(|key| **key != Key::NewAxis).enumerate();
    for (axis, key) in sliced.filter(|(_, key)| **key != Key::ALL) {
        let (start, end, step) = match *key {
            Key::Slice { start, end, step } => (start, end, step),
            // -1 is the last position: no end after it.
            Key::Index(at) => (Some(at), at.checked_add(1).filter(|end| *end != 0), 1),
            Key::NewAxis | Key::Ellipsis => return Err(refuse()),
        };
        ops.push(Slice { axis: axis as i64, start, end, step }.into());
    }
    let mut y = x;
    let reshaped = keys.iter().any(|key| matches!(key, Key::Index(_) | Key::NewAxis));
    let last = ops.len().saturating_sub(1);
    for (i, op) in ops.into_iter().enumerate() {
        y = if i == last && !reshaped {
            return cx.add(op, &[y]);
        } else {
            cx.part(&format!("slice_{i}"), op, &[y])?
        };
    }
    if !reshaped {
        return cx.add(Identity, &[y]);
    }
    let mut dims = cx.dims(y).into_iter();
    let mut target = Vec::new();
    for key in &keys {
        match key {
            Key::NewAxis => target.push(Some(1)),
            Key::Index(_) => {
                dims.next();
            }
            Key::Slice { .. } | Key::Ellipsis => target.push(dims.next().flatten()),
        }
    }
    cx.add(Reshape { target: target.split_off(1) }, &[y])
}

/// One key for each of `rank` axes, and the new axes: the ellipsis, or what is left out at the end, spread out.
fn spread(mut keys: Vec<Key>, rank: usize) -> Option<Vec<Key>> {
    let ellipses = keys.iter().filter(|key| **key == Key::Ellipsis).count();
    let stated = keys.iter().filter(|key| !matches!(key, Key::Ellipsis | Key::NewAxis)).count();
    let missing = rank.checked_sub(stated)?;
    let fill = std::iter::repeat_with(|| Key::ALL).take(missing);
    match ellipses {
        0 => keys.extend(fill),
        1 => {
            let at = keys.iter().position(|key| *key == Key::Ellipsis)?;
            keys.splice(at..=at, fill);
        }
        _ => return None,
    }
    Some(keys)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_of_both_dialects() {
        let slice = |start, end, step| Key::Slice { start, end, step };
        let cases = [
            (json!({"start": null, "stop": null, "step": null}), Key::ALL),
            (json!({"start": 1, "stop": -1, "step": 2}), slice(Some(1), Some(-1), 2)),
            (
                json!({"class_name": "__slice__", "config": {"start": 0, "stop": 1, "step": null}}),
                slice(Some(0), Some(1), 1),
            ),
            (json!({"class_name": "__ellipsis__", "config": {}}), Key::Ellipsis),
            (json!(-1), Key::Index(-1)),
            (json!(null), Key::NewAxis),
        ];
        for (value, want) in cases {
            assert_eq!(Key::parse(&value), Some(want), "{value}");
        }
        assert_eq!(Key::parse(&json!({"class_name": "__keras_tensor__"})), None);
        assert_eq!(Key::parse(&json!({"start": "a"})), None);
    }

    #[test]
    fn an_ellipsis_stands_for_the_axes_between() {
        let keys = spread(vec![Key::Ellipsis, Key::Index(0)], 4).unwrap();
        assert_eq!(keys, [Key::ALL, Key::ALL, Key::ALL, Key::Index(0)]);
        assert_eq!(spread(vec![Key::ALL], 3).unwrap(), [Key::ALL, Key::ALL, Key::ALL]);
        assert_eq!(spread(vec![Key::ALL, Key::ALL], 1), None);
    }
}
