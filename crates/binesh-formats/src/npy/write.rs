//! NumPy files written: version 1, little-endian, C order, as `numpy.save` and `numpy.savez` do.

use std::io::{Seek, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::MAGIC;
use crate::error::FormatError;

/// Writes one `.npy` file of `<f4`.
///
/// # Shapes
/// `data` holds as many values as the product of `shape`.
pub fn write_npy(to: &mut impl Write, shape: &[usize], data: &[f32]) -> Result<(), FormatError> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?} does not fit the data");
    header(to, "<f4", shape)?;
    values(to, data)
}

fn header(to: &mut impl Write, descr: &str, shape: &[usize]) -> Result<(), FormatError> {
    let dims: String = match shape {
        [one] => format!("{one},"),
        _ => shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    let unpadded = MAGIC.len() + 4 + header.len() + 1;
    header.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    header.push('\n');
    let len = u16::try_from(header.len())
        .map_err(|_| FormatError::unsupported(format!("an array of {} dimensions", shape.len())))?;
    to.write_all(MAGIC)?;
    to.write_all(&[1, 0])?;
    to.write_all(&len.to_le_bytes())?;
    Ok(to.write_all(header.as_bytes())?)
}

fn values(to: &mut impl Write, data: &[f32]) -> Result<(), FormatError> {
    let mut block = Vec::with_capacity(4 * data.len().min(1 << 14));
    for values in data.chunks(1 << 14) {
        block.clear();
        block.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        to.write_all(&block)?;
    }
    Ok(())
}

/// Writes a `.npz` file array by array, without compression.
#[derive(Debug)]
pub struct NpzWriter<W: Write + Seek> {
    zip: ZipWriter<W>,
}

impl<W: Write + Seek> NpzWriter<W> {
    /// Starts an empty file.
    pub fn new(to: W) -> Self {
        Self { zip: ZipWriter::new(to) }
    }

    /// Adds one array under `name`. Names are unique.
    ///
    /// # Shapes
    /// `data` holds as many values as the product of `shape`.
    pub fn add(&mut self, name: &str, shape: &[usize], data: &[f32]) -> Result<(), FormatError> {
        let mut entry = self.begin(name, shape)?;
        entry.push(data)?;
        entry.finish();
        Ok(())
    }

    /// Begins an array under `name` whose values come in pieces.
    pub fn begin(&mut self, name: &str, shape: &[usize]) -> Result<NpzEntry<'_, W>, FormatError> {
        let values = shape.iter().map(|&dim| dim as u64).product();
        self.start(name, "<f4", shape, 4 * values)?;
        Ok(NpzEntry { zip: &mut self.zip, left: values })
    }

    /// Adds a vector of whole numbers, `<i8`.
    pub fn add_integers(&mut self, name: &str, data: &[i64]) -> Result<(), FormatError> {
        self.start(name, "<i8", &[data.len()], 8 * data.len() as u64)?;
        data.chunks(1 << 13)
            .map(|values| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
            .try_for_each(|bytes| Ok(self.zip.write_all(&bytes)?))
    }

    /// Adds a vector of texts as NumPy's own (`<U9`: as many letters as the longest has), which need no `pickle`.
    pub fn add_texts(&mut self, name: &str, texts: &[String]) -> Result<(), FormatError> {
        let letters = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
        let bytes = 4 * letters as u64 * texts.len() as u64;
        self.start(name, &format!("<U{letters}"), &[texts.len()], bytes)?;
        for text in texts {
            let mut cell: Vec<u8> = text.chars().flat_map(|letter| u32::from(letter).to_le_bytes()).collect();
            cell.resize(4 * letters, 0);
            self.zip.write_all(&cell)?;
        }
        Ok(())
    }

    fn start(&mut self, name: &str, descr: &str, shape: &[usize], bytes: u64) -> Result<(), FormatError> {
        // A header is far below a mebibyte; zip needs to know in advance whether an entry may pass 4 GiB.
        let large = bytes + (1 << 20) > u64::from(u32::MAX);
        let options =
            SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(large);
        self.zip.start_file(format!("{name}.npy"), options).map_err(std::io::Error::from)?;
        header(&mut self.zip, descr, shape)
    }

    /// Writes the directory and returns what was written to.
    pub fn finish(self) -> Result<W, FormatError> {
        Ok(self.zip.finish().map_err(std::io::Error::from)?)
    }
}

/// An array being written.
#[derive(Debug)]
pub struct NpzEntry<'a, W: Write + Seek> {
    zip: &'a mut ZipWriter<W>,
    left: u64,
}

impl<W: Write + Seek> NpzEntry<'_, W> {
    /// The next values.
    ///
    /// # Panics
    /// If there are more than the shape says.
    pub fn push(&mut self, data: &[f32]) -> Result<(), FormatError> {
        let left = self.left.checked_sub(data.len() as u64);
        self.left = left.expect("no more values than the shape says");
        values(self.zip, data)
    }

    /// Ends the array.
    ///
    /// # Panics
    /// If there are fewer values than the shape says.
    pub fn finish(self) {
        assert_eq!(self.left, 0, "values are missing");
    }
}
