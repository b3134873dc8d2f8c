//! Passes over batches, timed.

use std::ops::Range;
use std::time::Instant;

use qsd::diffusion::{Denoiser, Input, Sampler, evaluate};
use qsd::model::Network;
use qsd::train::{Config, process};
use qsd::{Error, Result};

use crate::Task;
use crate::clock::{cpu_seconds, median};
use crate::inputs::Work;

/// At least so many passes.
const PASSES: usize = 3;

/// A network and what is done with it.
pub(crate) struct Bench<'a> {
    /// The network.
    pub(crate) network: &'a dyn Network,
    /// Its parameters.
    pub(crate) parameters: &'a [f32],
    /// The recipe.
    pub(crate) config: &'a Config,
    /// What is done with a batch.
    pub(crate) task: Task,
    /// By how many threads.
    pub(crate) threads: usize,
    /// Each thread's gradient, when training; made at the first batch.
    pub(crate) gradients: Vec<Vec<f32>>,
}

/// Seconds of a pass, and memory.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Wall time.
    pub(crate) wall: f64,
    /// CPU time of the process.
    pub(crate) cpu: f64,
    /// CPU time of network and loss, in the threads that compute.
    pub(crate) forward: f64,
    /// CPU time of the way back.
    pub(crate) backward: f64,
    /// How many passes there were.
    pub(crate) passes: usize,
    /// What each molecule of a batch adds to the resident memory's peak, MB; absent where the system does not tell.
    pub(crate) per_molecule_mb: Option<f64>,
    /// The resident memory's peak, MB.
    pub(crate) peak_mb: f64,
}

/// CPU seconds of the computing threads.
#[derive(Clone, Copy, Debug, Default)]
struct Split {
    forward: f64,
    backward: f64,
}

impl Bench<'_> {
    /// Measures batches of `size` molecules for `seconds`.
    pub(crate) fn run(&mut self, work: &Work, size: usize, seconds: f64) -> Result<Measured> {
        let starts = (0..work.len()).step_by(size);
        let batches: Vec<Vec<Work>> =
            starts.map(|start| self.shards(work, start..(start + size).min(work.len()))).collect();
        let per_molecule_mb = self.memory(work, &batches)?;
        let peak_mb = process::memory().1 as f64 / 1e6;
        for batch in batches.iter().take(2) {
            self.batch(batch)?;
        }
        let mut walls = vec![Vec::new(); batches.len()];
        let (mut cpus, mut forwards, mut backwards) = (Vec::new(), Vec::new(), Vec::new());
        let start = Instant::now();
        while cpus.len() < PASSES || start.elapsed().as_secs_f64() < seconds {
            let (cpu, mut sum) = (cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID), Split::default());
            for (batch, walls) in batches.iter().zip(&mut walls) {
                let start = Instant::now();
                let split = self.batch(batch)?;
                walls.push(start.elapsed().as_secs_f64());
                sum.forward += split.forward;
                sum.backward += split.backward;
            }
            cpus.push(cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - cpu);
            forwards.push(sum.forward);
            backwards.push(sum.backward);
        }
        Ok(Measured {
            wall: walls.into_iter().map(median).sum(),
            passes: cpus.len(),
            cpu: median(cpus),
            forward: median(forwards),
            backward: median(backwards),
            per_molecule_mb,
            peak_mb,
        })
    }

    /// Molecules of a batch, a part for each thread.
    fn shards(&self, work: &Work, molecules: Range<usize>) -> Vec<Work> {
        let (first, count) = (molecules.start, molecules.len());
        let border = |thread: usize| first + thread * count / self.threads;
        (0..self.threads).map(|thread| work.part(border(thread)..border(thread + 1))).collect()
    }

    /// One batch, by all threads.
    fn batch(&mut self, shards: &[Work]) -> Result<Split> {
        let training = self.task == Task::Train;
        self.gradients.resize_with(shards.len(), || vec![0.0; if training { self.parameters.len() } else { 0 }]);
        let mut gradients = std::mem::take(&mut self.gradients);
        let denoiser = self.network.bind(self.parameters)?;
        let compute = |(work, gradient): (&Work, &mut Vec<f32>)| self.compute(&*denoiser, work, gradient);
        let jobs: Vec<_> = shards.iter().zip(&mut gradients).filter(|job| job.0.len() > 0).collect();
        let outcomes: Vec<Result<Split>> = if self.threads == 1 {
            jobs.into_iter().map(compute).collect()
        } else {
            std::thread::scope(|scope| {
                let handles: Vec<_> = jobs.into_iter().map(|job| scope.spawn(|| compute(job))).collect();
                let lost = |_| Err(Error::World("a thread panicked".into()));
                handles.into_iter().map(|handle| handle.join().unwrap_or_else(lost)).collect()
            })
        };
        drop(denoiser);
        self.gradients = gradients;
        let mut sum = Split::default();
        for split in outcomes {
            let split = split?;
            sum.forward += split.forward;
            sum.backward += split.backward;
        }
        Ok(sum)
    }

    /// The task, on one thread.
    fn compute(&self, denoiser: &dyn Denoiser, work: &Work, gradient: &mut [f32]) -> Result<Split> {
        let start = cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID);
        let input = Input { x_t: &work.draw.x_t, t: &work.draw.t, condition: &work.condition, self_condition: None };
        let mut split = Split::default();
        match self.task {
            Task::Predict => {
                denoiser.predict(input)?;
            }
            Task::Sample => self.sample(denoiser, work)?,
            Task::Train => {
                let recording = denoiser.record(input)?;
                let scale = 1.0 / work.len() as f64;
                let evaluation = evaluate(&self.config.diffusion, &work.draw, recording.prediction(), scale);
                check(evaluation.loss.iter().all(|loss| loss.is_finite()))?;
                split.forward = cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID) - start;
                recording.backward(&evaluation.gradient, gradient, &mut |_, _| Ok(()))?;
            }
        }
        let all = cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID) - start;
        if self.task == Task::Train {
            split.backward = all - split.forward;
        } else {
            split.forward = all;
        }
        Ok(split)
    }

    /// The sampler's steps from x_0.
    fn sample(&self, denoiser: &dyn Denoiser, work: &Work) -> Result<()> {
        let sampler = Sampler::new(&self.config.sampler, &self.config.diffusion)?;
        let steps = self.config.sampler.steps;
        let mut x = work.x_0.clone();
        for index in 0..steps {
            let t = vec![index as f64 / steps as f64; x.len()];
            let prediction =
                denoiser.predict(Input { x_t: &x, t: &t, condition: &work.condition, self_condition: None })?;
            x = sampler.step(index, &x, &prediction, None);
        }
        check(x.points().as_flattened().iter().all(|c| c.is_finite()))
    }

    /// How far the largest batch drives the peak of the resident memory beyond that of one molecule per thread, per
    /// molecule of average size, MB.
    fn memory(&mut self, work: &Work, batches: &[Vec<Work>]) -> Result<Option<f64>> {
        let atoms = |shards: &[Work]| shards.iter().map(Work::atoms).sum::<usize>();
        let mean = work.atoms() as f64 / work.len() as f64;
        let sizes = work.condition.offsets.windows(2).map(|w| w[1] - w[0]);
        let distance = |size: usize| (size as f64 - mean).abs();
        let typical = sizes.enumerate().min_by(|a, b| distance(a.1).total_cmp(&distance(b.1))).map_or(0, |(b, _)| b);
        let one: Vec<Work> = (0..self.threads).map(|_| work.part(typical..typical + 1)).collect();
        let Some(full) = batches.iter().max_by_key(|shards| atoms(shards)) else { return Ok(None) };
        let before = self.peak_of(&one)?;
        let after = self.peak_of(full)?;
        let more = atoms(full) as f64 - atoms(&one) as f64;
        Ok(before.zip(after).filter(|_| more > 0.0).map(|(before, after)| (after - before) / more * mean / 1e6))
    }

    /// The peak of the resident memory during a batch, bytes.
    fn peak_of(&mut self, shards: &[Work]) -> Result<Option<f64>> {
        let reset = std::fs::write("/proc/self/clear_refs", "5");
        self.batch(shards)?;
        Ok(reset.ok().map(|()| process::memory().1 as f64))
    }
}

/// What is not a number is fast and worth nothing.
fn check(finite: bool) -> Result<()> {
    if finite { Ok(()) } else { Err(Error::NonFinite("the network's result is not a number".into())) }
}
