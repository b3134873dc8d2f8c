//! The ten numbers that describe an atom to the networks: category indices, as the reference implementation of
//! ET-Flow computes them with RDKit.

use super::Molecule;
use super::graph::Adjacency;
use super::hybridisation::{Hybridisation, hybridisations, is_aromatic};
use super::rings::Rings;

/// Features of every atom, in this order:
///
/// | # | feature | values |
/// |---|---|---|
/// | 0 | chirality | 4 always: the reference looks the tag up in the wrong type and falls to "other" |
/// | 1 | neighbours | 0..=10, 11 more |
/// | 2 | formal charge + 5 | 0..=10, 11 other |
/// | 3 | implicit valence | 0: all hydrogens are atoms |
/// | 4 | implicit hydrogens | 0, likewise |
/// | 5 | hybridisation | sp 0, sp² 1, sp³ 2, sp³d 3, sp³d² 4, other (hydrogen) 5 |
/// | 6 | unpaired electrons | 0..=4, 5 more |
/// | 7 | aromatic | 0, 1 |
/// | 8 | in a ring | 0, 1 |
/// | 9 | how many of the sizes 3 to 6 a ring with this atom has | 0..=4 |
pub fn atom_features(molecule: &Molecule) -> Vec<[f32; 10]> {
    let adjacency = Adjacency::new(molecule);
    let rings = Rings::new(molecule);
    let hybridisation = hybridisations(molecule, &adjacency);
    let features = |(index, atom): (usize, &super::Atom)| {
        let charge = i32::from(atom.formal_charge) + 5;
        let ring_sizes = (3..=6).filter(|&size| rings.contains_in_size(index, size)).count();
        [
            4.0,
            adjacency.of(index).len().min(11) as f32,
            if (0..=10).contains(&charge) { charge as f32 } else { 11.0 },
            0.0,
            0.0,
            category(hybridisation[index]),
            f32::from(atom.radical_electrons.min(5)),
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
        Hybridisation::S | Hybridisation::Unspecified => 5.0,
    }
}
