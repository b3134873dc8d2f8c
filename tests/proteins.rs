//! Training on protein chains and sampling backbones, as users do it.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Finished, SAMPLE, TRAIN, inspect, python, root, run};
use qsd::bio::{self, Format};
use qsd::data::Dataset;

const TINY: &str = "tests/fixtures/train/protein.yaml";
const DATA: &str = env!("CARGO_BIN_EXE_qsd-data");
const EVAL: &str = env!("CARGO_BIN_EXE_qsd-eval");

/// Trains the tiny protein network.
fn train(ranks: usize, folder: &Path, overrides: &[&str]) -> Finished {
    let dir = format!("run.dir={}", folder.display());
    run(ranks, TRAIN, &[&[TINY, &dir], overrides].concat())
}

/// Makes a data set of 24 chains of the embedded sample in `folder`, with made-up fold labels, as a user makes one; the
/// override that chooses it, and how much of the labels is told.
fn labelled(folder: &Path) -> [String; 2] {
    let structures = folder.join("structures");
    fs::create_dir_all(&structures).unwrap();
    let split = Dataset::open(&root().join("data/sample/proteins"), false).unwrap().split("train").unwrap();
    let chains = (0..split.len()).map(|i| split.chain(i).unwrap()).filter(|chain| chain.num_residues() <= 80);
    let mut table = String::new();
    for (i, chain) in chains.cycle().take(24).enumerate() {
        let (name, n) = (format!("1a{i:02}"), chain.num_residues());
        let positions = chain.points(0..n).unwrap();
        bio::save(&structures.join(format!("{name}.pdb")), Format::Pdb, &name, &positions, false).unwrap();
        table += &format!("{name}A00 v4_3_0 {}.10.{} 1-{n}:A\n", 1 + i % 2, 8 + i % 3);
    }
    let labels = folder.join("cath-b-newest-all");
    fs::write(&labels, table).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_string();
    let (out, labels, structures) = (text(&folder.join("shards")), text(&labels), text(&structures));
    let args = ["protein", "--out", &out, "--fractions", "0.7,0.3,0", "--labels", &labels, "--", &structures];
    run(0, DATA, &args).success();
    [format!("data.path={out}"), "data.fold_levels=[0.1,0.1,0.2,0.6]".into()]
}

/// Samples into the folder `out`.
fn sample(ranks: usize, checkpoint: &Path, out: &Path, more: &[&str]) -> Finished {
    let args = ["--checkpoint", checkpoint.to_str().unwrap(), "--out", out.to_str().unwrap()];
    run(ranks, SAMPLE, &[&args, more].concat())
}

/// The names and contents of a folder's files.
fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap())
    };
    let mut files: Vec<_> = entries.map(read).collect();
    files.sort();
    files
}

#[test]
fn chains_train_alike_on_any_number_of_processes_and_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = labelled(folder.path());
    let train = |ranks: usize, name: &str, more: &[&str]| {
        train(ranks, &path(name), &[&[&data[0][..], &data[1]], more].concat()).success();
        inspect(&path(name), "weights sha256")
    };
    let weights = train(0, "alone", &[]);
    assert_eq!(train(2, "two", &[]), weights, "two processes");
    train(0, "stopped", &["train.steps=7"]);
    assert_eq!(train(4, "stopped", &[]), weights, "stopped at 7, four processes");
    assert_ne!(train(0, "seed", &["seed=8"]), weights, "another seed");
    // What the configuration promises has its effect.
    for (name, change) in [
        ("folds", "data.fold_levels=[1,0,0,0]"),
        ("fed", "diffusion.self_conditioning=0"),
        ("turned", "diffusion.rotate=false"),
        ("treated", "diffusion.treatment=conventional"),
        ("cropped", "data={max_points: 40, long_chains: crop}"),
    ] {
        assert_ne!(train(0, name, &[change]), weights, "{change}");
    }
}

#[test]
fn both_engines_and_networks_learn_chains() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let falls = |name: &str, recipe: &str, overrides: &[&str]| {
        let dir = format!("run.dir={}", path(name).display());
        let options = [recipe, &dir, "train.steps=120", "validation.every=20", "log.every=20"];
        run(0, TRAIN, &[&options, overrides].concat()).success();
        let text = fs::read_to_string(path(name).join("metrics.jsonl")).unwrap();
        let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let losses: Vec<f64> = records.filter_map(|record| record["val/loss"].as_f64()).collect();
        assert_eq!(losses.len(), 6, "{text}");
        assert!(losses[5] < 0.8 * losses[0], "{name}: {losses:?}");
        losses
    };
    let [fused, plain] = ["fused", "plain"].map(|engine| falls(engine, TINY, &[&format!("compute.engine={engine}")]));
    for (a, b) in fused.iter().zip(&plain) {
        assert!((a / b - 1.0).abs() < 1e-2, "{fused:?} {plain:?}");
    }
    falls("et", "tests/fixtures/train/protein-et.yaml", &[]);
    sample(0, &path("et"), &path("backbones"), &["--length", "40", "--num", "1"]).success();
}

#[test]
fn pair_updates_train_with_their_distogram() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let updates = ["model.pair_updates={every: 1, triangles: true}", "train.steps=6", "compute.engine=plain"];
    let first_loss = |name: &str| {
        let text = fs::read_to_string(path(name).join("metrics.jsonl")).unwrap();
        let record: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        record["train/loss"].as_f64().unwrap()
    };
    train(0, &path("alone"), &updates).success();
    train(2, &path("two"), &updates).success();
    assert_eq!(inspect(&path("alone"), "weights sha256"), inspect(&path("two"), "weights sha256"));
    train(0, &path("without"), &updates[1..]).success();
    // A distogram that knows nothing costs ln 64 = 4.2 for each chain with t > 0.3, most of them.
    let more = first_loss("alone") - first_loss("without");
    assert!((1.5..4.5).contains(&more), "{more}");
}

#[test]
fn the_same_backbones_from_any_number_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = labelled(folder.path());
    train(0, &path("run"), &[&data[0], &data[1]]).success();
    let lengths = ["--length", "40,33", "--num", "3"];
    let said = sample(0, &path("run"), &path("a"), &[&lengths[..], &["--format", "both"]].concat()).success().stderr;
    assert!(said.contains("6 backbones of 2 lengths"), "{said}");
    let alone = files(&path("a"));
    assert_eq!(alone.len(), 12);
    assert_eq!(alone[1].0, "length-33-0000.pdb");
    assert_eq!(alone[1].1.lines().filter(|line| line.starts_with("ATOM")).count(), 33);
    let more = [&lengths[..], &["--format", "both", "--batch-points", "50"]].concat();
    sample(2, &path("run"), &path("b"), &more).success();
    assert_eq!(files(&path("b")), alone, "two processes, other batches");
    sample(0, &path("run"), &path("c"), &["--length", "33", "--num", "1"]).success();
    assert_eq!(files(&path("c"))[0], alone[1], "a sample depends on its length and number alone");

    let script = root().join("tests/python/measure_backbones.py");
    let names = alone.iter().map(|(name, _)| path("a").join(name));
    let output = Command::new(python()).arg(script).args(names).output().unwrap();
    let measured: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(measured.as_array().map(Vec::len), Some(12), "gemmi and biotite read every file: {measured}");
    let shown = run(0, EVAL, &["backbones", path("a").to_str().unwrap()]).success().stdout;
    let heads: Vec<&str> = shown.lines().filter_map(|line| line.strip_prefix("| samples, ")).collect();
    assert_eq!(heads.len(), 3, "all, 33 and 40: {shown}");
    assert!(heads[0].starts_with("all |      6 |"), "{shown}");
    assert!(shown.contains("6 files left out"), "of two formats one is read: {shown}");

    let folded = |name: &str, more: &[&str]| {
        sample(0, &path("run"), &path(name), &[&["--length", "33", "--num", "1"], more].concat()).success();
        files(&path(name))[0].1.clone()
    };
    let plain = &alone[1].1;
    let code = fold_code(&path("run"));
    let atoms = |text: &str| text.lines().filter(|line| line.starts_with("ATOM")).collect::<Vec<_>>().join("\n");
    for (name, more) in [
        ("seed", &["--seed", "1"][..]),
        ("gamma", &["--gamma", "0.2"]),
        ("ode", &["sampler.kind=ode"]),
        ("cath", &["--cath", &code]),
    ] {
        assert_ne!(atoms(&folded(name, more)), atoms(plain), "{name}");
    }
    // Guidance leads away from the unconditional prediction, which without a class is the prediction itself.
    assert_eq!(atoms(&folded("guided", &["sampler.guidance=1.5"])), atoms(plain));
    let cath = atoms(&folded("cath2", &["--cath", &code, "sampler.guidance=2"]));
    assert_ne!(cath, atoms(&files(&path("cath"))[0].1));
    let itself = path("run").display().to_string();
    let guide = ["--autoguide", &itself, "sampler.guidance=2", "sampler.autoguidance=1", "--cath", &code];
    assert_eq!(atoms(&folded("auto", &guide)), atoms(&files(&path("cath"))[0].1), "its own guide leads nowhere");
}

#[test]
fn backbones_as_long_as_a_data_sets_chains() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(0, &path("run"), &["train.steps=1"]).success();
    let draw = |ranks: usize, name: &str, more: &[&str]| {
        let data = ["--data", "data/sample/proteins", "--limit", "3"];
        sample(ranks, &path("run"), &path(name), &[&data, more].concat()).success();
        files(&path(name))
    };
    let split = Dataset::open(&root().join("data/sample/proteins"), false).unwrap().split("test").unwrap();
    let found = draw(0, "a", &[]);
    for (i, (name, content)) in found.iter().enumerate() {
        let n = split.num_points(i).unwrap();
        assert_eq!(name, &format!("record-{i:06}-length-{n}-0000.pdb"));
        assert_eq!(content.lines().filter(|line| line.starts_with("ATOM")).count(), n);
    }
    assert_eq!(found.len(), 3);
    let more = draw(2, "b", &["--num", "2"]);
    assert_eq!(more.len(), 6);
    assert!(found.iter().all(|file| more.contains(file)), "samples do not depend on what else is drawn");
    sample(0, &path("run"), &path("x"), &["--data", "data/sample/qm9"]).failure(4, &["trained on chains", "molecules"]);
}

/// A class of the level T that the checkpoint knows.
fn fold_code(run: &Path) -> String {
    let latest = fs::read_to_string(run.join("checkpoints/latest")).unwrap();
    let state = fs::read_to_string(run.join("checkpoints").join(latest.trim()).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    state["folds"]["levels"][2][0].as_str().unwrap().to_string()
}

#[test]
fn mistakes_about_chains_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let data = labelled(folder.path());
    let told = [&data[0][..], &data[1], "train.steps=1"];
    train(0, &path("run"), &told).success();
    let refused = |more: &[&str], code: i32, words: &[&str]| {
        sample(0, &path("run"), &path("out"), more).failure(code, words);
    };
    refused(&["--length", "0"], 2, &["--length 0"]);
    refused(&["--length", "20000"], 2, &["--length 20000"]);
    refused(&["--length", "40,50,40"], 2, &["--length 40", "twice"]);
    refused(&["--length", "40", "--cath", "9.9.9"], 2, &["--cath 9.9.9", "unknown"]);
    refused(&["--length", "40", "--cath", "helix"], 2, &["--cath helix"]);
    refused(&["--length", "40", "sampler.autoguidance=0.5"], 2, &["--autoguide"]);
    let itself = path("run").display().to_string();
    refused(&["--length", "40", "--autoguide", &itself], 2, &["--autoguide", "no effect"]);
    refused(&["--length", "40", "--autoguide", &itself, "sampler.autoguidance=1"], 2, &["--autoguide", "no effect"]);
    refused(&["--input", "data/sample/quickstart.smi"], 4, &["--length"]);
    assert!(!path("out").exists());
    fs::create_dir(path("out")).unwrap();
    fs::write(path("out/length-40-0000.pdb"), "precious").unwrap();
    refused(&["--length", "40"], 2, &["--overwrite"]);
    assert_eq!(fs::read_to_string(path("out/length-40-0000.pdb")).unwrap(), "precious");

    train(0, &path("a"), &["data.path=data/sample/qm9"]).failure(2, &["model.kind", "chains"]);
    train(0, &path("b"), &[&told[..], &["model.fold_classes=[1,1,1]"]].concat()).failure(2, &["model.fold_classes"]);
    train(0, &path("c"), &[&data[1]]).failure(2, &["data.fold_levels", "no fold labels"]);
    train(0, &path("untold"), &["train.steps=1"]).success();
    let untold = ["--length", "40", "--cath", "1.10.8"];
    sample(0, &path("untold"), &path("y"), &untold).failure(2, &["--cath", "without fold classes"]);
    common::train(0, &path("molecules"), &["train.steps=1"]).success();
    sample(0, &path("molecules"), &path("x"), &["--length", "40"]).failure(4, &["--input"]);
}
