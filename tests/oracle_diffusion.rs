//! The formulas against tensors computed by the reference implementations of ET-Flow and Proteina in f64.
//! Run with `--nocapture` to see the worst relative error of every quantity as a table row.

use std::collections::HashMap;
use std::path::Path;

use qsd::data::{Atoms, Condition, Points, StereoCentre};
use qsd::diffusion::*;
use qsd::geometry::{Clouds, Group, Point, Se3, Translations, kabsch};
use safetensors::{Dtype, SafeTensors};

/// A fixture's tensors as flat f64.
struct Oracle(HashMap<String, Vec<f64>>);

impl Oracle {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/diffusion").join(name);
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        Oracle(tensors.tensors().into_iter().map(|(name, view)| (name, numbers(view.dtype(), view.data()))).collect())
    }

    fn get(&self, name: &str) -> &[f64] {
        self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn points(&self, name: &str) -> Vec<Point> {
        self.get(name).chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect()
    }

    fn indices(&self, name: &str) -> Vec<usize> {
        self.get(name).iter().map(|&i| i as usize).collect()
    }
}

fn numbers(dtype: Dtype, data: &[u8]) -> Vec<f64> {
    match dtype {
        Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        Dtype::I64 => data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        Dtype::I32 => data.chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()).into()).collect(),
        Dtype::BOOL | Dtype::U8 => data.iter().map(|&b| b.into()).collect(),
        other => panic!("unexpected {other:?}"),
    }
}

/// Prints the row and asserts that the largest error is below `tolerance` times the largest entry.
fn compare(quantity: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{quantity}");
    let scale = expected.iter().fold(f64::MIN_POSITIVE, |m, e| m.max(e.abs()));
    let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max) / scale;
    println!("| {quantity} | {worst:.1e} |");
    assert!(worst <= tolerance, "{quantity}: {worst:e} > {tolerance:e}");
}

fn compare_points(quantity: &str, found: &[Point], expected: &[Point], tolerance: f64) {
    compare(quantity, found.as_flattened(), expected.as_flattened(), tolerance);
}

fn clouds(points: &[Point], offsets: &[usize]) -> Clouds {
    Clouds::from_clouds(offsets.windows(2).map(|w| &points[w[0]..w[1]]))
}

fn offsets_of(batch: &[usize]) -> Vec<usize> {
    (0..=batch[batch.len() - 1] + 1).map(|b| batch.partition_point(|&m| m < b)).collect()
}

/// The configuration of the protein reference, in its own unit of length.
fn proteina() -> DiffusionConfig {
    DiffusionConfig {
        treatment: Treatment::Conventional,
        interpolant: Interpolant::OneSided,
        prior: Prior::Gaussian,
        coupling: Coupling::Independent,
        time: TimeLaw::BetaUniform,
        t_min: 0.0,
        t_max: 1.0,
        loss: Loss::CoordinateMse,
        weight: Weight::Velocity,
        ..DiffusionConfig::default()
    }
}

#[test]
fn alignment() {
    let oracle = Oracle::read("etflow_interpolant.safetensors");
    for case in ["align", "align_reflect"] {
        let motion = kabsch::align(&oracle.points(&format!("{case}.A")), &oracle.points(&format!("{case}.B")));
        let name = |part: &str| format!("{case}.{part}");
        compare(&name("R"), motion.rotation.as_flattened(), oracle.get(&name("R")), 1e-12);
        compare(&name("t"), &motion.translation, oracle.get(&name("t")), 1e-12);
    }
}

#[test]
fn interpolation() {
    let oracle = Oracle::read("etflow_interpolant.safetensors");
    let offsets = offsets_of(&oracle.indices("batch"));
    let [x_1, epsilon] = ["x1", "eps"].map(|name| clouds(&oracle.points(name), &offsets));
    let as_reference = DiffusionConfig { centre_target: false, ..DiffusionConfig::default() };
    for case in ["aligned", "unaligned"] {
        let mut x_0 = clouds(&oracle.points("x0_raw"), &offsets);
        let (mut x_t, mut u_t, mut centred) = (x_0.zeros_like(), x_0.zeros_like(), x_0.zeros_like());
        for b in 0..x_0.len() {
            if case == "aligned" {
                kabsch::align(x_0.cloud(b), x_1.cloud(b)).apply(x_0.cloud_mut(b));
            }
            let t = oracle.get("mol_t")[b];
            let noised = interpolate(&as_reference, t, x_0.cloud(b), x_1.cloud(b), epsilon.cloud(b));
            x_t.cloud_mut(b).copy_from_slice(&noised.x_t);
            u_t.cloud_mut(b).copy_from_slice(&noised.u_t);
            let default = DiffusionConfig::default();
            let noised = interpolate(&default, t, x_0.cloud(b), x_1.cloud(b), epsilon.cloud(b));
            centred.cloud_mut(b).copy_from_slice(&noised.u_t);
        }
        let name = |part: &str| format!("{case}.{part}");
        compare_points(&name("x0"), x_0.points(), &oracle.points(&name("x0")), 1e-12);
        compare_points(&name("x_t"), x_t.points(), &oracle.points(&name("x_t")), 1e-12);
        compare_points(&name("u_t"), u_t.points(), &oracle.points(&name("u_t")), 1e-12);
        // The default target is the reference's, centred.
        for b in 0..u_t.len() {
            let mut reference = u_t.cloud(b).to_vec();
            Translations.centre(&mut reference);
            compare_points(&name("centred u_t"), centred.cloud(b), &reference, 1e-12);
        }
    }
}

#[test]
fn bridge_noise() {
    // With x_0 = x_1 = 0, x_t and u_t are γ_t ε and γ̇_t ε.
    let oracle = Oracle::read("etflow_interpolant.safetensors");
    let zero = [[0.0; 3]; 2];
    let epsilon = [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]];
    let at = |&t: &f64| interpolate(&DiffusionConfig::default(), t, &zero, &zero, &epsilon);
    let noised: Vec<_> = oracle.get("t").iter().map(at).collect();
    let gamma: Vec<f64> = noised.iter().map(|n| n.x_t[0][0]).collect();
    let rate: Vec<f64> = noised.iter().map(|n| n.u_t[0][0]).collect();
    compare("sigma_t", &gamma, oracle.get("sigma_t"), 1e-14);
    compare("sigma_dot_t", &rate, oracle.get("sigma_dot_t"), 1e-13);
}

/// One row per molecule: evaluates the losses of a stored prediction.
fn losses(config: &DiffusionConfig, draw: &Draw, v: &Clouds) -> Vec<f64> {
    evaluate(config, draw, v, 1.0).loss
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn losses_and_projected_residual() {
    let oracle = Oracle::read("etflow_losses.safetensors");
    for network in ["drugs-o3", "qm9-so3"] {
        let name = |part: &str| format!("{network}.{part}");
        let offsets = oracle.indices(&name("in.ptr"));
        let get = |part: &str| clouds(&oracle.points(&name(part)), &offsets);
        let draw = Draw {
            t: oracle.get(&name("in.t")).to_vec(),
            x_t: get("in.pos_centred"),
            x_1: get("in.x1"),
            u_t: get("in.u_t"),
        };
        let v = get("out.v");
        let mut residual = v.zip_map(&draw.u_t, |v, u| std::array::from_fn(|i| v[i] - u[i]));
        for b in 0..residual.len() {
            Se3.horizontal_projection(draw.x_t.cloud(b), residual.cloud_mut(b));
        }
        // The stored residual was projected as it is, with the mean of 1e-8 that rounding u_t to f32 left it.
        let mut expected = clouds(&oracle.points(&name("out.Px_residual")), &offsets);
        (0..expected.len()).for_each(|b| Translations.centre(expected.cloud_mut(b)));
        compare_points(&name("P_x residual"), residual.points(), expected.points(), 1e-13);

        let conventional = DiffusionConfig { treatment: Treatment::Conventional, ..DiffusionConfig::default() };
        let l2 = mean(&losses(&conventional, &draw, &v));
        compare(&name("loss_l2"), &[l2], oracle.get(&name("out.loss_l2")), 1e-13);
        let mse = DiffusionConfig { loss: Loss::Mse, ..conventional };
        compare(&name("loss_mse"), &[mean(&losses(&mse, &draw, &v))], oracle.get(&name("out.loss_mse")), 1e-13);
        let projected = losses(&DiffusionConfig { treatment: Treatment::Quotient, ..mse.clone() }, &draw, &v);
        compare(&name("loss_proj_mse"), &projected, oracle.get(&name("out.loss_proj_mse_per_mol")), 1e-12);

        // What is logged: the horizontal part is the projected loss, and the parts add up.
        let parts = evaluate(&mse, &draw, &v, 1.0);
        compare(&name("horizontal part"), &parts.horizontal, &projected, 1e-14);
        let sum: Vec<f64> = parts.horizontal.iter().zip(&parts.vertical).map(|(h, v)| h + v).collect();
        compare(&name("horizontal + vertical"), &sum, &parts.loss, 1e-12);
    }
}

#[test]
fn harmonic_prior_covariance() {
    let oracle = Oracle::read("etflow_harmonic.safetensors");
    let offsets = oracle.indices("ptr");
    let (atoms, ends) = (*offsets.last().unwrap(), oracle.indices("bond_index"));
    let (from, to) = ends.split_at(ends.len() / 2);
    let bonds: Vec<[usize; 2]> = from.iter().zip(to).filter(|(i, j)| i < j).map(|(&i, &j)| [i, j]).collect();
    // Three molecules as one graph of three components, and the columns of T from unit vectors.
    let prior = HarmonicPrior::new(atoms, &bonds).unwrap();
    let columns: Vec<Vec<f64>> = (0..atoms)
        .map(|i| {
            let mut unit = vec![[0.0; 3]; atoms];
            unit[i][1] = 1.0;
            prior.transform(&unit).iter().map(|p| p[1]).collect()
        })
        .collect();
    let covariance: Vec<f64> =
        (0..atoms * atoms).map(|k| columns.iter().map(|c| c[k / atoms] * c[k % atoms]).sum()).collect();
    compare("harmonic covariance", &covariance, oracle.get("f64.covariance_pinv"), 1e-12);
}

#[test]
fn handedness() {
    let oracle = Oracle::read("etflow_parity.safetensors");
    let batch = oracle.indices("batch");
    let neighbours = oracle.indices("chiral_nbr_index");
    let centres = oracle.indices("chiral_index").into_iter().zip(neighbours.chunks_exact(4));
    let stereo_centres = centres.zip(oracle.get("chiral_tag")).map(|((atom, n), &tag)| StereoCentre {
        cloud: batch[atom] as u32,
        neighbours: std::array::from_fn(|k| n[k] as u32),
        sign: tag as i8,
    });
    let atoms = Atoms { stereo_centres: stereo_centres.collect(), ..Atoms::default() };
    let condition = Condition { points: Points::Atoms(atoms), ..Condition::default() };
    for case in ["in", "ref"] {
        let mut x = clouds(&oracle.points(&format!("{case}.pos")), &offsets_of(&batch));
        correct_handedness(&condition, &mut x);
        compare_points(&format!("parity {case}"), x.points(), &oracle.points(&format!("{case}.pos_out")), 0.0);
    }
}

#[test]
fn one_sided_formulas() {
    let oracle = Oracle::read("proteina_formulas.safetensors");
    // Cloud 0 fills its row: the reference centres the others over their padding too. The inputs are centred
    // to f32 precision only, and the reference centres them here and there; so do we before we compare.
    let cloud = |name: &str| oracle.points(name)[..16].to_vec();
    let centred = |name: &str| {
        let mut x = cloud(name);
        Translations.centre(&mut x);
        x
    };
    let t = oracle.get("interp.t")[0];
    let (x_0, x_1) = (centred("interp.x_0"), centred("interp.x_1"));
    let noised = interpolate(&proteina(), t, &x_0, &x_1, &[[0.0; 3]; 16]);
    compare_points("one-sided x_t", &noised.x_t, &cloud("interp.x_t"), 1e-14);

    // The state of the stored conversions is known through them: x_1 = x_t + (1−t) v.
    let one = |x: &[Point]| clouds(x, &[0, 16]);
    let (x_1, v) = (one(&cloud("conv.x_1_from_v")), one(&cloud("conv.nn_out")));
    let x_t = x_1.zip_map(&v, |x, v| std::array::from_fn(|i| x[i] - (1.0 - t) * v[i]));
    let path = proteina().gaussian_path().unwrap();
    let mut v = path.velocity_from_data(t).apply(&x_t, &x_1);
    Translations.horizontal_projection(x_t.cloud(0), v.cloud_mut(0));
    compare_points("v from x_1", v.points(), &cloud("conv.v_from_x_1"), 1e-14);
    let score = path.score_from_velocity(t).apply(&x_t, &v);
    compare_points("score from v", score.points(), &cloud("score_from_v"), 1e-14);
}

#[test]
fn one_sided_loss() {
    let oracle = Oracle::read("proteina_formulas.safetensors");
    let mask = oracle.get("interp.mask");
    let keep = |name: &str, row: usize| -> Vec<Point> {
        let points = oracle.points(name);
        (row * 16..row * 16 + 16).filter(|&i| mask[i] == 1.0).map(|i| points[i]).collect()
    };
    let ragged = |name: &str| {
        let rows: Vec<Vec<Point>> = (0..3).map(|row| keep(name, row)).collect();
        Clouds::from_clouds(rows.iter().map(Vec::as_slice))
    };
    // The prediction of the data is the literal reference; its centres are kept to f32 precision.
    let draw = Draw {
        t: oracle.get("interp.t").to_vec(),
        x_t: ragged("interp.x_t"),
        x_1: ragged("interp.x_1"),
        u_t: ragged("interp.x_1"),
    };
    let data = DiffusionConfig { prediction: Prediction::Data, ..proteina() };
    let found = evaluate(&data, &draw, &ragged("conv.x_1_from_v"), 1.0).loss;
    compare("weighted loss", &found, oracle.get("loss.fm_per_sample"), 1e-13);
}

#[test]
fn grids_and_noise_levels() {
    let oracle = Oracle::read("proteina_formulas.safetensors");
    let sampler = |grid, grid_power| SamplerConfig { grid, grid_power, steps: 10, ..SamplerConfig::default() };
    for (name, config) in [
        ("schedule.uniform.pNone.K10", sampler(Grid::Uniform, 1.0)),
        ("schedule.power.p2.0.K10", sampler(Grid::Power, 2.0)),
        ("schedule.log.p2.0.K10", sampler(Grid::Log, 2.0)),
        ("schedule.log.p1.0.K10", sampler(Grid::Log, 1.0)),
        ("schedule.cos_sch_v_snr.p1.5.K10", sampler(Grid::Cosine, 1.5)),
        ("schedule.loglinear.pNone.K10", sampler(Grid::LogLinear, 1.0)),
        ("schedule.edm.p7.0.K10", sampler(Grid::Edm, 7.0)),
    ] {
        compare(name, &config.times(), oracle.get(name), 1e-14);
    }
    let times = sampler(Grid::Log, 2.0).times();
    for (name, eta) in [("us", Eta::Ratio), ("tan", Eta::Tangent), ("1_over_t", Eta::Inverse)] {
        for (clamp, eta_max) in [("None", None), ("10.0", Some(10.0))] {
            for (power, eta_power) in [("0.5", 0.5), ("1.0", 1.0), ("1.5", 1.5)] {
                let config = SamplerConfig { eta, eta_power, eta_max, ..SamplerConfig::default() };
                let name = format!("gt.{name}.p{power}.clamp{clamp}.log2.K10");
                compare(&name, &config.etas(&times[..10]), oracle.get(&name), 1e-13);
            }
        }
    }
}

#[test]
fn one_sided_sampler_steps() {
    let oracle = Oracle::read("proteina_sampler.safetensors");
    let diffusion = DiffusionConfig { prediction: Prediction::Data, ..proteina() };
    for (case, kind) in [("vf", SamplerKind::Ode), ("sc", SamplerKind::Sde)] {
        let config = SamplerConfig { kind, steps: 8, grid: Grid::Log, gamma: 0.45, ..SamplerConfig::default() };
        let sampler = Sampler::new(&config, &diffusion).unwrap();
        let name = |part: &str, k: usize| format!("{case}.step{k}.{part}");
        let get = |name: &str| clouds(&oracle.points(name), &[0, 12, 24]);
        for k in 0..8 {
            assert_eq!(sampler.is_stochastic(k), oracle.get(&name("is_sde", k))[0] == 1.0, "{case} step {k}");
            let noise = sampler.is_stochastic(k).then(|| get(&format!("{case}.eps{k}")));
            let next = sampler.step(k, &get(&name("x_t", k)), &get(&name("x_1_pred", k)), noise.as_ref());
            compare_points(&name("x_next", k), next.points(), &oracle.points(&name("x_next", k)), 1e-13);
        }
    }
}

#[test]
fn beta_uniform_times() {
    let oracle = Oracle::read("proteina_times.safetensors");
    let n = 100_000;
    let mut times: Vec<f64> =
        (0..n).map(|id| time(&proteina(), &mut qsd::random::stream(5, qsd::random::Purpose::Time, 0, id))).collect();
    times.sort_by(f64::total_cmp);
    let edges = oracle.get("tdist.edges").iter().zip(oracle.get("tdist.analytic_cdf_at_edges"));
    let distance = edges.map(|(&edge, cdf)| (times.partition_point(|&t| t < edge) as f64 / n as f64 - cdf).abs());
    let distance = distance.fold(0.0, f64::max);
    println!("| Kolmogorov distance of t (n = {n}) | {distance:.1e} |");
    // 1.95 / √n is exceeded by chance once in a thousand.
    assert!(distance < 1.95 / (n as f64).sqrt(), "{distance}");
}
