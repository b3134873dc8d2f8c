//! Groups that act on point clouds, by the two operators that quotient-space diffusion needs of them.
//!
//! A group's generators move a cloud `x` along its *vertical* directions; what is orthogonal to them changes
//! the shape and is *horizontal*. See `docs/geometry.md`.

use super::Point;
use super::inertia::Inertia;
use super::vector::{add, centre, combine, cross, dot, inverse_size, largest_coordinate, norm_squared, scale, sub};

/// A group of motions of D-dimensional space acting on all points of a cloud alike.
///
/// Every method is total: empty, coincident and collinear clouds are legal, a direction in which the group
/// moves nothing contributes 0, and finite input gives finite output.
pub trait Group<const D: usize = 3>: Send + Sync {
    /// Replaces the tangent vectors `v` at `x` by their horizontal part `P_x(v)`: the orthogonal projection
    /// onto the complement of what the group's generators do to `x`.
    fn horizontal_projection(&self, x: &[Point<D>], v: &mut [Point<D>]);

    /// The mean curvature vector of the orbit through `x`, `h̃(x) = −½ ∇ log det (G(x) + spread I)`, G being
    /// the Gram matrix of the generators at `x`; Å⁻¹. It points inwards: a Brownian motion with horizontal
    /// noise needs the drift `−σ²/2 · h̃` to reproduce the shapes of the plain one.
    ///
    /// The geometry's own vector has `spread` = 0. It grows like 1/r where a cloud is a distance r from one
    /// that a rotation leaves in place, and a step of finite noise must not act on that at a point: with the
    /// step's noise variance (Å²) as `spread` the drift stays below the noise, and tends to the exact one as
    /// the step gets short.
    fn mean_curvature(&self, x: &[Point<D>], spread: f64) -> Vec<Point<D>>;

    /// Moves a state into the slice that the group's translations leave: zero mean if the group has
    /// translations, nothing otherwise.
    fn centre(&self, x: &mut [Point<D>]);
}

/// Rotations and translations of space: what leaves the shape of a molecule unchanged.
///
/// With the inertia matrix K about the centroid, x and v taken relative to their means:
///
/// - `P_x(v)_n = v_n − ω × x_n`, `ω = K⁻¹ Σ_m x_m × v_m`;
/// - `h̃(x)_n = −(tr(K⁻¹) I − K⁻¹) x_n`, with K + spread I for K.
///
/// K⁻¹ is the inverse on the axes about which a turn moves the cloud.
#[derive(Clone, Copy, Debug, Default)]
pub struct Se3;

impl Group for Se3 {
    fn horizontal_projection(&self, x: &[Point], v: &mut [Point]) {
        centre(v);
        let inertia = Inertia::new(x);
        let momentum = inertia.points.iter().zip(&*v).fold([0.0; 3], |sum, (x, v)| add(&sum, &cross(x, v)));
        let omega = inertia.solve(&momentum);
        for (v, x) in v.iter_mut().zip(&inertia.points) {
            *v = sub(v, &cross(&omega, x));
        }
    }

    fn mean_curvature(&self, x: &[Point], spread: f64) -> Vec<Point> {
        let inertia = Inertia::new(x);
        let factor = -inverse_size(inertia.size);
        inertia.points.iter().map(|x| scale(factor, &inertia.repel(x, spread))).collect()
    }

    fn centre(&self, x: &mut [Point]) {
        centre(x);
    }
}

/// Rotations of the plane about the origin: the smallest example. The one generator turns x into
/// `x^⊥ = (−y, x)`; `P_x(v) = v − x^⊥ (x^⊥·v) / |x|²`, `h̃(x) = −x / |x|²` with |x|² summed over the points.
#[derive(Clone, Copy, Debug, Default)]
pub struct So2;

impl Group<2> for So2 {
    fn horizontal_projection(&self, x: &[Point<2>], v: &mut [Point<2>]) {
        let (points, moment, _) = planar(x);
        let momentum: f64 = points.iter().zip(&*v).map(|(x, v)| dot(&turned(x), v)).sum();
        if moment > 0.0 {
            for (v, x) in v.iter_mut().zip(&points) {
                *v = combine(1.0, v, -momentum / moment, &turned(x));
            }
        }
    }

    fn mean_curvature(&self, x: &[Point<2>], spread: f64) -> Vec<Point<2>> {
        let (points, moment, size) = planar(x);
        let factor = if moment > 0.0 { -inverse_size(size) / (moment + spread / size / size) } else { 0.0 };
        points.iter().map(|p| scale(factor, p)).collect()
    }

    fn centre(&self, _: &mut [Point<2>]) {}
}

/// The points in units of their largest coordinate, their Σ|x|², and that unit.
fn planar(x: &[Point<2>]) -> (Vec<Point<2>>, f64, f64) {
    let size = largest_coordinate(x);
    let unit = if size > 0.0 { size } else { 1.0 };
    let points: Vec<Point<2>> = x.iter().map(|p| p.map(|c| c / unit)).collect();
    let moment = points.iter().map(norm_squared).sum();
    (points, moment, size)
}

fn turned([x, y]: &Point<2>) -> Point<2> {
    [-y, *x]
}

/// Translations alone: the conventional treatment of molecules, which are centred but not reduced by
/// rotations. The generators' Gram matrix is constant, so the curvature is 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Translations;

impl<const D: usize> Group<D> for Translations {
    fn horizontal_projection(&self, _: &[Point<D>], v: &mut [Point<D>]) {
        centre(v);
    }

    fn mean_curvature(&self, x: &[Point<D>], _: f64) -> Vec<Point<D>> {
        vec![[0.0; D]; x.len()]
    }

    fn centre(&self, x: &mut [Point<D>]) {
        centre(x);
    }
}

/// The group of one element: no symmetry is removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trivial;

impl<const D: usize> Group<D> for Trivial {
    fn horizontal_projection(&self, _: &[Point<D>], _: &mut [Point<D>]) {}

    fn mean_curvature(&self, x: &[Point<D>], _: f64) -> Vec<Point<D>> {
        vec![[0.0; D]; x.len()]
    }

    fn centre(&self, _: &mut [Point<D>]) {}
}
