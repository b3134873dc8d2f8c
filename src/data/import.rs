//! Makes a data set of structure files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::files::{file_name, sha256_of};
use super::manifest::Manifest;
use super::rows::NewMolecule;
use super::splitting::{check_fractions, check_max_bad, split_of};
use super::writer::{DatasetWriter, Provenance};
use crate::chem::stereo::{assign_from_positions, check_handedness};
use crate::chem::{Molecule, Record, invariant, matching, sdf, smiles, xyz};
use crate::{Error, Result};

/// Records read before they are worked on together, by all cores.
const CHUNK: usize = 4096;
/// The share of bad records is judged from this many records on, and at the end.
const JUDGED_FROM: usize = 1000;
/// A line of a SMILES file is no longer.
const MAX_LINE: u64 = 1 << 20;
/// The file in the data set's folder that lists the records left out.
pub(super) const QUARANTINE: &str = "quarantine.jsonl";

/// Conformers kept of one molecule, the first that come. With at most [`crate::chem::MAX_ATOMS`] atoms each, a batch
/// of 64 molecules then has fewer coordinates than 32-bit offsets count.
pub const MAX_CONFORMERS: usize = 1000;

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
    /// Conformers left out as their molecules had [`MAX_CONFORMERS`] already.
    pub surplus: usize,
}

/// A line of `quarantine.jsonl`.
#[derive(Debug, Serialize)]
struct Fault {
    file: String,
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
/// order, the same handedness) become conformers of one molecule, of equal weight, up to [`MAX_CONFORMERS`]. The
/// split of a molecule is drawn by the seed and its graph alone, so that the same molecule is never on both sides,
/// however its atoms are numbered, nor are its stereoisomers.
///
/// # Errors
/// [`Error::Data`] when the share of bad records exceeds the limit, [`Error::Config`] when the options make no
/// sense or the folder exists, [`Error::Io`] when the operating system refuses.
pub fn import(sources: &[Source], options: &ImportOptions) -> Result<Imported> {
    check_fractions(&options.fractions)?;
    check_max_bad(options.max_bad)?;
    let mut import = Import::new(options)?;
    for source in sources {
        import.read(source)?;
    }
    import.finish(sources)
}

/// An import under way.
struct Import<'a> {
    options: &'a ImportOptions,
    writer: DatasetWriter<NewMolecule>,
    quarantine: std::io::BufWriter<File>,
    /// The molecule whose conformers are being gathered.
    current: Option<NewMolecule>,
    records: usize,
    bad: usize,
    surplus: usize,
    first_faults: Vec<String>,
}

impl<'a> Import<'a> {
    fn new(options: &'a ImportOptions) -> Result<Self> {
        let writer = DatasetWriter::create(&options.out, &options.name)?;
        let path = writer.folder().join(QUARANTINE);
        let quarantine = std::io::BufWriter::new(File::create_new(&path).map_err(Error::io(&path))?);
        let (current, first_faults) = (None, Vec::new());
        Ok(Import { options, writer, quarantine, current, records: 0, bad: 0, surplus: 0, first_faults })
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
            Err(Error::Data(cause)) => self.set_aside(Fault { file: file_name(file), record, cause })?,
            Err(other) => return Err(other),
        }
        if self.records >= JUDGED_FROM { self.judge() } else { Ok(()) }
    }

    /// Appends a conformer to the molecule at hand, or begins the next.
    fn add(&mut self, structure: Structure, file: &Path, record: usize) -> Result<()> {
        if self.current.as_ref().is_none_or(|current| current.molecule != structure.molecule) {
            self.flush()?;
            let name = || format!("{}:{record}", file_name(file));
            let key = if structure.key.is_empty() { name() } else { structure.key };
            let (weights, energies, positions) = Default::default();
            let smiles = String::new();
            self.current =
                Some(NewMolecule { key, smiles, molecule: structure.molecule, weights, energies, positions });
        }
        let current = self.current.as_mut().expect("set above");
        if current.weights.len() == MAX_CONFORMERS {
            self.surplus += 1;
            return Ok(());
        }
        current.weights.push(1.0);
        current.energies.push(f32::NAN);
        current.positions.extend(structure.positions.iter().flatten().map(|&x| x as f32));
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let Some(mut molecule) = self.current.take() else { return Ok(()) };
        let weight = 1.0 / molecule.weights.len() as f32;
        molecule.weights.fill(weight);
        // Neither the order of the atoms nor handedness enters.
        let split = split_of(&invariant(&molecule.molecule), self.options.seed, &self.options.fractions);
        self.writer.push(split, molecule)
    }

    fn set_aside(&mut self, fault: Fault) -> Result<()> {
        self.bad += 1;
        if self.first_faults.len() < 3 {
            self.first_faults.push(format!("{} record {}: {}", fault.file, fault.record, fault.cause));
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
        let dropped = self.dropped();
        let path = self.writer.folder().join(QUARANTINE);
        let file = self.quarantine.into_inner().map_err(|e| Error::io(&path)(e.into_error()))?;
        file.sync_all().map_err(Error::io(&path))?;
        let provenance = Provenance {
            fold_classes: None,
            dropped,
            source: describe(sources)?,
            created: serde_json::json!({
                "command": self.options.command,
                "seed": self.options.seed,
                "fractions": self.options.fractions,
                "tools": { "qsd": env!("CARGO_PKG_VERSION") },
            }),
        };
        let manifest = self.writer.finish(provenance)?;
        Ok(Imported { manifest, records: self.records, bad: self.bad, surplus: self.surplus })
    }

    /// What was left out, by reason; splits are drawn for what is kept only.
    fn dropped(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let surplus = format!("conformer beyond the first {MAX_CONFORMERS} of its molecule");
        let counts = [("bad record".to_string(), self.bad as u64), (surplus, self.surplus as u64)];
        let counts: BTreeMap<_, _> = counts.into_iter().filter(|(_, count)| *count > 0).collect();
        if counts.is_empty() { BTreeMap::new() } else { [("all files".to_string(), counts)].into() }
    }
}

/// A record as it is read: the graph may still have to be made from a SMILES.
enum Raw {
    Complete(Record),
    Frame(Record, String),
}

type Records<'a> = Box<dyn Iterator<Item = Result<Raw>> + 'a>;

/// Opens a source; also the file that its faults are reported under. Readers are told the file's name alone, so that
/// no folder's name gets into the data set with their messages.
fn open(source: &Source) -> Result<(&Path, Records<'_>)> {
    match source {
        Source::Sdf(path) => {
            let records = sdf::Reader::new(buffered(path)?, Path::new(&file_name(path)));
            Ok((path, Box::new(records.map(|record| record.map(Raw::Complete)))))
        }
        Source::Xyz { xyz, smiles: None } => {
            let frames = xyz::Reader::new(buffered(xyz)?, Path::new(&file_name(xyz)));
            let with_comment = |frame: Record| {
                let text = frame.name.clone();
                Raw::Frame(frame, text)
            };
            Ok((xyz, Box::new(frames.map(move |frame| frame.map(with_comment)))))
        }
        Source::Xyz { xyz, smiles: Some(list) } => {
            let frames = xyz::Reader::new(buffered(xyz)?, Path::new(&file_name(xyz)));
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
    let damaged = |what: &str| Error::Data(format!("{}: {what}", file_name(path)));
    if line.is_empty() {
        return Err(damaged("fewer lines than there are frames"));
    }
    let line = String::from_utf8(line).map_err(|_| damaged("a line is not UTF-8"))?;
    Ok(line.split_whitespace().next().unwrap_or_default().to_string())
}

/// Completes a record and checks that a model can use it.
fn structure(raw: Result<Raw>) -> Result<Structure> {
    let structure = match raw? {
        Raw::Complete(record) => complete(record)?,
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

/// Takes a record as it stands, if it has its hydrogens.
fn complete(record: Record) -> Result<Structure> {
    let Record { name: key, molecule, positions, .. } = record;
    match smiles::missing_hydrogens(&molecule) {
        0 => Ok(Structure { key, molecule, positions }),
        missing => Err(Error::Data(format!(
            "{key:?}: {missing} hydrogens are missing; add them with their positions (in RDKit: AddHs(mol, \
             addCoords=True)), or state the unpaired electrons in M  RAD lines"
        ))),
    }
}

/// Puts a frame's positions onto the graph of a SMILES. The handedness of its centres is that of the positions, also
/// where the SMILES leaves it open; where it does not, the two must agree.
fn on_graph(frame: Record, text: String) -> Result<Structure> {
    let mut molecule = smiles::parse(&text)?;
    let elements: Vec<u8> = frame.molecule.atoms.iter().map(|atom| atom.atomic_number).collect();
    let order = matching::match_atoms(&molecule, &elements, &frame.positions)?;
    let positions: Vec<[f64; 3]> = order.iter().map(|&i| frame.positions[i]).collect();
    let stated = molecule.clone();
    assign_from_positions(&mut molecule, &positions);
    check_handedness(&stated, &molecule).map_err(|atom| {
        let atom = atom + 1;
        Error::Data(format!("SMILES {text:?}: atom {atom} of its graph has another handedness in the positions"))
    })?;
    Ok(Structure { key: text, molecule, positions })
}

/// Names and checksums of the files read.
fn describe(sources: &[Source]) -> Result<serde_json::Value> {
    let paths = sources.iter().flat_map(|source| match source {
        Source::Sdf(path) => vec![path],
        Source::Xyz { xyz, smiles } => std::iter::once(xyz).chain(smiles).collect(),
    });
    let describe = |path: &PathBuf| Ok(serde_json::json!({ "name": file_name(path), "sha256": sha256_of(path)? }));
    Ok(serde_json::json!({ "files": paths.map(describe).collect::<Result<Vec<_>>>()? }))
}
