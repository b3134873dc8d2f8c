//! The gradient of one step: forward and backward over the owned micro-shards, added along the canonical tree.

use std::ops::Range;
use std::thread;
use std::time::Instant;

use super::metrics::ShardSums;
use super::update::BLOCK;
use crate::Result;
use crate::data::Batch;
use crate::diffusion::{Denoiser, DiffusionConfig, Draw, Input, Ready, draw, evaluate, fed_back, self_conditions};
use crate::distributed::Communicator;
use crate::distributed::status::{self, Phase};
use crate::distributed::tree::{self, TreeSum};
use crate::geometry::Clouds;

/// What one micro-shard's gradient depends on besides the shard.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The network at this step's parameters.
    pub denoiser: &'a dyn Denoiser,
    /// The network's [`units`](crate::model::Network::units).
    pub units: &'a [Range<usize>],
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
    /// Forward and backward: overwrites `gradient` with that of Σ_b scale·loss_b over the shard's clouds, telling
    /// `ready` of the units that are final.
    fn gradient(&self, batch: &Batch, gradient: &mut [f32], ready: &mut Ready<'_>) -> Result<ShardSums> {
        if batch.ids.is_empty() {
            gradient.fill(0.0);
            self.units.iter().try_for_each(|unit| ready(unit.clone(), &mut gradient[unit.clone()]))?;
            return Ok(ShardSums::default());
        }
        let start = Instant::now();
        status::enter(Phase::Forward);
        let drawn = draw(self.diffusion, self.seed, self.step, batch)?;
        let fed = match self_conditions(self.diffusion, self.seed, self.step) {
            true => Some(self.fed_back(batch, &drawn)?),
            false => None,
        };
        let mut recording = self.denoiser.record(input(batch, &drawn, fed.as_ref()))?;
        let mut evaluation = evaluate(self.diffusion, &drawn, recording.prediction(), self.scale);
        let auxiliary = recording.auxiliary(&drawn.x_1, &drawn.t, self.scale)?;
        evaluation.loss.iter_mut().zip(&auxiliary).for_each(|(loss, more)| *loss += more);
        let mut sums = ShardSums::of(&drawn.t, &evaluation, batch.x_1.points().len());
        sums.forward_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        status::enter(Phase::Backward);
        recording.backward(&evaluation.gradient, gradient, ready)?;
        sums.backward_seconds = start.elapsed().as_secs_f64();
        Ok(sums)
    }

    /// The losses alone.
    pub fn losses(&self, batch: &Batch) -> Result<ShardSums> {
        let drawn = draw(self.diffusion, self.seed, self.step, batch)?;
        // Fed back wherever it is learnt, since sampling does so in all steps but the first.
        let fed = match self.diffusion.self_conditioning > 0.0 {
            true => Some(self.fed_back(batch, &drawn)?),
            false => None,
        };
        let prediction = self.denoiser.predict(input(batch, &drawn, fed.as_ref()))?;
        let evaluation = evaluate(self.diffusion, &drawn, &prediction, self.scale);
        Ok(ShardSums::of(&drawn.t, &evaluation, batch.x_1.points().len()))
    }

    /// What a first prediction feeds back to the second; no gradient passes through it.
    fn fed_back(&self, batch: &Batch, drawn: &Draw) -> Result<Clouds> {
        let prediction = self.denoiser.predict(input(batch, drawn, None))?;
        Ok(fed_back(self.diffusion, &drawn.t, &drawn.x_t, &prediction))
    }

    /// The sum of the shards' gradients along the canonical tree, and what each shard's losses were, computed by
    /// `workers` threads side by side.
    ///
    /// A thread computes a run of consecutive shards, a subtree, and adds each unit of the network to what it goes
    /// with while it is still in the core's cache; the runs' sums are added by all threads together.
    pub fn shards(&self, shards: &[Batch], workers: usize, sums: &mut Sums) -> Result<(Vec<ShardSums>, Vec<f32>)> {
        let workers = workers.max(1);
        let length = run_length(shards.len(), workers);
        let mut losses = Vec::with_capacity(shards.len());
        for wave in shards.chunks(length * workers) {
            for outcome in side_by_side(sums.runs(wave, length), |(run, sum)| self.run(run, sum)) {
                let (run_losses, gradient) = outcome?;
                losses.extend(run_losses);
                sums.push(gradient, workers)?;
            }
        }
        Ok((losses, sums.whole.take()?))
    }

    /// The sum over a run of shards.
    fn run(&self, shards: &[Batch], sum: &mut TreeSum) -> Result<(Vec<ShardSums>, Vec<f32>)> {
        let len = self.units.iter().map(|unit| unit.len()).sum();
        let mut losses = Vec::with_capacity(shards.len());
        for shard in shards {
            let mut gradient = sum.buffer(len);
            let mut awaited = self.units.iter();
            losses.push(self.gradient(shard, &mut gradient, &mut |unit, numbers| {
                // An engine that tells other units is wrong, and so would be the sum.
                assert_eq!(awaited.next(), Some(&unit), "the unit that the network finishes");
                sum.merge(unit.start, numbers);
                Ok(())
            })?);
            assert_eq!(awaited.next(), None, "a unit that the network did not finish");
            sum.push_merged(gradient)?;
        }
        Ok((losses, sum.take()?))
    }
}

/// A noised batch as a network sees it.
fn input<'a>(batch: &'a Batch, drawn: &'a Draw, fed: Option<&'a Clouds>) -> Input<'a> {
    Input { x_t: &drawn.x_t, t: &drawn.t, condition: &batch.condition, self_condition: fed }
}

/// The sums that a process's threads work on, kept from step to step for their buffers.
#[derive(Debug, Default)]
pub struct Sums {
    whole: TreeSum,
    /// One for each thread.
    runs: Vec<TreeSum>,
    /// What other processes sent.
    received: Vec<f32>,
}

impl Sums {
    /// The runs of `length` shards of a wave, each with a sum to add it up in.
    fn runs<'a>(&'a mut self, wave: &'a [Batch], length: usize) -> Vec<(&'a [Batch], &'a mut TreeSum)> {
        let runs = wave.chunks(length);
        while self.runs.len() < runs.len() {
            self.runs.push(self.whole.sibling());
        }
        runs.zip(&mut self.runs).collect()
    }

    /// Adds a run's sum, by `workers` threads.
    fn push(&mut self, mut gradient: Vec<f32>, workers: usize) -> Result<()> {
        if self.whole.merges() > 0 {
            let each = gradient.len().div_ceil(workers).max(1);
            let pieces = gradient.chunks_mut(each).enumerate().collect();
            side_by_side(pieces, |(k, piece)| self.whole.merge(k * each, piece));
        }
        self.whole.push_merged(gradient)
    }

    /// Adds the sums of all processes: afterwards each holds that of its own part, in `gradient`.
    ///
    /// # Errors
    /// [`Error::World`](crate::Error::World) when a member is gone.
    pub fn reduce(&mut self, world: &dyn Communicator, gradient: &mut [f32]) -> Result<()> {
        tree::reduce_scatter(world, gradient, BLOCK, &mut self.received).map(drop)
    }

    /// Takes the sum back for its buffer, once it is used up.
    pub fn recycle(&mut self, gradient: Vec<f32>) {
        self.whole.recycle(gradient);
    }
}

/// How many consecutive shards one thread computes in a row: of the powers of two with which `workers` threads
/// finish `shards` of them soonest, the largest.
fn run_length(shards: usize, workers: usize) -> usize {
    let rows = |length: usize| shards.div_ceil(length).div_ceil(workers) * length;
    let lengths = (0..=shards.max(1).ilog2()).map(|bit| 1 << bit);
    lengths.min_by_key(|&length| (rows(length), std::cmp::Reverse(length))).unwrap_or(1)
}

/// Runs one thread per job, of which the calling one is the first; the results in the jobs' order.
pub(crate) fn side_by_side<J: Send, T: Send>(jobs: Vec<J>, work: impl Fn(J) -> T + Sync) -> Vec<T> {
    thread::scope(|scope| {
        let work = &work;
        let mut jobs = jobs.into_iter();
        let first = jobs.next();
        let threads: Vec<_> = jobs.map(|job| scope.spawn(move || work(job))).collect();
        let first = first.map(work);
        // A worker's panic goes on in its caller, where the panic hook of the job has spoken already.
        let others = threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        first.into_iter().chain(others).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Condition;
    use crate::diffusion::Recording;

    const UNITS: [Range<usize>; 3] = [70..90, 3..70, 0..3];

    /// Its gradient at parameter i is a function of i and the cloud's times; the order of its units may be wrong.
    struct Planted {
        units: Vec<Range<usize>>,
    }

    struct Walk<'a>(&'a Planted, Clouds);

    impl Denoiser for Planted {
        fn predict(&self, input: Input<'_>) -> Result<Clouds> {
            Ok(input.x_t.clone())
        }

        fn record(&self, input: Input<'_>) -> Result<Box<dyn Recording + '_>> {
            Ok(Box::new(Walk(self, input.x_t.clone())))
        }
    }

    impl Recording for Walk<'_> {
        fn prediction(&self) -> &Clouds {
            &self.1
        }

        fn backward(self: Box<Self>, at: &Clouds, gradient: &mut [f32], ready: &mut Ready<'_>) -> Result<()> {
            let value = at.points()[0][0];
            for unit in &self.0.units {
                for i in unit.clone() {
                    gradient[i] = (value * (1.0 + (i as f64).sqrt() * 1e3)).sin() as f32 * 2f32.powi(i as i32 % 30);
                }
                ready(unit.clone(), &mut gradient[unit.clone()])?;
            }
            Ok(())
        }
    }

    fn shard(id: u64) -> Batch {
        let clouds: &[&[[f64; 3]]] = if id == 5 { &[] } else { &[&[[0.5, 0.0, 0.1], [-0.5, 0.2, -0.1]]] };
        let x_1 = Clouds::from_clouds(clouds.iter().copied());
        let atoms = x_1.points().len();
        let condition = Condition::of_atoms(x_1.offsets().to_vec(), vec![6; atoms], vec![[0.0; 10]; atoms], Vec::new());
        Batch { ids: (0..clouds.len() as u64).map(|_| id).collect(), x_1, condition }
    }

    fn sum(units: &[Range<usize>], shards: &[Batch], workers: usize, sums: &mut Sums) -> (Vec<f64>, Vec<u32>) {
        let denoiser = Planted { units: units.to_vec() };
        let diffusion = DiffusionConfig::default();
        let pass = Pass { denoiser: &denoiser, units: &UNITS, diffusion: &diffusion, seed: 1, step: 2, scale: 0.1 };
        let (losses, gradient) = pass.shards(shards, workers, sums).unwrap();
        let bits = gradient.iter().map(|g| g.to_bits()).collect();
        sums.recycle(gradient);
        (losses.iter().map(|sums| sums.loss).collect(), bits)
    }

    #[test]
    fn threads_change_no_bit_of_the_sum_along_the_tree() {
        let shards: Vec<Batch> = (0..16).map(shard).collect();
        // One by one, the definition: each shard alone, then the tree.
        let mut tree = TreeSum::new();
        let mut losses = Vec::new();
        for shard in &shards {
            let (loss, bits) = sum(&UNITS, std::slice::from_ref(shard), 1, &mut Sums::default());
            losses.extend(loss);
            tree.push(bits.into_iter().map(f32::from_bits).collect()).unwrap();
        }
        let expected: Vec<u32> = tree.take().unwrap().iter().map(|g| g.to_bits()).collect();
        assert!(expected.iter().all(|bits| *bits != 0) && losses[5] == 0.0 && losses[4] > 0.0);
        let mut sums = Sums::default();
        for workers in [1, 2, 3, 4, 5, 7, 16, 40, 2] {
            let found = sum(&UNITS, &shards, workers, &mut sums);
            assert!(found == (losses.clone(), expected.clone()), "{workers} workers");
        }
    }

    #[test]
    #[should_panic = "the unit that the network finishes"]
    fn an_engine_that_tells_other_units_is_refused() {
        side_by_side(vec![()], |()| sum(&[70..90, 0..3, 3..70], &[shard(0)], 1, &mut Sums::default()));
    }

    #[test]
    #[should_panic = "a unit that the network did not finish"]
    fn an_engine_that_forgets_a_unit_is_refused() {
        sum(&UNITS[..2], &[shard(0)], 1, &mut Sums::default());
    }

    #[test]
    fn threads_get_long_runs_as_far_as_none_idles() {
        let cases =
            [(8, 1, 8), (8, 2, 4), (8, 3, 1), (8, 4, 2), (8, 8, 1), (8, 40, 1), (64, 12, 2), (1, 2, 1), (64, 3, 2)];
        for (shards, workers, expected) in cases {
            assert_eq!(run_length(shards, workers), expected, "{shards} shards, {workers} workers");
        }
    }
}
