//! `qsd-sample`: draws conformers or backbones from a checkpoint, alone or with others under `mpirun` or `srun`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Parser, ValueEnum};
use qsd::bio::Format;
use qsd::distributed::Communicator;
use qsd::sample::{self, ChainRequest, Request, Subject};
use qsd::{Result, train};

/// Draw conformers of molecules, or backbones of proteins, from a trained checkpoint.
///
/// The checkpoint knows its network and its sampler. A network of molecules needs --input; hydrogens are added to
/// SMILES. A network of proteins needs --length. Samples depend on the seed and on the molecule's place in the input
/// (or the length), not on processes or batches.
#[derive(Parser)]
#[command(name = "qsd-sample", version, after_help = EXAMPLES)]
#[command(group(ArgGroup::new("subject").required(true).args(["input", "length"])))]
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
    /// Samples per molecule or length.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    num: u32,
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
    #[arg(long, requires = "length")]
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
    let subject = match cli.input {
        Some(input) => Subject::Molecules(input),
        None => {
            let lengths = cli.length.unwrap_or_default();
            Subject::Chains(ChainRequest { lengths, cath: cli.cath, formats })
        }
    };
    let gamma = cli.gamma.map(|gamma| ["sampler.kind=sde".to_string(), format!("sampler.gamma={gamma}")]);
    let request = Request {
        checkpoint: cli.checkpoint,
        subject,
        num: cli.num as usize,
        out: cli.out,
        overwrite: cli.overwrite,
        seed: cli.seed,
        batch_points: cli.batch_points,
        autoguide: cli.autoguide,
        overrides: gamma.into_iter().flatten().chain(cli.overrides).collect(),
    };
    sample::main(world, &request)
}
