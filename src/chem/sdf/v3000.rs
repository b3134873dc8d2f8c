//! The free format of V3000.

use std::collections::HashMap;

use super::super::lines::coordinate;
use super::ctab::{At, Bonds, Ctab, at, atom, charge, integer, radical_electrons};

/// The part of a table that a line belongs to.
#[derive(PartialEq)]
enum Block {
    Outside,
    Atoms,
    Bonds,
    /// Collections, substance groups, …: passed over.
    Other,
}

/// A table under construction.
struct Parser {
    ctab: Ctab,
    bonds: Bonds,
    index_of: HashMap<i64, usize>,
    block: Block,
    /// Atoms and bonds announced.
    counts: Option<(i64, i64)>,
}

/// Parses the table of a record; also the index of the line after `M  END`.
pub fn parse(lines: &[String]) -> Result<(Ctab, usize), At> {
    let mut parser = Parser {
        ctab: Ctab::default(),
        bonds: Bonds::default(),
        index_of: HashMap::new(),
        block: Block::Outside,
        counts: None,
    };
    let mut index = 4;
    while let Some(line) = lines.get(index) {
        let first = index;
        index += 1;
        if line.starts_with("M  END") {
            parser.check_counts().map_err(at(first))?;
            return Ok((parser.ctab, index));
        }
        let Some(mut entry) = line.strip_prefix("M  V30 ").map(str::to_owned) else { continue };
        while entry.ends_with('-') {
            entry.pop();
            let next = lines.get(index).and_then(|line| line.strip_prefix("M  V30 "));
            entry.push_str(next.ok_or_else(|| at(index)("the continued line does not go on".to_owned()))?);
            index += 1;
        }
        parser.entry(&entry).map_err(at(first))?;
    }
    Err(at(lines.len())("the record has no `M  END`".to_owned()))
}

impl Parser {
    fn entry(&mut self, entry: &str) -> Result<(), String> {
        let words: Vec<&str> = entry.split_whitespace().collect();
        match words.as_slice() {
            ["COUNTS", atoms, bonds, ..] => self.counts = Some((integer(atoms)?, integer(bonds)?)),
            ["BEGIN", "CTAB", ..] | ["END", "CTAB"] => self.block = Block::Outside,
            ["BEGIN", "ATOM"] => self.block = Block::Atoms,
            ["BEGIN", "BOND"] => self.block = Block::Bonds,
            ["BEGIN", ..] => self.block = Block::Other,
            ["END", ..] => self.block = Block::Outside,
            [number, symbol, x, y, z, _, options @ ..] if self.block == Block::Atoms => {
                self.atom(integer(number)?, symbol, [x, y, z], options)?;
            }
            [_, code, begin, end, ..] if self.block == Block::Bonds => {
                let ends = [self.index(begin)?, self.index(end)?];
                self.bonds.push(&mut self.ctab.molecule, ends[0], ends[1], integer(code)?)?;
            }
            _ if matches!(self.block, Block::Atoms | Block::Bonds) => {
                return Err(format!("{entry:?} is too short for an atom or a bond"));
            }
            _ => {}
        }
        Ok(())
    }

    fn atom(&mut self, number: i64, symbol: &str, position: [&str; 3], options: &[&str]) -> Result<(), String> {
        let mut atom = atom(symbol)?;
        for option in options {
            match option.split_once('=') {
                Some(("CHG", value)) => atom.formal_charge = charge(integer(value)?)?,
                Some(("RAD", value)) => atom.radical_electrons = radical_electrons(integer(value)?)?,
                _ => {}
            }
        }
        let mut x = [0.0; 3];
        for (x, text) in x.iter_mut().zip(position) {
            *x = coordinate(text)?;
        }
        if self.index_of.insert(number, self.ctab.positions.len()).is_some() {
            return Err(format!("a second atom with number {number}"));
        }
        self.ctab.molecule.atoms.push(atom);
        self.ctab.positions.push(x);
        Ok(())
    }

    fn index(&self, number: &str) -> Result<usize, String> {
        self.index_of.get(&integer(number)?).copied().ok_or_else(|| format!("{number:?} is the number of no atom"))
    }

    fn check_counts(&self) -> Result<(), String> {
        let found = (self.ctab.molecule.atoms.len() as i64, self.ctab.molecule.bonds.len() as i64);
        match self.counts {
            Some(announced) if announced == found => Ok(()),
            Some((atoms, bonds)) => {
                Err(format!("the table announces {atoms} atoms and {bonds} bonds but has {} and {}", found.0, found.1))
            }
            None => Err("the table has no COUNTS".to_owned()),
        }
    }
}
