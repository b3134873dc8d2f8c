//! A folder of shards, opened for random access.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::chain_record::ChainRecord;
use super::files::sha256_of;
use super::manifest::{Manifest, ShardEntry};
use super::record::MoleculeRecord;
use super::schema::Kind;
use super::shard::Shard;
use crate::bio::FoldClasses;
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
        let open = |(name, entries): (&String, &Vec<ShardEntry>)| {
            Ok((name.clone(), Split::open(dir, manifest.kind, name, entries)?))
        };
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

    /// What its samples are.
    pub fn kind(&self) -> Kind {
        self.manifest.kind
    }

    /// The fold classes that its chains have, in the numbering that networks know them by; `None` where no chain has
    /// a label.
    pub fn fold_classes(&self) -> Option<&FoldClasses> {
        self.manifest.fold_classes.as_ref()
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

/// The samples of one split, by index: molecules or chains. Cheap to clone; reading from several threads is fine.
#[derive(Clone, Debug)]
pub struct Split(Arc<Shards>);

#[derive(Debug)]
struct Shards {
    name: String,
    kind: Kind,
    shards: Vec<Shard>,
    /// Index of each shard's first sample, and the end.
    starts: Vec<usize>,
    max_points: usize,
}

impl Split {
    fn open(dir: &Path, kind: Kind, name: &str, entries: &[ShardEntry]) -> Result<Self> {
        let shards: Vec<Shard> =
            entries.iter().map(|e| Shard::open(&dir.join(&e.file), kind, e.samples)).collect::<Result<_>>()?;
        let mut starts = vec![0];
        for entry in entries {
            starts.push(starts[starts.len() - 1] + entry.samples);
        }
        let max_points = entries.iter().map(|e| e.max_points).max().unwrap_or(0);
        Ok(Split(Arc::new(Shards { name: name.into(), kind, shards, starts, max_points })))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What its samples are.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.0.starts[self.0.shards.len()]
    }

    /// Whether it has no samples.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Points of the largest sample, as the manifest states.
    pub fn max_points(&self) -> usize {
        self.0.max_points
    }

    /// Number of points of sample `i`, without reading the rest of it.
    ///
    /// # Errors
    /// [`Error::Data`] when `i` is out of range or the shard is damaged there.
    pub fn num_points(&self, i: usize) -> Result<usize> {
        let (shard, row) = self.locate(i)?;
        shard.num_points(row)
    }

    /// Tells the name of each sample's cluster, in order; empty where it has none.
    ///
    /// # Errors
    /// [`Error::Data`] when a shard is damaged.
    pub(super) fn for_each_cluster(&self, mut tell: impl FnMut(&str)) -> Result<()> {
        self.0.shards.iter().try_for_each(|shard| shard.for_each_cluster(&mut tell))
    }

    /// Molecule `i`.
    ///
    /// # Errors
    /// [`Error::Data`] when `i` is out of range, the record is damaged (names the file and the record), or the samples
    /// are no molecules.
    pub fn molecule(&self, i: usize) -> Result<MoleculeRecord> {
        self.expect(Kind::Molecules)?;
        let (shard, row) = self.locate(i)?;
        let (batch, row_in_batch) = shard.batch_of(row)?;
        MoleculeRecord::new(batch, row_in_batch, format!("{}: record {row}", shard.path().display()))
    }

    /// Chain `i`.
    ///
    /// # Errors
    /// [`Error::Data`] when `i` is out of range, the record is damaged (names the file and the record), or the samples
    /// are no chains.
    pub fn chain(&self, i: usize) -> Result<ChainRecord> {
        self.expect(Kind::Chains)?;
        let (shard, row) = self.locate(i)?;
        let (batch, row_in_batch) = shard.batch_of(row)?;
        ChainRecord::new(batch, row_in_batch, format!("{}: record {row}", shard.path().display()))
    }

    fn expect(&self, kind: Kind) -> Result<()> {
        match self.kind() == kind {
            true => Ok(()),
            false => {
                let (name, found, expected) = (self.name(), self.kind().name(), kind.name());
                Err(Error::Data(format!("split {name} holds {found}, expected {expected}")))
            }
        }
    }

    fn locate(&self, i: usize) -> Result<(&Shard, usize)> {
        if i >= self.len() {
            let what = format!("split {}: no sample {i}, it has {}", self.name(), self.len());
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
