//! Molecules as graphs with explicit hydrogens, and the files they come in.

mod element;
pub mod features;
mod graph;
mod hybridisation;
mod kekule;
mod molecule;
mod pairing;
mod record;
mod rings;
pub mod sdf;
pub mod stereo;
#[cfg(test)]
mod testing;

pub use element::Element;
pub use kekule::kekulise;
pub use molecule::{Atom, Bond, BondOrder, Chirality, Molecule};
pub use record::Record;
pub use rings::Rings;
