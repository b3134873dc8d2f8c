//! The syntax of CIF files: tokens, and from these items and the rows of loops.

use std::io::BufRead;

use super::lines::Lines;

/// A loop has no more columns.
const MAX_COLUMNS: usize = 1000;
/// A text between semicolons is no longer; nor is a row of a loop.
const MAX_TEXT: usize = 16 << 20;

/// What is done with the values of a file.
pub(super) trait Visitor {
    /// A data block begins; false ends the reading.
    fn block(&mut self, name: &[u8]) -> bool;
    /// An item with one value.
    fn item(&mut self, tag: &[u8], value: Value) -> Result<(), String>;
    /// A loop of these tags begins; false passes over it.
    fn header(&mut self, tags: &[Vec<u8>]) -> Result<bool, String>;
    /// A row of the loop that began last; false ends the reading.
    fn row(&mut self, row: &Row) -> Result<bool, String>;
}

/// A value: its bytes, and whether they stood in quotes, so that `?` and `.` mean themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'a> {
    bytes: &'a [u8],
    quoted: bool,
}

impl<'a> Value<'a> {
    /// Its bytes, or `None` where it is not known (`?`) or not applicable (`.`).
    pub fn known(self) -> Option<&'a [u8]> {
        (self.quoted || !matches!(self.bytes, b"?" | b".")).then_some(self.bytes)
    }
}

/// The values of a row.
#[derive(Debug, Default)]
pub(super) struct Row {
    bytes: Vec<u8>,
    /// Where each value ends, and whether it was quoted.
    ends: Vec<(usize, bool)>,
}

impl Row {
    /// The value of a column.
    pub fn get(&self, column: usize) -> Option<Value<'_>> {
        let &(end, quoted) = self.ends.get(column)?;
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before].0);
        Some(Value { bytes: &self.bytes[start..end], quoted })
    }

    fn push(&mut self, value: Value) -> Result<(), String> {
        self.bytes.extend_from_slice(value.bytes);
        if self.bytes.len() > MAX_TEXT {
            return Err(format!("a row of more than {MAX_TEXT} bytes"));
        }
        self.ends.push((self.bytes.len(), value.quoted));
        Ok(())
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Where the reader is in the grammar.
enum State {
    /// Between items.
    Open,
    /// After a tag, before its value.
    Tag(Vec<u8>),
    /// Among the tags of a loop.
    Header(Vec<Vec<u8>>),
    /// Among the values of a loop with this many columns, which may be passed over.
    Rows { columns: usize, wanted: bool },
}

/// Reads a file to its end, or until the visitor has enough.
///
/// # Errors
/// What is wrong, with the line.
pub(super) fn read<R: BufRead>(lines: &mut Lines<R>, visitor: &mut impl Visitor) -> Result<(), String> {
    let mut parser = Parser { visitor, state: State::Open, row: Row::default() };
    let mut text: Option<Vec<u8>> = None;
    let mut number = 0;
    let at = |number: usize, result: Result<bool, String>| result.map_err(|what| format!("line {number}: {what}"));
    while let Some(line) = lines.next()? {
        number += 1;
        let rest = match (&mut text, line.first()) {
            (Some(content), Some(b';')) => {
                let value = Value { bytes: content, quoted: true };
                if !at(number, parser.value(value))? {
                    return Ok(());
                }
                text = None;
                &line[1..]
            }
            (Some(content), _) => {
                content.push(b'\n');
                content.extend_from_slice(line);
                if content.len() > MAX_TEXT {
                    return Err(format!("line {number}: a text of more than {MAX_TEXT} bytes"));
                }
                continue;
            }
            (None, Some(b';')) => {
                text = Some(line[1..].to_vec());
                continue;
            }
            (None, _) => line,
        };
        if !at(number, parser.tokens(rest))? {
            return Ok(());
        }
    }
    match text {
        Some(_) => Err("a text that begins with a semicolon does not end: truncated".into()),
        None => parser.end(),
    }
}

struct Parser<'a, V> {
    visitor: &'a mut V,
    state: State,
    row: Row,
}

impl<V: Visitor> Parser<'_, V> {
    /// The tokens of a line, or of the rest of one; false when the visitor has enough.
    fn tokens(&mut self, line: &[u8]) -> Result<bool, String> {
        let mut rest = line.trim_ascii_start();
        while let Some(&first) = rest.first() {
            let length;
            let go_on = match first {
                b'#' => return Ok(true),
                b'\'' | b'"' => {
                    length = quoted_length(rest).ok_or("a quote does not end")?;
                    self.value(Value { bytes: &rest[1..length - 1], quoted: true })?
                }
                _ => {
                    length = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
                    self.word(&rest[..length])?
                }
            };
            if !go_on {
                return Ok(false);
            }
            rest = rest[length..].trim_ascii_start();
        }
        Ok(true)
    }

    fn word(&mut self, word: &[u8]) -> Result<bool, String> {
        let starts = |with: &[u8]| word.len() >= with.len() && word[..with.len()].eq_ignore_ascii_case(with);
        if word[0] == b'_' {
            self.tag(word).map(|()| true)
        } else if starts(b"data_") {
            self.end()?;
            Ok(self.visitor.block(&word[5..]))
        } else if word.eq_ignore_ascii_case(b"loop_") {
            self.end()?;
            self.state = State::Header(Vec::new());
            Ok(true)
        } else if starts(b"save_") || word.eq_ignore_ascii_case(b"stop_") || word.eq_ignore_ascii_case(b"global_") {
            self.end().map(|()| true)
        } else {
            self.value(Value { bytes: word, quoted: false })
        }
    }

    fn tag(&mut self, tag: &[u8]) -> Result<(), String> {
        if let State::Header(tags) = &mut self.state {
            tags.push(tag.to_ascii_lowercase());
            return match tags.len() > MAX_COLUMNS {
                true => Err(format!("a loop of more than {MAX_COLUMNS} columns")),
                false => Ok(()),
            };
        }
        self.end()?;
        self.state = State::Tag(tag.to_ascii_lowercase());
        Ok(())
    }

    fn value(&mut self, value: Value) -> Result<bool, String> {
        if let State::Header(tags) = &self.state {
            if tags.is_empty() {
                return Err("a loop without tags".into());
            }
            self.state = State::Rows { columns: tags.len(), wanted: self.visitor.header(tags)? };
        }
        match &self.state {
            State::Rows { wanted: false, .. } => Ok(true),
            State::Rows { columns, .. } => {
                self.row.push(value)?;
                if self.row.ends.len() < *columns {
                    return Ok(true);
                }
                let go_on = self.visitor.row(&self.row)?;
                self.row.clear();
                Ok(go_on)
            }
            State::Tag(tag) => {
                self.visitor.item(tag, value)?;
                self.state = State::Open;
                Ok(true)
            }
            State::Open | State::Header(_) => {
                Err(format!("the value {:?} has no tag", String::from_utf8_lossy(value.bytes)))
            }
        }
    }

    /// Ends what is under way.
    fn end(&mut self) -> Result<(), String> {
        let row = self.row.ends.len();
        self.row.clear();
        match (std::mem::replace(&mut self.state, State::Open), row) {
            (State::Rows { columns, .. }, 1..) => {
                Err(format!("a loop of {columns} columns ends with a row of {row} values: truncated?"))
            }
            _ => Ok(()),
        }
    }
}

/// The length of a quoted word with its quotes: it ends at the first such quote that a blank or the end of line follows.
fn quoted_length(word: &[u8]) -> Option<usize> {
    let ends = |i: &usize| word[*i] == word[0] && word.get(i + 1).is_none_or(u8::is_ascii_whitespace);
    (1..word.len()).find(ends).map(|i| i + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what it is told.
    #[derive(Default)]
    struct Log(Vec<String>);

    impl Visitor for Log {
        fn block(&mut self, name: &[u8]) -> bool {
            self.0.push(format!("data {}", String::from_utf8_lossy(name)));
            true
        }
        fn item(&mut self, tag: &[u8], value: Value) -> Result<(), String> {
            let (tag, value) = (String::from_utf8_lossy(tag), value.known().map(String::from_utf8_lossy));
            self.0.push(format!("{tag} = {value:?}"));
            Ok(())
        }
        fn header(&mut self, tags: &[Vec<u8>]) -> Result<bool, String> {
            self.0.push(format!("loop of {}", tags.len()));
            Ok(tags[0] != b"_skip.a")
        }
        fn row(&mut self, row: &Row) -> Result<bool, String> {
            let values = (0..).map_while(|i| row.get(i));
            let values = values.map(|v| v.known().map_or("none".into(), |v| String::from_utf8_lossy(v).into_owned()));
            self.0.push(values.collect::<Vec<_>>().join("|"));
            Ok(true)
        }
    }

    fn log(file: &str) -> Result<Vec<String>, String> {
        let mut log = Log::default();
        read(&mut Lines::new(file.as_bytes(), u64::MAX), &mut log)?;
        Ok(log.0)
    }

    #[test]
    fn items_loops_quotes_and_texts() {
        let file = "# head\ndata_X1\n_a.B 'it''s' # no\n_a.c ? _a.d '?'\n_a.text\n;one\ntwo;\n; _a.after 1\n\
                    LOOP_\n_l.a\n_l.b\nx \"O5'\"\n. 'a 'b'\n;long\n; 5\n_z.z 0\n";
        let expected = [
            "data X1",
            "_a.b = Some(\"it''s\")",
            "_a.c = None",
            "_a.d = Some(\"?\")",
            "_a.text = Some(\"one\\ntwo;\")",
            "_a.after = Some(\"1\")",
            "loop of 2",
            "x|O5'",
            "none|a 'b",
            "long|5",
            "_z.z = Some(\"0\")",
        ];
        assert_eq!(log(file).unwrap(), expected);
        assert_eq!(log("data_a loop_ _skip.a _skip.b 1 2 3 data_b").unwrap(), ["data a", "loop of 2", "data b"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (file, expected) in [
            ("data_a\nstray", "line 2: the value \"stray\" has no tag"),
            ("data_a\n_x.y 'open", "line 2: a quote does not end"),
            ("data_a\n_x.y\n;open\n", "a text that begins with a semicolon does not end"),
            ("data_a\nloop_\n_x.y\n_x.z\n1 2 3\n", "a loop of 2 columns ends with a row of 1 values"),
            ("loop_ 5", "a loop without tags"),
        ] {
            let message = log(file).map(|log| format!("{log:?}")).unwrap_err();
            assert!(message.contains(expected), "{file:?}: {message}");
        }
    }
}
