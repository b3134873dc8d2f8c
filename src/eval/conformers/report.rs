//! The tables of `qsd-eval conformers`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::assess::{Assessed, Skip};
use super::coverage::{Summary, thresholds};
use super::validity::Validity;
use crate::Result;
use crate::eval::table::{Table, csv, percent};

/// What came of an evaluation.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was compared with what, as a sentence.
    pub title: String,
    /// How: the options that decide the numbers, for `summary.json`.
    pub protocol: Value,
    /// Thresholds of the tables in Å, a part of [`thresholds`].
    pub shown: Vec<f64>,
    /// The molecules that were evaluated.
    pub molecules: Vec<Assessed>,
    /// The others, by key.
    pub skipped: Vec<(String, Skip)>,
    /// Records of the files that could not be read.
    pub unreadable: Vec<String>,
}

const LEGEND: &str = "
COV: share of reference (recall) or generated (precision) conformers with a heavy-atom RMSD below the threshold to one of the
other; AMR: mean of the lowest RMSDs. Means and medians are over molecules.
";

/// The files that a report consists of.
pub const FILES: [&str; 5] = ["report.md", "summary.json", "molecules.csv", "coverage.csv", "skipped.csv"];

impl Report {
    /// The report's files by name, [`FILES`].
    ///
    /// # Errors
    /// When a table cannot be written.
    pub fn files(&self) -> Result<[(&'static str, Vec<u8>); 5]> {
        let [report, summary, molecules, coverage, skipped] = FILES;
        Ok([
            (report, self.markdown().into_bytes()),
            (summary, format!("{:#}\n", self.summary()).into_bytes()),
            (molecules, self.molecules_csv()?),
            (coverage, self.coverage_csv()?),
            (skipped, self.skipped_csv()?),
        ])
    }

    fn totals(&self) -> Summary {
        Summary::of(self.molecules.iter().map(|molecule| &molecule.coverage))
    }

    fn validity(&self, of: fn(&Assessed) -> &Validity) -> Validity {
        self.molecules.iter().map(of).sum()
    }

    /// The report for people.
    pub fn markdown(&self) -> String {
        let mut text = format!("# Conformers\n\n{}\n\n{}{LEGEND}", self.title, self.scores());
        let inexact: usize = self.molecules.iter().map(|molecule| molecule.inexact_pairs).sum();
        if inexact > 0 {
            text += &format!(
                "\nThe search over symmetries was cut short in {inexact} pairs: their RMSDs may be too large.\n"
            );
        }
        let lonely = |m: &&Assessed| m.coverage.amr_recall.is_nan() || m.coverage.amr_precision.is_nan();
        let lonely = self.molecules.iter().filter(lonely).count();
        if lonely > 0 {
            text += &format!(
                "\n{lonely} molecules have conformers whose graph no conformer of the other side has. These count as not covered, and \
                 AMR is not a number, as with the field's evaluator. Where they are reference conformers that have reacted, \
                 --corrected drops them.\n"
            );
        }
        let mut validity = table(&["share of conformers with", "reference", "generated"]);
        let (reference, generated) = (self.validity(|m| &m.reference_validity), self.validity(|m| &m.validity));
        for ((name, reference), (_, generated)) in reference.shares().into_iter().zip(generated.shares()) {
            validity.push(vec![name.to_string(), percent(reference), percent(generated)]);
        }
        text += &format!("\n## Validity\n\n{validity}");
        let unknown: usize = self.molecules.iter().map(|molecule| molecule.unknown_handedness).sum();
        if unknown > 0 {
            text += &format!(
                "\nThe handedness of {unknown} generated conformers was not checked, and counts as stated: their atoms stand in \
                 another order than the reference's.\n"
            );
        }
        if !self.skipped.is_empty() || !self.unreadable.is_empty() {
            let mut left_out = table(&["why", "how many"]);
            self.left_out().into_iter().for_each(|(why, n)| left_out.push(vec![why, n.to_string()]));
            text += &format!("\n## Left out\n\n{left_out}");
        }
        text
    }

    fn scores(&self) -> Table {
        let totals = self.totals();
        let mut scores = table(&["", "recall, mean", "median", "precision, mean", "median"]);
        for threshold in &self.shown {
            let Some(k) = place(*threshold) else { continue };
            let columns =
                [&totals.recall_mean, &totals.recall_median, &totals.precision_mean, &totals.precision_median];
            let cells = columns.map(|column| percent(column[k]));
            scores.push([format!("COV, {threshold} Å")].into_iter().chain(cells).collect());
        }
        let amr =
            [totals.amr_recall_mean, totals.amr_recall_median, totals.amr_precision_mean, totals.amr_precision_median];
        scores.push(["AMR, Å".to_string()].into_iter().chain(amr.map(|value| format!("{value:.3}"))).collect());
        scores
    }

    /// What was left out, and how much of it.
    fn left_out(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        self.skipped
            .iter()
            .for_each(|(_, skip)| *counts.entry(format!("molecules: {}", skip.kind())).or_default() += 1);
        if !self.unreadable.is_empty() {
            counts.insert("records: not readable".into(), self.unreadable.len());
        }
        counts
    }

    fn summary(&self) -> Value {
        let totals = self.totals();
        let scores = |mean: &[f64], median: &[f64]| json!({"mean": mean, "median": median});
        let shares =
            |validity: Validity| validity.shares().into_iter().map(|(name, share)| (name.to_string(), json!(share)));
        json!({
            "qsd": env!("CARGO_PKG_VERSION"),
            "protocol": self.protocol,
            "molecules": self.molecules.len(),
            "reference_conformers": self.molecules.iter().map(|m| m.references.0).sum::<usize>(),
            "generated_conformers": self.molecules.iter().map(|m| m.generated.0).sum::<usize>(),
            "thresholds": thresholds(),
            "cov_recall": scores(&totals.recall_mean, &totals.recall_median),
            "cov_precision": scores(&totals.precision_mean, &totals.precision_median),
            "amr_recall": {"mean": totals.amr_recall_mean, "median": totals.amr_recall_median},
            "amr_precision": {"mean": totals.amr_precision_mean, "median": totals.amr_precision_median},
            "inexact_pairs": self.molecules.iter().map(|m| m.inexact_pairs).sum::<usize>(),
            "validity_reference": shares(self.validity(|m| &m.reference_validity)).collect::<serde_json::Map<_, _>>(),
            "validity_generated": shares(self.validity(|m| &m.validity)).collect::<serde_json::Map<_, _>>(),
            "unknown_handedness": self.molecules.iter().map(|m| m.unknown_handedness).sum::<usize>(),
            "left_out": self.left_out(),
        })
    }

    fn molecules_csv(&self) -> Result<Vec<u8>> {
        let all = thresholds();
        let shown: Vec<usize> = self.shown.iter().filter_map(|threshold| place(*threshold)).collect();
        let at = |name: &str| shown.iter().map(|&k| format!("{name}_{:.2}", all[k])).collect::<Vec<_>>();
        let first = ["key", "atoms", "heavy_atoms", "references", "references_all", "generated", "generated_all"];
        let last = ["amr_recall", "amr_precision", "valid", "reference_valid", "inexact_pairs"];
        let (recall, precision) = (at("cov_recall"), at("cov_precision"));
        let header = first.iter().copied().chain(recall.iter().chain(&precision).map(String::as_str)).chain(last);
        let row = |m: &Assessed| {
            let counts = [m.atoms, m.heavy_atoms, m.references.0, m.references.1, m.generated.0, m.generated.1];
            let scores =
                shown.iter().map(|&k| m.coverage.recall[k]).chain(shown.iter().map(|&k| m.coverage.precision[k]));
            let amr =
                [m.coverage.amr_recall, m.coverage.amr_precision, m.validity.share(), m.reference_validity.share()];
            let numbers = scores.chain(amr).map(|value| value.to_string());
            let counts = counts.map(|n| n.to_string());
            [m.key.clone()].into_iter().chain(counts).chain(numbers).chain([m.inexact_pairs.to_string()]).collect()
        };
        csv(&header.collect::<Vec<_>>(), self.molecules.iter().map(row))
    }

    fn coverage_csv(&self) -> Result<Vec<u8>> {
        let totals = self.totals();
        let columns = [&totals.recall_mean, &totals.recall_median, &totals.precision_mean, &totals.precision_median];
        let header =
            ["threshold", "cov_recall_mean", "cov_recall_median", "cov_precision_mean", "cov_precision_median"];
        let rows = thresholds().into_iter().enumerate().map(|(k, threshold)| {
            [format!("{threshold:.2}")].into_iter().chain(columns.map(|column| column[k].to_string())).collect()
        });
        csv(&header, rows)
    }

    fn skipped_csv(&self) -> Result<Vec<u8>> {
        let molecules =
            self.skipped.iter().map(|(key, skip)| vec![key.clone(), skip.kind().to_string(), skip.detail()]);
        let records = self.unreadable.iter().map(|what| vec![String::new(), "not readable".to_string(), what.clone()]);
        csv(&["key", "reason", "detail"], molecules.chain(records))
    }
}

fn table(header: &[&str]) -> Table {
    Table::new(header.iter().map(|cell| cell.to_string()).collect())
}

/// Which of [`thresholds`] a threshold is.
pub(super) fn place(threshold: f64) -> Option<usize> {
    thresholds().iter().position(|other| (other - threshold).abs() < 1e-9)
}
