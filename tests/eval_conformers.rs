//! `qsd-eval conformers` as its users run it, against the numbers that RDKit and numpy give for the same files.

mod common;
#[path = "support/data.rs"]
mod data;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Finished, python, root, run};
use qsd::chem::{Bond, Molecule, Record, sdf};
use qsd::geometry::Point;
use qsd::random::{Purpose, normal_points, stream};
use serde::Deserialize;

const EVAL: &str = env!("CARGO_BIN_EXE_qsd-eval");

fn record(key: &str, molecule: &Molecule, positions: Vec<Point>) -> Record {
    let properties = vec![("SMILES".to_string(), key.to_string())];
    Record { name: "a conformer".into(), molecule: molecule.clone(), positions, properties }
}

fn write(path: &Path, records: &[Record]) {
    let mut bytes = Vec::new();
    records.iter().for_each(|record| sdf::write_record(&mut bytes, record).unwrap());
    fs::write(path, bytes).unwrap();
}

/// The same conformer with its atoms in another order.
fn shuffled(record: &Record) -> Record {
    let n = record.molecule.atoms.len();
    let place: Vec<usize> = (0..n).map(|atom| (5 * atom + 3) % n).collect();
    assert!(!n.is_multiple_of(5), "5 and the number of atoms have no common factor");
    let mut other = record.clone();
    for atom in 0..n {
        other.molecule.atoms[place[atom]] = record.molecule.atoms[atom];
        other.positions[place[atom]] = record.positions[atom];
    }
    let moved = |end: u32| place[end as usize] as u32;
    let bonds = record.molecule.bonds.iter().rev();
    other.molecule.bonds = bonds.map(|bond| Bond { begin: moved(bond.end), end: moved(bond.begin), ..*bond }).collect();
    other
}

/// Writes the test molecules of a partition of the sample as references and, displaced by noise, as samples: two for each
/// reference, but none of every seventh molecule, one too few of the next, three too many of the one after; of every second molecule
/// some samples, of every third some references, have their atoms in another order. Returns how many molecules can be compared.
fn write_files(partition: &str, folder: &Path) -> usize {
    let split = data::open_sample(partition).split("test").unwrap();
    let (mut references, mut samples) = (Vec::new(), Vec::new());
    let mut comparable = 0;
    for i in 0..split.len() {
        let molecule = split.molecule(i).unwrap();
        let k = molecule.num_conformers();
        let conformers: Vec<Vec<Point>> = (0..k).map(|c| molecule.conformer(c).unwrap()).collect();
        let can_move = !molecule.num_atoms().is_multiple_of(5);
        references.extend(conformers.iter().enumerate().map(|(c, x)| {
            let reference = record(molecule.key(), molecule.molecule(), x.clone());
            if can_move && i % 3 == 2 && c % 2 == 0 { shuffled(&reference) } else { reference }
        }));
        let count = match i % 7 {
            0 => 0,
            1 => 2 * k - 1,
            2 => 2 * k + 3,
            _ => 2 * k,
        };
        comparable += usize::from(i % 7 > 1);
        for number in 0..count {
            let noise: Vec<Point> =
                normal_points(&mut stream(9, Purpose::Prior, i as u64, number as u64), molecule.num_atoms());
            let scale = 0.1 * (1 + number % 4) as f64;
            let x = conformers[number % k].iter().zip(noise);
            let x = x.map(|(x, e)| std::array::from_fn(|d| x[d] + scale * e[d])).collect();
            let sample = record(molecule.key(), molecule.molecule(), x);
            let moved = can_move && i % 2 == 1 && number % 3 == 1;
            samples.push(if moved { shuffled(&sample) } else { sample });
        }
    }
    write(&folder.join("reference.sdf"), &references);
    write(&folder.join("generated.sdf"), &samples);
    comparable
}

/// What `covmat.py` says of a molecule.
#[derive(Deserialize)]
struct Expected {
    heavy_atoms: usize,
    cov_recall: Vec<f64>,
    cov_precision: Vec<f64>,
    amr_recall: f64,
    amr_precision: f64,
}

fn rdkit(folder: &Path, per_reference: &str) -> BTreeMap<String, Expected> {
    let mut command = Command::new(python());
    command.arg(root().join("tests/python/covmat.py")).current_dir(folder);
    let output = command.args(["reference.sdf", "generated.sdf", per_reference]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn eval(folder: &Path, args: &[&str]) -> Finished {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let (generated, reference, out) = (path("generated.sdf"), path("reference.sdf"), path("out"));
    let reference = if args.contains(&"--reference") { vec![] } else { vec!["--reference", &reference] };
    run(0, EVAL, &[&["conformers", &generated, "--out", &out][..], &reference, args].concat())
}

/// The rows of a CSV file by their first field.
fn table(path: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(|row| row.unwrap()).collect();
    rows.into_iter().map(|row| (row["key"].clone(), row)).collect()
}

/// Compares `molecules.csv` with RDKit's numbers.
fn assert_equal(folder: &Path, expected: &BTreeMap<String, Expected>, tolerance: f64) {
    let found = table(&folder.join("out/molecules.csv"));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, expected) in expected {
        let number = |column: &str| found[key][column].parse::<f64>().unwrap();
        assert_eq!(number("heavy_atoms"), expected.heavy_atoms as f64, "{key}");
        assert_eq!(number("inexact_pairs"), 0.0, "{key}");
        for (column, expected) in [("amr_recall", expected.amr_recall), ("amr_precision", expected.amr_precision)] {
            let found = number(column);
            assert!((found - expected).abs() < tolerance, "{key}: {column} {found}, RDKit {expected}");
        }
        for (column, expected) in [("cov_recall", &expected.cov_recall), ("cov_precision", &expected.cov_precision)] {
            for (threshold, k) in [("0.50", 9), ("0.75", 14)] {
                let found = number(&format!("{column}_{threshold}"));
                assert!((found - expected[k]).abs() < 1e-12, "{key}: {column} {found}, RDKit {}", expected[k]);
            }
        }
    }
}

#[test]
fn the_numbers_are_rdkits() {
    for partition in ["qm9", "drugs"] {
        let folder = tempfile::tempdir().unwrap();
        let comparable = write_files(partition, folder.path());
        let said = eval(folder.path(), &[]).success().stdout;
        let expected = rdkit(folder.path(), "2");
        assert_eq!(expected.len(), comparable);
        assert_equal(folder.path(), &expected, 1e-6);
        let report = fs::read_to_string(folder.path().join("out/report.md")).unwrap();
        assert_eq!(said, report, "what is printed is the report");
        let mean = expected.values().map(|e| e.amr_precision).sum::<f64>() / comparable as f64;
        let row = report.lines().find(|line| line.starts_with("| AMR")).unwrap();
        assert!(row.contains(&format!("{mean:.3}")), "{row}, {mean}");
        assert!(report.contains("was not checked"), "the shuffled ones are told: {report}");
        let left_out = table(&folder.path().join("out/skipped.csv"));
        let count = |reason: &str| left_out.values().filter(|row| row["reason"] == reason).count();
        let all = data::open_sample(partition).split("test").unwrap().len();
        assert_eq!((count("nothing generated"), count("too few generated")), (all.div_ceil(7), (all + 5) / 7));
    }
}

#[test]
fn a_data_set_is_as_good_a_reference_and_threads_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    write_files("qm9", folder.path());
    let files = |name: &str| fs::read(folder.path().join("out").join(name)).unwrap();
    let data = data::sample("qm9");
    let reference = ["--reference", data.to_str().unwrap(), "--per-reference", "0", "--overwrite"];
    eval(folder.path(), &reference).success();
    // An SDF has four decimals, a data set f32.
    assert_equal(folder.path(), &rdkit(folder.path(), "0"), 1e-4);
    let molecules = files("molecules.csv");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let mut alone = Command::new(EVAL);
    alone.env("RAYON_NUM_THREADS", "1").args(["conformers", &path("generated.sdf"), "--out", &path("out")]);
    assert!(alone.args(reference).output().unwrap().status.success());
    assert_eq!(files("molecules.csv"), molecules, "one thread");
}

#[test]
fn corrected_molecules_count_alone() {
    let folder = tempfile::tempdir().unwrap();
    let molecule = |smiles: &str| qsd::chem::smiles::parse(smiles).unwrap();
    let line = |smiles: &str, shift: f64| {
        let molecule = molecule(smiles);
        let x = (0..molecule.atoms.len()).map(|k| [1.1 * k as f64, shift * (k % 3) as f64, (k % 2) as f64]).collect();
        (molecule, x)
    };
    let of = |key: &str, smiles: &str, shift: f64| {
        let (molecule, positions) = line(smiles, shift);
        record(key, &molecule, positions)
    };
    // Ethanol of which one conformer is an ether now; acetaldehyde that has become an enol throughout; propane, not listed.
    let references = [of("CCO", "CCO", 1.0), of("CCO", "COC", 1.0), of("CC=O", "C=CO", 1.0), of("CCC", "CCC", 1.0)];
    let samples = [of("CCO", "CCO", 1.0), of("CCO", "CCO", 0.5), of("CC=O", "CC=O", 1.0), of("CCC", "CCC", 1.0)];
    write(&folder.path().join("reference.sdf"), &references);
    write(&folder.path().join("generated.sdf"), &samples);
    fs::write(folder.path().join("list.csv"), "smiles,n_conformers,corrected_smiles\nCCO,2,OCC\nCC=O,1,CC=O\n")
        .unwrap();
    let list = folder.path().join("list.csv");
    eval(folder.path(), &["--corrected", list.to_str().unwrap()]).success();
    let found = table(&folder.path().join("out/molecules.csv"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["CCO"]);
    assert_eq!((found["CCO"]["references"].as_str(), found["CCO"]["references_all"].as_str()), ("1", "2"));
    assert_eq!(found["CCO"]["amr_recall"], "0");
    let left_out = table(&folder.path().join("out/skipped.csv"));
    assert_eq!(left_out["CC=O"]["reason"], "no reference conformer of the corrected graph");
    assert!(!left_out.contains_key("CCC"), "what the list lacks is not asked for");
    // Without the list the ether is a reference that nothing covers, and the report says what that does.
    let said = eval(folder.path(), &["--per-reference", "1", "--overwrite"]).success().stdout;
    let found = table(&folder.path().join("out/molecules.csv"));
    assert_eq!((found["CCO"]["cov_recall_0.75"].as_str(), found["CCO"]["amr_recall"].as_str()), ("0.5", "NaN"));
    assert!(said.contains("1 molecules have conformers") && said.contains("--corrected"), "{said}");
}

#[test]
fn mistakes_are_named_and_leave_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_files("qm9", folder.path());
    eval(folder.path(), &["--threshold", "0.33"]).failure(2, &["--threshold 0.33", "0.05"]);
    eval(folder.path(), &["--corrected", path("generated.sdf").to_str().unwrap()]).failure(3, &["no column smiles"]);
    fs::write(path("other.sdf"), "nothing\nof the\nsort\n").unwrap();
    eval(folder.path(), &["--reference", path("other.sdf").to_str().unwrap()]).failure(3, &["other.sdf", "no record"]);
    eval(folder.path(), &["--reference", path("missing").to_str().unwrap()]).failure(7, &["missing"]);
    let data = data::sample("drugs");
    eval(folder.path(), &["--reference", data.to_str().unwrap()]).failure(3, &["no molecule to compare", "SMILES"]);
    eval(folder.path(), &["--reference", data.to_str().unwrap(), "--split", "tets"]).failure(3, &["tets", "test"]);
    assert_eq!(fs::read_dir(path("out")).map_or(0, Iterator::count), 0);
    eval(folder.path(), &[]).success();
    eval(folder.path(), &[]).failure(2, &["exists", "--overwrite"]);
    // A damaged record costs itself alone.
    let text = fs::read_to_string(path("generated.sdf")).unwrap();
    fs::write(path("generated.sdf"), format!("broken\n\n\n  1  x\n$$$$\n{text}")).unwrap();
    let said = eval(folder.path(), &["--overwrite"]).success().stdout;
    assert!(said.contains("records: not readable"), "{said}");
    let skipped = fs::read_to_string(path("out/skipped.csv")).unwrap();
    assert!(skipped.contains("record 1"), "{skipped}");
}
