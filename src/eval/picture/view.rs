//! From where a cloud is seen.

use nalgebra::{Matrix3, SymmetricEigen, Vector3};

use crate::geometry::vector::{centroid, cross, dot, norm_squared, scale, sub};
use crate::geometry::{Point, kabsch};

/// Farther out than this (Å) nothing is drawn, so that squares stay finite.
const FARTHEST: f64 = 1e6;

/// Points as they are seen, z towards the eye; `None`: not drawable (not finite, or farther out than any molecule).
pub type Seen = Vec<Option<Point>>;

/// The points and, if given, their references, point i of one being point i of the other: moved rigidly so that the
/// points lie on their references as closely as they can, and seen along the shortest principal axis of the references
/// (of the points, if there are none), the longest lying across.
pub fn arranged(points: &[Point], reference: Option<&[Point]>) -> (Seen, Option<Seen>) {
    let drawable = |points: &[Point]| -> Seen {
        points.iter().map(|p| p.iter().all(|c| c.abs() <= FARTHEST).then_some(*p)).collect()
    };
    let (mut points, reference) = (drawable(points), reference.map(drawable));
    if let Some(reference) = &reference {
        let pairs = points.iter().zip(reference).filter_map(|(p, r)| p.zip(*r));
        let (mobile, target): (Vec<Point>, Vec<Point>) = pairs.unzip();
        let motion = kabsch::align(&mobile, &target);
        points.iter_mut().flatten().for_each(|p| motion.apply(std::slice::from_mut(p)));
    }
    let view = View::of(&reference.as_ref().unwrap_or(&points).iter().flatten().copied().collect::<Vec<_>>());
    let seen = |points: Seen| points.into_iter().map(|p| p.map(|p| view.see(&p))).collect();
    (seen(points), reference.map(seen))
}

/// A frame: its origin and its axes, right-handed.
struct View {
    centre: Point,
    axes: [Point; 3],
}

impl View {
    /// Principal axes, the longest first. The first two point to where the cloud reaches farther (where the sum of
    /// cubes is positive), so that a turned cloud looks the same; the third follows from them, so that its mirror image
    /// does not.
    fn of(points: &[Point]) -> View {
        let centre = centroid(points);
        let covariance = points.iter().fold(Matrix3::zeros(), |sum, p| {
            let p = Vector3::from(sub(p, &centre));
            sum + p * p.transpose()
        });
        let eigen = SymmetricEigen::new(covariance);
        let mut order = [0, 1, 2];
        order.sort_by(|&i, &j| eigen.eigenvalues[j].total_cmp(&eigen.eigenvalues[i]));
        let axis = |k: usize| -> Point {
            let axis: Point = eigen.eigenvectors.column(order[k]).into_owned().into();
            let lean: f64 = points.iter().map(|p| dot(&sub(p, &centre), &axis).powi(3)).sum();
            scale(if lean < 0.0 { -1.0 } else { 1.0 } / norm_squared(&axis).sqrt(), &axis)
        };
        let (across, up) = (axis(0), axis(1));
        View { centre, axes: [across, up, cross(&across, &up)] }
    }

    fn see(&self, point: &Point) -> Point {
        let p = sub(point, &self.centre);
        std::array::from_fn(|k| dot(&p, &self.axes[k]))
    }
}
