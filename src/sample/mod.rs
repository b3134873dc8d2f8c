//! From a checkpoint to conformers: what `qsd-sample` does.
//!
//! The molecules of the input times `num` make a list of samples. Processes take them in turns, a batch at a
//! time; rank 0 writes them in the list's order. A sample depends on (seed, its molecule's place in the input,
//! its number) and the checkpoint alone, so the file does not depend on processes, threads or batches.

mod input;
mod output;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::chem::Record;
use crate::cli::Progress;
use crate::data::Condition;
use crate::diffusion::{Denoiser, Sampler};
use crate::distributed::{Communicator, cores, vote};
use crate::geometry::Point;
use crate::model::{self, Network};
use crate::train::checkpoint::{load_for_sampling, weights_sha256};
use crate::train::{SavedState, side_by_side};
use crate::{Error, Result, cli, config};
use input::Input;
use output::Output;

/// What `qsd-sample` is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// A run's folder or a checkpoint's.
    pub checkpoint: PathBuf,
    /// Molecules: `.smi` (a SMILES and a name a line) or `.sdf`.
    pub input: PathBuf,
    /// Conformers per molecule.
    pub num: usize,
    /// The SDF file to write.
    pub out: PathBuf,
    /// Whether an existing one may be replaced.
    pub overwrite: bool,
    /// Key of the randomness.
    pub seed: u64,
    /// Atoms per forward pass; a larger molecule goes alone.
    pub batch_atoms: usize,
    /// Overrides of the sections `sampler` and `compute` that the checkpoint holds, such as `sampler.steps=100`.
    pub overrides: Vec<String>,
}

/// One sample: the `number`-th conformer of a molecule of the input. Its randomness is keyed by the molecule's
/// record in the file and the number, so it is the same however many conformers are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    molecule: usize,
    number: usize,
}

/// Draws the conformers and writes them; the exit code.
///
/// # Errors
/// When the checkpoint, the input or the output cannot be used, or a sample is not finite. Nothing is left
/// under the output's name then. Single bad records of the input are reported and skipped.
pub fn main(world: &dyn Communicator, request: &Request) -> Result<u8> {
    // Rank 0 chooses: a run that is under way has a newer checkpoint at any moment.
    let checkpoint = (world.rank() == 0).then(|| load_for_sampling(&request.checkpoint)).transpose();
    let path = vote::consent(world, checkpoint)?.map(|checkpoint| checkpoint.path().to_path_buf()).unwrap_or_default();
    let path = vote::broadcast(world, path.as_os_str().as_bytes(), 0)?;
    let plan = vote::consent(world, Plan::open(Path::new(OsStr::from_bytes(&path)), request))?;
    vote::agree(world, "checkpoints, molecules or options", &plan.digest(request))?;
    if world.rank() == 0 {
        plan.warning.iter().for_each(cli::say);
        plan.input.skipped.iter().for_each(|reason| cli::say(format_args!("skipped: {reason}")));
    }
    let output = (world.rank() == 0).then(|| Output::create(&request.out, request.overwrite)).transpose();
    let mut output = vote::consent(world, output)?;
    let denoiser = vote::consent(world, plan.network.bind(&plan.parameters))?;
    let batches = plan.batches(request);
    let total = plan.input.molecules.len() * request.num;
    let mut progress = match world.rank() {
        0 => Progress::stderr(0, total as u64, Duration::from_secs(10)),
        _ => Progress::silent(),
    };
    // Rounds are the same on every rank, though their cores may not be.
    let workers = vote::min(world, &[cores::per_rank(world)? as f64])?[0] as usize;
    let mut done = 0;
    for round in batches.chunks(world.size() * workers) {
        let mine = round.chunks(workers).nth(world.rank()).unwrap_or(&[]);
        let drawn = side_by_side(mine.iter().collect(), |batch| plan.draw(&*denoiser, batch, request.seed));
        let drawn = vote::consent(world, drawn.into_iter().collect::<Result<Vec<_>>>())?;
        let positions = gather_points(world, &drawn.concat())?;
        let items = round.concat();
        done += items.len();
        let written = output.as_mut().map_or(Ok(()), |output| write(output, &plan, &items, &positions, request));
        vote::consent(world, written)?;
        progress.update(done as u64, "");
    }
    progress.finish(done as u64, "");
    let finished = output.map_or(Ok(()), Output::finish);
    vote::consent(world, finished)?;
    if world.rank() == 0 {
        cli::say(format_args!(
            "{total} conformers of {} molecules: {}",
            plan.input.molecules.len(),
            request.out.display()
        ));
    }
    Ok(0)
}

/// What sampling works with.
struct Plan {
    input: Input,
    network: Arc<dyn Network>,
    parameters: Vec<f32>,
    sampler: Sampler,
    weights: String,
    /// About the engine.
    warning: Option<&'static str>,
}

impl Plan {
    fn open(checkpoint: &Path, request: &Request) -> Result<Self> {
        let checkpoint = load_for_sampling(checkpoint)?;
        let saved = SavedState::parse(&checkpoint.state)?;
        let free = |text: &str| ["sampler.", "compute."].iter().any(|section| text.trim_start().starts_with(section));
        if let Some(other) = request.overrides.iter().find(|text| !free(text)) {
            return Err(Error::Config(format!(
                "override `{other}`: only the sections `sampler` and `compute` of a checkpoint can be overridden, as in \
                 sampler.steps=100"
            )));
        }
        let config = config::with_overrides(&saved.config, checkpoint.path(), &request.overrides)?;
        let network = model::network(&config.model, config.compute)?;
        let warning = config.compute.warning(&config.model);
        let parameters = checkpoint.parameters(network.layout())?;
        Ok(Plan {
            input: Input::read(&request.input, config.model.max_z().unwrap_or(usize::MAX))?,
            sampler: Sampler::new(&config.sampler, &config.diffusion)?,
            weights: weights_sha256(&parameters),
            warning,
            network,
            parameters,
        })
    }

    /// What must be the same on all ranks.
    fn digest(&self, request: &Request) -> Vec<u8> {
        let molecules: Vec<_> = self.input.molecules.iter().map(|input| (input.index, &input.molecule)).collect();
        let Request { num, seed, batch_atoms, overrides, .. } = request;
        format!("{} {molecules:?} {num} {seed} {batch_atoms} {overrides:?}", self.weights).into_bytes()
    }

    /// All samples, in batches of about `batch_atoms` atoms.
    fn batches(&self, request: &Request) -> Vec<Vec<Item>> {
        let mut batches: Vec<Vec<Item>> = Vec::new();
        let mut room = 0;
        for (molecule, record) in self.input.molecules.iter().enumerate() {
            let atoms = record.molecule.atoms.len();
            for number in 0..request.num {
                if atoms > room {
                    batches.push(Vec::new());
                    room = request.batch_atoms;
                }
                room = room.saturating_sub(atoms);
                if let Some(batch) = batches.last_mut() {
                    batch.push(Item { molecule, number });
                }
            }
        }
        batches
    }

    fn draw(&self, denoiser: &dyn Denoiser, batch: &[Item], seed: u64) -> Result<Vec<Point>> {
        let molecules = batch.iter().map(|item| &self.input.molecules[item.molecule].molecule);
        let condition = Condition::from_molecules(molecules);
        let id = |item: &Item| ((self.input.molecules[item.molecule].index as u64) << 32) | item.number as u64;
        let ids: Vec<u64> = batch.iter().map(id).collect();
        let clouds = self.sampler.run(denoiser, &condition, &ids, seed, &mut |_| Ok(())).map_err(|e| match e {
            Error::NonFinite(what) => {
                Error::NonFinite(format!("{what} (a sample's id is 2^32 times its record plus its number, from 0)"))
            }
            other => other,
        })?;
        Ok(clouds.points().to_vec())
    }
}

/// The points of all ranks, in their order.
fn gather_points(world: &dyn Communicator, mine: &[Point]) -> Result<Vec<Point>> {
    Ok(vote::gather(world, mine.as_flattened())?.as_chunks().0.to_vec())
}

/// Writes consecutive samples whose points stand one after another.
fn write(output: &mut Output, plan: &Plan, items: &[Item], points: &[Point], request: &Request) -> Result<()> {
    let mut rest = points;
    for item in items {
        let source = &plan.input.molecules[item.molecule];
        let (positions, others) = rest.split_at_checked(source.molecule.atoms.len()).ok_or_else(|| {
            Error::World(format!("the positions of {} are missing from what the processes sent", source.name))
        })?;
        rest = others;
        let property = |name: &str, value: String| (name.to_string(), value);
        output.write(&Record {
            name: source.name.clone(),
            molecule: source.molecule.clone(),
            positions: positions.to_vec(),
            properties: vec![
                property("SMILES", source.smiles.clone()),
                property("qsd_sample", item.number.to_string()),
                property("qsd_seed", request.seed.to_string()),
                property("qsd_weights_sha256", plan.weights.clone()),
            ],
        })?;
    }
    match rest.len() {
        0 => Ok(()),
        left => Err(Error::World(format!("the processes sent {left} positions that belong to no sample"))),
    }
}
