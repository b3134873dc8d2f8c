//! Who is bonded to whom: adjacency of a [`Molecule`], in the order of its bonds.

use super::{BondOrder, Molecule};

/// One neighbour of an atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The neighbouring atom.
    pub atom: usize,
    /// The bond that leads there.
    pub bond: usize,
}

/// For each atom its neighbours, ordered as the bonds stand in the molecule.
#[derive(Clone, Debug)]
pub struct Adjacency {
    neighbours: Vec<Neighbour>,
    offsets: Vec<usize>,
}

impl Adjacency {
    /// Lists the neighbours of every atom of a molecule.
    ///
    /// # Panics
    /// If a bond names an atom that does not exist; every reader of this crate checks that.
    pub fn new(molecule: &Molecule) -> Self {
        let mut offsets = vec![0; molecule.atoms.len() + 1];
        for end in molecule.bonds.iter().flat_map(|bond| [bond.begin, bond.end]) {
            offsets[end as usize + 1] += 1;
        }
        for atom in 1..offsets.len() {
            offsets[atom] += offsets[atom - 1];
        }
        let mut next = offsets.clone();
        let mut neighbours = vec![Neighbour { atom: 0, bond: 0 }; 2 * molecule.bonds.len()];
        for (index, bond) in molecule.bonds.iter().enumerate() {
            for (from, to) in [(bond.begin as usize, bond.end as usize), (bond.end as usize, bond.begin as usize)] {
                neighbours[next[from]] = Neighbour { atom: to, bond: index };
                next[from] += 1;
            }
        }
        Adjacency { neighbours, offsets }
    }

    /// The neighbours of one atom.
    pub fn of(&self, atom: usize) -> &[Neighbour] {
        &self.neighbours[self.offsets[atom]..self.offsets[atom + 1]]
    }

    /// How many atoms there are.
    pub fn atom_count(&self) -> usize {
        self.offsets.len() - 1
    }
}

impl Molecule {
    /// How much of the valence of `atom` its bond number `bond` takes: 1.5 for an aromatic bond; a dative one
    /// counts at the atom where it ends only.
    pub(crate) fn valence_contribution(&self, bond: usize, atom: usize) -> f64 {
        let bond = &self.bonds[bond];
        match bond.order {
            BondOrder::Single => 1.0,
            BondOrder::Double => 2.0,
            BondOrder::Triple => 3.0,
            BondOrder::Aromatic => 1.5,
            BondOrder::Other => f64::from(u8::from(bond.end as usize == atom)),
        }
    }

    /// The connected component of each atom, numbered from 0 in the order of their first atoms, and how many
    /// there are.
    pub fn components(&self) -> (Vec<usize>, usize) {
        let adjacency = Adjacency::new(self);
        let mut component = vec![usize::MAX; self.atoms.len()];
        let mut count = 0;
        for start in 0..self.atoms.len() {
            if component[start] != usize::MAX {
                continue;
            }
            component[start] = count;
            let mut open = vec![start];
            while let Some(atom) = open.pop() {
                for neighbour in adjacency.of(atom) {
                    if component[neighbour.atom] == usize::MAX {
                        component[neighbour.atom] = count;
                        open.push(neighbour.atom);
                    }
                }
            }
            count += 1;
        }
        (component, count)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{molecule, single};
    use super::*;

    #[test]
    fn neighbours_come_in_bond_order() {
        let molecule = molecule(&[6, 1, 1, 8], &[single(0, 3), single(2, 0), single(0, 1)]);
        let adjacency = Adjacency::new(&molecule);
        let atoms: Vec<usize> = adjacency.of(0).iter().map(|neighbour| neighbour.atom).collect();
        assert_eq!(atoms, [3, 2, 1]);
        assert_eq!(adjacency.of(2), [Neighbour { atom: 0, bond: 1 }]);
    }

    #[test]
    fn components_are_counted() {
        let molecule = molecule(&[6, 1, 8, 1], &[single(2, 3), single(0, 1)]);
        assert_eq!(molecule.components(), (vec![0, 0, 1, 1], 2));
    }
}
