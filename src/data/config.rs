//! The configuration section `data`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which data to train on, and how batches are drawn from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of the data set: shards and `manifest.json`, as `data/prepare_geom.py`, `qsd-data import` and
    /// `qsd-data protein` make them. Has no default. A relative path is looked up from the current folder, then from
    /// the configuration file's.
    pub path: PathBuf,
    /// Compare every shard with its checksum when opening (reads all of the data once).
    pub verify: bool,
    /// The most points (atoms of a molecule, residues of a chain) that a sample has; null allows any number.
    pub max_points: Option<usize>,
    /// What becomes of chains with more residues than `max_points`: `leave-out`, or `crop` (a sample shows that many
    /// consecutive residues, another random part each time; the middle in validation). Molecules are left out.
    pub long_chains: LongChains,
    /// Which conformer of a molecule a sample shows: `uniform` (each as likely, the reference) or `boltzmann`
    /// (by its weight).
    pub conformer: ConformerChoice,
    /// What an epoch visits: `clusters` (of each cluster one member, drawn anew in each epoch; a sample without cluster is
    /// one of its own) or `samples` (each). Data sets without clusters have the same of both.
    pub epoch: Epoch,
    /// How much of a chain's fold label a sample is told: the probabilities of nothing, of the class (C), of class and
    /// architecture (CA), and of all down to the topology (CAT). Of several labels one is drawn, each as likely.
    pub fold_levels: [f64; 4],
    /// The unit that `train.global_batch` counts: `samples`, `points` (atoms, residues), `edges` (of a graph with at
    /// most 32 neighbours a point), or `pairs` (the square of the number of points). But for samples, a step takes as
    /// many as fit, at least one.
    pub batch_by: BatchBy,
    /// Steps loaded ahead.
    pub prefetch_steps: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            path: PathBuf::new(),
            verify: true,
            max_points: None,
            long_chains: LongChains::LeaveOut,
            conformer: ConformerChoice::Uniform,
            epoch: Epoch::Clusters,
            fold_levels: [1.0, 0.0, 0.0, 0.0],
            batch_by: BatchBy::Samples,
            prefetch_steps: 2,
        }
    }
}

impl DataConfig {
    /// Whether fold labels are ever told.
    pub fn tells_folds(&self) -> bool {
        self.fold_levels[1..].iter().any(|probability| *probability > 0.0)
    }

    /// Refuses what makes no sense whatever the data are.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key.
    pub fn validate(&self) -> Result<()> {
        let levels = &self.fold_levels;
        let ok = |p: &f64| (0.0..=1.0).contains(p);
        if !levels.iter().all(ok) || (levels.iter().sum::<f64>() - 1.0).abs() > 1e-9 {
            return Err(Error::Config(format!(
                "data.fold_levels {levels:?}: four probabilities (nothing, C, CA, CAT) with sum 1"
            )));
        }
        if self.max_points == Some(0) {
            return Err(Error::Config("data.max_points 0: at least 1, or null".into()));
        }
        match (self.long_chains, self.max_points) {
            (LongChains::Crop, None) => {
                Err(Error::Config("data.long_chains crop: data.max_points must say to how many residues".into()))
            }
            _ => Ok(()),
        }
    }
}

/// What becomes of chains with more residues than `data.max_points`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LongChains {
    /// They do not take part.
    LeaveOut,
    /// A sample shows a part.
    Crop,
}

/// How a conformer is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConformerChoice {
    /// Each with the same probability.
    Uniform,
    /// With the probability of its Boltzmann weight.
    Boltzmann,
}

/// What an epoch visits once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Epoch {
    /// Each cluster, by one random member.
    Clusters,
    /// Each sample.
    Samples,
}

/// What the size of a global batch counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchBy {
    /// Molecules or chains.
    Samples,
    /// Atoms or residues.
    Points,
    /// Edges, as [`num_edges`](super::num_edges) estimates them.
    Edges,
    /// Pairs of points, N² of a sample.
    Pairs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |config: DataConfig, key: &str| {
            let message = config.validate().unwrap_err().to_string();
            assert!(message.starts_with(key), "{message}");
        };
        DataConfig::default().validate().unwrap();
        let default = DataConfig::default;
        refused(DataConfig { fold_levels: [0.5, 0.1, 0.1, 0.1], ..default() }, "data.fold_levels");
        refused(DataConfig { fold_levels: [2.0, -1.0, 0.0, 0.0], ..default() }, "data.fold_levels");
        refused(DataConfig { fold_levels: [f64::NAN, 1.0, 0.0, 0.0], ..default() }, "data.fold_levels");
        refused(DataConfig { max_points: Some(0), ..default() }, "data.max_points");
        refused(DataConfig { long_chains: LongChains::Crop, ..default() }, "data.long_chains");
        assert!(!default().tells_folds());
    }
}
