//! safetensors: names and tensors, no architecture (<https://github.com/huggingface/safetensors>).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use binesh_core::{Op, Tensor};
use safetensors::tensor::{serialize, serialize_to_file};
use safetensors::{Dtype, SafeTensorError, SafeTensors, View};

use crate::error::FormatError;
use crate::format::Format;
use crate::limits::Limits;
use crate::meta::Meta;
use crate::network::{LoadCx, LoadReport, Loaded, Network};
use crate::save::{Writer, Written};
use crate::torch;

/// Weights alone.
pub(crate) const FORMAT: Format =
    Format { name: "safetensors", extensions: &["safetensors"], sniff: is_safetensors, load };

/// A file begins with the length of its header, which is JSON.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.split_first_chunk::<8>().is_some_and(|(len, rest)| {
        u64::from_le_bytes(*len) <= rest.len() as u64 && rest.first() == Some(&b'{')
    })
}

fn load(bytes: Cow<'_, [u8]>, cx: &LoadCx) -> Result<(Loaded, LoadReport), FormatError> {
    let tensors = read_in_order(&bytes, &cx.limits)?;
    let text = metadata(&bytes)?.remove(Meta::KEY);
    let meta = text.map_or_else(|| Ok(Meta::default()), |text| Meta::from_text(&text, "`__metadata__`"))?;
    Ok((Loaded::Weights(tensors), LoadReport { meta, ..LoadReport::default() }))
}

/// Weights under the names that they have in a network, `conv1/kernel`, laid out as there.
pub(crate) const WRITER: Writer =
    Writer { ending: "safetensors", what: "weights alone, named by layer", save };

fn save(network: &Network) -> Result<Written, FormatError> {
    let graph = &network.graph;
    let params = graph.ids().filter(|&id| matches!(graph.node(id).op, Op::Param(_)));
    let named = |id| Ok((graph.node(id).name.clone(), network.value(id)?.clone()));
    let tensors: StateDict = params.map(named).collect::<Result<_, FormatError>>()?;
    let meta = (Meta::KEY.to_owned(), network.meta.to_json()?.to_string());
    Ok(Written { bytes: write(&tensors, [meta]), notes: Vec::new() })
}

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
    Ok((tensors, metadata(bytes)?))
}

fn metadata(bytes: &[u8]) -> Result<Metadata, FormatError> {
    let (_, header) = SafeTensors::read_metadata(bytes)
        .map_err(|e| FormatError::malformed(format!("not a safetensors file: {e}")))?;
    Ok(header.metadata().clone().unwrap_or_default())
}

/// Reads every tensor as f32: floating-point types of 16 to 64 bits, integers and booleans are converted.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<StateDict, FormatError> {
    Ok(read_in_order(bytes, limits)?.into_iter().collect())
}

/// [`read`], in the order of the tensors' data.
fn read_in_order(bytes: &[u8], limits: &Limits) -> Result<Vec<(String, Tensor)>, FormatError> {
    Limits::check("the file's size", bytes.len() as u64, limits.file_bytes)?;
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| FormatError::malformed(format!("not a safetensors file: {e}")))?;
    let mut views: Vec<_> = file.iter().collect();
    views.sort_by_key(|(_, view)| view.data().as_ptr());
    let mut made = 0;
    views
        .into_iter()
        .map(|(name, view)| {
            let elements = view.shape().iter().try_fold(1u64, |acc, &d| acc.checked_mul(d as u64));
            Limits::check(
                "the number of elements of a tensor",
                elements.unwrap_or(u64::MAX),
                limits.tensor_elements,
            )?;
            made = limits.all_elements(made, view.shape().iter().product())?;
            let dtype = dtype(view.dtype()).ok_or_else(|| {
                FormatError::unsupported(format!("tensor `{name}` has type {:?}", view.dtype()))
            })?;
            let tensor = Tensor::new(view.shape(), dtype.decode(view.data()))
                .map_err(|e| FormatError::malformed(format!("tensor `{name}`: {e}")))?;
            Ok((name.to_owned(), tensor))
        })
        .collect()
}

fn dtype(dtype: Dtype) -> Option<torch::Dtype> {
    Some(match dtype {
        Dtype::F16 => torch::Dtype::F16,
        Dtype::BF16 => torch::Dtype::Bf16,
        Dtype::F32 => torch::Dtype::F32,
        Dtype::F64 => torch::Dtype::F64,
        Dtype::U8 => torch::Dtype::U8,
        Dtype::I8 => torch::Dtype::I8,
        Dtype::I16 => torch::Dtype::I16,
        Dtype::I32 => torch::Dtype::I32,
        Dtype::I64 => torch::Dtype::I64,
        Dtype::BOOL => torch::Dtype::Bool,
        _ => return None,
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
    fn whole_numbers_are_converted_and_other_types_named() {
        let dict = read(&file(Dtype::I64, vec![1], &(-3i64).to_le_bytes()), &Limits::default()).unwrap();
        assert_eq!(dict["w"], Tensor::new([1], vec![-3.0]).unwrap());
        let e = read(&file(Dtype::F8_E4M3, vec![1], &[0]), &Limits::default()).unwrap_err();
        assert_eq!(e.to_string(), "tensor `w` has type F8_E4M3");
    }

    /// A header of 123 bytes makes the first byte that of `{`.
    #[test]
    fn recognized_though_it_begins_like_json() {
        let mut header = br#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_vec();
        header.resize(123, b' ');
        let bytes = [&123u64.to_le_bytes()[..], &header, &1.5f32.to_le_bytes()].concat();
        assert_eq!(bytes[0], b'{');
        let (loaded, report) = crate::load(bytes, "it", &LoadCx::default()).unwrap();
        assert_eq!(report.format, "safetensors");
        let Loaded::Weights(tensors) = loaded else { panic!("not weights") };
        assert_eq!(tensors, [("w".to_owned(), Tensor::new([1], vec![1.5]).unwrap())]);
    }

    #[test]
    fn truncated_files_are_errors() {
        let whole = file(Dtype::F32, vec![2], &[0; 8]);
        for len in 0..whole.len() {
            assert!(read(&whole[..len], &Limits::default()).is_err(), "{len} bytes");
        }
    }
}
