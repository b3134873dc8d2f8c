//! A Gaussian target: four points, x_1 ~ N(0, 1.5²), their mean held at the origin. Its shapes are told by the singular
//! values of the matrix of coordinates.

use nalgebra::{Matrix3, Vector3};
use qsd::geometry::vector::{centre, scale};
use qsd::geometry::{Clouds, Point};
use qsd::random::{Purpose, normal_points, stream};

/// How many points a cloud has.
pub const POINTS: usize = 4;
/// The target's standard deviation, Å.
pub const SCALE: f64 = 1.5;

/// E[x_1|x_t] for x_1 ~ N(0, s²), x_0 ~ N(0, 1).
pub fn denoiser(t: f64, x: &[Point]) -> Vec<Point> {
    let s2 = SCALE * SCALE;
    let factor = t * s2 / (t * t * s2 + (1.0 - t) * (1.0 - t));
    x.iter().map(|p| scale(factor, p)).collect()
}

/// Draws from the target itself.
pub fn target(clouds: usize) -> Clouds {
    let clouds: Vec<Vec<Point>> = (0..clouds as u64)
        .map(|id| {
            let mut x = normal_points(&mut stream(77, Purpose::Prior, 0, id), POINTS);
            centre(&mut x);
            x.iter().map(|p| scale(SCALE, p)).collect()
        })
        .collect();
    Clouds::from_clouds(clouds.iter().map(Vec::as_slice))
}

/// The singular values of the N × 3 matrix of coordinates, ascending, Å.
pub fn singular_values(x: &[Point]) -> Vec<f64> {
    let gram = x.iter().fold(Matrix3::zeros(), |sum, p| {
        let p = Vector3::from(*p);
        sum + p * p.transpose()
    });
    let mut values: Vec<f64> = gram.symmetric_eigenvalues().iter().map(|s| s.max(0.0).sqrt()).collect();
    values.sort_by(f64::total_cmp);
    values
}
