//! What the programs show on the terminal and tell the shell: progress, durations, exit codes; and requests to stop.

mod exit;
pub mod human;
mod progress;
mod stop;

pub use exit::exit;
pub use progress::Progress;
pub use stop::{STOPPED, StopRequest};

/// Writes a line to standard error at once, so that what several processes say does not mix.
pub fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;
    // A closed standard error is no reason to stop.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
