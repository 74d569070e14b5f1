//! A tensor of the file, or of a file beside it, as an array.

use std::borrow::Cow;
use std::path::{Component, Path};

use half::{bf16, f16};

use super::array::{self, Array};
use super::proto::{TensorProto, data_type};
use crate::error::FormatError;
use crate::network::LoadCx;

/// The tensor's values: floating point of any width as f32, integers and truth values as i64.
pub(super) fn read(tensor: &TensorProto, cx: &LoadCx) -> Result<Array, FormatError> {
    let name = if tensor.name.is_empty() { "a constant" } else { &tensor.name };
    let what = format!("tensor `{name}`");
    let shape = tensor.dims.iter().map(|&d| usize::try_from(d));
    let shape: Vec<usize> = shape
        .collect::<Result<_, _>>()
        .map_err(|_| FormatError::malformed(format!("{what} has the extents {:?}", tensor.dims)))?;
    let n = array::elements(&what, &shape, cx.limits.tensor_elements)?;
    let width = match tensor.data_type {
        data_type::UINT8 | data_type::INT8 | data_type::BOOL => 1,
        data_type::UINT16 | data_type::INT16 | data_type::FLOAT16 | data_type::BFLOAT16 => 2,
        data_type::FLOAT | data_type::INT32 | data_type::UINT32 => 4,
        data_type::INT64 | data_type::UINT64 | data_type::DOUBLE => 8,
        other => {
            return Err(FormatError::unsupported(format!("{what} has type {}", data_type::name(other))));
        }
    };
    let raw = match tensor.data_location {
        0 if !tensor.raw_data.is_empty() => Some(Cow::Borrowed(&tensor.raw_data[..])),
        0 => None,
        _ => Some(Cow::Owned(external(&what, tensor, (n * width) as u64, cx)?)),
    };
    let values = match raw {
        Some(raw) => from_bytes(tensor.data_type, &raw),
        None => from_fields(tensor),
    };
    let values = values.ok_or_else(|| {
        FormatError::unsupported(format!("{what} has type {}", data_type::name(tensor.data_type)))
    })?;
    if values.len() != n {
        return Err(FormatError::malformed(format!("{what} of shape {shape:?} has {} values", values.len())));
    }
    Ok(Array { shape, ..values })
}

/// Little endian, whatever the machine; as many whole values as there are.
fn from_bytes(kind: i32, raw: &[u8]) -> Option<Array> {
    fn each<const N: usize, T>(raw: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
        raw.as_chunks().0.iter().map(|&bytes| value(bytes)).collect()
    }
    let floats = match kind {
        data_type::FLOAT => Some(each(raw, f32::from_le_bytes)),
        data_type::FLOAT16 => Some(each(raw, |b| f16::from_le_bytes(b).to_f32())),
        data_type::BFLOAT16 => Some(each(raw, |b| bf16::from_le_bytes(b).to_f32())),
        data_type::DOUBLE => Some(each(raw, |b| f64::from_le_bytes(b) as f32)),
        _ => None,
    };
    if let Some(values) = floats {
        return Some(Array::floats(vec![values.len()], values));
    }
    Some(Array::list(match kind {
        data_type::UINT8 | data_type::BOOL => raw.iter().map(|&b| i64::from(b)).collect(),
        data_type::INT8 => raw.iter().map(|&b| i64::from(b as i8)).collect(),
        data_type::UINT16 => each(raw, |b| i64::from(u16::from_le_bytes(b))),
        data_type::INT16 => each(raw, |b| i64::from(i16::from_le_bytes(b))),
        data_type::INT32 => each(raw, |b| i64::from(i32::from_le_bytes(b))),
        data_type::UINT32 => each(raw, |b| i64::from(u32::from_le_bytes(b))),
        data_type::INT64 => each(raw, i64::from_le_bytes),
        data_type::UINT64 => each(raw, |b| u64::from_le_bytes(b).try_into().unwrap_or(i64::MAX)),
        _ => return None,
    }))
}

/// From the field that `onnx.proto3` says holds values of this type.
fn from_fields(tensor: &TensorProto) -> Option<Array> {
    let of_bits = |value: fn(u16) -> f32| tensor.int32_data.iter().map(|&v| value(v as u16)).collect();
    let floats: Option<Vec<f32>> = match tensor.data_type {
        data_type::FLOAT => Some(tensor.float_data.clone()),
        data_type::DOUBLE => Some(tensor.double_data.iter().map(|&v| v as f32).collect()),
        data_type::FLOAT16 => Some(of_bits(|bits| f16::from_bits(bits).to_f32())),
        data_type::BFLOAT16 => Some(of_bits(|bits| bf16::from_bits(bits).to_f32())),
        _ => None,
    };
    if let Some(values) = floats {
        return Some(Array::floats(vec![values.len()], values));
    }
    Some(Array::list(match tensor.data_type {
        data_type::INT64 => tensor.int64_data.clone(),
        data_type::UINT32 | data_type::UINT64 => {
            tensor.uint64_data.iter().map(|&v| v.try_into().unwrap_or(i64::MAX)).collect()
        }
        data_type::STRING => return None,
        _ => tensor.int32_data.iter().map(|&v| i64::from(v)).collect(),
    }))
}

/// The bytes of a tensor that lies in another file.
fn external(what: &str, tensor: &TensorProto, expected: u64, cx: &LoadCx) -> Result<Vec<u8>, FormatError> {
    let entry =
        |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|e| e.value.as_str());
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => text.parse::<u64>().map(Some).map_err(|_| {
            FormatError::malformed(format!("{what}: `{key}` of its external data is `{text}`, not a number"))
        }),
    };
    let file = entry("location").unwrap_or_default();
    let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if file.is_empty() || !Path::new(file).components().all(inside) {
        return Err(FormatError::malformed(format!(
            "{what} is in the file `{file}`, not in the model's folder"
        )));
    }
    let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?.unwrap_or(expected));
    if length != expected {
        return Err(FormatError::malformed(format!(
            "{what} has {length} bytes in the file `{file}`, expected {expected}"
        )));
    }
    let Some(source) = &cx.external else {
        return Err(FormatError::unsupported(format!("{what} is in the file `{file}`, which was not given"))
            .with_hint("open the model by its path, with that file in the same folder"));
    };
    let bytes = source.read(file, offset, length).map_err(|e| {
        FormatError::malformed(format!("{what}: the file `{file}` that holds it cannot be read: {e}"))
    })?;
    if bytes.len() as u64 != expected {
        return Err(FormatError::malformed(format!("{what} is not whole in the file `{file}`")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ExternalData;

    fn tensor(data_type: i32, dims: &[i64]) -> TensorProto {
        TensorProto { data_type, dims: dims.to_vec(), name: "w".into(), ..TensorProto::default() }
    }

    #[track_caller]
    fn floats(tensor: &TensorProto, want: &[f32]) {
        assert_eq!(read(tensor, &LoadCx::default()).unwrap().into_floats(), want);
    }

    #[test]
    fn every_type_of_number() {
        floats(&TensorProto { raw_data: vec![0, 0, 0x80, 0x3f].into(), ..tensor(1, &[1]) }, &[1.0]);
        floats(&TensorProto { float_data: vec![1.5, 2.0], ..tensor(1, &[2]) }, &[1.5, 2.0]);
        floats(&TensorProto { raw_data: vec![0, 0x3c].into(), ..tensor(10, &[]) }, &[1.0]);
        floats(&TensorProto { int32_data: vec![0x3c00], ..tensor(10, &[1]) }, &[1.0]);
        floats(&TensorProto { raw_data: vec![0x80, 0x3f].into(), ..tensor(16, &[1]) }, &[1.0]);
        floats(&TensorProto { raw_data: 2.5f64.to_le_bytes().to_vec().into(), ..tensor(11, &[1]) }, &[2.5]);
        floats(&TensorProto { double_data: vec![2.5], ..tensor(11, &[1]) }, &[2.5]);
        let ints = |t: &TensorProto| read(t, &LoadCx::default()).unwrap().as_ints().unwrap().to_vec();
        assert_eq!(ints(&TensorProto { int64_data: vec![-1, 7], ..tensor(7, &[2]) }), [-1, 7]);
        assert_eq!(ints(&TensorProto { raw_data: vec![255].into(), ..tensor(3, &[1]) }), [-1]);
        assert_eq!(ints(&TensorProto { raw_data: vec![255].into(), ..tensor(2, &[1]) }), [255]);
        assert_eq!(ints(&TensorProto { uint64_data: vec![u64::MAX], ..tensor(13, &[1]) }), [i64::MAX]);
        assert_eq!(ints(&TensorProto { int32_data: vec![1, 0], ..tensor(9, &[2]) }), [1, 0]);
        floats(&tensor(1, &[0]), &[]);
    }

    #[track_caller]
    fn refuses(tensor: &TensorProto, message: &str) {
        assert_eq!(read(tensor, &LoadCx::default()).unwrap_err().to_string(), message);
    }

    #[test]
    fn what_does_not_fit() {
        refuses(&tensor(1, &[-1]), "tensor `w` has the extents [-1]");
        refuses(&tensor(1, &[2]), "tensor `w` of shape [2] has 0 values");
        refuses(&tensor(8, &[1]), "tensor `w` has type STRING");
        refuses(&tensor(14, &[1]), "tensor `w` has type COMPLEX64");
        refuses(&tensor(99, &[1]), "tensor `w` has type 99");
        let message =
            "the number of elements of tensor `w` is 18446744073709551615, more than the limit of 536870912";
        refuses(&tensor(1, &[1 << 40, 1 << 40]), message);
    }

    #[test]
    fn in_a_file_beside() {
        let entry = |key: &str, value: &str| super::super::proto::StringStringEntryProto {
            key: key.into(),
            value: value.into(),
        };
        let mut tensor = TensorProto {
            data_location: 1,
            external_data: vec![entry("location", "w.bin"), entry("offset", "4"), entry("length", "8")],
            ..tensor(1, &[2])
        };
        refuses(&tensor, "tensor `w` is in the file `w.bin`, which was not given");
        let external = ExternalData::new(|file, offset, length| {
            assert_eq!((file, offset, length), ("w.bin", 4, 8));
            Ok([1.0f32, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect())
        });
        let cx = LoadCx { external: Some(external), ..LoadCx::default() };
        assert_eq!(read(&tensor, &cx).unwrap().into_floats(), [1.0, 2.0]);
        tensor.external_data[2].value = "12".into();
        let e = read(&tensor, &cx).unwrap_err().to_string();
        assert_eq!(e, "tensor `w` has 12 bytes in the file `w.bin`, expected 8");
    }
}
