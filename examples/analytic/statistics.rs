//! What samples are compared by.

/// The mean and its standard error.
pub fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>()).sqrt() / n)
}

/// Kolmogorov's distance: the largest difference between the values' distribution function and a continuous one.
pub fn distance_to_law(values: &[f64], distribution: impl Fn(f64) -> f64) -> f64 {
    let n = values.len() as f64;
    let steps = sorted(values).into_iter().enumerate();
    steps.map(|(i, v)| (distribution(v) - i as f64 / n).max((i + 1) as f64 / n - distribution(v))).fold(0.0, f64::max)
}

/// Kolmogorov's distance between the distribution functions of two sets of values.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    let (a, b) = (sorted(a), sorted(b));
    let (mut i, mut j, mut largest) = (0, 0, 0.0f64);
    while i < a.len() && j < b.len() {
        let value = a[i].min(b[j]);
        i += a[i..].iter().take_while(|v| **v <= value).count();
        j += b[j..].iter().take_while(|v| **v <= value).count();
        largest = largest.max((i as f64 / a.len() as f64 - j as f64 / b.len() as f64).abs());
    }
    largest
}

/// What Kolmogorov's distance of n exact samples to their law stays below in 19 of 20 cases; of n and m samples to each
/// other, with 1/n + 1/m for 1/n.
pub fn usual_distance(inverse_n: f64) -> f64 {
    1.358 * inverse_n.sqrt()
}

/// The histogram of values as a density: the outline of its bars, left to right.
pub fn outline(values: &[f64], range: (f64, f64), bins: usize) -> Vec<(f64, f64)> {
    let width = (range.1 - range.0) / bins as f64;
    let mut counts = vec![0usize; bins];
    for value in values.iter().filter(|v| (range.0..range.1).contains(*v)) {
        counts[(((value - range.0) / width) as usize).min(bins - 1)] += 1;
    }
    let height = |count: usize| count as f64 / (values.len() as f64 * width);
    let bar = |(i, count): (usize, &usize)| {
        let left = range.0 + i as f64 * width;
        [(left, height(*count)), (left + width, height(*count))]
    };
    counts.iter().enumerate().flat_map(bar).collect()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}
