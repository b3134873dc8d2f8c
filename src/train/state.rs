//! Everything that a step changes, and how it becomes a checkpoint and comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::checkpoint::Snapshot;
use super::update::{BLOCK, Run, own_part};
use super::{AdamW, Clip, Clipped, Config};
use crate::bio::FoldClasses;
use crate::data::Position;
use crate::distributed::{Communicator, tree};
use crate::model::{Layout, Network};
use crate::{Error, Result};

/// The state of a run between two steps. The same on every process, but for moments and average, of which a process
/// updates its own part only until [`State::complete`] gathers them.
#[derive(Clone, Debug)]
pub struct State {
    /// Steps done, and the place in the stream of samples.
    pub position: Position,
    /// The parameters.
    pub parameters: Vec<f32>,
    /// The optimizer's moments.
    pub optimizer: AdamW,
    /// The averaged parameters, where they are kept.
    pub average: Option<Vec<f32>>,
    /// The clipping rule's memory.
    pub clip: Clip,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Whether the evaluation that was due after the last step is still to be done, since a request to stop came first.
    pub owes_evaluation: bool,
}

/// A validation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After how many steps.
    pub step: u64,
    /// Its mean loss.
    pub loss: f64,
}

/// `state.json` of a checkpoint: what is not a tensor, and what the checkpoint belongs to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedState {
    /// Steps done, and the place in the stream of samples.
    pub position: Position,
    /// The clipping rule's memory.
    pub clip: Clip,
    /// The best validation so far.
    pub best: Option<Best>,
    /// Whether the evaluation of this step is still to be done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub owes_evaluation: bool,
    /// Processes of the run that wrote it.
    pub world_size: usize,
    /// Version of qsd.
    pub version: String,
    /// Hash of [`Config::identity`].
    pub config_sha256: String,
    /// Hash of the data.
    pub data_sha256: String,
    /// Whether the data are protein chains.
    #[serde(default)]
    pub chains: bool,
    /// The fold classes that chains are labelled with, where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folds: Option<FoldClasses>,
    /// The resolved configuration.
    pub config: Config,
}

/// What a checkpoint belongs to.
#[derive(Clone, Debug)]
pub struct Belonging {
    /// Processes of the run.
    pub world_size: usize,
    /// Hash of [`Config::identity`].
    pub config_sha256: String,
    /// Hash of the data.
    pub data_sha256: String,
    /// Whether the data are protein chains.
    pub chains: bool,
    /// The fold classes that chains are labelled with, where they are.
    pub folds: Option<FoldClasses>,
}

impl State {
    /// Step 0: initial parameters from the seed.
    pub fn new(config: &Config, network: &dyn Network) -> Self {
        let parameters = network.initialize(config.seed);
        State {
            position: Position::default(),
            optimizer: AdamW::new(config.optimizer, parameters.len()),
            average: config.ema.decay.map(|_| parameters.clone()),
            clip: Clip::new(config.clip),
            best: None,
            owes_evaluation: false,
            parameters,
        }
    }

    /// The state that a checkpoint holds.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when `state.json` lacks something, or the average that `ema.decay` asks for is missing.
    pub fn restore(config: &Config, snapshot: Snapshot) -> Result<Self> {
        let saved = SavedState::parse(&snapshot.state)?;
        // A best of another validation is not comparable.
        let best = saved.best.filter(|_| saved.config.validation == config.validation);
        if config.ema.decay.is_some() && snapshot.ema.is_none() {
            return Err(Error::Checkpoint("the checkpoint has no averaged parameters, but ema.decay is set".into()));
        }
        Ok(State {
            position: saved.position,
            optimizer: AdamW::resume(config.optimizer, snapshot.first_moment, snapshot.second_moment),
            average: config.ema.decay.and(snapshot.ema),
            clip: saved.clip.resume(config.clip),
            best,
            owes_evaluation: saved.owes_evaluation && config.evaluation.every > 0,
            parameters: snapshot.parameters,
        })
    }

    /// A copy to write.
    pub fn snapshot(&self, layout: &Arc<Layout>, config: &Config, belonging: &Belonging) -> Result<Snapshot> {
        let saved = SavedState {
            position: self.position,
            clip: self.clip.clone(),
            best: self.best,
            owes_evaluation: self.owes_evaluation,
            world_size: belonging.world_size,
            version: env!("CARGO_PKG_VERSION").into(),
            config_sha256: belonging.config_sha256.clone(),
            data_sha256: belonging.data_sha256.clone(),
            chains: belonging.chains,
            folds: belonging.folds.clone(),
            config: config.clone(),
        };
        Ok(Snapshot {
            step: self.position.step,
            layout: layout.clone(),
            parameters: self.parameters.clone(),
            first_moment: self.optimizer.first_moment.clone(),
            second_moment: self.optimizer.second_moment.clone(),
            ema: self.average.clone(),
            state: serde_json::to_value(saved).map_err(|e| Error::Checkpoint(format!("state.json: {e}")))?,
        })
    }

    /// Gathers the parts of moments and average; all processes call it, before the state is read.
    ///
    /// # Errors
    /// [`Error::World`] when a member is gone.
    pub fn complete(&mut self, world: &dyn Communicator) -> Result<()> {
        let moments = [&mut self.optimizer.first_moment, &mut self.optimizer.second_moment];
        moments.into_iter().chain(&mut self.average).try_for_each(|numbers| tree::all_gather(world, numbers, BLOCK))
    }

    /// The parameters to validate and sample with: the average where one is kept.
    pub fn evaluation_parameters(&self) -> &[f32] {
        self.average.as_deref().unwrap_or(&self.parameters)
    }

    /// Applies one gradient of this norm: clips, updates, averages, in this process's own part of the buffers and by
    /// `workers` threads. Returns the learning rate and the clipping. The place moves on to `next`.
    ///
    /// The parameters are to be gathered ([`tree::all_gather`] with [`BLOCK`]) before they are used.
    pub fn update(
        &mut self,
        (config, world, workers): (&Config, &dyn Communicator, usize),
        gradient: &[f32],
        norm: f64,
        next: Position,
    ) -> (f64, Clipped) {
        let learning_rate = config.schedule.learning_rate(self.position.step);
        let clipped = self.clip.apply(norm);
        let coefficients = self.optimizer.coefficients(clipped.factor as f32, learning_rate, next.step);
        let own = own_part(world, gradient.len());
        let average = self.average.as_mut().zip(config.ema.decay);
        let run = Run {
            parameters: &mut self.parameters[own.clone()],
            gradient: &gradient[own.clone()],
            first_moment: &mut self.optimizer.first_moment[own.clone()],
            second_moment: &mut self.optimizer.second_moment[own.clone()],
            average: average.map(|(average, decay)| (&mut average[own], (1.0 - decay) as f32)),
        };
        run.update(coefficients, workers);
        self.position = next;
        (learning_rate, clipped)
    }
}

impl SavedState {
    /// Reads the content of `state.json`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is not what this version writes.
    pub fn parse(state: &serde_json::Value) -> Result<Self> {
        Self::deserialize(state)
            .map_err(|e| Error::Checkpoint(format!("state.json is not of the form this version writes: {e}")))
    }
}
