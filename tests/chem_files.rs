//! SDF, XYZ and SMILES as users and fuzzers write them; matching of atoms.

use std::path::Path;

use proptest::prelude::*;
use qsd::chem::matching::match_atoms;
use qsd::chem::sdf::{self, write_record};
use qsd::chem::{BondOrder, Chirality, Molecule, Record, features::atom_features, smiles, xyz};
use qsd::{Error, Result};
use serde_json::Value;

fn records() -> Vec<Record> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/chem/molecules.json");
    let values: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let record = |value: &Value| Record {
        name: value["smiles"].as_str().unwrap().to_owned(),
        molecule: smiles::parse(value["smiles"].as_str().unwrap()).unwrap(),
        positions: serde_json::from_value(value["positions"].clone()).unwrap(),
        properties: vec![("energy".to_owned(), "-1.5".to_owned()), ("note".to_owned(), "two\nlines".to_owned())],
    };
    values.iter().map(record).collect()
}

fn sdf_text(records: &[Record]) -> String {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| write_record(&mut bytes, record).unwrap());
    String::from_utf8(bytes).unwrap()
}

fn read_sdf(text: &[u8]) -> Vec<Result<Record>> {
    sdf::Reader::new(text, Path::new("in.sdf")).collect()
}

fn read_xyz(text: &[u8]) -> Vec<Result<Record>> {
    xyz::Reader::new(text, Path::new("in.xyz")).collect()
}

fn message<T: std::fmt::Debug>(result: &Result<T>) -> String {
    match result {
        Err(Error::Data(message)) => message.clone(),
        other => panic!("expected a data error, got {other:?}"),
    }
}

fn elements(molecule: &Molecule) -> Vec<u8> {
    molecule.atoms.iter().map(|atom| atom.atomic_number).collect()
}

/// What must survive a file, with positions to its four decimals.
fn assert_same(read: &Record, written: &Record) {
    assert_eq!(read.molecule, written.molecule, "{}", written.name);
    assert_eq!((&read.name, &read.properties), (&written.name, &written.properties));
    for (a, b) in read.positions.iter().flatten().zip(written.positions.iter().flatten()) {
        assert!((a - b).abs() <= 5.1e-5, "{a} and {b}");
    }
}

#[test]
fn sdf_round_trip() {
    let records = records();
    let read = read_sdf(sdf_text(&records).as_bytes());
    assert_eq!(read.len(), records.len());
    for (read, written) in read.iter().zip(&records) {
        assert_same(read.as_ref().unwrap(), written);
    }
}

#[test]
fn sdf_v3000_round_trip() {
    let mut records = records();
    // Too far out for the columns of V2000.
    for record in &mut records {
        record.positions.iter_mut().for_each(|x| x[0] += 12345.0);
    }
    let text = sdf_text(&records);
    assert_eq!(text.matches("V3000").count(), records.len());
    for (read, written) in read_sdf(text.as_bytes()).iter().zip(&records) {
        assert_same(read.as_ref().unwrap(), written);
    }
}

#[test]
fn charges_and_radicals_survive_a_file() {
    for text in ["C[N+](C)(C)C", "[O-]C=O", "[CH2]C", "[NH]", "[Na+]", "C[O]", "[H][H]", "O=Cl(=O)(=O)[O-]"] {
        let molecule = smiles::parse(text).unwrap();
        // Tags need a geometry; these have none, so any will do.
        let positions: Vec<[f64; 3]> = (0..molecule.atoms.len()).map(|i| [i as f64, 0.5, 0.25]).collect();
        // Far out, the record goes to V3000.
        for far in [0.5, 1e5] {
            let mut record = Record { molecule: molecule.clone(), positions: positions.clone(), ..Record::default() };
            record.positions[0][1] = far;
            assert_same(read_sdf(sdf_text(&[record.clone()]).as_bytes())[0].as_ref().unwrap(), &record);
        }
    }
}

#[test]
fn a_bad_record_does_not_stop_the_next() {
    let records = &records()[..3];
    let text = sdf_text(records);
    let nan = text.replacen(&format!("{:10.4}", records[1].positions[2][0]), "       NaN", 1);
    assert_ne!(nan, text);
    let read = read_sdf(nan.as_bytes());
    assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let lines_before = sdf_text(&records[..1]).lines().count() + 7;
    assert_eq!(
        message(&read[1]),
        format!("in.sdf: record 2, line {lines_before}: \"       NaN\" is no finite coordinate")
    );
}

#[test]
fn malformed_sdf_is_refused_with_its_place() {
    let good = sdf_text(&records()[..1]);
    let first_bond = good.lines().find(|line| line.len() == 12).unwrap().to_owned();
    let cases = [
        (good.replacen(" 39 ", "999 ", 1), "ends before its 999 atoms"),
        (good.replacen("M  END", "M  EXD", 1), "`M  END`"),
        (good.replacen(&first_bond, "  1  1  1  0", 1), "a bond between atoms 1 and 1"),
        (good.replacen(&first_bond, "  1900  1  0", 1), "a bond between atoms 1 and 900"),
        (good.replacen(&first_bond, "  1  2  5  0", 1), "query"),
        (good.replacen(" C   0", " Xx  0", 1), "\"Xx\" is no element"),
        (good.lines().take(2).collect::<Vec<_>>().join("\n"), "header"),
        (good.lines().take(9).collect::<Vec<_>>().join("\n"), "ends before"),
        (format!("{}{good}", "x".repeat(1 << 21)), "longer than"),
    ];
    for (text, expected) in cases {
        let read = read_sdf(text.as_bytes());
        let message = message(&read[0]);
        assert!(message.starts_with("in.sdf: record 1, line ") && message.contains(expected), "{expected}: {message}");
    }
    let mut latin = good.into_bytes();
    latin[0] = 0xe9;
    assert!(message(&read_sdf(&latin)[0]).contains("not UTF-8"));
}

#[test]
fn huge_counts_allocate_nothing() {
    let counts = "M  V30 COUNTS 1000000000 1000000000 0 0 0";
    let text = format!("\n\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\n{counts}\nM  END\n$$$$\n");
    assert!(message(&read_sdf(text.as_bytes())[0]).contains("announces 1000000000 atoms"));
    assert!(message(&read_xyz(b"1000000000\n\nH 0 0 0\n")[0]).contains("1000000000 atoms are more than the limit"));
    assert!(message(&read_xyz(b"99999999999999999999999\n\nH 0 0 0\n")[0]).contains("no number of atoms"));
    assert!(message(&read_xyz(b"10000\n\nH 0 0 0\n")[0]).contains("ends within a frame"));
}

#[test]
fn an_unwritable_record_is_refused() {
    let good = &records()[0];
    let mut nan = good.clone();
    nan.positions[3][1] = f64::NAN;
    let mut short = good.clone();
    short.positions.pop();
    let mut property = good.clone();
    property.properties[0].1 = "a\n\nb".to_owned();
    let mut dative = good.clone();
    dative.molecule.bonds[0].order = BondOrder::Other;
    for (record, expected) in [(nan, "atom 4"), (short, "positions"), (property, "energy"), (dative, "order")] {
        let mut out = Vec::new();
        assert!(message(&write_record(&mut out, &record)).contains(expected));
        assert!(out.is_empty());
    }
}

#[test]
fn xyz_frames() {
    let text = "2\nfirst frame\nH 0 0 0\n1 0 0 0.74 extra\n\n1\nbad\nQ 0 0 0\n1\n\nCl -1.5 2e0 3\n";
    let read = read_xyz(text.as_bytes());
    assert_eq!(read.len(), 3);
    let first = read[0].as_ref().unwrap();
    assert_eq!((first.name.as_str(), elements(&first.molecule)), ("first frame", vec![1, 1]));
    assert_eq!(first.positions[1], [0.0, 0.0, 0.74]);
    assert_eq!(message(&read[1]), "in.xyz: record 2, line 8: \"Q\" is no element");
    assert_eq!(read[2].as_ref().unwrap().positions, [[-1.5, 2.0, 3.0]]);
}

#[test]
fn bad_smiles_are_refused() {
    let cases = [
        ("", "SMILES \"\""),
        ("C(", "SMILES \"C(\""),
        ("C1CC", "1"),
        ("c1cccc1", "single and double"),
        ("C(C)(C)(C)(C)C", "valence of 5"),
        ("CC.O", "2 fragments"),
        ("*C", "wildcard"),
        ("cc", "in no ring"),
        ("[C:1]([H:2])([H:2])([H:3])[H:4]", "same map number"),
    ];
    for (text, expected) in cases {
        let message = message(&smiles::parse(text));
        assert!(message.contains(expected), "{text}: {message}");
    }
    assert!(message(&smiles::parse(&"C".repeat(100_000))).contains("limit"));
}

#[test]
fn legal_corner_graphs_have_features() {
    assert!(atom_features(&Molecule::default()).is_empty());
    let mut pair = smiles::parse("[Na+]").unwrap();
    pair.atoms.extend(smiles::parse("[Cl-]").unwrap().atoms);
    let features = atom_features(&pair);
    assert_eq!(features[0], [4.0, 0.0, 6.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(features[1][2], 4.0);
}

#[test]
fn matching_keeps_a_fitting_order_and_undoes_another() {
    for record in records() {
        let n = record.positions.len();
        let own = elements(&record.molecule);
        assert_eq!(match_atoms(&record.molecule, &own, &record.positions).unwrap(), (0..n).collect::<Vec<_>>());
        // A stride that shares no factor with n permutes the atoms.
        let stride = (2..).find(|s| (1..=*s).filter(|d| s % d == 0 && n % d == 0).count() == 1).unwrap();
        let shuffled: Vec<usize> = (0..n).map(|k| k * stride % n).collect();
        let file_elements: Vec<u8> = shuffled.iter().map(|&atom| own[atom]).collect();
        let file_positions: Vec<[f64; 3]> = shuffled.iter().map(|&atom| record.positions[atom]).collect();
        let order = match_atoms(&record.molecule, &file_elements, &file_positions).unwrap();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..n).collect::<Vec<_>>());
        for (atom, &image) in order.iter().enumerate() {
            assert_eq!(own[atom], file_elements[image]);
        }
        for bond in &record.molecule.bonds {
            let [a, b] = [bond.begin, bond.end].map(|end| file_positions[order[end as usize]]);
            let length = (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt();
            assert!(length < 2.3, "{}: a bond of {length} Å", record.name);
        }
    }
}

#[test]
fn matching_respects_every_bond_of_a_symmetric_cage() {
    let cubane = smiles::parse("C12C3C4C1C5C2C3C45").unwrap();
    // Corners of a cube with edges of 1.57 Å, then a hydrogen outside each.
    let corner = |k: usize, r: f64| [0, 1, 2].map(|axis| if k >> axis & 1 == 1 { r } else { -r });
    let positions: Vec<[f64; 3]> = (0..16).map(|k| corner(k % 8, if k < 8 { 0.785 } else { 1.41 })).collect();
    // However the file's atoms are numbered: a step that is odd takes all sixteen places.
    for (step, first) in (1..16).step_by(2).flat_map(|step| (0..16).map(move |first| (step, first))) {
        let numbered: Vec<usize> = (0..16).map(|k| (first + step * k) % 16).collect();
        let elements: Vec<u8> = numbered.iter().map(|&k| if k < 8 { 6 } else { 1 }).collect();
        let positions: Vec<[f64; 3]> = numbered.iter().map(|&k| positions[k]).collect();
        let order = match_atoms(&cubane, &elements, &positions).unwrap();
        for bond in &cubane.bonds {
            let [a, b] = [bond.begin, bond.end].map(|end| positions[order[end as usize]]);
            let length = (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt();
            assert!(length < 1.6, "a bond of {length} Å");
        }
    }
}

#[test]
fn matching_refuses_other_molecules() {
    let water = smiles::parse("O").unwrap();
    let apart = [[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [0.0, 5.0, 0.0]];
    assert!(message(&match_atoms(&water, &[8, 1, 1], &apart)).contains("another molecule"));
    assert!(message(&match_atoms(&water, &[8, 1, 6], &apart)).contains("2 atoms of H, the structure 1"));
}

#[test]
fn handedness_follows_the_written_order() {
    let tag = |text: &str| smiles::parse(text).unwrap().atoms.iter().map(|atom| atom.chirality).collect::<Vec<_>>();
    assert_eq!(tag("F[C@](Cl)(Br)I")[1], Chirality::CounterClockwise);
    assert_eq!(tag("F[C@@](Cl)(Br)I")[1], Chirality::Clockwise);
    assert_eq!(tag("[C@](F)(Cl)(Br)I")[0], Chirality::CounterClockwise);
    // A ring bond is written first but numbered last: three swaps.
    assert_eq!(tag("[C@]1(F)(Cl)CO1")[0], Chirality::Clockwise);
    assert!(tag("F[C@](Cl)(Cl)I").iter().all(|tag| *tag == Chirality::None), "no centre");
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_sdf(&bytes).into_iter().chain(read_xyz(&bytes)).for_each(drop);
    }

    #[test]
    fn no_text_makes_smiles_panic(text in "[CNOPSFBHcnos@+\\-\\[\\]()=#$:/\\\\.0-9%*\\]H]{0,40}|\\PC{0,20}") {
        if let Ok(molecule) = smiles::parse(&text) {
            prop_assert_eq!(atom_features(&molecule).len(), molecule.atoms.len());
        }
    }

    #[test]
    fn no_damage_makes_sdf_panic(at in 0usize..4000, byte in any::<u8>(), keep in 0usize..6000, far in any::<bool>()) {
        let mut records = records();
        records.truncate(2);
        if far {
            records.iter_mut().for_each(|record| record.positions[0][0] = 2e4);
        }
        let mut bytes = sdf_text(&records).into_bytes();
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(keep);
        read_sdf(&bytes).into_iter().for_each(drop);
    }
}
