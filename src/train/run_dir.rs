//! The folder of a run: one run at a time, and what it was made from beside its results.

use std::fs::Permissions;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Error, Result};

/// A run's folder, held by this process.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Locked while the run lives; the system releases it however the process ends.
    _lock: File,
}

/// `run.json`: what the results beside it were made from.
#[derive(Clone, Debug, Serialize)]
pub struct Provenance {
    /// Version of qsd.
    pub version: &'static str,
    /// The git commit that the program was built from, where it was built from a checkout.
    pub commit: Option<&'static str>,
    /// Number of processes of the latest start.
    pub world_size: usize,
    /// Hash of the training data.
    pub data_sha256: String,
    /// Hash of what is learnt (see [`super::Config::identity`]).
    pub config_sha256: String,
    /// Number of trainable scalars.
    pub parameters: usize,
}

impl RunDir {
    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// [`Error::Config`] when another run holds it, or when `fresh` is set and it already has checkpoints.
    pub fn open(path: &Path, fresh: bool) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io(path))?;
        let lock = Self::lock(path)?;
        let run = RunDir { path: path.to_path_buf(), _lock: lock };
        if fresh && run.checkpoints().exists() {
            return Err(Error::Config(format!(
                "{}: --fresh would mix a new run with the one that is there; name another run.dir or remove this folder",
                path.display()
            )));
        }
        Ok(run)
    }

    fn lock(path: &Path) -> Result<File> {
        let name = path.join("lock");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).open(&name).map_err(Error::io(&name))?;
        if let Err(refused) = file.try_lock() {
            if let TryLockError::Error(error) = refused {
                return Err(Error::io(&name)(error));
            }
            let mut holder = String::new();
            let _ = (&file).take(200).read_to_string(&mut holder);
            return Err(Error::Config(format!(
                "{}: another run works in this folder ({}); wait for it, or name another run.dir",
                path.display(),
                holder.trim()
            )));
        }
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let note = format!("host {} pid {}\n", host.trim(), std::process::id());
        file.set_len(0).and_then(|()| file.write_all(note.as_bytes())).map_err(Error::io(&name))?;
        Ok(file)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoints' folder.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Writes the resolved configuration and where the run comes from.
    pub fn describe(&self, config: &str, provenance: &Provenance) -> Result<()> {
        self.write("config.yaml", config)?;
        let provenance = serde_json::to_string_pretty(provenance).unwrap_or_default();
        self.write("run.json", &(provenance + "\n"))
    }

    /// Replaces a file whole.
    pub fn write(&self, name: &str, content: &str) -> Result<()> {
        let path = self.path.join(name);
        // Readable as any new file is, not for the owner alone as temporary files are.
        let permissions = Permissions::from_mode(0o666);
        let file = tempfile::Builder::new().permissions(permissions).tempfile_in(&self.path);
        let mut file = file.map_err(Error::io(&path))?;
        file.write_all(content.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(Error::io(&path))?;
        file.persist(&path).map_err(|e| Error::io(&path)(e.error))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = RunDir::open(folder.path(), false).unwrap();
        let refused = RunDir::open(folder.path(), false).unwrap_err().to_string();
        assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
        drop(first);
        RunDir::open(folder.path(), false).unwrap();
    }

    #[test]
    fn fresh_never_mixes_with_an_older_run() {
        let folder = tempfile::tempdir().unwrap();
        drop(RunDir::open(folder.path(), true).unwrap());
        fs::create_dir(folder.path().join("checkpoints")).unwrap();
        assert!(matches!(RunDir::open(folder.path(), true), Err(Error::Config(_))));
    }
}
