//! `qsd-eval`: how good samples are, in the numbers that the field compares.

mod conformers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use qsd::{Result, cli};

/// Judge samples: conformers against reference ensembles, protein backbones by themselves and against known ones.
///
/// All of it works on files, from qsd-sample or any other program, on all cores (RAYON_NUM_THREADS sets another number); the
/// numbers do not depend on how many.
#[derive(Parser)]
#[command(name = "qsd-eval", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done   2 arguments   3 a file that cannot be used, or nothing to compare   7 file system";

#[derive(Subcommand)]
enum Command {
    Conformers(conformers::Args),
}

fn main() -> ExitCode {
    cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Conformers(args) => conformers::run(args),
    }
}
