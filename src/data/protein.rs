//! Makes a data set of protein structure files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::files::{file_name, sha256_of};
use super::import::QUARANTINE;
use super::manifest::Manifest;
use super::rows::NewChain;
use super::splitting::{check_fractions, check_max_bad, split_of};
use super::writer::{DatasetWriter, Provenance};
use crate::bio::{self, Chain, Clusters, Entry, Filters, FoldClasses, Kind, Labels, Subject};
use crate::cli::Progress;
use crate::files::{hex, walk};
use crate::{Error, Result};

/// Files read together, by all cores.
const CHUNK: usize = 512;
/// The share of bad files is judged from this many files on, and at the end.
const JUDGED_FROM: usize = 1000;
/// A list of ids is no longer.
const MAX_LIST: u64 = 4 << 30;
/// The endings of structure files' names, without that of gzip.
const ENDINGS: [&str; 6] = [".pdb", ".ent", ".cif", ".mmcif", ".pdb1", ".pdbx"];

/// Where the structures are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProteinInputs {
    /// Files, and folders of which every file is taken, also those in folders inside; but for hidden ones.
    Paths(Vec<PathBuf>),
    /// The files in a folder that a list names, one a line, without their endings.
    Ids {
        /// The list.
        list: PathBuf,
        /// The folder; folders inside are looked into.
        folder: PathBuf,
    },
}

/// How to make a data set of proteins.
#[derive(Clone, Debug)]
pub struct ProteinOptions {
    /// The folder to create.
    pub out: PathBuf,
    /// The data set's name.
    pub name: String,
    /// The structures.
    pub inputs: ProteinInputs,
    /// Which chains are taken.
    pub filters: Filters,
    /// Tables of fold labels.
    pub labels: Vec<PathBuf>,
    /// A list of clusters.
    pub clusters: Option<PathBuf>,
    /// Probability of `train`, `val`, `test`; their sum is 1.
    pub fractions: [f64; 3],
    /// Seed of the split.
    pub seed: u64,
    /// The largest share of files that may be bad: missing, damaged or no structure files.
    pub max_bad: f64,
    /// The command, for the manifest.
    pub command: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct PreparedProteins {
    /// The data set's manifest.
    pub manifest: Manifest,
    /// Files named or found.
    pub files: usize,
    /// Files that could not be used.
    pub bad: usize,
    /// Chains found in the others.
    pub chains: usize,
    /// Chains taken.
    pub taken: usize,
}

/// A line of `quarantine.jsonl`.
#[derive(Debug, Serialize)]
struct LeftOut<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<&'a str>,
    reason: &'a str,
    detail: &'a str,
}

/// A file to read, or that could not be found.
#[derive(Clone, Debug)]
struct Input {
    /// Its name without folders.
    name: String,
    path: Option<PathBuf>,
}

impl Input {
    fn stem(&self) -> &str {
        stem(&self.name)
    }
}

/// A file that was read: its checksum, and what it holds or what is wrong with it.
struct FileRead {
    sha256: String,
    bytes: u64,
    entry: Result<Entry, String>,
}

/// Reads protein structure files, and writes a data set of the chains that pass the filters. A chain's split is drawn by
/// the seed and its cluster, so that a cluster is never on two sides; a chain without one is a cluster of its own.
///
/// # Errors
/// [`Error::Data`] when the share of bad files exceeds the limit, no chain passes, or a table is damaged;
/// [`Error::Config`] when the options make no sense or the folder exists; [`Error::Io`] when the operating system
/// refuses.
pub fn prepare_proteins(options: &ProteinOptions) -> Result<PreparedProteins> {
    check_fractions(&options.fractions)?;
    check_max_bad(options.max_bad)?;
    let writer = DatasetWriter::create(&options.out, &options.name)?;
    let inputs = find(&options.inputs)?;
    let stems: Vec<&str> = inputs.iter().map(Input::stem).collect();
    let labels = Labels::read(options.labels.iter().map(PathBuf::as_path), &stems)?;
    let clusters = options.clusters.as_deref().map(Clusters::read).transpose()?.unwrap_or_default();
    let mut work = Work::new(options, writer, labels, clusters)?;
    let mut progress = Progress::stderr(0, inputs.len() as u64, std::time::Duration::from_secs(10));
    for chunk in inputs.chunks(CHUNK) {
        let read: Vec<FileRead> = chunk.par_iter().map(|input| read(input.path.as_deref())).collect();
        for (input, read) in chunk.iter().zip(read) {
            work.take(input, read)?;
        }
        if work.files < inputs.len() {
            progress.update(work.files as u64, &format!("{} chains taken", work.taken));
        }
    }
    progress.finish(work.files as u64, &format!("{} chains taken", work.taken));
    work.finish()
}

/// Reads one file.
fn read(path: Option<&Path>) -> FileRead {
    let failed = |what: String| FileRead { sha256: String::new(), bytes: 0, entry: Err(what) };
    let Some(path) = path else { return failed("no such file in the folder".into()) };
    let content = std::fs::metadata(path).and_then(|metadata| {
        let usable = metadata.is_file() && metadata.len() <= bio::MAX_BYTES;
        if usable { std::fs::read(path).map(Some) } else { Ok(None) }
    });
    match content {
        Ok(Some(content)) => FileRead {
            sha256: hex(&Sha256::digest(&content)),
            bytes: content.len() as u64,
            entry: bio::read_bytes(&content),
        },
        Ok(None) => failed(format!("not a file of at most {} bytes", bio::MAX_BYTES)),
        Err(error) => failed(format!("cannot be read: {error}")),
    }
}

/// A data set under way.
struct Work<'a> {
    options: &'a ProteinOptions,
    writer: DatasetWriter<NewChain>,
    quarantine: BufWriter<File>,
    labels: Labels,
    clusters: Clusters,
    /// Over each file's name and checksum.
    inputs: Sha256,
    bytes: u64,
    files: usize,
    bad: usize,
    chains: usize,
    taken: usize,
    clustered: usize,
    /// Digests of the keys taken.
    keys: HashSet<u128>,
    codes: BTreeSet<String>,
    /// Files and chains left out, by reason.
    left_out: BTreeMap<String, u64>,
    /// Residues left out of the chains taken, by kind.
    residues: BTreeMap<Kind, u64>,
    first_faults: Vec<String>,
}

impl<'a> Work<'a> {
    fn new(
        options: &'a ProteinOptions,
        writer: DatasetWriter<NewChain>,
        labels: Labels,
        clusters: Clusters,
    ) -> Result<Self> {
        let path = writer.folder().join(QUARANTINE);
        let quarantine = BufWriter::new(File::create_new(&path).map_err(Error::io(&path))?);
        Ok(Work {
            options,
            writer,
            quarantine,
            labels,
            clusters,
            inputs: Sha256::new(),
            bytes: 0,
            files: 0,
            bad: 0,
            chains: 0,
            taken: 0,
            clustered: 0,
            keys: HashSet::new(),
            codes: BTreeSet::new(),
            left_out: BTreeMap::new(),
            residues: BTreeMap::new(),
            first_faults: Vec::new(),
        })
    }

    fn take(&mut self, input: &Input, read: FileRead) -> Result<()> {
        self.files += 1;
        self.bytes += read.bytes;
        self.inputs.update(format!("{} {}\n", input.name, read.sha256));
        match read.entry {
            Ok(entry) if entry.chains.is_empty() => {
                let kinds = entry.left_out.iter().map(|(kind, n)| format!("{n} × {}", kind.name()));
                self.leave_out(&input.name, None, "no protein chain", &kinds.collect::<Vec<_>>().join(", "))?;
            }
            Ok(entry) => entry.chains.iter().try_for_each(|chain| self.take_chain(input, &entry, chain))?,
            Err(what) => {
                self.bad += 1;
                if self.first_faults.len() < 3 {
                    self.first_faults.push(format!("{}: {what}", input.name));
                }
                self.leave_out(&input.name, None, "bad file", &what)?;
            }
        }
        if self.files >= JUDGED_FROM { self.judge() } else { Ok(()) }
    }

    fn take_chain(&mut self, input: &Input, entry: &Entry, chain: &Chain) -> Result<()> {
        self.chains += 1;
        if let Err(rejection) = self.options.filters.check(entry, chain) {
            return self.leave_out(&input.name, Some(&chain.id), rejection.reason(), &rejection.to_string());
        }
        let subject = Subject { stem: input.stem(), entry: &entry.id, chain: &chain.id };
        let key = subject.key();
        let digest = Sha256::digest(key.as_bytes());
        if !self.keys.insert(u128::from_le_bytes(std::array::from_fn(|i| digest[i]))) {
            return self.leave_out(&input.name, Some(&chain.id), "name taken", &format!("{key} is there already"));
        }
        let cluster = self.clusters.of(subject).unwrap_or_default().to_string();
        let folds = self.labels.of(subject);
        self.taken += 1;
        self.clustered += usize::from(!cluster.is_empty());
        self.codes.extend(folds.iter().cloned());
        for (&kind, count) in &chain.others {
            *self.residues.entry(kind).or_default() += *count as u64;
        }
        let identity = if cluster.is_empty() { &key } else { &cluster };
        let split = split_of(identity.as_bytes(), self.options.seed, &self.options.fractions);
        let row = NewChain {
            sequence: chain.sequence.clone(),
            numbers: chain.numbers.clone(),
            positions: chain.positions.iter().flatten().map(|&x| x as f32).collect(),
            b_factors: chain.b_factors.clone(),
            key,
            folds,
            cluster,
        };
        self.writer.push(split, row)
    }

    fn leave_out(&mut self, file: &str, chain: Option<&str>, reason: &str, detail: &str) -> Result<()> {
        *self.left_out.entry(reason.to_string()).or_default() += 1;
        let line = serde_json::to_string(&LeftOut { file, chain, reason, detail }).map_err(std::io::Error::from);
        let written = line.and_then(|line| writeln!(self.quarantine, "{line}"));
        written.map_err(Error::io(self.writer.folder().join(QUARANTINE)))
    }

    fn judge(&self) -> Result<()> {
        if self.bad as f64 <= self.options.max_bad * self.files as f64 {
            return Ok(());
        }
        let (bad, files, limit) = (self.bad, self.files, self.options.max_bad);
        let first = self.first_faults.join("; ");
        Err(Error::Data(format!(
            "{bad} of {files} files are bad, more than a share of {limit} (--max-bad). The first: {first}"
        )))
    }

    fn finish(self) -> Result<PreparedProteins> {
        self.judge()?;
        if self.taken == 0 {
            let reasons: Vec<String> = self.left_out.iter().map(|(reason, n)| format!("{n} × {reason}")).collect();
            let reasons = if reasons.is_empty() { "there are none".into() } else { reasons.join(", ") };
            return Err(Error::Data(format!("no chain of {} files is taken: {reasons}", self.files)));
        }
        let path = self.writer.folder().join(QUARANTINE);
        let file = self.quarantine.into_inner().map_err(|e| Error::io(&path)(e.into_error()))?;
        file.sync_all().map_err(Error::io(&path))?;
        let residues = self.residues.iter().map(|(kind, count)| (kind.name().to_string(), *count));
        let dropped = [("all files".to_string(), self.left_out), ("the chains taken".to_string(), residues.collect())];
        let options = self.options;
        let described = |path: &PathBuf| Ok(serde_json::json!({ "name": file_name(path), "sha256": sha256_of(path)? }));
        let labels = options.labels.iter().map(described).collect::<Result<Vec<_>>>()?;
        let provenance = Provenance {
            fold_classes: (!self.codes.is_empty())
                .then(|| FoldClasses::from_codes(self.codes.iter().map(String::as_str))),
            dropped: dropped.into_iter().filter(|(_, counts)| !counts.is_empty()).collect(),
            source: serde_json::json!({
                "files": { "number": self.files, "bytes": self.bytes, "sha256": hex(&self.inputs.finalize()) },
                "labels": labels,
                "clusters": options.clusters.as_ref().map(described).transpose()?,
            }),
            created: serde_json::json!({
                "command": options.command,
                "seed": options.seed,
                "fractions": options.fractions,
                "clustered": self.clustered,
                "tools": { "qsd": env!("CARGO_PKG_VERSION") },
            }),
        };
        let manifest = self.writer.finish(provenance)?;
        let (files, bad, chains, taken) = (self.files, self.bad, self.chains, self.taken);
        Ok(PreparedProteins { manifest, files, bad, chains, taken })
    }
}

/// The files to read: in the order given, those of folders by name.
fn find(inputs: &ProteinInputs) -> Result<Vec<Input>> {
    match inputs {
        ProteinInputs::Paths(paths) => {
            let mut found = Vec::new();
            for path in paths {
                match std::fs::metadata(path).map_err(Error::io(path))?.is_dir() {
                    true => walk(path, &mut found)?,
                    false => found.push(path.clone()),
                }
            }
            let input = |path: PathBuf| Input { name: file_name(&path), path: Some(path) };
            Ok(found.into_iter().map(input).collect())
        }
        ProteinInputs::Ids { list, folder } => {
            let mut found = Vec::new();
            walk(folder, &mut found)?;
            let mut by_stem: HashMap<String, PathBuf> = HashMap::new();
            for path in found {
                by_stem.entry(stem(&file_name(&path)).to_string()).or_insert(path);
            }
            let pick = |id: String| match by_stem.get(stem(&id)) {
                Some(path) => Input { name: file_name(path), path: Some(path.clone()) },
                None => Input { name: id, path: None },
            };
            Ok(read_list(list)?.into_iter().map(pick).collect())
        }
    }
}

/// The ids of a list, each once, in its order.
fn read_list(path: &Path) -> Result<Vec<String>> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?.take(MAX_LIST));
    let mut seen = HashSet::new();
    let mut ids = Vec::new();
    for line in file.lines() {
        let line = line.map_err(Error::io(path))?;
        let id = line.trim();
        if !id.is_empty() && !id.starts_with('#') && seen.insert(id.to_string()) {
            ids.push(id.to_string());
        }
    }
    Ok(ids)
}

/// A file's name without the endings of structure files.
fn stem(name: &str) -> &str {
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let ending =
        ENDINGS.iter().find(|ending| name.len() > ending.len() && name.to_ascii_lowercase().ends_with(*ending));
    ending.map_or(name, |ending| &name[..name.len() - ending.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_endings() {
        for (name, expected) in [
            ("1abc.cif.gz", "1abc"),
            ("pdb1abc.ent.gz", "pdb1abc"),
            ("AF-P1-F1-model_v4.PDB", "AF-P1-F1-model_v4"),
            ("d1asha_", "d1asha_"),
            (".pdb", ".pdb"),
            ("1abc.x.pdb", "1abc.x"),
            ("é.cif", "é"),
        ] {
            assert_eq!(stem(name), expected);
        }
    }
}
