//! Changes to files: of bytes, and of what is inside the shell of a format, so that they get past checksums and lengths.

use std::io::{Cursor, Read, Write};

use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::bytes::{NUMBERS, Random, change_bytes};

/// One to four changes; `other` is another file of the kind, to take pieces from.
pub(crate) fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(4) {
        let inside = if random.below(3) > 0 { inside(&bytes, other, random) } else { None };
        match inside {
            Some(changed) => bytes = changed,
            None => change_bytes(&mut bytes, other, random),
        }
    }
    bytes
}

/// A change of what the format's shell holds; `None` where the bytes are in no shell.
fn inside(bytes: &[u8], other: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    if bytes.starts_with(b"PK") {
        return archive(bytes, other, random);
    }
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    if first == Some(&b'{')
        && let Ok(mut value) = serde_json::from_slice(bytes)
    {
        change_json(&mut value, random);
        return Some(value.to_string().into_bytes());
    }
    header(bytes, random).or_else(|| message(bytes, random, 0))
}

/// An entry of a zip archive changed, all checksums right.
fn archive(bytes: &[u8], other: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let changed = random.below(zip.len());
    let mut made = ZipWriter::new(Cursor::new(Vec::new()));
    for i in 0..zip.len() {
        let mut entry = zip.by_index(i).ok()?;
        let name = entry.name().ok()?.into_owned();
        let mut content = Vec::new();
        (&mut entry).take(1 << 24).read_to_end(&mut content).ok()?;
        if i == changed {
            match random.below(8) {
                0 => continue,
                1..=4 if !content.starts_with(b"PK") => {
                    content = inside(&content, other, random).unwrap_or_else(|| {
                        change_bytes(&mut content, other, random);
                        content.clone()
                    });
                }
                _ => change_bytes(&mut content, other, random),
            }
        }
        let method =
            random.pick(&[CompressionMethod::Stored, CompressionMethod::Stored, CompressionMethod::Deflated]);
        made.start_file(name, SimpleFileOptions::default().compression_method(method)).ok()?;
        made.write_all(&content).ok()?;
    }
    Some(made.finish().ok()?.into_inner())
}

/// The JSON header of a safetensors file changed, its length right.
fn header(bytes: &[u8], random: &mut Random) -> Option<Vec<u8>> {
    let (len, rest) = bytes.split_first_chunk::<8>()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok().filter(|&len| len <= rest.len())?;
    let mut value = serde_json::from_slice(&rest[..len]).ok()?;
    change_json(&mut value, random);
    let text = value.to_string();
    Some([&(text.len() as u64).to_le_bytes(), text.as_bytes(), &rest[len..]].concat())
}

/// One value somewhere in a tree is another.
fn change_json(root: &mut Value, random: &mut Random) {
    let mut value = root;
    loop {
        let n = match &*value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        };
        // Deeper, most of the time.
        if n == 0 || random.below(9) == 0 {
            break;
        }
        let at = random.below(n);
        value = match value {
            Value::Array(list) => &mut list[at],
            Value::Object(map) => map.values_mut().nth(at).expect("there are as many"),
            _ => unreachable!("`n` is 0"),
        };
    }
    match value {
        Value::Array(list) if !list.is_empty() && random.below(2) == 0 => {
            let one = list[random.below(list.len())].clone();
            list.push(one);
        }
        Value::Object(map) if !map.is_empty() && random.below(2) == 0 => {
            let key = map.keys().nth(random.below(map.len())).expect("there are as many").clone();
            map.remove(&key);
        }
        value => {
            *value = random.pick(&[
                json!(null),
                json!(0),
                json!(1),
                json!(-1),
                json!(2),
                json!(3),
                json!(7),
                json!(1_u64 << 32),
                json!(u64::MAX),
                json!(i64::MIN),
                json!(1e300),
                json!(0.5),
                json!(""),
                json!("same"),
                json!("causal"),
                json!("channels_first"),
                json!("softmax"),
                json!("F64"),
                json!([]),
                json!([1, 2]),
                json!([0, 0]),
                json!([[1, 0], [0, 1]]),
                json!({}),
                json!(true),
                json!(false),
            ]);
        }
    }
}

/// Operators of ONNX, to put in the place of one another.
const OPERATORS: &str = "Abs Add And AveragePool BatchNormalization Cast Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose \
    DepthToSpace Div Dropout Elu Equal Erf Exp Expand Flatten Gather Gelu Gemm GlobalAveragePool GlobalMaxPool \
    GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LRN LayerNormalization LeakyRelu Less Log LogSoftmax \
    MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not PRelu Pad Pow Range Reciprocal ReduceL1 ReduceL2 \
    ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize \
    Selu Shape Sigmoid Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tanh \
    ThresholdedRelu Tile Transpose Unsqueeze Upsample Where axes axis pads perm kernel_shape strides mode";

/// A field of a protocol buffer.
#[derive(Clone)]
enum Field {
    Number(u64),
    Fixed(Vec<u8>),
    Bytes(Vec<u8>),
}

/// A field of a protocol buffer changed, deep inside most of the time, all lengths right; `None` where it is none.
fn message(bytes: &[u8], random: &mut Random, depth: usize) -> Option<Vec<u8>> {
    let mut fields = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let fixed = |rest: &mut &[u8], n: usize| {
            let (field, after) = rest.split_at_checked(n)?;
            *rest = after;
            Some(field.to_vec())
        };
        let field = match key & 7 {
            0 => Field::Number(varint(&mut rest)?),
            1 => Field::Fixed(fixed(&mut rest, 8)?),
            5 => Field::Fixed(fixed(&mut rest, 4)?),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                Field::Bytes(fixed(&mut rest, len)?)
            }
            _ => return None,
        };
        fields.push((key, field));
    }
    if fields.is_empty() || depth > 8 {
        return None;
    }
    let at = random.below(fields.len());
    let deeper = match &fields[at].1 {
        Field::Bytes(inner) if random.below(6) > 0 => message(inner, random, depth + 1),
        _ => None,
    };
    match deeper {
        Some(inner) => fields[at].1 = Field::Bytes(inner),
        None => match random.below(8) {
            0 => drop(fields.remove(at)),
            1 => fields.push(fields[at].clone()),
            2 => {
                let with = random.below(fields.len());
                fields.swap(at, with);
            }
            3 => {
                // The same tag with what another field holds, where it can.
                let with = random.below(fields.len());
                if fields[at].0 & 7 == fields[with].0 & 7 {
                    fields[at].1 = fields[with].1.clone();
                }
            }
            _ => match &mut fields[at].1 {
                Field::Number(n) => *n = random.pick(&NUMBERS),
                Field::Fixed(bytes) => bytes.fill(random.pick(&[0, 1, 0x3f, 0x7f, 0x80, 0xff])),
                Field::Bytes(text) if text.len() < 20 && random.below(3) > 0 => {
                    let words: Vec<&str> = OPERATORS.split_whitespace().collect();
                    *text = random.pick(&words).as_bytes().to_vec();
                }
                Field::Bytes(bytes) => change_bytes(bytes, &[], random),
            },
        },
    }
    let mut made = Vec::new();
    for (key, field) in fields {
        put_varint(key, &mut made);
        match field {
            Field::Number(n) => put_varint(n, &mut made),
            Field::Fixed(bytes) => made.extend(bytes),
            Field::Bytes(bytes) => {
                put_varint(bytes.len() as u64, &mut made);
                made.extend(bytes);
            }
        }
    }
    Some(made)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn put_varint(mut value: u64, to: &mut Vec<u8>) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}
