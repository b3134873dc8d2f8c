//! Processes that exchange spans of numbers. Nothing above this room knows MPI; nothing in it knows models.
//!
//! A program calls [`connect`] once, works with the [`Communicator`] it gets, and hands it to [`close`] with
//! its outcome. Every member makes the same collective calls in the same order.
//!
//! | part | what it does |
//! |---|---|
//! | [`Solo`], [`threads`], [`mpi`] | the implementations: one process, threads of one process (tests), MPI |
//! | [`tree`] | the canonical sum: same bits on any number of members |
//! | [`vote`] | small agreements: any, all, min, max, sum, broadcast, equal bytes |
//! | [`cores`] | how many cores are this member's to use |
//! | [`status`] | step and phase, for the message of a member that fails |

pub mod cores;
mod launch;
#[cfg(feature = "mpi")]
pub mod mpi;
mod solo;
pub mod status;
pub mod threads;
pub mod tree;
pub mod vote;

use std::process::ExitCode;

use crate::{Error, Result};
use launch::Launch;
pub use solo::Solo;

/// A member of a group of processes (or threads) that all make the same calls in the same order.
///
/// A call blocks until the members it concerns have made theirs. A member that ended makes the others' calls
/// fail ([`threads`]) or ends the whole job ([`mpi`]); none waits for it for ever.
pub trait Communicator: Send {
    /// This member's number, `0..size`.
    fn rank(&self) -> usize;

    /// How many members there are.
    fn size(&self) -> usize;

    /// Sends `send` to `peer` and fills `receive` with what `peer` sends at the same time: this member's
    /// `send` is as long as the peer's `receive`, and the other way round.
    ///
    /// # Errors
    /// [`Error::World`] when there is no such peer, it is gone, or lengths differ.
    fn exchange(&self, peer: usize, send: &[f32], receive: &mut [f32]) -> Result<()>;

    /// Every member's bytes, in the order of the ranks, on every member. For small messages.
    ///
    /// # Errors
    /// [`Error::World`] when a member is gone or all together exceed 2 GiB.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Waits for all.
    ///
    /// # Errors
    /// [`Error::World`] when a member is gone.
    fn barrier(&self) -> Result<()>;

    /// Leaves the group in good order; all members call it. A member that is merely dropped is a failed one.
    ///
    /// # Errors
    /// [`Error::World`] when a member is gone.
    fn finish(self: Box<Self>) -> Result<()>;

    /// Ends every member of the group at once, with this exit code; does not return.
    fn abort(&self, code: u8) -> !;
}

/// Joins the group that this process was started in: MPI's world under `mpirun` or `srun --mpi=pmix`,
/// otherwise [`Solo`]. To be called once, before other threads are started.
///
/// # Errors
/// [`Error::World`] when several processes were started that cannot find each other:
/// a build without MPI, an MPI of another family than the launcher's, or `srun` without PMIx.
pub fn connect() -> Result<Box<dyn Communicator>> {
    match Launch::detect(|name| std::env::var(name).ok())? {
        Launch::Alone => Ok(Box::new(Solo)),
        Launch::Group { size } => join(size),
    }
}

#[cfg(feature = "mpi")]
fn join(announced: Option<usize>) -> Result<Box<dyn Communicator>> {
    Ok(Box::new(mpi::Mpi::initialize(announced)?))
}

#[cfg(not(feature = "mpi"))]
fn join(announced: Option<usize>) -> Result<Box<dyn Communicator>> {
    if announced == Some(1) {
        return Ok(Box::new(Solo));
    }
    let count = announced.map_or("several".into(), |size| size.to_string());
    Err(Error::World(format!(
        "{count} processes were started together, but this build of qsd has no MPI: rebuild it with the cargo feature \
         `mpi` (cargo build --release --features mpi), or start one process"
    )))
}

/// The last sentence of a program: leaves the group in good order with the outcome's exit code; so too when the
/// members have agreed on a failure ([`Error::Agreed`]), which rank 0 then prints. Any other error is printed with
/// the rank, step and phase, and ends all members with its exit code.
pub fn close(world: Box<dyn Communicator>, outcome: Result<u8>) -> ExitCode {
    let (rank, size) = (world.rank(), world.size());
    let place = || if size > 1 { format!("rank {rank} of {size}, {}: ", status::describe()) } else { String::new() };
    let code = match outcome {
        Ok(code) => code,
        Err(error @ Error::Agreed { .. }) => {
            if rank == 0 {
                say(&format!("error: {}\n", error.one_line()));
            }
            error.exit_code()
        }
        Err(error) => {
            say(&format!("error: {}{}\n", place(), error.one_line()));
            world.abort(error.exit_code())
        }
    };
    match world.finish() {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            say(&format!("error: {}{error}\n", place()));
            ExitCode::from(error.exit_code())
        }
    }
}

/// Writes to standard error at once, so that the words of several processes do not mix.
fn say(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
}
