//! The one place that prints an error.

use std::error::Error as _;
use std::process::ExitCode;

use crate::{Error, Result};

/// Turns a program's result into its exit code; an error is printed once, as one line that starts with
/// `error: ` and holds the chain of its causes.
///
/// The codes are those of [`Error::exit_code`], and 0 for success.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::from(error.exit_code())
        }
    }
}

/// The error and its causes, joined by `: `; a cause that the error's own words contain is not repeated.
fn one_line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_without_repetition() {
        let error = Error::io("a\u{1b}[31m.yaml")(std::io::Error::other("disk\n  full"));
        assert_eq!(one_line(&error), "a [31m.yaml: disk full");
        let error = Error::Compute(candle_core::Error::Msg("no memory".into()));
        assert_eq!(one_line(&error), "tensor computation failed: no memory");
    }

    #[test]
    fn causes_are_appended() {
        let inner = candle_core::Error::wrap(std::io::Error::other("the cause"));
        let error = Error::Compute(inner);
        assert!(one_line(&error).starts_with("tensor computation failed: "), "{}", one_line(&error));
        assert_eq!(one_line(&error).matches("the cause").count(), 1);
    }

    #[test]
    fn codes_follow_the_kind_of_error() {
        assert_eq!(exit(Ok(())), ExitCode::SUCCESS);
        assert_eq!(exit(Err(Error::Config("wrong".into()))), ExitCode::from(2));
        assert_eq!(exit(Err(Error::NonFinite("loss".into()))), ExitCode::from(6));
    }
}
