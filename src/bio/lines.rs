//! Lines of an untrusted file as bytes: numbered, bounded in length and in their sum.

use std::io::{self, BufRead, ErrorKind, Read};

/// No line of a structure file is longer.
const MAX_LINE: usize = 1 << 20;

/// A source of lines.
pub(super) struct Lines<R> {
    source: R,
    line: Vec<u8>,
    number: usize,
    /// Bytes that may still be read.
    left: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads at most `limit` bytes from `source`.
    pub fn new(source: R, limit: u64) -> Self {
        Lines { source, line: Vec::new(), number: 0, left: limit }
    }

    /// The number of the line that was read last, from 1.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The next line without its end; `None` after the last. Ends of line are `\n` and `\r\n`.
    ///
    /// # Errors
    /// What is wrong with the source: it cannot be read (so a damaged gzip file), a line or all of it is too long.
    pub fn next(&mut self) -> Result<Option<&[u8]>, String> {
        self.line.clear();
        let limit = self.left.min(MAX_LINE as u64 + 1);
        let read = self.source.by_ref().take(limit).read_until(b'\n', &mut self.line);
        self.left -= read.map_err(|e| self.broken(&e))? as u64;
        if self.line.len() > MAX_LINE {
            return Err(format!("line {} is longer than {MAX_LINE} bytes", self.number + 1));
        }
        if self.left == 0 && !self.ended()? {
            return Err("larger than the limit when unpacked".into());
        }
        if self.line.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let ends = |byte: &&u8| matches!(byte, b'\n' | b'\r');
        let length = self.line.len() - self.line.iter().rev().take_while(ends).count();
        self.line.truncate(length);
        Ok(Some(&self.line))
    }

    fn ended(&mut self) -> Result<bool, String> {
        let rest = self.source.fill_buf().map(<[u8]>::is_empty);
        rest.map_err(|e| self.broken(&e))
    }

    fn broken(&self, error: &io::Error) -> String {
        match error.kind() {
            ErrorKind::UnexpectedEof => format!("the compressed data end within line {}: truncated", self.number + 1),
            _ => format!("line {} cannot be read: {error}", self.number + 1),
        }
    }
}

/// Bytes without blanks around them.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii()
}

/// Bytes as text; what is not UTF-8 is replaced.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A number, finite; errors name what was found.
pub(super) fn number(bytes: &[u8]) -> Result<f64, String> {
    let parsed = std::str::from_utf8(trim(bytes)).ok().and_then(|text| text.parse::<f64>().ok());
    parsed.filter(|x| x.is_finite()).ok_or_else(|| format!("{:?} is no number", text(trim(bytes))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(source: &[u8], limit: u64) -> Result<Vec<String>, String> {
        let mut lines = Lines::new(source, limit);
        let mut found = Vec::new();
        while let Some(line) = lines.next()? {
            found.push(text(line));
        }
        Ok(found)
    }

    #[test]
    fn lines_end_in_either_way() {
        assert_eq!(all(b"a\r\n\nb", 100).unwrap(), ["a", "", "b"]);
        assert_eq!(all(b"", 100).unwrap(), [""; 0]);
        assert_eq!(all(b"\xff", 100).unwrap(), ["\u{fffd}"]);
    }

    #[test]
    fn nothing_is_read_beyond_the_limits() {
        assert_eq!(all(b"abc\nd\n", 6).unwrap(), ["abc", "d"]);
        assert!(all(b"abc\nde\n", 6).unwrap_err().contains("larger than the limit"));
        let long = vec![b'x'; MAX_LINE + 1];
        assert!(all(&long, u64::MAX).unwrap_err().contains("line 1 is longer"));
        assert!(all(&long[1..], u64::MAX).is_ok());
    }

    #[test]
    fn numbers_are_finite() {
        assert_eq!(number(b"  -1.5e0 "), Ok(-1.5));
        for bad in [&b"nan"[..], b"inf", b"", b"1.2.3", b"\xff", b"1e999"] {
            assert!(number(bad).unwrap_err().contains("is no number"), "{bad:?}");
        }
    }
}
