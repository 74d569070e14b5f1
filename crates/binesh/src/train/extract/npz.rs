//! Features as a `.npz` file.

use std::io::{BufWriter, Error, Write};
use std::ops::ControlFlow;
use std::path::Path;

use binesh_formats::FormatError;
use binesh_formats::npy::NpzWriter;

use super::Extraction;
use crate::render::write_file_with;
use crate::train::error::TrainError;
use crate::train::event::Progress;

pub(super) fn write(
    extraction: &mut Extraction<'_>,
    path: &Path,
    events: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<(), TrainError> {
    let failed = |error: FormatError| TrainError::File { path: path.to_owned(), source: Error::other(error) };
    write_file_with(path, |file| {
        let collection = extraction.collection;
        let mut npz = NpzWriter::new(BufWriter::new(file));
        let mut shape = vec![collection.photos.len()];
        shape.extend(extraction.row());
        let mut features = npz.begin("features", &shape).map_err(failed)?;
        extraction.each(events, |_, rows| features.push(rows).map_err(failed))?;
        features.finish();
        let label = |label: Option<usize>| label.map_or(-1, |label| label as i64);
        let labels: Vec<i64> = collection.photos.iter().map(|photo| label(photo.label)).collect();
        let paths: Vec<String> =
            collection.photos.iter().map(|photo| photo.path.display().to_string()).collect();
        npz.add_integers("labels", &labels).map_err(failed)?;
        npz.add_texts("paths", &paths).map_err(failed)?;
        npz.add_texts("classes", &collection.classes).map_err(failed)?;
        npz.finish().map_err(failed)?.flush().map_err(TrainError::file(path))
    })
}
