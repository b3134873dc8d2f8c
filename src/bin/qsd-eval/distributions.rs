//! `qsd-eval distributions`.

use std::path::PathBuf;

use qsd::Result;
use qsd::eval::distributions::{Options, Pair, main};

const HELP: &str = "\
Files have a row for each sample: .npy or .safetensors with one 2-D array of f32 or f64, or .csv, whose first line may name the
columns. Probabilities are those after the softmax; where both files of a level name their classes, the names must agree.

  FPSD  |μ1 − μ2|² + tr(Σ1 + Σ2 − 2 (Σ1 Σ2)^½) of the features; lower is nearer
  fS    exp of the mean KL(p(y|x) ‖ mean p), 1 to the number of classes; higher is surer and more diverse
  fJSD  10 × Jensen-Shannon divergence in nats of the mean probabilities, 0 to 6.93; lower is nearer

Example:
  qsd-eval distributions --features gen.npy --reference pdb.npy \\
    --probabilities-c gen_c.npy --reference-c pdb_c.npy --probabilities-t gen_t.npy --reference-t pdb_t.npy

Exit codes: 0 done   2 arguments   3 a file is damaged or does not fit   7 file system";

/// FPSD, fS and fJSD: how near samples come to a reference in the eyes of a classifier of folds, whose outputs you bring.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Features of the samples, for FPSD.
    #[arg(long, requires = "reference")]
    features: Option<PathBuf>,
    /// Features of the reference.
    #[arg(long, requires = "features")]
    reference: Option<PathBuf>,
    /// Class probabilities of the samples at CATH's level C, for fS and fJSD.
    #[arg(long)]
    probabilities_c: Option<PathBuf>,
    /// The same of the reference, for fJSD.
    #[arg(long, requires = "probabilities_c")]
    reference_c: Option<PathBuf>,
    /// Class probabilities of the samples at level A.
    #[arg(long)]
    probabilities_a: Option<PathBuf>,
    /// The same of the reference.
    #[arg(long, requires = "probabilities_a")]
    reference_a: Option<PathBuf>,
    /// Class probabilities of the samples at level T.
    #[arg(long)]
    probabilities_t: Option<PathBuf>,
    /// The same of the reference.
    #[arg(long, requires = "probabilities_t")]
    reference_t: Option<PathBuf>,
    /// A JSON file to write the numbers to.
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    let pair = |generated: Option<PathBuf>, reference| generated.map(|generated| Pair { generated, reference });
    let levels = [
        ('C', args.probabilities_c, args.reference_c),
        ('A', args.probabilities_a, args.reference_a),
        ('T', args.probabilities_t, args.reference_t),
    ];
    let levels = levels.into_iter().filter_map(|(level, files, reference)| Some((level, pair(files, reference)?)));
    let options = Options { features: pair(args.features, args.reference), levels: levels.collect(), out: args.out };
    main(&options).map(|report| print!("{report}"))
}
