//! safetensors: names and tensors, no architecture (<https://github.com/huggingface/safetensors>).

use std::collections::BTreeMap;

use binesh_core::Tensor;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::error::FormatError;
use crate::limits::Limits;

/// Named tensors without an architecture, as the file lays them out.
pub type StateDict = BTreeMap<String, Tensor>;

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
    use safetensors::tensor::{TensorView, serialize};

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
