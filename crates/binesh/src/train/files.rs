//! Files of a run: written whole or not at all.

use std::io::Write;
use std::path::Path;

use crate::train::error::TrainError;

const PREFIX: &str = ".binesh-";

/// Writes a file beside its name and moves it there: whoever looks sees the old file or the new one, also when the
/// program is killed or the disk is full.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    write_with(path, |file| file.write_all(bytes))
}

/// [`write()`] of what `fill` puts into the file.
pub(crate) fn write_with(
    path: &Path,
    fill: impl FnOnce(&mut tempfile::NamedTempFile) -> std::io::Result<()>,
) -> Result<(), TrainError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = temporary(folder)?;
        fill(&mut file)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(TrainError::file(path))
}

/// A file in this folder that goes away unless it is given a name, readable as any other new file.
pub(crate) fn temporary(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Removes what a run that was killed left of files it was writing. Nothing depends on it.
pub(crate) fn remove_temporary(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            // Whatever it is, it does no harm there.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, TrainError> {
    std::fs::read(path).map_err(TrainError::file(path))
}

/// Makes a folder and those around it.
pub(crate) fn make_folder(path: &Path) -> Result<(), TrainError> {
    std::fs::create_dir_all(path).map_err(TrainError::file(path))
}
