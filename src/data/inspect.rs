//! Reads a whole data set, checks all of it, and counts what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use rayon::prelude::*;

use super::dataset::{Dataset, Split};
use super::manifest::ShardEntry;
use super::schema::Kind;
use crate::bio::breaks;
use crate::{Error, Result};

/// What a data set holds.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its name.
    pub name: String,
    /// What its samples are.
    pub kind: Kind,
    /// Its hash.
    pub hash: String,
    /// Per split, in alphabetical order.
    pub splits: Vec<SplitCounts>,
    /// How many samples of each split were left out when it was made, by reason.
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
    /// Conformers of all molecules; chains have one each.
    pub conformers: u64,
    /// Each sample's number of points, ascending.
    pub sizes: Vec<usize>,
    /// Atoms by atomic number.
    pub elements: BTreeMap<u8, u64>,
    /// What is counted of chains.
    pub chains: ChainCounts,
}

/// What is counted of chains.
#[derive(Clone, Debug, Default)]
pub struct ChainCounts {
    /// Breaks of all chains.
    pub breaks: u64,
    /// Chains with a fold label.
    pub labelled: u64,
    /// The names of the clusters.
    pub clusters: BTreeSet<String>,
    /// Chains that are in one of them.
    pub clustered: u64,
    /// The sum of the chains' mean B-factors (pLDDT), of those that have one, and their number.
    pub b_factors: (f64, u64),
}

impl ChainCounts {
    fn merge(mut self, other: ChainCounts) -> ChainCounts {
        self.breaks += other.breaks;
        self.labelled += other.labelled;
        self.clusters.extend(other.clusters);
        self.clustered += other.clustered;
        self.b_factors = (self.b_factors.0 + other.b_factors.0, self.b_factors.1 + other.b_factors.1);
        self
    }
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
    check_clusters(&splits)?;
    let (name, kind, hash) = (manifest.name.clone(), manifest.kind, dataset.hash().to_string());
    Ok(Inspection { name, kind, hash, splits, dropped: manifest.dropped.clone() })
}

/// A cluster must be on one side only.
fn check_clusters(splits: &[SplitCounts]) -> Result<()> {
    let mut sides = BTreeMap::new();
    for split in splits {
        for cluster in &split.chains.clusters {
            if let Some(other) = sides.insert(cluster, &split.name) {
                let name = &split.name;
                return Err(Error::Data(format!("cluster {cluster:?} is in the splits {other} and {name}")));
            }
        }
    }
    Ok(())
}

fn count_split(split: &Split, dir: &Path, entries: &[ShardEntry]) -> Result<SplitCounts> {
    let mut counts = SplitCounts { name: split.name().to_string(), files: entries.len(), ..Default::default() };
    let mut first = 0;
    for entry in entries {
        let end = first + entry.samples;
        let shard = (first..end).into_par_iter().map(|i| match split.kind() {
            Kind::Molecules => count_molecule(split, i),
            Kind::Chains => count_chain(split, i),
        });
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

fn count_chain(split: &Split, i: usize) -> Result<SplitCounts> {
    let record = split.chain(i)?;
    let n = record.num_residues();
    let broken = breaks(&record.points(0..n)?).into_iter().filter(|broken| *broken).count();
    let mean = record.b_factors().iter().copied().map(f64::from).sum::<f64>() / n as f64;
    let clustered = !record.cluster().is_empty();
    let chains = ChainCounts {
        breaks: broken as u64,
        labelled: u64::from(!record.folds().is_empty()),
        clusters: clustered.then(|| record.cluster().to_string()).into_iter().collect(),
        clustered: u64::from(clustered),
        b_factors: if mean.is_nan() { (0.0, 0) } else { (mean, 1) },
    };
    Ok(SplitCounts { sizes: vec![n], conformers: 1, chains, ..Default::default() })
}

impl SplitCounts {
    /// The sum of two; name and files are the first's.
    fn merge(mut self, other: SplitCounts) -> SplitCounts {
        self.conformers += other.conformers;
        self.sizes.extend(other.sizes);
        for (element, atoms) in other.elements {
            *self.elements.entry(element).or_default() += atoms;
        }
        self.chains = self.chains.merge(other.chains);
        self
    }

    fn points(&self) -> u64 {
        self.sizes.iter().map(|&n| n as u64).sum()
    }

    fn check(&self, entry: &ShardEntry) -> Result<(), String> {
        let largest = self.sizes.iter().max().copied().unwrap_or(0);
        let (found, listed) =
            ((self.conformers, self.points(), largest), (entry.conformers, entry.points, entry.max_points));
        match found == listed {
            true => Ok(()),
            false => Err(format!("(conformers, points, largest sample) = {found:?}, the manifest says {listed:?}")),
        }
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\nhash {}\n", self.name, self.hash)?;
        match self.kind {
            Kind::Molecules => {
                writeln!(f, "split   molecules   conformers   atoms min/median/max   files          MB   left out")?;
            }
            Kind::Chains => {
                writeln!(f, "split      chains     residues   residues min/med/max   files          MB   left out")?;
            }
        }
        for split in &self.splits {
            let size = |k: usize| split.sizes.get(k).copied().unwrap_or(0);
            let last = split.sizes.len().saturating_sub(1);
            let sizes = format!("{} / {} / {}", size(0), size(split.sizes.len() / 2), size(last));
            let dropped: u64 = self.dropped.get(&split.name).map_or(0, |reasons| reasons.values().sum());
            let (molecules, megabytes) = (split.sizes.len(), split.bytes as f64 / 1e6);
            let (name, files) = (&split.name, split.files);
            let count = if self.kind == Kind::Molecules { split.conformers } else { split.points() };
            let line = format!("{name:<7} {molecules:>9} {count:>12} {sizes:>22} {files:>7} {megabytes:>11.2}");
            writeln!(f, "{line} {dropped:>10}")?;
        }
        match self.kind {
            Kind::Molecules => self.write_elements(f)?,
            Kind::Chains => self.write_chains(f)?,
        }
        for (split, reason, n) in
            self.dropped.iter().flat_map(|(split, reasons)| reasons.iter().map(move |(reason, n)| (split, reason, n)))
        {
            writeln!(f, "left out of {split}: {n} × {reason}")?;
        }
        Ok(())
    }
}

impl Inspection {
    fn write_elements(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut elements = BTreeMap::<u8, u64>::new();
        for (&element, &atoms) in self.splits.iter().flat_map(|split| &split.elements) {
            *elements.entry(element).or_default() += atoms;
        }
        let listed: Vec<String> = elements.iter().map(|(element, atoms)| format!("{element}: {atoms}")).collect();
        writeln!(f, "\natoms by atomic number  {}", listed.join(", "))
    }

    fn write_chains(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let merge = |all: ChainCounts, split: &SplitCounts| all.merge(split.chains.clone());
        let all = self.splits.iter().fold(ChainCounts::default(), merge);
        let number: usize = self.splits.iter().map(|split| split.sizes.len()).sum();
        writeln!(f, "\n{} breaks; {} of {number} chains have a fold label", all.breaks, all.labelled)?;
        writeln!(f, "{} chains in {} clusters, the others by themselves", all.clustered, all.clusters.len())?;
        match all.b_factors {
            (_, 0) => Ok(()),
            (sum, count) => writeln!(f, "mean B-factor (of AlphaFold's models: pLDDT) {:.1}", sum / count as f64),
        }
    }
}
