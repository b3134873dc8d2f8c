//! The fused network against the plain one: predictions and every gradient, on molecules of 1 to 200 atoms and on
//! awkward ones, for each kind of network and graph; against the reference implementation; and its own bits.

mod et_support;

use candle_core::DType;
use et_support::*;
use qsd::data::Condition;
use qsd::diffusion::{Denoiser, Input};
use qsd::geometry::{Clouds, Point};
use qsd::model::et::fused::FusedEtNetwork;
use qsd::model::et::{EtConfig, EtNetwork};
use qsd::model::graph::GraphRule;
use qsd::model::{Network, Precision, Span};
use qsd::random::{Purpose, normal_points, stream};
use rand::RngExt as _;

/// Molecules with positions, times and graphs.
struct Sample {
    x_t: Clouds,
    t: Vec<f64>,
    condition: Condition,
}

impl Sample {
    fn input(&self) -> Input<'_> {
        Input { x_t: &self.x_t, t: &self.t, condition: &self.condition, self_condition: None }
    }

    /// Molecules at these places, with these bonds (counted over all of them) and random elements and features.
    fn new(clouds: &[Vec<Point>], bonds: Vec<[u32; 2]>, seed: u64) -> Sample {
        let x_t = Clouds::from_clouds(clouds.iter().map(Vec::as_slice));
        let atoms = x_t.points().len();
        let mut rng = stream(seed, Purpose::Initialization, 1, 0);
        let elements = (0..atoms).map(|_| [1, 6, 7, 8, 9, 16, 17][rng.random_range(0..7)]).collect();
        // Of a third as many kinds.
        let kinds: Vec<_> =
            (0..atoms.div_ceil(3)).map(|_| std::array::from_fn(|_| rng.random_range(0..6) as f32)).collect();
        let features = (0..atoms).map(|_| kinds[rng.random_range(0..kinds.len())]).collect();
        let condition = Condition::of_atoms(x_t.offsets().to_vec(), elements, features, bonds);
        let t = (0..x_t.len()).map(|_| rng.random_range(0.0..1.0)).collect();
        Sample { x_t, t, condition }
    }

    /// One of the molecules.
    fn only(&self, b: usize) -> Sample {
        let (range, whole) = (self.x_t.range(b), &self.condition);
        let mine = |bond: &&[u32; 2]| range.contains(&(bond[0] as usize));
        let atoms = whole.atoms().unwrap();
        let condition = Condition::of_atoms(
            vec![0, range.len()],
            atoms.atomic_numbers[range.clone()].to_vec(),
            atoms.features[range.clone()].to_vec(),
            whole.bonds.iter().filter(mine).map(|bond| bond.map(|atom| atom - range.start as u32)).collect(),
        );
        Sample { x_t: Clouds::from_clouds([self.x_t.cloud(b)]), t: vec![self.t[b]], condition }
    }

    /// Chains of these lengths that wander at random, with rings closed where they meet.
    fn wandering(lengths: &[usize], seed: u64) -> Sample {
        let (mut bonds, mut first) = (Vec::new(), 0);
        let mut clouds = Vec::new();
        for (id, &length) in lengths.iter().enumerate() {
            let steps = normal_points::<3>(&mut stream(seed, Purpose::SamplePrior, 0, id as u64), length);
            let mut place = [0.0; 3];
            let walk = steps.into_iter().map(|step: Point| {
                let size = step.iter().map(|c| c * c).sum::<f64>().sqrt();
                place = std::array::from_fn(|axis| 0.9 * place[axis] + 1.4 * step[axis] / size);
                place
            });
            clouds.push(walk.collect());
            bonds.extend((1..length as u32).map(|i| [first + i - 1, first + i]));
            if length > 12 {
                bonds.push([first + 3, first + 8]);
            }
            first += length as u32;
        }
        Sample::new(&clouds, bonds, seed)
    }
}

/// Initial values moved at random, so that no parameter is at a special value.
fn parameters(network: &dyn Network, seed: u64) -> Vec<f32> {
    let mut values = network.initialize(seed);
    let mut rng = stream(seed, Purpose::Initialization, 2, 0);
    for span in network.layout().spans() {
        // The radial functions are narrow: a tenth of their spacing, of their precision.
        let size = match span.name.rsplit('.').next() {
            Some("means") => 1e-3,
            Some("betas") => 50.0,
            _ => 0.05,
        };
        values[span.range.clone()].iter_mut().for_each(|value| *value += size * rng.random_range(-1.0..1.0f32));
    }
    values
}

/// Prediction and gradient of ⟨v, w⟩ for fixed random w, over a gradient buffer full of rubbish.
fn walk(network: &dyn Network, parameters: &[f32], sample: &Sample) -> (Vec<f64>, Vec<f32>) {
    let denoiser = network.bind(parameters).unwrap();
    let recording = denoiser.record(sample.input()).unwrap();
    let v = recording.prediction().clone();
    let alone = denoiser.predict(sample.input()).unwrap();
    let bits = |clouds: &Clouds| flat(clouds).iter().map(|v| v.to_bits()).collect::<Vec<u64>>();
    assert_eq!(bits(&v), bits(&alone), "prediction with and without recording");
    let direction = normal_points::<3>(&mut stream(5, Purpose::SamplePrior, 9, 9), v.points().len());
    let mut gradient = vec![f32::NAN; network.layout().len()];
    recording.backward(&v.with_points(direction), &mut gradient, &mut |_, _| Ok(())).unwrap();
    (flat(&v), gradient)
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// The worst relative errors of the fused network over a sample: prediction, gradient of any parameter. The
/// reference is the plain network in f64; a gradient is compared on the scale of its tensor, or of rounding. Where the
/// terms of a gradient cancel so far that the plain network in f32 is off by as much, twice its error is allowed, but
/// never more than 1e-3.
fn errors(config: &EtConfig, sample: &Sample, seed: u64) -> (f64, f64) {
    let fused = FusedEtNetwork::new(config.clone(), Precision::F32).unwrap();
    let plain = EtNetwork::new(config.clone(), DType::F64).unwrap();
    let parameters = parameters(&plain, seed);
    let (v, gradient) = walk(&fused, &parameters, sample);
    let (expected_v, expected) = walk(&plain, &parameters, sample);
    let largest = expected.iter().fold(0.0f32, |a, g| a.max(g.abs()));
    let error = |found: &[f32], span: &Span| {
        let (found, expected) = (&found[span.range.clone()], &expected[span.range.clone()]);
        let scale = expected.iter().fold(1e-5 * largest, |a, g| a.max(g.abs()));
        let difference = found.iter().zip(expected).fold(0.0f32, |a, (f, e)| {
            let difference = (f - e).abs();
            if difference > a || difference.is_nan() { difference } else { a }
        });
        if scale == 0.0 { f64::from(difference) } else { f64::from(difference / scale) }
    };
    let mut worst = 0.0f64;
    for span in plain.layout().spans() {
        let found = error(&gradient, span);
        let mut limit = 1e-4;
        if found >= limit {
            let plain = EtNetwork::new(config.clone(), DType::F32).unwrap();
            limit = (2.0 * error(&walk(&plain, &parameters, sample).1, span)).min(1e-3);
        }
        assert!(found < limit, "{}: {found:e}, {limit:e} allowed", span.name);
        worst = worst.max(found);
    }
    (relative_error(&v, &expected_v), worst)
}

fn check(name: &str, config: &EtConfig, sample: &Sample, seed: u64) {
    let (prediction, gradient) = errors(config, sample, seed);
    println!("| fused against plain f64, {name}: prediction, worst gradient | {prediction:.1e} | {gradient:.1e} |");
    assert!(prediction < 1e-5, "{name}: {prediction:e}");
}

fn kinds() -> [(&'static str, EtConfig); 4] {
    let base = EtConfig { hidden: 64, layers: 3, heads: 4, rbf: 20, ..EtConfig::default() };
    [
        ("O(3)", base.clone()),
        ("SO(3)", EtConfig { so3: true, heads: 8, graph: GraphRule::AllPairs, ..base.clone() }),
        ("output norm", EtConfig { output_layer_norm: true, heads: 2, graph: GraphRule::Nearest, ..base.clone() }),
        ("SO(3), output norm", EtConfig { so3: true, output_layer_norm: true, heads: 16, rbf: 64, ..base }),
    ]
}

#[test]
fn wandering_molecules_of_every_size() {
    for (index, (name, config)) in kinds().into_iter().enumerate() {
        // The last are more than one chunk.
        for lengths in [&[1usize, 2, 3][..], &[5, 1, 17, 9], &[30, 25, 40], &[110], &[0, 200, 70, 1, 60]] {
            // The largest are enough work for the plain network with fewer channels and layers.
            let large = lengths.iter().sum::<usize>() > 150;
            let config = if large { EtConfig { layers: 2, hidden: 32, ..config.clone() } } else { config.clone() };
            let sample = Sample::wandering(lengths, index as u64);
            check(&format!("{name}, {lengths:?} atoms"), &config, &sample, index as u64);
        }
    }
}

#[test]
fn awkward_molecules() {
    let line: Vec<Point> = (0..8).map(|i| [1.1 * i as f64, 0.0, 0.0]).collect();
    let flat: Vec<Point> = (0..9).map(|i| [1.3 * (i % 3) as f64, 1.2 * (i / 3) as f64, 0.0]).collect();
    let apart: Vec<Point> = vec![[0.0; 3], [1.2, 0.1, 0.3], [30.0, 0.0, 0.0], [31.0, 0.4, 0.0], [60.0, 9.0, 1.0]];
    let stretched: Vec<Point> = vec![[0.0; 3], [5.0, 0.2, 0.1], [2.0, 8.0, -3.0], [14.0, 8.0, 1.0]];
    let bent: Vec<Point> = vec![[0.0; 3], [1.4, 0.1, 0.2], [1.9, 1.3, -0.4], [3.1, 1.5, 0.8]];
    let close: Vec<Point> = vec![[0.0; 3], [0.03, -0.02, 0.01], [0.05, 0.04, 0.0], [1.2, 0.3, 0.7]];
    let chain = |n: u32| (1..n).map(|i| [i - 1, i]).collect::<Vec<_>>();
    let samples = [
        ("collinear", Sample::new(std::slice::from_ref(&line), chain(8), 1)),
        ("planar", Sample::new(std::slice::from_ref(&flat), chain(9), 2)),
        ("disconnected", Sample::new(std::slice::from_ref(&apart), vec![[0, 1], [2, 3]], 3)),
        ("bonds beyond both cutoffs", Sample::new(&[stretched], vec![[0, 1], [1, 2], [3, 2]], 4)),
        (
            "single atoms and an empty molecule",
            Sample::new(&[vec![[1.0; 3]], vec![], vec![[0.0; 3]], line], chain(1), 5),
        ),
        ("bonds in another order", Sample::new(&[flat, apart], vec![[11, 12], [4, 3], [9, 10], [0, 1]], 6)),
        (
            "bonds listed twice",
            Sample::new(std::slice::from_ref(&bent), vec![[0, 1], [1, 0], [1, 2], [1, 2], [2, 1]], 7),
        ),
        ("atoms that nearly meet", Sample::new(&[close, bent], vec![[0, 1], [4, 5]], 8)),
    ];
    for (index, (kind, config)) in kinds().into_iter().enumerate() {
        for (name, sample) in &samples {
            check(&format!("{kind}, {name}"), &config, sample, index as u64);
        }
    }
}

#[test]
fn full_size() {
    for so3 in [false, true] {
        let config = EtConfig { so3, ..EtConfig::default() };
        let (fused, plain) =
            (FusedEtNetwork::new(config.clone(), Precision::F32).unwrap(), EtNetwork::new(config, DType::F32).unwrap());
        let parameters = plain.initialize(3);
        let sample = Sample::wandering(&[42, 30, 70], 8);
        let ((v, gradient), (expected_v, expected)) =
            (walk(&fused, &parameters, &sample), walk(&plain, &parameters, &sample));
        let worst = (plain.layout().spans().iter())
            .map(|span| relative_error(&wide(&gradient[span.range.clone()]), &wide(&expected[span.range.clone()])))
            .fold(0.0, f64::max);
        let prediction = relative_error(&v, &expected_v);
        println!("| fused against plain f32 at full size, so3 {so3} | {prediction:.1e} | {worst:.1e} |");
        assert!(prediction < 1e-5 && worst < 1e-4, "{prediction:e} {worst:e}");
    }
}

/// Predictions and gradients of the reference implementation.
#[test]
fn the_reference() {
    for recipe in RECIPES {
        let case = Case::load(recipe);
        let network = FusedEtNetwork::new(case.config.clone(), Precision::F32).unwrap();
        let parameters = case.parameters();
        let denoiser = network.denoiser(&parameters).unwrap();
        let error = relative_error(&flat(&denoiser.predict(case.input()).unwrap()), &numbers(&case.tensors["out.v"]));
        println!("| fused, {recipe}: prediction v | | {error:.1e} |");
        assert!(error < 1e-5, "{recipe}: {error:e}");
        for (kind, loss) in [("grad_l2", l2 as Loss), ("grad_proj", projected_mse)] {
            let recording = denoiser.record(case.input()).unwrap();
            let at_v = loss(recording.prediction(), &case).1;
            let mut gradient = vec![f32::NAN; network.layout().len()];
            recording.backward(&at_v, &mut gradient, &mut |_, _| Ok(())).unwrap();
            let error = |span: &qsd::model::Span| {
                let expected = numbers(&case.tensors[&format!("{kind}.{}", span.name)]);
                relative_error(&wide(&gradient[span.range.clone()]), &expected)
            };
            let worst = network.layout().spans().iter().map(error).fold(0.0, f64::max);
            println!("| fused, {recipe}: {kind} | | {worst:.1e} |");
            assert!(worst < 1e-4, "{recipe} {kind}: {worst:e}");
        }
    }
}

/// The same bits whatever was computed before in the same memory, and whoever computes beside.
#[test]
fn bits_do_not_depend_on_history_or_company() {
    let config = kinds()[1].1.clone();
    let network = FusedEtNetwork::new(config, Precision::F32).unwrap();
    let parameters = parameters(&network, 4);
    // More than one chunk.
    let samples =
        [Sample::wandering(&[90, 80, 70, 60, 50], 1), Sample::wandering(&[7, 3], 2), Sample::wandering(&[40], 3)];
    let bits = |sample: &Sample| {
        let (v, gradient) = walk(&network, &parameters, sample);
        (v.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), gradient.iter().map(|g| g.to_bits()).collect::<Vec<_>>())
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

/// A molecule is computed alike alone, among others, and in another chunk: samples do not depend on the batch.
#[test]
fn bits_of_a_molecule_do_not_depend_on_the_batch() {
    let full = EtConfig { layers: 2, ..EtConfig::default() };
    for (_, config) in kinds().into_iter().chain([("full width", full)]) {
        let network = FusedEtNetwork::new(config, Precision::F32).unwrap();
        let parameters = parameters(&network, 4);
        let denoiser = network.denoiser(&parameters).unwrap();
        let bits = |sample: &Sample| {
            let v = denoiser.predict(sample.input()).unwrap();
            let cloud = |b| v.cloud(b).as_flattened().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            (0..v.len()).map(cloud).collect::<Vec<_>>()
        };
        let lengths = [9, 1, 3, 2, 47, 1, 90, 8, 100, 4, 5];
        let batch = Sample::wandering(&lengths, 5);
        let together = bits(&batch);
        for (b, together) in together.iter().enumerate() {
            assert!(bits(&batch.only(b))[0] == *together, "molecule {b} of {} atoms", lengths[b]);
        }
    }
}

#[test]
fn what_is_not_finite_shows() {
    for bad in [f64::NAN, f64::INFINITY, 1e300] {
        let places = vec![vec![[bad, 0.0, 0.0], [1.0, 0.3, 0.0], [0.0, 1.0, 1.0]]];
        let sample = Sample::new(&places, vec![[0, 1], [1, 2]], 1);
        let network = FusedEtNetwork::new(kinds()[1].1.clone(), Precision::F32).unwrap();
        let v = walk_prediction(&network, &sample);
        assert!(v.iter().any(|v| !v.is_finite()), "{bad}");
    }
}

fn walk_prediction(network: &FusedEtNetwork, sample: &Sample) -> Vec<f64> {
    flat(&network.denoiser(&parameters(network, 1)).unwrap().predict(sample.input()).unwrap())
}

#[test]
fn shapes_that_do_not_fit_the_vectors_are_refused() {
    for (hidden, heads) in [(48, 4), (64, 32), (96, 6)] {
        let config = EtConfig { hidden, heads, ..EtConfig::default() };
        let message = FusedEtNetwork::new(config, Precision::F32).unwrap_err().to_string();
        assert!(message.contains("multiple of 32"), "{message}");
    }
}
