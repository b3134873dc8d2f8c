//! The atoms that an RMSD is taken over: what RDKit's `Chem.RemoveHs` leaves with its default parameters.

use crate::chem::{Adjacency, BondOrder, Molecule, classes};
use crate::geometry::Point;

/// A molecule without the hydrogens that its other atoms imply.
///
/// A hydrogen stays if it is bonded to nothing, to several atoms or to hydrogens only (H₂), if it is a hydride (charge
/// −1), or if it shows which way a double bond points: it and that bond are all that its neighbour has, and the two sides
/// of the bond's other end differ, as in `[H]/N=C(/C)O`. RDKit asks in the last case whether the bond bears an E/Z mark;
/// [`Molecule`] has none, but each file with positions, and each SMILES of GEOM, leads RDKit to one wherever there can be one.
#[derive(Clone, Debug)]
pub struct Skeleton {
    /// The index in the molecule of each atom that stays, ascending.
    pub atoms: Vec<usize>,
    /// These atoms and the bonds between them.
    pub graph: Molecule,
}

impl Skeleton {
    /// The skeleton of a molecule.
    pub fn new(molecule: &Molecule) -> Self {
        let adjacency = Adjacency::new(molecule);
        let shows_stereo = hydrogens_that_show_stereo(molecule, &adjacency);
        let stays = |&atom: &usize| !is_implied(molecule, &adjacency, atom) || shows_stereo.contains(&atom);
        let atoms: Vec<usize> = (0..molecule.atoms.len()).filter(stays).collect();
        let mut place = vec![None; molecule.atoms.len()];
        atoms.iter().zip(0u32..).for_each(|(&atom, new)| place[atom] = Some(new));
        let kept = |bond: &crate::chem::Bond| {
            let [begin, end] = [bond.begin, bond.end].map(|end| place[end as usize]);
            Some(crate::chem::Bond { begin: begin?, end: end?, ..*bond })
        };
        let graph = Molecule {
            atoms: atoms.iter().map(|&atom| molecule.atoms[atom]).collect(),
            bonds: molecule.bonds.iter().filter_map(kept).collect(),
        };
        Skeleton { atoms, graph }
    }

    /// The positions of the skeleton's atoms in a conformer of the whole molecule.
    ///
    /// # Panics
    /// If the conformer has too few positions.
    pub fn positions(&self, conformer: &[Point]) -> Vec<Point> {
        self.atoms.iter().map(|&atom| conformer[atom]).collect()
    }
}

/// Whether an atom is a hydrogen of the usual kind: one bond, to another element.
fn is_implied(molecule: &Molecule, adjacency: &Adjacency, atom: usize) -> bool {
    let is_hydrogen = |atom: usize| molecule.atoms[atom].atomic_number == 1;
    match adjacency.of(atom) {
        [only] => is_hydrogen(atom) && molecule.atoms[atom].formal_charge != -1 && !is_hydrogen(only.atom),
        _ => false,
    }
}

/// The hydrogens beside a double bond that can be cis or trans, at an end where nothing else is.
fn hydrogens_that_show_stereo(molecule: &Molecule, adjacency: &Adjacency) -> Vec<usize> {
    let beside_double_bond = |&hydrogen: &usize| {
        let at = adjacency.of(hydrogen)[0].atom;
        let double = adjacency.of(at).iter().find(|next| molecule.bonds[next.bond].order == BondOrder::Double)?;
        (adjacency.of(at).len() == 2).then_some((hydrogen, at, *double))
    };
    let implied = (0..molecule.atoms.len()).filter(|&atom| is_implied(molecule, adjacency, atom));
    let candidates: Vec<_> = implied.filter_map(|hydrogen| beside_double_bond(&hydrogen)).collect();
    if candidates.is_empty() {
        return Vec::new();
    }
    let class = classes(molecule, adjacency, &vec![0; molecule.atoms.len()]);
    let can_be_either = |&(_, near, far): &(usize, usize, crate::chem::Neighbour)| {
        let sides: Vec<_> = adjacency.of(far.atom).iter().filter(|side| side.atom != near).collect();
        let plain = |side: &&crate::chem::Neighbour| {
            matches!(molecule.bonds[side.bond].order, BondOrder::Single | BondOrder::Aromatic)
        };
        sides.iter().all(plain)
            && match sides.as_slice() {
                [_] => true,
                [a, b] => class[a.atom] != class[b.atom],
                _ => false,
            }
    };
    candidates.iter().filter(|candidate| can_be_either(candidate)).map(|candidate| candidate.0).collect()
}
