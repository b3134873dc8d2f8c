//! A user's command line: words with placeholders, started without a shell.

use std::path::Path;

use crate::{Error, Result};

/// The placeholders that a command may have.
const PLACEHOLDERS: [&str; 5] = ["{inputs}", "{outputs}", "{num}", "{seed}", "{job}"];

/// What the placeholders of one invocation stand for.
pub(super) struct Values<'a> {
    /// The folder that holds what the command shall work on.
    pub inputs: &'a Path,
    /// The folder that it shall leave its results in.
    pub outputs: &'a Path,
    /// Sequences per backbone.
    pub num: usize,
    /// Seed.
    pub seed: u64,
    /// Which of the invocations that run side by side this is, from 0.
    pub job: usize,
}

/// A command line, split into words as a shell would split it, of which nothing else is a shell's: no variables, no
/// pipes, no patterns.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    words: Vec<String>,
}

impl Template {
    /// Splits and checks `text`, which `option` was given.
    ///
    /// # Errors
    /// [`Error::Config`] for quotes that are not closed, unknown placeholders, one of `{inputs}` and `{outputs}` missing,
    /// or a program that cannot be found.
    pub fn parse(option: &str, text: &str) -> Result<Self> {
        let refused = |what: String| Error::Config(format!("--{option} '{text}': {what}"));
        let words = shell_words::split(text).map_err(|e| refused(format!("{e}; close every quote")))?;
        for needed in &PLACEHOLDERS[..2] {
            if !words.iter().any(|word| word.contains(needed)) {
                return Err(refused(format!("has no {needed}; say where the command takes that folder")));
            }
        }
        if let Some(unknown) = words.iter().find_map(|word| unknown_placeholder(word)) {
            return Err(refused(format!("{unknown} is none of {}", PLACEHOLDERS.join(" "))));
        }
        let program = words.first().map(String::as_str).unwrap_or_default();
        if !is_program(program) {
            return Err(refused(format!("there is no program '{program}'; give its path, or extend PATH")));
        }
        Ok(Template { text: text.to_string(), words })
    }

    /// As it was given.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The words of one invocation.
    ///
    /// # Errors
    /// [`Error::Config`] when the folders' names are not text.
    pub(super) fn fill(&self, values: &Values) -> Result<Vec<String>> {
        let text = |path: &Path| match path.to_str() {
            Some(text) => Ok(text.to_string()),
            None => Err(Error::Config(format!("{}: its name is not UTF-8; name another --out", path.display()))),
        };
        let given = [
            text(values.inputs)?,
            text(values.outputs)?,
            values.num.to_string(),
            values.seed.to_string(),
            values.job.to_string(),
        ];
        Ok(self.words.iter().map(|word| replace(word, &given)).collect())
    }
}

/// A word with the values at the placeholders' places; what a value contains is not looked at again.
fn replace(word: &str, values: &[String; 5]) -> String {
    let mut filled = String::new();
    let mut rest = word;
    while let Some(start) = rest.find('{') {
        filled += &rest[..start];
        rest = &rest[start..];
        let known = PLACEHOLDERS.iter().position(|placeholder| rest.starts_with(placeholder));
        let length = match known {
            Some(which) => {
                filled += &values[which];
                PLACEHOLDERS[which].len()
            }
            None => {
                filled.push('{');
                1
            }
        };
        rest = &rest[length..];
    }
    filled + rest
}

/// The first `{letters}` that is none of the placeholders; other braces (JSON, say) are the command's own.
fn unknown_placeholder(word: &str) -> Option<&str> {
    let parts = word.match_indices('{').filter_map(|(start, _)| {
        let end = word[start..].find('}')?;
        Some(&word[start..=start + end])
    });
    let is_name = |part: &&str| {
        let name = &part[1..part.len() - 1];
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    parts.filter(is_name).find(|part| !PLACEHOLDERS.contains(part))
}

/// Whether the system would find this program: by its path, or in `PATH`.
fn is_program(name: &str) -> bool {
    let is_file = |path: &Path| path.metadata().is_ok_and(|found| found.is_file());
    match name.contains('/') {
        true => is_file(Path::new(name)),
        false => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            !name.is_empty() && std::env::split_paths(&path).any(|folder| is_file(&folder.join(name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_and_filled_without_a_shell() {
        let text = r#"sh -c 'cp "$0"/* $1; echo {"a": 1}' {inputs} {outputs}/x=$HOME --n={num}:{seed} '' {job}"#;
        let template = Template::parse("folding", text).unwrap();
        let (inputs, outputs) = (Path::new("/t/a {num} b"), Path::new("/t/o"));
        let words = template.fill(&Values { inputs, outputs, num: 8, seed: 7, job: 1 }).unwrap();
        let script = r#"cp "$0"/* $1; echo {"a": 1}"#;
        assert_eq!(words, ["sh", "-c", script, "/t/a {num} b", "/t/o/x=$HOME", "--n=8:7", "", "1"]);
    }

    #[test]
    fn wrong_commands_say_what_is_wrong() {
        for (text, expected) in [
            ("sh {inputs} '{outputs}", "close every quote"),
            ("sh {inputs}", "has no {outputs}"),
            ("sh {outputs}", "has no {inputs}"),
            ("", "has no {inputs}"),
            ("sh {inputs} {outputs} {fasta}", "{fasta} is none of {inputs} {outputs} {num} {seed} {job}"),
            ("no-such-program-1 {inputs} {outputs}", "no program 'no-such-program-1'"),
            ("./missing.py {inputs} {outputs}", "no program './missing.py'"),
        ] {
            let message = Template::parse("folding", text).unwrap_err().to_string();
            assert!(message.starts_with("--folding '") && message.contains(expected), "{message}");
        }
    }
}
