//! How well two clouds can be laid upon each other, from the sum that their pairs of points make.

use crate::geometry::Point;

/// What the test for an eigenvalue may be wrong by, as a share of the bound's fourth power; doubtful cases count as
/// not decided.
const DOUBT: f64 = 1e-12;

/// The correlation S_ij = Σ x_i y_j (Å²) of pairs of points x, y, of clouds that were centred before.
///
/// For rotations R, max_R Σ y · R x is the largest eigenvalue λ of Horn's symmetric 4 × 4 matrix of S. With the
/// singular values s of S (the last one signed as det S) its eigenvalues are s₁+s₂+s₃, s₁−s₂−s₃, s₂−s₁−s₃, s₃−s₁−s₂,
/// so that they are the roots of P(λ) = (λ² − ‖S‖²)² − 8 λ det S − 4 ‖cof S‖² (Frobenius norms).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Correlation([[f64; 3]; 3]);

impl Correlation {
    /// Adds the pair of x and y.
    pub(super) fn add(&mut self, x: &Point, y: &Point) {
        for i in 0..3 {
            for j in 0..3 {
                self.0[i][j] += x[i] * y[j];
            }
        }
    }

    /// The coefficients ‖S‖², det S and ‖cof S‖² of P.
    fn coefficients(&self) -> [f64; 3] {
        let [a, b, c] = &self.0;
        let cofactors = [cross(b, c), cross(c, a), cross(a, b)];
        let squares = |rows: &[[f64; 3]; 3]| rows.iter().flatten().map(|entry| entry * entry).sum();
        let determinant = (0..3).map(|i| a[i] * cofactors[0][i]).sum();
        [squares(&self.0), determinant, squares(&cofactors)]
    }

    /// Whether Σ y · R x stays below `bound` for all rotations. All roots of P are real, so that a number is above the
    /// largest exactly if P and its derivatives are positive there. A `true` is certain.
    pub(super) fn stays_below(&self, bound: f64) -> bool {
        let [squares, determinant, cofactors] = self.coefficients();
        let square = bound * bound;
        let p = (square - squares).powi(2) - 8.0 * bound * determinant - 4.0 * cofactors;
        bound > 0.0
            && p > DOUBT * square * square
            && bound * (square - squares) > 2.0 * determinant
            && 3.0 * square > squares
    }

    /// max_R Σ y · R x, from above, to about six digits: Newton's method from a number that cannot be below.
    pub(super) fn largest(&self) -> f64 {
        let [squares, determinant, cofactors] = self.coefficients();
        let mut root = (3.0 * squares).sqrt();
        for _ in 0..50 {
            let rest = root * root - squares;
            let slope = 4.0 * root * rest - 8.0 * determinant;
            let step = (rest * rest - 8.0 * root * determinant - 4.0 * cofactors) / slope;
            if !(slope > 0.0 && step > 1e-6 * root) {
                break;
            }
            root -= step;
        }
        root
    }
}

fn cross(a: &Point, b: &Point) -> Point {
    crate::geometry::vector::cross(a, b)
}
