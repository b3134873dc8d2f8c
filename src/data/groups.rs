//! Clusters of samples, of which an epoch shows one member each.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::dataset::Split;
use super::order::below;
use crate::Result;
use crate::random::{Purpose, stream};

/// The clusters of the samples that take part, numbered by their first members.
#[derive(Debug)]
pub(super) struct Groups {
    /// Indices of samples in their split, cluster by cluster.
    members: Vec<u32>,
    /// First member of each cluster, and the end.
    starts: Vec<u32>,
}

impl Groups {
    /// The clusters of a split, of the samples for which `takes_part`; a sample without one is one of its own. `None`
    /// when every sample is.
    pub fn new(split: &Split, takes_part: impl Fn(usize) -> bool) -> Result<Option<Self>> {
        let mut numbers = HashMap::new();
        let mut groups: Vec<(u32, u32)> = Vec::new();
        let (mut count, mut index) = (0, 0);
        split.for_each_cluster(|name| {
            if takes_part(index) {
                let group = if name.is_empty() { count } else { *numbers.entry(identity(name)).or_insert(count) };
                count += u32::from(group == count);
                groups.push((group, index as u32));
            }
            index += 1;
        })?;
        if count as usize == groups.len() {
            return Ok(None);
        }
        groups.sort_unstable();
        let starts = (0..=count).map(|group| groups.partition_point(|(g, _)| *g < group) as u32).collect();
        Ok(Some(Groups { members: groups.into_iter().map(|(_, index)| index).collect(), starts }))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The member of a cluster that an epoch shows, each as likely: a function of (seed, epoch, cluster).
    pub fn draw(&self, seed: u64, epoch: u64, group: usize) -> usize {
        let members = &self.members[self.starts[group] as usize..self.starts[group + 1] as usize];
        let place = match members.len() {
            1 => 0,
            n => below(&mut stream(seed, Purpose::Member, epoch, group as u64), n as u64),
        };
        members[place as usize] as usize
    }
}

/// Stands for a name, so that millions of them need not be kept.
fn identity(name: &str) -> u128 {
    let digest = Sha256::digest(name.as_bytes());
    u128::from_le_bytes(std::array::from_fn(|i| digest[i]))
}
