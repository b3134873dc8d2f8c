//! What must hold of the protein network whatever its weights: shortcuts change nothing, gradients are derivatives, chains
//! do not see each other, awkward chains work, and what does not fit is refused.

mod protein_support;

use candle_core::DType;
use protein_support::*;
use qsd::Error;
use qsd::data::{Condition, Points};
use qsd::diffusion::{Denoiser, Input, Recording};
use qsd::geometry::{Clouds, Point};
use qsd::model::protein::{FeatureOrder, PairUpdates, ProteinConfig, ProteinNetwork, Shortcuts};
use qsd::model::{Network, Span};
use qsd::random::{Purpose, normal_points, stream};

/// A case of chains of these lengths with everything that can be told of chains, in a network of any shape.
fn made_up(config: ProteinConfig, lengths: &[usize]) -> Case {
    let mut condition = Condition::from_lengths(lengths);
    let Points::Residues(residues) = &mut condition.points else { panic!("residues") };
    for (i, number) in residues.numbers.iter_mut().enumerate() {
        // Negative numbers, jumps, repetitions.
        *number = 3 * (i as i32 / 2) - 7 + if i % 5 == 4 { 40 } else { 0 };
        residues.breaks[i] = i % 4 == 1;
    }
    for (b, fold) in residues.folds.iter_mut().enumerate() {
        *fold = [[Some(1), Some(4), Some(8)], [Some(2), None, None], [None; 3]][b % 3];
    }
    let clouds = |seed: u64, size: f64| {
        let points = |b: usize| normal_points::<3>(&mut stream(seed, Purpose::Prior, 0, b as u64), lengths[b]);
        let grown: Vec<Vec<Point>> =
            (0..lengths.len()).map(|b| points(b).iter().map(|x| x.map(|c| c * size)).collect()).collect();
        Clouds::from_clouds(grown.iter().map(Vec::as_slice))
    };
    Case {
        config,
        x_t: clouds(1, 12.0),
        x_1: clouds(2, 8.0),
        t: (0..lengths.len()).map(|b| 0.35 + 0.6 * b as f64 / lengths.len() as f64).collect(),
        self_condition: Some(clouds(3, 9.0)),
        expected: Numbers::new(),
        condition,
    }
}

/// Shapes that exercise all there is: heads narrower together than the tokens, the other order of features, updates
/// without triangles, no registers.
fn shapes() -> Vec<(&'static str, ProteinConfig)> {
    let updates = PairUpdates { every: 1, triangles: false, triangle_width: 7, buckets: 5 };
    vec![
        ("tiny", tiny("tiny")),
        ("tiny_tri", tiny("tiny_tri")),
        ("narrow heads", ProteinConfig { heads: 3, head_width: 5, layers: 3, ..tiny("tiny") }),
        ("position first", ProteinConfig { features: FeatureOrder::PositionFirst, ..tiny("tiny") }),
        ("no triangles", ProteinConfig { pair_updates: Some(updates.clone()), layers: 3, ..tiny("tiny") }),
        (
            "narrow triangles",
            ProteinConfig {
                pair_updates: Some(PairUpdates { triangles: true, every: 2, ..updates }),
                layers: 4,
                ..tiny("tiny")
            },
        ),
        ("no registers", ProteinConfig { registers: 0, ..tiny("tiny_tri") }),
    ]
}

/// Prediction, losses, gradients.
fn results(case: &Case, dtype: DType, shortcuts: Shortcuts) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
    let network = case.network(dtype).with_shortcuts(shortcuts);
    let recording = network.denoiser(&weights(network.layout())).unwrap().recording(case.input()).unwrap();
    let prediction = flat(recording.prediction());
    let (losses, gradients) = losses_and_gradients(case, recording, network.layout().spans().len());
    (prediction, losses.concat(), gradients)
}

/// The worst relative difference of two sets of gradients; those to which a softmax is blind may differ by round-off.
fn gradient_difference(case: &Case, found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let network = case.network(DType::F64);
    let largest = expected.iter().flatten().fold(0.0f64, |a, g| a.max(g.abs()));
    let mut worst: f64 = 0.0;
    for ((span, found), expected) in network.layout().spans().iter().zip(found).zip(expected) {
        if vanishes(&span.name) {
            assert!(found.iter().chain(expected).all(|g| g.abs() <= 1e-12 * largest), "{}", span.name);
        } else if !(found.is_empty() && expected.is_empty()) {
            let error = relative_error(found, expected);
            assert!(error < 1e-6, "{}: {error:e}", span.name);
            worst = worst.max(error);
        }
    }
    worst
}

#[test]
fn shortcuts_change_nothing() {
    let none = Shortcuts::none();
    let variants = [
        Shortcuts { once_per_chain: true, ..none },
        Shortcuts { table_rows: true, ..none },
        Shortcuts { shared_norm: true, ..none },
        Shortcuts::default(),
    ];
    let mut worst = [[0.0f64; 2]; 4];
    for (name, config) in shapes() {
        let case = made_up(config, &[9, 1, 6]);
        let (prediction, losses, gradients) = results(&case, DType::F64, none);
        assert!(prediction.iter().chain(&losses).all(|x| x.is_finite()));
        for (shortcuts, worst) in variants.into_iter().zip(&mut worst) {
            let found = results(&case, DType::F64, shortcuts);
            worst[0] = worst[0].max(relative_error(&found.0, &prediction)).max(relative_error(&found.1, &losses));
            worst[1] = worst[1].max(gradient_difference(&case, &found.2, &gradients));
            assert!(worst[0] <= 1e-12 && worst[1] <= 1e-12, "{name} {shortcuts:?}: {worst:?}");
        }
    }
    for (name, worst) in ["A, once per chain", "B, table rows", "C, shared norm", "A, B and C"].into_iter().zip(worst) {
        println!("| shortcut {name}: prediction, losses | {:.1e} | |", worst[0]);
        println!("| shortcut {name}: worst gradient | {:.1e} | |", worst[1]);
    }
}

/// ⟨u, direction⟩ in nm plus the distograms' losses, whose gradient the recording gives.
fn objective(network: &ProteinNetwork, parameters: &[f64], case: &Case, direction: &Clouds) -> f64 {
    let mut recording = network.denoiser(parameters).unwrap().recording(case.input()).unwrap();
    let inner = flat(recording.prediction()).iter().zip(flat(direction)).map(|(u, d)| u * d).sum::<f64>();
    inner + recording.auxiliary(&case.x_1, &case.t, 1.0).unwrap().iter().sum::<f64>()
}

#[test]
fn gradients_are_derivatives() {
    // Small: the updates contain ReLUs, and a kink between the points spoils the formula.
    const STEP: f64 = 1.0 / 65536.0;
    let mut worst: f64 = 0.0;
    for (name, config) in shapes().into_iter().filter(|(name, _)| ["tiny", "tiny_tri"].contains(name)) {
        let case = made_up(config, &[5, 2]);
        let direction = case.x_1.clone();
        let network = case.network(DType::F64);
        let spans = network.layout().spans();
        let parameters: Vec<f64> = weights(network.layout()).iter().map(|&w| f64::from(w)).collect();
        let mut recording = network.denoiser(&parameters).unwrap().recording(case.input()).unwrap();
        recording.auxiliary(&case.x_1, &case.t, 1.0).unwrap();
        let found = gradients(&recording, &direction, spans.len());
        let overall = found.iter().flatten().fold(0.0f64, |a, g| a.max(g.abs()));
        let told = |(span, found): &(&Span, &Vec<f64>)| !found.is_empty() && !vanishes(&span.name);
        for (span, gradient) in spans.iter().zip(&found).filter(told) {
            let largest = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
            let scale = gradient[largest].abs().max(1e-4 * overall);
            for index in [largest, gradient.len() / 3] {
                let at = |steps: f64| {
                    let mut moved = parameters.clone();
                    moved[span.range.start + index] += steps * STEP;
                    objective(&network, &moved, &case, &direction)
                };
                // The five-point formula: its error is of fourth order.
                let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * STEP);
                let error = (slope - gradient[index]).abs() / scale;
                assert!(error < 1e-6, "{name} {}[{index}]: {slope:e} {:e}", span.name, gradient[index]);
                worst = worst.max(error);
            }
        }
    }
    println!("| ∂/∂parameter against five-point differences | {worst:.1e} | |");
}

/// Neither the company of other chains nor their order changes a chain's prediction, to the last bit, and a batch's
/// gradient is the sum of its chains'.
#[test]
fn chains_do_not_see_each_other() {
    for (name, config) in shapes() {
        let case = made_up(config, &[9, 1, 6]);
        for dtype in [DType::F32, DType::F64] {
            let network = case.network(dtype);
            let denoiser = network.denoiser(&weights(network.layout())).unwrap();
            let together = denoiser.predict(case.input()).unwrap();
            for b in 0..3 {
                let alone = case.chain(b);
                assert_eq!(denoiser.predict(alone.input()).unwrap().points(), together.cloud(b), "{name} {dtype:?}");
            }
            let recorded = denoiser.recording(case.input()).unwrap();
            assert_eq!(recorded.prediction(), &together, "{name}: recorded and predicted");
        }
        let network = case.network(DType::F64);
        let spans = network.layout().spans().len();
        let gradient = |case: &Case| {
            let recording = network.denoiser(&weights(network.layout())).unwrap().recording(case.input()).unwrap();
            losses_and_gradients(case, recording, spans).1
        };
        let together = gradient(&case);
        let mut sum = vec![Vec::new(); spans];
        for b in [2, 0, 1] {
            for (sum, found) in sum.iter_mut().zip(gradient(&case.chain(b))) {
                sum.resize(found.len().max(sum.len()), 0.0);
                sum.iter_mut().zip(&found).for_each(|(sum, g)| *sum += g / 3.0);
            }
        }
        let error = gradient_difference(&case, &together, &sum);
        assert!(error < 1e-12, "{name}: {error:e}");
    }
}

#[test]
fn the_shortest_chains_work() {
    for (name, config) in shapes() {
        for length in 1..=3 {
            let case = made_up(config.clone(), &[length]);
            let literal = results(&case, DType::F64, Shortcuts::none());
            for dtype in [DType::F64, DType::F32] {
                let found = results(&case, dtype, Shortcuts::default());
                assert!(found.0.iter().chain(&found.1).chain(found.2.iter().flatten()).all(|x| x.is_finite()));
                let limit = if dtype == DType::F64 { 1e-12 } else { 1e-2 };
                assert!(relative_error(&found.0, &literal.0) < limit, "{name}, {length} residues");
            }
        }
    }
}

#[test]
fn residue_numbers_matter_by_their_differences() {
    let mut case = made_up(tiny("tiny"), &[9, 6]);
    let denoiser = case.denoiser(DType::F64);
    let mut prediction = |change: &dyn Fn(&mut Case)| {
        let kept = case.condition.clone();
        change(&mut case);
        let found = flat(&denoiser.predict(case.input()).unwrap());
        case.condition = kept;
        found
    };
    let as_it_is = prediction(&|_| ());
    let moved = prediction(&|case| case.residues().numbers.iter_mut().for_each(|number| *number -= 1000));
    assert_eq!(moved, as_it_is, "numbers count from the first residue");
    for (what, found) in [
        ("another number", prediction(&|case| case.residues().numbers[3] += 1)),
        ("another break", prediction(&|case| case.residues().breaks[3] ^= true)),
        ("another fold", prediction(&|case| case.residues().folds[0][1] = None)),
        ("all the same number", prediction(&|case| case.residues().numbers.fill(5))),
        ("extreme numbers", prediction(&|case| case.residues().numbers[1] = i32::MIN)),
    ] {
        assert!(found.iter().all(|x| x.is_finite()), "{what}");
        assert!(relative_error(&found, &as_it_is) > 1e-6, "{what} changes nothing");
    }
}

/// Nothing fed back is not the same as zeros fed back: zeros are all at distance 0, in the first bin.
#[test]
fn nothing_fed_back_has_no_bins() {
    let mut case = made_up(tiny("tiny"), &[7]);
    let denoiser = case.denoiser(DType::F64);
    case.self_condition = None;
    let nothing = flat(&denoiser.predict(case.input()).unwrap());
    case.self_condition = Some(case.x_t.zeros_like());
    let zeros = flat(&denoiser.predict(case.input()).unwrap());
    assert!(relative_error(&zeros, &nothing) > 1e-3);
}

/// What is not a number must be seen, and by the chain alone that it is in.
#[test]
fn what_is_not_finite_shows() {
    for (name, config) in shapes() {
        let mut case = made_up(config, &[5, 4]);
        for denoiser in [case.denoiser(DType::F32), case.literal(DType::F32)] {
            let whole = denoiser.predict(case.input()).unwrap();
            case.x_t.cloud_mut(1)[2][0] = f64::NAN;
            let broken = denoiser.predict(case.input()).unwrap();
            case.x_t.cloud_mut(1)[2][0] = 3.0;
            assert_eq!(broken.cloud(0), whole.cloud(0), "{name}");
            assert!(broken.cloud(1).iter().flatten().all(|c| c.is_nan()), "{name}: {:?}", broken.cloud(1));
        }
    }
}

/// It learns symmetries from data; built in are none.
#[test]
fn turned_and_moved_chains_are_others() {
    let mut case = made_up(tiny("tiny"), &[7]);
    let denoiser = case.denoiser(DType::F64);
    let prediction = denoiser.predict(case.input()).unwrap();
    let turned = |clouds: &Clouds| clouds.with_points(clouds.points().iter().map(|x| [-x[1], x[0], x[2]]).collect());
    case.x_t = turned(&case.x_t);
    case.self_condition = case.self_condition.as_ref().map(turned);
    let found = denoiser.predict(case.input()).unwrap();
    assert!(relative_error(&flat(&found), &flat(&turned(&prediction))) > 1e-3);
}

#[test]
fn several_threads_may_use_one_network() {
    let case = made_up(tiny("tiny_tri"), &[9, 6]);
    let network = case.network(DType::F32);
    let parameters = weights(network.layout());
    let denoiser = network.bind(&parameters).unwrap();
    let gradient = || {
        let mut recording = denoiser.record(case.input()).unwrap();
        let (_, at_velocity) = flow_matching(&case.x_t, &case.x_1, &case.t, recording.prediction());
        recording.auxiliary(&case.x_1, &case.t, 0.5).unwrap();
        let mut flat = vec![0.0f32; network.layout().len()];
        recording.backward(&at_velocity, &mut flat, &mut |_, _| Ok(())).unwrap();
        flat
    };
    let expected = gradient();
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..3).map(|_| scope.spawn(gradient)).collect();
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), expected));
    });
}

#[test]
fn distograms_are_asked_for_late_in_time_alone() {
    let mut case = made_up(tiny("tiny_tri"), &[6, 5]);
    case.t = vec![0.3, 0.31];
    let network = case.network(DType::F64);
    let denoiser = network.denoiser(&weights(network.layout())).unwrap();
    let mut recording = denoiser.recording(case.input()).unwrap();
    let losses = recording.auxiliary(&case.x_1, &case.t, 1.0).unwrap();
    assert!(losses[0] == 0.0 && losses[1] > 1.0, "{losses:?}");
    // With no loss at the velocity, twice the scale is twice the gradient.
    let spans = network.layout().spans().len();
    let nothing = case.x_t.zeros_like();
    let once = gradients(&recording, &nothing, spans);
    recording.auxiliary(&case.x_1, &case.t, 2.0).unwrap();
    let twice = gradients(&recording, &nothing, spans);
    let head = network.layout().spans().iter().position(|span| span.name == "pair_head_prediction.1.weight").unwrap();
    let doubled: Vec<f64> = once[head].iter().map(|g| 2.0 * g).collect();
    assert!(once[head].iter().any(|&g| g != 0.0) && relative_error(&twice[head], &doubled) < 1e-14);
    let refused = recording.auxiliary(&case.x_1, &[0.5], 1.0);
    assert!(matches!(refused, Err(Error::Data(_))));
    let plain = made_up(tiny("tiny"), &[6]);
    let mut recording = plain.denoiser(DType::F64).recording(plain.input()).unwrap();
    assert!(recording.auxiliary(&plain.x_1, &plain.t, 1.0).unwrap().is_empty());
}

#[test]
fn what_does_not_fit_is_refused() {
    let case = made_up(tiny("tiny"), &[4]);
    let denoiser = case.denoiser(DType::F32);
    let atoms = Condition { offsets: vec![0, 4], ..Condition::default() };
    let refused = |input: Input<'_>| match denoiser.predict(input) {
        Err(Error::Data(message)) => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(Input { condition: &atoms, ..case.input() }).contains("atoms of molecules"));
    assert!(refused(Input { t: &[0.1, 0.2], ..case.input() }).contains("2 times, but 1 expected"));
    let mut unknown = case.chain(0);
    unknown.residues().folds[0] = [Some(3), None, None];
    assert!(refused(unknown.input()).contains("fold class 3 of level C, but the network knows 3"));
    let wrong = ProteinNetwork::new(case.config.clone(), DType::BF16);
    assert!(wrong.unwrap_err().to_string().contains("only in f32 or f64"));
    let network = case.network(DType::F32);
    assert!(network.denoiser(&[0.0f32; 3]).unwrap_err().to_string().contains("3 parameters given"));
}

/// The spans whose names end so, with their initial values.
fn initial<'a>(network: &'a ProteinNetwork, values: &'a [f32], end: &str) -> Vec<&'a [f32]> {
    let spans = network.layout().spans().iter().filter(|span| span.name.ends_with(end));
    let found: Vec<&[f32]> = spans.map(|span| &values[span.range.clone()]).collect();
    assert!(!found.is_empty(), "{end}");
    found
}

fn deviation(values: &[f32]) -> f64 {
    (values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn initial_values_follow_their_laws() {
    let updates = Some(PairUpdates::default());
    let config = ProteinConfig { layers: 2, pair_updates: updates, ..ProteinConfig::default() };
    let network = ProteinNetwork::new(config, DType::F32).unwrap();
    let values = network.initialize(7);
    assert!(values == network.initialize(7) && values != network.initialize(8));
    let check = |end: &str, expected: f64, bound: f64| {
        for found in initial(&network, &values, end) {
            let largest = found.iter().fold(0.0f32, |a, v| a.max(v.abs()));
            assert!((deviation(found) / expected - 1.0).abs() < 0.05, "{end}: {}", deviation(found));
            assert!(f64::from(largest) <= bound * (1.0 + 1e-6), "{end}: {largest}");
        }
    };
    // Registers: N(0, 1)/20. Embeddings: N(0, 1). Linear layers: uniform on ±1/√in.
    check("registers", 0.05, 0.3);
    check("embedding_T.weight", 1.0, 6.0);
    for (end, inputs) in
        [("to_qkv.weight", 512.0f64), ("mhba.mha.to_bias.weight", 256.0), ("linear_3d_embed.weight", 3.0)]
    {
        check(end, (3.0 * inputs).sqrt().recip(), inputs.sqrt().recip());
    }
    // Of the updates: normal numbers cut off at two deviations, of variance 1/in before gates, 2/in before a ReLU.
    check("linear_a_p.weight", 256f64.sqrt().recip(), 2.0 / 0.8796 / 16.0);
    check("transition_out.linear_1.weight", (2.0 / 256.0f64).sqrt(), 2.0 * 2f64.sqrt() / 0.8796 / 16.0);
    for (end, constant) in [
        ("to_adaln_zero_gamma.0.weight", 0.0),
        ("to_adaln_zero_gamma.0.bias", -2.0),
        ("linear_z.weight", 0.0),
        ("linear_z.bias", 0.0),
        ("linear_a_g.weight", 0.0),
        ("linear_a_g.bias", 1.0),
        ("linear_g.bias", 1.0),
        ("linear_b_p.bias", 0.0),
        ("transition_out.linear_2.weight", 0.0),
        ("node_norm.weight", 1.0),
        ("pair_norm.bias", 0.0),
    ] {
        let found = initial(&network, &values, end);
        assert!(found.concat().iter().all(|&v| v == constant), "{end}");
    }
}
