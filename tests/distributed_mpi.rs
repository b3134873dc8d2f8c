//! Real processes under `mpirun`: the same sums on any number of them, and no hang when one fails.
#![cfg(feature = "mpi")]

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a job printed, how it ended, and how long it took.
struct Outcome {
    code: Option<i32>,
    output: String,
    took: Duration,
}

/// `target/<profile>/examples/mpi_check`, which cargo builds along with the tests.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples/mpi_check");
    assert!(path.exists(), "{} is missing: build it with `cargo build --example mpi_check`", path.display());
    path
}

/// Runs `mpirun -n ranks mpi_check mode`; a job that is not gone within 30 s hangs, and fails the test.
fn mpirun(ranks: usize, mode: &str) -> Outcome {
    let start = Instant::now();
    let mut job = Command::new("mpirun")
        .args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string()])
        .arg(program())
        .arg(mode)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("these tests need mpirun");
    let (mut out, mut err) = (job.stdout.take().unwrap(), job.stderr.take().unwrap());
    let read_out = thread::spawn(move || text(&mut out));
    let read_err = thread::spawn(move || text(&mut err));
    let status = loop {
        if let Some(status) = job.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > Duration::from_secs(30) {
            // SAFETY: a signal to the process group that was made for this job alone.
            unsafe { libc::kill(-(job.id() as i32), libc::SIGKILL) };
            panic!("`{mode}` on {ranks} ranks hangs");
        }
        thread::sleep(Duration::from_millis(20));
    };
    let took = start.elapsed();
    Outcome { code: status.code(), output: read_out.join().unwrap() + &read_err.join().unwrap(), took }
}

fn text(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn assert_fails(mode: &str, code: i32, words: &[&str]) {
    for ranks in [2, 4] {
        let Outcome { code: found, output, took } = mpirun(ranks, mode);
        assert_eq!(found, Some(code), "{mode} on {ranks} ranks: {output}");
        assert!(took < Duration::from_secs(5), "{mode} on {ranks} ranks took {took:?}");
        for word in words {
            assert!(output.contains(word), "{mode} on {ranks} ranks: no {word:?} in {output}");
        }
    }
}

#[test]
fn sums_have_the_same_bits_on_1_2_4_and_8_ranks() {
    let sums: Vec<String> = [1, 2, 4, 8]
        .map(|ranks| {
            let Outcome { code, output, .. } = mpirun(ranks, "sum");
            assert_eq!(code, Some(0), "{ranks} ranks: {output}");
            assert!(output.contains(&format!("size {ranks} ")), "{ranks} ranks: {output}");
            output.split(" size").next().unwrap().to_string()
        })
        .to_vec();
    assert!(sums[0].starts_with("sum ") && sums[0].len() > 60, "{}", sums[0]);
    assert!(sums.iter().all(|sum| *sum == sums[0]), "{sums:?}");
    let alone = Command::new(program()).arg("sum").output().unwrap();
    assert!(String::from_utf8_lossy(&alone.stdout).starts_with(&sums[0]), "without a launcher: {alone:?}");
}

#[test]
fn a_panic_on_one_rank_ends_the_job_and_names_it() {
    let place = "panic at examples/mpi_check.rs:";
    assert_fails("panic", 101, &["rank 1 of ", "step 17, phase backward", place, "planted"]);
    assert_fails("thread", 101, &["rank 1 of ", "step 17, phase backward", place, "planted"]);
}

#[test]
fn an_error_on_one_rank_ends_the_job_with_its_code() {
    assert_fails("error", 3, &["error: rank 1 of ", "step 17, phase backward: planted.arrow: damaged"]);
}

#[test]
fn a_rank_that_leaves_without_a_word_ends_the_job() {
    assert_fails("exit", 3, &[]);
}

#[test]
fn ranks_that_differ_are_refused_by_name() {
    assert_fails("disagree", 5, &["different configuration: rank(s) 1 of "]);
}

#[test]
fn a_wish_to_be_requeued_reaches_the_launcher() {
    let Outcome { code, output, .. } = mpirun(2, "stop");
    assert_eq!(code, Some(75), "{output}");
}

#[test]
fn srun_without_pmix_is_refused() {
    let tasks = [("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "1")];
    let refused = Command::new(program()).arg("sum").envs(tasks).output().unwrap();
    assert_eq!(refused.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("srun --mpi=pmix"), "{refused:?}");
}
