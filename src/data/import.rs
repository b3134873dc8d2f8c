//! Makes a data set of structure files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use rand::Rng;
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::dataset::sha256_of;
use super::manifest::Manifest;
use super::schema::{bond_code, chirality_code};
use super::writer::{DatasetWriter, NewMolecule, Provenance};
use crate::chem::stereo::assign_from_positions;
use crate::chem::{Molecule, Record, matching, sdf, smiles, xyz};
use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// Records read before they are worked on together, by all cores.
const CHUNK: usize = 4096;
/// The share of bad records is judged from this many records on, and at the end.
const JUDGED_FROM: usize = 1000;
/// A line of a SMILES file is no longer.
const MAX_LINE: u64 = 1 << 20;
/// The file in the data set's folder that lists the records left out.
const QUARANTINE: &str = "quarantine.jsonl";

/// Where the structures are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An SDF: graph and positions.
    Sdf(PathBuf),
    /// Frames of positions; each frame's graph is the SMILES in its comment, or, with a SMILES file, in the
    /// line of the same number there.
    Xyz {
        /// The frames.
        xyz: PathBuf,
        /// One SMILES a line; what follows a blank is passed over.
        smiles: Option<PathBuf>,
    },
}

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The folder to create.
    pub out: PathBuf,
    /// The data set's name.
    pub name: String,
    /// Probability of `train`, `val`, `test`; their sum is 1.
    pub fractions: [f64; 3],
    /// Seed of the split.
    pub seed: u64,
    /// The largest share of records that may be bad.
    pub max_bad: f64,
    /// The command, for the manifest.
    pub command: String,
}

/// What came of an import.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The data set's manifest.
    pub manifest: Manifest,
    /// Records read.
    pub records: usize,
    /// Records left out; the data set's `quarantine.jsonl` lists them.
    pub bad: usize,
}

/// A line of `quarantine.jsonl`.
#[derive(Debug, Serialize)]
struct Fault {
    file: PathBuf,
    record: usize,
    cause: String,
}

/// A record with its graph.
struct Structure {
    key: String,
    molecule: Molecule,
    positions: Vec<[f64; 3]>,
}

/// Reads structure files and writes the data set. Consecutive records of the same graph (atoms in the same
/// order, the same handedness) become conformers of one molecule, of equal weight. The split of a molecule is
/// drawn by the seed and its graph, so equal molecules are never on both sides.
///
/// # Errors
/// [`Error::Data`] when the share of bad records exceeds the limit, [`Error::Config`] when the options make no
/// sense or the folder exists, [`Error::Io`] when the operating system refuses.
pub fn import(sources: &[Source], options: &ImportOptions) -> Result<Imported> {
    check(options)?;
    let mut import = Import::new(options)?;
    for source in sources {
        import.read(source)?;
    }
    import.finish(sources)
}

fn check(options: &ImportOptions) -> Result<()> {
    let ok = |fraction: &f64| (0.0..=1.0).contains(fraction);
    if !options.fractions.iter().all(ok) || (options.fractions.iter().sum::<f64>() - 1.0).abs() > 1e-9 {
        return Err(Error::Config(format!("split fractions {:?}: three numbers with sum 1", options.fractions)));
    }
    if !ok(&options.max_bad) {
        return Err(Error::Config(format!("largest share of bad records {}: between 0 and 1", options.max_bad)));
    }
    Ok(())
}

/// An import under way.
struct Import<'a> {
    options: &'a ImportOptions,
    writer: DatasetWriter,
    quarantine: std::io::BufWriter<File>,
    /// The molecule whose conformers are being gathered.
    current: Option<NewMolecule>,
    records: usize,
    bad: usize,
    first_faults: Vec<String>,
}

impl<'a> Import<'a> {
    fn new(options: &'a ImportOptions) -> Result<Self> {
        let writer = DatasetWriter::create(&options.out, &options.name)?;
        let path = writer.folder().join(QUARANTINE);
        let quarantine = std::io::BufWriter::new(File::create_new(&path).map_err(Error::io(&path))?);
        Ok(Import { options, writer, quarantine, current: None, records: 0, bad: 0, first_faults: Vec::new() })
    }

    /// Reads one source chunk by chunk; the records of a chunk are worked on in parallel, taken up in order.
    fn read(&mut self, source: &Source) -> Result<()> {
        let (path, mut records) = open(source)?;
        let mut first = 0;
        loop {
            let chunk: Vec<_> = records.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            let count = chunk.len();
            let structures: Vec<_> = chunk.into_par_iter().map(structure).collect();
            for (number, structure) in (first + 1..).zip(structures) {
                self.take(path, number, structure)?;
            }
            first += count;
        }
    }

    fn take(&mut self, file: &Path, record: usize, structure: Result<Structure>) -> Result<()> {
        self.records += 1;
        match structure {
            Ok(structure) => self.add(structure, file, record)?,
            Err(Error::Data(cause)) => self.set_aside(Fault { file: file.to_path_buf(), record, cause })?,
            Err(other) => return Err(other),
        }
        if self.records >= JUDGED_FROM { self.judge() } else { Ok(()) }
    }

    /// Appends a conformer to the molecule at hand, or begins the next.
    fn add(&mut self, structure: Structure, file: &Path, record: usize) -> Result<()> {
        if self.current.as_ref().is_none_or(|current| current.molecule != structure.molecule) {
            self.flush()?;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let key = if structure.key.is_empty() { format!("{name}:{record}") } else { structure.key };
            let (weights, energies, positions) = Default::default();
            let smiles = String::new();
            self.current =
                Some(NewMolecule { key, smiles, molecule: structure.molecule, weights, energies, positions });
        }
        let current = self.current.as_mut().expect("set above");
        current.weights.push(1.0);
        current.energies.push(f32::NAN);
        current.positions.extend(structure.positions.iter().flatten().map(|&x| x as f32));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(mut molecule) = self.current.take() else { return Ok(()) };
        let weight = 1.0 / molecule.weights.len() as f32;
        molecule.weights.fill(weight);
        let split = split_of(&molecule.molecule, self.options);
        self.writer.push(split, molecule)
    }

    fn set_aside(&mut self, fault: Fault) -> Result<()> {
        self.bad += 1;
        if self.first_faults.len() < 3 {
            self.first_faults.push(format!("{} record {}: {}", fault.file.display(), fault.record, fault.cause));
        }
        let line = serde_json::to_string(&fault).map_err(std::io::Error::from);
        let written = line.and_then(|line| writeln!(self.quarantine, "{line}"));
        written.map_err(Error::io(self.writer.folder().join(QUARANTINE)))
    }

    fn judge(&self) -> Result<()> {
        if self.bad as f64 <= self.options.max_bad * self.records as f64 {
            return Ok(());
        }
        let (bad, records, limit) = (self.bad, self.records, self.options.max_bad);
        let first = self.first_faults.join("; ");
        Err(Error::Data(format!(
            "{bad} of {records} records are bad, more than a share of {limit}. The first: {first}"
        )))
    }

    fn finish(mut self, sources: &[Source]) -> Result<Imported> {
        self.flush()?;
        self.judge()?;
        if self.bad == self.records {
            return Err(Error::Data("the files hold no record".into()));
        }
        let path = self.writer.folder().join(QUARANTINE);
        let file = self.quarantine.into_inner().map_err(|e| Error::io(&path)(e.into_error()))?;
        file.sync_all().map_err(Error::io(&path))?;
        let bad = [("all files".to_string(), [("bad record".to_string(), self.bad as u64)].into())];
        let provenance = Provenance {
            dropped: if self.bad == 0 { BTreeMap::new() } else { bad.into() },
            source: describe(sources)?,
            created: serde_json::json!({
                "command": self.options.command,
                "seed": self.options.seed,
                "fractions": self.options.fractions,
                "tools": { "qsd": env!("CARGO_PKG_VERSION") },
            }),
        };
        Ok(Imported { manifest: self.writer.finish(provenance)?, records: self.records, bad: self.bad })
    }
}

/// A record as it is read: the graph may still have to be made from a SMILES.
enum Raw {
    Complete(Record),
    Frame(Record, String),
}

type Records<'a> = Box<dyn Iterator<Item = Result<Raw>> + 'a>;

/// Opens a source; also the file that its faults are reported under.
fn open(source: &Source) -> Result<(&Path, Records<'_>)> {
    match source {
        Source::Sdf(path) => {
            Ok((path, Box::new(sdf::Reader::new(buffered(path)?, path).map(|r| r.map(Raw::Complete)))))
        }
        Source::Xyz { xyz, smiles: None } => {
            let frames = xyz::Reader::new(buffered(xyz)?, xyz);
            let with_comment = |frame: Record| {
                let text = frame.name.clone();
                Raw::Frame(frame, text)
            };
            Ok((xyz, Box::new(frames.map(move |frame| frame.map(with_comment)))))
        }
        Source::Xyz { xyz, smiles: Some(list) } => {
            let frames = xyz::Reader::new(buffered(xyz)?, xyz);
            let mut lines = buffered(list)?;
            let pair = move |frame: Result<Record>| {
                let text = next_smiles(&mut lines, list)?;
                Ok(Raw::Frame(frame?, text))
            };
            Ok((xyz, Box::new(frames.map(pair))))
        }
    }
}

fn buffered(path: &Path) -> Result<BufReader<File>> {
    File::open(path).map(BufReader::new).map_err(Error::io(path))
}

/// The first word of the next line of a SMILES file.
fn next_smiles(lines: &mut BufReader<File>, path: &Path) -> Result<String> {
    let mut line = Vec::new();
    std::io::Read::take(lines, MAX_LINE).read_until(b'\n', &mut line).map_err(Error::io(path))?;
    let damaged = |what: &str| Error::Data(format!("{}: {what}", path.display()));
    if line.is_empty() {
        return Err(damaged("fewer lines than there are frames"));
    }
    let line = String::from_utf8(line).map_err(|_| damaged("a line is not UTF-8"))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_string())
}

/// Completes a record and checks that a model can use it.
fn structure(raw: Result<Raw>) -> Result<Structure> {
    let structure = match raw? {
        Raw::Complete(record) => Structure { key: record.name, molecule: record.molecule, positions: record.positions },
        Raw::Frame(frame, text) => on_graph(frame, text)?,
    };
    let (_, fragments) = structure.molecule.components();
    if fragments != 1 {
        return Err(Error::Data(format!(
            "{:?}: {fragments} fragments; expected one connected molecule",
            structure.key
        )));
    }
    Ok(structure)
}

/// Puts a frame's positions onto the graph of a SMILES.
fn on_graph(frame: Record, text: String) -> Result<Structure> {
    let mut molecule = smiles::parse(&text)?;
    let elements: Vec<u8> = frame.molecule.atoms.iter().map(|atom| atom.atomic_number).collect();
    let order = matching::match_atoms(&molecule, &elements, &frame.positions)?;
    let positions: Vec<[f64; 3]> = order.iter().map(|&i| frame.positions[i]).collect();
    if !order.iter().copied().eq(0..order.len()) {
        // The match may have exchanged atoms that only handedness tells apart.
        assign_from_positions(&mut molecule, &positions);
    }
    Ok(Structure { key: text, molecule, positions })
}

/// The split that the seed gives a graph.
fn split_of(molecule: &Molecule, options: &ImportOptions) -> &'static str {
    let mut digest = Sha256::new();
    for atom in &molecule.atoms {
        let chirality = chirality_code(atom.chirality) as u8;
        digest.update([atom.atomic_number, atom.formal_charge as u8, atom.radical_electrons, chirality]);
    }
    for bond in &molecule.bonds {
        digest.update([bond.begin.to_le_bytes(), bond.end.to_le_bytes(), [bond_code(bond.order), 0, 0, 0]].concat());
    }
    let digest = digest.finalize();
    let id = u64::from_le_bytes(std::array::from_fn(|i| digest[i]));
    let uniform = (stream(options.seed, Purpose::Order, 0, id).next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    let [train, val, _] = options.fractions;
    if uniform < train {
        "train"
    } else if uniform < train + val || options.fractions[2] == 0.0 {
        "val"
    } else {
        "test"
    }
}

/// Names and checksums of the files read.
fn describe(sources: &[Source]) -> Result<serde_json::Value> {
    let paths = sources.iter().flat_map(|source| match source {
        Source::Sdf(path) => vec![path],
        Source::Xyz { xyz, smiles } => std::iter::once(xyz).chain(smiles).collect(),
    });
    let describe = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(serde_json::json!({ "name": name, "sha256": sha256_of(path)? }))
    };
    Ok(serde_json::json!({ "files": paths.map(describe).collect::<Result<Vec<_>>>()? }))
}
