//! Which atoms the graph cannot tell apart.

use super::Molecule;
use super::graph::{Adjacency, Neighbour};

/// Numbers the classes of atoms that look alike: first by element, charge, radicals and `label`, then by the
/// classes of their neighbours and the bonds to them, until no class splits any more (colour refinement). A class is
/// numbered by how many atoms stand before it, so numbers do not depend on the order of atoms. Only the neighbours of
/// atoms whose number changed are looked at again, so a long chain, refined from its ends, takes one pass, not one per link.
pub fn classes(molecule: &Molecule, adjacency: &Adjacency, label: &[usize]) -> Vec<usize> {
    let (mut class, mut size) = seeds(molecule, label);
    // The atoms of each class, and some that have left it.
    let mut members = vec![Vec::new(); class.len()];
    class.iter().enumerate().for_each(|(atom, &number)| members[number].push(atom));
    let mut is_touched = vec![false; class.len()];
    let mut changed: Vec<usize> = (0..class.len()).collect();
    while !changed.is_empty() {
        let mut touched: Vec<usize> =
            changed.iter().flat_map(|&atom| adjacency.of(atom)).map(|neighbour| neighbour.atom).collect();
        touched.sort_unstable();
        touched.dedup();
        touched.iter().for_each(|&atom| is_touched[atom] = true);
        let mut keyed: Vec<_> =
            touched.iter().map(|&atom| (class[atom], surroundings(molecule, adjacency, &class, atom), atom)).collect();
        keyed.sort_unstable();
        changed.clear();
        for of_class in keyed.chunk_by(|a, b| a.0 == b.0) {
            let old = of_class[0].0;
            let mut groups: Vec<Vec<usize>> = of_class
                .chunk_by(|a, b| a.1 == b.1)
                .map(|alike| alike.iter().map(|&(.., atom)| atom).collect())
                .collect();
            groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
            // Those that were not touched look alike as before, and like none that was. The most numerous keep the
            // number, so that large classes are seldom looked at again.
            let rest = size[old] - of_class.len();
            if rest >= groups[0].len() {
                size[old] = rest;
            } else {
                let keeps = groups.remove(0);
                if rest > 0 {
                    let of_rest = |&atom: &usize| class[atom] == old && !is_touched[atom];
                    groups.push(members[old].iter().copied().filter(of_rest).collect());
                }
                size[old] = keeps.len();
                members[old] = keeps;
            }
            let mut number = old + size[old];
            for group in groups {
                size[number] = group.len();
                group.iter().for_each(|&atom| class[atom] = number);
                changed.extend(&group);
                let next = number + group.len();
                members[number] = group;
                number = next;
            }
        }
        touched.iter().for_each(|&atom| is_touched[atom] = false);
    }
    class
}

/// The bonds to an atom's neighbours with their classes, sorted.
fn surroundings(molecule: &Molecule, adjacency: &Adjacency, class: &[usize], atom: usize) -> Vec<(u8, usize)> {
    let bond = |neighbour: &Neighbour| (molecule.bonds[neighbour.bond].order as u8, class[neighbour.atom]);
    let mut around: Vec<_> = adjacency.of(atom).iter().map(bond).collect();
    around.sort_unstable();
    around
}

/// Classes by the atoms themselves, and how many atoms the class of each number has.
fn seeds(molecule: &Molecule, label: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let seed = |(index, atom): (usize, &super::Atom)| {
        ((atom.atomic_number, atom.formal_charge, atom.radical_electrons, label[index]), index)
    };
    let mut seeds: Vec<_> = molecule.atoms.iter().enumerate().map(seed).collect();
    seeds.sort_unstable();
    let (mut class, mut size) = (vec![0; seeds.len()], vec![0; seeds.len()]);
    let mut number = 0;
    for alike in seeds.chunk_by(|a, b| a.0 == b.0) {
        alike.iter().for_each(|&(_, atom)| class[atom] = number);
        size[number] = alike.len();
        number += alike.len();
    }
    (class, size)
}

/// Bytes that are the same for the same graph whatever the order of its atoms and bonds and whatever the handedness
/// of its centres: the atoms' and the bonds' kinds, by classes of atoms. A few graphs that differ share them.
pub fn invariant(molecule: &Molecule) -> Vec<u8> {
    let class = classes(molecule, &Adjacency::new(molecule), &vec![0; molecule.atoms.len()]);
    let atom = |(atom, class): (&super::Atom, &usize)| {
        [*class, atom.atomic_number.into(), atom.formal_charge as u8 as usize, atom.radical_electrons.into()]
    };
    let bond = |bond: &super::Bond| {
        let [a, b] = [bond.begin, bond.end].map(|end| class[end as usize]);
        [a.min(b), a.max(b), bond.order as usize, 0]
    };
    let mut atoms: Vec<_> = molecule.atoms.iter().zip(&class).map(atom).collect();
    let mut bonds: Vec<_> = molecule.bonds.iter().map(bond).collect();
    atoms.sort_unstable();
    bonds.sort_unstable();
    let numbers = std::iter::once(atoms.len()).chain(atoms.into_iter().chain(bonds).flatten());
    numbers.flat_map(|number| (number as u32).to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{molecule, single};
    use super::*;

    /// Rounds over all atoms until the number of classes stays.
    fn refined_plainly(molecule: &Molecule) -> Vec<usize> {
        let adjacency = Adjacency::new(molecule);
        let rank = |keys: Vec<(usize, Vec<(u8, usize)>)>| -> Vec<usize> {
            keys.iter().map(|key| keys.iter().filter(|other| *other < key).count()).collect()
        };
        let element = |atom: &super::super::Atom| (usize::from(atom.atomic_number), Vec::new());
        let mut class = rank(molecule.atoms.iter().map(element).collect());
        for _ in 0..molecule.atoms.len() {
            let around = |atom: usize| (class[atom], surroundings(molecule, &adjacency, &class, atom));
            class = rank((0..class.len()).map(around).collect());
        }
        class
    }

    proptest::proptest! {
        #[test]
        fn classes_are_those_of_plain_refinement(
            elements in proptest::collection::vec(6u8..8, 1..12),
            pairs in proptest::collection::btree_set((0u32..12, 0u32..12), 0..16),
            turn in 1usize..12,
        ) {
            let n = elements.len();
            let inside = |&(a, b): &(u32, u32)| a < b && (b as usize) < n;
            let bonds: Vec<_> = pairs.into_iter().filter(inside).map(|(a, b)| single(a, b)).collect();
            let one = molecule(&elements, &bonds);
            let class = |molecule: &Molecule| classes(molecule, &Adjacency::new(molecule), &vec![0; n]);
            let (found, expected) = (class(&one), refined_plainly(&one));
            for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))) {
                proptest::prop_assert_eq!(found[a] == found[b], expected[a] == expected[b], "{} {}", a, b);
            }
            // The same molecule, its atoms moved on by some places and its bonds reversed.
            let place = |atom: u32| ((atom as usize + turn) % n) as u32;
            let mut turned = elements.clone();
            turned.rotate_right(turn % n);
            let moved: Vec<_> = bonds.iter().rev().map(|bond| single(place(bond.end), place(bond.begin))).collect();
            let other = molecule(&turned, &moved);
            let again = class(&other);
            proptest::prop_assert!((0..n).all(|atom| again[place(atom as u32) as usize] == found[atom]));
            proptest::prop_assert_eq!(invariant(&one), invariant(&other));
        }
    }
}
