//! Optimal superposition of one cloud onto another.

use nalgebra::{Matrix4, SymmetricEigen, Vector4};

use super::Point;
use super::rotation::{Rotation, rotate, rotation_from_quaternion};
use super::vector::{add, centroid, largest_coordinate, sub};

/// Eigenvalues closer to the largest than this share of their scale count as equal to it.
const RELATIVE_GAP: f64 = 1e-10;

/// A proper rotation followed by a translation, `x ↦ R x + t`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RigidMotion {
    /// R, with determinant +1.
    pub rotation: Rotation,
    /// t in Å.
    pub translation: Point,
}

impl RigidMotion {
    /// R x + t for each point, in place.
    pub fn apply(&self, x: &mut [Point]) {
        x.iter_mut().for_each(|p| *p = add(&rotate(&self.rotation, p), &self.translation));
    }
}

/// The rigid motion that minimises `Σ_n |R mobile_n + t − target_n|²`, proper rotations only (Kabsch's
/// problem, solved by Horn's quaternions). Where several rotations are equally good (collinear or
/// coincident clouds) it is the smallest of them. Clouds with non-finite coordinates are left unturned.
///
/// # Panics
/// If the clouds differ in their number of points.
pub fn align(mobile: &[Point], target: &[Point]) -> RigidMotion {
    assert_eq!(mobile.len(), target.len(), "one target per point");
    let (from, to) = (centroid(mobile), centroid(target));
    let rotation = best_rotation(&correlations(&centred(mobile, &from), &centred(target, &to)));
    RigidMotion { rotation, translation: sub(&to, &rotate(&rotation, &from)) }
}

/// The points from `centroid`, in units of their largest coordinate.
fn centred(x: &[Point], centroid: &Point) -> Vec<Point> {
    let mut points: Vec<Point> = x.iter().map(|p| sub(p, centroid)).collect();
    let size = largest_coordinate(&points);
    if size > 0.0 {
        points.iter_mut().for_each(|p| *p = p.map(|c| c / size));
    }
    points
}

/// The correlations `S_ij = Σ mobile_i target_j`.
fn correlations(mobile: &[Point], target: &[Point]) -> [[f64; 3]; 3] {
    let mut s = [[0.0; 3]; 3];
    for (a, b) in mobile.iter().zip(target) {
        for i in 0..3 {
            for j in 0..3 {
                s[i][j] += a[i] * b[j];
            }
        }
    }
    s
}

/// The rotation R that maximises `Σ target · R mobile = Σ_ij R_ji S_ij`, by the correlations
/// `S_ij = Σ mobile_i target_j` of two centred clouds. The smallest of several that are equally good; none for
/// correlations that are not finite.
pub fn best_rotation(correlations: &[[f64; 3]; 3]) -> Rotation {
    rotation_from_quaternion(best_quaternion(correlations))
}

/// The unit quaternion q that maximises `Σ target · R(q) mobile = qᵀ M q`.
fn best_quaternion(correlations: &[[f64; 3]; 3]) -> [f64; 4] {
    let m = horn_matrix(correlations);
    if m.iter().any(|entry| !entry.is_finite()) {
        return [1.0, 0.0, 0.0, 0.0];
    }
    let eigen = SymmetricEigen::new(m);
    let largest = eigen.eigenvalues.max();
    let margin = RELATIVE_GAP * eigen.eigenvalues.amax();
    let best: Vec<Vector4<f64>> = (0..4)
        .filter(|&i| eigen.eigenvalues[i] >= largest - margin)
        .map(|i| eigen.eigenvectors.column(i).into())
        .collect();
    match best.as_slice() {
        [only] => (*only).into(),
        several => smallest_rotation(several).into(),
    }
}

/// Horn's symmetric 4×4 matrix of the correlations.
fn horn_matrix(correlations: &[[f64; 3]; 3]) -> Matrix4<f64> {
    let [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = *correlations;
    #[rustfmt::skip]
    let m = Matrix4::new(
        xx + yy + zz, yz - zy,      zx - xz,       xy - yx,
        yz - zy,      xx - yy - zz, xy + yx,       zx + xz,
        zx - xz,      xy + yx,      yy - xx - zz,  yz + zy,
        xy - yx,      zx + xz,      yz + zy,       zz - xx - yy,
    );
    m
}

/// Within the span of orthonormal quaternions: the one nearest the identity; if all are half turns, the one
/// nearest a half turn about the first Cartesian axis that the span knows.
fn smallest_rotation(span: &[Vector4<f64>]) -> Vector4<f64> {
    let project = |k: usize| span.iter().fold(Vector4::zeros(), |sum, q| sum + q * q[k]);
    // The four projections' squared lengths sum to the span's dimension, so one of them is at least 1/4.
    (0..4).map(project).find(|q| q.norm() > 1e-6).unwrap_or(span[0]).normalize()
}
