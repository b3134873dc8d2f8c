//! Reads a whole data set, checks all of it, and counts what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use rayon::prelude::*;

use super::dataset::{Dataset, Split};
use super::manifest::ShardEntry;
use crate::{Error, Result};

/// What a data set holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its name.
    pub name: String,
    /// Its hash.
    pub hash: String,
    /// Per split, in alphabetical order.
    pub splits: Vec<SplitCounts>,
    /// How many molecules of each split were left out when it was made, by reason.
    pub dropped: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What a split holds.
#[derive(Clone, Debug, Default)]
pub struct SplitCounts {
    /// Its name.
    pub name: String,
    /// Its shards.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// Conformers of all molecules.
    pub conformers: u64,
    /// Each molecule's number of atoms, ascending.
    pub sizes: Vec<usize>,
    /// Atoms by atomic number.
    pub elements: BTreeMap<u8, u64>,
}

/// Verifies every checksum, reads every record, and compares the counts with the manifest's.
///
/// # Errors
/// [`Error::Data`] naming the file (and record) that is damaged or does not agree with the manifest.
pub fn inspect(dir: &Path) -> Result<Inspection> {
    let dataset = Dataset::open(dir, true)?;
    let manifest = dataset.manifest();
    let count = |(name, entries): (&String, &Vec<ShardEntry>)| count_split(&dataset.split(name)?, dir, entries);
    let splits = manifest.splits.iter().map(count).collect::<Result<Vec<_>>>()?;
    let found: BTreeSet<u8> = splits.iter().flat_map(|split| split.elements.keys().copied()).collect();
    if !found.iter().eq(&manifest.elements) {
        let listed = &manifest.elements;
        return Err(Error::Data(format!("{}: lists the elements {listed:?}, found {found:?}", dir.display())));
    }
    let (name, hash) = (manifest.name.clone(), dataset.hash().to_string());
    Ok(Inspection { name, hash, splits, dropped: manifest.dropped.clone() })
}

fn count_split(split: &Split, dir: &Path, entries: &[ShardEntry]) -> Result<SplitCounts> {
    let mut counts = SplitCounts { name: split.name().to_string(), files: entries.len(), ..Default::default() };
    let mut first = 0;
    for entry in entries {
        let end = first + entry.molecules;
        let shard = (first..end).into_par_iter().map(|i| count_molecule(split, i));
        let shard = shard.try_reduce(SplitCounts::default, |a, b| Ok(a.merge(b)))?;
        shard.check(entry).map_err(|what| Error::Data(format!("{}: {what}", dir.join(&entry.file).display())))?;
        counts.bytes += entry.bytes;
        counts = counts.merge(shard);
        first = end;
    }
    counts.sizes.sort_unstable();
    Ok(counts)
}

fn count_molecule(split: &Split, i: usize) -> Result<SplitCounts> {
    let record = split.molecule(i)?;
    (0..record.num_conformers()).try_for_each(|c| record.conformer(c).map(drop))?;
    let mut counts = SplitCounts { sizes: vec![record.num_atoms()], ..Default::default() };
    counts.conformers = record.num_conformers() as u64;
    for atom in &record.molecule().atoms {
        *counts.elements.entry(atom.atomic_number).or_default() += 1;
    }
    Ok(counts)
}

impl SplitCounts {
    /// The sum of two; name and files are the first's.
    fn merge(mut self, other: SplitCounts) -> SplitCounts {
        self.conformers += other.conformers;
        self.sizes.extend(other.sizes);
        for (element, atoms) in other.elements {
            *self.elements.entry(element).or_default() += atoms;
        }
        self
    }

    fn atoms(&self) -> u64 {
        self.sizes.iter().map(|&n| n as u64).sum()
    }

    fn check(&self, entry: &ShardEntry) -> Result<(), String> {
        let largest = self.sizes.iter().max().copied().unwrap_or(0);
        let (found, listed) =
            ((self.conformers, self.atoms(), largest), (entry.conformers, entry.atoms, entry.max_atoms));
        match found == listed {
            true => Ok(()),
            false => Err(format!("(conformers, atoms, largest molecule) = {found:?}, the manifest says {listed:?}")),
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nhash {}\n", self.name, self.hash)?;
        writeln!(f, "split   molecules   conformers   atoms min/median/max   files          MB   left out")?;
        for split in &self.splits {
            let size = |k: usize| split.sizes.get(k).copied().unwrap_or(0);
            let last = split.sizes.len().saturating_sub(1);
            let sizes = format!("{} / {} / {}", size(0), size(split.sizes.len() / 2), size(last));
            let dropped: u64 = self.dropped.get(&split.name).map_or(0, |reasons| reasons.values().sum());
            let (molecules, megabytes) = (split.sizes.len(), split.bytes as f64 / 1e6);
            let (name, conformers, files) = (&split.name, split.conformers, split.files);
            let line = format!("{name:<7} {molecules:>9} {conformers:>12} {sizes:>22} {files:>7} {megabytes:>11.2}");
            writeln!(f, "{line} {dropped:>10}")?;
        }
        let mut elements = BTreeMap::<u8, u64>::new();
        for (&element, &atoms) in self.splits.iter().flat_map(|split| &split.elements) {
            *elements.entry(element).or_default() += atoms;
        }
        let listed: Vec<String> = elements.iter().map(|(element, atoms)| format!("{element}: {atoms}")).collect();
        writeln!(f, "\natoms by atomic number  {}", listed.join(", "))?;
        for (split, reason, n) in
            self.dropped.iter().flat_map(|(split, reasons)| reasons.iter().map(move |(reason, n)| (split, reason, n)))
        {
            writeln!(f, "left out of {split}: {n} × {reason}")?;
        }
        Ok(())
    }
}
