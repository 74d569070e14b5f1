//! Weights that a model file keeps in files beside it. Their names come from the file, which is not trusted.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use binesh_formats::ExternalData;

/// Reads files of the folder that the model is in, and of folders in it.
pub(super) fn beside(model: &Path) -> ExternalData {
    let folder = model.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
    ExternalData::new(move |name, offset, length| read(&folder, name, offset, length))
}

fn read(folder: &Path, name: &str, offset: u64, length: u64) -> Result<Vec<u8>> {
    let path = confined(folder, name)?;
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let end = offset.checked_add(length).filter(|&end| end <= size);
    if end.is_none() {
        let text = format!("it has {size} bytes, not {length} from byte {offset} on");
        return Err(Error::new(ErrorKind::UnexpectedEof, text));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    let room = usize::try_from(length).ok().filter(|&room| bytes.try_reserve_exact(room).is_ok());
    room.ok_or_else(|| Error::new(ErrorKind::OutOfMemory, format!("there is no memory for {length} bytes")))?;
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file of this name, which is a regular one and lies in the folder, wherever links lead.
fn confined(folder: &Path, name: &str) -> Result<PathBuf> {
    let outside = || Error::new(ErrorKind::PermissionDenied, "it is not in the model's folder");
    let relative = Path::new(name);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if name.is_empty() || !plain {
        return Err(outside());
    }
    let folder = folder.canonicalize()?;
    let path = folder.join(relative).canonicalize()?;
    if !path.starts_with(&folder) {
        return Err(outside());
    }
    // A pipe or a device may have no end.
    if !path.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_of_files_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("model");
        std::fs::create_dir_all(folder.join("weights")).unwrap();
        std::fs::write(root.path().join("secret"), b"secret").unwrap();
        std::fs::write(folder.join("a.bin"), b"0123456789").unwrap();
        std::fs::write(folder.join("weights/b.bin"), b"abc").unwrap();
        assert_eq!(read(&folder, "a.bin", 2, 3).unwrap(), b"234");
        assert_eq!(read(&folder, "./weights/b.bin", 0, 3).unwrap(), b"abc");
        let refused = |name: &str| read(&folder, name, 0, 1).unwrap_err().to_string();
        let absolute = root.path().join("secret");
        for name in ["../secret", "weights/../../secret", absolute.to_str().unwrap(), "", "/etc/passwd"] {
            assert_eq!(refused(name), "it is not in the model's folder", "{name}");
        }
        assert_eq!(refused("weights"), "it is no regular file");
        let e = read(&folder, "a.bin", 8, 3).unwrap_err().to_string();
        assert_eq!(e, "it has 10 bytes, not 3 from byte 8 on");
        assert!(read(&folder, "a.bin", u64::MAX, 3).is_err());
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(root.path().join("secret"), folder.join("link")).unwrap();
            assert_eq!(refused("link"), "it is not in the model's folder");
        }
    }
}
