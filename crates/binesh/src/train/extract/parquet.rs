//! Features as a Parquet file.

use std::fs::File;
use std::io::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, FloatType};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

use super::Extraction;
use crate::data::Photo;
use crate::render::write_file_with;
use crate::train::error::TrainError;
use crate::train::event::Progress;

/// Values of a row group: 8 MB of features.
const GROUP: usize = 2 << 20;

/// The list as the format's own document wants it ("LogicalTypes.md", Lists), so that every reader sees one column.
const SCHEMA: &str = "message photos {
    required binary path (UTF8);
    optional binary label (UTF8);
    required group features (LIST) { repeated group list { required float element; } }
}";

pub(super) fn write(
    extraction: &mut Extraction<'_>,
    path: &Path,
    events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    let failed = |error: ParquetError| TrainError::File { path: path.to_owned(), source: plain(error) };
    write_file_with(path, |file| {
        let schema = Arc::new(parse_message_type(SCHEMA).expect("the schema is a constant"));
        // Features hardly ever repeat: a dictionary of them would only cost time.
        let column = ColumnPath::new(["features", "list", "element"].map(str::to_owned).into());
        let properties = WriterProperties::builder().set_column_dictionary_enabled(column, false).build();
        let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(failed)?;
        let width = extraction.row().iter().product::<usize>();
        let classes = &extraction.collection.classes;
        let mut group = Group { width, ..Group::default() };
        extraction.each(events, |photos, rows| {
            group.push(photos, classes, rows);
            if group.features.len() < GROUP {
                return Ok(());
            }
            group.write(&mut writer).map_err(failed)
        })?;
        if !group.paths.is_empty() {
            group.write(&mut writer).map_err(failed)?;
        }
        writer.close().map_err(failed)?;
        Ok(())
    })
}

/// The system's answer, without what the crate puts before it.
fn plain(error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => Error::other(source),
        },
        error => Error::other(error),
    }
}

/// Rows to be written together.
#[derive(Default)]
struct Group {
    width: usize,
    paths: Vec<ByteArray>,
    /// Of the photos that have one.
    labels: Vec<ByteArray>,
    /// 1 for each photo that has a label.
    labelled: Vec<i16>,
    features: Vec<f32>,
}

impl Group {
    fn push(&mut self, photos: &[Photo], classes: &[String], rows: &[f32]) {
        for photo in photos {
            self.paths.push(ByteArray::from(photo.path.display().to_string().into_bytes()));
            self.labels.extend(photo.label.map(|label| ByteArray::from(classes[label].as_str())));
            self.labelled.push(photo.label.is_some().into());
        }
        self.features.extend(rows);
    }

    /// Writes the rows and forgets them.
    fn write(&mut self, to: &mut SerializedFileWriter<&mut File>) -> Result<(), ParquetError> {
        let missing = || ParquetError::General("the schema has three columns".to_owned());
        let mut rows = to.next_row_group()?;
        let mut column = rows.next_column()?.ok_or_else(missing)?;
        column.typed::<ByteArrayType>().write_batch(&self.paths, None, None)?;
        column.close()?;
        let mut column = rows.next_column()?.ok_or_else(missing)?;
        column.typed::<ByteArrayType>().write_batch(&self.labels, Some(&self.labelled), None)?;
        column.close()?;
        let mut column = rows.next_column()?.ok_or_else(missing)?;
        // Every value is there; the first of each photo begins a list, the others go on with it.
        let defined = vec![1; self.features.len()];
        let repeated: Vec<i16> = (0..self.features.len()).map(|at| (at % self.width != 0).into()).collect();
        column.typed::<FloatType>().write_batch(&self.features, Some(&defined), Some(&repeated))?;
        column.close()?;
        rows.close()?;
        *self = Group { width: self.width, ..Group::default() };
        Ok(())
    }
}
