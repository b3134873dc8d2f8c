//! What makes two residues alike: nearness after a superposition, the same kind of local structure, or both.

use super::dynamic::{Antidiagonal, Similarity};
use crate::geometry::Point;
use crate::geometry::kabsch::RigidMotion;

/// Local structure as TM-align tells it from the distances of five residues. (Statistics of structure are another
/// matter: the field makes them by P-SEA.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Coil,
    Helix,
    Strand,
    Turn,
}

/// Distances in Å in an ideal piece of structure between residues two, three and four apart, and how far each may be
/// off.
struct Ideal {
    two: f64,
    three: f64,
    four: f64,
    tolerance: f64,
}

const HELIX: Ideal = Ideal { two: 5.45, three: 5.18, four: 6.37, tolerance: 2.1 };
const STRAND: Ideal = Ideal { two: 6.1, three: 10.4, four: 13.0, tolerance: 1.42 };

/// The ends of five residues are nearer than this in a turn.
const TURN: f64 = 8.0;

/// The kind of each residue: that of the five residues around it; coil at a chain's two ends.
fn kinds(chain: &[Point]) -> Vec<Kind> {
    let mut kinds = vec![Kind::Coil; chain.len()];
    for (kind, five) in kinds.iter_mut().skip(2).zip(chain.windows(5)) {
        *kind = kind_of(five);
    }
    kinds
}

fn kind_of(five: &[Point]) -> Kind {
    let distance = |a: usize, b: usize| (0..3).map(|k| (five[a][k] - five[b][k]).powi(2)).sum::<f64>().sqrt();
    let is = |ideal: &Ideal| {
        let near = |a: usize, b: usize, expected: f64| (distance(a, b) - expected).abs() < ideal.tolerance;
        near(0, 4, ideal.four)
            && [(0, 3), (1, 4)].iter().all(|&(a, b)| near(a, b, ideal.three))
            && [(0, 2), (1, 3), (2, 4)].iter().all(|&(a, b)| near(a, b, ideal.two))
    };
    if is(&HELIX) {
        Kind::Helix
    } else if is(&STRAND) {
        Kind::Strand
    } else if distance(0, 4) < TURN {
        Kind::Turn
    } else {
        Kind::Coil
    }
}

/// `1 / (1 + d² / d0²)` after a superposition.
pub(super) struct Nearness<'a> {
    first: [Vec<f64>; 3],
    second_reversed: &'a [Vec<f64>; 3],
    scale: f64,
}

impl<'a> Nearness<'a> {
    /// The first chain is moved; of the second the reversed axes are given.
    pub fn new(first: &[Point], motion: &RigidMotion, second_reversed: &'a [Vec<f64>; 3], d0: f64) -> Self {
        let mut moved = first.to_vec();
        motion.apply(&mut moved);
        Nearness { first: axes(moved.iter()), second_reversed, scale: d0 * d0 }
    }
}

/// One array per axis.
pub(super) fn axes<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> [Vec<f64>; 3] {
    std::array::from_fn(|axis| points.clone().map(|point| point[axis]).collect())
}

impl Similarity for Nearness<'_> {
    #[inline(always)]
    fn add(&self, cells: &Antidiagonal, sums: &mut [f64]) {
        let n = sums.len();
        let [x0, x1, x2] = self.first.each_ref().map(|axis| &axis[cells.first.clone()][..n]);
        let [y0, y1, y2] = self.second_reversed.each_ref().map(|axis| &axis[cells.second.clone()][..n]);
        for (k, sum) in sums.iter_mut().enumerate() {
            let (a, b, c) = (x0[k] - y0[k], x1[k] - y1[k], x2[k] - y2[k]);
            *sum += self.scale / (self.scale + (a * a + b * b + c * c));
        }
    }
}

/// The kinds of two chains' residues.
pub(super) struct Kinds {
    first: Vec<Kind>,
    second_reversed: Vec<Kind>,
}

impl Kinds {
    /// Of two chains.
    pub fn new(first: &[Point], second: &[Point]) -> Self {
        let mut second_reversed = kinds(second);
        second_reversed.reverse();
        Kinds { first: kinds(first), second_reversed }
    }
}

/// A weight for residues of the same kind.
pub(super) struct SameKind<'a> {
    pub kinds: &'a Kinds,
    pub weight: f64,
}

impl Similarity for SameKind<'_> {
    #[inline(always)]
    fn add(&self, cells: &Antidiagonal, sums: &mut [f64]) {
        let first = &self.kinds.first[cells.first.clone()];
        let second = &self.kinds.second_reversed[cells.second.clone()];
        for ((a, b), sum) in first.iter().zip(second).zip(sums) {
            *sum += if a == b { self.weight } else { 0.0 };
        }
    }
}

impl<A: Similarity, B: Similarity> Similarity for (A, B) {
    #[inline(always)]
    fn add(&self, cells: &Antidiagonal, sums: &mut [f64]) {
        self.0.add(cells, sums);
        self.1.add(cells, sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a helix: radius and rise in Å, turn in degrees per residue.
    fn spiral(radius: f64, rise: f64, turn: f64, n: usize) -> Vec<Point> {
        (0..n)
            .map(|i| {
                let angle = turn.to_radians() * i as f64;
                [radius * angle.cos(), radius * angle.sin(), rise * i as f64]
            })
            .collect()
    }

    #[test]
    fn ideal_pieces_are_told() {
        let inner = |chain: &[Point]| kinds(chain)[2..chain.len() - 2].to_vec();
        assert_eq!(inner(&spiral(2.3, 1.5, 100.0, 9)), [Kind::Helix; 5]);
        assert_eq!(inner(&spiral(0.9, 3.3, 180.0, 8)), [Kind::Strand; 4]);
        assert_eq!(inner(&spiral(0.0, 3.8, 0.0, 6)), [Kind::Coil; 2]);
        assert_eq!(inner(&[[0.0; 3]; 5]), [Kind::Turn]);
        assert_eq!(kinds(&spiral(2.3, 1.5, 100.0, 4)), [Kind::Coil; 4]);
        assert_eq!(kinds(&[]), []);
    }
}
