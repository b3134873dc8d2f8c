//! The rings of a molecule as RDKit counts them: the symmetrised smallest set of smallest rings.

use chematic_perception::{rdkit_symmetrized_sssr, relevant_cycles_from_graph};

use super::{BondOrder, Molecule};

/// More rings than any molecule of interest has; cages beyond this are refused rather than enumerated.
const MAX_RINGS: usize = 10_000;

/// The rings of one molecule.
#[derive(Clone, Debug)]
pub struct Rings {
    rings: Vec<Vec<usize>>,
    sizes_of: Vec<Vec<usize>>,
}

impl Rings {
    /// Finds the rings. Dative bonds close none. Graphs on which RDKit's own search gives up get the relevant
    /// cycles (the union of all minimum cycle bases), and none beyond 10,000 of these.
    pub fn new(molecule: &Molecule) -> Self {
        let bonds: Vec<(usize, usize, bool)> = molecule
            .bonds
            .iter()
            .map(|bond| (bond.begin as usize, bond.end as usize, bond.order != BondOrder::Other))
            .collect();
        let n = molecule.atoms.len();
        let rings = rdkit_symmetrized_sssr(n, &bonds)
            .or_else(|| relevant_cycles_from_graph(n, &bonds, MAX_RINGS).ok())
            .unwrap_or_default();
        let mut sizes_of = vec![Vec::new(); n];
        for ring in &rings {
            for &atom in ring {
                sizes_of[atom].push(ring.len());
            }
        }
        Rings { rings, sizes_of }
    }

    /// Each ring as its atoms, in order around it.
    pub fn rings(&self) -> &[Vec<usize>] {
        &self.rings
    }

    /// Whether an atom is in any ring.
    pub fn contains(&self, atom: usize) -> bool {
        !self.sizes_of[atom].is_empty()
    }

    /// Whether an atom is in a ring of this size.
    pub fn contains_in_size(&self, atom: usize, size: usize) -> bool {
        self.sizes_of[atom].contains(&size)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{molecule, single};
    use super::*;

    #[test]
    fn cubane_has_six_faces() {
        let edges = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)];
        let rings = Rings::new(&molecule(&[6; 8], &edges.map(|(a, b)| single(a, b))));
        assert_eq!(rings.rings().len(), 6);
        assert!((0..8).all(|atom| rings.contains_in_size(atom, 4) && !rings.contains_in_size(atom, 6)));
    }

    #[test]
    fn a_chain_has_no_ring() {
        let rings = Rings::new(&molecule(&[6, 6, 6], &[single(0, 1), single(1, 2)]));
        assert!(rings.rings().is_empty() && !rings.contains(1));
    }
}
