//! What the tests of rows of numbers share.

use rand::RngExt as _;

use crate::random::{Purpose, stream};

/// Widths of rows: one vector, a few, that of the shipped networks.
pub(crate) const WIDTHS: [usize; 3] = [16, 32, 160];

/// Random numbers in (−2, 2).
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = stream(seed, Purpose::Initialization, 0, 0);
    (0..count).map(|_| rng.random_range(-2.0..2.0f32)).collect()
}

pub(crate) fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

/// max |found − expected| / max |expected|.
pub(crate) fn largest_error(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest =
        |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a });
    let scale = largest(&mut expected.iter().map(|x| x.abs()));
    let difference = largest(&mut found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs()));
    if difference == 0.0 { 0.0 } else { difference / scale }
}
