//! `qsd-eval designability` as its users meet it, with real programs as commands: biotite and gemmi behind
//! `tests/python/designability_tool.py`, and ProteinMPNN where it is installed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Finished, finish, python, root, wait_for};

const EVAL: &str = env!("CARGO_BIN_EXE_qsd-eval");

/// A folder with backbones in `in`, and the commands.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// With a right-handed and a left-handed α helix of these lengths.
    fn new(right: usize, left: usize) -> Self {
        let bench = Bench { dir: tempfile::tempdir().unwrap() };
        std::fs::create_dir(bench.path("in")).unwrap();
        bench.put("in/right.pdb", &helix(right, 1.0));
        bench.put("in/left.pdb", &helix(left, -1.0));
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn put(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// A run with `TOOL_FAULT` set to `fault`.
    fn command(&self, fault: &str, arguments: &[&str]) -> Command {
        let tool = root().join("tests/python/designability_tool.py");
        let start = format!("env TOOL_JOB={{job}} '{}' '{}'", python().display(), tool.display());
        let mut command = Command::new(EVAL);
        command.args(["designability", "--out", "out", "--num", "3"]);
        command.arg("--inverse-folding").arg(format!("{start} sequences {{inputs}} {{outputs}} {{num}}"));
        command.arg("--folding").arg(format!("{start} fold {{inputs}} {{outputs}}")).args(arguments);
        command.env("TOOL_JOURNAL", self.path("journal")).env("TOOL_FAULT", fault);
        command.current_dir(self.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, fault: &str, arguments: &[&str]) -> Finished {
        finish(self.command(fault, arguments).spawn().unwrap())
    }

    /// The rows of `designability.csv` by file.
    fn rows(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        let mut table = csv::Reader::from_path(self.path("out/designability.csv")).unwrap();
        let rows = table.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
        rows.map(|row| (row["file"].clone(), row)).collect()
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path("out/summary.json")).unwrap()).unwrap()
    }

    /// Names of what the tool made, in its order; the job of each.
    fn journal(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.path("journal")).unwrap_or_default();
        let entry = |line: &str| line.split_once(' ').map(|(name, job)| (name.to_string(), job.to_string())).unwrap();
        text.lines().map(entry).collect()
    }

    /// Names of a folder's files.
    fn names(&self, folder: &str) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// A trace of `n` Cα atoms on a helix of 100° and 1.5 Å a residue.
fn helix(n: usize, hand: f64) -> String {
    let line = |i: usize| {
        let angle = (100.0 * i as f64).to_radians();
        let (x, y, z) = (2.3 * angle.cos(), hand * 2.3 * angle.sin(), 1.5 * i as f64);
        let n = i + 1;
        format!("ATOM  {n:>5}  CA  ALA A{n:>4}    {x:>8.3}{y:>8.3}{z:>8.3}  1.00  0.00           C  \n")
    };
    (0..n).map(line).collect::<String>() + "END\n"
}

/// Whether a process of the tool works on this bench.
fn tool_runs(bench: &Bench) -> bool {
    let here = bench.dir.path().to_str().unwrap().as_bytes().to_vec();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok()).any(|line| {
        let has = |part: &[u8]| line.windows(part.len()).any(|window| window == part);
        has(&here) && has(b"designability_tool")
    })
}

#[test]
fn right_handed_helices_are_designable() {
    let bench = Bench::new(30, 26);
    bench.put("in/not a structure.pdb", "words\n");
    let before: Vec<_> = ["in/left.pdb", "in/right.pdb"]
        .map(|name| std::fs::metadata(bench.path(name)).unwrap().modified().unwrap())
        .into();
    let shown = bench.run("", &["in"]).success();
    let rows = bench.rows();
    assert_eq!(rows.keys().collect::<Vec<_>>(), ["in/left.pdb", "in/not a structure.pdb", "in/right.pdb"]);
    assert_eq!(
        (rows["in/right.pdb"]["designable"].as_str(), rows["in/left.pdb"]["designable"].as_str()),
        ("true", "false")
    );
    assert_eq!(rows["in/right.pdb"]["best_sequence"].len(), 30);
    assert_eq!(rows["in/right.pdb"]["sc_rmsds"].split(' ').count(), 3);
    let tm = |name: &str| rows[name]["sc_tm"].parse::<f64>().unwrap();
    assert!(tm("in/right.pdb") > 0.8 && tm("in/left.pdb") < 0.6, "{} {}", tm("in/right.pdb"), tm("in/left.pdb"));
    assert!(rows["in/not a structure.pdb"]["failure"].contains("no atoms"));
    let summary = bench.summary();
    assert_eq!((&summary["evaluated"], &summary["failed"], &summary["designable"]), (&2.into(), &1.into(), &1.into()));
    assert_eq!(summary["share"], 0.5);
    assert_eq!((&summary["by_length"][1]["lengths"], &summary["by_length"][1]["share"]), (&"30".into(), &1.0.into()));
    assert!(shown.stdout.contains("all         2          1  50.0 %"), "{}", shown.stdout);
    assert!(shown.stderr.contains("6/6 100.0%"), "{}", shown.stderr);
    // The scores by another program.
    let check = root().join("tests/python/check_designability.py");
    let checked = Command::new(python()).arg(check).arg(bench.path("out")).arg(bench.dir.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&checked.stdout), "2\n", "{}", String::from_utf8_lossy(&checked.stderr));
    // Samples are as they were; nothing is computed twice; nothing is left in between.
    let after: Vec<_> = ["in/left.pdb", "in/right.pdb"]
        .map(|name| std::fs::metadata(bench.path(name)).unwrap().modified().unwrap())
        .into();
    assert_eq!((before, bench.names("in").len()), (after, 3));
    assert_eq!((bench.names("out/sequences").len(), bench.names("out/structures").len()), (2, 6));
    let (journal, table) = (bench.journal(), std::fs::read(bench.path("out/designability.csv")).unwrap());
    assert_eq!(journal.len(), 8);
    bench.run("fold:crash", &["in"]).success();
    assert_eq!(bench.journal(), journal);
    assert_eq!(std::fs::read(bench.path("out/designability.csv")).unwrap(), table);
    assert!(bench.names("out/.invocations").is_empty());
    // Another threshold counts the same files anew; another number asks anew.
    bench.run("", &["in", "--threshold", "0.1"]).success();
    assert_eq!((bench.journal().len(), &bench.summary()["designable"]), (8, &0.into()));
    bench.run("", &["in", "--seed", "2"]).success();
    assert_eq!(bench.journal().len(), 16);
}

#[test]
fn results_do_not_depend_on_batches_and_jobs() {
    let bench = Bench::new(30, 26);
    bench.put("in/third.pdb", &helix(18, 1.0));
    bench.run("", &["in"]).success();
    let table = std::fs::read(bench.path("out/designability.csv")).unwrap();
    std::fs::rename(bench.path("out"), bench.path("first")).unwrap();
    std::fs::remove_file(bench.path("journal")).unwrap();
    bench.run("", &["in", "--batch", "1", "--jobs", "2"]).success();
    assert_eq!(std::fs::read(bench.path("out/designability.csv")).unwrap(), table);
    let jobs: BTreeSet<String> = bench.journal().into_iter().map(|(_, job)| job).collect();
    assert_eq!(jobs, ["0", "1"].map(String::from).into());
    assert_eq!(bench.names("out/logs").iter().filter(|name| name.starts_with("folding-")).count(), 3);
    // Structures that the program has made are no samples, wherever the folder of results is.
    bench.run("", &["in", "."]).success();
    let files: Vec<String> = bench.rows().into_keys().filter(|file| file.ends_with(".pdb")).collect();
    assert_eq!(files.iter().filter(|file| file.contains("/first/")).count(), 9, "{files:?}");
    assert_eq!(files.len(), 3 + 3 + 9, "{files:?}");
}

#[test]
fn faults_are_reasons_and_are_tried_again() {
    let bench = Bench::new(30, 26);
    let mut sorted: Vec<(&str, &str, &str)> = vec![
        (
            "sequences:crash=1",
            "ended with code 1",
            "saying 'CUDA out of memory [0m, as it happens' (see logs/inverse-folding-",
        ),
        ("sequences:kill=1", "was ended by signal 9", "left no "),
        ("sequences:none=1", "ended with code 0 and left no ", "saying 'skipped "),
        ("sequences:native=1", "4 sequences; expected 3", ""),
        ("sequences:short=1", "sequence 1 has ", "letters; the backbone has "),
        ("sequences:unknown=1", "line 2 has 'X'", ""),
        ("sequences:half=1", "sequence", ""),
        ("sequences:link=1", "not a plain file", ""),
        ("sequences:huge=1", "1024 MiB; expected less than 64", ""),
        ("fold:crash=5", "1 of 3 structures are missing; folding: the command ended with code 1", "(see logs/folding-"),
        ("fold:half=5", "residues with a CA; the sequence has", ""),
        ("fold:nan=5", "nan", ""),
        ("fold:pipe=5", "not a plain file", ""),
        ("fold:other=5", "its residues are not the sequence's", ""),
    ];
    for (i, (fault, first, second)) in sorted.drain(..).enumerate() {
        // Another seed is another name, so that each fault meets an empty store.
        let seed = ["--seed", &(i + 1).to_string(), "in"].map(String::from);
        let seed = seed.each_ref().map(String::as_str);
        let shown = bench.run(fault, &seed).success();
        assert!(shown.stdout.contains("1 failed"), "{fault}: {}", shown.stdout);
        let failures: Vec<String> =
            bench.rows().into_values().map(|row| row["failure"].clone()).filter(|reason| !reason.is_empty()).collect();
        assert_eq!(failures.len(), 1, "{fault}: {failures:?}");
        assert!(failures[0].contains(first) && failures[0].contains(second), "{fault}: {failures:?}");
        assert_eq!(bench.summary()["evaluated"], 1);
        if i % 5 == 0 {
            let made = bench.journal().len();
            bench.run("", &seed).success();
            assert_eq!((&bench.summary()["evaluated"], &bench.summary()["failed"]), (&2.into(), &0.into()), "{fault}");
            let again = bench.journal().len() - made;
            assert_eq!(again, if fault.starts_with("fold") { 1 } else { 4 }, "{fault}: only what was missing");
        }
    }
    // Names that lead elsewhere lead nowhere.
    bench.run("sequences:slash", &["--seed", "99", "in"]).success();
    assert_eq!(bench.names("."), ["in", "journal", "out"].map(String::from).into());
    // Nothing at all is an error.
    bench
        .run("fold:crash", &["--seed", "100", "in"])
        .failure(3, &["none of 2 backbones could be evaluated", "CUDA out of memory"]);
}

#[test]
fn what_takes_too_long_is_ended() {
    let bench = Bench::new(30, 26);
    // The sequences first, so that the time is folding's alone.
    bench.run("fold:none", &["in"]).failure(3, &["ended with code 0 and left no"]);
    bench.run("fold:hang=3", &["--timeout", "15", "in"]).success();
    let rows = bench.rows();
    let failures = |name: &str| rows[name]["failure"].clone();
    assert_eq!(failures("in/left.pdb"), "", "what was made before is kept");
    assert!(failures("in/right.pdb").contains("took longer than --timeout 15 s"), "{}", failures("in/right.pdb"));
    assert!(!tool_runs(&bench));
    let made = bench.journal().len();
    bench.run("", &["in"]).success();
    assert_eq!(bench.journal().len(), made + 3);
}

#[test]
fn nothing_done_is_lost_by_a_kill() {
    let bench = Bench::new(30, 26);
    let mut killed = bench.command("fold:slow=2", &["in"]).spawn().unwrap();
    wait_for("some structures", || bench.journal().len() >= 2 + 3);
    killed.kill().unwrap();
    killed.wait().unwrap();
    wait_for("its command ends with it", || !tool_runs(&bench));
    let before = bench.journal();
    assert!(before.len() < 8, "it was killed while it worked");
    assert!(bench.names("out/structures").is_empty(), "an invocation's structures get their names when it ends");
    bench.run("", &["in"]).success();
    assert_eq!(bench.summary()["evaluated"], 2);
    let journal = bench.journal();
    let again: Vec<_> = journal[before.len()..].iter().filter(|entry| before.contains(entry)).collect();
    assert!(again.is_empty(), "made twice: {again:?}");
    assert_eq!(journal.len(), 8);
    assert!(bench.names("out/.invocations").is_empty());
}

#[test]
fn a_request_to_stop_keeps_what_is_done() {
    let bench = Bench::new(30, 26);
    let running = bench.command("fold:slow=2", &["in"]).spawn().unwrap();
    wait_for("some structures", || bench.journal().len() >= 2 + 2);
    // The folder is taken.
    bench.run("", &["in"]).failure(2, &["another run works in this folder", &format!("pid {}", running.id())]);
    // SAFETY: the process is this test's child, and not reaped yet.
    unsafe { libc::kill(running.id() as libc::pid_t, libc::SIGTERM) };
    finish(running).failure(75, &["asked to stop", "of 6 structures are kept"]);
    assert!(!tool_runs(&bench));
    assert!(bench.names("out/structures").len() >= 2);
    assert!(bench.rows().values().any(|row| row["failure"].contains("the command was stopped")));
    let before = bench.journal().len();
    bench.run("", &["in"]).success();
    assert_eq!((bench.journal().len() - before, &bench.summary()["evaluated"]), (8 - before, &2.into()));
}

#[test]
fn wrong_arguments_are_refused() {
    let bench = Bench::new(12, 12);
    let eval = |arguments: &[&str]| {
        let mut program = Command::new(EVAL);
        program.args(["designability", "--out", "out"]).args(arguments).current_dir(bench.dir.path());
        finish(program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let run = |arguments: &[&str]| eval(&[&["in", "--inverse-folding"], arguments].concat());
    let fine = "true {inputs} {outputs}";
    run(&["true {inputs}", "--folding", fine]).failure(2, &["--inverse-folding", "has no {outputs}"]);
    run(&[fine, "--folding", "no-such-tool {inputs} {outputs}"])
        .failure(2, &["--folding", "no program 'no-such-tool'"]);
    run(&[fine, "--folding", "true {fasta} {inputs} {outputs}"]).failure(2, &["{fasta} is none of {inputs} {outputs}"]);
    run(&[fine, "--folding", fine, "--num", "0"]).failure(2, &["--num", "at least 1"]);
    run(&[fine, "--folding", fine, "--threshold", "NaN"]).failure(2, &["--threshold NaN"]);
    run(&[fine, "--folding", fine, "missing.pdb"]).failure(7, &["missing.pdb"]);
    bench.put("in/tool", "#!/no/such/interpreter\n");
    run(&["in/tool {inputs} {outputs}", "--folding", fine]).failure(2, &["'in/tool' cannot be started"]);
    std::fs::remove_file(bench.path("in/tool")).unwrap();
    run(&[fine, "--folding", fine]).failure(3, &["none of 2 backbones", "ended with code 0 and left no"]);
    std::fs::create_dir(bench.path("none")).unwrap();
    eval(&["none", "--inverse-folding", fine, "--folding", fine]).failure(3, &["no files are there"]);
}

/// ProteinMPNN with its weights of Cα atoms, by `examples/designability/run_proteinmpnn.py`; needs a Python that has the package
/// `proteinmpnn` in `QSD_PROTEINMPNN_PYTHON`.
#[test]
#[ignore = "needs ProteinMPNN"]
fn proteinmpnn_designs_helices() {
    let interpreter =
        std::env::var("QSD_PROTEINMPNN_PYTHON").expect("QSD_PROTEINMPNN_PYTHON names a Python with proteinmpnn");
    let bench = Bench::new(30, 26);
    let script = root().join("examples/designability/run_proteinmpnn.py");
    let design = format!("'{interpreter}' '{}' {{inputs}} {{outputs}} --num {{num}} --seed {{seed}}", script.display());
    let tool: &Path = &root().join("tests/python/designability_tool.py");
    let fold = format!("'{}' '{}' fold {{inputs}} {{outputs}}", python().display(), tool.display());
    let mut program = Command::new(EVAL);
    program.args(["designability", "--out", "out", "in", "--inverse-folding", &design, "--folding", &fold]);
    program.current_dir(bench.dir.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(program.spawn().unwrap()).success();
    let rows = bench.rows();
    assert_eq!(rows["in/right.pdb"]["designable"], "true", "{rows:?}");
    assert_eq!(rows["in/left.pdb"]["designable"], "false", "{rows:?}");
    assert_eq!(rows["in/right.pdb"]["sc_rmsds"].split(' ').count(), 8);
}
