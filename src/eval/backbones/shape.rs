//! The geometry of a Cα trace: distances of neighbours, contacts that cannot be, size, handedness.

use serde::Serialize;

use crate::geometry::vector::{centroid, cross, dot, norm_squared, sub};
use crate::geometry::{Point, vector};

/// Neighbours farther apart, in Å, are a break, and their distance is none of neighbours. Data have breaks beyond 4.0 Å
/// ([`crate::bio::BREAK_DISTANCE`]); the neighbours of a poor sample scatter beyond that and are meant to be seen.
pub const BREAK: f64 = 4.5;
/// The distance of Cα atoms across a trans peptide bond, and how far from it a good one may be, in Å.
pub const TRANS: f64 = 3.8;
const TRANS_TOLERANCE: f64 = 0.1;
/// No two residues are nearer than this, in Å: Proteina's collisions.
pub const CLOSE: f64 = 2.0;
/// Residues that are not next or next but one keep this distance, in Å.
pub const CLASH: f64 = 3.4;
/// Residues within this many places along the chain do not clash.
const CLASH_APART: usize = 2;
/// The radius of gyration of folded chains of N residues is about 2.2 N^0.38 Å (Skolnick, Kolinski and Ortiz,
/// J. Mol. Biol. 265 (1997) 217–241).
const FOLDED_RADIUS: (f64, f64) = (2.2, 0.38);
/// Angles at the inner residues of a helical turn, and the size of its dihedral angle: P-SEA's, in degrees.
const TURN_ANGLE: (f64, f64) = (77.0, 101.0);
const TURN_DIHEDRAL: (f64, f64) = (30.0, 70.0);

/// The geometry of one chain. Lengths are in Å; a number that the chain is too short for is NaN.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shape {
    /// Number of residues, `N`.
    pub length: usize,
    /// Neighbours that are not apart by a break; the `ca_ca` numbers but the last are theirs.
    pub neighbours: usize,
    /// Mean distance of neighbours.
    pub ca_ca_mean: f64,
    /// Its standard deviation, over n − 1.
    pub ca_ca_std: f64,
    /// Its median, of an even number the lower of the two (as Proteina's).
    pub ca_ca_median: f64,
    /// The smallest.
    pub ca_ca_min: f64,
    /// Share of neighbours within 0.1 Å of 3.8 Å.
    pub ca_ca_good: f64,
    /// The largest distance of residues that follow each other, breaks included.
    pub ca_ca_max: f64,
    /// Residues that follow each other farther apart than [`BREAK`].
    pub breaks: usize,
    /// Pairs of residues nearer than [`CLOSE`].
    pub close_pairs: usize,
    /// Residues nearer than [`CLASH`] to one that is more than two places away.
    pub clashing: usize,
    /// Radius of gyration.
    pub radius: f64,
    /// Radius of gyration over that of folded chains, 2.2 N^0.38 Å.
    pub radius_ratio: f64,
    /// Helical turns: four residues whose two angles and dihedral angle, but for its sign, are those of an α helix.
    pub turns: usize,
    /// Those of them that are right-handed: nearly all of a protein's, nearly none of its mirror image's.
    pub right_turns: usize,
}

impl Shape {
    /// The share of residues that clash.
    pub fn clashes(&self) -> f64 {
        self.clashing as f64 / self.length as f64
    }

    /// The share of helical turns that are right-handed; NaN without a turn.
    pub fn right_handed(&self) -> f64 {
        self.right_turns as f64 / self.turns as f64
    }
}

/// The geometry of a chain whose Cα atoms are at `positions` (Å, `N`).
pub fn shape(positions: &[Point]) -> Shape {
    let n = positions.len();
    let steps: Vec<f64> = positions.windows(2).map(|pair| norm_squared(&sub(&pair[1], &pair[0])).sqrt()).collect();
    let mut neighbours: Vec<f64> = steps.iter().copied().filter(|&step| step <= BREAK).collect();
    let (mean, std) = mean_and_std(&neighbours);
    let good = neighbours.iter().filter(|&step| (step - TRANS).abs() < TRANS_TOLERANCE).count();
    neighbours.sort_by(f64::total_cmp);
    let crowding = crowding(positions);
    let radius = radius_of_gyration(positions);
    let (turns, right_turns) = helical_turns(positions);
    Shape {
        length: n,
        neighbours: neighbours.len(),
        ca_ca_mean: mean,
        ca_ca_std: std,
        ca_ca_median: neighbours.get(neighbours.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN),
        ca_ca_min: neighbours.first().copied().unwrap_or(f64::NAN),
        ca_ca_good: good as f64 / neighbours.len() as f64,
        ca_ca_max: steps.iter().copied().fold(f64::NAN, f64::max),
        breaks: steps.len() - neighbours.len(),
        close_pairs: crowding.close_pairs,
        clashing: crowding.clashing,
        radius,
        radius_ratio: radius / (FOLDED_RADIUS.0 * (n as f64).powf(FOLDED_RADIUS.1)),
        turns,
        right_turns,
    }
}

/// Mean and standard deviation (over n − 1); NaN of too few numbers.
pub(super) fn mean_and_std(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (mean, if values.len() < 2 { f64::NAN } else { (squares / (n - 1.0)).sqrt() })
}

/// (1/N Σ |x_i − x̄|²)^½.
fn radius_of_gyration(positions: &[Point]) -> f64 {
    let centre = centroid(positions);
    let sum: f64 = positions.iter().map(|position| norm_squared(&sub(position, &centre))).sum();
    (sum / positions.len() as f64).sqrt()
}

/// What stands too close.
struct Crowding {
    close_pairs: usize,
    clashing: usize,
}

/// Looks at each residue's neighbourhood along x only, so that long chains do not take the square of their length.
fn crowding(positions: &[Point]) -> Crowding {
    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_by(|&i, &j| positions[i][0].total_cmp(&positions[j][0]));
    let mut clashes = vec![false; positions.len()];
    let mut close_pairs = 0;
    for (k, &i) in order.iter().enumerate() {
        let within_reach = |j: &&usize| positions[**j][0] - positions[i][0] < CLASH;
        for &j in order[k + 1..].iter().take_while(within_reach) {
            let squared = norm_squared(&sub(&positions[j], &positions[i]));
            close_pairs += usize::from(squared < CLOSE * CLOSE);
            if squared < CLASH * CLASH && i.abs_diff(j) > CLASH_APART {
                (clashes[i], clashes[j]) = (true, true);
            }
        }
    }
    Crowding { close_pairs, clashing: clashes.into_iter().filter(|&clash| clash).count() }
}

/// How many helical turns there are, and how many of them are right-handed.
fn helical_turns(positions: &[Point]) -> (usize, usize) {
    let dihedrals = positions.windows(4).filter_map(turn);
    dihedrals.fold((0, 0), |(turns, right), dihedral| (turns + 1, right + usize::from(dihedral > 0.0)))
}

/// The dihedral angle of four residues, in degrees, if they may be a turn of a helix, of either hand.
fn turn(points: &[Point]) -> Option<f64> {
    let [v1, v2, v3] = std::array::from_fn(|k| sub(&points[k + 1], &points[k]));
    let within = |value: f64, (low, high): (f64, f64)| value >= low && value <= high;
    let angle = |a: &Point, b: &Point| {
        let cosine = -dot(a, b) / (norm_squared(a) * norm_squared(b)).sqrt();
        cosine.acos().to_degrees()
    };
    if !within(angle(&v1, &v2), TURN_ANGLE) || !within(angle(&v2, &v3), TURN_ANGLE) {
        return None;
    }
    let (n1, n2) = (cross(&v1, &v2), cross(&v2, &v3));
    let along = dot(&cross(&n1, &n2), &vector::scale(1.0 / norm_squared(&v2).sqrt(), &v2));
    let dihedral = along.atan2(dot(&n1, &n2)).to_degrees();
    within(dihedral.abs(), TURN_DIHEDRAL).then_some(dihedral)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A right-handed helix of 100° and 1.5 Å a residue on a cylinder of 2.3 Å.
    fn helix(n: usize) -> Vec<Point> {
        let at = |i: usize| (100.0 * i as f64).to_radians().sin_cos();
        (0..n).map(|i| [2.3 * at(i).1, 2.3 * at(i).0, 1.5 * i as f64]).collect()
    }

    fn line(steps: &[f64]) -> Vec<Point> {
        let mut x = 0.0;
        let ends = steps.iter().map(|step| {
            x += step;
            [x, 0.0, 0.0]
        });
        std::iter::once([0.0; 3]).chain(ends).collect()
    }

    #[test]
    fn distances_of_neighbours() {
        let shape = shape(&line(&[3.8, 3.75, 10.0, 3.0, 4.25]));
        assert_eq!((shape.length, shape.neighbours, shape.breaks), (6, 4, 1));
        assert!((shape.ca_ca_mean - 3.7).abs() < 1e-12);
        // Deviations 0.1, 0.05, −0.7, 0.55.
        assert!((shape.ca_ca_std - (0.805f64 / 3.0).sqrt()).abs() < 1e-12);
        for (found, expected) in [(shape.ca_ca_median, 3.75), (shape.ca_ca_min, 3.0), (shape.ca_ca_max, 10.0)] {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert_eq!(shape.ca_ca_good, 0.5);
    }

    #[test]
    fn what_stands_too_close() {
        // Residues 0 and 3 are 3.3 Å apart, 1 and 3 are 1.5 Å apart but next but one.
        let chain = [[0.0; 3], [3.8, 0.0, 0.0], [3.8, 3.8, 0.0], [3.0, 1.27, 0.0], [30.0, 0.0, 0.0]];
        let shape = shape(&chain);
        assert_eq!((shape.close_pairs, shape.clashing, shape.clashes()), (1, 2, 0.4));
    }

    #[test]
    fn crowding_is_that_of_all_pairs() {
        // Points in a box, so dense that many are too close.
        let uniform = |k: usize, axis: f64| ((k as f64 * axis).sin() * 43_758.545_3).rem_euclid(1.0);
        let at = |k: usize| [60.0 * uniform(k, 12.989_8), 30.0 * uniform(k, 78.233), 18.0 * uniform(k, 39.425)];
        let chain: Vec<Point> = (0..300).map(at).collect();
        let near = |i: usize, j: usize, limit: f64| norm_squared(&sub(&chain[i], &chain[j])) < limit * limit;
        let close: usize = (0..300).map(|i| (0..i).filter(|&j| near(i, j, 2.0)).count()).sum();
        let clashes = |i: usize| (0..300).any(|j: usize| i.abs_diff(j) > 2 && near(i, j, 3.4));
        let clashing = (0..300).filter(|&i| clashes(i)).count();
        let shape = shape(&chain);
        assert_eq!((shape.close_pairs, shape.clashing), (close, clashing));
        assert!(close > 20 && (50..280).contains(&clashing), "{close} {clashing}");
    }

    #[test]
    fn radius() {
        let shape = shape(&line(&[2.0, 2.0]));
        assert!((shape.radius - (8.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((shape.radius_ratio - shape.radius / (2.2 * 3.0f64.powf(0.38))).abs() < 1e-12);
    }

    #[test]
    fn a_mirror_image_is_left_handed() {
        let chain = helix(20);
        let mirrored: Vec<Point> = chain.iter().map(|p| [p[0], -p[1], p[2]]).collect();
        let (right, left) = (shape(&chain), shape(&mirrored));
        assert_eq!((right.turns, right.right_turns, right.right_handed()), (17, 17, 1.0));
        assert_eq!((left.turns, left.right_turns), (17, 0));
        assert_eq!(Shape { right_turns: 17, ..left }, Shape { ..right }, "nothing else tells them apart");
        assert!(shape(&line(&[3.8; 9])).right_handed().is_nan());
    }

    #[test]
    fn chains_that_are_too_short() {
        for n in 0..4 {
            let shape = shape(&vec![[1.0; 3]; n]);
            assert_eq!((shape.length, shape.neighbours, shape.turns), (n, n.saturating_sub(1), 0));
            assert_eq!(shape.ca_ca_mean.is_nan() && shape.ca_ca_median.is_nan(), n < 2);
            assert_eq!(shape.ca_ca_std.is_nan(), n < 3);
            assert_eq!(shape.close_pairs, n * n.saturating_sub(1) / 2);
        }
    }
}
