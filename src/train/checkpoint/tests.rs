use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::Error;
use crate::model::Layout;
use crate::random::{Purpose, stream};

fn layout() -> Arc<Layout> {
    let mut layout = Layout::default();
    layout.push("embed.weight", &[7, 5]);
    layout.push("bias", &[5]);
    layout.push("scale", &[]);
    Arc::new(layout)
}

/// A state that is a function of the step, with numbers whose bits are easily lost.
fn snapshot(step: u64) -> Snapshot {
    let layout = layout();
    let numbers = |id| {
        let mut rng = stream(3, Purpose::Initialization, step, id);
        let mut numbers: Vec<f32> = (0..layout.len()).map(|_| rng.random::<f32>() - 0.5).collect();
        numbers[..4].copy_from_slice(&[-0.0, f32::from_bits(1), f32::MAX, f32::MIN_POSITIVE]);
        numbers
    };
    let state = json!({"position": u64::MAX - step, "clip": [0.1, 1e-300, 12345.678901234567], "config": "lr: 1e-3\n"});
    Snapshot {
        step,
        parameters: numbers(0),
        first_moment: numbers(1),
        second_moment: numbers(2),
        ema: step.is_multiple_of(2).then(|| numbers(3)),
        state,
        layout,
    }
}

fn bits(snapshot: &Snapshot) -> Vec<u32> {
    let buffers = [&snapshot.parameters, &snapshot.first_moment, &snapshot.second_moment];
    buffers.into_iter().chain(&snapshot.ema).flatten().map(|number| number.to_bits()).collect()
}

#[track_caller]
fn assert_same(loaded: &Snapshot, saved: &Snapshot) {
    assert_eq!((loaded.step, bits(loaded)), (saved.step, bits(saved)));
    assert_eq!((&loaded.state, loaded.ema.is_some()), (&saved.state, saved.ema.is_some()));
}

fn retention(keep_last: usize, keep_best: bool) -> Retention {
    Retention { keep_last: NonZeroUsize::new(keep_last).unwrap(), keep_best }
}

fn temporary() -> TempDir {
    TempDir::new().unwrap()
}

fn listing(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn message<T>(result: crate::Result<T>) -> String {
    let error = result.err().expect("an error");
    assert!(matches!(error, Error::Checkpoint(_)), "{error:?}");
    error.to_string()
}

/// Rewrites the manifest to state what the files now are, as a forger would.
fn reseal(folder: &Path) {
    let names = [WEIGHTS, EMA, OPTIMIZER, STATE].into_iter().filter(|name| folder.join(name).exists());
    let files: Vec<_> = names.map(|name| (name, fs::read(folder.join(name)).unwrap())).collect();
    fs::write(folder.join(MANIFEST), manifest::Manifest::new(1, &files).to_bytes()).unwrap();
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    let dir = temporary();
    for step in [7, 40] {
        let path = save(dir.path(), &snapshot(step)).unwrap();
        assert_same(&load(&path, &layout()).unwrap(), &snapshot(step));
        assert_eq!(newest_healthy(dir.path()).unwrap().found, Some(path));
    }
    assert_eq!(listing(dir.path()), ["latest", "step-000000007", "step-000000040"]);
    assert_eq!(fs::read_to_string(dir.path().join("latest")).unwrap(), "step-000000040\n");
    let found = newest_healthy(&dir.path().join("nowhere")).unwrap();
    assert!(found.found.is_none() && found.rejected.is_empty());
}

#[test]
fn steps_beyond_nine_digits_still_sort() {
    let dir = temporary();
    for step in [999_999_999, 1_000_000_000] {
        save(dir.path(), &snapshot(step)).unwrap();
    }
    assert_eq!(newest_healthy(dir.path()).unwrap().found, Some(dir.path().join("step-1000000000")));
}

#[test]
fn a_step_is_saved_again_without_a_moment_of_none() {
    let dir = temporary();
    let path = save(dir.path(), &snapshot(4)).unwrap();
    let written = || fs::metadata(path.join(MANIFEST)).unwrap().modified().unwrap();
    let first = written();
    save(dir.path(), &snapshot(4)).unwrap();
    assert_eq!(written(), first, "the same state is not written twice");
    let other = Snapshot { state: json!(null), ..snapshot(4) };
    save(dir.path(), &other).unwrap();
    assert_same(&load(&path, &layout()).unwrap(), &other);
    fs::write(path.join(WEIGHTS), b"damage").unwrap();
    save(dir.path(), &other).unwrap();
    assert_same(&load(&path, &layout()).unwrap(), &other);
    assert_eq!(listing(dir.path()), ["latest", "step-000000004"]);
}

/// Damages the newest of two checkpoints and makes sure that it is refused, and the older one found.
fn assert_refused(dir: &Path, newest: &Path, older: &Path, what: &str) {
    let cause = message(load(newest, &layout()));
    assert!(cause.contains("step-000000040"), "{what}: {cause}");
    let search = newest_healthy(dir).unwrap();
    assert_eq!(search.found.as_deref(), Some(older), "{what}");
    assert!(search.rejected.len() == 1 && search.rejected[0].path == newest, "{what}");
    assert!(search.rejected[0].cause.contains("step-000000040"), "{what}: {}", search.rejected[0].cause);
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused_and_the_older_one_used() {
    let dir = temporary();
    let (older, newest) = (save(dir.path(), &snapshot(7)).unwrap(), save(dir.path(), &snapshot(40)).unwrap());
    let files: Vec<(PathBuf, Vec<u8>)> = listing(&newest)
        .into_iter()
        .map(|name| newest.join(name))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    assert_eq!(files.len(), 5);
    let mut rng = stream(9, Purpose::Order, 0, 0);
    let mut refused = 0;
    for (path, whole) in &files {
        for part in 0..64 {
            fs::write(path, &whole[..whole.len() * part / 64]).unwrap();
            assert_refused(dir.path(), &newest, &older, &format!("{path:?} cut at {part}/64"));
            refused += 1;
        }
        for _ in 0..300 {
            let (mut bytes, bit) = (whole.clone(), rng.random_range(0..whole.len() * 8));
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(path, bytes).unwrap();
            assert_refused(dir.path(), &newest, &older, &format!("{path:?} with bit {bit} flipped"));
            refused += 1;
        }
        fs::remove_file(path).unwrap();
        assert_refused(dir.path(), &newest, &older, &format!("{path:?} missing"));
        fs::write(path, whole).unwrap();
    }
    assert_eq!(refused, 5 * 364);
    assert_same(&load(&newest, &layout()).unwrap(), &snapshot(40));
}

#[test]
fn forged_checkpoints_are_refused_without_following_or_believing_them() {
    let dir = temporary();
    let path = save(dir.path(), &snapshot(1)).unwrap();
    let weights = path.join(WEIGHTS);
    let original = fs::read(&weights).unwrap();

    fs::rename(&weights, dir.path().join("elsewhere")).unwrap();
    symlink(dir.path().join("elsewhere"), &weights).unwrap();
    assert!(message(load(&path, &layout())).contains("symbolic link"));
    fs::remove_file(&weights).unwrap();
    fs::create_dir(&weights).unwrap();
    assert!(message(load(&path, &layout())).contains("not a regular file"));
    fs::remove_dir(&weights).unwrap();

    for (length, cause) in [(1u64 << 60, "the most is"), (1 << 20, "header"), (3, "header")] {
        fs::write(&weights, [&length.to_le_bytes()[..], &original[8..]].concat()).unwrap();
        reseal(&path);
        assert!(message(load(&path, &layout())).contains(cause), "{}", message(load(&path, &layout())));
    }
    let mut infinite = original.clone();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&weights, infinite).unwrap();
    reseal(&path);
    assert!(message(load(&path, &layout())).contains("scale: entry 0 is inf"));
    fs::write(&weights, original).unwrap();
    fs::write(path.join(STATE), "[".repeat(1_000_000)).unwrap();
    reseal(&path);
    assert!(message(load(&path, &layout())).contains("recursion limit"));

    for name in ["../../etc/passwd", "/etc/passwd", "extra.bin"] {
        let files = [(WEIGHTS, vec![1]), (OPTIMIZER, vec![1]), (STATE, vec![1]), (name, vec![1])];
        fs::write(path.join(MANIFEST), manifest::Manifest::new(1, &files).to_bytes()).unwrap();
        assert!(message(load(&path, &layout())).contains("no file of a checkpoint"));
    }
    fs::write(path.join(MANIFEST), " ".repeat(1 << 20)).unwrap();
    assert!(message(load(&path, &layout())).contains("longer than"));
}

#[test]
fn another_models_checkpoint_is_refused_with_the_differences() {
    let dir = temporary();
    let path = save(dir.path(), &snapshot(1)).unwrap();
    let mut other = Layout::default();
    other.push("embed.weight", &[7, 6]);
    other.push("bias", &[5]);
    other.push("extra", &[2]);
    let error = message(load(&path, &Arc::new(other)));
    for part in [
        "3 differences",
        "embed.weight: F32[7, 6] expected, F32[7, 5] found",
        "extra: F32[2] expected, missing",
        "scale: not expected, F32[] found",
        "configuration",
    ] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let mut large = Layout::default();
    for i in 0..30 {
        large.push(format!("layers.{i}"), &[1 << 40]);
    }
    let error = message(load(&path, &Arc::new(large)));
    assert!(error.contains("33 differences") && error.contains("and 23 more"), "{error}");
    assert_eq!(error.lines().filter(|line| line.contains("expected")).count(), 10);
}

#[test]
fn a_state_that_is_not_sound_is_never_saved_and_costs_no_checkpoint() {
    let dir = temporary();
    let keep = retention(2, false);
    let mut writer = Writer::open(dir.path(), keep).unwrap();
    writer.save(snapshot(1), false).unwrap();
    for step in 2..8 {
        let mut broken = snapshot(step);
        broken.second_moment[36] = f32::NAN;
        writer.save(broken, false).unwrap();
        let error = writer.finish().unwrap_err();
        assert!(matches!(error, Error::NonFinite(_)), "{error:?}");
        assert!(error.to_string().contains("second moment: bias: entry 1 is NaN"), "{error}");
    }
    assert_eq!(listing(dir.path()), ["latest", "step-000000001"]);
    let short = Snapshot { ema: Some(vec![0.0; 3]), ..snapshot(9) };
    assert!(message(save(dir.path(), &short)).contains("ema has 3 entries, its layout 41"));
    let mut layout = Layout::default();
    layout.push("twice", &[1]);
    layout.push("twice", &[1]);
    let buffer = vec![0.0; 2];
    let (first_moment, second_moment) = (buffer.clone(), buffer.clone());
    let twice = Snapshot {
        layout: Arc::new(layout),
        parameters: buffer,
        first_moment,
        second_moment,
        ema: None,
        ..snapshot(9)
    };
    assert!(message(save(dir.path(), &twice)).contains("\"twice\""));
}

#[test]
fn retention_spares_the_last_healthy_ones_and_the_best() {
    let dir = temporary();
    let paths: Vec<_> = (1..=6).map(|step| save(dir.path(), &snapshot(step)).unwrap()).collect();
    mark_best(dir.path(), &paths[1]).unwrap();
    for damaged in [3, 4, 5] {
        fs::write(paths[damaged].join(OPTIMIZER), b"").unwrap();
    }
    assert_eq!(retention(1, true).apply(dir.path()).unwrap(), [paths[0].clone()]);
    assert_eq!(newest_healthy(dir.path()).unwrap().found.as_ref(), Some(&paths[2]));
    assert_eq!(retention(1, false).apply(dir.path()).unwrap(), [paths[1].clone()]);
    assert_eq!(retention(1, true).apply(dir.path()).unwrap(), [] as [PathBuf; 0]);
    assert!(paths[2].exists() && paths[5].exists());
    assert!(message(mark_best(dir.path(), &paths[5])).contains("step-000000006"));
    let elsewhere = temporary();
    assert!(message(mark_best(elsewhere.path(), &paths[2])).contains("is not in"));
}

#[test]
fn a_writer_clears_up_after_a_dead_one() {
    let dir = temporary();
    let path = save(dir.path(), &snapshot(1)).unwrap();
    for leftover in [".writing-step-000000002", ".deleting-step-000000000"] {
        fs::create_dir(dir.path().join(leftover)).unwrap();
        fs::write(dir.path().join(leftover).join(WEIGHTS), b"half").unwrap();
    }
    fs::write(dir.path().join(".writing-latest"), b"ste").unwrap();
    // The writer died between the two renames of a replacement.
    fs::rename(&path, dir.path().join(".replaced-step-000000001")).unwrap();
    sweep(dir.path()).unwrap();
    assert_eq!(listing(dir.path()), ["latest", "step-000000001"]);
    // It died after them.
    fs::create_dir(dir.path().join(".replaced-step-000000001")).unwrap();
    sweep(dir.path()).unwrap();
    assert_eq!(listing(dir.path()), ["latest", "step-000000001"]);
    assert_same(&load(&path, &layout()).unwrap(), &snapshot(1));
    sweep(&dir.path().join("nowhere")).unwrap();
}

#[test]
fn the_writer_saves_in_order_and_keeps_what_it_should() {
    let dir = temporary();
    let mut writer = Writer::open(dir.path(), retention(2, false)).unwrap();
    let mut told = Vec::new();
    for step in 1..=5 {
        told.extend(writer.save(snapshot(step), false).unwrap().previous);
    }
    told.extend(writer.finish().unwrap());
    assert_eq!(told.iter().map(|saved| saved.step).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(told.iter().map(|saved| saved.deleted.len()).sum::<usize>(), 3);
    assert_eq!(listing(dir.path()), ["latest", "step-000000004", "step-000000005"]);
}

#[test]
fn the_file_holds_the_weights_as_they_were_handed_over() {
    let dir = temporary();
    let mut live = snapshot(3);
    let mut writer = Writer::open(dir.path(), retention(1, false)).unwrap();
    writer.save(live.clone(), false).unwrap();
    live.parameters.fill(0.0);
    live.state = json!("later");
    let saved = writer.finish().unwrap().unwrap();
    assert_same(&load(&saved.path, &layout()).unwrap(), &snapshot(3));
}

#[test]
fn a_second_request_waits_for_the_first_and_errors_surface_later() {
    let dir = temporary();
    let blocked = dir.path().join("file");
    let mut writer = Writer::open(&blocked, retention(1, false)).unwrap();
    fs::write(&blocked, b"in the way").unwrap();
    writer.save(snapshot(1), false).unwrap();
    assert!(matches!(writer.save(snapshot(2), false), Err(Error::Io { .. })), "the first save failed");
    assert!(writer.poll().unwrap().is_none(), "the second was not taken");

    let pause = std::time::Duration::from_millis(200);
    let slow = std::thread::spawn(move || {
        std::thread::sleep(pause);
        let (path, took, deleted) = (PathBuf::new(), pause, Vec::new());
        Ok(Saved { step: 1, path, took, deleted })
    });
    let mut writer = Writer::open(dir.path(), retention(1, false)).unwrap();
    writer.under_way = Some(slow);
    assert!(writer.poll().unwrap().is_none());
    let handed = writer.save(snapshot(2), false).unwrap();
    assert!(handed.waited >= pause / 2 && handed.previous.is_some_and(|saved| saved.step == 1));
    while writer.poll().unwrap().is_none() {}
    assert!(dir.path().join("step-000000002").exists());
}

#[test]
fn sampling_finds_the_average_of_the_newest_healthy_checkpoint_of_a_run() {
    let run = temporary();
    let dir = run.path().join("checkpoints");
    assert!(message(load_for_sampling(run.path())).contains("no healthy checkpoint"));
    save(&dir, &snapshot(1)).unwrap();
    let second = save(&dir, &snapshot(2)).unwrap();
    let third = save(&dir, &snapshot(3)).unwrap();
    fs::write(third.join(EMA), b"not listed, not looked at").unwrap();
    fs::write(third.join(WEIGHTS), b"damage").unwrap();
    for path in [run.path(), &dir, &second] {
        let weights = load_for_sampling(path).unwrap();
        assert_eq!((weights.step, weights.path(), weights.averaged()), (2, second.as_path(), true));
        assert_eq!(weights.state, snapshot(2).state);
        assert_eq!(weights.parameters(&layout()).unwrap(), snapshot(2).ema.unwrap());
    }
    let plain = load_for_sampling(&dir.join("step-000000001")).unwrap();
    assert_eq!(plain.parameters(&layout()).unwrap(), snapshot(1).parameters);
    assert!(message(plain.parameters(&Layout::default())).contains("3 differences"));
    assert!(message(load_for_sampling(&third)).contains("weights.safetensors"));
    [&dir.join("step-000000001"), &second].into_iter().for_each(|path| fs::remove_dir_all(path).unwrap());
    let error = message(load_for_sampling(run.path()));
    assert!(error.contains("no healthy checkpoint") && error.contains("step-000000003"), "{error}");
}

#[test]
fn the_hash_of_weights_is_that_of_their_bytes() {
    let numbers: Vec<f32> = (0..40_000).map(|i| i as f32).collect();
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(weights_sha256(&numbers), manifest::sha256(&bytes));
    assert_ne!(weights_sha256(&[0.0]), weights_sha256(&[-0.0]));
}
