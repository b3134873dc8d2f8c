//! The molecules to sample.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::chem::{Molecule, Record, sdf, smiles};
use crate::train::SavedState;
use crate::{Error, Result};

/// Longest input that is read, in bytes: far beyond any list of molecules, and below what a wrong file
/// (a device, a disk image) would fill the memory with.
const MAX_BYTES: u64 = 1 << 30;

/// One molecule to sample.
#[derive(Clone, Debug)]
pub(super) struct InputMolecule {
    /// Its record's place in the file, counted from 0.
    pub index: usize,
    /// Its name in the input, or its SMILES.
    pub name: String,
    /// Its SMILES as given; empty where the input has none.
    pub smiles: String,
    /// Its graph with all hydrogens.
    pub molecule: Molecule,
}

/// What an input file holds.
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
    pub fn read(path: &Path, saved: &SavedState) -> Result<Self> {
        let Some(max_z) = saved.config.model.max_z().filter(|_| !saved.chains) else {
            return Err(Error::Checkpoint(
                "the checkpoint was trained on protein chains: give --length, not --input".into(),
            ));
        };
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
            match record.and_then(|molecule| check(&molecule, max_z).map_err(place).map(|()| molecule)) {
                Ok(molecule) => input.molecules.push(InputMolecule { index, ..molecule }),
                Err(reason) => input.skipped.push(reason.to_string()),
            }
        }
        if input.molecules.is_empty() {
            let first = input.skipped.first().map(|reason| format!("; the first: {reason}")).unwrap_or_default();
            return Err(Error::Data(format!("{}: no molecule that can be sampled{first}", path.display())));
        }
        Ok(input)
    }
}

fn read_smiles(path: &Path) -> Result<Vec<Result<InputMolecule>>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    Ok(lines.map(|(i, line)| parse_line(line.trim()).map_err(|e| at(path, i + 1, &e))).collect())
}

fn parse_line(line: &str) -> Result<InputMolecule> {
    let (text, name) = line.split_once(char::is_whitespace).unwrap_or((line, line));
    let molecule = smiles::parse(text)?;
    Ok(InputMolecule { index: 0, name: name.trim().to_string(), smiles: text.to_string(), molecule })
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
    InputMolecule { index: 0, name, smiles, molecule: record.molecule }
}

/// Refuses what no conformer can be drawn of or written: the network's tables end at `max_z`, it was trained on
/// molecules with all their hydrogens, and an SDF must be able to hold the bonds.
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
    match smiles::missing_hydrogens(&input.molecule) {
        0 => {}
        missing => return refuse(format!("{missing} hydrogens are missing; write every hydrogen as an atom")),
    }
    let (name, molecule) = (input.name.clone(), input.molecule.clone());
    let positions = vec![[0.0; 3]; atoms.len()];
    sdf::write_record(&mut std::io::sink(), &Record { name, molecule, positions, properties: Vec::new() })
}
