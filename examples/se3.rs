//! The quotient that molecules live in, by rigid motions: do the projected samplers draw from the target's law of
//! shapes?
//!
//! Two targets whose denoisers are known in closed form: four Gaussian points, told by the singular values of their
//! coordinates, and a rigid template that is turned at random, with noise. The figure shows the law of shapes under
//! each sampler beside the exact one, the error as steps get shorter, and the lengths of the deterministic samplers'
//! paths when the network turns what it denoises.
//!
//! ```text
//! cargo run --release --example se3 -- --out docs/se3.svg
//! ```

mod analytic;
mod figure;

use std::path::PathBuf;
use std::process::ExitCode;

use analytic::statistics::{distance, mean, outline, usual_distance};
use analytic::{Analytic, Way, bessel, condition, gaussian, samples, template};
use clap::Parser;
use figure::{Area, EXACT, Frame, INK, chart, colour, drawn, legend, number, save, text};
use plotters::prelude::*;
use qsd::Result;
use qsd::diffusion::{Denoiser, Sampler, Step};
use qsd::geometry::vector::{norm_squared, sub};
use qsd::geometry::{Clouds, Point, Se3, Translations};

const WAYS: [Way; 5] =
    [Way::PlainSde, Way::ProjectedOde, Way::ProjectedSde, Way::WithoutCurvature, Way::FlippedCurvature];
/// The numbers of steps of the convergence, as sixteenths of `--steps`.
const SIXTEENTHS: [usize; 6] = [1, 2, 4, 8, 16, 32];
/// Draws from the target itself, for what its law is compared by.
const DRAWS: usize = 40_000;
/// Clouds whose paths are measured.
const PATHS: usize = 200;

#[derive(Parser)]
struct Args {
    /// The figure to write.
    #[arg(long, value_name = "FILE", default_value = "se3.svg")]
    out: PathBuf,
    /// Samples of each sampler.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    samples: u32,
    /// Steps from prior to data.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(32..=100_000))]
    steps: u32,
    /// The seed of the samplers' random numbers.
    #[arg(long, default_value_t = 11)]
    seed: u64,
}

fn main() -> ExitCode {
    qsd::cli::exit(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let exact = columns(&gaussian::target(DRAWS), gaussian::singular_values);
    let convergence: Vec<Convergence> =
        WAYS.iter().map(|way| Convergence::of(args, *way, &exact)).collect::<Result<_>>()?;
    let templates = Templates::draw(args)?;
    let lengths = path_lengths(args)?;
    print_singular_values(&exact, &convergence);
    print_convergence(args, &convergence);
    templates.print();
    print_lengths(&lengths);
    save(&args.out, (2400, 1500), |area| {
        let (key, panels) = area.split_vertically(80);
        let entries: Vec<(RGBColor, &str)> = WAYS.iter().map(|way| (colour(*way), way.label())).collect();
        legend(&key, &[&[(EXACT, "exact")], &entries[..]].concat())?;
        let panels = panels.split_evenly((2, 3));
        for k in 0..3 {
            draw_singular_values(&panels[k], k, &exact, &convergence)?;
        }
        templates.draw_distances(&panels[3])?;
        draw_convergence(&panels[4], args, &convergence)?;
        draw_lengths(&panels[5], &lengths)
    })
}

/// The features of each cloud, feature by feature.
fn columns(clouds: &Clouds, features: fn(&[Point]) -> Vec<f64>) -> Vec<Vec<f64>> {
    let rows: Vec<Vec<f64>> = clouds.iter().map(features).collect();
    (0..rows.first().map_or(0, Vec::len)).map(|k| rows.iter().map(|row| row[k]).collect()).collect()
}

fn steps(args: &Args) -> [usize; 6] {
    SIXTEENTHS.map(|sixteenths| args.steps as usize * sixteenths / 16)
}

// --- The Gaussian target -----------------------------------------------------------------------------------

/// One way of sampling the Gaussian target.
struct Convergence {
    way: Way,
    /// The singular values at `--steps` steps, from the smallest.
    values: Vec<Vec<f64>>,
    /// By how much the singular values are too large, as a share of the exact mean and averaged over the three, with
    /// its standard error; for each of [`steps`].
    errors: Vec<(f64, f64)>,
}

impl Convergence {
    fn of(args: &Args, way: Way, exact: &[Vec<f64>]) -> Result<Self> {
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        for (sixteenths, steps) in SIXTEENTHS.into_iter().zip(steps(args)) {
            let sampler = way.sampler(steps, 1.0, Translations, Se3)?;
            let denoiser = Analytic(gaussian::denoiser);
            let samples = samples(&sampler, &denoiser, args.samples as usize, gaussian::POINTS, args.seed)?;
            let found = columns(&samples, gaussian::singular_values);
            errors.push(excess(&found, exact));
            if sixteenths == 16 {
                values = found;
            }
        }
        Ok(Convergence { way, values, errors })
    }
}

/// The mean over features of found/exact − 1, and its standard error.
fn excess(found: &[Vec<f64>], exact: &[Vec<f64>]) -> (f64, f64) {
    let means: Vec<f64> = exact.iter().map(|values| mean(values).0).collect();
    let relative = |columns: &[Vec<f64>]| -> (f64, f64) {
        let share = |i: usize| columns.iter().zip(&means).map(|(column, mean)| column[i] / mean - 1.0).sum::<f64>();
        mean(&(0..columns[0].len()).map(|i| share(i) / means.len() as f64).collect::<Vec<_>>())
    };
    let ((found, error), (_, exact_error)) = (relative(found), relative(exact));
    (found, error.hypot(exact_error))
}

fn largest_distance(found: &[Vec<f64>], exact: &[Vec<f64>]) -> f64 {
    found.iter().zip(exact).map(|(found, exact)| distance(found, exact)).fold(0.0, f64::max)
}

fn print_singular_values(exact: &[Vec<f64>], convergence: &[Convergence]) {
    println!("| Gaussian points | σ₁, Å | σ₂, Å | σ₃, Å | Kolmogorov distance |");
    println!("|---|---|---|---|---|");
    let row = |columns: &[Vec<f64>]| -> String {
        let entry = |(mean, error): (f64, f64)| format!("{mean:.3} ± {error:.3}");
        columns.iter().map(|column| entry(mean(column))).collect::<Vec<_>>().join(" | ")
    };
    println!("| exact | {} | |", row(exact));
    for Convergence { way, values, .. } in convergence {
        println!("| {} | {} | {:.3} |", way.label(), row(values), largest_distance(values, exact));
    }
    let n = convergence[0].values[0].len();
    let usual = usual_distance(1.0 / n as f64 + 1.0 / DRAWS as f64);
    println!(
        "\n{n} samples each, ± one standard error; one feature of exact ones would stay below {usual:.3} in 19 of 20 cases.\n"
    );
}

fn print_convergence(args: &Args, convergence: &[Convergence]) {
    println!("| error of the mean singular values, % | {} steps |", steps(args).map(|s| s.to_string()).join(" | "));
    println!("|---|{}", "---|".repeat(SIXTEENTHS.len()));
    for Convergence { way, errors, .. } in convergence {
        let entry = |(error, standard): &(f64, f64)| format!("{:.1} ± {:.1}", 100.0 * error, 100.0 * standard);
        println!("| {} | {} |", way.label(), errors.iter().map(entry).collect::<Vec<_>>().join(" | "));
    }
    println!();
}

fn draw_singular_values(area: &Area<'_>, k: usize, exact: &[Vec<f64>], convergence: &[Convergence]) -> Result<()> {
    let (right, top) = [(1.8, 2.7), (4.0, 0.85), (7.0, 0.55)][k];
    let title = ["smallest singular value", "middle singular value", "largest singular value"][k];
    let frame = Frame { letter: ["a", "b", "c"][k], title, x: "Å", y: "density", x_labels: &number };
    let mut chart = chart(area, &frame, 0.0..right, 0.0..top)?;
    let range = (0.0, right);
    drawn(chart.draw_series(AreaSeries::new(outline(&exact[k], range, 60), 0.0, EXACT)))?;
    for Convergence { way, values, .. } in convergence {
        let bars = outline(&values[k], range, 30);
        drawn(chart.draw_series(LineSeries::new(bars, colour(*way).stroke_width(4))))?;
    }
    Ok(())
}

/// Errors against the number of steps, over those that are not told from 0: less than two standard errors.
fn draw_convergence(area: &Area<'_>, args: &Args, convergence: &[Convergence]) -> Result<()> {
    let steps = steps(args);
    let x_labels = |place: &f64| steps.get(place.round() as usize).map_or(String::new(), usize::to_string);
    let title = "error of the mean singular values";
    let frame = Frame { letter: "e", title, x: "steps", y: "%", x_labels: &x_labels };
    let (left, right, floor) = (-0.3, steps.len() as f64 - 0.7, 0.3);
    let mut chart = chart(area, &frame, left..right, (floor..100.0).log_scale())?;
    let standard: Vec<f64> = convergence.iter().flat_map(|c| &c.errors).map(|(_, standard)| *standard).collect();
    let noise = 200.0 * mean(&standard).0;
    drawn(chart.draw_series([Rectangle::new([(left, floor), (right, noise)], EXACT.filled())]))?;
    drawn(chart.draw_series([Text::new("two standard errors", (left + 0.15, 1.4 * floor), text(0.85))]))?;
    for Convergence { way, errors, .. } in convergence {
        let height = |(error, _): &(f64, f64)| (100.0 * error.abs()).max(floor);
        let points: Vec<(f64, f64)> = errors.iter().enumerate().map(|(i, error)| (i as f64, height(error))).collect();
        drawn(chart.draw_series(LineSeries::new(points.clone(), colour(*way).stroke_width(4))))?;
        drawn(chart.draw_series(points.iter().map(|p| Circle::new(*p, 9, colour(*way).filled()))))?;
    }
    Ok(())
}

// --- The template ------------------------------------------------------------------------------------------

/// The pair of points whose distance is shown: the template's ends.
const ENDS: usize = 3;

/// The template's shapes under each way of sampling.
struct Templates {
    exact: Vec<Vec<f64>>,
    found: Vec<Vec<Vec<f64>>>,
}

impl Templates {
    fn draw(args: &Args) -> Result<Self> {
        let nodes = bessel::gauss_legendre(24);
        let denoiser = Analytic(|t: f64, x: &[Point]| template::denoiser(&nodes, t, x));
        let found = |way: &Way| {
            let sampler = way.sampler(args.steps as usize, template::PRIOR, Translations, Se3)?;
            let samples = samples(&sampler, &denoiser, args.samples as usize, template::TEMPLATE.len(), args.seed)?;
            Ok(columns(&samples, features))
        };
        let found = WAYS.iter().map(found).collect::<Result<_>>()?;
        Ok(Templates { exact: columns(&template::target(DRAWS), features), found })
    }

    fn print(&self) {
        println!("| turned template | ends' distance, Å | signed volume, Å³ | Kolmogorov distance |");
        println!("|---|---|---|---|");
        let row = |columns: &[Vec<f64>]| {
            let [(ends, ends_error), (volume, volume_error)] =
                [&columns[ENDS], &columns[columns.len() - 1]].map(|c| mean(c));
            format!("{ends:.3} ± {ends_error:.3} | {volume:.3} ± {volume_error:.3}")
        };
        println!("| exact | {} | |", row(&self.exact));
        for (way, found) in WAYS.iter().zip(&self.found) {
            println!("| {} | {} | {:.3} |", way.label(), row(found), largest_distance(found, &self.exact));
        }
        println!();
    }

    fn draw_distances(&self, area: &Area<'_>) -> Result<()> {
        let frame =
            Frame { letter: "d", title: "template: distance of its ends", x: "Å", y: "density", x_labels: &number };
        let range = (0.0, 6.5);
        let mut chart = chart(area, &frame, range.0..range.1, 0.0..0.75)?;
        drawn(chart.draw_series(AreaSeries::new(outline(&self.exact[ENDS], range, 65), 0.0, EXACT)))?;
        for (way, found) in WAYS.iter().zip(&self.found) {
            let bars = outline(&found[ENDS], range, 35);
            drawn(chart.draw_series(LineSeries::new(bars, colour(*way).stroke_width(4))))?;
        }
        Ok(())
    }
}

/// All distances and the signed volume.
fn features(x: &[Point]) -> Vec<f64> {
    template::distances(x).into_iter().chain([template::volume(x)]).collect()
}

// --- Lengths of paths --------------------------------------------------------------------------------------

/// The lengths (plain, projected) of the deterministic paths of the same clouds, Å, with a network that turns what it
/// denoises.
fn path_lengths(args: &Args) -> Result<Vec<(f64, f64)>> {
    let nodes = bessel::gauss_legendre(24);
    let denoiser = Analytic(|t: f64, x: &[Point]| template::spinning(template::denoiser(&nodes, t, x), t, x));
    let lengths = |way: Way| {
        let sampler = way.sampler(2 * args.steps as usize, template::PRIOR, Translations, Se3)?;
        measure(&sampler, &denoiser, args.seed)
    };
    Ok(lengths(Way::PlainOde)?.into_iter().zip(lengths(Way::ProjectedOde)?).collect())
}

fn measure(sampler: &Sampler, denoiser: &dyn Denoiser, seed: u64) -> Result<Vec<f64>> {
    let ids: Vec<u64> = (0..PATHS as u64).collect();
    let mut lengths = vec![0.0; PATHS];
    let mut observe = |step: Step<'_>| {
        for (length, (before, after)) in lengths.iter_mut().zip(step.before.iter().zip(step.after.iter())) {
            *length += before.iter().zip(after).map(|(x, y)| norm_squared(&sub(y, x))).sum::<f64>().sqrt();
        }
        Ok(())
    };
    sampler.run(denoiser, &condition(PATHS, template::TEMPLATE.len()), &ids, seed, &mut observe)?;
    Ok(lengths)
}

fn print_lengths(lengths: &[(f64, f64)]) {
    let longer = lengths.iter().filter(|(plain, projected)| projected > plain).count();
    let ratios: Vec<f64> = lengths.iter().map(|(plain, projected)| projected / plain).collect();
    let largest = ratios.iter().copied().fold(0.0, f64::max);
    println!("{longer} of {} projected paths are longer than the plain ones;", lengths.len());
    println!("projected/plain is {:.3} in the mean and {largest:.3} at most.", mean(&ratios).0);
}

fn draw_lengths(area: &Area<'_>, lengths: &[(f64, f64)]) -> Result<()> {
    let frame =
        Frame { letter: "f", title: "lengths of ODE paths", x: "plain, Å", y: "projected, Å", x_labels: &number };
    let longest = lengths.iter().map(|(plain, projected)| plain.max(*projected)).fold(0.0, f64::max) * 1.05;
    let mut chart = chart(area, &frame, 0.0..longest, 0.0..longest)?;
    drawn(chart.draw_series(LineSeries::new([(0.0, 0.0), (longest, longest)], INK.stroke_width(2))))?;
    drawn(chart.draw_series([Text::new("equal", (0.62 * longest, 0.78 * longest), text(0.9))]))?;
    let dots = lengths.iter().map(|length| Circle::new(*length, 7, colour(Way::ProjectedOde).mix(0.6).filled()));
    drawn(chart.draw_series(dots))?;
    Ok(())
}
