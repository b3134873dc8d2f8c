//! Batches, built ahead of time.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::config::{ConformerChoice, DataConfig};
use super::dataset::Dataset;
use super::order::below;
use super::plan::{Planner, Position, Sample, Selection, StepPlan};
use super::record::MoleculeRecord;
use super::schema::Kind;
use super::showing::Showing;
use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// The training batches as functions of the position: what a [`Loader`] calls ahead of time, and what
/// reproduces any step's batches on its own.
#[derive(Clone, Debug)]
pub struct TrainingStream {
    planner: Planner,
    conformer: ConformerChoice,
    showing: Showing,
    seed: u64,
}

impl TrainingStream {
    /// The stream of a data set's split `train`, for steps of `global_batch` units in `num_shards` micro-shards.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no such split, or no sample in it is small enough; [`Error::Config`]
    /// when `global_batch` or `num_shards` is 0, or the configuration asks for what the data do not have.
    pub fn new(
        dataset: &Dataset,
        config: &DataConfig,
        seed: u64,
        global_batch: usize,
        num_shards: usize,
    ) -> Result<Self> {
        let showing = Showing::new(dataset, config)?;
        let selection = Selection::new(dataset.split("train")?, config)?.by_epoch(config)?;
        let planner = Planner::new(seed, selection, config.batch_by, global_batch, num_shards)?;
        Ok(TrainingStream { planner, conformer: config.conformer, showing, seed })
    }

    /// The samples that take part.
    pub fn selection(&self) -> &Selection {
        self.planner.selection()
    }

    /// The samples of the step at `position`.
    ///
    /// # Errors
    /// [`Error::Data`] when a shard is damaged.
    pub fn plan(&mut self, position: Position) -> Result<StepPlan> {
        self.planner.plan(position)
    }

    /// The batch of one micro-shard of a step.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the record when it is damaged.
    pub fn batch(&self, step: u64, samples: &[Sample]) -> Result<Batch> {
        let split = self.selection().split();
        if split.kind() == Kind::Chains {
            let show = |sample: &Sample| -> Result<_> {
                let record = split.chain(sample.index)?;
                let (shown, fold) = self.showing.in_training(self.seed, step, sample.id, &record);
                Ok((sample.id, record, shown, fold))
            };
            return Batch::from_chains(&samples.iter().map(show).collect::<Result<Vec<_>>>()?);
        }
        let choose = |sample: &Sample| -> Result<_> {
            let record = split.molecule(sample.index)?;
            let conformer = self.choose(step, sample.id, &record);
            Ok((sample.id, record, conformer))
        };
        Batch::from_records(&samples.iter().map(choose).collect::<Result<Vec<_>>>()?)
    }

    /// The conformer that a sample shows, a function of (seed, step, id).
    fn choose(&self, step: u64, id: u64, record: &MoleculeRecord) -> usize {
        let mut rng = stream(self.seed, Purpose::Conformer, step, id);
        match self.conformer {
            ConformerChoice::Uniform => below(&mut rng, record.num_conformers() as u64) as usize,
            ConformerChoice::Boltzmann => by_weight(record.weights(), below(&mut rng, 1 << 53)),
        }
    }
}

/// The item whose share of the weights' sum holds the point `u / 2⁵³` of it.
fn by_weight(weights: &[f32], u: u64) -> usize {
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    let target = u as f64 / (1u64 << 53) as f64 * total;
    let mut sum = 0.0;
    for (i, &weight) in weights.iter().enumerate() {
        sum += f64::from(weight);
        if target < sum {
            return i;
        }
    }
    0 // reached when all weights are 0
}

/// A step's batches on one rank.
#[derive(Debug)]
pub struct StepBatches {
    /// Where the step begins.
    pub position: Position,
    /// Where the next begins: what a checkpoint after this step must hold.
    pub next: Position,
    /// Samples of the whole step, on all ranks.
    pub num_samples: usize,
    /// The number of the first micro-shard in `shards`.
    pub first_shard: usize,
    /// The batches of the micro-shards that this rank owns; one without clouds where a shard is empty.
    pub shards: Vec<Batch>,
    /// How long the caller had to wait for them.
    pub wait: Duration,
}

/// Builds the batches of a rank's micro-shards on a thread of its own, some steps ahead, and hands them out
/// in the order of the steps. Dropping it ends the thread.
#[derive(Debug)]
pub struct Loader {
    batches: Option<Receiver<Result<StepBatches>>>,
    thread: Option<JoinHandle<()>>,
}

impl Loader {
    /// Starts loading at `position`; `owned` are the rank's micro-shards. At most `prefetch_steps` finished
    /// steps wait, besides the one being built.
    ///
    /// # Errors
    /// [`Error::Io`] when the system refuses a thread.
    pub fn start(
        stream: TrainingStream,
        owned: Range<usize>,
        position: Position,
        prefetch_steps: usize,
    ) -> Result<Self> {
        let (sender, receiver) = sync_channel(prefetch_steps);
        let work = move || produce(stream, owned, position, &sender);
        let thread = std::thread::Builder::new().name("qsd-loader".into()).spawn(work);
        let thread = thread.map_err(Error::io("the loader's thread"))?;
        Ok(Loader { batches: Some(receiver), thread: Some(thread) })
    }

    /// The next step's batches.
    ///
    /// # Errors
    /// What stopped the loading: [`Error::Data`] naming the file and record. Nothing follows an error.
    #[allow(clippy::should_implement_trait)] // the stream has no end, so an Option would say nothing
    pub fn next(&mut self) -> Result<StepBatches> {
        let start = Instant::now();
        let ended = || Error::Data("the loader has ended: it failed before, or its thread panicked".into());
        let batches = self.batches.as_ref().ok_or_else(ended)?;
        let mut step = batches.recv().map_err(|_| ended())??;
        step.wait = start.elapsed();
        Ok(step)
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Without its receiver the thread's next send fails, which ends it.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported, by the panic hook and by `next`.
            let _ = thread.join();
        }
    }
}

fn produce(
    mut stream: TrainingStream,
    owned: Range<usize>,
    mut position: Position,
    out: &SyncSender<Result<StepBatches>>,
) {
    loop {
        let step = load(&mut stream, &owned, position);
        let next = step.as_ref().map(|step| step.next).ok();
        let delivered = out.send(step).is_ok();
        match next {
            Some(next) if delivered => position = next,
            _ => return,
        }
    }
}

fn load(stream: &mut TrainingStream, owned: &Range<usize>, position: Position) -> Result<StepBatches> {
    let plan = stream.plan(position)?;
    let owned_shards = plan.shards.get(owned.clone()).ok_or_else(|| {
        Error::Config(format!("micro-shards {owned:?} of {}: the ranks own more than there are", plan.shards.len()))
    })?;
    let shards = owned_shards.iter().map(|samples| stream.batch(position.step, samples)).collect::<Result<_>>()?;
    let num_samples = plan.num_samples();
    Ok(StepBatches { position, next: plan.next, num_samples, first_shard: owned.start, shards, wait: Duration::ZERO })
}

/// The fixed batches of a split on which training is judged: its samples in order, a molecule by its conformer of
/// highest weight, a chain by its middle where it is cropped and with the same fold label told each time; the sample id
/// is the index.
#[derive(Clone, Debug)]
pub struct ValidationBatches {
    selection: Selection,
    showing: Showing,
    len: usize,
    batch_size: usize,
}

impl ValidationBatches {
    /// The first `limit` samples (all without a limit) of the split of this name, `batch_size` to a batch.
    ///
    /// # Errors
    /// [`Error::Config`] when `batch_size` is 0, or the configuration asks for what the data do not have;
    /// [`Error::Data`] as [`Selection::new`].
    pub fn new(
        dataset: &Dataset,
        split: &str,
        config: &DataConfig,
        batch_size: usize,
        limit: Option<usize>,
    ) -> Result<Self> {
        if batch_size == 0 {
            return Err(Error::Config("the validation batch size must be at least 1".into()));
        }
        let showing = Showing::new(dataset, config)?;
        let selection = Selection::new(dataset.split(split)?, config)?;
        let len = limit.unwrap_or(usize::MAX).min(selection.len());
        Ok(ValidationBatches { selection, showing, len, batch_size })
    }

    /// Number of batches.
    pub fn len(&self) -> usize {
        self.len.div_ceil(self.batch_size)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of samples in all batches.
    pub fn num_samples(&self) -> usize {
        self.len
    }

    /// Batch `k`; empty when there is none of this number.
    ///
    /// # Errors
    /// [`Error::Data`] naming the file and the record when it is damaged.
    pub fn batch(&self, k: usize) -> Result<Batch> {
        let range = (k * self.batch_size).min(self.len)..((k + 1) * self.batch_size).min(self.len);
        let indices = range.map(|i| self.selection.index(i));
        let split = self.selection.split();
        if split.kind() == Kind::Chains {
            let show = |i: usize| -> Result<_> {
                let record = split.chain(i)?;
                let (shown, fold) = self.showing.in_validation(i as u64, &record);
                Ok((i as u64, record, shown, fold))
            };
            return Batch::from_chains(&indices.map(show).collect::<Result<Vec<_>>>()?);
        }
        let records: Vec<_> = indices.map(|i| Ok((i as u64, split.molecule(i)?, 0))).collect::<Result<_>>()?;
        Batch::from_records(&records)
    }
}
