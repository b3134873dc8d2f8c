//! The reader: splits a stream into records and gives each to the parser of its version.

use std::io::BufRead;
use std::path::Path;

use crate::Result;

use super::super::lines::{Line, Lines};
use super::super::stereo::assign_from_positions;
use super::super::{Record, sanitise};
use super::ctab::{At, Ctab};
use super::{v2000, v3000};

/// A record with more text than this is refused.
const MAX_RECORD: usize = 32 << 20;

/// Reads the records of an SDF (or the one of a molfile) one by one, with atoms as they stand: no hydrogen is
/// added. Aromaticity is perceived from the bonds and handedness from the coordinates. After a bad record the
/// next one follows; an operating-system error ends the iteration.
///
/// Each item's error is [`crate::Error::Data`] with file, record and line, or [`crate::Error::Io`].
pub struct Reader<R> {
    lines: Lines<R>,
    record: usize,
    done: bool,
}

/// The lines of one record without its `$$$$`, the number of the first, and why they cannot be used, if so.
#[derive(Default)]
struct Text {
    first: usize,
    lines: Vec<String>,
    bad: Option<(usize, String)>,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `source`; `file` is for messages.
    pub fn new(source: R, file: &Path) -> Self {
        Reader { lines: Lines::new(source, file), record: 0, done: false }
    }

    /// The lines up to the next `$$$$`; `None` if only blank ones are left.
    fn next_text(&mut self) -> Result<Option<Text>> {
        let mut text = Text { first: self.lines.number() + 1, ..Text::default() };
        let mut bytes = 0;
        loop {
            match self.lines.next()? {
                Line::End => break,
                Line::Text(line) if line.starts_with("$$$$") => return Ok(Some(text)),
                Line::Text(_) if text.bad.is_some() => {}
                Line::Text(line) => {
                    bytes += line.len() + size_of::<String>();
                    text.lines.push(line);
                    if bytes > MAX_RECORD {
                        text.bad = Some((self.lines.number(), format!("the record is larger than {MAX_RECORD} bytes")));
                    }
                }
                Line::Bad(what) => text.bad = text.bad.or(Some((self.lines.number(), what))),
            }
        }
        self.done = true;
        let blank = text.bad.is_none() && text.lines.iter().all(|line| line.trim().is_empty());
        Ok((!blank).then_some(text))
    }

    fn parse(&self, text: Text) -> Result<Record> {
        let error = |At { line, what }: At| self.lines.error(self.record, text.first + line, what);
        if let Some((line, what)) = text.bad {
            return Err(self.lines.error(self.record, line, what));
        }
        let (ctab, end) = parse_ctab(&text.lines).map_err(error)?;
        let Ctab { mut molecule, positions } = ctab;
        sanitise(&mut molecule, |_| {}).map_err(|unsound| error(At { line: 3, what: unsound.to_string() }))?;
        assign_from_positions(&mut molecule, &positions);
        let name = text.lines[0].trim().to_owned();
        Ok(Record { name, molecule, positions, properties: properties(&text.lines[end..]) })
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if self.done {
            return None;
        }
        let text = match self.next_text() {
            Ok(text) => text?,
            Err(error) => {
                self.done = true;
                return Some(Err(error));
            }
        };
        self.record += 1;
        Some(self.parse(text))
    }
}

/// The table of atoms and bonds, and the index of the line after its `M  END`.
fn parse_ctab(lines: &[String]) -> Result<(Ctab, usize), At> {
    let Some(counts) = lines.get(3) else {
        return Err(At { line: lines.len(), what: "the record ends within its header of four lines".to_owned() });
    };
    match counts.get(33..39).map(str::trim) {
        Some("V3000") => v3000::parse(lines),
        _ => v2000::parse(lines),
    }
}

/// `> <name>` followed by the lines of its value and a blank one.
fn properties(lines: &[String]) -> Vec<(String, String)> {
    let mut properties = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.next() {
        let name = line.strip_prefix('>').and_then(|rest| rest.split_once('<')?.1.rsplit_once('>'));
        if let Some((name, _)) = name {
            let value: Vec<&str> =
                lines.by_ref().map(String::as_str).take_while(|line| !line.trim().is_empty()).collect();
            properties.push((name.to_owned(), value.join("\n")));
        }
    }
    properties
}
