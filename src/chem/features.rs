//! The ten numbers that describe an atom to the networks: category indices, as the reference implementation of
//! ET-Flow computes them with RDKit.

use serde::{Deserialize, Serialize};

use super::Molecule;
use super::graph::Adjacency;
use super::hybridisation::{Hybridisation, hybridisations, is_aromatic};
use super::rings::Rings;

/// Number of features per atom.
pub const NUM_FEATURES: usize = 10;

/// One feature: its name, and what its numbers 0, 1, … stand for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// The categories, in the order of their numbers.
    pub categories: Vec<String>,
}

/// The features in their order, each with its name and its categories.
///
/// Of `chirality` the last is what every atom gets: the reference looks the tag up in the wrong type. Of
/// `implicit_valence` and `implicit_hydrogens` it is the first, as all hydrogens are atoms. Hydrogen's
/// `hybridisation` is `other`. `ring_sizes` counts the sizes 3 to 6 that a ring with this atom has.
const FEATURES: [(&str, &[&str]); NUM_FEATURES] = [
    ("chirality", &["unspecified", "clockwise", "counter-clockwise", "other type", "other"]),
    ("neighbours", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "other"]),
    ("formal_charge", &["-5", "-4", "-3", "-2", "-1", "0", "1", "2", "3", "4", "5", "other"]),
    ("implicit_valence", &["0", "1", "2", "3", "4", "5", "6", "other"]),
    ("implicit_hydrogens", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "other"]),
    ("hybridisation", &["sp", "sp2", "sp3", "sp3d", "sp3d2", "other"]),
    ("unpaired_electrons", &["0", "1", "2", "3", "4", "other"]),
    ("aromatic", &["no", "yes"]),
    ("in_ring", &["no", "yes"]),
    ("ring_sizes", &["0", "1", "2", "3", "4"]),
];

/// The vocabulary of the features: what the numbers of [`atom_features`] stand for.
pub fn vocabulary() -> Vec<Feature> {
    let feature = |(name, categories): (&str, &[&str])| Feature {
        name: name.to_owned(),
        categories: categories.iter().map(|&category| category.to_owned()).collect(),
    };
    FEATURES.map(feature).to_vec()
}

/// The number of the last category of a feature.
const fn last(feature: usize) -> usize {
    FEATURES[feature].1.len() - 1
}

/// Features of every atom, numbers of categories in the order of [`vocabulary`].
pub fn atom_features(molecule: &Molecule) -> Vec<[f32; NUM_FEATURES]> {
    let adjacency = Adjacency::new(molecule);
    let rings = Rings::new(molecule);
    let hybridisation = hybridisations(molecule, &adjacency);
    let features = |(index, atom): (usize, &super::Atom)| {
        let charge = usize::try_from(i32::from(atom.formal_charge) + 5).unwrap_or(usize::MAX);
        let ring_sizes = (3..=6).filter(|&size| rings.contains_in_size(index, size)).count();
        [
            last(0) as f32,
            adjacency.of(index).len().min(last(1)) as f32,
            charge.min(last(2)) as f32,
            0.0,
            0.0,
            category(hybridisation[index]),
            usize::from(atom.radical_electrons).min(last(6)) as f32,
            f32::from(u8::from(is_aromatic(molecule, &adjacency, index))),
            f32::from(u8::from(rings.contains(index))),
            ring_sizes as f32,
        ]
    };
    molecule.atoms.iter().enumerate().map(features).collect()
}

fn category(hybridisation: Hybridisation) -> f32 {
    match hybridisation {
        Hybridisation::Sp => 0.0,
        Hybridisation::Sp2 => 1.0,
        Hybridisation::Sp3 => 2.0,
        Hybridisation::Sp3d => 3.0,
        Hybridisation::Sp3d2 => 4.0,
        Hybridisation::S | Hybridisation::Unspecified => last(5) as f32,
    }
}
