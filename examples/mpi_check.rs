//! What several processes do together, and how a group ends when one of them fails:
//!
//! ```text
//! mpirun -n 4 mpi_check sum          the canonical sum of 32 buffers; prints its hash, the same for any -n
//! mpirun -n 4 mpi_check time         seconds for sums of 33 MB
//! mpirun -n 4 mpi_check MODE         MODE one of panic, thread, error, exit, disagree, stop
//! ```

use std::process::ExitCode;
use std::time::Instant;

use qsd::distributed::status::{self, Phase};
use qsd::distributed::tree::{TreeSum, all_reduce, owned_shards};
use qsd::distributed::{Communicator, close, connect, cores, vote};
use qsd::random::{Purpose, stream};
use qsd::{Error, Result};
use rand::RngExt as _;
use sha2::{Digest, Sha256};

fn main() -> ExitCode {
    let world = match connect() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(error.exit_code());
        }
    };
    let outcome = run(world.as_ref());
    close(world, outcome)
}

fn run(world: &dyn Communicator) -> Result<u8> {
    status::set_step(17);
    let mode = std::env::args().nth(1).unwrap_or_default();
    match mode.as_str() {
        "sum" => sum(world)?,
        "time" => time(world)?,
        "stop" => return Ok(75),
        "disagree" => vote::agree(world, "configuration", &[u8::from(world.rank() == 1)])?,
        _ if world.rank() == 1 => fail(&mode)?,
        _ => {
            status::enter(Phase::Reduce);
            all_reduce(world, &mut [1.0])?;
        }
    }
    Ok(0)
}

/// The ways in which one member can fail while the others wait for it.
fn fail(mode: &str) -> Result<()> {
    status::enter(Phase::Backward);
    match mode {
        "panic" => panic!("planted"),
        "thread" => drop(std::thread::spawn(|| panic!("planted")).join()),
        "exit" => std::process::exit(3),
        "error" => return Err(Error::Data("planted.arrow: damaged".into())),
        other => return Err(Error::Config(format!("unknown mode {other:?}"))),
    }
    Ok(())
}

fn sum(world: &dyn Communicator) -> Result<()> {
    let (shards, mut hash) = (32, Sha256::new());
    for len in [0, 1, 3, 7, 1000, 12_345, 1 << 20] {
        let mut total = subtree(owned_shards(world, shards)?, len)?;
        all_reduce(world, &mut total)?;
        total.iter().for_each(|number| hash.update(number.to_le_bytes()));
    }
    let hash = hash.finalize();
    vote::agree(world, "sums", &hash)?;
    let ranks = vote::gather(world, &[world.rank() as f64])?;
    assert!(ranks.iter().copied().eq((0..world.size()).map(|rank| rank as f64)), "ranks out of order: {ranks:?}");
    assert!(world.all_gather(&Vec::new())?.iter().all(Vec::is_empty), "empty messages");
    let texts = world.all_gather(&vec![b'x'; world.rank() * 1000])?;
    assert!(texts.iter().enumerate().all(|(rank, text)| text.len() == rank * 1000), "uneven messages");
    assert_eq!(vote::broadcast(world, &[world.rank() as u8], world.size() - 1)?, [world.size() as u8 - 1]);
    world.barrier()?;
    let cores = cores::per_rank(world)?;
    if world.rank() == 0 {
        println!("sum {} size {} cores {cores}", hex(&hash), world.size());
    }
    Ok(())
}

/// The sum of the buffers of these shards; numbers of very different sizes, so that the order shows.
fn subtree(shards: std::ops::Range<usize>, len: usize) -> Result<Vec<f32>> {
    let mut sum = TreeSum::new();
    for shard in shards {
        let mut rng = stream(1, Purpose::Prior, len as u64, shard as u64);
        let mut buffer = sum.buffer(len);
        buffer.fill_with(|| (rng.random::<f32>() - 0.5) * 2f32.powi(rng.random_range(-20..20)));
        sum.push(buffer)?;
    }
    sum.take()
}

fn time(world: &dyn Communicator) -> Result<()> {
    let mut numbers = vec![1.0f32; 8_300_000];
    let mut seconds = Vec::new();
    for _ in 0..12 {
        world.barrier()?;
        let start = Instant::now();
        all_reduce(world, &mut numbers)?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    if world.rank() == 0 {
        println!("33 MB over {} ranks: median {:.4} s, fastest {:.4} s", world.size(), seconds[6], seconds[0]);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
