//! A rigid chiral template, turned at random, with noise: x_1 = R y + τ ε. The posterior of R is a matrix-Fisher law.

use nalgebra::{Matrix3, Vector3};
use qsd::geometry::vector::{centre, combine, cross, dot, norm_squared, sub};
use qsd::geometry::{Clouds, Point};
use qsd::random::{Purpose, normal_points, stream};

use super::bessel::scaled_i0;

/// A chiral template of six points, centred; Å.
pub const TEMPLATE: [Point; 6] =
    [[-1.9, -0.4, 0.3], [-0.7, 0.6, -0.5], [0.5, -0.6, -0.9], [1.4, 0.7, -0.2], [0.9, -0.9, 1.1], [-0.2, 0.6, 0.2]];
/// The standard deviation of the noise on the template, Å.
pub const TAU: f64 = 0.5;
/// The prior's, Å: other than 1, so that the units of η matter.
pub const PRIOR: f64 = 1.6;

/// E[R] under the matrix-Fisher law with density ∝ exp tr(Fᵀ R) on SO(3).
///
/// With the proper singular value decomposition F = U S Vᵀ it is U diag(∂ log c/∂s_k) Vᵀ, where
/// `c(S) = ½ ∫₋₁¹ I_0(½(s_i − s_j)(1−u)) I_0(½(s_i + s_j)(1+u)) e^{s_k u} du` for each cyclic (i, j, k).
pub fn matrix_fisher_mean(f: Matrix3<f64>, nodes: &[(f64, f64)]) -> Matrix3<f64> {
    let svd = f.svd(true, true);
    let (Some(mut u), Some(mut v_t)) = (svd.u, svd.v_t) else { unreachable!("both factors were asked for") };
    let mut s = svd.singular_values;
    if u.determinant() < 0.0 {
        u.column_mut(2).neg_mut();
        s[2] = -s[2];
    }
    if v_t.determinant() < 0.0 {
        v_t.row_mut(2).neg_mut();
        s[2] = -s[2];
    }
    let mean = Vector3::from_fn(|k, _| {
        let (i, j) = ((k + 1) % 3, (k + 2) % 3);
        let (minus, plus) = (0.5 * (s[i] - s[j]).abs(), 0.5 * (s[i] + s[j]).abs());
        // The integrand's logarithm is at most its value at one end.
        let exponent = |x: f64| minus * (1.0 - x) + plus * (1.0 + x) + s[k] * x;
        let largest = exponent(1.0).max(exponent(-1.0));
        let (mut total, mut first) = (0.0, 0.0);
        for &(x, weight) in nodes {
            let value = scaled_i0(minus * (1.0 - x)) * scaled_i0(plus * (1.0 + x)) * (exponent(x) - largest).exp();
            total += weight * value;
            first += weight * value * x;
        }
        first / total
    });
    u * Matrix3::from_diagonal(&mean) * v_t
}

/// E[x_1|x_t] for x_1 = R y + τ ε, R uniform, and x_t = t x_1 + (1−t) s z. Given R, x_1 is normal; the
/// posterior of R is matrix-Fisher with F = (t/V) Σ x_n y_nᵀ, V = (1−t)² s² + t² τ². `nodes` are those of
/// [`gauss_legendre`](super::bessel::gauss_legendre).
pub fn denoiser(nodes: &[(f64, f64)], t: f64, x: &[Point]) -> Vec<Point> {
    let noise = t * t * TAU * TAU;
    let variance = (1.0 - t) * (1.0 - t) * PRIOR * PRIOR + noise;
    let f = x
        .iter()
        .zip(&TEMPLATE)
        .fold(Matrix3::zeros(), |sum, (x, y)| sum + Vector3::from(*x) * Vector3::from(*y).transpose());
    let mean = matrix_fisher_mean(f * (t / variance), nodes);
    let turned = TEMPLATE.iter().map(|y| (mean * Vector3::from(*y)).into());
    let placed = |(x, y): (&Point, Point)| combine(1.0 - noise / variance, &y, t * TAU * TAU / variance, x);
    x.iter().zip(turned).map(placed).collect()
}

/// Draws from the target itself; as no shape depends on it, not turned.
pub fn target(clouds: usize) -> Clouds {
    let clouds: Vec<Vec<Point>> = (0..clouds as u64)
        .map(|id| {
            let mut noise = normal_points(&mut stream(78, Purpose::Prior, 0, id), TEMPLATE.len());
            centre(&mut noise);
            noise.iter().zip(&TEMPLATE).map(|(e, y)| combine(TAU, e, 1.0, y)).collect()
        })
        .collect();
    Clouds::from_clouds(clouds.iter().map(Vec::as_slice))
}

/// The distances of all pairs, Å: (1, 0), (2, 0), (2, 1), …
pub fn distances(x: &[Point]) -> Vec<f64> {
    let pairs = (0..x.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs.map(|(i, j)| norm_squared(&sub(&x[i], &x[j])).sqrt()).collect()
}

/// A signed volume that tells the template from its mirror image, Å³.
pub fn volume(x: &[Point]) -> f64 {
    dot(&sub(&x[0], &x[3]), &cross(&sub(&x[1], &x[3]), &sub(&x[2], &x[3])))
}

/// An equivariant vertical field: a rotation about an axis that turns with the cloud.
pub fn spin(t: f64, x: &[Point]) -> Vec<Point> {
    let axis = combine(2.0, &x[0], 1.0 - t, &x[1]);
    x.iter().map(|p| cross(&axis, p)).collect()
}

/// What was denoised, with a [`spin`] that no projected sampler sees: a network whose vertical output was left free.
pub fn spinning(denoised: Vec<Point>, t: f64, x: &[Point]) -> Vec<Point> {
    denoised.iter().zip(&spin(t, x)).map(|(d, s)| combine(1.0, d, 1.0 - t, s)).collect()
}
