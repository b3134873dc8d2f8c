//! Which atoms the graph cannot tell apart.

use std::collections::HashMap;

use super::Molecule;
use super::graph::Adjacency;

/// Numbers the classes of atoms that look alike: first by element, charge, radicals and `label`, then by the
/// classes of their neighbours and the bonds to them, until no class splits any more (colour refinement).
pub fn classes(molecule: &Molecule, adjacency: &Adjacency, label: &[usize]) -> Vec<usize> {
    let seed = |(index, atom): (usize, &super::Atom)| {
        (atom.atomic_number, atom.formal_charge, atom.radical_electrons, label[index])
    };
    let (mut class, mut count) = number(molecule.atoms.iter().enumerate().map(seed));
    loop {
        let surroundings = |atom: usize| {
            let mut around: Vec<(u8, usize)> = adjacency
                .of(atom)
                .iter()
                .map(|neighbour| (molecule.bonds[neighbour.bond].order as u8, class[neighbour.atom]))
                .collect();
            around.sort_unstable();
            (class[atom], around)
        };
        let (finer, finer_count) = number((0..class.len()).map(surroundings));
        if finer_count == count {
            return class;
        }
        (class, count) = (finer, finer_count);
    }
}

/// Numbers keys by their rank, so that the numbers do not depend on the order of atoms; also how many there are.
fn number<K: Ord + std::hash::Hash + Clone>(keys: impl Iterator<Item = K>) -> (Vec<usize>, usize) {
    let keys: Vec<K> = keys.collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    sorted.dedup();
    let rank: HashMap<&K, usize> = sorted.iter().enumerate().map(|(rank, key)| (key, rank)).collect();
    (keys.iter().map(|key| rank[key]).collect(), sorted.len())
}
