//! Damaged and hostile configuration files: each is refused with its place, quickly and in little memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The processor time in which `load` must see the fault; wall time would depend on what else runs.
const LIMIT: Duration = Duration::from_secs(1);
/// What the whole process may use, in kB.
const MEMORY_KB: u64 = 200_000;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Run {
    seed: u64,
    name: String,
    train: Train,
    layers: Vec<u32>,
    sampler: Option<Train>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Train {
    steps: u64,
    rate: f32,
    resume: bool,
    output: PathBuf,
}

/// Loads a file and returns its error without the folder's name, after checking what holds for every error.
fn refused(path: &Path) -> String {
    let start = thread_time();
    let error = qsd::config::load::<Run>(path, &[]).err().unwrap_or_else(|| panic!("{} was accepted", path.display()));
    let elapsed = thread_time() - start;
    assert!(elapsed <= LIMIT, "{}: took {elapsed:?}", path.display());
    assert_eq!(error.exit_code(), 2);
    let message = error.to_string();
    assert!(message.len() < 1500, "{} characters: {}", message.len(), &message[..200]);
    assert!(!message.contains('\n'), "{message:?}");
    message.replace(&format!("{}/", path.parent().unwrap().display()), "")
}

/// The processor time of this thread.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is that of a timespec that lives.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The most memory this process has used, in kB.
fn peak_memory_kb() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Ten levels of nine aliases each: 3.5 thousand million texts if they were written out.
fn billion_laughs() -> String {
    let levels = (1..10).map(|level| {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        format!("a{level}: &a{level} [{aliases}]\n")
    });
    std::iter::once("a0: &a0 [lol]\n".to_owned()).chain(levels).collect()
}

/// One large list and many aliases of it.
fn quadratic_aliases() -> String {
    format!("name: &a [{}]\nlayers: [{}]\n", "1,".repeat(200_000), "*a,".repeat(200_000))
}

/// One long text and many aliases of it.
fn long_text_aliases() -> String {
    format!("name: &a {}\nlayers: [{}]\n", "x".repeat(500_000), "*a,".repeat(100_000))
}

/// The text of a file, where its fault is, and what the message must say.
fn mutations() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let row = |name, text: &str, place, what| (name, text.as_bytes().to_vec(), place, what);
    vec![
        // Keys.
        row("typo", "sede: 1\n", "1:1", "sede: unknown key; did you mean `seed`?"),
        row("typo below", "train:\n  step: 1\n", "2:3", "train.step: unknown key; did you mean `train.steps`?"),
        row("wrong section", "seed: 1\nrate: 1\n", "2:1", "rate: unknown key; did you mean `train.rate`?"),
        row("case", "Seed: 1\n", "1:1", "did you mean `seed`?"),
        row("dash", "train: {re-sume: true}\n", "1:9", "did you mean `train.resume`?"),
        row("no likeness", "qqqq: 1\n", "1:1", "the keys here are seed, name, train, layers, sampler"),
        row("in an option", "sampler:\n    rates: 1\n", "2:5", "did you mean `sampler.rate`?"),
        row("duplicate", "seed: 1\nname: x\nseed: 2\n", "3:1", "the key `seed` is given twice"),
        row("duplicate below", "train:\n  steps: 1\n  steps: 1\n", "3:3", "train: the key `steps` is given twice"),
        row("merge key", "train: &t {steps: 1}\nsampler: {<<: *t}\n", "2:11", "unknown key"),
        row("complex key", "? [a, b]\n: 1\n", "1:3", "expected a plain key"),
        row("number key", "1: 2\n", "1:1", "1: unknown key"),
        row("empty key", ": 2\n", "1:1", "did not find expected key"),
        row("no space after the colon", "seed:1\n", "1:1", "expected keys with values"),
        row("no value", "seed: 1\nname\n", "3:1", "could not find expected ':'"),
        row("Python dict", "{\"seed\": 1, \"sede\": 2}\n", "1:13", "did you mean `seed`?"),
        // Values.
        row("text for a number", "seed: one\n", "1:7", "seed: found the text \"one\", expected a whole number"),
        row("quoted number", "seed: \"1\"\n", "1:7", "found the text \"1\""),
        row("fraction", "seed: 1.5\n", "1:7", "found `1.5`"),
        row("negative", "seed: -1\n", "1:7", "found `-1`"),
        row("too large", "seed: 99999999999999999999\n", "1:7", "99999999999999999999"),
        row("too large for 32 bits", "layers: [4294967296]\n", "1:10", "layers[0]: found `4294967296`"),
        row("not a number", "train: {steps: .nan}\n", "1:16", "train.steps: found `NaN`"),
        row("beyond a double", "train: {rate: 1e400}\n", "1:15", "found the text \"1e400\", expected a number"),
        row("comma for a point", "train: {rate: \"0,5\"}\n", "1:15", "found the text \"0,5\""),
        row("yes", "train: {resume: yes}\n", "1:17", "found the text \"yes\", expected `true` or `false`"),
        row("list for a section", "train:\n- steps: 1\n", "2:1", "train: found a list, expected a section of keys"),
        row("section for a value", "seed:\n  a: 1\n", "2:3", "seed: found a section of keys"),
        row("value for a list", "layers: 3\n", "1:9", "layers: found `3`"),
        row("hole in a list", "layers: [1, , 2]\n", "1:13", "did not find expected node content"),
        row("null for a number", "seed: ~\n", "1:7", "found no value (null)"),
        row("long text", &format!("seed: {}\n", "x".repeat(900_000)), "1:7", "xxx…\""),
        // Form.
        row("tab", "train:\n\tsteps: 1\n", "2:1", "indent with spaces, not with tabs"),
        row("tab below", "train:\n  steps: 1\n\trate: 2\n", "3:1", "indent with spaces, not with tabs"),
        row("indentation", "train:\n  steps: 1\n rate: 2\n", "3:2", "did not find expected key"),
        row("unclosed bracket", "layers: [1, 2\nseed: 1\n", "2:5", "did not find expected ',' or ']'"),
        row("unclosed brace", "train: {steps: 1\n", "2:1", "did not find expected ',' or '}'"),
        row("unclosed quote", "name: \"x\nseed: 1\n", "3:1", "found unexpected end of stream"),
        row("two colons", "seed: 1: 2\n", "1:8", "mapping values are not allowed in this context"),
        row("at sign", "name: @x\n", "1:7", "found character that cannot start any token"),
        row("unknown escape", "name: \"\\q\"\n", "1:8", "found unknown escape character"),
        row("list at the top", "- seed: 1\n", "1:1", "expected keys with values"),
        row("two documents", "seed: 1\n---\nseed: 2\n", "1:1", "more than one document"),
        row("tag", "name: !!python/object:os.system x\nseed: !evil 1\n", "2:7", "seed: invalid type"),
        row("control character", "name: a\u{1}b\n", "1:8", "a control character"),
        // Aliases.
        row("unknown anchor", "seed: *nothing\n", "1:7", "unknown anchor"),
        row("alias of itself", "layers: &a [1, *a]\n", "1:9", "recursion limit exceeded"),
        row("billion laughs", &billion_laughs(), "1:1", "the aliases repeat too much"),
        row("quadratic aliases", &quadratic_aliases(), "1:194269", "repeat"),
        row("long text aliases", &long_text_aliases(), "1:7", "the aliases repeat too much"),
        // Size.
        row("10 MB", &"# padding\n".repeat(1 << 20), "1:1", "larger than 1 MiB"),
        row("brackets", &"[".repeat(1 << 20), "1:1", "too many brackets"),
        row("braces", &"{a: ".repeat(1 << 18), "1:1", "too many brackets"),
        row("some brackets", &format!("{}{}", "[".repeat(470), "1,".repeat(500_000)), "1:129", "recursion limit"),
        row("dashes", &"- ".repeat(1 << 19), "1:257", "recursion limit"),
        row("tag directives", &"%TAG !a! b\n".repeat(90_000), "1:1", "`%TAG` is not supported"),
        row("depth", &format!("layers: {}{}\n", "[".repeat(500), "]".repeat(500)), "1:136", "recursion limit exceeded"),
        row("long key", &format!("{}: 1\n", "k".repeat(1000)), "1:1", "unknown key"),
        row("many keys", &(0..80_000).map(|key| format!("k{key}: 1\n")).collect::<String>(), "1:1", "k0: unknown key"),
        // Bytes.
        ("latin 1", b"seed: 1\nname: caf\xe9\n".to_vec(), "2:10", "not UTF-8"),
        ("utf-16", "seed: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect(), "1:2", "a control character"),
        ("utf-16 with mark", [&b"\xff\xfe"[..], b"s\0"].concat(), "1:1", "not UTF-8"),
        ("nul bytes", vec![0; 4096], "1:1", "a control character"),
        ("ELF", b"\x7fELF\x02\x01\x01\0".to_vec(), "1:1", "a control character"),
    ]
}

#[test]
fn every_mutation_is_refused_at_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.yaml");
    let mut wrong = Vec::new();
    for (name, text, place, what) in mutations() {
        fs::write(&path, text).unwrap();
        let message = refused(&path);
        if !message.starts_with(&format!("run.yaml:{place}: ")) || !message.contains(what) {
            wrong.push(format!("{name}: expected {place} {what:?}\n    {message}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let peak = peak_memory_kb();
    assert!(peak <= MEMORY_KB, "the process used {peak} kB");
}

#[test]
fn a_folder_or_a_missing_file_is_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(&folder.path().join("no.yaml")).ends_with("no.yaml: No such file or directory (os error 2)"));
    assert!(refused(folder.path()).ends_with("Is a directory (os error 21)"));
}

/// Every prefix, and every file with one byte replaced, is read or refused, never more.
#[test]
fn torn_and_flipped_files_never_panic() {
    const TEXT: &str = "seed: 7\nname: \"a b\"\ntrain: &t\n  steps: 10\n  rate: 1e-3\nlayers: [1, 2]\nsampler: *t\n";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.yaml");
    let check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match qsd::config::load::<Run>(&path, &[]) {
            Ok(_) => true,
            Err(error) => {
                assert!(matches!(error, qsd::Error::Config(_)) && error.to_string().contains("run.yaml:"), "{error}");
                false
            }
        }
    };
    assert!(check(TEXT.as_bytes()));
    let torn = (0..TEXT.len()).filter(|&length| check(&TEXT.as_bytes()[..length])).count();
    assert!((1..TEXT.len()).contains(&torn), "{torn} of {} prefixes were accepted", TEXT.len());
    let mut accepted = 0;
    for position in 0..TEXT.len() {
        for byte in
            [0, b'\t', b'\n', b' ', b'"', b'#', b'&', b'*', b',', b':', b'[', b'{', b'}', b'|', b'0', 0x80, 0xff]
        {
            let mut bytes = TEXT.as_bytes().to_vec();
            bytes[position] = byte;
            accepted += usize::from(check(&bytes));
        }
    }
    assert!((1..TEXT.len() * 17).contains(&accepted), "{accepted} were accepted");
}
