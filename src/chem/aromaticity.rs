//! RDKit's default model of aromaticity: Hückel's 4n + 2 electrons in a ring or in up to six rings fused by
//! single bonds, with the electrons that each atom can give decided once per molecule.

use std::collections::{HashMap, HashSet};

use super::graph::Adjacency;
use super::hybridisation::{Perception, usual_valences};
use super::rings::Rings;
use super::{BondOrder, Molecule};

/// Rings larger than this are not fused with others.
const MAX_FUSED_RING: usize = 24;
/// How many rings may share one aromatic perimeter.
const MAX_FUSED_RINGS: usize = 6;
/// In larger rings alone, an ether oxygen or sulphur keeps its lone pair to itself (RDKit since 2026.09).
const MAX_ETHER_RING: usize = 8;
/// Ring combinations examined per ring system; reached by fullerenes only.
const MAX_COMBINATIONS: usize = 100_000;

/// Marks the aromatic bonds of a molecule whose bonds are single, double and triple: single and double bonds on
/// the perimeter of an aromatic system become [`BondOrder::Aromatic`].
pub fn perceive_aromaticity(molecule: &mut Molecule) {
    let adjacency = Adjacency::new(molecule);
    let rings = Rings::new(molecule);
    let perimeter = {
        let perception = Perception::new(molecule, &adjacency);
        let donated: Vec<Option<i32>> = (0..molecule.atoms.len())
            .map(|atom| rings.contains(atom).then(|| perception.donated_electrons(atom, &rings)).flatten())
            .collect();
        let candidates = candidate_rings(&adjacency, &rings, &donated);
        let mut perimeter = HashSet::new();
        for system in fused_systems(&candidates) {
            mark_aromatic(&candidates, &system, &donated, &mut perimeter);
        }
        perimeter
    };
    for bond in perimeter {
        let order = &mut molecule.bonds[bond].order;
        if matches!(order, BondOrder::Single | BondOrder::Double) {
            *order = BondOrder::Aromatic;
        }
    }
}

/// A ring all of whose atoms could be aromatic.
struct Ring {
    atoms: Vec<usize>,
    bonds: Vec<usize>,
    /// Candidate rings that share exactly one bond with this one.
    fused: Vec<usize>,
}

fn candidate_rings(adjacency: &Adjacency, rings: &Rings, donated: &[Option<i32>]) -> Vec<Ring> {
    let able = rings.rings().iter().filter(|ring| ring.iter().all(|&atom| donated[atom].is_some()));
    let mut candidates: Vec<Ring> = able
        .map(|atoms| {
            let next = atoms.iter().cycle().skip(1);
            let bond = |(&a, &b): (&usize, &usize)| {
                adjacency.of(a).iter().find(|neighbour| neighbour.atom == b).map(|neighbour| neighbour.bond)
            };
            Ring { atoms: atoms.clone(), bonds: atoms.iter().zip(next).filter_map(bond).collect(), fused: Vec::new() }
        })
        .collect();
    fuse(&mut candidates);
    candidates
}

/// Notes which rings share exactly one bond, by way of the rings of each bond.
fn fuse(rings: &mut [Ring]) {
    let mut rings_of: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, ring) in rings.iter().enumerate().filter(|(_, ring)| ring.bonds.len() <= MAX_FUSED_RING) {
        ring.bonds.iter().for_each(|&bond| rings_of.entry(bond).or_default().push(index));
    }
    for (index, ring) in rings.iter_mut().enumerate().filter(|(_, ring)| ring.bonds.len() <= MAX_FUSED_RING) {
        let mut shared: Vec<usize> = ring.bonds.iter().flat_map(|bond| &rings_of[bond]).copied().collect();
        shared.sort_unstable();
        let once = shared.chunk_by(|a, b| a == b).filter(|chunk| chunk.len() == 1).map(|chunk| chunk[0]);
        ring.fused = once.filter(|&other| other != index).collect();
    }
}

/// Groups of candidate rings that hang together by fusion.
fn fused_systems(rings: &[Ring]) -> Vec<Vec<usize>> {
    let mut seen = vec![false; rings.len()];
    let mut systems = Vec::new();
    for start in 0..rings.len() {
        if seen[start] {
            continue;
        }
        seen[start] = true;
        let mut system = vec![start];
        let mut next = 0;
        while let Some(&ring) = system.get(next) {
            next += 1;
            for &other in &rings[ring].fused {
                if !seen[other] {
                    seen[other] = true;
                    system.push(other);
                }
            }
        }
        systems.push(system);
    }
    systems
}

/// Examines single rings, then connected pairs, triples, … of a system until all its bonds are aromatic, and
/// adds the perimeter of every combination that obeys Hückel's rule.
fn mark_aromatic(rings: &[Ring], system: &[usize], donated: &[Option<i32>], perimeter: &mut HashSet<usize>) {
    let bonds: HashSet<usize> = system.iter().flat_map(|&ring| rings[ring].bonds.iter().copied()).collect();
    let mut combinations: Vec<Vec<usize>> = system.iter().map(|&ring| vec![ring]).collect();
    let mut examined = 0;
    for _ in 0..MAX_FUSED_RINGS.min(system.len()) {
        for combination in &combinations {
            if is_hueckel(rings, combination, donated) {
                perimeter.extend(outer_bonds(rings, combination));
            }
        }
        examined += combinations.len();
        if bonds.is_subset(perimeter) || examined > MAX_COMBINATIONS {
            return;
        }
        combinations = grow(rings, &combinations, MAX_COMBINATIONS);
    }
}

/// The connected combinations with one ring more, each once, up to `limit` of them.
fn grow(rings: &[Ring], combinations: &[Vec<usize>], limit: usize) -> Vec<Vec<usize>> {
    let mut seen = HashSet::new();
    let mut grown = Vec::new();
    for combination in combinations {
        for &other in combination.iter().flat_map(|&ring| &rings[ring].fused) {
            if combination.contains(&other) {
                continue;
            }
            let mut larger = combination.clone();
            larger.push(other);
            larger.sort_unstable();
            if seen.insert(larger.clone()) {
                grown.push(larger);
            }
            if grown.len() > limit {
                return grown;
            }
        }
    }
    grown
}

/// Whether the atoms of these rings, but for those inside (in three rings or more), share 4n + 2 electrons.
fn is_hueckel(rings: &[Ring], combination: &[usize], donated: &[Option<i32>]) -> bool {
    let mut atoms: Vec<usize> = combination.iter().flat_map(|&ring| rings[ring].atoms.iter().copied()).collect();
    atoms.sort_unstable();
    let outer = atoms.chunk_by(|a, b| a == b).filter(|chunk| chunk.len() <= 2);
    let electrons: i32 = outer.filter_map(|chunk| donated[chunk[0]]).sum();
    electrons >= 2 && (electrons - 2) % 4 == 0
}

/// The bonds that belong to one of these rings only.
fn outer_bonds(rings: &[Ring], combination: &[usize]) -> Vec<usize> {
    let mut bonds: Vec<usize> = combination.iter().flat_map(|&ring| rings[ring].bonds.iter().copied()).collect();
    bonds.sort_unstable();
    bonds.chunk_by(|a, b| a == b).filter(|chunk| chunk.len() == 1).map(|chunk| chunk[0]).collect()
}

impl Perception<'_> {
    /// The electrons that a ring atom gives to an aromatic system; `None` if it cannot be part of one.
    fn donated_electrons(&self, atom: usize, rings: &Rings) -> Option<i32> {
        let electrons = self.offered_electrons(atom, rings)?;
        self.may_be_aromatic(atom).then_some(electrons)
    }

    fn offered_electrons(&self, atom: usize, rings: &Rings) -> Option<i32> {
        let multiple = |cyclic: bool| {
            let mut neighbours = self.neighbours(atom).iter();
            neighbours.find(|neighbour| {
                rings.contains_bond(neighbour.bond) == cyclic
                    && self.molecule.valence_contribution(neighbour.bond, atom) >= 2.0
            })
        };
        let exocyclic = multiple(false);
        // A more electronegative partner outside the ring takes the electron of the double bond to it.
        let stolen = exocyclic.is_some_and(|neighbour| self.is_more_electronegative(neighbour.atom, atom));
        let unsaturated = exocyclic.or(multiple(true)).is_some();
        let data = &self.molecule.atoms[atom];
        let ether = matches!(data.atomic_number, 8 | 16)
            && data.formal_charge == 0
            && self.neighbours(atom).len() == 2
            && !unsaturated;
        if ether && rings.smallest(atom).is_some_and(|size| size > MAX_ETHER_RING) {
            return None;
        }
        match self.pi_electrons(atom) {
            ..=-1 => None,
            0 if exocyclic.is_some() => Some(0),
            0 => unsaturated.then_some(1),
            1 if stolen => Some(0),
            1 if unsaturated => Some(1),
            // An empty orbital, as in tropylium.
            1 => (self.molecule.atoms[atom].formal_charge == 1).then_some(0),
            electrons => Some(if (electrons - i32::from(stolen)) % 2 == 1 { 1 } else { 2 }),
        }
    }

    fn is_more_electronegative(&self, a: usize, b: usize) -> bool {
        let key = |atom: usize| {
            let outer = self.element(atom).map_or(0, |element| element.outer_electrons);
            (outer, std::cmp::Reverse(self.molecule.atoms[atom].atomic_number))
        };
        key(a) > key(b)
    }

    /// Whether element, valence, radicals and multiple bonds let an atom be aromatic.
    fn may_be_aromatic(&self, atom: usize) -> bool {
        let data = &self.molecule.atoms[atom];
        let element = matches!(data.atomic_number, 1..=18 | 34 | 52);
        let usual = usual_valences(self.molecule, atom).first();
        let valence = usual.is_some_and(|&usual| self.valence[atom] <= usual);
        let radical = data.radical_electrons > 0 && (data.atomic_number != 6 || data.formal_charge != 0);
        let orders = self.neighbours(atom).iter().map(|neighbour| self.molecule.bonds[neighbour.bond].order);
        let multiple = |order: &BondOrder| matches!(order, BondOrder::Double | BondOrder::Triple);
        let cumulated = orders.filter(multiple).count() > 1;
        element && valence && !radical && !cumulated
    }
}
