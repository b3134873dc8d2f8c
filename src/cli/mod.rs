//! What the programs show on the terminal and tell the shell: progress, durations and sizes, exit codes.

mod exit;
pub mod human;
mod progress;

pub use exit::exit;
pub use progress::Progress;
