//! The examples that draw. Those that show the samplers' exactness, run small: what their tables and figures say, and
//! that wrong samplers are seen to be wrong.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Finished, python, run};

/// `target/<profile>/examples/…`, which cargo builds along with the tests.
fn example(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: build it with `cargo build --example {name}`", path.display());
    path.to_str().unwrap().to_owned()
}

fn draw(name: &str, out: &Path, args: &[&str]) -> Finished {
    run(0, &example(name), &[&["--out", out.to_str().unwrap()], args].concat())
}

/// The rows of the table whose head begins so, by their first cells; each cell's numbers.
fn table(text: &str, head: &str) -> BTreeMap<String, Vec<Vec<f64>>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(&format!("| {head}"))).skip(2);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>();
    let numbers = |cell: &String| cell.split(" ± ").filter_map(|n| n.parse().ok()).collect();
    lines
        .take_while(|line| line.starts_with('|'))
        .map(cells)
        .map(|row| (row[0].clone(), row[1..].iter().map(numbers).collect()))
        .collect()
}

/// What Python's parser finds in a picture: how many elements of each kind and colour there are, and its texts.
fn elements(svg: &Path) -> (BTreeMap<(String, String), usize>, Vec<String>) {
    let script = "
import sys, xml.etree.ElementTree as tree
for e in tree.parse(sys.argv[1]).getroot().iter():
    kind, get = e.tag.split('}')[1], e.attrib.get
    colour = get('stroke') if get('fill', 'none') == 'none' else get('fill')
    print(kind, str(colour).lower(), ' '.join((e.text or '').split()), sep='\\t')
";
    let output = Command::new(python()).args(["-c", script]).arg(svg).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut counts, mut texts) = (BTreeMap::new(), Vec::new());
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let fields: Vec<&str> = line.splitn(3, '\t').collect();
        *counts.entry((fields[0].to_owned(), fields[1].to_owned())).or_insert(0) += 1;
        texts.extend((fields[0] == "text").then(|| fields[2].to_owned()));
    }
    (counts, texts)
}

const PLAIN_ODE: &str = "#cc79a7";
const PLAIN_SDE: &str = "#56b4e9";
const PROJECTED_ODE: &str = "#009e73";
const PROJECTED_SDE: &str = "#005aa0";
const WITHOUT: &str = "#e69f00";
const FLIPPED: &str = "#d55e00";

struct Figure {
    _folder: tempfile::TempDir,
    svg: PathBuf,
    stdout: String,
}

fn figure(name: &str, args: &[&str]) -> Figure {
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("figure.svg");
    let stdout = draw(name, &svg, args).success().stdout;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left but the figure");
    Figure { svg, stdout, _folder: folder }
}

#[test]
fn the_plane_modulo_rotations() {
    let figure = figure("so2", &["--samples", "4000", "--steps", "250"]);
    let rows = table(&figure.stdout, "sampler");
    // The mean radius of a ring of radius ρ with noise τ is ρ + τ²/2ρ + τ⁴/8ρ³ + …
    let mean = |rho: f64, tau: f64| rho + tau.powi(2) / (2.0 * rho) + tau.powi(4) / (8.0 * rho.powi(3));
    let exact = 0.35 * mean(0.7, 0.25) + 0.65 * mean(2.2, 0.25);
    assert!((rows["exact"][0][0] - exact).abs() < 1e-3 && (rows["exact"][1][0] - 35.0).abs() < 0.1, "{rows:?}");
    let inner_and_distance = |way: &str| (rows[way][1][0], rows[way][2][0]);
    for way in ["plain ODE", "projected ODE", "plain SDE", "projected SDE, −h̃"] {
        let (inner, distance) = inner_and_distance(way);
        assert!((inner - 35.0).abs() < 4.0 && distance < 0.05, "{way}: {inner} {distance}");
        assert!((0.005..0.03).contains(&rows[way][0][1]), "the standard error of {way}");
    }
    for (way, least) in [("projected SDE, no h̃", 55.0), ("projected SDE, +h̃", 75.0)] {
        let (inner, distance) = inner_and_distance(way);
        assert!(inner > least && distance > 0.2, "{way} must be seen to be wrong: {inner} {distance}");
    }
    let (elements, texts) = elements(&figure.svg);
    let lines = |colour: &str| elements.get(&("polyline".into(), colour.into())).copied().unwrap_or(0);
    // Ten deterministic and four stochastic paths, and a histogram for each of the last three.
    let found = [PLAIN_ODE, PROJECTED_ODE, PLAIN_SDE, PROJECTED_SDE, WITHOUT, FLIPPED].map(lines);
    assert_eq!(found, [10, 10, 4, 4 + 1, 1, 1]);
    for text in ["a", "g", "radius", "density", "plain ODE", "projected SDE, −h̃", "projected SDE, +h̃"] {
        assert!(texts.iter().any(|t| t == text), "{text} in {texts:?}");
    }
}

#[test]
fn rigid_motions() {
    let figure = figure("se3", &["--samples", "500", "--steps", "128"]);
    let gaussian = table(&figure.stdout, "Gaussian points");
    let convergence = table(&figure.stdout, "error of the mean singular values");
    let template = table(&figure.stdout, "turned template");
    // 40,000 exact draws.
    for (found, expected) in gaussian["exact"].iter().zip([0.618, 2.000, 3.775]) {
        assert!((found[0] - expected).abs() < 0.02, "{found:?} {expected}");
    }
    for way in ["plain SDE", "projected ODE", "projected SDE, −h̃"] {
        for (found, exact) in gaussian[way].iter().zip(&gaussian["exact"]).take(3) {
            assert!((found[0] - exact[0]).abs() < 4.5 * found[1] + 0.015 * exact[0], "{way}: {found:?} {exact:?}");
        }
        assert!(gaussian[way][3][0] < 0.11 && template[way][2][0] < 0.13, "{way}");
        let last = &convergence[way][5];
        assert!(last[0].abs() < 4.0 * last[1] + 0.5, "{way}: {last:?}");
    }
    for (way, singular, ends) in [("projected SDE, no h̃", 15.0, 0.1), ("projected SDE, +h̃", 38.0, 0.25)] {
        for errors in &convergence[way] {
            assert!(errors[0] < -singular, "{way} is wrong however short the steps: {errors:?}");
        }
        assert!(gaussian[way][3][0] > 0.2 && template[way][2][0] > 0.1, "{way}");
        assert!(template["exact"][0][0] - template[way][0][0] > ends, "{way}");
    }
    assert!(figure.stdout.contains("\n0 of 200 projected paths are longer than the plain ones;"), "{}", figure.stdout);
    let (elements, texts) = elements(&figure.svg);
    for colour in [PLAIN_SDE, PROJECTED_ODE, PROJECTED_SDE, WITHOUT, FLIPPED] {
        let count = |kind: &str| elements.get(&(kind.into(), colour.into())).copied().unwrap_or(0);
        // Three singular values, a distance, the convergence with its dots, and the key.
        let paths = if colour == PROJECTED_ODE { 200 } else { 0 };
        assert_eq!([count("polyline"), count("circle"), count("rect")], [5, 6 + paths, 1], "{colour}");
    }
    for text in ["a", "f", "smallest singular value", "two standard errors", "equal", "8", "256", "projected SDE, no h̃"]
    {
        assert!(texts.iter().any(|t| t == text), "{text} in {texts:?}");
    }
}

#[test]
fn figures_do_not_depend_on_threads_and_their_failures_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = |threads: &str| {
        let out = folder.path().join(threads);
        let small = ["--samples", "700", "--steps", "20", "--out", out.to_str().unwrap()];
        let output = Command::new(example("so2")).args(small).env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success());
        (output.stdout, std::fs::read(out).unwrap())
    };
    assert!(drawn("1") == drawn("3"));
    let missing = folder.path().join("no/such/folder/figure.svg");
    draw("so2", &missing, &["--samples", "100", "--steps", "20"]).failure(7, &["no/such/folder"]);
    assert_eq!(draw("se3", &missing, &["--samples", "5"]).code, 2);
}

/// A molecule as an SDF record, and a chain as a PDB file.
const WATERS: &str = "water
  test

  3  2  0  0  0  0            999 V2000
    0.0000    0.0000    0.1000 O   0  0
    0.7600    0.0000   -0.4800 H   0  0
   -0.7600    0.0000   -0.4800 H   0  0
  1  2  1  0
  1  3  1  0
M  END
$$$$
";
const RESIDUES: &str = "\
ATOM      1  CA  ALA A   1       0.000   0.000   0.000  1.00  0.00           C
ATOM      2  CA  ALA A   2       3.800   0.000   0.000  1.00  0.00           C
ATOM      3  CA  ALA A   3       5.000   3.600   0.000  1.00  0.00           C
ATOM      4  CA  ALA A   4       8.500   4.500   1.200  1.00  0.00           C
";

#[test]
fn samples_are_drawn_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("waters.sdf"), WATERS.repeat(7)).unwrap();
    std::fs::write(path("chain.pdb"), RESIDUES).unwrap();
    std::fs::write(path("empty.sdf"), "").unwrap();
    // Width and height stand in the bytes 16 to 24 of a PNG file.
    let size = |name: &str| {
        let bytes = std::fs::read(path(name)).unwrap();
        assert_eq!(&bytes[..8], b"\x89PNG\r\n\x1a\n");
        [16, 20].map(|at| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()))
    };
    let draw = |args: &[&str]| run(0, &example("draw"), args);
    draw(&[&path("waters.sdf"), "--out", &path("all.png")]).success();
    draw(&[&path("waters.sdf"), "--every", "3", "--out", &path("some.png")]).success();
    draw(&[&path("chain.pdb"), &path("chain.pdb"), "--out", &path("chains.png")]).success();
    assert_eq!([size("all.png"), size("some.png"), size("chains.png")], [[1024, 512], [768, 256], [512, 256]]);
    draw(&[&path("empty.sdf"), "--out", &path("x.png")]).failure(3, &["empty.sdf", "nothing to draw"]);
    draw(&[&path("missing.sdf"), "--out", &path("x.png")]).failure(7, &["missing.sdf"]);
    assert!(!folder.path().join("x.png").exists());
}
