//! The inertia matrix of a cloud and its inverse on the axes about which the cloud can turn.

use nalgebra::{Matrix3, SymmetricEigen, Vector3};

use super::Point;
use super::vector::{centroid, largest_coordinate, norm_squared, sub};

/// Principal moments below this share of the largest one count as zero: the cloud is then collinear to one
/// part in 10⁵, which coordinates read in f32 cannot tell from exactly collinear, and a turn about that axis
/// moves no point.
const RELATIVE_CUTOFF: f64 = 1e-10;

/// The unit-mass inertia matrix about the origin, by rows, in Å²:
///
/// `K(x) = Σ_n (|x_n|² I − x_n x_nᵀ)`.
pub fn inertia(x: &[Point]) -> [[f64; 3]; 3] {
    let mut k = [[0.0; 3]; 3];
    for p in x {
        let r2 = norm_squared(p);
        for i in 0..3 {
            for j in 0..3 {
                k[i][j] += if i == j { r2 - p[i] * p[i] } else { -p[i] * p[j] };
            }
        }
    }
    k
}

/// A cloud seen from its centroid in units of its own size, and the principal axes and inverse moments of
/// its inertia matrix there. The units keep squares finite whatever the coordinates are.
#[derive(Clone, Debug)]
pub(super) struct Inertia {
    /// The points from their centroid, in units of `size`.
    pub(super) points: Vec<Point>,
    /// The largest absolute coordinate from the centroid, Å. NaN or infinite if a coordinate is.
    pub(super) size: f64,
    axes: Matrix3<f64>,
    inverse_moments: Vector3<f64>,
}

impl Inertia {
    /// Decomposes K(x) about the centroid.
    pub(super) fn new(x: &[Point]) -> Self {
        let centroid = centroid(x);
        let mut points: Vec<Point> = x.iter().map(|p| sub(p, &centroid)).collect();
        let size = largest_coordinate(&points);
        if size > 0.0 && size.is_finite() {
            points.iter_mut().for_each(|p| *p = p.map(|c| c / size));
            let (axes, inverse_moments) = decompose(&points);
            return Inertia { points, size, axes, inverse_moments };
        }
        Inertia { points, size, axes: Matrix3::identity(), inverse_moments: Vector3::zeros() }
    }

    /// K⁺ a in units of `size⁻²`: the angular velocity of the angular momentum `a`.
    pub(super) fn solve(&self, a: &Point) -> Point {
        let along = self.axes.tr_mul(&Vector3::from(*a));
        (self.axes * along.component_mul(&self.inverse_moments)).into()
    }

    /// `(tr(K⁺) I − K⁺) x` for a point `x` in units of `size`, with `spread` (Å²) added to every moment that
    /// counts. Along principal axis i the coefficient is `Σ_{j≠i} 1/k_j`, summed as such: no difference of
    /// large numbers.
    pub(super) fn repel(&self, x: &Point, spread: f64) -> Point {
        // Divided twice: the square of a tiny size would vanish.
        let spread = spread / self.size / self.size;
        let inverse = self.inverse_moments.map(|i| if i > 0.0 { 1.0 / (1.0 / i + spread) } else { 0.0 });
        let others = Vector3::new(inverse[1] + inverse[2], inverse[0] + inverse[2], inverse[0] + inverse[1]);
        let along = self.axes.tr_mul(&Vector3::from(*x));
        (self.axes * along.component_mul(&others)).into()
    }
}

/// Principal axes (columns) and inverse moments; the inverse of a negligible moment is 0.
fn decompose(points: &[Point]) -> (Matrix3<f64>, Vector3<f64>) {
    let k = inertia(points);
    let eigen = SymmetricEigen::new(Matrix3::from_fn(|i, j| k[i][j]));
    let cutoff = RELATIVE_CUTOFF * eigen.eigenvalues.max();
    let inverse = eigen.eigenvalues.map(|moment| if moment > cutoff { 1.0 / moment } else { 0.0 });
    (eigen.eigenvectors, inverse)
}
