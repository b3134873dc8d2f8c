//! Draws samples as they lie in space: conformers of an SDF file, or backbones of PDB and mmCIF files, into one PNG.
//!
//! ```text
//! target/release/examples/draw runs/quickstart/conformers.sdf --every 5 --out docs/quickstart.png
//! target/release/examples/draw backbones/*.pdb --out backbones.png
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use qsd::chem::{Record, sdf};
use qsd::eval::picture::{MAX_PANELS, Panel, Trace, backbones, conformers};
use qsd::geometry::Point;
use qsd::{Error, Result, bio};

#[derive(Parser)]
struct Args {
    /// One SDF file, or PDB and mmCIF files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Draw the first record or chain of each N.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Draw at most this many.
    #[arg(long, value_name = "N", default_value_t = 8)]
    panels: usize,
    /// The picture to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn main() -> ExitCode {
    qsd::cli::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let (every, panels) = (args.every as usize, args.panels.min(MAX_PANELS));
    let picture = if args.files[0].extension() == Some(OsStr::new("sdf")) {
        let records = records(&args.files[0], every, panels)?;
        let panels = records.iter().map(|r| Panel { molecule: &r.molecule, positions: &r.positions, reference: None });
        conformers(&panels.collect::<Vec<_>>())?
    } else {
        let chains = chains(&args.files, every, panels)?;
        backbones(&chains.iter().map(|chain| Trace { positions: chain, reference: None }).collect::<Vec<_>>())?
    };
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(folder))?;
    file.write_all(&picture).map_err(Error::io(&args.out))?;
    file.persist(&args.out).map_err(|error| Error::io(&args.out)(error.error))?;
    Ok(())
}

/// The first of each `every` records, at most `limit`.
fn records(path: &Path, every: usize, limit: usize) -> Result<Vec<Record>> {
    let file = File::open(path).map_err(Error::io(path))?;
    sdf::Reader::new(BufReader::new(file), path).step_by(every).take(limit).collect()
}

/// The Cα positions of the first of each `every` chains, at most `limit`.
fn chains(paths: &[PathBuf], every: usize, limit: usize) -> Result<Vec<Vec<Point>>> {
    let mut chains = Vec::new();
    for path in paths {
        chains.extend(bio::read(path)?.chains.into_iter().map(|chain| chain.positions));
    }
    Ok(chains.into_iter().step_by(every).take(limit).collect())
}
