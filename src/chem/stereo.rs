//! Handedness of tetrahedral centres: which there are, what a conformer shows, and whether that is what was stated.

use std::collections::HashMap;

use super::graph::{Adjacency, Neighbour};
use super::matching::skeleton;
use super::symmetry::classes;
use super::{Chirality, Molecule, Rings};

/// Volumes below this (Å³) show no handedness; RDKit's bound for the same decision.
const FLAT: f64 = 0.1;

/// A tetrahedral centre whose handedness is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StereoCentre {
    /// The centre.
    pub centre: u32,
    /// Its four neighbours, in the order of the molecule's bonds.
    pub neighbours: [u32; 4],
    /// The sign that v₁ · (v₂ × v₃), v_k = x_k − x_4, must have: +1 for counter-clockwise, −1 for clockwise.
    pub sign: i8,
}

/// The tagged atoms with exactly four neighbours, in atom order.
pub fn stereo_centres(molecule: &Molecule) -> Vec<StereoCentre> {
    let adjacency = Adjacency::new(molecule);
    let centre = |(index, atom): (usize, &super::Atom)| {
        let sign = match atom.chirality {
            Chirality::None => return None,
            Chirality::Clockwise => -1,
            Chirality::CounterClockwise => 1,
        };
        let neighbours: Vec<u32> = adjacency.of(index).iter().map(|neighbour| neighbour.atom as u32).collect();
        Some(StereoCentre { centre: index as u32, neighbours: neighbours.try_into().ok()?, sign })
    };
    molecule.atoms.iter().enumerate().filter_map(centre).collect()
}

/// Sets every tag from a conformer: atoms with four neighbours that stand around them clockwise or
/// counter-clockwise and are told apart by the graph (or that a ring makes cis or trans) are centres, no others.
///
/// # Panics
/// If there is not one position per atom.
pub fn assign_from_positions(molecule: &mut Molecule, positions: &[[f64; 3]]) {
    assert_eq!(positions.len(), molecule.atoms.len(), "one position per atom");
    let adjacency = Adjacency::new(molecule);
    for atom in 0..molecule.atoms.len() {
        let volume = match adjacency.of(atom) {
            [a, b, c, _] => triple_product([a.atom, b.atom, c.atom].map(|end| positions[end]), positions[atom]),
            _ => 0.0,
        };
        molecule.atoms[atom].chirality = match volume {
            v if v < -FLAT => Chirality::Clockwise,
            v if v > FLAT => Chirality::CounterClockwise,
            _ => Chirality::None,
        };
    }
    remove_false_centres(molecule);
}

/// Clears the tags of atoms that are no centres: those with other than four neighbours, or with neighbours that
/// neither the graph nor the handedness of other centres tells apart, unless two such atoms of one ring are cis
/// or trans to each other.
pub fn remove_false_centres(molecule: &mut Molecule) {
    if molecule.atoms.iter().all(|atom| atom.chirality == Chirality::None) {
        return;
    }
    let adjacency = Adjacency::new(molecule);
    let tagged = |molecule: &Molecule, atom: usize| molecule.atoms[atom].chirality != Chirality::None;
    for atom in 0..molecule.atoms.len() {
        if adjacency.of(atom).len() != 4 {
            molecule.atoms[atom].chirality = Chirality::None;
        }
    }
    // A centre can make another one by telling its neighbours apart: repeat until nothing changes.
    let mut label = vec![0; molecule.atoms.len()];
    let class = loop {
        let class = classes(molecule, &adjacency, &label);
        let new: Vec<usize> = (0..molecule.atoms.len())
            .filter(|&atom| label[atom] == 0 && tagged(molecule, atom) && are_distinct(&adjacency, &class, atom))
            .collect();
        if new.is_empty() {
            break class;
        }
        for atom in new {
            label[atom] = hand(molecule, &adjacency, &class, atom);
        }
    };
    let rings = Rings::new(molecule);
    let candidates: Vec<bool> = (0..molecule.atoms.len())
        .map(|atom| tagged(molecule, atom) && may_be_cis_or_trans(molecule, &rings, (&adjacency, &class), atom))
        .collect();
    let mut kept: Vec<bool> = label.iter().map(|&label| label != 0).collect();
    for ring in rings.rings() {
        if ring.iter().filter(|&&atom| candidates[atom]).count() >= 2 {
            ring.iter().filter(|&&atom| candidates[atom]).for_each(|&atom| kept[atom] = true);
        }
    }
    for (atom, _) in kept.iter().enumerate().filter(|(_, kept)| !**kept) {
        molecule.atoms[atom].chirality = Chirality::None;
    }
}

/// Whether what is stated of the handedness of a graph's centres holds in another tagging of the same graph, up to the
/// graph's symmetries: the atoms of one class have at least the stated hands. Compared are the centres whose
/// neighbours elements and connectivity tell apart; not those that charges and bond orders (the oxygens of a
/// sulfonate), the handedness of others, or a ring (cis and trans) make.
///
/// # Errors
/// An atom whose stated handedness no atom of its class has left to show.
pub fn check_handedness(stated: &Molecule, found: &Molecule) -> Result<(), usize> {
    let adjacency = Adjacency::new(stated);
    let elements: Vec<u8> = stated.atoms.iter().map(|atom| atom.atomic_number).collect();
    let class = classes(&skeleton(&elements, stated.bonds.clone()), &adjacency, &vec![0; elements.len()]);
    let centres = |molecule: &Molecule| -> Vec<(usize, [usize; 2])> {
        let tagged = |&atom: &usize| molecule.atoms[atom].chirality != Chirality::None;
        let centres = (0..class.len()).filter(tagged).filter(|&atom| are_distinct(&adjacency, &class, atom));
        centres.map(|atom| (atom, [class[atom], hand(molecule, &adjacency, &class, atom)])).collect()
    };
    let mut left: HashMap<[usize; 2], usize> = HashMap::new();
    for (_, kind) in centres(found) {
        *left.entry(kind).or_default() += 1;
    }
    for (atom, kind) in centres(stated) {
        match left.get_mut(&kind).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None => return Err(atom),
        }
    }
    Ok(())
}

fn are_distinct(adjacency: &Adjacency, class: &[usize], atom: usize) -> bool {
    distinct(adjacency.of(atom).iter().map(|neighbour| class[neighbour.atom])) == adjacency.of(atom).len()
}

fn distinct(classes: impl Iterator<Item = usize>) -> usize {
    let mut classes: Vec<usize> = classes.collect();
    classes.sort_unstable();
    classes.dedup();
    classes.len()
}

/// 1 or 2: the handedness of a centre seen with its neighbours ordered by class, so that equal surroundings give
/// equal numbers whatever the order of bonds.
fn hand(molecule: &Molecule, adjacency: &Adjacency, class: &[usize], atom: usize) -> usize {
    let order: Vec<usize> = adjacency.of(atom).iter().map(|neighbour| class[neighbour.atom]).collect();
    let clockwise = molecule.atoms[atom].chirality == Chirality::Clockwise;
    1 + usize::from(clockwise != odd_permutation(&order).unwrap_or(false))
}

/// Whether an atom's ring looks the same both ways round, while its other neighbours differ: then it is cis or
/// trans to another such atom of the ring. Like RDKit, it lets pass a bridgehead with three equal arms, unless it
/// bears a hydrogen.
fn may_be_cis_or_trans(molecule: &Molecule, rings: &Rings, view: (&Adjacency, &[usize]), atom: usize) -> bool {
    let (adjacency, class) = view;
    let (inside, outside): (Vec<&Neighbour>, Vec<&Neighbour>) =
        adjacency.of(atom).iter().partition(|neighbour| rings.contains_bond(neighbour.bond));
    let kinds = |neighbours: &[&Neighbour]| distinct(neighbours.iter().map(|neighbour| class[neighbour.atom]));
    let hydrogen = outside.iter().any(|neighbour| molecule.atoms[neighbour.atom].atomic_number == 1);
    let bridgehead = inside.len() == 3 && kinds(&inside) == 1 && !hydrogen;
    let alike = inside.len() >= 2 && kinds(&inside) == inside.len() - 1;
    (alike || bridgehead) && kinds(&outside) == outside.len()
}

/// Whether an odd number of swaps sorts these numbers; `None` if two are equal.
pub(super) fn odd_permutation(order: &[usize]) -> Option<bool> {
    let mut swaps = 0;
    for (i, a) in order.iter().enumerate() {
        for b in &order[i + 1..] {
            if a == b {
                return None;
            }
            swaps += usize::from(a > b);
        }
    }
    Some(swaps % 2 == 1)
}

/// v₁ · (v₂ × v₃) with v_k = x_k − origin, in Å³.
fn triple_product(x: [[f64; 3]; 3], origin: [f64; 3]) -> f64 {
    let [[ax, ay, az], [bx, by, bz], [cx, cy, cz]] =
        x.map(|x| -> [f64; 3] { std::array::from_fn(|axis| x[axis] - origin[axis]) });
    ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
}
