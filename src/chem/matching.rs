//! Which atom of a file is which atom of a graph, for files that know elements and positions only.

use crate::{Error, Result};

use super::graph::Adjacency;
use super::symmetry::classes;
use super::{Atom, Bond, BondOrder, Chirality, Element, Molecule};

/// Two atoms are bonded if they are closer than this times the sum of their covalent radii; tried in turn.
const REACH: [f64; 4] = [1.25, 1.15, 1.35, 1.45];
/// Larger structures are not matched: every pair of atoms is looked at.
const MAX_PERCEIVED: usize = 5_000;
/// Assignments tried before a match counts as not found.
const MAX_STEPS: usize = 1_000_000;

/// For each atom of `molecule` the index of its atom in a file with these elements and positions (Å). The
/// file's own order is kept if elements and bond lengths fit it. Otherwise bonds are perceived from distances
/// and any assignment is taken that respects elements and connectivity; it may exchange atoms that these do not
/// tell apart, so set handedness from the reordered positions afterwards (`stereo::assign_from_positions`).
///
/// # Errors
/// [`Error::Data`] if the numbers of atoms or elements differ, or no assignment is found.
///
/// # Panics
/// If `elements` and `positions` differ in length.
pub fn match_atoms(molecule: &Molecule, elements: &[u8], positions: &[[f64; 3]]) -> Result<Vec<usize>> {
    assert_eq!(elements.len(), positions.len(), "one position per element");
    check_composition(molecule, elements).map_err(Error::Data)?;
    let own: Vec<u8> = molecule.atoms.iter().map(|atom| atom.atomic_number).collect();
    let fits = |bond: &Bond| are_bonded(elements, positions, bond.begin as usize, bond.end as usize, REACH[3]);
    if own == elements && molecule.bonds.iter().all(fits) {
        return Ok((0..elements.len()).collect());
    }
    if elements.len() > MAX_PERCEIVED {
        let what = format!("atoms in another order can be matched for up to {MAX_PERCEIVED} atoms, not {}", own.len());
        return Err(Error::Data(what));
    }
    let skeleton = skeleton(&own, molecule.bonds.clone());
    let found = REACH.iter().find_map(|&reach| {
        let perceived = perceive_bonds(elements, positions, reach)?;
        (perceived.bonds.len() == skeleton.bonds.len()).then(|| isomorphism(&skeleton, &perceived)).flatten()
    });
    found.ok_or_else(|| {
        Error::Data(format!(
            "the bonds that {} atoms show by their distances are not those of the given graph ({} bonds): the \
             structure is of another molecule, has reacted, or is not in Å",
            elements.len(),
            molecule.bonds.len()
        ))
    })
}

fn check_composition(molecule: &Molecule, elements: &[u8]) -> Result<(), String> {
    let count = |number: u8| {
        let in_graph = molecule.atoms.iter().filter(|atom| atom.atomic_number == number).count();
        (in_graph, elements.iter().filter(|&&element| element == number).count())
    };
    for number in 0..=u8::MAX {
        let (graph, file) = count(number);
        if graph != file {
            let symbol = Element::new(number).map_or("?", |element| element.symbol);
            return Err(format!("the graph has {graph} atoms of {symbol}, the structure {file}"));
        }
    }
    Ok(())
}

fn are_bonded(elements: &[u8], positions: &[[f64; 3]], a: usize, b: usize, reach: f64) -> bool {
    let radius = |atom: usize| Element::new(elements[atom]).map_or(0.0, |element| element.covalent_radius);
    let squared: f64 = (0..3).map(|axis| (positions[a][axis] - positions[b][axis]).powi(2)).sum();
    squared.sqrt() < reach * (radius(a) + radius(b))
}

/// The bonds that distances show; `None` if there are many more than molecules have.
fn perceive_bonds(elements: &[u8], positions: &[[f64; 3]], reach: f64) -> Option<Molecule> {
    let mut bonds = Vec::new();
    for a in 0..elements.len() {
        for b in a + 1..elements.len() {
            if are_bonded(elements, positions, a, b, reach) {
                bonds.push(Bond { begin: a as u32, end: b as u32, order: BondOrder::Single });
            }
        }
        if bonds.len() > 4 * elements.len() {
            return None;
        }
    }
    Some(skeleton(elements, bonds))
}

/// The graph of elements and connectivity: neutral atoms, single bonds.
pub(super) fn skeleton(elements: &[u8], bonds: Vec<Bond>) -> Molecule {
    let atom =
        |&atomic_number| Atom { atomic_number, formal_charge: 0, radical_electrons: 0, chirality: Chirality::None };
    let bonds = bonds.into_iter().map(|bond| Bond { order: BondOrder::Single, ..bond }).collect();
    Molecule { atoms: elements.iter().map(atom).collect(), bonds }
}

/// For each atom of `a` an atom of `b` such that bonds go to bonds; both have equally many atoms and bonds.
fn isomorphism(a: &Molecule, b: &Molecule) -> Option<Vec<usize>> {
    let n = a.atoms.len();
    let shifted = |bond: &Bond| Bond { begin: bond.begin + n as u32, end: bond.end + n as u32, order: bond.order };
    let both = Molecule {
        atoms: [a.atoms.as_slice(), &b.atoms].concat(),
        bonds: a.bonds.iter().copied().chain(b.bonds.iter().map(shifted)).collect(),
    };
    let class = classes(&both, &Adjacency::new(&both), &vec![0; 2 * n]);
    let (class_a, class_b) = class.split_at(n);
    let sorted = |class: &[usize]| {
        let mut class = class.to_vec();
        class.sort_unstable();
        class
    };
    if sorted(class_a) != sorted(class_b) {
        return None;
    }
    Search::new(a, b, class_a, class_b).run()
}

/// Depth-first search for an isomorphism, atom by atom along the bonds of `a`.
struct Search<'a> {
    a: Adjacency,
    b: Adjacency,
    class_a: &'a [usize],
    class_b: &'a [usize],
    /// The atoms of `a` in the order of assignment, each with an earlier neighbour unless it starts a component.
    order: Vec<(usize, Option<usize>)>,
    image: Vec<Option<usize>>,
    used: Vec<bool>,
}

impl<'a> Search<'a> {
    fn new(a: &Molecule, b: &Molecule, class_a: &'a [usize], class_b: &'a [usize]) -> Self {
        let n = a.atoms.len();
        let a = Adjacency::new(a);
        let order = assignment_order(&a, class_a);
        Search { a, b: Adjacency::new(b), class_a, class_b, order, image: vec![None; n], used: vec![false; n] }
    }

    fn run(mut self) -> Option<Vec<usize>> {
        // What is left to try for each atom assigned so far, and for the next one.
        let mut open: Vec<Vec<usize>> = Vec::new();
        for _ in 0..MAX_STEPS {
            let level = open.len();
            if level == self.order.len() {
                return self.image.into_iter().collect();
            }
            let mut candidates = self.candidates(level);
            let mut level = level;
            let choice = loop {
                if let Some(choice) = candidates.pop() {
                    break choice;
                }
                // A dead end: take back the last assignment that has an alternative.
                candidates = open.pop()?;
                level -= 1;
                self.assign(level, None);
            };
            self.assign(level, Some(choice));
            open.push(candidates);
        }
        None
    }

    fn assign(&mut self, level: usize, image: Option<usize>) {
        let atom = self.order[level].0;
        if let Some(old) = std::mem::replace(&mut self.image[atom], image) {
            self.used[old] = false;
        }
        if let Some(new) = image {
            self.used[new] = true;
        }
    }

    /// The unused atoms of `b` that the next atom of `a` can go to.
    fn candidates(&self, level: usize) -> Vec<usize> {
        let (atom, parent) = self.order[level];
        let around: Vec<usize> = match parent.and_then(|parent| self.image[parent]) {
            Some(image) => self.b.of(image).iter().map(|neighbour| neighbour.atom).collect(),
            None => (0..self.b.atom_count()).collect(),
        };
        let bonded = |x: usize, y: usize| self.b.of(x).iter().any(|neighbour| neighbour.atom == y);
        let consistent = |&candidate: &usize| {
            let mut assigned = self.a.of(atom).iter().filter_map(|neighbour| self.image[neighbour.atom]);
            !self.used[candidate]
                && self.class_b[candidate] == self.class_a[atom]
                && assigned.all(|image| bonded(candidate, image))
        };
        around.into_iter().filter(consistent).rev().collect()
    }
}

/// Atoms breadth first, each component from an atom of its rarest class.
fn assignment_order(adjacency: &Adjacency, class: &[usize]) -> Vec<(usize, Option<usize>)> {
    let n = adjacency.atom_count();
    let mut size = vec![0; class.iter().max().map_or(0, |max| max + 1)];
    class.iter().for_each(|&class| size[class] += 1);
    let mut starts: Vec<usize> = (0..n).collect();
    starts.sort_by_key(|&atom| (size[class[atom]], atom));
    let mut seen = vec![false; n];
    let mut order = Vec::with_capacity(n);
    for start in starts {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut next = order.len();
        order.push((start, None));
        while let Some(&(atom, _)) = order.get(next) {
            next += 1;
            for neighbour in adjacency.of(atom) {
                if !std::mem::replace(&mut seen[neighbour.atom], true) {
                    order.push((neighbour.atom, Some(atom)));
                }
            }
        }
    }
    order
}
