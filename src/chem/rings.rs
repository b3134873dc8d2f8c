//! The rings of a molecule: its relevant cycles, the union of all minimum cycle bases (Vismara 1997). They do
//! not depend on the order of atoms, and are what RDKit takes since 2026.09; its earlier symmetrised smallest
//! set of smallest rings differs in some cages only.

use chematic_perception::relevant_cycles_from_graph;

use super::graph::Adjacency;
use super::{BondOrder, Molecule};

/// No molecule of interest has a ring system with more independent rings (C₆₀ has 31).
const MAX_INDEPENDENT_RINGS: usize = 256;

/// A ring system's relevant cycles can be exponentially many (chains of para-linked rings closed to one cycle).
const MAX_RINGS: usize = 10_000;

/// The rings of one molecule.
#[derive(Clone, Debug)]
pub struct Rings {
    rings: Vec<Vec<usize>>,
    sizes_of: Vec<Vec<usize>>,
    cyclic_bond: Vec<bool>,
    cyclic_atom: Vec<bool>,
}

impl Rings {
    /// Finds the rings. Dative bonds close none. A ring system with more than 256 independent rings or 10,000
    /// relevant cycles gets ring membership only, no rings and sizes: enumerating them would take too long.
    pub fn new(molecule: &Molecule) -> Self {
        let cyclic_bond = cyclic_bonds(molecule);
        let mut cyclic_atom = vec![false; molecule.atoms.len()];
        for (bond, _) in molecule.bonds.iter().zip(&cyclic_bond).filter(|(_, cyclic)| **cyclic) {
            cyclic_atom[bond.begin as usize] = true;
            cyclic_atom[bond.end as usize] = true;
        }
        let rings: Vec<Vec<usize>> =
            ring_systems(molecule, &cyclic_bond).iter().flat_map(|system| system.relevant_cycles()).collect();
        let mut sizes_of = vec![Vec::new(); molecule.atoms.len()];
        for ring in &rings {
            for &atom in ring {
                sizes_of[atom].push(ring.len());
            }
        }
        Rings { rings, sizes_of, cyclic_bond, cyclic_atom }
    }

    /// Each ring as its atoms, in order around it.
    pub fn rings(&self) -> &[Vec<usize>] {
        &self.rings
    }

    /// Whether an atom is in any ring.
    pub fn contains(&self, atom: usize) -> bool {
        self.cyclic_atom[atom]
    }

    /// Whether an atom is in a ring of this size.
    pub fn contains_in_size(&self, atom: usize, size: usize) -> bool {
        self.sizes_of[atom].contains(&size)
    }

    /// The size of the smallest ring with this atom.
    pub fn smallest(&self, atom: usize) -> Option<usize> {
        self.sizes_of[atom].iter().copied().min()
    }

    /// Whether a bond is in any ring.
    pub fn contains_bond(&self, bond: usize) -> bool {
        self.cyclic_bond[bond]
    }
}

/// Cyclic bonds that hang together, with the atoms they connect.
#[derive(Default)]
struct RingSystem {
    atoms: Vec<usize>,
    /// Ends as indices into `atoms`.
    bonds: Vec<(usize, usize, bool)>,
}

impl RingSystem {
    fn relevant_cycles(&self) -> Vec<Vec<usize>> {
        if self.bonds.len() + 1 - self.atoms.len() > MAX_INDEPENDENT_RINGS {
            return Vec::new();
        }
        let rings = relevant_cycles_from_graph(self.atoms.len(), &self.bonds, MAX_RINGS).unwrap_or_default();
        rings.into_iter().map(|ring| ring.into_iter().map(|index| self.atoms[index]).collect()).collect()
    }
}

fn ring_systems(molecule: &Molecule, cyclic_bond: &[bool]) -> Vec<RingSystem> {
    let bonds = molecule.bonds.iter().zip(cyclic_bond).filter_map(|(bond, &cyclic)| cyclic.then_some(*bond));
    let cyclic = Molecule { atoms: molecule.atoms.clone(), bonds: bonds.collect() };
    let (component, count) = cyclic.components();
    let mut systems: Vec<RingSystem> = (0..count).map(|_| RingSystem::default()).collect();
    let mut index_of = vec![0; molecule.atoms.len()];
    for (atom, &system) in component.iter().enumerate() {
        index_of[atom] = systems[system].atoms.len();
        systems[system].atoms.push(atom);
    }
    for bond in &cyclic.bonds {
        let (begin, end) = (bond.begin as usize, bond.end as usize);
        systems[component[begin]].bonds.push((index_of[begin], index_of[end], true));
    }
    systems.retain(|system| !system.bonds.is_empty());
    systems
}

/// For each bond whether it lies on a cycle, that is, is no bridge (Tarjan 1974, without recursion).
pub(super) fn cyclic_bonds(molecule: &Molecule) -> Vec<bool> {
    let adjacency = Adjacency::new(molecule);
    let mut cyclic: Vec<bool> = molecule.bonds.iter().map(|bond| bond.order != BondOrder::Other).collect();
    let mut entered = vec![usize::MAX; molecule.atoms.len()];
    let mut low = entered.clone();
    let mut clock = 0;
    for root in 0..molecule.atoms.len() {
        if entered[root] != usize::MAX {
            continue;
        }
        // Each level: the atom, the bond it was reached by, and how many of its neighbours are done.
        let mut path = vec![(root, usize::MAX, 0)];
        while let Some((atom, from, done)) = path.last_mut() {
            let (atom, from) = (*atom, *from);
            if *done == 0 && entered[atom] == usize::MAX {
                (entered[atom], low[atom]) = (clock, clock);
                clock += 1;
            }
            if let Some(neighbour) = adjacency.of(atom).get(*done) {
                *done += 1;
                if neighbour.bond == from || molecule.bonds[neighbour.bond].order == BondOrder::Other {
                    continue;
                }
                if entered[neighbour.atom] == usize::MAX {
                    path.push((neighbour.atom, neighbour.bond, 0));
                } else {
                    low[atom] = low[atom].min(entered[neighbour.atom]);
                }
                continue;
            }
            path.pop();
            if let Some(&(parent, _, _)) = path.last() {
                low[parent] = low[parent].min(low[atom]);
                if low[atom] > entered[parent] {
                    cyclic[from] = false;
                }
            }
        }
    }
    cyclic
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
    fn bridges_are_in_no_ring() {
        // Two triangles joined by a bond, and a tail.
        let edges = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4), (4, 5), (5, 3), (5, 6)];
        let rings = Rings::new(&molecule(&[6; 7], &edges.map(|(a, b)| single(a, b))));
        let cyclic: Vec<bool> = (0..8).map(|bond| rings.contains_bond(bond)).collect();
        assert_eq!(cyclic, [true, true, true, false, true, true, true, false]);
        assert_eq!(rings.rings().len(), 2);
        assert!(rings.contains(5) && !rings.contains(6));
    }

    #[test]
    fn an_enormous_ring_system_is_not_enumerated() {
        // A ladder of 400 squares.
        let rungs = (0..401).map(|k| single(2 * k, 2 * k + 1));
        let rails = (0..400).flat_map(|k| [single(2 * k, 2 * k + 2), single(2 * k + 1, 2 * k + 3)]);
        let rings = Rings::new(&molecule(&[6; 802], &rungs.chain(rails).collect::<Vec<_>>()));
        assert!(rings.rings().is_empty() && (0..802).all(|atom| rings.contains(atom)));
    }
}
