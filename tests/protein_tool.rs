//! `qsd-data protein`, run as a user runs it.

#[path = "support/data.rs"]
mod data;
#[path = "support/proteins.rs"]
mod proteins;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use data::{open_sample, sample};
use proteins::{Atom, ca, cif_file, helix, letters, pack, pdb, pdb_file};
use qsd::data::{ChainRecord, Dataset, Kind};

fn tool(arguments: &[&str], dir: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_qsd-data"));
    command.arg("protein").args(arguments).current_dir(dir).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn succeed(arguments: &[&str], dir: &Path) -> String {
    let output = tool(arguments, dir);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs it, demands this exit code, and returns the last line of what it says.
fn fail(arguments: &[&str], dir: &Path, code: i32) -> String {
    let output = tool(arguments, dir);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    message.lines().last().unwrap().to_string()
}

/// All chains of a data set, with their split, by key.
fn chains(dir: &Path) -> BTreeMap<String, (String, ChainRecord)> {
    let dataset = Dataset::open(dir, true).unwrap();
    assert_eq!(dataset.kind(), Kind::Chains);
    let mut found = BTreeMap::new();
    for name in dataset.manifest().splits.keys() {
        let split = dataset.split(name).unwrap();
        for record in (0..split.len()).map(|i| split.chain(i).unwrap()) {
            found.insert(record.key().to_string(), (name.clone(), record));
        }
    }
    found
}

/// `quarantine.jsonl` as `file chain: reason`.
fn left_out(dir: &Path) -> BTreeSet<String> {
    let lines = std::fs::read_to_string(dir.join("quarantine.jsonl")).unwrap();
    let parse = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["detail"].is_string());
        let chain = line["chain"].as_str().map(|chain| format!(" {chain}")).unwrap_or_default();
        format!("{}{chain}: {}", line["file"].as_str().unwrap(), line["reason"].as_str().unwrap())
    };
    lines.lines().map(parse).collect()
}

fn renamed(atoms: &[Atom], residue: &str) -> Vec<Atom> {
    atoms.iter().map(|atom| Atom { residue: residue.into(), ..atom.clone() }).collect()
}

#[test]
fn every_file_gives_chains_or_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| {
        let path = dir.path().join("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    let forty = helix("A", -2, 40);
    put("1abc.pdb", pdb_file("1ABC", &forty).as_bytes());
    put("deep/er/2abc.cif.gz", &pack(cif_file("2ABC", &[forty.clone(), helix("LONG", 1, 50)].concat()).as_bytes()));
    put("d1asha_", pdb(&helix("", 5, 33)).as_bytes());
    put("cif-in-disguise.ent", cif_file("3ABC", &forty).as_bytes());
    put("short.pdb", pdb_file("", &helix("A", 1, 31)).as_bytes());
    put("long.pdb", pdb_file("", &helix("A", 1, 257)).as_bytes());
    put("dna.pdb", pdb_file("", &renamed(&forty, "DT")).as_bytes());
    put("mirror.pdb", pdb_file("", &renamed(&forty, "DAL")).as_bytes());
    put("sf.ent", b"data_r1\nloop_\n_refln.index_h\n1\n2\n");
    put("empty.pdb", b"");
    put("words.pdb", b"no structure");
    put("x.bcif.gz", &pack(b"\x83\xa7encoder\x00\x00"));
    put("cut.pdb.gz", &pack(pdb_file("", &forty).as_bytes())[..300]);
    put(".hidden.pdb", b"");
    let shown = succeed(&["--out", "out", "--max-bad", "0.5", "in"], dir.path());
    assert!(shown.starts_with("13 files, 5 of them bad; 5 of 7 chains taken"), "{shown}");
    assert!(shown.contains("left out of all files: 5 × bad file"), "{shown}");
    let found = chains(&dir.path().join("out"));
    let expected = ["1abc_A", "2abc_A", "2abc_LONG", "cif-in-disguise_A", "d1asha_"];
    assert!(found.keys().eq(expected), "{:?}", found.keys());
    for (_, record) in found.values() {
        let n = record.num_residues();
        assert_eq!(record.sequence(), letters(n));
        for (i, point) in record.points(0..n).unwrap().iter().enumerate() {
            (0..3).for_each(|k| assert!((point[k] - ca(i)[k]).abs() < 6e-4));
        }
    }
    assert_eq!(found["1abc_A"].1.numbers()[..4], [-2, -1, 0, 1]);
    assert_eq!(found["1abc_A"].1.b_factors()[1], 81.0);
    let expected = [
        "cut.pdb.gz: bad file",
        "dna.pdb: no protein chain",
        "empty.pdb: bad file",
        "long.pdb A: too long",
        "mirror.pdb: no protein chain",
        "sf.ent: bad file",
        "short.pdb A: too short",
        "words.pdb: bad file",
        "x.bcif.gz: bad file",
    ];
    assert!(left_out(&dir.path().join("out")).iter().eq(expected), "{:?}", left_out(&dir.path().join("out")));
    let message = fail(&["--out", "none", "in"], dir.path(), 3);
    assert!(message.contains("5 of 13 files are bad") && message.contains("cut.pdb.gz: "), "{message}");
    assert!(!dir.path().join("none").exists());
    let again = succeed(&["--out", "again", "--max-bad", "0.5", "in"], dir.path());
    let hash = |shown: &str| shown.lines().find(|line| line.starts_with("hash")).unwrap().to_string();
    assert_eq!(hash(&shown), hash(&again), "the same files give the same data");
}

#[test]
fn filters_leave_out_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, content: String| std::fs::write(dir.path().join(name), content).unwrap();
    let forty = helix("A", 1, 40);
    put("good.pdb", pdb_file("1ABC", &forty)); // diffraction, 1.8 Å, mean B-factor 84.5
    put("em.cif", cif_file("2ABC", &forty)); // microscopy, 3.2 Å
    put("bare.pdb", pdb(&forty));
    put("broken.pdb", pdb_file("", &[&forty[..60], &forty[75..]].concat()));
    let modified = renamed(&forty[..30], "TYS");
    put("modified.pdb", pdb_file("", &[&modified[..], &forty[30..], &helix("A", 41, 20)].concat()));
    let poor: Vec<Atom> = forty.iter().map(|atom| Atom { b_factor: 60.0, ..atom.clone() }).collect();
    put("poor.pdb", pdb_file("", &poor));
    let all = ["bare.pdb", "broken.pdb", "em.cif", "good.pdb", "modified.pdb", "poor.pdb"];
    let run = |out: &str, options: &[&str]| {
        succeed(&[&["--out", out], options, &all[..]].concat(), dir.path());
        left_out(&dir.path().join(out)).into_iter().collect::<Vec<_>>()
    };
    assert!(run("a", &[]).is_empty());
    assert_eq!(run("b", &["--max-resolution", "2"]), ["bare.pdb A: resolution not stated", "em.cif A: resolution"]);
    assert_eq!(run("c", &["--methods", "diffraction,unknown"]), ["em.cif A: method"]);
    assert_eq!(run("d", &["--min-plddt", "70"]), ["poor.pdb A: pLDDT"]);
    assert_eq!(run("e", &["--max-breaks", "0"]), ["broken.pdb A: chain breaks", "modified.pdb A: chain breaks"]);
    assert_eq!(run("f", &["--max-non-standard", "0.1"]), ["modified.pdb A: non-standard residues"]);
    assert_eq!(
        run("g", &["--min-length", "36", "--max-length", "45"]),
        ["broken.pdb A: too short", "modified.pdb A: too long"]
    );
    let manifest = Dataset::open(&dir.path().join("f"), true).unwrap().manifest().clone();
    assert_eq!(manifest.dropped["all files"]["non-standard residues"], 1);
    assert!(!manifest.dropped.contains_key("the chains taken"));
}

#[test]
fn labels_clusters_and_splits() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &[u8]| std::fs::write(dir.path().join(name), content).unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    let mut list = String::new();
    for i in 0..60 {
        let id = format!("{}x{:02}", 1 + i % 9, i);
        put(&format!("in/{id}.pdb"), pdb_file("", &helix("A", 1, 40)).as_bytes());
        // Twenty clusters of three; the representative is no member of the data.
        list += &format!("rep{}\t{id}_A\n", i / 3);
    }
    put("in/AF-P1-F1-model_v4.pdb", pdb_file("", &helix("A", 1, 40)).as_bytes());
    put("x_cluster.tsv", list.as_bytes());
    put("cath-b.gz", &pack(b"1x00A01 v4 1.10.8.10 1-20:A\n1x00A02 v4 3.40.50.300 21-40:A\n2x01A00 v4 2.60 1-40:A\n"));
    let ted =
        "AF-P1-F1-model_v4_TED01\tm\thigh\t1-40\t40\t1\t90\t1\t1\t0\t1\t0\tp\t3.40.640\tT\tfoldseek\t1\t1\t-\ts\tl\n";
    put("ted.tsv", ted.as_bytes());
    let options =
        ["--clusters", "x_cluster.tsv", "--labels", "cath-b.gz", "--labels", "ted.tsv", "--fractions", "0.6,0.2,0.2"];
    let shown = succeed(&[&["--out", "out"], &options[..], &["--seed", "3", "in"]].concat(), dir.path());
    assert!(shown.contains("3 of 61 chains have a fold label"), "{shown}");
    assert!(shown.contains("60 chains in 20 clusters, the others by themselves"), "{shown}");
    let found = chains(&dir.path().join("out"));
    assert_eq!(found["1x00_A"].1.folds(), ["1.10.8.10", "3.40.50.300"]);
    assert_eq!(found["2x01_A"].1.folds(), ["2.60"]);
    assert_eq!(found["AF-P1-F1-model_v4_A"].1.folds(), ["3.40.640"]);
    assert_eq!(found["AF-P1-F1-model_v4_A"].1.cluster(), "");
    let dataset = Dataset::open(&dir.path().join("out"), true).unwrap();
    let classes = dataset.fold_classes().unwrap();
    assert_eq!(classes.levels[1], ["1.10", "2.60", "3.40"]);
    assert_eq!(classes.levels[2], ["1.10.8", "3.40.50", "3.40.640"]);
    let splits = |found: &BTreeMap<String, (String, ChainRecord)>| {
        let mut of = BTreeMap::<String, BTreeSet<String>>::new();
        for (split, record) in found.values() {
            of.entry(record.cluster().to_string()).or_default().insert(split.clone());
        }
        of.remove("");
        of
    };
    let first = splits(&found);
    assert!(first.len() == 20 && first.values().all(|splits| splits.len() == 1), "{first:?}");
    assert_eq!(first.values().flatten().collect::<BTreeSet<_>>().len(), 3);
    succeed(&[&["--out", "other"], &options[..], &["--seed", "4", "in"]].concat(), dir.path());
    assert_ne!(first, splits(&chains(&dir.path().join("other"))));
    let manifest = dataset.manifest();
    assert_eq!(manifest.source["clusters"]["name"], "x_cluster.tsv");
    assert_eq!(manifest.source["files"]["number"], 61);
    let message = fail(&["--out", "no", "--labels", "x_cluster.tsv", "in"], dir.path(), 3);
    assert!(message.contains("x_cluster.tsv: line 1: none of the tables known"), "{message}");
}

#[test]
fn lists_of_ids_name_files_of_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("afdb/00")).unwrap();
    for i in 0..4 {
        let path = dir.path().join(format!("afdb/00/AF-P{i}-F1-model_v4.cif.gz"));
        std::fs::write(path, pack(cif_file("AF", &helix("A", 1, 40)).as_bytes())).unwrap();
    }
    let list = "AF-P0-F1-model_v4\nAF-P2-F1-model_v4\n\nAF-P0-F1-model_v4\nAF-P9-F1-model_v4\n";
    std::fs::write(dir.path().join("index.txt"), list).unwrap();
    let options = ["--ids", "index.txt", "--folder", "afdb"];
    let shown = succeed(&[&["--out", "out", "--max-bad", "0.4"], &options[..]].concat(), dir.path());
    assert!(shown.starts_with("3 files, 1 of them bad; 2 of 2 chains taken"), "{shown}");
    let found = chains(&dir.path().join("out"));
    assert!(found.keys().eq(["AF-P0-F1-model_v4_A", "AF-P2-F1-model_v4_A"]));
    assert!(left_out(&dir.path().join("out")).contains("AF-P9-F1-model_v4: bad file"));
    let message = fail(&[&["--out", "no"], &options[..]].concat(), dir.path(), 3);
    assert!(message.contains("no such file in the folder"), "{message}");
}

#[test]
fn wrong_arguments_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.pdb"), pdb_file("", &helix("A", 1, 40))).unwrap();
    for (arguments, expected) in [
        (&["--out", "out", "--fractions", "0.5,0.6,0.1", "a.pdb"][..], "sum 1"),
        (&["--out", "out", "--max-bad", "2", "a.pdb"], "between 0 and 1"),
        (&["--out", "out", "--min-length", "50", "--max-length", "40", "a.pdb"], "--min-length 50"),
        (&["--out", "a.pdb", "a.pdb"], "refusing to overwrite"),
    ] {
        let message = fail(arguments, dir.path(), 2);
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(tool(&["--out", "out"], dir.path()).status.code(), Some(2));
    assert_eq!(tool(&["--out", "out", "--ids", "list", "a.pdb"], dir.path()).status.code(), Some(2));
    assert!(
        fail(&["--out", "out", "--min-length", "41", "a.pdb"], dir.path(), 3).contains("no chain of 1 files is taken")
    );
    assert!(fail(&["--out", "out", "missing.pdb"], dir.path(), 7).contains("missing.pdb"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left behind");
}

#[test]
fn no_folders_name_gets_into_a_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret-folder");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("a.pdb"), pdb_file("", &helix("A", 1, 40))).unwrap();
    std::fs::write(secret.join("b.pdb"), "nothing").unwrap();
    std::fs::write(secret.join("c_cluster.tsv"), "a_A\ta_A\n").unwrap();
    let paths = ["out", "a.pdb", "b.pdb", "c_cluster.tsv"].map(|name| secret.join(name).to_str().unwrap().to_string());
    let [out, a, b, list] = &paths;
    succeed(&["--max-bad", "0.9", "--clusters", list, "--out", out, a, b], dir.path());
    for entry in std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()) {
        let content = text(&std::fs::read(&entry).unwrap());
        assert!(!content.contains("secret-folder"), "{}", entry.display());
    }
}

#[test]
fn the_sample_is_whole_and_its_clusters_are_on_one_side() {
    let found = chains(&sample("proteins"));
    assert!(found.len() > 150, "{} chains", found.len());
    let mut side = BTreeMap::new();
    for (split, record) in found.values() {
        assert_eq!(side.entry(record.cluster().to_string()).or_insert(split.clone()), split);
        assert!((32..=256).contains(&record.num_residues()));
    }
    let listed = std::fs::read_to_string(sample("proteins").with_extension("tsv")).unwrap();
    let rows: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), found.len());
    for row in rows {
        let (split, record) = &found[row[0]];
        let residues = record.num_residues().to_string();
        assert_eq!(row[1..4], [residues.as_str(), split, record.cluster()], "{}", row[0]);
    }
    // Neighbours in real chains are 3.8 Å apart.
    let dataset = open_sample("proteins");
    let record = dataset.split("train").unwrap().chain(0).unwrap();
    let points = record.points(0..record.num_residues()).unwrap();
    let distances = points.windows(2).map(|p| (0..3).map(|k| (p[1][k] - p[0][k]).powi(2)).sum::<f64>().sqrt());
    let near = distances.filter(|d| (d - 3.8).abs() < 0.15).count();
    assert!(near as f64 > 0.9 * points.len() as f64, "{near} of {}", points.len());
}
