//! What the network costs on this machine, with either engine: throughput, CPU time, memory, and the share of the
//! processor's peak.
//!
//! ```text
//! cargo build --release --example engine
//! target/release/examples/engine --engine fused --precision f32 --task train        # the sample, batches of 8
//! target/release/examples/engine --input inputs.safetensors                         # what PyTorch's side computes
//! target/release/examples/engine --size 120 --molecules 4                           # made-up molecules
//! ```
//! Prints one line of JSON. `train` is network, loss and the way back (not the optimizer, which `step` measures);
//! `predict` the network alone; `sample` Euler steps from the prior. Wall time is the sum of the medians of the
//! batches over passes through the same molecules, CPU time the median of the passes. To be started in the
//! repository's folder.

mod clock;
mod inputs;
mod measure;
mod needs;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use qsd::distributed::Communicator;
use qsd::model::{self, ComputeConfig, Engine, ModelConfig, Precision};
use qsd::train::Config;
use qsd::{Error, Result, config, train};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use inputs::Work;
use measure::{Bench, Measured};
use needs::{Counts, Flop};

/// What a batch is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Task {
    /// Forward, loss, backward.
    Train,
    /// Forward.
    Predict,
    /// Euler steps from the prior.
    Sample,
}

/// Measures the network.
#[derive(Parser)]
struct Options {
    /// fused or plain.
    #[arg(long, default_value = "fused", value_parser = named::<Engine>)]
    engine: Engine,
    /// f32 or bf16.
    #[arg(long, default_value = "f32", value_parser = named::<Precision>)]
    precision: Precision,
    /// What is measured.
    #[arg(long, value_enum, default_value = "train")]
    task: Task,
    /// With cross products: the recipe drugs-so3.
    #[arg(long)]
    so3: bool,
    /// Molecules in a batch.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    molecules: u16,
    /// Threads, each of which computes its part of every batch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// How many molecules a pass goes through, at most.
    #[arg(long, default_value_t = 64)]
    total: usize,
    /// Passes are repeated for so long, and at least three times.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Euler steps.
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// A data set's folder.
    #[arg(long, default_value = "data/sample/drugs")]
    data: PathBuf,
    /// Inputs that `bench/pytorch/data.py --out` wrote, instead of a data set.
    #[arg(long, conflicts_with = "size")]
    input: Option<PathBuf>,
    /// Made-up molecules of so many atoms, instead of a data set.
    #[arg(long)]
    size: Option<usize>,
}

fn main() -> ExitCode {
    // SAFETY: nothing has been started yet.
    unsafe { train::process::main(run) }
}

fn run(_: &dyn Communicator, options: Options) -> Result<u8> {
    let recipe = if options.so3 { "configs/geom-drugs-so3.yaml" } else { "configs/geom-drugs-o3.yaml" };
    let overrides = [format!("sampler.steps={}", options.steps)];
    let config = config::load::<Config>(recipe, &overrides)?.value;
    let work = match (&options.input, options.size) {
        (Some(path), _) => inputs::of_file(path)?,
        (None, Some(atoms)) => inputs::synthetic(&config.diffusion, options.total.min(64), atoms)?,
        (None, None) => inputs::of_dataset(&config, &options.data, options.total)?,
    };
    let work = work.part(0..work.len().min(options.total));
    let compute = ComputeConfig { engine: options.engine, precision: options.precision };
    let network = model::network(&config.model, compute)?;
    let parameters = network.initialize(0);
    let mut bench = Bench {
        network: &*network,
        parameters: &parameters,
        config: &config,
        task: options.task,
        threads: usize::from(options.threads),
        gradients: Vec::new(),
    };
    let measured = bench.run(&work, usize::from(options.molecules), options.seconds)?;
    println!("{}", report(&options, &config, &work, &measured)?);
    Ok(0)
}

/// The line of JSON: averages per molecule.
fn report(options: &Options, config: &Config, work: &Work, measured: &Measured) -> Result<Value> {
    let positions = if options.task == Task::Sample { &work.x_0 } else { &work.draw.x_t };
    let ModelConfig::Et(shape) = &config.model else {
        return Err(Error::Config("this program measures networks of `model.kind: et`".into()));
    };
    let counts = Counts::new(shape, positions, &work.condition.bonds);
    let (forward, backward) = (counts.forward(shape), counts.backward(shape));
    let flop: Vec<Flop> = match options.task {
        Task::Train => vec![forward, backward],
        Task::Predict => vec![forward],
        Task::Sample => vec![forward; options.steps],
    };
    let molecules = work.len() as f64;
    let needed = |pick: fn(&Flop) -> f64| flop.iter().map(pick).sum::<f64>() / molecules / 1e9;
    let total = needed(|flop| flop.total());
    let (peak, copied) = (needs::peak_flop_per_second() / 1e9, needs::copied_bytes_per_second() / 1e9);
    let cpu = measured.cpu / molecules;
    let split = |seconds: f64, flop: Flop| {
        let each = seconds / molecules;
        let gflop = flop.total() / molecules / 1e9;
        json!({ "cpu_seconds": each, "gflop": gflop, "share_of_peak": gflop / each / peak })
    };
    let training = options.task == Task::Train;
    Ok(json!({
        "program": "engine",
        "task": text(options.task.to_possible_value().map(|name| name.get_name().to_owned()))?,
        "recipe": if options.so3 { "drugs-so3" } else { "drugs-o3" },
        "engine": options.engine,
        "dtype": options.precision,
        "threads": options.threads,
        "batch": options.molecules,
        "molecules": work.len(),
        "size": options.size,
        "passes": measured.passes,
        "atoms": counts.atoms / molecules,
        "edges": counts.edges / molecules,
        "far_edges": counts.far_edges / molecules,
        "pairs": counts.pairs / molecules,
        "functions_per_pair": counts.functions / counts.pairs,
        "molecules_per_second": molecules / measured.wall,
        "cpu_seconds_per_molecule": cpu,
        "forward": training.then(|| split(measured.forward, forward)),
        "backward": training.then(|| split(measured.backward, backward)),
        "per_molecule_mb": measured.per_molecule_mb,
        "peak_mb": measured.peak_mb,
        "gflop_per_molecule": total,
        "gflop_nodes": needed(|flop| flop.nodes),
        "gflop_filters": needed(|flop| flop.filters),
        "gflop_far": needed(|flop| flop.far),
        "gflop_per_cpu_second": total / cpu,
        "peak_gflop_per_core_second": peak,
        "share_of_peak": total / cpu / peak,
        "copied_gb_per_second": copied,
    }))
}

fn text(name: Option<String>) -> Result<String> {
    name.ok_or_else(|| Error::Config("a task without a name".into()))
}

/// A setting by the name that it has in configuration files.
fn named<T: DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|e| e.to_string())
}
