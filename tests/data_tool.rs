//! The program `qsd-data`, run as a user runs it.

#[path = "support/data.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use qsd::chem::features::vocabulary;
use qsd::chem::{Chirality, Record, sdf, smiles};
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

/// The record with its atoms in reverse order, and mirrored.
fn reversed_and_mirrored(m: &MoleculeRecord) -> Record {
    let n = m.num_atoms() as u32;
    let mut molecule = m.molecule().clone();
    molecule.atoms.reverse();
    molecule.bonds.reverse();
    molecule.bonds.iter_mut().for_each(|bond| (bond.begin, bond.end) = (n - 1 - bond.end, n - 1 - bond.begin));
    let positions = m.conformer(0).unwrap().into_iter().rev().map(|x| x.map(|x| -x)).collect();
    Record { name: m.key().to_string(), molecule, positions, properties: Vec::new() }
}

fn is_chiral(m: &MoleculeRecord) -> bool {
    m.molecule().atoms.iter().any(|atom| atom.chirality != Chirality::None)
}

#[test]
fn neither_numbering_nor_handedness_moves_a_molecule_to_another_split() {
    let dir = tempfile::tempdir().unwrap();
    let originals = molecules(&open_sample("drugs").split("train").unwrap());
    write_sdf(&dir.path().join("a.sdf"), &originals);
    let mut file = std::fs::File::create(dir.path().join("b.sdf")).unwrap();
    originals.iter().for_each(|m| sdf::write_record(&mut file, &reversed_and_mirrored(m)).unwrap());
    succeed(&["import", "--out", "out", "--fractions", "0.4,0.3,0.3", "a.sdf", "b.sdf"], dir.path());
    let dataset = Dataset::open(&dir.path().join("out"), true).unwrap();
    let mut split_of = BTreeMap::new();
    let (mut count, mut chiral) = (0, 0);
    for name in dataset.manifest().splits.keys() {
        for record in molecules(&dataset.split(name).unwrap()) {
            assert_eq!(*split_of.entry(record.key().to_string()).or_insert(name), name, "{}", record.key());
            chiral += usize::from(is_chiral(&record));
            count += 1;
        }
    }
    assert!(count >= 2 * originals.len() && chiral > 50, "{count} molecules, {chiral} chiral");
    assert_eq!(split_of.values().collect::<BTreeSet<_>>().len(), 3);
}

#[test]
fn handedness_is_that_of_the_positions_and_must_be_that_of_the_smiles() {
    let dir = tempfile::tempdir().unwrap();
    let import = |smiles: &str, atoms: &[String]| {
        std::fs::write(dir.path().join("in.xyz"), format!("5\n{smiles}\n{}\n", atoms.join("\n"))).unwrap();
        let _ = std::fs::remove_dir_all(dir.path().join("out"));
        tool(&["import", "--out", "out", "in.xyz"], dir.path())
    };
    let atoms = |sign: f64| {
        let x = [("C", 0.0, 0.0, 0.0), ("F", 0.8, 0.8, 0.8), ("Cl", 1.0, -1.0, -1.0), ("Br", -1.1, 1.1, -1.1)];
        let x = x.into_iter().chain([("H", -0.63, -0.63, 0.63)]);
        x.map(|(symbol, x, y, z)| format!("{symbol} {} {} {}", sign * x, sign * y, sign * z)).collect::<Vec<_>>()
    };
    let reversed: Vec<String> = atoms(1.0).into_iter().rev().collect();
    let mut tags = Vec::new();
    for atoms in [atoms(1.0), reversed, atoms(-1.0)] {
        assert!(import("C(F)(Cl)Br", &atoms).status.success());
        let tag = all(&dir.path().join("out"))[0].molecule().atoms[0].chirality;
        // Of the two SMILES one states what the positions show.
        let outputs = ["[C@H](F)(Cl)Br", "[C@@H](F)(Cl)Br"].map(|smiles| import(smiles, &atoms));
        let [bad, good] = match outputs[0].status.success() {
            true => [&outputs[1], &outputs[0]],
            false => [&outputs[0], &outputs[1]],
        };
        assert_eq!((good.status.code(), bad.status.code()), (Some(0), Some(3)));
        assert!(text(&bad.stderr).contains("atom 1 of its graph has another handedness"), "{}", text(&bad.stderr));
        tags.push(tag);
    }
    assert!(tags[0] != Chirality::None && tags[1] == tags[0] && tags[2] == tags[0].mirrored(), "{tags:?}");
}

#[test]
fn stated_handedness_is_found_in_frames_numbered_backwards() {
    let dir = tempfile::tempdir().unwrap();
    let mut frames = String::new();
    let mut written = 0;
    for partition in ["drugs", "qm9"] {
        for record in molecules(&open_sample(partition).split("train").unwrap()).iter().filter(|m| is_chiral(m)) {
            frames += &format!("{}\n{}\n", record.num_atoms(), record.smiles());
            for (atom, x) in record.molecule().atoms.iter().zip(record.conformer(0).unwrap()).rev() {
                frames += &format!("{} {} {} {}\n", atom.atomic_number, x[0], x[1], x[2]);
            }
            written += 1;
        }
    }
    std::fs::write(dir.path().join("in.xyz"), frames).unwrap();
    let shown = succeed(&["import", "--out", "out", "in.xyz"], dir.path());
    let listed = std::fs::read_to_string(dir.path().join("out/quarantine.jsonl")).unwrap();
    assert!(written > 200 && shown.starts_with(&format!("{written} records, 0 of them bad")), "{shown} {listed}");
}

#[test]
fn molecules_without_their_hydrogens_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut molecule = smiles::parse("CCO").unwrap();
    molecule.atoms.truncate(3);
    molecule.bonds.truncate(2);
    let positions = vec![[-1.2, 0.4, 0.0], [0.0, -0.5, 0.0], [1.2, 0.3, 0.0]];
    let record = Record { name: "bare".into(), molecule, positions, properties: Vec::new() };
    let mut file = std::fs::File::create(dir.path().join("in.sdf")).unwrap();
    sdf::write_record(&mut file, &record).unwrap();
    write_sdf(&dir.path().join("good.sdf"), &molecules(&open_sample("qm9").split("val").unwrap())[..3]);
    succeed(&["import", "--out", "out", "--max-bad", "0.6", "good.sdf", "in.sdf"], dir.path());
    let listed = std::fs::read_to_string(dir.path().join("out/quarantine.jsonl")).unwrap();
    assert!(listed.contains("hydrogens are missing; add them") && listed.contains("in.sdf"), "{listed}");
}

#[test]
fn conformers_beyond_the_limit_are_counted_as_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let water = "3\nO\nO 0.00 0.00 0.12\nH 0.00 0.76 -0.47\nH 0.00 -0.76 -0.47\n";
    std::fs::write(dir.path().join("trajectory.xyz"), water.repeat(1007)).unwrap();
    let shown = succeed(&["import", "--out", "out", "trajectory.xyz"], dir.path());
    assert!(shown.contains("left out 7 conformers beyond the first 1000 of a molecule"), "{shown}");
    assert!(shown.contains("left out of all files: 7 × conformer beyond the first 1000"), "{shown}");
    let found = all(&dir.path().join("out"));
    assert_eq!((found.len(), found[0].num_conformers()), (1, 1000));
    assert!((found[0].weights().iter().sum::<f32>() - 1.0).abs() < 1e-4);
}

#[test]
fn no_folders_name_gets_into_a_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret-folder");
    std::fs::create_dir(&secret).unwrap();
    write_sdf(&secret.join("in.sdf"), &molecules(&open_sample("qm9").split("val").unwrap())[..3]);
    let good = std::fs::read_to_string(secret.join("in.sdf")).unwrap();
    std::fs::write(secret.join("in.sdf"), format!("{good}nonsense\n$$$$\n")).unwrap();
    let [out, input] = ["out", "in.sdf"].map(|name| secret.join(name).to_str().unwrap().to_string());
    succeed(&["import", "--max-bad", "0.9", "--seed", "4", "--out", &out, &input], dir.path());
    for entry in std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()) {
        let content = std::fs::read(&entry).unwrap();
        assert!(!text(&content).contains("secret-folder"), "{}", entry.display());
    }
    let manifest = Dataset::open(Path::new(&out), true).unwrap().manifest().clone();
    let command = "qsd-data import --out out --fractions 0.8,0.1,0.1 --seed 4 --max-bad 0.9 in.sdf";
    assert_eq!(manifest.created["command"], command);
    assert_eq!(manifest.features, vocabulary());
}
