//! Lines of an untrusted text file: numbered, of bounded length, in UTF-8.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Longer lines are no line of a structure file.
const MAX_LINE: u64 = 1 << 20;

/// A source of lines that knows where it is.
pub struct Lines<R> {
    source: R,
    file: PathBuf,
    number: usize,
}

/// One line.
pub enum Line {
    /// Its text, without the end of line.
    Text(String),
    /// It is there, but cannot be used: why.
    Bad(String),
    /// The file ended before it.
    End,
}

impl<R: BufRead> Lines<R> {
    /// Reads from `source`; `file` is for messages.
    pub fn new(source: R, file: &Path) -> Self {
        Lines { source, file: file.to_path_buf(), number: 0 }
    }

    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// A data error at `line` of `record`, both from 1.
    pub fn error(&self, record: usize, line: usize, what: impl std::fmt::Display) -> Error {
        Error::Data(format!("{}: record {record}, line {line}: {what}", self.file.display()))
    }

    /// Reads the next line. Never keeps more than 1 MiB of it; the rest of a longer one is passed over.
    pub fn next(&mut self) -> Result<Line> {
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes);
        if read.map_err(Error::io(&self.file))? == 0 {
            return Ok(Line::End);
        }
        self.number += 1;
        if bytes.last() != Some(&b'\n') && bytes.len() as u64 == MAX_LINE {
            self.skip_line()?;
            return Ok(Line::Bad(format!("the line is longer than {MAX_LINE} bytes")));
        }
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        Ok(match String::from_utf8(bytes) {
            Ok(text) => Line::Text(text),
            Err(error) => Line::Bad(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to() + 1)),
        })
    }

    fn skip_line(&mut self) -> Result<()> {
        loop {
            let buffer = self.source.fill_buf().map_err(Error::io(&self.file))?;
            let end = buffer.iter().position(|&byte| byte == b'\n');
            let (length, done) = (end.map_or(buffer.len(), |end| end + 1), end.is_some() || buffer.is_empty());
            self.source.consume(length);
            if done {
                return Ok(());
            }
        }
    }
}

/// A finite number of Å.
pub fn coordinate(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err(format!("{text:?} is no finite coordinate")),
    }
}
