//! XYZ files: frames of a count, a comment and one line per atom.

use std::io::BufRead;
use std::path::Path;

use crate::Result;

use super::lines::{Line, Lines, coordinate};
use super::{Atom, Chirality, Element, MAX_ATOMS, Record, Unsound};

/// Reads the frames of an XYZ file one by one as records without bonds; the comment is the name. Elements are
/// symbols or atomic numbers, further columns are passed over. After a frame with a bad atom or too many of them
/// the next one follows; a bad count leaves no way to find it and ends the iteration.
///
/// Each item's error is [`crate::Error::Data`] with file, frame and line, or [`crate::Error::Io`].
pub struct Reader<R> {
    lines: Lines<R>,
    record: usize,
    done: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads from `source`; `file` is for messages.
    pub fn new(source: R, file: &Path) -> Self {
        Reader { lines: Lines::new(source, file), record: 0, done: false }
    }

    /// The next frame; with `done` set if none can follow.
    fn frame(&mut self) -> Result<Option<Record>> {
        self.done = true;
        let Some(count) = self.count()? else { return Ok(None) };
        if count > MAX_ATOMS {
            return Err(self.pass_over(count)?);
        }
        let name = self.text()?;
        let mut record = Record::default();
        let mut first_error = None;
        for _ in 0..count {
            let line = self.text()?.and_then(|line| atom_line(&line));
            match line {
                Ok((atom, position)) => {
                    record.molecule.atoms.push(atom);
                    record.positions.push(position);
                }
                Err(what) => first_error = first_error.or(Some(self.error(what))),
            }
        }
        self.done = false;
        record.name = name.map_err(|what| self.error(what))?.trim().to_owned();
        first_error.map_or(Ok(Some(record)), Err)
    }

    /// Skips the rest of a frame of too many atoms and says so.
    fn pass_over(&mut self, count: usize) -> Result<crate::Error> {
        let refused = self.error(Unsound::TooLarge(count));
        for _ in 0..=count {
            if matches!(self.lines.next()?, Line::End) {
                return Ok(refused);
            }
        }
        self.done = false;
        Ok(refused)
    }

    fn error(&self, what: impl std::fmt::Display) -> crate::Error {
        self.lines.error(self.record, self.lines.number(), what)
    }

    /// The number of atoms; `None` if only blank lines are left.
    fn count(&mut self) -> Result<Option<usize>> {
        loop {
            match self.lines.next()? {
                Line::End => return Ok(None),
                Line::Text(line) if line.trim().is_empty() => {}
                Line::Text(line) => {
                    self.record += 1;
                    let what = |_| self.error(format!("{:?} is no number of atoms", shortened(&line)));
                    return line.trim().parse().map(Some).map_err(what);
                }
                Line::Bad(what) => {
                    self.record += 1;
                    return Err(self.error(what));
                }
            }
        }
    }

    /// A line of the frame: the outer error ends the file, the inner one spoils the frame.
    fn text(&mut self) -> Result<Result<String, String>> {
        match self.lines.next()? {
            Line::Text(line) => Ok(Ok(line)),
            Line::Bad(what) => Ok(Err(what)),
            Line::End => Err(self.error("the file ends within a frame")),
        }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Result<Record>> {
        if self.done { None } else { self.frame().transpose() }
    }
}

fn shortened(line: &str) -> String {
    line.chars().take(40).collect()
}

fn atom_line(line: &str) -> Result<(Atom, [f64; 3]), String> {
    let words: Vec<&str> = line.split_whitespace().take(4).collect();
    let [element, x, y, z] = words[..] else {
        return Err(format!("{:?} is no atom; expected an element and three coordinates", shortened(line)));
    };
    let number = element.parse().ok().filter(|&number| Element::new(number).is_some());
    let atomic_number =
        number.or_else(|| Element::number_of(element)).ok_or_else(|| format!("{element:?} is no element"))?;
    let atom = Atom { atomic_number, formal_charge: 0, radical_electrons: 0, chirality: Chirality::None };
    Ok((atom, [coordinate(x)?, coordinate(y)?, coordinate(z)?]))
}
