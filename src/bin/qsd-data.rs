//! `qsd-data`: makes data sets of structure files, and checks what a data set holds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use qsd::data::{ImportOptions, MAX_CONFORMERS, Source, import, inspect};
use qsd::{Error, Result, cli};

/// Make and check the data sets that qsd-train reads.
///
/// GEOM comes in Python pickles, which data/prepare_geom.py turns into a data set.
#[derive(Parser)]
#[command(name = "qsd-data", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  qsd-data inspect data/sample/qm9
  qsd-data import --out data/mine molecules.sdf
  qsd-data import --out data/mine --fractions 0.9,0.05,0.05 --seed 7 frames.xyz --smiles frames.smi

Exit codes: 0 done   2 arguments   3 data damaged, or too many bad records   7 file system";

#[derive(Subcommand)]
enum Command {
    /// Verify every checksum and record of a data set and count what it holds.
    Inspect {
        /// Folder of the data set.
        dir: PathBuf,
    },
    /// Make a data set of SDF files, or of XYZ files with SMILES.
    Import(ImportArgs),
}

#[derive(Args)]
struct ImportArgs {
    /// The folder to create.
    #[arg(long)]
    out: PathBuf,
    /// The data set's name (default: the folder's).
    #[arg(long)]
    name: Option<String>,
    /// Shares of train, val and test.
    #[arg(long, value_delimiter = ',', default_value = "0.8,0.1,0.1")]
    fractions: Vec<f64>,
    /// Seed of the split.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Largest share of bad records; they are listed in quarantine.jsonl.
    #[arg(long, default_value_t = 0.05)]
    max_bad: f64,
    /// One SMILES a line, for the frames of the XYZ file; without it each frame's comment must be its SMILES.
    #[arg(long)]
    smiles: Option<PathBuf>,
    /// *.sdf, *.mol or *.xyz. Consecutive records of the same graph become conformers of one molecule, up to 1000.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Inspect { dir } => inspect(&dir).map(|inspection| print!("{inspection}")),
        Command::Import(args) => run_import(args),
    }
}

fn run_import(args: ImportArgs) -> Result<()> {
    let sources = sources(&args)?;
    let out = args.out.clone();
    let imported = import(&sources, &options(args)?)?;
    println!("{} records, {} of them bad (see quarantine.jsonl)", imported.records, imported.bad);
    if imported.surplus > 0 {
        println!("left out {} conformers beyond the first {MAX_CONFORMERS} of a molecule", imported.surplus);
    }
    inspect(&out).map(|inspection| print!("{inspection}"))
}

fn options(args: ImportArgs) -> Result<ImportOptions> {
    let command = command(&args);
    let fractions: [f64; 3] = args
        .fractions
        .try_into()
        .map_err(|given| Error::Config(format!("--fractions {given:?}: three numbers, as 0.8,0.1,0.1")))?;
    let name = args.name.unwrap_or_else(|| args.out.file_name().unwrap_or_default().to_string_lossy().into_owned());
    Ok(ImportOptions { out: args.out, name, fractions, seed: args.seed, max_bad: args.max_bad, command })
}

/// The command, with the names of files but not of their folders, which are the user's own.
fn command(args: &ImportArgs) -> String {
    let file = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fractions: Vec<String> = args.fractions.iter().map(f64::to_string).collect();
    let mut words = vec!["qsd-data import".to_string(), format!("--out {}", file(&args.out))];
    words.extend(args.name.iter().map(|name| format!("--name {name}")));
    words.push(format!("--fractions {} --seed {} --max-bad {}", fractions.join(","), args.seed, args.max_bad));
    words.extend(args.files.iter().map(file));
    words.extend(args.smiles.iter().map(|list| format!("--smiles {}", file(list))));
    words.join(" ")
}

/// What the files are, by their names.
fn sources(args: &ImportArgs) -> Result<Vec<Source>> {
    if args.smiles.is_some() && args.files.len() != 1 {
        return Err(Error::Config("--smiles belongs to one XYZ file; give one".into()));
    }
    args.files.iter().map(|file| source(file, args.smiles.clone())).collect()
}

fn source(file: &Path, smiles: Option<PathBuf>) -> Result<Source> {
    let extension = file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    match extension.as_str() {
        "xyz" => Ok(Source::Xyz { xyz: file.to_path_buf(), smiles }),
        "sdf" | "mol" if smiles.is_none() => Ok(Source::Sdf(file.to_path_buf())),
        "sdf" | "mol" => Err(Error::Config(format!("{}: --smiles is for XYZ files", file.display()))),
        _ => Err(Error::Config(format!("{}: expected *.sdf, *.mol or *.xyz", file.display()))),
    }
}
