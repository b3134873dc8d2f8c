//! Backbones as long as some chains of the data, judged by themselves and beside each other.

use super::{Report, Source, Subject};
use crate::Result;
use crate::data::{Condition, Split};
use crate::eval::backbones::{BREAK, Shape, Structure, Summary, secondary_structure, shape, tm};
use crate::eval::picture::{self, Trace};
use crate::geometry::Point;
use crate::geometry::vector::{norm_squared, sub};
use crate::train::EvaluationConfig;
use crate::train::drawing::Item;

/// The lengths of some chains of a split.
pub(super) struct Chains {
    sources: Vec<Source>,
    pictures: usize,
}

impl Chains {
    /// Takes the lengths of the chains with these indices in the split, no longer than `max_points`.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) when the split is damaged.
    pub fn read(
        split: &Split,
        indices: impl Iterator<Item = usize>,
        max_points: Option<usize>,
        wanted: &EvaluationConfig,
    ) -> Result<Self> {
        let source = |index: usize| {
            let points = split.num_points(index)?.min(max_points.unwrap_or(usize::MAX));
            Ok(Source { key: index as u64, points, samples: wanted.per_conformer })
        };
        Ok(Chains { sources: indices.map(source).collect::<Result<_>>()?, pictures: wanted.pictures })
    }

    /// A backbone of each length, as far as there is room.
    fn picture(&self, samples: &[Vec<Vec<Point>>]) -> Result<Option<Vec<u8>>> {
        let shown = samples.iter().filter_map(|samples| samples.first()).take(self.pictures);
        let traces: Vec<Trace<'_>> = shown.map(|positions| Trace { positions, reference: None }).collect();
        if traces.is_empty() { Ok(None) } else { picture::backbones(&traces).map(Some) }
    }
}

impl Subject for Chains {
    fn sources(&self) -> &[Source] {
        &self.sources
    }

    fn condition(&self, batch: &[Item]) -> Condition {
        let lengths: Vec<usize> = batch.iter().map(|item| self.sources[item.source].points).collect();
        Condition::from_lengths(&lengths)
    }

    /// The TM-scores of the pairs of samples, which are of one length: how alike they are.
    fn judge(&self, _: usize, samples: &[Vec<Point>]) -> Result<Vec<f64>> {
        let pairs = samples.iter().enumerate().flat_map(|(i, a)| samples[i + 1..].iter().map(move |b| (a, b)));
        Ok(pairs.map(|(a, b)| tm::align(a, b).tm_first).collect())
    }

    fn report(&self, samples: &[Vec<Vec<Point>>], judgements: &[Vec<f64>]) -> Result<Report> {
        let chains: Vec<&Vec<Point>> = samples.iter().flatten().collect();
        let measured: Vec<(Shape, Vec<Structure>)> =
            chains.iter().map(|chain| (shape(chain), secondary_structure(chain))).collect();
        let summary = Summary::of(measured.iter().map(|(shape, structure)| (shape, &structure[..])));
        let tm = mean(judgements.iter().map(|scores| mean(scores.iter().copied())));
        let values = [
            ("ca_ca_mean", summary.ca_ca_mean),
            ("ca_ca_std", summary.ca_ca_std),
            ("ca_ca_good", summary.ca_ca_good),
            ("clashes", summary.clashes),
            ("radius_ratio", summary.radius_ratio_mean),
            ("helix", summary.helix),
            ("strand", summary.strand),
            ("coil", summary.coil),
            ("right_handed", summary.right_handed),
            ("tm_pairwise", tm),
        ];
        let line = format!(
            "evaluation of {} backbones: CA-CA {:.2} ± {:.2} Å, {:.0} % good, {:.0} % of the residues clash, radius ratio \
             {:.2}, {:.0} % helix, {:.0} % strand",
            chains.len(),
            summary.ca_ca_mean,
            summary.ca_ca_std,
            100.0 * summary.ca_ca_good,
            100.0 * summary.clashes,
            summary.radius_ratio_mean,
            100.0 * summary.helix,
            100.0 * summary.strand
        );
        let picture = self.picture(samples)?;
        Ok(Report {
            line,
            values: values.map(|(name, value)| (format!("eval/{name}"), value)).into(),
            histograms: vec![("eval/ca_ca".into(), neighbour_distances(&chains))],
            pictures: picture.map(|png| ("eval/backbones".to_string(), png)).into_iter().collect(),
        })
    }
}

/// The distances of residues that follow each other, Å, those beyond a break as the break.
fn neighbour_distances(chains: &[&Vec<Point>]) -> Vec<f32> {
    let steps = chains.iter().flat_map(|chain| chain.windows(2));
    steps.map(|pair| norm_squared(&sub(&pair[1], &pair[0])).sqrt().min(2.0 * BREAK) as f32).collect()
}

/// The mean of the numbers that there are; NaN of none.
fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = numbers.filter(|x| !x.is_nan()).fold((0.0, 0.0), |(n, sum), x| (n + 1.0, sum + x));
    sum / count
}
