//! The folder of results: what is in it under a final name is whole, and named by a hash of all that it depends on.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::command::Template;
use crate::files::{FolderLock, hex};
use crate::geometry::Point;
use crate::{Error, Result};

/// Where running invocations have their folders; hidden, so that nobody takes what is in it for results.
const INVOCATIONS: &str = ".invocations";
/// As many digits of a hash make a name: 96 bits.
const DIGITS: usize = 24;

/// The folder `--out`, held by this process.
#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// Folders of outputs of invocations that were running when an earlier run was killed.
    leftovers: Vec<PathBuf>,
    _lock: FolderLock,
}

impl Store {
    /// Makes the folder if need be, and holds it; `steps` are the names of the folders of kept files.
    ///
    /// # Errors
    /// [`Error::Config`] when another run holds it, [`Error::Io`].
    pub fn open(path: &Path, steps: [&str; 2]) -> Result<Self> {
        let lock = FolderLock::acquire(path, "name another --out")?;
        // The commands get paths that hold wherever they go.
        let root = path.canonicalize().map_err(Error::io(path))?;
        let mut store = Store { root, leftovers: Vec::new(), _lock: lock };
        for name in steps.map(folder_name).into_iter().chain(["logs", INVOCATIONS]) {
            let folder = store.root.join(name);
            fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        }
        let invocations = store.root.join(INVOCATIONS);
        let entries = fs::read_dir(&invocations).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        store.leftovers = entries.map_err(Error::io(&invocations))?.iter().map(|e| e.path().join("outputs")).collect();
        Ok(store)
    }

    /// Its path, without links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a step's kept files.
    pub fn folder(&self, step: &str) -> PathBuf {
        self.root.join(folder_name(step))
    }

    /// What invocations of an earlier run left.
    pub fn leftovers(&self) -> &[PathBuf] {
        &self.leftovers
    }

    /// Removes it, once what is whole in it is kept. What a command made so that it cannot be removed stays.
    pub fn clear_leftovers(&mut self) {
        for outputs in std::mem::take(&mut self.leftovers) {
            let _ = fs::remove_dir_all(outputs.parent().unwrap_or(&outputs));
        }
    }

    /// A new folder for an invocation, which goes when it is dropped.
    pub fn scratch(&self, step: &str) -> Result<TempDir> {
        let folder = self.root.join(INVOCATIONS);
        tempfile::Builder::new().prefix(&format!("{step}-")).tempdir_in(&folder).map_err(Error::io(&folder))
    }

    /// The log of the invocation whose first item has this key.
    pub fn log(&self, step: &str, key: &str) -> PathBuf {
        self.root.join("logs").join(format!("{step}-{key}.log"))
    }

    /// A path below the folder, without it.
    pub fn relative(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

/// What the files of a step are called together.
fn folder_name(step: &str) -> &str {
    match step {
        "inverse-folding" => "sequences",
        _ => "structures",
    }
}

/// The name of a backbone's sequences: what they depend on.
pub(super) fn sequences_key(positions: &[Point], template: &Template, num: usize, seed: u64) -> String {
    let mut hash = Sha256::new();
    add(&mut hash, b"qsd sequences 1");
    add(&mut hash, template.text().as_bytes());
    add(&mut hash, format!("num {num} seed {seed}").as_bytes());
    let coordinates: Vec<u8> = positions.iter().flatten().flat_map(|x| x.to_le_bytes()).collect();
    add(&mut hash, &coordinates);
    digits(hash)
}

/// The name of a sequence's structure.
pub(super) fn structure_key(sequence: &str, template: &Template, seed: u64) -> String {
    let mut hash = Sha256::new();
    add(&mut hash, b"qsd structure 1");
    add(&mut hash, template.text().as_bytes());
    add(&mut hash, format!("seed {seed}").as_bytes());
    add(&mut hash, sequence.as_bytes());
    digits(hash)
}

/// Adds a part with its length, so that no two lists of parts look alike.
fn add(hash: &mut Sha256, part: &[u8]) {
    hash.update((part.len() as u64).to_le_bytes());
    hash.update(part);
}

fn digits(hash: Sha256) -> String {
    let mut digits = hex(&hash.finalize());
    digits.truncate(DIGITS);
    digits
}
