//! `qsd-data`: makes data sets of structure files, and checks what a data set holds.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use qsd::bio::{Filters, Method};
use qsd::data::{
    ImportOptions, MAX_CONFORMERS, ProteinInputs, ProteinOptions, Source, import, inspect, prepare_proteins,
};
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
  qsd-data protein --out data/pdb --max-resolution 5 --methods diffraction,em --labels cath-b-newest-all.gz pdb/
  qsd-data protein --out data/afdb --min-plddt 80 --ids d_FS_index.txt --folder afdb/ --clusters afdb_cluster.tsv

Exit codes: 0 done   2 arguments   3 data damaged, or too many bad records or files   7 file system";

#[derive(Subcommand)]
enum Command {
    /// Verify every checksum and record of a data set and count what it holds.
    Inspect {
        /// Folder of the data set.
        dir: PathBuf,
    },
    /// Make a data set of SDF files, or of XYZ files with SMILES.
    Import(ImportArgs),
    /// Make a data set of protein chains of PDB and mmCIF files.
    #[command(after_help = PROTEIN_HELP)]
    Protein(Box<ProteinArgs>),
}

const PROTEIN_HELP: &str = "\
What a chain is: the Cα atoms of the standard residues (and of selenomethionine, as methionine) of one chain of the first
model. Of alternate locations the one with the highest occupancy counts, then the first label. Files may be plain or packed
by gzip; what they are is told by their content. Files and chains left out are listed with reasons in quarantine.jsonl.

Tables of fold labels: cath-domain-list.txt, cath-b-newest-all(.gz), SIFTS' pdb_chain_cath_uniprot.tsv(.gz) together with one
of them, TED's ted_365m.domain_summary.cath.globularity.taxid.tsv(.gz).";

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

#[derive(Args)]
struct ProteinArgs {
    /// The folder to create.
    #[arg(long)]
    out: PathBuf,
    /// The data set's name (default: the folder's).
    #[arg(long)]
    name: Option<String>,
    /// A list of files' names without their endings, one a line, as AFDB's lists of ids; they are looked for in --folder.
    #[arg(long, requires = "folder", conflicts_with = "files")]
    ids: Option<PathBuf>,
    /// The folder that holds the files of --ids.
    #[arg(long, requires = "ids")]
    folder: Option<PathBuf>,
    /// Fewest residues of a chain.
    #[arg(long, default_value_t = 32)]
    min_length: usize,
    /// Most residues of a chain.
    #[arg(long, default_value_t = 256)]
    max_length: usize,
    /// Worst resolution in Å; files that state none do not pass.
    #[arg(long)]
    max_resolution: Option<f64>,
    /// Methods by which structures may have been found (default: any).
    #[arg(long, value_enum, value_delimiter = ',')]
    methods: Vec<MethodName>,
    /// Lowest mean pLDDT, which models of AlphaFold have as B-factor.
    #[arg(long)]
    min_plddt: Option<f64>,
    /// Most breaks of a chain: neighbouring Cα atoms farther than 4 Å apart.
    #[arg(long)]
    max_breaks: Option<usize>,
    /// Largest share of modified residues and D-amino acids, which are left out of the chain.
    #[arg(long)]
    max_non_standard: Option<f64>,
    /// A table of fold labels; may be given several times.
    #[arg(long)]
    labels: Vec<PathBuf>,
    /// Clusters, as mmseqs2 lists them: representative, tab, member. A cluster is never in two splits.
    #[arg(long)]
    clusters: Option<PathBuf>,
    /// Shares of train, val and test.
    #[arg(long, value_delimiter = ',', default_value = "0.98,0.01,0.01")]
    fractions: Vec<f64>,
    /// Seed of the split.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Largest share of bad files: missing, damaged or no structures.
    #[arg(long, default_value_t = 0.05)]
    max_bad: f64,
    /// Structure files, and folders of them.
    #[arg(required_unless_present = "ids")]
    files: Vec<PathBuf>,
}

/// Methods by the names of [`Method::name`].
#[derive(Clone, Copy, ValueEnum)]
enum MethodName {
    /// Diffraction of X-rays, neutrons, electrons
    Diffraction,
    /// Electron microscopy
    Em,
    /// Nuclear magnetic resonance
    Nmr,
    /// Predicted or designed models
    Model,
    /// Others, and files that do not say
    Unknown,
}

impl MethodName {
    fn method(self) -> Method {
        match self {
            MethodName::Diffraction => Method::Diffraction,
            MethodName::Em => Method::Microscopy,
            MethodName::Nmr => Method::Resonance,
            MethodName::Model => Method::Model,
            MethodName::Unknown => Method::Unknown,
        }
    }
}

fn main() -> ExitCode {
    cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Inspect { dir } => inspect(&dir).map(|inspection| print!("{inspection}")),
        Command::Import(args) => run_import(args),
        Command::Protein(args) => run_protein(*args),
    }
}

fn run_protein(args: ProteinArgs) -> Result<()> {
    let out = args.out.clone();
    let prepared = prepare_proteins(&protein_options(args)?)?;
    let (files, bad, chains, taken) = (prepared.files, prepared.bad, prepared.chains, prepared.taken);
    println!("{files} files, {bad} of them bad; {taken} of {chains} chains taken (see quarantine.jsonl)");
    inspect(&out).map(|inspection| print!("{inspection}"))
}

fn protein_options(args: ProteinArgs) -> Result<ProteinOptions> {
    if args.min_length == 0 || args.min_length > args.max_length {
        let (min, max) = (args.min_length, args.max_length);
        return Err(Error::Config(format!(
            "--min-length {min} --max-length {max}: at least 1, and not more than the other"
        )));
    }
    let command = protein_command(&args);
    let filters = Filters {
        length: args.min_length..=args.max_length,
        max_resolution: args.max_resolution,
        methods: args.methods.iter().map(|method| method.method()).collect(),
        min_plddt: args.min_plddt,
        max_breaks: args.max_breaks,
        max_non_standard: args.max_non_standard,
    };
    let inputs = match (args.ids, args.folder) {
        (Some(list), Some(folder)) => ProteinInputs::Ids { list, folder },
        _ => ProteinInputs::Paths(args.files),
    };
    Ok(ProteinOptions {
        name: args.name.unwrap_or_else(|| file_name(&args.out)),
        out: args.out,
        inputs,
        filters,
        labels: args.labels,
        clusters: args.clusters,
        fractions: three(args.fractions)?,
        seed: args.seed,
        max_bad: args.max_bad,
        command,
    })
}

/// The command, with the names of files but not of their folders; of more than ten files the number.
fn protein_command(args: &ProteinArgs) -> String {
    let fractions: Vec<String> = args.fractions.iter().map(f64::to_string).collect();
    let mut words = vec!["qsd-data protein".to_string(), format!("--out {}", file_name(&args.out))];
    words.extend(args.name.iter().map(|name| format!("--name {name}")));
    words.push(format!("--min-length {} --max-length {}", args.min_length, args.max_length));
    words.extend(args.max_resolution.map(|limit| format!("--max-resolution {limit}")));
    let methods: Vec<&str> = args.methods.iter().map(|method| method.method().name()).collect();
    words.extend((!methods.is_empty()).then(|| format!("--methods {}", methods.join(","))));
    words.extend(args.min_plddt.map(|limit| format!("--min-plddt {limit}")));
    words.extend(args.max_breaks.map(|limit| format!("--max-breaks {limit}")));
    words.extend(args.max_non_standard.map(|limit| format!("--max-non-standard {limit}")));
    words.extend(args.labels.iter().map(|path| format!("--labels {}", file_name(path))));
    words.extend(args.clusters.iter().map(|path| format!("--clusters {}", file_name(path))));
    words.push(format!("--fractions {} --seed {} --max-bad {}", fractions.join(","), args.seed, args.max_bad));
    words.extend(args.ids.iter().map(|path| format!("--ids {}", file_name(path))));
    words.extend(args.folder.iter().map(|path| format!("--folder {}", file_name(path))));
    match args.files.len() {
        0..=10 => words.extend(args.files.iter().map(|path| file_name(path))),
        n => words.push(format!("({n} files and folders)")),
    }
    words.join(" ")
}

fn three(fractions: Vec<f64>) -> Result<[f64; 3]> {
    fractions.try_into().map_err(|given| Error::Config(format!("--fractions {given:?}: three numbers, as 0.8,0.1,0.1")))
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
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
    let fractions = three(args.fractions)?;
    let name = args.name.unwrap_or_else(|| file_name(&args.out));
    Ok(ImportOptions { out: args.out, name, fractions, seed: args.seed, max_bad: args.max_bad, command })
}

/// The command, with the names of files but not of their folders, which are the user's own.
fn command(args: &ImportArgs) -> String {
    let file = |path: &PathBuf| file_name(path);
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
