//! Inverse folding and folding: what their commands get, and what they must leave.

use std::fmt::Write as _;
use std::path::Path;

use super::step::Step;
use crate::bio::{self, Format};
use crate::geometry::Point;
use crate::{Error, Result};

/// The letters of the standard amino acids.
const LETTERS: &str = "ACDEFGHIKLMNPQRSTVWY";

/// No coordinate of a structure is larger, in Å: such files are damaged.
const FARTHEST: f64 = 1e5;

/// A backbone that is asked for sequences.
#[derive(Clone, Debug)]
pub(super) struct Backbone {
    /// Name of its sequences' file.
    pub key: String,
    /// File and chain.
    pub origin: String,
    /// Positions of its Cα atoms in Å.
    pub positions: Vec<Point>,
}

/// From a backbone to sequences.
pub(super) struct InverseFolding {
    /// How many.
    pub num: usize,
}

impl Step for InverseFolding {
    type Item = Backbone;
    type Made = Vec<String>;
    const NAME: &'static str = "inverse-folding";
    const PRODUCT: &'static str = "backbones with sequences";
    const ENDINGS: &'static [&'static str] = &["fasta", "fa"];

    fn key<'a>(&self, item: &'a Backbone) -> &'a str {
        &item.key
    }

    fn origin(&self, item: &Backbone) -> String {
        item.origin.clone()
    }

    fn write_inputs(&self, items: &[&Backbone], folder: &Path) -> Result<()> {
        let save = |item: &&Backbone| {
            bio::save(&folder.join(format!("{}.pdb", item.key)), Format::Pdb, &item.key, &item.positions, false)
        };
        items.iter().try_for_each(save)
    }

    fn check(&self, item: &Backbone, content: &[u8]) -> Result<Vec<String>, String> {
        let sequences = read_fasta(content)?;
        if sequences.len() != self.num {
            return Err(format!("{} sequences; expected {}", sequences.len(), self.num));
        }
        for (i, sequence) in sequences.iter().enumerate() {
            if sequence.len() != item.positions.len() {
                let (length, residues) = (sequence.len(), item.positions.len());
                return Err(format!("sequence {} has {length} letters; the backbone has {residues} residues", i + 1));
            }
        }
        Ok(sequences)
    }
}

/// The sequences of a FASTA file in its order; the names of its records mean nothing.
fn read_fasta(content: &[u8]) -> Result<Vec<String>, String> {
    let text = std::str::from_utf8(content).map_err(|_| "not a FASTA file: not text".to_string())?;
    let mut sequences: Vec<String> = Vec::new();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.starts_with('>') {
            sequences.push(String::new());
        } else if let Some(letter) = line.chars().find(|letter| !LETTERS.contains(*letter)) {
            return Err(format!("line {number} has {letter:?}; expected letters of {LETTERS}"));
        } else if !line.is_empty() {
            let last = sequences.last_mut().ok_or("not a FASTA file: it does not begin with '>'")?;
            last.push_str(line);
        }
    }
    Ok(sequences)
}

/// A sequence that is asked for its structure.
#[derive(Clone, Debug)]
pub(super) struct Sequence {
    /// Name of its structure's file and of its record.
    pub key: String,
    /// File, chain and number.
    pub origin: String,
    /// One-letter codes.
    pub letters: String,
}

/// From a sequence to a structure.
pub(super) struct Folding;

impl Step for Folding {
    type Item = Sequence;
    type Made = Vec<Point>;
    const NAME: &'static str = "folding";
    const PRODUCT: &'static str = "structures";
    const ENDINGS: &'static [&'static str] = &["pdb", "cif"];

    fn key<'a>(&self, item: &'a Sequence) -> &'a str {
        &item.key
    }

    fn origin(&self, item: &Sequence) -> String {
        item.origin.clone()
    }

    fn write_inputs(&self, items: &[&Sequence], folder: &Path) -> Result<()> {
        let mut text = String::new();
        for Sequence { key, letters, .. } in items {
            // Writing to a string does not fail.
            let _ = writeln!(text, ">{key}\n{letters}");
        }
        let path = folder.join("sequences.fasta");
        std::fs::write(&path, text).map_err(Error::io(&path))
    }

    fn check(&self, item: &Sequence, content: &[u8]) -> Result<Vec<Point>, String> {
        if !ends_whole(content) {
            return Err("its last line is not ended".into());
        }
        let chains = bio::read_bytes(content)?.chains;
        let [chain] = chains.as_slice() else {
            return Err(format!("{} chains; expected one", chains.len()));
        };
        if chain.len() != item.letters.len() {
            return Err(format!("{} residues with a CA; the sequence has {}", chain.len(), item.letters.len()));
        }
        if chain.sequence != item.letters {
            return Err("its residues are not the sequence's".into());
        }
        match chain.positions.iter().position(|position| position.iter().any(|x| x.is_nan() || x.abs() >= FARTHEST)) {
            Some(i) => Err(format!("residue {} is at {:?}", i + 1, chain.positions[i])),
            None => Ok(chain.positions.clone()),
        }
    }
}

/// Whether a file was written to the end of its last line, so that no number in it is cut; `END`, a line of its own, needs
/// no end of line.
fn ends_whole(content: &[u8]) -> bool {
    content.ends_with(b"\n") || content.ends_with(b"\nEND") || content.ends_with(b"\n#") || is_packed(content)
}

/// Packed files have their own check of wholeness.
fn is_packed(content: &[u8]) -> bool {
    content.starts_with(b"\x1f\x8b")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backbone(n: usize) -> Backbone {
        let positions = (0..n).map(|i| [3.8 * i as f64, (i as f64).sin(), 0.0]).collect();
        Backbone { key: "k".into(), origin: "x.pdb A".into(), positions }
    }

    fn sequences(num: usize, text: &str) -> Result<Vec<String>, String> {
        InverseFolding { num }.check(&backbone(4), text.as_bytes())
    }

    #[test]
    fn sequences_count_and_names_do_not() {
        let text = ">../../etc/passwd\nAC\r\nDE\n\n>T=0.1, sample=2\nFGHI";
        assert_eq!(sequences(2, text).unwrap(), ["ACDE", "FGHI"]);
        for (num, text, expected) in [
            (3, text, "2 sequences; expected 3"),
            (1, ">a\nACD\n", "sequence 1 has 3 letters; the backbone has 4"),
            (2, ">a\nACDE\n>b\n", "sequence 2 has 0 letters"),
            (1, ">a\nACDX\n", "line 2 has 'X'"),
            (1, ">a\nAC/DE\n", "line 2 has '/'"),
            (1, ">a\nacde\n", "line 2 has 'a'"),
            (1, "ACDE\n", "does not begin with '>'"),
            (1, "", "0 sequences; expected 1"),
        ] {
            let message = sequences(num, text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert!(InverseFolding { num: 1 }.check(&backbone(1), b">\xff\nA").unwrap_err().contains("not text"));
    }

    fn atoms(names: &[&str], x: &str) -> String {
        let line = |(i, name): (usize, &&str)| {
            let n = i + 1;
            format!("ATOM  {n:>5}  CA  {name} A{n:>4}    {x:>8}{n:>8.3}{:>8.3}  1.00  0.00           C  \n", 0.0)
        };
        names.iter().enumerate().map(line).collect()
    }

    fn structure(letters: &str, text: &str) -> Result<Vec<Point>, String> {
        Folding.check(&Sequence { key: "k".into(), origin: String::new(), letters: letters.into() }, text.as_bytes())
    }

    #[test]
    fn structures_are_those_of_the_sequence() {
        let whole = atoms(&["ALA", "CYS", "ASP"], "1.250");
        assert_eq!(structure("ACD", &whole).unwrap(), [[1.25, 1.0, 0.0], [1.25, 2.0, 0.0], [1.25, 3.0, 0.0]]);
        assert_eq!(structure("ACD", &(whole.clone() + "END")).unwrap().len(), 3);
        let second = whole.replace(" A ", " B ");
        for (letters, text, expected) in [
            ("ACD", whole[..whole.len() - 1].to_string(), "last line is not ended"),
            ("ACDE", whole.clone(), "3 residues with a CA; the sequence has 4"),
            ("ACE", whole.clone(), "not the sequence's"),
            ("ACD", whole.clone() + &second, "2 chains"),
            ("ACD", atoms(&["ALA", "CYS", "ASP"], "nan"), "nan"),
            ("ACD", "no structure\n".into(), "no atoms"),
            ("ACD", "\n".into(), "atoms"),
        ] {
            let message = structure(letters, &text).unwrap_err();
            assert!(message.contains(expected), "{expected}: {message}");
        }
    }

    #[test]
    fn the_commands_get_what_the_contract_says() {
        let folder = tempfile::tempdir().unwrap();
        InverseFolding { num: 1 }.write_inputs(&[&backbone(5)], folder.path()).unwrap();
        let read = bio::read(&folder.path().join("k.pdb")).unwrap();
        assert_eq!((read.chains[0].id.as_str(), read.chains[0].sequence.as_str()), ("A", "AAAAA"));
        assert!((read.chains[0].positions[3][1] - 3f64.sin()).abs() < 6e-4);
        let record =
            |key: &str, letters: &str| Sequence { key: key.into(), origin: String::new(), letters: letters.into() };
        Folding.write_inputs(&[&record("a", "ACD"), &record("b", "EFG")], folder.path()).unwrap();
        let text = std::fs::read_to_string(folder.path().join("sequences.fasta")).unwrap();
        assert_eq!(text, ">a\nACD\n>b\nEFG\n");
    }
}
