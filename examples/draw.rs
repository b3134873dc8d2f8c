//! Draws samples as they lie in space: conformers of SDF files, or backbones of PDB and mmCIF files, into one PNG.
//!
//! ```text
//! target/release/examples/draw runs/quickstart/conformers.sdf --every 5 --out docs/quickstart.png
//! target/release/examples/draw backbones/*.pdb --out backbones.png
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use qsd::bio::{self, Chain};
use qsd::chem::{Record, sdf};
use qsd::eval::picture::{MAX_PANELS, Panel, Trace, backbones, conformers};
use qsd::files::write_whole;
use qsd::{Error, Result};

const MAX: i64 = MAX_PANELS as i64;

#[derive(Parser)]
struct Args {
    /// SDF files, or PDB and mmCIF files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Draw the first record or chain of each N.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Draw at most this many, four a row.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=MAX))]
    panels: u32,
    /// The picture to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    qsd::cli::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let conformers_given = args.files[0].extension() == Some(OsStr::new("sdf"));
    let picture = if conformers_given { draw_conformers(args)? } else { draw_backbones(args)? };
    write_whole(&args.out, &picture)
}

fn draw_conformers(args: &Args) -> Result<Vec<u8>> {
    let mut records: Vec<Record> = Vec::new();
    for path in &args.files {
        let file = File::open(path).map_err(Error::io(path))?;
        for record in sdf::Reader::new(BufReader::new(file), path) {
            records.push(record?);
        }
    }
    let chosen = chosen(&records, args)?;
    let panels = chosen.map(|r| Panel { molecule: &r.molecule, positions: &r.positions, reference: None });
    conformers(&panels.collect::<Vec<_>>())
}

fn draw_backbones(args: &Args) -> Result<Vec<u8>> {
    let mut chains: Vec<Chain> = Vec::new();
    for path in &args.files {
        chains.extend(bio::read(path)?.chains);
    }
    let traces = chosen(&chains, args)?.map(|chain| Trace { positions: &chain.positions, reference: None });
    backbones(&traces.collect::<Vec<_>>())
}

/// What is to be drawn of what was read.
fn chosen<'a, T>(all: &'a [T], args: &Args) -> Result<impl Iterator<Item = &'a T>> {
    if all.is_empty() {
        return Err(Error::Data(format!("{}: nothing to draw", args.files[0].display())));
    }
    Ok(all.iter().step_by(args.every as usize).take(args.panels as usize))
}
