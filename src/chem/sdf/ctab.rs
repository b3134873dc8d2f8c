//! What the two versions of the connection table share.

use std::collections::HashSet;

use super::super::{Atom, Bond, BondOrder, Chirality, Element, Molecule};

/// What is wrong at a line of the record, counted from 0.
#[derive(Debug)]
pub struct At {
    pub line: usize,
    pub what: String,
}

/// Names the line of a message.
pub fn at(line: usize) -> impl Fn(String) -> At {
    move |what| At { line, what }
}

/// Atoms with positions, and bonds.
#[derive(Default)]
pub struct Ctab {
    pub molecule: Molecule,
    pub positions: Vec<[f64; 3]>,
}

/// Adds bonds to a table and sees that each pair of atoms has one only.
#[derive(Default)]
pub struct Bonds {
    pairs: HashSet<(u32, u32)>,
}

impl Bonds {
    /// Adds the bond between two atoms, counted from 0, of this type of the format.
    pub fn push(&mut self, molecule: &mut Molecule, begin: usize, end: usize, code: i64) -> Result<(), String> {
        let atoms = molecule.atoms.len();
        if begin >= atoms || end >= atoms || begin == end {
            return Err(format!("a bond between atoms {} and {} of {atoms}", begin + 1, end + 1));
        }
        let order = match code {
            1 => BondOrder::Single,
            2 => BondOrder::Double,
            3 => BondOrder::Triple,
            4 => BondOrder::Aromatic,
            9 => BondOrder::Other,
            _ => return Err(format!("bond type {code} is a query, not a bond; expected 1 to 4, or 9")),
        };
        let (begin, end) = (begin as u32, end as u32);
        if !self.pairs.insert((begin.min(end), begin.max(end))) {
            return Err(format!("a second bond between atoms {} and {}", begin + 1, end + 1));
        }
        molecule.bonds.push(Bond { begin, end, order });
        Ok(())
    }
}

/// The neutral atom with this symbol.
pub fn atom(symbol: &str) -> Result<Atom, String> {
    let atomic_number = Element::number_of(symbol).ok_or_else(|| format!("{symbol:?} is no element"))?;
    Ok(Atom { atomic_number, formal_charge: 0, radical_electrons: 0, chirality: Chirality::None })
}

/// A whole number; blank counts as 0.
pub fn integer(text: &str) -> Result<i64, String> {
    let text = text.trim();
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| format!("{text:?} is no whole number")) }
}

/// A charge between −15 and 15, as the format allows.
pub fn charge(value: i64) -> Result<i8, String> {
    i8::try_from(value).ok().filter(|charge| charge.abs() <= 15).ok_or_else(|| format!("a charge of {value}"))
}

/// Unpaired electrons of a radical code: 1 singlet, 2 doublet, 3 triplet.
pub fn radical_electrons(code: i64) -> Result<u8, String> {
    match code {
        0 => Ok(0),
        1 | 3 => Ok(2),
        2 => Ok(1),
        _ => Err(format!("radical code {code}; expected 0 to 3")),
    }
}
