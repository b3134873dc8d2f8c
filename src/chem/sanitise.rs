//! From bonds as they are written to the graph that RDKit would make of them.

use super::graph::Adjacency;
use super::hybridisation::{usual_valences, valence};
use super::kekule::kekulise;
use super::{Atom, BondOrder, Element, MAX_ATOMS, Molecule, perceive_aromaticity};

/// Why a graph is no molecule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// More atoms than [`MAX_ATOMS`].
    #[error("{0} atoms are more than the limit of {MAX_ATOMS} for one molecule")]
    TooLarge(usize),
    /// Aromatic bonds that no alternation of single and double bonds can stand for.
    #[error("the aromatic bonds around atom {} cannot be written as alternating single and double bonds; a hydrogen \
             may be missing, as in [nH]", .0 + 1)]
    NoKekuleStructure(usize),
    /// A non-metal with more bonds than it can have.
    #[error("atom {} ({symbol}) has a valence of {valence}, more than it can have", .atom + 1)]
    Valence {
        /// The atom.
        atom: usize,
        /// Its element.
        symbol: &'static str,
        /// The sum of its bond orders.
        valence: i32,
    },
}

/// Refuses what is too large, separates the charges of five-valent nitrogen and of halogen oxides, finds a Kekulé
/// structure, checks valences, lets `adjust` set what depends on that structure, and perceives aromaticity.
///
/// # Errors
/// [`Unsound`]; the molecule is then left half-way.
pub fn sanitise(molecule: &mut Molecule, adjust: impl FnOnce(&mut Molecule)) -> Result<(), Unsound> {
    if molecule.atoms.len() > MAX_ATOMS {
        return Err(Unsound::TooLarge(molecule.atoms.len()));
    }
    let adjacency = Adjacency::new(molecule);
    separate_nitrogen_charges(molecule, &adjacency);
    separate_halogen_charges(molecule, &adjacency);
    kekulise(molecule).map_err(Unsound::NoKekuleStructure)?;
    check_valences(molecule, &adjacency)?;
    adjust(molecule);
    perceive_aromaticity(molecule);
    Ok(())
}

/// N(=O)=O → [N+](=O)[O-] and N=N#N → N=[N+]=[N-]: nitrogen has no five bonds.
fn separate_nitrogen_charges(molecule: &mut Molecule, adjacency: &Adjacency) {
    for atom in 0..molecule.atoms.len() {
        let neutral_nitrogen = molecule.atoms[atom].atomic_number == 7 && molecule.atoms[atom].formal_charge == 0;
        if !neutral_nitrogen || valence(molecule, adjacency, atom) != 5 {
            continue;
        }
        let partner = adjacency.of(atom).iter().find(|neighbour| {
            let other = &molecule.atoms[neighbour.atom];
            let order = molecule.bonds[neighbour.bond].order;
            let terminal = adjacency.of(neighbour.atom).len() == 1 && other.formal_charge == 0;
            terminal && matches!((other.atomic_number, order), (8, BondOrder::Double) | (7, BondOrder::Triple))
        });
        if let Some(neighbour) = partner {
            let order = &mut molecule.bonds[neighbour.bond].order;
            *order = if *order == BondOrder::Double { BondOrder::Single } else { BondOrder::Double };
            molecule.atoms[atom].formal_charge = 1;
            molecule.atoms[neighbour.atom].formal_charge = -1;
        }
    }
}

/// Cl(=O)(=O)(=O)O → [Cl+3]([O-])([O-])([O-])O, likewise with other halogens bonded to oxygen only.
fn separate_halogen_charges(molecule: &mut Molecule, adjacency: &Adjacency) {
    for atom in 0..molecule.atoms.len() {
        let Atom { atomic_number, formal_charge, .. } = molecule.atoms[atom];
        let neighbours = adjacency.of(atom);
        let all_oxygen = neighbours.iter().all(|neighbour| molecule.atoms[neighbour.atom].atomic_number == 8);
        if !matches!(atomic_number, 17 | 35 | 53) || formal_charge != 0 || !all_oxygen {
            continue;
        }
        for neighbour in neighbours {
            if molecule.bonds[neighbour.bond].order == BondOrder::Double {
                molecule.bonds[neighbour.bond].order = BondOrder::Single;
                let oxygen = &mut molecule.atoms[neighbour.atom].formal_charge;
                *oxygen = oxygen.saturating_sub(1);
                molecule.atoms[atom].formal_charge = molecule.atoms[atom].formal_charge.saturating_add(1);
            }
        }
    }
}

fn check_valences(molecule: &Molecule, adjacency: &Adjacency) -> Result<(), Unsound> {
    for (index, atom) in molecule.atoms.iter().enumerate() {
        let valence = valence(molecule, adjacency, index);
        let most = usual_valences(molecule, index).last();
        if is_non_metal(atom.atomic_number) && most.is_some_and(|&most| valence > most) {
            let symbol = Element::new(atom.atomic_number).map_or("*", |element| element.symbol);
            return Err(Unsound::Valence { atom: index, symbol, valence });
        }
    }
    Ok(())
}

fn is_non_metal(atomic_number: u8) -> bool {
    matches!(atomic_number, 1 | 5..=9 | 14..=17 | 33..=35 | 52 | 53)
}
