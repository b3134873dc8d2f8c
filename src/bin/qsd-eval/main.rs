//! `qsd-eval`: measures samples in the numbers that the field compares.

mod backbones;
mod designability;
mod distributions;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use qsd::{Result, cli};

/// Measure conformers and backbones in the numbers that the field compares.
#[derive(Parser)]
#[command(name = "qsd-eval", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge protein backbones: geometry, secondary structure, diversity, novelty.
    Backbones(Box<backbones::Args>),
    /// The share of backbones that some sequence is predicted to fold into.
    Designability(Box<designability::Args>),
    /// FPSD, fS and fJSD: how near samples come to a reference in a classifier's eyes.
    Distributions(Box<distributions::Args>),
}

fn main() -> ExitCode {
    cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Backbones(args) => backbones::run(*args),
        Command::Designability(args) => designability::run(*args),
        Command::Distributions(args) => distributions::run(*args),
    }
}
