//! The smallest quotient: the plane modulo its rotations, R²/SO(2).
//!
//! The target is two noisy rings, so that a shape is a radius and its law is known in closed form, as is the denoiser.
//! The figure shows paths of the plain and the projected samplers, and the radii they arrive at beside the exact
//! density: with the curvature term −h̃ = x/|x|², without it, and with its sign as some statements have it. All steps
//! are [`Sampler::step`], with the group [`So2`].
//!
//! ```text
//! cargo run --release --example so2 -- --out docs/so2.svg
//! ```

mod analytic;
mod figure;

use std::path::PathBuf;
use std::process::ExitCode;

use analytic::rings::{self, InPlane, RINGS, TAU};
use analytic::statistics::{distance_to_law, mean, outline, usual_distance};
use analytic::{Analytic, Way, condition};
use clap::Parser;
use figure::{Area, EXACT, Frame, INK, chart, colour, drawn, number, save, text, title};
use plotters::prelude::*;
use qsd::Result;
use qsd::diffusion::{Denoiser, Input, Sampler};
use qsd::geometry::vector::norm_squared;
use qsd::geometry::{Clouds, Point, So2, Trivial};
use qsd::random::{Purpose, normal_points, stream};
use rayon::prelude::*;

const WAYS: [Way; 6] =
    [Way::PlainOde, Way::ProjectedOde, Way::PlainSde, Way::ProjectedSde, Way::WithoutCurvature, Way::FlippedCurvature];
/// Half the side of the part of the plane that is shown.
const EXTENT: f64 = 3.1;
/// The largest radius that is shown.
const FARTHEST: f64 = 3.3;
/// Half way between the rings: nearer to the origin a sample counts to the inner one.
const BETWEEN: f64 = 0.5 * (RINGS[0].1 + RINGS[1].1);

#[derive(Parser)]
struct Args {
    /// The figure to write.
    #[arg(long, value_name = "FILE", default_value = "so2.svg")]
    out: PathBuf,
    /// Samples of each sampler.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    samples: u32,
    /// Steps from prior to data.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    steps: u32,
    /// The seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    qsd::cli::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let law = Law::new();
    let radii: Vec<Vec<f64>> = WAYS.iter().map(|way| radii(args, *way)).collect::<Result<_>>()?;
    print_table(&law, &radii);
    save(&args.out, (2400, 1420), |area| {
        let (top, bottom) = area.split_vertically(740);
        for (k, (panel, way)) in top.split_evenly((1, 4)).iter().zip(WAYS).enumerate() {
            title(panel, ["a", "b", "c", "d"][k], way.label())?;
            draw_paths(panel, &paths(args, way)?, way)?;
        }
        for (k, panel) in bottom.split_evenly((1, 3)).iter().enumerate() {
            draw_radii(panel, ["e", "f", "g"][k], &law, WAYS[3 + k], &radii[3 + k])?;
        }
        Ok(())
    })
}

/// The exact law of the radius.
struct Law {
    distribution: Vec<f64>,
}

impl Law {
    const STEP: f64 = 1e-3;

    fn new() -> Law {
        Law { distribution: rings::radius_distribution(Law::STEP, RINGS[1].1 + 12.0 * TAU) }
    }

    /// The share of the samples nearer to the origin than r.
    fn below(&self, r: f64) -> f64 {
        let place = r / Law::STEP;
        let (i, last) = (place as usize, self.distribution.len() - 1);
        if i >= last {
            return 1.0;
        }
        self.distribution[i] + (place - i as f64) * (self.distribution[i + 1] - self.distribution[i])
    }

    /// The mean radius: what is not below, summed.
    fn mean(&self) -> f64 {
        self.distribution.iter().map(|below| (1.0 - below) * Law::STEP).sum::<f64>() - 0.5 * Law::STEP
    }
}

/// Carries points from the prior to the data, one after the other in steps that `observe` sees.
fn carry(
    sampler: &Sampler,
    denoiser: &dyn Denoiser,
    ids: &[u64],
    args: &Args,
    observe: &mut dyn FnMut(&Clouds),
) -> Result<Clouds> {
    let in_plane = |purpose, step, id| normal_points::<2>(&mut stream(args.seed, purpose, step, id), 1)[0];
    let points = |purpose, step| -> Vec<[Point; 1]> {
        ids.iter().map(|id| in_plane(purpose, step, *id)).map(|[x, y]| [[x, y, 0.0]]).collect()
    };
    let clouds = |points: &[[Point; 1]]| Clouds::from_clouds(points.iter().map(|p| &p[..]));
    let (steps, condition) = (args.steps as usize, condition(ids.len(), 1));
    let mut x = clouds(&points(Purpose::SamplePrior, 0));
    observe(&x);
    for index in 0..steps {
        let t = vec![index as f64 / steps as f64; ids.len()];
        let prediction = denoiser.predict(Input { x_t: &x, t: &t, condition: &condition, self_condition: None })?;
        let noise = sampler.is_stochastic(index).then(|| clouds(&points(Purpose::SampleNoise, index as u64)));
        x = sampler.step(index, &x, &prediction, noise.as_ref());
        observe(&x);
    }
    Ok(x)
}

fn sampler(args: &Args, way: Way) -> Result<Sampler> {
    way.sampler(args.steps as usize, 1.0, InPlane(Trivial), InPlane(So2))
}

/// The radii of the samples.
fn radii(args: &Args, way: Way) -> Result<Vec<f64>> {
    let (sampler, ids) = (sampler(args, way)?, (0..u64::from(args.samples)).collect::<Vec<_>>());
    let parts: Vec<Clouds> = ids
        .par_chunks(500)
        .map(|ids| carry(&sampler, &Analytic(rings::denoiser), ids, args, &mut |_| ()))
        .collect::<Result<_>>()?;
    Ok(parts.iter().flat_map(|part| part.points()).map(|p| norm_squared(p).sqrt()).collect())
}

/// The paths of a few points. The deterministic samplers are given a network that turns what it denoises, as one may
/// that was trained by a projected loss.
fn paths(args: &Args, way: Way) -> Result<Vec<Vec<(f64, f64)>>> {
    let deterministic = matches!(way, Way::PlainOde | Way::ProjectedOde);
    let ids: Vec<u64> = (0..if deterministic { 10 } else { 4 }).collect();
    let turning = Analytic(|t: f64, x: &[Point]| rings::spinning(rings::denoiser(t, x), t, x));
    let straight = Analytic(rings::denoiser);
    let denoiser: &dyn Denoiser = if deterministic { &turning } else { &straight };
    let mut paths = vec![Vec::new(); ids.len()];
    let mut observe = |x: &Clouds| paths.iter_mut().zip(x.points()).for_each(|(path, p)| path.push((p[0], p[1])));
    carry(&sampler(args, way)?, denoiser, &ids, args, &mut observe)?;
    Ok(paths)
}

fn print_table(law: &Law, radii: &[Vec<f64>]) {
    println!("| sampler | mean radius | on the inner ring, % | Kolmogorov distance |");
    println!("|---|---|---|---|");
    println!("| exact | {:.4} | {:.2} | |", law.mean(), 100.0 * law.below(BETWEEN));
    for (way, radii) in WAYS.iter().zip(radii) {
        let inner: Vec<f64> = radii.iter().map(|r| f64::from(u8::from(*r < BETWEEN)) * 100.0).collect();
        let ((radius, radius_error), (inner, inner_error)) = (mean(radii), mean(&inner));
        let distance = distance_to_law(radii, |r| law.below(r));
        let label = way.label();
        println!("| {label} | {radius:.4} ± {radius_error:.4} | {inner:.2} ± {inner_error:.2} | {distance:.4} |");
    }
    let n = radii[0].len();
    println!();
    println!(
        "{n} samples each, ± one standard error; exact samples would stay below {:.4} in 19 of 20 cases.",
        usual_distance(1.0 / n as f64)
    );
}

/// Paths over the target's density, from white to black dots.
fn draw_paths(area: &Area<'_>, paths: &[Vec<(f64, f64)>], way: Way) -> Result<()> {
    let mut builder = ChartBuilder::on(area);
    builder.margin_top(90).margin_bottom(80).margin_left(15).margin_right(15);
    let mut plane = drawn(builder.build_cartesian_2d(-EXTENT..EXTENT, -EXTENT..EXTENT))?;
    let pixels = f64::from(plane.plotting_area().dim_in_pixel().0) / (2.0 * EXTENT);
    // Discs, the largest first: each covers the inside of the one before.
    let density = |r: f64| rings::radius_density(r) / r;
    let discs = (1..=60).rev().map(|i| f64::from(i) * EXTENT / 60.0);
    let highest = discs.clone().map(density).fold(0.0, f64::max);
    let disc = |r: f64| {
        let share = (density(r) / highest).sqrt();
        let [red, green, blue] = [190.0, 196.0, 206.0].map(|dark| (255.0 - share * (255.0 - dark)) as u8);
        Circle::new((0.0, 0.0), (r * pixels) as i32, RGBColor(red, green, blue).filled())
    };
    drawn(plane.draw_series(discs.map(disc)))?;
    let every = (paths.first().map_or(0, Vec::len) / 130).max(1);
    for path in paths {
        let shown = path.iter().enumerate().filter(|(i, _)| i % every == 0 || i + 1 == path.len()).map(|(_, p)| *p);
        drawn(plane.draw_series(LineSeries::new(shown, colour(way).stroke_width(4))))?;
        if let (Some(begin), Some(end)) = (path.first(), path.last()) {
            drawn(
                plane
                    .draw_series([Circle::new(*begin, 8, WHITE.filled()), Circle::new(*begin, 8, INK.stroke_width(3))]),
            )?;
            drawn(plane.draw_series([Circle::new(*end, 8, INK.filled())]))?;
        }
    }
    Ok(())
}

/// The histogram of radii over the exact density.
fn draw_radii(area: &Area<'_>, letter: &str, law: &Law, way: Way, radii: &[f64]) -> Result<()> {
    let frame = Frame { letter, title: way.label(), x: "radius", y: "density", x_labels: &number };
    let mut chart = chart(area, &frame, 0.0..FARTHEST, 0.0..1.35)?;
    let exact = (0..=330).map(|i| f64::from(i) * FARTHEST / 330.0).map(|r| (r, rings::radius_density(r)));
    drawn(chart.draw_series(AreaSeries::new(exact, 0.0, EXACT)))?;
    let bars = outline(radii, (0.0, FARTHEST), 66);
    drawn(chart.draw_series(LineSeries::new(bars, colour(way).stroke_width(5))))?;
    let distance = distance_to_law(radii, |r| law.below(r));
    drawn(chart.draw_series([Text::new(format!("distance {distance:.3}"), (1.95, 1.28), text(0.95))]))?;
    Ok(())
}
