//! Graphs, features and handedness against RDKit's and the reference implementation's (`tests/fixtures/chem`,
//! written by `tests/python/make_chem_fixture.py`).

#[path = "support/data.rs"]
mod support;

use qsd::chem::features::atom_features;
use qsd::chem::stereo::{assign_from_positions, stereo_centres};
use qsd::chem::{Atom, Bond, BondOrder, Chirality, Molecule, kekulise, perceive_aromaticity, smiles};
use qsd::data::{Condition, StereoCentre};
use qsd::diffusion::correct_handedness;
use qsd::geometry::Clouds;
use serde::Deserialize;
use support::shows;

/// A molecule as RDKit has it: atoms as [element, charge, radicals, tag], bonds as [begin, end, order].
#[derive(Deserialize)]
struct Reference {
    smiles: String,
    atoms: Vec<[i32; 4]>,
    bonds: Vec<[u32; 3]>,
    features: Vec<[f32; 10]>,
    #[serde(default)]
    positions: Vec<[f64; 3]>,
    #[serde(default)]
    centres: Vec<u32>,
    #[serde(default)]
    centre_neighbours: Vec<[u32; 4]>,
    #[serde(default)]
    centre_tags: Vec<i8>,
}

impl Reference {
    fn molecule(&self) -> Molecule {
        let atom = |&[number, charge, radicals, tag]: &[i32; 4]| Atom {
            atomic_number: number as u8,
            formal_charge: charge as i8,
            radical_electrons: radicals as u8,
            chirality: [Chirality::Clockwise, Chirality::None, Chirality::CounterClockwise][(tag + 1) as usize],
        };
        let orders = [BondOrder::Single, BondOrder::Double, BondOrder::Triple, BondOrder::Aromatic, BondOrder::Other];
        let bond = |&[begin, end, order]: &[u32; 3]| Bond { begin, end, order: orders[order as usize - 1] };
        Molecule { atoms: self.atoms.iter().map(atom).collect(), bonds: self.bonds.iter().map(bond).collect() }
    }
}

fn load(name: &str) -> Vec<Reference> {
    let path = format!("{}/tests/fixtures/chem/{name}", env!("CARGO_MANIFEST_DIR"));
    let references: Vec<Reference> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert!(references.len() >= 24);
    references
}

#[test]
fn features_of_a_graph_equal_the_references() {
    for reference in load("molecules.json").iter().chain(&load("smiles.json")) {
        assert_eq!(atom_features(&reference.molecule()), reference.features, "{}", reference.smiles);
    }
}

#[test]
fn smiles_give_rdkits_atoms_bonds_and_tags() {
    for reference in load("molecules.json").iter().chain(&load("smiles.json")) {
        let molecule = smiles::parse(&reference.smiles).unwrap();
        assert_eq!(molecule, reference.molecule(), "{}", reference.smiles);
        assert_eq!(atom_features(&molecule), reference.features, "{}", reference.smiles);
    }
}

#[test]
fn kekule_structures_become_aromatic_again() {
    let mut aromatic = 0;
    for reference in load("molecules.json").iter().chain(&load("smiles.json")) {
        let original = reference.molecule();
        let mut molecule = original.clone();
        kekulise(&mut molecule).unwrap();
        assert!(molecule.bonds.iter().all(|bond| bond.order != BondOrder::Aromatic));
        aromatic += usize::from(molecule != original);
        perceive_aromaticity(&mut molecule);
        assert_eq!(molecule, original, "{}", reference.smiles);
    }
    assert!(aromatic > 30, "only {aromatic} molecules were aromatic");
}

#[test]
fn true_conformers_have_the_stated_handedness() {
    let references = load("molecules.json");
    let mut count = 0;
    for reference in &references {
        let centres = stereo_centres(&reference.molecule());
        let expected = reference.centres.iter().zip(&reference.centre_neighbours).zip(&reference.centre_tags);
        for (centre, ((&atom, &neighbours), &tag)) in centres.iter().zip(expected.clone()) {
            assert_eq!((centre.centre, centre.neighbours, centre.sign), (atom, neighbours, tag));
            let expected = StereoCentre { cloud: 0, neighbours, sign: tag };
            assert!(shows(&reference.positions, expected), "{}", reference.smiles);
            assert!(!shows(&reference.positions, StereoCentre { sign: -tag, ..expected }), "{}", reference.smiles);
        }
        assert_eq!(centres.len(), expected.count());
        count += centres.len();
    }
    assert!(count >= 15, "only {count} centres");
}

#[test]
fn coordinates_give_the_tags_back() {
    for reference in load("molecules.json") {
        let expected = reference.molecule();
        let mut molecule = expected.clone();
        molecule.atoms.iter_mut().for_each(|atom| atom.chirality = Chirality::None);
        assign_from_positions(&mut molecule, &reference.positions);
        assert_eq!(molecule, expected, "{}", reference.smiles);
    }
}

#[test]
fn a_wrong_centre_mirrors_the_molecule() {
    for reference in load("molecules.json") {
        let condition = Condition::from_molecules([&reference.molecule()]);
        let corrected = |points: &[[f64; 3]]| {
            let mut x = Clouds::from_clouds([points]);
            correct_handedness(&condition, &mut x);
            x.points().to_vec()
        };
        let positions = &reference.positions;
        assert_eq!(&corrected(positions), positions, "right as it is");
        let mirrored: Vec<[f64; 3]> = positions.iter().map(|x| x.map(|x| -x)).collect();
        assert_eq!(&corrected(&mirrored) == positions, !condition.atoms().unwrap().stereo_centres.is_empty());
        let flat: Vec<[f64; 3]> = positions.iter().map(|&[x, y, _]| [x, y, 0.0]).collect();
        assert_eq!(corrected(&flat), flat, "flat centres are not wrong");
    }
}
