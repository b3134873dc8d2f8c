//! `qsd-eval backbones`, run as a user runs it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Finished, command, finish, python, root, run};
use flate2::Compression;
use flate2::write::GzEncoder;
use qsd::bio::{self, Format};
use qsd::data::Dataset;
use qsd::geometry::Point;
use serde_json::Value;

const EVAL: &str = env!("CARGO_BIN_EXE_qsd-eval");

/// Chains of the embedded sample with at most 100 residues.
fn chains() -> Vec<Vec<Point>> {
    let split = Dataset::open(&root().join("data/sample/proteins"), false).unwrap().split("train").unwrap();
    let records = (0..split.len()).map(|i| split.chain(i).unwrap()).filter(|record| record.num_residues() <= 100);
    records.map(|record| record.points(0..record.num_residues()).unwrap()).collect()
}

fn save(path: &Path, positions: &[Point]) {
    let format = if path.extension().unwrap() == "cif" { Format::Mmcif } else { Format::Pdb };
    bio::save(path, format, "test", positions, false).unwrap();
}

/// A folder with twelve chains, as PDB, as mmCIF and packed; their names in order.
fn samples(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for (k, chain) in chains().iter().take(12).enumerate() {
        let name = format!("{}{k:02}.{}", if k < 4 { "deep/" } else { "" }, ["pdb", "cif"][k % 2]);
        save(&folder.join(&name), chain);
        names.push(name);
    }
    let path = folder.join(&names[11]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&fs::read(&path).unwrap()).unwrap();
    fs::write(folder.join("11.cif.gz"), packed.finish().unwrap()).unwrap();
    fs::remove_file(path).unwrap();
    names[11] = "11.cif.gz".into();
    fs::write(folder.join("notes.txt"), "no structure").unwrap();
    // In the order of files: folders stand where their names do.
    names.sort();
    names
}

fn evaluate(args: &[&str]) -> Finished {
    run(0, EVAL, &[&["backbones"], args].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The rows of a table, by column.
fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut table = csv::Reader::from_path(path).unwrap();
    table.deserialize().map(|row| row.unwrap()).collect()
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column}: {:?}", row[column]))
}

#[test]
fn numbers_are_those_of_numpy_and_biotite() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names = samples(&path("in"));
    let [input, out] = ["in", "out"].map(path);
    let reference = ["--data", "data/sample/proteins", "--split", "train", "--no-diversity", "--out", text(&out)];
    let shown = evaluate(&[&[text(&input)], &reference[..]].concat()).success().stdout;
    let rows = rows(&path("out").join("backbones.csv"));
    let mut found: Vec<&String> = rows.iter().map(|row| &row["file"]).collect();
    found.sort();
    assert!(found.iter().zip(&names).all(|(a, b)| *a == b) && rows.len() == 12, "{found:?} {names:?}");

    // The packed file is compared by the plain one that it was made of.
    let plain = path("11.cif");
    save(&plain, &chains()[11]);
    let file = |row: &BTreeMap<String, String>| match &row["file"][..] {
        "11.cif.gz" => plain.clone(),
        name => path("in").join(name),
    };
    let script = root().join("tests/python/measure_backbones.py");
    let output = Command::new(python()).arg(script).args(rows.iter().map(file)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&output.stdout).unwrap();
    for (row, expected) in rows.iter().zip(&expected) {
        assert_eq!(row["chain"], "A");
        for (column, value) in expected {
            match value {
                Value::String(letters) => assert_eq!(row[column], *letters),
                Value::Null => assert_eq!(row[column], ""),
                value => {
                    let error = (number(row, column) - value.as_f64().unwrap()).abs();
                    assert!(error < 1e-6, "{} {column}: {} {value}", row["file"], row[column]);
                }
            }
        }
    }

    let summary = json(path("out").join("summary.json"));
    let all = &summary["groups"][0]["samples"];
    let mean = |column: &str| expected.iter().map(|row| row[column].as_f64().unwrap()).sum::<f64>() / 12.0;
    for (name, column) in [("helix", "helix"), ("strand", "strand"), ("radius_ratio_mean", "radius_ratio")] {
        assert!((all[name].as_f64().unwrap() - mean(column)).abs() < 1e-12, "{name}: {all}");
    }
    assert_eq!(all["chains"], 12);
    assert_eq!(summary["groups"][0]["reference"]["chains"], 143);
    // The reference of the documentation's table.
    let reference = shown.lines().find(|line| line.contains("pdb-sample, train, all")).unwrap();
    assert!(reference.contains("3.80 ± 0.04") && reference.contains("1.23 ± 0.35"), "{reference}");
    assert_eq!(csv::Reader::from_path(path("out").join("reference.csv")).unwrap().records().count(), 143);
    assert!(fs::read_to_string(path("out").join("report.md")).unwrap().contains(reference));
}

#[test]
fn the_same_files_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    samples(&path("in"));
    save(&path("known/one.pdb"), &chains()[3]);
    let files = |threads: &str| {
        let out = path(threads);
        let known = path("known");
        let input = path("in");
        let args = ["backbones", text(&input), "--novelty", text(&known), "--out", text(&out)];
        finish(command(0, EVAL, &args).env("RAYON_NUM_THREADS", threads).spawn().unwrap()).success();
        ["backbones.csv", "summary.json", "report.md"].map(|name| fs::read(out.join(name)).unwrap())
    };
    assert!(files("1") == files("4"));
}

#[test]
fn who_is_like_whom() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let chain = &chains()[0];
    let n = chain.len();
    let turned: Vec<Point> = chain.iter().map(|x| [5.0 - x[1], x[0], x[2] - 3.0]).collect();
    let mirrored: Vec<Point> = chain.iter().map(|x| [-x[0], x[1], x[2]]).collect();
    let line: Vec<Point> = (0..n).map(|i| [3.8 * i as f64, 0.0, 0.0]).collect();
    for (name, chain) in [("a", chain), ("b", &turned), ("c", &mirrored), ("d", &line)] {
        save(&path("in").join(format!("{name}.pdb")), chain);
    }
    save(&path("in/short.pdb"), &chain[..2]);
    save(&path("known/other.pdb"), &chains()[1]);
    save(&path("known/same.cif"), chain);
    fs::write(path("known/bad.pdb"), "words").unwrap();
    let scores = "file,chain,length,sc_rmsd,failure\nx/a.pdb,A,9,1.5,\nx/b.pdb,A,9,2.0,\nc.pdb,A,9,,no structure\n";
    fs::write(path("scores.csv"), scores).unwrap();
    let [input, known, scores, out] = ["in", "known", "scores.csv", "out"].map(path);
    let options = ["--novelty", text(&known), "--designability", text(&scores), "--out", text(&out)];
    let shown = evaluate(&[&[text(&input)], &options[..]].concat()).success().stdout;

    let rows = rows(&out.join("backbones.csv"));
    assert_eq!(rows[0]["cluster"], rows[1]["cluster"], "a chain and itself turned");
    assert_ne!(rows[0]["cluster"], rows[2]["cluster"], "its mirror image is none of it");
    assert_ne!(rows[0]["cluster"], rows[3]["cluster"]);
    assert!(number(&rows[0], "nearest_tm") > 0.999_999 && rows[0]["nearest"] == "same.cif A");
    assert!(number(&rows[2], "nearest_tm") < 0.9);
    let mean = (number(&rows[0], "mean_tm")
        + number(&rows[1], "mean_tm")
        + number(&rows[2], "mean_tm")
        + number(&rows[3], "mean_tm"))
        / 4.0;
    let summary = json(out.join("summary.json"));
    let diversity = &summary["groups"][0]["diversity"];
    assert_eq!(summary["known"]["chains"], 2);
    assert_eq!(summary["known"]["left_out"][0]["file"], "bad.pdb");
    assert!((diversity["mean_tm"].as_f64().unwrap() - mean).abs() < 1e-6, "{diversity} {mean}");
    assert_eq!((diversity["chains"].as_u64(), diversity["clusters"].as_u64()), (Some(4), Some(3)));
    assert!(number(&rows[0], "right_handed") > 0.8 && number(&rows[2], "right_handed") < 0.2);
    let scores: Vec<&str> = rows.iter().map(|row| &row["sc_rmsd"][..]).collect();
    assert_eq!(scores, ["1.5", "2", "", "", ""]);
    assert_eq!(summary["groups"][0]["designable"].as_f64(), Some(0.5));
    assert_eq!(summary["groups"][1]["name"], "designable");
    assert_eq!(summary["groups"][1]["samples"]["chains"], 1);
    assert_eq!(rows[4]["nearest_tm"], "");
    for words in ["short.pdb A: 2 residues", "bad.pdb: no atoms", "3 of 4", "50.0 %"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
}

#[test]
fn what_cannot_be_read_is_listed_and_the_rest_judged() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let chain = &chains()[0];
    for name in ["in/good.pdb", "in/twin.pdb", "in/twin.cif", "in/one.pdb"] {
        save(&path(name), if name == "in/one.pdb" { &chain[..1] } else { chain });
    }
    fs::write(path("in/words.pdb"), "no atoms here").unwrap();
    fs::write(path("in/empty.cif.gz"), "").unwrap();
    let dna = "ATOM      1  P    DT A   1      11.104  -6.134   2.000  1.00 12.50           P  \n";
    fs::write(path("in/dna.ent"), dna).unwrap();
    let finished = evaluate(&[text(&path("in")), "--out", text(&path("out"))]);
    assert!(finished.stdout.contains("samples: files that could not be read: 3"), "{}", finished.stdout);
    let shown = finished.failure(3, &["3 of the samples' files", "dna.ent: no protein chain"]).stdout;
    for words in ["words.pdb: no atoms", "empty.cif.gz: empty", "1 files left out"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let found = rows(&path("out").join("backbones.csv"));
    assert_eq!(found.iter().map(|row| &row["file"][..]).collect::<Vec<_>>(), ["good.pdb", "one.pdb", "twin.pdb"]);
    assert_eq!((&found[1]["ca_ca_mean"][..], &found[1]["structure"][..], &found[1]["mean_tm"][..]), ("", "c", ""));
    assert_eq!(json(path("out").join("summary.json"))["samples"]["unreadable"][2]["file"], "words.pdb");

    fs::remove_file(path("in/good.pdb")).unwrap();
    fs::write(path("out/reference.csv"), "of another run").unwrap();
    let [input, out] = ["in", "out"].map(path);
    let again = [text(&input), "--out", text(&out)];
    evaluate(&again).failure(2, &["backbones.csv exists", "--overwrite"]);
    assert_eq!(rows(&path("out").join("backbones.csv")).len(), 3, "nothing was replaced");
    let finished = evaluate(&[&again[..], &["--overwrite"]].concat());
    assert_eq!(finished.code, 3);
    assert_eq!(rows(&path("out").join("backbones.csv")).len(), 2);
    assert!(!path("out/reference.csv").exists(), "it was no part of this report");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    save(&path("in/a.pdb"), &chains()[0]);
    fs::create_dir(path("none")).unwrap();
    fs::create_dir(path("bad")).unwrap();
    fs::write(path("bad/x.pdb"), "words").unwrap();
    let [input, out] = ["in", "out"].map(path);
    let refused = |args: &[&str], code: i32, words: &[&str]| {
        let args: Vec<&str> = args.iter().copied().chain(["--out", text(&out)]).collect();
        evaluate(&args).failure(code, words);
        assert!(!out.exists(), "{args:?}");
    };
    refused(&[text(&path("missing"))], 7, &["missing"]);
    refused(&[text(&path("none"))], 3, &["no structure files", ".cif"]);
    refused(&[text(&path("bad"))], 3, &["none of 1 files", "x.pdb: no atoms"]);
    refused(&[text(&input), "--data", "data/sample/qm9"], 3, &["molecules", "expected chains"]);
    refused(&[text(&input), "--data", "data/sample/proteins", "--split", "tset"], 3, &["tset", "test"]);
    refused(&[text(&input), "--reference", text(&path("none"))], 3, &["no structure files"]);
    refused(&[text(&input), "--novelty", text(&path("bad"))], 3, &["x.pdb"]);
    assert_eq!(evaluate(&[text(&input), "--data", "x", "--reference", "y"]).code, 2);
    let score = |content: &str, words: &[&str]| {
        fs::write(path("scores.csv"), content).unwrap();
        refused(&[text(&input), "--designability", text(&path("scores.csv"))], 3, words);
    };
    score("file,length\na.pdb,9\n", &["scores.csv", "no column chain"]);
    score("file,chain,sc_rmsd\na.pdb,A,near\n", &["record 1", "\"near\"", "Å"]);
    score("file,chain,sc_rmsd\na.pdb,A,1\nb/a.pdb,A,2\n", &["record 2", "before"]);
    score("file,chain,sc_rmsd\na.pdb,B,1\n", &["no row is of a sample", "a.pdb", "\"A\""]);
    score("file,chain,sc_rmsd\na.pdb,A\n", &["scores.csv"]);
    refused(&[text(&input), "--designability", text(&path("no.csv"))], 7, &["no.csv"]);
}
