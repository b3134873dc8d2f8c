//! One of the two steps: items that each need one file, made by invocations of a command, several items in each.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::command::{Template, Values};
use super::process::{Process, words_of};
use super::store::Store;
use crate::cli::{Progress, StopRequest};
use crate::files::write_whole;
use crate::{Error, Result};

/// No file that a command leaves is read if it is as large.
const MAX_RESULT: u64 = 64 << 20;
/// A command that prints more than this is ended.
const MAX_LOG: u64 = 256 << 20;
/// How often running commands are looked at, and how often their files are counted.
const POLL: Duration = Duration::from_millis(20);
const COUNT: Duration = Duration::from_secs(1);
/// The least time between two lines of progress in a log.
const REPORT: Duration = Duration::from_secs(10);

/// What a step works on and how its results are recognised.
pub(super) trait Step {
    /// What one file is made for.
    type Item;
    /// What is read from the file.
    type Made;
    /// The step's name: of its option, its logs and in messages.
    const NAME: &'static str;
    /// What it makes, for the progress.
    const PRODUCT: &'static str;
    /// Endings of the files' names, the first that is there counts.
    const ENDINGS: &'static [&'static str];

    /// The file's name without ending: a hash of all that the result depends on.
    fn key<'a>(&self, item: &'a Self::Item) -> &'a str;
    /// Where the item comes from, for the log.
    fn origin(&self, item: &Self::Item) -> String;
    /// Writes what an invocation works on into its folder.
    ///
    /// # Errors
    /// [`Error::Io`] when the operating system refuses.
    fn write_inputs(&self, items: &[&Self::Item], folder: &Path) -> Result<()>;
    /// Reads a file's content.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, item: &Self::Item, content: &[u8]) -> Result<Self::Made, String>;
}

/// How invocations are made.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Sequences per backbone, and the seed, for the commands.
    pub num: usize,
    pub seed: u64,
    /// Most items of an invocation.
    pub batch: usize,
    /// Most invocations at a time.
    pub jobs: usize,
    /// Longest time of an invocation.
    pub timeout: Duration,
}

/// A file that is whole and right.
pub(super) struct Found<M> {
    pub path: PathBuf,
    content: Vec<u8>,
    /// What it says.
    pub made: M,
}

/// Looks for an item's file in a folder. Nothing if there is none.
///
/// # Errors
/// What is wrong with the file; where there are several endings, with the first, if none is right.
pub(super) fn find<S: Step>(step: &S, item: &S::Item, folder: &Path) -> Option<Result<Found<S::Made>, String>> {
    let mut wrong = None;
    for ending in S::ENDINGS {
        let name = format!("{}.{ending}", step.key(item));
        let path = folder.join(&name);
        // Of a link its own kind: what it leads to is not looked at, nor what a pipe has to say.
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let content = match found.len() {
            _ if !found.is_file() => Err("not a plain file".to_string()),
            MAX_RESULT.. => Err(format!("{} MiB; expected less than {}", found.len() >> 20, MAX_RESULT >> 20)),
            _ => fs::read(&path).map_err(|e| e.to_string()),
        };
        match content.and_then(|content| Ok((step.check(item, &content)?, content))) {
            Ok((made, content)) => return Some(Ok(Found { path, content, made })),
            Err(what) => wrong = wrong.or(Some(format!("{name}: {what}"))),
        }
    }
    wrong.map(Err)
}

/// Makes the files of all items that have none; why some could not be made is noted by key.
///
/// # Errors
/// [`Error::Stopped`] when a signal asked for it, [`Error::Config`] when the command cannot be started, [`Error::Io`].
pub(super) fn run<S: Step>(
    step: &S,
    items: &[S::Item],
    template: &Template,
    store: &Store,
    limits: &Limits,
    failures: &mut HashMap<String, String>,
    stop: &StopRequest,
) -> Result<()> {
    let folder = store.folder(S::NAME);
    let mut missing: Vec<&S::Item> = items.iter().filter(|item| !is_kept(step, item, &folder)).collect();
    for leftover in store.leftovers() {
        // What an invocation had finished when everything was killed.
        for item in std::mem::take(&mut missing) {
            if !matches!(keep(step, item, leftover, &folder)?, Kept::Yes) {
                missing.push(item);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let crew = Crew {
        step,
        template,
        store,
        limits,
        slots: (0..limits.jobs.min(missing.len().div_ceil(limits.batch))).map(|_| None).collect(),
        failures,
        done: items.len() - missing.len(),
        failed: 0,
        total: items.len(),
    };
    crew.work(&missing, stop)
}

fn is_kept<S: Step>(step: &S, item: &S::Item, folder: &Path) -> bool {
    find(step, item, folder).is_some_and(|found| found.is_ok())
}

/// Whether an item's file is in the store now.
enum Kept {
    Yes,
    /// There is a file, but what is wrong with it keeps it out.
    Wrong(String),
    /// There is no file.
    Absent,
}

/// Copies an item's file into the store if it is there and whole.
///
/// # Errors
/// [`Error::Io`] when it cannot be stored.
fn keep<S: Step>(step: &S, item: &S::Item, outputs: &Path, folder: &Path) -> Result<Kept> {
    match find(step, item, outputs) {
        None => Ok(Kept::Absent),
        Some(Err(what)) => Ok(Kept::Wrong(what)),
        // What is stored is what was checked, whoever still writes to the file.
        Some(Ok(Found { path, content, .. })) => {
            write_whole(&folder.join(path.file_name().unwrap_or_default()), &content).map(|()| Kept::Yes)
        }
    }
}

/// The invocations of a step.
struct Crew<'a, S: Step> {
    step: &'a S,
    template: &'a Template,
    store: &'a Store,
    limits: &'a Limits,
    slots: Vec<Option<Invocation<'a, S>>>,
    failures: &'a mut HashMap<String, String>,
    done: usize,
    failed: usize,
    total: usize,
}

impl<'a, S: Step> Crew<'a, S> {
    /// Works off the items; those asked to stop leave what they have finished.
    fn work(mut self, missing: &[&'a S::Item], stop: &StopRequest) -> Result<()> {
        let mut batches = missing.chunks(self.limits.batch);
        let mut progress = Progress::stderr(self.done as u64, self.total as u64, REPORT);
        let mut counted = Instant::now();
        loop {
            for slot in 0..self.slots.len() {
                self.collect(slot)?;
                if self.slots[slot].is_none()
                    && let Some(batch) = batches.next()
                {
                    self.slots[slot] = Some(self.start(slot, batch)?);
                }
            }
            if stop.is_set() {
                return self.stop();
            }
            if self.slots.iter().all(Option::is_none) {
                break;
            }
            if counted.elapsed() > COUNT {
                counted = Instant::now();
                let running: usize = self.slots.iter().flatten().map(Invocation::num_files).sum();
                progress.update((self.done + running) as u64, &self.message());
            }
            std::thread::sleep(POLL);
        }
        progress.finish(self.done as u64, &self.message());
        Ok(())
    }

    fn message(&self) -> String {
        match self.failed {
            0 => S::PRODUCT.to_string(),
            failed => format!("{}, {failed} failed", S::PRODUCT),
        }
    }

    /// Prepares and starts an invocation.
    fn start(&self, job: usize, batch: &[&'a S::Item]) -> Result<Invocation<'a, S>> {
        let scratch = self.store.scratch(S::NAME)?;
        let (inputs, outputs) = (scratch.path().join("inputs"), scratch.path().join("outputs"));
        for folder in [&inputs, &outputs] {
            fs::create_dir(folder).map_err(Error::io(folder))?;
        }
        self.step.write_inputs(batch, &inputs)?;
        let Limits { num, seed, .. } = *self.limits;
        let words = self.template.fill(&Values { inputs: &inputs, outputs: &outputs, num, seed, job })?;
        let log = self.store.log(S::NAME, self.step.key(batch[0]));
        let mut text = format!("$ {}\n", shell_words::join(&words));
        for item in batch {
            text += &format!("# {} is {}\n", self.step.key(item), self.step.origin(item));
        }
        let mut file = File::create(&log).map_err(Error::io(&log))?;
        file.write_all(text.as_bytes()).map_err(Error::io(&log))?;
        let process = Process::start(&words, file).map_err(|error| {
            let program = words.first().map(String::as_str).unwrap_or_default();
            Error::Config(format!("--{}: '{program}' cannot be started: {error}", S::NAME))
        })?;
        let (batch, started) = (batch.to_vec(), Instant::now());
        Ok(Invocation { batch, process, scratch, log, log_start: text.len() as u64, started })
    }

    /// Takes what an invocation has made, if it has ended.
    fn collect(&mut self, slot: usize) -> Result<()> {
        let Some(invocation) = &mut self.slots[slot] else { return Ok(()) };
        let Some(end) = invocation.end(self.limits.timeout)? else { return Ok(()) };
        if let Some(invocation) = self.slots[slot].take() {
            self.harvest(&invocation, &end)?;
        }
        Ok(())
    }

    /// Stores what is whole, and notes why the rest is missing.
    fn harvest(&mut self, invocation: &Invocation<'a, S>, end: &str) -> Result<()> {
        let folder = self.store.folder(S::NAME);
        for item in &invocation.batch {
            let what = match keep(self.step, item, &invocation.outputs(), &folder)? {
                Kept::Yes => {
                    self.done += 1;
                    continue;
                }
                Kept::Wrong(what) => format!("left {what}"),
                Kept::Absent => format!("left no {}.{}", self.step.key(item), S::ENDINGS[0]),
            };
            let said = invocation.last_words().map(|words| format!(", saying '{words}'")).unwrap_or_default();
            let log = self.store.relative(&invocation.log);
            let reason = format!("{}: the command {end} and {what}{said} (see {log})", S::NAME);
            self.failed += 1;
            self.failures.insert(self.step.key(item).to_string(), reason);
        }
        Ok(())
    }

    /// Ends the invocations, and takes what they have finished.
    fn stop(&mut self) -> Result<()> {
        for invocation in std::mem::take(&mut self.slots).into_iter().flatten() {
            let mut invocation = invocation;
            invocation.process.stop().map_err(Error::io(&invocation.log))?;
            self.harvest(&invocation, "was stopped")?;
        }
        let (done, total) = (self.done, self.total);
        let what = format!("asked to stop; {done} of {total} {} are kept, the same command goes on", S::PRODUCT);
        Err(Error::Stopped(what))
    }
}

/// A running command and the folders it works in, which go with it.
struct Invocation<'a, S: Step> {
    batch: Vec<&'a S::Item>,
    // Before the folder, so that it has ended when that is removed.
    process: Process,
    scratch: TempDir,
    log: PathBuf,
    /// How much of the log is ours.
    log_start: u64,
    started: Instant,
}

impl<S: Step> Invocation<'_, S> {
    fn outputs(&self) -> PathBuf {
        self.scratch.path().join("outputs")
    }

    /// In words how it ended, once it has; ends it when it takes or prints too much.
    fn end(&mut self, timeout: Duration) -> Result<Option<String>> {
        if let Some(status) = self.process.poll().map_err(Error::io(&self.log))? {
            return Ok(Some(words_of(status)));
        }
        let too_much = if self.started.elapsed() > timeout {
            format!("took longer than --timeout {} s (try a smaller --batch)", timeout.as_secs())
        } else if fs::metadata(&self.log).is_ok_and(|log| log.len() > MAX_LOG) {
            format!("printed more than {} MiB", MAX_LOG >> 20)
        } else {
            return Ok(None);
        };
        self.process.stop().map_err(Error::io(&self.log))?;
        Ok(Some(too_much))
    }

    /// About how many items are done; for the progress only.
    fn num_files(&self) -> usize {
        fs::read_dir(self.outputs()).map_or(0, Iterator::count).min(self.batch.len())
    }

    /// The last line that the command printed.
    fn last_words(&self) -> Option<String> {
        use std::io::{Seek as _, SeekFrom};
        let mut file = File::open(&self.log).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096).max(self.log_start))).ok()?;
        let mut bytes = Vec::new();
        file.take(4096).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        Some(line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect())
    }
}
