//! A look at the bytes before they are decoded: whether they are an ONNX file, and whether they ask for more messages than
//! any network has. Two bytes can say that there is a node, which takes a hundred times as many in memory.

use prost::encoding::{WireType, decode_key, decode_varint};

use crate::Limits;
use crate::error::FormatError;

/// Whether a file with these bytes at its beginning is an ONNX model: nothing but known fields of `ModelProto`, each in
/// its own wire type, the version of the format and at least one of producer, graph and operator set among them.
pub(super) fn is_onnx(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let (mut version, mut said) = (false, false);
    while !rest.is_empty() {
        let Some(field) = Field::next(&mut rest) else { return version && said };
        let known = match field.tag {
            1 => {
                version |= (1..1000).contains(&field.value);
                field.wire_type == WireType::Varint
            }
            5 => field.wire_type == WireType::Varint,
            2 | 3 | 4 | 6 | 7 | 8 | 14 | 20 | 25 | 26 => field.wire_type == WireType::LengthDelimited,
            _ => false,
        };
        if !known {
            return false;
        }
        said |= matches!(field.tag, 2 | 7 | 8);
        if field.is_cut_short {
            break;
        }
    }
    version && said
}

/// Refuses a file with more nodes, attributes, tensors and other messages than the limits allow. The messages
/// that are looked into do not contain themselves, so the depth is bounded.
pub(super) fn check(bytes: &[u8], limits: &Limits) -> Result<(), FormatError> {
    // An attribute or two, a weight or two and their texts for each node.
    let most = (limits.nodes as u64).saturating_mul(16);
    let mut count = 0;
    walk(bytes, MODEL, &mut || {
        count += 1;
        Limits::check("the number of messages and texts", count, most)
    })
}

/// Which fields of a message hold messages, and of what kind; and which are repeated texts.
struct Kind {
    messages: &'static [(u32, &'static Kind)],
    texts: &'static [u32],
}

const LEAF: &Kind = &Kind { messages: &[], texts: &[] };
const MODEL: &Kind = &Kind { messages: &[(7, GRAPH), (8, LEAF), (14, LEAF), (25, FUNCTION)], texts: &[] };
const GRAPH: &Kind =
    &Kind { messages: &[(1, NODE), (5, TENSOR), (11, VALUE), (12, VALUE), (15, LEAF)], texts: &[] };
const NODE: &Kind = &Kind { messages: &[(5, ATTRIBUTE)], texts: &[1, 2] };
const ATTRIBUTE: &Kind = &Kind { messages: &[(5, TENSOR)], texts: &[] };
const TENSOR: &Kind = &Kind { messages: &[(13, LEAF)], texts: &[] };
const VALUE: &Kind = &Kind { messages: &[(2, &Kind { messages: &[(1, TYPE)], texts: &[] })], texts: &[] };
const TYPE: &Kind = &Kind { messages: &[(2, &Kind { messages: &[(1, LEAF)], texts: &[] })], texts: &[] };
const FUNCTION: &Kind = &Kind { messages: &[(7, NODE), (11, ATTRIBUTE)], texts: &[4, 5] };

fn walk(
    bytes: &[u8],
    kind: &Kind,
    each: &mut dyn FnMut() -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let field = Field::next(&mut rest).filter(|field| !field.is_cut_short);
        let field = field.ok_or_else(|| FormatError::malformed("the file is damaged or cut short"))?;
        if field.wire_type != WireType::LengthDelimited {
            continue;
        }
        if let Some((_, inner)) = kind.messages.iter().find(|(tag, _)| *tag == field.tag) {
            each()?;
            walk(field.bytes, inner, each)?;
        } else if kind.texts.contains(&field.tag) {
            each()?;
        }
    }
    Ok(())
}

struct Field<'a> {
    tag: u32,
    wire_type: WireType,
    /// Of a number.
    value: u64,
    /// Of everything else.
    bytes: &'a [u8],
    /// The bytes end before the field does.
    is_cut_short: bool,
}

impl<'a> Field<'a> {
    /// Takes a field off the beginning; none where there is no valid one.
    fn next(rest: &mut &'a [u8]) -> Option<Field<'a>> {
        let (tag, wire_type) = decode_key(rest).ok()?;
        let mut field = Field { tag, wire_type, value: 0, bytes: &[], is_cut_short: false };
        let length = match wire_type {
            WireType::Varint => {
                field.value = decode_varint(rest).ok()?;
                return Some(field);
            }
            WireType::ThirtyTwoBit => 4,
            WireType::SixtyFourBit => 8,
            WireType::LengthDelimited => usize::try_from(decode_varint(rest).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        field.is_cut_short = length > rest.len();
        (field.bytes, *rest) = rest.split_at(length.min(rest.len()));
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_from_other_files() {
        // ir_version 10, producer_name "pytorch".
        let model = b"\x08\x0a\x12\x07pytorch";
        assert!(is_onnx(model));
        assert!(is_onnx(b"\x08\x07\x3a\xff\xff\x7f\x0a"), "the graph is longer than what was read");
        for other in [
            &b""[..],
            b"{\"class_name\": 1}",
            b"PK\x03\x04",
            b"\x89HDF\r\n\x1a\n",
            b"\x80\x02\x8a",
            b"\x08\x00\x00\x00\x00\x00\x00\x00{}",
            b"\x08\x0a",
            b"\x12\x07pytorch",
            b"\x08\x0a\x12\x07pytorch\x48\x01",
        ] {
            assert!(!is_onnx(other), "{other:?}");
        }
    }

    #[test]
    fn a_million_nodes_in_two_megabytes() {
        let limits = Limits { nodes: 1000, ..Limits::default() };
        let graph = [0x0a, 0x00].repeat(20_000);
        let mut bytes = vec![0x3a];
        prost::encoding::encode_varint(graph.len() as u64, &mut bytes);
        bytes.extend(&graph);
        let e = check(&bytes, &limits).unwrap_err();
        assert_eq!(e.to_string(), "the number of messages and texts is 16001, more than the limit of 16000");
        assert!(check(&bytes, &Limits::default()).is_ok());
        let e = check(&bytes[..30], &limits).unwrap_err();
        assert_eq!(e.to_string(), "the file is damaged or cut short");
    }
}
