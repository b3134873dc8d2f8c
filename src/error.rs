//! The one error type: what went wrong, where, and which exit code it means.

use std::path::{Path, PathBuf};

/// What every fallible function of the crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure that a user can act on. Each message names the place (file, record, key, rank), what was
/// found, what was expected and, where it helps, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or a configuration file is wrong (exit code 2).
    #[error("{0}")]
    Config(String),
    /// A data set or an input file is missing, damaged or not of the expected form (exit code 3).
    #[error("{0}")]
    Data(String),
    /// A checkpoint is missing, damaged or belongs to another model (exit code 4).
    #[error("{0}")]
    Checkpoint(String),
    /// The processes cannot work together: count, differing configuration or data (exit code 5).
    #[error("{0}")]
    World(String),
    /// A loss or gradient is not finite (exit code 6).
    #[error("{0}")]
    NonFinite(String),
    /// The operating system refused a file operation (exit code 7).
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder in question.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A tensor operation failed: a defect of qsd, or memory ran out (exit code 8).
    #[error("tensor computation failed: {0}")]
    Compute(#[from] candle_core::Error),
    /// The program was asked to stop; what it had done is kept, and the same command goes on (exit code 75).
    #[error("{0}")]
    Stopped(String),
    /// A failure that all processes of a job have been told of, so that one of them speaks for all.
    #[error("{}{message}", if *rank == 0 { String::new() } else { format!("rank {rank}: ") })]
    Agreed {
        /// The lowest rank that failed.
        rank: usize,
        /// The exit code of its failure.
        code: u8,
        /// What it had to say.
        message: String,
    },
}

impl Error {
    /// Attaches the path to an operating-system error, for `map_err`.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, source }
    }

    /// The process exit code that stands for this kind of failure. 1 is left to panics of the runtime,
    /// 75 to a run that was asked to stop and saved its state.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Config(_) => 2,
            Error::Data(_) => 3,
            Error::Checkpoint(_) => 4,
            Error::World(_) => 5,
            Error::NonFinite(_) => 6,
            Error::Io { .. } => 7,
            Error::Compute(_) => 8,
            Error::Stopped(_) => crate::cli::STOPPED,
            Error::Agreed { code, .. } => *code,
        }
    }

    /// The error and its causes, joined by `: `; a cause that the error's own words contain is not repeated.
    pub fn one_line(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.contains(&words) {
                text = format!("{text}: {words}");
            }
            cause = error.source();
        }
        // Words of a library may span lines, and a file's name may hold any character.
        let blank = |character: char| if character.is_control() { ' ' } else { character };
        text.chars().map(blank).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}
