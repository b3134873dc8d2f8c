//! What must hold of quotient-space diffusion, shown with denoisers that are known in closed form: the
//! projected samplers reproduce the target's shapes, move nothing rigidly, do not see vertical outputs, and
//! take shorter paths. Every statistical check is also run on samplers that are wrong on purpose (the
//! curvature term removed, its sign flipped, a direction too many projected out) and must reject them.

#[path = "../examples/analytic/mod.rs"]
mod analytic;

use analytic::{Analytic, Tampered, bessel, condition, diffusion, gaussian, rings, statistics, template};
use nalgebra::Matrix3;
use qsd::diffusion::*;
use qsd::geometry::vector::{add, combine, cross, dot, norm_squared, scale, sub};
use qsd::geometry::{Clouds, Group, Point, Rotation, Se3, rotate, rotation_from_quaternion};
use qsd::random::{Purpose, normal_points, stream};

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

fn conventional(prior_scale: f64) -> DiffusionConfig {
    DiffusionConfig { treatment: Treatment::Conventional, ..diffusion(prior_scale) }
}

fn sampler(kind: SamplerKind, steps: usize, diffusion: &DiffusionConfig) -> Sampler {
    analytic::sampler(kind, steps, diffusion).unwrap()
}

fn run(sampler: &Sampler, denoiser: &dyn Denoiser, clouds: usize, n: usize) -> Clouds {
    analytic::samples(sampler, denoiser, clouds, n, 11).unwrap()
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

/// The singular values of the coordinates, and their squares.
fn singular_values(x: &[Point]) -> Vec<f64> {
    let values = gaussian::singular_values(x);
    values.iter().copied().chain(values.iter().map(|s| s * s)).collect()
}

#[test]
fn gaussian_shapes_are_reproduced() {
    let (clouds, denoiser) = (4000, Analytic(gaussian::denoiser));
    let target = gaussian::target(40_000);
    let published = [0.618, 2.000, 3.775];
    for ((mean, _), published) in moments(&target, singular_values).iter().zip(published) {
        assert!((mean - published).abs() < 0.02, "{mean} {published}");
    }
    let check = |name: &str, sampler: Sampler| {
        same_shapes(name, &run(&sampler, &denoiser, clouds, gaussian::POINTS), &target, singular_values)
    };
    let sde = || sampler(SamplerKind::Sde, 400, &diffusion(1.0));
    check("Gaussian, plain SDE", sampler(SamplerKind::Sde, 400, &conventional(1.0))).unwrap();
    check("Gaussian, projected ODE", sampler(SamplerKind::Ode, 400, &diffusion(1.0))).unwrap();
    check("Gaussian, projected SDE", sde()).unwrap();
    check("Gaussian, SDE without curvature", sde().with_group(Box::new(Tampered(Se3, 0.0)))).unwrap_err();
    check("Gaussian, SDE with +h", sde().with_group(Box::new(Tampered(Se3, -1.0)))).unwrap_err();
}

#[test]
fn a_bridge_with_gaussian_prior_has_the_score_of_its_marginals() {
    // x_t = (1−t) x_0 + t x_1 + σ√(t(1−t)) ε with all three Gaussian: E[u_t|x_t] = ½ (d/dt var) / var · x.
    let (sigma, s2) = (0.8, gaussian::SCALE * gaussian::SCALE);
    let velocity = move |t: f64, x: &[Point]| -> Vec<Point> {
        let r = 1.0 - t;
        let variance = r * r + t * t * s2 + sigma * sigma * t * r;
        let half_rate = -r + t * s2 + 0.5 * sigma * sigma * (r - t);
        x.iter().map(|p| scale(half_rate / variance, p)).collect()
    };
    let bridge =
        DiffusionConfig { interpolant: Interpolant::Bridge, prediction: Prediction::Velocity, sigma, ..diffusion(1.0) };
    let samples = run(&sampler(SamplerKind::Sde, 400, &bridge), &Analytic(velocity), 3000, gaussian::POINTS);
    same_shapes("Gaussian, bridge SDE", &samples, &gaussian::target(40_000), singular_values).unwrap();
}

// --- A rotated rigid template with noise -------------------------------------------------------------------

/// All distances, their squares, and a signed volume that tells the template from its mirror image.
fn distances_and_volume(x: &[Point]) -> Vec<f64> {
    let distances = template::distances(x);
    distances.iter().copied().chain(distances.iter().map(|d| d * d)).chain([template::volume(x)]).collect()
}

fn rotation_of(id: u64) -> Rotation {
    let [p, q] = [0, 1].map(|k| normal_points::<2>(&mut stream(k, Purpose::Rotation, 0, id), 1)[0]);
    rotation_from_quaternion([p[0], p[1], q[0], q[1]])
}

#[test]
fn matrix_fisher_mean_is_that_of_weighted_rotations() {
    let nodes = bessel::gauss_legendre(32);
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
        let error = (template::matrix_fisher_mean(f, &nodes) - sum / total).amax();
        assert!(error < 0.015, "{error}");
    }
}

#[test]
fn template_shapes_are_reproduced() {
    let nodes = bessel::gauss_legendre(24);
    let denoiser = Analytic(|t: f64, x: &[Point]| template::denoiser(&nodes, t, x));
    let target = template::target(40_000);
    let check = |name: &str, sampler: Sampler| {
        same_shapes(name, &run(&sampler, &denoiser, 2500, template::TEMPLATE.len()), &target, distances_and_volume)
    };
    let sde = || sampler(SamplerKind::Sde, 300, &diffusion(template::PRIOR));
    let ode = || sampler(SamplerKind::Ode, 300, &diffusion(template::PRIOR));
    check("template, projected ODE", ode()).unwrap();
    check("template, projected SDE", sde()).unwrap();
    check("template, ODE without radius", ode().with_group(Box::new(RadialToo))).unwrap_err();
    check("template, SDE without curvature", sde().with_group(Box::new(Tampered(Se3, 0.0)))).unwrap_err();
    check("template, SDE with +h", sde().with_group(Box::new(Tampered(Se3, -1.0)))).unwrap_err();
}

// --- The plane modulo rotations ----------------------------------------------------------------------------

#[test]
fn bessel_functions_are_their_integrals() {
    // I_n(x) = 1/2π ∫ e^{x cos a} cos(na) da, by the trapezoidal rule, which is exact to round-off for periodic
    // functions.
    let integral = |x: f64, n: f64| {
        let angles = (0..400).map(|k| f64::from(k) * std::f64::consts::TAU / 400.0);
        angles.map(|a| (x * (a.cos() - 1.0)).exp() * (n * a).cos()).sum::<f64>() / 400.0
    };
    for x in [0.0, 0.1, 1.0, 3.7, 3.8, 10.0, 100.0, 700.0] {
        assert!((bessel::scaled_i0(x) - integral(x, 0.0)).abs() < 3e-7, "{x}");
        assert!((bessel::scaled_i1(x) - integral(x, 1.0)).abs() < 3e-7, "{x}");
    }
}

#[test]
fn the_rings_denoiser_is_the_mean_of_weighted_draws() {
    let draws: Vec<Point> = (0..200_000)
        .map(|id| {
            let [turn, noise] = [0, 1].map(|k| normal_points::<2>(&mut stream(k, Purpose::Prior, 5, id), 1)[0]);
            let radius =
                if (id as f64 + 0.5) / 200_000.0 < rings::RINGS[0].0 { rings::RINGS[0].1 } else { rings::RINGS[1].1 };
            let direction = scale(1.0 / norm_squared(&turn).sqrt(), &turn);
            let [x, y] = combine(radius, &direction, rings::TAU, &noise);
            [x, y, 0.0]
        })
        .collect();
    for (t, x) in [(0.0, [0.4, -0.3, 0.0]), (0.3, [0.9, 0.2, 0.0]), (0.6, [0.1, -0.9, 0.0]), (0.8, [1.2, 0.5, 0.0])] {
        let (mut sum, mut total) = ([0.0; 3], 0.0);
        for draw in &draws {
            let weight = (-0.5 * norm_squared(&combine(1.0, &x, -t, draw)) / (1.0f64 - t).powi(2)).exp();
            sum = combine(1.0, &sum, weight, draw);
            total += weight;
        }
        let [denoised] = rings::denoiser(t, &[x])[..] else { panic!("one point") };
        let error = norm_squared(&combine(1.0, &denoised, -1.0 / total, &sum)).sqrt();
        assert!(error < 0.02, "t = {t}: {error}");
    }
    let radii: Vec<f64> = draws.iter().map(|p| norm_squared(p).sqrt()).collect();
    let table = rings::radius_distribution(1e-3, 5.0);
    let error = statistics::distance_to_law(&radii, |r| table[((r / 1e-3) as usize).min(table.len() - 1)]);
    assert!(error < 0.006, "{error}");
    assert!((table[table.len() - 1] - 1.0).abs() < 1e-6);
}

// --- Rigid motion, vertical outputs, lengths of paths ------------------------------------------------------

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
    sampler.run(denoiser, &condition(8, template::TEMPLATE.len()), &ids, 3, &mut observe).unwrap();
    largest
}

#[test]
fn no_step_turns_the_cloud() {
    let nodes = bessel::gauss_legendre(24);
    let denoiser = Analytic(|t: f64, x: &[Point]| template::spinning(template::denoiser(&nodes, t, x), t, x));
    for kind in [SamplerKind::Ode, SamplerKind::Sde] {
        let turn = largest_turn(&sampler(kind, 50, &diffusion(template::PRIOR)), &denoiser);
        assert!(turn < 1e-11, "{kind:?}: {turn:e}");
        let plain = largest_turn(&sampler(kind, 50, &conventional(template::PRIOR)), &denoiser);
        assert!(plain > 1e-2, "the plain sampler turns it, and this test must see that: {plain:e}");
    }
}

fn largest_difference(a: &Clouds, b: &Clouds) -> f64 {
    a.points().iter().zip(b.points()).map(|(a, b)| norm_squared(&sub(a, b)).sqrt()).fold(0.0, f64::max)
}

#[test]
fn vertical_outputs_do_not_change_ode_samples() {
    let nodes = bessel::gauss_legendre(24);
    let plain = Analytic(|t: f64, x: &[Point]| template::denoiser(&nodes, t, x));
    let spun = Analytic(|t: f64, x: &[Point]| {
        // Any rigid motion, equivariant or not.
        let rigid = |p: &Point| add(&[3.0, -1.0, t], &cross(&[1.0, 5.0 * t, -2.0], p));
        let denoised = template::denoiser(&nodes, t, x);
        denoised.iter().zip(x).map(|(d, x)| add(d, &rigid(x))).collect()
    });
    let difference = |diffusion: DiffusionConfig| {
        let sampler = sampler(SamplerKind::Ode, 50, &diffusion);
        largest_difference(&run(&sampler, &plain, 16, 6), &run(&sampler, &spun, 16, 6))
    };
    let projected = difference(diffusion(template::PRIOR));
    assert!(projected < 1e-9, "{projected:e}");
    assert!(difference(conventional(template::PRIOR)) > 0.1, "the plain sampler sees them");
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
    let end = sampler.run(denoiser, &condition(clouds, template::TEMPLATE.len()), &ids, 4, &mut observe).unwrap();
    (lengths, end)
}

#[test]
fn projected_paths_are_never_longer() {
    let nodes = bessel::gauss_legendre(24);
    let denoiser = Analytic(|t: f64, x: &[Point]| template::spinning(template::denoiser(&nodes, t, x), t, x));
    let lengths =
        |diffusion: DiffusionConfig| path_lengths(&sampler(SamplerKind::Ode, 1000, &diffusion), &denoiser, 64);
    let (projected, end) = lengths(diffusion(template::PRIOR));
    let (plain, plain_end) = lengths(conventional(template::PRIOR));
    for (b, (projected, plain)) in projected.iter().zip(&plain).enumerate() {
        assert!(projected < plain, "cloud {b}: {projected} > {plain}");
        // Both arrive at the same shape, to first order in the step.
        for (p, q) in distances_and_volume(end.cloud(b)).iter().zip(distances_and_volume(plain_end.cloud(b))).take(15) {
            assert!((p - q).abs() < 0.05, "cloud {b}: {p} {q}");
        }
    }
    // An equivariant network without vertical part: the same path twice.
    let horizontal = Analytic(|t: f64, x: &[Point]| template::denoiser(&nodes, t, x));
    let of = |diffusion: DiffusionConfig| path_lengths(&sampler(SamplerKind::Ode, 100, &diffusion), &horizontal, 16);
    let difference = largest_difference(&of(diffusion(template::PRIOR)).1, &of(conventional(template::PRIOR)).1);
    assert!(difference < 1e-9, "{difference:e}");
    // The denoiser is equivariant, without which the comparison would mean nothing.
    let (r, x) = (rotation_of(1), normal_points(&mut stream(1, Purpose::Prior, 0, 0), 6));
    let turn = |x: &[Point]| x.iter().map(|p| rotate(&r, p)).collect::<Vec<_>>();
    let (a, b) = ((denoiser.0)(0.4, &turn(&x)), turn(&(denoiser.0)(0.4, &x)));
    let error = a.iter().zip(&b).map(|(a, b)| norm_squared(&sub(a, b)).sqrt()).fold(0.0, f64::max);
    assert!(error < 1e-9, "{error:e}");
}
