//! `qsd-sample` as its users run it: from a checkpoint to an SDF file that RDKit opens.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{SAMPLE, python, root, run, train};

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
