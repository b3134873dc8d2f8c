//! Rotations as 3×3 matrices.

use super::Point;
use super::vector::dot;

/// A rotation matrix by rows: `(R x)_i = Σ_j R[i][j] x_j`.
pub type Rotation = [[f64; 3]; 3];

/// R x.
pub fn rotate(rotation: &Rotation, x: &Point) -> Point {
    rotation.map(|row| dot(&row, x))
}

/// The rotation of the quaternion (w, x, y, z), which need not have unit length. Four independent standard
/// normal numbers give a rotation that is uniform over SO(3). A zero quaternion gives the identity.
pub fn rotation_from_quaternion(quaternion: [f64; 4]) -> Rotation {
    let norm = dot(&quaternion, &quaternion).sqrt();
    let [w, x, y, z] = if norm > 0.0 { quaternion.map(|c| c / norm) } else { [1.0, 0.0, 0.0, 0.0] };
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}
