//! Arithmetic of single points, and the centre of a cloud.

use super::Point;

/// a + b.
pub fn add<const D: usize>(a: &Point<D>, b: &Point<D>) -> Point<D> {
    std::array::from_fn(|i| a[i] + b[i])
}

/// a − b.
pub fn sub<const D: usize>(a: &Point<D>, b: &Point<D>) -> Point<D> {
    std::array::from_fn(|i| a[i] - b[i])
}

/// s a.
pub fn scale<const D: usize>(s: f64, a: &Point<D>) -> Point<D> {
    a.map(|c| s * c)
}

/// s a + t b.
pub fn combine<const D: usize>(s: f64, a: &Point<D>, t: f64, b: &Point<D>) -> Point<D> {
    std::array::from_fn(|i| s * a[i] + t * b[i])
}

/// a · b.
pub fn dot<const D: usize>(a: &Point<D>, b: &Point<D>) -> f64 {
    (0..D).map(|i| a[i] * b[i]).sum()
}

/// |a|².
pub fn norm_squared<const D: usize>(a: &Point<D>) -> f64 {
    dot(a, a)
}

/// a × b.
pub fn cross(a: &Point, b: &Point) -> Point {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The mean of the points; the origin for an empty cloud.
pub fn centroid<const D: usize>(x: &[Point<D>]) -> Point<D> {
    let sum = x.iter().fold([0.0; D], |sum, p| add(&sum, p));
    scale(1.0 / x.len().max(1) as f64, &sum)
}

/// Moves the cloud so that its mean is the origin.
pub fn centre<const D: usize>(x: &mut [Point<D>]) {
    let centroid = centroid(x);
    x.iter_mut().for_each(|p| *p = sub(p, &centroid));
}

/// The largest absolute coordinate: the unit in which a cloud is measured so that squares neither
/// overflow nor vanish. NaN if a coordinate is NaN.
pub(super) fn largest_coordinate<const D: usize>(x: &[Point<D>]) -> f64 {
    x.iter().flatten().fold(0.0, |largest: f64, c| if c.is_nan() { f64::NAN } else { nan_max(largest, c.abs()) })
}

fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() { a } else { a.max(b) }
}

/// 1 / size, where a cloud smaller than any number that can be safely inverted counts as a single point.
pub(super) fn inverse_size(size: f64) -> f64 {
    if size < 1e-290 { 0.0 } else { 1.0 / size }
}
