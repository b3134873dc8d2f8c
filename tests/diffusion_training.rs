//! What a training step draws, what it costs, and what configurations are refused.

use nalgebra::DMatrix;
use qsd::data::{Batch, Condition};
use qsd::diffusion::*;
use qsd::geometry::vector::{add, centroid, combine, cross, norm_squared, sub};
use qsd::geometry::{Clouds, Point, kabsch};
use qsd::random::{Purpose, normal_points, stream};
use qsd::{Error, Result};

const TREATMENTS: [Treatment; 4] = [Treatment::Conventional, Treatment::Geodiff, Treatment::Af3, Treatment::Quotient];
const LOSSES: [Loss; 3] = [Loss::Norm, Loss::Mse, Loss::CoordinateMse];
const PREDICTIONS: [Prediction; 2] = [Prediction::Velocity, Prediction::Data];

/// Chains of these lengths; the graph of the last is in two parts if it has more than 4 points.
fn batch(sizes: &[usize], ids: &[u64]) -> Batch {
    let mut batch = Batch { ids: ids.to_vec(), ..Batch::default() };
    let mut clouds = Vec::new();
    batch.condition.offsets = vec![0];
    for (&n, &id) in sizes.iter().zip(ids) {
        let mut x = normal_points(&mut stream(100, Purpose::Conformer, 0, id), n);
        qsd::geometry::vector::centre(&mut x);
        clouds.push(x.iter().map(|p| p.map(|c| 2.0 * c)).collect::<Vec<Point>>());
        let first = *batch.condition.offsets.last().unwrap();
        batch.condition.bonds.extend((1..n).filter(|i| *i != 4).map(|i| [(first + i - 1) as u32, (first + i) as u32]));
        batch.condition.offsets.push(first + n);
    }
    batch.x_1 = Clouds::from_clouds(clouds.iter().map(Vec::as_slice));
    batch
}

fn one_sided() -> DiffusionConfig {
    DiffusionConfig {
        interpolant: Interpolant::OneSided,
        prior: Prior::Gaussian,
        coupling: Coupling::Independent,
        ..DiffusionConfig::default()
    }
}

fn random_like(x: &Clouds, id: u64) -> Clouds {
    x.with_points(normal_points(&mut stream(9, Purpose::SampleNoise, 0, id), x.points().len()))
}

/// Every treatment, loss and prediction on the two paths, where the combination is allowed.
fn every_config() -> Vec<DiffusionConfig> {
    let mut configs = Vec::new();
    for base in [DiffusionConfig::default(), one_sided()] {
        for treatment in TREATMENTS {
            for loss in LOSSES {
                for prediction in PREDICTIONS {
                    configs.push(DiffusionConfig {
                        treatment,
                        loss,
                        prediction,
                        weight: Weight::Velocity,
                        unit: 3.0,
                        ..base.clone()
                    });
                }
            }
        }
    }
    configs.retain(|config| config.validate().is_ok());
    assert_eq!(configs.len(), 36);
    configs
}

/// The draw whose plain target is the one that the treatment aligns x_1 for.
fn with_aligned_target(config: &DiffusionConfig, draw: &Draw, prediction: &Clouds) -> Draw {
    let mut aligned = draw.clone();
    for b in 0..draw.x_t.len() {
        let remaining = 1.0 - draw.t[b];
        let arrival: Vec<Point> = match config.prediction {
            Prediction::Data => prediction.cloud(b).to_vec(),
            Prediction::Velocity => {
                let line = draw.x_t.cloud(b).iter().zip(prediction.cloud(b));
                line.map(|(x, v)| combine(1.0, x, remaining, v)).collect()
            }
        };
        let reference = if config.treatment == Treatment::Af3 { &arrival } else { draw.x_t.cloud(b) };
        kabsch::align(draw.x_1.cloud(b), reference).apply(aligned.x_1.cloud_mut(b));
        for n in draw.x_t.range(b) {
            let moved = sub(&aligned.x_1.points()[n], &draw.x_1.points()[n]);
            aligned.u_t.points_mut()[n] = combine(1.0, &draw.u_t.points()[n], 1.0 / remaining, &moved);
        }
    }
    aligned
}

fn total(config: &DiffusionConfig, draw: &Draw, prediction: &Clouds, scale: f64) -> f64 {
    scale * evaluate(config, draw, prediction, scale).loss.iter().sum::<f64>()
}

/// Central differences of the summed loss.
fn numerical_gradient(f: impl Fn(&Clouds) -> f64, at: &Clouds) -> Clouds {
    let mut gradient = at.zeros_like();
    for n in 0..at.points().len() {
        for axis in 0..3 {
            let shifted = |by: f64| {
                let mut at = at.clone();
                at.points_mut()[n][axis] += by;
                f(&at)
            };
            gradient.points_mut()[n][axis] = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
        }
    }
    gradient
}

fn largest_difference(a: &Clouds, b: &Clouds) -> f64 {
    a.points().iter().flatten().zip(b.points().iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn gradients_are_those_of_the_losses() {
    let batch = batch(&[5, 3, 7], &[1, 2, 3]);
    for config in every_config() {
        let draw = draw(&config, 1, 2, &batch).unwrap();
        let prediction = random_like(&draw.x_t, 1);
        let found = evaluate(&config, &draw, &prediction, 0.25);
        // The alignments are constants of the gradient: hold them while differentiating.
        let held = DiffusionConfig { treatment: Treatment::Conventional, ..config.clone() };
        let (differentiated, draw) = match config.treatment {
            Treatment::Geodiff | Treatment::Af3 => (&held, with_aligned_target(&config, &draw, &prediction)),
            Treatment::Conventional | Treatment::Quotient => (&config, draw),
        };
        let loss = total(differentiated, &draw, &prediction, 0.25);
        assert!((loss - 0.25 * found.loss.iter().sum::<f64>()).abs() < 1e-10 * loss, "{config:?}");
        let expected = numerical_gradient(|at| total(differentiated, &draw, at, 0.25), &prediction);
        let size = expected.points().iter().flatten().fold(0.0, |m: f64, c| m.max(c.abs()));
        let error = largest_difference(&found.gradient, &expected) / size;
        assert!(error < 1e-6, "{config:?}: {error:e}");
    }
}

#[test]
fn stopping_the_gradient_matters_only_off_the_squared_error() {
    // At the best alignment the squared error is stationary in the rotation, so that its gradient is the
    // same with and without the stop; the unsquared one's is not.
    let batch = batch(&[6], &[4]);
    let error = |loss| {
        let config = DiffusionConfig { treatment: Treatment::Af3, prediction: Prediction::Data, loss, ..one_sided() };
        let draw = draw(&config, 1, 2, &batch).unwrap();
        let prediction = random_like(&draw.x_t, 2);
        let through = numerical_gradient(|at| total(&config, &draw, at, 1.0), &prediction);
        largest_difference(&evaluate(&config, &draw, &prediction, 1.0).gradient, &through)
    };
    assert!(error(Loss::Mse) < 1e-6);
    assert!(error(Loss::Norm) > 1e-4);
}

#[test]
fn the_quotient_does_not_see_vertical_outputs() {
    let batch = batch(&[5, 2, 1, 9], &[1, 2, 3, 4]);
    for config in every_config().into_iter().filter(|config| config.treatment == Treatment::Quotient) {
        let draw = draw(&config, 3, 4, &batch).unwrap();
        let prediction = random_like(&draw.x_t, 3);
        let rigid = draw.x_t.zip_map(&prediction, |x, p| add(p, &add(&[1.0, 2.0, 3.0], &cross(&[4.0, -5.0, 6.0], x))));
        let [plain, spun] = [&prediction, &rigid].map(|p| evaluate(&config, &draw, p, 1.0));
        for b in 0..4 {
            assert!((plain.loss[b] - spun.loss[b]).abs() < 1e-10 * (1.0 + plain.loss[b]), "cloud {b}");
            assert!((plain.horizontal[b] - spun.horizontal[b]).abs() < 1e-10 * (1.0 + plain.horizontal[b]));
        }
        assert!(spun.vertical[0] > plain.vertical[0] + 1.0);
        // Cloud 2 is one point without any shape: nothing but rounding is left of its residual.
        let shapes = |gradient: &Clouds| [gradient.cloud(0), gradient.cloud(1), gradient.cloud(3)].concat();
        let (a, b) = (shapes(&plain.gradient), shapes(&spun.gradient));
        assert!(a.iter().zip(&b).all(|(a, b)| norm_squared(&sub(a, b)).sqrt() < 1e-9));
        assert_eq!((plain.loss[2], plain.gradient.cloud(2)), (0.0, &[[0.0; 3]][..]));
        let other = DiffusionConfig { treatment: Treatment::Conventional, ..config };
        assert!(total(&other, &draw, &rigid, 1.0) > total(&other, &draw, &prediction, 1.0) + 1.0);
    }
}

#[test]
fn velocity_and_data_predictions_have_the_same_losses_on_the_one_sided_path() {
    // D = x_t + (1−t) v makes every treatment's residual 1−t times that of the velocity.
    let batch = batch(&[5, 8], &[1, 2]);
    for (treatment, loss) in TREATMENTS.into_iter().flat_map(|treatment| LOSSES.map(|loss| (treatment, loss))) {
        let velocity = DiffusionConfig { treatment, loss, weight: Weight::Velocity, ..one_sided() };
        let data = DiffusionConfig { prediction: Prediction::Data, ..velocity.clone() };
        let draw = draw(&velocity, 5, 6, &batch).unwrap();
        let v = random_like(&draw.x_t, 4);
        let mut d = v.clone();
        for b in 0..2 {
            for n in v.range(b) {
                d.points_mut()[n] = combine(1.0, &draw.x_t.points()[n], 1.0 - draw.t[b], &v.points()[n]);
            }
        }
        for (a, b) in evaluate(&velocity, &draw, &v, 1.0).loss.iter().zip(evaluate(&data, &draw, &d, 1.0).loss) {
            assert!((a - b).abs() < 1e-10 * a, "{treatment:?} {loss:?}: {a} {b}");
        }
    }
}

#[test]
fn the_velocity_weight_makes_either_loss_that_of_the_velocity() {
    // |D − x_1| / √((1−t)² + 10⁻⁵) is |v − u_t| but for the cut-off, and not another power of it.
    let batch = batch(&[5, 8], &[1, 2]);
    for loss in LOSSES {
        let plain = DiffusionConfig { treatment: Treatment::Conventional, loss, ..one_sided() };
        let data = DiffusionConfig { prediction: Prediction::Data, weight: Weight::Velocity, ..plain.clone() };
        let mut draw = draw(&plain, 5, 6, &batch).unwrap();
        draw.t = vec![0.25, 0.75];
        let v = random_like(&draw.x_t, 4);
        let errors = |scale: f64| v.with_points(v.points().iter().map(|p| p.map(|c| scale * c)).collect());
        let d = |remaining: f64| draw.x_1.zip_map(&errors(remaining), add);
        let velocity = evaluate(&plain, &draw, &draw.u_t.zip_map(&v, add), 1.0).loss;
        for (b, remaining) in [0.75, 0.25].into_iter().enumerate() {
            let found = evaluate(&data, &draw, &d(remaining), 1.0).loss[b];
            assert!((found / velocity[b] - 1.0).abs() < 2e-4, "{loss:?}: {found} {}", velocity[b]);
        }
    }
}

#[test]
fn a_perfect_prediction_costs_nothing() {
    let batch = batch(&[4, 1, 2, 0, 6], &[1, 2, 3, 4, 5]);
    for config in every_config() {
        let draw = draw(&config, 7, 8, &batch).unwrap();
        let target = if config.prediction == Prediction::Data { &draw.x_1 } else { &draw.u_t };
        let found = evaluate(&config, &draw, target, 1.0);
        if matches!(config.treatment, Treatment::Conventional | Treatment::Quotient) {
            assert_eq!(found.loss, [0.0; 5], "{config:?}");
            assert!(found.gradient.points().iter().flatten().all(|&c| c == 0.0));
        }
        // With alignment the target is another one; but all is finite, empty and single-point clouds included.
        assert!(found.loss.iter().chain(found.gradient.points().iter().flatten()).all(|c| c.is_finite()));
        assert_eq!(found.loss[3], 0.0);
    }
}

#[test]
fn a_cloud_is_drawn_alike_in_every_batch() {
    let together = batch(&[5, 9, 3], &[10, 20, 30]);
    for rotate in [false, true] {
        let config = DiffusionConfig { rotate, ..DiffusionConfig::default() };
        let whole = draw(&config, 1, 2, &together).unwrap();
        for (b, (n, id)) in [(5, 10), (9, 20), (3, 30)].into_iter().enumerate() {
            let alone = draw(&config, 1, 2, &batch(&[n], &[id])).unwrap();
            assert_eq!(alone.t[0], whole.t[b]);
            for (a, w) in [(&alone.x_t, &whole.x_t), (&alone.x_1, &whole.x_1), (&alone.u_t, &whole.u_t)] {
                assert_eq!(a.cloud(0), w.cloud(b));
            }
        }
        for (seed, step) in [(2, 2), (1, 3)] {
            let other = draw(&config, seed, step, &together).unwrap();
            assert!(other.t.iter().zip(&whole.t).all(|(a, b)| a != b));
            assert!(largest_difference(&other.x_t, &whole.x_t) > 0.1);
        }
    }
}

#[test]
fn draws_have_the_moments_of_their_laws() {
    let config = DiffusionConfig { prior_scale: 3.0, ..one_sided() };
    let clouds = 4000;
    let batch = batch(&vec![5; clouds], &(0..clouds as u64).collect::<Vec<_>>());
    let draw = draw(&config, 1, 0, &batch).unwrap();
    assert!(draw.t.iter().all(|t| (config.t_min..config.t_max).contains(t)));
    let mean_t = draw.t.iter().sum::<f64>() / clouds as f64;
    assert!((mean_t - 0.5).abs() < 0.02, "{mean_t}");
    // x_0 = x_t − t u_t; of a centred Gaussian cloud, the mean square per coordinate is s² (1 − 1/N).
    let mut sum = 0.0;
    for b in 0..clouds {
        let x_0 = draw.x_t.cloud(b).iter().zip(draw.u_t.cloud(b)).map(|(x, u)| combine(1.0, x, -draw.t[b], u));
        sum += x_0.map(|p| norm_squared(&p)).sum::<f64>() / 15.0;
        assert!(norm_squared(&centroid(draw.x_t.cloud(b))) < 1e-20);
    }
    let variance = sum / clouds as f64;
    assert!((variance / (9.0 * 0.8) - 1.0).abs() < 0.03, "{variance}");
}

#[test]
fn an_uncentred_target_keeps_the_mean_of_a_gaussian_prior() {
    let batch = batch(&[5, 9], &[1, 2]);
    let mean_of = |b: usize, centre_target: bool, base: DiffusionConfig| {
        let draw = draw(&DiffusionConfig { centre_target, ..base }, 1, 2, &batch).unwrap();
        assert!(norm_squared(&centroid(draw.x_t.cloud(b))) < 1e-28, "x_t is centred in any case");
        norm_squared(&centroid(draw.u_t.cloud(b))).sqrt()
    };
    let gaussian_bridge = || DiffusionConfig { interpolant: Interpolant::Bridge, ..one_sided() };
    for b in 0..2 {
        for gaussian in [one_sided(), gaussian_bridge()] {
            assert!(mean_of(b, true, gaussian.clone()) < 1e-13);
            assert!(mean_of(b, false, gaussian) > 0.1);
        }
        // A harmonic sample is centred by itself, and one that is moved onto the data has their mean.
        for (prior, coupling) in [(Prior::Harmonic, Coupling::Independent), (Prior::Gaussian, Coupling::Aligned)] {
            assert!(mean_of(b, false, DiffusionConfig { prior, coupling, ..one_sided() }) < 1e-13);
        }
    }
}

#[test]
fn sampling_starts_from_centred_clouds() {
    let condition = batch(&[5, 9], &[1, 2]).condition;
    let sampler = Sampler::new(&SamplerConfig::default(), &one_sided()).unwrap();
    let mut seen = 0;
    let observe = &mut |step: Step<'_>| {
        seen += 1;
        assert!(step.before.iter().all(|cloud| norm_squared(&centroid(cloud)) < 1e-28));
        Ok(())
    };
    sampler.run(&Pull(1.0), &condition, &[1, 2], 1, observe).unwrap();
    assert_eq!(seen, 50);
}

#[test]
fn aligned_priors_face_their_data_and_rotation_keeps_the_shape() {
    let batch = batch(&[8], &[1]);
    let config = DiffusionConfig { sigma: 0.0, rotate: true, ..DiffusionConfig::default() };
    let drawn = draw(&config, 1, 0, &batch).unwrap();
    let x_0 = drawn.x_t.zip_map(&drawn.u_t, |x, u| combine(1.0, x, -drawn.t[0], u));
    let motion = kabsch::align(x_0.cloud(0), drawn.x_1.cloud(0));
    for (i, row) in motion.rotation.iter().enumerate() {
        assert!((row[i] - 1.0).abs() < 1e-9, "already aligned: {:?}", motion.rotation);
    }
    assert!(largest_difference(&drawn.x_1, &batch.x_1) > 0.1);
    let distance = |x: &Clouds, i: usize, j: usize| norm_squared(&sub(&x.points()[i], &x.points()[j]));
    for (i, j) in [(0, 1), (2, 7), (3, 5)] {
        assert!((distance(&drawn.x_1, i, j) - distance(&batch.x_1, i, j)).abs() < 1e-10);
    }
}

#[test]
fn the_harmonic_prior_has_the_pseudo_inverse_as_covariance() {
    // A ring with a tail, a pair with a doubled bond, a single point, a self-bond.
    let bonds = [[0, 1], [1, 2], [2, 0], [2, 3], [6, 4], [4, 6], [5, 5]];
    let n = 8;
    let prior = HarmonicPrior::new(n, &bonds).unwrap();
    let mut laplacian = DMatrix::<f64>::zeros(n, n);
    for [i, j] in bonds {
        for (a, b, value) in [(i, i, 1.0), (j, j, 1.0), (i, j, -1.0), (j, i, -1.0)] {
            laplacian[(a, b)] += value;
        }
    }
    let map = DMatrix::from_fn(n, n, |i, j| {
        let mut unit = vec![[0.0; 3]; n];
        unit[j][2] = 1.0;
        prior.transform(&unit)[i][2]
    });
    let error = (&map * map.transpose() - laplacian.pseudo_inverse(1e-9).unwrap()).amax();
    assert!(error < 1e-12, "{error:e}");
    assert!(HarmonicPrior::new(0, &[]).unwrap().transform(&[]).is_empty());
    assert!(HarmonicPrior::new(3, &[[0, 3]]).is_err());
}

#[test]
fn conversions_agree_with_the_closed_form() {
    // All Gaussian: x_1 ~ N(0, q), so that D, v and the score are known multiples of x.
    let (scale, sigma, q) = (1.7, 0.6, 2.3);
    let path = GaussianPath { scale, sigma };
    for t in [0.0, 0.02, 0.4, 0.97] {
        let r = 1.0 - t;
        let variance = r * r * scale * scale + t * t * q + sigma * sigma * t * r;
        let half_rate = -r * scale * scale + t * q + 0.5 * sigma * sigma * (r - t);
        let (data, velocity, score) = (t * q / variance, half_rate / variance, -1.0 / variance);
        let of = |conversion: Affine, y: f64| conversion.x + conversion.y * y;
        for (name, found, expected) in [
            ("velocity from data", of(path.velocity_from_data(t), data), velocity),
            ("score from velocity", of(path.score_from_velocity(t), velocity), score),
        ] {
            assert!((found - expected).abs() < 1e-12 * expected.abs().max(1.0), "{name} at {t}: {found} {expected}");
        }
    }
}

#[test]
fn batches_that_do_not_fit_together_are_refused() {
    let good = batch(&[4, 3], &[1, 2]);
    let refused = |batch: Batch| matches!(draw(&DiffusionConfig::default(), 1, 1, &batch), Err(Error::Data(_)));
    assert!(refused(Batch { ids: vec![1], ..good.clone() }));
    assert!(refused(Batch { x_1: Clouds::from_clouds([&[[0.0; 3]; 7][..]]), ..good.clone() }));
    let condition = Condition { bonds: vec![[0, 1], [3, 4]], ..good.condition.clone() };
    assert!(refused(Batch { condition, ..good.clone() }));
    assert!(!refused(good));
    assert!(draw(&DiffusionConfig::default(), 1, 1, &Batch::default()).unwrap().t.is_empty());
}

#[test]
fn contradictory_configurations_are_refused() {
    let base = DiffusionConfig::default;
    let data = Prediction::Data;
    for (key, config) in [
        ("t_min", DiffusionConfig { t_min: 0.0, ..base() }),
        ("t_max", DiffusionConfig { t_max: 1.0, ..base() }),
        ("t_min", DiffusionConfig { t_min: 0.6, t_max: 0.5, ..base() }),
        ("t_min", DiffusionConfig { t_min: f64::NAN, ..base() }),
        ("sigma", DiffusionConfig { sigma: -1.0, ..base() }),
        ("prior_scale", DiffusionConfig { prior_scale: 0.0, ..base() }),
        ("prediction", DiffusionConfig { prediction: data, ..base() }),
    ] {
        assert!(config.validate().unwrap_err().to_string().contains(key), "{config:?}");
    }
    for config in [base(), one_sided(), DiffusionConfig { prediction: data, ..one_sided() }] {
        config.validate().unwrap();
    }
}

#[test]
fn contradictory_samplers_are_refused() {
    let (base, sde) = (SamplerConfig::default, SamplerKind::Sde);
    for (key, config) in [
        ("steps", SamplerConfig { steps: 0, ..base() }),
        ("steps", SamplerConfig { steps: 1_000_001, ..base() }),
        ("steps", SamplerConfig { steps: usize::MAX, ..base() }),
        // The last times are 1 in f64, where the velocity of a predicted x_1 is infinite.
        ("grid_power", SamplerConfig { grid: Grid::Log, grid_power: 20.0, ..base() }),
        ("grid_power", SamplerConfig { grid: Grid::Log, grid_power: 1e-300, ..base() }),
        ("grid_power", SamplerConfig { grid: Grid::Power, grid_power: 1000.0, ..base() }),
        ("gamma", SamplerConfig { gamma: f64::NAN, ..base() }),
        ("grid_power", SamplerConfig { grid_power: 0.0, ..base() }),
        ("eta_max", SamplerConfig { eta_max: Some(-1.0), ..base() }),
        ("align", SamplerConfig { align: true, ..base() }),
        ("sde", SamplerConfig { kind: sde, ..base() }),
    ] {
        let message = config.validate(&DiffusionConfig::default()).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
    for (grid, grid_power, steps) in [(Grid::Uniform, 2.0, 1_000_000), (Grid::Power, 3.0, 1000), (Grid::Log, 4.0, 400)]
    {
        SamplerConfig { grid, grid_power, steps, ..base() }.validate(&DiffusionConfig::default()).unwrap();
    }
    SamplerConfig { kind: sde, ..base() }.validate(&one_sided()).unwrap();
    let af3 = DiffusionConfig { treatment: Treatment::Af3, ..DiffusionConfig::default() };
    SamplerConfig { align: true, ..base() }.validate(&af3).unwrap();
}

#[test]
fn sections_are_read_strictly() {
    let config: DiffusionConfig = serde_yaml_ng::from_str("treatment: af3\ntime: beta-uniform\nsigma: 0.2").unwrap();
    let expected = DiffusionConfig {
        treatment: Treatment::Af3,
        time: TimeLaw::BetaUniform,
        sigma: 0.2,
        ..DiffusionConfig::default()
    };
    assert_eq!(config, expected);
    assert!(serde_yaml_ng::from_str::<DiffusionConfig>("sigmma: 0.2").unwrap_err().to_string().contains("sigmma"));
    let text = serde_yaml_ng::to_string(&SamplerConfig::default()).unwrap();
    assert_eq!(serde_yaml_ng::from_str::<SamplerConfig>(&text).unwrap(), SamplerConfig::default());
    assert!(serde_yaml_ng::from_str::<SamplerConfig>("kind: pde").is_err());
}

/// A velocity that pulls every point to the origin, and one that breaks.
struct Pull(f64);

impl Denoiser for Pull {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        Ok(input.x_t.zip_map(input.x_t, |x, _| x.map(|c| -self.0 * c)))
    }

    fn record(&self, _: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        Err(Error::Config("not trained".into()))
    }
}

#[test]
fn samples_depend_on_their_id_alone() {
    let together = batch(&[5, 9, 3], &[10, 20, 30]).condition;
    for (kind, diffusion) in [(SamplerKind::Ode, DiffusionConfig::default()), (SamplerKind::Sde, one_sided())] {
        let config = SamplerConfig { kind, steps: 10, ..SamplerConfig::default() };
        let sampler = Sampler::new(&config, &diffusion).unwrap();
        let run = |condition: &Condition, ids: &[u64], seed| {
            sampler.run(&Pull(0.5), condition, ids, seed, &mut |_| Ok(())).unwrap()
        };
        let whole = run(&together, &[10, 20, 30], 1);
        for (b, n) in [5, 9, 3].into_iter().enumerate() {
            let id = [10, 20, 30][b];
            assert_eq!(run(&batch(&[n], &[id]).condition, &[id], 1).cloud(0), whole.cloud(b));
        }
        assert!(largest_difference(&run(&together, &[10, 20, 30], 2), &whole) > 0.1);
        assert!(largest_difference(&run(&together, &[11, 20, 30], 1), &whole) > 0.1);
        assert!(run(&batch(&[], &[]).condition, &[], 1).is_empty());
    }
}

#[test]
fn samples_scale_with_the_prior() {
    // A linear velocity has no length of its own: η, the curvature and the noise must all follow the prior's.
    let config = SamplerConfig { kind: SamplerKind::Sde, steps: 10, ..SamplerConfig::default() };
    let condition = batch(&[6], &[1]).condition;
    let run = |prior_scale| {
        let sampler = Sampler::new(&config, &DiffusionConfig { prior_scale, ..one_sided() }).unwrap();
        sampler.run(&Pull(0.5), &condition, &[1], 8, &mut |_| Ok(())).unwrap()
    };
    let (nanometres, angstrom) = (run(1.0), run(10.0));
    assert!(largest_difference(&nanometres.zip_map(&nanometres, |x, _| x.map(|c| 10.0 * c)), &angstrom) < 1e-9);
}

#[test]
fn defaults_with_the_conventional_treatment_are_the_references_euler_steps() {
    // x ← x + v(x, i/n)/n from the centred prior; v = −x/2 makes it a power.
    let config = DiffusionConfig { treatment: Treatment::Conventional, ..DiffusionConfig::default() };
    let sampler = Sampler::new(&SamplerConfig::default(), &config).unwrap();
    let condition = batch(&[6], &[1]).condition;
    let prior = prior_sample(&config, &condition, 0, &mut stream(8, Purpose::SamplePrior, 0, 1)).unwrap();
    let end = sampler.run(&Pull(0.5), &condition, &[1], 8, &mut |_| Ok(())).unwrap();
    let factor = (1.0 - 0.5 / 50.0f64).powi(50);
    for (x, p) in end.points().iter().zip(&prior) {
        assert!(norm_squared(&combine(1.0, x, -factor, p)).sqrt() < 1e-13);
    }
}

#[test]
fn samplers_stop_on_errors() {
    let sampler = Sampler::new(&SamplerConfig::default(), &DiffusionConfig::default()).unwrap();
    let condition = batch(&[4, 4], &[7, 8]).condition;
    let broken = sampler.run(&Pull(f64::NAN), &condition, &[7, 8], 1, &mut |_| Ok(()));
    let message = broken.unwrap_err().to_string();
    assert!(message.contains("sample 7") && message.contains("step 0"), "{message}");
    let mut steps = 0;
    let stopped = sampler.run(&Pull(1.0), &condition, &[7, 8], 1, &mut |step| {
        steps = step.index + 1;
        if steps == 3 { Err(Error::Config("enough".into())) } else { Ok(()) }
    });
    assert!(stopped.is_err() && steps == 3);
    assert!(sampler.run(&Pull(1.0), &condition, &[7], 1, &mut |_| Ok(())).is_err());
}

#[test]
fn stochastic_samples_stay_finite_to_the_end() {
    // The hardest data: all at one point, so that nothing softens the score as the steps end.
    struct Origin;
    impl Denoiser for Origin {
        fn predict(&self, input: Input<'_>) -> Result<Clouds> {
            Ok(input.x_t.zeros_like())
        }
        fn record(&self, _: Input<'_>) -> Result<Box<dyn Recording + '_>> {
            Err(Error::Config("not trained".into()))
        }
    }
    let diffusion = DiffusionConfig { prediction: Prediction::Data, prior_scale: 10.0, ..one_sided() };
    let condition = batch(&[1, 2, 3, 4, 30], &[1, 2, 3, 4, 5]).condition;
    let largest = |eta, sde_until| {
        let config = SamplerConfig {
            kind: SamplerKind::Sde,
            steps: 400,
            grid: Grid::Log,
            eta,
            sde_until,
            ..SamplerConfig::default()
        };
        let mut largest: f64 = 0.0;
        let mut observe = |step: Step<'_>| {
            largest = step.after.points().iter().flatten().fold(largest, |m, c| m.max(c.abs()));
            Ok(())
        };
        let sampler = Sampler::new(&config, &diffusion).unwrap();
        sampler.run(&Origin, &condition, &[1, 2, 3, 4, 5], 1, &mut observe).unwrap();
        largest
    };
    for eta in [Eta::Constant, Eta::Inverse, Eta::Ratio, Eta::Tangent] {
        assert!(largest(eta, SamplerConfig::default().sde_until) < 100.0, "{eta:?}");
    }
    assert!(largest(Eta::Inverse, 1.0) > 1e6, "noise to the end is unstable");
}

#[test]
fn aligning_the_prediction_takes_its_rotation_away() {
    /// The shape x itself, turned by a quarter about z, as the predicted data or as the velocity to it.
    struct Turned(Prediction);
    impl Denoiser for Turned {
        fn predict(&self, input: Input<'_>) -> Result<Clouds> {
            let r = 1.0 - input.t[0];
            Ok(input.x_t.zip_map(input.x_t, |x, _| match self.0 {
                Prediction::Data => [-x[1], x[0], x[2]],
                Prediction::Velocity => sub(&[-x[1], x[0], x[2]], x).map(|c| c / r),
            }))
        }
        fn record(&self, _: Input<'_>) -> Result<Box<dyn Recording + '_>> {
            Err(Error::Config("not trained".into()))
        }
    }
    let condition = batch(&[6], &[1]).condition;
    for prediction in PREDICTIONS {
        let diffusion = DiffusionConfig { treatment: Treatment::Af3, prediction, ..one_sided() };
        let moved = |align| {
            let config = SamplerConfig { align, steps: 10, ..SamplerConfig::default() };
            let mut largest: f64 = 0.0;
            let mut observe = |step: Step<'_>| {
                largest = largest.max(largest_difference(step.before, step.after));
                Ok(())
            };
            let sampler = Sampler::new(&config, &diffusion).unwrap();
            sampler.run(&Turned(prediction), &condition, &[1], 1, &mut observe).unwrap();
            largest
        };
        assert!(moved(true) < 1e-12, "{prediction:?}");
        assert!(moved(false) > 0.1, "{prediction:?}");
    }
}
