//! Pairs of residues whose distances are measured again and again.
//!
//! Sums are taken in eight lanes whose order is fixed, and no product is fused with a sum, so that a processor's
//! vector width changes the speed and no bit.

use pulp::NullaryFnOnce;

use super::superposition::Moments;
use crate::geometry::Point;
use crate::geometry::kabsch::RigidMotion;

/// Arrays are filled up to a multiple of this.
const LANES: usize = 8;

/// The second point of a pair that fills up: so far away that its square is infinite.
const NOWHERE: f64 = 1e200;

/// A superposition takes at least so many near pairs, unless there are no more than these at all.
pub(super) const FEWEST: usize = 3;

/// Pairs (x, y) of points, one array per axis.
#[derive(Clone, Debug, Default)]
pub(super) struct Pairs {
    x: [Vec<f64>; 3],
    y: [Vec<f64>; 3],
    len: usize,
}

impl Pairs {
    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Replaces the pairs by residues `(i, j)` of two chains.
    pub fn set(&mut self, first: &[Point], second: &[Point], residues: impl Iterator<Item = (usize, usize)>) {
        self.x.iter_mut().chain(&mut self.y).for_each(Vec::clear);
        self.len = 0;
        for (i, j) in residues {
            for axis in 0..3 {
                self.x[axis].push(first[i][axis]);
                self.y[axis].push(second[j][axis]);
            }
            self.len += 1;
        }
        let padded = self.len.next_multiple_of(LANES);
        self.x.iter_mut().for_each(|axis| axis.resize(padded, 0.0));
        self.y.iter_mut().for_each(|axis| axis.resize(padded, NOWHERE));
    }

    /// `|R x + t − y|²` of each pair; infinite where arrays are filled up.
    pub fn distances(&self, motion: &RigidMotion, squares: &mut Vec<f64>) {
        squares.resize(self.x[0].len(), 0.0);
        pulp::Arch::new().dispatch(Distances { pairs: self, motion, squares });
    }

    /// The sums over the pairs whose square is below `limit`.
    pub fn moments(&self, squares: &[f64], limit: f64) -> Moments {
        let total = pulp::Arch::new().dispatch(Sums { pairs: self, squares, limit }).map(|lanes| total(&lanes));
        Moments {
            count: total[0],
            x: [total[1], total[2], total[3]],
            y: [total[4], total[5], total[6]],
            yx: std::array::from_fn(|i| std::array::from_fn(|j| total[7 + 3 * i + j])),
        }
    }

    /// The sums over all pairs.
    pub fn all(&self) -> Moments {
        // What fills up is told by lying nowhere.
        self.moments(&self.y[0], NOWHERE)
    }

    /// The sums over the first k pairs, for k from 0 to all.
    pub fn running_moments(&self) -> Vec<Moments> {
        let mut sums = vec![Moments::default()];
        for k in 0..self.len {
            let point = |axes: &[Vec<f64>; 3]| -> Point { std::array::from_fn(|i| axes[i][k]) };
            sums.push(sums[k].with(&point(&self.x), &point(&self.y)));
        }
        sums
    }
}

/// Distances after a motion.
struct Distances<'a> {
    pairs: &'a Pairs,
    motion: &'a RigidMotion,
    squares: &'a mut [f64],
}

impl NullaryFnOnce for Distances<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let n = self.squares.len();
        let [x0, x1, x2] = [&self.pairs.x[0][..n], &self.pairs.x[1][..n], &self.pairs.x[2][..n]];
        let [y0, y1, y2] = [&self.pairs.y[0][..n], &self.pairs.y[1][..n], &self.pairs.y[2][..n]];
        let RigidMotion { rotation: r, translation: t } = *self.motion;
        for k in 0..n {
            let a = r[0][0] * x0[k] + r[0][1] * x1[k] + r[0][2] * x2[k] + t[0] - y0[k];
            let b = r[1][0] * x0[k] + r[1][1] * x1[k] + r[1][2] * x2[k] + t[1] - y1[k];
            let c = r[2][0] * x0[k] + r[2][1] * x1[k] + r[2][2] * x2[k] + t[2] - y2[k];
            self.squares[k] = a * a + b * b + c * c;
        }
    }
}

/// Sums over 1, x, y and y_i x_j, for the pairs whose square is below a limit.
struct Sums<'a> {
    pairs: &'a Pairs,
    squares: &'a [f64],
    limit: f64,
}

impl NullaryFnOnce for Sums<'_> {
    type Output = [[f64; LANES]; 16];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut sums = [[0.0; LANES]; 16];
        for start in (0..self.squares.len()).step_by(LANES) {
            let mut near = [0.0; LANES];
            let squares = lanes_at(self.squares, start);
            for lane in 0..LANES {
                near[lane] = if squares[lane] < self.limit { 1.0 } else { 0.0 };
            }
            let Pairs { x: [x0, x1, x2], y: [y0, y1, y2], .. } = self.pairs;
            let x = [lanes_at(x0, start), lanes_at(x1, start), lanes_at(x2, start)];
            let y = [lanes_at(y0, start), lanes_at(y1, start), lanes_at(y2, start)];
            for lane in 0..LANES {
                sums[0][lane] += near[lane];
            }
            for axis in 0..3 {
                for lane in 0..LANES {
                    sums[1 + axis][lane] += near[lane] * x[axis][lane];
                    sums[4 + axis][lane] += near[lane] * y[axis][lane];
                }
                for other in 0..3 {
                    for lane in 0..LANES {
                        sums[7 + 3 * axis + other][lane] += near[lane] * y[axis][lane] * x[other][lane];
                    }
                }
            }
        }
        sums
    }
}

/// The scores of pairs at distances, without those beyond a limit.
struct Scores<'a> {
    squares: &'a [f64],
    scale: f64,
    limit: f64,
}

impl NullaryFnOnce for Scores<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut sums = [0.0; LANES];
        for start in (0..self.squares.len()).step_by(LANES) {
            let squares = lanes_at(self.squares, start);
            for lane in 0..LANES {
                let score = self.scale / (self.scale + squares[lane]);
                sums[lane] += if squares[lane] <= self.limit { score } else { 0.0 };
            }
        }
        sums
    }
}

/// Arrays are whole numbers of lanes, so that there is no remainder to fall back on.
#[inline(always)]
fn lanes_at(values: &[f64], start: usize) -> &[f64; LANES] {
    values[start..].first_chunk().unwrap_or(&[0.0; LANES])
}

fn total(lanes: &[f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = *lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// `Σ 1 / (1 + d² / d0²)` over the squared distances that are at most `farthest`².
pub(super) fn nearness(squares: &[f64], d0: f64, farthest: f64) -> f64 {
    total(&pulp::Arch::new().dispatch(Scores { squares, scale: d0 * d0, limit: farthest * farthest }))
}

/// How many of the squared distances are below `limit`.
pub(super) fn count_below(squares: &[f64], limit: f64) -> usize {
    squares.iter().filter(|&&square| square < limit).count()
}

/// The third smallest of the numbers; infinite when there are fewer.
pub(super) fn third_smallest(numbers: &[f64]) -> f64 {
    let mut least = [f64::INFINITY; 3];
    for &number in numbers {
        if number < least[2] {
            least[2] = number;
            least.sort_by(f64::total_cmp);
        }
    }
    least[2]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::geometry::rotation_from_quaternion;
    use crate::geometry::vector::{norm_squared, sub};

    fn chains() -> impl Strategy<Value = (Vec<Point>, Vec<Point>)> {
        let chain = || proptest::collection::vec(proptest::array::uniform3(-30.0..30.0f64), 40);
        (chain(), chain())
    }

    proptest! {
        #[test]
        fn kernels_against_plain_loops((x, y) in chains(), n in 0usize..40, limit in 0.0..4000.0f64) {
            let motion = RigidMotion {
                rotation: rotation_from_quaternion([0.9, 0.1, -0.4, 0.3]),
                translation: [1.0, -2.0, 0.5],
            };
            let mut pairs = Pairs::default();
            pairs.set(&x, &y, (0..40).map(|i| (i, i)));
            pairs.set(&x, &y, (0..n).map(|i| (39 - i, i)));
            let mut squares = Vec::new();
            pairs.distances(&motion, &mut squares);
            let mut moved: Vec<Point> = (0..n).map(|i| x[39 - i]).collect();
            motion.apply(&mut moved);
            let plain: Vec<f64> = (0..n).map(|i| norm_squared(&sub(&moved[i], &y[i]))).collect();
            prop_assert!(plain.iter().zip(&squares).all(|(a, b)| (a - b).abs() < 1e-9));
            prop_assert!(squares[n..].iter().all(|&square| square == f64::INFINITY));

            let near = |k: &usize| plain[*k] < limit;
            let expected = (0..n).filter(near).fold(Moments::default(), |sum, k| sum.with(&x[39 - k], &y[k]));
            let found = pairs.moments(&squares, limit);
            prop_assert_eq!(found.count, expected.count);
            prop_assert_eq!(count_below(&squares, limit) as f64, expected.count);
            for i in 0..3 {
                prop_assert!((found.x[i] - expected.x[i]).abs() + (found.y[i] - expected.y[i]).abs() < 1e-9);
                prop_assert!((0..3).all(|j| (found.yx[i][j] - expected.yx[i][j]).abs() < 1e-7));
            }
            let score = |k: usize| if plain[k] <= limit { 1.0 / (1.0 + plain[k] / 9.0) } else { 0.0 };
            prop_assert!((nearness(&squares, 3.0, limit.sqrt()) - (0..n).map(score).sum::<f64>()).abs() < 1e-9);

            let all = pairs.running_moments();
            prop_assert_eq!(all.len(), n + 1);
            let whole = pairs.moments(&squares, f64::INFINITY);
            prop_assert!((0..3).all(|i| (all[n].x[i] - whole.x[i]).abs() < 1e-9));

            let mut sorted = plain.clone();
            sorted.sort_by(f64::total_cmp);
            prop_assert_eq!(third_smallest(&plain), sorted.get(2).copied().unwrap_or(f64::INFINITY));
        }
    }
}
