//! The best superposition of weighted pairs, from their sums alone.
//!
//! A search superposes tens of thousands of times, so that this is a closed formula where it is accurate (Markley's
//! *fast optimal attitude matrix*, J. Astronaut. Sci. 41, 261, 1993) and [`kabsch::best_rotation`] where it is not.

use crate::geometry::kabsch::{RigidMotion, best_rotation};
use crate::geometry::vector::{cross, dot, scale, sub};
use crate::geometry::{Point, Rotation, rotate};

/// The formula is used where ζ is at least this share of λ³ (it is 8/27 at most); its error there is about 1e-10.
const WELL_DEFINED: f64 = 1e-3;

/// Newton's method has converged when a step is below this share of λ.
const CONVERGED: f64 = 1e-15;

/// Sums over pairs of points (x, y): all that their best superposition depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Moments {
    /// Number of pairs.
    pub count: f64,
    /// Σ x.
    pub x: Point,
    /// Σ y.
    pub y: Point,
    /// Σ y_i x_j.
    pub yx: [[f64; 3]; 3],
}

impl Moments {
    /// These sums plus those of one more pair.
    pub fn with(&self, x: &Point, y: &Point) -> Self {
        Moments {
            count: self.count + 1.0,
            x: std::array::from_fn(|i| self.x[i] + x[i]),
            y: std::array::from_fn(|i| self.y[i] + y[i]),
            yx: std::array::from_fn(|i| std::array::from_fn(|j| self.yx[i][j] + y[i] * x[j])),
        }
    }

    /// What these sums have that `others`, sums of a part of the pairs, have not.
    pub fn without(&self, others: &Self) -> Self {
        Moments {
            count: self.count - others.count,
            x: sub(&self.x, &others.x),
            y: sub(&self.y, &others.y),
            yx: std::array::from_fn(|i| sub(&self.yx[i], &others.yx[i])),
        }
    }

    /// The proper rigid motion that minimises `Σ |R x + t − y|²`; none at all for no pairs.
    pub fn superposition(&self) -> RigidMotion {
        let weight = 1.0 / self.count.max(1.0);
        let (from, to) = (scale(weight, &self.x), scale(weight, &self.y));
        let b = std::array::from_fn(|i| std::array::from_fn(|j| self.yx[i][j] - self.y[i] * from[j]));
        let rotation = attitude(&b).unwrap_or_else(|| best_rotation(&transpose(&b)));
        RigidMotion { rotation, translation: sub(&to, &rotate(&rotation, &from)) }
    }
}

/// The rotation R that maximises `Σ_ij R_ij B_ij`; `None` where the formula is not accurate.
///
/// With singular values σ of B, s the sign of its determinant and C its cofactors, `λ = σ_1 + σ_2 + s σ_3` is the
/// largest root of `(λ² − |B|²)² − 8 λ det B − 4 |C|²`, and with `κ = (λ² − |B|²)/2`, `ζ = κ λ − det B` the rotation
/// is `R = ((κ + |B|²) B + λ C − B Bᵀ B) / ζ`. The polynomial's derivative is 8 ζ, so that a small ζ also tells where
/// Newton's method is inaccurate.
fn attitude(b: &[[f64; 3]; 3]) -> Option<Rotation> {
    let cofactors = [cross(&b[1], &b[2]), cross(&b[2], &b[0]), cross(&b[0], &b[1])];
    let determinant = dot(&b[0], &cofactors[0]);
    let square = square_sum(b);
    let cofactor_square = square_sum(&cofactors);
    // An upper bound: λ² is |B|² plus twice a sum of three products, whose squares sum to |C|².
    let mut lambda = (square + 2.0 * (3.0 * cofactor_square).sqrt()).sqrt();
    for _ in 0..50 {
        let excess = lambda * lambda - square;
        let slope = 4.0 * lambda * excess - 8.0 * determinant;
        let step = (excess * excess - 8.0 * lambda * determinant - 4.0 * cofactor_square) / slope;
        // From above the steps lead down. One that leads up is noise, at the root or where it has no slope.
        if step.is_nan() || step <= CONVERGED * lambda {
            break;
        }
        lambda -= step;
    }
    let kappa = 0.5 * (lambda * lambda - square);
    let zeta = kappa * lambda - determinant;
    let cubic = product(&product(b, &transpose(b)), b);
    let entry = |i: usize, j: usize| ((kappa + square) * b[i][j] + lambda * cofactors[i][j] - cubic[i][j]) / zeta;
    let well_defined = lambda > 0.0 && zeta > WELL_DEFINED * lambda * lambda * lambda;
    well_defined.then(|| std::array::from_fn(|i| std::array::from_fn(|j| entry(i, j))))
}

fn square_sum(m: &[[f64; 3]; 3]) -> f64 {
    dot(&m[0], &m[0]) + dot(&m[1], &m[1]) + dot(&m[2], &m[2])
}

fn transpose(m: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| m[j][i]))
}

fn product(a: &[[f64; 3]; 3], b: &[[f64; 3]; 3]) -> [[f64; 3]; 3] {
    std::array::from_fn(|i| std::array::from_fn(|j| a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::geometry::kabsch;

    fn moments(x: &[Point], y: &[Point]) -> Moments {
        x.iter().zip(y).fold(Moments::default(), |sum, (x, y)| sum.with(x, y))
    }

    /// The mean square distance after the motion.
    fn residual(motion: &RigidMotion, x: &[Point], y: &[Point]) -> f64 {
        let mut moved = x.to_vec();
        motion.apply(&mut moved);
        moved.iter().zip(y).map(|(a, b)| dot(&sub(a, b), &sub(a, b))).sum::<f64>() / x.len() as f64
    }

    fn cloud() -> impl Strategy<Value = Vec<(Point, Point)>> {
        let point = || proptest::array::uniform3(-20.0..20.0f64);
        prop_oneof![1usize..4, 4usize..30].prop_flat_map(move |n| proptest::collection::vec((point(), point()), n))
    }

    proptest! {
        #[test]
        fn as_good_as_the_plain_alignment(pairs in cloud()) {
            let (x, y): (Vec<Point>, Vec<Point>) = pairs.into_iter().unzip();
            let (fast, plain) = (moments(&x, &y).superposition(), kabsch::align(&x, &y));
            let (fast_residual, plain_residual) = (residual(&fast, &x, &y), residual(&plain, &x, &y));
            prop_assert!((fast_residual - plain_residual).abs() < 1e-8, "{fast_residual} {plain_residual}");
            let gram = product(&fast.rotation, &transpose(&fast.rotation));
            for (i, row) in gram.iter().enumerate() {
                for (j, entry) in row.iter().enumerate() {
                    prop_assert!((entry - f64::from(i == j)).abs() < 1e-9, "{gram:?}");
                }
            }
            prop_assert!(dot(&fast.rotation[0], &cross(&fast.rotation[1], &fast.rotation[2])) > 0.0);
        }

        #[test]
        fn parts_subtract(pairs in cloud(), cut in 0.0..1.0f64) {
            let (x, y): (Vec<Point>, Vec<Point>) = pairs.into_iter().unzip();
            let cut = (cut * x.len() as f64) as usize;
            let rest = moments(&x, &y).without(&moments(&x[..cut], &y[..cut]));
            let expected = moments(&x[cut..], &y[cut..]);
            prop_assert_eq!(rest.count, expected.count);
            prop_assert!((0..3).all(|i| (0..3).all(|j| (rest.yx[i][j] - expected.yx[i][j]).abs() < 1e-9)));
        }
    }

    #[test]
    fn the_formula_serves_ordinary_clouds_and_leaves_out_lines() {
        let spread = |i: f64| [3.0 * (1.7 * i).sin(), 4.0 * (2.3 * i).cos(), 1.5 * (0.9 * i).sin()];
        let x: Vec<Point> = (0..20).map(|i| spread(f64::from(i))).collect();
        let turn = crate::geometry::rotation_from_quaternion([0.3, -0.5, 0.7, 0.2]);
        let y: Vec<Point> = x.iter().map(|p| rotate(&turn, p)).collect();
        let b = |x: &[Point], y: &[Point]| {
            let m = moments(x, y);
            std::array::from_fn(|i| std::array::from_fn(|j| m.yx[i][j] - m.y[i] * m.x[j] / m.count))
        };
        let found = attitude(&b(&x, &y)).expect("an ordinary cloud");
        assert!((0..3).all(|i| (0..3).all(|j| (found[i][j] - turn[i][j]).abs() < 1e-12)));

        let line: Vec<Point> = (0..9).map(|i| [f64::from(i), 0.0, 0.0]).collect();
        assert_eq!(attitude(&b(&line, &line)), None);
        assert_eq!(moments(&line, &line).superposition().rotation, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert_eq!(attitude(&[[0.0; 3]; 3]), None);
    }

    /// Two pairs leave a turn about their line open: the polynomial's largest root is double, and its slope there noise.
    #[test]
    fn two_pairs_are_superposed() {
        let x = [
            [18.149411286479285, -4.5102372352316165, 5.120920755986435],
            [4.759960017469784, -2.629925542909207, 0.0],
        ];
        let y = [
            [-1.2860601310162352, 0.0, 14.022373803603292],
            [-7.284692237713339, -0.7278886535682008, -15.11598111007593],
        ];
        let motion = moments(&x, &y).superposition();
        assert!((residual(&motion, &x, &y) - residual(&kabsch::align(&x, &y), &x, &y)).abs() < 1e-9);
    }

    #[test]
    fn no_pairs_are_not_moved() {
        let motion = Moments::default().superposition();
        assert_eq!((motion.rotation[0], motion.translation), ([1.0, 0.0, 0.0], [0.0; 3]));
    }
}
