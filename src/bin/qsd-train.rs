//! `qsd-train`: trains a denoiser, alone or with others under `mpirun` or `srun`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use qsd::Result;
use qsd::distributed::{Communicator, vote};
use qsd::train::{self, Mode};

/// Train a quotient-space diffusion model of molecules.
///
/// The configuration states what differs from the defaults; key=value overrides it. A run lives in its folder
/// (run.dir): the same command, given again, goes on from the newest checkpoint there, bit for bit as if it had
/// never stopped, on any power-of-two number of processes up to train.micro_shards.
#[derive(Parser)]
#[command(name = "qsd-train", version, args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: TrainArgs,
}

const EXAMPLES: &str = "\
Examples:
  qsd-train configs/quickstart.yaml                                    one process
  mpirun -n 8 qsd-train configs/geom-drugs-so3.yaml data.path=DIR      eight
  qsd-train configs/quickstart.yaml train.steps=4000                   the same run, longer
  qsd-train configs/geom-qm9-so3.yaml --print-config                   every key with its value
  qsd-train inspect runs/quickstart                                    what a run's newest checkpoint is

Exit codes:
  0 done   2 configuration   3 data   4 checkpoint   5 processes do not fit together
  6 loss or gradient not finite   7 file system   8 computation   75 stopped by a signal, state saved: start again";

#[derive(Subcommand)]
enum Command {
    /// Print step, world size, hashes of configuration, data and weights of a run's newest checkpoint, or of one.
    Inspect {
        /// A run's folder, or a checkpoint's.
        path: PathBuf,
    },
}

#[derive(Args)]
struct TrainArgs {
    /// Configuration file (YAML).
    #[arg(required = true)]
    config: Option<PathBuf>,
    /// Overrides of single keys, such as train.steps=1000.
    #[arg(value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Print the whole configuration as it would run, and stop.
    #[arg(long, conflicts_with = "dry_run")]
    print_config: bool,
    /// Take two steps without writing anything; print the time and memory that the run would need.
    #[arg(long)]
    dry_run: bool,
    /// Begin anew; refuses a folder that has checkpoints.
    #[arg(long, conflicts_with = "dry_run")]
    fresh: bool,
    /// Resume even if keys that decide what is learnt have changed since the checkpoint.
    #[arg(long)]
    allow_config_change: bool,
}

fn main() -> ExitCode {
    // SAFETY: nothing has been started yet.
    unsafe { train::process::main(run) }
}

fn run(world: &dyn Communicator, cli: Cli) -> Result<u8> {
    if let Some(Command::Inspect { path }) = cli.command {
        let text = vote::consent(world, train::inspect(&path))?;
        if world.rank() == 0 {
            print!("{text}");
        }
        return Ok(0);
    }
    let args = cli.train;
    let mode = match (args.print_config, args.dry_run) {
        (true, _) => Mode::PrintConfig,
        (_, true) => Mode::DryRun,
        _ => Mode::Train { fresh: args.fresh, allow_config_change: args.allow_config_change },
    };
    train::main(world, &args.config.unwrap_or_default(), &args.overrides, mode)
}
