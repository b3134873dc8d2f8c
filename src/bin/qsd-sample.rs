//! `qsd-sample`: draws conformers or backbones from a checkpoint, alone or with others under `mpirun` or `srun`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Parser, ValueEnum};
use qsd::bio::Format;
use qsd::distributed::Communicator;
use qsd::sample::{self, ChainOptions, Count, Request, Subject};
use qsd::{Result, train};

/// Draw conformers of molecules, or backbones of proteins, from a trained checkpoint.
///
/// The checkpoint knows its network and its sampler. A network of molecules needs --input (hydrogens are added to
/// SMILES) or --data, a network of proteins --length or --data. --data draws the molecules of a data set to be compared
/// with its conformers: each record has the molecule's key in the data set as its name and its property SMILES, and
/// there are twice as many as conformers, as the field compares them. Samples depend on the seed and on the molecule's
/// place in the input (or the length), not on processes, batches, or what else is drawn.
#[derive(Parser)]
#[command(name = "qsd-sample", version, after_help = EXAMPLES)]
#[command(group(ArgGroup::new("subject").required(true).args(["input", "length", "data"])))]
struct Cli {
    /// A run's folder (its newest checkpoint is used) or a checkpoint's.
    #[arg(long)]
    checkpoint: PathBuf,
    /// Molecules: .smi (a SMILES and a name a line) or .sdf.
    #[arg(long)]
    input: Option<PathBuf>,
    /// Lengths of chains in residues, such as 50,100,150.
    #[arg(long, value_delimiter = ',')]
    length: Option<Vec<usize>>,
    /// Folder of a data set whose molecules, or chains of whose lengths, are drawn.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Split of the data set.
    #[arg(long, conflicts_with_all = ["input", "length"], default_value = "test")]
    split: String,
    /// Records of the split that are taken, from its start [default: all].
    #[arg(long, conflicts_with_all = ["input", "length"], value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Samples for each conformer that the data set has of a molecule [default: 2].
    #[arg(long, conflicts_with_all = ["input", "length", "num"], value_parser = clap::value_parser!(u32).range(1..))]
    per_conformer: Option<u32>,
    /// Samples per molecule or length [default: 10; 1 of each chain of a data set].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    num: Option<u32>,
    /// SDF file to write; for chains, the folder for their files.
    #[arg(long)]
    out: PathBuf,
    /// Replace output files that exist.
    #[arg(long)]
    overwrite: bool,
    /// Seed of the randomness.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Atoms or residues per forward pass: more is faster up to a point, and takes more memory.
    #[arg(long, alias = "batch-atoms", default_value_t = 1000)]
    batch_points: usize,
    /// Fold class of the chains: a CATH code of one to three levels, such as 1.10.8, that the network was taught.
    #[arg(long, conflicts_with = "input")]
    cath: Option<String>,
    /// Files of chains.
    #[arg(long, value_enum, default_value_t = FormatArg::Pdb)]
    format: FormatArg,
    /// Sample by the stochastic equation with this γ: 1 the learned law, less for likelier samples. The same as
    /// sampler.kind=sde sampler.gamma=γ.
    #[arg(long)]
    gamma: Option<f64>,
    /// Lead away from what this checkpoint (of the same architecture, less trained) predicts; see sampler.guidance and
    /// sampler.autoguidance.
    #[arg(long)]
    autoguide: Option<PathBuf>,
    /// Overrides of the checkpoint's sampler and engine, such as sampler.steps=100 or compute.precision=bf16.
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatArg {
    Pdb,
    Cif,
    Both,
}

const EXAMPLES: &str = "\
Examples:
  qsd-sample --checkpoint runs/quickstart --input molecules.smi --num 10 --out conformers.sdf
  mpirun -n 4 qsd-sample --checkpoint runs/drugs --input library.sdf --out conformers.sdf sampler.steps=20
  mpirun -n 4 qsd-sample --checkpoint runs/drugs --data shards/drugs --split test --out generated.sdf
  qsd-sample --checkpoint runs/protein-60m --length 50,100,150 --num 10 --gamma 0.45 --cath 1.10.8 --out backbones/
  qsd-sample --checkpoint runs/protein-60m --length 100 --out ode/ sampler.kind=ode

Exit codes:
  0 done   2 command line or sampler   3 input   4 checkpoint   5 processes   6 not finite   7 file system";

fn main() -> ExitCode {
    // SAFETY: nothing has been started yet.
    unsafe { train::process::main(run) }
}

fn run(world: &dyn Communicator, cli: Cli) -> Result<u8> {
    let formats = match cli.format {
        FormatArg::Pdb => vec![Format::Pdb],
        FormatArg::Cif => vec![Format::Mmcif],
        FormatArg::Both => vec![Format::Pdb, Format::Mmcif],
    };
    let subject = match (cli.input, cli.data) {
        (Some(input), _) => Subject::Molecules(input),
        (None, Some(path)) => Subject::Data { path, split: cli.split, limit: cli.limit.map(|limit| limit as usize) },
        (None, None) => Subject::Lengths(cli.length.unwrap_or_default()),
    };
    let each = cli.num.map(|num| Count::Each(num as usize));
    let count = each.or(cli.per_conformer.map(|num| Count::PerConformer(num as usize)));
    let gamma = cli.gamma.map(|gamma| ["sampler.kind=sde".to_string(), format!("sampler.gamma={gamma}")]);
    let request = Request {
        checkpoint: cli.checkpoint,
        subject,
        count,
        chains: ChainOptions { cath: cli.cath, formats },
        out: cli.out,
        overwrite: cli.overwrite,
        seed: cli.seed,
        batch_points: cli.batch_points,
        autoguide: cli.autoguide,
        overrides: gamma.into_iter().flatten().chain(cli.overrides).collect(),
    };
    sample::main(world, &request)
}
