//! How near the distribution of samples comes to a reference, seen by a classifier of folds: Proteina's FPSD, fS and fJSD
//! (Geffner et al., ICLR 2025), from files with the classifier's features and class probabilities.
//!
//! The numbers are the classifier's as much as the samples': only values from one classifier, one reference and about the same
//! number of samples may be compared. The field's is GearNet on Cα atoms, with 512 features and the classes of the CATH
//! levels C, A and T.

mod matrix;

use std::fmt;
use std::path::{Path, PathBuf};

use nalgebra::{DMatrix, DVector, SymmetricEigen};
use serde::Serialize;

pub use matrix::Matrix;

use crate::files::write_whole;
use crate::{Error, Result};

/// Rows of probabilities may sum to 1 within this.
const SUM_TOLERANCE: f64 = 1e-3;

/// The distance of features of generated samples from those of a reference:
///
/// d² = |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½)
///
/// the Fréchet distance of the two normal laws with these means and covariances, squared, as is usual (FPSD; FID where the
/// features are of pictures). Covariances are divided by n − 1. With Σᵢ = AᵢᵀAᵢ the trace of the root is the sum of the singular
/// values of A₁A₂ᵀ, which needs no root of a matrix that is not symmetric, and holds for covariances without full rank (fewer
/// samples than features).
///
/// # Errors
/// What is wrong: different numbers of features, or fewer than two samples.
pub fn frechet_distance(generated: &Matrix, reference: &Matrix) -> Result<f64, String> {
    if generated.columns() != reference.columns() {
        let (generated, reference) = (generated.columns(), reference.columns());
        return Err(format!(
            "{generated} features generated, {reference} in the reference; take those of one classifier"
        ));
    }
    if generated.rows().min(reference.rows()) < 2 {
        return Err("a covariance needs two samples at least".into());
    }
    let (mean_1, factor_1) = moments(generated);
    let (mean_2, factor_2) = moments(reference);
    let root: f64 = (&factor_1 * factor_2.transpose()).singular_values().iter().sum();
    let distance = (mean_1 - mean_2).norm_squared() + factor_1.norm_squared() + factor_2.norm_squared() - 2.0 * root;
    // Equal distributions may come out below zero by round-off.
    Ok(distance.max(0.0))
}

/// The mean, and a factor A of the covariance AᵀA with as few rows as there are samples or features.
fn moments(samples: &Matrix) -> (DVector<f64>, DMatrix<f64>) {
    let (n, d) = (samples.rows(), samples.columns());
    let mut centred = DMatrix::from_row_slice(n, d, samples.values());
    let mean = DVector::from_fn(d, |j, _| centred.column(j).sum() / n as f64);
    for (j, mut column) in centred.column_iter_mut().enumerate() {
        column.add_scalar_mut(-mean[j]);
    }
    centred /= ((n - 1) as f64).sqrt();
    if n <= d {
        return (mean, centred);
    }
    let eigen = SymmetricEigen::new(centred.tr_mul(&centred));
    let mut factor = eigen.eigenvectors.transpose();
    for (mut row, eigenvalue) in factor.row_iter_mut().zip(&eigen.eigenvalues) {
        row *= eigenvalue.max(0.0).sqrt();
    }
    (mean, factor)
}

/// fS = exp( 1/n Σᵢ KL(pᵢ ‖ p̄) ), natural logarithms, for class probabilities pᵢ and their mean p̄: between 1 (all samples
/// alike) and the number of classes (sure of each sample, all classes equally often). The field computes it in one split.
pub fn fold_score(probabilities: &Matrix) -> f64 {
    let mean = mean(probabilities);
    let sum: f64 = probabilities.iter_rows().map(|row| divergence(row, &mean)).sum();
    (sum / probabilities.rows() as f64).exp()
}

/// fJSD = 10 · JSD(p̄, q̄) = 5 · [KL(p̄ ‖ m) + KL(q̄ ‖ m)], m = (p̄ + q̄)/2, in nats, of the mean class probabilities of samples and
/// reference: from 0 (classes equally often) to 10 ln 2 (none in common).
///
/// # Errors
/// When the numbers of classes or their names differ.
pub fn fold_divergence(generated: &Matrix, reference: &Matrix) -> Result<f64, String> {
    if generated.columns() != reference.columns() {
        let (generated, reference) = (generated.columns(), reference.columns());
        return Err(format!("{generated} classes generated, {reference} in the reference"));
    }
    if let (Some(first), Some(second)) = (generated.names(), reference.names())
        && let Some(i) = (0..first.len()).find(|&i| first[i] != second[i])
    {
        return Err(format!("class {} is '{}' there and '{}' in the reference", i + 1, first[i], second[i]));
    }
    let (p, q) = (mean(generated), mean(reference));
    let middle: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
    Ok(10.0 * (divergence(&p, &middle) + divergence(&q, &middle)) / 2.0)
}

fn mean(probabilities: &Matrix) -> Vec<f64> {
    let mut mean = vec![0.0; probabilities.columns()];
    for row in probabilities.iter_rows() {
        mean.iter_mut().zip(row).for_each(|(sum, p)| *sum += p);
    }
    mean.iter_mut().for_each(|sum| *sum /= probabilities.rows() as f64);
    mean
}

/// KL(p ‖ q) = Σ p ln(p/q) in nats, where 0 ln 0 = 0.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q).ln()).sum()
}

/// A file of samples, and one of the reference where there is one.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Of the generated samples.
    pub generated: PathBuf,
    /// Of the reference.
    pub reference: Option<PathBuf>,
}

/// What `qsd-eval distributions` is asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Features of samples and reference.
    pub features: Option<Pair>,
    /// Class probabilities by level: its name and files.
    pub levels: Vec<(char, Pair)>,
    /// The JSON file to write.
    pub out: Option<PathBuf>,
}

/// The results.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of qsd.
    pub qsd: &'static str,
    /// Fréchet distance of the features.
    pub fpsd: Option<f64>,
    /// Samples, reference samples and features behind it.
    pub features: Option<[usize; 3]>,
    /// By level of the classification.
    pub levels: Vec<Level>,
}

/// The results of a level.
#[derive(Clone, Debug, Serialize)]
pub struct Level {
    /// C, A or T.
    pub level: char,
    /// Number of samples.
    pub samples: usize,
    /// Number of classes.
    pub classes: usize,
    /// fS.
    pub fs: f64,
    /// fJSD, where there is a reference.
    pub fjsd: Option<f64>,
}

/// Reads the files, computes what they allow, and writes it where asked.
///
/// # Errors
/// [`Error::Config`] when nothing is asked for; [`Error::Data`] with the file when one is damaged or does not fit;
/// [`Error::Io`].
pub fn main(options: &Options) -> Result<Report> {
    if options.features.is_none() && options.levels.is_empty() {
        let what = "give --features and --reference, or --probabilities-c, -a or -t, or all of them";
        return Err(Error::Config(what.into()));
    }
    let mut report = Report { qsd: env!("CARGO_PKG_VERSION"), fpsd: None, features: None, levels: Vec::new() };
    if let Some(Pair { generated, reference: Some(reference) }) = &options.features {
        let (samples, others) = (Matrix::read(generated)?, Matrix::read(reference)?);
        report.features = Some([samples.rows(), others.rows(), samples.columns()]);
        report.fpsd = Some(frechet_distance(&samples, &others).map_err(not_together(generated, reference))?);
    }
    for (level, pair) in &options.levels {
        report.levels.push(of_level(*level, pair)?);
    }
    if let Some(out) = &options.out {
        let text = serde_json::to_string_pretty(&report).unwrap_or_default();
        write_whole(out, (text + "\n").as_bytes())?;
    }
    Ok(report)
}

fn of_level(level: char, pair: &Pair) -> Result<Level> {
    let samples = read_probabilities(&pair.generated)?;
    let divergence = |reference: &PathBuf| {
        let others = read_probabilities(reference)?;
        fold_divergence(&samples, &others).map_err(not_together(&pair.generated, reference))
    };
    let fjsd = pair.reference.as_ref().map(divergence).transpose()?;
    Ok(Level { level, samples: samples.rows(), classes: samples.columns(), fs: fold_score(&samples), fjsd })
}

fn not_together<'a>(generated: &'a Path, reference: &'a Path) -> impl FnOnce(String) -> Error + 'a {
    move |what| Error::Data(format!("{} and {}: {what}", generated.display(), reference.display()))
}

/// Reads rows that are probabilities.
///
/// # Errors
/// [`Error::Data`] with the row that is none.
fn read_probabilities(path: &Path) -> Result<Matrix> {
    let matrix = Matrix::read(path)?;
    for (i, row) in matrix.iter_rows().enumerate() {
        let sum: f64 = row.iter().sum();
        let negative = row.iter().find(|p| **p < 0.0);
        let what = match negative {
            Some(p) => format!("has {p}"),
            None if (sum - 1.0).abs() > SUM_TOLERANCE => format!("sums to {sum}"),
            None => continue,
        };
        let path = path.display();
        return Err(Error::Data(format!("{path}: row {} {what}; expected probabilities (after the softmax)", i + 1)));
    }
    Ok(matrix)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        if let (Some(fpsd), Some([samples, reference, features])) = (self.fpsd, self.features) {
            writeln!(out, "FPSD {fpsd:.4} ({samples} samples, {reference} of the reference, {features} features)")?;
            if samples.min(reference) <= features {
                writeln!(
                    out,
                    "  fewer samples than features: the covariance is not of full rank, and FPSD far from that of many"
                )?;
            }
        }
        if !self.levels.is_empty() {
            writeln!(out, "{:>5} {:>8} {:>8} {:>10} {:>10}", "level", "samples", "classes", "fS", "fJSD")?;
        }
        for Level { level, samples, classes, fs, fjsd } in &self.levels {
            let fjsd = fjsd.map(|value| format!("{value:.4}")).unwrap_or_default();
            writeln!(out, "{level:>5} {samples:>8} {classes:>8} {fs:>10.4} {fjsd:>10}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
