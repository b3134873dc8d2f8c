//! The manifest: what belongs to a checkpoint, and reading files only if they are what it says.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{EMA, MANIFEST, OPTIMIZER, STATE, WEIGHTS};
use crate::{Error, Result};

/// The version of the format that this code writes and reads.
const FORMAT: u32 = 1;
/// The longest manifest that is looked at, in bytes.
const MAX_MANIFEST: u64 = 1 << 16;
/// The longest `state.json`, in bytes.
const MAX_STATE: usize = 1 << 26;

/// The content of `manifest.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    format: u32,
    step: u64,
    files: BTreeMap<String, Entry>,
    /// SHA-256 of this manifest with an empty checksum.
    checksum: String,
}

/// What a file must be.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: u64,
    sha256: String,
}

impl Manifest {
    pub(super) fn new(step: u64, files: &[(&str, Vec<u8>)]) -> Self {
        let entry = |bytes: &Vec<u8>| Entry { bytes: bytes.len() as u64, sha256: sha256(bytes) };
        let files = files.iter().map(|(name, bytes)| (name.to_string(), entry(bytes))).collect();
        Self { format: FORMAT, step, files, checksum: String::new() }.sealed()
    }

    fn sealed(self) -> Self {
        let open = Self { checksum: String::new(), ..self };
        Self { checksum: sha256(&open.to_bytes()), ..open }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("numbers and strings always have a JSON form")
    }

    /// Accepts exactly the bytes that were written, so that no damage goes unseen.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if manifest.format != FORMAT {
            return Err(format!("format {}, but this version of qsd reads format {FORMAT}", manifest.format));
        }
        if let Some(name) =
            manifest.files.keys().find(|name| ![WEIGHTS, EMA, OPTIMIZER, STATE].contains(&name.as_str()))
        {
            return Err(format!("it lists {name:?}, which is no file of a checkpoint"));
        }
        if let Some(name) = [WEIGHTS, OPTIMIZER, STATE].iter().find(|name| !manifest.files.contains_key(**name)) {
            return Err(format!("it does not list {name}"));
        }
        let manifest = manifest.sealed();
        if manifest.to_bytes() != bytes { Err("its checksum is wrong".into()) } else { Ok(manifest) }
    }
}

/// A checkpoint folder whose manifest is in order.
pub(super) struct Stored {
    path: PathBuf,
    manifest: Manifest,
}

impl Stored {
    /// Reads and checks the manifest of the checkpoint at `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = path.join(MANIFEST);
        let mut bytes = Vec::new();
        open_regular(&file)?.take(MAX_MANIFEST + 1).read_to_end(&mut bytes).map_err(Error::io(&file))?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(damaged(&file, format!("longer than {MAX_MANIFEST} bytes")));
        }
        let manifest = Manifest::parse(&bytes).map_err(|cause| damaged(&file, cause))?;
        Ok(Self { path: path.to_path_buf(), manifest })
    }

    /// Checks every file against the manifest.
    pub(super) fn verify(&self) -> Result<()> {
        self.manifest.files.keys().try_for_each(|name| self.map(name).map(drop))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(super) fn step(&self) -> u64 {
        self.manifest.step
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.manifest.files.contains_key(name)
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The bytes of a file that the manifest lists, checked for length and checksum. They are mapped, not
    /// copied, so a file that is far too long costs no memory.
    pub(super) fn map(&self, name: &str) -> Result<Mmap> {
        let path = self.file(name);
        let entry = self.manifest.files.get(name).ok_or_else(|| damaged(&path, "not in the manifest"))?;
        let file = open_regular(&path)?;
        let found = file.metadata().map_err(Error::io(&path))?.len();
        if found != entry.bytes || found == 0 {
            return Err(damaged(&path, format!("{found} bytes, but the manifest says {}", entry.bytes)));
        }
        // SAFETY: files of a checkpoint are never written again after the rename that made them visible, only
        // unlinked, which leaves a mapping intact.
        let bytes = unsafe { Mmap::map(&file) }.map_err(Error::io(&path))?;
        let sum = sha256(&bytes);
        if sum != entry.sha256 {
            let expected = &entry.sha256;
            return Err(damaged(&path, format!("its SHA-256 is {sum}, but the manifest says {expected}")));
        }
        Ok(bytes)
    }

    /// The trainer's state.
    pub(super) fn state(&self) -> Result<serde_json::Value> {
        let (path, bytes) = (self.file(STATE), self.map(STATE)?);
        if bytes.len() > MAX_STATE {
            return Err(damaged(&path, format!("{} bytes; the most is {MAX_STATE}", bytes.len())));
        }
        serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error))
    }
}

/// Opens a plain file for reading: neither a link to elsewhere nor a pipe that would block.
fn open_regular(path: &Path) -> Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file =
        OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => damaged(path, "missing"),
            Some(libc::ELOOP) => damaged(path, "a symbolic link, which is not followed"),
            _ => Error::io(path)(error),
        })?;
    let plain = file.metadata().map_err(Error::io(path))?.is_file();
    if plain { Ok(file) } else { Err(damaged(path, "not a regular file")) }
}

/// The error of a file that is not what it should be.
pub(super) fn damaged(path: &Path, cause: impl std::fmt::Display) -> Error {
    Error::Checkpoint(format!("{}: {cause}", path.display()))
}

/// SHA-256 as lower-case hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
