//! `qsd-sample`: draws conformers from a checkpoint, alone or with others under `mpirun` or `srun`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use qsd::distributed::Communicator;
use qsd::sample::{self, Request};
use qsd::{Result, train};

/// Draw conformers of molecules from a trained checkpoint.
///
/// The checkpoint knows its network and its sampler; only the molecules are needed. Hydrogens are added to
/// SMILES. Samples depend on the seed and the molecule's place in the input, not on processes or batches.
#[derive(Parser)]
#[command(name = "qsd-sample", version, after_help = EXAMPLES)]
struct Cli {
    /// A run's folder (its newest checkpoint is used) or a checkpoint's.
    #[arg(long)]
    checkpoint: PathBuf,
    /// Molecules: .smi (a SMILES and a name a line) or .sdf.
    #[arg(long)]
    input: PathBuf,
    /// Conformers per molecule.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    num: u32,
    /// SDF file to write.
    #[arg(long)]
    out: PathBuf,
    /// Replace the output file if it exists.
    #[arg(long)]
    overwrite: bool,
    /// Seed of the randomness.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Atoms per forward pass: more is faster up to a point, and takes more memory.
    #[arg(long, default_value_t = 1000)]
    batch_atoms: usize,
    /// Overrides of the checkpoint's sampler and engine, such as sampler.steps=100 or compute.precision=bf16.
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  qsd-sample --checkpoint runs/quickstart --input molecules.smi --num 10 --out conformers.sdf
  mpirun -n 4 qsd-sample --checkpoint runs/drugs --input library.sdf --out conformers.sdf sampler.steps=20

Exit codes:
  0 done   2 command line or sampler   3 input   4 checkpoint   5 processes   6 not finite   7 file system";

fn main() -> ExitCode {
    // SAFETY: nothing has been started yet.
    unsafe { train::process::main(run) }
}

fn run(world: &dyn Communicator, cli: Cli) -> Result<u8> {
    let request = Request {
        checkpoint: cli.checkpoint,
        input: cli.input,
        num: cli.num as usize,
        out: cli.out,
        overwrite: cli.overwrite,
        seed: cli.seed,
        batch_atoms: cli.batch_atoms,
        overrides: cli.overrides,
    };
    sample::main(world, &request)
}
