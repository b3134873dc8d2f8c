//! The learning-rate schedule and the dynamic clipping against the values of the reference implementation.

use qsd::train::{Clip, ClipConfig, ScheduleConfig};
use safetensors::SafeTensors;

fn bytes(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/fixtures/train/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn numbers(file: &SafeTensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    let words = tensor.data().chunks_exact(8).map(|w| w.try_into().unwrap());
    match tensor.dtype() {
        safetensors::Dtype::F64 => words.map(f64::from_le_bytes).collect(),
        safetensors::Dtype::I64 => words.map(|w| i64::from_le_bytes(w) as f64).collect(),
        other => panic!("{name} is {other:?}"),
    }
}

fn relative_error(found: f64, expected: f64) -> f64 {
    (found - expected).abs() / expected.abs()
}

/// The reference's schedule of a shipped configuration.
fn shipped(peak: f64, cycle: u64) -> ScheduleConfig {
    ScheduleConfig { peak, cycle, min_at_first_step: true, ..Default::default() }
}

#[test]
fn learning_rates_equal_the_reference() {
    let content = bytes("lr_schedule.safetensors");
    let file = SafeTensors::deserialize(&content).unwrap();
    let mut worst: f64 = 0.0;
    for (name, schedule) in [
        ("drugs-base", shipped(5e-4, 500_000)),
        ("drugs-o3", shipped(5e-4, 375_000)),
        ("qm9-base", shipped(7e-4, 416_500)),
        ("qm9-so3", shipped(7e-4, 250_000)),
    ] {
        let steps = numbers(&file, &format!("{name}.optimizer_step"));
        for (k, rate) in steps.iter().zip(numbers(&file, &format!("{name}.lr_used"))) {
            worst = worst.max(relative_error(schedule.learning_rate(*k as u64), rate));
        }
    }
    let small = ScheduleConfig { peak: 0.1, min: 0.001, min_at_first_step: true, ..Default::default() };
    for (name, schedule) in [
        ("small_mult2", ScheduleConfig { cycle: 10, cycle_growth: 2.0, warmup: 3, restart_decay: 0.9, ..small }),
        ("small_warmup", ScheduleConfig { cycle: 20, warmup: 5, restart_decay: 0.5, ..small }),
    ] {
        for (k, rate) in numbers(&file, &format!("{name}.lr_used")).iter().enumerate() {
            worst = worst.max(relative_error(schedule.learning_rate(k as u64), *rate));
        }
    }
    println!("| learning rate, 6 schedules | {worst:.1e} | |");
    assert!(worst < 1e-10, "worst relative error {worst:e}");
}

#[test]
fn dynamic_clipping_equals_the_reference() {
    let content = bytes("grad_clip.safetensors");
    let file = SafeTensors::deserialize(&content).unwrap();
    let mut clip = Clip::new(ClipConfig { remember_outliers: true, ..Default::default() });
    let mut worst: f64 = 0.0;
    for row in numbers(&file, "rows").chunks_exact(8) {
        let clipped = clip.apply(row[0]);
        worst = worst.max(relative_error(clipped.limit, row[1])).max(relative_error(clipped.factor, row[3]));
    }
    println!("| dynamic clipping, 80 steps | {worst:.1e} | |");
    assert!(worst < 1e-10, "worst relative error {worst:e}");
}
