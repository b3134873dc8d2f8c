//! Whether a conformer is possible at all: lengths, angles, clashes, handedness, planarity.
//!
//! The checks and tolerances are those of PoseBusters (Buttenschoen, Morris, Deane 2024), which hold distances within 25 % of the
//! limits of distance geometry. Its limits come from RDKit; here they come from few tables, which follow, and hydrogens are checked
//! as well. They say that something is wrong, not that a conformer has low energy.
//!
//! | check | holds if |
//! |---|---|
//! | bond lengths | each is 0.75 to 1.25 times the sum of the covalent radii (Cordero et al. 2008), times 0.92, 0.88, 0.79 for aromatic, double and triple bonds |
//! | bond angles | the distance that each spans, sin θ/2 in units of its arms, is 0.75 to 1.25 times that of the ideal θ: 180° between two double bonds or beside a triple one, else 120° at aromatic and double bonds, 109.5°; 60° and 90° within rings of 3 and 4 |
//! | no clash | atoms more than three bonds apart, or in different parts, are no closer than 0.75 times the sum of their van der Waals radii (Bondi 1964), times 0.7 at four and 0.85 at five bonds; with a hydrogen, no closer than half the sum |
//! | handedness | v₁ · (v₂ × v₃) of each centre of stated handedness has the stated sign |
//! | aromatic rings | the atoms of each ring of 5 or 6 whose bonds are all aromatic lie within 0.25 Å of their common plane |
//! | double bonds | likewise the six atoms of each C=C of trigonal carbons outside rings, but for those beside a charge |
//!
//! Beside a charge a double bond is one of several resonance structures, and often but a way of writing: GEOM's graphs, perceived from
//! coordinates, write twisted amides as `[O-]C(=C…)…=[S+]`. In rings, the bonds' other arms need not lie in the plane (bridgeheads).
//!
//! Handedness is compared with the tags of the molecule that is given: give the one that was asked for. [`Molecule`] does not say
//! which way a double bond points, so that E and Z are not told apart.

use std::iter::Sum;
use std::ops::AddAssign;

use nalgebra::{Matrix3, SymmetricEigen};

use crate::chem::stereo::{StereoCentre, stereo_centres};
use crate::chem::{Adjacency, BondOrder, Element, Molecule, Rings};
use crate::geometry::{Point, vector};

/// What lengths and spans may be off by, as a share of the ideal.
const TOLERANCE: f64 = 0.25;
/// How far an atom may be from a plane, Å.
const FLAT: f64 = 0.25;
/// Atoms with a hydrogen among them are not closer than this share of the sum of their van der Waals radii.
const HYDROGEN_CONTACT: f64 = 0.5;
/// What is left of van der Waals radii at four and at five bonds.
const NEAR_CONTACTS: [f64; 2] = [0.7, 0.85];

/// How many conformers hold each check. Adds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validity {
    /// Conformers looked at.
    pub conformers: usize,
    /// Those with finite positions only; others hold no check.
    pub finite: usize,
    /// Those with sound bond lengths.
    pub bond_lengths: usize,
    /// Those with sound bond angles.
    pub bond_angles: usize,
    /// Those without a clash.
    pub without_clash: usize,
    /// Those with the stated handedness at every centre.
    pub handedness: usize,
    /// Those with planar aromatic rings.
    pub aromatic_rings: usize,
    /// Those with planar double bonds.
    pub double_bonds: usize,
    /// Those that hold all of these.
    pub valid: usize,
}

impl Validity {
    /// The share of conformers that hold all checks; NaN if there is no conformer.
    pub fn share(&self) -> f64 {
        self.valid as f64 / self.conformers as f64
    }

    /// What holds, and for which share of the conformers.
    pub fn shares(&self) -> [(&'static str, f64); 8] {
        let counts = [
            ("finite positions", self.finite),
            ("sound bond lengths", self.bond_lengths),
            ("sound bond angles", self.bond_angles),
            ("no clash", self.without_clash),
            ("stated handedness", self.handedness),
            ("planar aromatic rings", self.aromatic_rings),
            ("planar double bonds", self.double_bonds),
            ("all of these", self.valid),
        ];
        counts.map(|(name, count)| (name, count as f64 / self.conformers as f64))
    }
}

impl AddAssign for Validity {
    fn add_assign(&mut self, other: Validity) {
        self.conformers += other.conformers;
        self.finite += other.finite;
        self.bond_lengths += other.bond_lengths;
        self.bond_angles += other.bond_angles;
        self.without_clash += other.without_clash;
        self.handedness += other.handedness;
        self.aromatic_rings += other.aromatic_rings;
        self.double_bonds += other.double_bonds;
        self.valid += other.valid;
    }
}

impl Sum for Validity {
    fn sum<I: Iterator<Item = Validity>>(iter: I) -> Validity {
        iter.fold(Validity::default(), |mut sum, next| {
            sum += next;
            sum
        })
    }
}

impl<'a> Sum<&'a Validity> for Validity {
    fn sum<I: Iterator<Item = &'a Validity>>(iter: I) -> Validity {
        iter.copied().sum()
    }
}

/// What a molecule's conformers must hold.
#[derive(Clone, Debug)]
pub struct Checker {
    /// Ends and shortest and longest length, Å.
    bonds: Vec<([usize; 2], [f64; 2])>,
    /// The first arm's end, the apex, the second arm's end; least and largest sin θ/2.
    angles: Vec<([usize; 3], [f64; 2])>,
    /// For each atom those after it that are up to five bonds away, ascending, with the share of the van der Waals radii that counts.
    near: Vec<Vec<(usize, f64)>>,
    /// Van der Waals radii, Å, and whether the atom is a hydrogen.
    radii: Vec<(f64, bool)>,
    centres: Vec<StereoCentre>,
    aromatic_rings: Vec<Vec<usize>>,
    double_bonds: Vec<Vec<usize>>,
}

impl Checker {
    /// Derives the limits from a graph.
    pub fn new(molecule: &Molecule) -> Checker {
        let adjacency = Adjacency::new(molecule);
        let rings = Rings::new(molecule);
        let radius = |atom: &crate::chem::Atom| (van_der_waals_radius(atom.atomic_number), atom.atomic_number == 1);
        Checker {
            bonds: molecule.bonds.iter().map(|bond| length_limits(molecule, bond)).collect(),
            angles: angles(molecule, &adjacency, &rings),
            near: (0..molecule.atoms.len()).map(|atom| near(&adjacency, atom)).collect(),
            radii: molecule.atoms.iter().map(radius).collect(),
            centres: stereo_centres(molecule),
            aromatic_rings: aromatic_rings(molecule, &adjacency, &rings),
            double_bonds: double_bonds(molecule, &adjacency, &rings),
        }
    }

    /// Checks one conformer.
    ///
    /// # Panics
    /// If there is not one position per atom.
    pub fn check(&self, positions: &[Point]) -> Validity {
        assert_eq!(positions.len(), self.radii.len(), "one position per atom");
        let finite = positions.iter().flatten().all(|coordinate| coordinate.is_finite());
        let flat = |systems: &[Vec<usize>]| systems.iter().all(|atoms| is_flat(atoms, positions));
        let holds = [
            finite,
            finite && self.bonds.iter().all(|(ends, limits)| is_within(distance(positions, *ends), limits)),
            finite && self.angles.iter().all(|(atoms, limits)| is_within(span(positions, *atoms), limits)),
            finite && !self.has_clash(positions),
            finite && self.centres.iter().all(|centre| shows(centre, positions)),
            finite && flat(&self.aromatic_rings),
            finite && flat(&self.double_bonds),
        ];
        let [finite, bond_lengths, bond_angles, without_clash, handedness, aromatic_rings, double_bonds] =
            holds.map(usize::from);
        let valid = usize::from(holds.iter().all(|&holds| holds));
        Validity {
            conformers: 1,
            finite,
            bond_lengths,
            bond_angles,
            without_clash,
            handedness,
            aromatic_rings,
            double_bonds,
            valid,
        }
    }

    fn has_clash(&self, positions: &[Point]) -> bool {
        let closest = |a: usize, b: usize, share: f64| {
            let hydrogen = self.radii[a].1 || self.radii[b].1;
            let share = if hydrogen { share.min(HYDROGEN_CONTACT) } else { share * (1.0 - TOLERANCE) };
            share * (self.radii[a].0 + self.radii[b].0)
        };
        (0..positions.len()).any(|a| {
            let mut near = self.near[a].iter().peekable();
            (a + 1..positions.len()).any(|b| {
                let share = near.next_if(|next| next.0 == b).map_or(1.0, |next| next.1);
                distance(positions, [a, b]) < closest(a, b, share)
            })
        })
    }
}

fn is_within(value: f64, [least, largest]: &[f64; 2]) -> bool {
    *least <= value && value <= *largest
}

fn distance(positions: &[Point], [a, b]: [usize; 2]) -> f64 {
    vector::norm_squared(&vector::sub(&positions[a], &positions[b])).sqrt()
}

/// sin θ/2 of the angle at the second of three atoms: half the distance of the arms' ends if the arms had length 1.
fn span(positions: &[Point], [a, apex, b]: [usize; 3]) -> f64 {
    let arm = |end: usize| {
        let arm = vector::sub(&positions[end], &positions[apex]);
        vector::scale(1.0 / vector::norm_squared(&arm).sqrt(), &arm)
    };
    0.5 * vector::norm_squared(&vector::sub(&arm(a), &arm(b))).sqrt()
}

fn length_limits(molecule: &Molecule, bond: &crate::chem::Bond) -> ([usize; 2], [f64; 2]) {
    let ends = [bond.begin as usize, bond.end as usize];
    let radius = |atom: usize| Element::new(molecule.atoms[atom].atomic_number).map_or(1.5, |e| e.covalent_radius);
    let shortened = match bond.order {
        BondOrder::Single | BondOrder::Other => 1.0,
        BondOrder::Aromatic => 0.92,
        BondOrder::Double => 0.88,
        BondOrder::Triple => 0.79,
    };
    let ideal = shortened * (radius(ends[0]) + radius(ends[1]));
    (ends, [(1.0 - TOLERANCE) * ideal, (1.0 + TOLERANCE) * ideal])
}

fn angles(molecule: &Molecule, adjacency: &Adjacency, rings: &Rings) -> Vec<([usize; 3], [f64; 2])> {
    let mut angles = Vec::new();
    for apex in 0..molecule.atoms.len() {
        let arms = adjacency.of(apex);
        let ideal = ideal_angle(arms.iter().map(|arm| molecule.bonds[arm.bond].order));
        for (k, first) in arms.iter().enumerate() {
            for second in &arms[k + 1..] {
                let together =
                    |ring: &&Vec<usize>| [first.atom, apex, second.atom].iter().all(|atom| ring.contains(atom));
                let ideal = match rings.rings().iter().filter(together).map(Vec::len).min() {
                    Some(3) => 60.0,
                    Some(4) => 90.0,
                    _ => ideal,
                };
                let span = f64::to_radians(0.5 * ideal).sin();
                angles.push(([first.atom, apex, second.atom], [(1.0 - TOLERANCE) * span, (1.0 + TOLERANCE) * span]));
            }
        }
    }
    angles
}

/// The angle in degrees between the bonds of an atom outside small rings.
fn ideal_angle(orders: impl Iterator<Item = BondOrder>) -> f64 {
    let orders: Vec<BondOrder> = orders.collect();
    let count = |order: BondOrder| orders.iter().filter(|&&other| other == order).count();
    match (orders.len(), count(BondOrder::Triple), count(BondOrder::Double)) {
        (2, 1.., _) | (2, _, 2) => 180.0,
        (2 | 3, _, 1..) => 120.0,
        _ if count(BondOrder::Aromatic) > 0 => 120.0,
        _ => 109.5,
    }
}

/// The atoms after `start` up to five bonds away, with the share of the van der Waals radii that counts: none up to
/// three bonds, where angles and torsions rule.
fn near(adjacency: &Adjacency, start: usize) -> Vec<(usize, f64)> {
    let mut shell = vec![start];
    let mut seen = std::collections::BTreeMap::from([(start, 0.0)]);
    for share in [0.0, 0.0, 0.0, NEAR_CONTACTS[0], NEAR_CONTACTS[1]] {
        let mut next = Vec::new();
        for neighbour in shell.iter().flat_map(|&atom| adjacency.of(atom)) {
            if let std::collections::btree_map::Entry::Vacant(entry) = seen.entry(neighbour.atom) {
                entry.insert(share);
                next.push(neighbour.atom);
            }
        }
        shell = next;
    }
    seen.into_iter().filter(|&(atom, _)| atom > start).collect()
}

/// Bondi's radii (1964; hydrogen after Rowland and Taylor 1996, boron and later elements after Mantina et al. 2009), Å;
/// 2.0 for other elements.
fn van_der_waals_radius(atomic_number: u8) -> f64 {
    match atomic_number {
        1 => 1.10,
        5 => 1.92,
        6 => 1.70,
        7 => 1.55,
        8 => 1.52,
        9 => 1.47,
        14 => 2.10,
        15 | 16 => 1.80,
        17 => 1.75,
        33 => 1.85,
        34 => 1.90,
        35 => 1.83,
        53 => 1.98,
        _ => 2.0,
    }
}

/// Whether v₁ · (v₂ × v₃), v_k = x_k − x_4, has the stated sign.
fn shows(centre: &StereoCentre, positions: &[Point]) -> bool {
    let [a, b, c, d] = centre.neighbours.map(|atom| positions[atom as usize]);
    let [a, b, c] = [a, b, c].map(|x| vector::sub(&x, &d));
    f64::from(centre.sign) * vector::dot(&a, &vector::cross(&b, &c)) > 0.0
}

fn aromatic_rings(molecule: &Molecule, adjacency: &Adjacency, rings: &Rings) -> Vec<Vec<usize>> {
    let aromatic = |a: usize, b: usize| {
        adjacency.of(a).iter().any(|n| n.atom == b && molecule.bonds[n.bond].order == BondOrder::Aromatic)
    };
    let is_aromatic = |ring: &&Vec<usize>| {
        matches!(ring.len(), 5 | 6) && (0..ring.len()).all(|k| aromatic(ring[k], ring[(k + 1) % ring.len()]))
    };
    rings.rings().iter().filter(is_aromatic).cloned().collect()
}

/// The double bonds outside rings between carbons with two more neighbours each, none of them charged, as these six atoms.
fn double_bonds(molecule: &Molecule, adjacency: &Adjacency, rings: &Rings) -> Vec<Vec<usize>> {
    let neutral = |atom: usize| molecule.atoms[atom].formal_charge == 0;
    let trigonal = |atom: usize| {
        let around = adjacency.of(atom);
        molecule.atoms[atom].atomic_number == 6 && around.len() == 3 && around.iter().all(|n| neutral(n.atom))
    };
    let doubles = molecule.bonds.iter().enumerate().filter(|(_, bond)| bond.order == BondOrder::Double);
    let ends =
        doubles.filter(|(index, _)| !rings.contains_bond(*index)).map(|(_, b)| [b.begin as usize, b.end as usize]);
    let around = |ends: [usize; 2]| {
        let mut atoms: Vec<usize> = ends.iter().flat_map(|&end| adjacency.of(end)).map(|n| n.atom).collect();
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    };
    ends.filter(|ends| ends.iter().all(|&end| trigonal(end))).map(around).collect()
}

/// Whether all of these atoms are near their best common plane.
fn is_flat(atoms: &[usize], positions: &[Point]) -> bool {
    let mut points: Vec<Point> = atoms.iter().map(|&atom| positions[atom]).collect();
    vector::centre(&mut points);
    let moments: Matrix3<f64> = points.iter().map(|p| nalgebra::Vector3::from(*p)).map(|p| p * p.transpose()).sum();
    let eigen = SymmetricEigen::new(moments);
    let normal = eigen.eigenvectors.column(eigen.eigenvalues.imin());
    points.iter().all(|p| nalgebra::Vector3::from(*p).dot(&normal).abs() <= FLAT)
}
