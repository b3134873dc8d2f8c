//! `qsd-eval distributions` against numpy, and on files that are not as they should be.

mod common;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Finished, finish, python, root};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

fn eval(folder: &Path, arguments: &[&str]) -> Finished {
    let mut program = Command::new(env!("CARGO_BIN_EXE_qsd-eval"));
    program.arg("distributions").args(arguments).current_dir(folder);
    finish(program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// The numbers that a run writes.
fn numbers(folder: &Path, arguments: &[&str]) -> Value {
    eval(folder, &[arguments, &["--out", "numbers.json"]].concat()).success();
    serde_json::from_slice(&std::fs::read(folder.join("numbers.json")).unwrap()).unwrap()
}

/// Files made by numpy, and its numbers.
fn by_numpy(folder: &Path) -> HashMap<String, f64> {
    let output = Command::new(python()).arg(root().join("tests/python/distributions.py")).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn close(found: &Value, expected: f64, tolerance: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < tolerance * expected.abs(), "{found}, expected {expected}");
}

#[test]
fn numbers_are_numpys() {
    let dir = tempfile::tempdir().unwrap();
    let expected = by_numpy(dir.path());
    let arguments =
        ["--features", "x.npy", "--reference", "y.npy", "--probabilities-c", "p.npy", "--reference-c", "q.csv"];
    let found = numbers(dir.path(), &[&arguments[..], &["--probabilities-t", "q.csv"]].concat());
    close(&found["fpsd"], expected["x-y"], 1e-10);
    assert_eq!(found["features"], serde_json::json!([300, 500, 24]));
    close(&found["levels"][0]["fs"], expected["p"], 1e-10);
    close(&found["levels"][0]["fjsd"], expected["p-q"], 1e-9);
    close(&found["levels"][1]["fs"], expected["q"], 1e-10);
    assert_eq!((&found["levels"][1]["level"], &found["levels"][1]["fjsd"]), (&"T".into(), &Value::Null));
    // Fewer samples than features; numpy's own way is exact to the root of round-off there.
    let few = ["--features", "x.npy", "--reference", "few.csv"];
    close(&numbers(dir.path(), &few)["fpsd"], expected["x-few"], 1e-7);
    assert!(eval(dir.path(), &few).success().stdout.contains("fewer samples than features"));
    // A distance is none from itself, and the same both ways.
    let same = numbers(dir.path(), &["--features", "x.npy", "--reference", "x.npy"])["fpsd"].as_f64().unwrap();
    assert!((0.0..1e-9 * expected["x-y"]).contains(&same), "{same}");
    close(&numbers(dir.path(), &["--features", "y.npy", "--reference", "x.npy"])["fpsd"], expected["x-y"], 1e-10);
}

#[test]
fn tensors_of_other_tools() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<u8> = [0.25f32, 0.75, 0.5, 0.5].iter().flat_map(|x| x.to_le_bytes()).collect();
    let view = || TensorView::new(Dtype::F32, vec![2, 2], &values).unwrap();
    let write = |name: &str, tensors: Vec<(&str, TensorView)>| {
        std::fs::write(dir.path().join(name), safetensors::serialize(tensors, None).unwrap()).unwrap();
    };
    write("one.safetensors", vec![("p", view())]);
    write("two.safetensors", vec![("p", view()), ("q", view())]);
    std::fs::write(dir.path().join("one.csv"), "0.25,0.75\n0.5,0.5\n").unwrap();
    let of = |name: &str| numbers(dir.path(), &["--probabilities-a", name])["levels"].clone();
    assert_eq!(of("one.safetensors"), of("one.csv"));
    let refuse = |name: &str, words: &[&str]| eval(dir.path(), &["--probabilities-a", name]).failure(3, words);
    refuse("two.safetensors", &["two.safetensors", "2 tensors; expected one"]);
    let whole = std::fs::read(dir.path().join("one.safetensors")).unwrap();
    std::fs::write(dir.path().join("cut.safetensors"), &whole[..whole.len() - 1]).unwrap();
    refuse("cut.safetensors", &["cut.safetensors", "damaged"]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    by_numpy(dir.path());
    let put = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    put("logits.csv", b"a,b\n0.5,0.5\n3.1,-2.0\n");
    put("sums.csv", b"0.5,0.5\n0.5,0.6\n");
    put("nan.csv", b"0.5,NaN\n");
    put("numbers.pt", b"");
    let x = std::fs::read(dir.path().join("x.npy")).unwrap();
    put("cut.npy", &x[..x.len() - 400]);
    let run = |arguments: &[&str]| eval(dir.path(), arguments);
    let features = |generated, reference| run(&["--features", generated, "--reference", reference]);
    features("cut.npy", "y.npy").failure(3, &["cut.npy", "does not fit the file's 7100 numbers"]);
    features("x.npy", "q.csv").failure(3, &["x.npy and q.csv", "24 features generated, 7 in the reference"]);
    features("x.npy", "missing.npy").failure(7, &["missing.npy"]);
    features("numbers.pt", "x.npy").failure(2, &["numbers.pt: expected *.npy, *.safetensors or *.csv"]);
    let level = |generated, reference| run(&["--probabilities-c", generated, "--reference-c", reference]);
    level("swapped.csv", "q.csv").failure(3, &["class 2 is 'c' there and 'b' in the reference"]);
    level("logits.csv", "q.csv").failure(3, &["logits.csv: row 2 has -2", "after the softmax"]);
    level("sums.csv", "q.csv").failure(3, &["sums.csv: row 2 sums to 1.1"]);
    level("nan.csv", "q.csv").failure(3, &["nan.csv: row 1 column 2 is NaN"]);
    run(&[]).failure(2, &["--features and --reference"]);
    assert_eq!(run(&["--features", "x.npy"]).code, 2);
    assert_eq!(run(&["--reference-a", "q.csv"]).code, 2);
}
