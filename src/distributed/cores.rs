//! How many cores are this member's to use, so that the members on a machine do not crowd each other out.

use std::io;

use super::Communicator;
use crate::{Error, Result};

/// The number of threads that this member should compute with, at least 1: the cores that it may run on, each
/// shared equally among the members of this machine that may run on it too, scaled down to the control
/// group's quota where that is smaller. All members call it; it needs no help from the launcher.
///
/// # Errors
/// [`Error::World`] when a member is gone, [`Error::Io`] when the operating system does not tell.
pub fn per_rank(world: &dyn Communicator) -> Result<usize> {
    let mask = affinity().map_err(Error::io("/proc/self/status"))?;
    let allowed = std::thread::available_parallelism().map_err(Error::io("/proc/self/status"))?.get();
    let mut message = machine()?;
    message.push(0);
    let name = message.len();
    message.extend(&mask);
    let messages = world.all_gather(&message)?;
    let neighbours: Vec<&[u8]> = messages.iter().filter_map(|theirs| theirs.strip_prefix(&message[..name])).collect();
    Ok(share(&mask, &neighbours, allowed))
}

/// One byte per core: whether this process may run on it.
fn affinity() -> io::Result<Vec<u8>> {
    // SAFETY: an all-zero cpu_set_t is a valid, empty set, and the call writes at most its size.
    let (set, outcome) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let outcome = libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        (set, outcome)
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the index stays below the set's fixed size.
    Ok((0..libc::CPU_SETSIZE as usize).map(|core| unsafe { libc::CPU_ISSET(core, &set) }.into()).collect())
}

/// A name of the running kernel: equal for two processes if and only if they share its cores, also when they
/// are in different containers.
fn machine() -> Result<Vec<u8>> {
    let path = "/proc/sys/kernel/random/boot_id";
    std::fs::read(path).map_err(Error::io(path))
}

/// The part of the cores in `mask` that falls to one of its `neighbours` (which include the process itself),
/// times `allowed` (the cores that it may keep busy) over those in the mask.
fn share(mask: &[u8], neighbours: &[&[u8]], allowed: usize) -> usize {
    let users = |core: usize| neighbours.iter().filter(|other| other.get(core) == Some(&1)).count();
    let mine = || (0..mask.len()).filter(|&core| mask[core] == 1);
    let fraction: f64 = mine().map(|core| 1.0 / users(core).max(1) as f64).sum();
    let whole = fraction * allowed as f64 / mine().count().max(1) as f64;
    // Thirds may add up to a little less than one.
    ((whole + 1e-9) as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::{Solo, threads};

    #[test]
    fn cores_are_divided_among_those_who_share_them() {
        let all: &[u8] = &[1; 12];
        let (low, high): (&[u8], &[u8]) = (&[1, 1, 1, 1, 1, 1], &[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
        assert_eq!(share(all, &[all], 12), 12);
        assert_eq!(share(all, &[all; 3], 12), 4);
        assert_eq!(share(all, &[all; 8], 12), 1);
        assert_eq!(share(all, &[all; 100], 12), 1);
        assert_eq!(share(low, &[low, high], 6), 6, "bound ranks do not share");
        assert_eq!(share(low, &[low, low, high], 6), 3);
        assert_eq!(share(all, &[all, low], 12), 9, "half of six and six whole");
        assert_eq!(share(all, &[all; 2], 4), 2, "a quota of 4 of 12 cores, shared by two");
    }

    #[test]
    fn this_machine() {
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(per_rank(&Solo).unwrap(), cores);
        let mut members = threads::group(2);
        let (b, a) = (members.pop().unwrap(), members.pop().unwrap());
        let other = std::thread::spawn(move || per_rank(&b).unwrap());
        assert_eq!(per_rank(&a).unwrap(), (cores / 2).max(1));
        assert_eq!(other.join().unwrap(), (cores / 2).max(1));
    }
}
