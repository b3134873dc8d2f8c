//! What the black-box tests share: running the real programs, alone and under mpirun, with a deadline.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longer than any job here takes on a loaded machine; a job that takes longer hangs.
const DEADLINE: Duration = Duration::from_secs(300);

/// What a job left.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; 128 + n when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Finished {
    /// Asserts that it ended well.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that it ended with this code, and said this in a line.
    #[track_caller]
    pub fn failure(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        let line = self.stderr.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(line, "no line with {words:?} in:\n{}", self.stderr);
        let errors = self.stderr.lines().filter(|line| line.starts_with("error:")).count();
        assert_eq!(errors, 1, "one line says what is wrong:\n{}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `program` with `args`, by `ranks` processes under mpirun, or by itself for 0.
pub fn command(ranks: usize, program: &str, args: &[&str]) -> Command {
    let mut command;
    if ranks == 0 {
        command = Command::new(program);
    } else {
        command = Command::new("mpirun");
        command.args([
            "--allow-run-as-root",
            "--oversubscribe",
            "--bind-to",
            "none",
            "-n",
            &ranks.to_string(),
            program,
        ]);
    }
    command.args(args).current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(ranks: usize, program: &str, args: &[&str]) -> Finished {
    let child = command(ranks, program, args).spawn().unwrap_or_else(|e| panic!("{program}: {e}"));
    finish(child)
}

/// Waits for a job, no longer than the deadline.
pub fn finish(mut child: Child) -> Finished {
    use std::os::unix::process::ExitStatusExt as _;
    let read = |mut pipe: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let (stdout, stderr) = (read(Box::new(child.stdout.take().unwrap())), read(Box::new(child.stderr.take().unwrap())));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > DEADLINE {
            child.kill().unwrap();
            panic!("the job hangs; stderr:\n{}", stderr.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap());
    Finished { code, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Waits until `condition` holds.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The value of a `name value` line of `qsd-train inspect`.
pub fn inspect(path: &Path, name: &str) -> String {
    let output = run(0, TRAIN, &["inspect", path.to_str().unwrap()]).success().stdout;
    let line =
        output.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {output}"));
    line.trim().to_string()
}

/// Trains the tiny model in `folder` by `ranks` processes.
pub fn train(ranks: usize, folder: &Path, overrides: &[&str]) -> Finished {
    let dir = format!("run.dir={}", folder.display());
    let mut args = vec!["tests/fixtures/train/tiny.yaml", &dir];
    args.extend(overrides);
    run(ranks, TRAIN, &args)
}

/// The Python interpreter with the packages of `data/requirements.txt`.
pub fn python() -> PathBuf {
    let path = std::env::var_os("QSD_PYTHON").map_or_else(|| root().join(".venv/bin/python"), PathBuf::from);
    assert!(path.exists(), "{}: no Python interpreter; tests/run.sh makes one", path.display());
    path
}

/// The program `qsd-train`.
pub const TRAIN: &str = env!("CARGO_BIN_EXE_qsd-train");
/// The program `qsd-sample`.
pub const SAMPLE: &str = env!("CARGO_BIN_EXE_qsd-sample");
