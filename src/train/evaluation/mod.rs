//! Evaluation while a run goes on: samples of a fixed part of the data, drawn every so many steps, and what they are
//! worth.
//!
//! Samples are drawn from the evaluation parameters by the run's sampler, always with the same noise, so that a curve
//! shows the weights' progress and nothing else. Processes and threads share the batches and then the comparisons; every
//! number is computed from one source's samples in a fixed order, so that the values do not depend on who computed them.
//! Training does not notice: it draws none of these random numbers.

mod chains;
mod molecules;

use super::Config;
use super::drawing::{Item, Team, sample_id};
use crate::cli::StopRequest;
use crate::data::{Condition, Dataset, Kind, Selection};
use crate::diffusion::{Denoiser, Sampler, SamplerConfig, Step};
use crate::distributed::{Communicator, vote};
use crate::geometry::Point;
use crate::{Error, Result};

/// A sample with a point farther out than this, Å, is as good as not finite: nothing can be measured of it.
const FARTHEST: f64 = 1e6;

/// What a run is evaluated on, and how.
pub(super) struct Evaluation {
    subject: Box<dyn Subject>,
    batch_points: usize,
    sampler: Sampler,
    seed: u64,
}

/// Something that samples are drawn of.
#[derive(Clone, Copy, Debug)]
struct Source {
    /// Its index in the split: what the randomness of its samples is keyed by.
    key: u64,
    /// Points of each sample.
    points: usize,
    /// How many samples are drawn.
    samples: usize,
}

/// The molecules or lengths of an evaluation, and how their samples are judged.
trait Subject: Send + Sync {
    /// What samples are drawn of.
    fn sources(&self) -> &[Source];
    /// What the network is told of a batch.
    fn condition(&self, batch: &[Item]) -> Condition;
    /// What a source's samples (those that are finite, in the order of their numbers) are worth, as numbers to exchange.
    fn judge(&self, source: usize, samples: &[Vec<Point>]) -> Result<Vec<f64>>;
    /// What is told of all: `samples` and what [`Subject::judge`] said, by source.
    fn report(&self, samples: &[Vec<Vec<Point>>], judgements: &[Vec<f64>]) -> Result<Report>;
}

/// What an evaluation found.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    /// In a few words.
    pub line: String,
    /// Numbers by name; finite.
    pub values: Vec<(String, f64)>,
    /// Distributions by name.
    pub histograms: Vec<(String, Vec<f32>)>,
    /// PNG files by name.
    pub pictures: Vec<(String, Vec<u8>)>,
}

impl Evaluation {
    /// What the section `evaluation` asks for; `None` where it asks for nothing.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no such split, or it is damaged or empty.
    pub fn open(dataset: &Dataset, config: &Config) -> Result<Option<Self>> {
        let wanted = &config.evaluation;
        if wanted.every == 0 {
            return Ok(None);
        }
        let selection = Selection::new(dataset.split(&wanted.split)?, &config.data)?;
        let indices = (0..selection.len().min(wanted.samples)).map(|k| selection.index(k));
        let split = selection.split();
        let subject: Box<dyn Subject> = match dataset.kind() {
            Kind::Molecules => Box::new(molecules::Molecules::read(split, indices, wanted)?),
            Kind::Chains => Box::new(chains::Chains::read(split, indices, config.data.max_points, wanted)?),
        };
        let sampler = SamplerConfig { steps: wanted.steps.unwrap_or(config.sampler.steps), ..config.sampler.clone() };
        let sampler = Sampler::new(&sampler, &config.diffusion)?;
        Ok(Some(Evaluation { subject, batch_points: wanted.batch_points, sampler, seed: config.seed }))
    }

    /// Draws and judges, all processes together; the report on rank 0. `None`: a process was asked to stop, and all have
    /// given up.
    ///
    /// # Errors
    /// What the network returns, but not that samples are not finite: those are counted and left out.
    pub fn run(
        &self,
        world: &dyn Communicator,
        workers: usize,
        denoiser: &dyn Denoiser,
        stop: &StopRequest,
    ) -> Result<Option<Report>> {
        let team = Team::new(world, workers)?;
        let mut positions = Vec::new();
        let batches = self.batches(&team);
        for round in batches.chunks(team.size()) {
            positions.extend(team.round(round, |_, batch| self.draw(denoiser, batch, stop))?);
            if vote::any(world, stop.is_set())? {
                return Ok(None);
            }
        }
        let samples = self.finite(batches.iter().flatten(), &positions)?;
        let sources: Vec<usize> = (0..samples.len()).collect();
        let mut judgements = Vec::new();
        for round in sources.chunks(team.size()) {
            let words = team.round(round, |_, &source| {
                let words = self.subject.judge(source, &samples[source])?;
                Ok([&[words.len() as f64][..], &words].concat())
            })?;
            judgements.extend(split_rows(&words)?);
            if vote::any(world, stop.is_set())? {
                return Ok(None);
            }
        }
        match world.rank() {
            0 => self.report(&samples, &judgements).map(Some),
            _ => Ok(Some(Report::default())),
        }
    }

    /// The positions of a batch's samples, as numbers one after another; NaN for a sample that is not finite. Once the
    /// process is asked to stop it gives anything, since all is thrown away then.
    fn draw(&self, denoiser: &dyn Denoiser, batch: &[Item], stop: &StopRequest) -> Result<Vec<f64>> {
        let sources = self.subject.sources();
        let ids: Vec<u64> = batch.iter().map(|item| sample_id(sources[item.source].key, item.number)).collect();
        let condition = self.subject.condition(batch);
        let mut watch = |_: Step<'_>| match stop.is_set() {
            true => Err(Error::World("asked to stop".into())),
            false => Ok(()),
        };
        match self.sampler.run(denoiser, &condition, &ids, self.seed, &mut watch) {
            Ok(clouds) => Ok(clouds.points().as_flattened().to_vec()),
            Err(_) if stop.is_set() => Ok(Vec::new()),
            // One ends the whole batch; each by itself is what it is in any batch.
            Err(Error::NonFinite(_)) if batch.len() > 1 => {
                let alone = batch.chunks(1).map(|item| self.draw(denoiser, item, stop));
                Ok(alone.collect::<Result<Vec<_>>>()?.concat())
            }
            Err(Error::NonFinite(_)) => Ok(vec![f64::NAN; 3 * sources[batch[0].source].points]),
            Err(other) => Err(other),
        }
    }

    /// All samples, in the batches in which a team draws them.
    fn batches(&self, team: &Team<'_>) -> Vec<Vec<Item>> {
        let sources = self.subject.sources().iter().map(|source| (source.points, source.samples));
        team.batches(sources, self.batch_points)
    }

    /// The samples of each source that are finite, from the positions of all these items, one after another.
    fn finite<'a>(&self, items: impl Iterator<Item = &'a Item>, positions: &[f64]) -> Result<Vec<Vec<Vec<Point>>>> {
        let sources = self.subject.sources();
        let mut samples = vec![Vec::new(); sources.len()];
        let mut rest = positions.as_chunks().0;
        for item in items {
            let (sample, others) = rest.split_at_checked(sources[item.source].points).ok_or_else(|| {
                Error::World(format!("the positions of sample {item:?} are missing from what the processes sent"))
            })?;
            rest = others;
            if sample.iter().flatten().all(|c| c.abs() <= FARTHEST) {
                samples[item.source].push(sample.to_vec());
            }
        }
        Ok(samples)
    }

    fn report(&self, samples: &[Vec<Vec<Point>>], judgements: &[Vec<f64>]) -> Result<Report> {
        let mut report = self.subject.report(samples, judgements)?;
        let total: usize = self.subject.sources().iter().map(|source| source.samples).sum();
        let finite: usize = samples.iter().map(Vec::len).sum();
        let missing = (total - finite) as f64 / total.max(1) as f64;
        report.values.push(("eval/non_finite".into(), missing));
        report.values.retain(|(_, value)| value.is_finite());
        if finite < total {
            report.line += &format!("; {} of {total} samples are not finite", total - finite);
        }
        Ok(report)
    }
}

/// Rows of numbers, each preceded by its length.
fn split_rows(mut words: &[f64]) -> Result<Vec<Vec<f64>>> {
    let mut rows = Vec::new();
    while let Some((&len, rest)) = words.split_first() {
        let (row, rest) = rest
            .split_at_checked(len as usize)
            .ok_or_else(|| Error::World(format!("a judgement of {len} numbers came with {}", rest.len())))?;
        rows.push(row.to_vec());
        words = rest;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::diffusion::{Input, Recording};
    use crate::distributed::Solo;
    use crate::geometry::Clouds;
    use crate::train::EvaluationConfig;

    /// Stands still, and has no answer for clouds of one size.
    struct Puzzled {
        by: usize,
    }

    impl Denoiser for Puzzled {
        fn predict(&self, input: Input<'_>) -> Result<Clouds> {
            let mut velocity = input.x_t.zeros_like();
            for b in (0..velocity.len()).filter(|&b| input.x_t.cloud(b).len() == self.by) {
                velocity.cloud_mut(b).fill([f64::NAN; 3]);
            }
            Ok(velocity)
        }

        fn record(&self, _: Input<'_>) -> Result<Box<dyn Recording + '_>> {
            Err(Error::World("nothing is learnt here".into()))
        }
    }

    fn evaluation(batch_points: usize) -> Evaluation {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample/qm9");
        let evaluation = EvaluationConfig { every: 1, samples: 6, steps: Some(3), batch_points, ..Default::default() };
        let config = Config { evaluation, ..Config::default() };
        Evaluation::open(&Dataset::open(&data, false).unwrap(), &config).unwrap().unwrap()
    }

    fn value(report: &Report, name: &str) -> f64 {
        report.values.iter().find(|(other, _)| other == name).unwrap().1
    }

    #[test]
    fn a_sample_that_is_not_finite_spoils_no_other() {
        let evaluation = evaluation(1000);
        let stop = StopRequest::default();
        let run = |by| evaluation.run(&Solo, 2, &Puzzled { by }, &stop).unwrap().unwrap();
        let whole = run(0);
        assert_eq!(value(&whole, "eval/non_finite"), 0.0);
        let sources = evaluation.subject.sources();
        let by = sources[1].points;
        let lost = |source: &&Source| source.points == by;
        let count = |sources: &mut dyn Iterator<Item = &Source>| sources.map(|source| source.samples).sum::<usize>();
        let (some, all) = (count(&mut sources.iter().filter(lost)), count(&mut sources.iter()));
        assert!(some > 0 && some < all);
        let report = run(by);
        assert_eq!(value(&report, "eval/non_finite"), some as f64 / all as f64);
        assert!(report.line.ends_with(&format!("{some} of {all} samples are not finite")), "{}", report.line);
        assert_eq!(report.histograms[0].1.len(), all - some);
        for batch in &evaluation.batches(&Team::new(&Solo, 2).unwrap()) {
            let draw = |by| evaluation.draw(&Puzzled { by }, batch, &stop).unwrap();
            let (healthy, broken) = (draw(0), draw(by));
            let points = batch
                .iter()
                .flat_map(|item| [sources[item.source].points == by].repeat(3 * sources[item.source].points));
            assert_eq!(healthy.len(), broken.len());
            for ((a, b), lost) in healthy.iter().zip(&broken).zip(points) {
                assert!(if lost { b.is_nan() } else { a.to_bits() == b.to_bits() });
            }
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_refused() {
        assert_eq!(split_rows(&[2.0, 5.0, 6.0, 0.0, 1.0, 7.0]).unwrap(), [vec![5.0, 6.0], vec![], vec![7.0]]);
        assert!(split_rows(&[3.0, 1.0]).is_err());
    }
}
