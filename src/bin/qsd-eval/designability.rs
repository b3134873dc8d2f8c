//! `qsd-eval designability`.

use std::path::PathBuf;
use std::time::Duration;

use qsd::Result;
use qsd::eval::backbones::designability::{Options, main};

const HELP: &str = "\
Each command gets a folder of inputs and an empty folder for its results, for up to --batch backbones:
  inverse folding  {inputs}/NAME.pdb, Cα atoms   ->  {outputs}/NAME.fasta, {num} sequences
  folding          {inputs}/sequences.fasta      ->  {outputs}/NAME.pdb (or .cif) for each record >NAME
Other placeholders: {num}, {seed}, and {job}, below --jobs and different for all commands that run at the same time. Words are
split as in a shell, but there is no shell. The whole contract, ready scripts: docs/designability.md, examples/designability.

Example, ProteinMPNN and ESMFold:
  qsd-eval designability --out designability samples/ \\
    --inverse-folding 'python examples/designability/run_proteinmpnn.py {inputs} {outputs} --num {num} --seed {seed}' \\
    --folding 'esm-fold -i {inputs}/sequences.fasta -o {outputs}'

The folder has designability.csv and summary.json, and keeps all sequences and structures: the same command computes only
what is missing, however the last one ended.

Exit codes: 0 done   2 arguments, commands   3 no backbone could be evaluated   7 file system   75 stopped by a signal";

/// The share of backbones that some sequence is predicted to fold into: scRMSD below 2 Å.
///
/// For each backbone a program of yours proposes sequences, another predicts their structures, and the best of them counts.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Structure files and folders of them (PDB, mmCIF, packed or not); every chain is a backbone. They are only read.
    #[arg(required = true)]
    inputs: Vec<PathBuf>,
    /// The folder of results.
    #[arg(long)]
    out: PathBuf,
    /// The command that proposes sequences for backbones.
    #[arg(long, value_name = "COMMAND")]
    inverse_folding: String,
    /// The command that predicts structures of sequences.
    #[arg(long, value_name = "COMMAND")]
    folding: String,
    /// Sequences per backbone.
    #[arg(long, default_value_t = 8)]
    num: usize,
    /// Seed, for commands that take {seed}. ProteinMPNN takes 0 for a random one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Most backbones of an invocation, and their sequences: more load their models less often, fewer lose less.
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Most commands that run at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Longest time of an invocation in seconds.
    #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
    timeout: u64,
    /// Backbones with a smaller scRMSD in Å are designable.
    #[arg(long, default_value_t = 2.0)]
    threshold: f64,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    let options = Options {
        inputs: args.inputs,
        out: args.out,
        inverse_folding: args.inverse_folding,
        folding: args.folding,
        num: args.num,
        seed: args.seed,
        batch: args.batch,
        jobs: args.jobs,
        timeout: Duration::from_secs(args.timeout),
        threshold: args.threshold,
    };
    main(&options).map(|report| print!("{report}"))
}
