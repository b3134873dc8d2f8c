//! A folder of shards, opened for random access.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::files::sha256_of;
use super::manifest::{Manifest, ShardEntry};
use super::record::MoleculeRecord;
use super::shard::Shard;
use crate::{Error, Result};

/// A data set: a folder with a manifest and the shards it lists.
#[derive(Clone, Debug)]
pub struct Dataset {
    manifest: Arc<Manifest>,
    hash: String,
    splits: BTreeMap<String, Split>,
}

impl Dataset {
    /// Opens the data set in `dir`. Shards are mapped, not read; with `verify` each is read once and compared
    /// with the manifest's checksum.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file that is missing, of another size or checksum, or no shard.
    pub fn open(dir: &Path, verify: bool) -> Result<Self> {
        let manifest = Manifest::read(dir)?;
        let entries: Vec<&ShardEntry> = manifest.splits.values().flatten().collect();
        entries.par_iter().try_for_each(|entry| check_file(dir, entry, verify))?;
        let open = |(name, entries): (&String, &Vec<ShardEntry>)| Ok((name.clone(), Split::open(dir, name, entries)?));
        let splits = manifest.splits.iter().map(open).collect::<Result<_>>()?;
        Ok(Dataset { hash: manifest.hash(), manifest: Arc::new(manifest), splits })
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The hash of the data (see [`Manifest::hash`]), which checkpoints carry.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The split of this name.
    ///
    /// # Errors
    /// [`Error::Data`] listing the splits there are.
    pub fn split(&self, name: &str) -> Result<Split> {
        self.splits.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.splits.keys().map(String::as_str).collect();
            Error::Data(format!("data set {}: no split {name:?}; it has {}", self.manifest.name, known.join(", ")))
        })
    }
}

/// The molecules of one split, by index. Cheap to clone; reading from several threads is fine.
#[derive(Clone, Debug)]
pub struct Split(Arc<Shards>);

#[derive(Debug)]
struct Shards {
    name: String,
    shards: Vec<Shard>,
    /// Index of each shard's first molecule, and the end.
    starts: Vec<usize>,
    max_atoms: usize,
}

impl Split {
    fn open(dir: &Path, name: &str, entries: &[ShardEntry]) -> Result<Self> {
        let shards: Vec<Shard> =
            entries.iter().map(|e| Shard::open(&dir.join(&e.file), e.molecules)).collect::<Result<_>>()?;
        let mut starts = vec![0];
        for entry in entries {
            starts.push(starts[starts.len() - 1] + entry.molecules);
        }
        let max_atoms = entries.iter().map(|e| e.max_atoms).max().unwrap_or(0);
        Ok(Split(Arc::new(Shards { name: name.into(), shards, starts, max_atoms })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Number of molecules.
    pub fn len(&self) -> usize {
        self.0.starts[self.0.shards.len()]
    }

    /// Whether it has no molecules.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Atoms of the largest molecule, as the manifest states.
    pub fn max_atoms(&self) -> usize {
        self.0.max_atoms
    }

    /// Number of atoms of molecule `i`, without reading the rest of it.
    ///
    /// # Errors
    /// [`Error::Data`] when `i` is out of range or the shard is damaged there.
    pub fn num_atoms(&self, i: usize) -> Result<usize> {
        let (shard, row) = self.locate(i)?;
        shard.num_atoms(row)
    }

    /// Molecule `i`.
    ///
    /// # Errors
    /// [`Error::Data`] when `i` is out of range or the record is damaged; names the file and the record.
    pub fn molecule(&self, i: usize) -> Result<MoleculeRecord> {
        let (shard, row) = self.locate(i)?;
        let (batch, row_in_batch) = shard.batch_of(row)?;
        MoleculeRecord::new(batch, row_in_batch, format!("{}: record {row}", shard.path().display()))
    }

    fn locate(&self, i: usize) -> Result<(&Shard, usize)> {
        if i >= self.len() {
            let what = format!("split {}: no molecule {i}, it has {}", self.name(), self.len());
            return Err(Error::Data(what));
        }
        let shard = self.0.starts.partition_point(|&start| start <= i) - 1;
        Ok((&self.0.shards[shard], i - self.0.starts[shard]))
    }
}

/// Compares a shard's size and, with `checksum`, its content with what the manifest says.
fn check_file(dir: &Path, entry: &ShardEntry, checksum: bool) -> Result<()> {
    let path = dir.join(&entry.file);
    let damaged = |what: String| Error::Data(format!("{}: {what}", path.display()));
    let size = std::fs::metadata(&path).map_err(|e| damaged(format!("listed in the manifest, but: {e}")))?.len();
    if size != entry.bytes {
        return Err(damaged(format!("{size} bytes, the manifest says {}: truncated or replaced", entry.bytes)));
    }
    if checksum {
        let found = sha256_of(&path)?;
        if found != entry.sha256 {
            return Err(damaged(format!("SHA-256 {found}, the manifest says {}: damaged or replaced", entry.sha256)));
        }
    }
    Ok(())
}
