//! `kill -9` at random moments of saving: the newest checkpoint is always healthy, bit for bit what was saved, and
//! no older than what was reported as saved.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use qsd::random::{Purpose, stream};
use rand::RngExt as _;

/// `target/<profile>/examples/checkpoint_loop`, which cargo builds along with the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/checkpoint_loop");
    assert!(path.exists(), "{} is missing: build it with `cargo build --example checkpoint_loop`", path.display());
    path
}

/// Lets the program save into `dir` for a while after its start-up and kills it; returns the step that it
/// resumed from and the last that it reported.
fn save_until_killed(dir: &Path, life: Duration) -> (u64, u64) {
    let mut child = Command::new(program()).arg(dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let number = |line: String, word| line.strip_prefix(word).and_then(|step| step.parse().ok());
    let resumed = lines.next().and_then(|line| number(line.unwrap(), "resumed ")).expect("it resumes");
    thread::sleep(life);
    child.kill().unwrap();
    assert!(child.wait().unwrap().code().is_none(), "it ended by itself");
    let reported = lines.map(|line| number(line.unwrap(), "saved ").unwrap()).last();
    (resumed, reported.unwrap_or(resumed))
}

#[test]
fn twenty_kills_cost_nothing_that_was_reported_saved() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut rng = stream(5, Purpose::Time, 0, 0);
    let (mut safe, mut leftovers) = (0, 0);
    for kill in 0..20 {
        let life = Duration::from_micros(rng.random_range(500..60_000));
        // The program itself checks the numbers of what it resumes from.
        let (resumed, reported) = save_until_killed(dir.path(), life);
        assert!(resumed >= safe, "kill {kill}: step {safe} was reported as saved, but only {resumed} is there");
        safe = reported;
        let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
        leftovers +=
            std::fs::read_dir(dir.path()).unwrap().filter(|entry| hidden(&entry.as_ref().unwrap().file_name())).count();
    }
    assert!(safe > 20, "hardly anything was saved: step {safe}");
    assert!(leftovers > 0, "no kill fell into a save");
}
