//! NumPy arrays: `.npy` (NEP 1, versions 1 to 3) and `.npz`, read and written.
//!
//! The header is parsed by hand, against the rule that a format is left to a well-kept crate: every such crate reaches
//! `pest` 2.9 or later, whose stack guard compiles C, and Binesh builds without a C compiler.
//!
//! Values become f32 in C order whatever the file holds: f16, f32, f64, booleans and integers, little-endian, either order.

mod write;

use half::f16;

use crate::Limits;
use crate::archive::Archive;
use crate::error::FormatError;

pub use write::{NpzEntry, NpzWriter, write_npy};

const MAGIC: &[u8] = b"\x93NUMPY";

/// A dense array in C order (the last index runs fastest).
#[derive(Clone, Debug, PartialEq)]
pub struct NpyArray {
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// As many values as the product of the extents.
    pub data: Vec<f32>,
}

/// Whether `bytes` begin as a `.npy` file does.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Reads one `.npy` file.
pub fn read_npy(bytes: &[u8], limits: &Limits) -> Result<NpyArray, FormatError> {
    let (header, body) = split(bytes)?;
    let header = Header::parse(header)?;
    let elements = header
        .shape
        .iter()
        .try_fold(1u64, |n, &d| n.checked_mul(d as u64))
        .ok_or_else(|| FormatError::malformed(format!("array shape {:?} overflows", header.shape)))?;
    Limits::check("the number of array elements", elements, limits.tensor_elements)?;
    let kind = Kind::parse(&header.descr)?;
    // `elements` is at most `limits.tensor_elements` and an element is at most 8 bytes.
    let want = elements.saturating_mul(kind.size() as u64);
    if (body.len() as u64) < want {
        return Err(FormatError::malformed(format!(
            "the array's data ends after {} bytes, its shape {:?} needs {want}",
            body.len(),
            header.shape
        )));
    }
    let data = kind.decode(&body[..want as usize]);
    let data = if header.fortran { to_c_order(&header.shape, &data) } else { data };
    Ok(NpyArray { shape: header.shape, data })
}

/// An opened `.npz` file; arrays are read when asked for.
#[derive(Debug)]
pub struct Npz<'a> {
    archive: Archive<'a>,
    limits: Limits,
}

impl<'a> Npz<'a> {
    /// Reads the archive's directory.
    pub fn open(bytes: &'a [u8], limits: &Limits) -> Result<Self, FormatError> {
        Ok(Self { archive: Archive::open(bytes, limits)?, limits: limits.clone() })
    }

    /// The arrays' names in the file's order, without `.npy`.
    pub fn names(&self) -> Vec<String> {
        let strip = |name: String| name.strip_suffix(".npy").map(str::to_owned);
        self.archive.names().into_iter().filter_map(strip).collect()
    }

    /// One array by its name, without `.npy`.
    pub fn read(&mut self, name: &str) -> Result<NpyArray, FormatError> {
        let entry = format!("{name}.npy");
        if !self.archive.contains(&entry) {
            return Err(FormatError::malformed(format!("the file has no array `{name}`")));
        }
        let bytes = self.archive.read(&entry, self.limits.file_bytes)?;
        read_npy(&bytes, &self.limits).map_err(|e| e.in_file(&entry))
    }
}

/// Header text and data of a `.npy` file.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), FormatError> {
    let short = || FormatError::malformed("the array's header is cut short");
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| FormatError::malformed("not a NumPy array: it does not begin with `\\x93NUMPY`"))?;
    let (version, rest) = rest.split_at_checked(2).ok_or_else(short)?;
    let (len, rest) = match version[0] {
        1 => {
            let (len, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
            (u64::from(u16::from_le_bytes(*len)), rest)
        }
        2 | 3 => {
            let (len, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            (u64::from(u32::from_le_bytes(*len)), rest)
        }
        v => {
            return Err(FormatError::unsupported(format!("NumPy array format version {v} is not supported")));
        }
    };
    if len > rest.len() as u64 {
        return Err(short());
    }
    Ok(rest.split_at(len as usize))
}

/// The Python dictionary at the head of a `.npy` file.
#[derive(Debug, PartialEq)]
struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &[u8]) -> Result<Self, FormatError> {
        let bad = |why: &str| {
            FormatError::malformed(format!("the array's header is not a NumPy dictionary: {why}"))
        };
        let text = std::str::from_utf8(text).map_err(|_| bad("not UTF-8"))?;
        let mut p = Literal { rest: text };
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        p.expect('{').ok_or_else(|| bad("no `{`"))?;
        while !p.eat('}') {
            let key = p.string().ok_or_else(|| bad("a key is not a string"))?;
            p.expect(':').ok_or_else(|| bad("no `:` after a key"))?;
            match key {
                "descr" => match p.string() {
                    Some(s) => descr = Some(s.to_owned()),
                    None => return Err(FormatError::unsupported("arrays of records are not supported")),
                },
                "fortran_order" => {
                    fortran = Some(p.boolean().ok_or_else(|| bad("`fortran_order` is no boolean"))?)
                }
                "shape" => {
                    shape = Some(p.tuple().ok_or_else(|| bad("`shape` is no tuple of whole numbers"))?)
                }
                _ => return Err(bad("an unknown key")),
            }
            if !p.eat(',') && !p.rest.trim_start().starts_with('}') {
                return Err(bad("no `,` or `}` after a value"));
            }
        }
        match (descr, fortran, shape) {
            (Some(descr), Some(fortran), Some(shape)) => Ok(Self { descr, fortran, shape }),
            _ => Err(bad("one of `descr`, `fortran_order`, `shape` is missing")),
        }
    }
}

/// The few Python literals that NumPy writes.
struct Literal<'a> {
    rest: &'a str,
}

impl<'a> Literal<'a> {
    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, c: char) -> Option<()> {
        self.eat(c).then_some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = rest[1..].split_once(quote)?;
        self.rest = rest;
        Some(text)
    }

    fn boolean(&mut self) -> Option<bool> {
        let rest = self.rest.trim_start();
        let (value, rest) = match (rest.strip_prefix("True"), rest.strip_prefix("False")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return None,
        };
        self.rest = rest;
        Some(value)
    }

    /// `(3, 4)`, `(3,)`, `()`; Python 2 wrote `3L`.
    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut dims = Vec::new();
        self.expect('(')?;
        while !self.eat(')') {
            let rest = self.rest.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            dims.push(rest[..end].parse().ok()?);
            self.rest = rest[end..].trim_start_matches('L');
            if !self.eat(',') && !self.rest.trim_start().starts_with(')') {
                return None;
            }
        }
        Some(dims)
    }
}

/// Element types that become f32.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    F16,
    F32,
    F64,
    Bool,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

impl Kind {
    fn parse(descr: &str) -> Result<Self, FormatError> {
        Ok(match descr {
            "<f2" => Self::F16,
            "<f4" => Self::F32,
            "<f8" => Self::F64,
            "|b1" => Self::Bool,
            "|i1" => Self::I8,
            "<i2" => Self::I16,
            "<i4" => Self::I32,
            "<i8" => Self::I64,
            "|u1" => Self::U8,
            "<u2" => Self::U16,
            "<u4" => Self::U32,
            "<u8" => Self::U64,
            _ => {
                let error = format!("array element type `{descr}` is not supported");
                return Err(FormatError::unsupported(error).with_hint("save it as `x.astype('float32')`"));
            }
        })
    }

    fn size(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::F16 | Self::I16 | Self::U16 => 2,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }

    /// Values rounded to the nearest f32: exact for f16, f32, and whole numbers up to 2^24.
    fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => values(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Self::F32 => values(bytes, f32::from_le_bytes),
            Self::F64 => values(bytes, |b| f64::from_le_bytes(b) as f32),
            Self::Bool => values(bytes, |[b]| f32::from(u8::from(b != 0))),
            Self::I8 => values(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Self::I16 => values(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Self::I32 => values(bytes, |b| i32::from_le_bytes(b) as f32),
            Self::I64 => values(bytes, |b| i64::from_le_bytes(b) as f32),
            Self::U8 => values(bytes, |[b]| f32::from(b)),
            Self::U16 => values(bytes, |b| f32::from(u16::from_le_bytes(b))),
            Self::U32 => values(bytes, |b| u32::from_le_bytes(b) as f32),
            Self::U64 => values(bytes, |b| u64::from_le_bytes(b) as f32),
        }
    }
}

fn values<const SIZE: usize>(bytes: &[u8], f: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<SIZE>().0.iter().map(|b| f(*b)).collect()
}

/// Column-major values to row-major ones.
fn to_c_order(shape: &[usize], fortran: &[f32]) -> Vec<f32> {
    let mut strides = Vec::with_capacity(shape.len());
    let mut stride = 1;
    for &dim in shape {
        strides.push(stride);
        stride *= dim;
    }
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    let mut out = Vec::with_capacity(fortran.len());
    for _ in 0..fortran.len() {
        out.push(fortran[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn npy(descr: &str, order: &str, shape: &str, body: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n");
        let mut bytes = [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes()].concat();
        bytes.extend_from_slice(body);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<NpyArray, FormatError> {
        read_npy(bytes, &Limits::default())
    }

    /// The bytes of `numpy.save` (NumPy 2) for `np.arange(3, dtype=np.float32)`.
    #[test]
    fn writes_the_very_bytes_of_numpy() {
        let mut ours = Vec::new();
        write_npy(&mut ours, &[3], &[0., 1., 2.]).unwrap();
        let mut numpy =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }".to_vec();
        numpy.extend(std::iter::repeat_n(b' ', 60));
        numpy.push(b'\n');
        numpy.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40]);
        assert_eq!(ours, numpy);
    }

    #[test]
    fn a_scalar_and_an_empty_array_survive() {
        for (shape, data) in [(vec![], vec![2.5]), (vec![2, 0, 3], vec![])] {
            let mut bytes = Vec::new();
            write_npy(&mut bytes, &shape, &data).unwrap();
            assert_eq!(read(&bytes).unwrap(), NpyArray { shape, data });
        }
    }

    #[test]
    fn every_element_type_becomes_f32() {
        let cases: [(&str, &[u8], [f32; 2]); 12] = [
            ("<f2", &[0x00, 0x3c, 0x00, 0xc1], [1.0, -2.5]),
            ("<f4", &[0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc0], [1.0, -2.5]),
            ("<f8", &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0x04, 0xc0], [1.0, -2.5]),
            ("|b1", &[1, 0], [1.0, 0.0]),
            ("|i1", &[1, 0xfe], [1.0, -2.0]),
            ("|u1", &[1, 0xfe], [1.0, 254.0]),
            ("<i2", &[1, 0, 0xfe, 0xff], [1.0, -2.0]),
            ("<u2", &[1, 0, 0xfe, 0xff], [1.0, 65534.0]),
            ("<i4", &[1, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff], [1.0, -2.0]),
            ("<u4", &[1, 0, 0, 0, 0, 0, 1, 0], [1.0, 65536.0]),
            ("<i8", &[1, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [1.0, -2.0]),
            ("<u8", &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0], [1.0, 65536.0]),
        ];
        for (descr, body, want) in cases {
            let got = read(&npy(descr, "False", "(2,)", body)).unwrap();
            assert_eq!(got, NpyArray { shape: vec![2], data: want.to_vec() }, "{descr}");
        }
    }

    #[test]
    fn fortran_order_is_turned_into_c_order() {
        // numpy: np.asfortranarray(np.arange(24).reshape(2, 3, 4)) stores 0 12 4 16 8 20 1 13 ...
        let stored: Vec<u8> =
            (0..4).flat_map(|k| (0..3).flat_map(move |j| (0..2).map(move |i| i * 12 + j * 4 + k))).collect();
        assert_eq!(stored[..8], [0, 12, 4, 16, 8, 20, 1, 13]);
        let got = read(&npy("|u1", "True", "(2, 3, 4)", &stored)).unwrap();
        assert_eq!(got.data, (0..24).map(|v| v as f32).collect::<Vec<_>>());
    }

    #[test]
    fn version_2_and_python_2_headers_read() {
        let header = "{'shape': (2L,), 'fortran_order': False, 'descr': \"|u1\"}";
        let bytes =
            [MAGIC, &[2, 0], &(header.len() as u32).to_le_bytes(), header.as_bytes(), &[5, 6]].concat();
        assert_eq!(read(&bytes).unwrap().data, [5., 6.]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (b"PK\x03\x04".to_vec(), "not a NumPy array: it does not begin with `\\x93NUMPY`"),
            (npy(">f4", "False", "(1,)", &[0; 4]), "array element type `>f4` is not supported"),
            (npy("<U9", "False", "(1,)", &[0; 36]), "array element type `<U9` is not supported"),
            (
                npy("<f4", "False", "(2,)", &[0; 7]),
                "the array's data ends after 7 bytes, its shape [2] needs 8",
            ),
            (
                npy("<f4", "Maybe", "(2,)", &[]),
                "the array's header is not a NumPy dictionary: `fortran_order` is no boolean",
            ),
            (
                npy("<f4", "False", "(-2,)", &[]),
                "the array's header is not a NumPy dictionary: `shape` is no tuple of whole numbers",
            ),
            (
                npy("<f4", "False", "(4294967296, 4294967296)", &[]),
                "array shape [4294967296, 4294967296] overflows",
            ),
            (
                npy("<f4", "False", "(4294967296,)", &[]),
                "the number of array elements is 4294967296, more than the limit of 536870912",
            ),
        ];
        for (bytes, want) in cases {
            assert_eq!(read(&bytes).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn no_prefix_and_no_flipped_byte_panics() {
        let whole = npy("<f4", "True", "(2, 3)", &[9; 24]);
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                let _ = read(&bytes);
            }
        }
    }

    /// The bytes of `numpy.save` (NumPy 2) for `np.array([1, -2])` and `np.array(["a", "\u0634\u0628", "\U0001f408"])`.
    #[test]
    fn writes_whole_numbers_and_texts_as_numpy() {
        let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
        npz.add_integers("n", &[1, -2]).unwrap();
        npz.add_texts("t", &["a", "\u{634}\u{628}", "\u{1f408}"].map(str::to_owned)).unwrap();
        npz.add_texts("none", &[]).unwrap();
        let bytes = npz.finish().unwrap().into_inner();
        let mut archive = Archive::open(&bytes, &Limits::default()).unwrap();
        let mut check = |name: &str, head: &str, body: &[u8]| {
            let mut numpy = [MAGIC, &[1, 0, 118, 0], head.as_bytes()].concat();
            numpy.resize(127, b' ');
            numpy.push(b'\n');
            numpy.extend_from_slice(body);
            assert_eq!(*archive.read(name, 1 << 20).unwrap(), numpy, "{name}");
        };
        let body = [[1, 0, 0, 0, 0, 0, 0, 0], [0xfe, 255, 255, 255, 255, 255, 255, 255]].concat();
        check("n.npy", "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", &body);
        let body = [[0x61, 0, 0, 0, 0, 0, 0, 0], [0x34, 6, 0, 0, 0x28, 6, 0, 0], [8, 0xf4, 1, 0, 0, 0, 0, 0]]
            .concat();
        check("t.npy", "{'descr': '<U2', 'fortran_order': False, 'shape': (3,), }", &body);
        check("none.npy", "{'descr': '<U1', 'fortran_order': False, 'shape': (0,), }", &[]);
    }

    #[test]
    fn npz_holds_arrays_under_names_with_slashes() {
        let mut npz = NpzWriter::new(Cursor::new(Vec::new()));
        npz.add("vgg16/block5_conv3", &[1, 2], &[3., 4.]).unwrap();
        let mut pieces = npz.begin("x", &[1, 3]).unwrap();
        pieces.push(&[5.]).unwrap();
        pieces.push(&[6., 7.]).unwrap();
        pieces.finish();
        let bytes = npz.finish().unwrap().into_inner();
        let mut npz = Npz::open(&bytes, &Limits::default()).unwrap();
        assert_eq!(npz.names(), ["vgg16/block5_conv3", "x"]);
        assert_eq!(
            npz.read("vgg16/block5_conv3").unwrap(),
            NpyArray { shape: vec![1, 2], data: vec![3., 4.] }
        );
        assert_eq!(npz.read("x").unwrap(), NpyArray { shape: vec![1, 3], data: vec![5., 6., 7.] });
        assert_eq!(npz.read("y").unwrap_err().to_string(), "the file has no array `y`");
    }
}
