//! The protein network against runs of the reference implementation: bins, every intermediate, outputs, losses and the
//! gradients of all parameters, in f64 and f32; three training steps; guidance; two sampling runs.
//!
//! `cargo test --release --test oracle_protein -- --nocapture` prints the rows of `docs/numerics.md`. An error is the
//! largest difference over a tensor divided by the largest number in the reference's; a row states the worst tensor's.
//!
//! f64 is compared with the reference in f64, f32 with the reference in f32: the phases of the time embedding reach 2000,
//! so that f32 alone moves it by 1.5e-4, and both follow the same order of operations there. What remains is round-off
//! (the reference's own f32 is 6e-6 from f64 with equal time embeddings): outputs must agree to 2e-5 and gradients to
//! 1e-4 of a tensor's largest number. Parameters to which a softmax is blind have no gradient but round-off; they are
//! held below the largest gradient by a factor of 1e-12 (f64) or 1e-5 (f32).

mod protein_support;

use candle_core::{DType, Tensor};
use protein_support::*;
use qsd::data::Condition;
use qsd::diffusion::*;
use qsd::geometry::Clouds;
use qsd::model::Network;
use qsd::model::protein::{ProteinNetwork, Shortcuts};
use qsd::train::{AdamW, Clip, ClipConfig, ClipKind, OptimizerConfig, update_average};

/// Prints one row and fails if a limit is passed.
fn row(quantity: &str, f64_error: f64, f64_limit: f64, f32_error: f64, f32_limit: f64) {
    println!("| {quantity} | {f64_error:.1e} | {f32_error:.1e} |");
    assert!(f64_error <= f64_limit, "{quantity}: {f64_error:e} in f64");
    assert!(f32_error <= f32_limit, "{quantity}: {f32_error:e} in f32");
}

/// The intermediates of the literal form in the reference's names, chain after chain.
fn intermediates(case: &Case, dtype: DType) -> Numbers {
    let mut seen = Numbers::new();
    let mut trace = |_: usize, name: &str, tensor: &Tensor| {
        seen.entry(name.to_owned()).or_default().extend(numbers(tensor));
    };
    case.literal(dtype).predict_traced(case.input(), &mut trace).unwrap();
    seen
}

#[test]
fn bins_equal_the_reference() {
    for (net, name) in CASES {
        let case = Case::load(net, name);
        let mut first = 0.0;
        for (block, width) in [
            ("rel_seq_sep", case.config.separation_bins),
            ("x_sc_pair_dists", case.config.self_condition_bins),
            ("xt_pair_dists", case.config.distance_bins),
        ] {
            let expected = &case.expected[&format!("bins.{block}")];
            for dtype in [DType::F64, DType::F32] {
                match intermediates(&case, dtype).get(&format!("bins.{block}")) {
                    Some(columns) => {
                        assert_eq!(*expected, columns.iter().map(|c| c - first).collect::<Vec<_>>(), "{block}")
                    }
                    None => assert!(case.self_condition.is_none() && expected.iter().all(|&bin| bin == 255.0)),
                }
            }
            first += width as f64;
        }
    }
}

#[test]
fn every_intermediate_equals_the_reference() {
    for ((net, name), expected_count) in CASES.into_iter().zip([4, 21, 4, 4, 5, 27]) {
        let case = Case::load(net, name);
        let found = [DType::F64, DType::F32].map(|dtype| intermediates(&case, dtype));
        let (mut worst, mut count) = ([0.0f64; 2], 0);
        let other = ["bins.", "f32.", "grad", "loss.", "nn_out", "x_1_pred"];
        for (key, expected) in &case.expected {
            if other.iter().any(|start| key.starts_with(start)) || key == "v" {
                continue;
            }
            for (worst, found) in worst.iter_mut().zip(&found) {
                let found = found.get(key).unwrap_or_else(|| panic!("{net} {name}: no {key}"));
                let error = relative_error(found, expected);
                assert!(error < 1e-3, "{net} {name} {key}: {error:e}");
                *worst = worst.max(error);
            }
            count += 1;
        }
        assert_eq!(count, expected_count, "{net} {name}");
        // The reference's f32 intermediates are not kept: f32 is compared with f64 here, time embedding and all.
        row(&format!("{net} {name}: {count} intermediates"), worst[0], 1e-10, worst[1], 1e-3);
    }
}

/// The vector field that samples follow: (Z(x̂_1) − Z(x_t))/(1 − t) with the masked centring Z, in nm.
fn field(case: &Case, velocity: &Clouds) -> Vec<f64> {
    let mut field = case
        .arrival(velocity)
        .centred()
        .zip_map(&case.x_t.clone().centred(), |a, b| std::array::from_fn(|axis| a[axis] - b[axis]));
    for (b, t) in case.t.iter().enumerate() {
        field.cloud_mut(b).iter_mut().for_each(|v| *v = v.map(|c| c / (1.0 - t)));
    }
    nanometres(&field)
}

#[test]
fn predictions_and_losses_equal_the_reference() {
    for (net, name) in CASES {
        let case = Case::load(net, name);
        let spans = case.network(DType::F64).layout().spans().len();
        let found = [DType::F64, DType::F32].map(|dtype| {
            let recording = case.denoiser(dtype).recording(case.input()).unwrap();
            let velocity = recording.prediction().clone();
            let ([flow, auxiliary], _) = losses_and_gradients(&case, recording, spans);
            let none = vec![0.0; flow.len()];
            let auxiliary = if auxiliary.is_empty() { none } else { auxiliary };
            let total = flow.iter().chain(&auxiliary).sum::<f64>() / flow.len() as f64;
            let x_1 = nanometres(&case.arrival(&velocity));
            [
                ("nn_out", nanometres(&velocity)),
                ("x_1_pred", x_1),
                ("v", field(&case, &velocity)),
                ("loss.fm_per_sample", flow),
                ("loss.aux_per_sample", auxiliary),
                ("loss.total", vec![total]),
            ]
        });
        for ((key, exact), (_, single)) in found[0].iter().zip(&found[1]) {
            let error = relative_error(exact, &case.expected[*key]);
            let single = relative_error(single, &case.expected[&format!("f32.{key}")]);
            row(&format!("{net} {name}: {key}"), error, 1e-10, single, 2e-5);
        }
    }
}

/// The worst parameter's error against the reference's gradients under `prefix`; of some, every fourth number is kept.
fn worst_gradient(case: &Case, prefix: &str, found: &[Vec<f64>], blind_limit: f64) -> f64 {
    let network = case.network(DType::F64);
    let largest = found.iter().flatten().fold(0.0f64, |a, g| a.max(g.abs()));
    let mut worst: f64 = 0.0;
    for (span, found) in network.layout().spans().iter().zip(found) {
        if vanishes(&span.name) {
            assert!(found.iter().all(|g| g.abs() <= blind_limit * largest), "{}", span.name);
            continue;
        }
        let expected = &case.expected[&format!("{prefix}{}", span.name)];
        let zeros = vec![0.0; span.range.len()];
        let found = if found.is_empty() { &zeros } else { found };
        let error = match found.len() == expected.len() {
            true => relative_error(found, expected),
            false => relative_error(&found.iter().copied().step_by(4).collect::<Vec<_>>(), expected),
        };
        assert!(error < 1e-3, "{}: {error:e}", span.name);
        worst = worst.max(error);
    }
    worst
}

#[test]
fn all_gradients_equal_the_reference() {
    for (net, name) in CASES.into_iter().filter(|(_, name)| *name != "defaults") {
        let case = Case::load(net, name);
        let spans = case.network(DType::F64).layout().spans().len();
        for (form, shortcuts) in [("literal", Shortcuts::none()), ("all shortcuts", Shortcuts::default())] {
            let found = [DType::F64, DType::F32].map(|dtype| {
                let network = case.network(dtype).with_shortcuts(shortcuts);
                let recording = network.denoiser(&weights(network.layout())).unwrap().recording(case.input()).unwrap();
                losses_and_gradients(&case, recording, spans).1
            });
            let exact = worst_gradient(&case, "grad.", &found[0], 1e-12);
            let norm = found[0].iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
            assert!((norm / case.expected["grad_norm_total"][0] - 1.0).abs() < 1e-10, "{net} {name}");
            // f32 gradients of the reference are kept of the case `sc`; the others are compared with f64.
            let (prefix, limit) = if name == "sc" { ("f32.grad.", 1e-4) } else { ("grad.", 1e-3) };
            let single = worst_gradient(&case, prefix, &found[1], 1e-5);
            row(&format!("{net} {name}: {spans} gradients, {form}"), exact, 1e-10, single, limit);
        }
    }
}

/// By the way that training goes: the flat buffer, each unit told once, in order.
#[test]
fn the_flat_gradient_is_the_same() {
    for net in ["tiny", "tiny_tri"] {
        let case = Case::load(net, "sc");
        let network = case.network(DType::F32);
        let parameters = weights(network.layout());
        let spans = network.layout().spans();
        let recording = network.denoiser(&parameters).unwrap().recording(case.input()).unwrap();
        let expected = losses_and_gradients(&case, recording, spans.len()).1;
        let denoiser = network.bind(&parameters).unwrap();
        let mut recording = denoiser.record(case.input()).unwrap();
        let (_, at_velocity) = flow_matching(&case.x_t, &case.x_1, &case.t, recording.prediction());
        recording.auxiliary(&case.x_1, &case.t, 1.0 / 3.0).unwrap();
        let (mut flat, mut told) = (vec![f32::NAN; network.layout().len()], Vec::new());
        let mut copy = flat.clone();
        recording
            .backward(&at_velocity, &mut flat, &mut |range, numbers| {
                copy[range.clone()].copy_from_slice(numbers);
                told.push(range);
                Ok(())
            })
            .unwrap();
        assert_eq!(told, network.units());
        assert_eq!(flat, copy, "what was told was not final");
        for (span, expected) in spans.iter().zip(&expected) {
            let found: Vec<f64> = flat[span.range.clone()].iter().map(|&g| f64::from(g)).collect();
            match expected.is_empty() {
                true => assert!(found.iter().all(|&g| g == 0.0), "{}", span.name),
                false => assert_eq!(&found, expected, "{}", span.name),
            }
        }
    }
}

/// A training step of the oracle: its draws, and what came out.
struct Drawn {
    x_t: Clouds,
    t: Vec<f64>,
    fed: bool,
}

fn drawn(expected: &Numbers, step: usize) -> Drawn {
    let of = |name: &str| expected.get(&format!("step{step}.{name}"));
    let lengths = [16, 12, 9];
    Drawn { x_t: angstroms(&lengths, of("x_t").unwrap()), t: of("t").unwrap().clone(), fed: of("x_sc").is_some() }
}

/// x̂_1 that is fed back.
fn fed(case: &Case, denoiser: &dyn Denoiser, drawn: &Drawn) -> Option<Clouds> {
    let input = Input { x_t: &drawn.x_t, t: &drawn.t, condition: &case.condition, self_condition: None };
    drawn.fed.then(|| arrival(&drawn.x_t, &drawn.t, &denoiser.predict(input).unwrap()))
}

/// Adam as the textbooks have it, in f64; the crate's is f32.
fn adam(parameters: &mut [f64], moments: &mut [Vec<f64>; 2], gradient: &[f64], step: i32) {
    let [first, second] = moments;
    for i in 0..parameters.len() {
        first[i] = 0.9 * first[i] + 0.1 * gradient[i];
        second[i] = 0.999 * second[i] + 0.001 * gradient[i] * gradient[i];
        let (m, v) = (first[i] / (1.0 - 0.9f64.powi(step)), second[i] / (1.0 - 0.999f64.powi(step)));
        parameters[i] -= 1e-3 * m / (v.sqrt() + 1e-8);
    }
}

/// Three steps with clipping, average and self-conditioning. In f64 Adam is this test's (the crate's optimizer is f32
/// throughout) and everything must agree tightly; the norms are clipped by the crate's rule.
#[test]
fn three_training_steps_equal_the_reference() {
    let (case, expected) = (Case::load("tiny", "nosc"), fixture("train3"));
    let network = case.network(DType::F64);
    let spans = network.layout().spans();
    let mut parameters: Vec<f64> = weights(network.layout()).iter().map(|&w| f64::from(w)).collect();
    let mut average = parameters.clone();
    let mut moments = [vec![0.0; parameters.len()], vec![0.0; parameters.len()]];
    let mut clip = Clip::new(ClipConfig { kind: ClipKind::Fixed, max: 1.0, ..ClipConfig::default() });
    let mut worst = [0.0f64; 4];
    let mut note = |slot: usize, found: &[f64], key: String| {
        worst[slot] = worst[slot].max(relative_error(found, &expected[&key]));
    };
    for step in 0..3 {
        let (drawn, denoiser) = (drawn(&expected, step), network.denoiser(&parameters).unwrap());
        let self_condition = fed(&case, &denoiser, &drawn);
        if let Some(fed) = &self_condition {
            note(0, &nanometres(fed), format!("step{step}.x_sc"));
        }
        let (x_t, t, condition) = (&drawn.x_t, drawn.t.as_slice(), &case.condition);
        let input = Input { x_t, t, condition, self_condition: self_condition.as_ref() };
        let recording = denoiser.recording(input).unwrap();
        note(0, &nanometres(&arrival(x_t, t, recording.prediction())), format!("step{step}.x_1_pred"));
        let (losses, at_velocity) = flow_matching(x_t, &case.x_1, t, recording.prediction());
        note(1, &[losses.iter().sum::<f64>() / 3.0], format!("step{step}.loss"));
        let mut gradient = vec![0.0; parameters.len()];
        for (span, found) in spans.iter().zip(gradients(&recording, &at_velocity, spans.len())) {
            if !found.is_empty() {
                gradient[span.range.clone()].copy_from_slice(&found);
            }
        }
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        note(1, &[norm], format!("step{step}.grad_norm_before_clip"));
        let factor = clip.apply(norm).factor;
        gradient.iter_mut().for_each(|g| *g *= factor);
        adam(&mut parameters, &mut moments, &gradient, step as i32 + 1);
        average.iter_mut().zip(&parameters).for_each(|(mean, theta)| *mean = 0.999 * *mean + (1.0 - 0.999) * theta);
    }
    for span in spans.iter().filter(|span| !vanishes(&span.name)) {
        note(2, &parameters[span.range.clone()], format!("param.{}", span.name));
        let quarter: Vec<f64> = average[span.range.clone()].iter().copied().step_by(4).collect();
        note(3, &quarter, format!("ema.{}", span.name));
    }
    let names = ["x̂_1", "loss and gradient norm", "parameters", "averages"];
    for (name, worst) in names.into_iter().zip(worst) {
        println!("| three training steps: {name} | {worst:.1e} | |");
        assert!(worst < 1e-10, "{name}: {worst:e}");
    }
}

/// The same by the crate's optimizer, clipping and average, in f32. Adam turns round-off in gradients near zero into
/// steps of the size of the rate with either sign, so that single parameters may differ by 1e-3: losses and the change of
/// the parameters as a whole are compared.
#[test]
fn three_training_steps_in_f32_stay_close() {
    let (case, expected) = (Case::load("tiny", "nosc"), fixture("train3"));
    let network = case.network(DType::F32);
    let start = weights(network.layout());
    let (mut parameters, mut average) = (start.clone(), start.clone());
    let config = OptimizerConfig { weight_decay: 0.0, ..OptimizerConfig::default() };
    let mut optimizer = AdamW::new(config, parameters.len());
    let mut clip = Clip::new(ClipConfig { kind: ClipKind::Fixed, max: 1.0, ..ClipConfig::default() });
    let mut worst_loss: f64 = 0.0;
    for step in 0..3 {
        let mut gradient = vec![0.0f32; parameters.len()];
        {
            let (drawn, denoiser) = (drawn(&expected, step), network.bind(&parameters).unwrap());
            let self_condition = fed(&case, &*denoiser, &drawn);
            let (x_t, t, condition) = (&drawn.x_t, drawn.t.as_slice(), &case.condition);
            let input = Input { x_t, t, condition, self_condition: self_condition.as_ref() };
            let recording = denoiser.record(input).unwrap();
            let (losses, at_velocity) = flow_matching(x_t, &case.x_1, t, recording.prediction());
            let loss = losses.iter().sum::<f64>() / 3.0;
            worst_loss = worst_loss.max(relative_error(&[loss], &expected[&format!("step{step}.loss")]));
            recording.backward(&at_velocity, &mut gradient, &mut |_, _| Ok(())).unwrap();
        }
        let norm = gradient.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let factor = clip.apply(norm).factor as f32;
        optimizer.step(&mut parameters, &gradient, factor, 1e-3, step as u64 + 1);
        update_average(&mut average, &parameters, 0.999);
    }
    let mut squares = [0.0f64; 4];
    for span in network.layout().spans().iter().filter(|span| !vanishes(&span.name)) {
        let of = |kind: &str| &expected[&format!("{kind}.{}", span.name)];
        for (k, i) in span.range.clone().enumerate() {
            let (begun, wanted) = (f64::from(start[i]), of("param")[k]);
            squares[0] += (f64::from(parameters[i]) - wanted).powi(2);
            squares[1] += (wanted - begun).powi(2);
            if k % 4 == 0 {
                let wanted = of("ema")[k / 4];
                squares[2] += (f64::from(average[i]) - wanted).powi(2);
                squares[3] += (wanted - begun).powi(2);
            }
        }
    }
    let change = (squares[0] / squares[1]).sqrt();
    let change_of_average = (squares[2] / squares[3]).sqrt();
    println!("| three training steps: loss | | {worst_loss:.1e} |");
    println!("| three training steps: change of the parameters (L2) | | {change:.1e} |");
    println!("| three training steps: change of the averages (L2) | | {change_of_average:.1e} |");
    assert!(
        worst_loss < 1e-4 && change < 2e-2 && change_of_average < 2e-2,
        "{worst_loss:e} {change:e} {change_of_average:e}"
    );
}

#[test]
fn guided_predictions_equal_the_reference() {
    let (case, expected) = (Case::load("tiny", "fold"), fixture("guidance"));
    for (key, weight) in [("w1", 1.0), ("w2", 2.0)] {
        let velocity = [DType::F64, DType::F32].map(|dtype| {
            let denoiser = case.denoiser(dtype);
            Guided { denoiser: &denoiser, autoguide: None, weight, share: 0.0 }.predict(case.input()).unwrap()
        });
        let x_1 = velocity.each_ref().map(|u| nanometres(&case.arrival(u)));
        let error = x_1.map(|x| relative_error(&x, &expected[&format!("{key}.x_1_pred")]));
        row(&format!("guidance {weight}: x̂_1"), error[0], 1e-10, error[1], 1e-3);
        let error = velocity.map(|u| relative_error(&field(&case, &u), &expected[&format!("{key}.v")]));
        row(&format!("guidance {weight}: v"), error[0], 1e-10, error[1], 1e-3);
    }
}

/// A sampling run of the reference, K = 8, from its noise: the crate's steps from the crate's own states.
fn trajectory(kind: SamplerKind, dtype: DType, expected: &Numbers) -> [f64; 2] {
    let lengths = [12, 12];
    let diffusion = DiffusionConfig {
        treatment: Treatment::Conventional,
        interpolant: Interpolant::OneSided,
        prior: Prior::Gaussian,
        prior_scale: 10.0,
        coupling: Coupling::Independent,
        prediction: Prediction::Velocity,
        t_min: 0.0,
        t_max: 1.0,
        self_conditioning: 0.5,
        ..DiffusionConfig::default()
    };
    let config = SamplerConfig { kind, steps: 8, grid: Grid::Log, gamma: 0.45, ..SamplerConfig::default() };
    let sampler = Sampler::new(&config, &diffusion).unwrap();
    let (times, condition) = (config.times(), Condition::from_lengths(&lengths));
    let network = ProteinNetwork::new(tiny("tiny"), dtype).unwrap();
    let denoiser = network.denoiser(&weights(network.layout())).unwrap();
    let (mut x, mut fed) = (angstroms(&lengths, &expected["x_0_raw"]).centred(), None);
    let mut worst = [0.0f64; 2];
    for step in 0..8 {
        let of = |name: &str| &expected[&format!("step{step}.{name}")];
        assert!((times[step] - of("t_dt_gt")[0]).abs() < 1e-6, "time of step {step}");
        assert_eq!(sampler.is_stochastic(step), of("is_sde")[0] == 1.0);
        let t = [times[step]; 2];
        let input = Input { x_t: &x, t: &t, condition: &condition, self_condition: fed.as_ref() };
        let velocity = denoiser.predict(input).unwrap();
        let data = fed_back(&diffusion, &t, &x, &velocity);
        worst[0] = worst[0].max(relative_error(&nanometres(&data), of("x_1_pred")));
        let noise = sampler.is_stochastic(step).then(|| {
            // Standard normal numbers, without a unit.
            let noise = angstroms(&lengths, &expected[&format!("eps{step}")]);
            noise.with_points(noise.points().iter().map(|x| x.map(|c| c / 10.0)).collect())
        });
        x = sampler.step(step, &x, &velocity, noise.as_ref());
        worst[1] = worst[1].max(relative_error(&nanometres(&x), of("x_next")));
        fed = Some(data);
    }
    worst[1] = worst[1].max(relative_error(&nanometres(&x), &expected["x_final"]));
    worst
}

#[test]
fn sampling_runs_equal_the_reference() {
    for (name, kind) in [("vf", SamplerKind::Ode), ("sc", SamplerKind::Sde)] {
        let expected = fixture(&format!("sampler_{name}"));
        let found = [DType::F64, DType::F32].map(|dtype| trajectory(kind, dtype, &expected));
        for (quantity, k) in [("x̂_1", 0), ("states", 1)] {
            row(&format!("sampling, {kind:?}: {quantity}"), found[0][k], 1e-10, found[1][k], 1e-3);
        }
    }
}
