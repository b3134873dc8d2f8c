//! `qsd-sample` as its users run it: from a checkpoint to an SDF file that RDKit opens.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{SAMPLE, python, root, run, train};
use qsd::chem::{Record, sdf};
use qsd::data::Dataset;

const MOLECULES: &str =
    "# two that are fine, and two that are not\nCC(=O)O acetic acid\nnonsense(\nN#C\nC[U]C uranium\n";

/// Samples into `out`; `more` are further arguments.
fn sample(ranks: usize, checkpoint: &Path, input: &Path, out: &Path, more: &[&str]) -> common::Finished {
    let path = |path: &Path| path.to_str().unwrap().to_string();
    let (checkpoint, input, out) = (path(checkpoint), path(input), path(out));
    let mut args = vec!["--checkpoint", &checkpoint, "--input", &input, "--out", &out, "sampler.steps=5"];
    args.extend(more);
    run(ranks, SAMPLE, &args)
}

#[test]
fn the_same_conformers_from_any_number_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(0, &path("run"), &["train.steps=2", "model.max_z=90"]).success();
    fs::write(path("in.smi"), MOLECULES).unwrap();

    let said = sample(0, &path("run"), &path("in.smi"), &path("a.sdf"), &["--num", "3"]).success().stderr;
    assert!(said.contains("in.smi:3:") && said.contains("record 4: uranium"), "{said}");
    let alone = fs::read_to_string(path("a.sdf")).unwrap();
    assert_eq!(alone.matches("$$$$").count(), 6);

    let said = sample(2, &path("run"), &path("in.smi"), &path("b.sdf"), &["--num", "3", "--batch-atoms", "9"])
        .success()
        .stderr;
    assert_eq!(said.matches("uranium").count(), 1, "one process speaks: {said}");
    assert_eq!(fs::read_to_string(path("b.sdf")).unwrap(), alone, "two processes, other batches");
    sample(0, &path("run"), &path("in.smi"), &path("c.sdf"), &["--num", "3", "--seed", "1"]).success();
    assert_ne!(fs::read_to_string(path("c.sdf")).unwrap(), alone, "another seed");

    // What was written is input again.
    sample(0, &path("run"), &path("a.sdf"), &path("d.sdf"), &["--num", "1"]).success();
    assert_eq!(fs::read_to_string(path("d.sdf")).unwrap().matches("$$$$").count(), 6);

    let check = root().join("tests/python/check_sdf.py");
    let output = Command::new(python()).arg(check).arg(path("a.sdf")).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["records"].as_u64(), report["unread"].as_u64()), (Some(6), Some(0)), "{report}");
}

#[test]
fn mistakes_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(0, &path("run"), &["train.steps=1"]).success();
    fs::write(path("in.smi"), "CCO\n").unwrap();
    fs::write(path("bad.smi"), "nonsense(\n").unwrap();

    sample(0, &path("nowhere"), &path("in.smi"), &path("x.sdf"), &[]).failure(4, &["nowhere"]);
    sample(0, &path("run"), &path("missing.smi"), &path("x.sdf"), &[]).failure(7, &["missing.smi"]);
    sample(2, &path("run"), &path("bad.smi"), &path("x.sdf"), &[]).failure(3, &["bad.smi"]);
    sample(0, &path("run"), &path("run"), &path("x.sdf"), &[]).failure(3, &["unknown ending"]);
    sample(0, &path("run"), &path("in.smi"), &path("x.sdf"), &["model.layers=3"]).failure(2, &["model.layers"]);
    sample(0, &path("run"), &path("in.smi"), &path("x.sdf"), &["sampler.step=3"]).failure(2, &["sampler.steps"]);
    sample(0, &path("run"), &path("in.smi"), &path("x.sdf"), &["--num", "0"]).failure(2, &["--num"]);
    let sdf = |entry: fs::DirEntry| entry.file_name().to_string_lossy().contains("x.sdf");
    assert!(!fs::read_dir(folder.path()).unwrap().any(|entry| sdf(entry.unwrap())));

    fs::write(path("x.sdf"), "precious").unwrap();
    sample(0, &path("run"), &path("in.smi"), &path("x.sdf"), &[]).failure(2, &["--overwrite"]);
    assert_eq!(fs::read_to_string(path("x.sdf")).unwrap(), "precious");
    sample(0, &path("run"), &path("in.smi"), &path("x.sdf"), &["--overwrite"]).success();
}

/// Samples the embedded sample of a partition into `out`; `more` are further arguments.
fn sample_data(ranks: usize, checkpoint: &Path, partition: &str, out: &Path, more: &[&str]) -> common::Finished {
    let data = format!("data/sample/{partition}");
    let (checkpoint, out) = (checkpoint.to_str().unwrap(), out.to_str().unwrap());
    let args = ["--checkpoint", checkpoint, "--data", &data, "--out", out, "sampler.steps=3"];
    run(ranks, SAMPLE, &[&args, more].concat())
}

fn records(path: &Path) -> Vec<Record> {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    sdf::Reader::new(file, path).collect::<qsd::Result<_>>().unwrap()
}

fn property<'a>(record: &'a Record, name: &str) -> &'a str {
    &record.properties.iter().find(|(other, _)| other == name).unwrap().1
}

/// 2K samples of each molecule with K conformers, under the data set's key.
#[test]
fn a_data_sets_molecules_are_drawn_for_comparison_with_its_conformers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(0, &path("run"), &["train.steps=2", "model.max_z=90"]).success();
    let draw = |ranks: usize, name: &str, more: &[&str]| {
        let said = sample_data(ranks, &path("run"), "qm9", &path(name), more).success().stderr;
        assert!(!said.contains("skipped"), "{said}");
        records(&path(name))
    };
    let all = draw(0, "all.sdf", &["--limit", "6"]);
    let split = Dataset::open(&root().join("data/sample/qm9"), true).unwrap().split("test").unwrap();
    let mut rest = &all[..];
    let mut counts = std::collections::BTreeSet::new();
    for i in 0..6 {
        let reference = split.molecule(i).unwrap();
        let (mine, others) = rest.split_at(2 * reference.num_conformers());
        rest = others;
        counts.insert(mine.len());
        for (number, record) in mine.iter().enumerate() {
            assert_eq!(record.name, reference.key());
            assert_eq!(property(record, "SMILES"), reference.key());
            assert_eq!(property(record, "qsd_sample"), number.to_string());
            assert_eq!(record.molecule.atoms.len(), reference.num_atoms());
            let ends = |bond: &qsd::chem::Bond| (bond.begin.min(bond.end), bond.begin.max(bond.end));
            let bonds = |bonds: &[qsd::chem::Bond]| bonds.iter().map(ends).collect::<std::collections::BTreeSet<_>>();
            assert_eq!(bonds(&record.molecule.bonds), bonds(&reference.molecule().bonds));
            let elements = record.molecule.atoms.iter().map(|atom| atom.atomic_number);
            assert!(elements.eq(reference.molecule().atoms.iter().map(|atom| atom.atomic_number)), "order of atoms");
        }
    }
    assert!(rest.is_empty() && counts.len() > 1, "{} left, counts {counts:?}", rest.len());

    let bytes = |name: &str| fs::read(path(name)).unwrap();
    draw(2, "two.sdf", &["--limit", "6", "--batch-points", "30"]);
    assert!(bytes("two.sdf") == bytes("all.sdf"), "two processes, other batches");
    draw(0, "few.sdf", &["--limit", "2"]);
    assert!(bytes("all.sdf").starts_with(&bytes("few.sdf")), "a limit changes nothing else");
    let number = |record: &Record| property(record, "qsd_sample").parse::<usize>().unwrap();
    let conformers = |record: &Record| {
        let mut references = (0..6).map(|i| split.molecule(i).unwrap());
        references.find(|reference| reference.key() == record.name).unwrap().num_conformers()
    };
    let found = draw(0, "one.sdf", &["--limit", "6", "--per-conformer", "1"]);
    assert!(found.iter().eq(all.iter().filter(|record| number(record) < conformers(record))));
    let found = draw(0, "num.sdf", &["--limit", "6", "--num", "3"]);
    assert!(found.len() == 18 && all.iter().filter(|record| number(record) < 3).all(|record| found.contains(record)));
    let other = draw(0, "val.sdf", &["--limit", "1", "--split", "val"]);
    assert_ne!(other[0].name, all[0].name);
}

#[test]
fn mistakes_about_data_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(0, &path("run"), &["train.steps=1"]).success();
    let refused = |partition: &str, more: &[&str], code: i32, words: &[&str]| {
        sample_data(2, &path("run"), partition, &path("x.sdf"), more).failure(code, words);
    };
    refused("qm9", &["--split", "tset"], 3, &["no split \"tset\"", "test, train, val"]);
    refused("proteins", &[], 4, &["trained on molecules", "proteins holds chains"]);
    refused("nowhere", &[], 3, &["nowhere", "manifest.json"]);
    refused("qm9", &["--cath", "1.10"], 2, &["--cath", "molecules"]);
    for wrong in [
        &["--limit", "0"][..],
        &["--per-conformer", "0"],
        &["--per-conformer", "2", "--num", "2"],
        &["--input", "in.smi"],
        &["--length", "40"],
    ] {
        refused("qm9", wrong, 2, &[wrong[0]]);
    }
    for option in [["--limit", "3"], ["--split", "val"], ["--per-conformer", "1"]] {
        sample(0, &path("run"), &path("in.smi"), &path("x.sdf"), &option).failure(2, &[option[0], "--input"]);
    }
    assert!(!path("x.sdf").exists());

    // The network knows H, C and N: what holds more is left out.
    let small = path("small");
    let data = few_elements(&path("hcn"));
    train(0, &small, &["train.steps=1", "model.max_z=8", &data]).success();
    let said = sample_data(0, &small, "qm9", &path("y.sdf"), &["--limit", "20"]).success().stderr;
    assert!(said.contains("skipped: split test: record") && said.contains("atomic number 8"), "{said}");
    assert!(records(&path("y.sdf")).iter().all(|record| record.molecule.atoms.iter().all(|a| a.atomic_number < 8)));
    sample_data(0, &small, "drugs", &path("z.sdf"), &["--limit", "1"]).failure(3, &["no molecule that can be sampled"]);
}

/// Makes a data set of a few molecules of H, C and N; the override that chooses it.
fn few_elements(folder: &Path) -> String {
    fs::create_dir(folder).unwrap();
    let sdf = folder.join("in.sdf");
    let mut file = fs::File::create(&sdf).unwrap();
    let train = Dataset::open(&root().join("data/sample/qm9"), false).unwrap().split("train").unwrap();
    let known = (0..train.len()).map(|i| train.molecule(i).unwrap());
    let known = known.filter(|record| record.molecule().atoms.iter().all(|atom| atom.atomic_number < 8));
    for (k, record) in known.take(20).enumerate() {
        let (molecule, positions) = (record.molecule().clone(), record.conformer(0).unwrap());
        let record = Record { name: format!("molecule {k}"), molecule, positions, properties: Vec::new() };
        sdf::write_record(&mut file, &record).unwrap();
    }
    let out = folder.join("shards");
    let args = ["import", "--out", out.to_str().unwrap(), "--fractions", "0.6,0.2,0.2", sdf.to_str().unwrap()];
    run(0, env!("CARGO_BIN_EXE_qsd-data"), &args).success();
    format!("data.path={}", out.display())
}
