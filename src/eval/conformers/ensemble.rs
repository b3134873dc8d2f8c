//! Ensembles of conformers as files hold them.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::chem::{Molecule, Record, sdf};
use crate::data::{Dataset, Split, sha256_of};
use crate::geometry::Point;
use crate::{Error, Result};

/// Conformers of one molecule, in the order of their source.
#[derive(Clone, Debug, Default)]
pub struct Ensemble {
    /// What tells the molecule from others: its key in a data set (for GEOM the SMILES there); in an SDF the property
    /// `SMILES`, or the title where a record has none.
    pub key: String,
    /// The graphs of its conformers, each once: more than one where records list atoms in several orders, or where a
    /// conformer has reacted.
    pub graphs: Vec<Molecule>,
    /// Each conformer: the index of its graph, and its positions in Å.
    pub conformers: Vec<(usize, Vec<Point>)>,
}

impl Ensemble {
    /// Appends a conformer. Handedness is what the coordinates of a record show, so that it is no part of a graph here; that
    /// of the first conformer is kept.
    fn push(&mut self, graph: Molecule, positions: Vec<Point>) {
        let known = self.graphs.iter().position(|known| same_table(known, &graph));
        let index = known.unwrap_or_else(|| {
            self.graphs.push(graph);
            self.graphs.len() - 1
        });
        self.conformers.push((index, positions));
    }

    /// The positions of the conformers of graph `g`, and which conformers they are.
    pub fn of_graph(&self, g: usize) -> (Vec<usize>, Vec<Vec<Point>>) {
        let of_g = self.conformers.iter().enumerate().filter(|(_, (graph, _))| *graph == g);
        of_g.map(|(index, (_, positions))| (index, positions.clone())).unzip()
    }
}

/// What an SDF holds: ensembles in the order of their first records, and why records could not be read.
#[derive(Clone, Debug, Default)]
pub struct SdfEnsembles {
    /// One for each key.
    pub ensembles: Vec<Ensemble>,
    /// What is wrong with each record that was left out; names file, record and line.
    pub unreadable: Vec<String>,
}

impl SdfEnsembles {
    /// Reads an SDF whole.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Data`] when no record of it can.
    pub fn read(path: &Path) -> Result<Self> {
        let mut found = SdfEnsembles::default();
        let mut places: HashMap<String, usize> = HashMap::new();
        let reader = sdf::Reader::new(BufReader::new(File::open(path).map_err(Error::io(path))?), path);
        for (number, record) in (1..).zip(reader) {
            let record = match record {
                Ok(record) => record,
                Err(error @ Error::Io { .. }) => return Err(error),
                Err(error) => {
                    found.unreadable.push(error.one_line());
                    continue;
                }
            };
            let key = key_of(&record);
            if key.is_empty() {
                let what = "neither a title nor a property SMILES tells which molecule it is";
                found.unreadable.push(format!("{}: record {number}: {what}", path.display()));
                continue;
            }
            let place = *places.entry(key).or_insert_with_key(|key| {
                found.ensembles.push(Ensemble { key: key.clone(), ..Ensemble::default() });
                found.ensembles.len() - 1
            });
            found.ensembles[place].push(record.molecule, record.positions);
        }
        if found.ensembles.is_empty() {
            let first = found.unreadable.first().map_or(String::new(), |reason| format!("; the first: {reason}"));
            return Err(Error::Data(format!("{}: no record that can be read{first}", path.display())));
        }
        Ok(found)
    }
}

/// Whether two molecules have the same atoms and bonds in the same order, whatever their handedness.
pub(super) fn same_table(a: &Molecule, b: &Molecule) -> bool {
    let bare = |molecule: &Molecule| {
        let atoms = molecule.atoms.iter();
        atoms.map(|atom| (atom.atomic_number, atom.formal_charge, atom.radical_electrons)).collect::<Vec<_>>()
    };
    a.bonds == b.bonds && bare(a) == bare(b)
}

fn key_of(record: &Record) -> String {
    let smiles = record.properties.iter().find(|(name, _)| name.eq_ignore_ascii_case("smiles"));
    let smiles = smiles.map(|(_, value)| value.trim()).filter(|value| !value.is_empty());
    smiles.unwrap_or(record.name.trim()).to_string()
}

/// Reference ensembles.
#[derive(Clone, Debug)]
pub enum References {
    /// A split of a data set of molecules, read when asked for, and the hash of the data set.
    Dataset(Split, String),
    /// An SDF.
    Sdf(SdfEnsembles),
}

impl References {
    /// Opens a data set (a folder, of which the split counts) or an SDF.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(path: &Path, split: &str) -> Result<Self> {
        match path.is_dir() {
            true => {
                let dataset = Dataset::open(path, true)?;
                Ok(References::Dataset(dataset.split(split)?, dataset.hash().to_string()))
            }
            false => SdfEnsembles::read(path).map(References::Sdf),
        }
    }

    /// Number of molecules.
    pub fn len(&self) -> usize {
        match self {
            References::Dataset(split, _) => split.len(),
            References::Sdf(sdf) => sdf.ensembles.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What tells these references from others: the hash of the data set, or of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sha256(&self, path: &Path) -> Result<String> {
        match self {
            References::Dataset(_, hash) => Ok(hash.clone()),
            References::Sdf(_) => sha256_of(path),
        }
    }

    /// The records that could not be read.
    pub fn unreadable(&self) -> &[String] {
        match self {
            References::Dataset(..) => &[],
            References::Sdf(sdf) => &sdf.unreadable,
        }
    }

    /// The key of molecule `i`.
    ///
    /// # Errors
    /// [`Error::Data`] when the data set is damaged there.
    pub fn key(&self, i: usize) -> Result<String> {
        match self {
            References::Dataset(split, _) => Ok(split.molecule(i)?.key().to_string()),
            References::Sdf(sdf) => Ok(sdf.ensembles[i].key.clone()),
        }
    }

    /// The ensemble of molecule `i`.
    ///
    /// # Errors
    /// [`Error::Data`] when the data set is damaged there.
    pub fn ensemble(&self, i: usize) -> Result<Ensemble> {
        match self {
            References::Dataset(split, _) => {
                let record = split.molecule(i)?;
                let conformers = (0..record.num_conformers()).map(|c| Ok((0, record.conformer(c)?)));
                Ok(Ensemble {
                    key: record.key().to_string(),
                    graphs: vec![record.molecule().clone()],
                    conformers: conformers.collect::<Result<_>>()?,
                })
            }
            References::Sdf(sdf) => Ok(sdf.ensembles[i].clone()),
        }
    }
}
