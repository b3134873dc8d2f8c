//! `qsd-train` as its users run it: alone and under mpirun, stopped, resumed, and fed with mistakes.

mod common;

use std::fs;
use std::path::Path;

use common::{TRAIN, command, finish, inspect, run, train, wait_for};

/// The hash of the weights after 40 undisturbed steps of the tiny model on one process.
fn undisturbed(folder: &Path) -> String {
    train(0, folder, &[]).success();
    inspect(folder, "weights sha256")
}

#[test]
fn any_number_of_processes_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let alone = undisturbed(&folder.path().join("0"));
    for ranks in [1, 2, 4, 8] {
        let path = folder.path().join(ranks.to_string());
        train(ranks, &path, &[]).success();
        assert_eq!(inspect(&path, "weights sha256"), alone, "{ranks} processes");
        assert_eq!(inspect(&path, "world size"), ranks.to_string());
    }
    let threads = folder.path().join("threads");
    train(0, &threads, &["run.threads=3"]).success();
    assert_eq!(inspect(&threads, "weights sha256"), alone, "3 threads");
    let seed = folder.path().join("seed");
    train(0, &seed, &["seed=8"]).success();
    assert_ne!(inspect(&seed, "weights sha256"), alone, "another seed must give other weights");
}

#[test]
fn a_resumed_run_equals_an_undisturbed_one_also_on_other_numbers_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let whole = undisturbed(&folder.path().join("whole"));
    for (first, second, stop) in [(2, 4, 20), (4, 1, 7), (0, 2, 33)] {
        let path = folder.path().join(format!("{first}-{second}"));
        train(first, &path, &[&format!("train.steps={stop}")]).success();
        assert_eq!(inspect(&path, "step"), stop.to_string());
        let resumed = train(second, &path, &[]).success();
        assert!(resumed.stderr.contains("resuming from"), "{}", resumed.stderr);
        assert_eq!(inspect(&path, "weights sha256"), whole, "{first} processes to step {stop}, then {second}");
        let records = fs::read_to_string(path.join("metrics.jsonl")).unwrap();
        let steps: Vec<u64> = records
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
            .collect();
        assert!(steps.is_sorted() && steps.contains(&40), "{steps:?}");
    }
}

#[test]
fn a_signal_stops_the_run_with_its_state_saved() {
    let folder = tempfile::tempdir().unwrap();
    let whole = undisturbed(&folder.path().join("whole"));
    for (name, signal, ranks) in [("TERM", libc::SIGTERM, 0), ("USR1", libc::SIGUSR1, 2), ("INT", libc::SIGINT, 0)] {
        let path = folder.path().join(name);
        let dir = format!("run.dir={}", path.display());
        let args = ["tests/fixtures/train/tiny.yaml", &dir, "checkpoint.every=1000", "log.every=1"];
        let child = command(ranks, TRAIN, &args).spawn().unwrap();
        let metrics = path.join("metrics.jsonl");
        wait_for("three steps", || fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= 3));
        let target = if ranks == 0 { child.id() } else { first_rank(child.id()) };
        // SAFETY: sends a signal to a process that this test started.
        unsafe { libc::kill(target as i32, signal) };
        let stopped = finish(child);
        if inspect(&path, "step") != "40" {
            assert_eq!(stopped.code, 75, "{}", stopped.stderr);
        }
        train(2, &path, &[]).success();
        assert_eq!(inspect(&path, "weights sha256"), whole, "SIG{name}");
    }
}

/// A child of mpirun: one of the ranks, to whom a batch system would send the signal.
fn first_rank(mpirun: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{mpirun}/task/{mpirun}/children")).unwrap();
    children.split_whitespace().next().expect("mpirun has started ranks").parse().unwrap()
}

#[test]
fn the_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    train(2, folder.path(), &["train.steps=150", "schedule.cycle=150", "schedule.peak=5e-3", "validation.every=25"])
        .success();
    let records = fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let losses: Vec<f64> = records
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["val/loss"].as_f64())
        .collect();
    assert_eq!(losses.len(), 6, "{records}");
    assert!(losses[5] < 0.8 * losses[0], "{losses:?}");
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let whole = undisturbed(&folder.path().join("whole"));
    let path = folder.path().join("damaged");
    train(0, &path, &["train.steps=30"]).success();
    let weights = path.join("checkpoints/step-000000030/weights.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let resumed = train(0, &path, &[]).success();
    assert!(resumed.stderr.contains("passed over") && resumed.stderr.contains("step-000000030"), "{}", resumed.stderr);
    assert!(resumed.stderr.contains("step-000000020"), "{}", resumed.stderr);
    assert_eq!(inspect(&path, "weights sha256"), whole);
}

#[test]
fn mistakes_end_with_one_clear_line_and_their_own_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let tiny = "tests/fixtures/train/tiny.yaml";
    run(0, TRAIN, &["no.yaml"]).failure(2, &["no.yaml"]);
    train(0, &path, &["train.step=3"]).failure(2, &["train.step", "train.steps"]);
    train(0, &path, &["train.steps=many"]).failure(2, &["train.steps", "many"]);
    train(0, &path, &["train.micro_shards=6"]).failure(2, &["train.micro_shards", "power of two"]);
    train(0, &path, &["model.heads=3"]).failure(2, &["hidden", "16", "heads"]);
    train(0, &path, &["data.path=/nowhere"]).failure(3, &["/nowhere"]);
    train(3, &path, &[]).failure(5, &["3 processes", "power of two"]);
    train(4, &path, &["train.micro_shards=2"]).failure(5, &["4 processes", "2 micro-shards"]);
    run(0, TRAIN, &["inspect", "/nowhere"]).failure(4, &["/nowhere"]);
    assert!(!path.join("checkpoints").exists());

    train(2, &path, &["schedule.peak=1e38", "clip.kind=none", "optimizer.epsilon=1e-30"])
        .failure(6, &["step", "not finite"]);
    let notes = fs::read_dir(&path)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("nonfinite-step-"));
    assert_eq!(notes.count(), 1);

    let trained = folder.path().join("trained");
    train(0, &trained, &["train.steps=2"]).success();
    train(0, &trained, &["diffusion.treatment=conventional"])
        .failure(4, &["diffusion.treatment", "quotient", "conventional"]);
    train(0, &trained, &["model.hidden=32"]).failure(4, &["hidden"]);
    let dir = format!("run.dir={}", trained.display());
    run(0, TRAIN, &[tiny, &dir, "--fresh"]).failure(2, &["--fresh"]);
}

#[test]
fn a_damaged_data_set_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for entry in fs::read_dir(common::root().join("data/sample/qm9")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
    }
    let shard = data.join("train-00000.arrow");
    let mut bytes = fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let path = format!("data.path={}", data.display());
    train(2, &folder.path().join("run"), &[&path]).failure(3, &["train-00000.arrow"]);
}

#[test]
fn one_folder_serves_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let dir = format!("run.dir={}", folder.path().display());
    let args = ["tests/fixtures/train/tiny.yaml", &dir, "train.steps=100000", "log.every=1"];
    let mut first = command(0, TRAIN, &args).spawn().unwrap();
    wait_for("the first run's steps", || folder.path().join("metrics.jsonl").exists());
    train(0, folder.path(), &[]).failure(2, &["another run", &format!("pid {}", first.id())]);
    first.kill().unwrap();
    first.wait().unwrap();
    train(0, folder.path(), &["train.steps=1"]).success();
}

#[test]
fn print_config_is_a_configuration_and_a_dry_run_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let dir_override = format!("run.dir={}", dir.display());
    let args = ["tests/fixtures/train/tiny.yaml", &dir_override, "--print-config"];
    let printed = run(2, TRAIN, &args).success().stdout;
    let copy = folder.path().join("copy.yaml");
    fs::write(&copy, &printed).unwrap();
    assert_eq!(run(0, TRAIN, &[copy.to_str().unwrap(), "--print-config"]).success().stdout, printed);
    let dry = run(2, TRAIN, &["tests/fixtures/train/tiny.yaml", &dir_override, "--dry-run"]).success().stdout;
    assert!(dry.contains("parameters") && dry.contains("molecules/s") && dry.contains("GiB"), "{dry}");
    assert!(!dir.exists());
}
