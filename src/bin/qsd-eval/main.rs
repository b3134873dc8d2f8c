//! `qsd-eval`: how good samples are.

mod backbones;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use qsd::cli;

/// Judge what was sampled, in the numbers that the field compares.
#[derive(Parser)]
#[command(name = "qsd-eval", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge protein backbones: geometry, secondary structure, diversity, novelty.
    Backbones(backbones::Args),
}

fn main() -> ExitCode {
    cli::exit(match Cli::parse().command {
        Command::Backbones(args) => backbones::run(args),
    })
}
