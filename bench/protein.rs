//! What the protein network costs on this machine: seconds a step, residues a second, memory; with either engine, and
//! for the plain one with each of its shortcuts alone.
//!
//! ```text
//! cargo build --release --example protein
//! for form in literal once-per-chain table-rows shared-norm all; do
//!     target/release/examples/protein --form $form --batch 4 --length 128
//! done
//! target/release/examples/protein --engine fused --threads 2 --batch 2 --length 128
//! ```
//! Prints one line of JSON per length. A *step* is network, loss and the way back, and in half of the steps one more
//! prediction, for self-conditioning; not the optimizer, which `step` measures. Each thread computes a batch of its own, as
//! the trainer's do. Times are medians, parts of a thread's step CPU time; memory is the
//! resident memory's peak, and what the steps add to what the process held before the first. To be started in the repository's folder.
#![allow(missing_docs)]

#[path = "engine/clock.rs"]
mod clock;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use candle_core::DType;
use clap::{Parser, ValueEnum};
use clock::{cpu_seconds, median};
use qsd::data::{Batch, Condition};
use qsd::diffusion::{Denoiser, Draw, Input, draw, evaluate, fed_back};
use qsd::distributed::Communicator;
use qsd::geometry::{Clouds, Point};
use qsd::model::protein::{ProteinNetwork, Shortcuts};
use qsd::model::{self, ComputeConfig, Engine, ModelConfig, Network, Precision};
use qsd::random::{Purpose, normal_points, stream};
use qsd::train::{Config, process};
use qsd::{Error, Result, config, train};
use serde_json::{Value, json};

/// How the plain engine computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// As the reference does.
    Literal,
    /// The conditioning once per chain.
    OncePerChain,
    /// Products with binned features as sums of rows.
    TableRows,
    /// One norm of the pairs for all layers.
    SharedNorm,
    /// With all three.
    All,
}

impl Form {
    fn shortcuts(self) -> Shortcuts {
        let none = Shortcuts::none();
        match self {
            Form::Literal => none,
            Form::OncePerChain => Shortcuts { once_per_chain: true, ..none },
            Form::TableRows => Shortcuts { table_rows: true, ..none },
            Form::SharedNorm => Shortcuts { shared_norm: true, ..none },
            Form::All => Shortcuts::default(),
        }
    }
}

/// Measures the protein network.
#[derive(Parser)]
struct Options {
    /// A recipe of model.kind protein.
    #[arg(long, default_value = "configs/protein-60m.yaml")]
    recipe: PathBuf,
    /// Settings of the recipe to change, such as model.layers=2.
    #[arg(long = "set")]
    overrides: Vec<String>,
    /// fused or plain.
    #[arg(long, default_value = "plain", value_parser = named::<Engine>)]
    engine: Engine,
    /// f32, or bf16 with the fused engine.
    #[arg(long, default_value = "f32", value_parser = named::<Precision>)]
    precision: Precision,
    /// How the plain engine computes.
    #[arg(long, value_enum, default_value = "all")]
    form: Form,
    /// The plain engine in f64.
    #[arg(long)]
    double: bool,
    /// Chains in each thread's batch.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Residues of a chain; several lengths are measured one after the other.
    #[arg(long, default_value = "128", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    length: Vec<u16>,
    /// Threads, each of which computes a batch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Predictions alone, as sampling makes them.
    #[arg(long)]
    predict: bool,
    /// Steps are repeated for so long, and at least three times.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// One thread's batch.
struct Work {
    condition: Condition,
    draw: Draw,
}

/// CPU seconds of the parts of a thread's step.
#[derive(Clone, Copy, Debug, Default)]
struct Lap {
    /// The prediction that is fed back.
    feedback: f64,
    /// Network, knowing it, and loss.
    forward: f64,
    /// The way back.
    backward: f64,
}

fn main() -> ExitCode {
    // SAFETY: nothing has been started yet.
    unsafe { train::process::main(run) }
}

fn run(_: &dyn Communicator, options: Options) -> Result<u8> {
    let config = config::load::<Config>(&options.recipe, &options.overrides)?.value;
    let network = network(&options, &config)?;
    let parameters = network.initialize(0);
    for &length in &options.length {
        println!("{}", measure(&options, &config, &*network, &parameters, usize::from(length))?);
    }
    Ok(0)
}

fn network(options: &Options, config: &Config) -> Result<std::sync::Arc<dyn Network>> {
    let ModelConfig::Protein(shape) = &config.model else {
        return Err(Error::Config(format!("{}: model.kind must be protein", options.recipe.display())));
    };
    if options.engine == Engine::Fused {
        return model::network(&config.model, ComputeConfig { engine: options.engine, precision: options.precision });
    }
    let dtype = if options.double { DType::F64 } else { DType::F32 };
    Ok(std::sync::Arc::new(ProteinNetwork::new(shape.clone(), dtype)?.with_shortcuts(options.form.shortcuts())))
}

/// The line of JSON for chains of `length` residues.
fn measure(
    options: &Options,
    config: &Config,
    network: &dyn Network,
    parameters: &[f32],
    length: usize,
) -> Result<Value> {
    let (threads, batch) = (usize::from(options.threads), usize::from(options.batch));
    let work = (0..threads).map(|thread| Work::new(config, thread, batch, length)).collect::<Result<Vec<_>>>()?;
    let denoiser = network.bind(parameters)?;
    let numbers = if options.predict { 0 } else { parameters.len() };
    let mut gradients = vec![vec![0.0f32; numbers]; threads];
    let step = |gradients: &mut [Vec<f32>]| side_by_side(config, &*denoiser, &work, gradients);
    let reset = std::fs::write("/proc/self/clear_refs", "5").is_ok();
    let held = process::memory().0;
    // The first one also makes what is kept between steps; memory that was freed stays with the process.
    step(&mut gradients)?;
    let (mut walls, mut laps) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while walls.len() < 3 || start.elapsed().as_secs_f64() < options.seconds {
        let start = Instant::now();
        laps.extend(step(&mut gradients)?);
        walls.push(start.elapsed().as_secs_f64());
    }
    let part = |of: fn(&Lap) -> f64| median(laps.iter().map(of).collect());
    let (feedback, forward, backward) = (part(|lap| lap.feedback), part(|lap| lap.forward), part(|lap| lap.backward));
    // Every step was measured with the prediction that is fed back; half of the steps make it.
    let made = if options.predict { 1.0 } else { 0.5 };
    let cpu = threads as f64 * (made * feedback + forward + backward);
    let whole = if options.predict { feedback } else { feedback + forward + backward };
    let seconds = median(walls) * cpu / threads as f64 / whole;
    let residues = (threads * batch * length) as f64;
    Ok(json!({
        "program": "protein",
        "recipe": options.recipe.file_stem().map(|stem| stem.to_string_lossy()),
        "parameters": parameters.len(),
        "engine": options.engine,
        "form": (options.engine == Engine::Plain).then(|| options.form.to_possible_value().map(|v| v.get_name().to_owned())),
        "dtype": if options.double { json!("f64") } else { json!(options.precision) },
        "task": if options.predict { "predict" } else { "train" },
        "threads": threads,
        "batch": batch,
        "length": length,
        "steps": laps.len() / threads,
        "seconds_per_step": seconds,
        "cpu_seconds_per_step": cpu,
        "predict_cpu_seconds": feedback,
        "forward_cpu_seconds": (!options.predict).then_some(forward),
        "backward_cpu_seconds": (!options.predict).then_some(backward),
        "residues_per_second": residues / seconds,
        "held_mb": held as f64 / 1e6,
        "step_mb": reset.then(|| (process::memory().1.saturating_sub(held)) as f64 / 1e6),
        "peak_mb": process::memory().1 as f64 / 1e6,
    }))
}

/// A step of every thread; training if there is room for gradients.
fn side_by_side(
    config: &Config,
    denoiser: &(dyn Denoiser + Send + Sync),
    work: &[Work],
    gradients: &mut [Vec<f32>],
) -> Result<Vec<Lap>> {
    if let ([work], [gradient]) = (work, &mut *gradients) {
        return Ok(vec![work.step(config, denoiser, gradient)?]);
    }
    std::thread::scope(|scope| {
        let jobs = work.iter().zip(gradients);
        let handles: Vec<_> =
            jobs.map(|(work, gradient)| scope.spawn(move || work.step(config, denoiser, gradient))).collect();
        let lost = |_| Err(Error::World("a thread panicked".into()));
        handles.into_iter().map(|handle| handle.join().unwrap_or_else(lost)).collect()
    })
}

impl Work {
    /// Made-up chains, noised as in training.
    fn new(config: &Config, thread: usize, batch: usize, length: usize) -> Result<Work> {
        let ids: Vec<u64> = (0..batch).map(|b| (thread * batch + b) as u64).collect();
        let chains: Vec<Vec<Point>> = ids.iter().map(|&id| walk(id, length)).collect();
        let x_1 = Clouds::from_clouds(chains.iter().map(Vec::as_slice)).centred();
        let condition = Condition::from_lengths(&vec![length; batch]);
        let batch = Batch { ids, x_1, condition };
        let draw = draw(&config.diffusion, 0, 0, &batch)?;
        Ok(Work { condition: batch.condition, draw })
    }

    fn step(&self, config: &Config, denoiser: &dyn Denoiser, gradient: &mut [f32]) -> Result<Lap> {
        let Work { condition, draw } = self;
        let input = Input { x_t: &draw.x_t, t: &draw.t, condition, self_condition: None };
        let now = || cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID);
        let (start, mut lap) = (now(), Lap::default());
        let prediction = denoiser.predict(input)?;
        let fed = fed_back(&config.diffusion, &draw.t, &draw.x_t, &prediction);
        lap.feedback = now() - start;
        if gradient.is_empty() {
            return Ok(lap);
        }
        let start = now();
        let recording = denoiser.record(Input { self_condition: Some(&fed), ..input })?;
        let evaluation = evaluate(&config.diffusion, draw, recording.prediction(), 1.0 / draw.t.len() as f64);
        lap.forward = now() - start;
        if !evaluation.loss.iter().all(|loss| loss.is_finite()) {
            return Err(Error::NonFinite("the network's result is not a number".into()));
        }
        let start = now();
        recording.backward(&evaluation.gradient, gradient, &mut |_, _| Ok(()))?;
        lap.backward = now() - start;
        Ok(lap)
    }
}

/// Steps of 3.8 Å in random directions, drawn back to the beginning as far as makes the chain as wide as a folded
/// one: distances are then spread over the bins as those of proteins are.
fn walk(id: u64, length: usize) -> Vec<Point> {
    const STEP: f64 = 3.8;
    const KEEP: f64 = 0.93;
    let mut place = [0.0; 3];
    let directions = normal_points::<3>(&mut stream(0, Purpose::SamplePrior, 0, id), length);
    let advance = |direction: &Point| {
        let norm = direction.iter().map(|c| c * c).sum::<f64>().sqrt();
        place = std::array::from_fn(|axis| KEEP * place[axis] + STEP * direction[axis] / norm);
        place
    };
    directions.iter().map(advance).collect()
}

/// A setting by the name that it has in configuration files.
fn named<T: serde::de::DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|e| e.to_string())
}
