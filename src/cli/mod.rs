//! What the programs show on the terminal and tell the shell: progress, durations, exit codes.

mod exit;
pub mod human;
mod progress;

pub use exit::exit;
pub use progress::Progress;

/// Writes a line to standard error at once, so that what several processes say does not mix.
pub fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;
    // A closed standard error is no reason to stop.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
