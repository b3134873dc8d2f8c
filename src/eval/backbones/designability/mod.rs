//! Designability: the share of backbones that some sequence is predicted to fold into.
//!
//! For each backbone an inverse-folding program proposes sequences, a folding program predicts the structure of each, and
//! the backbone counts as designable when the best of them is near:
//!
//! scRMSD = min_k min_{R,t} ( 1/N Σ_n |R y_n^k + t − x_n|² )^½ < 2 Å
//!
//! over the sequences k, for the Cα atoms x of the backbone and y^k of the k-th structure, with proper rotations R. Beside it
//! stands scTM, the highest TM-score of these structures (see [`super::tm`]), which depends less on the length. The
//! field's protocol (RFdiffusion, Watson et al. 2023; FrameDiff, Yim et al. 2023; Proteina, Geffner et al. 2025) takes 8
//! sequences of ProteinMPNN at temperature 0.1 and ESMFold. Both programs are the user's.
//!
//! # What the commands get, and what they must leave
//! Each command line is split into words as a shell would split it, and started without a shell, in the folder where
//! `qsd-eval` was started, with its environment, nothing to read, and both outputs in a log file. In its words
//!
//! | placeholder | stands for |
//! |---|---|
//! | `{inputs}` | a folder with what this invocation works on (needed) |
//! | `{outputs}` | an empty folder for what it makes (needed) |
//! | `{num}` | sequences per backbone |
//! | `{seed}` | the seed |
//! | `{job}` | 0, 1 … below `--jobs`; no two commands that run at the same time have the same: the GPU to take |
//!
//! An invocation gets up to `--batch` backbones, so that a model is loaded once for many.
//!
//! - **Inverse folding** finds `{inputs}/NAME.pdb`, one file for each backbone: the Cα atoms of chain `A`, numbered from 1,
//!   alanines. It must leave `{outputs}/NAME.fasta` (or `.fa`) with `{num}` sequences of the 20 standard letters, as many
//!   letters as the backbone has residues. The records' names mean nothing.
//! - **Folding** finds `{inputs}/sequences.fasta`, a record for each sequence. It must leave `{outputs}/NAME.pdb` (or
//!   `.cif`, PDB or mmCIF by content) for the record `>NAME`: one chain of the residues of the sequence, each with its Cα.
//!
//! Names are 24 hexadecimal digits. What a command leaves besides is ignored.
//!
//! A file is taken if it is whole and right, whatever the exit code; the exit code, the last line of the log and the log's
//! name are in the reason given for what is missing. A backbone that lacks a sequence or a structure has failed, counts
//! neither way, and is tried again by the next run. A command that takes longer than `--timeout` is ended, with all that it
//! started; so are all of them when `qsd-eval` is asked to stop.
//!
//! # What is kept
//! Folder `--out` has `sequences/NAME.fasta` and `structures/NAME.pdb` as the commands wrote them, `logs/`, and the results
//! `designability.csv` and `summary.json`. Names are hashes of all that a file depends on (coordinates, command line, `num`,
//! seed; the sequence, command line, seed), so that what is there is never computed again, a changed command computes anew,
//! and folders of several runs can be joined by copying. Files appear whole or not at all; a run that is killed at any
//! moment goes on with the same command, and takes what its commands had finished too.

mod command;
mod inputs;
mod process;
mod report;
mod step;
mod steps;
mod store;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

pub use command::Template;
pub use report::{Group, Lengths, Report, Row, Scores, Summary};

use crate::cli::StopRequest;
use crate::{Error, Result};
use inputs::Subject;
use step::{Limits, Step as _};
use steps::{Backbone, Folding, InverseFolding, Sequence};
use store::Store;

/// What `qsd-eval designability` is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Structure files and folders of them; every chain is a backbone.
    pub inputs: Vec<PathBuf>,
    /// The folder of results.
    pub out: PathBuf,
    /// The command for sequences.
    pub inverse_folding: String,
    /// The command for structures.
    pub folding: String,
    /// Sequences per backbone.
    pub num: usize,
    /// Seed, for commands that take one.
    pub seed: u64,
    /// Most backbones of an invocation.
    pub batch: usize,
    /// Most invocations at a time.
    pub jobs: usize,
    /// Longest time of an invocation.
    pub timeout: Duration,
    /// Backbones with a smaller scRMSD are designable, in Å.
    pub threshold: f64,
}

/// What is asked for, and what it works with.
struct Evaluation<'a> {
    options: &'a Options,
    inverse_folding: Template,
    folding: Template,
    store: Store,
}

/// Computes what is missing, writes `designability.csv` and `summary.json`, and returns them.
///
/// # Errors
/// [`Error::Config`] for options that make no sense, commands that cannot be started, or a folder that another run holds;
/// [`Error::Data`] when there is no backbone, or none could be evaluated; [`Error::Stopped`] when a signal asked for it;
/// [`Error::Io`].
pub fn main(options: &Options) -> Result<Report> {
    if options.num == 0 || options.batch == 0 || options.jobs == 0 || options.timeout.is_zero() {
        return Err(Error::Config("--num, --batch, --jobs and --timeout must be at least 1".into()));
    }
    if !(options.threshold > 0.0 && options.threshold.is_finite()) {
        return Err(Error::Config(format!("--threshold {}: must be a length in Å", options.threshold)));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("the runtime's threads"))?;
    let stop = StopRequest::listen(&runtime)?;
    let mut evaluation = Evaluation {
        options,
        inverse_folding: Template::parse(InverseFolding::NAME, &options.inverse_folding)?,
        folding: Template::parse(Folding::NAME, &options.folding)?,
        store: Store::open(&options.out, [InverseFolding::NAME, Folding::NAME])?,
    };
    let subjects = evaluation.subjects()?;
    let mut failures = HashMap::new();
    let worked = evaluation.work(&subjects, &mut failures, &stop);
    // A run that was asked to stop shows what it has.
    let stopped = match worked {
        Ok(()) => None,
        Err(stopped @ Error::Stopped(_)) => Some(stopped),
        Err(error) => return Err(error),
    };
    let report = report::assemble(&evaluation, &subjects, &failures);
    report.save(evaluation.store.root())?;
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    evaluation.store.clear_leftovers();
    match report.rows.iter().find_map(|row| row.scores.as_ref().err()) {
        Some(reason) if report.summary.evaluated == 0 => {
            let n = report.rows.len();
            Err(Error::Data(format!("none of {n} backbones could be evaluated; the first: {reason}")))
        }
        _ => Ok(report),
    }
}

impl Evaluation<'_> {
    /// Every chain of every file.
    fn subjects(&self) -> Result<Vec<Subject>> {
        let Options { num, seed, .. } = *self.options;
        let key = |positions: &[_]| store::sequences_key(positions, &self.inverse_folding, num, seed);
        let subjects = inputs::read(&self.options.inputs, self.store.root(), key)?;
        match subjects.is_empty() {
            true => Err(Error::Data("no files are there to evaluate".into())),
            false => Ok(subjects),
        }
    }

    /// Both steps.
    fn work(&self, subjects: &[Subject], failures: &mut HashMap<String, String>, stop: &StopRequest) -> Result<()> {
        let Options { num, seed, batch, jobs, timeout, .. } = *self.options;
        let limits = Limits { num, seed, batch, jobs, timeout };
        let inverse_folding = InverseFolding { num };
        let mut seen = HashSet::new();
        let backbones = subjects.iter().filter_map(|subject| subject.backbone.as_ref().ok());
        let backbones: Vec<Backbone> = backbones.filter(|backbone| seen.insert(&backbone.key)).cloned().collect();
        step::run(&inverse_folding, &backbones, &self.inverse_folding, &self.store, &limits, failures, stop)?;
        let mut seen = HashSet::new();
        let sequences = backbones.iter().filter_map(|backbone| self.sequences(backbone)).flatten();
        let sequences: Vec<Sequence> = sequences.filter(|sequence| seen.insert(sequence.key.clone())).collect();
        let limits = Limits { batch: batch.saturating_mul(num), ..limits };
        step::run(&Folding, &sequences, &self.folding, &self.store, &limits, failures, stop)
    }

    /// The sequences of a backbone, once they are there.
    fn sequences(&self, backbone: &Backbone) -> Option<Vec<Sequence>> {
        let inverse_folding = InverseFolding { num: self.options.num };
        let found = step::find(&inverse_folding, backbone, &self.store.folder(InverseFolding::NAME))?;
        let sequence = |(i, letters): (usize, String)| Sequence {
            key: store::structure_key(&letters, &self.folding, self.options.seed),
            origin: format!("{}, sequence {}", backbone.origin, i + 1),
            letters,
        };
        Some(found.ok()?.made.into_iter().enumerate().map(sequence).collect())
    }
}
