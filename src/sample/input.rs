//! The molecules to sample.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::Count;
use crate::chem::{Molecule, Record, sdf, smiles};
use crate::data::Split;
use crate::train::SavedState;
use crate::{Error, Result};

/// Longest input that is read, in bytes: far beyond any list of molecules, and below what a wrong file
/// (a device, a disk image) would fill the memory with.
const MAX_BYTES: u64 = 1 << 30;

/// One molecule to sample.
#[derive(Clone, Debug)]
pub(super) struct InputMolecule {
    /// Its record's place in the file or split, counted from 0.
    pub index: usize,
    /// Its name in the input, or its SMILES; of a data set the key.
    pub name: String,
    /// Its SMILES as given; empty where the input has none; of a data set the key.
    pub smiles: String,
    /// Its graph with all hydrogens.
    pub molecule: Molecule,
    /// How many conformers are drawn of it.
    pub samples: usize,
}

/// The molecules of a file or of a data set.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    pub molecules: Vec<InputMolecule>,
    /// Why records were left out.
    pub skipped: Vec<String>,
}

impl Input {
    /// Reads `.smi`/`.smiles`/`.txt` (SMILES, then a name) or `.sdf`/`.mol`, by the file's ending. Records that
    /// cannot be used are left out and listed.
    ///
    /// # Errors
    /// [`Error::Data`] when the file cannot be read or no record of it can be used; [`Error::Checkpoint`] when the
    /// checkpoint was trained on chains.
    pub fn read(path: &Path, saved: &SavedState, count: Count) -> Result<Self> {
        let max_z = max_z(saved)?;
        let size = std::fs::metadata(path).map_err(Error::io(path))?.len();
        if size > MAX_BYTES {
            return Err(Error::Data(format!("{}: {size} bytes; split inputs of more than 1 GiB", path.display())));
        }
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let records = match ending.as_str() {
            "smi" | "smiles" | "txt" => read_smiles(path)?,
            "sdf" | "mol" => read_sdf(path)?,
            _ => {
                let name = path.display();
                return Err(Error::Data(format!("{name}: unknown ending; expected .smi (SMILES, name) or .sdf")));
            }
        };
        let mut input = Input::default();
        for (index, record) in records.into_iter().enumerate() {
            let place = |what: Error| Error::Data(format!("{}: record {}: {what}", path.display(), index + 1));
            let checked = record.and_then(|molecule| {
                check_hydrogens(&molecule).and_then(|()| check(&molecule, max_z)).map_err(place).map(|()| molecule)
            });
            input.push(checked.map(|molecule| InputMolecule { index, samples: count.of(1), ..molecule }));
        }
        input.unless_empty(&path.display().to_string())
    }

    /// The first `limit` molecules of a split, known by their keys. Those that cannot be drawn are left out and listed.
    ///
    /// # Errors
    /// [`Error::Data`] when a record is damaged or none can be used; [`Error::Checkpoint`] when the checkpoint was trained
    /// on chains.
    pub fn of_split(split: &Split, limit: usize, saved: &SavedState, count: Count) -> Result<Self> {
        let max_z = max_z(saved)?;
        let mut input = Input::default();
        for index in 0..split.len().min(limit) {
            let record = split.molecule(index)?;
            let samples = count.of(record.num_conformers());
            let (key, molecule) = (record.key().to_string(), record.molecule().clone());
            let molecule = InputMolecule { index, name: key.clone(), smiles: key, molecule, samples };
            let place = |what: Error| Error::Data(format!("split {}: record {index}: {what}", split.name()));
            input.push(check(&molecule, max_z).map_err(place).map(|()| molecule));
        }
        input.unless_empty(&format!("split {}", split.name()))
    }

    fn push(&mut self, molecule: Result<InputMolecule>) {
        match molecule {
            Ok(molecule) => self.molecules.push(molecule),
            Err(reason) => self.skipped.push(reason.to_string()),
        }
    }

    fn unless_empty(self, place: &str) -> Result<Self> {
        if self.molecules.is_empty() {
            let first = self.skipped.first().map(|reason| format!("; the first: {reason}")).unwrap_or_default();
            return Err(Error::Data(format!("{place}: no molecule that can be sampled{first}")));
        }
        Ok(self)
    }
}

/// The atomic numbers that the network knows are below this.
fn max_z(saved: &SavedState) -> Result<usize> {
    saved.config.model.max_z().filter(|_| !saved.chains).ok_or_else(|| {
        Error::Checkpoint("the checkpoint was trained on protein chains: give --length, not --input".into())
    })
}

fn read_smiles(path: &Path) -> Result<Vec<Result<InputMolecule>>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    Ok(lines.map(|(i, line)| parse_line(line.trim()).map_err(|e| at(path, i + 1, &e))).collect())
}

fn parse_line(line: &str) -> Result<InputMolecule> {
    let (text, name) = line.split_once(char::is_whitespace).unwrap_or((line, line));
    let molecule = smiles::parse(text)?;
    Ok(InputMolecule { index: 0, name: name.trim().to_string(), smiles: text.to_string(), molecule, samples: 0 })
}

fn at(path: &Path, line: usize, error: &Error) -> Error {
    Error::Data(format!("{}:{line}: {error}", path.display()))
}

fn read_sdf(path: &Path) -> Result<Vec<Result<InputMolecule>>> {
    let file = File::open(path).map_err(Error::io(path))?;
    let records = sdf::Reader::new(BufReader::new(file), path);
    Ok(records.map(|record| record.map(from_record)).collect())
}

fn from_record(record: Record) -> InputMolecule {
    let smiles = record.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case("smiles"));
    let smiles = smiles.map(|(_, value)| value.trim().to_string()).unwrap_or_default();
    let name = if record.name.is_empty() { smiles.clone() } else { record.name };
    InputMolecule { index: 0, name, smiles, molecule: record.molecule, samples: 0 }
}

/// Refuses what no conformer can be drawn of or written: the network's tables end at `max_z`, and an SDF must be able to
/// hold the bonds and the name.
fn check(input: &InputMolecule, max_z: usize) -> Result<()> {
    let refuse = |what: String| Err(Error::Data(format!("{}: {what}", input.name)));
    let atoms = &input.molecule.atoms;
    if atoms.is_empty() {
        return refuse("no atoms".into());
    }
    if let Some(atom) = atoms.iter().find(|atom| usize::from(atom.atomic_number) >= max_z) {
        let number = atom.atomic_number;
        return refuse(format!("atomic number {number} is beyond what the network knows (model.max_z {max_z})"));
    }
    let (name, molecule) = (input.name.clone(), input.molecule.clone());
    let positions = vec![[0.0; 3]; atoms.len()];
    let properties = vec![("SMILES".to_string(), input.smiles.clone())];
    sdf::write_record(&mut std::io::sink(), &Record { name, molecule, positions, properties })
}

/// Refuses a molecule of a file that lacks hydrogens: networks are trained with all of them. (Those of a data set are
/// what networks are trained on.)
fn check_hydrogens(input: &InputMolecule) -> Result<()> {
    match smiles::missing_hydrogens(&input.molecule) {
        0 => Ok(()),
        missing => Err(Error::Data(format!(
            "{}: {missing} hydrogens are missing; write every hydrogen as an atom",
            input.name
        ))),
    }
}
