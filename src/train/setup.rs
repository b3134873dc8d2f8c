//! From a command line to a run: read, agree, open, restore.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use super::checkpoint::{self, weights_sha256};
use super::evaluation::Evaluation;
use super::outputs::Outputs;
use super::phases::Phases;
use super::run_dir::{Provenance, RunDir};
use super::state::{Belonging, SavedState, State};
use super::trainer::{Outcome, Trainer};
use super::{Config, Sums, process};
use crate::cli::{STOPPED, StopRequest};
use crate::data::{Dataset, Kind, Loader, TrainingStream, ValidationBatches};
use crate::distributed::{Communicator, cores, tree, vote};
use crate::model::{self, Layout, Network};
use crate::{Error, Result, cli, config};

/// What `qsd-train` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Print the resolved configuration.
    PrintConfig,
    /// Take two steps, write nothing, print what the run would cost.
    DryRun,
    /// Train.
    Train {
        /// Refuse a folder that has checkpoints.
        fresh: bool,
        /// Resume even if what is learnt has changed.
        allow_config_change: bool,
    },
}

/// Runs `qsd-train` on one process of `world`; the exit code.
///
/// # Errors
/// Of the kinds that [`Error`] lists. Failures before the first step are agreed on: every process returns the
/// same error.
pub fn main(world: &dyn Communicator, file: &Path, overrides: &[String], mode: Mode) -> Result<u8> {
    let config = load(file, overrides);
    let config = vote::consent(world, config)?;
    vote::agree(world, "configuration", config::hash(&config)?.as_bytes())?;
    match mode {
        Mode::PrintConfig => {
            if world.rank() == 0 {
                print!("{}", config::to_yaml(&config)?);
            }
            Ok(0)
        }
        Mode::DryRun => dry_run(world, &config).map(|()| 0),
        Mode::Train { fresh, allow_config_change } => train(world, &config, fresh, allow_config_change),
    }
}

/// Reads and checks a configuration. A relative `data.path` is relative to the file that sets it; in an override,
/// to the current folder.
pub fn load(file: &Path, overrides: &[String]) -> Result<Config> {
    let loaded = config::load::<Config>(file, overrides)?;
    let origin = loaded.origin("data.path");
    let mut config = loaded.value.resolve(file)?;
    if !config.data.path.as_os_str().is_empty() {
        let path = origin.locate(&config.data.path);
        // As it really is where it is there, for the log; a missing one is reported when it is opened.
        config.data.path = path.canonicalize().or_else(|_| std::path::absolute(&path)).map_err(Error::io(&path))?;
    }
    Ok(config)
}

fn train(world: &dyn Communicator, config: &Config, fresh: bool, allow_config_change: bool) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(Error::io("the runtime's threads"))?;
    // Before anything that takes long: a request to stop is never missed.
    let stop = StopRequest::listen(&runtime)?;
    let directory = config.run.dir.clone().unwrap_or_default();
    // Rank 0 owns the folder; the others wait for its word before they read from it.
    let run = (world.rank() == 0).then(|| RunDir::open(&directory, fresh)).transpose();
    let run = vote::consent(world, run)?;
    let parts = Parts::open(world, config)?;
    let state = parts.restore(world, config, &directory.join("checkpoints"), allow_config_change)?;
    if state.position.step >= config.train.steps && !state.owes_evaluation {
        if world.rank() == 0 {
            let done = state.position.step;
            cli::say(format_args!(
                "{}: all {done} steps are done; train.steps=N with a larger N goes on",
                directory.display()
            ));
            println!("weights sha256 {}", weights_sha256(&state.parameters));
        }
        return Ok(0);
    }
    let open = |run: RunDir| {
        run.describe(&config::to_yaml(config)?, &parts.provenance())?;
        Outputs::open(run, config, &parts.summary(config), state.position.step)
    };
    if let Some(warning) = config.compute.warning(&config.model).filter(|_| world.rank() == 0) {
        cli::say(warning);
    }
    let outputs = vote::consent(world, run.map(open).transpose())?;
    let mut trainer = parts.trainer(world, config, state, stop, outputs)?;
    Ok(match trainer.run()? {
        Outcome::Finished => 0,
        Outcome::Stopped => STOPPED,
    })
}

/// Two steps: the first warms up, the second is measured.
fn dry_run(world: &dyn Communicator, config: &Config) -> Result<()> {
    let parts = Parts::open(world, config)?;
    let summary = parts.summary(config);
    let state = State::new(config, &*parts.network);
    let mut trainer = parts.trainer(world, config, state, StopRequest::default(), None)?;
    trainer.step()?;
    let start = Instant::now();
    let record = trainer.step()?;
    let seconds = start.elapsed().as_secs_f64();
    let peak = vote::sum(world, &[process::memory().1 as f64])?[0];
    if world.rank() == 0 {
        let total = cli::human::duration(Duration::from_secs_f64(seconds * config.train.steps as f64));
        println!("{summary}");
        println!("loss {:.4}, gradient norm {:.4}", record.sums.loss / record.sums.clouds, record.gradient_norm);
        println!(
            "one step {seconds:.2} s ({:.1} samples/s), {} steps about {total}; peak memory of all processes {:.2} GiB",
            record.sums.clouds / seconds,
            config.train.steps,
            peak / f64::from(1 << 30)
        );
    }
    Ok(())
}

/// What a run is made of, opened and checked.
struct Parts {
    network: Arc<dyn Network>,
    layout: Arc<Layout>,
    stream: TrainingStream,
    validation: Option<ValidationBatches>,
    evaluation: Option<Evaluation>,
    owned: std::ops::Range<usize>,
    workers: usize,
    belonging: Belonging,
}

impl Parts {
    /// Opens everything; where it fails on one process, it fails on all.
    fn open(world: &dyn Communicator, config: &Config) -> Result<Self> {
        let workers = if config.run.threads == 0 { cores::per_rank(world)? } else { config.run.threads };
        let parts = vote::consent(world, Self::open_here(world, config, workers))?;
        vote::agree(world, "data set", parts.belonging.data_sha256.as_bytes())?;
        vote::agree(world, "program", &program()?)?;
        Ok(parts)
    }

    fn open_here(world: &dyn Communicator, config: &Config, workers: usize) -> Result<Self> {
        let owned = tree::owned_shards(world, config.train.micro_shards)?;
        let network = model::network(&config.model, config.compute)?;
        // One process reads all of the data to verify it; the others only map it.
        let verify = config.data.verify && world.rank() == 0;
        let dataset = open_data(config, verify)?;
        let (train, shards) = (&config.train, config.train.micro_shards);
        let stream = TrainingStream::new(&dataset, &config.data, config.seed, train.global_batch as usize, shards)?;
        let validation = match config.validation.every {
            0 => None,
            _ => Some(ValidationBatches::new(
                &dataset,
                "val",
                &config.data,
                config.validation.batch,
                Some(config.validation.samples),
            )?),
        };
        let evaluation = Evaluation::open(&dataset, config)?;
        let belonging = Belonging {
            world_size: world.size(),
            config_sha256: config::hash(&config.identity())?,
            data_sha256: dataset.hash().to_string(),
            chains: dataset.kind() == Kind::Chains,
            folds: dataset.fold_classes().filter(|_| config.data.tells_folds()).cloned(),
        };
        let workers = workers.min(owned.len());
        let layout = Arc::new(network.layout().clone());
        Ok(Parts { network, layout, stream, validation, evaluation, owned, workers, belonging })
    }

    fn provenance(&self) -> Provenance {
        Provenance {
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("QSD_COMMIT"),
            world_size: self.belonging.world_size,
            data_sha256: self.belonging.data_sha256.clone(),
            config_sha256: self.belonging.config_sha256.clone(),
            parameters: self.layout.len(),
        }
    }

    /// A line about what is trained on what by whom.
    fn summary(&self, config: &Config) -> String {
        let selection = self.stream.selection();
        let kind = selection.split().kind().name();
        let clusters = match selection.per_epoch() {
            n if n == selection.len() => String::new(),
            n => format!(" in {n} clusters"),
        };
        let skipped = match selection.skipped() {
            0 => String::new(),
            n => format!(" ({n} larger than data.max_points left out)"),
        };
        format!(
            "{} parameters, {} {kind}{clusters}{skipped}, batch {} in {} micro-shards, {} process(es) with {} thread(s)",
            self.layout.len(),
            selection.len(),
            config.train.global_batch,
            config.train.micro_shards,
            self.belonging.world_size,
            self.workers
        )
    }

    /// The state of the newest healthy checkpoint, or that of step 0.
    fn restore(&self, world: &dyn Communicator, config: &Config, folder: &Path, allow_change: bool) -> Result<State> {
        let newest = (world.rank() == 0).then(|| newest_healthy(folder)).transpose();
        let newest = vote::consent(world, newest)?.flatten();
        let path = newest.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let path = String::from_utf8_lossy(&vote::broadcast(world, path.as_bytes(), 0)?).into_owned();
        if path.is_empty() {
            let state = State::new(config, &*self.network);
            vote::agree(world, "initial parameters", weights_sha256(&state.parameters).as_bytes())?;
            return Ok(state);
        }
        let state = vote::consent(world, self.load(config, Path::new(&path), allow_change))?;
        vote::agree(world, "checkpoint", weights_sha256(&state.parameters).as_bytes())?;
        if world.rank() == 0 {
            cli::say(format_args!("resuming from {path}"));
        }
        Ok(state)
    }

    fn load(&self, config: &Config, path: &Path, allow_change: bool) -> Result<State> {
        if !allow_change {
            // First, since other shapes are best explained by the keys that made them.
            self.check_belonging(config, &checkpoint::load_for_sampling(path)?.state, path)?;
        }
        State::restore(config, checkpoint::load(path, &self.layout)?)
    }

    fn check_belonging(&self, config: &Config, state: &serde_json::Value, path: &Path) -> Result<()> {
        let saved = SavedState::parse(state)?;
        if saved.data_sha256 != self.belonging.data_sha256 {
            return Err(Error::Checkpoint(format!(
                "{} was trained on other data (sha256 {}, now {}); give the same data.path, another run.dir, or \
                 --allow-config-change",
                path.display(),
                saved.data_sha256,
                self.belonging.data_sha256
            )));
        }
        // Hashes of another version may differ where no key does.
        let differences = differing_keys(&saved.config.identity(), &config.identity())?;
        if differences.is_empty() {
            return Ok(());
        }
        Err(Error::Checkpoint(format!(
            "{} was trained with another configuration: {}; restore these, name another run.dir, or give \
             --allow-config-change",
            path.display(),
            differences.join(", ")
        )))
    }

    fn trainer<'a>(
        self,
        world: &'a dyn Communicator,
        config: &'a Config,
        state: State,
        stop: StopRequest,
        outputs: Option<Outputs>,
    ) -> Result<Trainer<'a>> {
        let loader = Loader::start(self.stream, self.owned, state.position, config.data.prefetch_steps)?;
        Ok(Trainer {
            config,
            world,
            layout: self.layout,
            network: self.network,
            belonging: self.belonging,
            state,
            loader,
            validation: self.validation,
            evaluation: self.evaluation,
            workers: self.workers,
            stop,
            outputs,
            tree: Sums::default(),
            phases: Phases::new(),
        })
    }
}

/// The SHA-256 of the running program.
fn program() -> Result<Vec<u8>> {
    let path = Path::new("/proc/self/exe");
    Ok(Sha256::digest(std::fs::read(path).map_err(Error::io(path))?).to_vec())
}

fn open_data(config: &Config, verify: bool) -> Result<Dataset> {
    let path = &config.data.path;
    if path.as_os_str().is_empty() {
        return Err(Error::Config("data.path is not set; give the folder of a data set: data.path=DIR".into()));
    }
    if !path.is_dir() {
        return Err(Error::Data(format!(
            "no data set at {}; data.path must be a folder made by data/prepare_geom.py, qsd-data import or qsd-data protein",
            path.display()
        )));
    }
    let dataset = Dataset::open(path, verify)?;
    check_data(config, &dataset)?;
    Ok(dataset)
}

/// Refuses data that the network cannot learn from.
fn check_data(config: &Config, dataset: &Dataset) -> Result<()> {
    let refuse = |what: String| Err(Error::Config(format!("{}: {what}", config.data.path.display())));
    if dataset.kind() == Kind::Chains {
        return check_folds(config, dataset);
    }
    let Some(max_z) = config.model.max_z() else {
        return refuse(
            "holds molecules, but `model.kind: protein` learns from chains; give the data of chains, or et".into(),
        );
    };
    match dataset.manifest().elements.iter().find(|&&number| usize::from(number) >= max_z) {
        Some(number) => {
            refuse(format!("holds atoms of atomic number {number}; model.max_z must be above it, found {max_z}"))
        }
        None => Ok(()),
    }
}

/// Refuses fold classes that the network has no place for.
fn check_folds(config: &Config, dataset: &Dataset) -> Result<()> {
    if !config.data.tells_folds() {
        return Ok(());
    }
    let Some(places) = config.model.fold_classes() else {
        return Err(Error::Config(
            "data.fold_levels: the network of `model.kind: et` knows nothing of fold classes".into(),
        ));
    };
    let found = dataset.fold_classes().map_or([0; 3], |classes| classes.levels.each_ref().map(Vec::len));
    match found.iter().zip(&places).all(|(found, places)| found <= places) {
        true => Ok(()),
        false => Err(Error::Config(format!(
            "model.fold_classes is {places:?}, but {} has {found:?} classes of the levels C, A, T",
            config.data.path.display()
        ))),
    }
}

/// The newest checkpoint that is whole, after clearing what a dead writer left; says why newer ones were passed
/// over.
fn newest_healthy(folder: &Path) -> Result<Option<PathBuf>> {
    checkpoint::sweep(folder)?;
    let found = checkpoint::newest_healthy(folder)?;
    for rejected in &found.rejected {
        cli::say(format_args!("passed over {}: {}", rejected.path.display(), rejected.cause));
    }
    match (found.found, found.rejected.is_empty()) {
        (None, false) => Err(Error::Checkpoint(format!(
            "{}: no checkpoint there is whole; remove the folder to begin anew",
            folder.display()
        ))),
        (path, _) => Ok(path),
    }
}

/// The keys whose values differ, as `key: was → is`, at most ten.
fn differing_keys(was: &Config, is: &Config) -> Result<Vec<String>> {
    let tree = |config| serde_json::to_value(config).map_err(|e| Error::Config(format!("{e}")));
    let (was, is) = (tree(was)?, tree(is)?);
    let mut differences = Vec::new();
    collect_differences("", &was, &is, &mut differences);
    differences.truncate(10);
    Ok(differences)
}

fn collect_differences(prefix: &str, was: &serde_json::Value, is: &serde_json::Value, into: &mut Vec<String>) {
    match (was.as_object(), is.as_object()) {
        (Some(was), Some(is)) => {
            for (key, old) in was {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                collect_differences(&path, old, is.get(key).unwrap_or(&serde_json::Value::Null), into);
            }
        }
        _ if was != is => into.push(format!("{prefix}: {was} → {is}")),
        _ => {}
    }
}
