//! `qsd-eval backbones`.

use std::path::PathBuf;

use qsd::Result;
use qsd::eval::backbones::{self, Options, Reference};

/// Judge protein backbones: geometry, secondary structure, diversity, novelty.
///
/// Each chain is measured by its Cα atoms alone, beside reference chains of about its length.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder of the samples: every chain of every .pdb, .ent, .cif and .mmcif file in it, plain or .gz, also in
    /// folders inside; or one such file. Of files that differ in their endings alone the first of these is read.
    samples: PathBuf,
    /// Compare with the chains of this data set.
    #[arg(long, value_name = "DATASET", conflicts_with = "reference")]
    data: Option<PathBuf>,
    /// The split of the data set.
    #[arg(long, default_value = "test", requires = "data")]
    split: String,
    /// Compare with the chains of the structure files of this folder.
    #[arg(long, value_name = "FOLDER")]
    reference: Option<PathBuf>,
    /// Do not compare the samples with each other (all pairs, by TM-align).
    #[arg(long)]
    no_diversity: bool,
    /// Look for the nearest chain of each sample in this folder of structure files, or in the split train of this data
    /// set.
    #[arg(long, value_name = "FOLDER")]
    novelty: Option<PathBuf>,
    /// Show the scRMSD of each sample, from the designability.csv of qsd-eval designability; files are told by their names.
    #[arg(long, value_name = "FILE")]
    designability: Option<PathBuf>,
    /// Write backbones.csv (a line for each chain), reference.csv, summary.json and report.md into this folder.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Replace these files if they exist.
    #[arg(long, requires = "out")]
    overwrite: bool,
}

const EXAMPLES: &str = "\
What is shown: distances of neighbouring Cα atoms (3.8 Å in proteins), breaks, clashes, radius of gyration, secondary \
structure (P-SEA), and whether helices are right-handed; how alike the samples are (mean TM-score of samples of equal \
length, clusters at 0.5); for all samples and by length, each beside the reference chains of about the same length (within \
a tenth). docs/evaluation.md defines every column.

Examples:
  qsd-eval backbones backbones/
  qsd-eval backbones backbones/ --data shards/pdb --split test --out report/
  qsd-eval backbones backbones/ --reference pdb/ --novelty pdb/ --out report/
  qsd-eval backbones backbones/ --designability scores/designability.csv
  qsd-eval backbones large/ --no-diversity

All pairs of n samples are n (n - 1) / 2; each takes some milliseconds.

Exit codes:
  0 done   2 arguments   3 samples that could not be read, or none   7 file system
With 3 for some of the samples, the others are judged and the files are written.";

/// Judges, shows the table, and fails if samples could not be read.
///
/// # Errors
/// As [`backbones::main`]; [`qsd::Error::Data`] when samples could not be read.
pub fn run(args: Args) -> Result<()> {
    let reference = match (args.data, args.reference) {
        (Some(path), _) => Some(Reference::Data { path, split: args.split }),
        (None, folder) => folder.map(Reference::Folder),
    };
    let Args { samples, out, overwrite, novelty, designability, .. } = args;
    let diversity = !args.no_diversity;
    let options = Options { samples, reference, out, overwrite, diversity, novelty, designability };
    let report = backbones::main(&options)?;
    print!("{report}");
    report.complaint().map_or(Ok(()), Err)
}
