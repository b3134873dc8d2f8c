//! Molecules as large as any reader lets through, and larger ones.

use std::path::Path;

use qsd::Error;
use qsd::chem::features::atom_features;
use qsd::chem::stereo::assign_from_positions;
use qsd::chem::{
    Atom, Bond, BondOrder, Chirality, Molecule, Record, invariant, kekulise, perceive_aromaticity, sdf, smiles, xyz,
};

const ATOMS: usize = 10_000;

fn molecule(atomic_numbers: Vec<u8>, bonds: Vec<(usize, usize, BondOrder)>) -> Molecule {
    let atom =
        |atomic_number| Atom { atomic_number, formal_charge: 0, radical_electrons: 0, chirality: Chirality::None };
    let bond = |(begin, end, order)| Bond { begin: begin as u32, end: end as u32, order };
    Molecule { atoms: atomic_numbers.into_iter().map(atom).collect(), bonds: bonds.into_iter().map(bond).collect() }
}

/// Phenyls in a row, without hydrogens; in each the atoms are numbered such that pairing them in this order fails.
fn phenyls() -> Molecule {
    let around = [0, 1, 3, 4, 2, 5];
    let mut bonds = Vec::new();
    for first in (0..ATOMS - 5).step_by(6) {
        bonds.extend((0..6).map(|k| (first + around[k], first + around[(k + 1) % 6], BondOrder::Aromatic)));
        if first > 0 {
            bonds.push((first - 6 + around[3], first + around[0], BondOrder::Single));
        }
    }
    molecule(vec![6; ATOMS / 6 * 6], bonds)
}

/// A chain of CH2.
fn polyethylene() -> Molecule {
    let carbons = ATOMS / 3;
    let mut bonds: Vec<_> = (1..carbons).map(|k| (k - 1, k, BondOrder::Single)).collect();
    bonds.extend((0..2 * carbons).map(|k| (k / 2, carbons + k, BondOrder::Single)));
    molecule([vec![6; carbons], vec![1; 2 * carbons]].concat(), bonds)
}

/// Sheets of hexagons, as large as rings are still listed for, joined in a row.
fn sheets(side: usize, bond: BondOrder) -> Molecule {
    let (rows, columns) = (2 * side + 2, side + 1);
    let size = rows * columns;
    let mut bonds = Vec::new();
    let count = ATOMS / size;
    for sheet in 0..count {
        let at = |row: usize, column: usize| sheet * size + row * columns + column;
        for row in 0..rows {
            for column in 0..columns {
                if row + 1 < rows {
                    bonds.push((at(row, column), at(row + 1, column), bond));
                }
                if column + 1 < columns && (row + column) % 2 == 0 {
                    bonds.push((at(row, column), at(row, column + 1), bond));
                }
            }
        }
        if sheet > 0 {
            bonds.push((sheet * size - 1, sheet * size, BondOrder::Single));
        }
    }
    molecule(vec![6; count * size], bonds)
}

/// Ladders of squares, as long as rings are still listed for, joined in a row.
fn ladders(bond: BondOrder) -> Molecule {
    let size = 500;
    let mut bonds = Vec::new();
    for k in 0..ATOMS {
        if k % 2 == 0 {
            bonds.push((k, k + 1, bond));
        }
        if k % size + 2 < size {
            bonds.push((k, k + 2, bond));
        }
        if k > 0 && k % size == 0 {
            bonds.push((k - 1, k, BondOrder::Single));
        }
    }
    molecule(vec![6; ATOMS], bonds)
}

/// Positions that make every atom with four neighbours look like a centre.
fn positions(molecule: &Molecule) -> Vec<[f64; 3]> {
    let scattered = |k: usize, step: f64| (k as f64 * step).sin() * 9.0;
    (0..molecule.atoms.len()).map(|k| [scattered(k, 1.1), scattered(k, 2.3), scattered(k, 3.7)]).collect()
}

/// Quadratic work on these would take minutes, which whoever runs the tests notices.
#[test]
fn the_largest_molecules_are_worked_through() {
    let cases = [phenyls(), polyethylene(), sheets(12, BondOrder::Aromatic), ladders(BondOrder::Aromatic)];
    for molecule in cases {
        let (mut one, positions) = (molecule.clone(), positions(&molecule));
        kekulise(&mut one).unwrap();
        assert!(one.bonds.iter().all(|bond| bond.order != BondOrder::Aromatic));
        perceive_aromaticity(&mut one);
        assign_from_positions(&mut one, &positions);
        assert_eq!(atom_features(&one).len(), molecule.atoms.len());
        let reversed = Molecule { bonds: molecule.bonds.iter().rev().copied().collect(), ..molecule.clone() };
        assert_eq!(invariant(&molecule), invariant(&reversed));
    }
    for (text, heavy) in [("C".repeat(3_300), 3_300), ("c1ccc(cc1)".repeat(900) + "C", 5_401)] {
        let molecule = smiles::parse(&text).unwrap();
        assert_eq!(molecule.atoms.iter().filter(|atom| atom.atomic_number != 1).count(), heavy);
    }
}

#[test]
fn larger_molecules_are_refused() {
    let refused = |result: Option<qsd::Result<Record>>| {
        let message = result.unwrap().unwrap_err().to_string();
        assert!(message.contains("more than the limit of 10000"), "{message}");
    };
    let n = 50_000;
    let error = smiles::parse(&"C".repeat(n)).unwrap_err();
    assert!(matches!(error, Error::Data(_)) && error.to_string().contains("limit of 10000"), "{error}");

    let giant = Molecule { atoms: vec![phenyls().atoms[0]; n], bonds: Vec::new() };
    let record = Record { positions: positions(&giant), molecule: giant, ..Record::default() };
    let small = Record { positions: vec![[0.0; 3]], molecule: molecule(vec![2], Vec::new()), ..Record::default() };
    let mut text = Vec::new();
    for record in [&record, &small] {
        sdf::write_record(&mut text, record).unwrap();
    }
    let mut records = sdf::Reader::new(text.as_slice(), Path::new("in.sdf"));
    refused(records.next());
    assert_eq!(records.next().unwrap().unwrap().molecule, small.molecule, "the next record is read");

    let frame = format!("{n}\n\n{}1\n\nHe 0 0 0\n", "C 0 0 0\n".repeat(n));
    let mut frames = xyz::Reader::new(frame.as_bytes(), Path::new("in.xyz"));
    refused(frames.next());
    assert_eq!(frames.next().unwrap().unwrap().molecule, small.molecule, "the next frame is read");
}
