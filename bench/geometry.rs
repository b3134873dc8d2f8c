//! What the two operators of the quotient cost, per cloud and per point: `cargo bench --bench geometry`.
//! The time per point must not grow with the cloud. The last lines are for a drug-like molecule of 44
//! atoms: a training step projects residual and gradient and splits the error for the logs (three projections),
//! a stochastic sampling step projects drift and noise and adds the curvature.

use std::hint::black_box;
use std::time::Instant;

use qsd::geometry::{Group, Point, Se3};
use qsd::random::{Purpose, normal_points, stream};

/// The shortest of several runs, in nanoseconds per call.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let calls = 2000;
    let mut run = || {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    (0..20).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// The projection and the curvature of a cloud of `n` points, in nanoseconds.
fn costs(n: usize) -> [f64; 2] {
    let x: Vec<Point> = normal_points(&mut stream(1, Purpose::Prior, 0, 0), n);
    let mut v: Vec<Point> = normal_points(&mut stream(1, Purpose::Prior, 0, 1), n);
    let projection = nanoseconds(|| Se3.horizontal_projection(black_box(&x), black_box(&mut v)));
    let curvature = nanoseconds(|| {
        black_box(Se3.mean_curvature(black_box(&x), 0.01));
    });
    [projection, curvature]
}

fn main() {
    println!("| points | P_x, ns | per point | h, ns | per point |\n|---|---|---|---|---|");
    for n in [2, 10, 20, 44, 100, 256, 1000] {
        let ([projection, curvature], each) = (costs(n), n as f64);
        println!("| {n} | {projection:.0} | {:.1} | {curvature:.0} | {:.1} |", projection / each, curvature / each);
    }
    let [projection, curvature] = costs(44);
    println!("\nper molecule of 44 atoms and training step: {:.1} µs", 3.0 * projection / 1000.0);
    println!(
        "per molecule of 44 atoms and stochastic sampling step: {:.1} µs",
        (2.0 * projection + curvature) / 1000.0
    );
}
