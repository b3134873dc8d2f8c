//! The loop.

use std::sync::Arc;
use std::time::Instant;

use super::Config;
use super::checkpoint::weights_sha256;
use super::evaluation::Evaluation;
use super::gradient::{Pass, Sums, side_by_side};
use super::metrics::ShardSums;
use super::outputs::{Outputs, StepRecord};
use super::phases::{Phase, Phases};
use super::state::{Belonging, Best, State};
use super::update::{BLOCK, norm, own_part};
use crate::cli::StopRequest;
use crate::data::{Loader, StepBatches, ValidationBatches};
use crate::distributed::{Communicator, status, tree, vote};
use crate::model::{Layout, Network};
use crate::{Error, Result};

/// The step under which validation draws its noise and times: none that training reaches, always the same.
const VALIDATION_STEP: u64 = u64::MAX;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// It was asked to stop, and saved its state.
    Stopped,
}

/// A run on one process.
pub struct Trainer<'a> {
    pub(super) config: &'a Config,
    pub(super) world: &'a dyn Communicator,
    pub(super) network: Arc<dyn Network>,
    pub(super) layout: Arc<Layout>,
    pub(super) belonging: Belonging,
    pub(super) state: State,
    pub(super) loader: Loader,
    /// `None`: no validation.
    pub(super) validation: Option<ValidationBatches>,
    /// `None`: no evaluation.
    pub(super) evaluation: Option<Evaluation>,
    pub(super) workers: usize,
    pub(super) stop: StopRequest,
    /// On rank 0, unless nothing is to be written.
    pub(super) outputs: Option<Outputs>,
    pub(super) tree: Sums,
    pub(super) phases: Phases,
}

impl Trainer<'_> {
    /// Trains until `train.steps` or a request to stop.
    ///
    /// # Errors
    /// [`Error::NonFinite`], on every process alike, when a step's loss or gradient is not finite; the step is
    /// not taken. Otherwise what loading, computing, communicating or writing reports.
    pub fn run(&mut self) -> Result<Outcome> {
        let last = self.config.train.steps;
        if self.state.owes_evaluation && !self.settle()? {
            return self.stopped();
        }
        while self.state.position.step < last {
            let record = self.step()?;
            let step = self.state.position.step;
            let mut stop = vote::any(self.world, self.stop.is_set())?;
            let at_end = step == last;
            let validated = due(step, self.config.validation.every, at_end);
            let best = validated && self.validate()? && self.config.checkpoint.keep_best;
            let evaluated = due(step, self.config.evaluation.every, at_end);
            self.state.owes_evaluation = evaluated;
            stop |= evaluated && (stop || !self.evaluate()?);
            self.log(&record, at_end || stop || validated || evaluated)?;
            if due(step, self.config.checkpoint.every, at_end || stop || best) {
                self.save(best)?;
            }
            if stop && (!at_end || self.state.owes_evaluation) {
                return self.stopped();
            }
        }
        self.finish()?;
        Ok(Outcome::Finished)
    }

    /// Does the evaluation that the session before owed when it was asked to stop; whether it was done.
    fn settle(&mut self) -> Result<bool> {
        if !self.evaluate()? {
            return Ok(false);
        }
        let step = self.state.position.step;
        self.outputs.as_mut().map_or(Ok(()), |outputs| outputs.flush_evaluation(step))?;
        if step >= self.config.train.steps {
            // No later checkpoint says that it is done.
            self.save(false)?;
        }
        Ok(true)
    }

    fn stopped(&mut self) -> Result<Outcome> {
        self.finish()?;
        Ok(Outcome::Stopped)
    }

    /// One optimizer step.
    pub(super) fn step(&mut self) -> Result<StepRecord> {
        let start = Instant::now();
        let k = self.state.position.step;
        status::set_step(k);
        let loader = &mut self.loader;
        let batches = self.phases.time(Phase::Load, || loader.next())?;
        let (sums, mut gradient) = self.gradients(&batches)?;
        let (world, workers) = (self.world, self.workers);
        let (tree, words) = (&mut self.tree, sums.iter().flat_map(|sums| sums.to_words()).collect::<Vec<_>>());
        let (gradient_norm, words) = self.phases.time(Phase::Reduce, || {
            tree.reduce(world, &mut gradient)?;
            norm(world, &gradient, workers, &words)
        })?;
        let total = ShardSums::total(&words);
        if !(total.loss.is_finite() && gradient_norm.is_finite()) {
            return Err(self.not_finite(k, &batches, &sums, &gradient));
        }
        let (state, config) = (&mut self.state, self.config);
        let (learning_rate, clipped) = self
            .phases
            .time(Phase::Update, || state.update((config, world, workers), &gradient, gradient_norm, batches.next));
        self.phases.time(Phase::Reduce, || tree::all_gather(world, &mut state.parameters, BLOCK))?;
        self.tree.recycle(gradient);
        let seconds = start.elapsed().as_secs_f64();
        Ok(StepRecord { sums: total, learning_rate, gradient_norm, clipped, seconds })
    }

    /// Forward and backward over the owned micro-shards: what each one's losses were, and the sum of the gradients.
    fn gradients(&mut self, batches: &StepBatches) -> Result<(Vec<ShardSums>, Vec<f32>)> {
        let start = Instant::now();
        let denoiser = self.network.bind(&self.state.parameters)?;
        let pass = Pass {
            denoiser: &*denoiser,
            units: self.network.units(),
            diffusion: &self.config.diffusion,
            seed: self.config.seed,
            step: self.state.position.step,
            scale: 1.0 / batches.num_samples as f64,
        };
        let (sums, gradient) = pass.shards(&batches.shards, self.workers, &mut self.tree)?;
        let wall = start.elapsed().as_secs_f64();
        let seconds = |pick: fn(&ShardSums) -> f64| sums.iter().map(pick).sum::<f64>();
        self.phases.add(Phase::Forward, wall);
        self.phases.split_forward(wall, seconds(|s| s.forward_seconds), seconds(|s| s.backward_seconds));
        Ok((sums, gradient))
    }

    /// Writes down which samples the step saw, and says what happened. Every process comes here, since all see
    /// the same sums, and leaves with the same error once the note is on disk.
    fn not_finite(&self, k: u64, batches: &StepBatches, sums: &[ShardSums], gradient: &[f32]) -> Error {
        let note = self.note_samples(k, batches, sums, gradient);
        let error = note.map_or_else(|error| error, Error::NonFinite);
        match vote::consent::<()>(self.world, Err(error)) {
            Err(error) => error,
            Ok(()) => Error::NonFinite(format!("step {k}")),
        }
    }

    fn note_samples(&self, k: u64, batches: &StepBatches, sums: &[ShardSums], gradient: &[f32]) -> Result<String> {
        let ids: Vec<u8> = batches.shards.iter().flat_map(|shard| &shard.ids).flat_map(|id| id.to_le_bytes()).collect();
        let ids = self.world.all_gather(&ids)?.concat();
        let ids: Vec<u64> = ids.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let suspect = sums.iter().any(|sums| !sums.loss.is_finite());
        let suspects = vote::gather(self.world, &[f64::from(u8::from(suspect))])?;
        let ranks: Vec<usize> = (0..suspects.len()).filter(|&rank| suspects[rank] > 0.0).collect();
        // Each process holds the sum in its own part.
        let broken = own_part(self.world, gradient.len()).find(|&i| !gradient[i].is_finite());
        let broken = vote::min(self.world, &[broken.map_or(f64::INFINITY, |i| i as f64)])?[0];
        let span = self.layout.spans().iter().find(|span| broken < span.range.end as f64);
        let parameter = span.map_or("none", |span| &span.name);
        let mut text = format!(
            "step {k}: the loss or its gradient is not finite (loss on ranks {ranks:?}, first parameter {parameter}); \
             the step was not taken; lower schedule.peak or clip.max, or look at the step's samples"
        );
        if let Some(outputs) = &self.outputs {
            let note = serde_json::json!({
                "step": k, "seed": self.config.seed, "samples": ids, "ranks": ranks, "parameter": parameter
            });
            let file = outputs.note(&format!("nonfinite-step-{k}.json"), &format!("{note:#}\n"))?;
            text.push_str(&format!(" listed in {}", file.display()));
        }
        Ok(text)
    }

    /// The mean loss on the validation batches, which are dealt out in consecutive runs; whether it is the lowest
    /// so far.
    fn validate(&mut self) -> Result<bool> {
        let Some(validation) = &self.validation else { return Ok(false) };
        let start = Instant::now();
        status::enter(Phase::Evaluate);
        self.state.complete(self.world)?;
        let denoiser = self.network.bind(self.state.evaluation_parameters())?;
        let pass = Pass {
            denoiser: &*denoiser,
            units: self.network.units(),
            diffusion: &self.config.diffusion,
            seed: self.config.seed,
            step: VALIDATION_STEP,
            scale: 1.0,
        };
        let (n, rank, size) = (validation.len(), self.world.rank(), self.world.size());
        let mine: Vec<usize> = (rank * n / size..(rank + 1) * n / size).collect();
        let mut words = Vec::new();
        for wave in mine.chunks(self.workers) {
            for sums in side_by_side(wave.to_vec(), |k| pass.losses(&validation.batch(k)?)) {
                words.extend(sums?.to_words());
            }
        }
        drop(denoiser);
        let total = ShardSums::total(&vote::gather(self.world, &words)?);
        let loss = total.loss / total.clouds;
        let step = self.state.position.step;
        let is_best = loss.is_finite() && self.state.best.is_none_or(|best| loss < best.loss);
        if is_best {
            self.state.best = Some(Best { step, loss });
        }
        if let Some(outputs) = &mut self.outputs {
            outputs.validated(step, &total, is_best);
        }
        self.phases.add(Phase::Evaluate, start.elapsed().as_secs_f64());
        Ok(is_best)
    }

    /// Draws samples and judges them; whether it was done, and not given up for a request to stop.
    fn evaluate(&mut self) -> Result<bool> {
        let Some(evaluation) = &self.evaluation else { return Ok(true) };
        let start = Instant::now();
        status::enter(Phase::Evaluate);
        self.state.complete(self.world)?;
        let denoiser = self.network.bind(self.state.evaluation_parameters())?;
        let report = evaluation.run(self.world, self.workers, &*denoiser, &self.stop)?;
        drop(denoiser);
        let done = report.is_some();
        if let (Some(report), Some(outputs)) = (report, &mut self.outputs) {
            outputs.evaluated(self.state.position.step, report)?;
        }
        self.state.owes_evaluation = !done;
        self.phases.add(Phase::Evaluate, start.elapsed().as_secs_f64());
        Ok(done)
    }

    fn log(&mut self, record: &StepRecord, last: bool) -> Result<()> {
        let due = due(self.state.position.step, self.config.log.every, last);
        if let Some(outputs) = &mut self.outputs {
            outputs.step(self.state.position.step, record)?;
            if due {
                outputs.flush(self.state.position.step, record, &self.phases)?;
            }
        }
        if due {
            self.phases = Phases::new();
        }
        Ok(())
    }

    fn save(&mut self, is_best: bool) -> Result<()> {
        let (state, world) = (&mut self.state, self.world);
        self.phases.time(Phase::Save, || state.complete(world))?;
        let Some(outputs) = &mut self.outputs else { return Ok(()) };
        let (state, config, belonging) = (&self.state, self.config, &self.belonging);
        let layout = &self.layout;
        self.phases.time(Phase::Save, || outputs.save(state.snapshot(layout, config, belonging)?, is_best))
    }

    fn finish(&mut self) -> Result<()> {
        status::enter(Phase::Stop);
        if let Some(outputs) = &mut self.outputs {
            outputs.finish(self.state.position.step, &weights_sha256(&self.state.parameters))?;
        }
        // A launcher may end a job at its first member's exit: nobody leaves before the state is on disk.
        self.world.barrier()
    }
}

/// Whether something done every `every` steps (0: never) is due after `step`, or `anyway`.
fn due(step: u64, every: u64, anyway: bool) -> bool {
    every != 0 && (anyway || step.is_multiple_of(every))
}
