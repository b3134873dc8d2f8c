//! What a checkpoint holds, and reading it back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::folder::newest_healthy;
use super::manifest::{Stored, damaged};
use super::tensors::{check_finite, check_names, decode, encode};
use super::{EMA, MANIFEST, OPTIMIZER, STATE, WEIGHTS};
use crate::model::Layout;
use crate::{Error, Result};

/// How the two moments are told apart in one file.
const MOMENTS: [&str; 2] = ["first_moment/", "second_moment/"];

/// The state of a training run after `step` steps: a copy, independent of what training does next.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// How many steps were done.
    pub step: u64,
    /// Names, shapes and places in the buffers below, each of the layout's length.
    pub layout: Arc<Layout>,
    /// The parameters.
    pub parameters: Vec<f32>,
    /// The optimizer's running mean of the gradient.
    pub first_moment: Vec<f32>,
    /// The optimizer's running mean of the squared gradient.
    pub second_moment: Vec<f32>,
    /// The exponential moving average of the parameters, where one is kept.
    pub ema: Option<Vec<f32>>,
    /// What else the trainer needs to go on: position in the data, clipping history, configuration, hashes.
    pub state: Value,
}

impl Snapshot {
    /// Makes sure that this is a state to go on from.
    ///
    /// # Errors
    /// [`Error::NonFinite`] naming the entry; [`Error::Checkpoint`] when a buffer is not of the layout's length
    /// or two parameters have one name.
    pub fn check(&self) -> Result<()> {
        let refuse =
            |cause: String| Error::Checkpoint(format!("the state of step {} is not saved: {cause}", self.step));
        check_names(&self.layout).map_err(refuse)?;
        for (name, buffer) in self.buffers() {
            let (found, expected) = (buffer.len(), self.layout.len());
            if found != expected {
                return Err(refuse(format!("{name} has {found} entries, its layout {expected}")));
            }
            let refuse =
                |cause| Error::NonFinite(format!("the state of step {} is not saved: {name}: {cause}", self.step));
            check_finite(&self.layout, buffer).map_err(refuse)?;
        }
        Ok(())
    }

    fn buffers(&self) -> impl Iterator<Item = (&str, &[f32])> {
        let always = [
            ("parameters", &self.parameters),
            ("first moment", &self.first_moment),
            ("second moment", &self.second_moment),
        ];
        let always = always.into_iter().map(|(name, buffer)| (name, buffer.as_slice()));
        always.chain(self.ema.iter().map(|ema| ("ema", ema.as_slice())))
    }

    /// The files of the checkpoint, but for the manifest.
    pub(super) fn encode(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let moments = [(MOMENTS[0], self.first_moment.as_slice()), (MOMENTS[1], self.second_moment.as_slice())];
        let state = serde_json::to_vec_pretty(&self.state)
            .map_err(|error| Error::Checkpoint(format!("the trainer's state of step {}: {error}", self.step)))?;
        let mut files = vec![
            (WEIGHTS, encode(&self.layout, &[("", &self.parameters)])?),
            (OPTIMIZER, encode(&self.layout, &moments)?),
            (STATE, state),
        ];
        if let Some(ema) = &self.ema {
            files.push((EMA, encode(&self.layout, &[("", ema)])?));
        }
        Ok(files)
    }
}

/// Reads the checkpoint in the folder `path` for a model of the layout `expected`, checking everything.
///
/// # Errors
/// [`Error::Checkpoint`] naming the file and the cause: missing, of another length or checksum than the
/// manifest's, of another model (with the differing names and shapes), not finite. [`Error::Io`].
pub fn load(path: &Path, expected: &Arc<Layout>) -> Result<Snapshot> {
    let stored = Stored::open(path)?;
    let parameters = one(&stored, WEIGHTS, expected)?;
    let ema = stored.has(EMA).then(|| one(&stored, EMA, expected)).transpose()?;
    let moments = decode(&stored.file(OPTIMIZER), &stored.map(OPTIMIZER)?, expected, MOMENTS)?;
    let [first_moment, second_moment] = moments;
    let (step, layout, state) = (stored.step(), expected.clone(), stored.state()?);
    Ok(Snapshot { step, layout, parameters, first_moment, second_moment, ema, state })
}

/// The one buffer of a file.
fn one(stored: &Stored, name: &str, layout: &Layout) -> Result<Vec<f32>> {
    let [numbers] = decode(&stored.file(name), &stored.map(name)?, layout, [""])?;
    Ok(numbers)
}

/// A checkpoint opened for sampling: its state tells which network to build, whose layout then gets the numbers.
pub struct Weights {
    stored: Stored,
    /// How many steps were done.
    pub step: u64,
    /// What the trainer stored beside the numbers.
    pub state: Value,
}

impl Weights {
    /// The moving average where the run kept one, otherwise the parameters, as a buffer of this layout.
    ///
    /// # Errors
    /// As of [`load`].
    pub fn parameters(&self, layout: &Layout) -> Result<Vec<f32>> {
        one(&self.stored, if self.averaged() { EMA } else { WEIGHTS }, layout)
    }

    /// Whether [`Self::parameters`] are the moving average.
    pub fn averaged(&self) -> bool {
        self.stored.has(EMA)
    }

    /// The checkpoint's folder.
    pub fn path(&self) -> &Path {
        self.stored.path()
    }
}

/// Opens a checkpoint to sample from: `path` is its folder, or that of a run or of a run's checkpoints, of which
/// the newest healthy one is taken.
///
/// # Errors
/// [`Error::Checkpoint`] when there is none (with what is wrong with those that are there), or it is damaged.
pub fn load_for_sampling(path: &Path) -> Result<Weights> {
    let folder = if path.join(MANIFEST).exists() { path.to_path_buf() } else { newest_in(path)? };
    let stored = Stored::open(&folder)?;
    stored.verify()?;
    Ok(Weights { step: stored.step(), state: stored.state()?, stored })
}

fn newest_in(path: &Path) -> Result<PathBuf> {
    let inner = path.join("checkpoints");
    let search = newest_healthy(if inner.is_dir() { &inner } else { path })?;
    search.found.ok_or_else(|| {
        let causes: Vec<String> = search.rejected.iter().map(|rejected| format!("\n  {}", rejected.cause)).collect();
        damaged(path, format!("no healthy checkpoint here{}", causes.concat()))
    })
}
