//! Shards: what is written is read, damage is an error with a place, opening costs no memory.

#[path = "support/data.rs"]
mod support;

use std::path::{Path, PathBuf};

use qsd::Error;
use qsd::chem::{Atom, Bond, BondOrder, Chirality, Molecule};
use qsd::data::{Dataset, DatasetWriter, Manifest, NewMolecule, Provenance, Split};
use rand::Rng;
use support::{open_sample, sample, write_manifest};

/// A molecule that differs with `i` in everything: a chain of `1 + i mod 7` atoms.
fn molecule(i: usize) -> NewMolecule {
    let (n, c) = (1 + i % 7, 1 + i % 3);
    let chirality = [Chirality::None, Chirality::Clockwise, Chirality::CounterClockwise];
    let orders = [BondOrder::Other, BondOrder::Single, BondOrder::Double, BondOrder::Triple, BondOrder::Aromatic];
    let atom = |a| Atom {
        atomic_number: (1 + (i + a) % 118) as u8,
        formal_charge: (i % 5) as i8 - 2,
        radical_electrons: (i % 3) as u8,
        chirality: chirality[(i + a) % 3],
    };
    let bond = |b: usize| Bond { begin: b as u32, end: b as u32 + 1, order: orders[(i + b) % 5] };
    NewMolecule {
        key: format!("molecule {i}"),
        smiles: format!("smiles {i}"),
        molecule: Molecule { atoms: (0..n).map(atom).collect(), bonds: (1..n).map(|b| bond(b - 1)).collect() },
        weights: vec![1.0 / c as f32; c],
        energies: (0..c).map(|k| k as f32 + 0.25).collect(),
        positions: (0..3 * n * c).map(|k| (k + i) as f32 / 8.0).collect(),
    }
}

fn provenance() -> Provenance {
    Provenance { fold_classes: None, dropped: Default::default(), source: "a test".into(), created: "now".into() }
}

fn write(out: &Path, train: usize, val: usize) -> Manifest {
    let mut writer = DatasetWriter::create(out, "chains").unwrap();
    for i in 0..train {
        writer.push("train", molecule(i)).unwrap();
    }
    for i in 0..val {
        writer.push("val", molecule(1000 + i)).unwrap();
    }
    writer.finish(provenance()).unwrap()
}

fn assert_reads(split: &Split, i: usize, expected: &NewMolecule) {
    let record = split.molecule(i).unwrap();
    assert_eq!((record.key(), record.smiles()), (expected.key.as_str(), expected.smiles.as_str()));
    assert_eq!(record.molecule(), &expected.molecule);
    assert_eq!(record.weights(), expected.weights);
    assert_eq!(record.energies(), expected.energies);
    let positions: Vec<f32> = (0..record.num_conformers()).flat_map(|c| record.positions(c).to_vec()).collect();
    assert_eq!(positions, expected.positions);
    assert_eq!(split.num_points(i).unwrap(), expected.molecule.atoms.len());
}

#[test]
fn what_is_written_is_read_over_shards_and_batches() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    let manifest = write(&out, 1100, 3);
    assert_eq!(manifest.splits["train"].len(), 2);
    let dataset = Dataset::open(&out, true).unwrap();
    assert_eq!(dataset.manifest(), &manifest);
    let (train, val) = (dataset.split("train").unwrap(), dataset.split("val").unwrap());
    assert_eq!((train.len(), val.len()), (1100, 3));
    for i in [0, 1, 63, 64, 1023, 1024, 1087, 1088, 1099] {
        assert_reads(&train, i, &molecule(i));
    }
    assert_reads(&val, 2, &molecule(1002));
    assert!(matches!(train.molecule(1100), Err(Error::Data(_))));
    let message = dataset.split("valid").unwrap_err().to_string();
    assert!(message.contains("train, val"), "{message}");
}

#[test]
fn writing_refuses_to_overwrite_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("set");
    write(&out, 1, 0);
    assert!(matches!(DatasetWriter::<NewMolecule>::create(&out, "again"), Err(Error::Config(_))));
    let mut abandoned = DatasetWriter::create(&dir.path().join("other"), "other").unwrap();
    abandoned.push("train", molecule(0)).unwrap();
    drop(abandoned);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn the_hash_says_what_the_data_are_not_where_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let hash = |name: &str, train| write(&dir.path().join(name), train, 2).hash();
    assert_eq!(hash("a", 5), hash("b", 5));
    assert_ne!(hash("c", 5), hash("d", 6));
}

/// A copy of the sample's smallest split as a data set of its own, which tests may damage.
struct Damaged {
    _dir: tempfile::TempDir,
    path: PathBuf,
    shard: PathBuf,
    whole: Vec<u8>,
    manifest: Manifest,
}

impl Damaged {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        let mut manifest = open_sample("qm9").manifest().clone();
        manifest.splits.retain(|name, _| name == "test");
        let file = manifest.splits["test"][0].file.clone();
        let whole = std::fs::read(sample("qm9").join(&file)).unwrap();
        Damaged { _dir: dir, shard: path.join(file), path, whole, manifest }
    }

    /// Writes the shard as `content`, with a manifest that agrees on its size.
    fn put(&mut self, content: &[u8]) {
        std::fs::write(&self.shard, content).unwrap();
        self.manifest.splits.get_mut("test").unwrap()[0].bytes = content.len() as u64;
        write_manifest(&self.path, &self.manifest);
    }

    /// Reads everything; `Ok` when nothing wrong was noticed.
    fn read_all(&self, verify: bool) -> qsd::Result<()> {
        let split = Dataset::open(&self.path, verify)?.split("test")?;
        for i in 0..split.len() {
            split.num_points(i)?;
            let record = split.molecule(i)?;
            (0..record.num_conformers()).try_for_each(|c| record.conformer(c).map(drop))?;
            let _ = (record.key(), record.smiles());
        }
        Ok(())
    }

    /// Reads everything and demands that a fault, when noticed, is a data error that names the file.
    fn assert_contained(&self, what: &str) -> bool {
        match self.read_all(false) {
            Ok(()) => false,
            Err(Error::Data(message)) => {
                assert!(message.contains("test-00000.arrow"), "{what}: {message}");
                true
            }
            Err(other) => panic!("{what}: not a data error: {other}"),
        }
    }
}

#[test]
fn truncated_shards_are_refused() {
    let mut damaged = Damaged::new();
    let whole = damaged.whole.clone();
    damaged.put(&whole);
    damaged.read_all(true).unwrap();
    for k in 0..64 {
        damaged.put(&whole[..whole.len() * k / 64]);
        assert!(damaged.assert_contained(&format!("cut at {k}/64")), "cut at {k}/64: not noticed");
    }
    std::fs::write(&damaged.shard, &whole[..1000]).unwrap();
    damaged.manifest.splits.get_mut("test").unwrap()[0].bytes = whole.len() as u64;
    write_manifest(&damaged.path, &damaged.manifest);
    let message = damaged.read_all(false).unwrap_err().to_string();
    assert!(message.contains("1000 bytes") && message.contains("truncated"), "{message}");
    std::fs::remove_file(&damaged.shard).unwrap();
    assert!(damaged.assert_contained("missing"));
}

#[test]
fn flipped_bits_never_panic_and_fail_the_checksum() {
    let mut damaged = Damaged::new();
    let whole = damaged.whole.clone();
    let mut rng = qsd::random::stream(1, qsd::random::Purpose::Order, 0, 0);
    let mut noticed = 0;
    for k in 0..1500 {
        // Half of the flips in the schema, the first batch's header, and the footer, where structure is.
        let place = match k % 4 {
            0 => rng.next_u64() as usize % 3000,
            1 => whole.len() - 1 - rng.next_u64() as usize % 1500,
            _ => rng.next_u64() as usize % whole.len(),
        };
        let mut content = whole.clone();
        content[place] ^= 1 << (rng.next_u64() % 8);
        damaged.put(&content);
        noticed += usize::from(damaged.assert_contained(&format!("flip at {place}")));
        if k % 10 == 0 {
            let message = damaged.read_all(true).unwrap_err().to_string();
            assert!(message.contains("SHA-256") && message.contains("test-00000.arrow"), "{message}");
        }
    }
    assert!(noticed > 300, "only {noticed} of 1500 flips were noticed without checksums");
}

#[test]
fn absurd_lengths_are_refused() {
    let mut damaged = Damaged::new();
    let whole = damaged.whole.clone();
    let absurd = [i64::MAX, i64::MIN, -1, 1 << 60, 1 << 40, u32::MAX as i64];
    // The first 3000 bytes hold the schema and the first batch's header, the last 1500 the footer.
    let places = (0..3000).step_by(4).chain((whole.len() - 1500..whole.len() - 8).step_by(4));
    let mut noticed = 0;
    for (k, place) in places.enumerate() {
        let mut content = whole.clone();
        content[place..place + 8].copy_from_slice(&absurd[k % absurd.len()].to_le_bytes());
        damaged.put(&content);
        noticed += usize::from(damaged.assert_contained(&format!("absurd number at {place}")));
    }
    assert!(noticed > 300, "only {noticed} noticed");
}

#[test]
fn damaged_records_are_refused_with_their_place() {
    type Fault = fn(&mut NewMolecule);
    let faults: [(&str, Fault); 9] = [
        ("atomic number", |m| m.molecule.atoms[2].atomic_number = 0),
        ("joins atoms", |m| m.molecule.bonds[0].end = 99),
        ("joins atoms", |m| m.molecule.bonds[0].end = m.molecule.bonds[0].begin),
        ("conformer 0: atom 1", |m| m.positions[4] = f32::NAN),
        ("weight", |m| m.weights[0] = f32::INFINITY),
        ("rise from 0.2 to 0.8", |m| {
            (m.weights, m.energies) = (vec![0.2, 0.8], vec![0.0; 2]);
            m.positions.resize(2 * 3 * m.molecule.atoms.len(), 0.0);
        }),
        ("sum to 0.5", |m| {
            (m.weights, m.energies) = (vec![0.5], vec![0.0]);
            m.positions.truncate(3 * m.molecule.atoms.len());
        }),
        ("10001 atoms", |m| {
            m.molecule.atoms.resize(10_001, m.molecule.atoms[0]);
            m.positions.resize(3 * 10_001 * m.weights.len(), 0.0);
        }),
        ("weights", |m| (m.weights, m.energies, m.positions) = Default::default()),
    ];
    for (expected, fault) in faults {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("set");
        let mut writer = DatasetWriter::create(&out, "faulty").unwrap();
        for i in 0..70 {
            let mut molecule = molecule(i);
            if i == 66 {
                fault(&mut molecule);
            }
            writer.push("train", molecule).unwrap();
        }
        writer.finish(provenance()).unwrap();
        let split = Dataset::open(&out, true).unwrap().split("train").unwrap();
        split.molecule(65).unwrap();
        let message = split.molecule(66).and_then(|record| record.conformer(0)).unwrap_err().to_string();
        assert!(message.contains("train-00000.arrow: record 66") && message.contains(expected), "{message}");
    }
}

#[test]
fn damaged_manifests_are_refused() {
    let mut damaged = Damaged::new();
    let whole = damaged.whole.clone();
    damaged.put(&whole);
    let text = std::fs::read_to_string(damaged.path.join("manifest.json")).unwrap();
    let faults = [
        (r#""schema_version":1"#, r#""schema_version":2"#, "schema version 2"),
        (r#""rows_per_batch":64"#, r#""rows_per_batch":0"#, "rows_per_batch"),
        (r#""samples":65"#, r#""samples":66"#, "1 rows in place of 2"),
        (r#""samples":65"#, r#""samples":1152921504606846976"#, "samples in"),
        (r#""file":"test"#, r#""file":"../test"#, "shard name"),
        (r#""units""#, r#""unit""#, "unknown field"),
        (r#""sp3d2""#, r#""sp3d3""#, "feature 5"),
        (r#""ring_sizes""#, r#""rings""#, "feature 9"),
        (r#""features""#, r#""feature""#, "unknown field"),
        ("{", "[", "line 1"),
    ];
    for (find, replace, expected) in faults {
        assert!(text.contains(find), "{find}");
        std::fs::write(damaged.path.join("manifest.json"), text.replacen(find, replace, 1)).unwrap();
        let error = damaged.read_all(false).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    std::fs::remove_file(damaged.path.join("manifest.json")).unwrap();
    assert!(damaged.read_all(false).unwrap_err().to_string().contains("is this a qsd data set?"));
}

/// Memory of this process that is not backed by files, in kB.
fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_million_molecules_open_in_next_to_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut manifest = open_sample("qm9").manifest().clone();
    let entry = manifest.splits["train"][0].clone();
    let first = dir.path().join("train-0.arrow");
    std::fs::copy(sample("qm9").join(&entry.file), &first).unwrap();
    let copies = (0..2000).map(|k| {
        let file = format!("train-{k}.arrow");
        if k > 0 {
            std::fs::hard_link(&first, dir.path().join(&file)).unwrap();
        }
        qsd::data::ShardEntry { file, ..entry.clone() }
    });
    manifest.splits = [("train".to_string(), copies.collect())].into();
    write_manifest(dir.path(), &manifest);
    let before = anonymous_memory();
    let split = Dataset::open(dir.path(), false).unwrap().split("train").unwrap();
    assert_eq!(split.len(), 2000 * 515);
    let mut rng = qsd::random::stream(1, qsd::random::Purpose::Order, 0, 0);
    for _ in 0..5000 {
        let i = rng.next_u64() as usize % split.len();
        assert_eq!(split.molecule(i).unwrap().num_atoms(), split.num_points(i % 515).unwrap());
    }
    let growth = anonymous_memory().saturating_sub(before);
    assert!(growth < 24 << 10, "{growth} kB for a million molecules");
}
