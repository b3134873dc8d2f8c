//! The plane modulo its rotations: a target of two rings about the origin, each with noise. A shape is a radius.

use qsd::geometry::vector::{norm_squared, scale};
use qsd::geometry::{Group, Point};

use super::bessel::{scaled_i0, scaled_i1};

/// The rings: the share of the samples that lie on each, and its radius.
pub const RINGS: [(f64, f64); 2] = [(0.35, 0.7), (0.65, 2.2)];
/// The standard deviation of the noise on a ring.
pub const TAU: f64 = 0.25;

/// A group of the plane z = 0, so that the crate's sampler, which moves points in space, moves one in the plane.
pub struct InPlane<G>(pub G);

impl<G: Group<2>> Group for InPlane<G> {
    fn horizontal_projection(&self, x: &[Point], v: &mut [Point]) {
        let mut flat = flattened(v);
        self.0.horizontal_projection(&flattened(x), &mut flat);
        v.copy_from_slice(&raised(&flat));
    }

    fn mean_curvature(&self, x: &[Point], spread: f64) -> Vec<Point> {
        raised(&self.0.mean_curvature(&flattened(x), spread))
    }

    fn centre(&self, x: &mut [Point]) {
        let mut flat = flattened(x);
        self.0.centre(&mut flat);
        x.copy_from_slice(&raised(&flat));
    }
}

fn flattened(x: &[Point]) -> Vec<Point<2>> {
    x.iter().map(|[x, y, _]| [*x, *y]).collect()
}

fn raised(x: &[Point<2>]) -> Vec<Point> {
    x.iter().map(|[x, y]| [*x, *y, 0.0]).collect()
}

/// For a point at radius r that is a ring's of radius ρ and noise of variance V: the density of r without
/// its factor r/V, `e^{−(r−ρ)²/2V} · e^{−κ} I_0(κ)`, and the length of the mean of its direction,
/// I_1(κ)/I_0(κ); κ = rρ/V (von Mises' law).
fn ring(r: f64, radius: f64, variance: f64) -> (f64, f64) {
    let kappa = r * radius / variance;
    let i0 = scaled_i0(kappa);
    ((-(r - radius).powi(2) / (2.0 * variance)).exp() * i0, scaled_i1(kappa) / i0)
}

/// E[x_1|x_t] for x_1 = ρ (cos θ, sin θ) + τ ε, θ uniform, ρ one of the rings, and x_t = t x_1 + (1−t) z, point by
/// point.
///
/// Given its ring a point is that of a circle of radius tρ with noise V = (1−t)² + t²τ²; by Bayes' rule the rings'
/// posterior shares follow from its density, and E[x_1|x_t, ρ] = m + (tτ²/V)(x_t − t m), m the mean of the circle's
/// point.
pub fn denoiser(t: f64, x: &[Point]) -> Vec<Point> {
    let noise = t * t * TAU * TAU;
    let variance = (1.0 - t) * (1.0 - t) + noise;
    let denoised = |p: &Point| {
        let r = norm_squared(p).sqrt();
        let (mut total, mut along) = (0.0, 0.0);
        for (share, radius) in RINGS {
            let (density, length) = ring(r, t * radius, variance);
            let mean = radius * length;
            total += share * density;
            along += share * density * (mean + t * TAU * TAU / variance * (r - t * mean));
        }
        if r > 0.0 { scale(along / total / r, p) } else { *p }
    };
    x.iter().map(denoised).collect()
}

/// The density of the radius of x_1 (Rice's law, for each ring).
pub fn radius_density(r: f64) -> f64 {
    let variance = TAU * TAU;
    RINGS.iter().map(|&(share, radius)| share * r / variance * ring(r, radius, variance).0).sum()
}

/// The distribution function of the radius of x_1, tabulated from 0 in steps of `step` (Simpson's rule).
pub fn radius_distribution(step: f64, up_to: f64) -> Vec<f64> {
    let mut sum = 0.0;
    let mut table = vec![0.0];
    for i in 0..(up_to / step).ceil() as usize {
        let r = i as f64 * step;
        let [a, b, c] = [r, r + 0.5 * step, r + step].map(radius_density);
        sum += step / 6.0 * (a + 4.0 * b + c);
        table.push(sum);
    }
    table
}

/// What was denoised, with a turn about the origin that no projected sampler sees.
pub fn spinning(denoised: Vec<Point>, t: f64, x: &[Point]) -> Vec<Point> {
    let turned = |(d, x): (&Point, &Point)| [d[0] - 2.0 * (1.0 - t) * x[1], d[1] + 2.0 * (1.0 - t) * x[0], 0.0];
    denoised.iter().zip(x).map(turned).collect()
}
