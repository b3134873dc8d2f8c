//! `qsd-eval`: how good samples are, in the numbers that the field compares.

mod backbones;
mod conformers;
mod designability;
mod distributions;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use qsd::{Result, cli};

/// Judge samples: conformers against reference ensembles, protein backbones by themselves and against known ones.
///
/// All of it works on files, from qsd-sample or any other program, on all cores (RAYON_NUM_THREADS sets another number); the
/// numbers do not depend on how many.
#[derive(Parser)]
#[command(name = "qsd-eval", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Conformers(Box<conformers::Args>),
    Backbones(Box<backbones::Args>),
    Designability(Box<designability::Args>),
    Distributions(Box<distributions::Args>),
}

fn main() -> ExitCode {
    cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Conformers(args) => conformers::run(*args),
        Command::Backbones(args) => backbones::run(*args),
        Command::Designability(args) => designability::run(*args),
        Command::Distributions(args) => distributions::run(*args),
    }
}
