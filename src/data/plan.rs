//! Which samples a step takes, and how they are cut into the canonical micro-shards.

use serde::{Deserialize, Serialize};

use super::config::BatchBy;
use super::dataset::Split;
use super::order::Order;
use crate::{Error, Result};

/// A place in training: the step and the stream's position at its start. Part of a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// Samples taken.
    pub sample: u64,
}

/// One sample of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its id, `epoch · (molecules of the split) + index`: no two samples of a run share one, so a molecule
    /// that occurs twice in a step gets noise of its own each time. Randomness is keyed by it.
    pub id: u64,
    /// Its molecule's index in the split.
    pub index: usize,
    /// Its molecule's atoms.
    pub num_atoms: usize,
}

/// The samples of a step: a function of (seed, step, data), never of ranks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPlan {
    /// Where the step begins.
    pub position: Position,
    /// Where the next begins.
    pub next: Position,
    /// The canonical micro-shards, each in the order of the stream. Some are empty when there are fewer
    /// samples than shards.
    pub shards: Vec<Vec<Sample>>,
}

impl StepPlan {
    /// Samples of all shards.
    pub fn num_samples(&self) -> usize {
        self.shards.iter().map(Vec::len).sum()
    }
}

/// Edges of a molecule of `n` atoms when each has at most 32 neighbours: what a network's cost grows with.
pub fn num_edges(n: usize) -> u64 {
    n as u64 * (n as u64).saturating_sub(1).min(32)
}

/// The molecules of a split that take part.
#[derive(Clone, Debug)]
pub struct Selection {
    split: Split,
    /// Their indices; `None` when all take part, so that large data sets cost no memory.
    kept: Option<Vec<u32>>,
}

impl Selection {
    /// The molecules of at most `max_atoms` atoms. When the manifest says that none is larger, nothing is
    /// read; otherwise the sizes of all molecules are, once.
    ///
    /// # Errors
    /// [`Error::Data`] when none is left, or a shard is damaged.
    pub fn new(split: Split, max_atoms: Option<usize>) -> Result<Self> {
        let kept = match max_atoms {
            Some(limit) if split.max_atoms() > limit => Some(indices_up_to(&split, limit)?),
            _ => None,
        };
        let selection = Selection { split, kept };
        if selection.is_empty() {
            let (name, all) = (selection.split.name(), selection.split.len());
            return Err(Error::Data(format!(
                "split {name}: none of its {all} molecules has at most {max_atoms:?} atoms"
            )));
        }
        Ok(selection)
    }

    /// The split they are of.
    pub fn split(&self) -> &Split {
        &self.split
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.kept.as_ref().map_or(self.split.len(), Vec::len)
    }

    /// Whether there is none; never of a selection that was made.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many molecules of the split are left out.
    pub fn skipped(&self) -> usize {
        self.split.len() - self.len()
    }

    /// The index in the split of the `k`-th.
    pub fn index(&self, k: usize) -> usize {
        self.kept.as_ref().map_or(k, |kept| kept[k] as usize)
    }
}

fn indices_up_to(split: &Split, max_atoms: usize) -> Result<Vec<u32>> {
    let mut kept = Vec::new();
    for i in 0..split.len() {
        if split.num_atoms(i)? <= max_atoms {
            kept.push(i as u32);
        }
    }
    Ok(kept)
}

/// Plans steps.
#[derive(Clone, Debug)]
pub struct Planner {
    selection: Selection,
    order: Order,
    batch_by: BatchBy,
    global_batch: usize,
    num_shards: usize,
}

impl Planner {
    /// Plans steps of `global_batch` units (see [`BatchBy`]) in `num_shards` micro-shards.
    ///
    /// # Errors
    /// [`Error::Config`] when one of them is 0.
    pub fn new(
        seed: u64,
        selection: Selection,
        batch_by: BatchBy,
        global_batch: usize,
        num_shards: usize,
    ) -> Result<Self> {
        if global_batch == 0 || num_shards == 0 {
            let what =
                format!("a global batch of {global_batch} in {num_shards} micro-shards: both must be at least 1");
            return Err(Error::Config(what));
        }
        let order = Order::new(seed, selection.len())?;
        Ok(Planner { selection, order, batch_by, global_batch, num_shards })
    }

    /// The molecules that take part.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The plan of the step at `position`.
    ///
    /// # Errors
    /// [`Error::Data`] when a shard is damaged.
    pub fn plan(&mut self, position: Position) -> Result<StepPlan> {
        let samples = self.take(position.sample)?;
        let next = Position { step: position.step + 1, sample: position.sample + samples.len() as u64 };
        Ok(StepPlan { position, next, shards: balance(samples, self.num_shards) })
    }

    /// The samples from a stream position on, as many as fit into a global batch, at least one.
    fn take(&mut self, start: u64) -> Result<Vec<Sample>> {
        let mut samples = Vec::new();
        let mut filled = 0;
        for position in start.. {
            let sample = self.sample(position)?;
            filled += self.units(&sample);
            if filled > self.global_batch as u64 && !samples.is_empty() {
                break;
            }
            samples.push(sample);
        }
        Ok(samples)
    }

    fn sample(&mut self, position: u64) -> Result<Sample> {
        let (epoch, k) = self.order.at(position);
        let index = self.selection.index(k);
        let split = &self.selection.split;
        let id = epoch * split.len() as u64 + index as u64;
        Ok(Sample { id, index, num_atoms: split.num_atoms(index)? })
    }

    /// What a sample takes of the global batch, at least 1.
    fn units(&self, sample: &Sample) -> u64 {
        match self.batch_by {
            BatchBy::Samples => 1,
            BatchBy::Atoms => sample.num_atoms.max(1) as u64,
            BatchBy::Edges => num_edges(sample.num_atoms).max(1),
        }
    }
}

/// Cuts samples into shards of about equal cost: the costliest first, each to the shard with the least so
/// far (the first of several). Within a shard the samples keep their order.
fn balance(samples: Vec<Sample>, num_shards: usize) -> Vec<Vec<Sample>> {
    let cost = |i: usize| num_edges(samples[i].num_atoms).max(1);
    let mut longest_first: Vec<usize> = (0..samples.len()).collect();
    longest_first.sort_by_key(|&i| (std::cmp::Reverse(cost(i)), i));
    let mut loads = vec![0u64; num_shards];
    let mut members = vec![Vec::new(); num_shards];
    for i in longest_first {
        let least = (0..num_shards).min_by_key(|&s| (loads[s], s)).expect("at least one shard");
        loads[least] += cost(i);
        members[least].push(i);
    }
    let in_order = |mut shard: Vec<usize>| {
        shard.sort_unstable();
        shard.into_iter().map(|i| samples[i]).collect()
    };
    members.into_iter().map(in_order).collect()
}
