//! What is fed back to a network, and what guidance makes of predictions.

use std::sync::Mutex;

use qsd::data::{Condition, Points};
use qsd::diffusion::*;
use qsd::geometry::vector::{add, combine, cross};
use qsd::geometry::{Clouds, Point};
use qsd::random::{Purpose, normal_points, stream};
use qsd::{Result, train};

fn cloud(n: usize, id: u64) -> Vec<Point> {
    let mut points = normal_points(&mut stream(3, Purpose::Prior, 0, id), n);
    qsd::geometry::vector::centre(&mut points);
    points
}

fn clouds(sizes: &[usize], id: u64) -> Clouds {
    let made: Vec<Vec<Point>> = sizes.iter().enumerate().map(|(k, &n)| cloud(n, 10 * id + k as u64)).collect();
    Clouds::from_clouds(made.iter().map(Vec::as_slice))
}

fn proteina(treatment: Treatment) -> DiffusionConfig {
    DiffusionConfig {
        treatment,
        interpolant: Interpolant::OneSided,
        prior: Prior::Gaussian,
        coupling: Coupling::Independent,
        time: TimeLaw::BetaUniform,
        t_min: 0.0,
        t_max: 1.0,
        self_conditioning: 0.5,
        ..DiffusionConfig::default()
    }
}

fn distance(a: &Clouds, b: &Clouds) -> f64 {
    let differences = a.points().iter().flatten().zip(b.points().iter().flatten()).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f64::max)
}

#[test]
fn the_quotient_feeds_back_no_rotation() {
    let (x_t, velocity, t) = (clouds(&[7, 3, 2, 1], 1), clouds(&[7, 3, 2, 1], 2), [0.3, 0.8, 0.0, 1.0]);
    let turned = x_t.zip_map(&velocity, |x, v| add(v, &cross(&[0.4, -0.2, 0.9], x)));
    for (treatment, differs) in
        [(Treatment::Quotient, false), (Treatment::Conventional, true), (Treatment::Geodiff, true)]
    {
        let config = proteina(treatment);
        let [plain, spun] = [&velocity, &turned].map(|v| fed_back(&config, &t, &x_t, v));
        assert_eq!(distance(&plain, &spun) > 1e-12, differs, "{treatment:?}");
        // A predicted x_1 is fed back as the velocity that leads there is.
        let data = DiffusionConfig { prediction: Prediction::Data, ..config };
        let mut arrival = x_t.clone();
        for b in 0..4 {
            let straight = x_t.cloud(b).iter().zip(velocity.cloud(b)).map(|(x, v)| combine(1.0, x, 1.0 - t[b], v));
            arrival.cloud_mut(b).copy_from_slice(&straight.collect::<Vec<_>>());
        }
        assert!(distance(&fed_back(&data, &t, &x_t, &arrival), &plain) < 1e-14);
        assert_eq!(distance(&plain, &arrival) < 1e-14, differs, "{treatment:?}");
    }
}

/// What a network was asked: was something fed back, how many chains had a fold class.
type Asked = (Option<Clouds>, usize);

/// Predicts a constant, more with fold classes, and remembers what it was asked.
struct Planted {
    value: f64,
    asked: Mutex<Vec<Asked>>,
}

impl Planted {
    fn new(value: f64) -> Planted {
        Planted { value, asked: Mutex::new(Vec::new()) }
    }

    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl Denoiser for Planted {
    fn predict(&self, input: Input<'_>) -> Result<Clouds> {
        let folds = &input.condition.residues().unwrap().folds;
        let told = folds.iter().filter(|fold| fold[0].is_some()).count();
        self.asked.lock().unwrap().push((input.self_condition.cloned(), told));
        let value = self.value + 100.0 * told as f64;
        Ok(input.x_t.zip_map(input.x_t, |x, _| [value + x[1], -value, x[0]]))
    }

    fn record(&self, _: Input<'_>) -> Result<Box<dyn Recording + '_>> {
        panic!("guidance is for sampling")
    }
}

fn chains(lengths: &[usize]) -> Condition {
    let mut condition = Condition::from_lengths(lengths);
    let Points::Residues(residues) = &mut condition.points else { panic!("chains") };
    residues.folds.fill([Some(1), None, None]);
    condition
}

#[test]
fn guidance_leads_away_from_its_guides() {
    let (x_t, condition) = (clouds(&[4, 5], 3), chains(&[4, 5]));
    let input = Input { x_t: &x_t, t: &[0.5, 0.5], condition: &condition, self_condition: Some(&x_t) };
    let (network, guide) = (Planted::new(7.0), Planted::new(3.0));
    // Without a class there is nothing to lead away from, and nothing to ask twice.
    let untold = condition.without_folds();
    let input_untold = Input { condition: &untold, ..input };
    let alone = network.predict(input_untold).unwrap();
    let found = Guided { denoiser: &network, autoguide: None, weight: 3.0, share: 0.0 }.predict(input_untold).unwrap();
    assert!(distance(&found, &alone) < 1e-12 && network.asked().len() == 2);
    // (w, α, whether there is a guide) and the weights of network, unconditional network, guide.
    for ((weight, share, with_guide), expected, questions) in [
        ((1.0, 0.0, false), [1.0, 0.0, 0.0], [1, 0]),
        ((1.0, 0.5, true), [1.0, 0.0, 0.0], [1, 0]),
        ((2.0, 0.0, false), [2.0, -1.0, 0.0], [2, 0]),
        ((2.0, 0.75, false), [2.0, -1.0, 0.0], [2, 0]),
        ((1.5, 0.25, true), [1.5, -0.375, -0.125], [2, 1]),
        ((3.0, 1.0, true), [3.0, 0.0, -2.0], [1, 1]),
    ] {
        let autoguide = with_guide.then_some(&guide as &dyn Denoiser);
        let found = Guided { denoiser: &network, autoguide, weight, share }.predict(input).unwrap();
        let asked = [network.asked(), guide.asked()];
        assert_eq!([asked[0].len(), asked[1].len()], questions, "w {weight} α {share}");
        assert!(asked.iter().flatten().all(|(fed, _)| fed.as_ref() == Some(&x_t)), "all know what was fed back");
        let value = expected[0] * 207.0 + expected[1] * 7.0 + expected[2] * 203.0;
        for (x, d) in x_t.points().iter().zip(found.points()) {
            let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-10, "w {weight} α {share}: {a} {b}");
            near(d[0], value + x[1]);
            near(d[1], -value);
            near(d[2], x[0]);
        }
    }
}

#[test]
fn the_sampler_feeds_each_prediction_to_the_next_step() {
    let condition = chains(&[6, 3]);
    let sampler = SamplerConfig { steps: 4, ..SamplerConfig::default() };
    let asked = |sampler: &SamplerConfig, diffusion: &DiffusionConfig| {
        let network = Planted::new(0.5);
        let sampler = Sampler::new(sampler, diffusion).unwrap();
        let mut states = Vec::new();
        let mut observe = |step: Step<'_>| {
            states.push(step.before.clone());
            Ok(())
        };
        sampler.run(&network, &condition, &[1, 2], 9, &mut observe).unwrap();
        let asked = network.asked();
        assert_eq!(asked.len(), 4);
        (asked.into_iter().map(|(fed, _)| fed).collect::<Vec<_>>(), states)
    };
    for treatment in [Treatment::Quotient, Treatment::Conventional] {
        let diffusion = proteina(treatment);
        let (fed, states) = asked(&sampler, &diffusion);
        assert_eq!(fed[0], None);
        for k in 0..3 {
            let x = &states[k];
            let prediction = x.zip_map(x, |x, _| [200.5 + x[1], -200.5, x[0]]);
            let expected = fed_back(&diffusion, &[0.25 * k as f64; 2], x, &prediction);
            assert!(distance(fed[k + 1].as_ref().unwrap(), &expected) < 1e-12, "{treatment:?} step {k}");
        }
        let unlearnt = DiffusionConfig { self_conditioning: 0.0, ..diffusion.clone() };
        let refused = SamplerConfig { self_condition: false, ..sampler.clone() };
        assert_eq!(asked(&sampler, &unlearnt).0, [None, None, None, None]);
        assert_eq!(asked(&refused, &diffusion).0, [None, None, None, None]);
    }
}

#[test]
fn steps_toss_for_self_conditioning() {
    let config = |share| DiffusionConfig { self_conditioning: share, ..proteina(Treatment::Quotient) };
    let count = |share| (0..4000).filter(|&step| self_conditions(&config(share), 5, step)).count();
    assert_eq!([count(0.0), count(1.0)], [0, 4000]);
    // Six standard deviations.
    assert!(count(0.5).abs_diff(2000) < 190, "{}", count(0.5));
    assert!((0..40).any(|step| self_conditions(&config(0.5), 5, step) != self_conditions(&config(0.5), 6, step)));
}

#[test]
fn chains_of_given_lengths_are_joined_within() {
    let condition = Condition::from_lengths(&[3, 1, 2]);
    assert_eq!(condition.offsets, [0, 3, 4, 6]);
    assert_eq!(condition.bonds, [[0, 1], [1, 2], [4, 5]]);
    let residues = condition.residues().unwrap();
    assert_eq!(residues.numbers, [1, 2, 3, 1, 1, 2]);
    assert_eq!((residues.breaks.len(), residues.folds.len()), (6, 3));
    assert!(condition.atoms().is_none() && condition.without_folds() == condition);
    assert_ne!(chains(&[3]).without_folds(), chains(&[3]));
}

#[test]
fn networks_without_self_conditioning_refuse_it() {
    let overrides = ["diffusion.self_conditioning=0.5".to_string(), "data.path=x".to_string()];
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/train/tiny.yaml");
    let error = train::load(file.as_ref(), &overrides).unwrap_err().to_string();
    assert!(error.contains("diffusion.self_conditioning"), "{error}");
}
