//! Molecules as graphs with explicit hydrogens, and the files they come in.

mod aromaticity;
mod element;
pub mod features;
mod graph;
mod hybridisation;
mod kekule;
mod lines;
pub mod matching;
mod molecule;
mod pairing;
mod record;
mod rings;
mod sanitise;
pub mod sdf;
pub mod smiles;
pub mod stereo;
mod symmetry;
#[cfg(test)]
mod testing;
pub mod xyz;

pub use aromaticity::perceive_aromaticity;
pub use element::Element;
pub use graph::{Adjacency, Neighbour};
pub use kekule::kekulise;
pub use molecule::{Atom, Bond, BondOrder, Chirality, Molecule};
pub use record::Record;
pub use rings::Rings;
pub use sanitise::{Unsound, sanitise};
pub use symmetry::{classes, invariant};

/// No molecule has more atoms: readers refuse it. What models do with a molecule grows with the square of its atoms
/// (the modes of the harmonic prior) and so does some of the perception here; at this size one molecule takes
/// seconds and hundreds of megabytes, and no conformer generator is meant for more.
pub const MAX_ATOMS: usize = 10_000;
