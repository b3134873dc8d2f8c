//! The Python side: shards are plain Arrow files, stored graphs carry RDKit's features, and the preparation
//! script turns GEOM's pickles into what the reader reads, whatever the number of workers and interruptions.

#[path = "support/data.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qsd::chem::features::vocabulary;
use qsd::data::{DataConfig, Dataset, ValidationBatches};
use serde::Deserialize;
use support::sample;

/// The interpreter with rdkit, numpy and pyarrow.
fn python() -> PathBuf {
    let fallback = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let path = std::env::var_os("QSD_PYTHON").map_or_else(fallback, PathBuf::from);
    assert!(path.exists(), "{}: no Python; run tests/run.sh, or set QSD_PYTHON", path.display());
    path
}

fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs a script to its end and returns its standard output and standard error.
fn run(command: &mut Command) -> (String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    (text(&output.stdout), text(&output.stderr))
}

/// What `rdkit_features.py` says of a molecule.
#[derive(Deserialize)]
struct Described {
    key: String,
    atomic_numbers: Vec<u8>,
    features: Vec<[f32; 10]>,
    bonds: Vec<[u32; 2]>,
    conformers: usize,
    sum: f64,
}

/// Compares a split's molecules, as this crate reads them and computes their features, with pyarrow and RDKit.
fn assert_agrees_with_rdkit(dir: &Path, split: &str) -> usize {
    let mut command = Command::new(python());
    let dataset = Dataset::open(dir, true).unwrap();
    let shards = dataset.manifest().splits[split].iter().map(|entry| dir.join(&entry.file));
    let (described, _) = run(command.arg(in_repository("tests/support/rdkit_features.py")).args(shards));
    let described: Vec<Described> = serde_json::from_str(&described).unwrap();
    let batches = ValidationBatches::new(&dataset, split, &DataConfig::default(), 1, None).unwrap();
    let split = dataset.split(split).unwrap();
    assert_eq!(described.len(), split.len());
    for (i, expected) in described.iter().enumerate() {
        let (record, condition) = (split.molecule(i).unwrap(), batches.batch(i).unwrap().condition);
        assert_eq!((record.key(), record.num_conformers()), (expected.key.as_str(), expected.conformers));
        let atoms = condition.atoms().unwrap();
        assert_eq!(atoms.atomic_numbers, expected.atomic_numbers, "{}", expected.key);
        assert_eq!(atoms.features, expected.features, "{}", expected.key);
        assert_eq!(condition.bonds, expected.bonds, "{}", expected.key);
        let coordinates = (0..record.num_conformers()).flat_map(|c| record.positions(c));
        assert!((coordinates.map(|&x| f64::from(x)).sum::<f64>() - expected.sum).abs() < 1e-6, "{}", expected.key);
    }
    described.len()
}

#[test]
fn stored_graphs_have_rdkits_features() {
    let splits = ["train", "val", "test"];
    let count =
        |partition| splits.map(|split| assert_agrees_with_rdkit(&sample(partition), split)).iter().sum::<usize>();
    assert_eq!((count("drugs"), count("qm9")), (137, 644));
}

/// A tiny folder in GEOM's form and what must come of it.
struct Geom {
    dir: tempfile::TempDir,
    /// Per split, the keys that must come through and their conformers' weights.
    expected: BTreeMap<String, Vec<(String, Vec<f64>)>>,
}

impl Geom {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        run(Command::new(python()).arg(in_repository("tests/support/make_geom_folder.py")).arg(dir.path()));
        let expected = std::fs::read(dir.path().join("expected.json")).unwrap();
        Geom { expected: serde_json::from_slice(&expected).unwrap(), dir }
    }

    /// The preparation of it into `out`.
    fn prepare(&self, out: &str, workers: usize) -> Command {
        let mut command = Command::new(python());
        command.arg(in_repository("data/prepare_geom.py"));
        command.arg("--geom").arg(self.dir.path()).arg("--split").arg(self.dir.path().join("split.npy"));
        command.args(["--partition", "qm9", "--max-conformers", "3", "--molecules-per-shard", "2"]);
        command.args(["--workers", &workers.to_string()]).arg("--out").arg(self.dir.path().join(out));
        command
    }

    /// Every file of a data set.
    fn files(&self, out: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.dir.path().join(out)).unwrap().map(|entry| entry.unwrap());
        entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read(e.path()).unwrap())).collect()
    }
}

#[test]
fn preparation_keeps_the_good_and_counts_the_rest() {
    let geom = Geom::new();
    run(&mut geom.prepare("out", 2));
    let dir = geom.dir.path().join("out");
    let dataset = Dataset::open(&dir, true).unwrap();
    for (name, expected) in &geom.expected {
        let split = dataset.split(name).unwrap();
        assert_eq!(split.len(), expected.len(), "{name}");
        for (i, (key, weights)) in expected.iter().enumerate() {
            let record = split.molecule(i).unwrap();
            assert_eq!(record.key(), key, "{name}");
            let kept = if name == "test" { weights.len() } else { weights.len().min(3) };
            let total: f64 = weights[..kept].iter().sum();
            assert_eq!(record.num_conformers(), kept, "{key}");
            for (found, expected) in record.weights().iter().zip(weights) {
                assert!((f64::from(*found) - expected / total).abs() < 1e-6, "{key}: {found}, {expected}");
            }
            let energies: Vec<f32> = (0..kept).map(|k| 0.5 * k as f32).collect();
            assert_eq!(record.energies(), energies, "the conformers stand by falling weight: {key}");
        }
    }
    let dropped = dataset.manifest().dropped.values().flatten();
    let mut counts = BTreeMap::<&str, u64>::new();
    dropped.for_each(|(reason, n)| *counts.entry(reason).or_default() += n);
    let reasons =
        ["conformers differ in their atoms", "disconnected", "no conformers", "position not finite", "unreadable"];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), reasons.map(|r| (r, if r == "unreadable" { 2 } else { 1 })));
    assert!(assert_agrees_with_rdkit(&dir, "train") > 0);
    assert_eq!(dataset.manifest().features, vocabulary(), "the script's vocabulary is the library's");
}

#[test]
fn what_is_evaluated_on_has_kept_its_graph() {
    let geom = Geom::new();
    let prepare = |out: &str, options: &[&str]| {
        let mut command = geom.prepare(out, 2);
        for pair in options.chunks(2) {
            command.arg(pair[0]).arg(geom.dir.path().join(pair[1]));
        }
        run(&mut command);
        let dataset = Dataset::open(&geom.dir.path().join(out), true).unwrap();
        let split = dataset.split("test").unwrap();
        let records = (0..split.len()).map(|i| split.molecule(i).unwrap());
        let kept: Vec<_> = records.map(|record| (record.key().to_string(), record.num_conformers())).collect();
        (kept, dataset.manifest().dropped["test"].clone())
    };
    let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    let (_, dropped) = prepare("all", &["--test-mols", "test_mols.pkl"]);
    assert_eq!(dropped, counts(&[("conformers differ in their atoms", 1)]), "the ether's atoms stand otherwise");
    let (kept, dropped) = prepare("clean", &["--test-mols", "test_mols.pkl", "--clean-test", "corrected.csv"]);
    assert_eq!(kept, [("C/C=C/C".to_string(), 2), ("CCO".to_string(), 2)]);
    let reasons = [("no conformer of the corrected graph", 1), ("not in the list of test molecules", 1)];
    assert_eq!(dropped, counts(&reasons));
}

#[test]
fn preparation_gives_the_same_bytes_for_any_workers_and_after_a_kill() {
    let geom = Geom::new();
    run(&mut geom.prepare("one", 1));
    run(&mut geom.prepare("two", 2));
    assert_eq!(geom.files("one"), geom.files("two"));

    let mut child = geom.prepare("killed", 1).stderr(Stdio::null()).spawn().unwrap();
    let partial = geom.dir.path().join("killed.partial");
    let begun = Instant::now();
    while !partial.join("train-00001.json").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(begun.elapsed() < Duration::from_secs(60), "no shard after a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(partial.exists() && !geom.dir.path().join("killed").exists());
    let (_, log) = run(&mut geom.prepare("killed", 2));
    assert!(log.contains("continuing: "), "{log}");
    assert_eq!(geom.files("one"), geom.files("killed"));
    assert!(!partial.exists());
}

#[test]
fn preparation_refuses_what_would_go_wrong() {
    let geom = Geom::new();
    run(&mut geom.prepare("out", 1));
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&mut geom.prepare("out", 1)).contains("refusing to overwrite"));
    // A pickle is missing, so the split's indices would name other molecules.
    let pickles = geom.dir.path().join("rdkit_folder/qm9");
    std::fs::remove_file(pickles.join("CCO.pickle")).unwrap();
    let message = refused(&mut geom.prepare("other", 1));
    assert!(message.contains("is it whole?"), "{message}");
    // A run left half done is not continued with other options.
    let mut other = geom.prepare("other", 1);
    let message = refused(other.args(["--max-conformers", "5"]));
    assert!(message.contains("another max_conformers"), "{message}");
}
