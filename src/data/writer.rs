//! Writes a data set.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use arrow_ipc::writer::FileWriter;
use arrow_schema::ArrowError;
use tempfile::TempDir;

use super::files::{parent_of, sha256_of, sync};
use super::manifest::{MANIFEST, Manifest, ShardEntry};
use super::rows::Row;
use super::schema::{ROWS_PER_BATCH, SCHEMA_VERSION};
use crate::bio::FoldClasses;
use crate::{Error, Result};

/// Rows of a shard; a multiple of [`ROWS_PER_BATCH`].
const ROWS_PER_SHARD: usize = 1024;

/// Where a data set comes from: the parts of the manifest that do not follow from the rows.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// The fold classes of chains, where some have a label.
    pub fold_classes: Option<FoldClasses>,
    /// How many molecules, conformers or chains of each split were left out, by reason.
    pub dropped: BTreeMap<String, BTreeMap<String, u64>>,
    /// What the data set was made from.
    pub source: serde_json::Value,
    /// How it was made.
    pub created: serde_json::Value,
}

/// Writes a data set into a temporary folder beside its destination, which [`DatasetWriter::finish`] renames
/// into place; dropped before, it leaves nothing behind.
pub struct DatasetWriter<R: Row> {
    out: PathBuf,
    name: String,
    folder: TempDir,
    open: BTreeMap<String, OpenShard<R>>,
    splits: BTreeMap<String, Vec<ShardEntry>>,
    summary: R::Summary,
}

/// A shard being written.
struct OpenShard<R> {
    path: PathBuf,
    writer: FileWriter<BufWriter<File>>,
    waiting: Vec<R>,
    entry: ShardEntry,
}

impl<R: Row> DatasetWriter<R> {
    /// Begins a data set that will stand at `out`.
    ///
    /// # Errors
    /// [`Error::Config`] when there is something at `out` already.
    pub fn create(out: &Path, name: &str) -> Result<Self> {
        refuse_existing(out)?;
        let parent = parent_of(out);
        std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(".qsd-data-").permissions(Permissions::from_mode(0o777));
        let folder = builder.tempdir_in(parent).map_err(Error::io(parent))?;
        Ok(DatasetWriter {
            out: out.to_path_buf(),
            name: name.to_string(),
            folder,
            open: BTreeMap::new(),
            splits: BTreeMap::new(),
            summary: R::Summary::default(),
        })
    }

    /// The folder that is being filled, for files beside the shards.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Appends a row to a split.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses, [`Error::Data`] when the rows of a batch have more values than the form can
    /// count.
    ///
    /// # Panics
    /// If the lengths of the row's parts do not fit together.
    pub fn push(&mut self, split: &str, row: R) -> Result<()> {
        row.assert_fits();
        row.note(&mut self.summary);
        let shard = match self.open.remove(split) {
            Some(shard) => shard,
            None => self.begin_shard(split)?,
        };
        let shard = shard.push(row)?;
        if shard.entry.samples == ROWS_PER_SHARD {
            self.splits.entry(split.to_string()).or_default().push(shard.finish()?);
        } else {
            self.open.insert(split.to_string(), shard);
        }
        Ok(())
    }

    /// Finishes the shards, writes the manifest, and renames the folder to its destination. Everything is on
    /// disk before the name is there.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses; [`Error::Config`] when something appeared at the destination.
    pub fn finish(mut self, provenance: Provenance) -> Result<Manifest> {
        for (split, shard) in std::mem::take(&mut self.open) {
            self.splits.entry(split).or_default().push(shard.finish()?);
        }
        let manifest = self.manifest(provenance);
        let path = self.folder().join(MANIFEST);
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::io(&path)(e.into()))?;
        std::fs::write(&path, text).map_err(Error::io(&path))?;
        sync(&path)?;
        sync(self.folder())?;
        refuse_existing(&self.out)?;
        std::fs::rename(self.folder(), &self.out).map_err(Error::io(&self.out))?;
        let _ = self.folder.keep(); // renamed: nothing is left to delete
        sync(parent_of(&self.out))?;
        Ok(manifest)
    }

    fn manifest(&mut self, provenance: Provenance) -> Manifest {
        let mut manifest = Manifest {
            schema_version: SCHEMA_VERSION,
            kind: R::KIND,
            name: self.name.clone(),
            units: R::UNITS.iter().map(|(column, unit)| (column.to_string(), unit.to_string())).collect(),
            rows_per_batch: ROWS_PER_BATCH,
            bond_orders: Vec::new(),
            features: Vec::new(),
            elements: Vec::new(),
            fold_classes: provenance.fold_classes,
            splits: std::mem::take(&mut self.splits),
            dropped: provenance.dropped,
            source: provenance.source,
            created: provenance.created,
        };
        R::describe(std::mem::take(&mut self.summary), &mut manifest);
        manifest
    }

    fn begin_shard(&self, split: &str) -> Result<OpenShard<R>> {
        let number = self.splits.get(split).map_or(0, Vec::len);
        let file = format!("{split}-{number:05}.arrow");
        let path = self.folder().join(&file);
        let created = File::create_new(&path).map_err(Error::io(&path))?;
        let writer = FileWriter::try_new_buffered(created, R::KIND.schema()).map_err(arrow_error(&path))?;
        let entry =
            ShardEntry { file, samples: 0, conformers: 0, points: 0, max_points: 0, bytes: 0, sha256: String::new() };
        Ok(OpenShard { path, writer, waiting: Vec::new(), entry })
    }
}

impl<R: Row> OpenShard<R> {
    fn push(mut self, row: R) -> Result<Self> {
        let points = row.num_points();
        self.entry.samples += 1;
        self.entry.conformers += row.num_conformers() as u64;
        self.entry.points += points as u64;
        self.entry.max_points = self.entry.max_points.max(points);
        self.waiting.push(row);
        if self.waiting.len() == ROWS_PER_BATCH {
            self.write_batch()?;
        }
        Ok(self)
    }

    fn write_batch(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        check_lengths(rows.iter().map(Row::longest_column)).map_err(|what| {
            let (first, kind) = (rows[0].key(), R::KIND.name());
            Error::Data(format!("{}: {what} in {} {kind} from {first:?} on", self.path.display(), rows.len()))
        })?;
        let batch = R::record_batch(&rows).map_err(arrow_error(&self.path))?;
        self.writer.write(&batch).map_err(arrow_error(&self.path))
    }

    fn finish(mut self) -> Result<ShardEntry> {
        if !self.waiting.is_empty() {
            self.write_batch()?;
        }
        self.writer.finish().map_err(arrow_error(&self.path))?;
        drop(self.writer);
        sync(&self.path)?;
        self.entry.bytes = std::fs::metadata(&self.path).map_err(Error::io(&self.path))?.len();
        self.entry.sha256 = sha256_of(&self.path)?;
        Ok(self.entry)
    }
}

/// Refuses rows whose values the columns' offsets, 32-bit numbers, cannot count.
fn check_lengths(lengths: impl Iterator<Item = usize>) -> Result<(), String> {
    let values = lengths.fold(0, usize::saturating_add);
    match i32::try_from(values) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(format!("{values} coordinates or other values are more than {}; keep fewer conformers", i32::MAX))
        }
    }
}

fn arrow_error(path: &Path) -> impl FnOnce(ArrowError) -> Error {
    let path = path.to_path_buf();
    move |error| Error::io(path)(std::io::Error::other(error))
}

fn refuse_existing(out: &Path) -> Result<()> {
    match out.symlink_metadata() {
        Ok(_) => Err(Error::Config(format!("{}: exists already; refusing to overwrite it", out.display()))),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_would_overflow_are_refused() {
        check_lengths([i32::MAX as usize - 1, 1].into_iter()).unwrap();
        assert!(check_lengths([i32::MAX as usize, 1].into_iter()).unwrap_err().contains("fewer conformers"));
        check_lengths([usize::MAX, 2].into_iter()).unwrap_err();
    }
}
