//! Conformers of molecules beside reference conformers.

use super::{Report, Source, Subject};
use crate::chem::Molecule;
use crate::data::{Condition, MoleculeRecord, Split};
use crate::eval::conformers::{Checker, Coverage, Summary, Validity, coverage, rmsd_matrix};
use crate::eval::picture::{self, Panel};
use crate::geometry::Point;
use crate::train::EvaluationConfig;
use crate::train::drawing::Item;
use crate::{Error, Result};

/// Numbers that say how a molecule's samples match its references: recall and precision of coverage and of matching.
const SCORES: usize = 4;

/// Some molecules of a split.
pub(super) struct Molecules {
    sources: Vec<Source>,
    records: Vec<MoleculeRecord>,
    wanted: EvaluationConfig,
}

impl Molecules {
    /// Reads the molecules with these indices in the split.
    pub fn read(split: &Split, indices: impl Iterator<Item = usize>, wanted: &EvaluationConfig) -> Result<Self> {
        let (mut sources, mut records) = (Vec::new(), Vec::new());
        for index in indices {
            let record = split.molecule(index)?;
            let references = record.num_conformers().min(wanted.max_conformers);
            let samples = wanted.per_conformer * references;
            sources.push(Source { key: index as u64, points: record.num_atoms(), samples });
            records.push(record);
        }
        Ok(Molecules { sources, records, wanted: wanted.clone() })
    }

    fn molecule(&self, source: usize) -> &Molecule {
        self.records[source].molecule()
    }

    /// How many samples are possible conformers.
    fn validity(&self, samples: &[Vec<Vec<Point>>]) -> Validity {
        let of_source = |(source, samples): (usize, &Vec<Vec<Point>>)| {
            let checker = Checker::new(self.molecule(source));
            samples.iter().map(|sample| checker.check(sample)).sum::<Validity>()
        };
        samples.iter().enumerate().map(of_source).sum()
    }

    /// The first sample of each molecule over the conformer that is nearest, as far as there is room.
    fn picture<'a>(&self, samples: &'a [Vec<Vec<Point>>], judgements: &[Vec<f64>]) -> Result<Option<Vec<u8>>> {
        let first = |(source, (samples, judgement)): (usize, (&'a Vec<Vec<Point>>, &Vec<f64>))| {
            let (sample, &[_, reference]) = (samples.first()?, nearest(judgement).first()?);
            Some((source, sample, reference as usize))
        };
        let shown = samples.iter().zip(judgements).enumerate().filter_map(first).take(self.wanted.pictures);
        let shown = shown.map(|(source, sample, c)| Ok((source, sample, self.records[source].conformer(c)?)));
        let shown = shown.collect::<Result<Vec<_>>>()?;
        let panels: Vec<Panel<'_>> = shown
            .iter()
            .map(|(source, positions, reference)| Panel {
                molecule: self.molecule(*source),
                positions,
                reference: Some(reference),
            })
            .collect();
        if panels.is_empty() { Ok(None) } else { picture::conformers(&panels).map(Some) }
    }

    /// The conformers of highest weight, in Å.
    fn references(&self, source: usize) -> Result<Vec<Vec<Point>>> {
        let record = &self.records[source];
        (0..record.num_conformers().min(self.wanted.max_conformers)).map(|c| record.conformer(c)).collect()
    }
}

impl Subject for Molecules {
    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn condition(&self, batch: &[Item]) -> Condition {
        Condition::from_molecules(batch.iter().map(|item| self.molecule(item.source)))
    }

    /// Coverage and matching of the molecule ([`SCORES`] numbers), then of each sample the RMSD from the nearest reference
    /// conformer, and which that is. Nothing where there is nothing to compare: no sample, or no heavy atom.
    fn judge(&self, source: usize, samples: &[Vec<Point>]) -> Result<Vec<f64>> {
        let (molecule, references) = (self.molecule(source), self.references(source)?);
        // The process's own pool of threads is a single one; here several molecules are compared side by side.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let pool = pool.map_err(|e| Error::World(format!("no thread to compare conformers on: {e}")))?;
        let matrix = pool.install(|| rmsd_matrix(molecule, &references, molecule, samples))?;
        if samples.is_empty() || matrix.mismatch.is_some() {
            return Ok(Vec::new());
        }
        let covered = coverage(&matrix, &[self.wanted.threshold]);
        let mut words = vec![covered.recall[0], covered.precision[0], covered.amr_recall, covered.amr_precision];
        for column in 0..samples.len() {
            let rmsd = |row: usize| matrix.values[row * samples.len() + column];
            let row = (0..references.len()).min_by(|&a, &b| rmsd(a).total_cmp(&rmsd(b))).unwrap_or(0);
            words.extend([rmsd(row), row as f64]);
        }
        Ok(words)
    }

    fn report(&self, samples: &[Vec<Vec<Point>>], judgements: &[Vec<f64>]) -> Result<Report> {
        let scored: Vec<Coverage> = judgements.iter().filter_map(|words| scores(words)).collect();
        let Summary {
            recall_mean,
            recall_median,
            precision_mean,
            precision_median,
            amr_recall_mean,
            amr_recall_median,
            amr_precision_mean,
            amr_precision_median,
        } = Summary::of(&scored);
        let at_threshold = |shares: Vec<f64>| shares.first().copied().unwrap_or(f64::NAN);
        let (recall, precision) = (at_threshold(recall_mean), at_threshold(precision_mean));
        let validity = self.validity(samples);
        let share = |count: usize| count as f64 / validity.conformers as f64;
        let line = format!(
            "evaluation of {} molecules: recall COV {:.1} % AMR {amr_recall_mean:.3} Å, precision COV {:.1} % AMR \
             {amr_precision_mean:.3} Å at {} Å, {:.1} % valid",
            scored.len(),
            100.0 * recall,
            100.0 * precision,
            self.wanted.threshold,
            100.0 * validity.share()
        );
        let values = [
            ("cov_recall", recall),
            ("cov_recall_median", at_threshold(recall_median)),
            ("cov_precision", precision),
            ("cov_precision_median", at_threshold(precision_median)),
            ("amr_recall", amr_recall_mean),
            ("amr_recall_median", amr_recall_median),
            ("amr_precision", amr_precision_mean),
            ("amr_precision_median", amr_precision_median),
            ("valid", validity.share()),
            ("valid_bond_lengths", share(validity.bond_lengths)),
            ("valid_bond_angles", share(validity.bond_angles)),
            ("valid_without_clash", share(validity.without_clash)),
            ("valid_handedness", share(validity.handedness)),
            ("valid_aromatic_rings", share(validity.aromatic_rings)),
            ("valid_double_bonds", share(validity.double_bonds)),
        ];
        let nearest = judgements.iter().flat_map(|words| nearest(words));
        let picture = self.picture(samples, judgements)?;
        Ok(Report {
            line,
            values: values.map(|(name, value)| (format!("eval/{name}"), value)).into(),
            histograms: vec![("eval/rmsd".into(), nearest.map(|&[rmsd, _]| rmsd as f32).collect())],
            pictures: picture.map(|png| ("eval/conformers".to_string(), png)).into_iter().collect(),
        })
    }
}

/// What was judged of a molecule, at the one threshold.
fn scores(judgement: &[f64]) -> Option<Coverage> {
    let &[recall, precision, amr_recall, amr_precision] = judgement.first_chunk()?;
    Some(Coverage { recall: vec![recall], precision: vec![precision], amr_recall, amr_precision })
}

/// Of each sample the RMSD from the nearest reference conformer, and which that is.
fn nearest(judgement: &[f64]) -> &[[f64; 2]] {
    judgement.get(SCORES..).unwrap_or_default().as_chunks().0
}
