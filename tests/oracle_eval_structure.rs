//! Secondary structure and Cα geometry against biotite and numpy.
//! Run with `--nocapture` to see a table row for each comparison.

mod common;

use std::io::Write as _;
use std::process::{Command, Stdio};

use common::{python, root};
use qsd::data::Dataset;
use qsd::eval::backbones::{Structure, secondary_structure, shape, share};
use qsd::geometry::Point;
use qsd::random::{Purpose, stream};
use rand::RngExt as _;
use serde::Deserialize;
use serde_json::Value;

/// The letters of a chain.
fn letters(positions: &[Point]) -> String {
    secondary_structure(positions).iter().map(ToString::to_string).collect()
}

#[derive(Deserialize)]
struct Fixture {
    chains: Vec<Chain>,
}

/// A chain of the PDB and the letters that biotite gave it.
#[derive(Deserialize)]
struct Chain {
    id: String,
    ca: Vec<Point>,
    psea: String,
}

/// The means over these chains of the shares of helix, strand and coil, as biotite has them.
const MEAN_SHARES: [(Structure, f64); 3] = [
    (Structure::Helix, 0.25073065390367627),
    (Structure::Strand, 0.21842654437694548),
    (Structure::Coil, 0.5308428017193783),
];

#[test]
fn letters_of_forty_chains() {
    let text = std::fs::read(root().join("tests/fixtures/eval/chains.json")).unwrap();
    let Fixture { chains } = serde_json::from_slice(&text).unwrap();
    assert_eq!(chains.len(), 40);
    let residues: usize = chains.iter().map(|chain| chain.ca.len()).sum();
    chains.iter().for_each(|chain| assert_eq!(letters(&chain.ca), chain.psea, "{}", chain.id));
    println!("| P-SEA, 40 chains of the PDB, {residues} residues | all letters equal |");
    for (kind, expected) in MEAN_SHARES {
        let shares = chains.iter().map(|chain| share(&secondary_structure(&chain.ca), kind));
        let error = (shares.sum::<f64>() / 40.0 - expected).abs();
        println!("| mean share, {kind:?} | {error:.1e} |");
        assert!(error < 1e-12, "{kind:?}: {error:e}");
    }
}

/// What numpy and biotite measure of chains.
fn measured(chains: &[Vec<Point>]) -> Vec<Value> {
    let script = root().join("tests/python/measure_backbones.py");
    let mut command = Command::new(python());
    let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = serde_json::to_vec(chains).unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "the script failed");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Asserts that letters are equal and numbers to 1e-9, and prints the row.
fn compare(name: &str, chains: &[Vec<Point>]) {
    let mut worst: f64 = 0.0;
    for (positions, expected) in chains.iter().zip(measured(chains)) {
        assert_eq!(letters(positions), expected["structure"].as_str().unwrap(), "{name}: {positions:?}");
        let found = shape(positions);
        let mut number = |column: &str, found: f64| match expected[column].as_f64() {
            Some(expected) => {
                worst = worst.max((found - expected).abs());
                assert!(
                    (found - expected).abs() <= 1e-9 * expected.abs().max(1.0),
                    "{name} {column}: {found} {expected}"
                );
            }
            None => assert!(found.is_nan(), "{name} {column}: {found}"),
        };
        number("ca_ca_mean", found.ca_ca_mean);
        number("ca_ca_std", found.ca_ca_std);
        number("ca_ca_median", found.ca_ca_median);
        number("ca_ca_min", found.ca_ca_min);
        number("ca_ca_max", found.ca_ca_max);
        number("ca_ca_good", found.ca_ca_good);
        number("breaks", found.breaks as f64);
        number("close_pairs", found.close_pairs as f64);
        number("clashes", found.clashes());
        number("radius", found.radius);
        number("radius_ratio", found.radius_ratio);
        number("turns", found.turns as f64);
        number("right_handed", found.right_handed());
    }
    let residues: usize = chains.iter().map(Vec::len).sum();
    println!("| {name}: {} chains, {residues} residues | letters equal, numbers to {worst:.0e} |", chains.len());
}

#[test]
fn chains_of_the_sample_and_their_mirror_images() {
    let dataset = Dataset::open(&root().join("data/sample/proteins"), false).unwrap();
    let mut chains = Vec::new();
    for name in dataset.manifest().splits.keys() {
        let split = dataset.split(name).unwrap();
        let records = (0..split.len()).map(|i| split.chain(i).unwrap());
        chains.extend(records.map(|record| record.points(0..record.num_residues()).unwrap()));
    }
    assert_eq!(chains.len(), 183);
    compare("embedded sample", &chains);
    let mirrored: Vec<Vec<Point>> =
        chains.iter().map(|chain| chain.iter().map(|x| [-x[0], x[1], x[2]]).collect()).collect();
    compare("its mirror images", &mirrored);
    let right = |chains: &[Vec<Point>]| {
        let shapes: Vec<_> = chains.iter().map(|chain| shape(chain)).collect();
        let sum = |count: fn(&qsd::eval::backbones::Shape) -> usize| shapes.iter().map(count).sum::<usize>() as f64;
        sum(|shape| shape.right_turns) / sum(|shape| shape.turns)
    };
    println!("| right-handed turns, sample and mirror images | {:.3}, {:.3} |", right(&chains), right(&mirrored));
    assert!(right(&chains) > 0.97 && right(&mirrored) < 0.03);
    // Chains of fewer residues than any element has, and broken ones: pieces of the sample.
    let mut pieces: Vec<Vec<Point>> = chains.iter().flat_map(|c| (1..=8).map(|n| c[10..10 + n].to_vec())).collect();
    pieces.extend(chains.iter().map(|chain| [&chain[..12], &chain[15..22], &chain[23..]].concat()));
    compare("pieces of 1 to 8 residues, chains with gaps", &pieces);
}

#[test]
fn made_up_chains() {
    let mut random = stream(5, Purpose::Prior, 0, 0);
    let mut uniform = move |n: usize| -> Vec<f64> { (0..n).map(|_| random.random()).collect() };
    let mut chains: Vec<Vec<Point>> = Vec::new();
    // Walks whose bond and dihedral angles lie about those of helices and strands, in f64 and rounded as files are.
    for k in 0..200 {
        let (tau, alpha) = if k % 2 == 0 { (89.0, 50.0) } else { (124.0, -170.0) };
        let n = 6 + k % 40;
        let walk = walk(&uniform(2 * n), tau, alpha);
        chains.push(walk.iter().map(|p| p.map(|x| (x * 1e3).round() / 1e3)).collect());
        chains.push(walk);
    }
    compare("walks about helix and strand", &chains);
    let mut degenerate: Vec<Vec<Point>> = Vec::new();
    for n in 1..=12 {
        let line = |f: fn(f64) -> Point| (0..n).map(|i| f(i as f64)).collect::<Vec<Point>>();
        degenerate.push(line(|_| [1.0, 2.0, 3.0]));
        degenerate.push(line(|i| [3.8 * i, 0.0, 0.0]));
        degenerate.push(line(|i| [1.1 * i, -2.2 * i, 0.3 * i]));
        degenerate.push(line(|i| [3.3 * i, 1.8 * (i % 2.0), 0.0]));
        degenerate.push(line(|i| [3.355 * i, 1.784 * (i % 2.0), 0.1 * i]));
        degenerate.push(line(|i| [3.8 * (i % 2.0), 0.0, 0.0]));
        degenerate.push(line(|i| [1e4 + 3.8 * i, 1e4, -1e4]));
        degenerate.push(uniform(3 * n).chunks_exact(3).map(|p| [8.0 * p[0], 8.0 * p[1], 8.0 * p[2]]).collect());
    }
    // A degenerate angle is nothing but rounding; what numpy rounds it to is no measure.
    for (positions, expected) in degenerate.iter().zip(measured(&degenerate)) {
        assert_eq!(letters(positions), expected["structure"].as_str().unwrap(), "{positions:?}");
    }
    println!("| coincident, collinear, planar and scattered points: {} chains | letters equal |", degenerate.len());
}

/// A chain of 3.8 Å steps whose angles are near those given, by the numbers of [0, 1) for each residue.
fn walk(uniform: &[f64], tau: f64, alpha: f64) -> Vec<Point> {
    let mut positions = vec![[0.0; 3], [3.8, 0.0, 0.0], [4.6, 3.7, 0.0]];
    for pair in uniform.chunks_exact(2) {
        let [a, b, c] = positions[positions.len() - 3..].try_into().unwrap();
        let (tau, alpha) = ((tau + 30.0 * (pair[0] - 0.5)).to_radians(), (alpha + 60.0 * (pair[1] - 0.5)).to_radians());
        positions.push(next(a, b, c, tau, alpha));
    }
    positions
}

/// The point 3.8 Å behind `c` at angle τ with `b`, turned by α about the line from `b` to `c`.
fn next(a: Point, b: Point, c: Point, tau: f64, alpha: f64) -> Point {
    use qsd::geometry::vector::{cross, norm_squared, scale, sub};
    let unit = |v: Point| scale(1.0 / norm_squared(&v).sqrt(), &v);
    let along = unit(sub(&c, &b));
    let normal = unit(cross(&sub(&b, &a), &along));
    let aside = cross(&normal, &along);
    let parts = [-tau.cos(), tau.sin() * alpha.cos(), tau.sin() * alpha.sin()];
    std::array::from_fn(|k| c[k] + 3.8 * (parts[0] * along[k] + parts[1] * aside[k] + parts[2] * normal[k]))
}
