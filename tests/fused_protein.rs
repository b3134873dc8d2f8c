//! The fused protein network against the plain one: predictions and every gradient, on chains of 1 to 256 residues,
//! with breaks, folds and self-conditioning; against the reference implementation; finite differences; its own bits.

use candle_core::DType;
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

    /// Chains of these lengths that wander at random, some broken, with jumping and repeated numbers and some folds,
    /// at times below `latest`.
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
                residues.folds[b] = [4, 6, 10].map(|_| None);
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

/// Small, with no width a multiple of another.
fn small() -> ProteinConfig {
    ProteinConfig {
        hidden: 32,
        layers: 2,
        heads: 4,
        head_width: 8,
        pair: 20,
        condition: 24,
        time: 16,
        index: 12,
        fold: 8,
        fold_classes: [3, 5, 9],
        registers: 3,
        expansion: 4,
        separation_bins: 17,
        self_condition_bins: 24,
        distance_bins: 16,
        features: FeatureOrder::BreakFirst,
        pair_updates: None,
    }
}

fn kinds() -> [(&'static str, ProteinConfig); 4] {
    [
        ("small", small()),
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
                ..small()
            },
        ),
        ("no registers, one layer", ProteinConfig { registers: 0, layers: 1, pair: 16, condition: 32, ..small() }),
        (
            "wider",
            ProteinConfig { hidden: 96, layers: 3, heads: 6, head_width: 16, pair: 64, condition: 48, ..small() },
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

fn flat(clouds: &Clouds) -> Vec<f64> {
    clouds.points().concat()
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

/// max |found − expected| / max |expected|.
fn relative_error(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
    let difference = largest(&mut found.iter().zip(expected).map(|(a, b)| (a - b).abs()));
    difference / largest(&mut expected.iter().map(|x| x.abs()))
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// Shifts of norms that a softmax does not see: their gradients are zero, exactly here, to rounding elsewhere.
fn vanishes(span: &Span) -> bool {
    span.name.ends_with("pair_norm.bias") || span.name.ends_with("k_layer_norm.bias")
}

/// The worst relative error of any parameter's gradient, on the scale of its tensor or of rounding.
fn worst_gradient(spans: &[Span], found: &[f32], expected: &[f32]) -> (f64, String) {
    let largest = expected.iter().fold(0.0f32, |a, g| a.max(g.abs()));
    let mut worst = (0.0, String::new());
    for span in spans {
        let (found, expected) = (&found[span.range.clone()], &expected[span.range.clone()]);
        if vanishes(span) {
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

fn check(name: &str, config: &ProteinConfig, sample: &Sample, seed: u64, dtype: DType) {
    let fused = FusedProteinNetwork::new(config.clone(), Precision::F32).unwrap();
    let plain = ProteinNetwork::new(config.clone(), dtype).unwrap();
    let parameters = parameters(&plain, seed);
    let (v, gradient) = walk(&fused, &parameters, sample);
    let (expected_v, expected) = walk(&plain, &parameters, sample);
    let prediction = relative_error(&v, &expected_v);
    let (worst, which) = worst_gradient(plain.layout().spans(), &gradient, &expected);
    let against = if dtype == DType::F64 { "f64" } else { "f32" };
    println!(
        "| fused protein network against plain {against}, {name}: prediction, worst gradient | {prediction:.1e} | {worst:.1e} |"
    );
    assert!(prediction < 1e-5, "{name}: {prediction:e}");
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
                check(&format!("{name}, {lengths:?}, fed back {fed_back}"), &config, &sample, seed, DType::F64);
            }
        }
    }
}

#[test]
fn long_chains() {
    check("[256, 130]", &small(), &Sample::wandering(&[256, 130], true, 0.01, 3), 3, DType::F64);
}

/// At all times, against the plain network with the same rounding of phases.
#[test]
fn at_all_times() {
    for (index, (name, config)) in kinds().into_iter().enumerate() {
        let sample = Sample::wandering(&[21, 34, 8, 1], index % 2 == 0, 1.0, index as u64);
        check(name, &config, &sample, 7, DType::F32);
    }
}
