//! What rank 0 writes and says: logs, progress, checkpoints.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::checkpoint::{Retention, Snapshot, Writer};
use super::evaluation::Report;
use super::metrics::ShardSums;
use super::observe::Metrics;
use super::observe::jsonl::JsonlWriter;
use super::observe::tensorboard::EventWriter;
use super::phases::Phases;
use super::run_dir::RunDir;
use super::{Clipped, Config, process};
use crate::Result;
use crate::cli::{Progress, say};

/// The least time between two lines of progress where there is no terminal.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);

/// What one step tells the logs.
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// Losses of the global batch.
    pub sums: ShardSums,
    /// The learning rate that was used.
    pub learning_rate: f64,
    /// The gradient's norm before clipping.
    pub gradient_norm: f64,
    /// What clipping did.
    pub clipped: Clipped,
    /// Wall-clock seconds of the step.
    pub seconds: f64,
}

/// The logs, the progress line and the checkpoint writer of a run.
pub struct Outputs {
    events: EventWriter,
    jsonl: JsonlWriter,
    progress: Progress,
    /// The latest words beside the progress.
    message: String,
    writer: Writer,
    keep_best: bool,
    window: Window,
    /// Last, since fields are dropped in this order: the folder stays locked until the writer has ended.
    run: RunDir,
}

/// Sums since the last record.
#[derive(Default)]
struct Window {
    sums: ShardSums,
    steps: f64,
    gradient_norm: f64,
    clip_factor: f64,
    /// What validation and evaluation found.
    judged: Vec<(String, f64)>,
}

impl Outputs {
    /// Opens everything for a run that goes on after `step` steps, and says what it is.
    pub fn open(run: RunDir, config: &Config, summary: &str, step: u64) -> Result<Self> {
        let now = now();
        let mut events = EventWriter::create(run.path().join("tensorboard"), step + 1, now)?;
        events.text("config", &format!("```\n{}```", crate::config::to_yaml(config)?), step, now)?;
        let retention = Retention {
            keep_last: NonZeroUsize::new(config.checkpoint.keep_last).unwrap_or(NonZeroUsize::MIN),
            keep_best: config.checkpoint.keep_best,
        };
        say(format_args!("{}: {summary}", run.path().display()));
        Ok(Outputs {
            events,
            jsonl: JsonlWriter::open(run.path().join("metrics.jsonl"), step + 1)?,
            message: String::new(),
            progress: Progress::stderr(step, config.train.steps, PROGRESS_EVERY),
            writer: Writer::open(&run.checkpoints(), retention)?,
            keep_best: config.checkpoint.keep_best,
            window: Window::default(),
            run,
        })
    }

    /// Takes in one step.
    ///
    /// # Errors
    /// What went wrong with a checkpoint that was being written.
    pub fn step(&mut self, step: u64, record: &StepRecord) -> Result<()> {
        let window = &mut self.window;
        window.sums.add(&record.sums);
        window.steps += 1.0;
        window.gradient_norm += record.gradient_norm;
        window.clip_factor += record.clipped.factor;
        let loss = record.sums.loss / record.sums.clouds;
        let (molecules, seconds) = (record.sums.clouds, record.seconds);
        self.message = format!("loss {loss:.4} lr {:.2e} {:.1} samples/s", record.learning_rate, molecules / seconds);
        self.progress.update(step, &self.message);
        self.writer.poll().map(drop)
    }

    /// Takes in a validation after `step` steps, and says how it went.
    pub fn validated(&mut self, step: u64, sums: &ShardSums, is_best: bool) {
        let best = if is_best { ", the lowest so far" } else { "" };
        self.progress.note(&format!("step {step}: validation loss {:.4}{best}", sums.loss / sums.clouds));
        self.window.judged.extend(sums.means("val"));
    }

    /// Takes in an evaluation after `step` steps, and says how it went. Its numbers are written with the next record.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn evaluated(&mut self, step: u64, report: Report) -> Result<()> {
        self.progress.note(&format!("step {step}: {}", report.line));
        let now = now();
        for (tag, values) in &report.histograms {
            self.events.histogram(tag, values, step, now)?;
        }
        for (tag, png) in &report.pictures {
            self.events.image(tag, png, step, now)?;
        }
        self.window.judged.extend(report.values);
        self.events.flush()
    }

    /// Writes what an evaluation found that an earlier session owed, as a record of its own.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub fn flush_evaluation(&mut self, step: u64) -> Result<()> {
        let mut metrics = Metrics::new(step, now());
        metrics.values.extend(std::mem::take(&mut self.window.judged));
        self.write(&metrics)
    }

    fn write(&mut self, metrics: &Metrics) -> Result<()> {
        self.jsonl.write(metrics)?;
        self.events.metrics(metrics)?;
        self.events.flush()
    }

    /// Writes the means since the last record.
    pub fn flush(&mut self, step: u64, record: &StepRecord, phases: &Phases) -> Result<()> {
        let window = std::mem::take(&mut self.window);
        let seconds = phases.wall();
        let mut metrics = Metrics::new(step, now());
        let mut add = |name: &str, value: f64| metrics.set(name, value);
        add("optimizer/learning_rate", record.learning_rate);
        add("optimizer/gradient_norm", window.gradient_norm / window.steps);
        add("optimizer/clip_factor", window.clip_factor / window.steps);
        if record.clipped.limit.is_finite() {
            add("optimizer/clip_limit", record.clipped.limit);
        }
        add("speed/molecules_per_second", window.sums.clouds / seconds);
        add("speed/atoms_per_second", window.sums.points / seconds);
        let (resident, peak) = process::memory();
        add("memory/resident_gib", resident as f64 / f64::from(1 << 30));
        add("memory/peak_gib", peak as f64 / f64::from(1 << 30));
        let means = window.sums.means("train").into_iter().chain(window.judged);
        metrics.values.extend(means.chain(phases.per_step(window.steps)));
        self.write(&metrics)
    }

    /// Hands a checkpoint to the writer, which works while training goes on.
    ///
    /// # Errors
    /// What went wrong with the save before, if [`Self::step`] has not told.
    pub fn save(&mut self, snapshot: Snapshot, is_best: bool) -> Result<()> {
        self.writer.save(snapshot, is_best && self.keep_best).map(drop)
    }

    /// Waits for the last checkpoint; says where the run stands.
    pub fn finish(&mut self, step: u64, weights: &str) -> Result<()> {
        self.writer.finish()?;
        self.progress.finish(step, &self.message);
        say(format_args!("{}: {step} steps done, state saved", self.run.path().display()));
        println!("weights sha256 {weights}");
        Ok(())
    }

    /// Writes a note beside the results and returns its path.
    pub fn note(&self, name: &str, content: &str) -> Result<PathBuf> {
        self.run.write(name, content).map(|()| self.run.path().join(name))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
