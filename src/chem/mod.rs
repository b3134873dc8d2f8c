//! Molecules as graphs with explicit hydrogens, and the files they come in.

mod molecule;

pub use molecule::{Atom, Bond, BondOrder, Chirality, Molecule};
