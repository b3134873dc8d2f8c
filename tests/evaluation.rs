//! Evaluation of a run while it trains: the same numbers whoever computes them, none of which training notices.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Finished, SAMPLE, TRAIN, command, finish, inspect, python, root, run, wait_for};
use qsd::chem::{Record, sdf};
use qsd::data::Dataset;
use serde_json::Value;

const MOLECULES: &str = "tests/fixtures/train/tiny.yaml";
const CHAINS: &str = "tests/fixtures/train/protein.yaml";
/// An evaluation of a few molecules or chains that takes no time.
const SMALL: [&str; 3] =
    ["evaluation={every: 10, samples: 5, max_conformers: 3, steps: 5}", "train.steps=20", "log.every=1"];

/// Trains a tiny network in `folder`.
fn train(ranks: usize, recipe: &str, folder: &Path, overrides: &[&str]) -> Finished {
    let dir = format!("run.dir={}", folder.display());
    run(ranks, TRAIN, &[&[recipe, &dir], overrides].concat())
}

/// What the log says of evaluations: the step, and each value to the last bit.
fn evaluations(folder: &Path) -> Vec<(u64, Vec<(String, u64)>)> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of = |record: Value| {
        let values = record.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("eval/"));
        let values: Vec<_> = values.map(|(name, value)| (name.clone(), value.as_f64().unwrap().to_bits())).collect();
        (record["step"].as_u64().unwrap(), values)
    };
    records.map(of).filter(|(_, values)| !values.is_empty()).collect()
}

fn value(evaluation: &(u64, Vec<(String, u64)>), name: &str) -> f64 {
    let found = evaluation.1.iter().find(|(other, _)| other == name);
    f64::from_bits(found.unwrap_or_else(|| panic!("no {name} in {evaluation:?}")).1)
}

#[test]
fn the_same_values_whoever_computes_them_and_no_other_weights() {
    for recipe in [MOLECULES, CHAINS] {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        train(0, recipe, &path("without"), &["train.steps=20"]).success();
        let weights = inspect(&path("without"), "weights sha256");
        assert!(evaluations(&path("without")).is_empty());
        let said = train(0, recipe, &path("alone"), &SMALL).success().stderr;
        assert!(said.contains("step 10: evaluation of") && said.contains("step 20: evaluation of"), "{said}");
        let alone = evaluations(&path("alone"));
        assert_eq!(alone.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [10, 20]);
        assert_ne!(alone[0].1, alone[1].1, "the weights have changed");
        for (name, ranks, more) in [
            ("one", 1, "run.threads=3"),
            ("two", 2, "evaluation.batch_points=100"),
            ("four", 4, "evaluation.batch_points=1"),
            ("pictures", 0, "evaluation.pictures=0"),
        ] {
            train(ranks, recipe, &path(name), &[&SMALL[..], &[more]].concat()).success();
            assert_eq!(evaluations(&path(name)), alone, "{ranks} processes, {more}");
            let pictures = fs::read_dir(path(name).join("tensorboard")).unwrap().any(|entry| {
                let bytes = fs::read(entry.unwrap().path()).unwrap();
                bytes.windows(8).any(|bytes| bytes == b"\x89PNG\r\n\x1a\n")
            });
            assert_eq!(pictures, name != "pictures");
            assert_eq!(inspect(&path(name), "weights sha256"), weights, "{name}");
        }
        for (name, more) in [
            ("seed", "seed=8"),
            ("steps", "evaluation.steps=4"),
            ("split", "evaluation.split=test"),
            ("sampler", "sampler.grid=power"),
        ] {
            train(0, recipe, &path(name), &[&SMALL[..], &[more]].concat()).success();
            assert_ne!(evaluations(&path(name))[0].1, alone[0].1, "{more}");
        }
    }
}

#[test]
fn noise_never_changes() {
    let folder = tempfile::tempdir().unwrap();
    // Steps too small to change a weight.
    let still = ["schedule.peak=1e-30", "schedule.min=1e-30"];
    train(0, MOLECULES, folder.path(), &[&SMALL[..], &still].concat()).success();
    let found = evaluations(folder.path());
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].1, found[1].1);
}

/// The curve's points are what a user gets who draws the same samples and compares them with RDKit.
#[test]
fn values_are_those_of_the_samples_by_rdkit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let wanted = "evaluation={every: 300, samples: 8, max_conformers: 1000, per_conformer: 2, threshold: 1.0}";
    let longer = ["train.steps=300", "schedule.peak=5e-3", "schedule.cycle=300", "sampler.steps=10"];
    train(0, MOLECULES, &path("run"), &[&longer[..], &[wanted]].concat()).success();
    let found = evaluations(&path("run")).pop().unwrap();

    let val = Dataset::open(&root().join("data/sample/qm9"), false).unwrap().split("val").unwrap();
    let mut references = fs::File::create(path("references.sdf")).unwrap();
    for reference in (0..8).map(|i| val.molecule(i).unwrap()) {
        for c in 0..reference.num_conformers() {
            let (name, molecule) = (reference.key().to_string(), reference.molecule().clone());
            let record = Record { name, molecule, positions: reference.conformer(c).unwrap(), properties: Vec::new() };
            sdf::write_record(&mut references, &record).unwrap();
        }
    }
    let text = |name: &str| path(name).to_str().unwrap().to_string();
    let (checkpoint, references, out) = (text("run"), text("references.sdf"), text("generated.sdf"));
    let args = ["--data", "data/sample/qm9", "--split", "val", "--limit", "8", "--seed", "7"];
    run(0, SAMPLE, &[&args[..], &["--checkpoint", &checkpoint, "--out", &out]].concat()).success();
    let script = root().join("tests/python/compare_ensembles.py");
    let output = Command::new(python()).arg(script).args([&references, &out, "1.0"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, tolerance) in
        [("cov_recall", 1e-12), ("cov_precision", 1e-12), ("amr_recall", 2e-4), ("amr_precision", 2e-4)]
    {
        let (found, expected) = (value(&found, &format!("eval/{name}")), expected[name].as_f64().unwrap());
        assert!((found - expected).abs() < tolerance, "{name}: {found}, RDKit {expected}");
        assert!(expected > 0.0 && expected < 2.0 && (expected < 1.0 || name.starts_with("amr")), "{name} {expected}");
    }
}

/// What TensorBoard shows of a run.
fn shown(folder: &Path) -> Value {
    let script = root().join("tests/python/read_events.py");
    let read = Command::new(python()).arg(script).arg(folder.join("tensorboard")).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

#[test]
fn tensorboard_shows_values_pictures_and_distributions() {
    for (recipe, picture, histogram, size) in
        [(MOLECULES, "eval/conformers", "eval/rmsd", [1024, 512]), (CHAINS, "eval/backbones", "eval/ca_ca", [768, 256])]
    {
        let folder = tempfile::tempdir().unwrap();
        train(2, recipe, folder.path(), &[&SMALL[..], &["data.max_points=80"]].concat()).success();
        let shown = &shown(folder.path())["python"];
        let logged = evaluations(folder.path());
        for (k, (name, _)) in logged[0].1.iter().enumerate() {
            let events = shown[name]["events"].as_array().unwrap_or_else(|| panic!("no {name} in TensorBoard"));
            let seen: Vec<(u64, f32)> =
                events.iter().map(|event| (event[0].as_u64().unwrap(), event[2].as_f64().unwrap() as f32)).collect();
            let expected = logged.iter().map(|(step, values)| (*step, f64::from_bits(values[k].1) as f32));
            assert!(expected.eq(seen.iter().copied()), "{name}: {seen:?}");
        }
        let images = &shown[picture];
        assert_eq!(images["plugin"], "images");
        for (k, step) in [10, 20].into_iter().enumerate() {
            let event = &images["events"][k];
            assert_eq!((event[0].as_u64(), &event[2][0], &event[2][1]), (Some(step), &size[0].into(), &size[1].into()));
            assert!(event[2][2].as_str().unwrap().starts_with("89504E470D0A1A0A"), "a PNG file");
        }
        assert_ne!(images["events"][0][2], images["events"][1][2], "other weights, other samples");
        let bins = shown[histogram]["events"][1][2].as_array().unwrap();
        let count: f64 = bins.iter().map(|bin| bin[2].as_f64().unwrap()).sum();
        assert_eq!(count, expected_count(recipe), "{histogram}");
    }
}

/// How many numbers the histogram of [`SMALL`] has: samples of molecules, pairs of neighbours in chains.
fn expected_count(recipe: &str) -> f64 {
    let partition = if recipe == MOLECULES { "qm9" } else { "proteins" };
    let val = Dataset::open(&root().join("data/sample").join(partition), false).unwrap().split("val").unwrap();
    let count = match recipe == MOLECULES {
        true => (0..5).map(|i| 2 * val.molecule(i).unwrap().num_conformers().min(3)).sum::<usize>(),
        false => {
            let lengths = (0..val.len()).map(|i| val.num_points(i).unwrap()).filter(|&n| n <= 80).take(5);
            lengths.map(|n| 2 * (n - 1)).sum()
        }
    };
    count as f64
}

/// An evaluation that would take hours is given up at a signal, and made up for when the run goes on.
#[test]
fn a_signal_during_an_evaluation_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let small = "evaluation={every: 2, samples: 5, max_conformers: 3, steps: 5}";
    for (ranks, end) in [(0, 2), (2, 2), (0, 5)] {
        let (name, whole) = (path(&format!("{ranks}-{end}")), path(&format!("whole-{ranks}-{end}")));
        let (dir, steps) = (format!("run.dir={}", name.display()), format!("train.steps={end}"));
        let long = "evaluation={every: 2, samples: 60, steps: 1000000}";
        let child = command(ranks, TRAIN, &[MOLECULES, &dir, "log.every=1", &steps, long]).spawn().unwrap();
        let log = name.join("metrics.jsonl");
        wait_for("the first step", || fs::read_to_string(&log).is_ok_and(|text| text.lines().count() >= 1));
        // Time to reach the evaluation; a signal before it would find the same.
        std::thread::sleep(std::time::Duration::from_secs(2));
        // SAFETY: sends a signal to a process that this test started.
        unsafe { libc::kill(child.id() as i32, libc::SIGUSR1) };
        let stopped = finish(child);
        assert_eq!(stopped.code, 75, "{}", stopped.stderr);
        assert_eq!(inspect(&name, "step"), "2");
        assert!(evaluations(&name).is_empty());

        train(ranks, MOLECULES, &name, &["log.every=1", &steps, small]).success();
        train(0, MOLECULES, &whole, &["log.every=1", &steps, small]).success();
        assert_eq!(evaluations(&name), evaluations(&whole), "what was owed was paid");
        assert_eq!(evaluations(&name).len(), if end == 2 { 1 } else { 3 });
        assert_eq!(inspect(&name, "weights sha256"), inspect(&whole, "weights sha256"));
        // Once is enough.
        train(0, MOLECULES, &name, &["log.every=1", &steps, small]).success();
        assert_eq!(evaluations(&name), evaluations(&whole));
    }
}

#[test]
fn a_resumed_run_has_the_curve_of_an_undisturbed_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let longer = [SMALL[0], "log.every=5", "train.steps=40"];
    train(0, MOLECULES, &path("whole"), &longer).success();
    // The section is no part of what is learnt, so that it may come later.
    train(0, MOLECULES, &path("run"), &["train.steps=10"]).success();
    train(2, MOLECULES, &path("run"), &[SMALL[0], "log.every=5", "train.steps=20"]).success();
    train(0, MOLECULES, &path("run"), &longer).success();
    let whole = evaluations(&path("whole"));
    assert_eq!(whole.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [10, 20, 30, 40]);
    assert_eq!(evaluations(&path("run")), whole[1..]);
    assert_eq!(inspect(&path("run"), "weights sha256"), inspect(&path("whole"), "weights sha256"));
}

#[test]
fn samples_that_are_not_finite_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    // One step that leaves weights beyond all use; the next would be refused.
    let wild = ["train.steps=1", "schedule.peak=1e30", "schedule.warmup=0", "clip.kind=none", "ema.decay=null"];
    let said = train(2, MOLECULES, folder.path(), &[&SMALL[..1], &wild].concat()).success().stderr;
    assert!(said.contains("samples are not finite"), "{said}");
    let found = evaluations(folder.path());
    assert_eq!(value(&found[0], "eval/non_finite"), 1.0);
    assert_eq!(found[0].1.len(), 1, "there is nothing else to tell: {found:?}");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |change: &str, code: i32, words: &[&str]| {
        train(0, MOLECULES, folder.path(), &["evaluation.every=10", change]).failure(code, words);
    };
    refused("evaluation.threshold=0", 2, &["evaluation.threshold", "above 0"]);
    refused("evaluation.threshold=-.inf", 2, &["evaluation.threshold"]);
    refused("evaluation.samples=0", 2, &["evaluation.samples", "at least 1"]);
    refused("evaluation.steps=0", 2, &["evaluation.steps", "at least 1"]);
    refused("evaluation.per_conformer=0", 2, &["evaluation.per_conformer"]);
    refused("evaluation.max_conformers=0", 2, &["evaluation.max_conformers"]);
    refused("evaluation.batch_points=0", 2, &["evaluation.batch_points"]);
    refused("evaluation.pictures=17", 2, &["evaluation.pictures", "16"]);
    refused("evaluation.split=vla", 3, &["no split \"vla\"", "test, train, val"]);
    refused("evaluation.step=3", 2, &["evaluation.steps"]);
    assert!(
        !folder.path().join("checkpoints").exists()
            || fs::read_dir(folder.path().join("checkpoints")).unwrap().count() == 0
    );
}
