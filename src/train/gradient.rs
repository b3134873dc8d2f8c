//! The gradient of one step: forward and backward over the owned micro-shards, added along the canonical tree.

use std::thread;
use std::time::Instant;

use super::metrics::ShardSums;
use crate::Result;
use crate::data::Batch;
use crate::diffusion::{Denoiser, DiffusionConfig, Input, draw, evaluate};
use crate::distributed::status::{self, Phase};
use crate::distributed::tree::TreeSum;

/// What one micro-shard's gradient depends on besides the shard.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The network at this step's parameters.
    pub denoiser: &'a dyn Denoiser,
    /// What it is taught.
    pub diffusion: &'a DiffusionConfig,
    /// Key of the randomness.
    pub seed: u64,
    /// The step, counted from 0: the other key.
    pub step: u64,
    /// Factor on each cloud's loss: one over the clouds of the global batch.
    pub scale: f64,
}

impl Pass<'_> {
    /// Forward and backward: overwrites `gradient` with that of Σ_b scale·loss_b over the shard's clouds.
    fn gradient(&self, batch: &Batch, gradient: &mut [f32]) -> Result<ShardSums> {
        if batch.ids.is_empty() {
            gradient.fill(0.0);
            return Ok(ShardSums::default());
        }
        let start = Instant::now();
        status::enter(Phase::Forward);
        let drawn = draw(self.diffusion, self.seed, self.step, batch)?;
        let recording = self.denoiser.record(Input { x_t: &drawn.x_t, t: &drawn.t, condition: &batch.condition })?;
        let evaluation = evaluate(self.diffusion, &drawn, recording.prediction(), self.scale);
        let mut sums = ShardSums::of(&drawn.t, &evaluation, batch.x_1.points().len());
        sums.forward_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        status::enter(Phase::Backward);
        recording.backward(&evaluation.gradient, gradient, &mut |_, _| Ok(()))?;
        sums.backward_seconds = start.elapsed().as_secs_f64();
        Ok(sums)
    }

    /// The losses alone.
    pub fn losses(&self, batch: &Batch) -> Result<ShardSums> {
        let drawn = draw(self.diffusion, self.seed, self.step, batch)?;
        let input = Input { x_t: &drawn.x_t, t: &drawn.t, condition: &batch.condition };
        let prediction = self.denoiser.predict(input)?;
        let evaluation = evaluate(self.diffusion, &drawn, &prediction, self.scale);
        Ok(ShardSums::of(&drawn.t, &evaluation, batch.x_1.points().len()))
    }

    /// The gradients of the shards, in order into `tree`, computed by `workers` threads side by side; what each
    /// shard's losses were. `len` is the number of parameters.
    pub fn shards(&self, shards: &[Batch], workers: usize, len: usize, tree: &mut TreeSum) -> Result<Vec<ShardSums>> {
        let mut sums = Vec::with_capacity(shards.len());
        for wave in shards.chunks(workers.max(1)) {
            let buffers: Vec<_> = wave.iter().map(|_| tree.buffer(len)).collect();
            let jobs = wave.iter().zip(buffers).collect();
            for outcome in
                side_by_side(jobs, |(shard, mut buffer)| self.gradient(shard, &mut buffer).map(|sums| (sums, buffer)))
            {
                let (shard_sums, buffer) = outcome?;
                sums.push(shard_sums);
                tree.push(buffer)?;
            }
        }
        Ok(sums)
    }
}

/// Runs one thread per job; the results in the jobs' order.
pub(crate) fn side_by_side<J: Send, T: Send>(jobs: Vec<J>, work: impl Fn(J) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = jobs.into_iter().map(|job| scope.spawn(move || work(job))).collect();
        // A worker's panic goes on in its caller, where the panic hook of the job has spoken already.
        threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}
