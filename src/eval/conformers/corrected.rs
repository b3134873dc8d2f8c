//! The field's list of test molecules: GEOM's key of each, and the SMILES that most of its conformers have.

use std::collections::HashMap;
use std::path::Path;

use crate::chem::{Molecule, smiles};
use crate::{Error, Result};

/// A list of molecules to evaluate, with the graph that a reference conformer must have to count.
///
/// The file is a CSV with a header and the columns `smiles` (the key) and `corrected_smiles`; others are passed over. Of
/// `test_smiles_corrected.csv` of GeoMol's GEOM splits these are GEOM's key and the consensus of the conformers.
#[derive(Clone, Debug, Default)]
pub struct Corrected {
    molecules: HashMap<String, Result<Molecule, String>>,
}

impl Corrected {
    /// Reads a list.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] when a column is missing or a row damaged. A SMILES that cannot be read is reported
    /// for its molecule, by [`Self::graph`].
    pub fn read(path: &Path) -> Result<Self> {
        let place = |what: String| Error::Data(format!("{}: {what}", path.display()));
        let file = std::fs::File::open(path).map_err(Error::io(path))?;
        let mut reader = csv::Reader::from_reader(file);
        let header = reader.headers().map_err(|e| place(e.to_string()))?.clone();
        let column = |name: &str| {
            let found = header.iter().position(|column| column.trim() == name);
            found.ok_or_else(|| {
                place(format!("no column {name}; it has {}", header.iter().collect::<Vec<_>>().join(", ")))
            })
        };
        let (key, corrected) = (column("smiles")?, column("corrected_smiles")?);
        let mut molecules = HashMap::new();
        for row in reader.records() {
            let row = row.map_err(|e| place(e.to_string()))?;
            let text = &row[corrected];
            let graph = smiles::parse(text).map_err(|e| format!("corrected SMILES {text}: {}", e.one_line()));
            molecules.insert(row[key].to_string(), graph);
        }
        Ok(Corrected { molecules })
    }

    /// Whether the list names a molecule.
    pub fn contains(&self, key: &str) -> bool {
        self.molecules.contains_key(key)
    }

    /// The graph that conformers of this molecule must have; `None` when the list does not name it.
    ///
    /// # Errors
    /// Why the list's SMILES cannot be read.
    pub fn graph(&self, key: &str) -> Option<Result<&Molecule, &str>> {
        self.molecules.get(key).map(|graph| graph.as_ref().map_err(String::as_str))
    }

    /// How many molecules it names.
    pub fn len(&self) -> usize {
        self.molecules.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.molecules.is_empty()
    }
}
