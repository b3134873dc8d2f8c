//! Coverage and average minimum RMSD, as ET-Flow's evaluator defines them (after GeoMol, Ganea et al. 2021).

use super::RmsdMatrix;

/// How well two ensembles cover each other. With d_rg the RMSD of reference conformer r and generated conformer g, missing
/// values left out of minima:
/// COV-R(δ) = mean_r [min_g d_rg < δ], AMR-R = mean_r min_g d_rg; precision the same with r and g exchanged.
#[derive(Clone, Debug, PartialEq)]
pub struct Coverage {
    /// Share (0 to 1) of reference conformers with a generated one nearer than each threshold. A conformer all of whose values are
    /// missing counts as not covered.
    pub recall: Vec<f64>,
    /// Share of generated conformers with a reference nearer than each threshold.
    pub precision: Vec<f64>,
    /// Mean over reference conformers of the RMSD to the nearest generated one, Å; NaN if one of them has no value.
    pub amr_recall: f64,
    /// Mean over generated conformers of the RMSD to the nearest reference, Å; NaN if one of them has no value.
    pub amr_precision: f64,
}

/// The thresholds that tables and curves of the field are made at: 0.05, 0.10 … 3.00 Å, to the bit those of
/// `numpy.arange(0.05, 3.05, 0.05)`. DRUGS is reported at 0.75 Å (number 14), QM9 at 0.5 Å (number 9).
pub fn thresholds() -> Vec<f64> {
    (0..60).map(|k| 0.05 + f64::from(k) * 0.05).collect()
}

/// Coverage at each threshold (Å, strictly below) and average minimum RMSD. Of an empty ensemble everything is NaN.
pub fn coverage(matrix: &RmsdMatrix, thresholds: &[f64]) -> Coverage {
    let nearest = |lines: usize, line: &dyn Fn(usize, usize) -> usize, length: usize| -> Vec<f64> {
        // `f64::min` takes the other number where one is NaN.
        let least = |k| (0..length).map(|l| matrix.values[line(k, l)]).fold(f64::NAN, f64::min);
        (0..lines).map(least).collect()
    };
    let (rows, columns) = (matrix.references, matrix.generated);
    let of_references = nearest(rows, &|r, g| r * columns + g, columns);
    let of_generated = nearest(columns, &|g, r| r * columns + g, rows);
    let shares = |nearest: &[f64]| -> Vec<f64> {
        let below = |threshold: &f64| nearest.iter().filter(|rmsd| *rmsd < threshold).count() as f64;
        thresholds.iter().map(|threshold| below(threshold) / nearest.len() as f64).collect()
    };
    Coverage {
        recall: shares(&of_references),
        precision: shares(&of_generated),
        amr_recall: mean(&of_references),
        amr_precision: mean(&of_generated),
    }
}

/// The same over many molecules, each counted once whatever the size of its ensembles. NaN where a molecule has NaN, as in NumPy.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Mean COV-R at each threshold.
    pub recall_mean: Vec<f64>,
    /// Median COV-R.
    pub recall_median: Vec<f64>,
    /// Mean COV-P.
    pub precision_mean: Vec<f64>,
    /// Median COV-P.
    pub precision_median: Vec<f64>,
    /// Mean AMR-R, Å.
    pub amr_recall_mean: f64,
    /// Median AMR-R, Å.
    pub amr_recall_median: f64,
    /// Mean AMR-P, Å.
    pub amr_precision_mean: f64,
    /// Median AMR-P, Å.
    pub amr_precision_median: f64,
}

impl Summary {
    /// Sums up molecules whose coverage was taken at the same thresholds.
    pub fn of<'a>(molecules: impl IntoIterator<Item = &'a Coverage>) -> Summary {
        let molecules: Vec<&Coverage> = molecules.into_iter().collect();
        let at_each = |shares: fn(&Coverage) -> &[f64], middle: fn(&[f64]) -> f64| -> Vec<f64> {
            let thresholds = molecules.iter().map(|molecule| shares(molecule).len()).min().unwrap_or(0);
            let at = |k: usize| molecules.iter().map(|molecule| shares(molecule)[k]).collect::<Vec<_>>();
            (0..thresholds).map(|k| middle(&at(k))).collect()
        };
        let recall: Vec<f64> = molecules.iter().map(|molecule| molecule.amr_recall).collect();
        let precision: Vec<f64> = molecules.iter().map(|molecule| molecule.amr_precision).collect();
        Summary {
            recall_mean: at_each(|molecule| &molecule.recall, mean),
            recall_median: at_each(|molecule| &molecule.recall, median),
            precision_mean: at_each(|molecule| &molecule.precision, mean),
            precision_median: at_each(|molecule| &molecule.precision, median),
            amr_recall_mean: mean(&recall),
            amr_recall_median: median(&recall),
            amr_precision_mean: mean(&precision),
            amr_precision_median: median(&precision),
        }
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        _ if values.iter().any(|value| value.is_nan()) => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => 0.5 * (values[middle - 1] + values[middle]),
    }
}
