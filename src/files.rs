//! Files that appear whole or not at all, folders that one process holds, what lies in folders, and digits of checksums.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// A folder held by this process; the system releases it however the process ends.
#[derive(Debug)]
pub(crate) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Makes the folder if need be and locks it. `instead` is what a user may do who does not want to wait.
    ///
    /// # Errors
    /// [`Error::Config`] when another process holds it.
    pub fn acquire(folder: &Path, instead: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let name = folder.join("lock");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).open(&name).map_err(Error::io(&name))?;
        if let Err(refused) = file.try_lock() {
            if let TryLockError::Error(error) = refused {
                return Err(Error::io(&name)(error));
            }
            let mut holder = String::new();
            let _ = (&file).take(200).read_to_string(&mut holder);
            let (folder, holder) = (folder.display(), holder.trim());
            let what = format!("{folder}: another run works in this folder ({holder}); wait for it, or {instead}");
            return Err(Error::Config(what));
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let note = format!("host {} pid {}\n", host.trim(), std::process::id());
        file.set_len(0).and_then(|()| file.write_all(note.as_bytes())).map_err(Error::io(&name))?;
        Ok(FolderLock { _file: file })
    }
}

/// Writes a file, or replaces it, whole; it is on disk when this returns.
///
/// # Errors
/// [`Error::Io`] when the operating system refuses.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Readable as any new file is, not for the owner alone as temporary files are.
    let permissions = Permissions::from_mode(0o666);
    let file = tempfile::Builder::new().permissions(permissions).tempfile_in(folder);
    let mut file = file.map_err(Error::io(path))?;
    file.write_all(content).and_then(|()| file.as_file().sync_all()).map_err(Error::io(path))?;
    file.persist(path).map(drop).map_err(|e| Error::io(path)(e.error))
}

/// Refuses a file that exists, unless it may be replaced.
///
/// # Errors
/// [`Error::Config`] naming the file.
pub(crate) fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    match path.exists() && !overwrite {
        true => Err(Error::Config(format!("{} exists; give --overwrite to replace it", path.display()))),
        false => Ok(()),
    }
}

/// All files below a folder, by name; hidden ones are passed over.
pub(crate) fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(Error::io(folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io(entry.path()))?);
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
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

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
