//! Checksums, and files that are on disk when they seem to be.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::files::hex;
use crate::{Error, Result};

/// The SHA-256 of a file in hexadecimal digits.
pub(super) fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(Error::io(path))?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk).map_err(Error::io(path))? {
            0 => return Ok(hex(&digest.finalize())),
            n => digest.update(&chunk[..n]),
        }
    }
}

/// The last part of a path, as text.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// All files below a folder, by name; hidden ones and folders behind links are passed over.
///
/// # Errors
/// [`Error::Io`] when a folder cannot be read.
pub fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(folder, &mut found)?;
    Ok(found)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(Error::io(folder))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io(entry.path()))?);
        if file_name(&path).starts_with('.') {
            continue;
        }
        // Folders behind links are passed over: a link to a folder above would never end.
        match kind.is_dir() {
            true => walk(&path, found)?,
            false if path.is_dir() => {}
            false => found.push(path),
        }
    }
    Ok(())
}

/// The folder that a path lies in.
pub(super) fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Waits until a file or folder is on disk.
pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Error::io(path))
}
