//! Files that appear whole or not at all.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::image::Picture;

/// A file that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct WriteError {
    /// The file.
    pub path: PathBuf,
    /// The system's answer.
    pub source: io::Error,
}

/// A PNG of the picture: gray, indexed when at most 256 colors occur (every grid and map), RGB otherwise. The
/// same picture gives the same bytes.
pub fn encode_png(picture: &Picture) -> Vec<u8> {
    let indexed = if picture.channels() == 3 { Indexed::new(picture.pixels()) } else { None };
    let mut bytes = Vec::new();
    let written = (|| {
        let mut encoder = png::Encoder::new(&mut bytes, picture.width() as u32, picture.height() as u32);
        encoder.set_depth(png::BitDepth::Eight);
        // On the grid of 32 channels of 148 x 148, level 1 takes a ninth of the default's time for 2 % more
        // bytes.
        encoder.set_deflate_compression(png::DeflateCompression::Level(1));
        let data = match &indexed {
            Some(indexed) => {
                encoder.set_color(png::ColorType::Indexed);
                encoder.set_palette(&indexed.palette);
                encoder.set_filter(png::Filter::NoFilter);
                &indexed.indices
            }
            None => {
                encoder.set_color(if picture.channels() == 3 {
                    png::ColorType::Rgb
                } else {
                    png::ColorType::Grayscale
                });
                picture.pixels()
            }
        };
        let mut writer = encoder.write_header()?;
        writer.write_image_data(data)?;
        writer.finish()
    })();
    written.expect("a picture has at least one pixel and memory does not refuse bytes");
    bytes
}

/// Writes the picture as PNG, whole or not at all.
pub fn write_png(path: &Path, picture: &Picture) -> Result<(), WriteError> {
    write_file(path, &encode_png(picture))
}

/// Writes a file whole or not at all: into a temporary file beside it, which is then renamed.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let failed = |source| WriteError { path: path.to_owned(), source };
    write_file_with(path, |file| file.write_all(bytes).map_err(failed))
}

/// Writes a file whole or not at all, with whatever `write` puts into it.
pub fn write_file_with<E: From<WriteError>>(
    path: &Path,
    write: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| WriteError { path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::metadata(folder).map_err(failed)?;
    match std::fs::symlink_metadata(path) {
        // What a link leads to is replaced, not the link.
        Ok(found) if found.is_symlink() && path.exists() => {
            return write_file_with(&path.canonicalize().map_err(failed)?, write);
        }
        // A device or a pipe cannot be written whole or not at all, and must not be replaced.
        Ok(found) if !found.is_file() && !found.is_dir() && !found.is_symlink() => {
            return write(&mut File::options().write(true).open(path).map_err(failed)?);
        }
        _ => {}
    }
    let mut builder = tempfile::Builder::new();
    // A temporary file is private by default; this one is to be an ordinary file, as far as the umask lets it.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder
        .prefix(".binesh-")
        .tempfile_in(folder)
        // `tempfile` adds the temporary name to the message, which means nothing to the reader.
        .map_err(|e| failed(e.kind().into()))?;
    write(file.as_file_mut())?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(())
}

struct Indexed {
    /// RGB, color after color, in order of first appearance.
    palette: Vec<u8>,
    indices: Vec<u8>,
}

impl Indexed {
    /// `None` when there are more than 256 colors.
    fn new(rgb: &[u8]) -> Option<Indexed> {
        let mut known: HashMap<[u8; 3], u8> = HashMap::new();
        let mut palette = Vec::new();
        let mut indices = Vec::with_capacity(rgb.len() / 3);
        let mut last = None;
        for &color in rgb.as_chunks::<3>().0 {
            let index = match last {
                Some((same, index)) if same == color => index,
                _ => match known.get(&color) {
                    Some(&index) => index,
                    None => {
                        let index = u8::try_from(known.len()).ok()?;
                        known.insert(color, index);
                        palette.extend(color);
                        index
                    }
                },
            };
            last = Some((color, index));
            indices.push(index);
        }
        Some(Indexed { palette, indices })
    }
}
