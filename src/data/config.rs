//! The configuration section `data`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which data to train on, and how batches are drawn from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Folder of the data set: shards and `manifest.json`, as `data/prepare_geom.py` and `qsd-data import`
    /// make them. Has no default. A relative path is looked up from the current folder, then from the
    /// configuration file's.
    pub path: PathBuf,
    /// Compare every shard with its checksum when opening (reads all of the data once).
    pub verify: bool,
    /// Leave out molecules with more atoms than this; null keeps all.
    pub max_atoms: Option<usize>,
    /// Which conformer of a molecule a sample shows: `uniform` (each as likely, the reference) or `boltzmann`
    /// (by its weight).
    pub conformer: ConformerChoice,
    /// The unit that `train.global_batch` counts: `samples`, `atoms`, or `edges` (of a graph with at most 32
    /// neighbours an atom). With atoms or edges a step takes as many samples as fit, at least one.
    pub batch_by: BatchBy,
    /// Steps loaded ahead.
    pub prefetch_steps: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            path: PathBuf::new(),
            verify: true,
            max_atoms: None,
            conformer: ConformerChoice::Uniform,
            batch_by: BatchBy::Samples,
            prefetch_steps: 2,
        }
    }
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

/// What the size of a global batch counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchBy {
    /// Molecules.
    Samples,
    /// Atoms.
    Atoms,
    /// Edges, as [`num_edges`](super::num_edges) estimates them.
    Edges,
}
