//! The fused protein network against the plain one: predictions and every gradient, on chains of 1 to 256 residues,
//! with breaks, folds and self-conditioning; against the reference implementation; finite differences; its own bits.
//!
//! `cargo test --release --test fused_protein -- --nocapture` prints the rows of `docs/numerics.md`.

mod protein_support;

use candle_core::DType;
use protein_support::{Case, flat, flow_matching, nanometres, relative_error, tiny, vanishes, weights};
use qsd::bio::Fold;
use qsd::data::{Condition, Points};
use qsd::diffusion::{Denoiser, Input};
use qsd::geometry::{Clouds, Point};
use qsd::model::protein::fused::FusedProteinNetwork;
use qsd::model::protein::{FeatureOrder, PairUpdates, ProteinConfig, ProteinNetwork};
use qsd::model::{Network, Precision, Span};
use qsd::random::{Purpose, normal_points, stream};
use rand::RngExt as _;

/// Chains with positions, times and what is known of them.
struct Sample {
    x_t: Clouds,
    t: Vec<f64>,
    fed_back: Option<Clouds>,
    condition: Condition,
}

impl Sample {
    fn input(&self) -> Input<'_> {
        Input { x_t: &self.x_t, t: &self.t, condition: &self.condition, self_condition: self.fed_back.as_ref() }
    }

    /// Chains of these lengths that wander at random, some broken, with jumping numbers and some folds, at times below
    /// `latest`.
    fn wandering(lengths: &[usize], fed_back: bool, latest: f64, seed: u64) -> Sample {
        let cloud = |purpose, id: usize, size: f64, length| -> Vec<Point> {
            let mut place = [0.0; 3];
            let steps = normal_points::<3>(&mut stream(seed, purpose, 0, id as u64), length);
            let walk = steps.into_iter().map(|step: Point| {
                place = std::array::from_fn(|axis| 0.95 * place[axis] + size * step[axis]);
                place
            });
            walk.collect()
        };
        let clouds = |purpose, size| {
            let clouds: Vec<_> = lengths.iter().enumerate().map(|(id, &n)| cloud(purpose, id, size, n)).collect();
            Clouds::from_clouds(clouds.iter().map(Vec::as_slice))
        };
        let mut rng = stream(seed, Purpose::Initialization, 1, 0);
        let mut condition = Condition::from_lengths(lengths);
        let offsets = condition.offsets.clone();
        if let Points::Residues(residues) = &mut condition.points {
            for (b, range) in offsets.windows(2).map(|range| range[0]..range[1]).enumerate() {
                let mut number = rng.random_range(-20..200);
                for i in range.clone() {
                    residues.breaks[i] = i + 1 < range.end && rng.random_range(0..8) == 0;
                    number += if residues.breaks[i] { rng.random_range(0..30) } else { 1 };
                    residues.numbers[i] = number;
                }
                let known = |level: usize| b % 4 > level;
                residues.folds[b] = Fold::default();
                for (level, classes) in [3, 5, 9].into_iter().enumerate().filter(|(level, _)| known(*level)) {
                    residues.folds[b][level] = Some(rng.random_range(0..classes));
                }
            }
            condition.bonds = residues.bonds(&offsets);
        }
        Sample {
            x_t: clouds(Purpose::SamplePrior, 3.0),
            t: lengths.iter().map(|_| rng.random_range(0.0..latest)).collect(),
            fed_back: fed_back.then(|| clouds(Purpose::Initialization, 2.5)),
            condition,
        }
    }

    /// The largest residue number, counted from the chain's first as 1.
    fn largest_number(&self) -> i32 {
        let numbers = &self.condition.residues().unwrap().numbers;
        let range = |b| &numbers[self.x_t.range(b)];
        (0..self.x_t.len()).filter_map(|b| Some(range(b).last()? - range(b).first()? + 1)).max().unwrap_or(0)
    }

    /// One of the chains.
    fn only(&self, b: usize) -> Sample {
        let (range, mut condition) = (self.x_t.range(b), Condition::from_lengths(&[self.x_t.cloud(b).len()]));
        if let (Points::Residues(mine), Some(all)) = (&mut condition.points, self.condition.residues()) {
            mine.numbers.copy_from_slice(&all.numbers[range.clone()]);
            mine.breaks.copy_from_slice(&all.breaks[range]);
            mine.folds[0] = all.folds[b];
        }
        let cloud = |clouds: &Clouds| Clouds::from_clouds([clouds.cloud(b)]);
        Sample { x_t: cloud(&self.x_t), t: vec![self.t[b]], fed_back: self.fed_back.as_ref().map(cloud), condition }
    }
}

fn kinds() -> [(&'static str, ProteinConfig); 4] {
    [
        ("small", tiny("tiny")),
        (
            "odd widths",
            ProteinConfig {
                hidden: 37,
                heads: 3,
                head_width: 7,
                pair: 13,
                condition: 11,
                expansion: 3,
                features: FeatureOrder::PositionFirst,
                ..tiny("tiny")
            },
        ),
        ("no registers, one layer", ProteinConfig { registers: 0, layers: 1, pair: 16, condition: 32, ..tiny("tiny") }),
        (
            "wider",
            ProteinConfig { hidden: 96, layers: 3, heads: 6, head_width: 16, pair: 64, condition: 48, ..tiny("tiny") },
        ),
    ]
}

/// Initial values moved at random, so that no parameter is at a special value.
fn parameters(network: &dyn Network, seed: u64) -> Vec<f32> {
    let mut values = network.initialize(seed);
    let mut rng = stream(seed, Purpose::Initialization, 2, 0);
    values.iter_mut().for_each(|value| *value += 0.1 * rng.random_range(-1.0..1.0f32));
    values
}

/// Prediction and gradient of ⟨v, w⟩ for fixed random w, over a gradient buffer full of rubbish. Units must come as the
/// network says.
fn walk(network: &dyn Network, parameters: &[f32], sample: &Sample) -> (Vec<f64>, Vec<f32>) {
    let denoiser = network.bind(parameters).unwrap();
    let recording = denoiser.record(sample.input()).unwrap();
    let v = recording.prediction().clone();
    let alone = denoiser.predict(sample.input()).unwrap();
    let bits = |clouds: &Clouds| flat(clouds).iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
    assert_eq!(bits(&v), bits(&alone), "prediction with and without recording");
    let direction = normal_points::<3>(&mut stream(5, Purpose::SamplePrior, 9, 9), v.points().len());
    let mut gradient = vec![f32::NAN; network.layout().len()];
    let mut told = Vec::new();
    let mut ready = |range: std::ops::Range<usize>, numbers: &mut [f32]| {
        assert!(numbers.len() == range.len() && numbers.iter().all(|g| g.is_finite()), "unit {range:?}");
        told.push(range);
        Ok(())
    };
    recording.backward(&v.with_points(direction), &mut gradient, &mut ready).unwrap();
    assert_eq!(told, network.units());
    (flat(&v), gradient)
}

/// The worst relative error of any parameter's gradient, on the scale of its tensor or of rounding.
fn worst_gradient(spans: &[Span], found: &[f32], expected: &[f32]) -> (f64, String) {
    let largest = expected.iter().fold(0.0f32, |a, g| a.max(g.abs()));
    let mut worst = (0.0, String::new());
    for span in spans {
        let (found, expected) = (&found[span.range.clone()], &expected[span.range.clone()]);
        // Exactly here, to rounding elsewhere.
        if vanishes(&span.name) {
            assert!(found.iter().all(|g| *g == 0.0), "{}", span.name);
            continue;
        }
        let scale = expected.iter().fold(1e-5 * largest, |a, g| a.max(g.abs()));
        let difference = found.iter().zip(expected).fold(0.0f32, |a, (f, e)| {
            let difference = (f - e).abs();
            if difference > a || difference.is_nan() { difference } else { a }
        });
        let error = f64::from(difference / scale);
        if error > worst.0 || error.is_nan() {
            worst = (error, span.name.clone());
        }
    }
    worst
}

/// A limit of 1e-5 for predictions and 1e-4 for gradients. Against the plain network in f64 the former is widened by
/// the rounding of the phases that embed residue numbers: f32 holds π·number to 2.8e-7·number.
fn check(name: &str, config: &ProteinConfig, sample: &Sample, seed: u64, dtype: DType) {
    check_with(name, config, sample, dtype, &|network| parameters(network, seed));
}

fn check_with(
    name: &str,
    config: &ProteinConfig,
    sample: &Sample,
    dtype: DType,
    parameters: &dyn Fn(&dyn Network) -> Vec<f32>,
) {
    let fused = FusedProteinNetwork::new(config.clone(), Precision::F32).unwrap();
    let plain = ProteinNetwork::new(config.clone(), dtype).unwrap();
    let parameters = parameters(&plain);
    let (v, gradient) = walk(&fused, &parameters, sample);
    let (expected_v, expected) = walk(&plain, &parameters, sample);
    let prediction = relative_error(&v, &expected_v);
    let (worst, which) = worst_gradient(plain.layout().spans(), &gradient, &expected);
    let (against, phases) = match dtype {
        DType::F64 => ("f64", 3e-7 * f64::from(sample.largest_number())),
        _ => ("f32", 0.0),
    };
    println!("| fused protein against plain {against}, {name} | {prediction:.1e} | {worst:.1e} |");
    assert!(prediction < 1e-5 + phases, "{name}: {prediction:e}");
    assert!(worst < 1e-4, "{name}, {which}: {worst:e}");
}

#[test]
fn chains_of_every_size() {
    for (index, (name, config)) in kinds().into_iter().enumerate() {
        let seed = index as u64;
        for lengths in [&[1usize][..], &[2, 3], &[5, 1, 17, 9, 30], &[40, 64]] {
            for fed_back in [false, true] {
                // Where the rounding of the time's phases, which the plain network in f64 has not, is small.
                let sample = Sample::wandering(lengths, fed_back, 0.01, seed);
                let name = format!("{name}, {lengths:?} residues, fed back {fed_back}");
                check(&name, &config, &sample, seed, DType::F64);
                // At all times, with the same rounding of phases.
                let sample = Sample::wandering(lengths, fed_back, 1.0, seed);
                check(&name, &config, &sample, seed, DType::F32);
            }
        }
    }
}

#[test]
fn long_chains() {
    for dtype in [DType::F32, DType::F64] {
        let sample = Sample::wandering(&[256, 130], true, 0.01, 3);
        check("[256, 130] residues", &tiny("tiny"), &sample, 3, dtype);
    }
}

/// The released width with fewer layers: wide products go other ways.
#[test]
fn full_width() {
    let config = ProteinConfig { layers: 2, ..ProteinConfig::default() };
    // The oracle's rule scales weights by their number of inputs.
    let sample = Sample::wandering(&[61, 20], true, 0.01, 5);
    check_with("full width", &config, &sample, DType::F64, &|network| weights(network.layout()));
}

/// Predictions and gradients of the reference implementation: f32 is compared with its f32. It kept f32 gradients of
/// one case alone; those of the others are compared with its f64, whose time embedding differs by up to 1.5e-4.
#[test]
fn the_reference() {
    for name in ["nosc", "sc", "fold", "defaults"] {
        let case = Case::load("tiny", name);
        let network = FusedProteinNetwork::new(case.config.clone(), Precision::F32).unwrap();
        let parameters = weights(network.layout());
        let denoiser = network.denoiser(&parameters).unwrap();
        let recording = denoiser.record(case.input()).unwrap();
        let velocity = recording.prediction().clone();
        let error = relative_error(&nanometres(&velocity), &case.expected["f32.nn_out"]);
        let (losses, at_velocity) = flow_matching(&case.x_t, &case.x_1, &case.t, &velocity);
        let loss = relative_error(&losses, &case.expected["f32.loss.fm_per_sample"]);
        println!("| fused protein, {name}: prediction | | {error:.1e} |");
        println!("| fused protein, {name}: losses | | {loss:.1e} |");
        assert!(error < 1e-5 && loss < 1e-5, "{name}: {error:e}, {loss:e}");
        if name == "defaults" {
            continue;
        }
        let mut gradient = vec![f32::NAN; network.layout().len()];
        recording.backward(&at_velocity, &mut gradient, &mut |_, _| Ok(())).unwrap();
        let (prefix, limit) = if name == "sc" { ("f32.grad.", 1e-4) } else { ("grad.", 1e-3) };
        let mut worst = 0.0;
        for span in network.layout().spans() {
            let found = &gradient[span.range.clone()];
            if vanishes(&span.name) {
                assert!(found.iter().all(|g| *g == 0.0), "{}", span.name);
                continue;
            }
            let expected = &case.expected[&format!("{prefix}{}", span.name)];
            // Of some tensors every fourth number is kept.
            let step = if found.len() == expected.len() { 1 } else { 4 };
            let found: Vec<f64> = found.iter().step_by(step).map(|&g| f64::from(g)).collect();
            let error = relative_error(&found, expected);
            assert!(error < limit, "{name} {}: {error:e}", span.name);
            worst = f64::max(worst, error);
        }
        println!("| fused protein, {name}: worst gradient | | {worst:.1e} |");
    }
}

/// Each parameter tensor's gradient along a random direction against a difference quotient of the prediction.
#[test]
fn gradients_are_derivatives() {
    let config = ProteinConfig { layers: 2, ..kinds()[1].1.clone() };
    let network = FusedProteinNetwork::new(config, Precision::F32).unwrap();
    let sample = Sample::wandering(&[13, 6], true, 1.0, 2);
    let values = parameters(&network, 8);
    let (v, gradient) = walk(&network, &values, &sample);
    let direction = normal_points::<3>(&mut stream(5, Purpose::SamplePrior, 9, 9), v.len() / 3).concat();
    let value = |parameters: &[f32]| -> f64 {
        let v = network.denoiser(parameters).unwrap().predict(sample.input()).unwrap();
        flat(&v).iter().zip(&direction).map(|(v, w)| v * w).sum()
    };
    let size = v.iter().map(|v| v * v).sum::<f64>().sqrt() * direction.iter().map(|w| w * w).sum::<f64>().sqrt();
    let mut rng = stream(8, Purpose::Initialization, 3, 0);
    for span in network.layout().spans() {
        const STEP: f32 = 2e-3;
        let signs: Vec<f32> = span.range.clone().map(|_| if rng.random() { STEP } else { -STEP }).collect();
        let moved = |factor: f32| {
            let mut moved = values.clone();
            moved[span.range.clone()].iter_mut().zip(&signs).for_each(|(x, sign)| *x += factor * sign);
            // What was added, which is not quite what was to be.
            let steps = span.range.clone().map(|k| f64::from(moved[k]) - f64::from(values[k]));
            let slope: f64 = steps.zip(&gradient[span.range.clone()]).map(|(step, g)| step * f64::from(*g)).sum();
            (value(&moved), slope)
        };
        let (forward, backward) = (moved(1.0), moved(-1.0));
        let (difference, slope) = (forward.0 - backward.0, forward.1 - backward.1);
        let error = (difference - slope).abs();
        // Third-order terms, and the rounding of f32.
        assert!(error < 0.03 * slope.abs() + 1e-6 * size, "{}: {difference:e}, by its gradient {slope:e}", span.name);
    }
}

/// The same bits whatever was computed before in the same memory, and whoever computes beside.
#[test]
fn bits_do_not_depend_on_history_or_company() {
    for precision in [Precision::F32, Precision::Bf16] {
        let network = FusedProteinNetwork::new(kinds()[3].1.clone(), precision).unwrap();
        let parameters = parameters(&network, 4);
        let samples = [
            Sample::wandering(&[90, 80, 7], true, 1.0, 1),
            Sample::wandering(&[7, 3], false, 1.0, 2),
            Sample::wandering(&[40], true, 1.0, 3),
        ];
        let bits = |sample: &Sample| {
            let (v, gradient) = walk(&network, &parameters, sample);
            let v: Vec<u64> = v.iter().map(|v| v.to_bits()).collect();
            (v, gradient.iter().map(|g| g.to_bits()).collect::<Vec<_>>())
        };
        let alone: Vec<_> = samples.iter().map(bits).collect();
        std::thread::scope(|scope| {
            for start in 0..3 {
                let (alone, samples, bits) = (&alone, &samples, &bits);
                scope.spawn(move || {
                    for k in 0..6 {
                        let index = (start + k) % 3;
                        assert!(bits(&samples[index]) == alone[index], "thread {start}, sample {index}");
                    }
                });
            }
        });
    }
}

/// A chain is computed alike alone and among others: samples do not depend on the batch.
#[test]
fn bits_of_a_chain_do_not_depend_on_the_batch() {
    let full = ProteinConfig { layers: 2, ..ProteinConfig::default() };
    for (name, config) in kinds().into_iter().chain([("full width", full)]) {
        for precision in [Precision::F32, Precision::Bf16] {
            let network = FusedProteinNetwork::new(config.clone(), precision).unwrap();
            let parameters = parameters(&network, 4);
            let denoiser = network.denoiser(&parameters).unwrap();
            let bits = |sample: &Sample| {
                let v = denoiser.predict(sample.input()).unwrap();
                let cloud = |b| v.cloud(b).as_flattened().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                (0..v.len()).map(cloud).collect::<Vec<_>>()
            };
            let lengths = [9, 1, 3, 0, 2, 47, 1, 90, 8, 100, 4, 5];
            let batch = Sample::wandering(&lengths, true, 1.0, 5);
            for (b, together) in bits(&batch).iter().enumerate().filter(|(b, _)| lengths[*b] > 0) {
                let found = &bits(&batch.only(b))[0];
                assert!(found == together, "{name}, {precision:?}: chain {b} of {} residues", lengths[b]);
            }
        }
    }
}

/// Operands of 8 bits: a hundredth of the prediction's size is what their rounding moves.
#[test]
fn bf16_is_near() {
    let config = kinds()[3].1.clone();
    let sample = Sample::wandering(&[30, 41], true, 1.0, 6);
    let [f32, bf16] = [Precision::F32, Precision::Bf16].map(|precision| {
        let network = FusedProteinNetwork::new(config.clone(), precision).unwrap();
        walk(&network, &parameters(&network, 2), &sample)
    });
    let distance = |a: &mut dyn Iterator<Item = (f64, f64)>| {
        let [difference, size] = a.fold([0.0; 2], |[d, s], (a, b)| [d + (a - b) * (a - b), s + b * b]);
        (difference / size).sqrt()
    };
    let prediction = distance(&mut bf16.0.iter().copied().zip(f32.0.iter().copied()));
    let gradient = distance(&mut bf16.1.iter().zip(&f32.1).map(|(a, b)| (f64::from(*a), f64::from(*b))));
    println!("| fused protein, bf16 against f32 | {prediction:.1e} | {gradient:.1e} |");
    assert!(prediction > 1e-5 && prediction < 2e-2 && gradient < 5e-2, "{prediction:e} {gradient:e}");
}

#[test]
fn what_is_not_finite_shows() {
    let network = FusedProteinNetwork::new(tiny("tiny"), Precision::F32).unwrap();
    let mut parameters = parameters(&network, 1);
    let sample = Sample::wandering(&[8, 5], false, 1.0, 1);
    let all_finite = |parameters: &[f32], sample: &Sample| {
        let v = network.denoiser(parameters).unwrap().predict(sample.input()).unwrap();
        v.points().iter().flatten().all(|x| x.is_finite())
    };
    assert!(all_finite(&parameters, &sample));
    for bad in [f64::NAN, f64::INFINITY, 1e300] {
        let mut sample = Sample::wandering(&[8, 5], false, 1.0, 1);
        sample.x_t.points_mut()[3][1] = bad;
        assert!(!all_finite(&parameters, &sample), "{bad}");
    }
    for span in network.layout().spans() {
        let before = parameters[span.range.clone()].to_vec();
        parameters[span.range.clone()].fill(f32::NAN);
        assert!(vanishes(&span.name) || !all_finite(&parameters, &sample), "{}", span.name);
        parameters[span.range.clone()].copy_from_slice(&before);
    }
}

#[test]
fn what_is_not_supported_is_refused() {
    let updates = ProteinConfig { pair_updates: Some(PairUpdates::default()), ..tiny("tiny") };
    assert!(!FusedProteinNetwork::supports(&updates));
    assert!(FusedProteinNetwork::new(updates, Precision::F32).unwrap_err().to_string().contains("pair_updates"));
    let impossible = ProteinConfig { heads: 0, ..tiny("tiny") };
    assert!(FusedProteinNetwork::new(impossible, Precision::F32).unwrap_err().to_string().contains("heads is 0"));
    let network = FusedProteinNetwork::new(tiny("tiny"), Precision::F32).unwrap();
    assert!(network.denoiser(&[0.0; 3]).unwrap_err().to_string().contains("3 parameters"));
    let parameters = network.initialize(1);
    let (x_t, condition) = (Clouds::from_clouds([[[0.0; 3]; 2].as_slice()]), Condition::from_lengths(&[3]));
    let input = Input { x_t: &x_t, t: &[0.5], condition: &condition, self_condition: None };
    assert!(network.denoiser(&parameters).unwrap().predict(input).is_err());
}
