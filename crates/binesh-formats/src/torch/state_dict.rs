//! From what a pickle holds to named tensors: checkpoints unwrapped, views of storages laid out.

use std::borrow::Cow;
use std::collections::HashMap;

use binesh_core::Tensor;

use super::dtype::Dtype;
use super::pickle::{Object, Pickle, Storage, TensorRecord, Value};
use crate::Limits;
use crate::error::FormatError;

/// Where training scripts put a model's weights among the rest of a checkpoint, the plain ones before their moving
/// averages.
const WRAPPERS: [&str; 9] = [
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "model_ema",
    "state_dict_ema",
];

/// Named views, in the file's order, and the names of what was left aside.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) tensors: Vec<(String, &'a TensorRecord<'a>)>,
    pub(super) aside: Vec<String>,
}

type Entries<'a> = [(Value<'a>, Value<'a>)];

/// The tensors of a pickle: of a dictionary that holds some itself, else of the entry that is a model's by its name.
pub(super) fn find<'a>(pickle: &'a Pickle<'a>, limits: &Limits) -> Result<Found<'a>, FormatError> {
    let mut aside = Vec::new();
    let mut prefix = String::new();
    let mut value = pickle.root;
    for _ in 0..limits.nesting {
        let Some(Object::Dict(entries)) = pickle.object(value) else {
            let what = match pickle.object(value) {
                Some(Object::Tensor(_)) => {
                    "the file holds one tensor without a name, not a dictionary of weights"
                }
                _ => "the file does not hold a dictionary of weights",
            };
            return Err(FormatError::unsupported(what).with_hint("save `model.state_dict()`"));
        };
        let wrapped = |name: &&str| entries.iter().find(|(key, _)| *key == Value::Text(name)).copied();
        let holds_tensors =
            entries.iter().any(|(_, value)| matches!(pickle.object(*value), Some(Object::Tensor(_))));
        let inner = (WRAPPERS.iter().filter_map(wrapped))
            .find(|(_, value)| matches!(pickle.object(*value), Some(Object::Dict(_))));
        match inner {
            Some((Value::Text(name), inner)) if !holds_tensors => {
                let others = entries.iter().filter(|(key, _)| *key != Value::Text(name));
                aside.extend(others.map(|(key, _)| format!("{prefix}{}", shown(*key))));
                prefix = format!("{prefix}{name}/");
                value = inner;
            }
            _ => {
                let mut tensors = Vec::new();
                collect(pickle, entries, "", limits, limits.nesting, &mut tensors, &mut aside)?;
                if tensors.is_empty() {
                    let keys: Vec<String> = entries.iter().take(5).map(|(key, _)| shown(*key)).collect();
                    let what = match keys.is_empty() {
                        true => "the file's dictionary is empty".to_owned(),
                        false => format!("the file's dictionary holds no tensors but {}", keys.join(", ")),
                    };
                    return Err(FormatError::unsupported(what).with_hint("save `model.state_dict()`"));
                }
                return Ok(Found { tensors, aside });
            }
        }
    }
    Err(FormatError::limit(
        "the nesting of the file's dictionaries",
        limits.nesting as u64 + 1,
        limits.nesting as u64,
    ))
}

/// Tensors of a dictionary and of those in it, whose names are joined with a dot. At most `limits.layers` are looked at,
/// since a dictionary may be referred to many times.
fn collect<'a>(
    pickle: &'a Pickle<'a>,
    entries: &Entries<'a>,
    prefix: &str,
    limits: &Limits,
    depth: usize,
    tensors: &mut Vec<(String, &'a TensorRecord<'a>)>,
    aside: &mut Vec<String>,
) -> Result<(), FormatError> {
    for (key, value) in entries {
        let name = format!("{prefix}{}", shown(*key));
        match pickle.object(*value) {
            Some(Object::Tensor(tensor)) => tensors.push((name, tensor)),
            Some(Object::Dict(inner)) if !inner.is_empty() => {
                let depth = depth.checked_sub(1).ok_or_else(|| {
                    FormatError::limit(
                        "the nesting of the file's dictionaries",
                        limits.nesting as u64 + 1,
                        limits.nesting as u64,
                    )
                })?;
                collect(pickle, inner, &format!("{name}."), limits, depth, tensors, aside)?;
            }
            _ => aside.push(name),
        }
        let seen = tensors.len() + aside.len();
        Limits::check("the number of entries of the file's dictionaries", seen as u64, limits.layers as u64)?;
    }
    Ok(())
}

fn shown(key: Value<'_>) -> String {
    match key {
        Value::Text(text) => text.to_owned(),
        Value::Int(n) => n.to_string(),
        _ => "?".to_owned(),
    }
}

/// The bytes of a storage.
pub(super) type Bytes<'a, 'b> = dyn FnMut(&Storage<'a>) -> Result<Cow<'b, [u8]>, FormatError> + 'b;

/// Lays out every tensor, its elements in C order. Each storage is read once.
pub(super) fn lay_out<'a, 'b>(
    found: Vec<(String, &TensorRecord<'a>)>,
    bytes: &mut Bytes<'a, 'b>,
    limits: &Limits,
) -> Result<Vec<(String, Tensor)>, FormatError> {
    let mut users: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut order: Vec<&str> = Vec::new();
    for (index, (_, record)) in found.iter().enumerate() {
        let of_storage = users.entry(record.storage.key).or_default();
        if of_storage.is_empty() {
            order.push(record.storage.key);
        }
        of_storage.push(index);
    }
    let mut laid: Vec<Option<Tensor>> = found.iter().map(|_| None).collect();
    let mut made = 0;
    for key in order {
        let of_storage = &users[key];
        let storage = found[of_storage[0]].1.storage;
        let bytes = bytes(&storage)?;
        let len = bytes.len() / storage.dtype.size();
        if (len as u64) < storage.len {
            let what = format!("storage `{key}` has {len} elements, the pickle says {}", storage.len);
            return Err(FormatError::malformed(what));
        }
        // Weights may be shared, but a small storage must not become many large tensors.
        let mut left = len.saturating_mul(SHARES);
        for &index in of_storage {
            let (name, record) = &found[index];
            let of = |what: String| FormatError::malformed(format!("tensor `{name}`: {what}"));
            if record.storage != storage {
                return Err(of(format!("storage `{key}` has two types or lengths")));
            }
            let view = Dense::of(record, len).map_err(of)?;
            Limits::check(
                "the number of elements of a tensor",
                view.elements as u64,
                limits.tensor_elements,
            )?;
            left = left.checked_sub(view.elements).ok_or_else(|| {
                of(format!("storage `{key}` is shared by more than {SHARES} tensors of its size"))
            })?;
            made = limits.all_elements(made, view.elements)?;
            let data = view.gather(storage.dtype, &bytes);
            laid[index] = Some(Tensor::new(view.shape, data).map_err(|e| of(e.to_string()))?);
        }
    }
    Ok(found.into_iter().zip(laid).filter_map(|((name, _), tensor)| Some((name, tensor?))).collect())
}

/// How many times its size a storage may be used.
const SHARES: usize = 16;

/// A view of a storage that was checked to lie inside it and to be no larger than it.
struct Dense {
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
    elements: usize,
}

impl Dense {
    fn of(record: &TensorRecord<'_>, len: usize) -> Result<Dense, String> {
        let narrow =
            |values: &[u64]| values.iter().map(|&v| usize::try_from(v).ok()).collect::<Option<Vec<_>>>();
        let outside = || {
            let (shape, strides) = (&record.shape, &record.strides);
            format!(
                "size {shape:?} with strides {strides:?} from {} does not fit a storage of {len}",
                record.offset
            )
        };
        let (Some(shape), Some(strides), Ok(offset)) =
            (narrow(&record.shape), narrow(&record.strides), usize::try_from(record.offset))
        else {
            return Err(outside());
        };
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).ok_or_else(outside)?;
        let last = shape.iter().zip(&strides).try_fold(offset, |at, (&extent, &stride)| {
            at.checked_add(extent.saturating_sub(1).checked_mul(stride)?)
        });
        let inside = if elements == 0 { offset <= len } else { last.is_some_and(|last| last < len) };
        if !inside || elements > len {
            return Err(outside());
        }
        Ok(Dense { offset, shape, strides, elements })
    }

    fn gather(&self, dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
        let size = dtype.size();
        if self.elements == 0 || self.is_contiguous() {
            return dtype.decode(&bytes[self.offset * size..(self.offset + self.elements) * size]);
        }
        // The innermost axis runs fastest; what lies outside counts like an odometer.
        let mut index = vec![0; self.shape.len()];
        let mut at = self.offset;
        let mut picked = Vec::with_capacity(self.elements * size);
        for _ in 0..self.elements {
            picked.extend_from_slice(&bytes[at * size..(at + 1) * size]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= index[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
        dtype.decode(&picked)
    }

    /// For views with elements.
    fn is_contiguous(&self) -> bool {
        let mut dense = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&extent, &stride)| {
            let fits = extent == 1 || stride == dense;
            dense *= extent;
            fits
        })
    }
}
