//! Aromatic bonds as alternating single and double ones: what files store and what aromaticity is perceived from.

use super::graph::Adjacency;
use super::hybridisation::usual_valences;
use super::pairing::perfect_matching;
use super::{BondOrder, Molecule};

/// Replaces aromatic bonds by single and double ones such that every atom reaches a usual valence. Which of the
/// equivalent structures results is fixed by the order of atoms and bonds. On failure the molecule is left as it
/// was and an atom that could not be served is returned.
pub fn kekulise(molecule: &mut Molecule) -> Result<(), usize> {
    let adjacency = Adjacency::new(molecule);
    let needy: Vec<bool> =
        (0..molecule.atoms.len()).map(|atom| needs_double_bond(molecule, &adjacency, atom)).collect();
    let candidates: Vec<Vec<usize>> = (0..molecule.atoms.len())
        .map(|atom| {
            let partners = adjacency.of(atom).iter().filter(|neighbour| {
                needy[atom] && needy[neighbour.atom] && molecule.bonds[neighbour.bond].order == BondOrder::Aromatic
            });
            partners.map(|neighbour| neighbour.atom).collect()
        })
        .collect();
    let partner = perfect_matching(&candidates, &needy)?;
    for bond in &mut molecule.bonds {
        if bond.order == BondOrder::Aromatic {
            let doubled = partner[bond.begin as usize] == Some(bond.end as usize);
            bond.order = if doubled { BondOrder::Double } else { BondOrder::Single };
        }
    }
    Ok(())
}

/// Whether an atom with aromatic bonds has a valence left when these count as single: then exactly one of them
/// must be double.
fn needs_double_bond(molecule: &Molecule, adjacency: &Adjacency, atom: usize) -> bool {
    let neighbours = adjacency.of(atom);
    if !neighbours.iter().any(|neighbour| molecule.bonds[neighbour.bond].order == BondOrder::Aromatic) {
        return false;
    }
    let single = |bond: usize| match molecule.bonds[bond].order {
        BondOrder::Aromatic => 1,
        _ => molecule.valence_contribution(bond, atom) as i32,
    };
    let taken: i32 = neighbours.iter().map(|neighbour| single(neighbour.bond)).sum::<i32>()
        + i32::from(molecule.atoms[atom].radical_electrons);
    usual_valences(molecule, atom).iter().find(|&&valence| valence >= taken).is_some_and(|&valence| valence > taken)
}
