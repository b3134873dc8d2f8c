//! Valence, conjugation and hybridisation of atoms by RDKit's rules, from the graph alone.

use super::element::Element;
use super::graph::{Adjacency, Neighbour};
use super::{BondOrder, Chirality, Molecule};

/// Hybridisation of an atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hybridisation {
    /// One orbital or none: hydrogen, bare ions.
    S,
    /// Two.
    Sp,
    /// Three, or four of which one lies in a π system.
    Sp2,
    /// Four.
    Sp3,
    /// Five.
    Sp3d,
    /// Six.
    Sp3d2,
    /// More than six.
    Unspecified,
}

/// The molecule with what the rules of perception ask of its atoms.
pub(super) struct Perception<'a> {
    pub molecule: &'a Molecule,
    pub adjacency: &'a Adjacency,
    pub valence: Vec<i32>,
}

/// Hybridisation of every atom. An atom's orbitals are its neighbours, lone pairs and unpaired electrons; one
/// with four of which a lone pair is conjugated (amide N, ester O) counts as sp².
pub fn hybridisations(molecule: &Molecule, adjacency: &Adjacency) -> Vec<Hybridisation> {
    let perception = Perception::new(molecule, adjacency);
    let conjugated = perception.conjugated_bonds();
    (0..molecule.atoms.len()).map(|atom| perception.hybridisation(atom, &conjugated)).collect()
}

/// Whether an atom takes part in an aromatic bond.
pub fn is_aromatic(molecule: &Molecule, adjacency: &Adjacency, atom: usize) -> bool {
    adjacency.of(atom).iter().any(|neighbour| molecule.bonds[neighbour.bond].order == BondOrder::Aromatic)
}

/// The sum of an atom's bond orders. An aromatic atom whose 1.5s add up to more than it can have gives its lone
/// pair to the ring (pyrrole's N): it gets the greatest usual valence below the sum, as it has in Kekulé form.
pub(super) fn valence(molecule: &Molecule, adjacency: &Adjacency, atom: usize) -> i32 {
    let sum: f64 = adjacency.of(atom).iter().map(|neighbour| molecule.valence_contribution(neighbour.bond, atom)).sum();
    let usual = usual_valences(molecule, atom);
    let exceeds = usual.first().is_some_and(|&default| sum > f64::from(default));
    if exceeds && is_aromatic(molecule, adjacency, atom) {
        let fitting = usual.iter().rev().find(|&&usual| f64::from(usual) <= sum);
        if let Some(&fitting) = fitting.filter(|&&fitting| sum - f64::from(fitting) <= 1.5) {
            return fitting;
        }
    }
    (sum + 0.1).round() as i32
}

/// Usual valences of a charged atom: those of the element with as many electrons (N⁺ as C); none for elements
/// that have none themselves.
pub(super) fn usual_valences(molecule: &Molecule, atom: usize) -> &'static [i32] {
    let atom = &molecule.atoms[atom];
    let own = Element::new(atom.atomic_number).map_or(&[][..], |element| element.valences);
    let electrons = i16::from(atom.atomic_number) - i16::from(atom.formal_charge);
    if own.is_empty() {
        return own;
    }
    u8::try_from(electrons).ok().and_then(Element::new).map_or(&[], |element| element.valences)
}

impl<'a> Perception<'a> {
    pub fn new(molecule: &'a Molecule, adjacency: &'a Adjacency) -> Self {
        let valence = (0..molecule.atoms.len()).map(|atom| valence(molecule, adjacency, atom)).collect();
        Perception { molecule, adjacency, valence }
    }

    pub fn neighbours(&self, atom: usize) -> &[Neighbour] {
        self.adjacency.of(atom)
    }

    pub fn element(&self, atom: usize) -> Option<&'static Element> {
        Element::new(self.molecule.atoms[atom].atomic_number)
    }

    /// Electrons that an atom can give to a π system, as in RDKit's aromaticity model; negative if it cannot.
    pub fn pi_electrons(&self, atom: usize) -> i32 {
        let (Some(element), data) = (self.element(atom), &self.molecule.atoms[atom]) else { return -1 };
        let default = element.default_valence().unwrap_or(-1);
        let counts = |neighbour: &&Neighbour| self.molecule.valence_contribution(neighbour.bond, atom).round() != 0.0;
        let degree = self.neighbours(atom).iter().filter(counts).count() as i32;
        if default <= 1 || degree > 3 {
            return -1;
        }
        let lone = (element.outer_electrons - default - i32::from(data.formal_charge)).max(0);
        let free = default - degree + lone - i32::from(data.radical_electrons);
        let unsaturations = self.valence[atom] - self.neighbours(atom).len() as i32;
        // A triple bond has one electron only in the plane that counts.
        if free > 1 && unsaturations > 1 { 1 } else { free }
    }

    /// Whether an atom can be part of a conjugated system: not hypervalent, not a heavy pnictogen or a heavy
    /// chalcogen with two neighbours, and with an electron to share.
    fn can_conjugate(&self, atom: usize) -> bool {
        let (Some(element), data) = (self.element(atom), &self.molecule.atoms[atom]) else { return false };
        let hypervalent = element.default_valence().is_some_and(|default| self.valence[atom] > default);
        if data.formal_charge == 0 && hypervalent {
            return false;
        }
        let heavy = data.atomic_number > 10;
        let outer = element.outer_electrons;
        let excluded = heavy && (outer == 5 || (outer == 6 && self.neighbours(atom).len() > 1));
        !excluded && self.pi_electrons(atom) > 0
    }

    /// For each bond whether it is conjugated: aromatic, or a multiple bond next to another bond of an atom
    /// between two candidates.
    fn conjugated_bonds(&self) -> Vec<bool> {
        let mut conjugated: Vec<bool> =
            self.molecule.bonds.iter().map(|bond| bond.order == BondOrder::Aromatic).collect();
        let candidate: Vec<bool> = (0..self.adjacency.atom_count()).map(|atom| self.can_conjugate(atom)).collect();
        for atom in (0..self.adjacency.atom_count()).filter(|&atom| candidate[atom]) {
            let neighbours = self.neighbours(atom);
            if !(2..=3).contains(&neighbours.len()) {
                continue;
            }
            for (i, multiple) in neighbours.iter().enumerate() {
                let order = self.molecule.valence_contribution(multiple.bond, atom);
                if order < 1.5 || !candidate[multiple.atom] {
                    continue;
                }
                for (j, other) in neighbours.iter().enumerate() {
                    if i != j && self.neighbours(other.atom).len() <= 3 && candidate[other.atom] {
                        conjugated[multiple.bond] = true;
                        conjugated[other.bond] = true;
                    }
                }
            }
        }
        conjugated
    }

    /// Neighbours, lone pairs and unpaired electrons of an atom.
    fn orbitals(&self, atom: usize) -> i32 {
        let data = &self.molecule.atoms[atom];
        let donates = |neighbour: &&Neighbour| {
            let bond = &self.molecule.bonds[neighbour.bond];
            bond.order == BondOrder::Other && bond.end as usize != atom
        };
        let neighbours = self.neighbours(atom);
        let degree = (neighbours.len() - neighbours.iter().filter(donates).count()) as i32;
        let Some(element) = self.element(atom).filter(|_| data.atomic_number > 1) else { return degree };
        let charge = i32::from(data.formal_charge);
        let free = element.outer_electrons - (self.valence[atom] + charge);
        if self.valence[atom] + element.outer_electrons - charge < 8 {
            let radicals = i32::from(data.radical_electrons);
            degree + (free - radicals) / 2 + radicals
        } else {
            degree + free / 2
        }
    }

    fn hybridisation(&self, atom: usize, conjugated: &[bool]) -> Hybridisation {
        let data = &self.molecule.atoms[atom];
        let neighbours = self.neighbours(atom);
        if data.chirality != Chirality::None && neighbours.len() == 4 {
            return Hybridisation::Sp3;
        }
        // From actinium on the valences mean nothing; RDKit counts neighbours only.
        let orbitals = if data.atomic_number < 89 { self.orbitals(atom) } else { neighbours.len() as i32 };
        match orbitals {
            ..=1 => Hybridisation::S,
            2 => Hybridisation::Sp,
            3 => Hybridisation::Sp2,
            4 if neighbours.len() <= 3 && neighbours.iter().any(|neighbour| conjugated[neighbour.bond]) => {
                Hybridisation::Sp2
            }
            4 => Hybridisation::Sp3,
            5 => Hybridisation::Sp3d,
            6 => Hybridisation::Sp3d2,
            _ => Hybridisation::Unspecified,
        }
    }
}
