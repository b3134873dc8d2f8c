//! Processes connected by MPI.
//!
//! Two ways to hang a job are closed here. MPI's universe lives in a static that is dropped only by
//! [`Communicator::finish`], since dropping it on an error path means MPI_Finalize, which waits for the others
//! for ever. And a panic hook ends the whole job by MPI_Abort, with a message that names the rank, the step,
//! the phase and the place.

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

use ::mpi::Threading;
use ::mpi::datatype::PartitionMut;
use ::mpi::environment::{Universe, initialize_with_threading, is_finalized};
use ::mpi::point_to_point::send_receive_into;
use ::mpi::topology::SimpleCommunicator;
use ::mpi::traits::{Communicator as _, CommunicatorCollectives as _, Equivalence as _};

use super::{Communicator, status};
use crate::{Error, Result};

/// The initialised MPI, until it is finalised in good order.
static UNIVERSE: Mutex<Option<Universe>> = Mutex::new(None);

/// The most numbers in one message: MPI counts in `i32`.
const CHUNK: usize = 1 << 28;

/// Where an empty message points: Rust's own empty byte slices may point to address 1, which is Open MPI's
/// MPI_IN_PLACE.
static NOTHING: [u8; 1] = [0];

/// The exit code of a panic.
const PANICKED: i32 = 101;

/// A process of MPI's world.
pub struct Mpi {
    rank: usize,
    size: usize,
    /// It may move to another thread but not serve two at once.
    not_sync: PhantomData<Cell<()>>,
}

impl Mpi {
    /// Initialises MPI, where the launcher announced this many processes, and has panics end the whole job.
    ///
    /// # Errors
    /// [`Error::World`] when MPI was initialised before, admits calls from one thread only, or sees another
    /// number of processes.
    pub fn initialize(announced: Option<usize>) -> Result<Self> {
        let (universe, threading) = initialize_with_threading(Threading::Multiple)
            .ok_or_else(|| Error::World("MPI is initialised already: connect once per process".into()))?;
        let world = universe.world();
        *UNIVERSE.lock().unwrap_or_else(PoisonError::into_inner) = Some(universe);
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        abort_on_panic(rank, size);
        if threading < Threading::Serialized {
            return Err(Error::World(format!(
                "this MPI grants the thread level {threading:?}, but communication needs Serialized or Multiple"
            )));
        }
        if let Some(announced) = announced.filter(|announced| *announced != size) {
            return Err(Error::World(format!(
                "the launcher started {announced} processes but MPI sees {size}: qsd was built with another MPI than the \
                 launcher's (compare `mpirun --version` with `ldd qsd-train`)"
            )));
        }
        Ok(Self { rank, size, not_sync: PhantomData })
    }

    fn failure(&self, what: impl std::fmt::Display) -> Error {
        Error::World(format!("rank {} of {}: {what}", self.rank, self.size))
    }
}

impl Communicator for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, peer: usize, send: &[f32], receive: &mut [f32]) -> Result<()> {
        if peer >= self.size {
            return Err(self.failure(format!("rank {peer} does not exist")));
        }
        let world = SimpleCommunicator::world();
        let process = world.process_at_rank(peer as i32);
        // Both sides count the rounds by the longer of the two directions, so they make equally many.
        for start in (0..send.len().max(receive.len())).step_by(CHUNK) {
            let part = |len: usize| start.min(len)..(start + CHUNK).min(len);
            let (sent, received) = (part(send.len()), part(receive.len()));
            let (send, receive) = (&send[sent], &mut receive[received]);
            let status = send_receive_into(send, &process, receive, &process);
            let count = status.count(f32::equivalent_datatype()) as usize;
            if count != receive.len() {
                return Err(self.failure(format!("rank {peer} sent {count} numbers, expected {}", receive.len())));
            }
        }
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let world = SimpleCommunicator::world();
        let mut lengths = vec![0u64; self.size];
        world.all_gather_into(&(bytes.len() as u64), &mut lengths[..]);
        let total: u64 = lengths.iter().sum();
        if i32::try_from(total).is_err() {
            return Err(self.failure(format!("a message of {total} bytes to all; the most is {}", i32::MAX)));
        }
        if total == 0 {
            return Ok(vec![Vec::new(); self.size]);
        }
        // Each fits, since their sum does.
        let counts: Vec<i32> = lengths.iter().map(|&length| length as i32).collect();
        let starts: Vec<i32> = counts.iter().scan(0, |end, count| Some(std::mem::replace(end, *end + count))).collect();
        let mut all = vec![0u8; total as usize];
        let bytes = if bytes.is_empty() { &NOTHING[..0] } else { bytes };
        world.all_gather_varcount_into(bytes, &mut PartitionMut::new(&mut all[..], counts, &starts[..]));
        let mut rest = &all[..];
        Ok(lengths.iter().map(|&length| rest.split_off(..length as usize).unwrap_or_default().to_vec()).collect())
    }

    fn barrier(&self) -> Result<()> {
        SimpleCommunicator::world().barrier();
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        drop(UNIVERSE.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }

    fn abort(&self, code: u8) -> ! {
        SimpleCommunicator::world().abort(code.into())
    }
}

/// From now on a panic on any thread of this process ends all processes of the job.
fn abort_on_panic(rank: usize, size: usize) {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if is_finalized() {
            return before(panic);
        }
        eprintln!("error: rank {rank} of {size}, {}: {}", status::describe(), describe(panic));
        SimpleCommunicator::world().abort(PANICKED)
    }));
}

/// `panic at src/x.rs:1:2: message`.
fn describe(panic: &PanicHookInfo) -> String {
    let place = panic.location().map_or("an unknown place".into(), |location| location.to_string());
    format!("panic at {place}: {}", message(panic.payload()))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
