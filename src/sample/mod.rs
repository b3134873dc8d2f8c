//! From a checkpoint to conformers or backbones: what `qsd-sample` does.
//!
//! Each molecule of a file or data set, or each length, is drawn as often as asked for. Processes take the samples in
//! turns, a batch at a time; rank 0 writes them in the list's order. A sample depends on (seed, its molecule's place in
//! the input or its length, its number) and the checkpoint alone, so the files do not depend on processes, threads,
//! batches, or how much else is drawn.

mod chains;
mod input;
mod output;
mod task;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::chem::Record;
use crate::cli::Progress;
use crate::diffusion::{Denoiser, Guided, Sampler, SamplerConfig, Step};
use crate::distributed::{Communicator, cores, vote};
use crate::geometry::Point;
use crate::model::{self, Network};
use crate::train::checkpoint::{load_for_sampling, weights_sha256};
use crate::train::drawing::{Item, Team, sample_id};
use crate::train::{Config, SavedState};
use crate::{Error, Result, cli, config};
pub use chains::ChainOptions;
use input::Input;
use output::{Folder, Sdf};
use task::Task;

/// What `qsd-sample` is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// A run's folder or a checkpoint's.
    pub checkpoint: PathBuf,
    /// What is to be drawn.
    pub subject: Subject,
    /// How many samples of each; `None`: 10 of the molecules of a file and of lengths, 2 for each reference conformer of a
    /// data set's molecules, 1 of each of its chains.
    pub count: Option<Count>,
    /// What chains are told and written as.
    pub chains: ChainOptions,
    /// The SDF file or, for chains, the folder to write.
    pub out: PathBuf,
    /// Whether existing files may be replaced.
    pub overwrite: bool,
    /// Key of the randomness.
    pub seed: u64,
    /// Atoms or residues per forward pass; what is larger goes alone.
    pub batch_points: usize,
    /// A run's folder or a checkpoint's, of the same architecture: the guide that `sampler.autoguidance` counts with.
    pub autoguide: Option<PathBuf>,
    /// Overrides of the sections `sampler` and `compute` that the checkpoint holds, such as `sampler.steps=100`.
    pub overrides: Vec<String>,
}

/// What is to be drawn.
#[derive(Clone, Debug)]
pub enum Subject {
    /// Conformers of the molecules in a file: `.smi` (a SMILES and a name a line) or `.sdf`.
    Molecules(PathBuf),
    /// Backbones of these numbers of residues.
    Lengths(Vec<usize>),
    /// Conformers of a data set's molecules, or backbones as long as its chains.
    Data {
        /// The data set's folder.
        path: PathBuf,
        /// The split.
        split: String,
        /// How many of the split's records are taken, from its start; `None`: all.
        limit: Option<usize>,
    },
}

/// How many samples are drawn of a molecule or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// As many of each.
    Each(usize),
    /// As many for each conformer that the data set has of a molecule. What is not of a data set, and a chain, has one.
    PerConformer(usize),
}

impl Count {
    /// How many of what has this many conformers.
    fn of(self, conformers: usize) -> usize {
        match self {
            Count::Each(num) => num,
            Count::PerConformer(num) => num * conformers,
        }
    }
}

/// Draws the samples and writes them; the exit code.
///
/// # Errors
/// When the checkpoint, the input or the output cannot be used, or a sample is not finite. No partial file is left under
/// an output's name then. Single bad records of the input are reported and skipped.
pub fn main(world: &dyn Communicator, request: &Request) -> Result<u8> {
    let checkpoint = newest(world, &request.checkpoint)?;
    let autoguide = request.autoguide.as_ref().map(|path| newest(world, path)).transpose()?;
    // One process reads all of a data set to verify it.
    let plan = vote::consent(world, Plan::open(&checkpoint, autoguide.as_deref(), request, world.rank() == 0))?;
    vote::agree(world, "checkpoints, molecules or options", &plan.digest(request))?;
    if world.rank() == 0 {
        plan.warning.iter().for_each(cli::say);
        plan.task.skipped().iter().for_each(|reason| cli::say(format_args!("skipped: {reason}")));
    }
    let output = (world.rank() == 0).then(|| plan.output(request)).transpose();
    let mut output = vote::consent(world, output)?;
    let denoiser = vote::consent(world, plan.network.bind(&plan.parameters))?;
    let guide = plan.guide.as_ref().map(|parameters| plan.network.bind(parameters)).transpose();
    let guide = vote::consent(world, guide)?;
    let guided = plan.guided(&*denoiser, guide.as_deref().map(|guide| guide as &dyn Denoiser));
    let task = &plan.task;
    let sources = (0..task.len()).map(|source| (task.points(source), task.samples(source)));
    let progress = Mutex::new(match world.rank() {
        0 => Progress::stderr(0, task.total() as u64, Duration::from_secs(10)),
        _ => Progress::silent(),
    });
    let team = Team::new(world, cores::per_rank(world)?)?;
    let batches = team.batches(sources, request.batch_points);
    let mut done = 0;
    for round in batches.chunks(team.size()) {
        let positions = team.round(round, |k, batch| {
            // The first batch speaks for the round: all take as many steps.
            let tell = |step: Step<'_>| {
                if k == 0 {
                    let text = format!("step {}/{}", step.index + 1, step.of);
                    progress.lock().unwrap_or_else(PoisonError::into_inner).update(done as u64, &text);
                }
            };
            plan.draw(&guided, batch, request.seed, &tell)
        })?;
        let items = round.concat();
        done += items.len();
        let written =
            output.as_mut().map_or(Ok(()), |output| plan.write(output, &items, positions.as_chunks().0, request));
        vote::consent(world, written)?;
        progress.lock().unwrap_or_else(PoisonError::into_inner).update(done as u64, "");
    }
    progress.lock().unwrap_or_else(PoisonError::into_inner).finish(done as u64, "");
    vote::consent(world, output.map_or(Ok(()), Output::finish))?;
    if world.rank() == 0 {
        cli::say(format_args!("{}: {}", task.summary(), request.out.display()));
    }
    Ok(0)
}

/// The newest healthy checkpoint as rank 0 finds it: a run that is under way has a newer one at any moment.
fn newest(world: &dyn Communicator, path: &Path) -> Result<PathBuf> {
    let checkpoint = (world.rank() == 0).then(|| load_for_sampling(path)).transpose();
    let path = vote::consent(world, checkpoint)?.map(|checkpoint| checkpoint.path().to_path_buf()).unwrap_or_default();
    let path = vote::broadcast(world, path.as_os_str().as_bytes(), 0)?;
    Ok(PathBuf::from(OsStr::from_bytes(&path)))
}

/// What sampling works with.
struct Plan {
    task: Task,
    network: Arc<dyn Network>,
    parameters: Vec<f32>,
    /// The parameters of the guide.
    guide: Option<Vec<f32>>,
    config: Config,
    sampler: Sampler,
    weights: String,
    /// About the engine.
    warning: Option<&'static str>,
}

/// Refuses a guide that would not be asked, and guidance by one that is not there.
fn check_guide(sampler: &SamplerConfig, given: bool) -> Result<()> {
    let asked = sampler.autoguidance > 0.0;
    match (given, asked, sampler.guidance == 1.0) {
        (false, true, _) => Err(Error::Config("sampler.autoguidance is set: name the guide with --autoguide".into())),
        (true, false, _) | (true, _, true) => Err(Error::Config(format!(
            "--autoguide has no effect with sampler.guidance={} sampler.autoguidance={}: set the first to another number \
             than 1, such as 2, and the second above 0, such as 1",
            sampler.guidance, sampler.autoguidance
        ))),
        _ => Ok(()),
    }
}

/// Where samples go.
enum Output {
    Sdf(Sdf),
    Folder(Folder),
}

impl Plan {
    fn open(checkpoint: &Path, autoguide: Option<&Path>, request: &Request, verify: bool) -> Result<Self> {
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
        let guide = autoguide.map(|path| load_for_sampling(path)?.parameters(network.layout())).transpose()?;
        check_guide(&config.sampler, guide.is_some())?;
        let task = Task::open(request, &saved, verify)?;
        let sampler = Sampler::new(&config.sampler, &config.diffusion)?;
        let weights = weights_sha256(&parameters);
        Ok(Plan { task, network, parameters, guide, config, sampler, weights, warning })
    }

    /// What must be the same on all ranks.
    fn digest(&self, request: &Request) -> Vec<u8> {
        let Request { seed, batch_points, overrides, .. } = request;
        let guide = self.guide.as_deref().map(weights_sha256);
        let task = self.task.digest();
        format!("{} {guide:?} {task} {seed} {batch_points} {overrides:?}", self.weights).into_bytes()
    }

    fn output(&self, request: &Request) -> Result<Output> {
        match &self.task {
            Task::Molecules(_) => Sdf::create(&request.out, request.overwrite).map(Output::Sdf),
            Task::Chains(chains) => {
                Folder::create(&request.out, chains.formats(), request.overwrite, chains.names()).map(Output::Folder)
            }
        }
    }

    fn guided<'a>(&self, denoiser: &'a dyn Denoiser, autoguide: Option<&'a dyn Denoiser>) -> Guided<'a> {
        let sampler = &self.config.sampler;
        Guided { denoiser, autoguide, weight: sampler.guidance, share: sampler.autoguidance }
    }

    /// The positions of a batch's samples, as numbers one after another.
    fn draw(&self, denoiser: &dyn Denoiser, batch: &[Item], seed: u64, tell: &dyn Fn(Step<'_>)) -> Result<Vec<f64>> {
        let condition = self.task.condition(batch);
        let ids: Vec<u64> = batch.iter().map(|item| sample_id(self.task.key(item.source), item.number)).collect();
        let mut observe = |step: Step<'_>| {
            tell(step);
            Ok(())
        };
        let clouds = self.sampler.run(denoiser, &condition, &ids, seed, &mut observe).map_err(|e| match e {
            Error::NonFinite(what) => Error::NonFinite(format!(
                "{what} (a sample's id is 2^32 times its record or length, plus its number, from 0)"
            )),
            other => other,
        })?;
        Ok(clouds.points().as_flattened().to_vec())
    }

    /// Writes consecutive samples whose points stand one after another.
    fn write(&self, output: &mut Output, items: &[Item], points: &[Point], request: &Request) -> Result<()> {
        let mut rest = points;
        for item in items {
            let (positions, others) = rest.split_at_checked(self.task.points(item.source)).ok_or_else(|| {
                Error::World(format!("the positions of sample {item:?} are missing from what the processes sent"))
            })?;
            rest = others;
            match (&self.task, &mut *output) {
                (Task::Molecules(input), Output::Sdf(sdf)) => {
                    sdf.write(&input.record(*item, positions, request.seed, &self.weights))?
                }
                (Task::Chains(chains), Output::Folder(folder)) => {
                    let name = chains.name(item.source, item.number);
                    folder.write(&name, &chains.title(&name, request.seed, &self.weights), positions)?;
                }
                _ => unreachable!("the output was made for the task"),
            }
        }
        match rest.len() {
            0 => Ok(()),
            left => Err(Error::World(format!("the processes sent {left} positions that belong to no sample"))),
        }
    }
}

impl Output {
    fn finish(self) -> Result<()> {
        match self {
            Output::Sdf(sdf) => sdf.finish(),
            Output::Folder(folder) => folder.finish(),
        }
    }
}

impl Input {
    /// A sample as a record of an SDF file.
    fn record(&self, item: Item, positions: &[Point], seed: u64, weights: &str) -> Record {
        let source = &self.molecules[item.source];
        let property = |name: &str, value: String| (name.to_string(), value);
        Record {
            name: source.name.clone(),
            molecule: source.molecule.clone(),
            positions: positions.to_vec(),
            properties: vec![
                property("SMILES", source.smiles.clone()),
                property("qsd_sample", item.number.to_string()),
                property("qsd_seed", seed.to_string()),
                property("qsd_weights_sha256", weights.to_string()),
            ],
        }
    }
}
