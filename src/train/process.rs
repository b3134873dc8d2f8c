//! What a process must settle about itself before the first tensor is made.

use std::process::ExitCode;

use clap::Parser;

use crate::distributed::{self, Communicator};
use crate::{Result, cli};

/// The `main` of a program that works alone or with others: prepares the process, joins the group, reads the
/// arguments, runs, and leaves in good order. Rank 0 alone speaks of wrong arguments.
///
/// # Safety
/// To be called first thing in `main`, while there is one thread: it changes the environment.
pub unsafe fn main<A: Parser>(run: impl FnOnce(&dyn Communicator, A) -> Result<u8>) -> ExitCode {
    // SAFETY: the caller's promise is the one that is asked for.
    unsafe { prepare() };
    let world = match distributed::connect() {
        Ok(world) => world,
        Err(error) => return cli::exit(Err(error)),
    };
    let outcome = match A::try_parse() {
        Ok(arguments) => run(&*world, arguments),
        Err(message) => {
            if world.rank() == 0 {
                // A closed terminal is no reason to fail otherwise than by the exit code.
                let _ = message.print();
            }
            Ok(message.exit_code() as u8)
        }
    };
    distributed::close(world, outcome)
}

/// Prepares this process.
///
/// Tensor operations run on one thread each: cores are used by computing whole micro-shards side by side,
/// which does not change a bit of the results. And freed memory stays with the process: the system's allocator
/// would return every large tensor to the kernel, whose fresh pages then cost as much as the arithmetic.
///
/// # Safety
/// To be called first thing in `main`, while there is one thread: it changes the environment.
unsafe fn prepare() {
    // SAFETY: the caller promises that no other thread exists, so nobody reads the environment meanwhile.
    unsafe {
        std::env::set_var("RAYON_NUM_THREADS", "1");
        std::env::set_var("CANDLE_NUM_THREADS", "1");
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets parameters of the allocator; no memory is touched.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
    }
}

/// Resident memory of this process in bytes: now, and at its peak. Zeros where the system does not tell.
pub fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    };
    (field("VmRSS:").unwrap_or(0), field("VmHWM:").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_at_least_what_was_touched() {
        let block = vec![1u8; 64 << 20];
        let (now, peak) = super::memory();
        assert!(now > 64 << 20 && peak >= now, "{now} {peak} {}", block[block.len() - 1]);
    }
}
