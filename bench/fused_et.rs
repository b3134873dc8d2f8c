//! scratch
#![allow(missing_docs)]
use candle_core::DType;
use qsd::data::Condition;
use qsd::diffusion::Input;
use qsd::geometry::{Clouds, Point};
use qsd::model::et::fused::FusedEtNetwork;
use qsd::model::et::{EtConfig, EtNetwork};
use qsd::model::{Network, Precision};
use qsd::random::{Purpose, normal_points, stream};
const ATOMS: usize = 42;
fn cpu() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t) };
    t.tv_sec as f64 + 1e-9 * t.tv_nsec as f64
}
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let engine = a[1].as_str();
    let molecules: usize = a[2].parse().unwrap();
    let rounds: usize = a[3].parse().unwrap();
    let so3 = a.get(4).is_some_and(|x| x == "so3");
    let config = EtConfig { so3, ..EtConfig::default() };
    let network: Box<dyn Network> = if engine != "plain" {
        Box::new(FusedEtNetwork::new(config, if engine == "fused" { Precision::F32 } else { Precision::Bf16 }).unwrap())
    } else {
        Box::new(EtNetwork::new(config, DType::F32).unwrap())
    };
    let p = network.initialize(1);
    let (x_t, condition) = batch(molecules);
    let t = vec![0.5; molecules];
    let input = Input { x_t: &x_t, t: &t, condition: &condition };
    let mut gradient = vec![0.0; network.layout().len()];
    let (mut b, mut f, mut r, mut w) = (f64::INFINITY, f64::INFINITY, f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        let s = cpu();
        let d = network.bind(&p).unwrap();
        b = b.min(cpu() - s);
        let s = cpu();
        let _ = d.predict(input).unwrap();
        f = f.min(cpu() - s);
        let s = cpu();
        let rec = d.record(input).unwrap();
        r = r.min(cpu() - s);
        let v = rec.prediction().clone();
        let s = cpu();
        rec.backward(&v, &mut gradient, &mut |_, _| Ok(())).unwrap();
        w = w.min(cpu() - s);
    }
    let m = molecules as f64;
    println!(
        "{engine} bind {:.2} ms; per molecule: predict {:.2} ms, record {:.2} ms, backward {:.2} ms, train {:.2} ms = {:.1} mol/s/core",
        b * 1e3,
        f * 1e3 / m,
        r * 1e3 / m,
        w * 1e3 / m,
        (r + w) * 1e3 / m,
        m / (r + w)
    );
}
fn batch(molecules: usize) -> (Clouds, Condition) {
    let walk = |id: usize| -> Vec<Point> {
        let steps = normal_points::<3>(&mut stream(0, Purpose::SamplePrior, 0, id as u64), ATOMS);
        let mut place = [0.0; 3];
        let step = |step: Point| {
            let length = step.iter().map(|c| c * c).sum::<f64>().sqrt();
            place = std::array::from_fn(|axis| 0.8 * place[axis] + 1.5 * step[axis] / length);
            place
        };
        steps.into_iter().map(step).collect()
    };
    let clouds: Vec<Vec<Point>> = (0..molecules).map(walk).collect();
    let x_t = Clouds::from_clouds(clouds.iter().map(Vec::as_slice));
    let bonds = (0..molecules as u32).flat_map(|b| {
        let first = b * ATOMS as u32;
        let chain = (1..ATOMS as u32).map(move |i| [first + i - 1, first + i]);
        chain.chain([[first, first + 5], [first + 10, first + 15], [first + 20, first + 25]])
    });
    let condition = Condition {
        offsets: x_t.offsets().to_vec(),
        atomic_numbers: (0..molecules * ATOMS).map(|i| if i % ATOMS < 22 { 6 } else { 1 }).collect(),
        features: vec![[4.0, 3.0, 5.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]; molecules * ATOMS],
        bonds: bonds.collect(),
        stereo_centres: Vec::new(),
    };
    (x_t, condition)
}
