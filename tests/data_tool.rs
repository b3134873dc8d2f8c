//! The program `qsd-data`, run as a user runs it.

#[path = "support/data.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Output};

use qsd::chem::{Record, sdf};
use qsd::data::{Dataset, MoleculeRecord, Split};
use support::{open_sample, sample};

fn tool(arguments: &[&str], dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_qsd-data")).args(arguments).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeed(arguments: &[&str], dir: &Path) -> String {
    let output = tool(arguments, dir);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs it, demands this exit code and one line of error, and returns the line.
fn fail(arguments: &[&str], dir: &Path, code: i32) -> String {
    let output = tool(arguments, dir);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn inspect_counts_the_sample() {
    let dir = tempfile::tempdir().unwrap();
    let shown = succeed(&["inspect", sample("qm9").to_str().unwrap()], dir.path());
    let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    let of = |split| words.iter().find(|line| line.first() == Some(&split)).unwrap();
    assert_eq!(of("train")[1..3], ["515", "1309"], "{shown}");
    assert_eq!(of("test")[1..3], ["65", "169"], "{shown}");
    let hash = open_sample("qm9").hash().to_string();
    assert!(shown.contains(&hash), "{shown}");
}

#[test]
fn inspect_names_the_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(sample("qm9")).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    succeed(&["inspect", "."], dir.path());
    let manifest = std::fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    std::fs::write(dir.path().join("manifest.json"), manifest.replace(": 1309", ": 1310")).unwrap();
    let message = fail(&["inspect", "."], dir.path(), 3);
    assert!(message.contains("train-00000.arrow") && message.contains("1309"), "{message}");
    std::fs::write(dir.path().join("manifest.json"), manifest).unwrap();
    let shard = dir.path().join("val-00000.arrow");
    let mut content = std::fs::read(&shard).unwrap();
    content[20_000] ^= 1;
    std::fs::write(&shard, content).unwrap();
    let message = fail(&["inspect", "."], dir.path(), 3);
    assert!(message.contains("val-00000.arrow"), "{message}");
}

/// The sample's molecules of a split.
fn molecules(split: &Split) -> Vec<MoleculeRecord> {
    (0..split.len()).map(|i| split.molecule(i).unwrap()).collect()
}

/// Writes every conformer of some molecules as SDF.
fn write_sdf(path: &Path, molecules: &[MoleculeRecord]) {
    let mut file = std::fs::File::create(path).unwrap();
    for record in molecules {
        for c in 0..record.num_conformers() {
            let (name, molecule) = (record.key().to_string(), record.molecule().clone());
            let record = Record { name, molecule, positions: record.conformer(c).unwrap(), properties: Vec::new() };
            sdf::write_record(&mut file, &record).unwrap();
        }
    }
}

/// All molecules of a data set, whatever their split.
fn all(dir: &Path) -> Vec<MoleculeRecord> {
    let dataset = Dataset::open(dir, true).unwrap();
    dataset.manifest().splits.keys().flat_map(|name| molecules(&dataset.split(name).unwrap())).collect()
}

/// Compares positions of conformer `c` to what SDF and XYZ keep of them.
fn assert_close(a: &MoleculeRecord, b: &MoleculeRecord, c: usize) {
    let pairs = a.positions(c).iter().zip(b.positions(c));
    assert!(pairs.clone().count() > 0);
    pairs.for_each(|(a, b)| assert!((a - b).abs() < 2e-4, "{a} {b}"));
}

#[test]
fn sdf_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let originals = molecules(&open_sample("qm9").split("val").unwrap());
    write_sdf(&dir.path().join("in.sdf"), &originals);
    let shown = succeed(&["import", "--out", "out", "--seed", "3", "in.sdf"], dir.path());
    assert!(shown.starts_with("171 records, 0 of them bad"), "{shown}");
    let imported = all(&dir.path().join("out"));
    assert_eq!(imported.len(), originals.len());
    for original in &originals {
        let found = imported.iter().find(|m| m.key() == original.key()).expect("every molecule");
        assert_eq!(found.num_conformers(), original.num_conformers(), "{}", original.key());
        let atoms = |m: &MoleculeRecord| m.molecule().atoms.iter().map(|a| a.atomic_number).collect::<Vec<_>>();
        assert_eq!(atoms(found), atoms(original));
        assert_eq!(found.molecule().bonds.len(), original.molecule().bonds.len());
        assert!((found.weights().iter().sum::<f32>() - 1.0).abs() < 1e-6);
        (0..found.num_conformers()).for_each(|c| assert_close(found, original, c));
    }
}

#[test]
fn the_split_depends_on_the_seed_and_the_graph_alone() {
    let dir = tempfile::tempdir().unwrap();
    let originals = molecules(&open_sample("qm9").split("train").unwrap());
    write_sdf(&dir.path().join("a.sdf"), &originals);
    let reversed: Vec<_> = originals.iter().rev().cloned().collect();
    write_sdf(&dir.path().join("b.sdf"), &reversed);
    let keys = |out: &str, split: &str| {
        let split = Dataset::open(&dir.path().join(out), true).unwrap().split(split).unwrap();
        let mut keys: Vec<String> = molecules(&split).iter().map(|m| m.key().to_string()).collect();
        keys.sort();
        keys
    };
    for (out, input, seed) in [("a", "a.sdf", "1"), ("b", "b.sdf", "1"), ("c", "a.sdf", "2")] {
        succeed(&["import", "--out", out, "--seed", seed, "--fractions", "0.6,0.2,0.2", input], dir.path());
    }
    assert_eq!(keys("a", "val"), keys("b", "val"));
    assert_ne!(keys("a", "val"), keys("c", "val"));
    // 515 molecules, a fifth each: 103 with a standard deviation of 9.
    assert!((60..150).contains(&keys("a", "val").len()) && (60..150).contains(&keys("a", "test").len()));
}

#[test]
fn xyz_with_smiles_gets_its_graph() {
    let dir = tempfile::tempdir().unwrap();
    // Ethanol with its atoms in another order than the SMILES, and water; by comment and by a list.
    let ethanol = "9\nCCO\nH 1.17 -0.59 -0.90\nO 1.21 0.26 -0.02\nC 0.00 -0.55 0.00\nH 0.03 -1.18 0.90\nC -1.19 0.39 0.02\n\
                   H -0.01 -1.20 -0.88\nH -1.20 1.02 -0.87\nH -1.17 1.03 0.90\nH -2.12 -0.18 0.02\n";
    let ethanol = &ethanol.replace("H 1.17 -0.59 -0.90", "H 1.98 -0.33 -0.03");
    let water = "3\nO\nO 0.00 0.00 0.12\nH 0.00 0.76 -0.47\nH 0.00 -0.76 -0.47\n";
    std::fs::write(dir.path().join("in.xyz"), format!("{ethanol}{ethanol}{water}")).unwrap();
    let nameless = format!("{ethanol}{ethanol}{water}").replace("CCO", "frame").replace("3\nO\n", "3\nframe\n");
    std::fs::write(dir.path().join("nameless.xyz"), nameless).unwrap();
    std::fs::write(dir.path().join("in.smi"), "CCO first\nCCO second\nO\n").unwrap();
    succeed(&["import", "--out", "a", "in.xyz"], dir.path());
    succeed(&["import", "--out", "b", "nameless.xyz", "--smiles", "in.smi"], dir.path());
    for out in ["a", "b"] {
        let found = all(&dir.path().join(out));
        let ethanol = found.iter().find(|m| m.key() == "CCO").unwrap();
        assert_eq!((found.len(), ethanol.num_conformers()), (2, 2));
        let numbers: Vec<u8> = ethanol.molecule().atoms.iter().map(|a| a.atomic_number).collect();
        assert_eq!(numbers, [6, 6, 8, 1, 1, 1, 1, 1, 1]);
        for bond in &ethanol.molecule().bonds {
            let points = ethanol.conformer(0).unwrap();
            let (a, b) = (points[bond.begin as usize], points[bond.end as usize]);
            let length = (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f64>().sqrt();
            assert!((0.8..1.7).contains(&length), "{bond:?}: {length}");
        }
    }
    std::fs::write(dir.path().join("in.smi"), "CCO\n").unwrap();
    let message = fail(&["import", "--out", "c", "nameless.xyz", "--smiles", "in.smi"], dir.path(), 3);
    assert!(message.contains("fewer lines"), "{message}");
}

#[test]
fn bad_records_are_set_aside_up_to_a_share() {
    let dir = tempfile::tempdir().unwrap();
    let originals = molecules(&open_sample("qm9").split("val").unwrap());
    write_sdf(&dir.path().join("in.sdf"), &originals[..20]);
    let good = std::fs::read_to_string(dir.path().join("in.sdf")).unwrap();
    let mut records: Vec<&str> = good.split_inclusive("$$$$\n").collect();
    let count = records.len();
    records[4] = "nonsense\n$$$$\n";
    std::fs::write(dir.path().join("in.sdf"), records.concat()).unwrap();
    let message = fail(&["import", "--out", "out", "--max-bad", "0.001", "in.sdf"], dir.path(), 3);
    assert!(message.contains("in.sdf record 5") && message.contains(&format!("1 of {count} records")), "{message}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
    let shown = succeed(&["import", "--out", "out", "--max-bad", "0.5", "in.sdf"], dir.path());
    assert!(shown.contains("1 of them bad"), "{shown}");
    let listed = std::fs::read_to_string(dir.path().join("out/quarantine.jsonl")).unwrap();
    let fault: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&fault["file"], &fault["record"]), (&"in.sdf".into(), &5.into()));
    assert!(fault["cause"].as_str().unwrap().len() > 10);
}

#[test]
fn wrong_arguments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("in.sdf"), "").unwrap();
    for (arguments, expected) in [
        (&["import", "--out", "out", "--fractions", "0.5,0.6,0.1", "in.sdf"][..], "sum 1"),
        (&["import", "--out", "out", "--fractions", "0.5,0.5", "in.sdf"], "three numbers"),
        (&["import", "--out", "out", "--max-bad", "2", "in.sdf"], "between 0 and 1"),
        (&["import", "--out", "in.sdf", "in.sdf"], "refusing to overwrite"),
        (&["import", "--out", "out", "in.pdb"], "expected *.sdf"),
        (&["import", "--out", "out", "in.sdf", "--smiles", "in.smi"], "--smiles is for XYZ"),
    ] {
        let message = fail(arguments, dir.path(), 2);
        assert!(message.contains(expected), "{message}");
    }
    assert!(fail(&["import", "--out", "out", "in.sdf"], dir.path(), 3).contains("no record"));
    assert!(fail(&["import", "--out", "out", "missing.sdf"], dir.path(), 7).contains("missing.sdf"));
    assert!(fail(&["inspect", "."], dir.path(), 3).contains("is this a qsd data set?"));
}
