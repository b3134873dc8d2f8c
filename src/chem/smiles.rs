//! SMILES → [`Molecule`], as RDKit's `AddHs(MolFromSmiles(…))` gives it.

use std::collections::HashMap;

use chematic_core::{AtomIdx, BondIdx, BondOrder as Order, Chirality as Tag, STEREO_H_SENTINEL};

use crate::{Error, Result};

use super::graph::Adjacency;
use super::hybridisation::{usual_valences, valence};
use super::sanitise::sanitise;
use super::stereo::{odd_permutation, remove_false_centres};
use super::{Atom, Bond, BondOrder, Chirality, Element, Molecule};

/// Longer texts are no molecule that a conformer generator can use.
const MAX_BYTES: usize = 65_536;

/// Reads a SMILES of one connected molecule. Heavy atoms come in the order of the text, then hydrogens atom by
/// atom; hydrogens written as atoms join these. If every atom has a map number (`[C:1]([H:2])…`, one may lack
/// it and counts as 0), written hydrogens stay atoms and the atoms are ordered by the number instead. Bonds are
/// numbered as RDKit does it, ring closures after the bonds of the chain.
///
/// # Errors
/// [`Error::Data`] that quotes the text, if it is not valid SMILES, names no molecule (aromatic bonds without a
/// Kekulé structure, too many bonds at a non-metal), has too many atoms, several fragments, wildcards, or repeats a map number.
pub fn parse(smiles: &str) -> Result<Molecule> {
    let text = smiles.trim();
    read(text).map_err(|what| {
        let shown: String = text.chars().take(200).collect();
        Error::Data(format!("SMILES {shown:?}: {what}"))
    })
}

fn read(text: &str) -> Result<Molecule, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("{} bytes are more than the limit of {MAX_BYTES}", text.len()));
    }
    let parsed = chematic_smiles::parser::parse_template(text).map_err(|error| error.to_string())?;
    let draft = Draft::new(&parsed)?;
    let (mut molecule, origin) = draft.with_hydrogens();
    let (_, fragments) = molecule.components();
    if fragments != 1 {
        return Err(format!("it has {fragments} fragments; give one connected molecule at a time"));
    }
    sanitise(&mut molecule, |molecule| draft.set_radicals(molecule, &origin)).map_err(|unsound| unsound.to_string())?;
    draft.set_tags(&mut molecule, &origin);
    remove_false_centres(&mut molecule);
    Ok(molecule)
}

/// An atom as it is written.
struct Written {
    atom: Atom,
    /// Whether its symbol is in lower case.
    aromatic: bool,
    /// Hydrogens stated in brackets; outside brackets they follow from the valence.
    hydrogens: Option<u8>,
    map: u16,
    /// Neighbours in the order of the text, for a tagged atom; `None` is the hydrogen in its brackets.
    tagged: Option<(Chirality, Vec<Option<usize>>)>,
    /// Whether an isotope is named: such a hydrogen stays an atom where it stands.
    isotope: bool,
    /// Whether this hydrogen counts as one of its neighbour's hydrogens, not as an atom of the text.
    absorbed: bool,
}

/// A parsed text, bonds in RDKit's order.
struct Draft {
    atoms: Vec<Written>,
    bonds: Vec<Bond>,
    mapped: bool,
}

/// What an atom of the finished molecule was in the text: `None` for an added hydrogen.
type Origin = Vec<Option<usize>>;

impl Draft {
    fn new(parsed: &chematic_core::Molecule) -> Result<Self, String> {
        let atoms = (0..parsed.atom_count()).map(|index| written(parsed, index)).collect::<Result<Vec<_>, _>>()?;
        let bonds = parsed.rdkit_bond_order().into_iter().map(|index| bond(parsed, index));
        let mut draft = Draft { atoms, bonds: bonds.collect::<Result<_, _>>()?, mapped: false };
        draft.open_acyclic_aromatic_bonds()?;
        draft.mapped = draft.is_mapped()?;
        if !draft.mapped {
            draft.absorb_hydrogens();
        }
        Ok(draft)
    }

    /// The graph of the text itself.
    fn molecule(&self) -> Molecule {
        Molecule { atoms: self.atoms.iter().map(|written| written.atom).collect(), bonds: self.bonds.clone() }
    }

    /// An unwritten bond between aromatic atoms is aromatic in a ring only (not in biphenyl).
    fn open_acyclic_aromatic_bonds(&mut self) -> Result<(), String> {
        let cyclic = super::rings::cyclic_bonds(&self.molecule());
        let mut in_ring = vec![false; self.atoms.len()];
        for (bond, cyclic) in self.bonds.iter_mut().zip(cyclic) {
            if cyclic {
                in_ring[bond.begin as usize] = true;
                in_ring[bond.end as usize] = true;
            } else if bond.order == BondOrder::Aromatic {
                bond.order = BondOrder::Single;
            }
        }
        let astray = self.atoms.iter().zip(in_ring).position(|(written, in_ring)| written.aromatic && !in_ring);
        astray.map_or(Ok(()), |index| Err(format!("atom {} is written as aromatic but in no ring", index + 1)))
    }

    fn is_mapped(&self) -> Result<bool, String> {
        if self.atoms.iter().filter(|written| written.map == 0).count() > 1 {
            return Ok(false);
        }
        let mut seen = HashMap::new();
        for (index, written) in self.atoms.iter().enumerate() {
            if let Some(first) = seen.insert(written.map, index) {
                return Err(format!("atoms {} and {} have the same map number {}", first + 1, index + 1, written.map));
            }
        }
        Ok(true)
    }

    /// Plain hydrogens with one heavy neighbour are not atoms of their own.
    fn absorb_hydrogens(&mut self) {
        let adjacency = Adjacency::new(&self.molecule());
        for index in 0..self.atoms.len() {
            let written = &self.atoms[index];
            let plain = written.atom.atomic_number == 1 && written.atom.formal_charge == 0 && !written.isotope;
            if let ([neighbour], true) = (adjacency.of(index), plain)
                && self.atoms[neighbour.atom].atom.atomic_number != 1
                && self.bonds[neighbour.bond].order == BondOrder::Single
            {
                self.atoms[index].absorbed = true;
                if let Some(hydrogens) = &mut self.atoms[neighbour.atom].hydrogens {
                    *hydrogens = hydrogens.saturating_add(1);
                }
            }
        }
    }

    /// The molecule with all its hydrogens, in its final order.
    fn with_hydrogens(&self) -> (Molecule, Origin) {
        let mut origin: Origin = (0..self.atoms.len()).filter(|&index| !self.atoms[index].absorbed).map(Some).collect();
        if self.mapped {
            origin.sort_by_key(|index| index.map(|index| self.atoms[index].map));
        }
        let mut new_index = vec![None; self.atoms.len()];
        for (new, old) in origin.iter().enumerate() {
            if let Some(old) = *old {
                new_index[old] = Some(new as u32);
            }
        }
        let ends = |bond: &Bond| Some((new_index[bond.begin as usize]?, new_index[bond.end as usize]?));
        let kept = self.bonds.iter().filter_map(|bond| {
            let (begin, end) = ends(bond)?;
            Some(Bond { begin, end, order: bond.order })
        });
        let atoms = origin.iter().flatten().map(|&index| self.atoms[index].atom).collect();
        let mut molecule = Molecule { atoms, bonds: kept.collect() };
        let adjacency = Adjacency::new(&molecule);
        let missing: Vec<u8> = (0..molecule.atoms.len())
            .map(|new| {
                let stated = origin[new].and_then(|old| self.atoms[old].hydrogens);
                stated.unwrap_or_else(|| implied_hydrogens(&molecule, &adjacency, new))
            })
            .collect();
        for (atom, count) in missing.into_iter().enumerate() {
            for _ in 0..count {
                let hydrogen = molecule.atoms.len() as u32;
                molecule.atoms.push(plain_atom(1, 0));
                molecule.bonds.push(Bond { begin: atom as u32, end: hydrogen, order: BondOrder::Single });
                origin.push(None);
            }
        }
        (molecule, origin)
    }

    /// Unpaired electrons of atoms written in brackets: what is missing to the octet or to a usual valence.
    fn set_radicals(&self, molecule: &mut Molecule, origin: &Origin) {
        let adjacency = Adjacency::new(molecule);
        for (index, old) in origin.iter().enumerate() {
            if old.is_some_and(|old| self.atoms[old].hydrogens.is_some()) {
                molecule.atoms[index].radical_electrons = radical_electrons(molecule, &adjacency, index);
            }
        }
    }

    /// Translates each tag from the order of the text to the order of the bonds.
    fn set_tags(&self, molecule: &mut Molecule, origin: &Origin) {
        let adjacency = Adjacency::new(molecule);
        for (index, old) in origin.iter().enumerate() {
            let Some((tag, order)) = old.and_then(|old| self.atoms[old].tagged.as_ref()) else { continue };
            let neighbours = adjacency.of(index);
            if neighbours.len() != 4 || order.len() != 4 {
                continue;
            }
            // All hydrogens that are no atom of the text look alike; with two of them there is no centre.
            let key = |old: Option<usize>| old.filter(|&old| !self.atoms[old].absorbed);
            let place = |atom: usize| order.iter().position(|&entry| key(entry) == origin[atom]);
            let places: Vec<usize> = neighbours.iter().filter_map(|neighbour| place(neighbour.atom)).collect();
            molecule.atoms[index].chirality = match odd_permutation(&places) {
                Some(true) => tag.mirrored(),
                Some(false) => *tag,
                None => Chirality::None,
            };
        }
    }
}

fn plain_atom(atomic_number: u8, formal_charge: i8) -> Atom {
    Atom { atomic_number, formal_charge, radical_electrons: 0, chirality: Chirality::None }
}

fn written(parsed: &chematic_core::Molecule, index: usize) -> Result<Written, String> {
    let id = AtomIdx(index as u32);
    let atom = parsed.atom(id);
    if atom.wildcard {
        return Err(format!("atom {} is a wildcard, not an element", index + 1));
    }
    let tag = match atom.chirality {
        Tag::Clockwise => Chirality::Clockwise,
        Tag::CounterClockwise => Chirality::CounterClockwise,
        _ => Chirality::None,
    };
    let order = parsed.stereo_neighbor_order(id).map(|order| {
        let entry = |&entry: &u32| (entry != STEREO_H_SENTINEL).then_some(entry as usize);
        order.iter().map(entry).collect()
    });
    Ok(Written {
        atom: plain_atom(atom.element.atomic_number(), atom.charge),
        aromatic: atom.aromatic,
        hydrogens: atom.hydrogen_count,
        map: atom.atom_map.unwrap_or(0),
        tagged: order.filter(|_| tag != Chirality::None).map(|order| (tag, order)),
        isotope: atom.isotope.is_some(),
        absorbed: false,
    })
}

fn bond(parsed: &chematic_core::Molecule, index: BondIdx) -> Result<Bond, String> {
    let bond = parsed.bond(index);
    let order = match bond.order {
        Order::Single | Order::Up | Order::Down => BondOrder::Single,
        Order::Double => BondOrder::Double,
        Order::Triple => BondOrder::Triple,
        Order::Aromatic => BondOrder::Aromatic,
        Order::Quadruple | Order::Dative | Order::Zero => BondOrder::Other,
        _ => return Err("a bond is a query, not a bond".to_owned()),
    };
    let (mut begin, mut end) = (bond.atom1.0, bond.atom2.0);
    // RDKit lets a ring bond begin at the atom that closes it, unless the opening digit carried a bond symbol.
    if parsed.is_smiles_ring_closure(index) && parsed.smiles_ring_closure_begins_at_open(index) != Some(true) {
        (begin, end) = (end, begin);
    }
    Ok(Bond { begin, end, order })
}

/// How many hydrogens a graph lacks that should have them all: what would fill its atoms up to their next usual
/// valences, beyond their unpaired electrons. Molecules drawn without hydrogens have many.
pub fn missing_hydrogens(molecule: &Molecule) -> usize {
    let adjacency = Adjacency::new(molecule);
    let missing = |atom: usize| {
        let implied = implied_hydrogens(molecule, &adjacency, atom);
        usize::from(implied.saturating_sub(molecule.atoms[atom].radical_electrons))
    };
    (0..molecule.atoms.len()).map(missing).sum()
}

/// Hydrogens that fill an atom up to its next usual valence; aromatic atoms beyond the first have none.
fn implied_hydrogens(molecule: &Molecule, adjacency: &Adjacency, atom: usize) -> u8 {
    let taken = valence(molecule, adjacency, atom);
    let usual = usual_valences(molecule, atom);
    let aromatic = super::hybridisation::is_aromatic(molecule, adjacency, atom);
    let considered = if aromatic { &usual[..usual.len().min(1)] } else { usual };
    let next = considered.iter().find(|&&valence| valence >= taken);
    next.map_or(0, |&valence| u8::try_from(valence - taken).unwrap_or(0))
}

/// RDKit's count of unpaired electrons of an atom whose hydrogens are all stated.
fn radical_electrons(molecule: &Molecule, adjacency: &Adjacency, index: usize) -> u8 {
    let atom = &molecule.atoms[index];
    let Some(element) = Element::new(atom.atomic_number).filter(|element| !element.valences.is_empty()) else {
        return 0;
    };
    let charge = i32::from(atom.formal_charge);
    let valence = valence(molecule, adjacency, index);
    let shell = if atom.atomic_number <= 2 { 2 } else { 8 };
    let mut missing = shell - element.outer_electrons - valence + charge;
    if missing < 0 {
        let hypervalent = element.valences.iter().map(|usual| usual - valence + charge).find(|&open| open >= 0);
        missing = hypervalent.filter(|_| element.valences.len() > 1).unwrap_or(0);
    }
    let left = element.outer_electrons - valence - charge;
    let unpaired = if left >= 0 { missing.min(left) } else { missing };
    u8::try_from(unpaired).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_hydrogens_are_noticed() {
        let ethanol = parse("CCO").unwrap();
        assert_eq!(missing_hydrogens(&ethanol), 0);
        let heavy = Molecule { atoms: ethanol.atoms[..3].to_vec(), bonds: ethanol.bonds[..2].to_vec() };
        assert_eq!(missing_hydrogens(&heavy), 6);
        for complete in ["c1cc[nH]c1", "C[N+](C)(C)C", "[O-]C=O", "[CH3]", "CS(=O)(=O)C", "O=[N+]([O-])c1ccccc1"] {
            assert_eq!(missing_hydrogens(&parse(complete).unwrap()), 0, "{complete}");
        }
    }
}
