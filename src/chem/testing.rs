//! Small molecules for the tests of this room.

use super::{Atom, Bond, BondOrder, Chirality, Molecule};

pub fn single(begin: u32, end: u32) -> Bond {
    Bond { begin, end, order: BondOrder::Single }
}

pub fn molecule(atomic_numbers: &[u8], bonds: &[Bond]) -> Molecule {
    let atom =
        |&atomic_number| Atom { atomic_number, formal_charge: 0, radical_electrons: 0, chirality: Chirality::None };
    Molecule { atoms: atomic_numbers.iter().map(atom).collect(), bonds: bonds.to_vec() }
}
