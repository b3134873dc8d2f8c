//! What a forward pass knows of each chain before any parameter: checked, in nanometres, as plain numbers. Both
//! implementations of the network begin here.

use std::f64::consts::PI;

use candle_core::DType;

use super::ProteinConfig;
use crate::bio::Fold;
use crate::data::Residues;
use crate::diffusion::Input;
use crate::geometry::vector::{norm_squared, sub};
use crate::geometry::{Clouds, Point};
use crate::{Error, Result};

/// Lengths outside of the network are in Å, inside in nm.
pub(super) const ANGSTROMS: f64 = 10.0;

/// The first and the last edge of the bins of distances, nm.
const DISTANCES: [f64; 2] = [0.1, 3.0];

/// The first and the last edge of the distogram's buckets, nm.
pub(super) const DISTOGRAM: [f64; 2] = [0.0, 1.0];

/// One chain of n residues.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chain {
    /// x_t, nm.
    pub(super) positions: Vec<Point>,
    /// The fed-back prediction, nm.
    pub(super) fed_back: Option<Vec<Point>>,
    /// t.
    pub(super) time: f64,
    /// Residue numbers, counted from the first residue's as 1.
    pub(super) numbers: Vec<i64>,
    /// Whether the chain is broken after the residue.
    pub(super) breaks: Vec<bool>,
    /// Rows of the tables of fold classes.
    pub(super) folds: [usize; 3],
}

impl Chain {
    /// The chains of a batch.
    ///
    /// # Errors
    /// [`Error::Data`] if positions, times and condition do not speak of the same residues, or the condition is of
    /// something else.
    pub(super) fn all(config: &ProteinConfig, input: Input<'_>) -> Result<Vec<Chain>> {
        let residues = check(input)?;
        (0..input.x_t.len()).map(|b| Chain::new(config, input, residues, b)).collect()
    }

    fn new(config: &ProteinConfig, input: Input<'_>, residues: &Residues, b: usize) -> Result<Chain> {
        let range = input.x_t.range(b);
        let numbers = &residues.numbers[range.clone()];
        let first = numbers.first().copied().unwrap_or(0);
        Ok(Chain {
            positions: nanometres(input.x_t, b),
            fed_back: input.self_condition.map(|clouds| nanometres(clouds, b)),
            time: input.t[b],
            numbers: numbers.iter().map(|&number| i64::from(number) - i64::from(first) + 1).collect(),
            breaks: residues.breaks[range].to_vec(),
            folds: fold_rows(config, &residues.folds[b], b)?,
        })
    }

    /// Number of residues, n.
    pub(super) fn len(&self) -> usize {
        self.positions.len()
    }

    /// The bin of number(i) − number(j) for each pair (i, j), row by row: one for each of −h … h, the outermost also
    /// for all beyond.
    pub(super) fn separation_bins(&self, bins: usize) -> Vec<u32> {
        let half = (bins / 2) as i64;
        let bin = |i: &i64, j: &i64| ((i - j).clamp(-half, half) + half) as u32;
        self.numbers.iter().flat_map(|i| self.numbers.iter().map(move |j| bin(i, j))).collect()
    }
}

/// The bin of each pair's distance in units of `points`, row by row.
pub(super) fn distance_bins(points: &[Point], edges: &[f64]) -> Vec<u32> {
    let bin = |a: &Point, b: &Point| {
        let distance = norm_squared(&sub(a, b)).sqrt();
        edges.partition_point(|edge| *edge < distance) as u32
    };
    points.iter().flat_map(|a| points.iter().map(move |b| bin(a, b))).collect()
}

/// The edges of `bins` bins of distances in nm, in the reference's arithmetic.
pub(super) fn distance_edges(bins: usize, dtype: DType) -> Vec<f64> {
    linspace(DISTANCES, bins - 1, dtype)
}

/// `count` numbers from the first to the last at equal steps; counted from the nearer end and, in f32, rounded once
/// per number, as PyTorch does it.
pub(super) fn linspace([first, last]: [f64; 2], count: usize, dtype: DType) -> Vec<f64> {
    let (half, steps) = (count / 2, count - 1);
    if dtype == DType::F64 {
        let step = (last - first) / steps as f64;
        let at = |i: usize| if i < half { first + step * i as f64 } else { last - step * (steps - i) as f64 };
        return (0..count).map(at).collect();
    }
    let (first, last) = (first as f32, last as f32);
    let step = (last - first) / steps as f32;
    let at = |i: usize| match i < half {
        true => step.mul_add(i as f32, first),
        false => (-step).mul_add((steps - i) as f32, last),
    };
    (0..count).map(|i| f64::from(at(i))).collect()
}

/// [sin(2000 t w_k), cos(2000 t w_k)], w_k = 2000^(−k/(half − 1)), k < half = width/2. The phases are large: what
/// computes in f32 follows the reference's f32 order of operations.
pub(super) fn time_embedding(t: f64, width: usize, dtype: DType) -> Vec<f64> {
    const SCALE: f64 = 2000.0;
    let half = width / 2;
    let slope = -SCALE.ln() / (half - 1) as f64;
    let phase = |k: usize| match dtype {
        DType::F64 => t * SCALE * (k as f64 * slope).exp(),
        _ => {
            let exponent = k as f32 * slope as f32;
            f64::from((t * SCALE) as f32 * f64::from(exponent).exp() as f32)
        }
    };
    sines_and_cosines((0..half).map(phase).collect())
}

/// [sin(π i / 2056^(2k/width)), cos(the same)], k < width/2, for the residue of number i; in f32 as
/// [`time_embedding`].
pub(super) fn index_embedding(number: i64, width: usize, dtype: DType) -> Vec<f64> {
    const BASE: f64 = 2056.0;
    let phase = |k: usize| {
        let divisor = BASE.powf((2 * k) as f64 / width as f64);
        match dtype {
            DType::F64 => number as f64 * PI / divisor,
            _ => f64::from(number as f32 * PI as f32 / divisor as f32),
        }
    };
    sines_and_cosines((0..width / 2).map(phase).collect())
}

fn sines_and_cosines(phases: Vec<f64>) -> Vec<f64> {
    phases.iter().map(|phase| phase.sin()).chain(phases.iter().map(|phase| phase.cos())).collect()
}

/// The points of a cloud in nm.
fn nanometres(clouds: &Clouds, b: usize) -> Vec<Point> {
    clouds.cloud(b).iter().map(|x| x.map(|c| c / ANGSTROMS)).collect()
}

/// The rows of the tables; the last of each is for a class that is not told.
fn fold_rows(config: &ProteinConfig, fold: &Fold, b: usize) -> Result<[usize; 3]> {
    let mut rows = config.fold_classes;
    for (level, class) in fold.iter().enumerate() {
        let classes = config.fold_classes[level];
        match class.map(|class| class as usize) {
            None => (),
            Some(class) if class < classes => rows[level] = class,
            Some(class) => {
                let level = ["C", "A", "T"][level];
                return Err(Error::Data(format!(
                    "network input: chain {b} has fold class {class} of level {level}, but the network knows \
                     {classes} (model.fold_classes)"
                )));
            }
        }
    }
    Ok(rows)
}

/// The residues, if positions, times and condition fit together.
fn check(input: Input<'_>) -> Result<&Residues> {
    let (offsets, condition) = (input.x_t.offsets(), input.condition);
    let points = input.x_t.points().len();
    let Some(residues) = condition.residues() else {
        return Err(Error::Data(
            "network input: the points are atoms of molecules, but model.kind protein takes residues of chains".into(),
        ));
    };
    if points == 0 {
        return Err(Error::Data("network input: the batch has no residues".into()));
    }
    let fed_back = input.self_condition.map_or(offsets, Clouds::offsets);
    if condition.offsets != offsets || fed_back != offsets {
        return Err(Error::Data("network input: positions and chains are divided differently".into()));
    }
    for (what, found, expected) in [
        ("times", input.t.len(), input.x_t.len()),
        ("residue numbers", residues.numbers.len(), points),
        ("breaks", residues.breaks.len(), points),
        ("fold classes", residues.folds.len(), input.x_t.len()),
    ] {
        if found != expected {
            return Err(Error::Data(format!("network input: {found} {what}, but {expected} expected")));
        }
    }
    Ok(residues)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Condition;

    fn chain(positions: &[Point], numbers: &[i64]) -> Chain {
        Chain {
            positions: positions.to_vec(),
            fed_back: None,
            time: 0.5,
            numbers: numbers.to_vec(),
            breaks: vec![false; numbers.len()],
            folds: [0; 3],
        }
    }

    #[test]
    fn bins_begin_above_their_lower_edge() {
        let points: Vec<Point> = [0.0, 0.1, 0.5, 4.0].map(|x| [x, 0.0, 0.0]).to_vec();
        // Edges 0.1, 1.55, 3.0; a distance equal to an edge falls below it.
        let bins = distance_bins(&points, &linspace([0.1, 3.0], 3, DType::F64));
        assert_eq!(bins, [0, 0, 1, 3, 0, 0, 1, 3, 1, 1, 0, 3, 3, 3, 3, 0]);
        let separations = chain(&points, &[1, 2, 9, -3]).separation_bins(5);
        assert_eq!(separations, [2, 1, 0, 4, 3, 2, 0, 4, 4, 4, 2, 4, 0, 0, 0, 2]);
    }

    #[test]
    fn edges_are_those_of_the_arithmetic() {
        for dtype in [DType::F32, DType::F64] {
            let edges = distance_edges(64, dtype);
            assert_eq!(edges.len(), 63);
            let ends = [edges[0], edges[62]];
            let expected = if dtype == DType::F64 { [0.1, 3.0] } else { [f64::from(0.1f32), 3.0] };
            assert_eq!(ends, expected);
            assert!(edges.windows(2).all(|w| (w[1] - w[0] - 2.9 / 62.0).abs() < 3e-7));
        }
    }

    #[test]
    fn embeddings_follow_their_definition() {
        let time = time_embedding(0.25, 8, DType::F64);
        let phases: Vec<f64> = (0..4).map(|k| 500.0 * 2000f64.powf(-f64::from(k) / 3.0)).collect();
        for (k, phase) in phases.iter().enumerate() {
            assert!((time[k] - phase.sin()).abs() < 1e-12 && (time[4 + k] - phase.cos()).abs() < 1e-12);
        }
        let index = index_embedding(-3, 4, DType::F64);
        let slow = -3.0 * PI / 2056f64.sqrt();
        let expected = [(-3.0 * PI).sin(), slow.sin(), (-3.0 * PI).cos(), slow.cos()];
        assert!(index.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{index:?}");
        // In f32 the phase is rounded at each step, so that the two differ by the rounding of a large phase.
        let single = time_embedding(0.9, 256, DType::F32);
        let exact = time_embedding(0.9, 256, DType::F64);
        let worst = single.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(worst > 1e-6 && worst < 2e-4, "{worst:e}");
    }

    /// The reference's embeddings and edges.
    #[test]
    fn formulas_equal_the_reference() {
        let path = format!("{}/tests/fixtures/protein/formulas.safetensors", env!("CARGO_MANIFEST_DIR"));
        let expected = candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap();
        let of = |name: String| -> Vec<f64> {
            expected[&name].to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
        };
        for (kind, dtype) in [("f32", DType::F32), ("f64", DType::F64)] {
            for (name, [first, last], bins) in
                [("dist_64", DISTANCES, 64), ("dist_128", DISTANCES, 128), ("distogram", DISTOGRAM, 64)]
            {
                let expected = of(format!("{kind}.bins.{name}_edges"));
                let found = linspace([first, last], bins - 1, dtype);
                let limit = if dtype == DType::F32 { 0.0 } else { 1e-15 };
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= limit), "{kind} {name}");
            }
            let worst = |found: &[f64], expected: &[f64], skipped: Option<usize>| {
                let differences = found.iter().zip(expected).enumerate();
                let counted = differences.filter(|(k, _)| Some(k % 128) != skipped);
                counted.map(|(_, (a, b))| (a - b).abs()).fold(0.0, f64::max)
            };
            // One number of 128 in the reference's table of frequencies is not the nearest to the true one.
            let exponent = (dtype == DType::F32).then_some(24);
            let limit = if dtype == DType::F32 { 6e-8 } else { 1e-12 };
            let times = of(format!("{kind}.emb.t"));
            for (t, expected) in times.iter().zip(of(format!("{kind}.emb.time_256")).chunks_exact(256)) {
                let error = worst(&time_embedding(*t, 256, dtype), expected, exponent);
                assert!(error <= limit, "{kind}, t = {t}: {error:e}");
            }
            let numbers = expected["emb.idx"].to_vec1::<i32>().unwrap();
            for (number, expected) in numbers.iter().zip(of(format!("{kind}.emb.index_128")).chunks_exact(128)) {
                let error = worst(&index_embedding(i64::from(*number), 128, dtype), expected, None);
                assert!(error <= limit, "{kind}, residue {number}: {error:e}");
            }
        }
    }

    #[test]
    fn numbers_count_from_the_first_residue() {
        let config = ProteinConfig::default();
        let x_t = Clouds::from_clouds([[[0.0; 3]; 3].as_slice(), &[[20.0, 0.0, 0.0]]]);
        let mut condition = Condition::from_lengths(&[3, 1]);
        if let crate::data::Points::Residues(residues) = &mut condition.points {
            residues.numbers = vec![-5, i32::MAX, -5, i32::MIN];
            residues.folds[1] = [Some(2), None, Some(1335)];
        }
        let input = Input { x_t: &x_t, t: &[0.0, 1.0], condition: &condition, self_condition: None };
        let chains = Chain::all(&config, input).unwrap();
        assert_eq!(chains[0].numbers, [1, i64::from(i32::MAX) + 6, 1]);
        assert_eq!((chains[1].numbers[0], chains[1].positions[0], chains[1].time), (1, [2.0, 0.0, 0.0], 1.0));
        assert_eq!((chains[0].folds, chains[1].folds), ([5, 43, 1336], [2, 43, 1335]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let config = ProteinConfig::default();
        let x_t = Clouds::from_clouds([[[0.0; 3]; 3].as_slice()]);
        let other = Clouds::from_clouds([[[0.0; 3]; 2].as_slice()]);
        let condition = Condition::from_lengths(&[3]);
        let residues = |change: &dyn Fn(&mut Residues)| {
            let mut condition = condition.clone();
            if let crate::data::Points::Residues(residues) = &mut condition.points {
                change(residues);
            }
            condition
        };
        let refused = |x_t: &Clouds, t: &[f64], condition: &Condition, self_condition: Option<&Clouds>| {
            Chain::all(&config, Input { x_t, t, condition, self_condition }).unwrap_err().to_string()
        };
        let atoms = Condition { offsets: vec![0, 3], ..Condition::default() };
        assert!(refused(&x_t, &[0.5], &atoms, None).contains("atoms of molecules"));
        assert!(refused(&Clouds::default(), &[], &Condition::from_lengths(&[]), None).contains("no residues"));
        assert!(refused(&other, &[0.5], &condition, None).contains("divided differently"));
        assert!(refused(&x_t, &[0.5], &condition, Some(&other)).contains("divided differently"));
        assert!(refused(&x_t, &[], &condition, None).contains("0 times, but 1 expected"));
        let short = residues(&|residues| residues.numbers.truncate(2));
        assert!(refused(&x_t, &[0.5], &short, None).contains("2 residue numbers, but 3"));
        let unbroken = residues(&|residues| residues.breaks.clear());
        assert!(refused(&x_t, &[0.5], &unbroken, None).contains("0 breaks, but 3"));
        let nameless = residues(&|residues| residues.folds.clear());
        assert!(refused(&x_t, &[0.5], &nameless, None).contains("0 fold classes, but 1"));
        let unknown = residues(&|residues| residues.folds[0] = [Some(1), Some(43), None]);
        assert!(refused(&x_t, &[0.5], &unknown, None).contains("class 43 of level A, but the network knows 43"));
    }
}
