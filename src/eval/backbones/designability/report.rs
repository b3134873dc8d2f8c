//! What came out: a row for each backbone, and what they say together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use rayon::prelude::*;
use serde::Serialize;

use super::super::tm;
use super::Evaluation;
use super::inputs::Subject;
use super::step::{self, Step as _};
use super::steps::{Backbone, Folding};
use crate::Result;
use crate::eval::table::csv;
use crate::files::write_whole;
use crate::geometry::vector::{norm_squared, sub};
use crate::geometry::{Point, kabsch};

/// Up to so many different lengths are listed one by one, more of them in ranges.
const MAX_LENGTHS: usize = 12;
/// Residues of a range of lengths.
const RANGE: usize = 50;

/// The results.
#[derive(Clone, Debug)]
pub struct Report {
    /// What `summary.json` holds.
    pub summary: Summary,
    /// What `designability.csv` holds: every chain of every file, in the order of the inputs.
    pub rows: Vec<Row>,
}

/// A backbone.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its file.
    pub file: String,
    /// Its chain.
    pub chain: String,
    /// Number of its residues; 0 of a file that gave none.
    pub length: usize,
    /// How near its sequences come, or why that is not known.
    pub scores: Result<Scores, String>,
}

/// How near the structures of a backbone's sequences come.
#[derive(Clone, Debug)]
pub struct Scores {
    /// RMSD of each sequence's structure in Å, in the order of the sequences.
    pub rmsds: Vec<f64>,
    /// scTM: the highest TM-score of a structure; NaN for chains that are too short to have one.
    pub tm: f64,
    /// The sequence with the lowest, the first of equal ones.
    pub sequence: String,
    /// Its structure, a path in the folder of results.
    pub structure: String,
}

impl Scores {
    /// scRMSD: the lowest, in Å.
    pub fn best(&self) -> f64 {
        self.rmsds.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// All backbones together.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Version of qsd.
    pub qsd: &'static str,
    /// The command for sequences.
    pub inverse_folding: String,
    /// The command for structures.
    pub folding: String,
    /// Sequences per backbone.
    pub num: usize,
    /// Seed.
    pub seed: u64,
    /// Below this scRMSD in Å a backbone is designable.
    pub threshold: f64,
    /// Backbones whose scRMSD is not known; they count in nothing below.
    pub failed: usize,
    /// Backbones evaluated.
    pub evaluated: usize,
    /// Mean scTM of those long enough to have one.
    pub mean_sc_tm: Option<f64>,
    /// All backbones that were evaluated.
    #[serde(flatten)]
    pub all: Group,
    /// The same by length.
    pub by_length: Vec<Lengths>,
}

/// The backbones of one length, or of a range of lengths.
#[derive(Clone, Debug, Serialize)]
pub struct Lengths {
    /// `100`, or where lengths are many, `100-149`.
    pub lengths: String,
    /// These backbones.
    #[serde(flatten)]
    pub group: Group,
}

/// A group of backbones. Numbers are absent where there is nothing to count.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// How many.
    pub backbones: usize,
    /// How many of them are designable.
    pub designable: usize,
    /// The share of these, 0 to 1.
    pub share: Option<f64>,
    /// Mean scRMSD in Å.
    pub mean_sc_rmsd: Option<f64>,
    /// Median scRMSD in Å.
    pub median_sc_rmsd: Option<f64>,
}

/// Compares the structures that are there with the backbones.
pub(super) fn assemble(evaluation: &Evaluation, subjects: &[Subject], failures: &HashMap<String, String>) -> Report {
    let row = |subject: &Subject| Row {
        file: subject.file.display().to_string(),
        chain: subject.chain.clone(),
        length: subject.backbone.as_ref().map_or(0, |backbone| backbone.positions.len()),
        scores: subject.backbone.clone().and_then(|backbone| scores(evaluation, &backbone, failures)),
    };
    let rows: Vec<Row> = subjects.par_iter().map(row).collect();
    let known: Vec<(usize, f64)> =
        rows.iter().filter_map(|row| Some((row.length, row.scores.as_ref().ok()?.best()))).collect();
    let tms: Vec<f64> =
        rows.iter().filter_map(|row| Some(row.scores.as_ref().ok()?.tm)).filter(|tm| !tm.is_nan()).collect();
    let options = evaluation.options;
    let summary = Summary {
        qsd: env!("CARGO_PKG_VERSION"),
        inverse_folding: options.inverse_folding.clone(),
        folding: options.folding.clone(),
        num: options.num,
        seed: options.seed,
        threshold: options.threshold,
        failed: rows.len() - known.len(),
        evaluated: known.len(),
        mean_sc_tm: mean(&tms),
        all: Group::of(known.iter().map(|(_, score)| *score).collect(), options.threshold),
        by_length: by_length(&known, options.threshold),
    };
    Report { summary, rows }
}

/// A backbone's scores, or why they are not known.
fn scores(evaluation: &Evaluation, backbone: &Backbone, failures: &HashMap<String, String>) -> Result<Scores, String> {
    let why = |key: &str| failures.get(key).cloned().unwrap_or_else(|| "not done yet".to_string());
    let sequences = evaluation.sequences(backbone).ok_or_else(|| why(&backbone.key))?;
    let folder = evaluation.store.folder(Folding::NAME);
    let score = |sequence| match step::find(&Folding, sequence, &folder) {
        Some(Ok(found)) => {
            let tm = tm::score(&found.made, &backbone.positions);
            Ok((rmsd(&found.made, &backbone.positions), tm, found.path))
        }
        _ => Err(why(&sequence.key)),
    };
    let found: Vec<_> = sequences.iter().map(score).collect();
    let missing = found.iter().filter(|score| score.is_err()).count();
    let scored: Result<Vec<_>, String> = found.into_iter().collect();
    let scored =
        scored.map_err(|reason| format!("{missing} of {} structures are missing; {reason}", sequences.len()))?;
    let best = (0..scored.len()).min_by(|&a, &b| scored[a].0.total_cmp(&scored[b].0)).unwrap_or_default();
    Ok(Scores {
        sequence: sequences[best].letters.clone(),
        structure: evaluation.store.relative(&scored[best].2),
        tm: scored.iter().map(|(_, tm, _)| *tm).fold(f64::NAN, f64::max),
        rmsds: scored.into_iter().map(|(rmsd, ..)| rmsd).collect(),
    })
}

/// The root of the mean squared distance in Å after the rigid motion that makes it smallest.
fn rmsd(structure: &[Point], backbone: &[Point]) -> f64 {
    let mut moved = structure.to_vec();
    kabsch::align(structure, backbone).apply(&mut moved);
    let sum: f64 = moved.iter().zip(backbone).map(|(y, x)| norm_squared(&sub(y, x))).sum();
    (sum / backbone.len() as f64).sqrt()
}

/// Backbones by length, the shortest first.
fn by_length(known: &[(usize, f64)], threshold: f64) -> Vec<Lengths> {
    let lengths: BTreeSet<usize> = known.iter().map(|(length, _)| *length).collect();
    let in_ranges = lengths.len() > MAX_LENGTHS;
    let mut groups: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (length, score) in known {
        let first = if in_ranges { length / RANGE * RANGE } else { *length };
        groups.entry(first).or_default().push(*score);
    }
    let name = |first: usize| if in_ranges { format!("{first}-{}", first + RANGE - 1) } else { first.to_string() };
    let of_group = |(first, scores)| Lengths { lengths: name(first), group: Group::of(scores, threshold) };
    groups.into_iter().map(of_group).collect()
}

/// The mean; nothing of nothing.
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Group {
    fn of(mut scores: Vec<f64>, threshold: f64) -> Self {
        scores.sort_by(f64::total_cmp);
        let n = scores.len();
        let designable = scores.iter().filter(|score| **score < threshold).count();
        Group {
            backbones: n,
            designable,
            share: (n > 0).then(|| designable as f64 / n as f64),
            mean_sc_rmsd: mean(&scores),
            median_sc_rmsd: (n > 0).then(|| (scores[(n - 1) / 2] + scores[n / 2]) / 2.0),
        }
    }
}

impl Report {
    /// Writes `designability.csv` and `summary.json` into a folder.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let path = folder.join("designability.csv");
        write_whole(&path, &self.table()?)?;
        let summary = serde_json::to_string_pretty(&self.summary).unwrap_or_default();
        write_whole(&folder.join("summary.json"), (summary + "\n").as_bytes())
    }

    fn table(&self) -> Result<Vec<u8>> {
        let header = [
            "file",
            "chain",
            "length",
            "sc_rmsd",
            "designable",
            "best_sequence",
            "best_structure",
            "sc_rmsds",
            "sc_tm",
            "failure",
        ];
        let fields = |row: &Row| {
            let found = match &row.scores {
                Ok(scores) => {
                    let all: Vec<String> = scores.rmsds.iter().map(|rmsd| format!("{rmsd:.4}")).collect();
                    let designable = scores.best() < self.summary.threshold;
                    let best = format!("{:.4}", scores.best());
                    let [sequence, structure] = [scores.sequence.clone(), scores.structure.clone()];
                    let tm = if scores.tm.is_nan() { String::new() } else { format!("{:.4}", scores.tm) };
                    [best, designable.to_string(), sequence, structure, all.join(" "), tm, String::new()]
                }
                Err(reason) => {
                    let mut fields: [String; 7] = Default::default();
                    fields[6] = reason.clone();
                    fields
                }
            };
            [row.file.clone(), row.chain.clone(), row.length.to_string()].into_iter().chain(found).collect()
        };
        csv(&header, self.rows.iter().map(fields))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let Summary { threshold, num, failed, .. } = self.summary;
        writeln!(
            out,
            "{:>9} {:>9} {:>10} {:>7} {:>11} {:>13}",
            "length", "backbones", "designable", "share", "mean scRMSD", "median scRMSD"
        )?;
        let groups = self.summary.by_length.iter().map(|lengths| (lengths.lengths.as_str(), &lengths.group));
        for (name, group) in groups.chain([("all", &self.summary.all)]) {
            let percent = group.share.map(|share| format!("{:.1} %", 100.0 * share)).unwrap_or_default();
            let length = |value: Option<f64>| value.map(|value| format!("{value:.2} Å")).unwrap_or_default();
            let (mean, median) = (length(group.mean_sc_rmsd), length(group.median_sc_rmsd));
            let (backbones, designable) = (group.backbones, group.designable);
            writeln!(out, "{name:>9} {backbones:>9} {designable:>10} {percent:>7} {mean:>11} {median:>13}")?;
        }
        writeln!(out, "designable: the best of {num} sequences folds within {threshold} Å (scRMSD, Cα)")?;
        if failed > 0 {
            let where_to_look = "the reasons are in designability.csv, and the same command tries them again";
            writeln!(out, "{failed} failed and not counted: {where_to_look}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rmsd_is_blind_to_motions_and_not_to_mirrors() {
        let backbone: Vec<Point> =
            (0..20).map(|i| [2.3 * (i as f64).cos(), 2.3 * (i as f64).sin(), 1.5 * i as f64]).collect();
        let turned: Vec<Point> = backbone.iter().map(|[x, y, z]| [-y + 7.0, x - 3.0, *z]).collect();
        assert!(rmsd(&turned, &backbone) < 1e-9);
        let mirrored: Vec<Point> = backbone.iter().map(|[x, y, z]| [*x, *y, -z]).collect();
        assert!(rmsd(&mirrored, &backbone) > 1.0);
        // Two points, 2 Å and 4 Å apart: each is 1 Å off.
        assert!((rmsd(&[[0.0; 3], [0.0, 2.0, 0.0]], &[[0.0; 3], [4.0, 0.0, 0.0]]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn groups_count_and_average() {
        let known = [(100, 1.0), (50, 2.0), (50, 0.5), (100, 4.0), (100, 1.5)];
        let groups = by_length(&known, 2.0);
        let names: Vec<&str> = groups.iter().map(|group| group.lengths.as_str()).collect();
        assert_eq!(names, ["50", "100"]);
        assert_eq!((groups[0].group.designable, groups[0].group.share), (1, Some(0.5)));
        assert_eq!((groups[0].group.mean_sc_rmsd, groups[0].group.median_sc_rmsd), (Some(1.25), Some(1.25)));
        assert_eq!((groups[1].group.designable, groups[1].group.median_sc_rmsd), (2, Some(1.5)));
        let many: Vec<(usize, f64)> = (90..120).map(|length| (length, 1.0)).collect();
        let names: Vec<String> = by_length(&many, 2.0).into_iter().map(|group| group.lengths).collect();
        assert_eq!(names, ["50-99", "100-149"]);
        let none = Group::of(Vec::new(), 2.0);
        assert_eq!((none.backbones, none.share, none.mean_sc_rmsd, none.median_sc_rmsd), (0, None, None, None));
    }
}
