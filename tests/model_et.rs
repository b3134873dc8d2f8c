//! What must hold of the ET network whatever its weights: symmetries, derivatives, awkward molecules, threads.

mod et_support;

use candle_core::DType;
use et_support::*;
use nalgebra::{Matrix3, Rotation3, Vector3};
use qsd::Error;
use qsd::data::Condition;
use qsd::diffusion::{Denoiser, Input, Recording};
use qsd::geometry::{Clouds, Point};
use qsd::model::et::fused::FusedEtNetwork;
use qsd::model::et::{EtConfig, EtDenoiser, EtNetwork};
use qsd::model::graph::GraphRule;
use qsd::model::{Network, Precision};

fn transform(clouds: &Clouds, f: impl Fn(Vector3<f64>) -> Vector3<f64>) -> Clouds {
    clouds.with_points(clouds.points().iter().map(|&x| f(x.into()).into()).collect())
}

fn matrix(m: Matrix3<f64>) -> impl Fn(Vector3<f64>) -> Vector3<f64> {
    move |x| m * x
}

fn predict(case: &Case, denoiser: &EtDenoiser, x_t: &Clouds) -> Clouds {
    denoiser.predict(Input { x_t, ..case.input() }).unwrap()
}

/// How far the prediction at f(x) is from f(prediction at x).
fn violation(case: &Case, f: Matrix3<f64>, shift: Vector3<f64>) -> f64 {
    let denoiser = case.denoiser(DType::F64);
    let moved = transform(&case.x_t, |x| f * x + shift);
    let expected = transform(&predict(case, &denoiser, &case.x_t), matrix(f));
    relative_error(&flat(&predict(case, &denoiser, &moved)), &flat(&expected))
}

#[test]
fn rigid_motions_carry_over_and_mirrors_only_in_o3() {
    let rotation = Rotation3::from_euler_angles(0.4, -1.1, 2.3).into_inner();
    for recipe in RECIPES {
        let case = Case::load(recipe);
        assert!(violation(&case, rotation, Vector3::zeros()) < 1e-12, "{recipe}: rotation");
        assert!(violation(&case, Matrix3::identity(), Vector3::new(3.0, -7.0, 0.5)) < 1e-12, "{recipe}: translation");
        let mirrored = violation(&case, -rotation, Vector3::zeros());
        match case.config.so3 {
            false => assert!(mirrored < 1e-12, "{recipe}: reflection {mirrored:e}"),
            true => assert!(mirrored > 1e-2, "{recipe} cannot tell a molecule from its mirror image: {mirrored:e}"),
        }
    }
}

#[test]
fn predictions_have_no_mean() {
    let case = Case::load("drugs-so3");
    let v = case.denoiser(DType::F32).predict(case.input()).unwrap();
    for cloud in v.iter() {
        let mean: Vector3<f64> = cloud.iter().map(|&v| Vector3::from(v)).sum();
        assert!(mean.norm() < 1e-12, "{mean}");
    }
}

/// The case with the atoms of every molecule in reverse.
fn reversed(case: &Case) -> (Case, Vec<usize>) {
    let order: Vec<usize> = (0..case.x_t.len()).flat_map(|b| case.x_t.range(b).rev()).collect();
    let mut other = Case { tensors: Default::default(), config: case.config.clone(), t: case.t.clone(), ..copy(case) };
    other.x_t = case.x_t.with_points(order.iter().map(|&i| case.x_t.points()[i]).collect());
    let c = case.condition.atoms().unwrap();
    atoms_of(&mut other.condition).atomic_numbers = order.iter().map(|&i| c.atomic_numbers[i]).collect();
    atoms_of(&mut other.condition).features = order.iter().map(|&i| c.features[i]).collect();
    let place = |atom: u32| order.iter().position(|&i| i == atom as usize).unwrap() as u32;
    other.condition.bonds = case.condition.bonds.iter().map(|bond| bond.map(place)).collect();
    (other, order)
}

fn copy(case: &Case) -> Case {
    Case {
        tensors: case.tensors.clone(),
        config: case.config.clone(),
        x_t: case.x_t.clone(),
        t: case.t.clone(),
        u_t: case.u_t.clone(),
        condition: case.condition.clone(),
    }
}

/// The change of each molecule's prediction when its atoms are listed in reverse.
fn permutation_violation(graph: GraphRule) -> Vec<(usize, f64)> {
    let mut case = Case::load("drugs-so3");
    case.config.graph = graph;
    let denoiser = case.denoiser(DType::F64);
    let (other, order) = reversed(&case);
    let (v, w) = (predict(&case, &denoiser, &case.x_t), predict(&other, &denoiser, &other.x_t));
    let molecule = |b: usize| {
        let expected: Vec<Point> = v.range(b).map(|n| v.points()[order[n]]).collect();
        (expected.len(), relative_error(&w.cloud(b).concat(), &expected.concat()))
    };
    (0..v.len()).map(molecule).collect()
}

#[test]
fn the_order_of_the_atoms_matters_under_the_index_rule_alone() {
    for graph in [GraphRule::AllPairs, GraphRule::Nearest] {
        for (atoms, error) in permutation_violation(graph) {
            assert!(error < 1e-12, "{graph:?}, {atoms} atoms: {error:e}");
        }
    }
    let reference = permutation_violation(GraphRule::EtflowIndex);
    assert!(reference.iter().any(|&(atoms, _)| atoms > 33) && reference.iter().any(|&(atoms, _)| atoms <= 33));
    for (atoms, error) in reference {
        assert_eq!(error > 1e-2, atoms > 33, "{atoms} atoms: {error:e}");
    }
}

/// ½ |v|², whose gradient at v is v.
fn half_square(denoiser: &EtDenoiser, case: &Case) -> f64 {
    0.5 * flat(&predict(case, denoiser, &case.x_t)).iter().map(|v| v * v).sum::<f64>()
}

#[test]
fn gradients_are_derivatives() {
    const STEP: f32 = 1.0 / 1024.0;
    let mut worst: f64 = 0.0;
    // The recipe with every kind of parameter.
    let case = Case::load("qm9-so3").first_molecule();
    let network = case.network(DType::F64);
    // Multiples of 2⁻¹⁶, so that parameter ± step is exact in f32.
    let parameters: Vec<f32> = case.parameters().iter().map(|p| (p * 65536.0).round() / 65536.0).collect();
    let recording = network.denoiser(&parameters).unwrap().recording(case.input()).unwrap();
    let mut gradient = vec![Vec::new(); network.layout().spans().len()];
    let v = recording.prediction().clone();
    let mut keep = |index: usize, tensor: &candle_core::Tensor| {
        gradient[index] = numbers(tensor);
        Ok(())
    };
    recording.gradients(&v, &mut keep).unwrap();
    for (span, gradient) in network.layout().spans().iter().zip(&gradient) {
        let largest = (0..gradient.len()).max_by(|&a, &b| gradient[a].abs().total_cmp(&gradient[b].abs())).unwrap();
        let scale = gradient[largest].abs().max(1e-3);
        for index in [largest, gradient.len() / 3] {
            let at = |steps: f32| {
                let mut moved = parameters.clone();
                moved[span.range.start + index] += steps * STEP;
                half_square(&network.denoiser(&moved).unwrap(), &case)
            };
            // The five-point formula: its error is of fourth order.
            let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * f64::from(STEP));
            let error = (slope - gradient[index]).abs() / scale;
            assert!(error < 1e-6, "{}[{index}]: {slope:e} {:e}", span.name, gradient[index]);
            worst = worst.max(error);
        }
    }
    println!("| ∂½|v|²/∂parameter against five-point differences | {worst:.1e} | |");
}

/// The prediction and each parameter's gradient of ½|v|².
fn in_precision(config: &EtConfig, case: &Case, dtype: DType) -> (Vec<f64>, Vec<Vec<f64>>) {
    let network = EtNetwork::new(config.clone(), dtype).unwrap();
    let recording = network.denoiser(&network.initialize(11)).unwrap().recording(case.input()).unwrap();
    let v = recording.prediction().clone();
    let mut gradient = vec![Vec::new(); network.layout().spans().len()];
    let mut keep = |index: usize, tensor: &candle_core::Tensor| {
        gradient[index] = numbers(tensor);
        Ok(())
    };
    recording.gradients(&v, &mut keep).unwrap();
    (flat(&v), gradient)
}

/// Round-off does not grow beyond use over the layers of the shipped networks.
#[test]
fn f32_follows_f64_at_full_size() {
    let config = EtConfig { so3: true, ..EtConfig::default() };
    let case = Case::load("drugs-so3");
    let [(v32, g32), (v64, g64)] = [DType::F32, DType::F64].map(|dtype| in_precision(&config, &case, dtype));
    let prediction = relative_error(&v32, &v64);
    let gradient = g32.iter().zip(&g64).map(|(a, b)| relative_error(a, b)).fold(0.0, f64::max);
    println!("| drugs-so3 at full size, fresh weights, f32 against f64: prediction | | {prediction:.1e} |");
    println!("| drugs-so3 at full size, fresh weights, f32 against f64: worst gradient | | {gradient:.1e} |");
    assert!(prediction < 1e-5 && gradient < 1e-4, "{prediction:e} {gradient:e}");
}

#[test]
fn the_shipped_shapes_have_the_published_numbers_of_parameters() {
    for (so3, output_layer_norm, scalars, tensors) in [
        (false, false, 8_337_329, 488),
        (true, false, 9_063_729, 488),
        (false, true, 8_337_809, 492),
        (true, true, 9_064_209, 492),
    ] {
        let config = EtConfig { so3, output_layer_norm, ..EtConfig::default() };
        let network = EtNetwork::new(config, DType::F32).unwrap();
        assert_eq!((network.layout().len(), network.layout().spans().len()), (scalars, tensors));
    }
}

#[test]
fn initial_values_follow_their_laws() {
    let network = EtNetwork::new(EtConfig { layers: 1, ..EtConfig::default() }, DType::F32).unwrap();
    let values = network.initialize(7);
    assert_eq!(values, network.initialize(7));
    assert_ne!(values, network.initialize(8));
    let span = |name: &str| network.layout().spans().iter().find(|span| span.name == format!("network.{name}"));
    let of = |name: &str| &values[span(name).unwrap().range.clone()];
    let layer = |name: &str| of(&format!("representation_model.attention_layers.0.{name}"));
    let uniform = |values: &[f32], bound: f64| {
        let largest = values.iter().fold(0.0f32, |a, v| a.max(v.abs()));
        let square = values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(f64::from(largest) <= bound && f64::from(largest) > 0.95 * bound, "{largest} of {bound}");
        assert!((square * 3.0 / bound.powi(2) - 1.0).abs() < 0.2, "{square}");
    };
    uniform(layer("q_proj.0.weight"), (6.0f64 / 320.0).sqrt());
    uniform(layer("o_proj.weight"), (6.0f64 / 640.0).sqrt());
    uniform(layer("dv_proj.weight"), (6.0f64 / 545.0).sqrt());
    uniform(layer("v_proj.weight"), 1.0 / 160.0f64.sqrt());
    uniform(layer("mixing_mlp.0.bias"), 1.0 / 321.0f64.sqrt());
    uniform(of("representation_model.node_mlp.0.weight"), 1.0 / 10.0f64.sqrt());
    for zero in ["q_proj.0.bias", "v_proj.bias", "dv_proj.bias", "layernorm.bias"] {
        assert!(layer(zero).iter().all(|&v| v == 0.0), "{zero}");
    }
    assert!(layer("layernorm.weight").iter().all(|&v| v == 1.0));
    let table = of("representation_model.embedding.weight");
    let square = table.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / table.len() as f64;
    assert!((square - 1.0).abs() < 0.05, "{square}");
    let means = of("representation_model.distance_expansion.means");
    assert_eq!((means[0], means[63]), ((-10.0f64).exp() as f32, 1.0));
    let beta = (2.0 / 64.0 * (1.0 - (-10.0f64).exp())).powi(-2) as f32;
    assert!(of("representation_model.distance_expansion.betas").iter().all(|&b| b == beta));
}

/// Carbon atoms at the given places, as separate molecules.
fn carbons(molecules: &[&[Point]], bonds: &[[u32; 2]]) -> (Clouds, Condition) {
    let x_t = Clouds::from_clouds(molecules.iter().copied());
    let atoms = x_t.points().len();
    let features = vec![[4.0, 3.0, 5.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]; atoms];
    let condition = Condition::of_atoms(x_t.offsets().to_vec(), vec![6; atoms], features, bonds.to_vec());
    (x_t, condition)
}

/// Both implementations in f32.
fn networks(case: &Case) -> [Box<dyn Network>; 2] {
    let fused = FusedEtNetwork::new(case.config.clone(), Precision::F32).unwrap();
    [Box::new(case.network(DType::F32)), Box::new(fused)]
}

/// Prediction and gradient of ½|v|².
fn walk(network: &dyn Network, parameters: &[f32], input: Input<'_>) -> (Clouds, Vec<f32>) {
    let denoiser = network.bind(parameters).unwrap();
    let recording = denoiser.record(input).unwrap();
    let v = recording.prediction().clone();
    let bits = |v: &Clouds| flat(v).iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&v), bits(&denoiser.predict(input).unwrap()));
    let mut gradient = vec![f32::NAN; network.layout().len()];
    recording.backward(&v, &mut gradient, &mut |_, _| Ok(())).unwrap();
    (v, gradient)
}

/// That prediction and gradient of these carbons are finite, whatever the recipe.
fn check_finite(name: &str, molecules: &[&[Point]], bonds: &[[u32; 2]]) {
    for recipe in RECIPES {
        let (case, (x_t, condition)) = (Case::load(recipe), carbons(molecules, bonds));
        for network in networks(&case) {
            let input =
                Input { x_t: &x_t, t: &vec![0.3; molecules.len()], condition: &condition, self_condition: None };
            let (v, gradient) = walk(&*network, &case.parameters(), input);
            assert!(flat(&v).iter().all(|v| v.is_finite()), "{recipe}, {name}");
            assert!(gradient.iter().all(|g| g.is_finite()), "{recipe}, {name}");
        }
    }
}

#[test]
fn awkward_molecules_have_finite_predictions_and_gradients() {
    let line: [Point; 3] = [[-1.2, 0.0, 0.0], [0.0; 3], [1.2, 0.0, 0.0]];
    let far = [[0.0; 3], [1.4, 0.1, 0.2], [100.0, 0.0, 0.0], [101.0, 1.0, 0.0]];
    check_finite("one atom", &[&line[..1]], &[]);
    check_finite("single atoms and an empty molecule", &[&line[..1], &[], &line[2..]], &[]);
    check_finite("two atoms out of reach", &[&[[0.0; 3], [50.0, 0.0, 0.0]]], &[]);
    check_finite("collinear", &[&line], &[[0, 1], [1, 2]]);
    check_finite("coincident", &[&[[0.5; 3]; 3]], &[[0, 1]]);
    check_finite("disconnected", &[&far, &line[..1]], &[[0, 1], [2, 3]]);
    let long: Vec<Point> = (0..300).map(|i| [1.3 * i as f64, (i % 2) as f64, 0.0]).collect();
    check_finite("a long one after an empty one", &[&[], &long], &[[0, 1]]);
    check_finite("many single atoms", &vec![&line[..1]; 700], &[]);
}

#[test]
fn what_is_not_finite_neither_panics_nor_passes_unseen() {
    for bad in [f64::NAN, f64::INFINITY, 1e300] {
        let (x_t, condition) = carbons(&[&[[bad, 0.0, 0.0], [1.0, 0.3, 0.0], [0.0, 1.0, 1.0]]], &[[0, 1], [1, 2]]);
        let case = Case::load("drugs-so3");
        for network in networks(&case) {
            let input = Input { x_t: &x_t, t: &[0.5], condition: &condition, self_condition: None };
            let (v, _) = walk(&*network, &case.parameters(), input);
            assert!(flat(&v).iter().any(|v| !v.is_finite()), "{bad}");
        }
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let case = Case::load("drugs-o3");
    let parameters = case.parameters();
    for network in networks(&case) {
        let denoiser = network.bind(&parameters).unwrap();
        let refusal = |t: &[f64], condition: &Condition| {
            let input = Input { x_t: &case.x_t, t, condition, self_condition: None };
            let Err(error) = denoiser.record(input) else { panic!("recorded") };
            assert_eq!(denoiser.predict(input).unwrap_err().to_string(), error.to_string());
            assert!(matches!(error, Error::Data(_)));
            error.to_string()
        };
        let spoilt = |spoil: fn(&mut Condition)| {
            let mut condition = case.condition.clone();
            spoil(&mut condition);
            refusal(&case.t, &condition)
        };
        assert!(refusal(&case.t[1..], &case.condition).contains("3 times, but 4 expected"));
        assert!(spoilt(|c| atoms_of(c).atomic_numbers[5] = 100).contains("atom 5 has atomic number 100"));
        assert!(spoilt(|c| c.bonds[0] = [0, 84]).contains("bond 0 joins atoms 0 and 84"));
        assert!(spoilt(|c| c.bonds[3] = [2, 2]).contains("bond 3"));
        assert!(spoilt(|c| c.bonds[3] = [2, 85]).contains("bond 3"));
        assert!(spoilt(|c| c.offsets[1] += 1).contains("divided differently"));
        assert!(spoilt(|c| atoms_of(c).features.truncate(84)).contains("84 feature rows"));
        for molecules in [&[][..], &[&[][..], &[]]] {
            let (nothing, condition) = carbons(molecules, &[]);
            let t = vec![0.5; molecules.len()];
            assert!(
                denoiser.predict(Input { x_t: &nothing, t: &t, condition: &condition, self_condition: None }).is_err()
            );
        }
        assert!(matches!(network.bind(&[0.0]).map(|_| ()), Err(Error::Checkpoint(_))));
    }
    assert!(matches!(EtNetwork::new(EtConfig::default(), DType::BF16), Err(Error::Config(_))));
    // Such as a forged checkpoint could state. The last is within each key's own limit.
    for config in [
        EtConfig { hidden: 0, ..EtConfig::default() },
        EtConfig { heads: 0, ..EtConfig::default() },
        EtConfig { hidden: 1 << 62, ..EtConfig::default() },
        EtConfig { layers: 1 << 40, ..EtConfig::default() },
        EtConfig { hidden: 16384, layers: 1024, ..EtConfig::default() },
    ] {
        assert!(matches!(EtNetwork::new(config.clone(), DType::F32), Err(Error::Config(_))));
        assert!(matches!(FusedEtNetwork::new(config, Precision::F32), Err(Error::Config(_))));
    }
}

/// The hook is told the network's units, in their order, each with its final numbers; its words and deeds count.
#[test]
fn each_unit_is_handed_on_once_it_is_final() {
    let case = Case::load("drugs-so3");
    // More than one chunk of the fused engine.
    let long: Vec<Point> = (0..130).map(|i| [0.9 * i as f64, (i % 3) as f64, 0.0]).collect();
    let (x_t, condition) = carbons(&[&long, &long[..3], &long], &[[0, 1]]);
    let input = Input { x_t: &x_t, t: &[0.2, 0.9, 0.4], condition: &condition, self_condition: None };
    for network in networks(&case) {
        check_units(&*network, &case, case.input());
        check_units(&*network, &case, input);
    }
}

fn check_units(network: &dyn Network, case: &Case, input: Input<'_>) {
    let (units, layers) = (network.units(), case.config.layers);
    assert_eq!(units.len(), layers + 2);
    let bounds: Vec<usize> = units.iter().rev().map(|unit| unit.start).chain([network.layout().len()]).collect();
    assert!(bounds[0] == 0 && units.iter().rev().zip(bounds.windows(2)).all(|(unit, b)| *unit == (b[0]..b[1])));
    let unit_of = |name: &str| {
        let words: Vec<&str> = name.split('.').collect();
        match words[..] {
            [_, "representation_model", "attention_layers", index, ..] => layers - index.parse::<usize>().unwrap(),
            [_, "representation_model", part, ..] if part != "out_norm" => layers + 1,
            _ => 0,
        }
    };
    for span in network.layout().spans() {
        let unit = &units[unit_of(&span.name)];
        assert!(unit.start <= span.range.start && span.range.end <= unit.end, "{}", span.name);
    }

    let parameters = case.parameters();
    let expected = walk(network, &parameters, input).1;
    let denoiser = network.bind(&parameters).unwrap();
    let record = || {
        let recording = denoiser.record(input).unwrap();
        let at_v = recording.prediction().clone();
        (recording, at_v)
    };
    let (recording, at_v) = record();
    let mut gradient = vec![f32::NAN; expected.len()];
    let mut told = Vec::new();
    let mut ready = |unit: std::ops::Range<usize>, numbers: &mut [f32]| {
        assert_eq!(numbers, &expected[unit.clone()]);
        numbers.fill(told.len() as f32);
        told.push(unit);
        Ok(())
    };
    recording.backward(&at_v, &mut gradient, &mut ready).unwrap();
    assert_eq!(told, units);
    for (k, unit) in units.iter().enumerate() {
        assert!(gradient[unit.clone()].iter().all(|g| *g == k as f32), "unit {k} was written to after it was final");
    }
    let (recording, at_v) = record();
    let mut calls = 0;
    let mut fails = |_: std::ops::Range<usize>, _: &mut [f32]| {
        calls += 1;
        Err(Error::World("planted".into()))
    };
    assert!(recording.backward(&at_v, &mut gradient, &mut fails).unwrap_err().to_string().contains("planted"));
    assert_eq!(calls, 1);
}

/// Several threads, each with a small stack, walk a deep network at once; all get the same bits as one alone.
#[test]
fn threads_share_a_denoiser_and_need_little_stack() {
    const STACK_BYTES: usize = 256 << 10;
    let case = Case::load("drugs-so3");
    let network = EtNetwork::new(EtConfig { layers: 24, ..case.config.clone() }, DType::F32).unwrap();
    let parameters = network.initialize(3);
    let denoiser = network.bind(&parameters).unwrap();
    let gradient = || {
        let recording = denoiser.record(case.input()).unwrap();
        let at_v = recording.prediction().clone();
        let mut gradient = vec![0.0f32; network.layout().len()];
        recording.backward(&at_v, &mut gradient, &mut |_, _| Ok(())).unwrap();
        gradient.iter().map(|g| g.to_bits()).collect::<Vec<u32>>()
    };
    let found: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let spawn = |_| std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, gradient).unwrap();
        let workers: Vec<_> = (0..3).map(spawn).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert!(found[0].iter().any(|&bits| bits != 0));
    assert!(found.iter().all(|gradient| *gradient == found[0]));
}

/// candle splits large products over threads. The gradient is printed as a hash by a child process for each
/// number of threads, since candle reads that number once.
#[test]
fn the_number_of_threads_changes_no_bit() {
    const CHILD: &str = "QSD_TEST_ET_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let case = Case::load("drugs-so3");
        let config = EtConfig { layers: 1, so3: true, ..EtConfig::default() };
        let network = EtNetwork::new(config, DType::F32).unwrap();
        let parameters = network.initialize(3);
        let denoiser = network.bind(&parameters).unwrap();
        let recording = denoiser.record(case.input()).unwrap();
        let at_v = recording.prediction().clone();
        let mut gradient = vec![0.0f32; network.layout().len()];
        recording.backward(&at_v, &mut gradient, &mut |_, _| Ok(())).unwrap();
        let hash = gradient.iter().fold(0u64, |hash, g| hash.rotate_left(5).wrapping_mul(31) ^ u64::from(g.to_bits()));
        println!("hash {hash:x}");
        return;
    }
    let hashes = ["1", "2", "5"].map(|threads| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_number_of_threads_changes_no_bit", "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_once("hash ").unwrap_or_else(|| panic!("{text}")).1.lines().next().unwrap().to_owned()
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}
