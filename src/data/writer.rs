//! Writes a data set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, PrimitiveBuilder};
use arrow_array::types::{ArrowPrimitiveType, Float32Type, Int8Type, UInt8Type, UInt32Type};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::writer::FileWriter;
use arrow_schema::{ArrowError, Field};
use tempfile::TempDir;

use super::files::{parent_of, sha256_of, sync};
use super::manifest::{MANIFEST, Manifest, ShardEntry};
use super::schema::{BOND_ORDERS, ROWS_PER_BATCH, SCHEMA, SCHEMA_VERSION, bond_code, chirality_code};
use crate::chem::features::vocabulary;
use crate::chem::{Atom, Molecule};
use crate::{Error, Result};

/// Molecules of a shard; a multiple of [`ROWS_PER_BATCH`].
const ROWS_PER_SHARD: usize = 1024;

/// A molecule to write: `C` conformers of `N` atoms.
#[derive(Clone, Debug)]
pub struct NewMolecule {
    /// What its source calls it.
    pub key: String,
    /// SMILES with explicit hydrogens in the order of the atoms; empty when not known.
    pub smiles: String,
    /// The graph.
    pub molecule: Molecule,
    /// Boltzmann weights, `C` numbers that fall and sum to 1.
    pub weights: Vec<f32>,
    /// Energies above the lowest in kcal/mol, `C` numbers; NaN where not known.
    pub energies: Vec<f32>,
    /// Positions in Å, `3·N·C` numbers, conformer after conformer.
    pub positions: Vec<f32>,
}

/// Where a data set comes from: the parts of the manifest that do not follow from the molecules.
#[derive(Clone, Debug)]
pub struct Provenance {
    /// How many molecules or conformers of each split were left out, by reason.
    pub dropped: BTreeMap<String, BTreeMap<String, u64>>,
    /// What the data set was made from.
    pub source: serde_json::Value,
    /// How it was made.
    pub created: serde_json::Value,
}

/// Writes a data set into a temporary folder beside its destination, which [`DatasetWriter::finish`] renames
/// into place; dropped before, it leaves nothing behind.
pub struct DatasetWriter {
    out: PathBuf,
    name: String,
    folder: TempDir,
    open: BTreeMap<String, OpenShard>,
    splits: BTreeMap<String, Vec<ShardEntry>>,
    elements: BTreeSet<u8>,
}

/// A shard being written.
struct OpenShard {
    path: PathBuf,
    writer: FileWriter<BufWriter<File>>,
    waiting: Vec<NewMolecule>,
    entry: ShardEntry,
}

impl DatasetWriter {
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
            elements: BTreeSet::new(),
        })
    }

    /// The folder that is being filled, for files beside the shards.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Appends a molecule to a split.
    ///
    /// # Errors
    /// [`Error::Io`] when the disk refuses, [`Error::Data`] when the molecules of a batch have more values than the
    /// form can count.
    ///
    /// # Panics
    /// If the lengths of the molecule's parts do not fit together.
    pub fn push(&mut self, split: &str, molecule: NewMolecule) -> Result<()> {
        let (n, c) = (molecule.molecule.atoms.len(), molecule.weights.len());
        assert_eq!([molecule.energies.len(), molecule.positions.len()], [c, 3 * n * c], "{n} atoms, {c} conformers");
        self.elements.extend(molecule.molecule.atoms.iter().map(|atom| atom.atomic_number));
        let shard = match self.open.remove(split) {
            Some(shard) => shard,
            None => self.begin_shard(split)?,
        };
        let shard = shard.push(molecule)?;
        if shard.entry.molecules == ROWS_PER_SHARD {
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
        let units = [("positions", "angstrom"), ("energies", "kcal/mol")];
        Manifest {
            schema_version: SCHEMA_VERSION,
            name: self.name.clone(),
            units: units.map(|(column, unit)| (column.to_string(), unit.to_string())).into(),
            rows_per_batch: ROWS_PER_BATCH,
            bond_orders: BOND_ORDERS.map(|(name, _)| name.to_string()).to_vec(),
            features: vocabulary(),
            elements: self.elements.iter().copied().collect(),
            splits: std::mem::take(&mut self.splits),
            dropped: provenance.dropped,
            source: provenance.source,
            created: provenance.created,
        }
    }

    fn begin_shard(&self, split: &str) -> Result<OpenShard> {
        let number = self.splits.get(split).map_or(0, Vec::len);
        let file = format!("{split}-{number:05}.arrow");
        let path = self.folder().join(&file);
        let created = File::create_new(&path).map_err(Error::io(&path))?;
        let writer = FileWriter::try_new_buffered(created, &SCHEMA).map_err(arrow_error(&path))?;
        let entry =
            ShardEntry { file, molecules: 0, conformers: 0, atoms: 0, max_atoms: 0, bytes: 0, sha256: String::new() };
        Ok(OpenShard { path, writer, waiting: Vec::new(), entry })
    }
}

impl OpenShard {
    fn push(mut self, molecule: NewMolecule) -> Result<Self> {
        let atoms = molecule.molecule.atoms.len();
        self.entry.molecules += 1;
        self.entry.conformers += molecule.weights.len() as u64;
        self.entry.atoms += atoms as u64;
        self.entry.max_atoms = self.entry.max_atoms.max(atoms);
        self.waiting.push(molecule);
        if self.waiting.len() == ROWS_PER_BATCH {
            self.write_batch()?;
        }
        Ok(self)
    }

    fn write_batch(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        check_lengths(rows.iter().map(longest_column)).map_err(|what| {
            let first = rows[0].key.as_str();
            Error::Data(format!("{}: {what} in {} molecules from {first:?} on", self.path.display(), rows.len()))
        })?;
        let batch = record_batch(&rows).map_err(arrow_error(&self.path))?;
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

/// The length of a molecule's longest column.
fn longest_column(row: &NewMolecule) -> usize {
    let graph = row.molecule.atoms.len().max(2 * row.molecule.bonds.len());
    [row.key.len(), row.smiles.len(), graph, row.weights.len(), row.positions.len()].into_iter().max().unwrap_or(0)
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

/// The columns of some molecules.
fn record_batch(rows: &[NewMolecule]) -> Result<RecordBatch, ArrowError> {
    let strings = |get: fn(&NewMolecule) -> &String| Arc::new(StringArray::from_iter_values(rows.iter().map(get)));
    let of_atoms = |get: fn(&Atom) -> u8| lists::<UInt8Type>(rows, |row| row.molecule.atoms.iter().map(get).collect());
    let of_atoms_signed =
        |get: fn(&Atom) -> i8| lists::<Int8Type>(rows, |row| row.molecule.atoms.iter().map(get).collect());
    let bonds = |row: &NewMolecule| row.molecule.bonds.iter().flat_map(|bond| [bond.begin, bond.end]).collect();
    let orders = |row: &NewMolecule| row.molecule.bonds.iter().map(|bond| bond_code(bond.order)).collect();
    let columns: Vec<ArrayRef> = vec![
        strings(|row| &row.key),
        strings(|row| &row.smiles),
        of_atoms(|atom| atom.atomic_number),
        of_atoms_signed(|atom| atom.formal_charge),
        of_atoms(|atom| atom.radical_electrons),
        of_atoms_signed(|atom| chirality_code(atom.chirality)),
        lists::<UInt32Type>(rows, bonds),
        lists::<UInt8Type>(rows, orders),
        lists::<Float32Type>(rows, |row| row.weights.clone()),
        lists::<Float32Type>(rows, |row| row.energies.clone()),
        lists::<Float32Type>(rows, |row| row.positions.clone()),
    ];
    RecordBatch::try_new(SCHEMA.clone(), columns)
}

fn lists<T: ArrowPrimitiveType>(rows: &[NewMolecule], get: impl Fn(&NewMolecule) -> Vec<T::Native>) -> ArrayRef {
    let mut builder =
        ListBuilder::new(PrimitiveBuilder::<T>::new()).with_field(Field::new("item", T::DATA_TYPE, false));
    for row in rows {
        builder.values().append_slice(&get(row));
        builder.append(true);
    }
    Arc::new(builder.finish())
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
        let water = NewMolecule {
            key: "water".into(),
            smiles: String::new(),
            molecule: crate::chem::smiles::parse("O").unwrap(),
            weights: vec![0.5; 2],
            energies: vec![0.0; 2],
            positions: vec![0.0; 18],
        };
        assert_eq!(longest_column(&water), 18);
    }
}
