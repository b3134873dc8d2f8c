//! Everything that a run is told, section by section. `qsd-train CONFIG --print-config` prints it resolved.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ClipConfig, EmaConfig, OptimizerConfig, ScheduleConfig};
use crate::data::DataConfig;
use crate::diffusion::{DiffusionConfig, SamplerConfig};
use crate::eval::picture::MAX_PANELS;
use crate::model::{ComputeConfig, ModelConfig};
use crate::{Error, Result};

/// The whole configuration. A file states what differs from the defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Every random number of the run is a function of this one.
    pub seed: u64,
    /// Where the run lives and what it may use.
    pub run: RunConfig,
    /// What it learns from.
    pub data: DataConfig,
    /// The network.
    pub model: ModelConfig,
    /// How the network is computed.
    pub compute: ComputeConfig,
    /// What the network is taught.
    pub diffusion: DiffusionConfig,
    /// How it is sampled; `qsd-sample` uses this unless told otherwise.
    pub sampler: SamplerConfig,
    /// How long and in which portions.
    pub train: TrainConfig,
    /// The optimizer.
    pub optimizer: OptimizerConfig,
    /// The learning rate.
    pub schedule: ScheduleConfig,
    /// Gradient clipping.
    pub clip: ClipConfig,
    /// Averaged parameters.
    pub ema: EmaConfig,
    /// Validation during training.
    pub validation: ValidationConfig,
    /// Samples during training.
    pub evaluation: EvaluationConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointConfig,
    /// Logs.
    pub log: LogConfig,
}

/// Section `run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// The run's folder: checkpoints, logs, the resolved configuration. `null`: `runs/` and the name of the
    /// configuration file. Two runs never share one.
    pub dir: Option<PathBuf>,
    /// Worker threads per process, each computing whole micro-shards, so that their number does not change a
    /// bit. 0: the cores this process may use.
    pub threads: usize,
}

/// Section `train`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimizer steps in all; a later run with a larger number goes on.
    pub steps: u64,
    /// Size of the batch that one optimizer step sees, over all processes, in units of `data.batch_by`.
    pub global_batch: u64,
    /// Micro-shards that the global batch is cut into, a power of two. A shard is the unit of memory (one
    /// forward and backward pass; more shards: gradient accumulation) and of exactness (any power-of-two number
    /// of processes up to this gives the same bits).
    pub micro_shards: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig { steps: 750_000, global_batch: 384, micro_shards: 8 }
    }
}

/// Section `validation`: the training loss on the `val` split, with noise and times that never change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidationConfig {
    /// Steps between validations, also one at the last step. 0: never.
    pub every: u64,
    /// Molecules per forward pass.
    pub batch: usize,
    /// How many molecules or chains of the split are used, from its start.
    pub samples: usize,
}

impl Default for ValidationConfig {
    fn default() -> Self {
        ValidationConfig { every: 1000, batch: 8, samples: 1000 }
    }
}

/// Section `evaluation`: samples that are drawn while training goes on, and what they are worth beside the data. They come
/// from the parameters that validation uses and from the sampler of the section `sampler` (without guidance), with noise
/// that never changes. Only logs depend on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EvaluationConfig {
    /// Steps between evaluations, also one at the last step. 0: never.
    pub every: u64,
    /// The split whose molecules are drawn, or as long as whose chains backbones are.
    pub split: String,
    /// How many molecules or chains of the split, from its start.
    pub samples: usize,
    /// Samples for each reference conformer of a molecule, and for each chain.
    pub per_conformer: usize,
    /// The most reference conformers of a molecule that count, those of highest weight.
    pub max_conformers: usize,
    /// The RMSD of heavy atoms, Å, below which a sample covers a reference conformer and the reverse. Usual are 0.75 for
    /// GEOM-DRUGS and 0.5 for GEOM-QM9.
    pub threshold: f64,
    /// Steps of the sampler; `null`: `sampler.steps`.
    pub steps: Option<usize>,
    /// Atoms or residues per forward pass; what is larger goes alone.
    pub batch_points: usize,
    /// How many samples the picture shows, up to 16; a molecule is shown with the conformer that is nearest.
    pub pictures: usize,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        EvaluationConfig {
            every: 0,
            split: "val".into(),
            samples: 20,
            per_conformer: 2,
            max_conformers: 10,
            threshold: 0.75,
            steps: None,
            batch_points: 1000,
            pictures: 8,
        }
    }
}

impl EvaluationConfig {
    fn validate(&self) -> Result<()> {
        if self.every == 0 {
            return Ok(());
        }
        for (key, value) in [
            ("samples", self.samples),
            ("per_conformer", self.per_conformer),
            ("max_conformers", self.max_conformers),
            ("steps", self.steps.unwrap_or(1)),
            ("batch_points", self.batch_points),
        ] {
            positive(&format!("evaluation.{key}"), value as u64)?;
        }
        if self.threshold.is_nan() || self.threshold <= 0.0 {
            return Err(Error::Config(format!("evaluation.threshold must be above 0 Å; found {}", self.threshold)));
        }
        if self.pictures > MAX_PANELS {
            return Err(Error::Config(format!(
                "evaluation.pictures must be at most {MAX_PANELS}; found {}",
                self.pictures
            )));
        }
        Ok(())
    }
}

/// Section `checkpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; there is also one at the last step and when the run is asked to stop.
    pub every: u64,
    /// How many of the newest are kept.
    pub keep_last: usize,
    /// Whether the one with the lowest validation loss is kept besides.
    pub keep_best: bool,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        CheckpointConfig { every: 1000, keep_last: 3, keep_best: true }
    }
}

/// Section `log`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Steps between records in TensorBoard and `metrics.jsonl`; each holds the means since the last one.
    pub every: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { every: 10 }
    }
}

impl Config {
    /// Checks every section, names the run after its configuration file unless it has a folder, and returns what
    /// runs.
    ///
    /// # Errors
    /// [`Error::Config`] names the key, the value and what is allowed.
    pub fn resolve(mut self, file: &Path) -> Result<Self> {
        self.data.validate()?;
        self.model.validate()?;
        self.diffusion.validate()?;
        self.sampler.validate(&self.diffusion)?;
        if self.diffusion.self_conditioning > 0.0 && !self.model.self_conditions() {
            return Err(Error::Config(
                "diffusion.self_conditioning: the network of `model.kind: et` knows nothing of it; set it to 0".into(),
            ));
        }
        self.optimizer.validate()?;
        self.schedule.validate()?;
        self.clip.validate()?;
        self.ema.validate()?;
        self.train.validate()?;
        positive("validation.batch", self.validation.batch as u64)?;
        positive("checkpoint.every", self.checkpoint.every)?;
        positive("checkpoint.keep_last", self.checkpoint.keep_last as u64)?;
        positive("log.every", self.log.every)?;
        if self.validation.every > 0 {
            positive("validation.samples", self.validation.samples as u64)?;
        }
        self.evaluation.validate()?;
        if self.data.prefetch_steps > 1024 {
            let found = self.data.prefetch_steps;
            return Err(Error::Config(format!("data.prefetch_steps must be at most 1024; found {found}")));
        }
        self.check_finite()?;
        self.run.dir.get_or_insert_with(|| Path::new("runs").join(file.file_stem().unwrap_or_default()));
        Ok(self)
    }

    /// Refuses numbers that a checkpoint's JSON could not hold (infinities, NaN): such a run could not be resumed.
    fn check_finite(&self) -> Result<()> {
        let json = serde_json::to_value(self).map_err(|e| Error::Config(format!("the configuration: {e}")))?;
        match Config::deserialize(&json) {
            Ok(read) if read == *self => Ok(()),
            _ => Err(Error::Config("the configuration holds a number that is not finite; give a finite one".into())),
        }
    }

    /// The part that decides what is learnt: a run may only be resumed with the same. Length, folders, logs
    /// and checkpoint intervals are free to change, and the data is recognised by its hash.
    pub fn identity(&self) -> Config {
        let free = Config::default();
        Config {
            run: free.run,
            data: DataConfig {
                path: free.data.path,
                verify: free.data.verify,
                prefetch_steps: free.data.prefetch_steps,
                ..self.data.clone()
            },
            sampler: free.sampler,
            train: TrainConfig { steps: 0, ..self.train },
            validation: free.validation,
            evaluation: free.evaluation,
            checkpoint: free.checkpoint,
            log: free.log,
            ..self.clone()
        }
    }
}

impl TrainConfig {
    fn validate(&self) -> Result<()> {
        positive("train.steps", self.steps)?;
        positive("train.global_batch", self.global_batch)?;
        if !self.micro_shards.is_power_of_two() || self.micro_shards > 1 << 16 {
            return Err(Error::Config(format!(
                "train.micro_shards must be a power of two up to 65536, so that the gradient's sum is one fixed \
                 binary tree; found {}",
                self.micro_shards
            )));
        }
        Ok(())
    }
}

fn positive(key: &str, value: u64) -> Result<()> {
    if value == 0 { Err(Error::Config(format!("{key} must be at least 1; found 0"))) } else { Ok(()) }
}
