//! What a training step costs besides the network: sums, all-reduce, norm and update at the size of ET-Flow's
//! `drugs-o3` (8.3 million parameters), with a stand-in that spends a given time per unit of the network and
//! writes a gradient.
//!
//! ```text
//! cargo build --release --example step
//! target/release/examples/step [shards [threads [milliseconds a unit [steps]]]]
//! mpirun -n 2 target/release/examples/step 8 1 0
//! ```
//! `shards` is the number over all processes; medians (and minima) in milliseconds, of the slowest process.
#![allow(missing_docs)]

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use candle_core::DType;
use qsd::Result;
use qsd::data::{Batch, Condition, Position};
use qsd::diffusion::{Denoiser, DiffusionConfig, Input, Ready, Recording};
use qsd::distributed::tree::{all_gather, owned_shards};
use qsd::distributed::{Communicator, close, connect, vote};
use qsd::geometry::Clouds;
use qsd::model::Network;
use qsd::model::et::{EtConfig, EtNetwork};
use qsd::train::{BLOCK, Config, Pass, State, Sums, norm};

fn main() -> ExitCode {
    keep_freed_memory();
    let world = match connect() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    let outcome = run(world.as_ref()).map(|()| 0);
    close(world, outcome)
}

fn run(world: &dyn Communicator) -> Result<()> {
    let numbers: Vec<f64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let argument = |k: usize, default: f64| numbers.get(k).copied().unwrap_or(default);
    let (shards, threads) = (argument(0, 8.0) as usize, argument(1, 1.0) as usize);
    let (spin, steps) = (argument(2, 0.0), argument(3, 30.0) as usize);
    let mut config = Config::default();
    config.ema.decay = Some(0.999);
    let network = EtNetwork::new(EtConfig::default(), DType::F32)?;
    let mut state = State::new(&config, &network);
    let units = network.units().to_vec();
    let stand_in = StandIn { units: &units, each: Duration::from_secs_f64(spin / 1e3) };
    let batches: Vec<Batch> = owned_shards(world, shards)?.map(|id| batch(id as u64)).collect();
    let mut sums = Sums::default();
    let names = ["shards", "reduce", "norm", "update", "gather", "step"];
    let mut rows = Vec::new();
    for step in 0..steps + 2 {
        world.barrier()?;
        let mut laps = vec![Instant::now()];
        let mut lap = || laps.push(Instant::now());
        let diffusion = &DiffusionConfig::default();
        let pass = Pass { denoiser: &stand_in, units: &units, diffusion, seed: 1, step: step as u64, scale: 1.0 };
        let (_, mut gradient) = pass.shards(&batches, threads, &mut sums)?;
        lap();
        sums.reduce(world, &mut gradient)?;
        lap();
        let norm = norm(world, &gradient, threads, &[])?.0;
        lap();
        let next = Position { step: step as u64 + 1, ..state.position };
        state.update((&config, world, threads), &gradient, norm, next);
        sums.recycle(gradient);
        lap();
        all_gather(world, &mut state.parameters, BLOCK)?;
        lap();
        let mut row: Vec<f64> = laps.windows(2).map(|lap| (lap[1] - lap[0]).as_secs_f64() * 1e3).collect();
        row.push(row.iter().sum());
        rows.push(row);
    }
    let compute = spin * units.len() as f64 * (batches.len() as f64 / threads as f64).ceil();
    report(world, &names, &rows[2..], compute)
}

/// Medians and minima, the slowest process's.
fn report(world: &dyn Communicator, names: &[&str], rows: &[Vec<f64>], compute: f64) -> Result<()> {
    let quantile = |k: usize, q: usize| {
        let mut column: Vec<f64> = rows.iter().map(|row| row[k]).collect();
        column.sort_unstable_by(f64::total_cmp);
        column[(column.len() - 1) * q / 100]
    };
    let row = |q: usize| vote::max(world, &(0..names.len()).map(|k| quantile(k, q)).collect::<Vec<_>>());
    let (medians, minima) = (row(50)?, row(0)?);
    if world.rank() == 0 {
        let cell = |k: usize| format!("{} {:.1} ({:.1})", names[k], medians[k], minima[k]);
        let cells: Vec<String> = (0..names.len()).map(cell).collect();
        println!("{}; the stand-in alone {compute:.1}", cells.join(", "));
    }
    Ok(())
}

/// A network that spends time and writes numbers.
struct StandIn<'a> {
    units: &'a [Range<usize>],
    each: Duration,
}

/// Its forward pass.
struct Walk<'a> {
    network: &'a StandIn<'a>,
    prediction: Clouds,
}

impl Denoiser for StandIn<'_> {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        Ok(input.x_t.clone())
    }

    fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Ok(Box::new(Walk { network: self, prediction: self.predict(input)? }))
    }
}

impl Recording for Walk<'_> {
    fn prediction(&self) -> &Clouds {
        &self.prediction
    }

    fn backward(self: Box<Self>, at_prediction: &Clouds, gradient: &mut [f32], ready: &mut Ready<'_>) -> Result<()> {
        let value = at_prediction.points().iter().map(|g| g[0].abs()).sum::<f64>() as f32 + 1e-3;
        for unit in self.network.units {
            let start = Instant::now();
            let numbers = &mut gradient[unit.clone()];
            numbers.iter_mut().enumerate().for_each(|(k, g)| *g = value * (k % 64) as f32);
            while start.elapsed() < self.network.each {
                std::hint::spin_loop();
            }
            ready(unit.clone(), numbers)?;
        }
        Ok(())
    }
}

/// One molecule of two atoms.
fn batch(id: u64) -> Batch {
    let x_1 = Clouds::from_clouds([&[[0.5, 0.0, 0.1], [-0.5, 0.0, -0.1]][..]]);
    let condition = Condition::of_atoms(x_1.offsets().to_vec(), vec![6; 2], vec![[0.0; 10]; 2], vec![[0, 1]]);
    Batch { ids: vec![id], x_1, condition }
}

/// As the programs do when they start.
fn keep_freed_memory() {
    // SAFETY: mallopt only sets parameters of the allocator, before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
