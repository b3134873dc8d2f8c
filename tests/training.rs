//! `qsd-train` as its users run it: alone and under mpirun, stopped, resumed, and fed with mistakes.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

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

/// Each process updates a part of the moments and of the average; a checkpoint holds all, though no validation gathered
/// them before.
#[test]
fn a_checkpoint_is_whole_whoever_updated_what() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["validation.every=0", "train.steps=10"];
    let alone = folder.path().join("0");
    train(0, &alone, &options).success();
    let parameters: usize = inspect(&alone, "parameters").replace(',', "").parse().unwrap();
    assert!(parameters > 2 * qsd::train::BLOCK, "{parameters} parameters: too few for three parts");
    for ranks in [2, 4] {
        let path = folder.path().join(ranks.to_string());
        train(ranks, &path, &options).success();
        assert_same_state(&path, &alone, &format!("{ranks} processes"));
    }
}

/// Everything that the newest checkpoint holds, but for the number of processes that wrote it.
fn contents(run: &Path) -> Vec<(String, Vec<u8>)> {
    let checkpoints = run.join("checkpoints");
    let latest = fs::read_to_string(checkpoints.join("latest")).unwrap();
    let folder = checkpoints.join(latest.trim());
    let mut files: Vec<_> = ["weights.safetensors", "ema.safetensors", "optimizer.safetensors"]
        .map(|name| (name.to_string(), fs::read(folder.join(name)).unwrap()))
        .into();
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("state.json")).unwrap()).unwrap();
    for (section, key) in [("config", "run"), ("config", "train")] {
        state[section].as_object_mut().unwrap().remove(key).unwrap();
    }
    state.as_object_mut().unwrap().remove("world_size").unwrap();
    files.push(("state.json".into(), state.to_string().into_bytes()));
    files
}

/// Asserts that two runs ended in the same state, in every bit.
#[track_caller]
fn assert_same_state(a: &Path, b: &Path, what: &str) {
    for ((name, a), (_, b)) in contents(a).iter().zip(&contents(b)) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let shown = if name == "state.json" { format!("{}\n{}", text(a), text(b)) } else { String::new() };
        assert!(a == b, "{what}: {name} differs {shown}");
    }
}

/// The records of `metrics.jsonl`.
fn records(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The steps and training losses of `metrics.jsonl`.
fn losses(run: &Path) -> Vec<(u64, f64)> {
    let pair = |record: &serde_json::Value| (record["step"].as_u64().unwrap(), record["train/loss"].as_f64().unwrap());
    records(run).iter().map(pair).collect()
}

#[test]
fn a_resumed_run_equals_an_undisturbed_one_also_on_other_numbers_of_processes() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    train(0, &whole, &[]).success();
    for (first, second, stop) in [(2, 4, 20), (4, 1, 10), (0, 2, 35)] {
        let path = folder.path().join(format!("{first}-{second}"));
        train(first, &path, &[&format!("train.steps={stop}")]).success();
        assert_eq!(inspect(&path, "step"), stop.to_string());
        let resumed = train(second, &path, &[]).success();
        assert!(resumed.stderr.contains("resuming from"), "{}", resumed.stderr);
        assert_same_state(&path, &whole, &format!("{first} processes to step {stop}, then {second}"));
        assert_eq!(losses(&path), losses(&whole), "the log, too");
    }
}

#[test]
fn a_killed_run_goes_on_from_its_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, path) = (folder.path().join("whole"), folder.path().join("killed"));
    let dir = format!("run.dir={}", path.display());
    // Long enough to be killed between two checkpoints; the learning rate does not look at train.steps.
    let args = ["tests/fixtures/train/tiny.yaml", &dir, "log.every=1", "train.steps=1000000"];
    let mut child = command(0, TRAIN, &args).spawn().unwrap();
    // Checkpoints are written beside the steps, so that the log may be far ahead of the first.
    wait_for("13 steps and a checkpoint", || {
        let steps = fs::read_to_string(path.join("metrics.jsonl")).is_ok_and(|text| text.lines().count() >= 13);
        steps && path.join("checkpoints/latest").exists()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let reached: u64 = inspect(&path, "step").parse().unwrap();
    assert!(reached >= 10 && reached.is_multiple_of(10), "killed after the checkpoint of step {reached}");
    let end = format!("train.steps={}", reached + 25);
    train(0, &whole, &["log.every=1", &end]).success();
    train(2, &path, &["log.every=1", &end]).success();
    assert_same_state(&path, &whole, "killed");
    assert_eq!(losses(&path), losses(&whole), "each step once, with the same loss");
}

#[test]
fn a_signal_stops_the_run_with_its_state_saved() {
    let folder = tempfile::tempdir().unwrap();
    for (name, signal, ranks, to_mpirun) in [
        ("TERM", libc::SIGTERM, 0, false),
        ("USR1", libc::SIGUSR1, 2, false),
        ("INT", libc::SIGINT, 0, false),
        ("mpirun-USR1", libc::SIGUSR1, 2, true),
        ("mpirun-TERM", libc::SIGTERM, 2, true),
    ] {
        let path = folder.path().join(name);
        let dir = format!("run.dir={}", path.display());
        let args =
            ["tests/fixtures/train/tiny.yaml", &dir, "checkpoint.every=1000000", "log.every=1", "train.steps=1000000"];
        let child = command(ranks, TRAIN, &args).spawn().unwrap();
        let metrics = path.join("metrics.jsonl");
        wait_for("three steps", || fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= 3));
        let target = if ranks == 0 || to_mpirun { child.id() } else { first_rank(child.id()) };
        // SAFETY: sends a signal to a process that this test started.
        unsafe { libc::kill(target as i32, signal) };
        let stopped = finish(child);
        // mpirun ends with a code of its own when it was itself asked to stop.
        if !(to_mpirun && signal == libc::SIGTERM) {
            assert_eq!(stopped.code, 75, "{name}: {}", stopped.stderr);
        }
        let step: u64 = inspect(&path, "step").parse().unwrap();
        assert!(step >= 3, "{name}: saved at step {step}");
        let steps = format!("train.steps={}", step + 3);
        train(2, &path, &[&steps]).success();
        let whole = folder.path().join(format!("{name}-whole"));
        train(0, &whole, &[&steps]).success();
        assert_eq!(inspect(&path, "weights sha256"), inspect(&whole, "weights sha256"), "{name}");
    }
}

/// A child of mpirun: one of the ranks, to whom a batch system would send the signal.
fn first_rank(mpirun: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{mpirun}/task/{mpirun}/children")).unwrap();
    children.split_whitespace().next().expect("mpirun has started ranks").parse().unwrap()
}

#[test]
fn tensorboard_shows_what_the_log_says() {
    let folder = tempfile::tempdir().unwrap();
    train(2, folder.path(), &["train.steps=20"]).success();
    train(1, folder.path(), &[]).success();
    let script = common::root().join("tests/python/read_events.py");
    let read = Command::new(common::python()).arg(script).arg(folder.path().join("tensorboard")).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let shown: serde_json::Value = serde_json::from_slice(&read.stdout).unwrap();
    let records = records(folder.path());
    let names =
        ["train/loss", "train/horizontal", "train/vertical", "train/loss_t_0.4-0.6", "val/loss"].into_iter().chain([
            "optimizer/learning_rate",
            "optimizer/gradient_norm",
            "optimizer/clip_limit",
            "optimizer/clip_factor",
            "speed/molecules_per_second",
            "speed/atoms_per_second",
            "time/data_wait",
            "time/forward",
            "time/backward",
            "time/all_reduce",
            "time/optimizer",
            "time/checkpoint",
            "memory/resident_gib",
        ]);
    for name in names {
        let logged: Vec<(u64, f32)> = records
            .iter()
            .filter_map(|record| Some((record["step"].as_u64()?, record[name].as_f64()? as f32)))
            .collect();
        let events = shown["python"][name]["events"].as_array().unwrap_or_else(|| panic!("no {name} in TensorBoard"));
        let seen: Vec<(u64, f32)> =
            events.iter().map(|event| (event[0].as_u64().unwrap(), event[2].as_f64().unwrap() as f32)).collect();
        assert!(!logged.is_empty());
        assert_eq!(seen, logged, "{name}");
    }
}

#[test]
fn the_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    train(2, folder.path(), &["train.steps=150", "schedule.cycle=150", "schedule.peak=5e-3", "validation.every=25"])
        .success();
    let losses: Vec<f64> = records(folder.path()).iter().filter_map(|record| record["val/loss"].as_f64()).collect();
    assert_eq!(losses.len(), 6);
    assert!(losses[5] < 0.8 * losses[0], "{losses:?}");
}

/// The loss's curve is the same whatever computes it: to rounding in f32, to a per cent with bf16 products.
#[test]
fn engines_and_precisions_learn_alike() {
    let folder = tempfile::tempdir().unwrap();
    let curve = |name: &str, compute: &str| {
        let path = folder.path().join(name);
        let length = ["train.steps=60", "schedule.cycle=60", "schedule.peak=3e-3"];
        train(0, &path, &[&length[..], &["clip.kind=none", "log.every=1", compute]].concat()).success();
        losses(&path).into_iter().map(|(_, loss)| loss).collect::<Vec<f64>>()
    };
    let plain = curve("plain", "compute.engine=plain");
    assert_eq!(plain.len(), 60);
    let distances = |other: Vec<f64>| plain.iter().zip(other).map(|(a, b)| (a - b).abs() / a).collect::<Vec<f64>>();
    let largest = |distances: &[f64]| distances.iter().copied().fold(0.0, f64::max);
    let mean = |distances: &[f64]| distances.iter().sum::<f64>() / distances.len() as f64;
    let fused = distances(curve("fused", "compute.engine=fused"));
    let bf16 = distances(curve("bf16", "compute.precision=bf16"));
    println!(
        "| 60 steps of training, fused against plain f32: largest difference of a loss | | {:.1e} |",
        largest(&fused)
    );
    println!(
        "| 60 steps of training, bf16 products against plain f32: mean difference of a loss | | {:.1e} |",
        mean(&bf16)
    );
    assert!(largest(&fused) < 1e-4, "{fused:?}");
    // The loss of one batch differs by up to 3e-2 where the curve is steep.
    assert!(mean(&bf16) < 1e-2 && largest(&bf16) < 1e-1, "{bf16:?}");
    assert!(largest(&bf16) > 1e-4, "bf16 is not bf16: {bf16:?}");
}

#[test]
fn a_run_keeps_the_arithmetic_that_it_began_with() {
    let folder = tempfile::tempdir().unwrap();
    train(0, folder.path(), &["train.steps=10"]).success();
    for (key, value, kept) in [("precision", "bf16", "f32"), ("engine", "plain", "auto")] {
        let change = format!("compute.{key}={value}");
        train(0, folder.path(), &["train.steps=20", &change]).failure(4, &[&format!("compute.{key}"), value, kept]);
    }
    train(0, folder.path(), &["train.steps=20", "compute.precision=bf16", "--allow-config-change"]).success();
    // From here on it is a run in bf16.
    train(0, folder.path(), &["train.steps=30"]).failure(4, &["compute.precision", "f32", "bf16"]);
    train(0, folder.path(), &["train.steps=30", "compute.precision=bf16"]).success();
    train(0, &folder.path().join("odd"), &["model.hidden=48", "compute.engine=fused"]).failure(2, &["multiple of 32"]);
    train(0, &folder.path().join("odd"), &["model.hidden=48", "compute.precision=bf16"])
        .failure(2, &["compute.precision"]);
    train(0, &folder.path().join("odd"), &["model.hidden=48", "train.steps=1"]).success();
}

#[test]
fn the_gradient_is_that_of_the_union_of_the_shards() {
    let folder = tempfile::tempdir().unwrap();
    // After one step Adam's first moment is (1 − β₁) times the gradient.
    let gradient = |shards: usize| {
        let path = folder.path().join(shards.to_string());
        let overrides = ["train.steps=1", "clip.kind=none", &format!("train.micro_shards={shards}")];
        train(0, &path, &overrides).success();
        let bytes = fs::read(path.join("checkpoints/step-000000001/optimizer.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<_> = file.names().into_iter().filter(|name| name.starts_with("first_moment/")).collect();
        names.sort();
        let numbers = |name: &&str| -> Vec<f32> {
            file.tensor(name).unwrap().data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
        };
        names.iter().flat_map(numbers).collect::<Vec<f32>>()
    };
    let (one, eight) = (gradient(1), gradient(8));
    let largest = one.iter().fold(0f32, |a, b| a.max(b.abs()));
    let worst = one.iter().zip(&eight).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(largest > 0.0 && worst <= 1e-5 * largest, "{worst} of {largest}");
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
    train(0, &path, &["model.heads=3"]).failure(2, &["hidden", "32", "heads"]);
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
    train(0, &trained, &["model.hidden=64"]).failure(4, &["hidden"]);
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
fn every_recipe_is_a_configuration() {
    let folder = common::root().join("configs");
    let mut recipes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let printed = run(0, TRAIN, &[path.to_str().unwrap(), "--print-config"]).success().stdout;
            let o3 = printed.contains("so3: false");
            assert!(printed.contains(&format!("correct_handedness: {o3}")), "{}: {printed}", path.display());
            recipes += 1;
        }
    }
    assert!(recipes >= 4);
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
    assert!(dry.contains("parameters") && dry.contains("samples/s") && dry.contains("GiB"), "{dry}");
    assert!(!dir.exists());
}
