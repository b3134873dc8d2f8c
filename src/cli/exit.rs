//! How a program that has no peers ends.

use std::process::ExitCode;

use crate::Result;

/// Turns a program's result into its exit code; an error is printed once, as one line that starts with
/// `error: ` and holds the chain of its causes.
///
/// The codes are those of [`crate::Error::exit_code`], and 0 for success.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::say(format_args!("error: {}", error.one_line()));
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn an_error_is_one_line_without_repetition() {
        let error = Error::io("a\u{1b}[31m.yaml")(std::io::Error::other("disk\n  full"));
        assert_eq!(error.one_line(), "a [31m.yaml: disk full");
        let error = Error::Compute(candle_core::Error::Msg("no memory".into()));
        assert_eq!(error.one_line(), "tensor computation failed: no memory");
    }

    #[test]
    fn causes_are_appended() {
        let inner = candle_core::Error::wrap(std::io::Error::other("the cause"));
        let error = Error::Compute(inner);
        assert!(error.one_line().starts_with("tensor computation failed: "), "{}", error.one_line());
        assert_eq!(error.one_line().matches("the cause").count(), 1);
    }

    #[test]
    fn codes_follow_the_kind_of_error() {
        assert_eq!(exit(Ok(())), ExitCode::SUCCESS);
        assert_eq!(exit(Err(Error::Config("wrong".into()))), ExitCode::from(2));
        assert_eq!(exit(Err(Error::NonFinite("loss".into()))), ExitCode::from(6));
    }
}
