//! The folder of a run: one run at a time, and what it was made from beside its results.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::files::{FolderLock, write_whole};
use crate::{Error, Result};

/// A run's folder, held by this process.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// Held while the run lives.
    _lock: FolderLock,
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
        let lock = FolderLock::acquire(path, "name another run.dir")?;
        let run = RunDir { path: path.to_path_buf(), _lock: lock };
        if fresh && run.checkpoints().exists() {
            return Err(Error::Config(format!(
                "{}: --fresh would mix a new run with the one that is there; name another run.dir or remove this folder",
                path.display()
            )));
        }
        Ok(run)
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
        write_whole(&self.path.join(name), content.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
