//! Which samples a step takes, and how they are cut into the canonical micro-shards.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::{BatchBy, DataConfig, Epoch, LongChains};
use super::dataset::Split;
use super::groups::Groups;
use super::order::Order;
use super::schema::Kind;
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
    /// Its id, `epoch · (samples of the split) + index`: no two samples of a run share one, so a molecule or chain
    /// that occurs twice in a step gets noise of its own each time. Randomness is keyed by it.
    pub id: u64,
    /// The index of its molecule or chain in the split.
    pub index: usize,
    /// The points it shows: the molecule's atoms, or the residues of the chain after cropping.
    pub num_points: usize,
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

/// Edges of a cloud of `n` points when each has at most 32 neighbours: what the cost of a network on molecules grows
/// with.
pub fn num_edges(n: usize) -> u64 {
    n as u64 * (n as u64).saturating_sub(1).min(32)
}

/// What a sample of `n` points of this kind is taken to cost when micro-shards are balanced: for molecules the edges;
/// for chains pairs, with which attention and pair features grow, and besides a part for each residue, which in short
/// chains outweighs them.
fn cost(kind: Kind, n: usize) -> u64 {
    match kind {
        Kind::Molecules => num_edges(n).max(1),
        Kind::Chains => n as u64 * (n as u64 + COST_OF_RESIDUE),
    }
}

/// What a residue costs by itself, in pairs.
const COST_OF_RESIDUE: u64 = 256;

/// The samples of a split that take part.
#[derive(Clone, Debug)]
pub struct Selection {
    split: Split,
    /// Their indices; `None` when all take part, so that large data sets cost no memory.
    kept: Option<Vec<u32>>,
    /// Points shown of a larger sample.
    crop: Option<usize>,
    /// The clusters of which an epoch visits one member each.
    groups: Option<Arc<Groups>>,
}

impl Selection {
    /// The samples that the configuration admits, each visited for itself. When the manifest says that none is larger
    /// than `data.max_points`, nothing is read; otherwise the sizes of all samples are, once.
    ///
    /// # Errors
    /// [`Error::Data`] when none is left, or a shard is damaged.
    pub fn new(split: Split, config: &DataConfig) -> Result<Self> {
        let limit = config.max_points.filter(|limit| split.max_points() > *limit);
        let crop = limit.filter(|_| config.long_chains == LongChains::Crop);
        let kept = match (limit, crop) {
            (Some(limit), None) => Some(indices_up_to(&split, limit)?),
            _ => None,
        };
        let selection = Selection { split, kept, crop, groups: None };
        if selection.is_empty() {
            let (name, all, kind) = (selection.split.name(), selection.split.len(), selection.split.kind());
            let limit = limit.map(|limit| format!(" has at most {limit} {}", kind.points())).unwrap_or_default();
            return Err(Error::Data(format!("split {name}: none of its {all} {}{limit}", kind.name())));
        }
        Ok(selection)
    }

    /// The same, of whose clusters an epoch visits one member each where the configuration wants it so. Reads the names
    /// of all clusters, once.
    ///
    /// # Errors
    /// [`Error::Data`] when a shard is damaged.
    pub fn by_epoch(mut self, config: &DataConfig) -> Result<Self> {
        if config.epoch == Epoch::Clusters && self.split.kind() == Kind::Chains {
            let takes_part = |i: usize| self.kept.as_ref().is_none_or(|kept| kept.binary_search(&(i as u32)).is_ok());
            self.groups = Groups::new(&self.split, takes_part)?.map(Arc::new);
        }
        Ok(self)
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

    /// How many samples an epoch visits: one of each cluster.
    pub fn per_epoch(&self) -> usize {
        self.groups.as_ref().map_or(self.len(), |groups| groups.len())
    }

    /// How many samples of the split are left out.
    pub fn skipped(&self) -> usize {
        self.split.len() - self.len()
    }

    /// The index in the split of the `k`-th.
    pub fn index(&self, k: usize) -> usize {
        self.kept.as_ref().map_or(k, |kept| kept[k] as usize)
    }

    /// The index in the split of the `k`-th that an epoch may visit: of a cluster the member drawn for the epoch.
    fn visited(&self, seed: u64, epoch: u64, k: usize) -> usize {
        match &self.groups {
            Some(groups) => groups.draw(seed, epoch, k),
            None => self.index(k),
        }
    }

    /// How many points a sample shows.
    fn shown(&self, index: usize) -> Result<usize> {
        let n = self.split.num_points(index)?;
        Ok(self.crop.map_or(n, |limit| n.min(limit)))
    }
}

fn indices_up_to(split: &Split, max_points: usize) -> Result<Vec<u32>> {
    let mut kept = Vec::new();
    for i in 0..split.len() {
        if split.num_points(i)? <= max_points {
            kept.push(i as u32);
        }
    }
    Ok(kept)
}

/// Plans steps.
#[derive(Clone, Debug)]
pub struct Planner {
    seed: u64,
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
        let order = Order::new(seed, selection.per_epoch())?;
        Ok(Planner { seed, selection, order, batch_by, global_batch, num_shards })
    }

    /// The samples that take part.
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
        Ok(StepPlan { position, next, shards: balance(samples, self.selection.split.kind(), self.num_shards) })
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
        let index = self.selection.visited(self.seed, epoch, k);
        let id = epoch * self.selection.split.len() as u64 + index as u64;
        Ok(Sample { id, index, num_points: self.selection.shown(index)? })
    }

    /// What a sample takes of the global batch, at least 1.
    fn units(&self, sample: &Sample) -> u64 {
        match self.batch_by {
            BatchBy::Samples => 1,
            BatchBy::Points => sample.num_points.max(1) as u64,
            BatchBy::Edges => num_edges(sample.num_points).max(1),
            BatchBy::Pairs => (sample.num_points as u64).pow(2).max(1),
        }
    }
}

/// Cuts samples into shards of about equal cost: the costliest first, each to the shard with the least so
/// far (the first of several). Within a shard the samples keep their order.
fn balance(samples: Vec<Sample>, kind: Kind, num_shards: usize) -> Vec<Vec<Sample>> {
    let cost = |i: usize| cost(kind, samples[i].num_points);
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
