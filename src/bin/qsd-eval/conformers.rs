//! `qsd-eval conformers`.

use std::path::PathBuf;

use qsd::Result;
use qsd::eval::conformers::{Options, main};

/// Compare generated conformers with reference ensembles: coverage (COV), average lowest RMSD (AMR), validity.
///
/// Molecules are told apart by the reference's key, which the generated records carry in their property SMILES (or, without
/// one, as their title). RMSDs are over heavy atoms, minimal over all symmetries of the graph and over interchangeable ends of
/// conjugated groups, as RDKit's GetBestRMS with its defaults.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// SDF of generated conformers.
    generated: PathBuf,
    /// Reference conformers: the folder of a data set, or an SDF.
    #[arg(long)]
    reference: PathBuf,
    /// The data set's split.
    #[arg(long, default_value = "test")]
    split: String,
    /// CSV with the columns smiles (the key) and corrected_smiles: only these molecules are compared, and of their reference
    /// conformers only those with the corrected graph (GeoMol's test_smiles_corrected.csv). A data set made with
    /// prepare_geom.py --clean-test has that done.
    #[arg(long)]
    corrected: Option<PathBuf>,
    /// Generated conformers that count per reference conformer, the first that there are; a molecule with fewer is left out. 0: all.
    #[arg(long, default_value_t = 2)]
    per_reference: usize,
    /// Thresholds in Å that the tables show; coverage.csv has all from 0.05 to 3.
    #[arg(long, value_delimiter = ',', default_value = "0.5,0.75")]
    threshold: Vec<f64>,
    /// Folder for the report.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace the files of a report that exists.
    #[arg(long)]
    overwrite: bool,
}

const HELP: &str = "\
Examples:
  qsd-sample --checkpoint runs/drugs --data shards/drugs --split test --out generated.sdf
  qsd-eval conformers generated.sdf --reference shards/drugs --threshold 0.75 --out evaluation
  qsd-eval conformers rdkit.sdf --reference reference.sdf --corrected test_smiles_corrected.csv --per-reference 0

Files of the report: report.md, summary.json, molecules.csv (a row a molecule), coverage.csv (a row a threshold), skipped.csv.

Exit codes: 0 done   2 arguments   3 files that cannot be used, or nothing to compare   7 file system";

/// Evaluates and prints the report.
pub fn run(args: Args) -> Result<()> {
    let report = main(&Options {
        generated: args.generated,
        reference: args.reference,
        split: args.split,
        corrected: args.corrected,
        per_reference: args.per_reference,
        shown: args.threshold,
        out: args.out,
        overwrite: args.overwrite,
    })?;
    print!("{}", report.markdown());
    Ok(())
}
