//! Time and peak memory of the plain ET network at the size of ET-Flow's `drugs-o3`: one batch of molecules of
//! 42 atoms (drug-like: 44 bonds, about 5 Å across), prediction and recording with the way back.
//!
//! ```text
//! RAYON_NUM_THREADS=1 cargo run --release --example plain_et -- [default|tuned] [molecules]
//! ```
//! `tuned` tells glibc's allocator to keep freed memory instead of handing each large tensor's pages back.
#![allow(missing_docs)]

use std::time::Instant;

use candle_core::DType;
use qsd::data::Condition;
use qsd::diffusion::Input;
use qsd::geometry::{Clouds, Point};
use qsd::model::Network;
use qsd::model::et::{EtConfig, EtNetwork};
use qsd::random::{Purpose, normal_points, stream};

const ATOMS: usize = 42;
const ROUNDS: usize = 5;

fn main() -> qsd::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let allocator = arguments.next().unwrap_or_else(|| "default".into());
    let molecules = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(8);
    if allocator == "tuned" {
        keep_freed_memory();
    }
    let network = EtNetwork::new(EtConfig::default(), DType::F32)?;
    let parameters = network.initialize(1);
    let denoiser = network.bind(&parameters)?;
    let (x_t, condition) = batch(molecules);
    let t = vec![0.5; molecules];
    let input = Input { x_t: &x_t, t: &t, condition: &condition };
    let mut gradient = vec![0.0; network.layout().len()];
    let start = peak_megabytes();

    let predict = best(|| denoiser.predict(input).map(drop))?;
    let after_predict = peak_megabytes();
    let both = best(|| {
        let recording = denoiser.record(input)?;
        let at_prediction = recording.prediction().clone();
        recording.backward(&at_prediction, &mut gradient, &mut |_, _| Ok(()))
    })?;
    println!("{allocator} allocator, {molecules} molecules of {ATOMS} atoms, best of {ROUNDS} (wall, CPU)");
    println!("predict            {}   peak {:5.0} MB above {start:.0} MB", shown(predict), after_predict - start);
    println!("record + backward  {}   peak {:5.0} MB above {start:.0} MB", shown(both), peak_megabytes() - start);
    Ok(())
}

/// Molecules as a random walk would fold them: a backbone of 1.5 Å steps with two rings closed.
fn batch(molecules: usize) -> (Clouds, Condition) {
    let walk = |id: usize| -> Vec<Point> {
        let steps = normal_points::<3>(&mut stream(0, Purpose::SamplePrior, 0, id as u64), ATOMS);
        let mut place = [0.0; 3];
        let step = |step: Point| {
            let length = step.iter().map(|c| c * c).sum::<f64>().sqrt();
            place = std::array::from_fn(|axis| 0.8 * place[axis] + 1.5 * step[axis] / length);
            place
        };
        steps.into_iter().map(step).collect()
    };
    let clouds: Vec<Vec<Point>> = (0..molecules).map(walk).collect();
    let x_t = Clouds::from_clouds(clouds.iter().map(Vec::as_slice));
    let bonds = (0..molecules as u32).flat_map(|b| {
        let first = b * ATOMS as u32;
        let chain = (1..ATOMS as u32).map(move |i| [first + i - 1, first + i]);
        chain.chain([[first, first + 5], [first + 10, first + 15], [first + 20, first + 25]])
    });
    let condition = Condition {
        offsets: x_t.offsets().to_vec(),
        atomic_numbers: (0..molecules * ATOMS).map(|i| if i % ATOMS < 22 { 6 } else { 1 }).collect(),
        features: vec![[4.0, 3.0, 5.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]; molecules * ATOMS],
        bonds: bonds.collect(),
        stereo_centres: Vec::new(),
    };
    (x_t, condition)
}

/// The shortest wall and CPU seconds of several runs.
fn best(mut run: impl FnMut() -> qsd::Result<()>) -> qsd::Result<(f64, f64)> {
    let mut shortest = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let (wall, cpu) = (Instant::now(), cpu_seconds());
        run()?;
        shortest = (shortest.0.min(wall.elapsed().as_secs_f64()), shortest.1.min(cpu_seconds() - cpu));
    }
    Ok(shortest)
}

fn shown((wall, cpu): (f64, f64)) -> String {
    format!("{wall:6.3} s, {cpu:6.3} s")
}

fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec, which the call only fills.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + 1e-9 * time.tv_nsec as f64
}

/// The process's largest resident size so far.
fn peak_megabytes() -> f64 {
    // SAFETY: rusage is plain numbers, for which all-zero is a value; the call only fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    usage.ru_maxrss as f64 / 1024.0
}

fn keep_freed_memory() {
    // SAFETY: mallopt only sets parameters of the allocator, before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
