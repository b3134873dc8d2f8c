//! How good samples are, in the numbers that the field compares: conformers against reference ensembles, backbones by
//! themselves and against each other.
//!
//! What is measured is defined where it is computed, with its source; files in, tables out. Nothing here knows how samples
//! were made.

pub mod backbones;
pub mod conformers;
pub mod distributions;
pub mod picture;
mod table;
