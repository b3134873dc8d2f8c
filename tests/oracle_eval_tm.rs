//! TM-scores against tmtools 0.3.0 (the authors' TM-align as a Python module) and Debian's program tm-align, on
//! chains of the Protein Data Bank. Run with `--nocapture` to see the largest difference of every quantity as a table
//! row. Many more pairs, and times: `bench/tm.py`.

use std::collections::HashMap;
use std::path::Path;

use qsd::eval::backbones::tm::{self, Library, align, novelty, pairwise, score};
use qsd::geometry::vector::{norm_squared, sub};
use qsd::geometry::{Point, kabsch, rotation_from_quaternion};
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    chains: Vec<Chain>,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Chain {
    id: String,
    ca: Vec<Point>,
}

#[derive(Deserialize)]
struct Pair {
    first: String,
    second: String,
    tm_first: f64,
    tm_second: f64,
    rmsd: f64,
    program: Program,
}

#[derive(Deserialize)]
struct Program {
    tm_first: f64,
    tm_second: f64,
    aligned: usize,
    rmsd: f64,
}

#[derive(Deserialize)]
struct Made {
    pairs: Vec<MadePair>,
}

#[derive(Deserialize)]
struct MadePair {
    first: Vec<Point>,
    second: Vec<Point>,
    tm_first: f64,
    tm_second: f64,
    rmsd: f64,
    residue_on_residue: Option<f64>,
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/eval").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn fixture() -> (HashMap<String, Vec<Point>>, Vec<Pair>) {
    let fixture: Fixture = read("chains.json");
    (fixture.chains.into_iter().map(|chain| (chain.id, chain.ca)).collect(), fixture.pairs)
}

fn report(quantity: &str, differences: &[f64], tolerance: f64) {
    let worst = differences.iter().fold(0.0, |worst: f64, difference| worst.max(difference.abs()));
    println!("| {quantity} | {worst:.1e} | |");
    assert!(!differences.is_empty() && worst <= tolerance, "{quantity}: {worst:e} > {tolerance:e}");
}

#[test]
fn as_tmtools_and_the_program() {
    let (chains, pairs) = fixture();
    let found: Vec<_> = pairs.iter().map(|pair| align(&chains[&pair.first], &chains[&pair.second])).collect();
    let both = || found.iter().zip(&pairs);
    let tm =
        |(found, pair): (&tm::Alignment, &Pair)| [found.tm_first - pair.tm_first, found.tm_second - pair.tm_second];
    report("TM-align: TM-scores by either length, tmtools", &both().flat_map(tm).collect::<Vec<_>>(), 1e-10);
    let rmsd: Vec<f64> = both().map(|(found, pair)| found.rmsd - pair.rmsd).collect();
    report("TM-align: RMSD of the aligned residues, Å, tmtools", &rmsd, 1e-8);

    // The program prints five decimals of a score and two of an RMSD.
    let program = |(found, pair): (&tm::Alignment, &Pair)| {
        [found.tm_first - pair.program.tm_first, found.tm_second - pair.program.tm_second]
    };
    let (alike, unrelated): (Vec<_>, Vec<_>) =
        both().flat_map(program).zip(both().flat_map(|(f, _)| [f.tm_first; 2])).partition(|(_, tm)| *tm >= 0.5);
    let first = |pairs: Vec<(f64, f64)>| pairs.into_iter().map(|(difference, _)| difference).collect::<Vec<_>>();
    report("TM-align: TM-scores from 0.5, program", &first(alike), 1e-5);
    report("TM-align: TM-scores below 0.5, program", &first(unrelated), 1e-5);
    let rmsd: Vec<f64> = both().map(|(found, pair)| found.rmsd - pair.program.rmsd).collect();
    report("TM-align: RMSD of the aligned residues, Å, program", &rmsd, 0.0051);
    for (found, pair) in both() {
        assert_eq!(found.aligned, pair.program.aligned, "{} {}", pair.first, pair.second);
    }
}

/// Chains that use what natural ones rarely do: the start from unbroken pieces, the rules for few residues.
#[test]
fn made_up_chains_as_tmtools() {
    let made: Made = read("made_chains.json");
    let of = |pair: &MadePair| {
        let found = align(&pair.first, &pair.second);
        [found.tm_first - pair.tm_first, found.tm_second - pair.tm_second, found.rmsd - pair.rmsd]
    };
    let differences: Vec<f64> = made.pairs.iter().flat_map(of).collect();
    report("TM-align: made-up chains of 4 to 58 residues, TM-scores and RMSD, tmtools", &differences, 1e-8);
    let given = made.pairs.iter().filter_map(|pair| Some(score(&pair.first, &pair.second) - pair.residue_on_residue?));
    report("TM-score residue on residue, made-up chains, tmtools", &given.collect::<Vec<_>>(), 1e-10);
}

/// What an alignment says of itself holds: its residues, their RMSD, the score of its superposition.
#[test]
fn alignments_are_consistent() {
    let (chains, pairs) = fixture();
    for pair in &pairs {
        let (first, second) = (&chains[&pair.first], &chains[&pair.second]);
        let found = align(first, second);
        assert_eq!(found.residues.len(), found.aligned);
        assert!(found.residues.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 < two[1].1));

        let (mut moved, other): (Vec<Point>, Vec<Point>) =
            found.residues.iter().map(|&(i, j)| (first[i], second[j])).unzip();
        kabsch::align(&moved, &other).apply(&mut moved);
        let square = |a: &Point, b: &Point| norm_squared(&sub(a, b));
        let mean = moved.iter().zip(&other).map(|(a, b)| square(a, b)).sum::<f64>() / moved.len() as f64;
        assert!((mean.sqrt() - found.rmsd).abs() < 1e-9);

        let mut moved = first.clone();
        found.motion.apply(&mut moved);
        let n = second.len() as f64;
        let d0 = 1.24 * (n - 15.0).cbrt() - 1.8;
        let sum: f64 =
            found.residues.iter().map(|&(i, j)| 1.0 / (1.0 + square(&moved[i], &second[j]) / (d0 * d0))).sum();
        assert!((sum / n - found.tm_second).abs() < 1e-9, "{} {}", sum / n, found.tm_second);
    }
}

/// The highest score of many ascents: from every fragment's superposition the fit is weighted anew until it stays.
fn brute_force(first: &[Point], second: &[Point]) -> f64 {
    let n = first.len() as f64;
    let d0 = (1.24 * (n - 15.0).cbrt() - 1.8).max(0.5);
    let value = |weights: &mut Vec<f64>, motion: &kabsch::RigidMotion| {
        let mut moved = first.to_vec();
        motion.apply(&mut moved);
        *weights = moved.iter().zip(second).map(|(a, b)| 1.0 / (1.0 + norm_squared(&sub(a, b)) / (d0 * d0))).collect();
        weights.iter().sum::<f64>() / n
    };
    let mut best: f64 = 0.0;
    // At a maximum the gradient is zero: a fit weighted by the squares of the pairs' scores.
    for length in [3, 5, 8, 13, 21, 34, 55, first.len()].into_iter().filter(|&length| length <= first.len()) {
        for start in 0..=first.len() - length {
            let part = start..start + length;
            let mut motion = kabsch::align(&first[part.clone()], &second[part]);
            let mut weights = Vec::new();
            let mut score = value(&mut weights, &motion);
            for _ in 0..200 {
                motion = weighted(first, second, &weights);
                let next = value(&mut weights, &motion);
                if next - score < 1e-9 {
                    break;
                }
                score = next;
            }
            best = best.max(score);
        }
    }
    best
}

/// The motion that minimises `Σ w² |R x + t − y|²`, by nalgebra's singular values.
fn weighted(first: &[Point], second: &[Point], weights: &[f64]) -> kabsch::RigidMotion {
    let total: f64 = weights.iter().map(|w| w * w).sum();
    let centre = |points: &[Point]| -> Point {
        std::array::from_fn(|k| points.iter().zip(weights).map(|(p, w)| w * w * p[k]).sum::<f64>() / total)
    };
    let (from, to) = (centre(first), centre(second));
    let mut b = nalgebra::Matrix3::zeros();
    for ((x, y), w) in first.iter().zip(second).zip(weights) {
        b += w * w * nalgebra::Vector3::from(sub(y, &to)) * nalgebra::Vector3::from(sub(x, &from)).transpose();
    }
    let svd = b.svd(true, true);
    let (u, v_t) = (svd.u.unwrap(), svd.v_t.unwrap());
    let sign = nalgebra::Vector3::new(1.0, 1.0, (u * v_t).determinant().signum());
    let r = u * nalgebra::Matrix3::from_diagonal(&sign) * v_t;
    let rotation = std::array::from_fn(|i| std::array::from_fn(|j| r[(i, j)]));
    let translation = sub(&to, &qsd::geometry::rotate(&rotation, &from));
    kabsch::RigidMotion { rotation, translation }
}

/// The search for the best superposition of given pairs is a heuristic. On chains that have something in common (a
/// distorted copy, two relatives) it is as good as a far longer search that ascends from every fragment.
#[test]
fn scores_as_a_brute_force_search() {
    let (chains, pairs) = fixture();
    let mut differences = Vec::new();
    for pair in pairs.iter().take(8) {
        let found = align(&chains[&pair.first], &chains[&pair.second]);
        let (first, second): (Vec<Point>, Vec<Point>) =
            found.residues.iter().map(|&(i, j)| (chains[&pair.first][i], chains[&pair.second][j])).unzip();
        let (quick, thorough) = (score(&first, &second), brute_force(&first, &second));
        assert!(quick <= thorough + 1e-3, "no score can be higher than the highest: {quick} {thorough}");
        differences.push(thorough - quick);
    }
    report("TM-score residue on residue, brute force", &differences, 2e-3);
}

#[test]
fn laws() {
    let (chains, pairs) = fixture();
    let motion = kabsch::RigidMotion {
        rotation: rotation_from_quaternion([0.2, -0.7, 0.4, 0.5]),
        translation: [31.0, -12.0, 250.0],
    };
    for pair in pairs.iter().take(6) {
        let (first, second) = (&chains[&pair.first], &chains[&pair.second]);
        let found = align(first, second);
        let mut moved = first.clone();
        motion.apply(&mut moved);
        let of_moved = align(&moved, second);
        assert!((of_moved.tm_first - found.tm_first).abs() < 1e-9, "{} after a motion", pair.first);
        assert_eq!(of_moved.residues, found.residues);

        let swapped = align(second, first);
        assert!((swapped.tm_second - found.tm_first).abs() < 0.02, "{} and {} swapped", pair.first, pair.second);

        assert!((score(first, &moved) - 1.0).abs() < 1e-12 && (align(first, &moved).tm_first - 1.0).abs() < 1e-12);
        let mirrored: Vec<Point> = first.iter().map(|p| [-p[0], p[1], p[2]]).collect();
        assert!(score(first, &mirrored) < 0.5 && align(first, &mirrored).tm_first < 0.9, "{} mirrored", pair.first);
    }
}

#[test]
fn chains_that_cannot_be_compared_have_no_score() {
    let chain = |n: usize| (0..n).map(|i| [3.8 * i as f64, 0.0, 0.0]).collect::<Vec<Point>>();
    let nan = vec![[f64::NAN; 3]; 10];
    let far = vec![[1e7, 0.0, 0.0]; 10];
    for bad in [chain(0), chain(2), nan, far, chain(tm::LONGEST + 1)] {
        assert!(tm::check(&bad).is_err());
        let found = align(&bad, &chain(10));
        assert!(found.tm_first.is_nan() && found.tm_second.is_nan() && found.rmsd.is_nan() && found.aligned == 0);
        assert!(align(&chain(10), &bad).tm_first.is_nan() && score(&bad, &bad).is_nan());
    }
    assert!(score(&chain(10), &chain(11)).is_nan(), "residue i needs a residue i");

    // Odd, but comparable: few residues, all in one place, on a line, with a leap.
    let point = vec![[1.0, 2.0, 3.0]; 30];
    let leap: Vec<Point> = (0..30).map(|i| [if i < 15 { 0.0 } else { 9e5 } + 3.8 * i as f64, 0.0, 0.0]).collect();
    for odd in [chain(3), chain(4), chain(5), chain(40), point.clone(), leap.clone()] {
        for other in [chain(3), chain(17), point.clone(), leap.clone()] {
            let found = align(&odd, &other);
            assert!((0.0..=1.0 + 1e-9).contains(&found.tm_first), "{} {}: {found:?}", odd.len(), other.len());
        }
        assert!((score(&odd, &odd) - 1.0).abs() < 1e-9);
    }
}

#[test]
fn pairs_of_a_set_and_their_clusters() {
    let (chains, pairs) = fixture();
    // Three pairs of relatives.
    let names: Vec<&String> = pairs[..3].iter().flat_map(|pair| [&pair.first, &pair.second]).collect();
    let set: Vec<&Vec<Point>> = names.iter().map(|name| &chains[*name]).collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let count = |n: usize| {
        done.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
    };
    let matrix = pairwise(&set, &count).unwrap();
    assert_eq!(done.into_inner(), 15);
    for i in 0..6 {
        assert_eq!(matrix.by_length_of(i, i), 1.0);
        for j in i + 1..6 {
            let found = align(set[i], set[j]);
            assert_eq!((matrix.by_length_of(i, j), matrix.by_length_of(j, i)), (found.tm_first, found.tm_second));
        }
    }
    let clusters = matrix.clusters(0.5);
    let members: Vec<Vec<usize>> = clusters.into_iter().map(|cluster| cluster.members).collect();
    assert_eq!(members, [[0, 1], [2, 3], [4, 5]]);

    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one_thread.install(|| pairwise(&set, &|_| ())).unwrap(), matrix, "the number of threads shows");
}

/// A PDB file of Cα atoms.
fn pdb(chains: &[(char, &[Point])]) -> String {
    let line = |serial: usize, chain: char, i: usize, p: &Point| {
        format!(
            "ATOM  {serial:5}  CA  ALA {chain}{:4}    {:8.3}{:8.3}{:8.3}  1.00  0.00           C  \n",
            i + 1,
            p[0],
            p[1],
            p[2]
        )
    };
    let lines =
        chains.iter().flat_map(|(id, points)| points.iter().enumerate().map(move |(i, p)| line(i + 1, *id, i, p)));
    lines.collect::<String>() + "END\n"
}

#[test]
fn the_nearest_of_a_folder() {
    let (chains, pairs) = fixture();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    // The relatives of three queries, two in one file; a query's own start; what cannot be read or compared.
    let known = |k: usize| chains[&pairs[k].second].as_slice();
    write("a.pdb", &pdb(&[('A', known(3)), ('B', known(6))]));
    std::fs::create_dir(folder.path().join("more")).unwrap();
    write("more/b.pdb", &pdb(&[('C', known(8))]));
    write("c.pdb", &pdb(&[('A', &chains[&pairs[3].first][..20])]));
    write("broken.pdb", "no structure\n");
    write("short.pdb", &pdb(&[('X', &known(3)[..2])]));
    let queries: Vec<&Vec<Point>> = [3, 6, 8].iter().map(|&k| &chains[&pairs[k].first]).collect();
    let library = Library::below(folder.path()).unwrap();
    let items = std::sync::atomic::AtomicUsize::new(0);
    let done = || {
        items.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    };
    let found = novelty(&queries, &library, &done).unwrap();

    assert_eq!((items.into_inner(), library.len(), found.known), (5, 5, 4));
    let names: Vec<&str> = found.nearest.iter().map(|nearest| nearest.name.as_str()).collect();
    assert_eq!(names, ["a.pdb A", "a.pdb B", "b.pdb C"]);
    for (nearest, k) in found.nearest.iter().zip([3, 6, 8]) {
        let expected = align(&chains[&pairs[k].first], known(k));
        assert_eq!(
            (nearest.tm, nearest.tm_known, nearest.aligned),
            (expected.tm_first, expected.tm_second, expected.aligned)
        );
    }
    let left_out: Vec<(&str, bool)> =
        found.left_out.iter().map(|left| (left.name.as_str(), left.reason.contains("2 residues"))).collect();
    assert_eq!(left_out, [("broken.pdb", false), ("short.pdb X", true)]);

    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(
        one_thread.install(|| novelty(&queries, &library, &|| ())).unwrap(),
        found,
        "the number of threads shows"
    );
}

/// Known chains that cannot be the nearest are not aligned; those that can be are, however late they come.
#[test]
fn the_nearest_is_not_filtered_away() {
    let (chains, pairs) = fixture();
    let (query, relative) = (&chains[&pairs[9].first], &chains[&pairs[9].second]);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, points: &[Point]| std::fs::write(folder.path().join(name), pdb(&[('A', points)])).unwrap();
    let nearest = || {
        let library = Library::below(folder.path()).unwrap();
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let found = one_thread.install(|| novelty(&[query], &library, &|| ())).unwrap();
        (found.nearest[0].name.clone(), found.nearest[0].tm, found.known)
    };
    let part = |share: f64| &query[..(share * query.len() as f64) as usize];
    write("1.pdb", relative);
    let (_, of_relative, _) = nearest();
    assert!((0.7..0.8).contains(&of_relative));
    write("2.pdb", part(0.7));
    assert_eq!(nearest(), ("1.pdb A".into(), of_relative, 2), "at most 0.7");
    write("3.pdb", part(0.85));
    let (name, of_part, _) = nearest();
    assert!(name == "3.pdb A" && of_part > 0.84, "{name} {of_part}");
    write("4.pdb", query);
    let (name, of_itself, _) = nearest();
    assert!(name == "4.pdb A" && (of_itself - 1.0).abs() < 1e-12, "{name} {of_itself}");
}

#[test]
fn no_known_chain_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pdb"), "").unwrap();
    let query = vec![[0.0; 3]; 10];
    let search = |query: &Vec<Point>| {
        novelty(&[query], &Library::below(folder.path()).unwrap(), &|| ()).unwrap_err().to_string()
    };
    let message = search(&query);
    assert!(message.contains("none of 1 items") && message.contains("empty.pdb"), "{message}");
    let message = search(&vec![[0.0; 3]; 1]);
    assert!(message.contains("chain 1 of 1: 1 residues"), "{message}");
}
