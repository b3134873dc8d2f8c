//! What must hold of quotient-space diffusion, shown with denoisers that are known in closed form: the
//! projected samplers reproduce the target's shapes, move nothing rigidly, do not see vertical outputs, and
//! take shorter paths. Every statistical check is also run on samplers that are wrong on purpose (the
//! curvature term removed, its sign flipped, a direction too many projected out) and must reject them.

use nalgebra::{Matrix3, Vector3};
use qsd::data::Condition;
use qsd::diffusion::*;
use qsd::geometry::vector::{add, centre, combine, cross, dot, norm_squared, scale, sub};
use qsd::geometry::{Clouds, Group, Point, Rotation, Se3, rotate, rotation_from_quaternion};
use qsd::random::{Purpose, normal_points, stream};
use qsd::{Error, Result};

/// A denoiser given by a function of t and a cloud.
struct Analytic<F>(F);

impl<F: Fn(f64, &[Point]) -> Vec<Point> + Sync> Denoiser for Analytic<F> {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        let clouds: Vec<Vec<Point>> = input.x_t.iter().zip(input.t).map(|(x, &t)| (self.0)(t, x)).collect();
        Ok(Clouds::from_clouds(clouds.iter().map(Vec::as_slice)))
    }

    fn record(&self, _: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Err(Error::Config("a denoiser in closed form has no parameters to train".into()))
    }
}

/// SE(3) with its curvature multiplied by a factor: −1 is the wrong sign, 0 leaves the term out.
struct Tampered(f64);

impl Group for Tampered {
    fn horizontal_projection(&self, x: &[Point], v: &mut [Point]) {
        Se3.horizontal_projection(x, v);
    }

    fn mean_curvature(&self, x: &[Point], spread: f64) -> Vec<Point> {
        Se3.mean_curvature(x, spread).iter().map(|h| scale(self.0, h)).collect()
    }

    fn centre(&self, x: &mut [Point]) {
        Se3.centre(x);
    }
}

/// SE(3) that also projects the change of size out.
struct RadialToo;

impl Group for RadialToo {
    fn horizontal_projection(&self, x: &[Point], v: &mut [Point]) {
        Se3.horizontal_projection(x, v);
        let along: f64 = x.iter().zip(&*v).map(|(x, v)| dot(x, v)).sum();
        let size: f64 = x.iter().map(norm_squared).sum();
        v.iter_mut().zip(x).for_each(|(v, x)| *v = combine(1.0, v, -along / size, x));
    }

    fn mean_curvature(&self, x: &[Point], spread: f64) -> Vec<Point> {
        Se3.mean_curvature(x, spread)
    }

    fn centre(&self, x: &mut [Point]) {
        Se3.centre(x);
    }
}

/// `clouds` clouds of `n` points without any graph.
fn condition(clouds: usize, n: usize) -> Condition {
    Condition { offsets: (0..=clouds).map(|b| b * n).collect(), ..Condition::default() }
}

fn diffusion(prior_scale: f64) -> DiffusionConfig {
    DiffusionConfig {
        prediction: Prediction::Data,
        interpolant: Interpolant::OneSided,
        prior: Prior::Gaussian,
        prior_scale,
        coupling: Coupling::Independent,
        loss: Loss::Mse,
        ..DiffusionConfig::default()
    }
}

fn conventional(prior_scale: f64) -> DiffusionConfig {
    DiffusionConfig { treatment: Treatment::Conventional, ..diffusion(prior_scale) }
}

fn sampler(kind: SamplerKind, steps: usize, diffusion: &DiffusionConfig) -> Sampler {
    let config = SamplerConfig { kind, steps, eta: Eta::Constant, ..SamplerConfig::default() };
    Sampler::new(&config, diffusion).unwrap()
}

fn run(sampler: &Sampler, denoiser: &dyn Denoiser, clouds: usize, n: usize) -> Clouds {
    let ids: Vec<u64> = (0..clouds as u64).collect();
    sampler.run(denoiser, &condition(clouds, n), &ids, 11, &mut |_| Ok(())).unwrap()
}

/// Mean and variance of the mean of every feature over clouds.
fn moments(x: &Clouds, features: fn(&[Point]) -> Vec<f64>) -> Vec<(f64, f64)> {
    let rows: Vec<Vec<f64>> = x.iter().map(features).collect();
    let n = rows.len() as f64;
    (0..rows[0].len())
        .map(|k| {
            let mean = rows.iter().map(|row| row[k]).sum::<f64>() / n;
            (mean, rows.iter().map(|row| (row[k] - mean).powi(2)).sum::<f64>() / (n * n))
        })
        .collect()
}

/// Whether two sets of clouds have the same mean features, to 4 standard errors and 1 % for the finite step.
/// Says which feature is off by how many allowances if not.
fn same_shapes(name: &str, found: &Clouds, target: &Clouds, features: fn(&[Point]) -> Vec<f64>) -> Result<(), String> {
    let (found, target) = (moments(found, features), moments(target, features));
    let excess =
        |((f, vf), (t, vt)): (&(f64, f64), &(f64, f64))| (f - t).abs() / (4.0 * (vf + vt).sqrt() + 0.01 * t.abs());
    let excesses: Vec<f64> = found.iter().zip(&target).map(excess).collect();
    let worst = excesses.iter().copied().fold(0.0, f64::max);
    let means = |m: &[(f64, f64)]| m.iter().take(3).map(|(m, _)| format!("{m:.3}")).collect::<Vec<_>>().join(" ");
    println!("{name:<32} {} (target {}), worst feature at {worst:.2} of its allowance", means(&found), means(&target));
    if worst <= 1.0 { Ok(()) } else { Err(format!("{name}: {worst:.2} times the allowance")) }
}

// --- A Gaussian target -------------------------------------------------------------------------------------

const GAUSSIAN_POINTS: usize = 4;
const GAUSSIAN_SCALE: f64 = 1.5;

/// E[x_1|x_t] for x_1 ~ N(0, s²), x_0 ~ N(0, 1).
fn gaussian_denoiser(t: f64, x: &[Point]) -> Vec<Point> {
    let s2 = GAUSSIAN_SCALE * GAUSSIAN_SCALE;
    let factor = t * s2 / (t * t * s2 + (1.0 - t) * (1.0 - t));
    x.iter().map(|p| scale(factor, p)).collect()
}

fn gaussian_target(clouds: usize) -> Clouds {
    let clouds: Vec<Vec<Point>> = (0..clouds as u64)
        .map(|id| {
            let mut x = normal_points(&mut stream(77, Purpose::Prior, 0, id), GAUSSIAN_POINTS);
            centre(&mut x);
            x.iter().map(|p| scale(GAUSSIAN_SCALE, p)).collect()
        })
        .collect();
    Clouds::from_clouds(clouds.iter().map(Vec::as_slice))
}

/// The singular values of the N × 3 matrix of coordinates, ascending, and their squares.
fn singular_values(x: &[Point]) -> Vec<f64> {
    let gram = x.iter().fold(Matrix3::zeros(), |sum, p| {
        let p = Vector3::from(*p);
        sum + p * p.transpose()
    });
    let mut squares: Vec<f64> = gram.symmetric_eigenvalues().iter().map(|s| s.max(0.0)).collect();
    squares.sort_by(f64::total_cmp);
    squares.iter().map(|s| s.sqrt()).chain(squares.iter().copied()).collect()
}

#[test]
fn gaussian_shapes_are_reproduced() {
    let (clouds, denoiser) = (4000, Analytic(gaussian_denoiser));
    let target = gaussian_target(40_000);
    let published = [0.618, 2.000, 3.775];
    for ((mean, _), published) in moments(&target, singular_values).iter().zip(published) {
        assert!((mean - published).abs() < 0.02, "{mean} {published}");
    }
    let check = |name: &str, sampler: Sampler| {
        same_shapes(name, &run(&sampler, &denoiser, clouds, GAUSSIAN_POINTS), &target, singular_values)
    };
    let sde = || sampler(SamplerKind::Sde, 400, &diffusion(1.0));
    check("Gaussian, plain SDE", sampler(SamplerKind::Sde, 400, &conventional(1.0))).unwrap();
    check("Gaussian, projected ODE", sampler(SamplerKind::Ode, 400, &diffusion(1.0))).unwrap();
    check("Gaussian, projected SDE", sde()).unwrap();
    check("Gaussian, SDE without curvature", sde().with_group(Box::new(Tampered(0.0)))).unwrap_err();
    check("Gaussian, SDE with +h", sde().with_group(Box::new(Tampered(-1.0)))).unwrap_err();
}

#[test]
fn a_bridge_with_gaussian_prior_has_the_score_of_its_marginals() {
    // x_t = (1−t) x_0 + t x_1 + σ√(t(1−t)) ε with all three Gaussian: E[u_t|x_t] = ½ (d/dt var) / var · x.
    let (sigma, s2) = (0.8, GAUSSIAN_SCALE * GAUSSIAN_SCALE);
    let velocity = move |t: f64, x: &[Point]| -> Vec<Point> {
        let r = 1.0 - t;
        let variance = r * r + t * t * s2 + sigma * sigma * t * r;
        let half_rate = -r + t * s2 + 0.5 * sigma * sigma * (r - t);
        x.iter().map(|p| scale(half_rate / variance, p)).collect()
    };
    let bridge =
        DiffusionConfig { interpolant: Interpolant::Bridge, prediction: Prediction::Velocity, sigma, ..diffusion(1.0) };
    let samples = run(&sampler(SamplerKind::Sde, 400, &bridge), &Analytic(velocity), 3000, GAUSSIAN_POINTS);
    same_shapes("Gaussian, bridge SDE", &samples, &gaussian_target(40_000), singular_values).unwrap();
}

// --- A rotated rigid template with noise -------------------------------------------------------------------

/// A chiral template of six points, centred; Å.
const TEMPLATE: [Point; 6] =
    [[-1.9, -0.4, 0.3], [-0.7, 0.6, -0.5], [0.5, -0.6, -0.9], [1.4, 0.7, -0.2], [0.9, -0.9, 1.1], [-0.2, 0.6, 0.2]];
/// The standard deviation of the noise on the template, Å.
const TAU: f64 = 0.5;
/// The prior's, Å: other than 1, so that the units of η matter.
const PRIOR: f64 = 1.6;

/// e^{−x} I_0(x) for x ≥ 0, by the polynomials 9.8.1 and 9.8.2 of Abramowitz and Stegun (error below 2·10⁻⁷).
fn scaled_i0(x: f64) -> f64 {
    let horner = |y: f64, coefficients: &[f64]| coefficients.iter().rev().fold(0.0, |sum, c| sum * y + c);
    let y = x / 3.75;
    if y < 1.0 {
        let series = [1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813];
        return horner(y * y, &series) * (-x).exp();
    }
    let asymptotic =
        [0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281, -0.02057706, 0.02635537, -0.01647633, 0.00392377];
    horner(1.0 / y, &asymptotic) / x.sqrt()
}

/// Nodes and weights of Gauss and Legendre on [−1, 1].
fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let value_and_slope = |x: f64| {
        let (mut before, mut p) = (1.0, x);
        for k in 2..=n {
            (before, p) = (p, ((2 * k - 1) as f64 * x * p - (k - 1) as f64 * before) / k as f64);
        }
        (p, n as f64 * (x * p - before) / (x * x - 1.0))
    };
    (0..n)
        .map(|i| {
            let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
            for _ in 0..50 {
                let (p, slope) = value_and_slope(x);
                x -= p / slope;
            }
            let (_, slope) = value_and_slope(x);
            (x, 2.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect()
}

/// E[R] under the matrix-Fisher law with density ∝ exp tr(Fᵀ R) on SO(3).
///
/// With the proper singular value decomposition F = U S Vᵀ it is U diag(∂ log c/∂s_k) Vᵀ, where
/// `c(S) = ½ ∫₋₁¹ I_0(½(s_i − s_j)(1−u)) I_0(½(s_i + s_j)(1+u)) e^{s_k u} du` for each cyclic (i, j, k).
fn matrix_fisher_mean(f: Matrix3<f64>, nodes: &[(f64, f64)]) -> Matrix3<f64> {
    let svd = f.svd(true, true);
    let (mut u, mut v_t, mut s) = (svd.u.unwrap(), svd.v_t.unwrap(), svd.singular_values);
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
/// posterior of R is matrix-Fisher with F = (t/V) Σ x_n y_nᵀ, V = (1−t)² s² + t² τ².
fn template_denoiser(nodes: &[(f64, f64)], t: f64, x: &[Point]) -> Vec<Point> {
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

fn template_target(clouds: usize) -> Clouds {
    let clouds: Vec<Vec<Point>> = (0..clouds as u64)
        .map(|id| {
            let mut noise = normal_points(&mut stream(78, Purpose::Prior, 0, id), TEMPLATE.len());
            centre(&mut noise);
            noise.iter().zip(&TEMPLATE).map(|(e, y)| combine(TAU, e, 1.0, y)).collect()
        })
        .collect();
    Clouds::from_clouds(clouds.iter().map(Vec::as_slice))
}

/// All distances, their squares, and a signed volume that tells the template from its mirror image.
fn distances_and_volume(x: &[Point]) -> Vec<f64> {
    let pairs = (0..x.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let squares: Vec<f64> = pairs.map(|(i, j)| norm_squared(&sub(&x[i], &x[j]))).collect();
    let volume = dot(&sub(&x[0], &x[3]), &cross(&sub(&x[1], &x[3]), &sub(&x[2], &x[3])));
    squares.iter().map(|s| s.sqrt()).chain(squares.iter().copied()).chain([volume]).collect()
}

fn rotation_of(id: u64) -> Rotation {
    let [p, q] = [0, 1].map(|k| normal_points::<2>(&mut stream(k, Purpose::Rotation, 0, id), 1)[0]);
    rotation_from_quaternion([p[0], p[1], q[0], q[1]])
}

#[test]
fn matrix_fisher_mean_is_that_of_weighted_rotations() {
    let nodes = gauss_legendre(32);
    let f = Matrix3::new(1.2, -0.4, 0.7, 0.3, -0.9, 0.2, 0.5, 0.1, 0.8);
    for f in [f, -f, 3.0 * f] {
        let (mut sum, mut total) = (Matrix3::zeros(), 0.0);
        for id in 0..200_000 {
            let rows = rotation_of(id);
            let r = Matrix3::from_fn(|i, j| rows[i][j]);
            let weight = (f.transpose() * r).trace().exp();
            sum += r * weight;
            total += weight;
        }
        let error = (matrix_fisher_mean(f, &nodes) - sum / total).amax();
        assert!(error < 0.015, "{error}");
    }
}

#[test]
fn template_shapes_are_reproduced() {
    let nodes = gauss_legendre(24);
    let denoiser = Analytic(|t: f64, x: &[Point]| template_denoiser(&nodes, t, x));
    let target = template_target(40_000);
    let check = |name: &str, sampler: Sampler| {
        same_shapes(name, &run(&sampler, &denoiser, 2500, TEMPLATE.len()), &target, distances_and_volume)
    };
    let sde = || sampler(SamplerKind::Sde, 300, &diffusion(PRIOR));
    let ode = || sampler(SamplerKind::Ode, 300, &diffusion(PRIOR));
    check("template, projected ODE", ode()).unwrap();
    check("template, projected SDE", sde()).unwrap();
    check("template, ODE without radius", ode().with_group(Box::new(RadialToo))).unwrap_err();
    check("template, SDE without curvature", sde().with_group(Box::new(Tampered(0.0)))).unwrap_err();
    check("template, SDE with +h", sde().with_group(Box::new(Tampered(-1.0)))).unwrap_err();
}

// --- Rigid motion, vertical outputs, lengths of paths ------------------------------------------------------

/// An equivariant vertical field: a rotation about an axis that turns with the cloud.
fn spin(t: f64, x: &[Point]) -> Vec<Point> {
    let axis = combine(2.0, &x[0], 1.0 - t, &x[1]);
    x.iter().map(|p| cross(&axis, p)).collect()
}

fn spinning(denoised: Vec<Point>, t: f64, x: &[Point]) -> Vec<Point> {
    denoised.iter().zip(&spin(t, x)).map(|(d, s)| combine(1.0, d, 1.0 - t, s)).collect()
}

/// The largest |Σ x_n × (x'_n − x_n)| over all steps and clouds.
fn largest_turn(sampler: &Sampler, denoiser: &dyn Denoiser) -> f64 {
    let ids: Vec<u64> = (0..8).collect();
    let mut largest: f64 = 0.0;
    let mut observe = |step: Step<'_>| {
        for (before, after) in step.before.iter().zip(step.after.iter()) {
            let momentum = before.iter().zip(after).fold([0.0; 3], |sum, (x, y)| add(&sum, &cross(x, &sub(y, x))));
            largest = largest.max(norm_squared(&momentum).sqrt());
        }
        Ok(())
    };
    sampler.run(denoiser, &condition(8, TEMPLATE.len()), &ids, 3, &mut observe).unwrap();
    largest
}

#[test]
fn no_step_turns_the_cloud() {
    let nodes = gauss_legendre(24);
    let denoiser = Analytic(|t: f64, x: &[Point]| spinning(template_denoiser(&nodes, t, x), t, x));
    for kind in [SamplerKind::Ode, SamplerKind::Sde] {
        let turn = largest_turn(&sampler(kind, 50, &diffusion(PRIOR)), &denoiser);
        assert!(turn < 1e-11, "{kind:?}: {turn:e}");
        let plain = largest_turn(&sampler(kind, 50, &conventional(PRIOR)), &denoiser);
        assert!(plain > 1e-2, "the plain sampler turns it, and this test must see that: {plain:e}");
    }
}

fn largest_difference(a: &Clouds, b: &Clouds) -> f64 {
    a.points().iter().zip(b.points()).map(|(a, b)| norm_squared(&sub(a, b)).sqrt()).fold(0.0, f64::max)
}

#[test]
fn vertical_outputs_do_not_change_ode_samples() {
    let nodes = gauss_legendre(24);
    let plain = Analytic(|t: f64, x: &[Point]| template_denoiser(&nodes, t, x));
    let spun = Analytic(|t: f64, x: &[Point]| {
        // Any rigid motion, equivariant or not.
        let rigid = |p: &Point| add(&[3.0, -1.0, t], &cross(&[1.0, 5.0 * t, -2.0], p));
        let denoised = template_denoiser(&nodes, t, x);
        denoised.iter().zip(x).map(|(d, x)| add(d, &rigid(x))).collect()
    });
    let difference = |diffusion: DiffusionConfig| {
        let sampler = sampler(SamplerKind::Ode, 50, &diffusion);
        largest_difference(&run(&sampler, &plain, 16, 6), &run(&sampler, &spun, 16, 6))
    };
    let projected = difference(diffusion(PRIOR));
    assert!(projected < 1e-9, "{projected:e}");
    assert!(difference(conventional(PRIOR)) > 0.1, "the plain sampler sees them");
}

/// The length of every cloud's path, and where the paths end.
fn path_lengths(sampler: &Sampler, denoiser: &dyn Denoiser, clouds: usize) -> (Vec<f64>, Clouds) {
    let ids: Vec<u64> = (0..clouds as u64).collect();
    let mut lengths = vec![0.0; clouds];
    let mut observe = |step: Step<'_>| {
        for (length, (before, after)) in lengths.iter_mut().zip(step.before.iter().zip(step.after.iter())) {
            *length += before.iter().zip(after).map(|(x, y)| norm_squared(&sub(y, x))).sum::<f64>().sqrt();
        }
        Ok(())
    };
    let end = sampler.run(denoiser, &condition(clouds, TEMPLATE.len()), &ids, 4, &mut observe).unwrap();
    (lengths, end)
}

#[test]
fn projected_paths_are_never_longer() {
    let nodes = gauss_legendre(24);
    let denoiser = Analytic(|t: f64, x: &[Point]| spinning(template_denoiser(&nodes, t, x), t, x));
    let lengths =
        |diffusion: DiffusionConfig| path_lengths(&sampler(SamplerKind::Ode, 1000, &diffusion), &denoiser, 64);
    let (projected, end) = lengths(diffusion(PRIOR));
    let (plain, plain_end) = lengths(conventional(PRIOR));
    for (b, (projected, plain)) in projected.iter().zip(&plain).enumerate() {
        assert!(projected < plain, "cloud {b}: {projected} > {plain}");
        // Both arrive at the same shape, to first order in the step.
        for (p, q) in distances_and_volume(end.cloud(b)).iter().zip(distances_and_volume(plain_end.cloud(b))).take(15) {
            assert!((p - q).abs() < 0.05, "cloud {b}: {p} {q}");
        }
    }
    // An equivariant network without vertical part: the same path twice.
    let horizontal = Analytic(|t: f64, x: &[Point]| template_denoiser(&nodes, t, x));
    let of = |diffusion: DiffusionConfig| path_lengths(&sampler(SamplerKind::Ode, 100, &diffusion), &horizontal, 16);
    let difference = largest_difference(&of(diffusion(PRIOR)).1, &of(conventional(PRIOR)).1);
    assert!(difference < 1e-9, "{difference:e}");
    // The denoiser is equivariant, without which the comparison would mean nothing.
    let (r, x) = (rotation_of(1), normal_points(&mut stream(1, Purpose::Prior, 0, 0), 6));
    let turn = |x: &[Point]| x.iter().map(|p| rotate(&r, p)).collect::<Vec<_>>();
    let (a, b) = ((denoiser.0)(0.4, &turn(&x)), turn(&(denoiser.0)(0.4, &x)));
    let error = a.iter().zip(&b).map(|(a, b)| norm_squared(&sub(a, b)).sqrt()).fold(0.0, f64::max);
    assert!(error < 1e-9, "{error:e}");
}
