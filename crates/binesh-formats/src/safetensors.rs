//! safetensors: names and tensors, no architecture (<https://github.com/huggingface/safetensors>).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use binesh_core::Tensor;
use half::{bf16, f16};
use safetensors::tensor::{serialize, serialize_to_file};
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};

use crate::error::FormatError;
use crate::limits::Limits;

/// Named tensors without an architecture, as the file lays them out.
pub type StateDict = BTreeMap<String, Tensor>;

/// The header's own text, by key.
pub type Metadata = HashMap<String, String>;

/// Writes every tensor as f32, in the order of their names: equal tensors give equal bytes. So does at most one entry
/// of metadata; the order of several is the crate's.
pub fn write(tensors: &StateDict, metadata: impl IntoIterator<Item = (String, String)>) -> Vec<u8> {
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), Lazy(tensor)));
    serialize(views, Some(metadata.into_iter().collect())).expect("tensors in memory fit a file")
}

/// [`write()`] to a file that need not be there; only one tensor's bytes are held besides the tensors.
pub fn write_file(
    tensors: &StateDict,
    metadata: impl IntoIterator<Item = (String, String)>,
    path: &Path,
) -> std::io::Result<()> {
    let views = tensors.iter().map(|(name, tensor)| (name.as_str(), Lazy(tensor)));
    serialize_to_file(views, Some(metadata.into_iter().collect()), path).map_err(|error| match error {
        SafeTensorError::IoError(error) => error,
        other => std::io::Error::other(other),
    })
}

/// A tensor whose bytes are made when they are written, so that large ones are not held twice.
struct Lazy<'a>(&'a Tensor);

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        self.0.shape().dims()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.data().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0.data())
    }
}

/// [`read`], and the header's own text.
pub fn read_with_metadata(bytes: &[u8], limits: &Limits) -> Result<(StateDict, Metadata), FormatError> {
    let tensors = read(bytes, limits)?;
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|e| FormatError::malformed(format!("not a safetensors file: {e}")))?;
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}

/// Reads every tensor as f32; f16, bf16 and f64 are converted.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<StateDict, FormatError> {
    Limits::check("the file's size", bytes.len() as u64, limits.file_bytes)?;
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| FormatError::malformed(format!("not a safetensors file: {e}")))?;
    file.iter()
        .map(|(name, view)| {
            let elements = view.shape().iter().try_fold(1u64, |acc, &d| acc.checked_mul(d as u64));
            Limits::check(
                "the number of elements of a tensor",
                elements.unwrap_or(u64::MAX),
                limits.tensor_elements,
            )?;
            let values = values(name, view.dtype(), view.data())?;
            let tensor = Tensor::new(view.shape(), values)
                .map_err(|e| FormatError::malformed(format!("tensor `{name}`: {e}")))?;
            Ok((name.to_owned(), tensor))
        })
        .collect()
}

fn values(name: &str, dtype: Dtype, bytes: &[u8]) -> Result<Vec<f32>, FormatError> {
    Ok(match dtype {
        Dtype::F16 => {
            let (pairs, _) = bytes.as_chunks::<2>();
            pairs.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect()
        }
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        other => return Err(FormatError::unsupported(format!("tensor `{name}` has type {other:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    fn file(dtype: Dtype, shape: Vec<usize>, data: &[u8]) -> Vec<u8> {
        serialize([("w", TensorView::new(dtype, shape, data).unwrap())], None).unwrap()
    }

    /// 1.5 and -2 in each type, IEEE 754.
    #[test]
    fn every_float_type_is_read_as_f32() {
        let cases: [(Dtype, &[u8]); 4] = [
            (Dtype::F16, &[0x00, 0x3e, 0x00, 0xc0]),
            (Dtype::BF16, &[0xc0, 0x3f, 0x00, 0xc0]),
            (Dtype::F32, &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0]),
            (Dtype::F64, &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
        ];
        for (dtype, data) in cases {
            let dict = read(&file(dtype, vec![1, 2], data), &Limits::default()).unwrap();
            assert_eq!(dict["w"], Tensor::new([1, 2], vec![1.5, -2.0]).unwrap(), "{dtype:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_to_the_bit() {
        let values = vec![1.5, f32::MIN_POSITIVE, -0.0, 1e-42, f32::NAN];
        let tensors: StateDict = [
            ("b/kernel".to_owned(), Tensor::new([5, 1], values).unwrap()),
            ("a".to_owned(), Tensor::scalar(3.0)),
        ]
        .into();
        let bytes = write(&tensors, [("note".to_owned(), "\u{645}\"".to_owned())]);
        let (again, metadata) = read_with_metadata(&bytes, &Limits::default()).unwrap();
        let bits = |dict: &StateDict| -> Vec<(String, Vec<usize>, Vec<u32>)> {
            let of = |(name, tensor): (&String, &Tensor)| {
                let bits = tensor.data().iter().map(|v| v.to_bits()).collect();
                (name.clone(), tensor.shape().dims().to_vec(), bits)
            };
            dict.iter().map(of).collect()
        };
        assert_eq!(bits(&again), bits(&tensors));
        assert_eq!(metadata["note"], "\u{645}\"");
    }

    #[test]
    fn what_is_not_floating_point_is_named() {
        let e = read(&file(Dtype::I64, vec![1], &[0; 8]), &Limits::default()).unwrap_err();
        assert_eq!(e.to_string(), "tensor `w` has type I64");
    }

    #[test]
    fn truncated_files_are_errors() {
        let whole = file(Dtype::F32, vec![2], &[0; 8]);
        for len in 0..whole.len() {
            assert!(read(&whole[..len], &Limits::default()).is_err(), "{len} bytes");
        }
    }
}
