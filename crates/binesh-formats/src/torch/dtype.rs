//! Element types of storages.

use half::{bf16, f16};

/// A type that becomes f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtype {
    F16,
    Bf16,
    F32,
    F64,
    U8,
    I8,
    I16,
    I32,
    I64,
    Bool,
}

impl Dtype {
    /// The type of PyTorch's `{name}Storage`.
    pub(crate) fn of_storage(name: &str) -> Option<Dtype> {
        Some(match name {
            "Half" => Dtype::F16,
            "BFloat16" => Dtype::Bf16,
            "Float" => Dtype::F32,
            "Double" => Dtype::F64,
            "Byte" => Dtype::U8,
            "Char" => Dtype::I8,
            "Short" => Dtype::I16,
            "Int" => Dtype::I32,
            "Long" => Dtype::I64,
            "Bool" => Dtype::Bool,
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub(crate) fn size(self) -> usize {
        match self {
            Dtype::U8 | Dtype::I8 | Dtype::Bool => 1,
            Dtype::F16 | Dtype::Bf16 | Dtype::I16 => 2,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F64 | Dtype::I64 => 8,
        }
    }

    /// Little-endian elements as f32, rounded to the nearest; what is left over at the end is dropped.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], of: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|&b| of(b)).collect()
        }
        match self {
            Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F32 => each(bytes, f32::from_le_bytes),
            Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Dtype::U8 => each(bytes, |[b]| f32::from(b)),
            Dtype::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Dtype::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Dtype::Bool => each(bytes, |[b]| f32::from(u8::from(b != 0))),
        }
    }
}
